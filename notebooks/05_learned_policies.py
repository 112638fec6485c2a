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
# # 5 · Learned policies and honest comparison
#
# Train a policy in seconds, look at what it has really learned, and compare it to others in a way
# that would survive a sceptical reader.
#
# **You will**
#
# - train PPO on many markets at once and read a learning curve over several training seeds;
# - tell seen from unseen worlds, and what a policy learned *before* the run from what it learns
#   *in* it;
# - compare policies on paired seeds, and see why intervals that ignore the pairing mislead;
# - use bootstrap, probability of improvement, interquartile mean and performance profiles;
# - see how much "the best of five seeds" and tuning on the test seeds are worth (nothing).
#
# About 75 minutes, exercises not counted. Needs notebooks 1 and 2; PPO as a black box is enough.

# %%
# On Colab, take away the first "# ":
# # %pip install -q "distmllm-env[rl,fast]"

from importlib.util import find_spec
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np

from distmllm_agents.ucb import UCB
from distmllm_bench import statistics, style
from distmllm_bench.metrics import Scores, optimum
from distmllm_bench.sweep.suite import run_seeds
from distmllm_env import Market, Scenario, draw_world, load_policy, play
from distmllm_env.policy import Observation
from distmllm_env.runs import Player

look = {"figure.dpi": 90, "figure.figsize": (6.5, 3.0), "axes.axisbelow": True}
plt.rcParams.update(style.RC | look)

HAVE_RL = all(find_spec(name) for name in ("torch", "stable_baselines3", "sb3_contrib"))
if HAVE_RL:
    import torch
    from stable_baselines3 import PPO

    from distmllm_agents.learned.shipped import about_shipped
    from distmllm_agents.learned.vec_env import MarketVecEnv

    torch.set_num_threads(1)  # a network this small gains nothing from more
else:
    print('The extra "rl" is not installed: what needs a network is skipped.')

HAVE_FAST = find_spec("numba") is not None
if not HAVE_FAST:
    print('The extra "fast" is not installed: "greedy" would take minutes and is left out.')

# %% [markdown]
# ## 1 · What a learner gets
#
# A network learns from thousands of slots, so `MarketVecEnv` plays many markets side by side and
# hands them over as one batch. In mode `central` a row is a market and the network a dispatcher for
# all providers; in mode `shared` a row is a provider, and one network serves them all.

# %%
toy = Scenario.load("toy")
if HAVE_RL:
    for mode in ("central", "shared"):
        envs = MarketVecEnv(toy, markets=64, mode=mode)
        sees, chooses = envs.observation_space.shape[0], envs.action_space.nvec.tolist()
        print(f"{mode:8}{envs.num_envs:4} rows, sees {sees} numbers, chooses among {chooses}")

# %% [markdown]
# A number of choices for each task: N workers, or defer. The observation holds demands, capacities,
# prices, and what the last slot gave; the true means are not in it.
#
# What is placed now changes no later slot of a static world, so a slot is a *bandit* step and the
# discount γ is 0. A larger γ would only add the luck of later slots to the judgement of this one.

# %% [markdown]
# ## 2 · Training on `toy`, five times
#
# `toy` is always the same world, 2 × 2 and without noise, with an optimum of 5.10 per slot. We
# train PPO (Schulman et al. 2017) from five **training seeds**: they fix the first weights and all
# that is random in learning. After every 1,024 slots we play 20 slots with the likeliest choices,
# on markets apart from the training.

# %%
def new_learner(envs, seed, learning_rate=5e-3):
    """PPO with a small network, on the CPU, reproducible."""
    settings = {"n_steps": 16, "batch_size": 512, "n_epochs": 5, "gamma": 0.0, "device": "cpu"}
    return PPO("MlpPolicy", envs, learning_rate=learning_rate, seed=seed, **settings)


def earned(model, scenario, seeds, slots, world_seed=None):
    """Profit per slot of a trained dispatcher on each seed."""
    envs = MarketVecEnv(scenario, markets=len(seeds), world_seed=world_seed)
    envs.seed(list(seeds))
    observations, total = envs.reset(), np.zeros(len(seeds))
    for _ in range(slots):
        actions, _ = model.predict(observations, deterministic=True)
        observations, rewards, _, _ = envs.step(actions)
        total += rewards
    return total / slots


