"""The official checkers on every id and scenario, and every way to make an environment.

A warning is an error here (see ``filterwarnings`` in pyproject.toml). What these checkers do not
look at, whole episodes above all, is in test_determinism.py.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pettingzoo
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, seed_test

import distmllm_env
from distmllm_env import Scenario, Status
from distmllm_env.envs.registration import ENTRY_POINTS
from distmllm_env.envs.sequential import ORDERS

IDS = tuple(ENTRY_POINTS)
SCENARIOS = Scenario.names()
SLOTS = 3


def of_registry() -> dict[str, Any]:
    """All specs that this package registered, by registry and name."""
    found = {("gymnasium", name): gym.registry[name] for name in IDS}
    for kind in ("aec", "parallel"):
        for name, spec in getattr(pettingzoo, f"{kind}_registry", {}).items():
            if name.startswith("distmllm"):
                found[kind, name] = spec
    return found


def test_which_ids() -> None:
    assert set(IDS) == {"DistMLLM-v0", "DistMLLM-Provider-v0"}
    assert all(name in gym.registry for name in IDS)
    assert set(SCENARIOS) >= {"toy", "paper", "crowd2", "slack", "scarce", "testbed"}


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("name", IDS)
class TestGymnasium:
    def test_gymnasium_checker(self, name: str, scenario: str) -> None:
        env = gym.make(name, scenario=scenario, slots=SLOTS)
        check_env(env.unwrapped, skip_render_check=True)

    def test_stable_baselines3_checker(self, name: str, scenario: str) -> None:
        checker = pytest.importorskip("stable_baselines3.common.env_checker")
        checker.check_env(gym.make(name, scenario=scenario, slots=SLOTS).unwrapped)

    def test_an_episode_behind_the_passive_checker(self, name: str, scenario: str) -> None:
        env = gym.make(name, scenario=scenario, slots=SLOTS)
        env.action_space.seed(0)
        _, info = env.reset(seed=0)
        flags = []
        for _ in range(SLOTS):
            action = env.action_space.sample(mask=tuple(info["action_mask"]))
            _, _, terminated, truncated, info = env.step(action)
            assert Status.INFEASIBLE not in info["status"]
            flags.append((terminated, truncated))
        assert flags == [(False, False)] * (SLOTS - 1) + [(False, True)]


@pytest.mark.parametrize("name", IDS)
def test_info_leaves_the_key_of_episode_statistics_free(name: str) -> None:
    env = gym.wrappers.RecordEpisodeStatistics(gym.make(name, scenario="toy", slots=SLOTS))
    env.reset(seed=0)
    total = 0.0
    for slot in range(SLOTS):
        _, reward, _, _, info = env.step(np.zeros_like(env.action_space.nvec))
        total += float(reward)
        assert ("episode" in info) == (slot == SLOTS - 1)
    assert info["episode"]["l"] == SLOTS
    assert info["episode"]["r"] == pytest.approx(total)


@pytest.mark.parametrize("name", IDS)
def test_gymnasium_checker_with_every_render_mode(name: str) -> None:
    check_env(gym.make(name, scenario="toy", slots=SLOTS).unwrapped)


@pytest.mark.parametrize("scenario", SCENARIOS)
class TestPettingZoo:
    def test_parallel(self, scenario: str) -> None:
        make = partial(distmllm_env.parallel_env, scenario=scenario, slots=SLOTS)
        env = make()
        parallel_api_test(env, num_cycles=SLOTS + 1)
        assert env.agents == []
        parallel_seed_test(make, num_cycles=SLOTS + 1)

    @pytest.mark.parametrize("order", ORDERS)
    def test_sequential(self, scenario: str, order: str) -> None:
        make = partial(distmllm_env.env, scenario=scenario, slots=SLOTS, order=order)
        # The tests count turns in rounds of all agents: two rounds a slot, one to say goodbye.
        api_test(make(), num_cycles=2 * SLOTS + 1)
        seed_test(make, num_cycles=2 * SLOTS + 1)

    def test_spaces_are_the_same_objects_on_each_call(self, scenario: str) -> None:
        for make in (distmllm_env.parallel_env, distmllm_env.env):
            env = make(scenario=scenario)
            seen = []
            for agent in env.possible_agents:
                for space in (env.observation_space, env.action_space):
                    assert space(agent) is space(agent)
                    seen.append(id(space(agent)))
            assert len(set(seen)) == len(seen), "two agents share a space, and so its seed"


class TestMake:
    def test_by_module_name_in_a_fresh_interpreter(self, tmp_path: Path) -> None:
        code = (
            "import gymnasium, sys\n"
            f"for name in {IDS}:\n"
            "    env = gymnasium.make('distmllm_env:' + name, scenario='toy')\n"
            "    env.reset(seed=0)\n"
            "    print(env.spec.id)\n"
        )
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == list(IDS)

    @pytest.mark.parametrize("name", IDS)
    def test_in_a_spawned_worker(self, name: str) -> None:
        make = partial(gym.make, f"distmllm_env:{name}", scenario="toy", slots=SLOTS)
        envs = AsyncVectorEnv([make], context="spawn")
        try:
            action = np.zeros_like(envs.single_action_space.nvec)
            there = envs.reset(seed=[7])[0], *envs.step(action[None])[:2]
        finally:
            envs.close()
        env = make()
        here = env.reset(seed=7)[0], *env.step(action)[:2]
        for a, b in zip(there, here, strict=True):
            np.testing.assert_array_equal(a[0], b)

    @pytest.mark.parametrize("name", IDS)
    def test_make_vec(self, name: str) -> None:
        seeds = [0, 5, 9]
        envs = gym.make_vec(
            name, num_envs=3, vectorization_mode="sync", scenario="crowd2", slots=SLOTS
        )
        singles = [gym.make(name, scenario="crowd2", slots=SLOTS) for _ in seeds]
        envs.action_space.seed(0)
        observations, infos = envs.reset(seed=seeds)
        assert infos["seed"].tolist() == seeds
        expected = [env.reset(seed=seed)[0] for env, seed in zip(singles, seeds, strict=True)]
        np.testing.assert_array_equal(observations, expected)
        for slot in range(SLOTS):
            actions = envs.action_space.sample()
            observations, rewards, _, truncations, infos = envs.step(actions)
            answers = [env.step(a) for env, a in zip(singles, actions, strict=True)]
            np.testing.assert_array_equal(observations, [answer[0] for answer in answers])
            np.testing.assert_array_equal(rewards, [answer[1] for answer in answers])
            assert truncations.tolist() == [slot == SLOTS - 1] * 3
        observations, _, _, truncations, infos = envs.step(actions)  # starts the next episode
        assert infos["episode_index"].tolist() == [1, 1, 1]
        assert not truncations.any()
        np.testing.assert_array_equal(observations, [env.reset()[0] for env in singles])
        envs.close()

    @pytest.mark.parametrize("name", IDS)
    def test_spec_through_json(self, name: str) -> None:
        env = gym.make(name, scenario="crowd2", slots=SLOTS, overrides={"noise.std": 0.2})
        assert env.spec is not None
        spec = EnvSpec.from_json(env.spec.to_json())
        assert spec == env.spec
        again = gym.make(spec)
        assert again.unwrapped.scenario == env.unwrapped.scenario
        np.testing.assert_array_equal(again.reset(seed=1)[0], env.reset(seed=1)[0])

    @pytest.mark.skipif(not hasattr(pettingzoo, "make"), reason="PettingZoo before 1.27")
    @pytest.mark.parametrize("kind", ["aec", "parallel"])
    def test_pettingzoo_make(self, kind: str) -> None:
        env = pettingzoo.make(kind, "distmllm/DistMLLM-v0", scenario="toy", slots=SLOTS)
        direct = {"aec": distmllm_env.env, "parallel": distmllm_env.parallel_env}[kind]
        assert type(env) is type(direct(scenario="toy"))
        assert env.scenario == Scenario.load("toy", slots=SLOTS)

    def test_registering_again_is_silent_and_changes_nothing(self) -> None:
        before = of_registry()
        distmllm_env.register_envs()
        distmllm_env.register_envs()
        after = of_registry()
        assert {key: id(spec) for key, spec in after.items()} == {
            key: id(spec) for key, spec in before.items()
        }
        assert len(before) == (4 if hasattr(pettingzoo, "register") else 2)

    def test_raw_env_is_env(self) -> None:
        assert distmllm_env.raw_env is distmllm_env.env


# On the testbed some models do not fit on some devices; not every provider has such a model.
PICKY = {"DistMLLM-v0": {}, "DistMLLM-Provider-v0": {"provider": 5}}


@pytest.mark.parametrize("name", IDS)
class TestMaskablePPO:
    def test_masks(self, name: str) -> None:
        env = gym.make(name, scenario="testbed", slots=SLOTS, **PICKY[name])
        _, info = env.reset(seed=0)
        masks = env.unwrapped.action_masks()
        assert masks.dtype == bool
        assert masks.shape == (int(env.action_space.nvec.sum()),)
        np.testing.assert_array_equal(masks, info["action_mask"].ravel())
        assert info["action_mask"].dtype == np.int8
        assert not masks.all()

    def test_learns_for_64_steps_and_then_keeps_to_the_mask(self, name: str) -> None:
        sb3_contrib = pytest.importorskip("sb3_contrib")
        from stable_baselines3.common.logger import Logger

        env = gym.make(name, scenario="testbed", slots=10, **PICKY[name])
        model = sb3_contrib.MaskablePPO(
            "MlpPolicy", env, n_steps=32, batch_size=32, n_epochs=1, seed=0, device="cpu"
        )
        model.set_logger(Logger(folder=None, output_formats=[]))  # leaves no folder behind
        model.learn(64)
        assert model.num_timesteps == 64
        assert len(model.ep_info_buffer) == 6  # whole episodes of 10 slots in 64 steps
        assert {episode["l"] for episode in model.ep_info_buffer} == {10}
        observation, _ = env.reset(seed=0)
        for _ in range(10):
            masks = env.unwrapped.action_masks()
            action, _ = model.predict(observation, action_masks=masks)
            observation, _, _, _, info = env.step(action)
            assert Status.INFEASIBLE not in info["status"]
