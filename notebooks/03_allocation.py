# ---
# jupyter:
#   jupytext:
#     formats: py:percent,ipynb
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3 · Allocation: who gets which worker
#
# Even who knows what every task earns on every worker has to find the best way to place them all:
# you solve this exactly and approximately, prove how far off you can be, and ask what is fair.
#
# **You will**
#
# - solve a knapsack by dynamic programming and by branch and bound, and see why greedy fails;
# - bound the optimum from above, and use the bound as a certificate;
# - run the paper's Algorithm 2 by hand, and meet examples where it loses up to half;
# - use the package's exact solvers, and find out what a lost percent costs in regret;
# - compute Jain's index, check proportional fairness, and see why a fair allocation need not exist.
#
# About 100 minutes, exercises not counted. Needs [notebook 1](01_the_market.ipynb), and of
# [notebook 2](02_bandits.ipynb) only what regret is.

# %%
# On Colab, take away the first "# ":
# # %pip install -q distmllm-env

import time
from heapq import heappop, heappush
from io import BytesIO
from itertools import permutations, product

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display
from PIL import Image

from distmllm_agents.distmllm import DistMLLM
from distmllm_agents.mapping import (
    SOLVERS,
    MappingProblem,
    solve_branch_and_bound,
    solve_exact,
    solve_fair,
    solve_sequential,
)
from distmllm_agents.mapping.fair import fairness_violation
from distmllm_agents.mapping.problem import OUT, disaggregated, to_allocation
from distmllm_bench import style
from distmllm_bench.metrics import Scores, optimum
from distmllm_env import Scenario, draw_world, play
from distmllm_env.policy import make_problem

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#757575"
plt.rcParams.update(style.RC)
plt.rcParams.update({"figure.figsize": (6.5, 3), "figure.constrained_layout.use": True})
np.set_printoptions(precision=3, suppress=True)


def show(figure):
    """Show a figure with 64 colours, which keeps the notebook small."""
    file = BytesIO()
    figure.savefig(file, format="png", dpi=90)
    plt.close(figure)
    display(Image.open(file).convert("RGB").quantize(64))


# %% [markdown]
# ## 1 · One worker: the knapsack
#
# Begin with a single worker. It has a capacity $C$; every task has a value $v_k$ (what it would
# earn there) and a demand $w_k$. Which tasks should it take? This is the **knapsack problem**:
#
# $$
# \max \sum_k v_k x_k \quad \text{such that} \quad \sum_k w_k x_k \le C, \quad x_k \in \{0, 1\}.
# $$
#
# Five tasks, $2^5$ choices: try them all.

# %%
value = np.array([10.0, 12.0, 13.0, 7.0, 4.0])
weight = np.array([2, 3, 3, 2, 1])
capacity = 7

choices = [np.array(x) for x in product((0, 1), repeat=5)]
best = max((x for x in choices if x @ weight <= capacity), key=lambda x: x @ value)
print(f"tasks {np.flatnonzero(best)}: value {best @ value:.0f}, demand {best @ weight}")

# %% [markdown]
# **Dynamic programming** does not try all. Let $b_{k,c}$ be the most that the first $k$ tasks can
# earn within a capacity of $c$. Task $k$ is either left out or taken:
#
# $$
# b_{k,c} = \max(\, b_{k-1,c},\; b_{k-1,c-w_k} + v_k \,).
# $$
#
# A table with a row per task and a column per unit of capacity, filled row by row. Which tasks were
# taken is read backwards: where a row is better than the row above, its task is in.


# %%
def fill_table(value, weight, capacity):
    """best[k, c]: the most that the first k tasks can earn within c."""
    best = np.zeros((len(value) + 1, capacity + 1))
    for k, (v, w) in enumerate(zip(value, weight, strict=True), start=1):
        best[k] = best[k - 1]
        if w <= capacity:
            best[k, w:] = np.maximum(best[k, w:], best[k - 1, : capacity + 1 - w] + v)
    return best


def read_back(best, weight):
    """Which tasks were taken, bool (K,), and the cells (k, c) on the way."""
    taken, c = np.zeros(len(weight), bool), best.shape[1] - 1
    cells = [(len(weight), c)]
    for k in range(len(weight), 0, -1):
        taken[k - 1] = best[k, c] > best[k - 1, c]
        c -= weight[k - 1] if taken[k - 1] else 0
        cells.append((k - 1, c))
    return taken, cells


def knapsack(value, weight, capacity):
    """The tasks of the best choice, bool (K,)."""
    return read_back(fill_table(value, weight, capacity), weight)[0]


table = fill_table(value, weight, capacity)
taken, cells = read_back(table, weight)
fig, ax = plt.subplots()
ax.imshow(table, cmap="Blues", vmax=55, aspect="auto")
for (k, c), v in np.ndenumerate(table):
    on_the_way = (k, c) in cells
    ax.text(c, k, f"{v:.0f}", ha="center", va="center", color=ORANGE if on_the_way else "black",
            weight="bold" if on_the_way else "normal")
