"""A policy in a process of its own: the same run bit for bit, and no way to anything else."""

import gc
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from distmllm_bench.sweep import isolation
from distmllm_bench.sweep.child import OutsideError, error_text
from distmllm_bench.sweep.isolation import About, Isolated, Timed, about_policy, is_ours
from distmllm_env import Scenario, load_policy, play
from distmllm_env.registry import policy_names

SEED = 987_654_321_987
PAPER = Scenario.load("paper", slots=12)
TOY = Scenario.load("toy", slots=4)
in_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")

OUTSIDE = '''
import gc, hashlib, json, os, signal, struct, sys, time
import numpy as np


class Plain:
    """Worker 0 for everything."""

    def reset(self, problem, rng):
        self.problem, self.rng = problem, rng

    def act(self, observation):
        return np.zeros((1, self.problem.providers, 2), int)

    def update(self, feedback):
        pass


class Drawer(Plain):
    """Draws in every way there is, and has phases."""

    knows = "latency_energy"
    coordinates = True
    pretrained = True

    def reset(self, problem, rng):
        super().reset(problem, rng)
        rng.integers(0, 9, dtype=np.uint32)  # half of a word is left over for the next draw
        self.child, self.other = rng.spawn(2)
        self.third = np.random.Generator(np.random.PCG64(rng.bit_generator.seed_seq.spawn(1)[0]))
        self.exploring = True
        self.weight = np.ones(problem.workers)

    def act(self, observation):
        self.exploring = bool(self.rng.random() < 0.5)
        shape = (1, self.problem.providers, 2)
        one = self.rng.integers(0, self.problem.workers + 1, shape, dtype=np.uint32)
        two = self.child.integers(0, 2, shape) + self.other.integers(0, 2, shape)
        best = self.third.choice(self.problem.workers, shape, p=self.weight / self.weight.sum())
        return np.where(two == 1, best, one)

    def update(self, feedback):
        placed = feedback.allocation[0].ravel()
        earned = feedback.profit[0].ravel() + feedback.energy_j[0].ravel()
        for n, value in zip(placed, earned):
            if n < len(self.weight):
                self.weight[n] += abs(value)


class Scribe(Drawer):
    """Writes into all that it is given, after use, and prints a lot."""

    def reset(self, problem, rng):
        super().reset(problem, rng)
        print("hello" * 10000)
        os.write(1, b"out")
        os.write(2, b"err")
        for table in (problem.demand, problem.capacity, problem.price, problem.profit_range):
            table[...] = -1
        problem.feasible[...] = False

    def act(self, observation):
        self.answer = super().act(observation)
        return self.answer

    def update(self, feedback):
        super().update(feedback)
        print("more", file=sys.stderr)
        self.answer[...] = 77
        for table in (feedback.profit, feedback.load, feedback.allocation, feedback.energy_j):
            table[...] = -1
        feedback.admitted[...] = False


def is_ours(thing):
    return str(type(thing)).startswith("<class 'distmllm") and hasattr(thing, "__dict__")


def whole_numbers(thing, depth):
    if type(thing) in (int, np.int64, np.uint64):
        yield int(thing)
    elif type(thing) is str:
        yield from (int(word) for word in thing.split() if word.isdecimal() and len(word) < 40)
    elif type(thing) is np.ndarray:
        yield from (int(x) for x in thing.ravel()[:99] if thing.dtype.kind in "iu")
    elif type(thing) in (list, tuple, set, dict) and depth and len(thing) < 99:
        for inner in [*thing, *(thing.values() if type(thing) is dict else ())]:
            yield from whole_numbers(inner, depth - 1)
    elif type(thing) is np.random.SeedSequence:
        yield from whole_numbers([thing.entropy, thing.spawn_key, thing.pool, thing.state], depth)
    elif depth and is_ours(thing):
        yield from whole_numbers(dict(vars(thing)), depth - 1)


class Spy(Plain):
    """Looks for the world and the seed wherever Python can look, and writes down what it found."""

    def __init__(self, report, digest, knows="rewards"):
        self.report, self.digest, self.knows = report, digest, knows

    def act(self, observation):
        if observation.slot == 1:
            things = [self.problem, self.rng, self.rng.bit_generator.seed_seq, sys.argv]
            things += [dict(os.environ), self.rng.bit_generator.state]
            frame, files = sys._getframe(), []
            while frame is not None:
                files.append(frame.f_code.co_filename)
                things += frame.f_locals.values()
                frame = frame.f_back
            for thing in list(things):
                things += vars(thing).values() if is_ours(thing) else ()
            things += [value for module in list(sys.modules.values())
                       if getattr(module, "__name__", "").startswith("distmllm")
                       for value in vars(module).values()]
            things += gc.get_objects()
            kinds = {f"{type(x).__module__}.{type(x).__name__}" for x in things}
            seen = {number for thing in things for number in whole_numbers(thing, 3)}
            hashes = {hashlib.sha256(str(number).encode()).hexdigest() for number in seen}
            names = [name for name in os.environ if name.endswith("_NUM_THREADS")]
            told = {
                "kinds": sorted(kind for kind in kinds if kind.startswith("distmllm")),
                "seed": self.digest in hashes,
                "argv": sys.argv,
                "files": files,
                "threads": {name: os.environ[name] for name in names},
                "hashes": os.environ.get("PYTHONHASHSEED"),
                "pid": os.getpid(),
            }
            with open(self.report, "w") as file:
                json.dump(told, file)
        return super().act(observation)


class Bad(Plain):
    """Breaks the contract in one way."""

    def __init__(self, how, at="act", note=""):
        self.how, self.at, self.note = how, at, note
        if at == "init":
            self.break_it()

    def reset(self, problem, rng):
        super().reset(problem, rng)
        if self.at == "reset":
            self.break_it()

    def act(self, observation):
        if self.at == "act" and observation.slot == 1:
            answer = self.break_it()
            if self.how in WRONG:
                return answer
            self.observation = observation
            if self.how == "assign":
                observation.slot = 7
        return super().act(observation)

    def update(self, feedback):
        self.slot = getattr(self, "slot", 0) + 1
        if self.at == "update" or (self.at == "last update" and self.slot == self.problem.slots):
            self.break_it()

    def break_it(self):
        shape = (1, 2, 2)
        if self.how in WRONG:
            return WRONG[self.how]
        if self.how == "raise":
            raise RuntimeError("no way\\n  out of " + repr(object()))
        elif self.how == "surrogate":
            raise RuntimeError("no file " + os.fsdecode(b"\\xff"))
        elif self.how == "unprintable":
            raise Unprintable
        elif self.how == "_exit":
            os._exit(3)
        elif self.how == "exit":
            sys.exit(4)
        elif self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.how == "loop":
            if self.note:
                open(self.note, "w").close()
            while True:
                pass
        elif self.how == "print":
            while True:
                print("again and again", flush=True)
        elif self.how == "fork":
            child = os.fork()
            if child == 0:
                time.sleep(60)
                os._exit(0)
            with open(self.note, "w") as file:
                file.write(str(child))
        elif self.how == "fork and loop":
            self.how = "fork"
            self.break_it()
            time.sleep(3600)
        elif self.how == "fork and exit":
            self.how = "fork"
            self.break_it()
            os._exit(3)
        elif self.how in GARBAGE:
            os.write(int(sys.argv[1]), GARBAGE[self.how])
        elif self.how == "hang up":
            os.close(int(sys.argv[1]))
            time.sleep(3600)


def framed(content):
    return struct.pack("!i", len(content)) + content


class Unprintable(Exception):
    def __str__(self):
        raise ValueError("no text")


WRONG = {
    "shape": np.zeros((1, 2, 3), int),
    "nan": np.full((1, 2, 2), np.nan),
    "none": None,
    "object": [object(), object()],
    "negative": np.full((1, 2, 2), -1),
}
GARBAGE = {
    "words": framed(b"hello"),
    # The fifth question: load, reset, act, update, act.
    "no body": framed(b'{"number": 5}\\n'),
    "phases": framed(b'{"number": 5, "exploring": [[1], [2, 3]]}\\n' + bytes(32)),
    "another number": framed(b'{"number": 4}\\n' + bytes(32)),
    "endless": struct.pack("!iQ", -1, 2**62) + b"and nothing more",
}
'''