TRAINING_SEEDS, CHUNKS, CHUNK = range(5), 9, 1024

if HAVE_RL:
    curves = np.zeros((len(TRAINING_SEEDS), CHUNKS))
    for i, seed in enumerate(TRAINING_SEEDS):
        model = new_learner(MarketVecEnv(toy, markets=64), seed)
        for k in range(CHUNKS):
            model.learn(CHUNK, reset_num_timesteps=False)
            curves[i, k] = earned(model, toy, range(4), slots=20).mean()

    best = optimum(draw_world(toy, [0])).value[0]
    fig, ax = plt.subplots(layout="constrained")
    slots = CHUNK * np.arange(1, CHUNKS + 1)
    ax.plot(slots, curves.T, color=style.style("ppo")["color"], alpha=0.4, lw=1)
    ax.plot(slots, curves.mean(axis=0), label="mean of five trainings", **style.style("ppo"))
    ax.axhline(best, label="optimum", **style.style("oracle"))
    ax.set(xlabel="slots of training", ylabel="profit per slot")
    ax.legend(loc="lower right")
    plt.show()
    reached = np.isclose(curves[:, -1], best, atol=0.005).sum()
    print(f"{reached} of {len(TRAINING_SEEDS)} trainings end at the optimum, {best:.2f}")

# %% [markdown]
# **What to see.** All trainings get there, but not at the same time. Cut the picture off in the
# middle, where some have arrived and others have not, and imagine a report of one training: it may
# say "optimal" or "hardly better than at first", and nothing but the training seed differs.
# Henderson et al. (2018) showed this for published algorithms. So: several training seeds, and all
# of them in the picture.

# %% [markdown]
# ## 3 · Seen and unseen
#
# Which worlds is a policy judged on? Take three providers and three workers with the constants of
# `paper`, train on **one** world (that of seed 0, with new noise in every episode), and play (a) on
# that world and (b) on twenty others.

# %%
three = Scenario.load("paper", providers=3, workers=3, slots=100)
UNSEEN = range(1, 21)


def share_of_optimum(scenario, policy, seeds):
    """Profit as a share of the optimum of the same world, one number per seed."""
    run = play(scenario, load_policy(policy), seeds)
    return Scores(run, optimum(run.world)).share_curve[:, -1]


groups = {
    "random, other worlds": share_of_optimum(three, "random", UNSEEN),
    "HEU, other worlds": share_of_optimum(three, "heu", UNSEEN),
}
if HAVE_RL:
    model = new_learner(MarketVecEnv(three, markets=64, world_seed=0), seed=0, learning_rate=2e-3)
    model.learn(30 * CHUNK)
    v_seen = optimum(draw_world(three, [0])).value
    v_unseen = optimum(draw_world(three, UNSEEN)).value
    groups |= {
        "MLP, other worlds": earned(model, three, UNSEEN, 100) / v_unseen,
        "MLP, its own world": earned(model, three, UNSEEN, 100, world_seed=0) / v_seen,
        "shipped PPO, other worlds": share_of_optimum(three, "ppo", UNSEEN),
    }

fig, ax = plt.subplots(layout="constrained")
for y, found in enumerate(groups.values()):
    jitter = np.linspace(-0.25, 0.25, len(found))
    ax.plot(100 * found, y + jitter, "o", ms=4, color="#0072B2", alpha=0.5)
    ax.plot(100 * found.mean(), y, "kd", ms=7)
ax.set_yticks(range(len(groups)), groups)
ax.set(xlabel="profit, % of the optimum (dots: runs, diamonds: means)")
plt.show()