rows = ["no task", *(f"+ task {k} ({value[k]:.0f}, {weight[k]})" for k in range(5))]
ax.set(yticks=range(6), yticklabels=rows, xlabel="capacity c", title="best value (value, demand)")
ax.grid(visible=False)
show(fig)
print(f"tasks {np.flatnonzero(taken)}: value {value[taken].sum():.0f}")

# %% [markdown]
# **What to see.** The answer is at the bottom right; the orange cells are the way back. A step
# straight up leaves a task out, a step up and to the left takes it. The work is $K \cdot C$ cells
# instead of $2^K$ choices. It needs whole demands; with real ones there is no table.

# %% [markdown]
# ## 2 · Greedy, and what it cannot see
#
# Why not simply take the tasks with the most value per unit of demand?


# %%
def greedy(value, weight, capacity):
    """Best value per demand first, as long as there is room."""
    taken, room = np.zeros(len(value), bool), capacity
    for k in np.argsort(-value / weight, kind="stable"):
        if weight[k] <= room:
            taken[k], room = True, room - weight[k]
    return taken


taken = greedy(value, weight, capacity)
print(f"greedy: tasks {np.flatnonzero(taken)}, value {value[taken].sum():.0f} "
      f"instead of {table[-1, -1]:.0f}")

trap_value, trap_weight = np.array([2.0, 100.0]), np.array([1, 100])
taken = greedy(trap_value, trap_weight, 100)
print(f"a trap: value {trap_value[taken].sum():.0f} instead of {trap_value.max():.0f}")

# %% [markdown]
# Greedy cannot see that a small good task may block a large one. In the trap it gets 2 of $C$, so
# its share of the optimum can be as small as you like. There is a simple cure: take the better of
# greedy and the most valuable single task that fits. That never gets less than half. (Why? Greedy's
# tasks and the first task that did not fit are together worth at least the optimum; see the next
# section. So one of the two is worth at least half.)

# %% [markdown]
# ## 3 · A bound from above: put a price on capacity
#
# How good is a solution if you do not know the optimum? You need a number that no solution can
# exceed. Charge a price $\lambda \ge 0$ per unit of capacity, forget the limit, and pay the worker
# for all its capacity at that price. Every task with $v_k > \lambda w_k$ then wants in:
#
# $$
# U(\lambda) = \lambda C + \sum_k \max(0,\; v_k - \lambda w_k).
# $$
#
# No choice that fits is worth more than $U(\lambda)$, *whatever the price*: it uses at most $C$,
# so what it pays is at most $\lambda C$, and its value after paying is at most the sum.

# %%
prices = np.linspace(0, 6, 241)
bounds = prices * capacity + np.maximum(0, value - prices[:, None] * weight).sum(axis=1)

fig, ax = plt.subplots()
ax.plot(prices, bounds, color=BLUE, label="U(λ)")
ax.plot(prices[bounds.argmin()], bounds.min(), "o", color=BLUE)
ax.axhline(table[-1, -1], color="black", label="optimum")
ax.axhline(value[greedy(value, weight, capacity)].sum(), color=ORANGE, ls="--", label="greedy")
ax.set(xlabel="price λ per unit of capacity", ylabel="value", ylim=(25, 47))
ax.legend()
show(fig)
print(f"best bound {bounds.min():.1f} at a price of {prices[bounds.argmin()]:.2f}; "
      f"optimum {table[-1, -1]:.0f}; greedy {value[greedy(value, weight, capacity)].sum():.0f}")

# %% [markdown]
# **What to see.** The curve never falls below the optimum. Without knowing the optimum, the bound
# and greedy's value already say: greedy is at most this far off. The difference of an upper bound
# and a value is called **gap**; a gap of 0 proves a solution optimal.
#
# The best price is the value per demand of the first task that greedy could not fit, and the best
# bound is what greedy would get if it could take a part of that task. That makes it cheap to
# compute, and explains the cure of section 2.

# %% [markdown]
# ## 4 · Branch and bound
#
# **Branch and bound** is a search that uses bounds to skip most of the $2^K$ choices. A node has
# decided on the first few tasks. Its bound is what it has earned plus the bound of the open tasks
# in the room that is left. Expand the node with the largest bound, and drop all nodes whose bound
# does not exceed the best solution found. It can be stopped at any time and knows how far off it
# can be: the best solution $L$ and the largest open bound $U$ enclose the optimum. (This is Lemma 3
# of the DistMLLM paper.)


# %%
def relaxed(value, weight, room):
    """Fill up in the given order, the last task in part: the best bound of section 3."""
    total = 0.0
    for v, w in zip(value, weight, strict=True):
        if w > room:
            return total + v * room / w
        total, room = total + v, room - w
    return total


def branch_and_bound(value, weight, capacity):
    """Best value, and (L, U) before every expansion of a node."""
    order = np.argsort(-value / weight, kind="stable")
    value, weight = value[order], weight[order]
    best, history = 0.0, []
    queue = [(-relaxed(value, weight, capacity), 0, 0.0, capacity)]  # heapq pops the smallest
    while queue and -queue[0][0] > best:
        history.append((best, -queue[0][0]))
        _, k, earned, room = heappop(queue)
        for total, left in ((earned + value[k], room - weight[k]), (earned, room)):
            if left >= 0:
                best = max(best, total)
                bound = total + relaxed(value[k + 1 :], weight[k + 1 :], left)
                if bound > best:
                    heappush(queue, (-bound, k + 1, total, left))
    return best, [*history, (best, best)]