@pytest.fixture(scope="module", autouse=True)
def outside(tmp_path_factory):
    """The folder of a module that knows nothing of this project."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "outside_isolation.py").write_text(OUTSIDE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder


@pytest.fixture(autouse=True)
def _nothing_hangs():
    """A test that would wait for ever fails instead."""

    def stop(number, frame):
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(40)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def _nothing_is_left(children):
    """No process and no thread outlives a test."""
    threads = set(threading.enumerate())
    yield
    assert children() == []
    until = time.monotonic() + 5
    while set(threading.enumerate()) - threads and time.monotonic() < until:
        time.sleep(0.01)  # a timer that was cancelled ends a moment later
    assert set(threading.enumerate()) - threads == set()


def stat(pid):
    """State and parent of a process, or None where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0], int(fields[1])


def alive(pid):
    found = stat(pid)
    return found is not None and found[0] not in "ZX"


def gone(pid, seconds=3.0):
    """Whether a process ends within some time."""
    until = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not alive(pid)


def isolated_run(scenario, spec, parameters, seeds, seconds=None):
    with Isolated(spec, parameters, seconds) as policy:
        return play(scenario, policy, seeds)


def tables(run):
    """All that a run holds, as bytes."""
    kept = {name: table for name, table in vars(run).items() if isinstance(table, np.ndarray)}
    return {name: (table.dtype, table.shape, table.tobytes()) for name, table in kept.items()}


