"""Training: it learns, twice the same, through interruptions; what it leaves plays as it did."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Iterator
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distmllm_agents.heu import HEU
from distmllm_agents.learned.randomness import get_random_state
from distmllm_agents.learned.settings import (
    EVALUATION_SEEDS,
    TRAINING_SEEDS,
    Settings,
    load_settings,
    make_settings,
)
from distmllm_agents.learned.trained import Trained, load_policy_file
from distmllm_agents.learned.training import Evaluation, Training
from distmllm_env import Scenario, play
from distmllm_env.archive import POLICY, STATE, describe, read_archive, write_archive

BEST = 5.1
"""Profit per slot of the best allocation on toy, worked out in its file."""

ON_POLICY = {"gamma": 0.0, "gae_lambda": 1.0, "n_steps": 8, "ent_coef": 0.01}
ALGORITHM: dict[str, dict[str, Any]] = {
    "ppo": ON_POLICY | {"batch_size": 64, "n_epochs": 4},
    "maskable_ppo": ON_POLICY | {"batch_size": 64, "n_epochs": 4},
    "a2c": ON_POLICY | {"n_steps": 4, "use_rms_prop": False, "normalize_advantage": True},
    "dqn": {
        "gamma": 0.0, "buffer_size": 2000, "learning_starts": 256, "batch_size": 64,
        "train_freq": 1, "gradient_steps": 2, "target_update_interval": 500,
        "exploration_fraction": 0.5,
    },
}  # fmt: skip
EQUIVARIANT = {"network": "equivariant", "observation": "statistics", "width": 8, "depth": 1}


@pytest.fixture(autouse=True, scope="module")
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A scenario file: 3 x 3 with noise, where demand 3 does not fit worker 0."""
    keys = {
        "demand": {"kind": "integers", "low": 1, "high": 3},
        "capacity": [2, 3, 5],
        "name": "site",
        "noise.std": 0.2,
    }
    path = tmp_path_factory.mktemp("scenario") / "site.toml"
    path.write_text(Scenario.load("paper", keys, providers=3, workers=3, slots=12).to_toml())
    return str(path)


def learning(algo: str = "ppo", **change: Any) -> Settings:
    """Enough to learn toy within a second or two."""
    return make_settings(
        {
            "algo": algo,
            "scenario": "toy",
            "reward": "welfare",
            "slots": 3072,
            "markets": 32,
            "layers": [16],
            "learning_rate": 2e-2 if algo == "a2c" else 5e-3,
            "final_learning_rate": 5e-4,
            "evaluations": 4,
            "evaluation_runs": 2,
            "checkpoints": 2,
            "algorithm": ALGORITHM[algo],
            **change,
        }
    )


def short(algo: str = "ppo", **change: Any) -> Settings:
    """As little as has a few rollouts, evaluations and checkpoints."""
    few: dict[str, dict[str, Any]] = {
        "ppo": {"n_steps": 4, "batch_size": 16, "n_epochs": 2},
        "maskable_ppo": {"n_steps": 4, "batch_size": 16, "n_epochs": 2},
        "a2c": {"n_steps": 2},
        "dqn": {
            "buffer_size": 600, "learning_starts": 100, "batch_size": 16, "train_freq": 2,
            "target_update_interval": 100, "exploration_fraction": 0.9,
        },
    }  # fmt: skip
    return make_settings(
        {
            "algo": algo,
            "scenario": "toy",
            "slots": 320,
            "markets": 8,
            "layers": [6],
            "evaluations": 2,
            "evaluation_runs": 2,
            "checkpoints": 4,
            "algorithm": ALGORITHM[algo] | few[algo],
            **change,
        }
    )


def train(settings: Settings, out: Path, **options: Any) -> Training:
    training = Training(settings, out, **options)
    training.run()
    return training


def weights(training: Training) -> list[dict[str, bytes]]:
    return [{k: v.tobytes() for k, v in x.weights().items()} for x in training.learners]


def moments(training: Training) -> list[Any]:
    """The optimizer's memory, exactly."""
    return [
        [(i, k, torch.as_tensor(x).tolist()) for i, own in state.items() for k, x in own.items()]
        for state in (x.model.policy.optimizer.state_dict()["state"] for x in training.learners)
    ]


