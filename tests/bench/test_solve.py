"""The command ``distmllm solve``."""

import json

import pytest
from typer.testing import CliRunner

from distmllm_bench.cli import app

# One agent per row, one job per column: profits, weights, capacities. Each agent holds one job.
# Profits 9 + 1 = 10 or 6 + 5 = 11.
CROSSED = "2 2  9 5  6 1  1 1  1 1  1 1"
CROWDED = "2 3  1 1 1  1 1 1  1 1 1  1 1 1  1 1"  # three jobs, two places


@pytest.fixture
def solve(tmp_path):
    def run(text, *words):
        path = tmp_path / "jobs.txt"
        path.write_text(text)
        return CliRunner().invoke(app, ["solve", str(path), *words])

    return run


@pytest.mark.parametrize("method", [(), ("--method", "exact"), ("--method", "branch-and-bound")])
@pytest.mark.parametrize(
    ("sense", "value", "agents"), [((), 11, [1, 0]), (("--minimise",), 10, [0, 1])]
)
def test_by_hand(solve, method, sense, value, agents):
    answer = solve(CROSSED, "--json", *method, *sense)
    assert answer.exit_code == 0, answer.output
    result = json.loads(answer.stdout)
    assert result["agents"] == agents
    assert result["status"] == "optimal"
    assert (result["value"], result["bound"], result["gap"]) == (value, value, 0)
    assert result["method"] == (method[1] if method else "exact")
    assert result["sense"] == ("minimise" if sense else "maximise")
    assert result["seconds"] > 0
    assert result["nodes"] >= 0


def test_text(solve):
    lines = [line.split() for line in solve(CROSSED).stdout.splitlines()]
    assert [line[0] for line in lines] == ["value", "bound", "gap", "status", "nodes", "seconds"]
    assert lines[0][1] == lines[1][1] == "11.0000"
    assert lines[2][1] == "0.0000"
    assert lines[3][1] == "optimal"


def test_problem_of_several(solve):
    text = f"2  1 1 4 1 1  {CROSSED}"
    assert json.loads(solve(text, "--json").stdout)["value"] == 4
    assert json.loads(solve(text, "--json", "--problem", "1").stdout)["value"] == 11


@pytest.mark.parametrize("method", ["exact", "branch-and-bound"])
def test_infeasible_is_an_answer(solve, method):
    answer = solve(CROWDED, "--method", method, "--json")
    assert answer.exit_code == 0
    result = json.loads(answer.stdout)
    assert result["status"] == "infeasible"
    assert (result["value"], result["bound"], result["gap"]) == (None, None, None)
    assert result["agents"] == [None, None, None]
    assert solve(CROWDED, "--method", method).stdout.split()[:2] == ["value", "none"]


def test_node_limit(solve):
    words = ("--method", "branch-and-bound", "--node-limit", "0", "--json")
    result = json.loads(solve(CROWDED, *words).stdout)
    assert (result["status"], result["value"], result["gap"]) == ("unknown", None, None)
    # Two jobs of weight 2, two agents of room 3: one each, 1 + 8. A bound on costs is a lower one.
    stopped = json.loads(solve("2 2  1 1  8 8  2 2  2 2  3 3", "--minimise", *words).stdout)
    assert stopped["bound"] <= 9
    assert stopped["value"] in (9, None)
    assert stopped["nodes"] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--method", "exakt"), "unknown method 'exakt'. Did you mean 'exact'?"),
        (("--method", "sequential"), "exactly_one = True is not allowed"),
        (("--problem", "1"), "jobs.txt: problem 1 is not allowed: 0..0."),
        (("--node-limit", "5"), "method 'exact' takes no node limit: branch-and-bound does."),
        (("--node-limit", "-1"), "Invalid value for '--node-limit'"),
    ],
)
def test_wrong_usage_is_exit_code_2(solve, words, message):
    answer = solve(CROSSED, *words)
    assert answer.exit_code == 2
    assert message in answer.stderr
    assert answer.stdout == ""


def test_wrong_files_are_exit_code_2(solve, tmp_path):
    answer = solve(CROSSED + " 1")
    assert answer.exit_code == 2
    # 2 + 2 * 2 * 2 + 2 = 12
    assert "jobs.txt holds 13 numbers; expected a single problem: 12" in answer.stderr
    absent = CliRunner().invoke(app, ["solve", str(tmp_path / "absent")])
    assert absent.exit_code == 2
    assert "does not exist" in absent.stderr