def failure(how, at="act", seconds=None, note=""):
    """What a policy that breaks the contract leads to."""
    with pytest.raises(OutsideError) as caught:
        play_bad(how, at, seconds, note)
    return caught.value


def play_bad(how, at="act", seconds=None, note=""):
    with Isolated("outside_isolation:Bad", {"how": how, "at": at, "note": note}, seconds) as policy:
        play(TOY, policy, [0])
        policy.times()


class TestSameRun:
    @pytest.mark.parametrize("name", ["distmllm", "heu", "oracle", "random", "ucb"])
    def test_shipped(self, name):
        expected = play(PAPER, load_policy(name), [5, SEED])
        found = isolated_run(PAPER, name, {}, [5, SEED])
        assert tables(found) == tables(expected)
        assert (found.exploring is None) == (expected.exploring is None)

    def test_outside_and_written_for_one_run(self):
        spec = "outside_isolation:Drawer"
        with Isolated(spec, {}, 60.0) as policy:
            found = play(PAPER, policy, [5, SEED, 6])
            again = play(PAPER, policy, [5, SEED, 6])
            seconds = policy.times()
        expected = play(PAPER, load_policy(spec), [5, SEED, 6])
        assert tables(found) == tables(expected)
        assert found.exploring.any()
        assert not found.exploring.all()
        assert len(np.unique(found.allocation)) == 6
        assert tables(again) == tables(expected)
        assert len(seconds) == PAPER.slots
        assert min(seconds) > 0

    def test_one_that_writes_into_all_it_gets_and_prints(self, capfd):
        found = isolated_run(PAPER, "outside_isolation:Scribe", {}, [5, SEED])
        plain = play(PAPER, load_policy("outside_isolation:Drawer"), [5, SEED])
        assert tables(found) == tables(plain)
        assert capfd.readouterr() == ("", "")

    def test_two_side_by_side(self):
        spec = "outside_isolation:Drawer"
        expected = tables(play(PAPER, load_policy(spec), [7]))
        with Isolated(spec, {}, None) as one, Isolated(spec, {}, None) as two:
            assert tables(play(PAPER, one, [8])) != expected
            assert tables(play(PAPER, two, [7])) == expected
            assert tables(play(PAPER, one, [7])) == expected

    def test_timed_plays_the_same_and_counts_every_slot(self):
        timed = Timed(load_policy("outside_isolation:Drawer"))
        run = play(PAPER, timed, [5, 6])
        assert tables(run) == tables(play(PAPER, load_policy("outside_isolation:Drawer"), [5, 6]))
        assert len(timed.times()) == PAPER.slots
        assert min(timed.times()) > 0
        play(TOY, timed, [0])
        assert len(timed.times()) == TOY.slots


