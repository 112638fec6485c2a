"""One network for any number of providers and workers, and the policy around it.

The network sees :class:`~.views.Statistics` as one token per pair of task and worker and scores
each pair. Layers are exchangeable (Hartford et al., "Deep models of interactions across sets",
ICML 2018): every token hears its own state, the pool over all tasks of its worker, the pool over
all workers of its task, the pool over all, and the same provider's other stage. So renaming
providers or workers renames the scores, and the weights know neither M nor N.

Scores become an allocation task by task, in the order that the view gives: each task draws a worker
from the softmax over those with room left for it, or defers. The network runs once a slot; only the
room changes from task to task, so no allocation overloads a worker, and the probability of an
allocation is a product that training can compute for all tasks at once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor, nn

from distmllm_agents.learned.views import MARKET, PAIR, TASK, WORKER

SLACK = 1e-5
"""A load may exceed a capacity by this share of K: observations are of single precision."""

NEVER = -1e9
"""Score of what may not be chosen; minus infinity would give gradients that are no numbers."""


class Tokens(NamedTuple):
    """A batch of observations taken apart; K = 2M tasks in the order (m0 ENC, m0 LLM, ...).

    Attributes:
        token: All that is known of each pair, (B, K, N, F).
        allowed: Whether the task can ever run there, bool (B, K, N).
        demand: (B, K), in units of the run's K.
        capacity: (B, N), likewise.
        order: Tasks in the order of placing, int (B, K).
    """

    token: Tensor
    allowed: Tensor
    demand: Tensor
    capacity: Tensor
    order: Tensor


class Exchangeable(nn.Module):
    """A layer on (B, K, N, H) that treats all tasks alike and all workers alike."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.own = nn.Linear(width, width)
        self.other_stage = nn.Linear(width, width, bias=False)
        self.by_worker = nn.Linear(2 * width, width, bias=False)
        self.by_task = nn.Linear(2 * width, width, bias=False)
        self.by_market = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus what the layer makes of it."""
        batch, tasks, workers, width = x.shape
        twin = x.view(batch, tasks // 2, 2, workers, width).flip(2).view_as(x)
        y = self.own(x) + self.other_stage(twin)
        y = y + self.by_worker(_pooled(x, 1)) + self.by_task(_pooled(x, 2))
        y = y + self.by_market(x.mean(dim=(1, 2), keepdim=True))
        return x + torch.relu(y)


def _pooled(x: Tensor, dim: int) -> Tensor:
    return torch.cat([x.mean(dim, keepdim=True), x.amax(dim, keepdim=True)], dim=-1)


class PairNetwork(nn.Module):
    """Scores of all pairs and the value of the slot.

    Args:
        providers: M, to take observations apart; no weight hangs on it.
        workers: N, likewise.
        width: Numbers per token.
        depth: Exchangeable layers.
    """

    def __init__(self, providers: int, workers: int, width: int, depth: int) -> None:
        super().__init__()
        self.tasks, self.workers = 2 * providers, workers
        self.embed = nn.Linear(PAIR + TASK + WORKER + MARKET, width)
        self.layers = nn.ModuleList(Exchangeable(width) for _ in range(depth))
        self.score = nn.Linear(width, 1)
        self.defer = nn.Linear(2 * width, 1)
        self.value = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, 1))

    def take_apart(self, view: Tensor) -> Tokens:
        """Split flat observations, (B, D)."""
        batch, k, n = len(view), self.tasks, self.workers
        sizes = [k * n * PAIR, k * TASK, n * WORKER, MARKET]
        pair, task, worker, market = torch.split(view, sizes, dim=1)
        pair, task = pair.view(batch, k, n, PAIR), task.view(batch, k, TASK)
        worker = worker.view(batch, n, WORKER)
        token = torch.cat(
            [
                pair,
                task[:, :, None].expand(-1, -1, n, -1),
                worker[:, None].expand(-1, k, -1, -1),
                market[:, None, None].expand(-1, k, n, -1),
            ],
            dim=-1,
        )
        order = task[..., 4].argsort(dim=1)
        return Tokens(token, pair[..., 6] > 0, task[..., 0], worker[..., 0], order)

    def forward(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Return scores, (B, K, N + 1), the last one for defer, and values, (B, 1)."""
        x = torch.relu(self.embed(tokens.token))
        for layer in self.layers:
            x = layer(x)
        by_task = torch.cat([x.mean(2), x.amax(2)], dim=-1)
        pairs = self.score(x)[..., 0].masked_fill(~tokens.allowed, NEVER)
        scores = torch.cat([pairs, self.defer(by_task)], dim=-1)
        return scores, self.value(torch.cat([x.mean((1, 2)), x.amax((1, 2))], dim=-1))