rng = np.random.default_rng(4)
many_weights = rng.integers(10, 60, size=40)
many_values = many_weights + rng.integers(5, 25, size=40).astype(float)
room = int(many_weights.sum() // 3)
best, history = branch_and_bound(many_values, many_weights, room)
by_table = fill_table(many_values, many_weights, room)[-1, -1]
print(f"40 tasks: branch and bound {best:.0f}, dynamic programming {by_table:.0f}")
print(f"{len(history) - 1} nodes expanded of {2**40:,} choices")

lower, upper = np.array(history).T
fig, ax = plt.subplots()
ax.fill_between(range(len(lower)), lower, upper, step="post", color=GREY, alpha=0.2, lw=0)
ax.step(range(len(lower)), upper, where="post", color=ORANGE, label="U, largest open bound")
ax.step(range(len(lower)), lower, where="post", color=BLUE, ls="--", label="L, best solution")
ax.set(xlabel="nodes expanded", ylabel="value", ylim=(best - 40, upper[0] + 5))
ax.legend(loc="lower right")
show(fig)

# %% [markdown]
# **What to see.** A good solution is found soon; proving that there is no better one takes most of
# the time. So few nodes are luck with the instance and not a promise: the worst case is
# exponential.

# %% [markdown]
# ## 5 · Many workers: generalized assignment
#
# Now the whole slot. Tasks $k$ with demand $w_k$, workers $n$ with capacity $C_n$, and a profit
# $u_{k,n}$ that hangs on both:
#
# $$
# \max \sum_{k,n} u_{k,n} x_{k,n} \quad \text{such that} \quad
# \sum_k w_k x_{k,n} \le C_n, \quad \sum_n x_{k,n} \le 1, \quad x_{k,n} \in \{0, 1\}.
# $$
#
# This is the **generalized assignment problem**. (The paper says "multi-knapsack"; in a multiple
# knapsack problem proper, the profit would not hang on the worker.) With $M$ providers there are
# $K = 2M$ tasks: first the ENC tasks of all providers, then their LLM tasks.
#
# The package has a class for such problems and several solvers. The toy world of notebook 1, with
# its true means as profits:

# %%
toy = draw_world(Scenario.load("toy"), seeds=[0])


def problem_of(world, b=0):
    """Row b of a batch of worlds as a mapping problem, with the true means as profits."""
    return disaggregated(make_problem(world), world.mean_profit[b, :, :, :-1], b)


problem = problem_of(toy)
print("profits, rows ENC 0, ENC 1, LLM 0, LLM 1:")
print(problem.utility)
print("demands", problem.weight, "capacities", problem.capacity[0])
for name, solve in SOLVERS.items():
    mapping = solve(problem, None)
    print(f"{name:17}value {mapping.value:.1f}, bound {mapping.bound:.1f}, {mapping.status}")

# %% [markdown]
# A solution has a `choice` (the worker of every task, -1 if it stays out), a `value`, a `bound`
# that no solution exceeds, and a `status`: `optimal` if the two are proven equal. `exact` picks its
# method by the problem: with equal demands it is a flow through a network, which is easy; with
# whole demands a search with prices, as in section 3, one per worker (if the extra `fast` is
# installed); for all else the constraint solver CP-SAT of Google's OR-Tools.
#
# Let us not believe but check, against all allocations of 200 small random problems:


# %%
def plain(utility, weight, capacity):
    """A mapping problem with one capacity per worker and nothing special."""
    utility = np.array(utility, float)
    return MappingProblem(
        utility=utility,
        weight=np.array(weight, float),
        capacity=np.array([capacity], float),
        pool=np.zeros(len(utility), int),
        allowed=np.ones(utility.shape, bool),
    )


def by_enumeration(problem):
    """The largest value over all choices that fit."""
    tasks, workers = problem.utility.shape
    best = 0.0
    for choice in product(range(OUT, workers), repeat=tasks):
        x = np.array(choice)[:, None] == np.arange(workers)  # (K, N)
        if (problem.weight @ x <= problem.capacity[0]).all():
            best = max(best, float((problem.utility * x).sum()))
    return best


rng = np.random.default_rng(0)
problems = [plain(rng.random((4, 2)), rng.integers(1, 4, 4), [3, 4]) for _ in range(200)]
wrong = [p for p in problems if abs(solve_exact(p).value - by_enumeration(p)) > 1e-8]
print(f"{len(problems)} problems, {len(wrong)} wrong")

# %% [markdown]
# ## 6 · Algorithm 2: one knapsack per worker
#
# The paper does not solve the whole problem at once. Its Algorithm 2 goes from worker to worker.
# Each task offers what it would *gain* by moving there from where it is, the **residual** profit;
# the worker solves a knapsack over the offers; the accepted tasks move. We have the knapsack, so
# this is short:


# %%
def algorithm_2(problem, order=None, tell=False):
    """Choice of every task, int (K,), by one knapsack of residual profits per worker."""
    tasks, workers = problem.utility.shape
    choice, held = np.full(tasks, OUT), np.zeros(tasks)  # held: what a task earns where it is
    for n in order or range(workers):
        residual = problem.utility[:, n] - held
        offers = np.flatnonzero(residual > 0)
        demand = problem.weight[offers].astype(int)
        accepted = offers[knapsack(residual[offers], demand, int(problem.capacity[0, n]))]
        choice[accepted] = n
        held[accepted] = problem.utility[accepted, n]
        if tell:
            gains = ", ".join(f"task {k}: {residual[k]:g}" for k in offers) or "none"
            print(f"worker {n}: offers {gains}; takes {accepted.tolist()}")
    return choice


example = plain([[9, 7], [8, 11], [2, 5]], weight=[1, 1, 1], capacity=[2, 2])
choice = algorithm_2(example, tell=True)
print(f"choice {choice}, value {example.value(choice):g}, optimum {solve_exact(example).value:g}")

# %% [markdown]
# Worker 0 takes its two best offers. On worker 1 task 1 gains the difference to what it has, task 2
# all that it would earn; both move. Does our version agree with the package's `solve_sequential`?

# %%
rng = np.random.default_rng(1)
problems = [plain(rng.random((10, 5)), rng.integers(1, 4, 10), [4] * 5) for _ in range(200)]
agree = [np.array_equal(algorithm_2(p), solve_sequential(p).choice) for p in problems]
print(f"same choice in {sum(agree)} of {len(agree)} random problems")

# %% [markdown]
# ## 7 · Where Algorithm 2 loses
#
# **A good worker for one is the only worker for another.** Two tasks, one place on each worker.
# Task 0 earns the same on both, task 1 nearly as much on worker 0, and nothing on worker 1.

# %%
def compare(problem, tell=False, **options):
    """Print what Algorithm 2 finds and what is best."""
    choice = algorithm_2(problem, tell=tell, **options)
    best = solve_exact(problem)
    print(f"Algorithm 2: {choice}, value {problem.value(choice):g};  "
          f"optimum: {best.choice}, value {best.value:g}")


half = plain([[10, 10], [9, 0]], weight=[1, 1], capacity=[1, 1])
compare(half, tell=True)

# %% [markdown]
# Worker 0 takes task 0, which gains nothing by moving on, and task 1 stays out. Let task 1 earn
# $10 - \epsilon$: the optimum goes to 20, Algorithm 2 stays at 10. So it can lose **half**. It
# never loses more: this is the method of Cohen, Katzir and Raz (2006), who proved that with exact
# knapsacks it reaches at least one half of the optimum.
#
# **A hole that nobody fills.** A task moves on, and its old place stays empty.

# %%
hole = plain([[5, 10], [4, 1]], weight=[1, 1], capacity=[1, 1])
compare(hole, tell=True)
print("with a refill at the end:", solve_sequential(hole, refill=True).value)

# %% [markdown]
# **No order of the workers is right.** In the first example the order worker 1, worker 0 finds the
# optimum. Here no order does:

# %%
stubborn = plain([[9, 10], [7, 9], [1, 9]], weight=[1, 3, 2], capacity=[3, 4])
for order in permutations(range(2)):
    print(f"order {order}: ", end="")
    compare(stubborn, order=order)

# %% [markdown]
# These are bad cases made by hand. How much is lost in the worlds of the scenarios? 100 worlds
# each, Algorithm 2 on the *true* means:

# %%
names = ("paper", "scarce", "testbed")
fig, axes = plt.subplots(1, 3, sharey=True)
print("lost by Algorithm 2 on the true means, in % of the optimum: mean ± sd, largest")
for ax, name in zip(axes, names, strict=True):
    worlds = draw_world(Scenario.load(name), seeds=range(100))
    problems = [problem_of(worlds, b) for b in range(100)]
    best = np.array([solve_exact(p).value for p in problems])
    for row, (label, options) in enumerate({
        "as printed": {}, "+ refill": {"refill": True}, "reversed": {"order": "reverse"}
    }.items()):
        found = np.array([solve_sequential(p, **options).value for p in problems])
        lost = 100 * (1 - found / best)
        ax.plot(row + np.linspace(-0.3, 0.3, 100), np.sort(lost), ".", ms=3,
                color=(BLUE, GREEN, ORANGE)[row])
        spread, largest = lost.std(ddof=1), lost.max()
        print(f"  {name:8}{label:11} {lost.mean():4.1f} ± {spread:.1f}, {largest:4.1f}")
    ax.set(title=name, xticks=range(3), xticklabels=["printed", "refill", "reversed"])
axes[0].set_ylabel("lost, % of the optimum")
show(fig)

# %% [markdown]
# **What to see.** Each dot is a world, sorted. A few percent on average, most on the real devices
# of `testbed`. Holes matter there, hardly in the other two. Another order helps in the mean of
# `testbed` and makes its worst world worse: no order is right for all.
#
# Is a few percent much? It is lost in *every* slot, for ever. Regret against the true optimum grows
# linearly, however well the scheduler learns. (Theorem 1 of the paper promises $O(\log T)$ and
# counts on a mapping that is the global optimum; Algorithm 2 is not that.) Let us play it.
# `Informed` is told the truth and maps once:


# %%
class Informed:
    """Plays one mapping of the true means, by any solver."""

    knows = "world"
    coordinates = True

    def __init__(self, solve):
        self.solve = solve

    def reset(self, problem, rng):
        mapping = self.solve(problem_of(problem.world), None)
        self.plan = to_allocation(mapping.choice, problem.providers, problem.workers)[None]

    def act(self, observation):
        return self.plan

    def update(self, feedback):
        pass


players = {
    "told the truth, Algorithm 2": (Informed(solve_sequential), {"color": GREY, "ls": "-"}),
    "DistMLLM, Algorithm 2": (DistMLLM(), {"color": BLUE, "ls": "-"}),
    "DistMLLM, exact mapping": (DistMLLM(mapping="exact"), {"color": ORANGE, "ls": "--"}),
}
print("regret R(500), seeds 0 to 19, mean ± sd")
fig, axes = plt.subplots(1, 3, figsize=(6.5, 3.2))
for ax, name in zip(axes, names, strict=True):
    scenario, regrets = Scenario.load(name), []
    for label, (policy, look) in players.items():
        run = play(scenario, policy, seeds=range(20))
        scores = Scores(run, optimum(run.world))
        regrets.append(scores.regret)
        ax.plot(np.arange(1, scenario.slots + 1), scores.regret_curve.mean(axis=0), label=label,
                **look)
    saved = regrets[1] - regrets[2]
    cells = ", ".join(f"{r.mean():.0f} ± {r.std(ddof=1):.0f}" for r in regrets)
    print(f"  {name:8} {cells}; exact mapping saves {saved.mean():.0f} ± {saved.std(ddof=1):.0f}, "
          f"in {(saved > 0).sum()} of 20 worlds")
    ax.set(title=name, xlabel="slot t", ylim=(0, None))
axes[0].set_ylabel("regret R(t), mean of 20 runs")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
show(fig)

# %% [markdown]
# **What to see.** The grey line is a scheduler that has nothing left to learn: a straight line, for
# ever. On `paper` a learner with an exact mapping (orange) overtakes it. Much of what DistMLLM as
# printed (blue) loses is lost in the mapping and not in the learning. The steps are its
# explorations; on `scarce` they weigh more, since ten providers on five workers drop many of each
# other's tries.

# %% [markdown]
# ## 8 · Exact, with a certificate
#
# Branch and bound works for the whole problem, too: `solve_branch_and_bound` is written to be read.
# It puts one price on every worker, as in section 3, so that an open task may go where it earns
# most *after paying*. A world of `scarce`, stopped after more and more nodes:

# %%
scarce = draw_world(Scenario.load("scarce"), seeds=range(20))
problem = problem_of(scarce, 19)
limits = np.unique(np.geomspace(1, 600, 25).astype(int)) - 1
stopped = [solve_branch_and_bound(problem, node_limit=int(limit)) for limit in limits]
exact = solve_exact(problem)
for when, mapping in (("no node", stopped[0]), ("600 nodes", stopped[-1]), ("exact", exact)):
    print(f"{when:10} value {mapping.value:.2f}, bound {mapping.bound:.2f}, gap {mapping.gap:.2f}, "
          f"{mapping.status}")

fig, ax = plt.subplots()
ax.fill_between(limits + 1, [m.value for m in stopped], [m.bound for m in stopped], color=GREY,
                alpha=0.2, lw=0)
ax.plot(limits + 1, [m.bound for m in stopped], color=ORANGE, label="bound U")
ax.plot(limits + 1, [m.value for m in stopped], color=BLUE, ls="--", label="value L")
ax.axhline(solve_sequential(problem).value, color=GREY, ls=":", label="Algorithm 2")
ax.set(xscale="log", xlabel="nodes allowed + 1", ylabel="profit per slot", title="scarce, seed 19")
ax.legend(loc="lower right")
show(fig)

# %% [markdown]
# **What to see.** As in section 4, the good solution comes first and the proof last. Whoever
# stops early still knows that the optimum lies in the grey area. That is worth more than a
# heuristic's value alone: "at most 1 % below the best" is a statement that you can check.

# %% [markdown]
# ## 9 · How work grows
#
# What can be solved, how large? Seconds hang on the machine, so count something that does not. The
# five workers of `paper`, and more and more providers:

# %%
sizes, stop = np.arange(2, 8), 1000
fig, ax = plt.subplots()
for m in sizes.tolist():
    worlds = draw_world(Scenario.load("paper", providers=m), seeds=range(9))
    nodes = [solve_branch_and_bound(problem_of(worlds, b), node_limit=stop).nodes for b in range(9)]
    ax.plot(m + np.linspace(-0.2, 0.2, 9), np.array(nodes) + 1, ".", color=ORANGE, ms=5,
            label="nodes of branch and bound + 1, nine worlds" if m == 2 else None)
capacity_5 = worlds.capacity[0, :-1]
ax.plot(sizes, 2 * sizes * (capacity_5 + 1).sum(), color=BLUE, ls="--",
        label="cells of Algorithm 2's tables")
ax.plot(sizes, 6.0 ** (2 * sizes), color=GREY, label="all allocations")
ax.axhline(stop + 1, color=ORANGE, ls=":", lw=1, label="stopped here")
ax.set(yscale="log", xlabel="providers M (2M tasks)", ylabel="count", ylim=(0.7, 1e14))
ax.legend(loc="upper left")
show(fig)

# %% [markdown]
# **What to see.** Trying everything is hopeless from a handful of providers on. Algorithm 2 grows
# with the size of its tables, and that is all. Branch and bound is done at once in some worlds; in
# others, no larger ones, it takes hundreds of times as long: that is what *exponential in the worst
# case* looks like in practice. (Seven providers bring about as much demand as there is capacity.
# `solve_exact` has no trouble at these sizes; the README says what it does at 400 x 40.)
#
# If you must measure time, measure well: the same problems for all, a first round that does not
# count (imports, compilers, caches), many repetitions, the median. The result of this cell is not
# shown, since yours will differ:


# %%
def median_ms(solve, problems, repeats=3):
    """Median time per problem in milliseconds, after a round that does not count."""
    times = []
    for repeat in range(repeats + 1):
        for problem in problems:
            start = time.perf_counter()
            solve(problem)
            if repeat > 0:
                times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times))