class TestNothingOfTheWorld:
    WORLD = tuple(
        f"distmllm_env.{name}"
        for name in ("world.World", "market.Market", "luck.Luck", "runs.Player")
    )
    DIGEST = hashlib.sha256(str(SEED).encode()).hexdigest()

    def spy(self, report, knows, isolated):
        given = {"report": str(report), "digest": self.DIGEST, "knows": knows}
        if isolated:
            isolated_run(TOY, "outside_isolation:Spy", given, [SEED])
        else:
            play(TOY, load_policy("outside_isolation:Spy", **given), [SEED])
        return json.loads(report.read_text())

    @pytest.mark.parametrize("knows", ["rewards", "latency_energy"])
    def test_cannot_be_reached(self, tmp_path, monkeypatch, knows):
        monkeypatch.setenv("OMP_NUM_THREADS", "7")
        told = self.spy(tmp_path / "report.json", knows, isolated=True)
        assert {f"distmllm_env.policy.{name}" for name in ("Observation", "Problem")} <= {
            *told["kinds"]
        }  # it can look
        assert not {*self.WORLD} & {*told["kinds"]}
        assert not told["seed"]
        assert __file__ not in told["files"]
        assert len(told["argv"]) == 2
        # One thread, and sets in the same order everywhere.
        assert told["pid"] != os.getpid()
        assert told["hashes"] == "0"
        assert set(told["threads"].values()) == {"1"}
        libraries = {name.partition("_")[0] for name in told["threads"]}
        assert {"OMP", "OPENBLAS", "MKL", "NUMBA"} <= libraries

    def test_the_search_finds_both_where_they_are(self, tmp_path):
        gc.collect()
        told = self.spy(tmp_path / "report.json", "rewards", isolated=False)
        assert {*self.WORLD} <= {*told["kinds"]}
        assert told["seed"]
        assert __file__ in told["files"]

    def test_who_declares_the_world_has_it(self, tmp_path):
        told = self.spy(tmp_path / "report.json", "world", isolated=True)
        assert "distmllm_env.world.World" in told["kinds"]
        assert "distmllm_env.market.Market" not in told["kinds"]


class TestBrokenContract:
    @pytest.mark.parametrize(
        ("how", "text"),
        [
            ("shape", "ValueError: allocation has shape (1, 2, 3): (1, 2, 2) is allowed."),
            ("nan", "ValueError: allocation has dtype float64: integers are allowed"),
            ("none", "ValueError: allocation has dtype object: integers are allowed"),
            ("object", "got [<object object>, <object object>]."),
            ("negative", "ValueError: allocation[0, 0, 0] = -1: a worker 0..1 or 2 (defer)"),
            ("assign", "FrozenInstanceError: cannot assign to field 'slot'"),
            ("_exit", "its process ended with exit code 3."),
            ("exit", "SystemExit: 4"),
            ("kill", "its process was killed by SIGKILL."),
            ("unprintable", "its process ended with exit code "),
        ],
    )
    def test_says_what_was_wrong(self, how, text):
        error = str(failure(how))
        assert text in error
        assert "\n" not in error
        assert "0x" not in error

    @pytest.mark.parametrize("at", ["reset", "update", "last update"])
    def test_wherever_it_is(self, at):
        error = failure("raise", at)
        assert str(error) == "RuntimeError: no way out of <object object>"
        assert 'raise RuntimeError("no way' in error.trace
        assert "outside_isolation.py" in error.trace
        assert "isolation.py" not in error.trace.replace("outside_isolation.py", "")
        assert "0x" not in error.trace

    @pytest.mark.parametrize("how", ["loop", "print"])
    def test_one_that_never_ends_is_stopped(self, how):
        start = time.monotonic()
        error = failure(how, seconds=1.0)
        assert str(error) == "it took longer than 1 s and was stopped."
        assert time.monotonic() - start < 15

    def test_one_that_ends_in_time_is_not(self):
        with Isolated("outside_isolation:Plain", {}, 3600.0) as policy:
            play(TOY, policy, [0])
            timer = policy._child._timer
        timer.join(5.0)
        assert not timer.is_alive()

    @pytest.mark.parametrize(
        "how", ["words", "no body", "phases", "another number", "endless", "hang up"]
    )
    def test_garbage_on_the_channel(self, how):
        """Told at once, not when the time is over, and never played."""
        start = time.monotonic()
        error = failure(how, seconds=50.0)
        assert time.monotonic() - start < 20
        assert "longer" not in str(error)
        assert "0x" not in str(error)

    def test_garbage_before_it_is_loaded(self):
        with pytest.raises(ValueError, match="policy 'outside_isolation:Bad' cannot be loaded: "):
            about_policy("outside_isolation:Bad", {"how": "no body", "at": "init"})

    def test_a_text_that_no_file_can_hold(self):
        error = str(failure("surrogate"))
        assert "RuntimeError: no file" in error
        error.encode()  # can be written

    def test_error_texts(self):
        assert error_text(ValueError("a\n\tb   c")) == "ValueError: a b c"
        assert error_text(KeyError("x")) == "KeyError: 'x'"
        found = error_text(TypeError(f"{object()!r} and {object()!r}, {len!r}"))
        assert found.startswith("TypeError: <object object> and <object object>, <built-in")
        long = error_text(ValueError("word " * 1000))
        assert len(long) == 1000
        assert long.endswith("...")
        assert error_text(AssertionError()).startswith("AssertionError")


