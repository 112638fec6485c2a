"""Branch and bound that can be stopped at any node and still knows how far off it is (Lemma 3).

A *decision* is an item, or the two stages of a provider where a transfer cost ties them together.
Its *options* are the workers, and to stay out where that is allowed. A node of the tree has settled
the first few decisions. For its bound, capacity may be exceeded but has a price, and each open
decision takes the option that is worth most after paying. Whatever the prices, no solution below
the node is worth more than

    value so far + price * capacity left + sum over open decisions of max (profit - price * weight).

The prices are set once, before the search, to make this small. Every node is also completed
greedily, which now and then improves the best solution known. A node whose bound is no better than
that solution is dropped; of the others, the one with the largest bound is expanded next.
"""

from __future__ import annotations

import heapq
import time
from typing import NamedTuple

import numpy as np

from distmllm_agents.mapping.problem import OUT, Array, Mapping, MappingProblem
from distmllm_env.layout import TOLERANCE

MARGIN = 1e-9  # to be better by less than this is not to be better
PRICE_STEPS = 200
_NONE = -1e300  # worth of an option that does not exist, where infinity would give NaN


class _Node(NamedTuple):
    picks: tuple[int, ...]  # options of the first decisions
    value: float
    room: Array  # capacity left


def solve_branch_and_bound(
    problem: MappingProblem, previous: Mapping | None = None, *, node_limit: int | None = None
) -> Mapping:
    """Solve to the optimum, or until ``node_limit`` nodes are expanded.

    Args:
        problem: Any mapping problem.
        previous: Not used; it solves anew.
        node_limit: At least 0; None lets it finish, which may take exponentially long.

    Returns:
        If it finished, ``optimal`` with ``bound == value``, or ``infeasible``. If not, the best
        solution found and an upper bound on all, ``feasible``; or ``unknown`` if none was found. A
        larger limit never gives a smaller value or a larger bound.

    Raises:
        ValueError: ``node_limit`` is below 0.
    """
    if node_limit is not None and node_limit < 0:
        raise ValueError(f"node_limit = {node_limit} is not allowed: at least 0, or None.")
    start = time.perf_counter()
    tree = _Tree(problem)
    root = _Node((), 0.0, tree.room)
    best, picks = tree.complete(root)
    # heapq pops the smallest entry: the largest bound, then the deepest node, then the oldest.
    queue = [(-tree.bound(root), 0, 0, 0, root)]
    nodes = 0
    while queue and -queue[0][0] > best + MARGIN and nodes != node_limit:
        parent, *_, node = heapq.heappop(queue)
        nodes += 1
        for option in np.flatnonzero(tree.fitting(len(node.picks), node.room)):
            child = tree.child(node, int(option))
            bound = min(-parent, tree.bound(child))
            if bound > best + MARGIN:
                heapq.heappush(queue, (-bound, -len(child.picks), nodes, int(option), child))
                value, completed = tree.complete(child)
                if value > best + MARGIN:
                    best, picks = value, completed
    bound = -queue[0][0] if queue else -np.inf
    finished = bound <= best + MARGIN  # nothing better is left
    prices = tree.price[:-1].reshape(problem.capacity.shape)
    effort = nodes, time.perf_counter() - start, prices
    if picks is None:
        out = np.full(len(problem.utility), OUT)
        return Mapping(out, -np.inf, bound, "infeasible" if finished else "unknown", *effort)
    choice = tree.choice(picks)
    value = problem.value(choice)
    if finished:
        return Mapping(choice, value, value, "optimal", *effort)
    return Mapping(choice, value, bound, "feasible", *effort)


def _regret(worth: Array) -> Array:
    """What each row loses by taking its second best option."""
    second, first = np.partition(worth, -2, axis=1)[:, -2:].T
    return first - second