# %% [markdown]
# **What to see.** On its own world the MLP is at the optimum. On others it is far from it, in some
# worlds worse than random play: it has learned *one world by heart*, in its weights, and not how to
# find out about a new one. Nothing in training rewarded looking.
#
# The weights that this package ships as policy `ppo` were trained on worlds **redrawn** in every
# episode, on running statistics of all pairs, and never saw these seeds (training seeds begin at
# 2⁴⁰). That is another claim altogether. A table of learned policies has to say which of the two it
# makes:
#
# | trained on | judged on | what is shown |
# |---|---|---|
# | one world | the same | it can optimise; the world is known |
# | redrawn worlds | other seeds of the same scenario | it has learned to explore such worlds |
# | redrawn worlds | other sizes or scenarios | it generalises, or not (exercise 4) |

# %% [markdown]
# ## 4 · The comparison
#
# Now the shipped `ppo` against policies that start from nothing, and against HEU, which is told the
# performance ranks: 20 seeds, full horizon, on `paper` (room for all) and on `scarce` (a third more
# demand than capacity). `play` gives every policy the **same worlds and the same luck** on a seed.

# %%
POLICIES = ("ppo", "greedy", "distmllm-fixed", "distmllm", "heu", "ucb-sigma")
missing = {"ppo": not HAVE_RL, "greedy": not HAVE_FAST}  # see the first cell
POLICIES = tuple(policy for policy in POLICIES if not missing.get(policy))
SCENARIOS = ("paper", "scarce")
SEEDS = run_seeds(20)  # development seeds: 0 to 19


def scores(name):
    """Play all policies, random and oracle on a scenario; one ``Scores`` for each."""
    scenario = Scenario.load(name)
    runs = {p: play(scenario, load_policy(p), SEEDS) for p in (*POLICIES, "random", "oracle")}
    best = optimum(runs["oracle"].world)
    return {policy: Scores(run, best) for policy, run in runs.items()}


results = {name: scores(name) for name in SCENARIOS}


def mean_interval(x, level=0.95):
    """Mean and half width of Student's interval of the mean."""
    return x.mean(), statistics.t_quantile(len(x) - 1, level) * x.std(ddof=1) / np.sqrt(len(x))


print(f"{'% of the optimum':16}" + "".join(f"{name:>14}" for name in SCENARIOS))
for policy in POLICIES:
    row = [mean_interval(100 * results[name][policy].share_curve[:, -1]) for name in SCENARIOS]
    print(f"{style.title(policy):16}" + "".join(f"{m:8.1f} ± {h:3.1f}" for m, h in row))

fig, axes = plt.subplots(1, 2, figsize=(6.5, 3.4), layout="constrained")
for ax, name, lowest in zip(axes, SCENARIOS, (92, 70)):
    for policy in POLICIES:
        curve = 100 * results[name][policy].share_curve.mean(axis=0)
        slots = np.arange(1, len(curve) + 1)
        ax.plot(slots, curve, label=style.title(policy), **style.style(policy))
    ax.set(title=name, xlabel="time slot", ylim=(lowest, 100.5))
axes[0].set_ylabel("profit so far, % of the optimum")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
plt.show()

# %% [markdown]
# **What to see** (mind the two scales). The order depends on *when* you look: a policy that has
# learned in other worlds, or is told the ranks, is ahead while the others explore. With a horizon
# of 100 the table would tell another story than with 500, and neither is wrong. It also depends on
# the scenario. State the horizon, and show the curve.
#
# Is the first of the table better than the second? The intervals there cannot say. Read on.

# %% [markdown]
# ## 5 · Same worlds: use the pairs
#
# Take two policies that need no network, DistMLLM and its repaired version, and plain profit per
# slot. Worlds differ a lot in wealth, and that has nothing to do with the policies.

# %%
SLOTS = 500
a = results["paper"]["distmllm-fixed"].profit / SLOTS
b = results["paper"]["distmllm"].profit / SLOTS


def unpaired(a, b):
    """95 % interval of the difference of means, as if no run had to do with another."""
    error = np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    half = statistics.t_quantile(len(a) + len(b) - 2, 0.95) * error
    return a.mean() - b.mean() - half, a.mean() - b.mean() + half


paired = statistics.paired_difference(a[:, None], b[:, None], method="student")
low, high = unpaired(a, b)

