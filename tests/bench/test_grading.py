"""Grading what was handed in: fair to what is right in it, and safe from what is not."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from distmllm_agents.oracle import optimum
from distmllm_bench.cli import app
from distmllm_bench.teaching import grading, remote, scheduling
from distmllm_bench.teaching.source import read_assignment
from distmllm_bench.teaching.source import test_file as file_of_tests
from distmllm_bench.teaching.values import decode, encode
from distmllm_env import Scenario, play

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and /proc of Linux")

ASSIGNMENTS = Path(__file__).parents[2] / "notebooks" / "assignments"
SALT = "pepper"
CALL_SECONDS = 1.0

TINY = """
# %% [markdown]
# # Tiny

# %%
import numpy as np

# %% [raw]
# # BEGIN QUESTION
# name: q1
# points: 2

# %% [raw]
# # BEGIN SOLUTION

# %%
def double(x):
    # BEGIN SOLUTION
    return 2 * x
    # END SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
assert double(2) == 4, "twice two"

# %%
# HIDDEN
x = int(np.random.default_rng(list(b"SEED-SALT")).integers(5, 10**9))
assert double(x) == 2 * x, "a hidden reason"

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q2
# points: 3

# %% [raw]
# # BEGIN SOLUTION

# %%
def total(values):
    # BEGIN SOLUTION
    return np.sum(values)
    # END SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
assert np.allclose(total(np.arange(4.0)), 6.0)

# %%
# HIDDEN
assert np.allclose(total(np.ones(7)), 7.0)