problems = [problem_of(scarce, b) for b in range(20)]
milliseconds = {
    "Algorithm 2": median_ms(solve_sequential, problems),
    "exact": median_ms(solve_exact, problems),
}
# milliseconds  # take away the first "# " to see yours; the README has a table for many sizes

# %% [markdown]
# ## 10 · What is fair?
#
# So far the sum of all profits counted. Where somebody has to wait, that may mean that the same
# providers wait for ever. **Jain's index** says how equal the profits $r_m$ of $M$ providers are:
#
# $$
# J = \frac{(\sum_m r_m)^2}{M \sum_m r_m^2} ,
# $$
#
# 1 if all earn the same, $1/M$ if one has all. It is blind to how much there is: burning money
# until all are equally poor gives $J = 1$.
#
# **Proportional fairness** (Kelly 1997; equation (5) of the paper) weighs both. An allocation $x^*$
# is proportionally fair if no other allocation $x$ wins more percent for some than it costs others,
# summed over the providers:
#
# $$
# \sum_m \frac{r_m(x) - r_m(x^*)}{r_m(x^*)} \le 0 \quad \text{for all } x \text{ that fit.} \tag{5}
# $$
#
# If there is such an $x^*$, it has the largest $\sum_m \log r_m$. (By (5) the ratios
# $r_m(x) / r_m(x^*)$ have a mean of at most 1, so their geometric mean is at most 1, too.) The
# logarithm is what makes it fair: from 1 to 2 counts as much as from 10 to 20, and nobody may be
# left with 0.
#
# But is there one? Two providers with one task each, two workers with one place each; both
# earn 2 on worker 0 and 1 on worker 1.