fig, (left, right) = plt.subplots(1, 2, width_ratios=(3, 2), layout="constrained")
left.plot([0, 1], [b, a], "-o", ms=3, lw=0.8, color="#0072B2", alpha=0.6)
for x, sample in ((-0.25, b), (1.25, a)):
    mean, half = mean_interval(sample)
    left.errorbar(x, mean, half, fmt="kd", capsize=4)
left.set_xticks([0, 1], ["DistMLLM", "DistMLLM-fixed"])
left.set(xlim=(-0.5, 1.5), ylabel="profit per slot", title="one line per seed")
for x, (bottom, top) in enumerate(((low, high), (paired.low, paired.high))):
    right.errorbar(x, (bottom + top) / 2, (top - bottom) / 2, fmt="kd", capsize=4)
right.axhline(0, color="black", lw=0.8)
right.set_xticks([0, 1], ["unpaired", "paired"])
right.set(xlim=(-0.5, 1.5), ylabel="difference, profit per slot", title="95 % interval")
plt.show()
print(f"unpaired: {paired.estimate:.2f} [{low:.2f}, {high:.2f}]")
print(f"paired:   {paired.estimate:.2f} [{paired.low:.2f}, {paired.high:.2f}]")
more = ((high - low) / (paired.high - paired.low)) ** 2
print(f"unpaired runs needed for as narrow an interval: about {round(20 * more, -2):.0f}")

# %% [markdown]
# **What to see.** The black intervals of the two means overlap almost entirely, and most readers
# would conclude "no difference". But nearly every line rises: in the *same* world the repaired
# version earns more. The difference of each pair has lost what the worlds have in common,
#
# Var(a − b) = Var(a) + Var(b) − 2 Cov(a, b),
#
# and the covariance is nearly as large as the variances. Two lessons:
#
# - intervals of two means say little about the interval of the difference, if runs are shared;
# - give all policies the same seeds (*common random numbers*). It costs nothing.
#
# Here the pairs make a real difference visible. Now the question from above, scenario by scenario:

# %%
first, rival = POLICIES[0], POLICIES[1]
for name in SCENARIOS:
    x, y = (100 * results[name][p].share_curve[:, -1:] for p in (first, rival))
    gain = statistics.paired_difference(x, y, method="student")
    print(f"{name:8}{style.title(first)} less {style.title(rival)}, in % of the optimum:", end=" ")
    print(f"{gain.estimate:.1f} [{gain.low:.1f}, {gain.high:.1f}]")

# %% [markdown]
# An interval that holds 0 says "these runs do not decide", not "they are equal".

# %% [markdown]
# ## 6 · The bootstrap in five lines
#
# Student's interval takes the mean of the differences as normal. The bootstrap (Efron and
# Tibshirani 1993) takes the sample for the population, draws samples from it, *with replacement*,
# and looks how the statistic varies. It needs no formula, so it serves trimmed means as well.

# %%
def bootstrap(sample, statistic=np.mean, replicates=2000, seed=0):
    """95 % percentile interval of a statistic of one sample."""
    rng = np.random.default_rng(seed)
    drawn = sample[rng.integers(len(sample), size=(replicates, len(sample)))]
    return np.quantile(statistic(drawn, axis=1), [0.025, 0.975])


ours = bootstrap(a - b)
theirs = statistics.paired_difference(a[:, None], b[:, None])
print(f"by hand     [{ours[0]:.2f}, {ours[1]:.2f}]")
print(f"the package [{theirs.low:.2f}, {theirs.high:.2f}]")
print(f"Student     [{paired.low:.2f}, {paired.high:.2f}]")

# %% [markdown]
# The pair is what is drawn: `a - b`, not `a` and `b` by themselves. With 20 runs the bootstrap is a
# few percent too narrow; with 5 runs it is much too narrow (exercise 3).

# %% [markdown]
# ## 7 · Several scenarios: one number, and what it hides
#
# Random play earns more of the optimum on `paper` than on `scarce`, so shares of the optimum should
# not be averaged. We put 0 at random play and 1 at the oracle, world by world, and use expected
# profit, since the noise of a run is nobody's merit. Then, following Agarwal et al. (2021):
#
# - the **interquartile mean** (IQM): the mean of the middle half of all runs;
# - the **optimality gap**: how much is missing to 1 on average;
# - the **performance profile**: the share of runs above each threshold;
# - the **probability of improvement**: how often A beats B in the same run.
#
# One seed makes the luck of both scenarios, so the bootstrap has to draw a seed with *all* its
# scenarios (`whole_runs=True`).

