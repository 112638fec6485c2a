"""Recorded runs as Minari datasets: what is in them is what the environment gives."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from distmllm_bench.files import save_run
from distmllm_bench.offline import export_run, to_minari
from distmllm_env import Scenario, load_policy, play

SLOTS = 12
SEEDS = [3, 0, 2**64 - 1]
ROOT = "MINARI_DATASETS_PATH"
UNIFORM = {"kind": "uniform", "low": 0.001, "high": 0.003}


@pytest.fixture
def minari(tmp_path, monkeypatch):
    pytest.importorskip("h5py", reason="extra offline is not installed")
    found = pytest.importorskip("minari", reason="extra offline is not installed")
    monkeypatch.setenv(ROOT, str(tmp_path / "sets"))
    return found


def a_run(scenario="crowd2", overrides=None, seeds=SEEDS, **keys):
    scenario = Scenario.load(scenario, overrides, slots=SLOTS)
    return play(scenario, load_policy("random"), seeds, **keys)


def left(tmp_path):
    return [path for path in (tmp_path / "sets").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("scenario", "overrides"),
    [
        ("toy", {}),
        ("paper", {"noise.std": 0.2, "market.overload": "share", "workers": 3}),
        ("testbed", {"price": UNIFORM, "testbed.data_scale": UNIFORM, "name": "mine"}),
        ("paper", {"name": "testbed", "reward.value_enc": UNIFORM}),
    ],
)
def test_round_trip(minari, tmp_path, scenario, overrides):
    run = a_run(scenario, overrides)
    played = run.world.scenario
    to_minari("group/sub/random-v0", run, algorithm_name="random", author="me")
    dataset = minari.load_dataset("group/sub/random-v0")
    assert list(minari.list_local_datasets()) == ["group/sub/random-v0"]
    assert dataset.storage.metadata["algorithm_name"] == "random"
    assert dataset.storage.metadata["author"] == {"me"}
    assert (dataset.total_episodes, dataset.total_steps) == (len(SEEDS), len(SEEDS) * SLOTS)
    seeds = [about["seed"] for about in dataset.storage.get_episode_metadata(range(len(SEEDS)))]
    assert seeds == SEEDS

    env = gym.make("DistMLLM-v0", scenario=played)
    assert dataset.observation_space == env.observation_space
    assert dataset.action_space == env.action_space
    for row, (seed, episode) in enumerate(zip(SEEDS, dataset.iterate_episodes(), strict=True)):
        assert episode.actions.dtype == np.int64
        assert episode.observations.dtype == np.float32
        np.testing.assert_array_equal(episode.actions, run.allocation[row].reshape(SLOTS, -1))
        np.testing.assert_array_equal(episode.infos["profit"][1:], run.profit[row])
        np.testing.assert_array_equal(episode.infos["load"][1:], run.load[row])
        np.testing.assert_allclose(episode.rewards, run.profit[row].sum(axis=(1, 2)))
        assert not episode.terminations.any()
        assert episode.truncations.tolist() == [False] * (SLOTS - 1) + [True]
        observation, info = env.reset(seed=seed)
        for slot in range(SLOTS):
            np.testing.assert_array_equal(episode.observations[slot], observation)
            np.testing.assert_array_equal(episode.infos["action_mask"][slot], info["action_mask"])
            observation, reward, _, _, info = env.step(episode.actions[slot])
            assert episode.rewards[slot] == reward
        np.testing.assert_array_equal(episode.observations[SLOTS], observation)

    for eval_env in (False, True):
        again = dataset.recover_environment(eval_env=eval_env)
        assert again.unwrapped.scenario == played
        assert again.spec == dataset.env_spec
        keys = again.spec.kwargs
        assert gym.make("DistMLLM-v0", **keys).spec == again.spec
        np.testing.assert_array_equal(again.reset(seed=3)[0], env.reset(seed=3)[0])


def test_a_named_scenario_is_all_that_its_spec_says(minari):
    run = play(Scenario.load("toy"), load_policy("random"), [0])
    dataset = to_minari("toy-v0", run, algorithm_name="random")
    assert dataset.env_spec == gym.make("DistMLLM-v0", scenario="toy").spec


def test_runs_on_one_world_keep_it(minari):
    run = a_run(world_seed=5)
    dataset = to_minari("random-v0", run, algorithm_name="random")
    assert dataset.env_spec.kwargs["world_seed"] == 5
    np.testing.assert_allclose(
        [episode.rewards.sum() for episode in dataset], run.profit.sum(axis=(1, 2, 3))
    )


def test_export(minari, tmp_path, monkeypatch):
    run = a_run()
    save_run(tmp_path / "run.npz", run, {"policy": "random"})
    monkeypatch.chdir(tmp_path)
    before = os.environ[ROOT]
    result = export_run(tmp_path / "run.npz", "random-v1", Path("elsewhere"))
    assert json.loads(json.dumps(result)) == {
        "dataset": "random-v1",
        "folder": str(tmp_path / "elsewhere" / "random-v1" / "data"),
        "env": {"id": "DistMLLM-v0", "scenario": "crowd2", "overrides": {"slots": SLOTS}},
        "policy": "random",
        "episodes": 3,
        "steps": 3 * SLOTS,
        "mean_return": pytest.approx(run.profit.sum() / 3),
    }
    assert os.environ[ROOT] == before
    assert left(tmp_path) == []
    monkeypatch.setenv(ROOT, str(tmp_path / "elsewhere"))
    assert minari.load_dataset("random-v1").total_steps == 3 * SLOTS


def test_without_a_folder_it_is_minaris_own(minari, tmp_path, monkeypatch):
    monkeypatch.delenv(ROOT)
    monkeypatch.setenv("HOME", str(tmp_path))
    to_minari("random-v0", a_run(), algorithm_name="random")
    assert ROOT not in os.environ
    assert (tmp_path / ".minari" / "datasets" / "random-v0" / "data").is_dir()


@pytest.mark.parametrize("module", ["minari", "h5py"])
def test_missing_extra(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r'pip install "distmllm-env\[offline\]"'):
        to_minari("random-v0", a_run(), algorithm_name="random")


@pytest.mark.parametrize("content", [None, b"no"])
def test_wrong_file(tmp_path, content):
    path = tmp_path / "run.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="is not a recorded run"):
        export_run(path, "random-v0")


@pytest.mark.parametrize("name", ["random", "", "-v0", "a b-v0", "../up-v0", "group/", "/top-v0"])
def test_wrong_name(minari, tmp_path, name):
    with pytest.raises(ValueError, match=r"dataset id .* is not allowed: NAME-v0"):
        to_minari(name, a_run(), algorithm_name="random")
    assert left(tmp_path) == []


def test_a_name_that_is_taken(minari, tmp_path):
    to_minari("random-v0", a_run(), algorithm_name="random")
    before = {path: path.read_bytes() for path in left(tmp_path)}
    with pytest.raises(ValueError, match=r"'random-v0' is there already, in .*sets"):
        to_minari("random-v0", a_run("toy"), algorithm_name="random")
    assert {path: path.read_bytes() for path in left(tmp_path)} == before
    to_minari("random-v1", a_run("toy"), algorithm_name="random")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: replace(a_run(), world_seed=5), "another profit than was recorded"),
        (lambda: replace(a_run(), profit=a_run().profit * (1 + 1e-15)), "another profit"),
        (lambda: replace(a_run(), status=1 - a_run().status), "another status"),
        (lambda: replace(a_run(), allocation=a_run().allocation[:, :5]), "has 5 slots of 12"),
        (lambda: replace(a_run(), allocation=a_run().allocation + 9), "action"),
        (lambda: a_run(seeds=[2**64]), "below 2\\^64"),
    ],
)
def test_a_record_that_cannot_be_played_again(minari, tmp_path, make, why):
    with pytest.raises(ValueError, match=why):
        to_minari("random-v0", make(), algorithm_name="random")
    assert left(tmp_path) == []


def test_a_later_episode(minari, tmp_path):
    run = a_run()
    run = replace(run, episodes=(0, 1, 0))
    with pytest.raises(ValueError, match=r"run 1 \(seed 0\) is episode 1"):
        to_minari("random-v0", run, algorithm_name="random")
    assert left(tmp_path) == []


def test_half_a_dataset_does_not_stay(minari, tmp_path, monkeypatch):
    make = minari.create_dataset_from_buffers

    def fail(*args, **keys):
        make(*args, **keys)
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(minari, "create_dataset_from_buffers", fail)
        with pytest.raises(OSError, match="no space left"):
            to_minari("group/random-v0", a_run(), algorithm_name="random")
    assert left(tmp_path) == []
    to_minari("group/random-v0", a_run(), algorithm_name="random")