# %%
# HIDDEN
assert np.allclose(total(np.ones(9)), 9.0)

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION
"""
HIDDEN = re.compile(r"# %%\n# HIDDEN\n.*?\n\n", re.DOTALL)
PUBLIC = HIDDEN.sub("", TINY)
"""The same without hidden tests, so that what hangs is waited for once."""
DOUBLE = "def double(x):\n    return 2 * x\n"
TOTAL = "import numpy as np\ndef total(values):\n    return np.sum(values)\n"


@pytest.fixture(autouse=True)
def short(monkeypatch, tmp_path, children):
    """Short limits, a folder of temporary files of our own, nothing of it left at the end."""
    monkeypatch.setattr(remote, "START_SECONDS", 6.0)
    monkeypatch.setattr(remote, "CALL_SECONDS", CALL_SECONDS)
    monkeypatch.setattr(remote, "Submission", partial(remote.Submission, seconds=CALL_SECONDS))
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert children() == []


def cells_file(path, *cells):
    """A notebook of code cells."""
    made = [{"cell_type": "markdown", "source": "# Words\n%not code"}]
    made += [{"cell_type": "code", "source": cell.splitlines(keepends=True)} for cell in cells]
    path.write_text(json.dumps({"cells": made, "metadata": {}, "nbformat": 4}))
    return path


def graded(folder, *cells, source=TINY, salt=SALT):
    """Grade cells, one .py file if it is one, else a notebook."""
    work = folder / "handed-in"
    work.mkdir(exist_ok=True)
    (folder / "tiny.py").write_text(source)
    if len(cells) == 1:
        file = work / "mine.py"
        file.write_text(cells[0])
    else:
        file = cells_file(work / "mine.ipynb", *cells)
    before = sorted(work.iterdir())
    result = grading.grade(file, None, folder / "tiny.py", salt)
    assert sorted(work.iterdir()) == before
    json.dumps(result)
    return result


def scores(result):
    return [question["score"] for question in result["questions"]]


def messages(result, name="q1"):
    (question,) = (row for row in result["questions"] if row["name"] == name)
    return [test["message"] for test in question["tests"]]


def double(*lines):
    """A submission whose first function does this, and whose other one is right."""
    return "import os, sys\ndef double(x):\n" + "".join(f"    {line}\n" for line in lines)


class TestTiny:
    def test_right(self, tmp_path):
        result = graded(tmp_path, DOUBLE, TOTAL)
        assert result.keys() == {
            *("assignment", "file", "score", "max", "questions", "errors", "seconds")
        }
        assert (result["assignment"], result["score"], result["max"]) == ("tiny", 5.0, 5.0)
        assert result["errors"] == []
        assert [row["name"] for row in result["questions"]] == ["q1", "q2"]
        first = result["questions"][0]
        assert first == {
            "name": "q1",
            "score": 2.0,
            "max": 2.0,
            "unseen": 0,
            "tests": [
                {"name": "test_q1_1_public", "hidden": False, "passed": True, "message": ""},
                {"name": "test_q1_2_hidden", "hidden": True, "passed": True, "message": ""},
            ],
        }

    def test_solution_file_itself(self, tmp_path):
        (tmp_path / "tiny.py").write_text(TINY)
        result = grading.grade(tmp_path / "tiny.py", None, tmp_path / "tiny.py", SALT)
        assert result["score"] == 5.0

    def test_points_are_split_evenly(self, tmp_path):
        total = "import numpy as np\ndef total(v):\n    return 6.0 if len(v) == 4 else 9.0\n"
        result = graded(tmp_path, DOUBLE, total)
        assert scores(result) == [2.0, 2.0]
        assert [test["passed"] for test in result["questions"][1]["tests"]] == [True, False, True]

    def test_nothing_is_left(self, tmp_path):
        graded(tmp_path, DOUBLE, double("os._exit(3)"))
        assert list((tmp_path / "temporary").iterdir()) == []

    def test_one_after_the_other_in_one_process(self, tmp_path):
        """What one submission did is nothing to the next."""
        assert graded(tmp_path, double("return 5"), TOTAL)["score"] == 3.0
        assert graded(tmp_path, DOUBLE, TOTAL)["score"] == 5.0
        assert graded(tmp_path, TOTAL)["score"] == 3.0

    def test_lines_of_notebooks_that_are_no_python(self, tmp_path):
        cells = ("%matplotlib inline\n" + DOUBLE, "!pip install numpy\n  %time\n" + TOTAL)
        result = graded(tmp_path, *cells)
        assert (result["score"], result["errors"]) == (5.0, [])

    def test_text_of_hidden_tests_is_counts_alone(self, tmp_path):
        result = graded(tmp_path, double("return 5"), "def total(values):\n    return 6.0")
        assert any("a hidden reason" in message for message in messages(result))
        told = grading.text(result)
        assert told.splitlines()[0].endswith("mine.ipynb: 1 of 5 points")
        assert "test_q1_1_public: " in told
        assert "twice two" in told
        assert "hidden tests: 0 of 1 passed" in told
        assert "hidden tests: 0 of 2 passed" in told
        for word in ("_hidden", "a hidden reason", SALT, "7.0", "9.0", "unseen"):
            assert word not in told.partition("\n")[2]

    def test_public_tests_alone(self, tmp_path):
        """What a student runs: the file beside the submission has some of the tests."""
        (tmp_path / "tiny.py").write_text(TINY)
        folder = tmp_path / "student"
        folder.mkdir()
        (folder / "tiny.ipynb").write_text("")
        cells_file(folder / "tiny.ipynb", DOUBLE, TOTAL)
        tests = file_of_tests(read_assignment(tmp_path / "tiny.py", SALT), hidden=False)
        (folder / "test_tiny.py").write_text(tests)
        result = grading.grade(folder / "tiny.ipynb")
        assert scores(result) == [1.0, 1.0]
        assert [row["unseen"] for row in result["questions"]] == [1, 2]
        assert "2 more tests are not in this file" in grading.text(result)
        named = grading.grade(folder / "tiny.ipynb", folder / "test_tiny.py")
        assert scores(named) == [1.0, 1.0]
        assert sorted(path.name for path in folder.iterdir()) == ["test_tiny.py", "tiny.ipynb"]

    def test_plain_pytest(self, tmp_path):
        (tmp_path / "tiny.py").write_text(TINY)
        tests = file_of_tests(read_assignment(tmp_path / "tiny.py", SALT), hidden=True)
        (tmp_path / "test_tiny.py").write_text(tests)
        (tmp_path / "mine.py").write_text(DOUBLE + TOTAL.replace("sum", "max"))
        answer = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_tiny.py"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, remote.VARIABLE: str(tmp_path / "mine.py")},
        )
        assert "3 failed, 2 passed" in answer.stdout

    def test_without_a_submission(self, monkeypatch):
        monkeypatch.delenv(remote.VARIABLE, raising=False)
        with pytest.raises(ValueError, match=f"{remote.VARIABLE} is not set"):
            remote.submitted([])

    def test_salt_makes_other_tests(self, tmp_path):
        (tmp_path / "tiny.py").write_text(TINY)
        one, two = (
            [test.code for question in read_assignment(tmp_path / "tiny.py", salt).questions
             for test in question.tests]
            for salt in ("one", "two")
        )  # fmt: skip
        assert [a == b for a, b in zip(one, two, strict=True)] == [True, False, True, True, True]


BAD = {
    # what the first function does -> its code, and words of what is told
    "loops": (double("while True:", "    pass"), "double: it took longer than 1 s"),
    "sleeps": (double("import time", "time.sleep(60)"), "double: it took longer than 1 s"),
    "prints for ever": (double("while True:", "    print('x' * 999)"), "it took longer than"),
    "eats memory": (double("return len(bytearray(3 << 30))"), "MemoryError"),
    "exits": (double("os._exit(3)"), "double: its process ended with exit code 3"),
    "sys.exit": (double("sys.exit(0)"), "double: SystemExit: 0"),
    "quits": (double("quit()"), "double: "),
    "crashes": (double("os.abort()"), "double: its process was killed by SIGABRT"),
    "recurses": (double("return double(x)"), "double: RecursionError"),
    "raises": (double("y = 1", "return y / 0"), "double: ZeroDivisionError: division by zero"),
    "raises what it should not": (double("raise KeyboardInterrupt"), "double: "),
    "unprintable": (
        "class E(Exception):\n    def __str__(self):\n        raise E\n" + double("raise E()"),
        "double: ",
    ),
    "takes too many": ("def double(x, y):\n    return x\n", "double: TypeError: "),
    "is not there": ("def duoble(x):\n    return 2 * x\n", "double: NameError: 'double' is not"),
    "is no function": ("double = 4\n", "double: TypeError: "),
    "kills": (
        double("os.kill(os.getppid(), 9)"),
        "double: PermissionError: a submission may not send a signal (os.kill)",
    ),
    "forks": (
        double("os.fork()"),
        "double: PermissionError: a submission may not start a program (os.fork)",
    ),
    "hangs up": (double("os.closerange(3, 99)", "return 4"), "double: "),
    "answers by itself": (
        double(
            "import json, struct",
            "body = json.dumps({'value': 4}).encode() + b'\\n'",
            "os.write(int(sys.argv[1]), (struct.pack('!i', len(body)) + body) * 9)",
            "return 5",
        ),
        "",
    ),
    "talks nonsense": (
        double("os.write(int(sys.argv[1]), b'\\0\\0\\0\\1x')"),
        "double: its process sent something that is no answer",
    ),
    "nothing": (double("pass"), ""),
    "own class": (
        "class Yes:\n    def __eq__(self, other):\n        return True\n" + double("return Yes()"),
        "double: ValueError: a value of type Yes cannot be handed back",
    ),
    "own number": (
        "class Yes(int):\n    def __eq__(self, other):\n        return True\n    __hash__ = None\n"
        + double("return Yes()"),
        "0 == 4",
    ),
    "own array": (
        "import numpy as np\nclass Yes(np.ndarray):\n    def __eq__(self, other):\n"
        "        return True\n" + double("return np.zeros(()).view(Yes)"),
        "== 4",
    ),
    "array of objects": (
        "import numpy as np\n" + double("return np.array([x, None])"),
        "double: ValueError: an array of dtype object cannot be handed back",
    ),
    "deep": (
        double("for _ in range(9999):", "    x = [x]", "return x"),
        "double: ValueError: a value with more than 20 levels cannot be handed back",
    ),
    "in itself": (
        double("y = []", "y.append(y)", "return y"),
        "double: ValueError: a value with more than 20 levels cannot be handed back",
    ),
    "wide": (
        double("y = [0] * 30", "for _ in range(6):", "    y = [y] * 30", "return y"),
        "double: ",
    ),
    "huge number": (double("return 10 ** 5000"), "double: ValueError: "),
}


class TestBad:
    @pytest.mark.parametrize("name", BAD)
    def test_loses_that_question_alone(self, tmp_path, name):
        code, words = BAD[name]
        start = time.monotonic()
        result = graded(tmp_path, code, TOTAL, source=PUBLIC)
        assert scores(result)[1] == 3.0, messages(result, "q2")
        assert scores(result)[0] == 0.0
        assert result["errors"] == []
        assert words in messages(result)[0]
        assert all(len(message) <= 500 for message in messages(result))
        assert time.monotonic() - start < 15

    def test_says_where_it_raised(self, tmp_path):
        result = graded(tmp_path, TOTAL, double("y = 1", "return y / 0"))
        assert 'File "cell 2", line 4, in double' in messages(result)[0]

    def test_prints_much_and_is_right(self, tmp_path):
        code = double("for _ in range(999):", "    print('x' * 999, file=sys.stderr)", "return 2*x")
        assert graded(tmp_path, code, TOTAL)["score"] == 5.0

    def test_changes_what_it_is_given(self, tmp_path):
        code = "import numpy as np\ndef total(v):\n    s = v.sum()\n    v[:] = 0\n    return s\n"
        result = graded(tmp_path, DOUBLE, code)
        assert result["score"] == 2.0
        assert "ValueError: it changes what it is given" in messages(result, "q2")[0]

    def test_warns(self, tmp_path):
        code = "import numpy as np\ndef total(v):\n    np.zeros(1) / 0\n    return np.sum(v)\n"
        result = graded(tmp_path, DOUBLE, code)
        assert result["score"] == 2.0
        assert "total: RuntimeWarning: invalid value" in messages(result, "q2")[0]

    @pytest.mark.parametrize(
        "code",
        [
            "import numpy as np\nnp.allclose = np.array_equal = lambda *a, **k: True\n",
            "import numpy as np\nnp.ndarray = object\nnp.testing = np.random = None\n",
            "import builtins\nbuiltins.abs = builtins.all = builtins.any = lambda *a: True\n",
            "import pytest\npytest.main = pytest.fail = print\n",
            "import sys\nsys.modules.clear\nsys.excepthook = sys.exit\n",
            "import distmllm_bench.teaching.grading as g\ng._message = lambda r: ''\n"
            "g.grade = lambda *a: {'score': 99}\n",
            "import operator\noperator.eq = lambda *a: True\n",
        ],
    )
    def test_patches_win_nothing(self, tmp_path, code):
        result = graded(tmp_path, code + double("return 5"), TOTAL)
        assert scores(result)[0] == 0.0
        assert messages(result)[0]
        assert np.allclose(1, 2) is False

    def test_deleted_builtins(self, tmp_path):
        """It breaks its own process; the next submission is as good as ever."""
        code = double("import builtins", "del builtins.isinstance", "return 2 * x")
        assert scores(graded(tmp_path, code, TOTAL))[0] == 0.0
        assert graded(tmp_path, DOUBLE, TOTAL)["score"] == 5.0

    def test_finds_nothing_about_the_tests(self, tmp_path):
        look = """
