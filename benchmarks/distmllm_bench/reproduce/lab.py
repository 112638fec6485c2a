"""What experiments are made from: settings, contenders, and a lab that plays and keeps them."""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from distmllm_bench.metrics import optimum
from distmllm_bench.sweep.identity import (
    cell_key,
    module_sources,
    policy_hash,
    policy_sources,
)
from distmllm_env import Run, Scenario, Status, draw_world, load_policy, play
from distmllm_env.equations import Array
from distmllm_env.files import write_atomic
from distmllm_env.scenario import ENC, LLM


@dataclass(frozen=True)
class Setting:
    """One world family of an experiment.

    Attributes:
        id: Name in tables, e.g. ``M=7``.
        overrides: Scenario keys that differ from ``scenario``, dotted or top-level.
        scenario: Name of the scenario.
    """

    id: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    scenario: str = "paper"

    def load(self, base: Mapping[str, Any]) -> Scenario:
        """Return the scenario, with other constants than its own where ``base`` names them."""
        return Scenario.load(self.scenario, {**base, **self.overrides})


@dataclass(frozen=True)
class Contender:
    """A policy with its options.

    Attributes:
        policy: Name of the policy.
        options: What its class is called with.
        label: Name in tables; the policy's if empty.
    """

    policy: str
    options: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""

    @property
    def id(self) -> str:
        """Name in tables."""
        return self.label or self.policy


@dataclass(frozen=True, eq=False)
class Curves:
    """What is kept of the runs of one contender in one setting; B runs, T slots, S stages.

    Attributes:
        profit: Realised profit of all providers, (B, T, S).
        expected: The same with the noise averaged out, given who was admitted, (B, T, S).
        free: Mean profit of the chosen workers as if nobody else had come, transfers charged,
            (B, T, S): the contention-free reading.
        provider: Realised profit of each provider, (B, T, M, S), float32.
        best: Mean profit per slot of the joint optimum, (B, S).
        rejected: Share of placed tasks that were not admitted, (B,).
        exploring: Whether a run explores in a slot, bool (B, T); False where the policy has no
            phases.
    """

    profit: Array
    expected: Array
    free: Array
    provider: Array
    best: Array
    rejected: Array
    exploring: Array

    @property
    def slots(self) -> int:
        """T."""
        return self.profit.shape[1]

    @cached_property
    def average(self) -> Array:
        """Profit per slot averaged from slot 1 to t, (B, T, S): "time-averaged profit" (D8)."""
        return self.profit.cumsum(axis=1) / np.arange(1, self.slots + 1)[:, None]

    @cached_property
    def regret(self) -> Array:
        """Cumulative pseudo-regret of each stage against the joint optimum's part, (B, T, S)."""
        return (self.best[:, None] - self.expected).cumsum(axis=1)

    @cached_property
    def free_regret(self) -> Array:
        """The same in the contention-free reading, (B, T, S)."""
        return (self.best[:, None] - self.free).cumsum(axis=1)

    @cached_property
    def total(self) -> Array:
        """Realised profit per slot, averaged over the run, both stages, (B,)."""
        return self.profit.sum(axis=2).mean(axis=1)

    def window(self, width: int) -> Array:
        """Moving average of the profit over the last ``width`` slots, fewer at first, (B, T, S)."""
        summed = np.concatenate([np.zeros_like(self.profit[:, :1]), self.profit.cumsum(axis=1)], 1)
        end = np.arange(1, self.slots + 1)
        start = np.maximum(end - width, 0)
        return (summed[:, end] - summed[:, start]) / (end - start)[:, None]


class Lab:
    """Plays settings and keeps what they gave, in memory and on disk.

    All contenders of a setting meet the same worlds and the same luck, run by run.

    Args:
        seeds: One per run.
        folder: Where to keep results; None: in memory only. A result is found again only by the
            same scenario, policy, options, seeds and source code.
        base: Constants that replace the scenario's in every setting.
        progress: Called with a description before something is played.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        folder: Path | None = None,
        base: Mapping[str, Any] | None = None,
        progress: Callable[[str], object] | None = None,
    ) -> None:
        self.seeds = tuple(seeds)
        self.base = dict(base or {})
        self._folder = folder
        self._progress = progress or (lambda label: None)
        self._memory: dict[str, Curves] = {}
        self._optima: dict[str, Array] = {}

    def curves(self, setting: Setting, contender: str | Contender) -> Curves:
        """Return the curves of a contender (a policy's name will do) in a setting."""
        if isinstance(contender, str):
            contender = Contender(contender)
        scenario = setting.load(self.base)
        key = self._key(scenario, contender)
        if key not in self._memory:
            self._memory[key] = self._load(key) or self._play(setting, scenario, contender, key)
        return self._memory[key]

    def _play(self, setting: Setting, scenario: Scenario, who: Contender, key: str) -> Curves:
        self._progress(f"{setting.id}: {who.id}")
        run = play(scenario, load_policy(who.policy, **who.options), self.seeds)
        curves = condense(run, self._best(scenario))
        if self._folder is not None:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **{f.name: getattr(curves, f.name) for f in fields(curves)})
            write_atomic(self._folder / f"{key}.npz", buffer.getvalue())
        return curves

    def _best(self, scenario: Scenario) -> Array:
        text = scenario.to_toml()
        if text not in self._optima:
            self._optima[text] = optimum(draw_world(scenario, self.seeds)).stage_value
        return self._optima[text]

    def _load(self, key: str) -> Curves | None:
        path = self._folder / f"{key}.npz" if self._folder is not None else None
        if path is None or not path.exists():
            return None
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as data:
                return Curves(**{f.name: data[f.name] for f in fields(Curves)})
        except (OSError, EOFError, ValueError, KeyError, BadZipFile, zlib.error) as error:
            self._progress(f"{path.name} cannot be read ({error}): played again")
            return None

    def _key(self, scenario: Scenario, contender: Contender) -> str:
        sources = policy_sources(contender.policy, contender.options)
        policy = policy_hash(contender.policy, contender.options, sources)
        played = [
            cell_key(scenario, policy, seed, module_sources(__name__).digest) for seed in self.seeds
        ]
        return hashlib.sha256(" ".join(played).encode()).hexdigest()[:20]


def condense(run: Run, best: Array) -> Curves:
    """Keep of a recorded batch of runs what figures and claims need.

    Args:
        run: The record.
        best: Mean profit per slot of the joint optimum, (B, S).
    """
    status = run.status
    placed = (status != Status.DEFERRED).sum(axis=(1, 2, 3))
    admitted = (status == Status.ADMITTED).sum(axis=(1, 2, 3))
    exploring = np.zeros(status.shape[:2], bool) if run.exploring is None else run.exploring
    choice = run.allocation.astype(np.int64).transpose(0, 3, 2, 1)  # (B, S, M, T)
    free = np.take_along_axis(run.world.mean_profit, choice, axis=3).sum(axis=2)
    placed_both = (choice < run.world.scenario.workers).all(axis=1)
    apart = placed_both & (choice[:, ENC] != choice[:, LLM])
    free[:, LLM] -= (run.world.transfer_cost[..., None] * apart).sum(axis=1)
    return Curves(
        profit=run.profit.sum(axis=2),
        expected=run.expected_profit.sum(axis=2),
        free=free.transpose(0, 2, 1),
        provider=run.profit.astype(np.float32),
        best=best,
        rejected=(placed - admitted) / np.maximum(placed, 1),
        exploring=exploring,
    )
