"""Where jobs are played: in this process, in processes of this machine, or on a Ray cluster.

An engine knows nothing of what it plays. It gives each job to ``work`` and yields the results as
they come. Jobs must not depend on each other, and the same job must give the same result wherever
and however often it is played: one whose process or machine died is played again.

Close what ``run`` returns when you stop early, so that nothing goes on in the background; an
exception, Ctrl-C too, closes it only with the help of ``closing``::

    with closing(engine.run(work, jobs)) as results:
        for index, result in results:
            ...
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

from distmllm_bench.provenance import THREADS
from distmllm_env.errors import require_extra, unknown_name

J = TypeVar("J")
R = TypeVar("R")

BACKENDS = ("loky", "ray", "serial")
# What every worker process starts with: one job, one thread, and sets in the same order everywhere.
WORKER_ENVIRONMENT = {**dict.fromkeys(THREADS, "1"), "PYTHONHASHSEED": "0"}


@dataclass(frozen=True)
class Lost:
    """A job that gave no result: it raised, or the process or machine that had it died.

    Attributes:
        why: One line: what it raised, or how it died.
    """

    why: str


class Engine(Protocol):
    """Plays jobs."""

    def run(
        self, work: Callable[[J], R], jobs: Sequence[J]
    ) -> Generator[tuple[int, R | Lost], None, None]:
        """Play all jobs.

        Args:
            work: A function of a module, since worker processes import it.
            jobs: What it is called with, one at a time.

        Yields:
            The index of a job and its result, in any order, each job exactly once.
        """
        ...


@dataclass(frozen=True)
class SerialEngine:
    """Plays one job after the other in this process, with its threads."""

    def run(
        self, work: Callable[[J], R], jobs: Sequence[J]
    ) -> Generator[tuple[int, R | Lost], None, None]:
        """Play all jobs in their order."""
        for index, job in enumerate(jobs):
            yield index, _attempt(work, job)


@dataclass(frozen=True)
class LokyEngine:
    """Plays jobs in processes of this machine, by the loky executor that comes with joblib.

    When a process dies, nobody can tell which of the jobs handed out killed it. These, and only
    these, are played again, each in a process of its own; one that kills that too is lost.

    Attributes:
        processes: How many.
    """

    processes: int

    def run(
        self, work: Callable[[J], R], jobs: Sequence[J]
    ) -> Generator[tuple[int, R | Lost], None, None]:
        """Play all jobs in as many processes."""
        waiting = deque(enumerate(jobs))
        while waiting:
            suspects = yield from _pool(self.processes, work, waiting)
            for index, job, _ in suspects:
                alone = deque([(index, job)])
                while alone:
                    for _, _, lost in (yield from _pool(1, work, alone)):
                        yield index, lost


def _pool(
    processes: int, work: Callable[[J], R], waiting: deque[tuple[int, J]]
) -> Generator[tuple[int, R | Lost], None, list[tuple[int, J, Lost]]]:
    """Play what waits until a process dies; return the jobs that were handed out then."""
    from joblib.externals.loky import BrokenProcessPool, ProcessPoolExecutor

    pool = ProcessPoolExecutor(
        processes,
        timeout=300.0,  # of idleness, for the case that this process is killed
        env=WORKER_ENVIRONMENT,
        initializer=signal.signal,  # Ctrl-C is for this process, which then ends the others
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    out: dict[Future[R | Lost], tuple[int, J]] = {}
    done: SimpleQueue[Future[R | Lost]] = SimpleQueue()
    suspects: list[tuple[int, J, Lost]] = []
    stopped, broken = True, False
    try:
        while out or (waiting and not broken):
            # One job each and one to go on with; more do not fit into loky's own queue.
            while waiting and not broken and len(out) < 2 * processes:
                with _uninterrupted():
                    try:
                        future = pool.submit(_attempt, work, waiting[0][1])
                    except BrokenProcessPool:
                        broken = True
                    else:
                        out[future] = waiting.popleft()
                        future.add_done_callback(done.put)
            if out:
                index, job = out.pop(future := done.get())
                try:
                    result = future.result()
                except BrokenProcessPool as error:
                    broken = True
                    suspects.append((index, job, Lost(_one_line(error))))
                except Exception as error:  # what cannot be pickled
                    yield index, Lost(_one_line(error))
                else:
                    yield index, result
        stopped = False
    finally:
        with _uninterrupted():
            # loky stumbles over a job not yet in its queue when it is told to kill.
            until = time.monotonic() + 1.0
            while any(not (f.running() or f.done()) for f in out) and time.monotonic() < until:
                time.sleep(0.001)
            pool.shutdown(wait=True, kill_workers=stopped)
    return suspects


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Keep Ctrl-C back until the end of the block: it could leave locks behind that loky needs."""
    kept: list[object] = []
    main = threading.current_thread() is threading.main_thread()
    ours = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, lambda *_: kept.append(None))
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if kept:
            raise KeyboardInterrupt