class Placement:
    """The distribution over allocations that scores make; see the top of the file.

    Args:
        scores: (B, K, N + 1).
        tokens: What they were made from.
        pools: 1, or 2 where each stage has a capacity of its own (A11).
        hard: Whether a worker has no room beyond its capacity (A12).
    """

    def __init__(self, scores: Tensor, tokens: Tokens, pools: int, hard: bool) -> None:
        batch = len(tokens.demand)
        self._order = tokens.order
        self._scores = scores.gather(1, self._order[..., None].expand_as(scores))
        self._demand = tokens.demand.gather(1, self._order)
        # Room of every pool, defer having all the room in the world: (B, pools, N + 1).
        room = tokens.capacity[:, None].expand(-1, pools, -1) + SLACK
        self._room = torch.nn.functional.pad(room, (0, 1), value=torch.inf)
        self._pool = self._order % pools  # ENC is even
        self._hard = hard
        self._row = torch.arange(batch, device=scores.device)

    def draw(self, noise: Tensor | None = None) -> Tensor:
        """Return allocations, int (B, K): the likeliest choice of each task in turn.

        Args:
            noise: Added to the scores, (B, K, N + 1); standard Gumbel noise makes it a sample.
        """
        scores = self._scores if noise is None else self._scores + noise
        room = self._room.clone()
        choices = torch.empty_like(self._order)
        for k in range(choices.shape[1]):
            pool, demand = self._pool[:, k], self._demand[:, k]
            score = scores[:, k]
            if self._hard:
                left = room[self._row, pool]
                score = score.masked_fill(left < demand[:, None], NEVER)
            choice = score.argmax(dim=1)
            room[self._row, pool, choice] -= demand
            choices[:, k] = choice
        return torch.empty_like(choices).scatter_(1, self._order, choices)

    def log_prob(self, choices: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-probability and entropy of allocations, int (B, K): (B,) each.

        The entropy is the sum of that of each task's choice, given the choices before it.
        """
        inside = choices.gather(1, self._order)
        logits = self._scores
        if self._hard:
            placed = torch.nn.functional.one_hot(inside, logits.shape[-1]) * self._demand[..., None]
            used = torch.zeros_like(logits)
            for pool in range(self._room.shape[1]):
                own = (self._pool == pool)[..., None]
                before = (placed * own).cumsum(1) - placed * own
                used = torch.where(own, before, used)
            room = self._room.gather(1, self._pool[..., None].expand_as(logits))
            logits = logits.masked_fill(room - used < self._demand[..., None], NEVER)
        logp = logits.log_softmax(-1)
        entropy = -(logp.exp() * logp).sum((1, 2))
        return logp.gather(2, inside[..., None])[..., 0].sum(1), entropy


class EquivariantPolicy(ActorCriticPolicy):
    """:class:`PairNetwork` as an actor-critic policy of Stable-Baselines3.

    Args:
        observation_space: That of :class:`~.views.Statistics`, central.
        action_space: ``MultiDiscrete([N + 1] * 2M)``.
        lr_schedule: Learning rate by progress.
        per_stage: Whether each stage has a capacity pool of its own.
        soft_capacity: Whether overloaded workers slow down instead of dropping tasks.
        width: Numbers per token.
        depth: Exchangeable layers.
        **options: Of ``ActorCriticPolicy``.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.MultiDiscrete,
        lr_schedule: Schedule,
        *,
        per_stage: bool = False,
        soft_capacity: bool = False,
        width: int = 32,
        depth: int = 3,
        **options: Any,
    ) -> None:
        self._sizes = (len(action_space.nvec) // 2, int(action_space.nvec[0]) - 1, width, depth)
        self._pools, self._hard = 2 if per_stage else 1, not soft_capacity
        super().__init__(observation_space, action_space, lr_schedule, **options)

    def _build(self, lr_schedule: Schedule) -> None:
        self.network = PairNetwork(*self._sizes)
        options: dict[str, Any] = {"lr": lr_schedule(1), **self.optimizer_kwargs}
        self.optimizer = self.optimizer_class(self.parameters(), **options)

    def place(self, obs: Tensor) -> tuple[Placement, Tensor]:
        """Return the distribution over allocations and the values, (B, 1)."""
        tokens = self.network.take_apart(obs)
        scores, values = self.network(tokens)
        return Placement(scores, tokens, self._pools, self._hard), values

    def forward(self, obs: Tensor, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Return actions (B, 2M), values (B, 1) and log-probabilities (B,)."""
        placement, values = self.place(obs)
        choices = placement.draw(None if deterministic else self.gumbel(len(obs), obs))
        return choices, values, placement.log_prob(choices)[0]

    def evaluate_actions(
        self, obs: PyTorchObs, actions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return values, log-probabilities and entropies of actions that were taken."""
        assert isinstance(obs, Tensor)
        placement, values = self.place(obs)
        return values, *placement.log_prob(actions.long())

    def predict_values(self, obs: PyTorchObs) -> Tensor:
        """Return values, (B, 1)."""
        assert isinstance(obs, Tensor)
        return self.place(obs)[1]

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        assert isinstance(observation, Tensor)
        placement, _ = self.place(observation)
        noise = None if deterministic else self.gumbel(len(observation), observation)
        return placement.draw(noise)

    def gumbel(self, batch: int, like: Tensor) -> Tensor:
        """Return standard Gumbel noise, (B, K, N + 1)."""
        shape = (batch, self.network.tasks, self.network.workers + 1)
        return -torch.empty(shape, dtype=like.dtype, device=like.device).exponential_().log()
