"""Assignments as they are handed out: nothing of the solutions, and a grader that works."""

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from distmllm_bench.teaching import grading, scheduling
from distmllm_bench.teaching.source import read_assignment
from distmllm_env import Scenario

FOLDER = Path(__file__).parents[2] / "notebooks" / "assignments"
NAMES = ("a1_bandits", "a2_knapsack", "a3_scheduler")
SALT = "pepper and salt"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("otter") is None or importlib.util.find_spec("jupytext") is None,
    reason="needs the extra teach",
)


def build(out, *names, salt=SALT, folder=None, more=()):
    """Build in a process of its own: Otter's libraries warn as they are loaded."""
    words = ["assignments", *(str(FOLDER / f"{name}.py") for name in names), "--out", str(out)]
    return subprocess.run(
        [sys.executable, "-m", "distmllm_bench", *words, "--seed-salt", salt, *more, "--json"],
        capture_output=True,
        text=True,
        cwd=folder or out.parent,
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """All assignments, what was printed, and what else the folder of work got."""
    out = tmp_path_factory.mktemp("built") / "out"
    work = tmp_path_factory.mktemp("work")
    before = sorted(path.name for path in FOLDER.iterdir())
    answer = build(out, *NAMES, folder=work)
    assert answer.returncode == 0, answer.stderr
    assert sorted(path.name for path in FOLDER.iterdir()) == before
    assert list(work.iterdir()) == []
    return out, answer


def hidden_lines(name):
    """Lines of the hidden tests that are in no test which may be seen, nor in its text."""
    text = (FOLDER / f"{name}.py").read_text()
    every = [test for question in read_assignment(FOLDER / f"{name}.py", SALT).questions
             for test in question.tests]  # fmt: skip
    hidden = {line.strip() for test in every if test.hidden for line in test.code.splitlines()}
    seen = {line.strip() for test in every if not test.hidden for line in test.code.splitlines()}
    told = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    return {line for line in hidden - seen if len(line) > 12 and line not in told}


def solution_lines(name):
    """Lines between the marks of a solution that say something, and that stand nowhere else."""
    lines, given, inside = set(), set(), False
    text = (FOLDER / f"{name}.py").read_text()
    for line in text.splitlines():
        word = line.strip()
        if re.fullmatch(r" +# (BEGIN|END) SOLUTION", line):
            inside = "BEGIN" in word
        elif len(word) > 12:
            (lines if inside else given).add(word)
    given = "\n".join(given)
    return {line for line in lines if line not in given}


def sources(path):
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]]


def functions(path):
    return [node.name for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.FunctionDef)]  # fmt: skip


def public_in_notebook(path):
    """Question -> number of its tests in a notebook's own data."""
    tests = json.loads(path.read_text())["metadata"]["otter"]["tests"]
    return {name: len(test["suites"][0]["cases"]) for name, test in tests.items()}


