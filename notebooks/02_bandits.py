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
# # 2 · Bandits: explore, exploit, regret
#
# A scheduler that does not know which worker is best must try them, and every try costs a slot: you
# build the classic answers to this, measure them, and see what DistMLLM makes of them.
#
# **You will**
#
# - find out how far a mean of n noisy samples may be off, by Hoeffding's inequality and by
#   experiment;
# - define regret, and tell pseudo-regret from realised regret;
# - write explore-then-commit, epsilon-greedy and UCB1, and see what each gets wrong;
# - recognise logarithmic and linear regret in a picture;
# - see what DistMLLM's epochs do, and why good bandits can still be a bad scheduler.
#
# About 100 minutes, exercises not counted. Needs [notebook 1](01_the_market.ipynb): workers, tasks,
# slots, worlds, and schedulers with `reset`, `act` and `update`.

# %%
# On Colab, take away the first "# ":
# # %pip install -q distmllm-env

from io import BytesIO

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display
from PIL import Image

from distmllm_agents.distmllm import DistMLLM
from distmllm_bench import style
from distmllm_bench.metrics import Scores, optimum
from distmllm_env import ENC, LLM, Market, Scenario, draw_world, load_policy, play
from distmllm_env.policy import Observation, make_feedback, make_problem

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#757575"
LOOKS = style.looks(
    ["random", "ucb", "ucb-sigma", "distmllm", "distmllm-fixed", "explore-commit", "eps-greedy"]
)
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
# ## 1 · One task, five workers
#
# A *bandit* is a slot machine with several arms, each of which pays at random, with a mean of its
# own that you do not know. You may pull one arm per round. Here the arms are workers, a pull is a
# slot, and the pay is the profit of a task.
#
# To meet nobody, we play one provider alone in the scenario `slack`, where every worker has room
# for all. Its ENC task and its LLM task are then two bandits side by side that share nothing. The
# true means of one world:

# %%
one = Scenario.load("slack", providers=1)
world = draw_world(one, seeds=[0])
for name, stage in (("ENC", ENC), ("LLM", LLM)):
    mu = world.mean_profit[0, stage, 0, :-1]
    print(f"{name} task: means {mu}, gaps to the best {mu.max() - mu}")
best, second = np.argsort(-world.mean_profit[0, LLM, 0, :-1])[:2]
print(f"The LLM task earns most on worker {best}, then on worker {second}.")

# %% [markdown]
# A scheduler does not see these numbers. It sees samples: the profit of a slot, with noise on
# latency and energy. Let us look at the LLM task on every worker for 200 slots, in 1000 repetitions
# of the same world (`world_seed=0`) with luck of their own. The luck of a slot on one seed is the
# same wherever a task goes, so every worker gets seeds of its own here.

# %%
RUNS, TRIES = 1000, 200


def samples(worker):
    """LLM profits of TRIES slots on a worker, in RUNS repetitions: (RUNS, TRIES)."""
    seeds = range(worker * RUNS, (worker + 1) * RUNS)
    market = Market(one, seeds, world_seed=0)
    allocation = np.full((RUNS, 1, 2), worker)
    return np.stack([market.step(allocation).profit[:, 0, LLM] for _ in range(TRIES)], axis=1)


profit = np.stack([samples(n) for n in range(one.workers)])  # (5, RUNS, TRIES)
means = profit.cumsum(axis=2) / np.arange(1, TRIES + 1)  # after 1, 2, ... tries
right = (means.argmax(axis=0) == best).mean(axis=0)

fig, axes = plt.subplots(1, 2)
for n in range(one.workers):
    axes[0].plot(n + np.linspace(-0.25, 0.25, 25), profit[n, 0, :25], ".", color=GREY, ms=3)
    mu = world.mean_profit[0, LLM, 0, n]
    axes[0].plot([n - 0.35, n + 0.35], [mu, mu], color=ORANGE, lw=2)
axes[0].set(xlabel="worker", ylabel="profit of the LLM task", title="25 samples each")
axes[1].semilogx(np.arange(1, TRIES + 1), right, color=BLUE)
axes[1].axhline(1 / one.workers, color=GREY, ls="--")
axes[1].set(xlabel="tries of every worker", ylabel="share of the runs", ylim=(0, 1),
            title="best mean = best worker?")
show(fig)

# %% [markdown]
# **What to see.** Left: the true means (orange) lie within each other's clouds. Right: after one
# try of each worker the largest sample is little better than a blind guess (dashed), and it takes
# some tens of tries until it can be trusted.