# %%
def jain(profits):
    return profits.sum() ** 2 / (len(profits) * (profits**2).sum())


couple = plain([[2, 1], [2, 1]], weight=[1, 1], capacity=[1, 1])
fair = solve_fair(couple, providers=2)
first, second = np.array([2.0, 1.0]), np.array([1.0, 2.0])
print(f"largest sum of logarithms: {fair.value:.3f} = log 2")
print(f"left side of (5), the one against the other: {((second - first) / first).sum():+.2f}, "
      f"{((first - second) / second).sum():+.2f}")
print(f"the package says: violated by {fairness_violation(couple, fair.choice, 2):.2f}")

points = np.array([(2, 1), (1, 2), (2, 0), (0, 2), (1, 0), (0, 1), (0, 0)])
grid = np.linspace(0.05, 2.4, 200)
fig, ax = plt.subplots(figsize=(6.5, 3.2))
ax.contour(grid, grid, np.log(grid)[:, None] + np.log(grid), levels=[0, np.log(2), 2 * np.log(1.5)],
           colors=GREY, linewidths=0.8, linestyles=":")
ax.plot([2, 1], [1, 2], color=BLUE, ls="--", label="mixtures of the two")
ax.plot(*points.T, "o", color=BLUE, label="allocations")
ax.plot(1.5, 1.5, "*", color=ORANGE, ms=14, label="half and half")
ax.set(xlabel="profit of provider 0", ylabel="profit of provider 1", xlim=(-0.1, 2.4),
       ylim=(-0.1, 2.4), aspect="equal")