# %%
def normalised(policy):
    """0 as good as random play, 1 as the oracle; (seeds, scenarios)."""
    columns = []
    for found in results.values():
        runs = [found[p].run for p in (policy, "random", "oracle")]
        totals = [run.expected_profit.sum(axis=(1, 2, 3)) for run in runs]
        columns.append(statistics.normalised(*totals))
    return np.stack(columns, axis=1)


def iqm(scores):
    """IQM over runs and scenarios, for each replicate."""
    return statistics.iqm(scores, axis=(-2, -1))


table = {policy: normalised(policy) for policy in POLICIES}
print(f"{'':16}{'mean':>6}{'IQM':>8} {'[95 % interval]':16}{'gap':>6}")
for policy, found in table.items():
    middle = statistics.stratified_bootstrap(iqm, found, whole_runs=True)
    ends = f"[{middle.low:.2f}, {middle.high:.2f}]"
    gap = statistics.optimality_gap(found)
    print(f"{style.title(policy):16}{found.mean():6.2f}{middle.estimate:8.2f} {ends:16}{gap:6.2f}")

fig, ax = plt.subplots(layout="constrained")
thresholds = np.linspace(0.0, 1.0, 201)
for policy, found in table.items():
    profile = statistics.performance_profile(found, thresholds, whole_runs=True, replicates=500)
    line = style.style(policy)
    ax.fill_between(thresholds, profile.low, profile.high, color=line["color"], alpha=0.15, lw=0)
    ax.plot(thresholds, profile.share, label=style.title(policy), **line)
ax.set(xlabel="normalised score τ (0 random, 1 oracle)", ylabel="share of runs above τ")
ax.legend(loc="lower left")
plt.show()

# %% [markdown]
# **What to see.** A curve further to the right is better; where two curves cross, one policy is
# more reliable and the other has the better best runs. A curve in two steps, as UCB's, has two
# groups of runs behind it (here: two scenarios), and *no* single number describes those.

# %%
def interval(found):
    """Estimate and interval as text."""
    return f"{found.estimate:.2f} [{found.low:.2f}, {found.high:.2f}]"


print(f"{style.title(first)} against", end=" ")
print(f"{'P(wins), paired':>21}{'unpaired':>20}{'mean difference':>22}")
for other in POLICIES[1:]:
    pair = table[first], table[other]
    wins = statistics.probability_of_improvement(*pair, paired=True, whole_runs=True)
    loose = statistics.probability_of_improvement(*pair)
    gain = statistics.paired_difference(*pair, whole_runs=True)
    print(f"{style.title(other):22}{interval(wins):>20}{interval(loose):>20}{interval(gain):>22}")

# %% [markdown]
# **What to see.** Paired and unpaired are two *questions*: "in the same world, who wins?" and "does
# a run of A, somewhere, beat a run of B, somewhere else?". The second mixes in which worlds were
# easy. And winning often is not winning much: read the difference beside the probability.
#
# Compare the first row with the two intervals at the end of section 5. If a conclusion changes with
# the scale, the average or the kind of interval that one happens to print, there is no conclusion
# yet. Say so, and play more seeds.

# %% [markdown]
# ## 8 · Three ways to fool yourself
#
# ### The best of k seeds
#
# We play DistMLLM and the weaker UCB on 200 seeds each. The honest report of a policy is its mean.
# What is reported if one tries k seeds and shows the best?

# %%
paper = Scenario.load("paper")
runs = {p: play(paper, load_policy(p), range(200)) for p in ("distmllm", "ucb-sigma")}
profit = {p: run.profit.sum(axis=(2, 3)).mean(axis=1) for p, run in runs.items()}


def best_of(sample, k, replicates=4000, seed=0):
    """Expected maximum of k runs."""
    rng = np.random.default_rng(seed)
    return sample[rng.integers(len(sample), size=(replicates, k))].max(axis=1).mean()


