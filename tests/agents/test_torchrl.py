"""TorchRL wraps the environments: its own checker, and the same numbers as without it."""

import gymnasium as gym
import numpy as np
import pytest

import distmllm_env
from distmllm_env import Status

pytest.importorskip("torchrl", reason="TorchRL is not installed")

import torch
from tensordict.nn import TensorDictModule
from torchrl.envs import GymWrapper, PettingZooWrapper
from torchrl.envs.utils import check_env_specs
from torchrl.modules import MaskedCategorical, MultiAgentMLP, ProbabilisticActor

pytestmark = [
    pytest.mark.filterwarnings("ignore:PettingZoo in TorchRL is tested using version == 1.24.3"),
    # It looks at the action mask, which holds for the run and is read-only, and writes nothing.
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable"),
]

SLOTS = 20
STEPS = 30  # one and a half episodes


def parallel(scenario="paper", **keys):
    env = distmllm_env.parallel_env(scenario=scenario, slots=SLOTS)
    return env, PettingZooWrapper(env=env, **keys)


def played(wrapped, policy=None):
    """A rollout of one and a half episodes, the first of them number 1 of seed 7.

    TorchRL sets a seed by a reset, which is episode 0, and resets again before a rollout.
    """
    torch.manual_seed(0)
    wrapped.set_seed(7)
    return wrapped.rollout(STEPS, policy, break_when_any_done=False)


@pytest.mark.parametrize(
    "keys",
    [{}, {"use_mask": True}, {"return_state": True}, {"categorical_actions": False}],
    ids=lambda keys: "-".join(keys) or "plain",
)
def test_checker_parallel(keys):
    check_env_specs(parallel(**keys)[1])


def test_checker_sequential():
    env = distmllm_env.env(scenario="paper", slots=SLOTS)
    check_env_specs(PettingZooWrapper(env=env, use_mask=True))


@pytest.mark.parametrize("name", ["DistMLLM-v0", "DistMLLM-Provider-v0"])
def test_checker_gymnasium(name):
    check_env_specs(GymWrapper(gym.make(name)))


def test_parallel_rollout_equals_the_environment():
    record = played(parallel(return_state=True)[1])
    env = distmllm_env.parallel_env(scenario="paper", slots=SLOTS)
    env.reset(seed=7)
    observations, _ = env.reset()
    for t in range(STEPS):
        then, now = record[t], record[t]["next"]
        for m, agent in enumerate(env.possible_agents):
            np.testing.assert_array_equal(then["provider", "observation"][m], observations[agent])
        np.testing.assert_array_equal(then["state"], env.state())
        actions = dict(zip(env.agents, then["provider", "action"].numpy(), strict=True))
        observations, rewards, _, truncations, infos = env.step(actions)
        for m, agent in enumerate(env.possible_agents):
            np.testing.assert_array_equal(now["provider", "observation"][m], observations[agent])
            assert now["provider", "reward"][m].item() == np.float32(rewards[agent])
            assert now["provider", "truncated"][m].item() == truncations[agent]
            assert not now["provider", "terminated"][m].item()
            profit = infos[agent]["profit"].astype(np.float32)
            np.testing.assert_array_equal(now["provider", "info", "profit"][m], profit)
        assert now["done"].item() == (t == SLOTS - 1)
        if not env.agents:
            observations, _ = env.reset()


@pytest.mark.parametrize("name", ["DistMLLM-v0", "DistMLLM-Provider-v0"])
def test_gymnasium_rollout_equals_the_environment(name):
    record = played(GymWrapper(gym.make(name, slots=SLOTS), categorical_action_encoding=True))
    env = gym.make(name, slots=SLOTS)
    env.reset(seed=7)
    observation, _ = env.reset()
    for t in range(STEPS):
        then, now = record[t], record[t]["next"]
        np.testing.assert_array_equal(then["observation"], observation)
        observation, reward, _, truncated, _ = env.step(then["action"].numpy())
        np.testing.assert_array_equal(now["observation"], observation)
        assert now["reward"].item() == np.float32(reward)
        assert now["truncated"].item() == truncated == (t == SLOTS - 1)
        if truncated:
            observation, _ = env.reset()


def test_random_actions_keep_to_the_mask():
    # On the testbed some models do not fit on some devices.
    record = played(parallel("testbed")[1])
    mask = record["provider", "action_mask"]
    assert not mask.all()
    assert mask.gather(-1, record["provider", "action"][..., None]).all()
    assert not (record["next", "provider", "info", "status"] == Status.INFEASIBLE).any()


def test_one_network_for_all_providers_learns_a_step():
    env, wrapped = parallel("testbed")
    views = env.observation_space("provider_0").shape[0]
    choices = env.scenario.workers + 1
    network = MultiAgentMLP(
        views, 2 * choices, len(env.possible_agents), centralized=False, share_params=True, depth=1
    )
    logits = torch.nn.Sequential(network, torch.nn.Unflatten(-1, (2, choices)))
    names = {"logits": ("provider", "logits"), "mask": ("provider", "action_mask")}
    policy = ProbabilisticActor(
        TensorDictModule(logits, [("provider", "observation")], [names["logits"]]),
        in_keys=names,
        out_keys=[("provider", "action")],
        distribution_class=MaskedCategorical,
        return_log_prob=True,
        log_prob_key=("provider", "log_prob"),
    )
    record = played(wrapped, policy)
    assert not (record["next", "provider", "info", "status"] == Status.INFEASIBLE).any()
    chance = policy.get_dist(record).log_prob(record["provider", "action"])
    loss = -(chance * record["next", "provider", "reward"]).mean()
    loss.backward()
    slopes = [parameter.grad for parameter in network.parameters()]
    assert all(torch.isfinite(slope).all() for slope in slopes)
    assert any(slope.abs().sum() > 0 for slope in slopes)