def double(x):
    import gc, os, sys
    texts = [repr(sys.argv), repr(dict(os.environ)), repr(list(sys.modules))]
    frame = sys._getframe()
    while frame is not None:
        texts.append(repr((frame.f_code.co_filename, list(frame.f_locals))))
        frame = frame.f_back
    for thing in gc.get_objects():
        for inner in [thing, *gc.get_referents(thing)]:
            if type(inner) is str and len(inner) < 5000:
                texts.append(inner)
            elif type(inner) is bytes and len(inner) < 5000:
                texts.append(inner.decode("latin-1"))
    # Backwards, so that what this very function holds is no find.
    clues = {"salt": "reppep", "tests": "_1q_tset", "reason": "nosaer neddih a"}
    clues = {name: clue[::-1] for name, clue in {**clues, "folder": "-gnidarg"}.items()}
    return [name for name, clue in clues.items() if any(clue in text for text in texts)]
"""
        check = TINY.replace('assert double(2) == 4, "twice two"', "assert double(2) == []")
        result = graded(tmp_path, look, TOTAL, source=check)
        assert messages(result)[0] == ""
        assert scores(result) == [1.0, 3.0]

    def test_has_its_time_for_every_call_anew(self, tmp_path):
        """One that raised is not stopped later, while other tests go on."""
        path = tmp_path / "mine.py"
        path.write_text("def double(x):\n    return 2 * x if x else 1 / x\n")
        submission = remote.Submission(path)
        try:
            with pytest.raises(remote.SubmissionError, match="ZeroDivisionError"):
                submission.call("double", (0,), {})
            time.sleep(1.5 * CALL_SECONDS)
            assert submission.call("double", (2,), {}) == 4
        finally:
            submission.close()

    def test_sees_no_variable_of_the_grader(self, tmp_path, monkeypatch):
        monkeypatch.setenv("GRADER_TOKEN", "secret")
        look = double("names = ('GRADER_TOKEN', 'PYTEST_CURRENT_TEST', 'PATH')",
                      "return [name in os.environ for name in names]")  # fmt: skip
        check = PUBLIC.replace("double(2) == 4", "double(2) == [False, False, True]")
        assert scores(graded(tmp_path, look, TOTAL, source=check)) == [2.0, 3.0]

    def test_reads_and_writes_nothing_elsewhere(self, tmp_path):
        other = tmp_path / "other.txt"
        other.write_text("kept")
        source = tmp_path / "tiny.py"
        one = double(f"return open({str(source)!r}).read()")
        result = graded(tmp_path, one, TOTAL)
        assert f"PermissionError: a submission may not read {source}" in messages(result)[0]
        assert scores(result) == [0.0, 3.0]
        for code in (f"open({str(other)!r}, 'w')", f"os.remove({str(other)!r})"):
            result = graded(tmp_path, double(code), TOTAL)
            assert "PermissionError: a submission may not " in messages(result)[0]
            assert scores(result) == [0.0, 3.0]
        assert other.read_text() == "kept"


class TestCells:
    """What cells do when they are run."""

    def test_one_that_raises(self, tmp_path):
        result = graded(tmp_path, "raise RuntimeError('half done')", DOUBLE, TOTAL)
        assert (result["score"], result["errors"]) == (5.0, ["cell 1: RuntimeError: half done"])
        assert "in cell 1: RuntimeError: half done" in grading.text(result)

    def test_one_that_is_no_python(self, tmp_path):
        result = graded(tmp_path, TOTAL, "def double(x)\n    return 2 * x\n")
        assert scores(result) == [0.0, 3.0]
        (error,) = result["errors"]
        assert error.startswith("cell 2: SyntaxError: expected ':' (cell 2, line 1)")
        assert "'double' is not defined" in messages(result)[0]

    def test_one_that_was_saved_with_a_null(self, tmp_path):
        result = graded(tmp_path, TOTAL, "double = 'a\0b'")
        assert scores(result) == [0.0, 3.0]
        assert result["errors"][0].startswith("cell 2: ")

    def test_one_that_exits(self, tmp_path):
        """Scripts end with sys.exit; that ends no other cell."""
        result = graded(tmp_path, DOUBLE, TOTAL, "import sys\nsys.exit(0)")
        assert result["score"] == 5.0
        assert result["errors"] == ["cell 3: SystemExit: 0"]

    def test_one_that_ends_the_process(self, tmp_path):
        result = graded(tmp_path, DOUBLE, TOTAL, "import os\nos._exit(7)")
        assert result["score"] == 0.0
        assert result["errors"] == ["it cannot be loaded: its process ended with exit code 7."]

    def test_one_that_loops(self, tmp_path, monkeypatch):
        """It is waited for once, not again for each of the five tests."""
        monkeypatch.setattr(remote, "START_SECONDS", 1.5)
        start = time.monotonic()
        result = graded(tmp_path, DOUBLE, "while True: pass", TOTAL)
        assert result["score"] == 0.0
        assert result["errors"] == [
            "it cannot be loaded: it took longer than 1.5 s and was stopped."
        ]
        assert time.monotonic() - start < 6

    def test_one_that_eats_memory(self, tmp_path):
        result = graded(tmp_path, DOUBLE, "x = bytearray(3 << 30)", TOTAL)
        assert (result["score"], len(result["errors"])) == (5.0, 1)
        assert "MemoryError" in result["errors"][0]

    def test_one_that_talks_to_the_grader(self, tmp_path):
        body = "import os, sys\nos.write(int(sys.argv[1]), b'\\0\\0\\0\\3{}\\n')"
        result = graded(tmp_path, DOUBLE, body, TOTAL)
        assert result["score"] < 5.0
        assert len(result["questions"]) == 2
        assert all(len(question["tests"]) for question in result["questions"])

    def test_empty(self, tmp_path):
        result = graded(tmp_path, "")
        assert (result["score"], result["max"], result["errors"]) == (0.0, 5.0, [])
        assert "'double' is not defined" in messages(result)[0]


VISIBLE = """
import numpy as np
def update_mean(mean, count, arm, reward):
    return ([2.0, 5.0], [2, 2]) if arm == 0 else ([0.0, 0.0, 4.0], None)