# %% [markdown]
# ## 2 · How wrong can a mean be? Hoeffding
#
# Let $\hat\mu_n$ be the mean of $n$ independent samples with mean $\mu$ that all lie in an interval
# of width $w$. **Hoeffding's inequality** says, whatever the distribution:
#
# $$
# P\left(|\hat\mu_n - \mu| > \varepsilon\right)
# \le 2 \exp\left(-\frac{2 n \varepsilon^2}{w^2}\right).
# $$
#
# (It is Lemma 1 of the DistMLLM paper.) Read it backwards: with probability $1 - \delta$ the error
# is at most $w \sqrt{\ln(2/\delta) / 2n}$. It shrinks like $1/\sqrt n$: for half the error you need
# four times the samples.
#
# Note that $w$ is the range of the *samples*. Noise in `slack` is uniform with standard deviation
# 0.1 on latency and on energy, and a uniform variable is $\sqrt{12}$ standard deviations wide.

# %%
latency, energy = world.latency_s[0, LLM, 0, best], world.energy_j[0, LLM, 0, best]
price, g = world.price[0, best], one.reward.llm_weight_per_s
w = 12**0.5 * one.noise.std * (g * latency + price * energy)
sigma = profit[best].std()
print(f"w = {w:.2f}; observed: lowest to highest {np.ptp(profit[best]):.2f}, sigma {sigma:.2f}")

n = np.arange(1, TRIES + 1)
error = np.abs(means[best] - world.mean_profit[0, LLM, 0, best])
epsilon, delta = 0.1, 0.05

fig, axes = plt.subplots(1, 2)
axes[0].plot(n, w * np.sqrt(np.log(2 / delta) / (2 * n)), color="black", label="Hoeffding")
axes[0].plot(n, np.quantile(error, 1 - delta, axis=0), color=BLUE, label="observed")
axes[0].plot(n, 1.96 * sigma / np.sqrt(n), color=ORANGE, ls="--", label="1.96 σ / √n")
axes[0].set(xlabel="samples n", ylabel="error", ylim=(0, 0.6), title="95 % of errors are below")
axes[0].legend()
axes[1].semilogy(n, 2 * np.exp(-2 * n * epsilon**2 / w**2), color="black")
axes[1].semilogy(n, (error > epsilon).mean(axis=0), color=BLUE)
axes[1].set(xlabel="samples n", ylabel="probability", ylim=(1e-3, 2),
            title=f"error above {epsilon}")
show(fig)

# %% [markdown]
# **What to see.** The bound holds, and it is loose. Hoeffding knows only the range $w$ and has to
# expect the worst; the standard deviation $\sigma$ is much smaller than the range, and the central
# limit theorem (dashed) is nearly exact. This difference comes back in section 6.
#
# How many samples of each worker tell the best from the second best?

# %%
gap = world.mean_profit[0, LLM, 0, best] - world.mean_profit[0, LLM, 0, second]
by_hoeffding = w**2 * np.log(2 / delta) / (2 * (gap / 2) ** 2)
by_normal = 2 * (1.645 * sigma / gap) ** 2
print(f"gap {gap:.3f}: both errors below half of it, by Hoeffding n = {by_hoeffding:.0f}")
print(f"           the right order in 95 % of cases, normal approximation: n = {by_normal:.0f}")

# %% [markdown]
# Samples needed grow with $(\sigma / \text{gap})^2$. Two workers that are nearly equal are hard to
# tell apart, but then it hardly matters which one you take. This balance is what bandit theory is
# about.

# %% [markdown]
# ## 3 · Regret
#
# Let $V^*$ be what the best allocation earns per slot on average. **Regret** is how much less than
# that you earned:
#
# $$
# R(T) = T\, V^* - \sum_{t=1}^{T} r_t .
# $$
#
# If $r_t$ is the mean profit of what you chose in slot $t$, this is **pseudo-regret**; if it is the
# profit that you really got, noise and all, it is **realised regret**. Both have the same mean over
# many runs. Random choices on one world, 20 runs, five of them drawn:

# %%
run = play(one, load_policy("random"), seeds=range(20), world_seed=0)
scores = Scores(run, optimum(run.world))
pseudo = scores.regret_curve  # (20, T)
t = np.arange(1, one.slots + 1)
realised = scores.best.value[:, None] * t - run.profit.sum(axis=(2, 3)).cumsum(axis=1)

fig, axes = plt.subplots(1, 2, sharey=True)
for ax, curves, name in ((axes[0], pseudo, "pseudo-regret"), (axes[1], realised, "realised")):
    ax.plot(t, curves[:5].T, color=GREY, lw=0.6)
    ax.plot(t, curves.mean(axis=0), color="black", lw=2, label="mean of 20")
    ax.set(xlabel="slot t", title=name)
axes[0].set_ylabel("regret R(t), money")
axes[0].legend()
show(fig)
for name, curves in (("pseudo", pseudo), ("realised", realised)):
    print(f"{name:8} R(500) = {curves[:, -1].mean():.1f} ± {curves[:, -1].std(ddof=1):.1f}")

# %% [markdown]
# **What to see.** The same slope, but the noise of the run is nobody's merit. Pseudo-regret leaves
# it out and never falls, so it is the one to compare by. And the slope is constant: random
# choice never gets better, its regret is *linear*.
#
# Note what regret says about profit: $R(t) = t\,(V^* - \text{average profit up to } t)$. Whoever is
# ahead in average profit at $t$ is behind in regret at $t$, and there is no other way. (Two pairs
# of claims in the paper break this rule; see "claim by claim" in the [README](../README.md).)
#
# From here on every seed has a world of its own.

