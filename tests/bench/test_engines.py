"""Engines: each job once and the same everywhere, whatever raises, dies, leaves or joins."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from distmllm_bench.engines import (
    THREADS,
    Engine,
    LokyEngine,
    Lost,
    RayEngine,
    SerialEngine,
    make_engine,
)
from distmllm_env.errors import MissingExtraError

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
PARALLEL = ["loky", pytest.param("ray", marks=needs_ray)]
MARK = "DISTMLLM_TEST_MARK"


@pytest.fixture(autouse=True, scope="module")
def _here() -> Iterator[None]:
    """Let Ray's workers import this module, by the way that is meant for a user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.path.relpath(Path(__file__).parent))
        yield


# What is played. A job is a kind and an argument.


def value(seed: int) -> list[float]:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(20, 20)) @ rng.normal(size=20)).tolist()


def play(job: tuple[str, object]) -> object:
    kind, argument = job
    if kind == "raise":
        raise ValueError("no luck\nat all")
    if kind == "leave":
        sys.exit(3)
    if kind == "die":
        os._exit(3)
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "die once" and not Path(argument).exists():
        Path(argument).touch()
        os._exit(3)
    if kind == "interrupt":
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
    if kind == "frame":
        return sys._getframe()  # cannot be pickled
    if kind == "environment":
        return {name: os.environ.get(name) for name in (*THREADS, "PYTHONHASHSEED")}
    return value(argument) if kind == "value" else "alive"


SEEDS = [("value", seed) for seed in range(12)]


def jobs_with_deaths() -> list[tuple[str, object]]:
    deaths = ["raise", "leave", "die", "kill", "frame", "environment"]
    pairs = zip(SEEDS, [(kind, None) for kind in deaths], strict=False)
    return [job for pair in pairs for job in pair] + SEEDS[len(deaths) :]


def make(backend: str) -> Engine:
    if backend == "ray":
        return RayEngine(2, retries=0)
    return {"serial": SerialEngine(), "loky": LokyEngine(2)}[backend]


@pytest.fixture(scope="module", params=PARALLEL)
def played(request: pytest.FixtureRequest):
    """All that can happen to a job, once per engine: the jobs, and the result of each."""
    jobs = jobs_with_deaths()
    if request.param == "ray":
        cluster = request.getfixturevalue("ray_clusters")
        with cluster.mine():
            cluster.start()
            found = list(RayEngine(2, cluster.address, retries=0).run(play, jobs))
    else:
        found = list(make(request.param).run(play, jobs))
    assert sorted(index for index, _ in found) == list(range(len(jobs)))
    return jobs, dict(found)


def of_kind(played, kind: str) -> object:
    jobs, results = played
    (index,) = [index for index, job in enumerate(jobs) if job[0] == kind]
    return results[index]


def test_serial_plays_in_order_and_only_when_asked():
    seen = []
    results = SerialEngine().run(seen.append, "abc")
    assert seen == []
    assert next(results) == (0, None)
    assert seen == ["a"]
    assert [index for index, _ in results] == [1, 2]
    assert seen == ["a", "b", "c"]


def test_serial_goes_on_after_a_job_that_raises():
    jobs = [("value", 0), ("raise", None), ("leave", None), ("value", 1)]
    assert list(SerialEngine().run(play, jobs)) == [
        (0, value(0)),
        (1, Lost("ValueError: no luck at all")),
        (2, Lost("SystemExit: 3")),
        (3, value(1)),
    ]


def test_every_engine_gives_the_same_results_whatever_else_dies(played):
    jobs, results = played
    for index, (kind, seed) in enumerate(jobs):
        if kind == "value":
            assert results[index] == value(seed)


def test_a_job_that_raises_or_exits_is_lost_with_its_reason(played):
    assert of_kind(played, "raise") == Lost("ValueError: no luck at all")
    assert of_kind(played, "leave") == Lost("SystemExit: 3")


def test_a_result_that_cannot_be_sent_is_lost_with_its_reason(played):
    lost = of_kind(played, "frame")
    assert isinstance(lost, Lost)
    assert "frame" in lost.why


@pytest.mark.parametrize("kind", ["die", "kill"])
def test_a_job_that_kills_its_process_is_lost_alone(played, kind):
    lost = of_kind(played, kind)
    assert isinstance(lost, Lost)
    assert "\n" not in lost.why
    assert "worker" in lost.why


