"""Sweeps as a user meets them: the same table however it was played, and nothing is lost."""

import csv
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from distmllm_agents import learned
from distmllm_agents.oracle import optimum
from distmllm_bench import provenance as origin
from distmllm_bench.cli import app
from distmllm_bench.engines import Lost, SerialEngine, make_engine
from distmllm_bench.metrics import Scores
from distmllm_bench.sweep import check as checking
from distmllm_bench.sweep import playing
from distmllm_bench.sweep import run as running
from distmllm_bench.sweep.cells import SCORES, Cell, Failure, Store, measure
from distmllm_bench.sweep.identity import cell_key
from distmllm_bench.sweep.isolation import about_policy
from distmllm_bench.sweep.planning import Plan, make_plan
from distmllm_bench.sweep.playing import Job, measured, play_job
from distmllm_bench.sweep.results import COLUMNS, Results
from distmllm_bench.sweep.run import Shard, bench
from distmllm_bench.sweep.suite import Suite
from distmllm_env import Scenario, archive, draw_world, load_policy, play

OUTSIDE = '''
import os, time
import numpy as np


class Learner:
    """Plays at random, and more often what earned something."""

    def reset(self, problem, rng):
        self.problem, self.rng = problem, rng
        self.weight = np.ones(problem.workers + 1)

    def act(self, observation):
        size = (1, self.problem.providers, 2)
        return self.rng.choice(len(self.weight), size, p=self.weight / self.weight.sum())

    def update(self, feedback):
        for n, profit in zip(feedback.allocation.ravel(), feedback.profit.ravel()):
            self.weight[n] += max(profit, 0.0)


class Slow(Learner):
    def act(self, observation):
        time.sleep(0.03)
        return super().act(observation)


class Picky(Learner):
    """Fails on one world, while the environment says so."""

    def __init__(self, price):
        self.price = price

    def act(self, observation):
        if observation.slot == 2 and self.problem.price[0, 0] == self.price:
            if os.environ.get("OUTSIDE_FAILS"):
                raise RuntimeError("not this one: %r" % object())
        return super().act(observation)


class Hangs(Learner):
    """Never answers on one world."""

    def __init__(self, price):
        self.price = price

    def act(self, observation):
        while self.problem.price[0, 0] == self.price:
            pass
        return super().act(observation)


class Batchy:
    """Plays otherwise where it plays several runs at once."""

    batched = True

    def reset(self, problem, rng):
        self.answer = np.full((problem.batch, problem.providers, 2), int(problem.batch > 1))

    def act(self, observation):
        return self.answer

    def update(self, feedback): ...


class Fickle(Learner):
    """Draws from elsewhere."""

    def reset(self, problem, rng):
        super().reset(problem, np.random.default_rng(int.from_bytes(os.urandom(8), "little")))


class Turncoat(Learner):
    """Declares less than it asks for when it plays."""

    @property
    def knows(self):
        return "world" if os.environ.get("OUTSIDE_FAILS") else "rewards"


class Measuring(Learner):
    knows = "latency_energy"
'''


BOARD = """
name = "board"
title = "A board with made-up numbers"
number = [
  {{ quantity = "load_power", value = 25, unit = "W", kind = "measured", source = "x" }},
  {{ quantity = "encode_time", model = "clip-vit-b32", value = 0.004, unit = "s", \
kind = "measured", source = "x" }},
  {{ quantity = "prefill_time", model = "llama-2-7b-q4", value = 0.6, unit = "s", tokens = 500, \
kind = "measured", source = "x" }},
  {{ quantity = "decode_rate", model = "llama-2-7b-q4", value = {rate}, unit = "token/s", \
kind = "measured", source = "x" }},
  {{ quantity = "decode_energy", model = "llama-2-7b-q4", value = 2.0, unit = "J/token", \
kind = "derived", source = "x" }},
]
"""


def suite(policies, scenarios=("toy", "paper"), runs=3, slots=8, **more):
    """A suite of names and tables."""
    data = {"name": "mixed", "description": "For tests.", "runs": runs, "slots": slots, **more}
    lines = [f"{key} = {json.dumps(value)}" for key, value in data.items() if value is not None]

    def entry(item):
        if isinstance(item, str):
            return json.dumps(item)
        return "{ " + ", ".join(f"{k} = {table(v)}" for k, v in item.items()) + " }"

    def table(value):
        if isinstance(value, dict):
            return "{ " + ", ".join(f'"{k}" = {table(v)}' for k, v in value.items()) + " }"
        return json.dumps(value)

    for key, items in (("scenarios", scenarios), ("policies", policies)):
        lines.append(f"{key} = [{', '.join(map(entry, items))}]")
    return "\n".join(lines) + "\n"