# %% [markdown]
# ## 4 · Explore, then commit
#
# The simplest plan: try every worker $k$ times, then take the best sample mean for good. All
# policies of this notebook keep counts and sample means of every task on every worker, so that part
# comes first. It is written for any number of providers, each task for itself; we need that in the
# end.


# %%
class SampleMeans:
    """Count and sample mean of every pair of task and worker, (M, 2, N)."""

    def reset(self, problem, rng):
        self.problem, self.rng, self.workers = problem, rng, problem.workers
        shape = (problem.providers, 2, problem.workers)
        self.count, self.mean = np.zeros(shape), np.zeros(shape)
        self.m, self.s = np.indices((problem.providers, 2))

    def in_turn(self, slot):
        """Provider m sends both tasks to worker m + slot, going round."""
        return (self.m + slot) % self.workers

    def update(self, feedback):
        at = self.m, self.s, feedback.allocation[0]
        self.count[at] += 1
        self.mean[at] += (feedback.profit[0] - self.mean[at]) / self.count[at]


class ExploreThenCommit(SampleMeans):
    """Every worker `tries` times, then the best sample mean for good."""

    def __init__(self, tries):
        self.tries = tries
        self.exploring = True  # `play` records this attribute, slot by slot

    def act(self, observation):
        explore = self.tries * self.workers
        self.exploring = observation.slot < explore
        if observation.slot == explore:
            self.choice = self.mean.argmax(axis=2)
        return (self.in_turn(observation.slot) if self.exploring else self.choice)[None]


def regret_curves(policy, scenario=one, seeds=range(20), stages=(ENC, LLM)):
    """Pseudo-regret of some stages after every slot of every run, (runs, T)."""
    run = play(scenario, policy, seeds)
    lost = optimum(run.world).task_value[:, None] - run.expected_profit  # (runs, T, M, 2)
    return lost[..., list(stages)].sum(axis=(2, 3)).cumsum(axis=1)


def draw(ax, curves, look, label):
    """Mean over the runs, with a band of one standard deviation."""
    t, mean, sd = np.arange(1, curves.shape[1] + 1), curves.mean(axis=0), curves.std(axis=0, ddof=1)
    ax.plot(t, mean, label=label, lw=1.6, **look)
    ax.fill_between(t, mean - sd, mean + sd, color=look["color"], alpha=0.12, lw=0)


def mean_sd(x):
    return f"{x.mean():.1f} ± {x.std(ddof=1):.1f}"


# %% [markdown]
# The record of a run says which slots explored (`run.exploring`), so the regret can be split into
# what was lost while exploring and what was lost afterwards.

# %%
tries = np.array([1, 2, 4, 7, 12, 20, 35, 60])
explored, committed = np.zeros(len(tries)), np.zeros(len(tries))
for i, k in enumerate(tries):
    run = play(one, ExploreThenCommit(int(k)), seeds=range(40))
    lost = optimum(run.world).value[:, None] - run.expected_profit.sum(axis=(2, 3))  # per slot
    explored[i] = (lost * run.exploring).sum(axis=1).mean()
    committed[i] = (lost * ~run.exploring).sum(axis=1).mean()

fig, axes = plt.subplots(1, 2, width_ratios=(1, 1.2))
for k, colour, dash in ((1, ORANGE, "-."), (12, BLUE, "--"), (60, "black", "-")):
    curves = regret_curves(ExploreThenCommit(k))
    draw(axes[0], curves, {"color": colour, "linestyle": dash}, f"tries: {k}")
axes[0].set(xlabel="slot t", ylabel="regret R(t), money", xlim=(0, one.slots), ylim=(0, 80))
axes[0].legend()
axes[1].plot(tries, explored + committed, color=GREY, lw=3, label="R(500)")
axes[1].plot(tries, explored, color=BLUE, ls="--", label="lost exploring")
axes[1].plot(tries, committed, color=ORANGE, ls="-.", label="lost afterwards")
axes[1].set(xscale="log", xticks=tries, xticklabels=tries, xlabel="tries of every worker",
            ylabel="money, mean of 40 runs", ylim=(0, 62))
axes[1].minorticks_off()
axes[1].legend(loc="upper center")
show(fig)

# %% [markdown]
# **What to see.** Left: while it explores, everybody's regret grows alike. With few tries that is
# soon over, but often the wrong worker is kept for the rest of the run (the band is wide: some runs
# are lucky, some are not); with many tries the right worker is found too late. Right: exploration
# costs in proportion to its length, mistakes become rarer with it, and the sum has a minimum. Where
# it lies hangs on the horizon, the noise and the gaps, and the gaps are what we do not know. A good
# bandit should find the balance by itself.

