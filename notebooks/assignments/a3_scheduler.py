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
# name: a3_scheduler
# init_cell: false
# export_cell: false
# check_all_cell: false
# generate: true

# %% [markdown]
# # Assignment 3: a scheduler of your own
#
# You design a scheduler for the whole market: in every slot it places the encoder and the LLM task of
# every provider, sees who was admitted and what was earned, and should lose as little as possible
# against the optimum that it is never told. It is graded on worlds that nobody has seen, against
# thresholds that UCB, HEU (which is told how fast the workers are; you are not) and the paper's
# DistMLLM reach with a probability of 99 %.
#
# **You learn** to put statistics, exploration and mapping together, to compare honestly on seeds that
# you did not tune on, and to say why something works.
#
# **Time** eight to twelve hours with the report. **Points** 12, and 8 for the report at the end, which
# is read by a person.
#
# **Rules.** The class is called `Scheduler`, has `reset`, `act` and `update`, and needs no arguments. It
# may import NumPy, SciPy, OR-Tools and `distmllm_agents.mapping`; to hand in a policy of this package, or
# a copy of one, earns nothing. It knows rewards (the default), or declares `knows = "latency_energy"`;
# whatever else it declares is refused. It keeps nothing from one run to the next, neither in variables
# nor in files. A run of 500 slots may take five seconds. It is played in a process of its own that
# holds no world: what you may know is in `problem` and `feedback`.
#
# **Check** what you have at any time with `distmllm grade a3_scheduler.ipynb` in this folder, compare it
# by `distmllm bench paper --policy my_file:Scheduler`, and look at a run with `distmllm view`.

# %%
import numpy as np

from distmllm_bench.teaching.scheduling import SHARES, play_unseen, share_of_optimum, unseen

# %% [markdown]
# ## 1 The scheduler (12 points)
#
# `problem` has `providers`, `workers`, `slots`, `demand` (1, M), `capacity` (1, N), `feasible`
# (1, S, M, N) and more; `rng` is a NumPy generator, and the only one that you may draw from.
# `act(observation)` returns int (1, M, S), a worker 0..N-1 or N to defer. `feedback` has `allocation`,
# `admitted` and `profit`, all (1, M, S), and `load` (1, N). Notebook 01 has a first scheduler.
#
# Points: 1 for playing by the rules, 2 for beating random play clearly on `paper`, and on each of
# `paper`, `scarce` and `testbed` 1 for UCB's threshold, 1 for HEU's and 1 for DistMLLM's: `SHARES` has
# the thresholds, as shares of the optimum.

# %% [raw]
# # BEGIN QUESTION
# name: q1
# points: 12
# check_cell: false

# %% [raw]
# # BEGIN SOLUTION

# %%
class Scheduler:
    """Says in one sentence what it does."""

    coordinates = True  # it decides for all providers together

    def reset(self, problem, rng):
        """Start a run."""
        # BEGIN SOLUTION
        self.weight, self.capacity = problem.demand[0], problem.capacity[0]
        self.feasible = problem.feasible[0].transpose(1, 0, 2)  # (M, S, N)
        self.noise, self.range = problem.profit_std[0], problem.profit_range[0]
        self.count = np.zeros(self.feasible.shape, int)
        self.total = np.zeros(self.feasible.shape)
        # END SOLUTION

    def act(self, observation):
        """Return a worker for every task, or N to defer, int (1, M, S)."""
        # BEGIN SOLUTION
        # Mean and a bonus on the scale of the noise; a little more than the best for new pairs.
        tried, count = self.count > 0, np.maximum(self.count, 1)
        mean = self.total / count
        best = np.where(tried, mean, -np.inf).max(axis=2, keepdims=True)
        hope = 1.05 * np.where(np.isfinite(best), best, self.range) + 0.1 * self.noise
        bonus = 0.5 * self.noise * np.sqrt(np.log(observation.slot + 1) / count)
        index = np.where(self.feasible, np.where(tried, mean + bonus, hope), -np.inf)
        # Place the pairs of task and worker by falling index per demand, where there is room.
        room, workers = self.capacity.astype(float), len(self.capacity)
        choice = np.full(index.shape[:2], workers)
        order = np.argsort(-(index / self.weight[:, None, None]), axis=None, kind="stable")
        for m, s, n in zip(*np.unravel_index(order, index.shape)):
            fits = self.weight[m] <= room[n] + 1e-9
            if index[m, s, n] > 0 and choice[m, s] == workers and fits:
                choice[m, s] = n
                room[n] -= self.weight[m]
        return choice[None]
        # END SOLUTION

    def update(self, feedback):
        """Learn from what the slot gave."""
        # BEGIN SOLUTION
        m, s = np.nonzero(feedback.admitted[0])
        n = feedback.allocation[0, m, s]
        self.count[m, s, n] += 1
        self.total[m, s, n] += feedback.profit[0, m, s]
        # END SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
share = share_of_optimum(Scheduler, "toy", [0, 1], slots=20)
assert 0.0 < share <= 1.0 + 1e-9, "it plays two runs of the smallest market"

# %%
share = share_of_optimum(Scheduler, "paper", range(5), slots=200)
assert share > 0.9, f"{share:.3f} of the optimum on five worlds; random play earns about 0.84"

# %%
# HIDDEN
assert play_unseen(Scheduler, "paper", "SEED-SALT") > 0.9

# %%
# HIDDEN
assert play_unseen(Scheduler, "paper", "SEED-SALT") >= SHARES["UCB"]["paper"]

# %%
# HIDDEN
assert play_unseen(Scheduler, "paper", "SEED-SALT") >= SHARES["HEU"]["paper"]

# %%
# HIDDEN
assert play_unseen(Scheduler, "paper", "SEED-SALT") >= SHARES["DistMLLM"]["paper"]

# %%
# HIDDEN
assert play_unseen(Scheduler, "scarce", "SEED-SALT") >= SHARES["UCB"]["scarce"]

# %%
# HIDDEN
assert play_unseen(Scheduler, "scarce", "SEED-SALT") >= SHARES["HEU"]["scarce"]

# %%
# HIDDEN
assert play_unseen(Scheduler, "scarce", "SEED-SALT") >= SHARES["DistMLLM"]["scarce"]

# %%
# HIDDEN
assert play_unseen(Scheduler, "testbed", "SEED-SALT") >= SHARES["UCB"]["testbed"]

# %%
# HIDDEN
assert play_unseen(Scheduler, "testbed", "SEED-SALT") >= SHARES["HEU"]["testbed"]

# %%
# HIDDEN
assert play_unseen(Scheduler, "testbed", "SEED-SALT") >= SHARES["DistMLLM"]["testbed"]

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# ## 2 The report (8 points, read by a person)
#
# Two pages: what your scheduler does and why (2 points); an ablation with at least three variants on
# development seeds, with intervals of paired differences (3 points); one thing that did not work, and
# what you conclude (2 points); where it would fail, shown on a scenario that you change (1 point).
