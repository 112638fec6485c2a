"""The trained policies of the package, and others from files. Torch loads when one is made."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import as_file, files
from typing import Any

import numpy as np

from distmllm_env.archive import POLICY, describe
from distmllm_env.equations import Array
from distmllm_env.errors import require_extra, unknown_name
from distmllm_env.policy import Feedback, Observation, Policy, Problem
from distmllm_env.schema import require

FOLDER = "checkpoints"


class PPO:
    """The equivariant network trained with PPO on worlds of a scenario; weights are shipped.

    It plays any number of providers and workers, and learns no further: what it knows of the run at
    hand are its running statistics. On scenarios that no weights are shipped for it plays with
    those of ``paper``, for whatever that is worth.

    Args:
        weights: Whose weights: ``paper``, ``testbed``, or ``auto``, those of the scenario at hand.
        act: ``sample`` from its distribution, as in training, or ``greedy``.

    Raises:
        MissingExtraError: The extra ``rl`` is not installed.
        ValueError: There are no such weights, or ``act`` is neither.
    """

    name = "ppo"
    batched = True
    knows = "rewards"
    pretrained = True
    coordinates = True

    def __init__(self, weights: str = "auto", act: str = "sample") -> None:
        require_extra("rl", "learned policies", "torch", "stable_baselines3", "sb3_contrib")
        if weights not in ("auto", *shipped()):
            raise unknown_name("weights", weights, ("auto", *shipped()))
        if act not in ("sample", "greedy"):
            raise unknown_name("act", act, ("sample", "greedy"))
        self.weights = weights
        self.act_as = act
        self._loaded: dict[str, Policy] = {}

    def reset(self, problem: Problem, rng: list[np.random.Generator]) -> None:
        """Begin a run."""
        name = self.weights
        if name == "auto":
            name = problem.scenario if problem.scenario in shipped() else "paper"
        if name not in self._loaded:
            self._loaded[name] = load_shipped(name, self.act_as)
        self._playing = self._loaded[name]
        self._playing.reset(problem, rng)

    def act(self, observation: Observation) -> Array:
        """Choose, int (B, M, S)."""
        return self._playing.act(observation)

    def update(self, feedback: Feedback) -> None:
        """Take the slot into the running statistics."""
        self._playing.update(feedback)


def read_policy(path: str, act: str | None = None) -> Policy:
    """Read what ``distmllm train`` wrote; nothing in the file is run.

    Args:
        path: ``policy.npz``.
        act: ``greedy`` or ``sample``, if other than the policy's own.

    Raises:
        MissingExtraError: The extra ``rl`` is not installed.
        ValueError: The file is no trained policy, is damaged or was edited.
    """
    require_extra("rl", "learned policies", "torch", "stable_baselines3", "sb3_contrib")
    from distmllm_agents.learned.trained import load_policy_file

    return load_policy_file(path, act)


@cache
def shipped() -> dict[str, str]:
    """Return the shipped weights: scenario -> SHA-256 that the file must have."""
    text = (files("distmllm_agents.learned") / FOLDER / "index.toml").read_text("utf-8")
    index: dict[str, dict[str, Any]] = tomllib.loads(text)
    return {name: entry["sha256"] for name, entry in index.items()}


def about_shipped(scenario: str) -> dict[str, Any]:
    """Return what a shipped file says about its training: settings, command, curve, versions.

    Raises:
        ValueError: The file is not the one that was shipped.
    """
    with as_file(files("distmllm_agents.learned") / FOLDER / f"{scenario}.npz") as path:
        about = describe(path, POLICY)
    found, right = about["sha256"], shipped()[scenario]
    require(found == right, f"digest of the shipped weights {scenario!r}", found, right)
    return about


def load_shipped(scenario: str, act: str | None = None) -> Policy:
    """Return a shipped policy.

    Raises:
        ValueError: The file is not the one that was shipped.
    """
    from distmllm_agents.learned.trained import load_policy_file

    about_shipped(scenario)
    with as_file(files("distmllm_agents.learned") / FOLDER / f"{scenario}.npz") as path:
        return load_policy_file(path, act)
