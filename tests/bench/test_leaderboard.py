"""A class's schedulers on one page: the good ones ranked, the others named with a fair reason."""

import csv
import json
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distmllm_bench.cli import app
from distmllm_bench.engines import SerialEngine
from distmllm_bench.report import run
from distmllm_bench.sweep.suite import Suite, run_seeds
from distmllm_bench.teaching.leaderboard import leaderboard
from distmllm_env import Scenario, load_policy, play

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and /proc of Linux")

SOURCE = Path(__file__).parents[2] / "notebooks" / "assignments" / "a3_scheduler.py"
SOLUTION = SOURCE.read_text().partition("# %% [raw]\n# # BEGIN TESTS")[0]
SUITE = """
name = "small"
description = "Two slots more than the one that raises waits."
scenarios = ["toy"]
policies = ["heu"]
runs = 2
slots = 14
"""
PLAIN = """
import numpy as np


class Scheduler:
    def reset(self, problem, rng):
        self.problem, self.rng = problem, rng

    def act(self, observation):
        return self.answer(observation)

    def answer(self, observation):
        return self.rng.integers(0, self.problem.workers, (1, self.problem.providers, 2))

    def update(self, feedback):
        pass
"""
HOSTILE = "<img src=x onerror=alert(1)>&"


def instead(*lines):
    """A scheduler that does this before it answers."""
    return PLAIN.replace("        return self.answer", "".join(f"        {x}\n" for x in lines)
                         + "        return self.answer")  # fmt: skip


def notebook(*cells):
    made = [{"cell_type": "code", "source": cell.splitlines(keepends=True)} for cell in cells]
    return json.dumps({"cells": made})


FILES = {
    "blank.py": "class Scheduler:\n    def reset(self, problem, rng):\n        ...\n",
    "bom.py": f"\ufeff{PLAIN}",
    "copy_of_plain.py": PLAIN,
    "built.py": "from distmllm_agents.distmllm import DistMLLM\nclass Scheduler(DistMLLM): pass\n",
    "declares.py": PLAIN.replace("def reset", "knows = 'world'\n\n    def reset", 1),
    "exits.py": instead("import os", "if observation.slot == 3: os._exit(5)"),
    "late.py": instead("if observation.slot > 10: raise RuntimeError('tired')"),
    "leaves.py": PLAIN + "\nimport os\nos._exit(6)\n",
    "loops.py": instead("while True: pass"),
    "no_class.py": "class Scheduller:\n    pass\n",
    "notebook.ipynb": notebook("%matplotlib inline\nimport numpy as np\n", PLAIN, "!ls\n1 / 0"),
    "no_notebook.ipynb": "{",
    "plain.py": PLAIN,
    "pretrained.py": PLAIN.replace("def reset", "pretrained = True\n\n    def reset", 1),
    "syntax.py": PLAIN.replace("def reset(self, problem, rng):", "def reset(self, problem rng):"),
    "syntax_nb.ipynb": notebook("import numpy as np", "class Scheduler\n    pass"),
    "thief.py": "from submission_plain import Scheduler\n",
    "reader.py": instead("open('../plain/submission.py').read()"),
    "writer.py": instead("open('../plain/submission.py', 'a').write('x')"),
    "neighbour.py": "import sys\nsys.path.append('../plain')\nimport plain\nScheduler = plain.S\n",
    f"{HOSTILE}.py": PLAIN + f"# by {HOSTILE}\n",
    "notes.txt": "hello",
    "data.csv": "1,2",
}
GOOD = {"good", "bom", "copy_of_plain", "notebook", "plain", HOSTILE}
REASONS = {
    "blank": "act",
    "built": "it is built on distmllm_agents.distmllm:DistMLLM, a policy of this package",
    "declares": "it declares that it knows 'world', which the closed division refuses",
    "exits": "a first run failed: its process ended with exit code 5",
    "late": "a first run failed: RuntimeError: tired",
    "leaves": "exit code 6",
    "loops": "a first run failed: it took longer than 2 s and was stopped",
    "no_class": "Scheduler",
    "no_notebook": "cannot be read",
    "pretrained": "it declares that it is pretrained, which the closed division refuses",
    "syntax": "In cell 1: SyntaxError: invalid syntax",
    "syntax_nb": "In cell 2: SyntaxError: expected ':'",
    "thief": "submission_plain",
    "reader": "a submission may not read ../plain/submission.py",
    "writer": "a submission may not write ../plain/submission.py",
    "neighbour": "plain",
}
SECONDS = 2.0