ax.legend(loc="center left", bbox_to_anchor=(1.05, 0.5))
show(fig)

# %% [markdown]
# **What to see.** Dotted: equal sums of logarithms. Two allocations share the largest one, and
# whichever you take, the other has a left side above 0. So (5) holds for neither: **over whole
# tasks a proportionally fair allocation need not exist.** Kelly's theory is about quantities that
# can be divided. If the two take turns, slot by slot, their mean profits are the star, and the star
# is fair: (5) holds for it against every point of the picture.
#
# How often is there a fair allocation in a slot of our worlds, and what does it cost to take the
# one of the largest sum of logarithms instead of the largest sum?


# %%
def profits_of(problem, choice, providers):
    """What every provider earns over both its tasks."""
    earned = np.append(problem.utility, np.zeros((len(choice), 1)), axis=1)  # OUT is the last
    return earned[np.arange(len(choice)), choice].reshape(2, providers).sum(axis=0)


fig, axes = plt.subplots(1, 2, sharex=True, sharey=True)
for ax, name in zip(axes, ("paper", "scarce"), strict=True):
    worlds = draw_world(Scenario.load(name), seeds=range(20))
    m, exists, rows = worlds.scenario.providers, 0, []
    for b in range(20):
        problem = problem_of(worlds, b)
        fair, best = solve_fair(problem, m), solve_exact(problem)
        exists += fairness_violation(problem, fair.choice, m) < 1e-7
        of_fair, of_best = (profits_of(problem, x.choice, m) for x in (fair, best))
        rows.append((jain(of_best), of_fair.sum() / of_best.sum(), jain(of_fair), of_best.min()))
    before, share, after, poorest = np.array(rows).T
    ax.plot(np.ones(20), before, "s", color=ORANGE, ms=4, label="largest sum")
    ax.plot(share, after, "o", color=BLUE, ms=4, label="largest sum of logarithms")
    ax.plot([np.ones(20), share], [before, after], color=GREY, lw=0.6)
    ax.set(title=name, xlabel="sum of profits, share of the optimum")
    print(f"{name}: a fair allocation exists in {exists} of 20 worlds")
    print(f"  Jain's index {before.mean():.3f} → {after.mean():.3f}, "
          f"sum of profits {share.mean():.1%} of the optimum")
    print(f"  somebody earns nothing in {(poorest == 0).sum()} worlds → in none")