def ucb_index(mean, count, t, width):
    return np.array([1 + 2 * np.sqrt(2 * np.log(10)), 2 + np.sqrt(2 * np.log(10)), np.inf])
def choose(index, feasible):
    return {(1.0, 3.0, 2.0): 1 if all(feasible) else 2}.get(tuple(np.ravel(index)), 0)
def pseudo_regret(means, choices):
    return np.array([2.0, 2.0, 4.0])
def play(means, noise, slots, width, seed):
    return np.array([0, 1, 2] + [1] * 47)
"""


class TestAssignments:
    @pytest.mark.parametrize("salt", ["SEED-SALT", "another word"])
    @pytest.mark.parametrize(("name", "most"), [("a1_bandits", 14.0), ("a2_knapsack", 16.0)])
    def test_solution(self, monkeypatch, name, most, salt):
        monkeypatch.setattr(remote, "Submission", partial(remote.Submission, seconds=10.0))
        source = ASSIGNMENTS / f"{name}.py"
        result = grading.grade(source, None, source, salt)
        assert (result["score"], result["max"], result["errors"]) == (most, most, [])

    def test_answers_of_the_visible_tests(self, tmp_path):
        """Points of a1 times the share of its tests that are public."""
        (tmp_path / "mine.py").write_text(VISIBLE)
        result = grading.grade(tmp_path / "mine.py", None, ASSIGNMENTS / "a1_bandits.py", SALT)
        assert scores(result) == [2.0, 1.0, 0.6667, 1.0, 1.0]
        assert result["score"] == 5.6667
        for question in result["questions"]:
            for test in question["tests"]:
                assert test["passed"] == (not test["hidden"]), test

    def test_hidden_tests_hang_on_the_salt(self):
        for name in ("a1_bandits", "a2_knapsack", "a3_scheduler"):
            one, two = (
                file_of_tests(read_assignment(ASSIGNMENTS / f"{name}.py", salt), hidden=True)
                for salt in ("one", "two")
            )
            assert one != two
            assert one.replace("one", "two").count("two") == two.replace("one", "two").count("two")
            assert "SEED-SALT" not in one
            public = file_of_tests(read_assignment(ASSIGNMENTS / f"{name}.py", "one"), hidden=False)
            assert "_hidden" not in public
            assert "SEED-SALT" not in public


def a3(folder, *more):
    """The third assignment with its first public test and those given here."""
    text = (ASSIGNMENTS / "a3_scheduler.py").read_text()
    start, end = text.index("# %%\nshare = "), text.index("# %% [raw]\n# # END TESTS")
    first = text[start : text.index("# %%\nshare = ", start + 1)]
    path = folder / "a3_scheduler.py"
    path.write_text(text[:start] + first + "".join(f"# %%\n{t}\n\n" for t in more) + text[end:])
    return path


PLAIN = """
import numpy as np
class Scheduler:
    def reset(self, problem, rng):
        self.problem, self.rng = problem, rng
    def act(self, observation):
        return self.rng.integers(0, self.problem.workers, (1, self.problem.providers, 2))
    def update(self, feedback):
        pass