def points(training: Training) -> list[tuple[Any, ...]]:
    """The curve without wall time."""
    return [(p.slots, p.share, p.sd, p.heu) for p in training.curve]


class TestLearning:
    @pytest.mark.parametrize("mode", ["central", "shared", "independent"])
    @pytest.mark.parametrize("algo", ["ppo", "a2c", "dqn", "maskable_ppo"])
    def test_every_algorithm_learns_toy_in_every_mode(
        self, algo: str, mode: str, tmp_path: Path
    ) -> None:
        told: list[tuple[int, Evaluation | None]] = []
        settings = learning(algo, mode=mode)
        training = Training(settings, tmp_path, "what was typed", lambda *x: told.append(x))
        policy = training.run()
        share = training.curve[-1].share
        assert share > (0.8 if (algo, mode) == ("dqn", "independent") else 0.999)
        self.check_curve(training, policy, told)
        self.check_files(training)
        assert training.slots == 3072
        assert 0 < training.market_seconds < training.seconds

    def check_curve(
        self, training: Training, policy: Trained, told: list[tuple[int, Evaluation | None]]
    ) -> None:
        curve = training.curve
        assert len(curve) == 4
        slots = [point.slots for point in curve]
        assert all(a < b for a, b in pairwise(slots))
        assert all(k * 768 <= s < k * 768 + 256 for k, s in enumerate(slots, start=1))
        seconds = [point.seconds for point in curve]
        assert seconds == sorted(seconds)
        assert [point for _, point in told if point is not None] == curve
        progress = [slots for slots, _ in told]
        assert progress == sorted(progress)
        assert progress[0] == 0
        assert len(progress) > 4 + 3072 // (32 * 8) - 1
        # The last point by other means: seeds, world and horizon of the settings.
        seeds = [EVALUATION_SEEDS, EVALUATION_SEEDS + 1]
        for who, mean, sd in (
            (policy, curve[-1].share, curve[-1].sd),
            (HEU(), curve[-1].heu, None),
        ):
            run = play(Scenario.load("toy"), who, seeds, world_seed=0)
            share = run.expected_profit.sum(axis=(1, 2, 3)) / (BEST * 20)
            assert mean == pytest.approx(share.mean(), abs=1e-12)
            assert sd is None or sd == pytest.approx(share.std(ddof=1), abs=1e-12)

    def check_files(self, training: Training) -> None:
        out, settings = training.out, training.settings
        names = {path.name for path in out.iterdir()}
        assert names == {"policy.npz", "state.npz", "curve.csv", "settings.toml", "log"}
        assert load_settings(out / "settings.toml") == settings
        with (out / "curve.csv").open(newline="") as file:
            lines = list(csv.DictReader(file))
        assert list(lines[0]) == [f.name for f in fields(Evaluation)]
        read = [Evaluation(int(line.pop("slots")), **{k: float(v) for k, v in line.items()})
                for line in lines]  # fmt: skip
        assert read == training.curve
        logs = list((out / "log").rglob("events.out.tfevents.*"))
        assert len(logs) == (2 if settings.mode == "independent" else 1)
        assert max(log.stat().st_size for log in logs) > 200
        about = describe(out / "policy.npz", POLICY)
        assert about["settings"] == settings.to_dict()
        assert about["scenario"] == Scenario.load("toy").to_toml()
        assert about["slots"] == 3072
        assert about["command"] == "what was typed"
        assert about["curve"] == [vars(point) for point in training.curve]
        assert {"distmllm-env", "torch", "stable-baselines3"} <= set(about["versions"])
        assert read_archive(out / "state.npz", STATE)[1]["slots"] == 1536

    def test_the_equivariant_network_learns_toy(self, tmp_path: Path) -> None:
        training = train(learning(**EQUIVARIANT, slots=4096), tmp_path)
        assert training.curve[0].share < 1.0001
        assert training.curve[-1].share > 0.999

    def test_without_steps_nothing_is_learned(self, tmp_path: Path) -> None:
        still = learning(learning_rate=1e-9, final_learning_rate=1e-9, slots=1024)
        assert train(still, tmp_path).curve[-1].share < 0.9

    def test_the_log_is_for_tensorboard(self, tmp_path: Path) -> None:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        training = train(short(), tmp_path)
        for learner in training.learners:
            learner.model.logger.close()
        log = EventAccumulator(str(tmp_path / "log"))
        log.Reload()
        share = [(e.step, e.value) for e in log.Scalars("eval/share_of_optimum")]
        assert share == [(p.slots, pytest.approx(p.share, abs=1e-6)) for p in training.curve]
        heu = [e.value for e in log.Scalars("eval/heu_share_of_optimum")]
        assert heu == [pytest.approx(p.heu, abs=1e-6) for p in training.curve]
        assert "train/loss" in log.Tags()["scalars"]

    @pytest.mark.parametrize("slots", [320, 300, 1])
    def test_the_learning_rate_is_linear_and_ends_where_it_should(
        self, slots: int, tmp_path: Path
    ) -> None:
        """A rollout has 32 slots, so that the last one may go beyond the end."""
        rates = []
        settings = short(slots=slots, learning_rate=0.5e-2, final_learning_rate=0.1e-2)
        training = Training(settings, tmp_path, tell=lambda slots, point: rates.append(
            training.learners[0].model.policy.optimizer.param_groups[0]["lr"]
        ))  # fmt: skip
        training.run()
        left = [max(0.0, 1 - done / slots) for done in range(32, slots + 32, 32)]
        expected = [0.1e-2 + 0.4e-2 * x for x in left]
        assert sorted(set(rates[1:]), reverse=True) == pytest.approx(expected)
        assert rates[-1] == pytest.approx(0.1e-2)

    def test_redrawn_worlds_are_trained_and_evaluated_on(self, site: str, tmp_path: Path) -> None:
        settings = short(scenario=site, world="redrawn", slots=64)
        training = train(settings, tmp_path)
        seeds = [EVALUATION_SEEDS, EVALUATION_SEEDS + 1]
        run = play(Scenario.load(site), HEU(), seeds)
        from distmllm_agents.oracle import optimum

        share = run.expected_profit.sum(axis=(1, 2, 3)) / (12 * optimum(run.world).value)
        assert training.curve[-1].heu == pytest.approx(share.mean())
        table = training._table.state()
        assert table["seeds"] == list(range(TRAINING_SEEDS, TRAINING_SEEDS + 8))