class TestBuilt:
    def test_what_is_told(self, built):
        _, answer = built
        rows = json.loads(answer.stdout)
        for name, row in zip(NAMES, rows, strict=True):
            text = (FOLDER / f"{name}.py").read_text()
            points = [float(word) for word in re.findall(r"^# points: (\d+)$", text, re.M)]
            parts = re.findall(r"# # BEGIN TESTS(.*?)# # END TESTS", text, re.S)
            tests = sum(part.count("\n# %%\n") for part in parts)
            hidden = text.count("\n# %%\n# HIDDEN\n")
            assert row == {"assignment": name, "points": sum(points), "tests": tests,
                           "hidden": hidden}  # fmt: skip

    def test_files(self, built):
        out, _ = built
        found = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
        expected = []
        for name in NAMES:
            expected += [f"{who}/{name}/{file}" for who in ("student", "instructor")
                         for file in (f"{name}.ipynb", f"test_{name}.py")]  # fmt: skip
            expected.append(f"instructor/{name}/{name}-autograder.zip")
        assert found == sorted(expected)

    @pytest.mark.parametrize("name", NAMES)
    def test_students_see_no_solution_and_no_hidden_test(self, built, name):
        out, _ = built
        solution, hidden = solution_lines(name), hidden_lines(name)
        assert len(solution) > 15
        assert len(hidden) > 5
        for path in (out / "student" / name).iterdir():
            text = path.read_text()
            plain = text if path.suffix == ".py" else "\n".join(
                [*sources(path), json.dumps(json.loads(text)["metadata"])]
            )  # fmt: skip
            plain = plain.replace('\\"', '"').replace("\\n", "\n")
            if path.suffix == ".ipynb":
                assert [line for line in solution if line in plain] == []
                assert "def " in plain
            assert [line for line in hidden if line in plain] == []
            for word in (SALT, "SEED-SALT", "HIDDEN", "_hidden", "BEGIN SOLUTION", "autograder"):
                assert word not in text

    @pytest.mark.parametrize("name", NAMES)
    def test_instructors_see_all(self, built, name):
        out, _ = built
        folder = out / "instructor" / name
        solved = "\n".join(sources(folder / f"{name}.ipynb"))
        assert [line for line in solution_lines(name) if line not in solved] == []
        tests = (folder / f"test_{name}.py").read_text()
        assert [line for line in hidden_lines(name) if line not in tests] == []
        assert SALT in tests
        with zipfile.ZipFile(folder / f"{name}-autograder.zip") as archive:
            parts = [archive.read(one).decode() for one in archive.namelist() if "tests/" in one]
        assert SALT in "".join(parts)
        assert "SEED-SALT" not in "".join(parts) + tests

    def test_the_autograder_installs_this_package(self, built, tmp_path):
        """Tests and submissions import it; where it is not released, from elsewhere."""
        source = "distmllm-env @ git+https://example.org/x"
        build(tmp_path / "out", "a3_scheduler", more=("--package", source))
        for out, package in ((built[0], f"distmllm-env=={version('distmllm-env')}"),
                             (tmp_path / "out", source)):  # fmt: skip
            path = out / "instructor" / "a3_scheduler" / "a3_scheduler-autograder.zip"
            with zipfile.ZipFile(path) as archive:
                wanted = archive.read("environment.yml").decode()
            assert f"      - {package}\n" in wanted
            assert "otter-grader[" in wanted

    @pytest.mark.parametrize("name", NAMES)
    def test_numbers_agree(self, built, name):
        out, _ = built
        found = read_assignment(FOLDER / f"{name}.py", SALT)
        public = {q.name: sum(not test.hidden for test in q.tests) for q in found.questions}
        every = {q.name: len(q.tests) for q in found.questions}
        student, instructor = out / "student" / name, out / "instructor" / name
        assert public_in_notebook(student / f"{name}.ipynb") == public
        names = functions(student / f"test_{name}.py")
        assert len(names) == sum(public.values())
        assert all(one.endswith("_public") for one in names)
        names = functions(instructor / f"test_{name}.py")
        assert len(names) == sum(every.values())
        with zipfile.ZipFile(instructor / f"{name}-autograder.zip") as archive:
            kept = {Path(one).stem: archive.read(one).decode()
                    for one in archive.namelist() if one.startswith("tests/")}  # fmt: skip
        assert {one: text.count("'hidden': ") for one, text in kept.items()} == every
        assert {one: text.count("'hidden': False") for one, text in kept.items()} == public

    def test_rebuilt_is_the_same_and_replaces(self, built, tmp_path):
        out, _ = built
        stale = [tmp_path / who / "a1_bandits" / "stale.txt" for who in ("student", "instructor")]
        other = tmp_path / "student" / "a0_mine" / "kept.txt"
        for path in (*stale, other):
            path.parent.mkdir(parents=True)
            path.write_text("old")
        assert build(tmp_path, "a1_bandits").returncode == 0
        assert not any(path.exists() for path in stale)
        assert other.read_text() == "old"
        for who in ("student", "instructor"):
            one, two = (where / who / "a1_bandits" for where in (out, tmp_path))
            assert sources(one / "a1_bandits.ipynb") == sources(two / "a1_bandits.ipynb")
            tests = "test_a1_bandits.py"
            assert (one / tests).read_text() == (two / tests).read_text()
        one, two = (zipfile.ZipFile(where / "instructor/a1_bandits/a1_bandits-autograder.zip")
                    for where in (out, tmp_path))  # fmt: skip
        with one, two:
            assert sorted(one.namelist()) == sorted(two.namelist())
            for name in one.namelist():
                assert one.read(name) == two.read(name), name

    def test_source_that_is_not_there(self, tmp_path):
        answer = build(tmp_path, "a9_none")
        assert answer.returncode == 2
        assert "a9_none.py' does not exist" in answer.stderr
        assert list(tmp_path.iterdir()) == []


