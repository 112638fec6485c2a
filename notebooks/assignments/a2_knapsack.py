# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [raw]
# # ASSIGNMENT CONFIG
# name: a2_knapsack
# init_cell: false
# export_cell: false
# check_all_cell: false
# generate: true

# %% [markdown]
# # Assignment 2: the knapsack mapping
#
# A coordinator knows what every task would earn on every worker and has to say which task runs
# where. Workers have room for a few tasks only. You write a worker's knapsack, solved exactly and
# greedily, then the mapping of all tasks: worker by worker, as the paper's Algorithm 2 does it, and
# exactly. At the end you find an instance on which the first loses a lot.
#
# **You learn** dynamic programming on a knapsack, what greedy rules lose, how to check a solver
# with a slower one that is surely right, and to build a counter-example.
#
# **Time** about four hours. **Points** 16. Your functions are also called with inputs that you do not
# see here, and each call may take ten seconds. Do not change the arrays that you are given.
#
# **Check** what you have at any time with `distmllm grade a2_knapsack.ipynb` in this folder: it runs
# the tests that you may see.
#
# Throughout: K tasks, N workers; `value` floats, `weight` positive whole numbers, `capacity` whole
# numbers. A task that earns nothing or less need not be placed.

# %%
import itertools

import numpy as np

# %% [markdown]
# ## 1 Feasible? (2 points)
#
# A mapping is an integer array (K,): the worker of each task, or -1 where it waits. Write
# `is_feasible(mapping, weight, capacity)`: whether every worker n holds its tasks, that is
# $\sum_{k: \text{mapping}_k = n} \text{weight}_k \leq \text{capacity}_n$. Numbers that name no worker
# make a mapping infeasible.

# %% [raw]
# # BEGIN QUESTION
# name: q1
# points: 2
# check_cell: false

# %% [raw]
# # BEGIN SOLUTION

# %%
def is_feasible(mapping, weight, capacity):
    """Return whether a mapping (K,) keeps all capacities (N,)."""
    # BEGIN SOLUTION
    mapping, workers = np.asarray(mapping), len(capacity)
    if ((mapping < -1) | (mapping >= workers)).any():
        return False
    placed = mapping >= 0
    load = np.bincount(mapping[placed], np.asarray(weight)[placed], minlength=workers)
    return bool((load <= np.asarray(capacity)).all())
    # END SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
weight, capacity = np.array([2, 1, 2]), np.array([2, 3])
assert is_feasible(np.array([0, 1, 1]), weight, capacity)
assert not is_feasible(np.array([0, 0, 1]), weight, capacity)
assert is_feasible(np.array([-1, -1, -1]), weight, capacity)

# %%
# HIDDEN
weight, capacity = np.array([1, 1]), np.array([1, 0])
assert is_feasible(np.array([0, -1]), weight, capacity) in (True, np.True_)
assert is_feasible(np.array([0, 2]), weight, capacity) in (False, np.False_)
assert is_feasible(np.array([0, -2]), weight, capacity) in (False, np.False_)
assert is_feasible(np.array([0, 1]), weight, capacity) in (False, np.False_)

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# ## 2 One worker: the exact knapsack (4 points)
#
# Choose tasks with the largest total value whose weights fit into `capacity` (one whole number).
# Dynamic programming: $V(k, c)$, the best value of the first $k$ tasks in room $c$, is the larger of
# $V(k - 1, c)$ and $V(k - 1, c - w_k) + v_k$. Write `knapsack(value, weight, capacity)` that returns
# which tasks are chosen, bool (K,). Several choices may be best; any of them will do.

# %% [raw]
# # BEGIN QUESTION
# name: q2
# points: 4
# check_cell: false

# %% [raw]
# # BEGIN SOLUTION

# %%
def knapsack(value, weight, capacity):
    """Return the tasks of the largest total value that fit, bool (K,)."""
    # BEGIN SOLUTION
    value, weight, capacity = np.asarray(value, float), np.asarray(weight, int), int(capacity)
    best = np.zeros((len(value) + 1, capacity + 1))
    for k in range(len(value)):
        best[k + 1] = best[k]
        if weight[k] <= capacity:
            room = best[k, : capacity + 1 - weight[k]] + value[k]
            best[k + 1, weight[k] :] = np.maximum(best[k, weight[k] :], room)
    chosen, left = np.zeros(len(value), bool), capacity
    for k in reversed(range(len(value))):
        if best[k + 1, left] > best[k, left]:
            chosen[k] = True
            left -= weight[k]
    return chosen
    # END SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
chosen = knapsack(np.array([10.0, 6.0, 6.0]), np.array([3, 2, 2]), 4)
assert list(chosen) == [False, True, True]

# %%
assert list(knapsack(np.array([5.0, -1.0]), np.array([1, 1]), 5)) == [True, False]

