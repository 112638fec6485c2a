"""Trained networks as policies: the same contract as every scheduler's."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.dqn.policies import DQNPolicy
from torch import Tensor

from distmllm_agents.learned.equivariant import EquivariantPolicy
from distmllm_agents.learned.learner import load_weights, policy_of
from distmllm_agents.learned.randomness import untouched
from distmllm_agents.learned.settings import Settings, make_settings
from distmllm_agents.learned.vec_env import action_space
from distmllm_agents.learned.views import find_view
from distmllm_env import Scenario, schema
from distmllm_env.archive import POLICY, read_archive
from distmllm_env.envs.observation import masks
from distmllm_env.equations import Array
from distmllm_env.errors import unknown_name
from distmllm_env.policy import Feedback, Observation, Problem


class Trained:
    """Plays what was trained, without learning any further.

    All numbers are double, so that a run does not hang on how many others are played beside it.

    Args:
        settings: How it was trained.
        scenario: On what.
        weights: The parameters of its network, or those of each provider's.
        act: ``greedy`` or ``sample``, if other than the settings'.

    Raises:
        ValueError: The weights do not fit the settings, or ``act`` is not allowed.
    """

    name = "trained"
    batched = True
    knows = "rewards"
    pretrained = True

    def __init__(
        self,
        settings: Settings,
        scenario: Scenario,
        weights: list[Mapping[str, Array]],
        act: str | None = None,
    ) -> None:
        if act is not None:
            settings = make_settings(settings.to_dict() | {"act": act})
        self.settings = settings
        self.scenario = scenario
        self._weights = weights
        self._sample = settings.act == "sample"
        self.coordinates = settings.mode == "central"
        # Tell at once what does not fit; an equivariant network fits any size.
        _require_plausible(settings, scenario, weights)
        one = settings.network == "equivariant"
        self._build(*((1, 1) if one else (scenario.providers, scenario.workers)))

    def reset(self, problem: Problem, rng: list[np.random.Generator]) -> None:
        """Begin a run.

        Raises:
            ValueError: The network was trained for another number of providers or workers.
        """
        m, n = problem.providers, problem.workers
        self._require_size(m, n)
        if (m, n) != self._built:
            self._build(m, n)
        self._view = find_view(self.settings.observation)(problem)
        self._masks = torch.from_numpy(masks(problem).astype(bool))
        self._shape = (problem.batch, m, 2)
        self._rng = rng

    def act(self, observation: Observation) -> Array:
        """Run the network and choose, int (B, M, S)."""
        batch, m, _ = self._shape
        with torch.no_grad(), one_thread():
            if self.settings.mode == "central":
                view = self._view.central(observation.slot)
                return self._choose(self._policies[0], view, self._masks).reshape(self._shape)
            views = self._view.providers(observation.slot)
            if self.settings.mode == "shared":
                rows = views.reshape(batch * m, -1)
                rooms = self._masks.reshape(batch * m, 1, *self._masks.shape[2:])
                return self._choose(self._policies[0], rows, rooms).reshape(self._shape)
            each = [
                self._choose(policy, views[:, i], self._masks[:, i : i + 1])
                for i, policy in enumerate(self._policies)
            ]
            return np.stack(each, axis=1)

    def update(self, feedback: Feedback) -> None:
        """Remember the slot."""
        self._view.update(feedback)

    def _choose(self, policy: BasePolicy, view: Array, allowed: Tensor) -> Array:
        """Return choices, (R, tasks), of rows that see ``view``; ``allowed``: (R, ., S, N + 1)."""
        seen = torch.from_numpy(view).double()
        rows, columns = len(seen), allowed.shape[-1]
        if isinstance(policy, DQNPolicy):
            best = policy.q_net.q_net(seen).argmax(1).numpy()
            tasks = allowed[0].numel() // columns
            return np.stack(np.unravel_index(best, (columns,) * tasks), axis=1)
        if isinstance(policy, EquivariantPolicy):
            placement, _ = policy.place(seen)
            noise = self._noise((rows, allowed[0].numel() // columns, columns))
            return placement.draw(noise).numpy()
        assert isinstance(policy, (ActorCriticPolicy, MaskableActorCriticPolicy))
        scores = policy.action_net(policy.mlp_extractor.forward_actor(seen))
        scores = scores.view(rows, -1, columns)
        if self.settings.algo == "maskable_ppo":
            scores = scores.masked_fill(~allowed.reshape(scores.shape), -torch.inf)
        noise = self._noise(tuple(scores.shape))
        return (scores if noise is None else scores + noise).argmax(2).numpy()

    def _noise(self, shape: tuple[int, ...]) -> Tensor | None:
        """Return Gumbel noise that makes the likeliest choice a sample; each run draws its own."""
        if not self._sample:
            return None
        batch = len(self._rng)
        each = (shape[0] // batch, *shape[1:])
        return torch.from_numpy(np.concatenate([rng.gumbel(size=each) for rng in self._rng]))

    def _build(self, m: int, n: int) -> None:
        settings = self.settings
        central = settings.mode == "central"
        cls, options = policy_of(settings, self.scenario)
        space = find_view(settings.observation).space(central, m, n)
        actions = action_space(m if central else 1, n, settings.algo == "dqn")
        self._built = m, n
        self._policies = []
        for weights in self._weights:
            with untouched():  # a new network draws the weights that are replaced at once
                policy = cls(space, actions, lambda _: 0.0, **options)
            load_weights(policy, weights)
            self._policies.append(policy.double().eval())

    def _require_size(self, m: int, n: int) -> None:
        if self.settings.network == "equivariant":
            return
        fits = n == self.scenario.workers
        if self.settings.mode != "shared":
            fits = fits and m == self.scenario.providers
        if not fits:
            raise ValueError(
                f"this network was trained for {self.scenario.providers} providers and "
                f"{self.scenario.workers} workers, not for {m} and {n}: train one of that size, or "
                f"one with network = 'equivariant', which takes any."
            )


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: small networks gain little from more, and lose it on busy cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _require_plausible(
    settings: Settings, scenario: Scenario, weights: list[Mapping[str, Array]]
) -> None:
    """Refuse sizes that the weights cannot be of, before anything of these sizes is made."""
    count = scenario.providers if settings.mode == "independent" else 1
    if len(weights) != count:
        raise ValueError(f"there are weights of {len(weights)} networks: {count} are needed.")
    if settings.network == "equivariant":
        needed = (settings.depth + 2) * settings.width**2
    else:
        tasks = 2 * scenario.providers if settings.mode == "central" else 2
        widths = (*settings.layers, tasks * (scenario.workers + 1))
        needed = widths[-1] + sum(a * b for a, b in pairwise(widths))
    held = min(sum(table.size for table in own.values()) for own in weights)
    if needed > held:
        raise ValueError(f"its network has at least {needed} weights, and {held} are there.")


def load_policy_file(path: str | Path, act: str | None = None) -> Trained:
    """Read a trained policy; nothing in the file is run.

    Args:
        path: What ``distmllm train`` wrote: ``policy.npz``.
        act: ``greedy`` or ``sample``, if other than the policy's own.

    Raises:
        ValueError: The file is no such policy, is damaged, was edited, or does not fit.
    """
    arrays, about, _ = read_archive(Path(path), POLICY)
    try:
        settings = make_settings(about["settings"])
        scenario = schema.build(Scenario, tomllib.loads(about["scenario"]))
        weights: dict[str, dict[str, Array]] = {}
        for name, table in arrays.items():
            network, _, own = name.partition("/")
            weights.setdefault(network, {})[own] = table
        numbers = [str(i) for i in range(len(weights))]
        for network in weights:
            if network not in numbers:
                raise unknown_name("network", network, numbers)
        return Trained(settings, scenario, [weights[i] for i in numbers], act)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
