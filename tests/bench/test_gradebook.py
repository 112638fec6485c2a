"""Grading a whole class: everybody is graded, once, and the table holds them all."""

import csv
import json
import sys

import pytest
from typer.testing import CliRunner

from distmllm_bench.cli import app
from distmllm_bench.teaching import gradebook, remote

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and /proc of Linux")

ASSIGNMENT = """
# %% [markdown]
# # Tiny

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
assert double(len("SEED-SALT")) == 2 * len("SEED-SALT")

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION
"""
CLASS = {
    "ada.py": "def double(x):\n    return x + x\n",
    "bob.py": "def double(x):\n    return 4\n",
    "cleo.ipynb": "{",
    "dora.py": "def double(x):\n    while True: pass\n",
    "ada.ipynb": json.dumps({"cells": [{"cell_type": "code", "source": "double = None"}]}),
    "notes.txt": "not handed in",
}
POINTS = {"ada.ipynb": 0, "ada.py": 2, "bob": 1, "cleo": 0, "dora": 0}


@pytest.fixture
def handed_in(tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "CALL_SECONDS", 1.0)
    monkeypatch.setattr(remote.Submission.__init__, "__defaults__", (1.0,))
    folder = tmp_path / "class"
    folder.mkdir()
    for name, text in CLASS.items():
        (folder / name).write_text(text)
    (tmp_path / "tiny.py").write_text(ASSIGNMENT)
    return folder


def run(*words):
    return CliRunner().invoke(app, ["grade", *map(str, words)])


def test_everybody_is_graded(handed_in, tmp_path):
    out = tmp_path / "grades"
    words = (handed_in, "--assignment", tmp_path / "tiny.py", "--seed-salt", "pepper", "--out", out)
    answer = run(*words)
    assert answer.exit_code == 0, answer.output
    with (out / "grades.csv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert {name: float(row["score"]) for name, row in rows.items()} == POINTS
    assert {row["max"] for row in rows.values()} == {"2.0"}
    assert rows["bob"]["q1"] == "1.0"
    assert rows["cleo"]["errors"].startswith("it cannot be read: it is no notebook")
    names = {f"{name}.{kind}" for name in POINTS for kind in ("json", "txt")}
    assert {path.name for path in out.iterdir()} == names | {"grades.csv"}
    for name in POINTS:
        told = (out / f"{name}.txt").read_text()
        assert "pepper" not in told
        assert f"{POINTS[name]:g} of 2 points" in told
        assert json.loads((out / f"{name}.json").read_text())["name"] == name
    assert "bob        1 of 2" in answer.stdout
    assert "test_q1_2_hidden: 4 of 5 lost it" in answer.stdout
    assert answer.stderr.splitlines() == [f"{name} ..." for name in sorted(POINTS)]


def test_nobody_is_graded_twice(handed_in, tmp_path, monkeypatch):
    """Unless there is something new: what was handed in, or the tests."""
    graded = []
    real = gradebook.grade
    monkeypatch.setattr(gradebook, "grade", lambda f, *x: graded.append(f.stem) or real(f, *x))
    for name in ("cleo.ipynb", "dora.py", "ada.ipynb"):
        (handed_in / name).unlink()

    def go(salt="pepper"):
        graded.clear()
        out = tmp_path / "grades"
        found = gradebook.grade_class(handed_in, out, None, tmp_path / "tiny.py", salt)
        assert [result["name"] for result in found] == ["ada", "bob"]
        return (out / "grades.csv").read_text()

    table = go()
    assert graded == ["ada", "bob"]
    assert (go(), graded) == (table, [])
    (tmp_path / "grades" / "ada.json").write_text('{"key": 5}')
    go()
    assert graded == ["ada"]
    (handed_in / "bob.py").write_text(CLASS["ada.py"])
    assert go() != table
    assert graded == ["bob"]
    go("salt")
    assert graded == ["ada", "bob"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((), "name a file by --tests"),
        (("--tests", "none.py"), "none.py is not there"),
        (("--assignment", "none.py"), "does not exist"),
    ],
)
def test_wrong_usage(handed_in, words, text):
    answer = run(handed_in, *words)
    assert answer.exit_code == 2
    assert text in answer.stderr
    assert answer.stdout == ""


def test_out_for_one(handed_in, tmp_path):
    answer = run(handed_in / "ada.py", "--assignment", tmp_path / "tiny.py", "--out", tmp_path)
    assert answer.exit_code == 2
    assert "--out has no effect for one submission" in answer.stderr


def test_an_empty_folder(tmp_path):
    (tmp_path / "tiny.py").write_text(ASSIGNMENT)
    (tmp_path / "class").mkdir()
    answer = run(tmp_path / "class", "--assignment", tmp_path / "tiny.py")
    assert answer.exit_code == 2
    assert "holds no submissions" in answer.stderr
