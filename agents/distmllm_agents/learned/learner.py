"""A Stable-Baselines3 model at work on an environment, which can be put down and taken up again."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.dqn.policies import DQNPolicy

from distmllm_agents.learned.equivariant import EquivariantPolicy
from distmllm_agents.learned.randomness import get_random_state, set_random_state
from distmllm_agents.learned.settings import Settings
from distmllm_agents.learned.vec_env import RowsEnv
from distmllm_env import Scenario, schema
from distmllm_env.equations import Array
from distmllm_env.errors import unknown_name

CLASSES: dict[str, tuple[type[BaseAlgorithm], type[BasePolicy]]] = {
    "ppo": (PPO, ActorCriticPolicy),
    "a2c": (A2C, ActorCriticPolicy),
    "dqn": (DQN, DQNPolicy),
    "maskable_ppo": (MaskablePPO, MaskableActorCriticPolicy),
}

_OURS = (
    "policy", "env", "learning_rate", "seed", "device", "policy_kwargs", "tensorboard_log",
    "_init_setup_model",
)  # fmt: skip


def policy_of(settings: Settings, scenario: Scenario) -> tuple[type[BasePolicy], dict[str, Any]]:
    """Return the class of the network's policy and its arguments beyond the spaces."""
    if settings.network == "mlp":
        return CLASSES[settings.algo][1], {"net_arch": list(settings.layers)}
    return EquivariantPolicy, {
        "width": settings.width,
        "depth": settings.depth,
        "per_stage": scenario.market.capacity == "per_stage",
        "soft_capacity": scenario.market.overload == "share",
    }


