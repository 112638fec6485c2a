"""A policy in a process of its own: it sees what the contract gives and nothing else.

Classes from outside this project play here. The market stays in the process that asks, so no
back door leads to the world; and one that exits, crashes or never ends harms nobody else. What
comes back is numbers and JSON, never code.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

import numpy as np

from distmllm_bench.provenance import THREADS
from distmllm_bench.sweep.identity import policy_hash, policy_sources
from distmllm_env.equations import Array
from distmllm_env.luck import policy_generator
from distmllm_env.market import check_choices
from distmllm_env.policy import Feedback, Knows, Observation, Policy, Problem
from distmllm_env.registry import load_policy, policy_target
from distmllm_env.runs import batched

START_SECONDS = 120.0
"""How long a policy may take until it is loaded: imports of large libraries are slow."""

LEGAL: tuple[Knows, ...] = ("rewards", "latency_energy")
"""What a policy of the closed division may know."""


class PolicyFailedError(Exception):
    """A policy broke the contract, raised, died or took too long.

    Attributes:
        trace: Where it happened, if the policy raised.
    """

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.trace = trace


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
        hash: Of class, parameters and sources.
    """

    target: str
    knows: Knows
    coordinates: bool
    pretrained: bool
    files: Mapping[str, str]
    packages: Mapping[str, str | None]
    hash: str

    @property
    def division(self) -> str:
        """``closed``: legal observations only; ``open``: anything that is declared."""
        return "closed" if self.knows in LEGAL and not self.pretrained else "open"


def is_ours(spec: str) -> bool:
    """Whether a policy's class belongs to this project, and so plays in the caller's process."""
    return policy_target(spec)[0].partition(".")[0] == "distmllm_agents"


def about_policy(spec: str, parameters: Mapping[str, Any]) -> About:
    """Say what a policy declares. A class from outside is loaded in a process of its own.

    Raises:
        ValueError: There is no such policy, or it cannot be made with these parameters.
        MissingExtraError: A policy of this project needs an extra that is not installed.
    """
    if is_ours(spec):
        return _about(load_policy(spec, **parameters), spec, parameters)
    try:
        with Isolated(spec, parameters, START_SECONDS) as policy:
            return policy.about
    except PolicyFailedError as error:
        raise ValueError(f"policy {spec!r} cannot be loaded: {error}") from error


def _about(policy: Policy, spec: str, parameters: Mapping[str, Any]) -> About:
    sources = policy_sources(spec, parameters, getattr(policy, "files", ()))
    target = policy_target(spec)[0]
    return About(
        target=target,
        knows=getattr(policy, "knows", "rewards"),
        coordinates=bool(getattr(policy, "coordinates", False)),
        pretrained=bool(getattr(policy, "pretrained", False)),
        files=sources.files,
        packages=sources.packages,
        hash=policy_hash(target, parameters, sources),
    )