# %% [markdown]
# ## 5 · Epsilon-greedy
#
# Never stop exploring, but do it seldom: with probability $\varepsilon$ a random worker, otherwise
# the best sample mean so far. With $\varepsilon = 0$ it is *greedy*.


# %%
class EpsilonGreedy(SampleMeans):
    """The best sample mean, but now and then a random worker."""

    def __init__(self, epsilon):
        self.epsilon = epsilon

    def act(self, observation):
        if observation.slot < self.workers:  # every worker once
            return self.in_turn(observation.slot)[None]
        best = self.mean.argmax(axis=2)
        anyone = self.rng.integers(self.workers, size=best.shape)
        return np.where(self.rng.random(best.shape) < self.epsilon, anyone, best)[None]


epsilons = (0, 0.03, 0.1, 0.3)
fig, ax = plt.subplots()
for column, epsilon in enumerate(epsilons):
    end = regret_curves(EpsilonGreedy(epsilon), seeds=range(40))[:, -1]
    ax.plot(column + np.linspace(-0.25, 0.25, 40), np.sort(end), ".", color=BLUE, ms=4)
    ax.plot([column - 0.3, column + 0.3], [end.mean()] * 2, color=ORANGE, lw=2)
    print(f"ε = {epsilon:4}: R(500) = {mean_sd(end)}")
ax.set(xticks=range(4), xticklabels=[f"ε = {e}" for e in epsilons], ylabel="R(500), money",
       title="40 runs each, sorted; orange: mean")
show(fig)

# %% [markdown]
# **What to see.** Greedy is very good in most worlds and very bad in some. One unlucky sample makes
# the best worker look bad, it is never tried again, and the loss goes on for ever. Any
# $\varepsilon > 0$ heals that, but pays for ever: a share $\varepsilon$ of all slots is random.
# Both are linear in $T$, if with a small slope.

# %% [markdown]
# ## 6 · UCB1: optimism
#
# Exploring at random is wasteful: it tries workers that are known to be bad as often as those in
# doubt. **UCB1** (Auer, Cesa-Bianchi and Fischer 2002) takes the worker with the largest *index*
#
# $$
# \hat\mu_n + w \sqrt{\frac{2 \ln t}{\text{count}_n}} ,
# $$
#
# the sample mean plus a bonus for not knowing. Where does the bonus come from? Put
# $\delta = 2 t^{-4}$ into Hoeffding's radius $w\sqrt{\ln(2/\delta)/2n}$, and you have it. So the
# index is a number that the true mean hardly ever exceeds, an *upper confidence bound*. A worker is
# chosen because it is good or because little is known of it, and either way the slot is well
# spent.
#
# The width $w$ is where theory meets reality. The theorem asks for the range of the samples. The
# package's `ucb` takes the range of all mean profits, with the 0 of a rejection; its `ucb-sigma`
# takes the standard deviation of the noise, which is much smaller. Both numbers are told to the
# policy.


# %%
class UCB1(SampleMeans):
    """The largest upper confidence bound."""

    def __init__(self, width):
        self.width = width  # "range" or "sigma"

    def index(self, slot):
        known = {"range": self.problem.profit_range[0], "sigma": self.problem.profit_std[0]}
        bonus = known[self.width] * np.sqrt(2 * np.log(slot + 1) / self.count)
        return self.mean + bonus

    def act(self, observation):
        if observation.slot < self.workers:
            return self.in_turn(observation.slot)[None]
        return self.index(observation.slot).argmax(axis=2)[None]


def watch(policy, scenario, seed, slots):
    """What `play` does for one run, so that we can look into the policy afterwards."""
    market = Market(scenario, [seed])
    policy.reset(make_problem(market.world), np.random.default_rng(seed))
    for slot in range(slots):
        allocation = policy.act(Observation(slot))
        outcome = market.step(allocation)
        policy.update(make_feedback(outcome, allocation))
    return policy


fig, axes = plt.subplots(1, 2, sharey=True)
for ax, width in zip(axes, ("range", "sigma"), strict=True):
    policy = watch(UCB1(width), one, seed=0, slots=100)
    mean, index = policy.mean[0, LLM], policy.index(100)[0, LLM]
    ax.bar(range(5), index - mean, bottom=mean, width=0.5, color=BLUE, alpha=0.3, label="bonus")
    ax.plot(range(5), mean, "s", color=BLUE, ms=5, label="sample mean")
    ax.plot(range(5), world.mean_profit[0, LLM, 0, :-1], "_", color=ORANGE, ms=18, mew=2,
            label="true mean")
    for n, count in enumerate(policy.count[0, LLM]):
        ax.text(n, index[n], f"{count:.0f}", ha="center", va="bottom")
    ax.set(xlabel="worker (above: times tried)", title=f"w = {width}, after 100 slots")
axes[0].set(ylabel="profit of the LLM task", ylim=(1.5, 4.3))
axes[1].legend(loc="upper right")
show(fig)