@dataclass(frozen=True)
class RayEngine:
    """Plays each job as a Ray task of one CPU, on this machine or on a cluster.

    A task whose process or node dies is run again elsewhere by Ray, ``retries`` times; then the job
    is lost. Nodes that join are used at once.

    All nodes of a cluster need the same versions of Python, Ray and this package, and the modules
    of one's own. These are found in the folder where the program was started and in those of
    ``PYTHONPATH``, so either the nodes share these folders or the program is started by
    ``ray job submit --working-dir . -- ...``, with the address ``auto``. Who may connect is a
    matter of Ray and its variables ``RAY_AUTH_...``.

    Attributes:
        cpus: CPUs of the Ray instance that is started here; a cluster has its own.
        address: A running cluster, ``host:port`` or ``auto``. None starts an instance on this
            machine, which ends with the run.
        retries: How often a job may be played again.
    """

    cpus: int
    address: str | None = None
    retries: int = 5

    def __post_init__(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read by the import
        require_extra("ray", "the backend ray", "ray")

    def run(
        self, work: Callable[[J], R], jobs: Sequence[J]
    ) -> Generator[tuple[int, R | Lost], None, None]:
        """Play all jobs on the nodes that are there."""
        import ray

        with ExitStack() as stack:
            # Standard output belongs to results, and Ray would tell there of each task that dies.
            stack.callback(setattr, ray._private.worker, "_worker_logs_enabled", True)
            ray._private.worker._worker_logs_enabled = False
            ray.init(
                **self._where(stack),
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": _environment()},
            )
            stack.callback(ray.shutdown)
            task: Any = ray.remote(num_cpus=1, max_retries=self.retries)(_attempt)
            shared, waiting = ray.put(work), iter(enumerate(jobs))
            out: dict[Any, int] = {}
            stack.callback(_cancel, out)
            while True:
                # Enough for each CPU to go on with; the rest waits here, not in Ray's scheduler.
                most = 4 * max(1, int(ray.cluster_resources().get("CPU", 0)))
                for index, job in islice(waiting, max(0, most - len(out))):
                    out[task.remote(shared, job)] = index
                if not out:
                    return
                done, _ = ray.wait(list(out), timeout=5.0)  # then looks for nodes that joined
                for reference in done:
                    yield out.pop(reference), _fetch(reference)

    def _where(self, stack: ExitStack) -> dict[str, Any]:
        """Return the arguments of ``ray.init`` for a cluster, or for an instance of our own."""
        if self.address is not None:
            return {"address": self.address}
        # A token for this instance alone; otherwise Ray writes one into the home folder.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        folder = tempfile.TemporaryDirectory(
            prefix="ray-",
            dir="/tmp" if os.name == "posix" else None,  # a socket's path must be short
            ignore_cleanup_errors=True,
        )
        return {
            "address": "local",
            "num_cpus": self.cpus,
            "include_dashboard": False,
            "object_store_memory": 100_000_000,  # results are small
            "_temp_dir": stack.enter_context(folder),
        }


def make_engine(backend: str, jobs: int, address: str | None = None) -> Engine:
    """Return the engine of a name.

    Args:
        backend: One of ``BACKENDS``.
        jobs: Jobs at a time; one job of ``loky`` needs no other process. ``serial`` and a cluster
            do not look at it.
        address: A Ray cluster.

    Raises:
        ValueError: Unknown name, fewer than one job, or an address without Ray.
        MissingExtraError: Ray is not installed.
    """
    if backend not in BACKENDS:
        raise unknown_name("backend", backend, BACKENDS)
    if jobs < 1:
        raise ValueError(f"--jobs must be at least 1, not {jobs}")
    if backend == "ray":
        return RayEngine(jobs, address)
    if address is not None:
        raise ValueError(f"--ray-address is for --backend ray, not {backend}")
    return SerialEngine() if backend == "serial" or jobs == 1 else LokyEngine(jobs)


def _attempt(work: Callable[[J], R], job: J) -> R | Lost:
    try:
        return work(job)
    except (Exception, SystemExit) as error:  # one job must not end the others
        return Lost(_one_line(error))


def _fetch(reference: Any) -> Any:
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        return Lost(_one_line(getattr(error, "cause", None) or error))


def _cancel(out: Mapping[Any, int]) -> None:
    """End tasks that nobody waits for: in the midst of them, Ray's shutdown may end this process.

    It takes their deaths for failures, and the closed connection to its node for a dead node.
    """
    import ray

    for reference in out:
        ray.cancel(reference, force=True)
    if out:
        ray.wait(list(out), num_returns=len(out), timeout=10.0, fetch_local=False)


def _environment() -> dict[str, str]:
    """Return what Ray's workers start with; the folder of the start is put on their path by Ray."""
    paths = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    ours = [os.path.abspath(path) for path in paths]
    return {**WORKER_ENVIRONMENT, "PYTHONPATH": os.pathsep.join([*ours, "${PYTHONPATH}"])}


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
