"""A sweep on a Ray cluster of two nodes, one of which dies in the middle, equals the serial one."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distmllm_bench.engines import Engine, SerialEngine, make_engine
from distmllm_bench.sweep.cells import Store
from distmllm_bench.sweep.planning import make_plan
from distmllm_bench.sweep.run import bench
from distmllm_bench.sweep.suite import Entrant, Market, Suite

OUTSIDE = """
import numpy as np

class Walk:
    def reset(self, problem, rng):
        self.rng, self.shape = rng, (1, problem.providers, 2)
        self.workers = problem.workers

    def act(self, observation):
        return self.rng.integers(self.workers + 1, size=self.shape)

    def update(self, feedback):
        pass
"""

SMALL = Suite(
    name="small",
    description="For the test.",
    scenarios=(Market("toy"), Market("paper", set={"noise.std": 0.2})),
    policies=(Entrant("distmllm"), Entrant("ucb"), Entrant("walks:Walk")),
    runs=12,
    slots=40,
)


class Interfering:
    """An engine that does something after a few results."""

    def __init__(self, engine: Engine, after: int, what: Callable[[], object]) -> None:
        self.engine, self.after, self.what = engine, after, what

    def run(
        self, work: Callable[[Any], Any], jobs: Sequence[Any]
    ) -> Generator[tuple[int, Any], None, None]:
        for count, found in enumerate(self.engine.run(work, jobs), start=1):
            yield found
            if count == self.after:
                self.what()


@pytest.fixture
def walks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "walks.py"
    path.write_text(OUTSIDE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return path


@pytest.mark.usefixtures("walks")
def test_on_a_cluster_that_loses_a_node(tmp_path, ray_cluster):
    plan = make_plan(SMALL)
    serial = bench(plan, tmp_path / "serial", SerialEngine())
    assert serial["cells"] == {"done": 120, "failed": 0, "missing": 0, "damaged": 0}
    assert ray_cluster.second
    killed = []

    def kill() -> None:
        ray_cluster.kill_second()
        killed.append(True)

    engine = Interfering(make_engine("ray", 1, ray_cluster.address), 5, kill)
    result = bench(plan, tmp_path / "ray", engine)
    assert killed
    assert result["played"] == 120
    assert result["failures"] == []
    tables = [(tmp_path / name / "results.csv").read_bytes() for name in ("serial", "ray")]
    assert tables[0] == tables[1]
    stores = [Store(tmp_path / name / "cells") for name in ("serial", "ray")]
    for cell in plan.cells:
        one, two = (store.get(cell.key) for store in stores)
        assert one.differences(two) == []


def test_a_machine_with_other_sources_says_so(walks, tmp_path, ray_cluster):
    """It plays nothing: a result of other code must not stand under this key."""
    plan = make_plan(replace(SMALL, runs=2))
    walks.write_text(OUTSIDE + "\nWalk.extra = 1\n")
    result = bench(plan, tmp_path / "ray", make_engine("ray", 1, ray_cluster.address))
    assert result["cells"] == {"done": 16, "failed": 4, "missing": 0, "damaged": 0}
    assert {failure["policy"] for failure in result["failures"]} == {"walks:Walk"}
    assert all(
        "not those that the sweep was planned with" in f["error"] for f in result["failures"]
    )
