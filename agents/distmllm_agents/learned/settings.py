"""How a policy is trained: one frozen record, read from TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from distmllm_env import schema
from distmllm_env.errors import unknown_name
from distmllm_env.schema import require

ALGORITHMS = ("ppo", "a2c", "dqn", "maskable_ppo")

TRAINING_SEEDS = 1 << 40
"""Markets train on seeds from here on, so that runs on smaller seeds were never met in training."""

EVALUATION_SEEDS = 1 << 41
"""Evaluations during training are on seeds from here on."""


class Arguments(dict[str, Any]):
    """Arguments of a Stable-Baselines3 class by name; checked where the class is known."""

    @classmethod
    def from_value(cls, value: Any, where: str) -> Arguments:
        """Read a table.

        Raises:
            ValueError: It is none.
        """
        if not isinstance(value, Mapping):
            raise ValueError(f"{where}: expected a table, got {value!r}.")
        return cls(value)

    def to_value(self) -> dict[str, Any]:
        """Return a plain table."""
        return dict(self)


@dataclass(frozen=True)
class Settings:
    """What is trained, on what, and for how long.

    Attributes:
        algo: ``ppo``, ``a2c``, ``dqn`` or ``maskable_ppo``.
        mode: ``central``, ``shared`` or ``independent``, see :mod:`~.vec_env`.
        scenario: Name or file.
        slots: Market slots to train for, over all markets.
        seed: Fixes everything.
        world: ``fixed``: one world, new noise in every episode. ``redrawn``: every episode its own.
        world_seed: The fixed world is that of this seed.
        observation: ``last`` or ``statistics``, see :mod:`~.views`.
        network: ``mlp``, or ``equivariant`` (:mod:`~.equivariant`; central, on statistics).
        reward: ``profit``, ``welfare`` or ``regret``, see :class:`~.table.Table`.
        reward_scale: Rewards are multiplied by it. 0: by 1 / V, and by 1 / (M V) for a dispatcher,
            so that they are of order 1.
        markets: Markets side by side.
        episode_slots: Slots of an episode in training; 0: the scenario's.
        stagger: Let first episodes end early, at different slots.
        learning_rate: At the start.
        final_learning_rate: At the end; linear in between.
        layers: Hidden layers of the MLP.
        width: Numbers per token of the equivariant network.
        depth: Its layers.
        act: How the trained policy acts: ``greedy``, the likeliest choice, or ``sample``.
        threads: Threads of torch; small networks gain nothing from many.
        evaluations: How often to evaluate during training, the end included.
        evaluation_runs: Runs of each.
        checkpoints: How often to save what is needed to resume.
        algorithm: Further arguments of the Stable-Baselines3 class, e.g. ``gamma``.
    """

    algo: Literal["ppo", "a2c", "dqn", "maskable_ppo"] = "ppo"
    mode: Literal["central", "shared", "independent"] = "central"
    scenario: str = "paper"
    slots: int = 150_000
    seed: int = 0
    world: Literal["fixed", "redrawn"] = "fixed"
    world_seed: int = 0
    observation: Literal["last", "statistics"] = "last"
    network: Literal["mlp", "equivariant"] = "mlp"
    reward: Literal["profit", "welfare", "regret"] = "profit"
    reward_scale: float = 0.0
    markets: int = 64
    episode_slots: int = 0
    stagger: bool = True
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-4
    layers: tuple[int, ...] = (64, 64)
    width: int = 32
    depth: int = 3
    act: Literal["greedy", "sample"] = "greedy"
    threads: int = 1
    evaluations: int = 10
    evaluation_runs: int = 8
    checkpoints: int = 10
    algorithm: Arguments = field(default_factory=Arguments)

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            require(value >= least, name, value, f"at least {least}")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "above 0")
        require(
            self.final_learning_rate > 0, "final_learning_rate", self.final_learning_rate, "> 0"
        )
        require(all(w >= 1 for w in self.layers), "layers", self.layers, "each at least 1")
        if self.network == "equivariant":
            fits = self.mode == "central" and self.observation == "statistics"
            require(
                fits and self.algo in ("ppo", "a2c"),
                "network",
                self.network,
                "it needs mode = 'central', observation = 'statistics' and algo 'ppo' or 'a2c' "
                "(it keeps to what is feasible and to capacities by itself, without masks)",
            )
        if self.reward == "regret":
            require(self.mode == "central", "reward", "regret", "mode = 'central' only")
        if self.algo == "dqn":
            require(self.act == "greedy", "act", self.act, "'greedy': DQN has no distribution")

    @property
    def fixed_world(self) -> int | None:
        """Seed of the one world, or None."""
        return self.world_seed if self.world == "fixed" else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON; :func:`make_settings` takes it back."""
        table: dict[str, Any] = schema.to_dict(self)
        return table


_LEAST = {
    "slots": 1, "seed": 0, "world_seed": 0, "reward_scale": 0, "markets": 1, "episode_slots": 0,
    "width": 1, "depth": 0, "threads": 1, "evaluations": 1, "evaluation_runs": 1, "checkpoints": 1,
}  # fmt: skip


def presets() -> list[str]:
    """Return the names of the settings that are shipped."""
    folder = files("distmllm_agents.learned") / "settings"
    return sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith("toml"))


def load_settings(preset: str | Path, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read settings and change some of them.

    Args:
        preset: Name of shipped settings, or a TOML file.
        overrides: Keys of :class:`Settings`; ``algorithm.gamma`` for an argument of the algorithm.

    Raises:
        ValueError: A name, key or value is not allowed, or the file is no TOML.
    """
    if str(preset) in presets():
        text = (files("distmllm_agents.learned") / "settings" / f"{preset}.toml").read_text("utf-8")
    elif str(preset).endswith(".toml"):
        try:
            text = Path(preset).read_text("utf-8")
        except OSError as error:
            raise ValueError(f"settings {str(preset)!r}: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"settings {str(preset)!r}: {error}.") from error
    else:
        raise unknown_name("settings", str(preset), [*presets(), "FILE.toml"])
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"settings {str(preset)!r}: {error}.") from error
    return make_settings(schema.with_overrides(data, overrides or {}))


def make_settings(data: Mapping[str, Any]) -> Settings:
    """Check plain tables and return them as settings.

    Raises:
        ValueError: A key or value is not allowed.
    """
    for key in data:
        if key not in Settings.__dataclass_fields__:
            raise unknown_name("training setting", key, Settings.__dataclass_fields__)
    return schema.build(Settings, data)