def board(files, base, salt=None, out="out", seconds=SECONDS):
    folder = base / "class"
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    (base / "small.toml").write_text(SUITE)
    suite = Suite.load(base / "small.toml")
    return leaderboard(folder, base / out, suite, SerialEngine(), salt=salt, seconds=seconds)


def rows(out):
    with (out / "results.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def plain_page(monkeypatch):
    """No figures on the page: they take most of the time of a small class."""
    monkeypatch.setattr(run, "figures", lambda *_: {})
    monkeypatch.setattr(run, "market_figures", lambda *_: [])


@pytest.fixture(scope="module")
def played(once, children):
    """The whole class, played once for all xdist workers."""

    def play_class(base):
        result = board({**FILES, "good.py": SOLUTION}, base)
        assert children() == []
        return result

    return once("board", play_class)


class TestClass:
    def test_who_is_refused_and_why(self, played):
        _, result = played
        assert result["refused"].keys() == REASONS.keys()
        for name, words in REASONS.items():
            assert words in result["refused"][name], name
            assert "Traceback" not in result["refused"][name]

    def test_all_others_are_played(self, played):
        base, _ = played
        table = rows(base / "out")
        states = {row["policy"]: set() for row in table}
        for row in table:
            states[row["policy"]].add(row["status"])
        done = {name for name, state in states.items() if state == {"done"}}
        assert done == GOOD | {"heu", "random", "oracle"}
        assert {name for name, state in states.items() if state == {"failed"}} == set(REASONS)
        assert len(table) == 2 * len(states)
        for row in table:
            if row["status"] == "failed":
                assert row["error"].startswith("refused: ")
                assert REASONS[row["policy"]] in row["error"]

    def test_good_one_has_the_score_of_its_class(self, played):
        """Bit for bit what the class earns when it plays in this process."""
        base, _ = played
        names = {"__name__": "solution"}
        exec(SOLUTION, names)
        scenario = Scenario.load("toy", slots=14)
        ours = play(scenario, names["Scheduler"](), [0, 1])
        heu = play(scenario, load_policy("heu"), [0, 1])
        found = {(row["policy"], int(row["seed"])): row for row in rows(base / "out")}
        for i in (0, 1):
            expected = ours.expected_profit[i].sum()
            assert float(found["good", i]["expected_profit"]) == pytest.approx(expected, rel=1e-12)
            other = heu.expected_profit[i].sum()
            assert float(found["heu", i]["expected_profit"]) == pytest.approx(other, rel=1e-12)

    def test_copies_and_notebooks_score_the_same(self, played):
        base, _ = played
        earned = {}
        for row in rows(base / "out"):
            earned.setdefault(row["policy"], []).append(row["expected_profit"])
        assert earned["plain"] == earned["copy_of_plain"] == earned["notebook"] == earned[HOSTILE]
        assert earned["plain"] != earned["good"]

    def test_page(self, played):
        base, _ = played
        page = (base / "out" / "report.html").read_text()
        for name in {*GOOD, *REASONS} - {HOSTILE}:
            assert name in page
        assert HOSTILE not in page
        assert "<img src=x" not in page
        assert "&lt;img src=x" in page or "\\u003cimg src=x" in page

    def test_folders_of_their_own(self, played):
        base, _ = played
        kept = {path.name for path in (base / "out" / "submissions").iterdir()}
        assert kept == (GOOD | set(REASONS)) - {"no_notebook"}
        assert {path.name for path in (base / "class").iterdir()} == {*FILES, "good.py"}

    @pytest.mark.usefixtures("plain_page")
    def test_again(self, played):
        """The same table, bit for bit, in another folder and in the same one."""
        base, _ = played
        first = (base / "out" / "results.csv").read_bytes()
        few = {name: FILES[name] for name in ("plain.py", "late.py", "syntax.py")}
        one = base / "few"
        one.mkdir()
        board(few, one)
        table = (one / "out" / "results.csv").read_bytes()
        again = board({}, one, seconds=SECONDS + 1)
        assert again["refused"].keys() == {"late", "syntax"}
        assert (one / "out" / "results.csv").read_bytes() == table
        mine = [line for line in table.decode().splitlines() if ",plain," in line]
        assert len(mine) == 2
        assert set(mine) <= {*first.decode().splitlines()}

    @pytest.mark.usefixtures("plain_page")
    def test_a_word_makes_the_seeds(self, tmp_path):
        board({"plain.py": PLAIN}, tmp_path, salt="one")
        seeds = {int(row["seed"]) for row in rows(tmp_path / "out")}
        assert seeds == {*run_seeds(2, salt="one")}
        assert not seeds & {0, 1, *run_seeds(2, salt="two")}


@pytest.mark.usefixtures("plain_page")
class TestFolder:
    def test_empty(self, tmp_path):
        with pytest.raises(ValueError, match="holds no submissions"):
            board({"notes.txt": "x"}, tmp_path)
        assert not (tmp_path / "out").exists()

    def test_names_that_are_taken(self, tmp_path):
        """Two of one name, or that of a reference: the suffix tells them apart."""
        files = {"a.py": PLAIN, "a.ipynb": notebook(PLAIN), "heu.py": PLAIN, "b.py": PLAIN}
        assert board(files, tmp_path)["refused"] == {}
        table = rows(tmp_path / "out")
        assert {row["status"] for row in table} == {"done"}
        names = {"random", "oracle", "heu", "heu.py", "a.py", "a.ipynb", "b"}
        assert {row["policy"] for row in table} == names
        earned = {name: [r["profit"] for r in table if r["policy"] == name] for name in names}
        assert earned["heu.py"] == earned["a.py"] == earned["b"] != earned["heu"]

    @pytest.mark.parametrize("name", ["...py", "..py"])
    def test_name_that_is_a_place(self, tmp_path, name):
        """A submission gets a folder of its own, whatever its file is called."""
        with suppress(ValueError):
            board({name: PLAIN, "b.py": PLAIN}, tmp_path)
        assert not (tmp_path / "out" / "submission.py").exists()
        assert not (tmp_path / "out" / "submissions" / "submission.py").exists()

    def test_folder_named_like_a_file(self, tmp_path):
        (tmp_path / "class" / "old.py").mkdir(parents=True)
        result = board({"b.py": PLAIN}, tmp_path)
        assert result["refused"].keys() <= {"old"}
        assert {"done"} == {row["status"] for row in rows(tmp_path / "out") if row["policy"] == "b"}

    def test_one_that_loops_costs_its_trial(self, tmp_path):
        start = time.monotonic()
        result = board({"loops.py": FILES["loops.py"]}, tmp_path, seconds=6.0)
        assert result["refused"].keys() == {"loops"}
        assert 6.0 < time.monotonic() - start < 2 * 6.0

    def test_one_that_was_too_slow_is_played_when_it_has_more_time(self, tmp_path):
        slow = {"slow.py": instead("import time; time.sleep(0.1)")}
        assert board(slow, tmp_path, seconds=0.5)["refused"].keys() == {"slow"}
        assert board(slow, tmp_path, seconds=60.0)["refused"] == {}
        states = {row["status"] for row in rows(tmp_path / "out") if row["policy"] == "slow"}
        assert states == {"done"}

    def test_one_that_changes_itself_between_its_runs(self, tmp_path):
        lines = "open(__file__.replace('submission.py', 'submission.py'), 'a').write('\\n# x')"
        result = board({"sly.py": instead(lines), "b.py": PLAIN}, tmp_path)
        states = {row["policy"]: row["status"] for row in rows(tmp_path / "out")}
        assert states["b"] == "done"
        assert states["sly"] == "failed"
        assert result["refused"].keys() <= {"sly"}

    def test_command(self, tmp_path):
        folder = tmp_path / "class"
        folder.mkdir()
        (folder / "b.py").write_text(PLAIN)
        (tmp_path / "small.toml").write_text(SUITE)
        words = ["leaderboard", str(folder), "--out", str(tmp_path / "out"), "--jobs", "1"]
        words += ["--suite", str(tmp_path / "small.toml"), "--json"]
        answer = CliRunner().invoke(app, words)
        assert answer.exit_code == 0, answer.output
        assert json.loads(answer.stdout)["refused"] == {}
        assert "b" in {row["policy"] for row in rows(tmp_path / "out")}
        words[1] = str(tmp_path / "none")
        answer = CliRunner().invoke(app, words)
        assert answer.exit_code == 2
        assert "holds no submissions" in answer.stderr