tried = np.arange(1, 21)
fig, ax = plt.subplots(layout="constrained")
for policy, sample in profit.items():
    reported = [best_of(sample, k) for k in tried]
    ax.plot(tried, reported, label=f"{style.title(policy)}, best of k", **style.style(policy))
ax.axhline(profit["distmllm"].mean(), color="black", lw=0.8, label="DistMLLM, mean")
ax.set(xlabel="k, seeds tried", ylabel="reported profit per slot")
ax.set_xticks([1, 5, 10, 15, 20])
ax.legend()
plt.show()
for policy, sample in profit.items():
    five = best_of(sample, 5)
    print(f"{style.title(policy):12} mean {sample.mean():.1f}, best of five {five:.1f}")

# %% [markdown]
# **What to see.** Five tries make the weaker policy "beat" the stronger one, by choosing a rich
# world. Nobody needs to cheat for that: it is enough to run again when a result "looks wrong" and
# not when it looks right.
#
# ### Tuning on the test seeds
#
# Give UCB a parameter that does nothing: a "word" that shuffles the order of its first tries. Try
# 40 words on five development seeds and keep the best. Then play it on **official** seeds, which
# were not used for the choice (`run_seeds(..., "official")`; they begin at 2⁴²).

# %%
class WordUCB(UCB):
    """UCB whose order of first tries hangs on a word instead of the run's luck."""

    def __init__(self, word):
        super().__init__("sigma")
        self.word = word

    def reset(self, problem, rng):
        super().reset(problem, [np.random.default_rng([self.word, b]) for b in range(len(rng))])


short = Scenario.load("paper", slots=100)


def word_scores(seeds, words=range(40)):
    """Mean share of the optimum with each word, in percent."""
    best = optimum(draw_world(short, seeds))
    runs = [play(short, WordUCB(word), seeds) for word in words]
    return np.array([100 * Scores(run, best).share_curve[:, -1].mean() for run in runs])


development = word_scores(run_seeds(5))
official = word_scores(run_seeds(50, "official"))
chosen = int(development.argmax())

fig, ax = plt.subplots(layout="constrained")
ax.plot(development, official, "o", ms=4, color=style.style("ucb-sigma")["color"], label="a word")
ax.plot(development[chosen], official[chosen], "k*", ms=12, label="the chosen word")
ax.set(xlabel="5 development seeds, % of the optimum", ylabel="50 official seeds, %")
ax.legend()
plt.show()
print(f"chosen word: {development[chosen]:.1f} % on the seeds it was chosen on")
print(f"             {official[chosen]:.1f} % on official seeds")
print(f"all words:   {official.mean():.1f} % on official seeds")

# %% [markdown]
# **What to see.** The chosen word looked better than the rest and is not: the best of many noisy
# numbers is too high on average (*winner's curse*). With a parameter that does something, part of
# the gain is real and part is not, and only fresh seeds tell which. So: tune on development seeds,
# and touch the official ones once.
#
# ### Leaving out what it cost
#
# A policy that has had a million slots elsewhere, or that solves an exact mapping in every slot, is
# not "the same, but better". Put the costs beside the scores. Seconds hang on the machine; counts
# do not.

# %%
def mappings_per_run(score):
    """How often DistMLLM maps anew: whenever an exploration ends."""
    exploring = score.run.exploring
    return (exploring[:, :-1] & ~exploring[:, 1:]).sum(axis=1).mean()


maps = {p: mappings_per_run(results["paper"][p]) for p in ("distmllm", "distmllm-fixed")}
if HAVE_FAST:
    maps["greedy"] = (~results["paper"]["greedy"].run.exploring).sum(axis=1).mean()

print(f"{'':16}{'needs':14}{'slots in other worlds':>22}{'mappings in 500 slots':>24}")
for policy in POLICIES:
    knows = getattr(load_policy(policy), "knows", "rewards")
    before = about_shipped("paper")["slots"] if policy == "ppo" else 0
    mapped = f"{maps[policy]:.0f}" if policy in maps else "none"
    print(f"{style.title(policy):16}{knows:14}{before:22,}{mapped:>24}")