class TestProcesses:
    @in_proc
    def test_are_gone_after_use_error_and_timeout(self, children):
        with Isolated("outside_isolation:Plain", {}, None) as policy:
            assert children() == [policy.pid]
            play(TOY, policy, [0])
        assert children() == []
        with pytest.raises(KeyError), Isolated("outside_isolation:Plain", {}, None) as policy:
            raise KeyError(policy.pid)
        assert children() == []
        with pytest.raises(OutsideError):
            Isolated("outside_isolation:Bad", {"how": "raise", "at": "init"}, None)
        assert children() == []
        with pytest.raises(OutsideError, match="longer"):
            play_bad("loop", seconds=1.0)
        assert children() == []

    @in_proc
    @pytest.mark.parametrize("how", ["fork and exit", "fork and loop"])
    def test_what_a_policy_started_ends_with_it(self, tmp_path, how):
        """A process of its own holds the channel, too; nobody may wait for it."""
        note, start = tmp_path / "pid", time.monotonic()
        try:
            if how == "fork and exit":
                error = failure(how, "act", 30.0, str(note))
                assert str(error) == "its process ended with exit code 3."
            else:
                error = failure(how, "act", 3.0, str(note))
                assert str(error) == "it took longer than 3 s and was stopped."
            assert time.monotonic() - start < 15
            assert gone(int(note.read_text()))
        finally:
            if note.exists():
                with suppress(ProcessLookupError):
                    os.kill(int(note.read_text()), signal.SIGKILL)

    @in_proc
    def test_end_when_the_one_that_started_them_is_killed(self, outside, tmp_path):
        note = tmp_path / "looping"
        code = (
            "from distmllm_bench.sweep.isolation import Isolated\n"
            "from distmllm_env import Scenario, play\n"
            "with Isolated('outside_isolation:Plain', {}, None) as idle:\n"
            f"    given = {{'how': 'loop', 'note': {str(note)!r}}}\n"
            "    with Isolated('outside_isolation:Bad', given, None) as policy:\n"
            "        print(idle.pid, policy.pid, flush=True)\n"
            "        play(Scenario.load('toy'), policy, [0])\n"
        )
        paths = os.pathsep.join([str(outside), *filter(None, sys.path)])
        parent = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )
        with parent:
            pids = [int(word) for word in parent.stdout.readline().split()]
            while not note.exists():  # then one is in its loop, and the other waits
                assert parent.poll() is None
                time.sleep(0.02)
            assert [alive(pid) for pid in pids] == [True, True]
            parent.kill()
            parent.wait()
            assert all(gone(pid, 3.0) for pid in pids)


