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
# name: a1_bandits
# init_cell: false
# export_cell: false
# check_all_cell: false
# generate: true

# %% [markdown]
# # Assignment 1: running means and UCB
#
# A provider places the same task slot after slot and is told what it earned. You write the parts
# of a bandit one by one: a mean that is kept up to date, the index of UCB1, the choice, the regret,
# and at last the loop. All of them are pure functions on NumPy arrays.
#
# **You learn** to keep statistics without keeping samples, to turn a formula into vectorised code,
# to handle what was never tried, and to tell regret from bad luck.
#
# **Time** about three hours. **Points** 14. Your functions are also called with inputs that you
# do not see here, and each call may take ten seconds. Do not change the arrays that you are given.
#
# **Check** what you have at any time with `distmllm grade a1_bandits.ipynb` in this folder: it runs
# the tests that you may see.

# %%
import numpy as np

# %% [markdown]
# ## 1 Running means (3 points)
#
# After $n$ samples with mean $\bar x_n$ a new one, $x$, gives
# $\bar x_{n+1} = \bar x_n + (x - \bar x_n) / (n + 1)$.
#
# Write `update_mean(mean, count, arm, reward)`: `mean` and `count` are arrays of shape (N,), `arm`
# is the worker that was chosen and `reward` what it paid. Return the new `mean` and the new `count`
# as a pair; the arrays that came in must not change.

# %% [raw]
# # BEGIN QUESTION
# name: q1
# points: 3
# check_cell: false

# %% [raw]
# # BEGIN SOLUTION

# %%
def update_mean(mean, count, arm, reward):
    """Return mean and count, both (N,), after one more reward of one arm."""
    # BEGIN SOLUTION
    mean, count = np.array(mean, float), np.array(count)
    count[arm] += 1
    mean[arm] += (reward - mean[arm]) / count[arm]
    return mean, count
    # END SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
mean, count = update_mean(np.array([1.0, 5.0]), np.array([1, 2]), 0, 3.0)
assert np.allclose(mean, [2.0, 5.0])
assert np.array_equal(count, [2, 2])

# %%
mean, count = update_mean(np.zeros(3), np.zeros(3, int), 2, 4.0)
assert np.allclose(mean, [0.0, 0.0, 4.0])

# %%
# HIDDEN
rng = np.random.default_rng(list(b"SEED-SALT q1"))
rewards, mean, count = rng.normal(size=(40, 3)), np.zeros(3), np.zeros(3, int)
for i, reward in enumerate(rewards.ravel()):
    mean, count = update_mean(mean, count, i % 3, reward)
assert np.allclose(mean, rewards.mean(axis=0))
assert np.array_equal(count, [40, 40, 40])

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# ## 2 The index of UCB1 (3 points)
#
# $\bar x_n + w \sqrt{2 \ln t / n_n}$ for worker $n$ after $n_n$ samples, in slot $t \geq 1$, where
# $w$ is the width of the rewards. A worker without samples has the index $+\infty$, so that it is
# tried first.
#
# Write `ucb_index(mean, count, t, width)` for arrays of **any** shape. No warning may be raised.

# %% [raw]
# # BEGIN QUESTION
# name: q2
# points: 3
# check_cell: false

# %% [raw]
# # BEGIN SOLUTION

# %%
def ucb_index(mean, count, t, width):
    """Return the index of every arm, of the shape of mean and count."""
    # BEGIN SOLUTION
    mean, count = np.asarray(mean, float), np.asarray(count)
    bonus = width * np.sqrt(2 * np.log(t) / np.maximum(count, 1))
    return np.where(count > 0, mean + bonus, np.inf)
    # END SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
index = ucb_index(np.array([1.0, 2.0, 0.0]), np.array([1, 4, 0]), 10, 2.0)
assert np.allclose(index[:2], [1 + 2 * np.sqrt(2 * np.log(10)), 2 + np.sqrt(2 * np.log(10))])
assert index[2] == np.inf

# %%
# HIDDEN
rng = np.random.default_rng(list(b"SEED-SALT q2"))
mean, count = rng.normal(size=(4, 2, 3)), rng.integers(1, 9, size=(4, 2, 3))
expected = mean + 0.5 * np.sqrt(2 * np.log(77) / count)
assert np.allclose(ucb_index(mean, count, 77, 0.5), expected)

# %%
# HIDDEN
index = ucb_index(np.zeros((2, 3)), np.zeros((2, 3), int), 1, 1.0)
assert index.shape == (2, 3) and np.isposinf(index).all()

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# ## 3 The choice (2 points)
#
# Write `choose(index, feasible)`: the feasible worker with the largest index, the lowest number
# among equals. `index` and `feasible` have shape (..., N); return integers of shape (...). A task
# for which no worker is feasible is deferred: its choice is N.

# %% [raw]
# # BEGIN QUESTION
# name: q3
# points: 2
# check_cell: false

# %% [raw]
# # BEGIN SOLUTION

# %%
def choose(index, feasible):
    """Return the chosen worker of each task, or N where none is feasible."""
    # BEGIN SOLUTION
    index, feasible = np.asarray(index, float), np.asarray(feasible, bool)
    best = np.where(feasible, index, -np.inf).max(axis=-1, keepdims=True)
    first = (feasible & (index >= best)).argmax(axis=-1)
    return np.where(feasible.any(axis=-1), first, index.shape[-1])
    # END SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