class TestDeterminism:
    @pytest.mark.parametrize(
        "settings",
        [
            short("ppo"),
            short("dqn"),
            short("ppo", mode="independent", act="sample"),
            short("ppo", **EQUIVARIANT),
        ],
        ids=["ppo", "dqn", "independent", "equivariant"],
    )
    def test_the_same_seed_gives_the_same_bits(self, settings: Settings, tmp_path: Path) -> None:
        first = train(settings, tmp_path / "a")
        np.random.seed(5)  # noqa: NPY002
        torch.manual_seed(7)
        random.seed(8)
        second = train(settings, tmp_path / "b")
        assert weights(first) == weights(second)
        assert moments(first) == moments(second)
        assert points(first) == points(second)
        other = train(make_settings(settings.to_dict() | {"seed": 1}), tmp_path / "c")
        for mine, theirs in zip(weights(first), weights(other), strict=True):
            assert mine != theirs

    def test_independent_learners_differ(self, tmp_path: Path) -> None:
        first, second = weights(train(short(mode="independent"), tmp_path))
        assert first.keys() == second.keys()
        assert first != second

    def test_how_often_is_looked_changes_nothing(self, tmp_path: Path) -> None:
        for algo, mode in (("ppo", "central"), ("dqn", "shared"), ("a2c", "independent")):
            found = []
            for evaluations, checkpoints in ((1, 1), (5, 1), (1, 5), (5, 3)):
                settings = short(algo, mode=mode, evaluations=evaluations, checkpoints=checkpoints)
                training = train(settings, tmp_path / algo / f"{evaluations}{checkpoints}")
                assert len(training.curve) == evaluations
                assert (training.out / "state.npz").exists() == (checkpoints > 1)
                found.append(weights(training))
            assert all(other == found[0] for other in found[1:])

    @pytest.mark.parametrize("act", ["greedy", "sample"])
    def test_evaluating_leaves_the_random_numbers_alone(self, act: str, tmp_path: Path) -> None:
        training = train(short(act=act), tmp_path)
        before = get_random_state()
        training._evaluate()
        training.policy()
        after = get_random_state()
        for name, value in before.items():
            np.testing.assert_array_equal(after[name], value, err_msg=name)

    def test_threads_are_as_set(self, tmp_path: Path) -> None:
        Training(short(threads=2), tmp_path)
        assert torch.get_num_threads() == 2
        Training(short(threads=1), tmp_path)
        assert torch.get_num_threads() == 1


