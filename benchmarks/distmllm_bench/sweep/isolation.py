"""A policy in a process of its own: it sees what the contract gives and nothing else.

Classes from outside this project play here. The market stays in the process that asks, so no back
door leads to the world, and one that exits, crashes or never ends harms nobody else.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, get_args

import numpy as np

from distmllm_bench.sweep.child import NO_ANSWER, Answer, Child, OutsideError, serve
from distmllm_bench.sweep.identity import hash_of, policy_hash, policy_sources
from distmllm_env.equations import Array
from distmllm_env.errors import unknown_name
from distmllm_env.luck import policy_generator
from distmllm_env.market import check_choices
from distmllm_env.policy import Feedback, Knows, Observation, Policy, Problem
from distmllm_env.registry import load_policy, policy_target
from distmllm_env.runs import batched

START_SECONDS = 120.0
"""How long a policy may take until it is loaded: imports of large libraries are slow."""

LEGAL: tuple[Knows, ...] = ("rewards", "latency_energy")
"""What a policy of the closed division may know."""


@dataclass(frozen=True)
class About:
    """What a policy declares, and what stands behind it.

    Attributes:
        target: ``package.module:Class``.
        knows: What it needs.
        coordinates: Whether it decides for all providers together.
        pretrained: Whether it has learned from other worlds before.
        files: Its sources, name -> SHA-256.
        packages: Published packages behind it -> version.
        hash: Of class, parameters, sources and what it declares.
        classes: Its class and those that it is built on, ``module:Class``.
    """

    target: str
    knows: Knows
    coordinates: bool
    pretrained: bool
    files: Mapping[str, str]
    packages: Mapping[str, str | None]
    hash: str
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))  # JSON knows lists only

    @property
    def built_on(self) -> str:
        """The policy of this project that it is or is built on; empty: none."""
        return next((name for name in self.classes if is_ours(name)), "")

    @property
    def beyond(self) -> str:
        """What keeps it out of the closed division, as ``knows 'world'``; empty: nothing."""
        if self.knows not in LEGAL:
            return f"knows {self.knows!r}"
        return "is pretrained" if self.pretrained else ""

    @property
    def division(self) -> str:
        """``closed``: legal observations only; ``open``: anything that is declared."""
        return "open" if self.beyond else "closed"


def is_ours(spec: str) -> bool:
    """Whether a policy's class belongs to this project, and so plays in the caller's process."""
    return policy_target(spec)[0].partition(".")[0] == "distmllm_agents"


def about_policy(spec: str, parameters: Mapping[str, Any], folder: Path | None = None) -> About:
    """Say what a policy declares. A class from outside is loaded in a process of its own.

    Args:
        spec: Name, ``package.module:Class`` or policy file.
        parameters: What its class is called with.
        folder: Of somebody's submission, see :class:`Isolated`.

    Raises:
        ValueError: There is no such policy, or it cannot be made with these parameters.
        MissingExtraError: A policy of this project needs an extra that is not installed.
    """
    if folder is None and is_ours(spec):
        return declared(load_policy(spec, **parameters), spec, parameters)
    try:
        with Isolated(spec, parameters, None, folder) as policy:
            return policy.about
    except OutsideError as error:
        raise ValueError(f"policy {spec!r} cannot be loaded: {error}") from error


def declared(policy: Policy, spec: str, parameters: Mapping[str, Any]) -> About:
    """Say what a policy declares that is made and stands in this process; arguments as above.

    Raises:
        ValueError: It declares something that there is not to know.
    """
    sources = policy_sources(spec, parameters, getattr(policy, "files", ()))
    target = policy_target(spec)[0]
    told: dict[str, Any] = {
        "knows": getattr(policy, "knows", "rewards"),
        "coordinates": bool(getattr(policy, "coordinates", False)),
        "pretrained": bool(getattr(policy, "pretrained", False)),
    }
    if told["knows"] not in get_args(Knows):
        raise unknown_name(f"knows of policy {spec!r}", told["knows"], get_args(Knows))
    key = hash_of([policy_hash(target, parameters, sources), told])
    classes = tuple(
        f"{one.__module__}:{one.__qualname__}" for one in type(policy).__mro__ if one is not object
    )
    return About(
        target, files=sources.files, packages=sources.packages, hash=key, classes=classes, **told
    )


class Isolated:
    """A policy that plays in another process; use as a context manager.

    Args:
        spec: ``package.module:Class``, or a name.
        parameters: What its class is called with.
        seconds: The process is stopped that long after it is loaded; None: never.
        folder: It runs in this folder and is kept to it: somebody's submission.

    Attributes:
        about: What it declares.
        exploring: bool (B,), or None where it has no phases.
        pid: Number of its process.

    Raises:
        OutsideError: It cannot be loaded; the methods raise it when the policy fails.
    """

    batched = True

    def __init__(
        self,
        spec: str,
        parameters: Mapping[str, Any],
        seconds: float | None,
        folder: Path | None = None,
    ) -> None:
        self.exploring: Array | None = None
        self._child = Child(__name__, START_SECONDS, folder)
        self.pid = self._child.pid
        try:
            self.about = _told(self._child.ask("load", spec, dict(parameters))[0])
            self._child.allow(seconds)
        except BaseException:
            self.close()
            raise
        self.knows, self.coordinates = self.about.knows, self.about.coordinates

    def reset(self, problem: Problem, rng: Sequence[np.random.Generator]) -> None:
        """Start new runs."""
        self._shape = (problem.batch, problem.providers, 2)
        states = [row.bit_generator.state for row in rng]
        self._phases(self._child.ask("reset", problem, states)[0])

    def act(self, observation: Observation) -> Array:
        """Return the allocation, int64 (B, M, S)."""
        head, body = self._child.ask("act", observation.slot)
        self._phases(head)
        if len(body) != 8 * math.prod(self._shape):
            raise OutsideError(NO_ANSWER)
        return np.frombuffer(body, np.int64).reshape(self._shape).copy()

    def update(self, feedback: Feedback) -> None:
        """Pass on what the slot gave. It is not waited for; an error comes with the next answer."""
        self._child.send("update", feedback)

    def times(self) -> list[float]:
        """Return the seconds that the policy took for each slot, act and update together."""
        told = self._child.ask("times")[0].get("seconds")
        if not isinstance(told, list) or not all(type(x) is float for x in told):
            raise OutsideError(NO_ANSWER)
        return told

    def close(self) -> None:
        """Stop the process."""
        self._child.close()

    def __enter__(self) -> Isolated:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _phases(self, head: Mapping[str, Any]) -> None:
        told = head.get("exploring")
        if told is None:
            self.exploring = None
        elif isinstance(told, list) and [type(x) for x in told] == [bool] * self._shape[0]:
            self.exploring = np.array(told)
        else:
            raise OutsideError(NO_ANSWER)


def _told(head: Mapping[str, Any]) -> About:
    """Read what a process says of its policy."""
    try:
        told = {field.name: head[field.name] for field in fields(About)}
        texts = all(type(told[name]) is str for name in ("target", "knows", "hash"))
        flags = all(type(told[name]) is bool for name in ("coordinates", "pretrained"))
        tables = all(type(told[name]) is dict for name in ("files", "packages"))
        texts = texts and all(type(name) is str for name in told["classes"])
    except (KeyError, TypeError) as error:
        raise OutsideError(NO_ANSWER) from error
    if not (texts and flags and tables):
        raise OutsideError(NO_ANSWER)
    return About(**told)


class Timed:
    """A batched policy, and the seconds that it took for each slot."""

    batched = True

    def __init__(self, policy: Policy) -> None:
        self._policy = batched(policy)
        self.knows: Knows = getattr(policy, "knows", "rewards")
        self.seconds: list[float] = []

    def reset(self, problem: Problem, rng: Any) -> None:
        """Start new runs; this time is not counted."""
        self.seconds = []
        self._policy.reset(problem, rng)

    def act(self, observation: Observation) -> Array:
        """Return the allocation, (B, M, S)."""
        start = time.perf_counter()
        answer = self._policy.act(observation)
        self.seconds.append(time.perf_counter() - start)
        return answer

    def update(self, feedback: Feedback) -> None:
        """Pass on what the slot gave."""
        start = time.perf_counter()
        self._policy.update(feedback)
        self.seconds[-1] += time.perf_counter() - start

    def times(self) -> list[float]:
        """Return the seconds of each slot, act and update together."""
        return self.seconds

    @property
    def exploring(self) -> Array | None:
        """Whether each row is in an exploration phase, where the policy says so."""
        return getattr(self._policy, "exploring", None)


class _Server:
    """Plays as the other process asks."""

    def __init__(self) -> None:
        self._policy: Timed | None = None
        self._shape: tuple[int, ...] = ()
        self._workers = 0

    def __call__(self, word: str, *given: Any) -> Answer:
        if word == "load":
            made = load_policy(given[0], **given[1])
            self._policy = Timed(made)
            return asdict(declared(made, *given)), b""
        policy = self._policy
        assert policy is not None
        body = b""
        if word == "reset":
            problem, states = given
            self._shape, self._workers = (problem.batch, problem.providers, 2), problem.workers
            policy.reset(problem, [policy_generator(state) for state in states])
        elif word == "act":
            answer = policy.act(Observation(given[0]))
            body = check_choices("allocation", answer, self._shape, self._workers).tobytes()
        elif word == "update":
            policy.update(given[0])
        else:
            return {"seconds": policy.seconds}, b""
        told = policy.exploring
        if told is not None:
            told = np.broadcast_to(np.asarray(told, bool), self._shape[:1]).tolist()
        return {"exploring": told}, body


if __name__ == "__main__":
    serve(_Server(), quiet=frozenset({"update"}))