# %% [markdown]
# **What to see.** The tops of the bars, the indices, are nearly level in both pictures; UCB
# levels them by trying. With the range as width, the bonus dwarfs all differences of the means, so
# after 100 slots it is still trying everybody equally often. With the noise as width, workers in
# doubt are tried more often than bad ones.

# %%
contest = {
    "random": (load_policy("random"), "random"),
    "explore-commit": (ExploreThenCommit(12), "12 tries, commit"),
    "eps-greedy": (EpsilonGreedy(0.1), "ε-greedy, ε = 0.1"),
    "ucb": (UCB1("range"), style.title("ucb")),
    "ucb-sigma": (UCB1("sigma"), style.title("ucb-sigma")),
}
fig, ax = plt.subplots()
for name, (policy, label) in contest.items():
    curves = regret_curves(policy)
    draw(ax, curves, LOOKS[name], label)
    print(f"{label:18} R(500) = {mean_sd(curves[:, -1]):>12}")
package = regret_curves(load_policy("ucb-sigma"))
print(f"{'package, ucb-sigma':18} R(500) = {mean_sd(package[:, -1]):>12}")
ax.set(xlabel="slot t", ylabel="regret R(t), money", xlim=(0, one.slots), ylim=(0, None))
ax.legend(loc="upper left")
show(fig)

# %% [markdown]
# **What to see.** Our UCB1 and the package's agree. With the range as width UCB1 is hardly better
# than random in 500 slots. With the noise as width it keeps up with the others, and its band is the
# narrowest: it does not gamble. Explore-then-commit and $\varepsilon$-greedy do as well or better
# here; but we tuned them for this horizon, by looking at the answer.

# %% [markdown]
# ## 7 · Logarithmic or linear?
#
# The theorem about UCB1: its regret is at most about $\sum_n 8 w^2 \ln T / \Delta_n$, summed over
# the workers with a gap $\Delta_n > 0$ to the best. It grows like $\ln T$. Nobody can do better in
# the long run (Lai and Robbins 1985; see the book by Lattimore and Szepesvári). With $t$ on a
# logarithmic axis, $\ln t$ is a straight line, and what is linear bends upward. We draw the LLM
# task alone: the package tells UCB one $\sigma$, that of the LLM task, which is far too wide for
# ENC.

# %%
long = Scenario.load("slack", providers=1, slots=5000)
fig, axes = plt.subplots(1, 2, sharey=True)
for name, policy, label in (
    ("random", EpsilonGreedy(0), "greedy"),
    ("eps-greedy", EpsilonGreedy(0.1), "ε-greedy, ε = 0.1"),
    ("ucb-sigma", load_policy("ucb-sigma"), style.title("ucb-sigma")),
):
    curves = regret_curves(policy, long, stages=(LLM,))
    for ax in axes:
        ax.plot(np.arange(1, long.slots + 1), curves.mean(axis=0), label=label, **LOOKS[name])
    print(f"{label:18} R(500) = {mean_sd(curves[:, 499]):>11}  R(5000) = {mean_sd(curves[:, -1])}")
axes[0].set(xlabel="slot t", ylabel="LLM regret, mean of 20 runs", ylim=(0, 150),
            title="linear axis")
axes[1].set(xlabel="slot t", xscale="log", xlim=(5, 5000), title="logarithmic axis")
axes[0].legend(loc="upper left")
show(fig)

# %% [markdown]
# **What to see.** In the first 500 slots all three are alike; ten times as many slots tell them
# apart. On the right UCB's line is straight after some hundred slots, the others bend. A curve over
# a short horizon says little about how it grows.

# %% [markdown]
# ## 8 · DistMLLM's epochs
#
# The paper's Algorithm 1 takes the plan of section 4 further: explore and commit, again and again.
# Epoch $\tau = 1, 2, \dots$ explores for a fixed number of slots, $T_\text{explore}$, in turn, and
# then exploits for $2^\tau$ slots what looks best. So exploration becomes rare, but never stops.

# %%
lengths = (5, 25, 100)
t = np.arange(1, one.slots + 1)
fig, ax = plt.subplots(figsize=(6.5, 2))
for row, length in enumerate(lengths):
    run = play(one, DistMLLM(explore_slots=length), seeds=[0])
    exploring = run.exploring[0]
    ax.fill_between(t, row - 0.35, row + 0.35, where=exploring, step="pre", color=BLUE, lw=0)
    print(f"T_explore = {length:3}: {exploring.mean():.0%} of 500 slots explore")
ax.set(yticks=range(3), yticklabels=lengths, ylim=(2.5, -0.5), xlim=(0, one.slots), xlabel="slot t",
       ylabel="$T_{explore}$", title="blue: exploring")
ax.grid(visible=False)
show(fig)

# %% [markdown]
# **What to see.** With $T_\text{explore} = 5$, one try of each of the five workers per epoch, the
# phases double. (The paper's text speaks of one exploration of about 100 slots and a stable time
# after it; with 100 its algorithm would explore nearly always. The two do not fit together.)
#
# **The estimate as printed.** Algorithm 1 updates in exploration only, by
# $u \leftarrow (u\,(\tau - 1) + r) / \tau$ with the *epoch* $\tau$ as divisor. With one try per
# epoch that is the sample mean. With several tries per epoch it is not. How much does each of 20
# samples weigh in the end, with five tries per epoch?


