"""The equivariant network and its distribution over allocations, against slow plain Python."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import MultiDiscrete
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distmllm_agents.learned.equivariant import (
    NEVER,
    SLACK,
    EquivariantPolicy,
    Exchangeable,
    PairNetwork,
    Placement,
    Tokens,
)
from distmllm_agents.learned.views import MARKET, PAIR, TASK, WORKER, Statistics
from distmllm_env import Scenario, draw_world
from distmllm_env.policy import Feedback, Problem, make_problem

MANY = settings(deadline=None, derandomize=True, max_examples=80)

# All sums of these numbers are exact, so that the order of adding them does not show.
DEMAND, CAPACITY, DATA = (3, 1, 2, 1), (2, 4, 3), (0.5e6, 1.5e6, 1.0e6, 1.25e6)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small networks gain nothing from many, and tests run side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_scenario(m: int = 4, n: int = 3, **market: Any) -> Scenario:
    keys: dict[str, Any] = {
        "demand": list(DEMAND[:m]),
        "capacity": list(CAPACITY[:n]),
        "data_bytes": list(DATA[:m]),
        "price": [1.0, 0.5, 2.0][:n],
        "tensor_bytes": [1e6, 2e6, 1e6, 4e6][:m],
        "market.transfer_cost_per_mb": 0.25,
        **{f"market.{key}": value for key, value in market.items()},
    }
    return Scenario.load("paper", keys, providers=m, workers=n)


def make_history(m: int, n: int, batch: int, slots: int, seed: int) -> list[Feedback]:
    """Slots in which anything may have happened."""
    rng = np.random.default_rng(seed)
    history = []
    for _ in range(slots):
        allocation = rng.integers(0, n + 1, (batch, m, 2))
        admitted = (allocation < n) & (rng.random(allocation.shape) < 0.7)
        profit = np.where(admitted, rng.integers(-64, 256, allocation.shape) / 64, 0.0)
        history.append(Feedback(allocation, admitted, profit, np.zeros((batch, n))))
    return history


def observed(problem: Problem, history: list[Feedback]) -> Tensor:
    view = Statistics(problem)
    for feedback in history:
        view.update(feedback)
    return torch.from_numpy(view.central(len(history)))


def permuted_problem(problem: Problem, p: list[int], w: list[int]) -> Problem:
    """Provider i is the old provider p[i], worker j the old worker w[j]."""
    by_provider = ("demand", "data_bytes", "tensor_bytes", "transfer_cost")
    return replace(
        problem,
        feasible=problem.feasible[:, :, p][..., w],
        **{name: getattr(problem, name)[:, p] for name in by_provider},
        **{name: getattr(problem, name)[:, w] for name in ("capacity", "price")},
    )


def permuted_feedback(feedback: Feedback, p: list[int], w: list[int]) -> Feedback:
    new_number = np.array([*np.argsort(w), len(w)])  # defer stays defer
    return Feedback(
        new_number[feedback.allocation[:, p]],
        feedback.admitted[:, p],
        feedback.profit[:, p],
        feedback.load[:, w],
    )


def make_network(m: int, n: int, seed: int = 0, width: int = 6, depth: int = 2) -> PairNetwork:
    torch.manual_seed(seed)
    network = PairNetwork(m, n, width, depth)
    with torch.no_grad():
        network.score.weight *= 5
        network.defer.weight *= 5
    return network


def make_policy(
    m: int, n: int, seed: int = 0, loud: float = 5.0, **options: Any
) -> EquivariantPolicy:
    torch.manual_seed(seed)
    space, actions = Statistics.space(True, m, n), MultiDiscrete([n + 1] * 2 * m)
    policy = EquivariantPolicy(space, actions, lambda left: 0.25 * left, **options)
    with torch.no_grad():
        policy.network.score.weight *= loud
        policy.network.defer.weight *= loud
    return policy


class TestNetwork:
    @MANY
    @given(
        p=st.permutations(range(4)),
        w=st.permutations(range(3)),
        slots=st.integers(0, 4),
        seed=st.integers(0, 9),
    )
    def test_renaming_renames_the_scores_and_keeps_the_value(
        self, p: list[int], w: list[int], slots: int, seed: int
    ) -> None:
        problem = make_problem(draw_world(make_scenario(), [0, 1, 2]))
        assert not problem.feasible.all()
        history = make_history(4, 3, 3, slots, seed)
        network = make_network(4, 3, seed).double()
        usual = network.take_apart(observed(problem, history).double())
        renamed = network.take_apart(
            observed(
                permuted_problem(problem, p, w), [permuted_feedback(f, p, w) for f in history]
            ).double()
        )
        with torch.no_grad():
            scores, value = network(usual)
            others, other_value = network(renamed)
        columns = [*w, 3]
        expected = scores.view(3, 4, 2, 4)[:, p][..., columns].reshape(others.shape)
        torch.testing.assert_close(others, expected, rtol=0, atol=1e-9)
        torch.testing.assert_close(other_value, value, rtol=0, atol=1e-9)
        drawn = Placement(scores, usual, 1, True).draw().view(3, 4, 2)
        again = Placement(others, renamed, 1, True).draw().view(3, 4, 2)
        assert torch.equal(torch.tensor(columns)[again], drawn[:, p])

    def test_scores_and_values_differ_at_all(self) -> None:
        problem = make_problem(draw_world(make_scenario(), [0, 1, 2]))
        network = make_network(4, 3)
        with torch.no_grad():
            tokens = network.take_apart(observed(problem, make_history(4, 3, 3, 5, 0)))
            scores, value = network(tokens)
        inside = scores[..., :-1][tokens.allowed]
        assert inside.unique().numel() == inside.numel()
        assert scores[..., -1].unique().numel() == 24
        assert value.unique().numel() == 3
        assert value.shape == (3, 1)

    def test_the_same_weights_fit_any_size(self) -> None:
        weights = make_network(2, 2).state_dict()
        for m, n in ((1, 1), (1, 3), (4, 1), (4, 3)):
            network = PairNetwork(m, n, 6, 2)
            network.load_state_dict(weights)
            problem = make_problem(draw_world(make_scenario(m, 3), [0]))
            part = replace(
                problem,
                workers=n,
                capacity=problem.capacity[:, :n],
                price=problem.price[:, :n],
                feasible=problem.feasible[..., :n],
            )
            with torch.no_grad():
                scores, value = network(network.take_apart(observed(part, [])))
            assert scores.shape == (1, 2 * m, n + 1)
            assert torch.isfinite(scores).all()
            assert torch.isfinite(value).all()

    def test_observations_are_taken_apart_as_they_are_made(self) -> None:
        problem = make_problem(draw_world(make_scenario(), [0, 1]))
        history = make_history(4, 3, 2, 6, 3)
        tokens = make_network(4, 3).take_apart(observed(problem, history))
        # K = 4, the largest capacity; both stages of a provider have its demand.
        assert tokens.demand.tolist() == [[0.75, 0.75, 0.25, 0.25, 0.5, 0.5, 0.25, 0.25]] * 2
        assert tokens.capacity.tolist() == [[0.5, 1.0, 0.75]] * 2
        # Provider 0, demand 3, does not fit worker 0, capacity 2.
        assert tokens.allowed.tolist() == [[[False, True, True]] * 2 + [[True] * 3] * 6] * 2
        # Demand 3, 2, 1, 1; LLM before ENC; provider 1 has more data than provider 3.
        assert tokens.order.tolist() == [[1, 0, 5, 4, 3, 7, 2, 6]] * 2
        assert tokens.token.shape == (2, 8, 3, PAIR + TASK + WORKER + MARKET)
        chosen = torch.from_numpy(history[-1].allocation.reshape(2, 8))
        for n in range(3):
            assert torch.equal(tokens.token[:, :, n, 5] == 1, chosen == n)
        of_task, of_worker, of_market = PAIR, PAIR + TASK, PAIR + TASK + WORKER
        assert torch.equal(tokens.token[..., of_task], tokens.demand[:, :, None].expand(2, 8, 3))
        assert (tokens.token[:, 0::2, :, of_task + 2] == 0).all()  # ENC
        assert (tokens.token[:, 1::2, :, of_task + 2] == 1).all()  # LLM
        assert torch.equal(tokens.token[..., of_worker], tokens.capacity[:, None].expand(2, 8, 3))
        torch.testing.assert_close(  # 14 of 9
            tokens.token[..., of_market + 1], torch.full((2, 8, 3), 14 / 9)
        )

    def test_what_is_not_allowed_scores_never(self) -> None:
        problem = make_problem(draw_world(make_scenario(), [0, 1]))
        network = make_network(4, 3)
        tokens = network.take_apart(observed(problem, []))
        with torch.no_grad():
            scores, _ = network(tokens)
        assert (scores[..., :-1][~tokens.allowed] == NEVER).all()
        assert (scores[..., :-1][tokens.allowed].abs() < 1e3).all()
        assert (scores[..., -1].abs() < 1e3).all()

    @pytest.mark.parametrize("path", ["own", "other_stage", "by_worker", "by_task", "by_market"])
    def test_whom_a_token_hears(self, path: str) -> None:
        """With all other paths cut, a change of one token is heard where the path leads."""
        torch.manual_seed(0)
        layer = Exchangeable(4)
        with torch.no_grad():
            for name, weight in layer.named_parameters():
                if not name.startswith(path):
                    weight.zero_()
            layer.own.bias.fill_(100.0)  # beyond the kink of the ReLU
            x = torch.randn(1, 6, 3, 4)
            changed = x.clone()
            changed[0, 3, 1] += 0.5  # LLM of provider 1 on worker 1
            heard = ((layer(changed) - changed) - (layer(x) - x)).abs().amax(-1)[0] > 1e-5
        expected = torch.zeros(6, 3, dtype=torch.bool)
        where: Any = {
            "own": (3, 1),
            "other_stage": (2, 1),
            "by_worker": (slice(None), 1),
            "by_task": (3, slice(None)),
            "by_market": (slice(None), slice(None)),
        }[path]
        expected[where] = True
        assert torch.equal(heard, expected)


def make_tokens(
    demand: list[list[float]],
    capacity: list[list[float]],
    order: list[list[int]] | None = None,
    allowed: Tensor | None = None,
    dtype: torch.dtype = torch.float64,
) -> Tokens:
    batch, tasks, workers = len(demand), len(demand[0]), len(capacity[0])
    if allowed is None:
        allowed = torch.ones(batch, tasks, workers, dtype=torch.bool)
    return Tokens(
        torch.zeros(0),
        allowed,
        torch.tensor(demand, dtype=dtype),
        torch.tensor(capacity, dtype=dtype),
        torch.tensor(order or [list(range(tasks))] * batch),
    )


@st.composite
def problems(draw: st.DrawFn) -> tuple[Tensor, Tokens]:
    """Scores, demands, capacities, what is allowed, and an order; a batch of two."""
    m, n = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    size = st.integers(0, 8).map(lambda eighths: eighths / 8)
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    tables = [draw(st.lists(size, min_size=k, max_size=k)) for k in (2 * m, 2 * m, n, n)]
    allowed = torch.from_numpy(rng.random((2, 2 * m, n)) < draw(st.sampled_from([0.3, 0.8, 1.0])))
    order = [rng.permutation(2 * m).tolist() for _ in range(2)]
    tokens = make_tokens(tables[:2], tables[2:], order, allowed)
    scores = torch.from_numpy(rng.normal(0, draw(st.sampled_from([0.1, 3.0])), (2, 2 * m, n + 1)))
    scores[..., :-1] = scores[..., :-1].masked_fill(~allowed, NEVER)
    return scores, tokens


def steps(
    scores: Tensor, tokens: Tokens, b: int, choices: list[int], pools: int, hard: bool
) -> list[list[float]]:
    """Probabilities that each task, in order, has for each choice, given the choices before it."""
    workers = tokens.capacity.shape[1]
    room = {(q, n): float(tokens.capacity[b, n]) for q in range(pools) for n in range(workers)}
    found = []
    for task in tokens.order[b].tolist():
        pool, demand = task % 2 if pools == 2 else 0, float(tokens.demand[b, task])
        logits = [float(s) for s in scores[b, task]]
        weights = [
            math.exp(logits[n])
            if n == workers
            or (logits[n] > NEVER / 2 and not (hard and demand > room[pool, n] + SLACK))
            else 0.0
            for n in range(workers + 1)
        ]
        found.append([weight / sum(weights) for weight in weights])
        if choices[task] < workers:
            room[pool, choices[task]] -= demand
    return found


def slow_log_prob(probabilities: list[list[float]], order: list[int], choices: list[int]) -> float:
    each = [of[choices[task]] for of, task in zip(probabilities, order, strict=True)]
    return sum(math.log(p) if p > 0 else -math.inf for p in each)


def gumbel(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).gumbel(size=shape))


def loads(tokens: Tokens, choices: Tensor, pools: int) -> np.ndarray:
    """Demand on each worker, by pool: (B, pools, N)."""
    batch, workers = tokens.capacity.shape
    load = np.zeros((batch, pools, workers))
    for b, row in enumerate(choices.tolist()):
        for task, worker in enumerate(row):
            if worker < workers:
                load[b, task % 2 if pools == 2 else 0, worker] += float(tokens.demand[b, task])
    return load


class TestPlacement:
    @MANY
    @given(problems(), st.sampled_from([1, 2]), st.integers(0, 10**6))
    def test_nobody_is_overloaded_or_placed_where_it_may_not_be(
        self, problem: tuple[Tensor, Tokens], pools: int, seed: int
    ) -> None:
        scores, tokens = problem
        placement = Placement(scores, tokens, pools, True)
        for noise in (None, gumbel(scores.shape, seed), 100 * gumbel(scores.shape, seed)):
            choices = placement.draw(noise)
            assert (loads(tokens, choices, pools) <= tokens.capacity.numpy()[:, None]).all()
            may = torch.nn.functional.pad(tokens.allowed, (0, 1), value=True)
            assert may.gather(2, choices[..., None]).all()

    @MANY
    @given(
        st.lists(st.floats(0.01, 1), min_size=8, max_size=8),
        st.lists(st.floats(0.01, 1), min_size=2, max_size=2),
        st.sampled_from([1, 2]),
        st.integers(0, 10**6),
    )
    def test_nobody_is_overloaded_in_single_precision(
        self, demand: list[float], capacity: list[float], pools: int, seed: int
    ) -> None:
        tokens = make_tokens([demand], [capacity], dtype=torch.float32)
        scores = gumbel((1, 8, 3), seed).float()
        scores[..., -1] -= 10  # as many as possible
        choices = Placement(scores, tokens, pools, True).draw()
        load = loads(tokens, choices, pools)
        assert (load <= tokens.capacity.numpy() + SLACK + 1e-6).all()
        # Who defers although the worker it likes best is free would be a waste.
        assert (load > 0).any() or min(demand) > max(capacity)

    def test_two_pools_hold_twice_as_much(self) -> None:
        tokens = make_tokens([[1.0, 1.0, 1.0, 1.0]], [[1.0]])
        scores = torch.tensor([[[5.0, 0.0]] * 4], dtype=torch.float64)
        assert Placement(scores, tokens, 1, True).draw().tolist() == [[0, 1, 1, 1]]
        assert Placement(scores, tokens, 2, True).draw().tolist() == [[0, 0, 1, 1]]
        tokens = tokens._replace(order=torch.tensor([[3, 1, 2, 0]]))
        assert Placement(scores, tokens, 1, True).draw().tolist() == [[1, 1, 1, 0]]
        assert Placement(scores, tokens, 2, True).draw().tolist() == [[1, 1, 0, 0]]

    @pytest.mark.parametrize("pools", [1, 2])
    def test_soft_capacity_has_no_limit(self, pools: int) -> None:
        tokens = make_tokens([[1.0] * 6], [[0.5, 1.0]])
        scores = torch.tensor([[[9.0, 0.0, 0.0]] * 6], dtype=torch.float64)
        placement = Placement(scores, tokens, pools, False)
        assert placement.draw().tolist() == [[0] * 6]
        log_prob, _ = placement.log_prob(torch.zeros(1, 6, dtype=torch.int64))
        expected = 6 * (9 - math.log(math.exp(9) + 2))
        assert log_prob.item() == pytest.approx(expected, abs=1e-12)
        assert Placement(scores, tokens, pools, True).draw()[0, 0] != 0

    def test_what_just_fits_is_placed(self) -> None:
        # 0.1 + 0.2 > 0.3 in single precision, too: capacities carry some slack.
        demand = [[0.1, 0.2, 0.1, 0.1, 0.1, 0.1]]
        tokens = make_tokens(demand, [[0.3, 0.3, 0.1]], dtype=torch.float32)
        scores = torch.zeros(1, 6, 4)
        for task, worker in enumerate([0, 0, 1, 1, 1, 2]):
            scores[0, task, worker] = 50.0
        placement = Placement(scores, tokens, 1, True)
        choices = placement.draw()
        assert choices.tolist() == [[0, 0, 1, 1, 1, 2]]
        assert placement.log_prob(choices)[0].item() == pytest.approx(0, abs=1e-6)

    def test_what_hardly_does_not_fit_is_deferred(self) -> None:
        tokens = make_tokens([[0.301, 0.1, 0.201]], [[0.3]], dtype=torch.float32)
        scores = torch.tensor([[[9.0, 0.0]] * 3])
        assert Placement(scores, tokens, 1, True).draw().tolist() == [[1, 0, 1]]

    @MANY
    @given(problems(), st.sampled_from([1, 2]), st.booleans(), st.integers(0, 10**6))
    def test_log_prob_and_entropy_are_those_of_sequential_choices(
        self, problem: tuple[Tensor, Tokens], pools: int, hard: bool, seed: int
    ) -> None:
        scores, tokens = problem
        placement = Placement(scores, tokens, pools, hard)
        rng = np.random.default_rng(seed)
        anything = torch.from_numpy(rng.integers(0, scores.shape[2], scores.shape[:2]))
        for choices in (placement.draw(), placement.draw(gumbel(scores.shape, seed)), anything):
            log_prob, entropy = placement.log_prob(choices)
            assert log_prob.shape == entropy.shape == (2,)
            for b, row in enumerate(choices.tolist()):
                each = steps(scores, tokens, b, row, pools, hard)
                expected = slow_log_prob(each, tokens.order[b].tolist(), row)
                if choices is anything and expected == -math.inf:
                    assert log_prob[b] < -1e8
                    continue
                assert log_prob[b].item() == pytest.approx(expected, abs=1e-9)
                spread = -sum(p * math.log(p) for of in each for p in of if p > 0)
                assert entropy[b].item() == pytest.approx(spread, abs=1e-9)

    @MANY
    @given(problems(), st.sampled_from([1, 2]), st.booleans(), st.booleans(), st.integers(0, 99))
    def test_the_draw_is_greedy_in_order(
        self, problem: tuple[Tensor, Tokens], pools: int, hard: bool, noisy: bool, seed: int
    ) -> None:
        scores, tokens = problem
        noise = gumbel(scores.shape, seed) if noisy else None
        order = tokens.order[..., None].expand_as(scores)
        inside = None if noise is None else noise.gather(1, order)  # it comes in order of placing
        choices = Placement(scores, tokens, pools, hard).draw(inside)
        loud = scores if noise is None else scores + noise
        for b, row in enumerate(choices.tolist()):
            each = steps(loud, tokens, b, row, pools, hard)
            for of, task in zip(each, tokens.order[b].tolist(), strict=True):
                assert of[row[task]] == max(of)

    @pytest.mark.parametrize("pools", [1, 2])
    @pytest.mark.parametrize("hard", [True, False])
    @pytest.mark.parametrize("m", [1, 2])
    def test_probabilities_of_all_allocations(self, m: int, hard: bool, pools: int) -> None:
        demand, capacity = [[0.5, 0.25, 0.75, 0.5][: 2 * m]], [[0.75, 0.5]]
        allowed = torch.ones(1, 2 * m, 2, dtype=torch.bool)
        allowed[0, 1, 1] = False
        tokens = make_tokens(demand, capacity, [[1, 3, 0, 2] if m == 2 else [1, 0]], allowed)
        scores = gumbel((1, 2 * m, 3), 5)
        scores[..., :-1] = scores[..., :-1].masked_fill(~allowed, NEVER)
        placement = Placement(scores, tokens, pools, hard)
        total = surprise = mean_entropy = 0.0
        possible = 0
        for choices in itertools.product(range(3), repeat=2 * m):
            table = torch.tensor([choices])
            log_prob, entropy = (x.item() for x in placement.log_prob(table))
            p = math.exp(log_prob)
            fits = (loads(tokens, table, pools) <= tokens.capacity.numpy()[:, None]).all()
            assert (p > 0) == ((fits or not hard) and choices[1] != 1)
            possible += p > 0
            total += p
            surprise -= p * log_prob if p > 0 else 0.0
            mean_entropy += p * entropy
        assert total == pytest.approx(1, abs=1e-12)
        assert mean_entropy == pytest.approx(surprise, abs=1e-12)  # the chain rule
        assert 1 < possible <= 2 * 3 ** (2 * m - 1)

    def test_entropy_of_one_task(self) -> None:
        # The other task may only defer, so that it adds nothing.
        allowed = torch.tensor([[[True, True], [False, False]]])
        scores = torch.tensor([[[1.0, 2.0, 0.5], [NEVER, NEVER, 0.3]]], dtype=torch.float64)
        weights = [math.exp(s) for s in (1.0, 2.0, 0.5)]
        for capacity, fits in (([1.0, 1.0], [0, 1, 2]), ([0.5, 1.0], [1, 2]), ([0.5, 0.5], [2])):
            tokens = make_tokens([[1.0, 0.0]], [capacity], None, allowed)
            _, entropy = Placement(scores, tokens, 1, True).log_prob(torch.tensor([[2, 2]]))
            total = sum(weights[n] for n in fits)
            expected = -sum(weights[n] / total * math.log(weights[n] / total) for n in fits)
            assert entropy.item() == pytest.approx(expected, abs=1e-12)


class TestPolicy:
    def test_samples_are_as_frequent_as_they_are_probable(self) -> None:
        count = 20_000
        scenario = Scenario.load(make_scenario(1, 2), {"demand": 2})  # both fit worker 1 only
        problem = make_problem(draw_world(scenario, [0]))
        policy = make_policy(1, 2, seed=3, loud=2.0)
        view = observed(problem, make_history(1, 2, 1, 4, 0)).expand(count, -1)
        torch.manual_seed(1)
        with torch.no_grad():
            drawn, values, log_prob = policy(view)
            again, _, _ = policy(view)
            predicted = policy._predict(view)
            _, expected, _ = policy.evaluate_actions(view, drawn)
        assert expected is not None
        torch.testing.assert_close(log_prob, expected)
        assert not torch.equal(drawn, again)
        assert values.shape == (count, 1)
        for sample in (drawn, predicted):
            frequency = torch.bincount(sample[:, 0] * 3 + sample[:, 1], minlength=9)
            with torch.no_grad():
                every = torch.tensor(list(itertools.product(range(3), repeat=2)))
                log_p = policy.evaluate_actions(view[:9], every)[1]
            assert log_p is not None
            p = log_p.double().exp()
            likely = p * count > 5
            assert likely.sum() == 8
            chi_square = ((frequency - p * count) ** 2 / (p * count))[likely].sum()
            assert chi_square < 30  # 8 degrees of freedom: 1 in 5,000
            assert (frequency[p == 0] == 0).all()

    def test_gumbel_noise_is_standard(self) -> None:
        policy = make_policy(1, 2)
        torch.manual_seed(0)
        noise = policy.gumbel(50_000, torch.zeros(1, dtype=torch.float64))
        assert noise.shape == (50_000, 2, 3)
        assert noise.dtype == torch.float64
        assert noise.mean().item() == pytest.approx(0.5772, abs=0.01)
        assert noise.std().item() == pytest.approx(math.pi / 6**0.5, abs=0.01)
        assert torch.corrcoef(noise.view(50_000, 6).T).triu(1).abs().max() < 0.02

    def test_the_deterministic_action_is_the_greedy_one(self) -> None:
        problem = make_problem(draw_world(make_scenario(), range(30)))
        view = observed(problem, make_history(4, 3, 30, 4, 0))
        policy = make_policy(4, 3, loud=1.0)
        with torch.no_grad():
            placement, values = policy.place(view)
            greedy = placement.draw()
            forward = policy(view, deterministic=True)
        assert torch.equal(forward[0], greedy)
        torch.testing.assert_close(forward[1], values)
        torch.testing.assert_close(forward[2], placement.log_prob(greedy)[0])
        torch.testing.assert_close(policy.predict_values(view), values)
        found, _ = policy.predict(view.numpy(), deterministic=True)
        np.testing.assert_array_equal(found, greedy)
        others = {tuple(policy.predict(view.numpy())[0].reshape(-1)) for _ in range(20)}
        assert len(others) > 1

    def test_evaluating_actions(self) -> None:
        problem = make_problem(draw_world(make_scenario(), [0, 1]))
        view = observed(problem, make_history(4, 3, 2, 4, 0))
        policy = make_policy(4, 3)
        with torch.no_grad():
            placement, values = policy.place(view)
            actions = placement.draw()
            found = policy.evaluate_actions(view, actions.float())  # buffers hold floats
        for left, right in zip(found, (values, *placement.log_prob(actions)), strict=True):
            assert left is not None
            torch.testing.assert_close(left, right)

    @pytest.mark.parametrize("per_stage", [False, True])
    @pytest.mark.parametrize("soft", [False, True])
    def test_it_keeps_to_the_market(self, soft: bool, per_stage: bool) -> None:
        market = {
            "capacity": "per_stage" if per_stage else "shared",
            "overload": "share" if soft else "random",
        }
        world = draw_world(make_scenario(**market), range(50))
        problem = make_problem(world)
        view = observed(problem, make_history(4, 3, 50, 3, 0))
        policy = make_policy(4, 3, per_stage=per_stage, soft_capacity=soft)
        torch.manual_seed(0)
        with torch.no_grad():
            policy.network.defer.bias -= 4  # as many as possible
            actions, _, _ = policy(view)
        load = np.zeros((50, 2, 4))
        for b, row in enumerate(actions.numpy().reshape(50, 4, 2)):
            for m, s in np.ndindex(4, 2):
                load[b, s, row[m, s]] += DEMAND[m]
                assert row[m, s] == 3 or problem.feasible[b, s, m, row[m, s]]
        room = np.array(CAPACITY)
        each_fits = bool((load[..., :3] <= room).all())
        both_fit = bool((load[..., :3].sum(axis=1) <= room).all())
        assert (each_fits, both_fit) == {
            (False, False): (True, True),
            (False, True): (True, False),  # two pools hold more than one
            (True, False): (False, False),
            (True, True): (False, False),
        }[soft, per_stage]

    @pytest.mark.parametrize("masked", ["allowed", "capacity", "nothing"])
    def test_gradients_are_finite(self, masked: str) -> None:
        problem = make_problem(draw_world(make_scenario(), [0, 1]))
        view = observed(problem, make_history(4, 3, 2, 4, 0)).clone()
        if masked == "allowed":
            view[:, : 8 * 3 * PAIR].view(2, 8, 3, PAIR)[..., 6] = 0
        elif masked == "capacity":
            begin = 8 * 3 * PAIR + 8 * TASK
            view[:, begin : begin + 3 * WORKER].view(2, 3, WORKER)[..., 0] = 0
        policy = make_policy(4, 3)
        with torch.no_grad():
            actions, _, _ = policy(view)
        if masked != "nothing":
            assert (actions == 3).all()
        values, log_prob, entropy = policy.evaluate_actions(view, actions)
        assert log_prob is not None
        assert entropy is not None
        assert torch.isfinite(log_prob).all()
        if masked != "nothing":
            torch.testing.assert_close(log_prob, torch.zeros(2))
            torch.testing.assert_close(entropy, torch.zeros(2))
        (log_prob.exp().sum() + entropy.sum() + values.sum()).backward()
        for name, weight in policy.network.named_parameters():
            assert weight.grad is not None, name
            assert torch.isfinite(weight.grad).all(), name
        gradient = policy.network.score.weight.grad
        assert gradient is not None
        assert bool((gradient != 0).any()) == (masked == "nothing")

    def test_everything_is_optimised(self) -> None:
        policy = make_policy(2, 2, width=5, depth=4)
        assert len(policy.network.layers) == 4
        (group,) = policy.optimizer.param_groups
        assert group["lr"] == 0.25
        assert group["eps"] == 1e-5  # as Stable-Baselines3 has it for Adam
        assert {id(p) for p in group["params"]} == {id(p) for p in policy.parameters()}
        assert policy.network.embed.out_features == 5