class TestAbout:
    @pytest.mark.parametrize(
        ("name", "knows", "coordinates", "pretrained", "division"),
        [
            ("distmllm", "rewards", True, False, "closed"),
            ("distmllm-fixed", "rewards", True, False, "closed"),
            ("greedy", "rewards", True, False, "closed"),
            ("heu", "performance", True, False, "open"),
            ("monolithic", "rewards", True, False, "closed"),
            ("oracle", "world", True, False, "open"),
            ("ppo", "rewards", True, True, "open"),
            ("random", "rewards", False, False, "closed"),
            ("ucb", "rewards", False, False, "closed"),
            ("ucb-sigma", "rewards", False, False, "closed"),
        ],
    )
    def test_shipped(self, children, name, knows, coordinates, pretrained, division):
        about = about_policy(name, {})
        assert about.target == policy_names()[name]
        told = (about.knows, about.coordinates, about.pretrained, about.division)
        assert told == (knows, coordinates, pretrained, division)
        assert f"{about.target.partition(':')[0]}.py" in about.files
        assert is_ours(name)
        assert children() == []

    def test_something_that_there_is_not_to_know(self):
        with pytest.raises(ValueError, match=r"'rewardz'.*Did you mean 'rewards'"):
            about_policy("outside_isolation:Spy", {"report": "", "digest": "", "knows": "rewardz"})

    def test_what_it_is_built_on(self):
        found = about_policy("distmllm-fixed", {})
        assert found.built_on == "distmllm_agents.distmllm:DistMLLMFixed"
        assert found.classes[1] == "distmllm_agents.distmllm:DistMLLM"
        assert about_policy("outside_isolation:Plain", {}).built_on == ""

    def test_every_shipped_policy_is_in_the_table_above(self):
        told = {mark.args[1][i][0] for mark in self.test_shipped.pytestmark for i in range(10)}
        assert told == set(policy_names())

    def test_outside(self):
        plain = about_policy("outside_isolation:Plain", {})
        assert not is_ours("outside_isolation:Plain")
        assert (plain.knows, plain.coordinates, plain.pretrained) == ("rewards", False, False)
        assert plain.division == "closed"
        assert list(plain.files) == ["outside_isolation.py"]
        assert plain.packages == {"numpy": np.__version__, "python": sys.version.split()[0]}
        drawer = about_policy("outside_isolation:Drawer", {})
        assert (drawer.knows, drawer.coordinates, drawer.pretrained, drawer.division) == (
            *("latency_energy", True, True),
            "open",
        )
        assert plain.hash != drawer.hash

    @pytest.mark.parametrize(
        ("knows", "pretrained", "division"),
        [
            ("rewards", False, "closed"),
            ("latency_energy", False, "closed"),
            ("performance", False, "open"),
            ("world", False, "open"),
            ("everything", False, "open"),
            ("rewards", True, "open"),
        ],
    )
    def test_divisions(self, knows, pretrained, division):
        about = About("m:C", knows, False, pretrained, {}, {}, "hash")
        assert about.division == division

    @pytest.mark.parametrize(
        ("spec", "given", "text"),
        [
            ("no_such_module:Thing", {}, "cannot import 'no_such_module'"),
            ("outside_isolation:Plian", {}, "Did you mean 'Plain'?"),
            ("outside_isolation:Bad", {"hwo": "x"}, "Did you mean 'how'?"),
            ("outside_isolation:Bad", {"how": "raise", "at": "init"}, "no way out of"),
            ("uct", {}, "Did you mean 'ucb'?"),
            ("ucb", {"scael": 1}, "parameter of policy 'ucb'"),
        ],
    )
    def test_what_cannot_be_made(self, spec, given, text):
        with pytest.raises(ValueError, match=re.escape(text)) as caught:
            about_policy(spec, given)
        assert repr(spec) in str(caught.value)

    def test_one_that_never_loads(self, monkeypatch):
        monkeypatch.setattr(isolation, "START_SECONDS", 0.5)
        with pytest.raises(ValueError, match=r"it took longer than 0\.5 s"):
            about_policy("outside_isolation:Bad", {"how": "loop", "at": "init"})