axes[0].set_ylabel("Jain's index")
axes[0].legend(loc="lower right")
show(fig)

# %% [markdown]
# **What to see.** In `paper` there is room for all, so the largest sum is nearly fair by itself. In
# `scarce` somebody has to wait; the logarithm makes profits clearly more equal, for a few percent
# of the sum. In no world of `scarce` does any allocation of a single slot satisfy (5) to the
# letter.

# %% [markdown]
# ## Exercises
#
# All cells below run as they are. Change them.

# %% [markdown]
# ### Exercise 1 · Half and no less (by hand)
#
# Three tasks on one worker with capacity 100. Choose values and demands
# so that greedy gets as close to half of the optimum as you can, even with the cure of section 2
# (the better of greedy and the most valuable single task).

# %%
my_values, my_weights = np.array([30.0, 30.0, 30.0]), np.array([40, 40, 40])
taken = greedy(my_values, my_weights, 100)
cured = max(my_values[taken].sum(), my_values.max())
print(f"share of the optimum: {cured / fill_table(my_values, my_weights, 100)[-1, -1]:.3f}")

# %% [markdown]
# <details><summary>Hint</summary>
#
# Greedy must be lured into a small task, after which only one of two large ones fits.
# </details>
#
# <details><summary>Solution</summary>
#
# Demands 1, 50, 50 and values 1.01, 50, 50: greedy takes the small one and then only one of the
# others, 51.01 of 100. With a larger capacity you come closer to one half.
# </details>

# %% [markdown]
# ### Exercise 2 · One row of memory
#
# The table of section 1 keeps $K + 1$ rows, though a row needs only the one
# above. Compute the best *value* in a single row of memory. In which direction must $c$ run?

# %%
def best_value(value, weight, capacity):
    """The best value, in memory of size C + 1."""
    best = np.zeros(capacity + 1)
    for v, w in zip(value, weight, strict=True):
        ...  # update best in place
    return best[-1]


print(best_value(value, weight, capacity), "of", table[-1, -1])

# %% [markdown]
# <details><summary>Hint</summary>
#
# A task must not be taken twice: `best[c - w]` has to be the value *before* this task. A loop over
# falling `c` does it; so does one NumPy line, if the right side is computed first.
# </details>
#
# <details><summary>Solution</summary>
#
# `best[w:] = np.maximum(best[w:], best[: capacity + 1 - w] + v)`, for tasks with `w <= capacity`.
# </details>

# %% [markdown]
# ### Exercise 3 · All orders
#
# Improve Algorithm 2 without an exact solver: try all orders of the workers (there
# are 120 in `scarce`), with `refill`, and keep the best. How much of the loss is left, in the mean
# over 20 worlds?

# %%
lost = []
for b in range(20):
    problem = problem_of(scarce, b)
    orders = [range(5)]  # more of them
    found = max(solve_sequential(problem, order=list(order)).value for order in orders)
    lost.append(1 - found / solve_exact(problem).value)
print(f"lost: {np.mean(lost):.1%} ± {np.std(lost, ddof=1):.1%}")