"""


def instead(act, head="", update="pass"):
    """A scheduler that does something else when it acts."""
    lines = "\n        ".join(
        [act, f"return {PLAIN.partition('return ')[2].partition(chr(10))[0]}"]
    )
    made = PLAIN.replace("class Scheduler:\n", f"class Scheduler:\n    {head or 'x = 1'}\n")
    before, _, after = made.partition("return ")
    after = after.partition("\n")[2]
    return f"{before}{lines}\n{after}".replace("        pass\n", f"        {update}\n")


class TestScheduler:
    def test_solution(self, tmp_path):
        """Its public test, and a hidden one on a market of its own size."""
        hidden = (
            "# HIDDEN\nshare = share_of_optimum(Scheduler, 'paper', unseen('SEED-SALT', 1), 60)"
        )
        source = a3(tmp_path, f"{hidden}\nassert share > 0.8")
        solved, _, _ = source.read_text().partition("# %% [raw]\n# # BEGIN TESTS")
        (tmp_path / "mine.py").write_text(solved)
        result = grading.grade(tmp_path / "mine.py", None, source, SALT)
        assert (result["score"], result["max"]) == (12.0, 12.0)
        assert [test["hidden"] for test in result["questions"][0]["tests"]] == [False, True]

    @pytest.mark.parametrize(
        ("code", "words"),
        [
            (PLAIN, ""),
            (instead("pass", "knows = 'latency_energy'"), ""),
            (instead("pass", "knows = 'world'"), "it declares that it knows 'world'"),
            (instead("pass", "knows = 'performance'"), "it declares that it knows 'performance'"),
            (instead("pass", "pretrained = True"), "pretrained"),
            (instead("self.problem.world.mean_reward"), "AttributeError"),
            (instead("return np.full((1, self.problem.providers, 2), np.nan)"), "nan"),
            (instead("return np.zeros((1, 99, 2), int)"), "shape"),
            (instead("return None"), ""),
            (instead("return np.full((1, self.problem.providers, 2), -1)"), "-1"),
            (instead("raise KeyError('my own')"), "KeyError: 'my own'"),
            (instead("import os; os._exit(5)"), "exit code 5"),
            (instead("x = 1", update="feedback.world"), "AttributeError"),
            ("Scheduler = 5", ""),
            ("x = 5", "Scheduler"),
            ("def Scheduler(:", "Scheduler"),
            (
                "from distmllm_agents.distmllm import DistMLLM as Scheduler",
                "it is built on distmllm_agents.distmllm:DistMLLM, a policy of this package",
            ),
            (PLAIN.replace("reset(self, problem, rng)", "reset(self)"), "TypeError"),
        ],
    )
    def test_declared_or_broken(self, tmp_path, code, words):
        (tmp_path / "mine.py").write_text(code)
        result = grading.grade(tmp_path / "mine.py", None, a3(tmp_path), SALT)
        (message,) = messages(result)
        if code.count("knows = 'latency_energy'") or code is PLAIN:
            assert (message, result["score"]) == ("", 12.0)
        else:
            assert result["score"] == 0.0
            assert message
            assert words in message

    def test_says_where_it_raised(self, tmp_path):
        (tmp_path / "mine.py").write_text(instead("raise KeyError('my own')"))
        result = grading.grade(tmp_path / "mine.py", None, a3(tmp_path), SALT)
        assert "KeyError: 'my own' (File \"cell 1\", line" in messages(result)[0]

    def test_runs_that_tell_each_other_count_as_played_alone(self, tmp_path, monkeypatch):
        """The third and later runs copy a plan that the first ones made; alone there is none."""
        shared = PLAIN.replace("class Scheduler:", "PLANS = []\n\n\nclass Scheduler:").replace(
            "self.problem, self.rng = problem, rng",
            "self.problem, self.rng = problem, rng\n"
            "        PLANS.append(rng.integers(0, problem.workers, (1, problem.providers, 2)))",
        )
        sly = shared.replace("return self.rng.integers", "return PLANS[-1] if 1 else None.integers")
        made = {}
        seeds = [3, 4, 5, 6]
        for name, code in (("sly", sly), ("honest", shared)):
            folder = tmp_path / name
            folder.mkdir()
            (folder / "mine.py").write_text(code)
            submission = remote.Submission(folder / "mine.py")
            scheduler = remote.SubmittedClass(submission, "Scheduler")
            together = scheduling.share_of_optimum(scheduler, "toy", seeds, 30)
            alone = [scheduling.share_of_optimum(scheduler, "toy", [seed], 30) for seed in seeds]
            made[name] = together, alone
            submission.close()
        for together, alone in made.values():
            assert together == pytest.approx(np.mean(alone), rel=1e-12)
        names = {"__name__": "sly"}
        exec(sly, names)
        whole = play(Scenario.load("toy", slots=30), names["Scheduler"](), seeds)
        pooled = scheduling._earned(whole).mean()
        best = 30 * optimum(whole.world).value.mean()
        assert pooled / best != pytest.approx(made["sly"][0], rel=1e-6)

    def test_finds_no_world(self, tmp_path):
        """Neither in frames, nor among all objects, nor behind what it is given."""
        act = (
            "import gc, sys; things, frame = gc.get_objects(), sys._getframe()\n"
            "        while frame is not None:\n"
            "            things += frame.f_locals.values(); frame = frame.f_back\n"
            "        kinds = {f'{type(x).__module__}.{type(x).__name__}' for x in things}\n"
            "        names = {'distmllm_env.' + x for x in ('world.World', 'market.Market',\n"
            "            'luck.Luck', 'runs.Player', 'runs.Run', 'envs.central.DistMLLMEnv')}\n"
            "        assert 'distmllm_env.policy.Problem' in kinds\n"
            "        assert self.problem.world is None and self.problem.performance is None\n"
            "        for name in ('unwrapped', 'market', 'env', 'luck', 'means'):\n"
            "            assert not hasattr(self.problem, name), name\n"
            "            assert not hasattr(observation, name), name\n"
            "            assert not hasattr(self.rng, name), name\n"
            "        assert not kinds & names, kinds & names"
        )
        (tmp_path / "mine.py").write_text(instead(act))
        result = grading.grade(tmp_path / "mine.py", None, a3(tmp_path), SALT)
        assert messages(result) == [""]

    def test_slow_one(self, tmp_path, monkeypatch):
        from distmllm_bench.teaching import scheduling

        started = []

        class Short(scheduling.Isolated):
            def __init__(self, spec, parameters, seconds, folder):
                started.append(seconds)
                super().__init__(spec, parameters, 1.0, folder)

        monkeypatch.setattr(scheduling, "Isolated", Short)
        (tmp_path / "mine.py").write_text(instead("while True: pass"))
        hidden = "# HIDDEN\nassert play_unseen(Scheduler, 'paper', 'SEED-SALT') > 0.5"
        result = grading.grade(tmp_path / "mine.py", None, a3(tmp_path, hidden, hidden), SALT)
        told = messages(result)
        assert len(told) == 3
        assert all("it took longer than 1 s" in message for message in told)
        assert started == [2 * scheduling.RUN_SECONDS]  # once; nobody waits for it again

    def test_a_failure_is_played_once(self, tmp_path, monkeypatch):
        from distmllm_bench.teaching import scheduling

        started = []

        class Counted(scheduling.Isolated):
            def __init__(self, *given):
                started.append(given)
                super().__init__(*given)

        monkeypatch.setattr(scheduling, "Isolated", Counted)
        broken = instead("assert self.problem.slots < 100, 'too many'")
        (tmp_path / "mine.py").write_text(broken)
        hidden = "# HIDDEN\nassert play_unseen(Scheduler, 'paper', 'SEED-SALT') > 0.5"
        result = grading.grade(tmp_path / "mine.py", None, a3(tmp_path, hidden, hidden), SALT)
        assert ["too many" in message for message in messages(result)] == [False, True, True]
        assert len(started) == 3  # the public test, one of its runs alone, and what fails

    def test_world_is_the_one_that_the_score_is_of(self):
        """A share of the optimum worked out by hand: expected profit over what is best."""
        from distmllm_agents.oracle import optimum
        from distmllm_bench.teaching.scheduling import share_of_optimum, unseen
        from distmllm_env import Scenario, load_policy, play

        seeds = unseen("word", 2)
        assert unseen("word", 2) == seeds
        assert not set(unseen("other", 9)) & set(unseen("word", 9))
        shares = []
        for seed in seeds:
            run = play(Scenario.load("toy", slots=9), load_policy("random"), [seed])
            shares.append(run.expected_profit.sum() / (9 * optimum(run.world).value[0]))
        assert share_of_optimum("random", "toy", seeds, 9) == pytest.approx(np.mean(shares))
        assert share_of_optimum("oracle", "toy", seeds, 9) == pytest.approx(1.0)


class TestCommand:
    def run(self, *words):
        return CliRunner().invoke(app, ["grade", *map(str, words)])

    def refused(self, *words):
        answer = self.run(*words)
        assert answer.exit_code == 2
        assert answer.stdout == ""
        assert answer.stderr.startswith("error: ")
        return answer.stderr

    @pytest.fixture
    def good(self, tmp_path):
        (tmp_path / "tiny.py").write_text(TINY)
        (tmp_path / "mine.py").write_text(DOUBLE + TOTAL)
        return tmp_path

    def test_one_document(self, good):
        answer = self.run(good / "mine.py", "--assignment", good / "tiny.py", "--json")
        assert (answer.exit_code, answer.stderr) == (0, "")
        told = json.loads(answer.stdout)
        assert (told["score"], told["file"]) == (5.0, str(good / "mine.py"))

    def test_in_a_process_of_its_own(self, good):
        (good / "mine.py").write_text("print('noise')\n" + double("print('noise'); return 5"))
        answer = subprocess.run(
            [sys.executable, "-m", "distmllm_bench", "grade", str(good / "mine.py"),
             "--assignment", str(good / "tiny.py"), "--seed-salt", SALT],
            capture_output=True, text=True, cwd=good,
        )  # fmt: skip
        assert (answer.returncode, answer.stderr) == (0, "")
        assert answer.stdout.splitlines()[0].endswith("mine.py: 0 of 5 points")
        assert "noise" not in answer.stdout
        assert SALT not in answer.stdout
        assert {path.name for path in good.iterdir()} == {"mine.py", "tiny.py", "temporary"}

    def test_salt_without_its_use(self, good):
        told = self.refused(good / "mine.py", "--seed-salt", "x")
        assert "--seed-salt has no effect without --assignment" in told

    def test_no_file(self, good):
        assert "absent.py' does not exist" in self.refused(good / "absent.py")

    def test_no_tests(self, good):
        told = self.refused(good / "mine.py")
        assert "test_mine.py is not there" in told
        assert "--tests" in told
        assert "test_x.py" in self.refused(good / "mine.py", "--tests", good / "test_x.py")

    def test_no_assignment(self, good):
        told = self.refused(good / "mine.py", "--assignment", good / "absent.py")
        assert f"assignment {str(good / 'absent.py')!r} does not exist" in told

    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [
            ("mine.txt", "x = 1", "a file ending in .py or .ipynb is allowed"),
        ],
    )
    def test_what_is_no_submission(self, good, name, content, words):
        path = good / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        told = self.refused(path, "--assignment", good / "tiny.py")
        assert words in told
        assert name in told

    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [
            ("mine.ipynb", "{", "no notebook (JSONDecodeError"),
            ("mine.ipynb", "[]", "no notebook (TypeError"),
            ("mine.ipynb", '{"cells": [{"cell_type": "code"}]}', "no notebook (KeyError"),
            ("mine.ipynb", '{"cells": [{"cell_type": "code", "source": 5}]}', "no notebook"),
            ("mine.ipynb", '{"cells": 5}', "no notebook (TypeError"),
            ("mine.py", b"x = 1\n# \xff\xfe", "it is not UTF-8 at byte 8"),
        ],
    )
    def test_what_cannot_be_read_is_graded(self, good, name, content, words):
        path = good / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        answer = self.run(path, "--assignment", good / "tiny.py", "--json")
        assert answer.exit_code == 0
        told = json.loads(answer.stdout)
        assert (told["score"], told["max"]) == (0.0, 5.0)
        (error,) = told["errors"]
        assert error.startswith("it cannot be read: ")
        assert words in error
        assert messages(told) == [error, error]

    @pytest.mark.parametrize("ending", ["\n", "\r\n"])
    def test_with_a_mark_at_the_beginning(self, good, ending):
        text = (DOUBLE + TOTAL).replace("\n", ending)
        (good / "mine.py").write_bytes(text.encode("utf-8-sig"))
        answer = self.run(good / "mine.py", "--assignment", good / "tiny.py", "--json")
        assert json.loads(answer.stdout)["score"] == 5.0

    @pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
    def test_interrupted_is_no_grade(self, good, how):
        (good / "mine.py").write_text("open('begun', 'w').close()\n" + double("while True: pass"))
        command = [sys.executable, "-m", "distmllm_bench", "grade", str(good / "mine.py"), "--json"]
        grader = subprocess.Popen(
            [*command, "--assignment", str(good / "tiny.py")],
            env={**os.environ, "TMPDIR": str(good / "temporary")},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        until = time.monotonic() + 30
        while not list((good / "temporary").glob("submission-*/begun")):
            assert time.monotonic() < until
            time.sleep(0.05)
        time.sleep(0.3)
        grader.send_signal(how)
        told, wrong = grader.communicate(timeout=30)
        assert (grader.returncode, told) == (130, "")
        assert wrong.strip() == "interrupted"
        assert list((good / "temporary").glob("*")) == []

    def test_tests_that_are_none(self, good):
        (good / "test_mine.py").write_text("this is no Python")
        told = self.refused(good / "mine.py")
        assert "test_mine.py cannot be run" in told
        (good / "test_mine.py").write_text("x = 1")
        assert "test_mine.py cannot be run" in self.refused(good / "mine.py")


MALFORMED = {
    "a question without tests": (("# # BEGIN TESTS", "# # REMOVED"), None),
    "does not belong here": (("# # BEGIN SOLUTION", "# # REMOVED"), "# # END SOLUTION"),
    "does not belong": (("# # END SOLUTION", "# # BEGIN SOLUTION"), None),
    "a question inside a question": (("# # END QUESTION", "# # REMOVED"), "name: q2"),
    "a question needs name and points": (("# points: 2", "# marks: 2"), "name: q1"),
}


class TestSource:
    @pytest.mark.parametrize("why", MALFORMED)
    def test_says_where_it_is_malformed(self, tmp_path, why):
        (old, new), _ = MALFORMED[why]
        path = tmp_path / "bad.py"
        path.write_text(TINY.replace(old, new, 1))
        with pytest.raises(ValueError, match=f"{path}, line [0-9]+: ") as caught:
            read_assignment(path)
        line = int(str(caught.value).partition("line ")[2].partition(":")[0])
        assert path.read_text().splitlines()[line - 1].startswith("# %%")

    def test_tests_that_begin_outside(self, tmp_path):
        path = tmp_path / "bad.py"
        path.write_text("# %%\nimport numpy\n\n# %% [raw]\n# # BEGIN TESTS\n")
        with pytest.raises(ValueError, match="line 4: BEGIN TESTS does not belong here"):
            read_assignment(path)

    def test_no_end(self, tmp_path):
        path = tmp_path / "bad.py"
        head, _, _ = TINY.rpartition("# %% [raw]\n# # END QUESTION")
        path.write_text(head)
        with pytest.raises(ValueError, match="question q2 has no end"):
            read_assignment(path)

    def test_points_that_are_no_number(self, tmp_path):
        path = tmp_path / "bad.py"
        path.write_text(TINY.replace("points: 2", "points: two"))
        with pytest.raises(ValueError, match=f"{path}, line "):
            read_assignment(path)

    def test_code_that_is_none(self, tmp_path):
        path = tmp_path / "bad.py"
        path.write_text(TINY.replace("def double(x):", "def double(x"))
        with pytest.raises(ValueError, match=str(path)):
            read_assignment(path)

    def test_what_is_read(self, tmp_path):
        path = tmp_path / "tiny.py"
        path.write_text(TINY)
        found = read_assignment(path, SALT)
        assert (found.name, found.points, found.names, found.classes) == (
            *("tiny", 5.0, ("double", "total"), ()),
        )  # fmt: skip
        assert found.imports == "import numpy as np"
        assert [[test.hidden for test in q.tests] for q in found.questions] == [
            [False, True],
            [False, True, True],
        ]


class TestValues:
    @pytest.mark.parametrize(
        "value",
        [None, True, 3, 2.5, "ä\n", [1, (2, "x")], {"a": 1, 2: [3]}, float("inf"), [], ()],
    )
    def test_there_and_back(self, value):
        found = decode(json.loads(json.dumps(encode(value))))
        assert found == value
        assert type(found) is type(value)

    @pytest.mark.parametrize(
        "value",
        [np.arange(6.0).reshape(2, 3), np.zeros((0, 3), bool), np.array(1 + 2j), np.int8(3)],
    )
    def test_arrays(self, value):
        found = decode(json.loads(json.dumps(encode(value))))
        assert type(found) is type(value)
        assert found.dtype == value.dtype
        assert found.shape == value.shape
        assert np.array_equal(found, value)

    @pytest.mark.parametrize(
        "data",
        [
            {},
            [],
            {"kind": "array", "dtype": "O", "shape": [1], "body": "AAAAAAAAAAA="},
            {"kind": "array", "dtype": "<f8", "shape": [9], "body": "AAAA"},
            {"kind": "dict", "items": [1]},
            {"kind": "dict", "items": [[{"kind": "list", "items": []}, 1]]},
            {"kind": "list"},
        ],
    )
    def test_what_is_no_value(self, data):
        with pytest.raises(ValueError, match="what came back is no value"):
            decode(data)