# %%
# HIDDEN
rng = np.random.default_rng(list(b"SEED-SALT q2"))
for _ in range(20):
    value, weight = rng.normal(1.0, 1.0, size=8), rng.integers(1, 6, size=8)
    capacity = int(rng.integers(0, 16))
    chosen = np.asarray(knapsack(value, weight, capacity), bool)
    every = np.array(list(itertools.product([False, True], repeat=8)))
    best = (every @ value)[every @ weight <= capacity].max()
    assert chosen.shape == (8,) and weight[chosen].sum() <= capacity
    assert np.isclose(value[chosen].sum(), best)

# %%
# HIDDEN
rng = np.random.default_rng(list(b"SEED-SALT q2 large"))
value, weight = rng.random(60), rng.integers(1, 30, size=60)
chosen = np.asarray(knapsack(value, weight, 200), bool)  # 2^60 subsets: enumeration will not do
assert weight[chosen].sum() <= 200
order = np.argsort(-value / weight)
full = weight[order].cumsum() <= 200
assert value[chosen].sum() >= value[order][full].sum() - 1e-9

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# ## 3 One worker: greedy (2 points)
#
# Go through the tasks by falling value per weight, the lower number first among equals, and take each
# that has a positive value and still fits. Write `greedy(value, weight, capacity)`, which returns
# bool (K,) as above.

# %% [raw]
# # BEGIN QUESTION
# name: q3
# points: 2
# check_cell: false

# %% [raw]
# # BEGIN SOLUTION

# %%
def greedy(value, weight, capacity):
    """Return the tasks that the greedy rule takes, bool (K,)."""
    # BEGIN SOLUTION
    value, weight = np.asarray(value, float), np.asarray(weight, int)
    chosen, left = np.zeros(len(value), bool), int(capacity)
    for k in np.argsort(-value / weight, kind="stable"):
        if value[k] > 0 and weight[k] <= left:
            chosen[k] = True
            left -= weight[k]
    return chosen
    # END SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
chosen = greedy(np.array([10.0, 6.0, 6.0]), np.array([3, 2, 2]), 4)
assert list(chosen) == [True, False, False], "10/3 is the best ratio, and then nothing fits"

# %%
# HIDDEN
value, weight = np.array([2.0, 4.0, 2.0, -3.0, 9.0]), np.array([1, 2, 1, 1, 20])
assert list(greedy(value, weight, 3)) == [True, True, False, False, False]
assert list(greedy(value, weight, 4)) == [True, True, True, False, False]
assert list(greedy(value, weight, 2)) == [True, False, True, False, False]

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# ## 4 All workers, one after the other (3 points)
#
# Algorithm 2 of the paper fills worker 0, 1, ..., N - 1 in turn. For worker n the *residual* value of
# task k is `utility[k, n]`, less `utility[k, j]` if the task has been given to worker j before; an
# exact knapsack of the residual values decides which tasks worker n takes, also from workers before
# it. Room that a worker loses in this way is not filled again. Write
# `sequential_mapping(utility, weight, capacity)`: `utility` (K, N); return the mapping (K,). A worker
# takes only tasks with a positive residual value.

# %% [raw]
# # BEGIN QUESTION
# name: q4
# points: 3
# check_cell: false

# %% [raw]
# # BEGIN SOLUTION

# %%
def sequential_mapping(utility, weight, capacity):
    """Return the mapping (K,) of Algorithm 2."""
    # BEGIN SOLUTION
    utility = np.asarray(utility, float)
    tasks, workers = utility.shape
    mapping = np.full(tasks, -1)
    for n in range(workers):
        had = np.where(mapping >= 0, utility[np.arange(tasks), mapping], 0.0)
        residual = utility[:, n] - had
        mapping[knapsack(residual, weight, capacity[n]) & (residual > 0)] = n
    return mapping
    # END SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
utility = np.array([[10.0, 10.0], [9.0, 0.0]])
mapping = sequential_mapping(utility, np.array([1, 1]), np.array([1, 1]))
assert list(mapping) == [0, -1], "worker 0 takes task 0, and worker 1 gains nothing by taking it"

# %%
utility = np.array([[5.0, 8.0], [4.0, 1.0]])
mapping = sequential_mapping(utility, np.array([1, 1]), np.array([1, 1]))
assert list(mapping) == [1, -1], "worker 1 takes task 0 away, and worker 0 stays empty"

# %%
# HIDDEN
from distmllm_agents.mapping import SOLVERS, MappingProblem

rng = np.random.default_rng(list(b"SEED-SALT q4"))
for _ in range(15):
    utility, weight = rng.normal(2.0, 1.5, size=(7, 3)), rng.integers(1, 4, size=7)
    capacity = rng.integers(2, 7, size=3)
    problem = MappingProblem(
        utility=utility, weight=weight.astype(float), capacity=capacity[None].astype(float),
        pool=np.zeros(7, int), allowed=np.ones((7, 3), bool),
    )
    expected = SOLVERS["sequential"](problem, None).value
    mapping = np.asarray(sequential_mapping(utility, weight, capacity))
    assert mapping.shape == (7,)
    load = [weight[mapping == n].sum() for n in range(3)]
    assert all(load <= capacity)
    earned = sum(utility[k, n] for k, n in enumerate(mapping) if n >= 0)
    assert np.isclose(earned, expected)

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# ## 5 All workers, exactly (3 points)
#
# Write `exact_mapping(utility, weight, capacity)`: the mapping (K,) with the largest total utility. It
# is called with at most seven tasks and three workers, so trying all (N + 1)^K mappings is allowed;
# ten seconds are enough for that, if you are not wasteful. Branch and bound is better.

