"""Training: builds markets and learners, evaluates on the way, saves what is needed to resume.

A folder of results holds ``policy.npz`` (the trained policy), ``state.npz`` (to resume from),
``curve.csv`` (evaluations), ``settings.toml`` and ``log/`` (for TensorBoard).
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.logger import configure

from distmllm_agents.heu import HEU
from distmllm_agents.learned.independent import Round
from distmllm_agents.learned.learner import Learner
from distmllm_agents.learned.randomness import set_random_state, untouched
from distmllm_agents.learned.settings import (
    EVALUATION_SEEDS,
    TRAINING_SEEDS,
    Settings,
    make_settings,
)
from distmllm_agents.learned.table import Table
from distmllm_agents.learned.trained import Trained
from distmllm_agents.learned.vec_env import MarketVecEnv, RowsEnv
from distmllm_agents.oracle import optimum
from distmllm_env import Policy, Scenario, play, schema
from distmllm_env.archive import POLICY, STATE, read_archive, write_archive
from distmllm_env.equations import Array
from distmllm_env.files import write_atomic


@dataclass(frozen=True)
class Evaluation:
    """How good the policy was after so many slots of training.

    Attributes:
        slots: Market slots trained.
        seconds: Wall time of training so far, evaluations and saving left out.
        share: Expected profit as a share of the optimum, mean over the runs.
        sd: Standard deviation of it over the runs.
        heu: The same share of HEU, on the same runs.
    """

    slots: int
    seconds: float
    share: float
    sd: float
    heu: float


class Training:
    """One training, from its settings to its files.

    Args:
        settings: What to train.
        out: Folder of the results.
        command: What the user typed, for the record.
        tell: Called with every evaluation, and with the slots trained between them.

    Attributes:
        curve: The evaluations so far.
        seconds: Wall time of training, evaluations and saving left out.
        slots: Market slots trained.

    Raises:
        ValueError: A setting is not allowed.
    """

    def __init__(
        self,
        settings: Settings,
        out: Path,
        command: str = "",
        tell: Callable[[int, Evaluation | None], object] = lambda slots, evaluation: None,
    ) -> None:
        torch.set_num_threads(settings.threads)
        self.settings = settings
        self.out = out
        self.scenario = Scenario.load(settings.scenario)
        self.curve: list[Evaluation] = []
        self.seconds = 0.0
        self.slots = 0
        self._saved_at = 0
        self._command = command
        self._tell = tell
        self._heu: Array | None = None
        self._make_learners()
        self._states: list[tuple[dict[str, Array], dict[str, Any]]] = []

    @property
    def market_seconds(self) -> float:
        """Wall time spent in playing markets."""
        playing = self._round or self._env
        return 0.0 if playing is None else playing.seconds

    def run(self) -> Trained:
        """Train to the end, or go on to it.

        Returns:
            The trained policy; it is in ``policy.npz`` too.
        """
        settings = self.settings
        write_atomic(self.out / "settings.toml", schema.to_toml(settings.to_dict()))
        rows = settings.slots * self._rows_per_slot
        self._clock = time.perf_counter()
        if self._round is None:
            set_random_state(self.learners[0].random)
            self.learners[0].learn(rows, lambda: self._between(0))
        else:
            self._round.run(
                [partial(self._learn_in_thread, i, rows) for i in range(len(self.learners))],
                [learner.random for learner in self.learners],
            )
        self.seconds += time.perf_counter() - self._clock
        self.slots = self.learners[0].rows_played // self._rows_per_slot
        if not self.curve or self.curve[-1].slots < self.slots:
            self._evaluate()
        self._save_policy()
        return self.policy()

    def policy(self) -> Trained:
        """Return the policy as it is now."""
        return Trained(self.settings, self.scenario, [x.weights() for x in self.learners])

    def resume(self) -> None:
        """Go on from ``state.npz`` in the folder, as if there had been no interruption.

        Raises:
            ValueError: There is none, it is damaged, or it belongs to other settings.
        """
        path = self.out / "state.npz"
        arrays, about, _ = read_archive(path, STATE)
        try:
            self._check_same(path, about)
            self._restore(arrays, about)
        except KeyError as error:
            raise ValueError(f"{path} does not fit: {error} is missing.") from error
        except (TypeError, AttributeError, IndexError, RuntimeError) as error:
            raise ValueError(f"{path} does not fit: {error}.") from error
        except ValueError as error:
            if str(path) in str(error):
                raise
            raise ValueError(f"{path} does not fit: {error}") from error

    def _check_same(self, path: Path, about: Mapping[str, Any]) -> None:
        theirs = make_settings(about["settings"])
        for name, value in vars(self.settings).items():
            if value != getattr(theirs, name) and name not in _MAY_DIFFER:
                raise ValueError(
                    f"{path} was trained with {name} = {getattr(theirs, name)!r}, not {value!r}: "
                    f"resume with the same settings (only {', '.join(_MAY_DIFFER)} may differ), "
                    f"or take another folder."
                )
        if about["scenario"] != self.scenario.to_toml():
            raise ValueError(f"{path} was trained on another version of the scenario.")

    def _restore(self, arrays: Mapping[str, Array], about: Mapping[str, Any]) -> None:
        table = {k.removeprefix("table/"): v for k, v in arrays.items() if k.startswith("table/")}
        self._table.go_on(table | about["table"])
        for i, learner in enumerate(self.learners):
            own = {k.removeprefix(f"{i}/"): v for k, v in arrays.items() if k.startswith(f"{i}/")}
            learner.restore(own, about["learners"][i])
        self.curve = [Evaluation(**line) for line in about["curve"]]
        self.slots, self.seconds = about["slots"], about["seconds"]
        self._saved_at = self.slots

    def _make_learners(self) -> None:
        settings, scenario = self.settings, self.scenario
        central = settings.mode == "central"
        shorter = settings.episode_slots or scenario.slots
        trained_on = Scenario.load(scenario, slots=shorter)
        scale = settings.reward_scale or 1.0 / (
            scenario.value_scale * (scenario.providers if central else 1)
        )
        discrete = settings.algo == "dqn"
        seeds = range(TRAINING_SEEDS, TRAINING_SEEDS + settings.markets)
        first = [s + (settings.seed << 20) for s in seeds]
        self._round: Round | None = None
        self._env: MarketVecEnv | None = None
        envs: list[RowsEnv]
        if settings.mode == "independent":
            self._table = Table(
                trained_on,
                settings.markets,
                settings.observation,
                False,
                settings.reward,
                settings.fixed_world,
                settings.stagger,
            )
            self._table.start(first)
            self._round = Round(self._table, settings.observation, scale, discrete)
            envs = list(self._round.seats)
        else:
            self._env = MarketVecEnv(
                trained_on,
                settings.markets,
                settings.mode,
                settings.observation,
                settings.reward,
                scale,
                settings.fixed_world,
                settings.stagger,
                discrete,
            )
            self._table = self._env.table
            envs = [self._env]
        self._rows_per_slot = scenario.providers if settings.mode == "shared" else 1
        self.learners = []
        for i, env in enumerate(envs):
            folder = self.out / "log" / (f"provider_{i}" if len(envs) > 1 else "")
            logger = configure(str(folder), ["tensorboard"])
            self.learners.append(Learner(settings, env, settings.seed * len(envs) + i, logger))
        if self._env is not None:
            self._env.seed(first)  # the model has seeded it with a number of its own

    def _learn_in_thread(self, i: int, rows: int) -> None:
        torch.set_num_threads(self.settings.threads)  # holds for each thread
        self.learners[i].learn(rows, lambda: self._between(i))

    def _between(self, i: int) -> None:
        """Look whether something is due, between two rollouts of learner ``i``; the last one acts.

        Independent learners come here one after the other, at the same slot.
        """
        self.seconds += time.perf_counter() - self._clock
        if i == 0:
            self.slots = self.learners[0].rows_played // self._rows_per_slot
            self._states = []
        saves = self._is_due(self.settings.checkpoints, self._saved_at)
        if saves:
            self._states.append(self.learners[i].state())
        if i == len(self.learners) - 1:
            if saves:
                self._save_state()
                self._saved_at = self.slots
            if self._is_due(self.settings.evaluations, self.curve[-1].slots if self.curve else 0):
                self._evaluate()
            self._tell(self.slots, None)
        self._clock = time.perf_counter()

    def _is_due(self, times: int, last: int) -> bool:
        """Whether the next of ``times`` occasions, at even distances, has come since ``last``."""
        step = self.settings.slots / times
        return self.slots // step > last // step

    def _evaluate(self) -> None:
        settings = self.settings
        seeds = range(EVALUATION_SEEDS, EVALUATION_SEEDS + settings.evaluation_runs)
        with untouched():
            share = _share(self.policy(), self.scenario, seeds, settings.fixed_world)
            if self._heu is None:
                self._heu = _share(HEU(), self.scenario, seeds, settings.fixed_world)
        sd = float(share.std(ddof=1)) if len(share) > 1 else 0.0
        point = Evaluation(
            self.slots, self.seconds, float(share.mean()), sd, float(self._heu.mean())
        )
        self.curve.append(point)
        log = self.learners[0].model.logger
        log.record("eval/share_of_optimum", point.share)
        log.record("eval/heu_share_of_optimum", point.heu)
        log.dump(self.learners[0].rows_played)
        text = io.StringIO()
        writer = csv.DictWriter(text, list(vars(point)))
        writer.writeheader()
        writer.writerows(vars(p) for p in self.curve)
        write_atomic(self.out / "curve.csv", text.getvalue())
        self._tell(self.slots, point)

    def _save_policy(self) -> None:
        weights = {
            f"{i}/{name}": table.astype(np.float32)
            for i, learner in enumerate(self.learners)
            for name, table in learner.weights().items()
        }
        write_archive(self.out / "policy.npz", weights, {"kind": POLICY, **self._about()})

    def _save_state(self) -> None:
        table = self._table.state()
        plain = {name: table.pop(name) for name in ("seeds", "episodes")}
        arrays = {f"table/{name}": x for name, x in table.items()}
        for i, (own, _) in enumerate(self._states):
            arrays |= {f"{i}/{name}": x for name, x in own.items()}
        learners = [about for _, about in self._states]
        about = {"kind": STATE, "table": plain, "learners": learners, **self._about()}
        write_archive(self.out / "state.npz", arrays, about)

    def _about(self) -> dict[str, Any]:
        packages = ("distmllm-env", "numpy", "torch", "stable-baselines3", "sb3-contrib")
        return {
            "settings": self.settings.to_dict(),
            "scenario": self.scenario.to_toml(),
            "slots": self.slots,
            "seconds": self.seconds,
            "command": self._command,
            "curve": [vars(point) for point in self.curve],
            "versions": {name: version(name) for name in packages},
        }


_MAY_DIFFER = ("slots", "evaluations", "evaluation_runs", "checkpoints", "threads", "act")


def _share(policy: Policy, scenario: Scenario, seeds: range, world_seed: int | None) -> Array:
    """Return expected profit as a share of the optimum, of each run, (B,)."""
    run = play(scenario, policy, seeds, world_seed=world_seed)
    best = optimum(run.world).value * scenario.slots
    return run.expected_profit.sum(axis=(1, 2, 3)) / best