# %% [markdown]
# <details><summary>Hint</summary>
#
# `permutations(range(5))` is imported already. Compare with what a local search gets: move one task
# to where there is room, or swap two tasks, as long as the value grows.
# </details>

# %% [markdown]
# ### Exercise 4 · A price on every worker
#
# A bound for many workers. With prices $\lambda_n$ the bound of section 3 becomes
# $U(\lambda) = \sum_n \lambda_n C_n + \sum_k \max(0, \max_n (u_{k,n} - \lambda_n w_k))$. Write it,
# then find good prices: raise $\lambda_n$ a little where the tasks that want to go to $n$ exceed
# its capacity, lower it (not below 0) where they leave room. How close to the optimum do you get?

# %%
def price_bound(problem, prices):
    """No solution is worth more than this."""
    return np.maximum(0, problem.utility.max(axis=1)).sum()  # right for prices of 0 only


problem = problem_of(scarce, 19)
prices = np.zeros(5)
print(f"bound {price_bound(problem, prices):.2f}, optimum {solve_exact(problem).value:.2f}")

# %% [markdown]
# <details><summary>Hint</summary>
#
# Wish of a task: `net = problem.utility - prices * problem.weight[:, None]`, worker
# `net.argmax(axis=1)` if `net.max(axis=1) > 0`. Let the step shrink like 1 / round, and keep the
# smallest bound of all rounds.
# </details>

# %% [markdown]
# ### Exercise 5 · Taking turns
#
# For the two providers of section 10 alternation is fair. Write a
# policy for `scarce` that knows the world and changes its allocation from slot to slot, so that
# after 500 slots Jain's index is higher than that of the fair allocation. What share of the optimum
# does it earn?

# %%
def solve_fairly(problem, previous):
    return solve_fair(problem, len(problem.utility) // 2)


class TakingTurns(Informed):
    """An allocation that may change from slot to slot."""

    def act(self, observation):
        return self.plan  # your idea here


run = play(Scenario.load("scarce"), TakingTurns(solve_fairly), seeds=range(10))
scores = Scores(run, optimum(run.world))
print(f"Jain {scores.jain.mean():.3f}, of the optimum {scores.share_curve[:, -1].mean():.1%}")

# %% [markdown]
# <details><summary>Hint</summary>
#
# Give every provider a weight and maximise the weighted sum of profits with `solve_exact` (scale
# the rows of `utility`). After every slot let the weight be 1 / (what the provider has earned so
# far): in the long run that maximises the sum of logarithms of the mean profits.
# </details>

# %% [markdown]
# ### Exercise 6 · A solver of your own (open)
#
# A solver of your own in DistMLLM. What is registered in `SOLVERS` can be
# named as `mapping`. How much of what the exact mapping saves on `scarce` and `testbed` can a
# heuristic of yours save? Certify it: return a bound, too.

# %%
def my_solver(problem, previous):
    """Takes a MappingProblem, returns a Mapping; `previous` is the answer of the last epoch."""
    return solve_sequential(problem)  # yours here


SOLVERS["mine"] = my_solver
run = play(Scenario.load("testbed"), DistMLLM(mapping="mine"), seeds=range(20))
regret = Scores(run, optimum(run.world)).regret
print(f"testbed, R(500) with my solver: {regret.mean():.0f} ± {regret.std(ddof=1):.0f}")

# %% [markdown]
# <details><summary>Hint</summary>
#
# `dataclasses.replace(mapping, choice=..., value=..., bound=...)` makes a changed copy. Good
# heuristics put first the tasks that would lose most by taking their second best worker.
# </details>

# %% [markdown]
# ## What you should be able to say now
#
# - what the rows and columns of a knapsack table mean, and when there is no such table;
# - why greedy can be arbitrarily bad, and what guarantees one half;
# - how a price on capacity gives an upper bound, and what a gap certifies;
# - how Algorithm 2 works, three ways in which it loses, and why it never loses more than half;
# - why a mapping that loses a percent has linear regret;
# - what Jain's index ignores, what proportional fairness asks for, and why it may not exist.
#
# ## Further reading
#
# - S. Martello, P. Toth: *Knapsack Problems: Algorithms and Computer Implementations*, Wiley, 1990.
#   Knapsacks, bounds, branch and bound, and a chapter on generalized assignment.
# - R. Cohen, L. Katzir, D. Raz: "An efficient approximation for the generalized assignment
#   problem", Information Processing Letters 100, 2006. What Algorithm 2 is, and why one half.
# - F. Kelly: "Charging and rate control for elastic traffic", European Transactions on
#   Telecommunications 8, 1997. Proportional fairness.
# - R. Jain, D.-M. Chiu, W. Hawe: "A Quantitative Measure of Fairness and Discrimination for
#   Resource Allocation in Shared Computer Systems", DEC Research Report TR-301, 1984.
# - The DistMLLM paper, Section 2.3 and Lemmas 2 and 3:
#   [doi 10.3390/s25247612](https://doi.org/10.3390/s25247612).
# - [ASSUMPTIONS.md](../ASSUMPTIONS.md), rows C1 to C9.