# %% [raw]
# # BEGIN QUESTION
# name: q5
# points: 3
# check_cell: false

# %% [raw]
# # BEGIN SOLUTION

# %%
def exact_mapping(utility, weight, capacity):
    """Return a feasible mapping (K,) of the largest total utility."""
    # BEGIN SOLUTION
    utility, weight = np.asarray(utility, float), np.asarray(weight, int)
    tasks, workers = utility.shape
    rest = np.append(np.maximum(utility.max(axis=1), 0.0)[::-1].cumsum()[::-1], 0.0)
    best = [0.0, np.full(tasks, -1)]

    def branch(k, earned, left, mapping):
        if earned > best[0]:
            best[:] = [earned, mapping.copy()]
        if k == tasks or earned + rest[k] <= best[0]:
            return
        for n in range(workers):
            if utility[k, n] > 0 and weight[k] <= left[n]:
                mapping[k] = n
                left[n] -= weight[k]
                branch(k + 1, earned + utility[k, n], left, mapping)
                left[n] += weight[k]
        mapping[k] = -1
        branch(k + 1, earned, left, mapping)

    branch(0, 0.0, np.array(capacity, int), np.full(tasks, -1))
    return best[1]
    # END SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
utility = np.array([[10.0, 10.0], [9.0, 0.0]])
assert list(exact_mapping(utility, np.array([1, 1]), np.array([1, 1]))) == [1, 0]

# %%
# HIDDEN
rng = np.random.default_rng(list(b"SEED-SALT q5"))
for _ in range(6):
    utility, weight = rng.normal(1.0, 1.5, size=(6, 3)), rng.integers(1, 4, size=6)
    capacity = rng.integers(1, 6, size=3)
    every = np.array(list(itertools.product(range(-1, 3), repeat=6)))
    fits = np.all([((every == n) @ weight) <= capacity[n] for n in range(3)], axis=0)
    padded = np.column_stack([utility, np.zeros(6)])
    best = padded[np.arange(6), every].sum(axis=1)[fits].max()
    mapping = np.asarray(exact_mapping(utility, weight, capacity))
    assert mapping.shape == (6,)
    assert all(weight[mapping == n].sum() <= capacity[n] for n in range(3))
    assert np.isclose(padded[np.arange(6), mapping].sum(), best)

# %%
# HIDDEN
mapping = exact_mapping(-np.ones((3, 2)), np.ones(3, int), np.array([3, 3]))
assert list(mapping) == [-1, -1, -1]

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# ## 6 A counter-example (2 points)
#
# Find an instance on which Algorithm 2 loses much: write `counter_example()` that returns `utility`,
# `weight` and `capacity` (at most six tasks and three workers, utilities between 0 and 10) on which
# `sequential_mapping` earns less than 60 % of what `exact_mapping` earns. You get the second point
# if it is less than 51 %.

# %% [raw]
# # BEGIN QUESTION
# name: q6
# points: 2
# check_cell: false

# %% [raw]
# # BEGIN SOLUTION

# %%
def counter_example():
    """Return utility (K, N), weight (K,) and capacity (N,) on which Algorithm 2 loses much."""
    # BEGIN SOLUTION
    return np.array([[10.0, 10.0], [9.9, 0.0]]), np.array([1, 1]), np.array([1, 1])
    # END SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
utility, weight, capacity = (np.asarray(part) for part in counter_example())
tasks, workers = utility.shape
assert tasks <= 6 and workers <= 3 and weight.shape == (tasks,) and capacity.shape == (workers,)
assert utility.min() >= 0 and utility.max() <= 10
lost = sequential_mapping(utility, weight, capacity)
best = exact_mapping(utility, weight, capacity)
earned = [sum(utility[k, n] for k, n in enumerate(m) if n >= 0) for m in (lost, best)]
assert earned[0] < 0.6 * earned[1]

# %%
# HIDDEN
from distmllm_agents.mapping import SOLVERS, MappingProblem

utility, weight, capacity = (np.asarray(part, float) for part in counter_example())
tasks, workers = utility.shape
assert tasks <= 6 and workers <= 3 and 0 <= utility.min() and utility.max() <= 10
problem = MappingProblem(
    utility=utility, weight=weight, capacity=capacity[None],
    pool=np.zeros(tasks, int), allowed=np.ones((tasks, workers), bool),
)
earned = {name: SOLVERS[name](problem, None).value for name in ("sequential", "exact")}
assert earned["sequential"] < 0.51 * earned["exact"]

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# ## To think about (not graded)
#
# Can Algorithm 2 lose more than half? Does another order of the workers help, or filling room again
# that was lost? `distmllm_agents.mapping` has both as options, and notebook 03 measures them.