class TestGraded:
    @pytest.mark.parametrize("name", ["a1_bandits", "a2_knapsack"])
    def test_blank_is_worth_nothing(self, built, name):
        out, _ = built
        blank = out / "student" / name / f"{name}.ipynb"
        result = grading.grade(blank, None, FOLDER / f"{name}.py", SALT)
        assert (result["score"], result["errors"]) == (0, [])
        assert not any(test["passed"] for row in result["questions"] for test in row["tests"])

    def test_blank_scheduler_is_worth_nothing(self, built):
        """Its public tests, as students run them, none of which passes."""
        out, _ = built
        result = grading.grade(out / "student" / "a3_scheduler" / "a3_scheduler.ipynb")
        assert result["score"] == 0
        assert [row["unseen"] for row in result["questions"]] == [10]

    def test_solved_notebook_passes_what_students_run(self, built):
        out, _ = built
        student = out / "student" / "a1_bandits"
        solved = out / "instructor" / "a1_bandits" / "a1_bandits.ipynb"
        result = grading.grade(solved, student / "test_a1_bandits.py")
        tests = [test for row in result["questions"] for test in row["tests"]]
        assert len(tests) == 6
        assert all(test["passed"] for test in tests)
        full = grading.grade(solved)
        assert (full["score"], full["max"]) == (14.0, 14.0)

    @pytest.mark.parametrize(("who", "score"), [("student", 0.0), ("instructor", 14.0)])
    def test_autograder_of_otter(self, built, tmp_path, who, score):
        out, _ = built
        name = "a1_bandits"
        (tmp_path / f"{name}.ipynb").write_bytes((out / who / name / f"{name}.ipynb").read_bytes())
        archive = out / "instructor" / name / f"{name}-autograder.zip"
        answer = subprocess.run(
            [sys.executable, "-m", "otter", "run", "-a", str(archive), f"{name}.ipynb"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
        assert answer.returncode == 0, answer.stderr
        told = json.loads((tmp_path / "results.json").read_text())
        assert sum(test.get("score") or 0.0 for test in told["tests"]) == score
        assert f"Total Score: {score:.3f} / 14.000" in answer.stdout


class TestThresholds:
    def test_are_those_of_the_script(self):
        spec = importlib.util.spec_from_file_location("calibrate", FOLDER / "calibrate.py")
        calibrate = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(calibrate)
        found = calibrate.thresholds(60)
        assert found.keys() == scheduling.SHARES.keys()
        for name, row in found.items():
            assert row == pytest.approx(scheduling.SHARES[name], abs=0.02)

    def test_the_reference_passes_on_nine_words_of_ten(self):
        share = [
            scheduling.share_of_optimum("distmllm", "paper", scheduling.unseen(f"word {i}", 20))
            for i in range(10)
        ]
        assert sum(x >= scheduling.SHARES["DistMLLM"]["paper"] for x in share) >= 9
        assert len(set(share)) == 10

    def test_random_play_passes_nowhere(self):
        for scenario in ("paper", "scarce", "testbed"):
            share = scheduling.share_of_optimum("random", scenario, range(5))
            assert 0 < share < min(row[scenario] for row in scheduling.SHARES.values())

    def test_scenarios_are_there(self):
        for row in scheduling.SHARES.values():
            assert set(row) <= set(Scenario.names())