class _Tree:
    """The options of every decision: what they bring, and what they take from which bin.

    A bin is a pool on a worker. Option o of decision d brings ``profit[d, o]``, minus infinity if
    it does not exist, and takes ``weight[d, o, i]`` from ``bin[d, o, i]``; i is 0, or the stage.
    ``worth`` is the profit less the price of that. Decisions of large regret come first.
    """

    def __init__(self, problem: MappingProblem) -> None:
        items, workers = problem.utility.shape
        self._options = workers + 1
        # The last option is to stay out: nothing is taken, from one more bin that has no room.
        out = np.full((items, 1), -np.inf if problem.exactly_one else 0.0)
        self.profit = np.hstack([np.where(problem.useful, problem.utility, -np.inf), out])
        self.weight = np.hstack([problem.weights, np.zeros((items, 1))])[..., None]
        bins = problem.pool[:, None] * workers + np.arange(workers)
        self.bin = np.hstack([bins, np.full((items, 1), problem.capacity.size)])[..., None]
        # Half of the slot's tolerance: what fits here passes there, in whatever order it is summed.
        self.room = np.append(problem.capacity.ravel() + TOLERANCE / 2, 0.0)
        if problem.transfer_cost is not None:
            self._pair_stages(problem.transfer_cost)
        # Where all profits are whole numbers, so is the value of every solution.
        self._whole = bool((self.profit == np.rint(self.profit)).all())
        self.price = self._prices()
        self.worth = self._worth(self.price)
        self._order = np.argsort(-_regret(np.maximum(self.worth, _NONE)), kind="stable")
        for name in ("profit", "weight", "bin", "worth"):
            setattr(self, name, getattr(self, name)[self._order])

    def _pair_stages(self, transfer_cost: Array) -> None:
        """Make one decision of stages m and M + m: options a and b become a * (N + 1) + b."""
        half, n = len(transfer_cost), self._options
        enc, llm = np.divmod(np.arange(n * n), n)
        apart = (enc != llm) & (enc != n - 1) & (llm != n - 1)
        self.profit = self.profit[:half, enc] + self.profit[half:, llm]
        self.profit -= np.outer(transfer_cost, apart)
        self.bin = np.concatenate([self.bin[:half, enc], self.bin[half:, llm]], axis=2)
        self.weight = np.concatenate([self.weight[:half, enc], self.weight[half:, llm]], axis=2)
        same = self.bin[..., 0] == self.bin[..., 1]  # one bin takes both
        self.weight[same] = self.weight[same].sum(axis=1, keepdims=True) * [1, 0]

    def _worth(self, price: Array) -> Array:
        return self.profit - (price[self.bin] * self.weight).sum(axis=2)

    def _prices(self) -> Array:
        """Lower the root's bound by subgradient steps: overfull bins get dearer, others cheaper."""
        price = best_price = np.zeros_like(self.room)
        lowest, failures, every = np.inf, 0, np.arange(len(self.profit))
        step = 0.1 * np.abs(self.profit[np.isfinite(self.profit)]).sum() / self.profit.shape[1]
        for _ in range(PRICE_STEPS):
            worth = self._worth(price)
            pick = worth.argmax(axis=1)
            bound = worth[every, pick].sum() + price @ self.room
            failures += 1
            if bound < lowest - MARGIN:
                lowest, best_price, failures = bound, price, 0
            if failures == 5:  # go back and take shorter steps
                step, price, failures = step / 2, best_price, 0
                continue
            left = self.room.copy()
            np.subtract.at(left, self.bin[every, pick], self.weight[every, pick])
            price = np.maximum(0.0, price - step * left / max(left @ left, TOLERANCE))
        return best_price

    def fitting(self, d: int | slice | Array, room: Array) -> Array:
        """Options of one decision, or of each of several alone, that ``room`` admits."""
        fits = (self.weight[d] <= room[self.bin[d]]).all(axis=-1)
        return fits & (self.profit[d] > -np.inf)

    def bound(self, node: _Node) -> float:
        """No solution below ``node`` is worth more."""
        d = slice(len(node.picks), None)
        worth = np.where(self.fitting(d, node.room), self.worth[d], -np.inf)
        if not len(worth):
            return node.value
        bound = node.value + float(worth.max(axis=1).sum() + self.price @ node.room)
        return float(np.floor(bound + 1e-6)) if self._whole else bound

    def child(self, node: _Node, option: int) -> _Node:
        """Settle the next decision."""
        d, room = len(node.picks), node.room.copy()
        np.subtract.at(room, self.bin[d, option], self.weight[d, option])
        return _Node((*node.picks, option), node.value + float(self.profit[d, option]), room)

    def complete(self, node: _Node) -> tuple[float, Array | None]:
        """Settle the open decision of the largest regret, again and again; None if one is stuck.

        Prices make some options equal to staying out, so each then moves once if profit rises.
        """
        picks = np.array([*node.picks, *[OUT] * (len(self.profit) - len(node.picks))], int)
        room, left = node.room.copy(), np.arange(len(node.picks), len(picks))
        while left.size:
            worth = np.where(self.fitting(left, room), self.worth[left], _NONE)
            if worth.max(axis=1).min() == _NONE:
                return -np.inf, None
            at = _regret(worth).argmax()
            d, option = left[at], worth[at].argmax()
            picks[d], left = option, np.delete(left, at)
            np.subtract.at(room, self.bin[d, option], self.weight[d, option])
        for d, old in enumerate(picks):
            np.add.at(room, self.bin[d, old], self.weight[d, old])
            profit = np.where(self.fitting(d, room), self.profit[d], -np.inf)
            profit[old] = self.profit[d, old] + MARGIN  # stay unless moving pays
            new = picks[d] = int(profit.argmax())
            np.subtract.at(room, self.bin[d, new], self.weight[d, new])
        return float(self.profit[np.arange(len(picks)), picks].sum()), picks

    def choice(self, picks: Array) -> Array:
        """Worker of each item."""
        option = picks[np.argsort(self._order)]
        if self.bin.shape[2] == 2:
            option = np.concatenate(np.divmod(option, self._options))
        return np.where(option == self._options - 1, OUT, option)
