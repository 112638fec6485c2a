"""Timing the mapping solvers: the numbers are complete and fair, and re-solving is fast."""

import csv
import json
import statistics
import time
from itertools import pairwise

import numpy as np
import pytest
from typer.testing import CliRunner

from distmllm_agents.mapping import solve_exact
from distmllm_agents.mapping.search import compiled
from distmllm_bench import mapping_measure as measuring
from distmllm_bench import mapping_speed as job
from distmllm_bench.cli import app

NAMES = [method.name for method in measuring.methods()]
OPTIMAL = ("CP-SAT plain", "exact", "exact, re-solve")
TINY = (measuring.Size(2, 3, 3), measuring.Size(4, 2, 2))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    out = tmp_path_factory.mktemp("mapping")
    text, numbers = job.run_mapping_speed(out, seed=1, sizes=TINY)
    with open(out / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return out, text, numbers, rows


def test_files_are_written(tiny):
    out, text, numbers, _ = tiny
    assert sorted(path.name for path in out.iterdir()) == [
        "mapping-gap.png",
        "mapping-gap.svg",
        "mapping.md",
        "mapping.png",
        "mapping.svg",
        "table.csv",
    ]
    for name in ("mapping", "mapping-gap"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "</svg>" in (out / f"{name}.svg").read_text()
    assert max(map(len, text.splitlines())) <= 110
    for note in numbers["notes"]:
        assert note.replace("*", r"\*") in (out / "mapping.md").read_text()
    json.dumps(numbers)


def test_says_whether_numba_was_there(tiny, monkeypatch):
    _, text, numbers, _ = tiny
    there = compiled() is not None
    assert numbers["numba"] is there
    assert ("numba is not installed" in text) is not there
    monkeypatch.setattr(job, "compiled", lambda: None)
    assert any("numba is not installed" in note for note in job.notes([], 0, 1.0, 1))


def test_rows_are_complete(tiny):
    *_, rows = tiny
    columns = ("kind", "demands", "providers", "workers", "instance", "method")
    keys = [tuple(row[column] for column in columns) for row in rows]
    wanted = {
        (kind, demands, str(size.providers), str(size.workers), str(i), name)
        for kind in ("paper", "uniform")
        for demands in ("equal", "unequal")
        for size in TINY
        for i in range(size.instances)
        for name in NAMES
    }
    assert len(keys) == len(set(keys)) == len(wanted)
    assert set(keys) == wanted
    for row in rows:
        assert float(row["ms"]) > 0
        assert float(row["bound"]) >= float(row["value"]) - 1e-6
        assert float(row["gap_pct"]) >= 0


def test_exact_methods_agree_and_no_other_is_better(tiny):
    *_, rows = tiny
    instances = {}
    for row in rows:
        where = tuple(row[key] for key in ("kind", "demands", "providers", "workers", "instance"))
        instances.setdefault(where, {})[row["method"]] = row
    assert len(instances) == 20
    for solved in instances.values():
        optimum = float(solved["exact"]["value"])
        for name in OPTIMAL:
            assert solved[name]["status"] == "optimal"
            assert float(solved[name]["value"]) == pytest.approx(optimum, abs=1e-5)
            assert float(solved[name]["gap_pct"]) == pytest.approx(0, abs=1e-3)
        for name in NAMES:
            value = float(solved[name]["value"])
            assert value <= optimum + 1e-5
            assert float(solved[name]["gap_pct"]) == pytest.approx(
                100 * (1 - value / optimum), abs=1e-3
            )
        plain = float(solved["CP-SAT plain"]["ms"])
        for row in solved.values():
            assert float(row["ratio"]) == pytest.approx(plain / float(row["ms"]))


def test_each_method_runs_after_each_other_equally_often():
    solvers = measuring.methods()
    orders = [[m.name for m in measuring._balanced(solvers, i)] for i in range(len(solvers))]
    assert all(sorted(order) == sorted(NAMES) for order in orders)
    pairs = [pair for order in orders for pair in pairwise(order)]
    assert len(pairs) == len(set(pairs)) == 30


def test_instances_are_what_they_are_said_to_be():
    size = measuring.Size(10, 5, 2)
    for demands in ("unequal", "equal"):
        weights = set()
        for instance in measuring.instances("uniform", demands, size, seed=0):
            problem = instance.problem
            assert problem.utility.shape == (20, 5)
            weights |= set(problem.weight.tolist())
            load = problem.weight.sum() / problem.capacity.sum()
            assert load == pytest.approx(0.9, abs=0.02)
            assert np.ptp(problem.capacity) <= 1
        assert weights == ({1, 2, 3, 4, 5} if demands == "unequal" else {1})
        weights, rooms = set(), set()
        for instance in measuring.instances("paper", demands, size, seed=0):
            weights |= set(instance.problem.weight.tolist())
            rooms |= set(instance.problem.capacity.ravel().tolist())
        assert weights == ({1, 2} if demands == "unequal" else {1})
        assert rooms == {4, 5}


def test_a_method_left_out_is_a_dash_with_a_reason():
    cell = ("paper", "equal", measuring.Size(61, 5, 1), 0)
    (instance,) = measuring.instances(*cell[:3], seed=0)
    rows = measuring._time(instance, measuring.methods(), cell)
    by_name = {row.method: row for row in rows}
    assert by_name["branch-and-bound"].status == "left out"
    assert by_name["branch-and-bound"].ms is None
    text = job.text_table(job.summarise(rows), job.notes(rows, 0, 1.0, 1))
    line = next(line for line in text.splitlines() if line.strip().startswith("branch-and-bound"))
    assert line.split()[-1] == "-"
    assert "- -: branch-and-bound" in text


def test_a_limit_that_cuts_a_solve_short_is_marked():
    cell = ("paper", "unequal", measuring.Size(10, 5, 1), 0)
    (instance,) = measuring.instances(*cell[:3], seed=0)
    rows = measuring._time(instance, measuring.methods(node_limit=0), cell)
    row = {row.method: row for row in rows}["branch-and-bound"]
    assert row.status == "feasible"
    text = job.text_table(job.summarise(rows), job.notes(rows, 0, 1.0, 0))
    line = next(line for line in text.splitlines() if line.strip().startswith("branch-and-bound"))
    assert "*" in line
    assert "- *: a limit" in text


def test_command(tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "QUICK", (measuring.Size(2, 2, 1),))
    answer = CliRunner().invoke(
        app, ["mapping-speed", "--quick", "--seed", "3", "--json", "--out", str(tmp_path)]
    )
    assert answer.exit_code == 0, answer.output
    assert {cell["method"] for cell in json.loads(answer.stdout)["cells"]} == set(NAMES)
    assert (tmp_path / "mapping.md").exists()


@pytest.mark.parametrize(("demands", "faster"), [("unequal", 5), ("equal", 20)])
def test_re_solving_is_faster_than_plain_cp_sat(demands, faster):
    if demands == "unequal" and compiled() is None:
        pytest.skip("numba is not installed, so that unequal demands are solved by CP-SAT")
    ratios = []
    for i, instance in enumerate(
        measuring.instances("paper", demands, measuring.Size(10, 30, 8), seed=0)
    ):
        seconds = {}
        for name, solve in (
            ("plain", lambda p, _: measuring.plain_cp_sat(p)),
            ("warm", solve_exact),
        ):
            start = time.perf_counter()
            solve(instance.problem, instance.previous)
            seconds[name] = time.perf_counter() - start
        if i > 0:  # the first one loads and compiles
            ratios.append(seconds["plain"] / seconds["warm"])
    assert statistics.median(ratios) >= faster, ratios