class Learner:
    """One model and its environment.

    Args:
        settings: How to train.
        env: What it plays.
        seed: Of weights and of all that the model draws.
        logger: Where Stable-Baselines3 writes its numbers.

    Attributes:
        model: The Stable-Baselines3 model.
        random: State of the random numbers when it was built or restored.

    Raises:
        ValueError: The algorithm does not know an argument, or refuses its value.
    """

    def __init__(self, settings: Settings, env: RowsEnv, seed: int, logger: Logger) -> None:
        algorithm, _ = CLASSES[settings.algo]
        known = inspect.signature(algorithm).parameters
        for key, value in settings.algorithm.items():
            if key in _OURS or key not in known:
                allowed = [name for name in known if name not in _OURS]
                raise unknown_name(f"argument of {settings.algo} in [algorithm]", key, allowed)
            default = known[key].default
            if type(default) in (int, float, bool):  # None, classes and schedules: who knows
                schema.scalar(type(default), value, f"algorithm.{key}")
        policy, options = policy_of(settings, env.scenario)
        first, last = settings.learning_rate, settings.final_learning_rate
        try:
            self.model = algorithm(
                policy,
                env,
                # Whole rollouts overshoot: less than nothing may be left.
                learning_rate=lambda left: last + (first - last) * max(left, 0.0),
                policy_kwargs=options,
                seed=seed,
                device="cpu",
                **settings.algorithm,
            )
        except (TypeError, ValueError, AssertionError) as error:
            raise ValueError(f"{settings.algo} with {dict(settings.algorithm)}: {error}") from error
        self.model.set_logger(logger)
        self._env = env
        self.random = get_random_state()

    @property
    def rows_played(self) -> int:
        """Number of transitions so far."""
        return self.model.num_timesteps

    def learn(self, rows: int, between: Callable[[], object]) -> None:
        """Train until ``rows`` transitions were played in all.

        Args:
            rows: How far.
            between: Called where no transition is under way: before each rollout.
        """
        left = rows - self.model.num_timesteps
        if left > 0:
            fresh = self.model.num_timesteps == 0
            self.model.learn(left, _Between(between), reset_num_timesteps=fresh)

    def weights(self) -> dict[str, Array]:
        """Return the policy's parameters."""
        return {name: x.numpy().copy() for name, x in self.model.policy.state_dict().items()}

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Return all that is needed to go on from here, between two rollouts: arrays and JSON."""
        model = self.model
        arrays = {f"policy/{name}": table for name, table in self.weights().items()}
        optimizer = model.policy.optimizer.state_dict()
        for i, slots in optimizer["state"].items():
            for name, value in slots.items():
                arrays[f"optimizer/{i}/{name}"] = torch.as_tensor(value).numpy().copy()
        about: dict[str, Any] = {"groups": optimizer["param_groups"]}
        for name, value in get_random_state().items():
            if isinstance(value, np.ndarray):
                arrays[f"random/{name}"] = value
            else:
                about[f"random/{name}"] = value
        about |= {name: int(getattr(model, name)) for name in _COUNTS if hasattr(model, name)}
        about["explore"] = float(getattr(model, "exploration_rate", 0.0))
        about["actions"] = model.action_space.np_random.bit_generator.state
        arrays["earned"], arrays["length"] = self._env.earned, self._env.length
        if model._last_obs is not None:
            arrays["last/view"] = np.asarray(model._last_obs)
            arrays["last/starts"] = np.asarray(model._last_episode_starts)
        if isinstance(model, OffPolicyAlgorithm):
            buffer = model.replay_buffer
            assert buffer is not None
            about |= {"pos": int(buffer.pos), "full": bool(buffer.full)}
            used = buffer.buffer_size if buffer.full else buffer.pos
            arrays |= {f"replay/{name}": getattr(buffer, name)[:used] for name in _REPLAY}
        return arrays, about

    def restore(self, arrays: Mapping[str, Array], about: Mapping[str, Any]) -> None:
        """Be where :meth:`state` was taken.

        Raises:
            ValueError: The state is of another network or algorithm.
            KeyError: Something is missing.
            RuntimeError: Torch refuses it.
        """
        model = self.model
        load_weights(model.policy, _below(arrays, "policy/"))
        slots: dict[int, dict[str, Any]] = {}
        for name, table in _below(arrays, "optimizer/").items():
            i, _, key = name.partition("/")
            slots.setdefault(int(i), {})[key] = torch.from_numpy(table.copy())
        if len({frozenset(own) for own in slots.values()}) > 1:
            raise ValueError("the optimizer does not hold the same of all parameters.")
        groups = about["groups"]
        model.policy.optimizer.load_state_dict({"state": slots, "param_groups": groups})
        for name in _COUNTS:
            if name in about:
                setattr(model, name, about[name])
        if isinstance(model, DQN):
            model.exploration_rate = about["explore"]
        model.action_space.np_random.bit_generator.state = about["actions"]
        self._env.earned[:] = arrays["earned"]
        self._env.length[:] = arrays["length"]
        if "last/view" in arrays:
            model._last_obs = arrays["last/view"].copy()
            model._last_episode_starts = arrays["last/starts"].copy()
        if isinstance(model, OffPolicyAlgorithm):
            buffer = model.replay_buffer
            assert buffer is not None
            buffer.pos, buffer.full = about["pos"], about["full"]
            for name in _REPLAY:
                table = arrays[f"replay/{name}"]
                getattr(buffer, name)[: len(table)] = table
        rest = {k.removeprefix("random/"): v for k, v in about.items() if k[:7] == "random/"}
        set_random_state(_below(arrays, "random/") | rest)
        self.random = get_random_state()


_COUNTS = ("num_timesteps", "_n_updates", "_episode_num", "_n_calls")
_REPLAY = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def load_weights(policy: BasePolicy, weights: Mapping[str, Array]) -> None:
    """Put parameters into a policy.

    Raises:
        ValueError: A name or shape does not fit, or a number is not finite.
    """
    own = policy.state_dict()
    for name, table in weights.items():
        if name not in own:
            raise unknown_name("array of weights", name, own)
        if table.shape != tuple(own[name].shape):
            raise ValueError(
                f"weights {name!r} have shape {table.shape}: {tuple(own[name].shape)} is needed."
            )
        if not np.isfinite(table).all():
            raise ValueError(f"weights {name!r} hold a number that is not finite.")
    missing = [name for name in own if name not in weights]
    if missing:
        raise ValueError(f"weights {missing[0]!r} are missing.")
    policy.load_state_dict({name: torch.from_numpy(t.copy()) for name, t in weights.items()})


def _below(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


class _Between(BaseCallback):
    """Calls a function before each rollout, where no transition is under way."""

    def __init__(self, between: Callable[[], object]) -> None:
        super().__init__()
        self._call = between

    def _on_rollout_start(self) -> None:
        self._call()

    def _on_step(self) -> bool:
        return True
