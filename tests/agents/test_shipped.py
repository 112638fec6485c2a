"""The weights in the package: whole, small, explained, and as good as README says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import distmllm_agents
from distmllm_agents.learned import shipped as shipping
from distmllm_agents.learned.settings import EVALUATION_SEEDS, TRAINING_SEEDS, make_settings
from distmllm_agents.learned.shipped import about_shipped, load_shipped, shipped
from distmllm_agents.oracle import optimum
from distmllm_env import Scenario, load_policy, play
from distmllm_env.errors import MissingExtraError

FOLDER = Path(str(distmllm_agents.__file__)).parent / "learned" / "checkpoints"
NAMES = ("paper", "testbed", "scarce")


def shares(scenario: Scenario, policy: object, seeds: range) -> np.ndarray:
    run = play(scenario, policy, seeds)  # type: ignore[arg-type]
    best = optimum(run.world).value * scenario.slots
    return run.expected_profit.sum(axis=(1, 2, 3)) / best


class TestFiles:
    def test_the_index_names_every_file_and_no_other(self) -> None:
        assert sorted(shipped()) == sorted(path.stem for path in FOLDER.glob("*.npz"))
        assert set(NAMES) <= set(shipped())

    def test_all_weights_are_below_two_megabytes(self) -> None:
        assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 2e6

    @pytest.mark.parametrize("name", NAMES)
    def test_each_says_how_it_was_trained(self, name: str) -> None:
        about = about_shipped(name)
        settings = make_settings(about["settings"])
        assert settings.scenario == name
        assert settings.world == "redrawn"
        assert settings.network == "equivariant"
        assert Scenario.from_toml(about["scenario"]) == Scenario.load(name)
        assert about["command"].startswith("distmllm train --network equivariant")
        assert f"--scenario {name}" in about["command"]
        slots = [point["slots"] for point in about["curve"]]
        assert slots == sorted(slots)
        assert slots[-1] == about["slots"] >= settings.slots
        assert {"torch", "stable-baselines3", "distmllm-env"} <= set(about["versions"])

    def test_training_met_no_seed_that_people_use(self) -> None:
        assert min(TRAINING_SEEDS, EVALUATION_SEEDS) > 2**32

    def test_a_file_that_was_exchanged_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        digests = {**shipped(), "paper": shipped()["testbed"]}
        monkeypatch.setattr(shipping, "shipped", lambda: digests)
        with pytest.raises(ValueError, match="digest of the shipped weights 'paper'"):
            load_shipped("paper")


class TestPlay:
    @pytest.mark.parametrize("name", NAMES)
    def test_it_beats_the_printed_algorithm_and_the_heuristic(self, name: str) -> None:
        """On worlds it never saw, full horizon: the difference is far from chance."""
        scenario, seeds = Scenario.load(name), range(20)
        own = shares(scenario, load_policy("ppo"), seeds)
        for other in ("distmllm", "heu"):
            ahead = own - shares(scenario, load_policy(other), seeds)
            error = ahead.std(ddof=1) / np.sqrt(len(seeds))
            assert ahead.mean() > 3 * error, f"{other}: {ahead.mean():.4f} ± {error:.4f}"

    def test_it_takes_any_size(self) -> None:
        for m, n in ((1, 1), (2, 7), (9, 3)):
            scenario = Scenario.load("paper", providers=m, workers=n, slots=12)
            run = play(scenario, load_policy("ppo"), range(3))
            assert not (run.status == 2).any(), "capacities are kept: nobody is rejected"

    def test_it_takes_the_weights_of_the_scenario_at_hand(self) -> None:
        scenario = Scenario.load("testbed", slots=20)
        auto, named, other = (
            play(scenario, load_policy("ppo", weights=weights), range(3)).allocation
            for weights in ("auto", "testbed", "paper")
        )
        assert np.array_equal(auto, named)
        assert not np.array_equal(auto, other)

    def test_elsewhere_it_plays_with_those_of_paper(self) -> None:
        scenario = Scenario.load("slack", slots=20)
        auto, paper = (
            play(scenario, load_policy("ppo", weights=weights), range(3)).allocation
            for weights in ("auto", "paper")
        )
        assert np.array_equal(auto, paper)

    def test_a_run_does_not_hang_on_its_neighbours(self) -> None:
        scenario = Scenario.load("paper", slots=60)
        together = play(scenario, load_policy("ppo"), range(5))
        for seed in range(5):
            alone = play(scenario, load_policy("ppo"), [seed])
            assert np.array_equal(alone.allocation[0], together.allocation[seed])

    def test_greedy_and_sampled_play_differ(self) -> None:
        scenario = Scenario.load("paper", slots=30)
        greedy, sample = (
            play(scenario, load_policy("ppo", act=act), range(4)).allocation
            for act in ("greedy", "sample")
        )
        assert not np.array_equal(greedy, sample)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"weights": "papr"}, "unknown weights 'papr'. Did you mean 'paper'"),
            ({"act": "gredy"}, "unknown act 'gredy'. Did you mean 'greedy'"),
        ],
    )
    def test_wrong_options(self, options: dict[str, str], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            load_policy("ppo", **options)


class TestWithoutTheExtra:
    @pytest.fixture
    def blocked(self, tmp_path: Path) -> dict[str, str]:
        for module in ("torch", "stable_baselines3", "sb3_contrib"):
            code = f'raise ModuleNotFoundError("No module named {module!r}", name={module!r})\n'
            (tmp_path / f"{module}.py").write_text(code)
        return {**os.environ, "PYTHONPATH": str(tmp_path)}

    def test_it_says_how_to_get_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "sb3_contrib", None)
        with pytest.raises(MissingExtraError, match=r'sb3_contrib.*"distmllm-env\[rl\]"'):
            load_policy("ppo")

    @pytest.mark.parametrize(
        "arguments",
        [
            ["run", "--policy", "ppo", "--slots", "2"],
            ["run", "--policy", "policy.npz", "--slots", "2"],
            ["demo", "--policy", "ppo", "--seeds", "1"],
            ["train", "--slots", "10"],
            ["learning", "--only", "table"],
        ],
        ids=lambda words: " ".join(words[:3]),
    )
    def test_the_command_line_says_how_to_get_it(
        self, blocked: dict[str, str], arguments: list[str], tmp_path: Path
    ) -> None:
        (tmp_path / "policy.npz").touch()
        command = [sys.executable, "-m", "distmllm_bench", *arguments]
        done = subprocess.run(
            command, env=blocked, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2, done.stderr
        assert "torch, which is not installed" in done.stderr
        assert 'pip install "distmllm-env[rl]"' in done.stderr
        assert "Traceback" not in done.stderr

    def test_policies_can_still_be_listed(self, blocked: dict[str, str]) -> None:
        command = [sys.executable, "-m", "distmllm_bench", "list", "policies", "--json"]
        done = subprocess.run(command, env=blocked, capture_output=True, text=True, check=True)
        assert "ppo" in [row["name"] for row in json.loads(done.stdout)]

    def test_the_package_loads_no_torch(self) -> None:
        code = (
            "import sys, distmllm_agents.learned.shipped as shipping; "
            "shipping.about_shipped('paper'); print('torch' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.strip() == "False", done.stderr
