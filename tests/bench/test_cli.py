"""The command line as a user meets it: output, files, exit codes, time to first answer."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from distmllm_bench.cli import app
from distmllm_bench.files import load_run, save_run
from distmllm_env import Scenario, load_policy, play
from distmllm_env.files import write_atomic
from distmllm_env.registry import policy_names


def run(*words):
    return CliRunner().invoke(app, list(words))


def test_help_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys, time; start = time.perf_counter(); import distmllm_bench.cli;"
        "heavy = {'numpy', 'torch', 'ortools', 'matplotlib', 'gymnasium'} & set(sys.modules);"
        "print(time.perf_counter() - start, sorted(heavy))"
    )
    seconds = []
    for _ in range(3):
        answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        took, _, heavy = answer.stdout.strip().partition(" ")
        assert heavy == "[]", answer
        seconds.append(float(took))
    assert min(seconds) < 0.3
    assert run("--help").exit_code == 0


def test_module_equals_script():
    answer = subprocess.run(
        [sys.executable, "-m", "distmllm_bench", "list", "scenarios", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [row["name"] for row in json.loads(answer.stdout)] == list(Scenario.names())


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("scenarios", Scenario.names()),
        ("policies", tuple(policy_names())),
        ("figures", ("4a", "7b", "theorem-1", "ablations")),
        ("devices", ("a100-80gb-pcie", "jetson-agx-orin-64gb", "jetson-orin-nano-8gb")),
    ],
)
def test_list(what, names):
    as_json = run("list", what, "--json")
    assert as_json.exit_code == 0
    assert set(names) <= {row["name"] for row in json.loads(as_json.stdout)}
    as_text = run("list", what)
    for name in names:
        assert name in as_text.stdout


def test_run_prints_and_saves_what_it_played(tmp_path):
    out = tmp_path / "new" / "run.npz"
    answer = run(
        "run", "--scenario", "crowd2", "--policy", "ucb", "--seed", "3", "--slots", "7",
        "--set", "noise.std=0.1", "--set", "market.overload=reject_all",
        "--out", str(out), "--json",
    )  # fmt: skip
    assert answer.exit_code == 0, answer.output
    result = json.loads(answer.stdout)
    record, meta = load_run(out)
    scenario = Scenario.load("crowd2", {"noise.std": 0.1, "market.overload": "reject_all"}, slots=7)
    expected = play(scenario, load_policy("ucb"), [3])
    assert record.world.scenario == scenario
    for table in ("allocation", "profit", "status", "load"):
        np.testing.assert_array_equal(getattr(record, table), getattr(expected, table))
    np.testing.assert_array_equal(record.world.mean_profit, expected.world.mean_profit)
    assert result["profit"] == pytest.approx(expected.profit.sum())
    assert meta["policy"] == "ucb"
    assert not list(out.parent.glob(".*"))  # no temporary file is left


def test_run_gives_parameters_to_the_class():
    words = ["run", "--scenario", "toy", "--policy", "distmllm", "--json", "--seed", "1"]
    answer = run(*words, "--parameter", "explore_slots=2", "--parameter", "mapping=exact")
    assert answer.exit_code == 0, answer.output
    policy = load_policy("distmllm", explore_slots=2, mapping="exact")
    expected = play(Scenario.load("toy"), policy, [1]).profit.sum()
    assert json.loads(answer.stdout)["profit"] == pytest.approx(expected)
    assert expected != pytest.approx(json.loads(run(*words).stdout)["profit"])


def test_run_keeps_the_phases(tmp_path):
    record = play(Scenario.load("toy"), load_policy("distmllm"), [0])
    save_run(tmp_path / "a.npz", record, {})
    np.testing.assert_array_equal(load_run(tmp_path / "a.npz")[0].exploring, record.exploring)


def test_load_run_refuses_other_files(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    (tmp_path / "text.npz").write_text("no zip")
    for name in ("other.npz", "text.npz", "absent.npz"):
        with pytest.raises(ValueError, match="is not a recorded run"):
            load_run(tmp_path / name)


def test_write_atomic_leaves_the_old_file_if_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "x"
    write_atomic(path, "old")
    monkeypatch.setattr("pathlib.Path.replace", lambda self, target: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "--scenario", "papr"), "Did you mean 'paper'?"),
        (("run", "--policy", "distmlm"), "Did you mean 'distmllm'?"),
        (("run", "--policy", "no.such:Thing"), "cannot import 'no.such'"),
        (("run", "--set", "noise.sdt=1"), "Did you mean 'std'?"),
        (("run", "--set", "noise.std"), "KEY=VALUE"),
        (("run", "--parameter", "explore_slots"), "--parameter 'explore_slots' is not allowed"),
        (("run", "--parameter", "explore_slot=1"), "Did you mean 'explore_slots'?"),
        (("run", "--set", "noise.std=-1"), "noise.std = -1.0 is not allowed: at least 0."),
        (("run", "--out", "run.txt"), ".npz is allowed"),
        (("demo", "--scenario", "tst"), "unknown scenario 'tst'"),
        (("demo", "--policy", "heuristic"), "unknown policy 'heuristic'"),
        (("list", "scenarois"), "Did you mean 'scenarios'?"),
    ],
)
def test_wrong_usage_is_exit_code_2_with_a_clear_message(words, message):
    answer = run(*words)
    assert answer.exit_code == 2
    assert message in answer.stderr
    assert answer.stdout == ""


def test_progress_is_plain_lines_off_a_terminal(tmp_path):
    answer = run("run", "--slots", "5")
    assert answer.stderr == "paper: distmllm ...\n"


def test_demo_in_small(tmp_path):
    start = time.perf_counter()
    answer = run("demo", "--seeds", "2", "--slots", "20", "--out", str(tmp_path), "--json")
    assert answer.exit_code == 0, answer.output
    numbers = json.loads(answer.stdout)["scenarios"]
    assert set(numbers) == {"paper", "testbed"}
    for lines in numbers.values():
        assert lines["oracle"]["regret"]["mean"] == pytest.approx(0, abs=1e-6)
        assert lines["random"]["regret"]["mean"] > lines["oracle"]["regret"]["mean"]
    written = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert written == {
        "report.html",
        "table.txt",
        "figures/paper.png",
        "figures/paper.svg",
        "figures/testbed.png",
        "figures/testbed.svg",
    }
    text = run("demo", "--seeds", "2", "--slots", "20", "--out", str(tmp_path)).stdout
    assert text.startswith((tmp_path / "table.txt").read_text().strip())
    assert "UCB (range)" in text
    assert time.perf_counter() - start < 60