class Isolated:
    """A policy that plays in another process; use as a context manager.

    Args:
        spec: ``package.module:Class``, or a name.
        parameters: What its class is called with.
        seconds: The process is stopped that long after its start; None: never.

    Attributes:
        about: What it declares.
        exploring: bool (B,), or None where it has no phases.

    Raises:
        PolicyFailedError: It cannot be loaded; the methods raise it when the policy fails.
    """

    batched = True

    def __init__(self, spec: str, parameters: Mapping[str, Any], seconds: float | None) -> None:
        self.exploring: Array | None = None
        self._seconds, self._late = seconds, False
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=_environment(),
            )
        self._connection = Connection(ours.detach())
        self._timer = threading.Timer(seconds or 0.0, self._stop)
        if seconds is not None:
            self._timer.daemon = True
            self._timer.start()
        try:
            self.about = About(**self._ask("load", spec, dict(parameters))[0])
        except BaseException:
            self.close()
            raise
        self.knows, self.coordinates = self.about.knows, self.about.coordinates

    def reset(self, problem: Problem, rng: Sequence[np.random.Generator]) -> None:
        """Start new runs."""
        self._shape = (problem.batch, problem.providers, 2)
        self._phases(self._ask("reset", problem, [row.bit_generator.state for row in rng])[0])

    def act(self, observation: Observation) -> Array:
        """Return the allocation, int64 (B, M, S)."""
        head, body = self._ask("act", observation.slot)
        self._phases(head)
        count = self._shape[0] * self._shape[1] * self._shape[2] * 8
        if len(body) != count:
            raise PolicyFailedError(f"its process sent {len(body)} bytes where {count} belong.")
        return np.frombuffer(body, np.int64).reshape(self._shape).copy()

    def update(self, feedback: Feedback) -> None:
        """Pass on what the slot gave. It is not waited for; an error comes with the next answer."""
        self._send("update", feedback)

    def times(self) -> list[float]:
        """Return the seconds that the policy took for each slot, act and update together."""
        return [float(x) for x in self._ask("times")[0]["seconds"]]

    def close(self) -> None:
        """Stop the process."""
        self._timer.cancel()
        self._process.kill()
        self._process.wait()
        self._connection.close()

    def __enter__(self) -> Isolated:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _stop(self) -> None:
        self._late = True
        self._process.kill()

    def _send(self, *message: Any) -> None:
        try:
            self._connection.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))
        except OSError as error:
            raise self._death() from error

    def _ask(self, *message: Any) -> tuple[dict[str, Any], bytes]:
        self._send(*message)
        try:
            answer = self._connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise self._death() from error
        line, _, body = answer.partition(b"\n")
        try:
            head = json.loads(line)
            failed = head.get("error")
        except (ValueError, AttributeError) as error:
            raise PolicyFailedError("its process sent something that is no answer.") from error
        if failed is not None:
            raise PolicyFailedError(str(failed), str(head.get("trace", "")))
        return head, body

    def _phases(self, head: Mapping[str, Any]) -> None:
        told = head.get("exploring")
        self.exploring = None if told is None else np.array(told, bool)

    def _death(self) -> PolicyFailedError:
        self._process.wait()
        if self._late:
            return PolicyFailedError(f"it took longer than {self._seconds:g} s and was stopped.")
        code = self._process.returncode
        if code < 0:
            name = signal.Signals(-code).name
            return PolicyFailedError(f"its process was killed by {name}.")
        return PolicyFailedError(f"its process ended with exit code {code}.")


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


def error_text(error: BaseException) -> str:
    """Return kind and message of an error, without addresses: they differ from run to run."""
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", f"{type(error).__name__}: {error}")
    text = " ".join(text.split())
    return text if len(text) <= 1000 else f"{text[:997]}..."


def _environment() -> dict[str, str]:
    """What the process starts with: the caller's import path, one thread, fixed hashes."""
    paths = [os.path.abspath(path) for path in sys.path if path]
    return {
        **os.environ,
        **dict.fromkeys(THREADS, "1"),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONHASHSEED": "0",
    }


def _serve(connection: Connection) -> None:
    """Play as the other process asks, until it hangs up."""
    policy: Timed | None = None
    shape: tuple[int, ...] = ()
    workers = 0
    failed: dict[str, str] | None = None  # told at the next question
    while True:
        try:
            word, *given = pickle.loads(connection.recv_bytes())
        except EOFError:
            return
        head: dict[str, Any] = {}
        body = b""
        try:
            if failed is None:
                if word == "load":
                    made = load_policy(given[0], **given[1])
                    head = asdict(_about(made, *given))
                    policy = Timed(made)
                elif policy is not None and word == "reset":
                    problem, states = given
                    shape, workers = (problem.batch, problem.providers, 2), problem.workers
                    policy.reset(problem, [policy_generator(state) for state in states])
                elif policy is not None and word == "act":
                    answer = policy.act(Observation(given[0]))
                    body = check_choices("allocation", answer, shape, workers).tobytes()
                elif policy is not None and word == "update":
                    policy.update(given[0])
                elif policy is not None:
                    head = {"seconds": policy.seconds}
                if policy is not None and word in ("reset", "act"):
                    told = policy.exploring
                    phases = None if told is None else np.atleast_1d(np.asarray(told, bool))
                    head["exploring"] = None if phases is None else phases.tolist()
        except Exception as error:  # whatever a policy may raise
            failed = {"error": error_text(error), "trace": _trace(error)}
        if word != "update":
            connection.send_bytes(json.dumps(failed or head).encode() + b"\n" + body)


def _trace(error: BaseException) -> str:
    """Return where a policy raised, without our own frames around it."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if frame.filename != __file__]
    return "".join(traceback.format_list(theirs))[-4000:]


def _watch(parent: int) -> None:
    """End this process when the one that started it is gone."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()
    with suppress(BrokenPipeError, ConnectionResetError):
        _serve(Connection(int(sys.argv[1])))
