"""``distmllm train``, ``learning`` and ``export`` from the command line, on tiny jobs."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from distmllm_bench import learning
from distmllm_bench.cli import app
from distmllm_bench.learning import Shares, run_learning, shares
from distmllm_env import Scenario, load_policy, play


def call(*words: object, code: int = 0) -> Any:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, done.output + done.stderr
    return done


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("train") / "toy"
    call("train", "--scenario", "toy", "--slots", 4096, "--set", "evaluations=2", "--out", out)
    return out


class TestTrain:
    def test_what_it_leaves_behind(self, trained: Path) -> None:
        names = {path.name for path in trained.iterdir()}
        assert names == {
            "policy.npz", "state.npz", "curve.csv", "curve.png", "settings.toml", "log",
        }  # fmt: skip
        assert list((trained / "log").glob("events.out.tfevents.*"))
        rows = list(csv.DictReader((trained / "curve.csv").read_text().splitlines()))
        assert [int(row["slots"]) for row in rows] == [2048, 4096]

    def test_the_policy_plays_from_the_command_line(self, trained: Path) -> None:
        done = call("run", "--scenario", "toy", "--policy", trained / "policy.npz", "--json")
        mine = load_policy(str(trained / "policy.npz"))
        run = play(Scenario.load("toy"), mine, [0])
        assert json.loads(done.stdout)["profit"] == pytest.approx(run.profit.sum())

    def test_json_is_one_document(self, tmp_path: Path) -> None:
        done = call(
            "train", "--scenario", "toy", "--slots", 1024, "--out", tmp_path, "--json",
            "--set", "algorithm.gamma=0.5", "--set", "evaluations=1",
        )  # fmt: skip
        numbers = json.loads(done.stdout)
        assert numbers["slots"] == 1024
        assert 0 < numbers["learner_share_of_time"] < 1
        assert "gamma = 0.5" in (tmp_path / "settings.toml").read_text()

    def test_settings_come_from_a_file_too(self, trained: Path, tmp_path: Path) -> None:
        done = call(
            "train", "--settings", trained / "settings.toml", "--slots", 1024, "--out", tmp_path,
            "--set", "evaluations=1",
        )  # fmt: skip
        assert "on toy: 1024 slots" in done.stdout

    def test_resume_goes_on_and_nothing_else_overwrites(self, trained: Path) -> None:
        words = ["train", "--scenario", "toy", "--out", trained]
        refused = call(*words, "--slots", 4096, code=2)
        assert "go on with --resume" in refused.stderr
        more = call(*words, "--slots", 6144, "--set", "evaluations=3", "--resume", "--json")
        assert json.loads(more.stdout)["slots"] == 6144

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--algo", "ppq"], "Did you mean 'ppo'"),
            (["--mode", "centrall"], "Did you mean 'central'"),
            (["--scenario", "papr"], "Did you mean 'paper'"),
            (["--algo", "dqn", "--network", "equivariant"], "unknown settings 'dqn-equivariant'"),
            (["--set", "algorithm.gama=1"], "Did you mean 'gamma'"),
            (["--set", "algorithm.gamma='x'"], "algorithm.gamma: expected float"),
            (["--algo", "dqn", "--mode", "central"], "number of discrete actions"),
            (["--resume"], "is not a training state"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_wrong_usage(self, words: list[str], message: str, tmp_path: Path) -> None:
        done = call("train", "--slots", 64, "--out", tmp_path / "x", *words, code=2)
        assert message in done.stderr
        assert not (tmp_path / "x" / "policy.npz").exists()


class TestLearning:
    def test_shares_by_hand(self) -> None:
        scenario = Scenario.load("toy")
        found = shares(scenario, ["oracle", "random"], range(3))
        assert found["oracle"].values == pytest.approx([1.0] * 3)
        run = play(scenario, load_policy("random"), range(3))
        by_hand = run.expected_profit.sum(axis=(1, 2, 3)) / (5.1 * 20)
        assert found["random"].values == pytest.approx(by_hand)

    def test_the_interval_by_hand(self) -> None:
        # t(0.975; 3) = 3.1824; the deviation of 1, 2, 3, 4 is 1.29099
        half = Shares(np.array([1.0, 2.0, 3.0, 4.0])).half
        assert half == pytest.approx(3.1824463 * 1.2909944 / 2)

    def test_elsewhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(learning, "SIZES", ((2, 3),))
        monkeypatch.setattr(learning, "OTHERS", ("toy",))
        tables = run_learning(tmp_path, ["elsewhere"], range(2), 1, quick=True)
        small = Scenario.load("paper", providers=2, workers=3)
        for line, label, scenario in (
            (2, "`paper`, 2 x 3", small),
            (3, "`toy`", Scenario.load("toy")),
        ):
            found = shares(
                scenario, learning.ELSEWHERE_POLICIES, range(2), {"ppo": {"weights": "paper"}}
            )
            cells = " | ".join(str(found[name]) for name in learning.ELSEWHERE_POLICIES)
            assert tables["elsewhere"].splitlines()[line] == f"| {label} | {cells} |"
        assert (tmp_path / "elsewhere.md").read_text() == tables["elsewhere"]

    def test_trainings(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(learning, "FIXED_SEEDS", range(2))
        monkeypatch.setattr(learning, "NETWORK_SEEDS", range(2))
        monkeypatch.setattr(learning, "FIXED_SLOTS", 20 * 2048)
        monkeypatch.setattr(learning, "NETWORK_SLOTS", 20 * 2048)
        tables = run_learning(tmp_path, ["fixed", "networks"], range(2), 1, quick=True)
        assert "| 2 | 2048 |" in tables["fixed"]
        assert tables["networks"].count("| 2 | 2048 |") == 2
        for name in ("fixed", "networks"):
            assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")

    def test_an_unknown_part(self) -> None:
        assert "Did you mean 'table'" in call("learning", "--only", "tabel", code=2).stderr


class TestExport:
    def test_a_recorded_run_becomes_a_dataset(self, tmp_path: Path) -> None:
        minari = pytest.importorskip("minari", reason="needs the extra offline")
        assert minari is not None
        record = tmp_path / "run.npz"
        call("run", "--scenario", "toy", "--policy", "ucb", "--out", record)
        done = call("export", record, "--id", "toy/ucb-v0", "--path", tmp_path / "data", "--json")
        assert json.loads(done.stdout)["steps"] == 20

    def test_it_says_how_to_get_the_extra(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record = tmp_path / "run.npz"
        call("run", "--scenario", "toy", "--policy", "ucb", "--out", record)
        monkeypatch.setitem(sys.modules, "minari", None)
        done = call("export", record, "--id", "toy/ucb-v0", code=2)
        assert 'pip install "distmllm-env[offline]"' in done.stderr