# %% [markdown]
# `ppo` maps by its network, task by task, 500 times in a run. Also to be reported for it: the
# machine and the time of training, how many settings were tried before, and how many trainings
# were thrown away. Where a decision has to be made in milliseconds, its time belongs in the table,
# with the machine beside it. This notebook prints none, since yours will differ; measure it:

# %%
def median_ms(policy, scenario="paper", slots=100):
    """Median time of a decision and of learning from it, one market alone."""
    market = Market(Scenario.load(scenario, slots=slots), [0])
    player, seconds = Player(load_policy(policy), market), []
    while not market.done:
        begun = perf_counter()
        allocation = player.act(Observation(market.slot))
        decided = perf_counter() - begun
        outcome = market.step(allocation)
        begun = perf_counter()
        player.update(outcome, allocation)
        seconds.append(decided + perf_counter() - begun)
    return 1000 * np.median(seconds)


# for policy in POLICIES: print(policy, median_ms(policy))

# %% [markdown]
#
# **An honest comparison in ten lines**: same seeds for all · seeds not used for tuning · several
# training seeds · number of runs stated · interval of the paired *difference* · every scenario
# shown, not the mean alone · what each policy knows · what each had before · what each costs ·
# code and seeds given.

# %% [markdown]
# ## Exercises
#
# Every cell runs as it is. Change it.
#
# ### Exercise 1 · How many seeds?
#
# For DistMLLM-fixed against DistMLLM on `paper` (`a` and `b` above): how many paired seeds do you
# need until the 95 % interval of the difference is at most ± 0.02 profit per slot? Estimate first,
# then play them.

# %%
seeds_needed = 20  # change me: compute it from (a - b).std(ddof=1)
half = mean_interval(a - b)[1]
print(f"with 20 seeds ± {half:.2f}; you say {seeds_needed}")

# %% [markdown]
# <details><summary>Hint</summary>
# The half width is about 2 s / √n. Solve for n.
# </details>
#
# <details><summary>Solution</summary>
# <code>int(np.ceil((1.96 * (a - b).std(ddof=1) / 0.02) ** 2))</code>. s itself is estimated from 20
# runs only, so plan some more.
# </details>

# %% [markdown]
# ### Exercise 2 · Discount
#
# Train on `toy` with `gamma=0.99` instead of 0, on the same five training seeds. Does it hurt here?
# Then do it on `three` (one fixed world, with noise). What is the sample size of your answer?

# %%
if HAVE_RL:
    model = new_learner(MarketVecEnv(toy, markets=64), seed=0)  # change me
    model.learn(CHUNK)
    there = earned(model, toy, range(4), slots=20).mean() > 5.0
    print(f"5.0 reached after {CHUNK} slots, in one training: {bool(there)}")

# %% [markdown]
# <details><summary>Hint</summary>
# Give <code>new_learner</code> an argument <code>gamma</code>. One training is an anecdote: draw
# five curves for each γ, and compare the number of slots until 5.0 is reached, paired by seed.
# </details>

# %% [markdown]
# ### Exercise 3 · Does a 95 % interval hold in 95 % of cases?
#
# Take the 200 differences below for the whole population, so that the true mean is known. Draw
# samples of 5, 10 and 20, compute both intervals, and count how often each holds the true mean.

# %%
population = profit["distmllm"] - profit["ucb-sigma"]
truth = population.mean()
rng = np.random.default_rng(0)
for n in (5, 10, 20):
    inside = 0
    for _ in range(300):
        sample = rng.choice(population, n)
        mean, half = mean_interval(sample)  # change me: count the bootstrap's interval as well
        inside += abs(mean - truth) <= half
    print(f"n = {n:2}: Student's interval holds the truth in {100 * inside / 300:.0f} % of samples")

# %% [markdown]
# <details><summary>Hint</summary>
# <code>low, high = bootstrap(sample, replicates=200)</code>, then
# <code>low <= truth <= high</code>.
# </details>

# %% [markdown]
# ### Exercise 4 · Far from home
#
# Play `ppo` with the weights of `paper` on `scarce` and on `slack`. Write one paragraph, with
# paired intervals against `distmllm-fixed`, that would be fair to both.