def test_workers_have_one_thread_and_a_fixed_hash_seed(played):
    expected = {**dict.fromkeys(THREADS, "1"), "PYTHONHASHSEED": "0"}
    assert of_kind(played, "environment") == expected


def test_loky_plays_a_job_again_whose_process_died(tmp_path):
    jobs = [("die once", str(tmp_path / "died")), *SEEDS[:5]]
    results = dict(LokyEngine(2).run(play, jobs))
    assert results == {0: "alive"} | {1 + seed: value(seed) for seed in range(5)}


def test_loky_workers_leave_ctrl_c_to_the_program():
    assert list(LokyEngine(1).run(play, [("interrupt", None)])) == [(0, "alive")]


def test_loky_plays_only_those_again_that_were_handed_out(tmp_path):
    jobs = [(str(tmp_path), index) for index in range(30)]
    results = dict(LokyEngine(2).run(note_and_maybe_die, jobs))
    assert [index for index, result in results.items() if result != index] == [10]
    times = {index: len(list(tmp_path.glob(f"{index}-*"))) for index in range(30)}
    assert times[10] == 2
    assert all(times[index] in (1, 2) for index in times)
    # Two at work and two next in line, of which those that had begun were begun twice.
    assert sum(times.values()) <= 30 + 4


def note_and_maybe_die(job: tuple[str, int]) -> int:
    folder, index = job
    (Path(folder) / f"{index}-{os.getpid()}-{time.monotonic_ns()}").touch()
    if index == 10:
        os._exit(1)
    return index


# Stopping early


def marked(mark: str) -> list[str]:
    """Return the command lines of all processes started under this mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    # Python's own, one per process, which ends with it.
    return [line for line in found if "resource_tracker" not in line]


def wait_until(condition: Callable[[], object], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def first_quick_then_slow(index: int) -> int:
    if index:
        time.sleep(60)
    return index


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("backend", ["loky"])
def test_closing_early_ends_the_workers(backend, monkeypatch, tmp_path):
    monkeypatch.setenv(MARK, str(tmp_path))
    with closing(make(backend).run(first_quick_then_slow, range(100))) as results:
        assert next(results) == (0, 0)
        assert marked(str(tmp_path))
        begun = time.monotonic()
    assert time.monotonic() - begun < 5
    assert marked(str(tmp_path)) == []


SCRIPT = """
import sys
from contextlib import closing

import here, there
from distmllm_bench.engines import make_engine

with closing(make_engine(sys.argv[1], 2).run(here.work, range(1000))) as results:
    for index, result in results:
        print(index, result, file=sys.stderr, flush=True)
"""
HERE = """
import os, time
from pathlib import Path

import there