class StopError(Exception):
    pass


def stop_after(slots: int) -> Callable[[int, Evaluation | None], None]:
    def tell(done: int, point: Evaluation | None) -> None:
        if done >= slots and point is None:
            raise StopError

    return tell


RESUMED: dict[str, dict[str, Any]] = {
    "ppo, equivariant, statistics, redrawn": {
        **EQUIVARIANT, "world": "redrawn", "reward": "regret", "reward_scale": 20.0,
        "act": "sample", "episode_slots": 10,
    },
    "ppo, fixed world, no stagger": {"stagger": False, "reward": "welfare"},
    "maskable_ppo, shared": {"algo": "maskable_ppo", "mode": "shared", "world": "redrawn"},
    "a2c, independent": {"algo": "a2c", "mode": "independent", "observation": "statistics"},
    "ppo, independent, redrawn": {"mode": "independent", "world": "redrawn"},
    "dqn, shared": {"algo": "dqn", "mode": "shared"},
    "dqn, independent": {"algo": "dqn", "mode": "independent", "world": "redrawn"},
}  # fmt: skip


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("interrupted")
    with pytest.raises(StopError):
        Training(short(), out, tell=stop_after(100)).run()
    return out / "state.npz"


class TestResuming:
    @pytest.mark.parametrize("case", RESUMED)
    def test_an_interruption_does_not_show(self, case: str, site: str, tmp_path: Path) -> None:
        settings = short(**{"scenario": site} | RESUMED[case])
        through = train(settings, tmp_path / "through")
        out = tmp_path / "interrupted"
        for slots in (100, 220):  # checkpoints are at 80, 160 and 240
            training = Training(settings, out, tell=stop_after(slots))
            if slots > 100:
                training.resume()
                assert 80 <= training.slots < 100
            with pytest.raises(StopError):
                training.run()
            assert not (out / "policy.npz").exists()
        np.random.seed(5)  # noqa: NPY002
        torch.manual_seed(7)
        resumed = Training(settings, out)
        resumed.resume()
        assert 160 <= resumed.slots < 180
        assert resumed.seconds > 0
        resumed.run()
        assert weights(resumed) == weights(through)
        assert moments(resumed) == moments(through)
        assert points(resumed) == points(through)
        assert resumed.slots == through.slots
        for one, other in zip(resumed.learners, through.learners, strict=True):
            assert one.rows_played == other.rows_played
        mine, theirs = (
            read_archive(folder / "policy.npz", POLICY)[0] for folder in (out, tmp_path / "through")
        )
        assert mine.keys() == theirs.keys()
        for name, table in theirs.items():
            np.testing.assert_array_equal(mine[name], table)

    def test_a_full_replay_buffer_is_kept(self, site: str, tmp_path: Path) -> None:
        settings = short("dqn", mode="shared", scenario=site)
        training = Training(settings, tmp_path, tell=stop_after(260))
        with pytest.raises(StopError):
            training.run()
        buffer = training.learners[0].model.replay_buffer
        resumed = Training(settings, tmp_path)
        resumed.resume()
        again = resumed.learners[0].model.replay_buffer
        assert again.full
        assert buffer.full
        assert again.rewards.shape == buffer.rewards.shape == (25, 24)
        same = (again.rewards == buffer.rewards).all(axis=1)
        assert 20 <= same.sum() < 25  # a few were played after the checkpoint

    def test_a_finished_training_has_nothing_left_to_do(self, tmp_path: Path) -> None:
        first = train(short(), tmp_path)
        told = []
        again = Training(short(), tmp_path, tell=lambda slots, point: told.append(slots))
        again.resume()
        assert again.slots == 256
        again.run()
        assert weights(again) == weights(first)
        assert points(again) == points(first)
        assert min(told) == 256

    def test_going_on_for_longer(self, tmp_path: Path) -> None:
        train(short(), tmp_path)
        settings = short(slots=480, evaluations=3, checkpoints=3, act="sample")
        longer = Training(settings, tmp_path)
        longer.resume()
        longer.run()
        assert longer.slots == 480
        assert [p.slots for p in longer.curve] == [160, 320, 480]
        assert load_settings(tmp_path / "settings.toml") == settings

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("algo", "a2c"), ("mode", "shared"), ("seed", 1), ("world", "redrawn"),
            ("world_seed", 3), ("observation", "statistics"), ("reward", "welfare"),
            ("reward_scale", 2.0), ("markets", 16), ("episode_slots", 7), ("stagger", False),
            ("learning_rate", 0.25), ("final_learning_rate", 0.25), ("layers", [6, 6]),
            ("width", 5), ("depth", 5), ("algorithm", {"n_steps": 4, "batch_size": 32}),
        ],
    )  # fmt: skip
    def test_with_other_settings(
        self, interrupted: Path, key: str, value: Any, tmp_path: Path
    ) -> None:
        usual = short().to_dict()
        other = make_settings(usual | {key: value, **({"algorithm": {}} if key == "algo" else {})})
        (tmp_path / "state.npz").write_bytes(interrupted.read_bytes())
        with pytest.raises(ValueError, match=f"was trained with {key} = ") as caught:
            Training(other, tmp_path).resume()
        for part in (str(tmp_path / "state.npz"), "resume with the same settings", "slots, eval"):
            assert part in str(caught.value)
        shown = {"layers": ((6,), (6, 6))}.get(key, (usual[key], value))
        if key not in ("algo", "algorithm"):
            assert f"{key} = {shown[0]!r}, not {shown[1]!r}" in str(caught.value)

    def test_what_may_differ(self, interrupted: Path, tmp_path: Path) -> None:
        (tmp_path / "state.npz").write_bytes(interrupted.read_bytes())
        other = short(
            slots=999, evaluations=7, evaluation_runs=3, checkpoints=9, threads=2, act="sample"
        )
        training = Training(other, tmp_path)
        training.resume()
        assert training.slots >= 80

    def test_another_version_of_the_scenario(self, site: str, tmp_path: Path) -> None:
        file = tmp_path / "mine.toml"
        file.write_text(Path(site).read_text())
        settings = short(scenario=str(file))
        with pytest.raises(StopError):
            Training(settings, tmp_path, tell=stop_after(100)).run()
        file.write_text(file.read_text().replace("std = 0.2", "std = 0.3"))
        with pytest.raises(ValueError, match="another version of the scenario") as caught:
            Training(settings, tmp_path).resume()
        assert str(tmp_path / "state.npz") in str(caught.value)

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (None, "No such file"),
            (lambda content: b"", "not a zip file"),
            (lambda content: content[: len(content) // 2], "not a zip file"),
            (
                lambda content: content[:5000] + bytes([content[5000] ^ 1]) + content[5001:],
                "Error|Bad CRC",
            ),
        ],
    )
    def test_a_damaged_state(
        self, interrupted: Path, damage: Any, message: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "state.npz"
        if damage is not None:
            path.write_bytes(damage(interrupted.read_bytes()))
        with pytest.raises(ValueError, match=message) as caught:
            Training(short(), tmp_path).resume()
        assert str(caught.value).startswith(f"{path} is not a {STATE}: ")

    def test_a_policy_is_no_state(self, tmp_path: Path) -> None:
        train(short(slots=32), tmp_path)
        (tmp_path / "policy.npz").rename(tmp_path / "state.npz")
        with pytest.raises(ValueError, match=f"is not a {STATE}: its kind is '{POLICY}'"):
            Training(short(slots=32), tmp_path).resume()

    @pytest.mark.parametrize(
        "change",
        [
            lambda tables, about: tables.pop("0/policy/action_net.bias"),
            lambda tables, about: tables.update({"0/policy/action_net.bias": np.zeros(5)}),
            lambda tables, about: tables["0/policy/action_net.bias"].fill(np.nan),
            lambda tables, about: tables.pop("0/earned"),
            lambda tables, about: tables.update({"0/earned": np.zeros(3)}),
            lambda tables, about: tables.pop("0/random/torch"),
            lambda tables, about: tables.update({"0/random/torch": np.zeros(3, np.uint8)}),
            lambda tables, about: tables.pop("0/optimizer/0/exp_avg"),
            lambda tables, about: tables.pop("table/length"),
            lambda tables, about: tables.update({"table/slots": np.full(8, 99)}),
            lambda tables, about: tables.update({"table/view/profit": np.zeros(3)}),
            lambda tables, about: about.pop("settings"),
            lambda tables, about: about.pop("scenario"),
            lambda tables, about: about.pop("curve"),
            lambda tables, about: about["curve"].append({"slots": 3}),
            lambda tables, about: about["table"].pop("seeds"),
            lambda tables, about: about["table"]["seeds"].pop(),
            lambda tables, about: about["learners"].clear(),
            lambda tables, about: about["learners"][0].pop("groups"),
            lambda tables, about: about["learners"][0].pop("random/numpy_rest"),
            lambda tables, about: about["learners"][0].update(groups=[]),
            lambda tables, about: about.update(learners=3),
        ],
    )
    def test_a_state_that_does_not_fit(
        self, interrupted: Path, change: Callable[..., object], tmp_path: Path
    ) -> None:
        tables, about, _ = read_archive(interrupted, STATE)
        change(tables, about)
        path = tmp_path / "state.npz"
        write_archive(path, tables, about)
        with pytest.raises(ValueError, match=r".") as caught:
            Training(short(), tmp_path).resume()
        assert str(path) in str(caught.value)


class TestArguments:
    @pytest.mark.parametrize(
        ("algo", "argument", "value", "message"),
        [
            ("ppo", "gama", 0.5, "unknown argument of ppo in [algorithm] 'gama'. Did you mean "
             "'gamma'?"),
            ("dqn", "buffersize", 5, "Did you mean 'buffer_size'?"),
            ("a2c", "n_epochs", 5, "unknown argument of a2c in [algorithm] 'n_epochs'"),
            ("maskable_ppo", "use_sde", True, "unknown argument of maskable_ppo in [algorithm]"),
            ("ppo", "policy_kwargs", 1, "unknown argument of ppo in [algorithm] 'policy_kwargs'"),
            ("ppo", "learning_rate", 0.1, "unknown argument of ppo in [algorithm]"),
            ("ppo", "seed", 1, "unknown argument of ppo in [algorithm] 'seed'"),
            ("ppo", "batch_size", 1, "ppo with {"),
            ("ppo", "gamma", "high", "gamma"),
        ],
    )  # fmt: skip
    def test_wrong_ones(
        self, algo: str, argument: str, value: Any, message: str, tmp_path: Path
    ) -> None:
        settings = short(algo, algorithm={"n_steps": 4, argument: value} if algo != "dqn" else
                         {argument: value})  # fmt: skip
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            Training(settings, tmp_path)
        assert message in str(caught.value)

    def test_an_unknown_scenario(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"unknown scenario 'tyo'\. Did you mean 'toy'"):
            Training(short(scenario="tyo"), tmp_path)

    def test_too_many_actions(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="number of discrete actions = 60466176"):
            Training(short("dqn", scenario="paper"), tmp_path)


PLAYED: dict[str, dict[str, Any]] = {
    "central": {},
    "shared": {"mode": "shared", "observation": "statistics"},
    "independent": {"mode": "independent"},
    "equivariant": EQUIVARIANT,
    "maskable": {"algo": "maskable_ppo"},
    "maskable, shared": {"algo": "maskable_ppo", "mode": "shared"},
    "maskable, independent": {"algo": "maskable_ppo", "mode": "independent"},
    "dqn, shared": {"algo": "dqn", "mode": "shared"},
    "dqn, independent": {"algo": "dqn", "mode": "independent"},
}


@pytest.fixture(scope="module")
def training(
    request: pytest.FixtureRequest, site: str, tmp_path_factory: pytest.TempPathFactory
) -> Training:
    settings = short(**{"scenario": site, "world": "redrawn", "slots": 96} | request.param)
    return train(settings, tmp_path_factory.mktemp("playing"))


class TestPlaying:
    @pytest.mark.parametrize("training", PLAYED.values(), ids=PLAYED, indirect=True)
    def test_a_batch_is_its_single_runs(self, training: Training) -> None:
        scenario = training.scenario
        of_file, of_memory = load_policy_file(training.out / "policy.npz"), training.policy()
        central = training.settings.mode == "central"
        assert of_file.coordinates == of_memory.coordinates == central
        found = {}
        for act in ("greedy", "sample"):
            if act == "sample" and training.settings.algo == "dqn":
                with pytest.raises(ValueError, match="DQN has no distribution"):
                    load_policy_file(training.out / "policy.npz", act)
                continue
            policy = load_policy_file(training.out / "policy.npz", act)
            seeds = [5, 0, 9]
            together = play(scenario, policy, seeds)
            np.random.seed(1)  # noqa: NPY002
            torch.manual_seed(1)
            again = play(scenario, policy, seeds)
            np.testing.assert_array_equal(together.profit, again.profit)
            for b, seed in enumerate(seeds):
                alone = play(scenario, policy, [seed])
                np.testing.assert_array_equal(together.allocation[b], alone.allocation[0])
                np.testing.assert_array_equal(together.profit[b], alone.profit[0])
            if act == "greedy":
                for other in (of_file, of_memory):
                    run = play(scenario, other, seeds)
                    np.testing.assert_array_equal(run.allocation, together.allocation)
            else:
                assert (together.allocation[0] != together.allocation[1]).any()
            found[act] = together.allocation
        if len(found) == 2:
            assert (found["greedy"] != found["sample"]).any()

    @pytest.mark.parametrize(
        "training",
        [PLAYED["maskable"], PLAYED["maskable, shared"], PLAYED["maskable, independent"]],
        ids=["central", "shared", "independent"],
        indirect=True,
    )
    def test_masks_are_kept_to(self, training: Training) -> None:
        policy = load_policy_file(training.out / "policy.npz", "sample")
        run = play(training.scenario, policy, range(20))
        assert not run.world.feasible_everywhere
        b, _, m, s = np.indices(run.allocation.shape)
        assert run.world.feasible[b, s, m, run.allocation].all()

    @pytest.mark.parametrize(
        ("change", "sizes", "fits"),
        [
            ({}, (3, 3), True),
            ({}, (4, 3), False),
            ({}, (3, 4), False),
            ({"mode": "independent"}, (4, 3), False),
            ({"mode": "independent"}, (3, 4), False),
            ({"mode": "shared"}, (4, 3), True),
            ({"mode": "shared"}, (3, 4), False),
            ({"mode": "shared", "observation": "statistics"}, (7, 3), True),
            (EQUIVARIANT, (4, 2), True),
        ],
    )
    def test_other_sizes(
        self, change: dict[str, Any], sizes: tuple[int, int], fits: bool, site: str, tmp_path: Path
    ) -> None:
        policy = Training(short(**{"scenario": site} | change), tmp_path).policy()
        m, n = sizes
        scenario = Scenario.load("paper", providers=m, workers=n, slots=3)
        if fits:
            assert play(scenario, policy, [0, 1]).allocation.shape == (2, 3, m, 2)
            return
        with pytest.raises(ValueError, match="this network was trained for 3 prov") as caught:
            play(scenario, policy, [0, 1])
        assert f"3 providers and 3 workers, not for {m} and {n}" in str(caught.value)
        assert "network = 'equivariant'" in str(caught.value)

    def test_the_network_is_asked_with_what_it_was_trained_on(
        self, site: str, tmp_path: Path
    ) -> None:
        """The policy's allocation is the likeliest action of the trained model, slot by slot."""
        settings = short(scenario=site, slots=96)
        training = train(settings, tmp_path)
        learner, env = training.learners[0], training._env
        assert env is not None
        seen: list[np.ndarray] = []
        policy = training.policy()
        usual = policy._choose

        def choose(network: Any, view: np.ndarray, allowed: torch.Tensor) -> np.ndarray:
            seen.append(view.copy())
            return usual(network, view, allowed)

        policy._choose = choose  # type: ignore[method-assign]
        run = play(training.scenario, policy, [TRAINING_SEEDS, TRAINING_SEEDS + 1], world_seed=0)
        assert len(seen) == 12
        for slot, view in enumerate(seen):
            assert env.observation_space.contains(view[0])
            actions, _ = learner.model.predict(view, deterministic=True)
            np.testing.assert_array_equal(actions.reshape(2, 3, 2), run.allocation[:, slot])