# %%
if HAVE_RL:
    abroad = share_of_optimum(Scenario.load("slack", slots=100), load_policy("ppo"), range(5))
    mean, half = mean_interval(100 * abroad)  # change me
    print(f"slack, 100 slots, five seeds: {mean:.0f} % of the optimum")

# %% [markdown]
# <details><summary>Hint</summary>
# <code>load_policy("ppo", weights="paper")</code>; without <code>weights</code>,
# <code>scarce</code> gets weights of its own. Which sentence of your paragraph would change with
# 500 slots?
# </details>

# %% [markdown]
# ### Exercise 5 · Many comparisons
#
# Here are twenty "policies" that are all the same policy, each on seeds of its own. Of the 190
# pairs, how many differ "significantly" at 5 %? Correct with Holm's method: sort the p-values and
# compare the i-th smallest of n to 0.05 / (n − i + 1), stopping at the first that fails.

# %%
same = rng.choice(profit["distmllm"], size=(20, 20))  # (policies, runs)
surprises = 0
for i in range(20):
    for j in range(i):
        low, high = unpaired(same[i], same[j])  # change me: find p-values, then Holm
        surprises += low > 0 or high < 0
print(f"{surprises} of 190 pairs of equals differ at the 5 % level")

# %% [markdown]
# <details><summary>Hint</summary>
# A p-value by permutation needs no formula: shuffle the 40 runs of a pair between the two, 1,000
# times, and count how often the means are as far apart as they were.
# </details>
#
# <details><summary>Solution</summary>
# About 5 % of the pairs by luck alone (190 tests share 20 samples, so the count varies much from
# draw to draw); after Holm's correction nearly always none.
# </details>

# %% [markdown]
# ### Exercise 6 · Register before you look (open)
#
# Design a comparison of two policies of your choice on a scenario of your choice. Write down,
# before you play: the measure, the horizon, seeds and their number, the interval and what would
# count as "better", "worse", "undecided". Then run it **once** on official seeds and report what
# comes out.

# %%
plan = {
    "question": "",
    "measure": "share of the optimum at slot 500",
    "policies": ("greedy", "distmllm-fixed"),
    "seeds": run_seeds(20, "official"),
    "better if": "the 95 % interval of the paired difference is above 0",
}
print(f"{len(plan['seeds'])} official seeds, from {plan['seeds'][0]:,} on")

# %% [markdown]
# <details><summary>Hint</summary>
# The hardest line is "undecided": an interval that holds 0 shows no equality. Say beforehand how
# small a difference you would not care about.
# </details>

# %% [markdown]
# ## What you should be able to say now
#
# - what a row, an observation and an action are for a learner of this market, and why γ = 0;
# - what "trained on a fixed world" shows and what it does not;
# - why overlapping intervals of two means prove nothing about two policies that shared their seeds;
# - what IQM, optimality gap, profile and probability of improvement each answer, and which of them
#   needs `whole_runs`;
# - how large a gain "best of five" and "tuned on the test seeds" bring for free;
# - what belongs beside a score: knowledge, training, cost.
#
# ## Further reading
#
# - R. Agarwal, M. Schwarzer, P. S. Castro, A. Courville and M. Bellemare, "Deep reinforcement
#   learning at the edge of the statistical precipice", NeurIPS 2021.
# - P. Henderson, R. Islam, P. Bachman, J. Pineau, D. Precup and D. Meger, "Deep reinforcement
#   learning that matters", AAAI 2018.
# - B. Efron and R. Tibshirani, *An Introduction to the Bootstrap*, Chapman and Hall, 1993.
# - J. Schulman, F. Wolski, P. Dhariwal, A. Radford and O. Klimov, "Proximal policy optimization
#   algorithms", arXiv:1707.06347, 2017.
# - S. Holm, "A simple sequentially rejective multiple test procedure", *Scandinavian Journal of
#   Statistics* 6, 1979.
# - In this package: `distmllm learning` (tables of learned policies), `distmllm bench` and
#   `distmllm report` (closed and open division, official seeds, paired intervals).