def work(index):
    if index == 1 and not Path("died").exists():
        Path("died").touch()
        os._exit(1)
    time.sleep(0.05)
    return f"{there.WORD}{index}"
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("backend", PARALLEL)
def test_interrupted_program_leaves_nothing_and_writes_nothing_to_stdout(backend, tmp_path):
    (tmp_path / "here.py").write_text(HERE)
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "there.py").write_text("WORD = 'result'")
    program = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, backend],
        cwd=tmp_path,
        env={**os.environ, MARK: str(tmp_path), "PYTHONPATH": "library"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    expected = {"1 result1\n", "20 result20\n"}
    lines = set()
    try:
        while not expected <= lines and (line := program.stderr.readline()):
            lines.add(line)
        os.killpg(program.pid, signal.SIGINT)  # as a terminal does
        begun = time.monotonic()
        stdout, stderr = program.communicate(timeout=20)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()
    assert time.monotonic() - begun < 10
    assert program.returncode == -signal.SIGINT
    assert stderr.rstrip().endswith("KeyboardInterrupt")
    assert stdout == ""
    assert expected <= lines, stderr
    assert wait_until(lambda: not marked(str(tmp_path)), 5), marked(str(tmp_path))


# A cluster of two nodes


def on_both(job: tuple[str, int]) -> list[float]:
    """Play once the other node has begun too, and hang on the second as soon as ``hang`` is there.

    The folder says what was played: a file at the beginning, another at the end.
    """
    folder, index = Path(job[0]), job[1]
    node = os.getsid(0)
    run = f"{index}-{node}-{time.monotonic_ns()}"
    (folder / f"begun-{run}").touch()
    (folder / f"node-{node}").touch()
    while len(list(folder.glob("node-*"))) < 2:
        time.sleep(0.02)
    if str(node) == (folder / "second").read_text() and (folder / "hang").exists():
        (folder / f"hangs-{index}").touch()
        time.sleep(60)
    time.sleep(0.05)
    result = value(index)
    (folder / f"ended-{run}").touch()
    return result


def nodes_of(folder: Path, what: str) -> list[tuple[int, int]]:
    """Return index and node of each beginning or end."""
    names = [path.name.split("-") for path in folder.glob(f"{what}-*")]
    return [(int(index), int(node)) for _, index, node, _ in names]


class Counted(list):
    """Jobs that count how many of them were taken."""

    taken = 0

    def __iter__(self):
        for job in super().__iter__():
            self.taken += 1
            yield job


def where(folder: str) -> int:
    (Path(folder) / f"pid-{os.getpid()}").touch()
    time.sleep(0.05)
    return os.getsid(0)


def test_a_node_that_joins_gets_jobs_and_closing_ends_them_all(ray_cluster, tmp_path, monkeypatch):
    import ray

    out_at_shutdown = []

    def shutdown(really=ray.shutdown):
        out = list(played.gi_frame.f_locals["out"])
        _, going_on = ray.wait(out, num_returns=len(out), timeout=0, fetch_local=False)
        out_at_shutdown.append((len(out), going_on))
        really()

    monkeypatch.setattr(ray, "shutdown", shutdown)
    ray_cluster.kill_second()
    engine = RayEngine(1, ray_cluster.address)
    jobs, nodes, found = Counted([str(tmp_path)] * 2000), set(), 0
    with closing(engine.run(where, jobs)) as played:
        for _, node in played:
            nodes.add(node)
            found += 1
            # Four per CPU; that of a killed node is counted until its death is noticed.
            assert jobs.taken - found <= 4 * (1 + ray_cluster.starts)
            if not ray_cluster.second:
                ray_cluster.start_second()
            if ray_cluster.second in nodes:
                break
    assert nodes == {ray_cluster.head, ray_cluster.second}
    assert found < 2000
    ((canceled, going_on),) = out_at_shutdown
    assert canceled > 0
    assert going_on == []  # Ray may end this process if it shuts down in the midst of a task
    pids = [path.name.removeprefix("pid-") for path in tmp_path.glob("pid-*")]
    assert len(pids) >= 2
    gone = wait_until(lambda: not any(Path("/proc", pid, "exe").exists() for pid in pids), 10)
    assert gone


def test_a_node_killed_in_the_middle_changes_no_result(ray_cluster, tmp_path):
    head, second = ray_cluster.head, ray_cluster.second
    (tmp_path / "second").write_text(str(second))
    expected = dict(SerialEngine().run(value, range(100)))
    killed = False
    results = []
    engine = RayEngine(1, ray_cluster.address)
    with closing(engine.run(on_both, [(str(tmp_path), i) for i in range(100)])) as played:
        for found in played:
            results.append(found)
            if not killed and second in dict(map(reversed, nodes_of(tmp_path, "ended"))):
                (tmp_path / "hang").touch()
            if not killed and list(tmp_path.glob("hangs-*")):
                ray_cluster.kill_second()
                killed = True
    assert killed
    assert len(results) == 100
    assert dict(results) == expected
    begun, ended = nodes_of(tmp_path, "begun"), nodes_of(tmp_path, "ended")
    assert {node for _, node in ended} == {head, second}
    cut_short = {index for index, node in begun if (index, node) not in ended}
    assert cut_short  # had begun on the second node, and was played again on the first
    assert all((index, second) in begun and (index, head) in ended for index in cut_short)


# Names and options


def test_make_engine():
    assert make_engine("serial", 4) == SerialEngine()
    assert make_engine("loky", 1) == SerialEngine()
    assert make_engine("loky", 3) == LokyEngine(3)
    with pytest.raises(ValueError, match=r"unknown backend 'lokky'\. Did you mean 'loky'\?"):
        make_engine("lokky", 1)
    with pytest.raises(ValueError, match="--jobs must be at least 1, not 0"):
        make_engine("ray", 0)
    with pytest.raises(ValueError, match="--ray-address is for --backend ray, not loky"):
        make_engine("loky", 2, "127.0.0.1:6379")


@needs_ray
def test_make_engine_of_ray():
    assert make_engine("ray", 2, "auto") == RayEngine(2, "auto")


def test_without_ray_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r'backend ray needs ray.*"distmllm-env\[ray\]"'):
        make_engine("ray", 2)


@pytest.mark.parametrize("backend", ["serial", "loky"])
def test_no_jobs(backend):
    assert list(make(backend).run(play, [])) == []