def planned(folder, *given, **how):
    """The plan of a suite file."""
    path = Path(folder, "mixed.toml")
    path.write_text(suite(*given))
    return make_plan(Suite.load(path), **how)


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """A folder with a module of somebody else's, where imports look."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "outside_sweep.py").write_text(OUTSIDE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder


@pytest.fixture(scope="module")
def own_plan(tmp_path_factory):
    return planned(tmp_path_factory.mktemp("own"), ["ucb", "distmllm"])


@pytest.fixture(scope="module")
def plan(outside):
    return planned(outside, ["ucb", "distmllm", "outside_sweep:Learner"])


@pytest.fixture(scope="module")
def own(own_plan, tmp_path_factory):
    """A sweep of our own policies, played in one process."""
    folder = tmp_path_factory.mktemp("own_serial")
    bench(own_plan, folder, SerialEngine())
    return folder


@pytest.fixture(scope="module")
def serial(plan, tmp_path_factory):
    """A sweep with a policy from outside, played in one process."""
    folder = tmp_path_factory.mktemp("serial")
    result = bench(plan, folder, SerialEngine())
    assert result["played"] == len(plan.cells) == 2 * 5 * 3
    assert result["cells"] == {"done": 30, "failed": 0, "missing": 0, "damaged": 0}
    return folder


@pytest.fixture
def copy(tmp_path):
    """Copies a folder of results, to do something to it."""

    def of(folder):
        return Path(shutil.copytree(folder, tmp_path / "copy"))

    return of


def table(folder):
    return (folder / "results.csv").read_bytes()


def rows(folder):
    return list(csv.DictReader(io.StringIO(table(folder).decode())))


def files(folder):
    """All cells of a folder by name, as bytes."""
    return {path.name: path.read_bytes() for path in (folder / "cells").iterdir()}


class Engine:
    """Plays in this process; stops before a job, plays from the end, or loses some."""

    def __init__(self, stop=None, order=1, lost=()):
        self.stop, self.order, self.lost, self.jobs = stop, order, lost, []

    def run(self, work, jobs):
        for count, (i, job) in enumerate(list(enumerate(jobs))[:: self.order]):
            if count == self.stop:
                raise KeyboardInterrupt
            self.jobs.append(job)
            yield i, Lost("it is gone") if i in self.lost else work(job)


def cli(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def distmllm(*words, cwd, **env):
    """The command in a process of its own."""
    paths = [os.path.abspath(path) for path in sys.path if path]
    return subprocess.Popen(
        [sys.executable, "-m", "distmllm_bench", *map(str, words)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **env},
    )


def wait_for_cells(folder, count, process):
    until = time.monotonic() + 60
    while len(list(folder.glob("cells/*.npz"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.002)


def players(seconds=3.0):
    """Processes that play a policy from outside and are still there after a while."""
    until = time.monotonic() + seconds
    while True:
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                line = (entry / "cmdline").read_bytes()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                cwd = os.readlink(entry / "cwd")
                if b"sweep.isolation" in line and state not in "ZX" and "outside" in cwd:
                    found.append(entry.name)
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.05)


class TestTheSameTable:
    def test_numbers_are_those_of_single_runs(self, serial, plan):
        found = iter(rows(serial))
        for name in ("toy", "paper"):
            scenario = Scenario.load(name, slots=8)
            for policy in ("ucb", "distmllm", "outside_sweep:Learner", "random", "oracle"):
                for seed in range(3):
                    run = play(scenario, load_policy(policy), [seed])
                    scores, row = Scores(run, optimum(run.world)), next(found)
                    place = (row["scenario"], row["policy"], row["seed"], row["status"])
                    assert place == (name, policy, str(seed), "done")
                    for score in ("profit", "regret", "realised_regret", "jain", "rejected"):
                        assert float(row[score]) == getattr(scores, score)[0]
                    assert float(row["expected_profit"]) == run.expected_profit.sum()
                    assert row["error"] == ""
        assert next(found, None) is None
        assert list(rows(serial)[0]) == list(COLUMNS)
        assert [row["key"] for row in rows(serial)] == [cell.key for cell in plan.cells]
        assert set(files(serial)) == {f"{cell.key}.npz" for cell in plan.cells}

    def test_in_two_processes(self, slow, tmp_path):
        plan, expected = slow
        assert bench(plan, tmp_path, make_engine("loky", 2))["played"] == 12
        assert table(tmp_path) == expected

    def test_from_the_end(self, own, own_plan, tmp_path):
        bench(own_plan, tmp_path, Engine(order=-1))
        assert table(tmp_path) == table(own)

    @pytest.mark.parametrize("batch", [1, 2])
    def test_in_other_batches(self, own, own_plan, tmp_path, monkeypatch, batch):
        monkeypatch.setattr(running, "BATCH", batch)
        engine = Engine()
        bench(own_plan, tmp_path, engine)
        assert max(len(job.keys) for job in engine.jobs) == batch
        assert table(tmp_path) == table(own)

    def test_the_first_seed_is_played_alone(self, own_plan, tmp_path):
        engine = Engine()
        bench(own_plan, tmp_path, engine)
        assert [job.seeds for job in engine.jobs] == [(0,), (1, 2)] * 8

    @pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3))))
    def test_in_parts(self, own, own_plan, tmp_path, order):
        played = []
        for i in order:
            result = bench(own_plan, tmp_path, SerialEngine(), shard=Shard(i, 3))
            played.append(result["played"])
            assert result["cells"]["done"] == sum(played)
            assert result["cells"]["missing"] == 24 - sum(played)
            assert [row["status"] for row in rows(tmp_path)].count("missing") == 24 - sum(played)
        assert sum(played) == 24
        assert min(played) > 0
        assert table(tmp_path) == table(own)

    @pytest.mark.parametrize("stops", [(0,), (1,), (15,), (3, 0, 4, 1, 2), (1,) * 15])
    def test_interrupted_and_resumed(self, own, own_plan, tmp_path, stops):
        """Cells are kept as they come, and only what is missing is played."""
        seen = []
        for stop in stops:
            engine = Engine(stop)
            with pytest.raises(KeyboardInterrupt):
                bench(own_plan, tmp_path, engine)
            seen += [key for job in engine.jobs for key in job.keys]
            kept = set(files(tmp_path)) if (tmp_path / "cells").exists() else set()
            assert kept == {f"{key}.npz" for key in seen}
        result = bench(own_plan, tmp_path, SerialEngine())
        assert result["played"] == 24 - len(seen)
        assert len(set(seen)) == len(seen)
        assert table(tmp_path) == table(own)
        again = Engine()
        assert bench(own_plan, tmp_path, again)["played"] == 0
        assert again.jobs == []
        assert table(tmp_path) == table(own)

    def test_a_part_of_a_batch_that_is_missing(self, own, own_plan, copy):
        folder = copy(own)
        gone = [cell for cell in own_plan.cells if cell.seed == 2]
        for cell in gone:
            (folder / f"cells/{cell.key}.npz").unlink()
        engine = Engine()
        assert bench(own_plan, folder, engine)["played"] == len(gone) == 8
        assert {job.seeds for job in engine.jobs} == {(2,)}
        assert table(folder) == table(own)

    def test_another_sweep_in_the_same_folder(self, own, own_plan, copy, tmp_path):
        """What both have is played once."""
        folder, engine = copy(own), Engine()
        more = planned(tmp_path, ["ucb", "heu"])
        result = bench(more, folder, engine)
        assert {job.policy for job in engine.jobs} == {"heu"}
        assert result["cells"]["done"] == 24
        assert {row["policy"] for row in rows(folder)} == {"ucb", "heu", "random", "oracle"}
        assert bench(own_plan, folder, Engine())["played"] == 0
        assert table(folder) == table(own)

    def test_one_policy_under_two_names(self, tmp_path):
        two = planned(tmp_path, ["ucb", {"policy": "ucb", "id": "again"}], ["toy"])
        bench(two, tmp_path, SerialEngine())
        found = rows(tmp_path)
        assert [row["policy"] for row in found[:6]] == ["ucb"] * 3 + ["again"] * 3
        for one, other in zip(found[:3], found[3:6], strict=True):
            assert {**one, "policy": ""} == {**other, "policy": ""}


SLOW = ("ucb", "outside_sweep:Slow")


@pytest.fixture(scope="module")
def slow(outside, tmp_path_factory):
    """A sweep that takes a while, and its table."""
    folder = tmp_path_factory.mktemp("slow")
    plan = planned(outside, SLOW, ["toy"])
    bench(plan, folder, SerialEngine())
    return plan, table(folder)


class TestStops:
    """The command in a process of its own, ended in the middle."""

    def words(self, outside, out, jobs):
        (outside / "slow.toml").write_text(suite(SLOW, ["toy"]))
        return ("bench", "slow.toml", "--jobs", jobs, "--out", out)

    def kept(self, plan, out):
        """Number of cells that are kept; all of them are whole."""
        found = [Store(out / "cells").state(cell.key)[0] for cell in plan.cells]
        assert set(found) == {"done", "missing"}
        assert found.count("done") == len(list(out.glob("cells/*.npz")))
        return found.count("done")

    def test_killed(self, outside, slow, tmp_path):
        plan, expected = slow
        process = distmllm(*self.words(outside, tmp_path, jobs=1), cwd=outside)
        wait_for_cells(tmp_path, 4, process)  # those of ucb, and the first of the slow one
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert players() == []
        kept = self.kept(plan, tmp_path)
        assert bench(plan, tmp_path, SerialEngine())["played"] == len(plan.cells) - kept
        assert table(tmp_path) == expected

    def test_interrupted(self, outside, slow, tmp_path):
        process = distmllm(*self.words(outside, tmp_path, jobs=2), cwd=outside)
        wait_for_cells(tmp_path, 1, process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert out == ""
        assert f"interrupted: {tmp_path} keeps all cells that were finished" in err
        assert "Traceback" not in err
        assert players() == []
        assert self.kept(slow[0], tmp_path) < len(slow[0].cells)

    def test_interrupted_in_one_process(self, own, own_plan, tmp_path, monkeypatch):
        monkeypatch.setattr("distmllm_bench.engines.make_engine", lambda *given: Engine(stop=3))
        (tmp_path / "mixed.toml").write_text(suite(["ucb", "distmllm"]))
        words = ("bench", tmp_path / "mixed.toml", "--out", tmp_path, "--json")
        answer = cli(*words)
        assert answer.exit_code == 130
        assert f"interrupted: {tmp_path} keeps all cells that were finished" in answer.stderr
        assert answer.stdout == ""
        assert self.kept(own_plan, tmp_path) == 4
        monkeypatch.undo()
        again = cli(*words, "--jobs", 1)
        assert again.exit_code == 0
        assert json.loads(again.stdout)["played"] == 20
        assert table(tmp_path) == table(own)

    def test_disk_full(self, outside, tmp_path):
        """No file may grow beyond 45 kB: the plan and short runs fit, long runs do not."""
        long = {"scenario": "paper", "id": "long", "set": {"slots": 3000}}
        text = suite(["ucb"], [{"scenario": "toy", "set": {"slots": 20}}, long], 2, None)
        (tmp_path / "long.toml").write_text(text)
        code = (
            "import resource, sys\n"
            "from distmllm_bench.cli import main\n"
            "from distmllm_env import Scenario, load_policy, play\n"
            "play(Scenario.load('paper', slots=2), load_policy('oracle'), [0])  # compiles\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (45000, 45000))\n"
            "sys.argv[0] = 'distmllm'\n"
            "main()\n"
        )
        words = ["bench", "long.toml", "--jobs", "1", "--out", "out"]
        done = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 1, done
        assert "error: cannot write to out/cells: File too large." in done.stderr
        assert "out keeps all cells that were finished" in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
        out = tmp_path / "out"
        kept = files(out)
        assert not [name for name in kept if not name.endswith(".npz")]
        long_plan, store = make_plan(Suite.load(tmp_path / "long.toml")), Store(out / "cells")
        states = {cell.key: store.state(cell.key)[0] for cell in long_plan.cells}
        short = [cell.key for cell in long_plan.cells if cell.market == "toy"]
        assert {key for key, state in states.items() if state == "done"} >= set(short)
        assert set(states.values()) == {"done", "missing"}
        again = cli("bench", tmp_path / "long.toml", "--jobs", 1, "--out", out, "--json")
        assert again.exit_code == 0
        assert json.loads(again.stdout)["played"] == 12 - len(kept)
        assert files(out).items() >= kept.items()

    def test_a_disk_that_is_full_from_the_start(self, own_plan, tmp_path, monkeypatch):
        def full(self, data):
            raise OSError(28, os.strerror(28), str(self))

        monkeypatch.setattr(Path, "write_bytes", full)
        path = tmp_path / "mixed.toml"
        path.write_text(suite(["ucb"]))
        answer = cli("bench", path, "--jobs", 1, "--out", tmp_path / "out")
        assert answer.exit_code == 1
        assert "No space left on device" in answer.stderr
        assert answer.stdout == ""
        assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]

    @pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
    def test_a_folder_that_may_not_be_written(self, tmp_path):
        (tmp_path / "out").mkdir(mode=0o500)
        (tmp_path / "mixed.toml").write_text(suite(["ucb"]))
        words = ("bench", tmp_path / "mixed.toml", "--jobs", 1, "--out", tmp_path / "out")
        answer = cli(*words)
        assert answer.exit_code == 1
        assert "Permission denied" in answer.stderr
        (tmp_path / "out").chmod(0o700)
        assert cli(*words).exit_code == 0


class TestNoStaleResults:
    def test_a_second_learner_in_the_place_of_the_first_is_played(self, tmp_path):
        """A library that matches stored results by position returns the first one's rows here."""
        out = tmp_path / "out"
        given = {"scenarios": ["paper"], "runs": 2, "slots": 20}
        for policy in ("ucb", "heu", {"policy": "distmllm", "id": "ucb"}):
            engine = Engine()
            bench(planned(tmp_path, [policy], ["paper"], 2, 20), out, engine)
            name, parameters = (policy, {}) if isinstance(policy, str) else ("distmllm", {})
            scenario = Scenario.load("paper", slots=given["slots"])
            run = play(scenario, load_policy(name, **parameters), [0, 1])
            expected = run.profit.sum(axis=(1, 2, 3))
            found = [float(row["profit"]) for row in rows(out)[:2]]
            assert found == pytest.approx(expected)
            assert name in {job.policy for job in engine.jobs}
        assert bench(planned(tmp_path, ["ucb"], ["paper"], 2, 20), out, Engine())["played"] == 0

    def test_a_source_that_was_edited_is_played_anew(self, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(tmp_path)
        text = (
            "import numpy as np\nimport my_helper\nclass Mine:\n"
            "    def reset(self, problem, rng): ...\n"
            "    def act(self, observation):\n"
            "        return np.array([[[my_helper.ENC, 2], [2, LLM]]])\n"
            "    def update(self, feedback): ...\n"
        )
        # ENC earns 0.9 on worker 0 and 1.1 on worker 1, LLM of provider 1 0.9 and 1.6.
        told = {(0, 1): 2.5, (1, 1): 2.7, (0, 2): 0.9}
        out, played = tmp_path / "out", []
        for enc, llm in [(0, 1), (1, 1), (0, 1), (0, 2)]:
            (tmp_path / "my_helper.py").write_text(f"ENC = {enc}\n")
            (tmp_path / "my_policy.py").write_text(f"LLM = {llm}\n{text}")
            mine = planned(tmp_path, ["my_policy:Mine"], ["toy"], 1, 4)
            played.append(bench(mine, out, SerialEngine())["played"])
            (row, *_) = rows(out)
            assert row["policy"] == "my_policy:Mine"
            assert float(row["profit"]) == pytest.approx(4 * told[enc, llm])
        assert played == [3, 1, 0, 1]

    def test_a_source_that_is_edited_between_planning_and_playing(self, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(tmp_path)
        source = tmp_path / "my_late_policy.py"
        source.write_text(OUTSIDE)
        mine = planned(tmp_path, ["my_late_policy:Learner"], ["toy"], 1, 4)
        source.write_text(OUTSIDE + "\n# edited\n")
        result = bench(mine, tmp_path / "out", SerialEngine())
        assert result["cells"] == {"done": 2, "failed": 1, "missing": 0, "damaged": 0}
        (failure,) = result["failures"]
        assert "are not those that the sweep was planned with" in failure["error"]

    def test_a_policy_file_that_is_written_again(self, tmp_path):
        """In one process, as in a notebook: train, compare, train on, compare."""
        weights = Path(learned.__path__[0]) / "checkpoints"
        path, found = tmp_path / "policy.npz", []
        for name in ("paper", "testbed", "paper"):
            shutil.copy(weights / f"{name}.npz", path)
            result = bench(planned(tmp_path, [str(path)], ["toy"], 1, 3), tmp_path, SerialEngine())
            assert result["cells"]["done"] == 3
            run = play(Scenario.load("toy", slots=3), load_policy(str(path)), [0])
            assert float(rows(tmp_path)[0]["profit"]) == pytest.approx(run.profit.sum())
            found.append(rows(tmp_path)[0]["key"])
        assert found[0] == found[2] != found[1]

    def test_a_device_profile_that_is_written_again(self, tmp_path):
        """In one process, too: worlds and their optimum are those of the file as it is now."""
        app = {"encoder": "clip-vit-b32", "llm": "llama-2-7b-q4", "input_bytes": 338688,
               "prompt_tokens": 500, "output_tokens": 80, "demand": 1, "value_enc": 1.0,
               "value_llm": 30.0}  # fmt: skip

        def bed(name, rate):
            (tmp_path / name).write_text(BOARD.format(rate=rate))
            device = {"device": str(tmp_path / name), "link": "wifi6-share", "capacity": 3}
            keys = {"providers": 2, "workers": 2, "performance": 1.0,
                    "testbed": {"workers": [device] * 2, "apps": [app]}}  # fmt: skip
            return Scenario.load("testbed", keys, slots=3)

        for rate in (12.5, 25.0):
            (tmp_path / "bed.toml").write_text(bed("board.toml", rate).to_toml())
            again = planned(tmp_path, ["ucb"], [str(tmp_path / "bed.toml")], 1, 3)
            assert bench(again, tmp_path, SerialEngine())["played"] == 3
            run = play(bed(f"board{rate}.toml", rate), load_policy("ucb"), [0])
            best = optimum(run.world).value[0]
            assert [float(row["optimum"]) for row in rows(tmp_path)] == [best] * 3
            assert float(rows(tmp_path)[0]["profit"]) == run.profit.sum()


@pytest.fixture(scope="module")
def picky(outside, tmp_path_factory):
    """A policy that fails on seed 1 only, beside others."""
    price = float(draw_world(Scenario.load("paper", slots=6), [1]).price[0, 0])
    folder = tmp_path_factory.mktemp("picky")
    entry = {"policy": "outside_sweep:Picky", "id": "picky", "parameters": {"price": price}}
    plan = planned(folder, [entry], ["paper"], 4, 6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OUTSIDE_FAILS", "1")
        result = bench(plan, folder, SerialEngine())
    return plan, folder, result


class TestFailures:
    def test_are_rows_and_spoil_no_others(self, picky):
        _, folder, result = picky
        assert result["cells"] == {"done": 11, "failed": 1, "missing": 0, "damaged": 0}
        error = "RuntimeError: not this one: <object object>"
        place = {"scenario": "paper", "policy": "picky", "seed": 1, "error": error}
        (failure,) = result["failures"]
        assert "raise RuntimeError(" in failure.pop("trace")
        assert failure == place
        scenario = Scenario.load("paper", slots=6)
        for row in rows(folder)[:4]:
            seed = int(row["seed"])
            if seed == 1:
                assert (row["status"], row["error"]) == ("failed", error)
                assert {row[score] for score in SCORES} == {""}
                continue
            run = play(scenario, load_policy("outside_sweep:Picky", price=0.0), [seed])
            cell = measure(run, optimum(run.world), {})
            assert (row["status"], row["error"]) == ("done", "")
            assert [float(row[score]) for score in SCORES] == list(cell.scores.values())

    def test_keep_where_they_happened(self, picky):
        plan, folder, _ = picky
        (cell,) = (c for c in plan.cells if (c.policy, c.seed) == ("picky", 1))
        failure = Store(folder / "cells").get(cell.key)
        assert isinstance(failure, Failure)
        assert 'raise RuntimeError("not this one' in failure.trace
        assert failure.about["batch"] == 1
        assert failure.about["policy"] == "picky"

    def test_are_played_again_when_asked(self, picky, copy, monkeypatch):
        plan, folder, _ = picky
        folder, before = copy(folder), table(folder)
        assert bench(plan, folder, SerialEngine())["played"] == 0
        monkeypatch.setenv("OUTSIDE_FAILS", "1")
        engine = Engine()
        assert bench(plan, folder, engine, retry_failed=True)["played"] == 1
        assert [(job.policy, job.seeds) for job in engine.jobs] == [("outside_sweep:Picky", (1,))]
        assert table(folder) == before  # the same words again
        monkeypatch.delenv("OUTSIDE_FAILS")
        result = bench(plan, folder, SerialEngine(), retry_failed=True)
        assert (result["played"], result["cells"]["done"]) == (1, 12)
        assert not list(folder.glob("cells/*.failed.json"))

    def test_on_the_command_line(self, picky, copy, outside):
        _, folder, _ = picky
        folder = copy(folder)
        words = ("bench", folder / "mixed.toml", "--jobs", 1, "--out", folder)
        answer = cli(*words)
        assert answer.exit_code == 1
        assert "mixed: 11 done, 1 failed; 0 played now" in answer.stdout
        error, place, line = answer.stdout.splitlines()[1:4]
        assert error == "  paper, picky, seed 1: RuntimeError: not this one: <object object>"
        assert 'outside_sweep.py", line ' in place
        assert line.startswith("    raise RuntimeError(")
        rows = json.loads(cli(*words, "--dry-run", "--retry-failed", "--json").stdout)
        assert [row["to play"] for row in rows] == [1, 0, 0]
        again = cli(*words, "--retry-failed")
        assert again.exit_code == 0
        assert "12 done; 1 played now" in again.stdout

    def test_a_check_does_not_pass(self, picky):
        _, folder, _ = picky
        result = checking.check(folder, SerialEngine(), 1)
        assert not result["passed"]
        assert result["cells"] == {"done": 11, "failed": 1, "missing": 0, "damaged": 0}
        assert result["different"] == []

    def test_a_process_that_is_lost(self, own_plan, own, tmp_path):
        result = bench(own_plan, tmp_path, Engine(lost={1}))
        assert result["cells"] == {"done": 22, "failed": 2, "missing": 0, "damaged": 0}
        error = "the process that played it was lost: it is gone"
        assert [f["error"] for f in result["failures"]] == [error] * 2
        text = running.text(result, tmp_path)
        assert f"toy, ucb, seed 1 and 1 more: {error}" in text
        assert bench(own_plan, tmp_path, SerialEngine(), retry_failed=True)["played"] == 2
        assert table(tmp_path) == table(own)

    def test_no_time_left(self, outside, tmp_path):
        (tmp_path / "mixed.toml").write_text(suite(["outside_sweep:Slow"], ["toy"], 1, 200))
        answer = cli("bench", tmp_path / "mixed.toml", "--jobs", 1, "--out", tmp_path,
                     "--timeout", 0.4)  # fmt: skip
        assert answer.exit_code == 1
        assert "it took longer than 0.4 s and was stopped." in answer.stdout

    @pytest.mark.parametrize("batch", [1, 4])
    def test_a_run_that_hangs_takes_no_other_with_it(self, outside, tmp_path, monkeypatch, batch):
        """Whatever it is played with."""
        price = float(draw_world(Scenario.load("paper"), [2]).price[0, 0])
        policy = {"policy": "outside_sweep:Hangs", "parameters": {"price": price}}
        plan = planned(tmp_path, [policy], ["paper"], 4, 5)
        monkeypatch.setattr(running, "BATCH", batch)
        bench(plan, tmp_path, SerialEngine(), seconds=1.5)
        rows = [row for row in Results(tmp_path).rows if row["policy"] == "outside_sweep:Hangs"]
        assert {row["seed"]: row["status"] for row in rows} == {
            0: "done", 1: "done", 2: "failed", 3: "done",
        }  # fmt: skip
        assert rows[2]["error"] == "it took longer than 1.5 s and was stopped."

    def test_runs_of_a_submission_that_tell_each_other_are_played_alone(self, tmp_path):
        """As a batch the policy plays something else than alone."""
        (tmp_path / "submission.py").write_text(OUTSIDE)
        place = str(tmp_path)
        toy = Scenario.load("toy", slots=4)
        about = about_policy("submission:Batchy", {}, tmp_path)
        keys = [cell_key(toy, about.hash, seed, measured()) for seed in (0, 1, 2)]
        job = Job(toy.to_toml(), "b", "submission:Batchy", {}, (0, 1, 2), tuple(keys), 9.0, place)
        alone = [
            play_job(replace(job, seeds=(seed,), keys=(key,)))[0]
            for seed, key in zip(job.seeds, keys, strict=True)
        ]
        assert [one.differences(two) for one, two in zip(play_job(job), alone, strict=True)] == [
            [], [], [],
        ]  # fmt: skip
        together = playing._attempt(job, job.seeds, job.keys)
        assert together[1].differences(alone[1])


def damage(folder, plan):
    """Four cells, each in another way; their keys."""
    paths = [folder / f"cells/{cell.key}.npz" for cell in plan.cells[1:20:5]]
    paths[0].write_bytes(paths[0].read_bytes()[:500])
    paths[1].write_bytes(b"")
    paths[2].write_bytes(paths[3].read_bytes())
    middle = bytearray(paths[3].read_bytes())
    middle[500:700] = bytes(200)
    paths[3].write_bytes(middle)
    return [path.stem for path in paths]


class TestDamage:
    def test_is_told_and_played_anew(self, own, own_plan, copy):
        folder = copy(own)
        broken = damage(folder, own_plan)
        found = {row["key"]: row for row in Results(folder).rows}
        for key, row in found.items():
            assert row["status"] == ("damaged" if key in broken else "done")
            if key in broken:
                assert f"./cells/{key}.npz" in row["error"]
                assert row["profit"] == ""
        result = checking.check(folder, SerialEngine(), None)
        assert result["cells"] == {"done": 20, "failed": 0, "missing": 0, "damaged": 4}
        assert not result["passed"]
        assert result["different"] == []
        engine = Engine()
        assert bench(own_plan, folder, engine)["played"] == 4
        assert sorted(key for job in engine.jobs for key in job.keys) == sorted(broken)
        assert table(folder) == table(own)
        assert checking.check(folder, SerialEngine(), None)["passed"]

    def test_that_another_part_leaves_is_told(self, own, own_plan, copy):
        folder = copy(own)
        broken = damage(folder, own_plan)
        key = broken[0]
        part = Shard(1 + (int(key, 16) + 1) % 2, 2)
        assert not part.holds(key)
        result = bench(own_plan, folder, SerialEngine(), shard=part)
        assert result["cells"]["damaged"] >= 1
        assert key in " ".join(failure["error"] for failure in result["failures"])


class TestResults:
    def test_scores_and_curves(self, own):
        results = Results(own)
        scenario = Scenario.load("paper", slots=8)
        for policy in ("ucb", "oracle"):
            run = play(scenario, load_policy(policy), [0, 1, 2])
            scores = Scores(run, optimum(run.world))
            assert results.score("regret", "paper", policy) == pytest.approx(scores.regret)
            curve = results.curve("regret", "paper", policy)
            assert curve == pytest.approx(scores.regret_curve)
            curve = results.curve("profit", "paper", policy)
            assert curve == pytest.approx(run.profit.sum(axis=(2, 3)))
        with pytest.raises(ValueError, match=r"unknown score 'regrte'\. Did you mean 'regret'"):
            results.score("regrte", "paper", "ucb")

    def test_normalised(self, own):
        results = Results(own)
        assert results.normalised("paper", "random").tolist() == [0, 0, 0]
        assert results.normalised("paper", "oracle") == pytest.approx([1, 1, 1])
        between = results.normalised("paper", "distmllm")
        assert (between > 0).all()
        assert (between < 1).all()
        floor, earned, best = (
            results.score(name, "paper", policy)
            for name, policy in (
                ("expected_profit", "random"),
                ("expected_profit", "distmllm"),
                ("optimum", "distmllm"),
            )
        )
        assert between == pytest.approx((earned - floor) / (8 * best - floor))

    def test_what_is_not_done(self, own, own_plan, copy):
        folder = copy(own)
        (gone,) = (c for c in own_plan.cells if (c.market, c.policy, c.seed) == ("toy", "ucb", 1))
        (folder / f"cells/{gone.key}.npz").unlink()
        results = Results(folder)
        assert results.state("toy", "ucb", 1) == ("missing", "")
        assert results.cell("toy", "ucb", 1) is None
        assert np.isnan(results.score("profit", "toy", "ucb")).tolist() == [False, True, False]
        curves = results.curve("profit", "toy", "ucb")
        assert np.isnan(curves).all(axis=1).tolist() == [False, True, False]
        assert np.isnan(results.normalised("toy", "ucb")).tolist() == [False, True, False]

    def test_no_sweep(self, tmp_path):
        with pytest.raises(ValueError, match=r"holds no sweep: .*sweep\.json is not there"):
            Results(tmp_path)
        for content in ("", "[]", "{}", '{"kind": "other"}', "7", "null", '"text"'):
            (tmp_path / "sweep.json").write_text(content)
            with pytest.raises(ValueError, match=r"sweep\.json is not a sweep of distmllm-env"):
                Results(tmp_path)

    @pytest.mark.parametrize("change", [{"policy": "x"}, {"market": "x"}, {"seed": 99}])
    def test_a_plan_that_was_edited(self, plan, tmp_path, change):
        plan.write(tmp_path)
        data = json.loads((tmp_path / "sweep.json").read_text())
        data["cells"][3] |= change
        (tmp_path / "sweep.json").write_text(json.dumps(data))
        with pytest.raises(ValueError, match=r"sweep\.json is not a sweep.*does not list"):
            Results(tmp_path)

    def test_a_plan_comes_back_as_it_was(self, plan, tmp_path):
        plan.write(tmp_path)
        assert Plan.read(tmp_path) == plan

    def test_nothing_tells_when_or_where(self, own):
        text = table(own).decode()
        for word in ("seconds", "version", "started", "python", str(own), "revision"):
            assert word not in text.lower()
        assert set(COLUMNS) == set(rows(own)[0])


class TestProvenance:
    def test_every_cell_keeps_it(self, own, own_plan):
        cell = Store(own / "cells").get(own_plan.cells[4].key)
        assert isinstance(cell, Cell)
        assert {*origin.provenance(), "started", "scenario", "policy", "batch", "seconds",
                "decision_s"} == {*cell.about}  # fmt: skip
        assert cell.about["seconds"] > 0
        assert cell.about["decision_s"] > 0
        assert cell.about["versions"]["numpy"] == np.__version__
        batches = {(c.seed, Store(own / "cells").get(c.key).about["batch"]) for c in own_plan.cells}
        assert batches == {(0, 1), (1, 2), (2, 2)}

    def test_keys(self):
        told = origin.provenance()
        assert {*told} == {"versions", "python", "system", "cpu", "cpus", "threads", "revision",
                           "modified"}  # fmt: skip
        assert told["python"] == sys.version.split()[0]
        assert told["cpus"] == os.cpu_count()
        json.dumps(dict(told), allow_nan=False)
        line = origin.versions_line()
        assert line.startswith("Python ")
        assert f"numpy {np.__version__}" in line
        assert "None" not in line

    def moved(self, folder, monkeypatch):
        """What a copy of the module says that lies elsewhere."""
        path = folder / "lib" / "provenance.py"
        path.parent.mkdir(parents=True)
        shutil.copy(origin.__file__, path)
        monkeypatch.setattr(origin, "__file__", str(path))
        return dict(origin.provenance.__wrapped__())

    def test_outside_a_checkout(self, tmp_path, monkeypatch):
        told = self.moved(tmp_path, monkeypatch)
        assert (told["revision"], told["modified"]) == (None, False)

    @pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
    def test_in_somebody_elses_checkout(self, tmp_path, monkeypatch):
        """Installed into a folder of another project: its revision says nothing about ours."""
        git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run([*git, "init", "-q"], check=True)
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
        told = self.moved(tmp_path, monkeypatch)
        assert (told["revision"], told["modified"]) == (None, False)

    @pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
    def test_in_a_checkout(self, tmp_path, monkeypatch):
        git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run([*git, "init", "-q"], check=True)
        self.moved(tmp_path, monkeypatch)
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "-q", "-m", "x"], check=True)
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        told = origin.provenance.__wrapped__()
        assert (told["revision"], told["modified"]) == (head.stdout.strip(), False)
        (tmp_path / "lib" / "provenance.py").write_text("edited")
        assert origin.provenance.__wrapped__()["modified"] is True


class TestDivisions:
    @pytest.mark.parametrize(
        ("policy", "text"),
        [
            ("oracle", "policy 'oracle' knows 'world': the closed division takes policies that"),
            ("heu", "policy 'heu' knows 'performance': the closed division takes"),
            ("ppo", "policy 'ppo' is pretrained: the closed division takes"),
        ],
    )
    def test_closed_refuses(self, tmp_path, policy, text):
        (tmp_path / "mixed.toml").write_text(suite(["ucb"], ["toy"], 1, 3))
        words = ("bench", tmp_path / "mixed.toml", "--out", tmp_path / "out", "--dry-run")
        answer = cli(*words, "--policy", policy, "--division", "closed")
        assert answer.exit_code == 2
        assert text in answer.stderr
        assert answer.stdout == ""
        assert cli(*words, "--policy", policy).exit_code == 0

    def test_closed_takes(self, outside, tmp_path):
        (tmp_path / "mixed.toml").write_text(suite(["heu"], ["toy"], 1, 3))
        entry = Suite.load(tmp_path / "mixed.toml")
        made = make_plan(entry, ["outside_sweep:Measuring", "greedy"], division="closed")
        told = {policy.id: policy.about.division for policy in made.policies}
        assert told == {"heu": "open", "outside_sweep:Measuring": "closed", "greedy": "closed",
                        "random": "closed", "oracle": "open"}  # fmt: skip

    def test_what_was_declared_holds(self, outside, tmp_path, monkeypatch):
        """Who declares rewards when the sweep is planned gets no world when it is played."""
        made = planned(tmp_path, ["outside_sweep:Turncoat"], ["toy"], 1, 3)
        assert made.policies[0].about.division == "closed"
        monkeypatch.setenv("OUTSIDE_FAILS", "1")
        result = bench(made, tmp_path, SerialEngine())
        assert [f["policy"] for f in result["failures"]] == ["outside_sweep:Turncoat"]


class TestCheck:
    def test_passes(self, serial):
        result = checking.check(serial, SerialEngine(), 8)
        assert result["passed"]
        assert (result["played"], result["equal"], result["different"]) == (8, 8, [])
        assert result["cells"] == {"done": 30, "failed": 0, "missing": 0, "damaged": 0}
        assert checking.text(result) == (
            "mixed: 30 done\n8 played again, each alone: 8 equal bit for bit\npassed"
        )

    @pytest.mark.parametrize("count", [1, 4, 5, 23])
    def test_the_sample_has_every_policy(self, own, own_plan, count):
        seen, nobody = [], range(24)
        for seed in range(4):
            engine = Engine(lost=nobody)  # which cells are chosen, without playing them
            result = checking.check(own, engine, count, seed)
            assert result["played"] == max(count, 4)
            assert {job.policy for job in engine.jobs} == {"ucb", "distmllm", "random", "oracle"}
            assert all(len(job.keys) == 1 for job in engine.jobs)
            keys = [job.keys[0] for job in engine.jobs]
            assert len(set(keys)) == len(keys)
            seen.append(keys)
            again = Engine(lost=nobody)
            checking.check(own, again, count, seed)
            assert [job.keys[0] for job in again.jobs] == keys
        assert len({tuple(keys) for keys in seen}) > 1
        assert len({key for keys in seen for key in keys}) > max(count, 4)

    def test_all(self, own, own_plan):
        for count in (None, 24, 1000):
            engine = Engine()
            assert checking.check(own, engine, count)["played"] == 24
            assert [job.keys[0] for job in engine.jobs] == [cell.key for cell in own_plan.cells]

    @pytest.mark.parametrize("what", ["score", "curve"])
    def test_an_edited_cell(self, own, own_plan, copy, what):
        folder = copy(own)
        edited = own_plan.cells[13]
        path = folder / f"cells/{edited.key}.npz"
        curves, text, _ = archive.read_archive(path, archive.CELL)
        if what == "score":
            text["scores"]["regret"] = float(np.nextafter(text["scores"]["regret"], 0))
        else:
            curves["profit"][3] = np.nextafter(curves["profit"][3], 0)
        archive.write_archive(path, curves, text)
        result = checking.check(folder, SerialEngine(), None)
        assert not result["passed"]
        assert result["equal"] == 23
        (row,) = result["different"]
        assert row == {"scenario": edited.market, "policy": edited.policy, "seed": edited.seed,
                       "difference": "regret" if what == "score" else "curve profit",
                       "key": edited.key}  # fmt: skip
        assert "NOT passed" in checking.text(result)
        assert f"{edited.market}, {edited.policy}, seed {edited.seed}: " in checking.text(result)

    @pytest.mark.parametrize(
        ("policy", "runs", "different"),
        [("Batchy", 3, {1, 2}), ("Fickle", 1, {0})],  # the first run is played alone, too
    )
    def test_a_policy_that_hangs_on_other_things(self, outside, tmp_path, policy, runs, different):
        spec = f"outside_sweep:{policy}"
        made = planned(tmp_path, [spec], ["paper"], runs, 6)
        assert bench(made, tmp_path, SerialEngine())["cells"]["done"] == 3 * runs
        result = checking.check(tmp_path, SerialEngine(), None)
        assert not result["passed"]
        assert {row["policy"] for row in result["different"]} == {spec}
        assert {row["seed"] for row in result["different"]} == different

    def test_a_source_that_was_edited_since(self, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(tmp_path)
        source = tmp_path / "my_checked_policy.py"
        source.write_text(OUTSIDE)
        made = planned(tmp_path, ["my_checked_policy:Learner"], ["toy"], 1, 4)
        bench(made, tmp_path, SerialEngine())
        source.write_text(OUTSIDE + "\n# edited\n")
        result = checking.check(tmp_path, SerialEngine(), None)
        assert not result["passed"]
        (row,) = result["different"]
        assert row["policy"] == "my_checked_policy:Learner"
        assert "are not those that the sweep was planned with" in row["difference"]
        source.unlink()
        (row,) = checking.check(tmp_path, SerialEngine(), None)["different"]
        assert "cannot import 'my_checked_policy'" in row["difference"]

    def test_what_is_missing(self, own, own_plan, copy):
        folder = copy(own)
        (folder / f"cells/{own_plan.cells[0].key}.npz").unlink()
        result = checking.check(folder, SerialEngine(), None)
        assert not result["passed"]
        assert result["cells"]["missing"] == 1
        assert (result["played"], result["different"]) == (23, [])

    def test_a_process_that_is_lost(self, own):
        result = checking.check(own, Engine(lost={2}), None)
        assert not result["passed"]
        (row,) = result["different"]
        assert row["difference"] == "the process that played it was lost: it is gone"

    def test_on_the_command_line(self, own, own_plan, copy):
        answer = cli("check", own, "--jobs", 1, "--sample", 5, "--seed", 3)
        assert answer.exit_code == 0
        assert answer.stdout.endswith("5 played again, each alone: 5 equal bit for bit\npassed\n")
        assert "5 of 24 cells again" in answer.stderr
        as_json = cli("check", own, "--jobs", 1, "--all", "--json")
        assert as_json.exit_code == 0
        assert json.loads(as_json.stdout)["played"] == 24
        folder = copy(own)
        (folder / f"cells/{own_plan.cells[0].key}.npz").unlink()
        as_json = cli("check", folder, "--jobs", 1, "--json")
        assert as_json.exit_code == 1
        assert json.loads(as_json.stdout)["passed"] is False
        nothing = cli("check", folder / "cells", "--json")
        assert nothing.exit_code == 2
        assert "holds no sweep" in nothing.stderr
        assert nothing.stdout == ""


class TestCommandLine:
    @pytest.fixture
    def words(self, tmp_path):
        (tmp_path / "mixed.toml").write_text(suite(["ucb", "distmllm"]))
        return ("bench", tmp_path / "mixed.toml", "--jobs", 1, "--out", tmp_path / "out")

    def test_plays_and_says_so(self, words, own):
        answer = cli(*words)
        assert answer.exit_code == 0
        out = words[-1]
        assert answer.stdout == (
            f"mixed: 24 done; 24 played now\nresults: {out}/results.csv\n"
            f"report:  distmllm report {out}\n"
        )
        lines = answer.stderr.splitlines()
        assert len(lines) == 16
        assert lines[0] == "toy: ucb, 1 run done ..."
        assert lines[-1] == "paper: oracle, 2 runs done ..."
        assert table(out) == table(own)
        again = cli(*words)
        assert again.exit_code == 0
        assert again.stdout.startswith("mixed: 24 done; 0 played now\n")
        assert again.stderr == ""

    def test_json_is_one_document(self, words):
        answer = cli(*words, "--json")
        assert json.loads(answer.stdout) == {
            "suite": "mixed",
            "cells": {"done": 24, "failed": 0, "missing": 0, "damaged": 0},
            "played": 24,
            "failures": [],
            "results": str(words[-1] / "results.csv"),
        }
        assert answer.exit_code == 0
        assert "done ..." in answer.stderr

    def test_a_dry_run_plays_nothing(self, words, own, own_plan):
        answer = cli(*words, "--dry-run", "--json")
        assert answer.exit_code == 0
        assert answer.stderr == ""
        out = words[-1]
        assert not out.exists()
        plays = [
            {"scenario": market, "policy": policy, "division": division, "cells": 3, "to play": 3}
            for market in ("toy", "paper")
            for policy, division in (
                ("ucb", "closed"),
                ("distmllm", "closed"),
                ("random", "closed"),
                ("oracle", "open"),
            )
        ]
        assert json.loads(answer.stdout) == plays
        text = cli(*words, "--dry-run").stdout.splitlines()
        assert text[0].split() == ["scenario", "policy", "division", "cells", "to", "play"]
        assert text[1].split() == ["toy", "ucb", "closed", "3", "3"]
        assert len(text) == 9
        shutil.copytree(own, out)
        for cell in own_plan.cells:
            if cell.policy == "ucb" and cell.seed:
                (out / f"cells/{cell.key}.npz").unlink()
        before = files(out)
        rows = json.loads(cli(*words, "--dry-run", "--json").stdout)
        assert [row["to play"] for row in rows] == [2, 0, 0, 0] * 2
        parts = [json.loads(cli(*words, "--dry-run", "--json", "--shard", f"{i}/2").stdout)
                 for i in (1, 2)]  # fmt: skip
        assert sum(row["to play"] for part in parts for row in part) == 4
        assert files(out) == before

    def test_where_results_go_if_nobody_says(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "mixed.toml").write_text(suite(["ucb"], ["toy"], 1, 3))
        answer = cli("bench", "mixed.toml", "--jobs", 1)
        assert answer.exit_code == 0
        assert (tmp_path / "runs/bench/mixed/results.csv").is_file()
        assert "runs/bench/mixed/results.csv" in answer.stdout

    def test_seeds(self, tmp_path):
        (tmp_path / "mixed.toml").write_text(suite(["ucb"], ["toy"], 2, 3))
        words = ("bench", tmp_path / "mixed.toml", "--jobs", 1, "--json")
        seen = []
        for more in ((), ("--seeds", "official"), ("--salt", "word")):
            out = tmp_path / "_".join(("out", *more))
            assert cli(*words, "--out", out, *more).exit_code == 0
            seen.append([int(row["seed"]) for row in rows(out)[:2]])
        assert seen[:2] == [[0, 1], [2**42, 2**42 + 1]]
        assert seen[2][0] == 2**43 + 0xFCDC6343A0

    @pytest.mark.parametrize(
        ("more", "text"),
        [
            (("--policy", "uct"), "unknown policy 'uct'. Did you mean 'ucb'?"),
            (("--policy", "no_module:X"), "cannot import 'no_module'"),
            (("--policy", "numpy:X"), "policy 'numpy:X' cannot be loaded"),
            (("--policy", "absent.npz"), "'absent.npz'"),
            (("--seeds", "offical"), "unknown seeds 'offical'. Did you mean 'official'?"),
            (("--salt", ""), "salt = '' is not allowed"),
            (("--salt", "x", "--seeds", "official"), "--seeds has no effect with --salt"),
            (("--policy", "none.npz"), "policy file 'none.npz' does not exist"),
            (("--division", "close"), "unknown division 'close'. Did you mean 'closed'?"),
            (("--backend", "lokky"), "Did you mean 'loky'?"),
            (("--ray-address", "auto"), "--ray-address"),
            (("--shard", "0/3"), "shard '0/3' is not allowed: i/n with 1 <= i <= n, e.g. 1/8."),
            (("--shard", "4/3"), "shard '4/3' is not allowed"),
            (("--shard", "1"), "shard '1' is not allowed"),
            (("--shard", "1/0"), "shard '1/0' is not allowed"),
            (("--shard", "-1/3"), "shard '-1/3' is not allowed"),
            (("--jobs", "0"), "'--jobs'"),
            (("--timeout", "0"), "'--timeout'"),
        ],
    )
    def test_wrong_usage(self, words, more, text):
        answer = cli(*words, *more)
        assert answer.exit_code == 2
        assert text in answer.stderr
        assert answer.stdout == ""
        assert not words[-1].exists()

    @pytest.mark.parametrize(
        ("name", "old", "new", "text"),
        [
            ("smok", "", "", "unknown suite 'smok'. Did you mean 'smoke'?"),
            ("no.toml", "", "", "suite file 'no.toml' does not exist."),
            ("mixed.toml", "runs = ", "rnus = ", "unknown suite key 'rnus'. Did you mean 'runs'?"),
            ("mixed.toml", '"toy"', '"tyo"', "unknown scenario 'tyo'. Did you mean 'toy'?"),
            ("mixed.toml", '"ucb"', '"uct"', "unknown policy 'uct'. Did you mean 'ucb'?"),
        ],
    )
    def test_wrong_suites(self, tmp_path, monkeypatch, name, old, new, text):
        monkeypatch.chdir(tmp_path)
        Path("mixed.toml").write_text(suite(["ucb"]).replace(old, new))
        answer = cli("bench", name, "--jobs", 1, "--out", "out")
        assert answer.exit_code == 2
        assert text in answer.stderr
        assert answer.stdout == ""
        assert not Path("out").exists()

    def test_parts(self, words, own):
        out = words[-1]
        played = []
        for i in (2, 3, 1):
            answer = cli(*words, "--shard", f"{i}/3", "--json")
            assert answer.exit_code == 0
            played.append(json.loads(answer.stdout)["played"])
        assert sum(played) == 24
        assert table(out) == table(own)

    def test_more_policies(self, outside, tmp_path):
        (tmp_path / "mixed.toml").write_text(suite(["ucb"], ["toy"], 1, 3))
        answer = cli("bench", tmp_path / "mixed.toml", "--jobs", 1, "--out", tmp_path, "--json",
                     "--policy", "outside_sweep:Learner", "--policy", "ucb")  # fmt: skip
        assert answer.exit_code == 0, answer.output
        names = [row["policy"] for row in rows(tmp_path)]
        assert names == ["ucb", "outside_sweep:Learner", "random", "oracle"]


def test_a_job_is_told_apart_from_its_failure(own_plan, monkeypatch):
    """Whatever goes wrong while a job is played is a failure of its cells, in one line."""
    (job, *_) = own_plan.jobs({cell.key for cell in own_plan.cells}, 10, None)

    def broken(*given):
        raise MemoryError("no\nroom")

    monkeypatch.setattr("distmllm_bench.sweep.playing.play", broken)
    (failure,) = play_job(job)
    assert isinstance(failure, Failure)
    assert failure.error == "MemoryError: no room"