# %%
def printed_estimate(rewards, tries_per_epoch):
    """The estimate of Algorithm 1, lines 7 and 8."""
    u = 0.0
    for i, r in enumerate(rewards):
        tau = i // tries_per_epoch + 1
        u = (u * (tau - 1) + r) / tau
    return u


weights = np.array([printed_estimate(one_hot, 5) for one_hot in np.eye(20)])
fig, ax = plt.subplots(figsize=(6.5, 2.4))
ax.bar(range(1, 21), weights, color=BLUE, label="as printed")
ax.axhline(1 / 20, color=ORANGE, ls="--", label="sample mean")
ax.set(xlabel="sample", ylabel="weight in the estimate", xticks=range(1, 21, 5))
ax.legend(loc="upper left")
show(fig)
equal = 1 / (weights**2).sum()
print(f"weights sum to {weights.sum():.2f}; as good as a mean of {equal:.1f} samples")

# %% [markdown]
# **What to see.** Of epoch 1 only the last sample survives, and later ones fade: the estimate is
# worth far fewer than 20 samples. That is why the policy `distmllm-fixed` of this package takes
# plain sample means, of all slots.
#
# Now the regret over a long time, without noise and with it.

# %%
fig, axes = plt.subplots(1, 2)
for ax, noise in zip(axes, ("none", "latency_energy"), strict=True):
    scenario = Scenario.load("slack", {"noise.on": noise}, providers=1, slots=10_000)
    for name in ("distmllm", "distmllm-fixed", "ucb-sigma"):
        curves = regret_curves(load_policy(name), scenario)
        mean = curves.mean(axis=0)
        ax.plot(np.arange(1, mean.size + 1), mean, label=style.title(name), **LOOKS[name])
        if noise != "none":
            end, middle = curves[:, -1], np.median(curves[:, -1])
            print(f"{style.title(name):15} R(10000): {mean_sd(end):>13}, median {middle:.0f}")
    ax.set(xlabel="slot t", xscale="log", xlim=(1, 10_000), ylim=(0, None),
           title="without noise" if noise == "none" else "with noise")
axes[0].set_ylabel("regret R(t), mean of 20 runs")
axes[1].legend(loc="upper left")
show(fig)

# %% [markdown]
# **What to see.** Left, without noise one try tells all (UCB's bonus is then 0). What is left is
# the price of exploring again in every epoch, and as epochs double, there are about $\log_2 T$ of
# them: straight lines. Right, with noise, DistMLLM's mean bends upward, and its spread is larger
# than itself: in most worlds all is well (see the median), in some the wrong worker is kept for
# thousands of slots.
#
# The paper's Theorem 1 promises $O(\log T)$. Its proof asks that the chance of a wrong choice in
# epoch $\tau$ falls at least as fast as $2^{-2\tau}$, since an exploitation of $2^\tau$ slots
# follows. With $k$ tries of each worker per epoch, Hoeffding lets it fall like
# $\exp(-2 k \tau \varepsilon^2 / w^2)$ with $\varepsilon = \Delta / (2B)$: $\Delta$ is the gap
# between the best and the second best allocation, $B$ the number of tasks. So the proof needs
# $k \ge 4 \ln 2 \; B^2 w^2 / \Delta^2$. In our 20 worlds:

# %%
worlds = draw_world(one, range(20))
mu = np.sort(worlds.mean_profit[:, :, 0, :-1], axis=2)
gaps = (mu[:, :, -1] - mu[:, :, -2]).min(axis=1)  # the task that is easiest to get wrong
paid = worlds.price[:, None, :-1] * worlds.energy_j[:, :, 0, :-1]
widths = 12**0.5 * one.noise.std * (worlds.latency_s[:, :, 0, :-1] + paid).max(axis=(1, 2))
k = 4 * np.log(2) * (2 * widths / gaps) ** 2
print(f"tries per worker and epoch that the proof needs: median {np.median(k):,.0f}, "
      f"in the easiest of 20 worlds {k.min():,.0f}")

# %% [markdown]
# Algorithm 1 has one. The bound is loose, but the picture above says the same: a constant
# $T_\text{explore}$, chosen without knowing the gap, does not give $O(\log T)$ in every market. The
# usual cure is an exploration that grows slowly from epoch to epoch.

# %% [markdown]
# ## 9 · Five providers: good bandits, bad neighbours
#
# Now `paper`: five providers, and workers with room for two to five tasks. All policies above play
# it as they are, every task for itself. A rejected task has earned 0, which lowers the sample mean.
# DistMLLM is different: a coordinator gathers all estimates and computes one allocation that fits.