yes = np.ones(3, bool)
assert choose(np.array([1.0, 3.0, 2.0]), yes) == 1
assert choose(np.array([3.0, 1.0, 3.0]), yes) == 0
assert choose(np.array([1.0, 3.0, 2.0]), np.array([True, False, True])) == 2

# %%
# HIDDEN
index = np.array([[1.0, np.inf, np.inf], [0.0, -1.0, -2.0], [5.0, 6.0, 7.0]])
feasible = np.array([[True, True, True], [False, True, True], [False, False, False]])
assert np.array_equal(choose(index, feasible), [1, 1, 3])

# %%
# HIDDEN
assert choose(np.array([-np.inf, -np.inf]), np.array([False, True])) == 1

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# ## 4 Regret (2 points)
#
# $R(t) = \sum_{\tau \leq t} (\mu^* - \mu_{a_\tau})$: what the choices lost against always taking the
# best worker, counted in **means**. Write `pseudo_regret(means, choices)`: `means` (N,) are the true
# means, `choices` (T,) the workers chosen; return R(1), ..., R(T), shape (T,).

# %% [raw]
# # BEGIN QUESTION
# name: q4
# points: 2
# check_cell: false

# %% [raw]
# # BEGIN SOLUTION

# %%
def pseudo_regret(means, choices):
    """Return the cumulative pseudo-regret after every slot, (T,)."""
    # BEGIN SOLUTION
    means = np.asarray(means, float)
    return np.cumsum(means.max() - means[np.asarray(choices, int)])
    # END SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
assert np.allclose(pseudo_regret(np.array([1.0, 3.0]), np.array([0, 1, 0])), [2.0, 2.0, 4.0])

# %%
# HIDDEN
rng = np.random.default_rng(list(b"SEED-SALT q4"))
means, choices = rng.normal(size=5), rng.integers(5, size=30)
expected, total = [], 0.0
for arm in choices:
    total += means.max() - means[arm]
    expected.append(total)
assert np.allclose(pseudo_regret(means, choices), expected)

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# ## 5 The loop (4 points)
#
# Write `play(means, noise, slots, width, seed)`: play UCB1 for `slots` slots on workers with the
# true `means` (N,), where a reward is `means[arm] + noise * z` with `z` standard normal, drawn as
# `rng.normal()` once a slot from `rng = np.random.default_rng(seed)`. Slots count from 1. Return the
# workers chosen, (T,). Use the functions above.

# %% [raw]
# # BEGIN QUESTION
# name: q5
# points: 4
# check_cell: false

# %% [raw]
# # BEGIN SOLUTION

# %%
def play(means, noise, slots, width, seed):
    """Return the arms that UCB1 chooses, int (T,)."""
    # BEGIN SOLUTION
    rng = np.random.default_rng(seed)
    mean, count = np.zeros(len(means)), np.zeros(len(means), int)
    feasible = np.ones(len(means), bool)
    choices = []
    for t in range(1, slots + 1):
        arm = int(choose(ucb_index(mean, count, t, width), feasible))
        mean, count = update_mean(mean, count, arm, means[arm] + noise * rng.normal())
        choices.append(arm)
    return np.array(choices)
    # END SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
choices = play(np.array([0.1, 0.9, 0.5]), 0.0, 50, 0.1, seed=0)
assert choices.shape == (50,)
assert list(choices[:3]) == [0, 1, 2], "every worker is tried once, in order"
assert (choices[3:] == 1).sum() > 40

# %%
# HIDDEN
means = np.array([0.2, 0.5, 0.8, 0.4])
rng = np.random.default_rng(list(b"SEED-SALT q5"))
for seed in rng.integers(2**31, size=3):
    luck = np.random.default_rng(seed)
    total, count, expected = np.zeros(4), np.zeros(4), []
    for t in range(1, 121):
        index = [
            total[n] / count[n] + np.sqrt(2 * np.log(t) / count[n]) if count[n] else np.inf
            for n in range(4)
        ]
        arm = int(np.argmax(index))
        total[arm] += means[arm] + 0.3 * luck.normal()
        count[arm] += 1
        expected.append(arm)
    assert np.array_equal(play(means, 0.3, 120, 1.0, int(seed)), expected)

# %%
# HIDDEN
rng = np.random.default_rng(list(b"SEED-SALT q5 regret"))
means, lost = np.array([0.2, 0.5, 0.8, 0.4]), []
for seed in rng.integers(2**31, size=20):
    choices = play(means, 0.3, 400, 0.3, int(seed))
    assert choices.shape == (400,)
    lost.append(float((means.max() - means[choices]).sum()))
assert np.mean(lost) < 25, "regret of 400 slots; random play loses about 130"

# %%
# HIDDEN
assert np.array_equal(play(np.array([1.0]), 1.0, 5, 1.0, 3), [0] * 5)

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# ## To think about (not graded)
#
# Play `play` with `width` 0.1, 1 and 10 on the same means and draw `pseudo_regret`. Which is the best
# at 400 slots, which at 10,000? What does UCB1's theory ask of `width`, and what is it good for when
# the rewards' range is much larger than their noise? Notebook 02 has the pictures.
