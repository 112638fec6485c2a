"""The compiled loops give NumPy's bits: of the slot in all its forms, and of what is seen."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distmllm_env import Market, Scenario, market
from distmllm_env.compiled import compiled, kernel
from distmllm_env.envs import observation
from distmllm_env.envs.observation import Observer, nothing_yet
from distmllm_env.slot import Outcome

pytestmark = pytest.mark.skipif(kernel() is None, reason="numba (extra fast) is not installed")

REAL = [0.7, 0.3, 1.1, 2.9, 3.5, 0.1, 0.2, 0.3, 0.9, 1.3]
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "toy": ("toy", {}),
    "paper": ("paper", {}),
    "crowd2": ("crowd2", {}),
    "testbed": ("testbed", {}),
    "scarce": ("scarce", {}),
    "real demands": ("scarce", {"demand": REAL}),
    "reject-all": ("scarce", {"market.overload": "reject_all"}),
    "share": ("scarce", {"market.overload": "share"}),
    "testbed share": ("testbed", {"market.overload": "share"}),
    "per-stage": ("scarce", {"market.capacity": "per_stage", "market.transfer_cost_per_mb": 0.3}),
    "per-stage share": ("scarce", {"market.capacity": "per_stage", "market.overload": "share"}),
    "lognormal": ("scarce", {"noise.distribution": "lognormal"}),
    "reward noise": ("scarce", {"noise.on": "reward"}),
    "normal reward noise": ("scarce", {"noise.on": "reward", "noise.distribution": "normal"}),
    "quiet": ("scarce", {"noise.on": "none"}),
    "quadratic": ("scarce", {"reward.shape": "quadratic", "reward.curvature_per_s2": 0.3}),
    "deadline": ("scarce", {"reward.shape": "deadline", "reward.deadline_s": 0.5}),
}
SHAPES: list[dict[str, Any]] = [
    {"reward.shape": "affine"},
    {"reward.shape": "deadline", "reward.deadline_s": 0.8},
    {"reward.shape": "quadratic", "reward.curvature_per_s2": 0.2},
]
SLOTS = 8


def same(a: np.ndarray, b: np.ndarray) -> None:
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    assert np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()


def two_markets(scenario: Scenario, batch: int) -> tuple[Market, Market]:
    """One that plays compiled loops, one that plays NumPy."""
    fast = Market(scenario, range(batch))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(market, "kernel", lambda: None)
        plain = Market(scenario, range(batch))
    assert fast._compiled is not None
    assert plain._compiled is None
    return fast, plain


def choices(rng: np.random.Generator, scenario: Scenario, batch: int, slot: int) -> np.ndarray:
    """Anything, and every other slot a crowd on the first workers."""
    shape = (batch, scenario.providers, 2)
    return rng.integers(0, 2 if slot % 2 else scenario.workers + 1, shape)


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("form", FORMS)
def test_slots(form: str, batch: int) -> None:
    name, overrides = FORMS[form]
    scenario = Scenario.load(name, overrides, slots=SLOTS)
    fast, plain = two_markets(scenario, batch)
    rng = np.random.default_rng(0)
    rejected = 0
    for slot in range(SLOTS):
        allocation = choices(rng, scenario, batch, slot)
        one, other = fast.step(allocation), plain.step(allocation)
        for table in vars(other):
            same(getattr(one, table), getattr(other, table))
        rejected += int((other.status == 2).sum())
    soft = scenario.market.overload == "share"
    assert (rejected == 0) == soft, "the case should overload workers, or it shows nothing"


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_market(data: st.DataObject) -> None:
    m, n = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 5))
    eighths = st.integers(1, 40).map(lambda k: k / 8)
    overrides = {
        "demand": data.draw(st.lists(eighths, min_size=m, max_size=m)),
        "capacity": [5.0, *data.draw(st.lists(eighths, min_size=n - 1, max_size=n - 1))],
        "market.overload": data.draw(st.sampled_from(["random", "reject_all", "share"])),
        "market.capacity": data.draw(st.sampled_from(["shared", "per_stage"])),
        "market.transfer_cost_per_mb": data.draw(st.sampled_from([0.0, 0.25])),
        "noise.on": data.draw(st.sampled_from(["latency_energy", "reward", "none"])),
        "noise.std": data.draw(st.sampled_from([0.0, 0.1, 0.3])),
    } | data.draw(st.sampled_from(SHAPES))
    scenario = Scenario.load("paper", overrides, providers=m, workers=n, slots=4)
    fast, plain = two_markets(scenario, 3)
    task = st.integers(0, n)
    for _ in range(4):
        flat = data.draw(st.lists(task, min_size=6 * m, max_size=6 * m))
        allocation = np.array(flat).reshape(3, m, 2)
        one, other = fast.step(allocation), plain.step(allocation)
        for table in vars(other):
            same(getattr(one, table), getattr(other, table))


@pytest.mark.parametrize("slot", [3, np.array([0, 2, 5])], ids=["even", "uneven"])
@pytest.mark.parametrize("form", ["toy", "paper", "testbed", "share"])
def test_observations(form: str, slot: int | np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    name, overrides = FORMS[form]
    scenario = Scenario.load(name, overrides, slots=SLOTS)
    fast, _ = two_markets(scenario, 3)
    allocation = choices(np.random.default_rng(1), scenario, 3, 0)
    seen: list[tuple[np.ndarray, Outcome]] = [nothing_yet(fast.world)]
    seen.append((allocation, fast.step(allocation)))
    observer = Observer(fast.world)
    for last in seen:
        for view in (observer.central, observer.providers, observer.turns):
            compiled = view(slot, *last)
            with monkeypatch.context() as patch:
                patch.setattr(observation, "kernel", lambda: None)
                same(compiled, view(slot, *last))


def test_without_numba_numpy_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks(name: str) -> Any:
        def missing(module: str) -> None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        return missing

    compiled.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(importlib, "import_module", lacks("numba"))
        assert kernel() is None
        compiled.cache_clear()
        patch.setattr(importlib, "import_module", lacks("llvmlite"))
        with pytest.raises(ModuleNotFoundError, match="llvmlite"):  # a broken installation
            kernel()
    compiled.cache_clear()
    assert kernel() is not None