# %%
paper = Scenario.load("paper")
field = {
    "random": (load_policy("random"), "random"),
    "explore-commit": (ExploreThenCommit(12), "12 tries, commit"),
    "ucb": (UCB1("range"), "UCB (range)"),
    "eps-greedy": (EpsilonGreedy(0.1), "ε-greedy"),
    "ucb-sigma": (UCB1("sigma"), "UCB (sigma)"),
    "distmllm": (load_policy("distmllm"), "DistMLLM"),
    "distmllm-fixed": (load_policy("distmllm-fixed"), "DistMLLM-fixed"),
}
fig, axes = plt.subplots(1, 2, figsize=(6.5, 3.6))
print("R(500) on paper, seeds 0 to 19, and the share of tasks that were rejected")
for row, (name, (policy, label)) in enumerate(field.items()):
    run = play(paper, policy, seeds=range(20))
    scores = Scores(run, optimum(run.world))
    mean = scores.regret_curve.mean(axis=0)
    axes[0].plot(np.arange(1, mean.size + 1), mean, lw=1.6, label=label, **LOOKS[name])
    elsewhere, rejected, _ = scores.regret_by_fate.mean(axis=0)
    axes[1].barh(row, elsewhere, color=BLUE)
    axes[1].barh(row, rejected, left=elsewhere, color=ORANGE)
    print(f"  {label:17} {mean_sd(scores.regret):>15} {scores.rejected.mean():7.1%}")
axes[0].set(xlabel="slot t", ylabel="regret R(t), mean of 20 runs", xlim=(0, 500), ylim=(0, 1200))
axes[1].set(yticks=range(len(field)), yticklabels=[label for _, label in field.values()],
            xlabel="regret R(500), money")
axes[1].legend(["on a worse worker", "rejected"], loc="lower right")
axes[1].invert_yaxis()
axes[1].grid(visible=False, axis="y")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4,
           handlelength=3)
show(fig)

# %% [markdown]
# **What to see.** Explore-then-commit was among the best alone; here everybody commits to the same
# good workers and is rejected there for the rest of the run. UCB, on the scale of the noise, learns
# to avoid crowds because rejections lower its means, but it pays to find out. The coordinated
# policies are never rejected: all that they lose is lost on worse workers, while exploring or by a
# mistaken mapping.
#
# Learning is half of the problem. The other half, who gets which worker, is
# [notebook 3](03_allocation.ipynb).

# %% [markdown]
# ## Exercises
#
# All cells below run as they are. Change them.

# %% [markdown]
# ### Exercise 1 · The best ε
#
# Which $\varepsilon$ is best at $T = 500$, which at $T = 2000$? Predict first: in
# which direction does it move?

# %%
for slots in (500,):  # and 2000
    scenario = Scenario.load("slack", providers=1, slots=slots)
    for epsilon in (0.1,):  # more of them
        end = regret_curves(EpsilonGreedy(epsilon), scenario)[:, -1]
        print(f"T = {slots}, ε = {epsilon}: {mean_sd(end)}")

# %% [markdown]
# <details><summary>Hint</summary>
#
# Random slots cost in proportion to $\varepsilon T$; being stuck costs in proportion to $T$, too,
# but its chance falls with every try.
# </details>

# %% [markdown]
# ### Exercise 2 · Let ε decay
#
# Let $\varepsilon$ decay: $\varepsilon_t = \min(1, c N / t)$ for slot $t$ of $N$
# workers. Is its regret logarithmic? Draw it as in section 7 and compare with UCB (sigma).

# %%
class DecayingEpsilon(EpsilonGreedy):
    """Epsilon-greedy with less and less exploration."""

    def act(self, observation):
        self.epsilon = 0.1  # your formula here
        return super().act(observation)


print("R(500) =", mean_sd(regret_curves(DecayingEpsilon(1.0))[:, -1]))

# %% [markdown]
# <details><summary>Hint</summary>
#
# Expected random slots up to $T$: $\sum_t c N / t \approx c N \ln T$. Try $c$ between 0.5 and 5:
# for small $c$ some runs are stuck, which shows in the spread before it shows in the mean.
# </details>

# %% [markdown]
# ### Exercise 3 · How wide?
#
# How wide should UCB be? Multiply the bonus by a factor between 0.1 and 3 and draw
# $R(500)$ against it, with `width="sigma"`. Is the factor 1, of the theorem, a good one?

# %%
class ScaledUCB(UCB1):
    """UCB1 with a bonus that can be tuned."""

    def __init__(self, factor):
        super().__init__("sigma")
        self.factor = factor

    def index(self, slot):
        return super().index(slot)  # change this


for factor in (1.0,):
    print(f"factor {factor}: R(500) = {mean_sd(regret_curves(ScaledUCB(factor))[:, -1])}")

# %% [markdown]
# <details><summary>Hint</summary>
#
# `self.mean` is the part that must not be scaled. And look at the spread: what does a tuned
# factor risk in another world?
# </details>

