"""A scenario says what kind of edge market to play; drawing it with a seed gives a world.

A scenario is a TOML file and this dataclass is its schema. The named ones lie in ``scenarios/``;
``Scenario.load("paper")`` reads them, ``Scenario.load("my/market.toml")`` reads yours. Section and
equation numbers refer to the paper (Sensors 2025, 25(24), 7612); letters such as A12 refer to
ASSUMPTIONS.md, which lists what we chose where the paper is silent.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np

from distmllm_env import schema
from distmllm_env.distribution import Distribution, constant
from distmllm_env.errors import unknown_name
from distmllm_env.schema import require

ENC, LLM = 0, 1
STAGES = ("enc", "llm")


@dataclass(frozen=True)
class Latency:
    """Equation (1): l = psi_s(d) beta(p), psi_s(d) = scale_s (d / 1 MB)^exponent, beta(p) = 1/p."""

    enc_scale_s: float = 0.3
    llm_scale_s: float = 1.8
    exponent: float = 0.5
    worker_factor: Distribution = constant(1.0)
    """Extra factor on psi for each worker and stage: how far workers differ beyond p_n (A5)."""

    def __post_init__(self) -> None:
        require(self.enc_scale_s > 0, "latency.enc_scale_s", self.enc_scale_s, "above 0")
        require(self.llm_scale_s > 0, "latency.llm_scale_s", self.llm_scale_s, "above 0")
        concave = 0 < self.exponent <= 1
        require(concave, "latency.exponent", self.exponent, "in (0, 1], so that psi is concave")
        low = self.worker_factor.low
        require(low > 0, "latency.worker_factor", low, "above 0")


@dataclass(frozen=True)
class Energy:
    """Equation (2): e = (gamma_s + mu) d alpha(p)^2 with alpha(p) = p, in joules per 1e6 bytes."""

    enc_j_per_mb: float = 0.2
    llm_j_per_mb: float = 0.5
    mu_j_per_mb: float = 0.1

    def __post_init__(self) -> None:
        for name in ("enc_j_per_mb", "llm_j_per_mb", "mu_j_per_mb"):
            require(getattr(self, name) >= 0, f"energy.{name}", getattr(self, name), "at least 0")


@dataclass(frozen=True)
class Reward:
    """Equation (3): r = V_s(m) + G_s(l) - omega_n e, and the shape of G (A6).

    ``affine``: G(l) = -weight l. ``quadratic``: G(l) = -weight l - curvature l^2. ``deadline``:
    G(l) = -weight max(0, l - deadline_s). All are concave and do not increase.
    """

    value_enc: Distribution = constant(1.5)
    value_llm: Distribution = constant(4.2)
    shape: Literal["affine", "quadratic", "deadline"] = "affine"
    enc_weight_per_s: float = 1.0
    llm_weight_per_s: float = 1.0
    curvature_per_s2: float = 0.0
    deadline_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ("enc_weight_per_s", "llm_weight_per_s", "curvature_per_s2", "deadline_s"):
            require(getattr(self, name) >= 0, f"reward.{name}", getattr(self, name), "at least 0")
        if self.shape != "quadratic":
            unused = self.curvature_per_s2 == 0
            require(unused, "reward.curvature_per_s2", self.curvature_per_s2, "0 unless quadratic")
        if self.shape != "deadline":
            require(self.deadline_s == 0, "reward.deadline_s", self.deadline_s, "0 unless deadline")


@dataclass(frozen=True)
class Market:
    """What happens on a worker that several providers choose (A11, A12, A16)."""

    overload: Literal["random", "reject_all", "share"] = "random"
    """``random``: tasks are dropped in random order until the load fits. ``reject_all``: all tasks
    on the overloaded worker fail. ``share``: all run, latency stretched by load / capacity."""
    capacity: Literal["shared", "per_stage"] = "shared"
    """``shared``: one pool C_n for both stages. ``per_stage``: each stage has its own C_n."""
    transfer_cost_per_mb: float = 0.0
    """kappa: charged per 1e6 tensor bytes when both stages run on different workers (A16)."""

    def __post_init__(self) -> None:
        kappa = self.transfer_cost_per_mb
        require(kappa >= 0, "market.transfer_cost_per_mb", kappa, "at least 0")


@dataclass(frozen=True)
class Noise:
    """Noise of one slot (A8), independent for every provider, stage and slot.

    ``on = "latency_energy"``: measured latency and energy are their means times a factor of mean 1
    and standard deviation ``std`` (``uniform`` or ``lognormal``); the profit is computed from them.
    ``on = "reward"``: the profit gets an additive term of standard deviation ``std`` (``uniform``
    or ``normal``). ``on = "none"``: no noise.
    """

    on: Literal["latency_energy", "reward", "none"] = "latency_energy"
    distribution: Literal["uniform", "lognormal", "normal"] = "uniform"
    std: float = 0.1

    def __post_init__(self) -> None:
        require(self.std >= 0, "noise.std", self.std, "at least 0")
        if self.on == "latency_energy":
            require(self.distribution != "normal", "noise.distribution", self.distribution,
                    "'uniform' or 'lognormal', so that latency stays positive")  # fmt: skip
            if self.distribution == "uniform":
                require(self.std < 3**-0.5, "noise.std", self.std,
                        "below 0.577 for 'uniform', so that latency stays positive")  # fmt: skip
        else:
            require(self.distribution != "lognormal", "noise.distribution", self.distribution,
                    "'uniform' or 'normal' unless noise.on = 'latency_energy'")  # fmt: skip

    @property
    def quiet(self) -> bool:
        """Whether there is no noise at all."""
        return self.on == "none" or self.std == 0.0


@dataclass(frozen=True)
class App:
    """What one provider serves on a testbed: an encoder, an LLM and the size of a request."""

    encoder: str
    llm: str
    input_bytes: float
    prompt_tokens: float
    output_tokens: float
    demand: float
    value_enc: float
    value_llm: float

    def __post_init__(self) -> None:
        for name in ("input_bytes", "prompt_tokens", "output_tokens", "demand"):
            value = getattr(self, name)
            require(value > 0, f"testbed.apps.{name}", value, "above 0")


@dataclass(frozen=True)
class TestbedWorker:
    """One worker of a testbed: a device profile behind a link profile, with a capacity."""

    __test__ = False  # not a test class, whatever its name says to pytest

    device: str
    link: str
    capacity: float

    def __post_init__(self) -> None:
        require(self.capacity >= 0, "testbed.workers.capacity", self.capacity, "at least 0")


@dataclass(frozen=True)
class Testbed:
    """Latency and energy from measured (device, model) numbers instead of equations (1) and (2).

    Provider m serves ``apps[m % len(apps)]``; worker n is ``workers[n % len(workers)]``. ``p_n``
    (scenario key ``performance``) derates the compute time of a worker; ``data_scale`` and
    ``output_scale`` vary input bytes and output tokens from run to run.
    """

    __test__ = False

    apps: tuple[App, ...]
    workers: tuple[TestbedWorker, ...]
    data_scale: Distribution = constant(1.0)
    output_scale: Distribution = constant(1.0)

    def __post_init__(self) -> None:
        require(len(self.apps) > 0, "testbed.apps", [], "at least one app")
        require(len(self.workers) > 0, "testbed.workers", [], "at least one worker")
        for name in ("data_scale", "output_scale"):
            require(
                getattr(self, name).low > 0, f"testbed.{name}", getattr(self, name).low, "above 0"
            )


@dataclass(frozen=True)
class Scenario:
    """One kind of market. Every field is a TOML key; see the classes above for the tables.

    Attributes:
        name: Short name.
        description: One sentence on what the scenario is for.
        slots: Horizon T.
        providers: M.
        workers: N.
        performance: p_n of each worker.
        price: omega_n of each worker, money per joule.
        data_bytes: d_m of each provider, bytes.
        demand: c_m of each provider, in units of capacity.
        capacity: C_n of each worker.
        tensor_bytes: Encoder output of each provider, bytes; it is what the transfer cost charges.
        testbed: If present, device tables replace equations (1) and (2), and the apps replace
            ``demand``, ``capacity``, ``data_bytes``, ``tensor_bytes`` and the values.
    """

    name: str
    description: str
    slots: int = 500
    providers: int = 5
    workers: int = 5
    performance: Distribution = Distribution("uniform", 0.8, 1.0)
    price: Distribution = Distribution("uniform", 0.8, 1.2)
    data_bytes: Distribution = Distribution("uniform", 0.5e6, 1.5e6)
    demand: Distribution = Distribution("integers", 1, 2)
    capacity: Distribution = Distribution("integers", 4, 5)
    tensor_bytes: Distribution = constant(1e6)
    latency: Latency = Latency()
    energy: Energy = Energy()
    reward: Reward = Reward()
    market: Market = Market()
    noise: Noise = Noise()
    testbed: Testbed | None = None

    def __post_init__(self) -> None:
        for key in ("slots", "providers", "workers"):
            require(getattr(self, key) >= 1, key, getattr(self, key), "at least 1")
        positive = ("performance", "data_bytes", "demand")
        for key in (*positive, "price", "capacity", "tensor_bytes"):
            low = getattr(self, key).low
            strict = key in positive
            require(
                low > 0 if strict else low >= 0, key, low, "above 0" if strict else "at least 0"
            )
        providers, workers = self.providers, self.workers
        for key, count, unit in (
            ("performance", workers, "worker"),
            ("price", workers, "worker"),
            ("capacity", workers, "worker"),
            ("data_bytes", providers, "provider"),
            ("demand", providers, "provider"),
            ("tensor_bytes", providers, "provider"),
            ("reward.value_enc", providers, "provider"),
            ("reward.value_llm", providers, "provider"),
            (
                "latency.worker_factor",
                2 * workers,
                "stage of each worker (ENC and LLM of worker 0, then of worker 1, ...)",
            ),
            ("testbed.data_scale", providers, "provider"),
            ("testbed.output_scale", providers, "provider"),
        ):
            head, _, tail = key.partition(".")
            spec = getattr(getattr(self, head), tail, None) if tail else getattr(self, head)
            if spec is not None and spec.kind == "values" and len(spec.values) != count:
                raise ValueError(
                    f"{key} = {list(spec.values)} has {len(spec.values)} values, "
                    f"but one per {unit} is needed: {count}."
                )

        if self.testbed is not None:
            # A key that has no effect must not look as if it had one.
            for key in ("data_bytes", "demand", "capacity", "tensor_bytes", "latency", "energy"):
                if getattr(self, key) != _DEFAULTS[key]:
                    raise ValueError(f"{key} has no effect with a testbed; set testbed.* instead.")
            for key in ("value_enc", "value_llm"):
                if getattr(self.reward, key) != getattr(Reward(), key):
                    raise ValueError(
                        f"reward.{key} has no effect with a testbed; see testbed.apps."
                    )

    @staticmethod
    def names() -> tuple[str, ...]:
        """Return the named scenarios that come with the package, sorted."""
        folder = files("distmllm_env") / "scenarios"
        found = (Path(item.name) for item in folder.iterdir())
        return tuple(sorted(path.stem for path in found if path.suffix == ".toml"))

    @classmethod
    def load(
        cls,
        source: str | Path | Scenario,
        overrides: Mapping[str, Any] | None = None,
        **keys: Any,
    ) -> Scenario:
        """Read a scenario by name or from a TOML file, and change some of its keys.

        Args:
            source: A name from :meth:`names`, a path ending in ``.toml``, or a scenario.
            overrides: Dotted keys and values, e.g. ``{"noise.std": 0.2}``.
            **keys: Top-level keys, e.g. ``providers=10``; ``None`` means "as in the file".

        Returns:
            The validated scenario.

        Raises:
            ValueError: Unknown scenario, unknown key, or a value that is not allowed.
        """
        if isinstance(source, Scenario):
            data = schema.to_dict(source)
        else:
            try:
                data = tomllib.loads(_read(source))
            except tomllib.TOMLDecodeError as error:
                raise ValueError(f"scenario {str(source)!r}: not valid TOML: {error}.") from error
        changes = {key: value for key, value in keys.items() if value is not None}
        return schema.build(cls, schema.with_overrides(data, {**(overrides or {}), **changes}))

    @classmethod
    def from_toml(cls, text: str) -> Scenario:
        """Return the scenario of which :meth:`to_toml` gave the text."""
        return schema.build(cls, tomllib.loads(text))

    def to_toml(self) -> str:
        """Return TOML text that :meth:`from_toml` and :meth:`load` read back to an equal one."""
        return schema.to_toml(schema.to_dict(self))

    @property
    def stage_weights_per_s(self) -> np.ndarray:
        """Return the latency weights of ENC and LLM, shape ``(2,)``."""
        return np.array([self.reward.enc_weight_per_s, self.reward.llm_weight_per_s])

    @property
    def value_scale(self) -> float:
        """Return V, the largest intrinsic value that a task can have (1 if none is above 0)."""
        if self.testbed is not None:
            values = [v for app in self.testbed.apps for v in (app.value_enc, app.value_llm)]
        else:
            values = [self.reward.value_enc.high, self.reward.value_llm.high]
        return max(values) if max(values) > 0 else 1.0


_DEFAULTS: dict[str, Any] = {f.name: f.default for f in fields(Scenario)}


def _read(source: str | Path) -> str:
    if not isinstance(source, (str, Path)):
        raise ValueError(f"scenario = {source!r} is not allowed: a name, a path or a Scenario.")
    path = Path(source)
    if path.suffix == ".toml":
        if not path.is_file():
            raise ValueError(f"scenario file {str(source)!r} does not exist.")
        return path.read_text(encoding="utf-8")
    names = Scenario.names()
    if str(source) not in names:
        raise unknown_name("scenario", str(source), names)
    return (files("distmllm_env") / "scenarios" / f"{source}.toml").read_text(encoding="utf-8")