# %% [markdown]
# ### Exercise 4 · Thompson sampling
#
# *Thompson sampling*: draw for every worker a value from a normal distribution
# around its sample mean, with standard deviation $\sigma / \sqrt{\text{count}}$, and take the
# largest. Write it, and put it into the contest of section 6.

# %%
class ThompsonSampling(SampleMeans):
    """A draw from what is believed of every worker, and the best of these."""

    def act(self, observation):
        if observation.slot < self.workers:
            return self.in_turn(observation.slot)[None]
        return self.mean.argmax(axis=2)[None]  # change this; self.rng draws


print("R(500) =", mean_sd(regret_curves(ThompsonSampling())[:, -1]))

# %% [markdown]
# <details><summary>Hint</summary>
#
# `self.rng.normal(means, deviations)` takes arrays; `self.problem.profit_std[0]` is $\sigma$.
# </details>

# %% [markdown]
# ### Exercise 5 · What a sample is worth (paper and pencil)
#
# In section 8: with $k$ tries per epoch, after $\tau$ epochs, to
# how many samples is the printed estimate equivalent? Show that for large $\tau$ it is about
# $(2k - 1)\,\tau / k$, that is less than $2\tau$, however many tries an epoch has. Check:

# %%
for tries_per_epoch in (1, 2, 5, 10):
    count = 50 * tries_per_epoch  # 50 epochs
    weights = np.array([printed_estimate(x, tries_per_epoch) for x in np.eye(count)])
    equal = 1 / (weights**2).sum()
    print(f"{tries_per_epoch:2} tries, {count} samples: worth {equal:.0f}; your formula: ...")

# %% [markdown]
# <details><summary>Hint</summary>
#
# A visit in epoch $\tau$ multiplies all older weights by $1 - 1/\tau$, so a whole epoch does so by
# about $1 - k/\tau$. The newest samples weigh $1/\tau$. Sum the squares as an integral.
# </details>
#
# <details><summary>Solution</summary>
#
# A sample of epoch $j$ weighs about $\frac{1}{j} (j / \tau)^k$ in the end. There are $k$ of each
# epoch, so the squares sum to about
# $\int_0^\tau k\, j^{2k-2}\, \tau^{-2k}\, dj = k / ((2k - 1)\, \tau)$. A mean of $n$ samples has
# $1/n$, so it is worth $n = (2k - 1)\, \tau / k$ of them.
# </details>

# %% [markdown]
# ### Exercise 6 · Repair the epochs (open)
#
# Repair the epochs. With one provider and $T = 10{,}000$, find an
# exploration that makes DistMLLM's regret look logarithmic *with* noise: options of `DistMLLM`
# (`explore_slots`, `exploit_base`, `estimator`, `learn_always`), or a policy of your own in which
# the exploration of epoch $\tau$ has $\tau$ tries of every worker. What does your repair cost at
# $T = 500$?

# %%
longest = Scenario.load("slack", providers=1, slots=10_000)
repaired = DistMLLM(explore_slots=5, exploit_base=2)
curves = regret_curves(repaired, longest)
print(f"R(500) = {mean_sd(curves[:, 499])}, R(10000) = {mean_sd(curves[:, -1])}, "
      f"median {np.median(curves[:, -1]):.1f}")

# %% [markdown]
# <details><summary>Hint</summary>
#
# Look at the single worlds first: in which of them is the regret large, and what is the gap there?
# Growing exploration costs about $N \tau^2 / 2$ slots up to epoch $\tau \approx \log_2 T$.
# </details>

# %% [markdown]
# ## What you should be able to say now
#
# - how the error of a mean shrinks with samples, and what Hoeffding's inequality needs to know;
# - what regret is measured against, and why pseudo-regret is the fairer number;
# - why exploring too little and too much both cost, and why greedy can be stuck for ever;
# - what the bonus of UCB1 stands for, and why its scale decides the score on a short horizon;
# - how to see logarithmic growth in a picture, and why 500 slots are too few for it;
# - what DistMLLM's epochs do, where its printed estimate loses samples, and why a constant
#   exploration does not give $O(\log T)$ in every market;
# - why everybody's best choice is not the best choice for all.
#
# ## Further reading
#
# - P. Auer, N. Cesa-Bianchi, P. Fischer: "Finite-time Analysis of the Multiarmed Bandit Problem",
#   Machine Learning 47, 2002. UCB1, and epsilon-greedy that decays.
# - T. Lattimore, C. Szepesvári: *Bandit Algorithms*, Cambridge University Press, 2020. Chapters 4
#   to 8 are this notebook with proofs.
# - T. L. Lai, H. Robbins: "Asymptotically Efficient Adaptive Allocation Rules", Advances in Applied
#   Mathematics 6, 1985. Why $\ln T$ is the best there is.
# - The DistMLLM paper, Sections 2.2 to 2.4:
#   [doi 10.3390/s25247612](https://doi.org/10.3390/s25247612).
# - [ASSUMPTIONS.md](../ASSUMPTIONS.md), rows B1 to B14 and "Where the paper contradicts itself".
