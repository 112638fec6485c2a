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
# # 4 · Many providers
#
# Several providers want the same good workers: what it costs when each decides for itself, and what
# coordination, rules and rewards can do about it.
#
# **You will**
#
# - drive the PettingZoo environments, simultaneous and sequential, with learners of your own;
# - split regret into its causes: served elsewhere, rejected, idle;
# - compute all Nash equilibria of small markets, and the price of anarchy;
# - tell the cost of *learning* side by side from the cost of *selfishness* itself;
# - see what a reward, an order of turns and a fair objective do to the providers.
#
# About 75 minutes, exercises not counted. Needs notebooks 1 to 3 (or: a slot, UCB, the optimum).

# %%
# On Colab, take away the first "# ":
# # %pip install -q distmllm-env

from itertools import permutations, product

import matplotlib.pyplot as plt
import numpy as np

import distmllm_env
from distmllm_agents.mapping.fair import solve_fair
from distmllm_agents.mapping.problem import disaggregated, to_allocation
from distmllm_bench import style
from distmllm_bench.metrics import FATES, Scores, optimum
from distmllm_env import ENC, LLM, Scenario, Status, draw_world, load_policy, play
from distmllm_env.policy import make_problem

look = {"figure.dpi": 90, "figure.figsize": (6.5, 3.0), "axes.axisbelow": True}
plt.rcParams.update(style.RC | look)

# %% [markdown]
# ## 1 · One slot, everybody at once
#
# In PettingZoo's parallel environment every provider is an agent. All choose at the same time, each
# a worker for its ENC and one for its LLM task; N (here 2) means defer. On `toy` there are two
# workers: worker 1 is fast and has two places, worker 0 is slow and has one. Every task earns more
# on worker 1, so let everybody go there.

# %%
env = distmllm_env.parallel_env(scenario="toy")
observations, infos = env.reset(seed=0)
actions = {agent: np.array([1, 1]) for agent in env.agents}
observations, rewards, terminations, truncations, infos = env.step(actions)
for agent, info in infos.items():
    became = [Status(s).name.lower() for s in info["status"]]
    print(f"{agent}: ENC {became[ENC]}, LLM {became[LLM]}, profit {rewards[agent]:.2f}")

# %% [markdown]
# Four tasks met two places. The worker dropped two of them at random, and the place on worker 0
# stayed empty. No action mask could have prevented that: whether a worker is full depends on what
# the others choose *in the same slot*.
#
# How much is lost on average? Play the whole episode and set the profit of a slot against the
# optimum V*.

# %%
toy = Scenario.load("toy")
best_toy = optimum(draw_world(toy, [0]))


def mean_welfare(env, actions, seed=0):
    """Play the same actions in every slot; return the total profit per slot."""
    env.reset(seed=seed)
    total = []
    while env.agents:
        total.append(sum(env.step(actions)[1].values()))
    return np.mean(total)


crowd = mean_welfare(distmllm_env.parallel_env(scenario="toy", slots=4000), actions)
print(f"all on worker 1: {crowd:.1f} per slot; optimum: {best_toy.value[0]:.1f}")
print("optimal workers (ENC, LLM) of each provider, 2 = defer:", best_toy.allocation[0].tolist())

# %% [markdown]
# The optimum lets an ENC task wait. Somebody has to accept that, and no selfish provider will by
# itself. This is the subject of the notebook.

# %% [markdown]
# ## 2 · Selfish learners
#
# Real providers do not know what they earn where. Give each one a UCB learner per task, as in
# notebook 2: mean + width · √(2 ln t / n). A learner sees its own profit and nothing else, and a
# rejected task counts as a sample of 0, so a crowded worker looks bad.

# %%
class SelfishUCB:
    """UCB for the two tasks of one provider; it knows of no others."""

    def __init__(self, workers, width, seed):
        rng = np.random.default_rng(seed)
        self.order = rng.permuted(np.tile(np.arange(workers), (2, 1)), axis=1)  # first tries
        self.mean, self.count = np.zeros((2, workers)), np.zeros((2, workers))
        self.width, self.slot = width, 0

    def act(self):
        if self.slot < self.order.shape[1]:
            return self.order[:, self.slot]
        bonus = self.width * np.sqrt(2 * np.log(self.slot) / self.count)
        return (self.mean + bonus).argmax(axis=1)

    def update(self, action, profit):
        task = [ENC, LLM]
        self.count[task, action] += 1
        self.mean[task, action] += (profit - self.mean[task, action]) / self.count[task, action]
        self.slot += 1


def play_parallel(env, learners, seed):
    """Play a run; return the total profit and the number of rejected tasks of each slot."""
    env.reset(seed=seed)
    welfare, rejected = [], []
    while env.agents:
        actions = {agent: learners[agent].act() for agent in env.agents}
        _, rewards, _, _, infos = env.step(actions)
        for agent, learner in learners.items():
            learner.update(actions[agent], infos[agent]["profit"])
        welfare.append(sum(rewards.values()))
        rejected.append(sum((infos[a]["status"] == Status.REJECTED).sum() for a in infos))
    return np.array(welfare), np.array(rejected)


env = distmllm_env.parallel_env(scenario="scarce")
n = env.scenario.workers
learners = {agent: SelfishUCB(n, 0.2, seed=m) for m, agent in enumerate(env.possible_agents)}
welfare, rejected = play_parallel(env, learners, seed=0)

# %% [markdown]
# `scarce` has ten providers, 20 tasks, and a third more demand than capacity. Beside the ten lone
# learners we draw one coordinator on the same world with the same luck: `distmllm-fixed`, which
# explores in a round robin and then commits to the exact mapping of its sample means.

# %%
scarce = Scenario.load("scarce")
together = play(scarce, load_policy("distmllm-fixed"), [0])
v_star = optimum(together.world).value[0]
together_rejected = (together.status[0] == Status.REJECTED).sum(axis=(1, 2))


def smooth(x, width=25):
    """Mean over the last ``width`` slots."""
    return np.convolve(x, np.ones(width) / width, mode="valid")


fig, (left, right) = plt.subplots(1, 2, layout="constrained")
slots = np.arange(25, scarce.slots + 1)
curves = (
    ("ucb-sigma", "each alone (UCB)", welfare, rejected),
    ("distmllm-fixed", "together", together.profit[0].sum(axis=(1, 2)), together_rejected),
)
for name, label, earned, dropped in curves:
    left.plot(slots, smooth(earned), label=label, **style.style(name))
    right.plot(slots, smooth(dropped), label=label, **style.style(name))
left.axhline(v_star, label="optimum V*", **style.style("oracle"))
left.set(xlabel="time slot", ylabel="profit per slot, all providers")
right.set(xlabel="time slot", ylabel="rejected tasks per slot (of 20)")
fig.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3)
plt.show()

# %% [markdown]
# **What to see** (means over the last 25 slots). The coordinator pays for its exploration in the
# first slots, returns to it for moments, and is near the optimum in between. The lone learners go
# on colliding: nobody tells them that a good worker is *full*, they only find it disappointing now
# and then. Are they still learning, or would they stay there for ever? We need to separate two
# costs:
#
# 1. of **learning**: trying workers, colliding while trying;
# 2. of **selfishness**: where selfish providers end up even if they know everything.

# %% [markdown]
# ## 3 · Where regret comes from
#
# `Scores.regret_by_fate` splits the regret of a run by what became of the tasks: **served** (on
# another worker than in the optimum, or in the place of another task), **rejected** by an
# overloaded worker, **idle** (deferred). The three sum to the regret.

# %%
POLICIES = ("random", "ucb", "ucb-sigma", "heu", "distmllm", "distmllm-fixed")
SEEDS = range(20)


def scores(scenario, policies=POLICIES, seeds=SEEDS):
    """Play all policies on the same worlds; one ``Scores`` for each."""
    runs = {name: play(scenario, load_policy(name), seeds) for name in policies}
    best = optimum(next(iter(runs.values())).world)
    return {name: Scores(run, best) for name, run in runs.items()}


results = {name: scores(Scenario.load(name)) for name in ("paper", "scarce")}

fig, axes = plt.subplots(1, 2, sharey=True, layout="constrained")
colours = {"served": "#0072B2", "rejected": "#D55E00", "idle": "#BBBBBB"}
for ax, (name, found) in zip(axes, results.items()):
    for y, score in enumerate(found.values()):
        best_of_run = score.best.value * score.run.profit.shape[1]
        share = (100 * score.regret_by_fate / best_of_run[:, None]).mean(axis=0)
        left, right = 0.0, 0.0  # negative parts grow to the left, positive ones to the right
        for fate, part in zip(FATES, share):
            ax.barh(y, part, left=left if part < 0 else right, color=colours[fate], label=fate)
            left, right = left + min(part, 0.0), right + max(part, 0.0)
        ax.plot(share.sum(), y, "kd", ms=5, label="regret")
    ax.set(title=name, xlabel="regret, % of the optimum")
axes[0].set_yticks(range(len(POLICIES)), [style.title(p) for p in POLICIES])
axes[0].invert_yaxis()
legend = dict(zip(*reversed(axes[0].get_legend_handles_labels())))  # each label once
fig.legend(legend.values(), legend, loc="outside upper center", ncols=4)
plt.show()

# %% [markdown]
# **What to see.** The mark is the sum of the bars, the regret. On `paper`, where there is room for
# all, those who decide alone lose most by rejections, and those who coordinate lose a little by
# exploring and by a mapping that is not the best. On `scarce` somebody is always left out. If the
# optimum leaves out the same task, that costs nothing; if a better one is rejected or idle, it is
# lost, and what is served in its place counts as a negative loss: hence the bars to the left.
#
# Who rejects nobody is not yet good: HEU never overloads a worker, and lets good tasks wait.

# %% [markdown]
# ## 4 · The one-shot game
#
# Now take learning away. Let all providers know all mean profits, and look at a single slot as a
# **game**: the players are the providers, a strategy is a pair of workers, the payoff is the
# expected profit. A **Nash equilibrium** is a profile of strategies from which no player gains by
# changing its own choice alone. In small markets we can enumerate all of them (the pure ones, in
# which nobody throws dice; not every game has one, ours here do).
#
# First the payoff. An overloaded worker drops its tasks in random order until the rest fits, so a
# task stays with a probability that depends on who else is there. For a handful of tasks we go
# through all orders.

# %%
def admission(demands, capacity):
    """Probability that each task stays if they are served in random order as long as they fit."""
    orders = list(permutations(range(len(demands))))
    stays = np.zeros(len(demands))
    for order in orders:
        filled = 0.0
        for task in order:
            filled += demands[task]
            if filled > capacity:
                break  # this one falls, and so do those that come after it
            stays[task] += 1
    return stays / len(orders)


print("three equal tasks, two places: ", admission([1, 1, 1], 2).round(3))
print("demands 1, 1, 2 on capacity 2: ", admission([1, 1, 2], 2).round(3))


# %%
def payoff_table(world, rule=admission):
    """All strategies of a provider, and every provider's payoff in every profile.

    The table has one axis per provider (its strategy) and a last one (whose payoff).
    """
    m, n = world.scenario.providers, world.scenario.workers
    mean, demand, capacity = world.mean_profit[0], world.demand[0], world.capacity[0]
    strategies = list(product(range(n + 1), repeat=2))  # (worker of ENC, worker of LLM)
    table = np.zeros((len(strategies),) * m + (m,))
    known = {}
    for profile in product(range(len(strategies)), repeat=m):
        chosen = [strategies[k] for k in profile]
        for worker in range(n):
            tasks = tuple((i, s) for i in range(m) for s in (ENC, LLM) if chosen[i][s] == worker)
            if (worker, tasks) not in known:
                demands = [demand[i] for i, _ in tasks]
                known[worker, tasks] = rule(demands, capacity[worker])
            for (i, s), chance in zip(tasks, known[worker, tasks]):
                table[profile + (i,)] += chance * mean[s, i, worker]
    return strategies, table


def equilibria(table):
    """Which profiles are pure Nash equilibria: nobody has a better reply of its own."""
    stable = np.ones(table.shape[:-1], bool)
    for i in range(table.shape[-1]):
        own = table[..., i]
        stable &= own >= own.max(axis=i, keepdims=True) - 1e-9
    return stable


strategies, table = payoff_table(draw_world(toy, [0]))
everybody_on_1 = strategies.index((1, 1))
print(f"all on worker 1, by the table: {table[everybody_on_1, everybody_on_1].sum():.2f}")
for profile in np.argwhere(equilibria(table)):
    workers = [strategies[k] for k in profile]
    welfare = table[tuple(profile)].sum()
    print(f"equilibrium {workers}: payoffs {table[tuple(profile)].round(2)}, sum {welfare:.2f}")

# %% [markdown]
# Two checks. The table agrees with what we measured in section 1: a model of the environment that
# has not been checked against the environment is worth little. And on `toy` the only equilibrium
# is as good as the optimum, although the two ENC tasks fight for one place: they earn the same
# there, so it does not matter who wins. Contention hurts when the *wrong* task wins.
#
# Now some worlds where tasks differ: three providers, three workers, constants of `paper`, a demand
# of 1 per task, and first 1, then 2, then 3 places per worker: six tasks on 3, 6 or 9 places. We
# compare the worst and the best equilibrium to the optimum. V* / (worst) is called the **price of
# anarchy** (Koutsoupias and Papadimitriou 1999), V* / (best) the price of stability.

# %%
def small(places, **keys):
    """Three providers on three workers with so many places each."""
    return Scenario.load("paper", {"demand": 1, "capacity": places}, providers=3, workers=3, **keys)


def anarchy(scenario, seed, rule=admission):
    """Welfare of the worst and of the best equilibrium, as shares of the optimum."""
    world = draw_world(scenario, [seed])
    _, table = payoff_table(world, rule)
    value = table.sum(axis=-1)[equilibria(table)]
    return value.min() / optimum(world).value[0], value.max() / optimum(world).value[0]


shares = {}  # places -> (worlds, 2)
for places in (1, 2, 3):
    shares[places] = np.array([anarchy(small(places), seed) for seed in range(15)])

fig, ax = plt.subplots(layout="constrained")
for places, found in shares.items():
    at = places + np.linspace(-0.3, 0.3, len(found))
    ax.vlines(at, 100 * found[:, 0], 100 * found[:, 1], color="#999999", lw=1)
    ax.plot(at, 100 * found[:, 1], "^", ms=6, color="#0072B2")
    ax.plot(at, 100 * found[:, 0], "v", ms=5, color="#D55E00")
ax.axhline(100, **style.style("oracle"))
ax.set_xticks([1, 2, 3], ["1 place per worker\n(3 for 6 tasks)", "2 (6 for 6)", "3 (9 for 6)"])
ax.set(ylabel="welfare, % of the optimum")
ax.legend(ax.lines[:2], ["best equilibrium", "worst equilibrium"], loc="lower right")
plt.show()
for places, found in shares.items():
    worst, best = 1 / found.min(axis=0)
    print(f"{places} per worker: price of anarchy up to {worst:.2f}, of stability up to {best:.2f}")

# %% [markdown]
# **What to see.** Every mark pair is one world. With room for all, the optimum *is* an equilibrium
# and even the worst one loses little. With too few places every equilibrium is bad, the best as
# well as the worst: the places are still full, but a lottery fills them, and ENC tasks draw tickets
# too. Waiting politely never pays for the one who waits.
#
# Three by three is not ten by five, but the picture fits what section 3 showed: with room for all,
# as in `paper`, what lone learners lose is mostly the cost of learning; where places are short, as
# in `scarce`, even providers who knew everything would lose.

# %% [markdown]
# ## 5 · Better replies, and what learners find
#
# How do players get to an equilibrium? By **best-response dynamics**: in turn, each changes to its
# best reply. We start from the optimum and from a crowd on the strongest worker.

# %%
def best_replies(table, start, rounds=4):
    """Let providers reply in turn; return the welfare after every move, and the last profile."""
    profile, welfare = list(start), [table[tuple(start)].sum()]
    for move in range(rounds * len(start)):
        i = move % len(start)
        line = profile[:i] + [slice(None)] + profile[i + 1 :]
        replies = table[tuple(line)][:, i]
        if replies.max() > replies[profile[i]] + 1e-9:
            profile[i] = int(replies.argmax())
        welfare.append(table[tuple(profile)].sum())
    return np.array(welfare), tuple(profile)


tight = small(1)
world = draw_world(tight, [0])
strategies, table = payoff_table(world)
best = optimum(world)
strongest = int(world.performance[0].argmax())
starts = {
    "from the optimum": [strategies.index(tuple(pair)) for pair in best.allocation[0].tolist()],
    "from a crowd": [strategies.index((strongest, strongest))] * 3,
}
value = table.sum(axis=-1)[equilibria(table)]

fig, ax = plt.subplots(layout="constrained")
for (label, start), (colour, marker) in zip(starts.items(), (("#0072B2", "o"), ("#D55E00", "s"))):
    welfare, last = best_replies(table, start)
    print(f"{label}: ends in an equilibrium: {bool(equilibria(table)[last])}")
    ax.plot(welfare, marker=marker, ms=4, color=colour, label=label)
ax.axhline(best.value[0], label="optimum V*", **style.style("oracle"))
ax.axhspan(value.min(), value.max(), color="#009E73", alpha=0.3, label="all equilibria")
ax.set(xlabel="moves (providers reply in turn)", ylabel="expected profit per slot")
ax.legend(ncols=2)
plt.show()

# %% [markdown]
# **What to see.** The optimum does not last: the first provider whose task waits takes a ticket in
# the lottery of a better place, and the others follow. From the crowd, selfish replies *improve*
# welfare, since nobody likes a crowd. Both ways end in the green band, which is so thin that you
# may take it for a line.
#
# Does UCB end there too? It knows no means, replies to nobody and plays for a finite time. We run
# the package's `ucb-sigma`, the same idea as `SelfishUCB` but many runs at once, on the same world
# with new luck.

# %%
long = small(1, slots=4000)
run = play(long, load_policy("ucb-sigma"), range(10), world_seed=0)
expected = run.expected_profit.sum(axis=(2, 3)).mean(axis=0)
for first, last in ((0, 100), (100, 500), (500, 1000), (1000, 4000)):
    share = expected[first:last].mean() / best.value[0]
    print(f"slots {first:>4} to {last:>4}: {100 * share:.0f} % of the optimum")
low, high = (100 * end / best.value[0] for end in (value.min(), value.max()))
print(f"all equilibria: {low:.0f} to {high:.0f} % of the optimum")

# %% [markdown]
# Nothing forces learners to end at an equilibrium of the one-shot game: they go on exploring, and
# what they have seen ties their choices together. Here they earn what it predicts, from early on,
# and what is missing to the optimum does not go away with time. It is no cost of learning.

# %% [markdown]
# ## 6 · Taking turns
#
# One remedy is a rule: choose **one after the other**, and see what is left. In the sequential
# environment a turn places one task, and `info["action_mask"]` says exactly what will be admitted,
# so nobody is ever rejected. Let every provider know the true means and take the best place that
# is left. `order="index"` always begins with provider 0; `"rotate"` begins with provider t mod M.

# %%
def take_turns(order, seed, slots=20, scenario="scarce"):
    """First come, first served, with known means; return each provider's profit per slot."""
    env = distmllm_env.env(scenario=scenario, order=order, slots=slots)
    env.reset(seed=seed)
    mean = draw_world(env.scenario, [seed]).mean_profit[0]
    number = {agent: m for m, agent in enumerate(env.possible_agents)}
    earned = np.zeros(len(number))
    for agent in env.agent_iter():
        _, reward, terminated, truncated, info = env.last(observe=False)
        earned[number[agent]] += reward  # of the slot before
        if terminated or truncated:
            env.step(None)
            continue
        wish = np.where(info["action_mask"], mean[info["stage"], number[agent]], -np.inf)
        env.step(int(wish.argmax()))
    return earned / slots


def jain(profit):
    """Jain's index: 1 if all have the same, 1 / M if one has all."""
    return profit.sum(axis=1) ** 2 / (profit.shape[1] * (profit**2).sum(axis=1))


seeds = range(10)
best = optimum(draw_world(scarce, seeds))
late = play(scarce, load_policy("ucb-sigma"), seeds).profit[:, -100:]
outcomes = {  # profit per slot of each provider, (seeds, providers)
    "each alone (UCB), last 100 slots": late.sum(axis=3).mean(axis=1),
    "in turn, by index": np.array([take_turns("index", seed) for seed in seeds]),
    "in turn, rotating": np.array([take_turns("rotate", seed) for seed in seeds]),
    "optimum": best.task_value.sum(axis=2),
}


def print_table(outcomes, v_star):
    """Means over the seeds."""
    print(f"{'':34}of optimum   Jain   worst-off")
    for label, profit in outcomes.items():
        share = 100 * (profit.sum(axis=1) / v_star).mean()
        worst = profit.min(axis=1).mean()
        print(f"{label:34}{share:8.0f} % {jain(profit).mean():7.2f} {worst:9.2f}")


print_table(outcomes, best.value)

# %% [markdown]
# **What to see.** Nobody is rejected any more and nobody explores, and yet the total hardly gains:
# whoever comes first takes two good places, one of them for an ENC task that somebody's LLM task
# would have needed. Turns replace the lottery by a queue; neither asks who *should* be served. A
# fixed order is also a privilege: look at Jain's index and at the worst-off provider. Rotation
# shares the privilege out and costs nothing.

# %% [markdown]
# ## 7 · What should an agent be rewarded for?
#
# All environments of this package take `reward=`. The same slot, seen three ways:

# %%
actions = {"provider_0": np.array([0, 1]), "provider_1": np.array([2, 1])}
for reward in ("profit", "welfare", "proportional_fair"):
    env = distmllm_env.parallel_env(scenario="toy", reward=reward)
    env.reset(seed=0)
    paid = {agent: round(r, 2) for agent, r in env.step(actions)[1].items()}
    print(f"{reward:18}", paid)

# %% [markdown]
# `profit` pays each its own: the learners play the game of section 4. `welfare` pays everybody the
# sum: a **team**, in which the optimum is an equilibrium by construction, though not the only one.
# `proportional_fair` pays everybody the sum of ln(1 + profit): still a team, but the first unit of
# a poor provider counts more than one more unit of a rich one.
#
# Check the first two on the tight worlds. A team's payoff is the sum, the same for all.

# %%
def team(table):
    """The same game if everybody is paid the welfare."""
    return np.repeat(table.sum(axis=-1, keepdims=True), table.shape[-1], axis=-1)


print("seed   profit: worst, best   welfare: worst, best    (% of the optimum)")
for seed in range(5):
    world = draw_world(tight, [seed])
    v_star = optimum(world).value[0]
    _, table = payoff_table(world)
    sums = table.sum(axis=-1) / v_star * 100
    own, common = sums[equilibria(table)], sums[equilibria(team(table))]
    print(f"{seed:4} {own.min():14.0f} {own.max():6.0f} {common.min():16.0f} {common.max():6.0f}")

# %% [markdown]
# **What to see.** Paid as a team, the best equilibrium is the optimum, always. The worst one may
# still fall short: no single move improves it, only two providers moving together could. A common
# reward takes the conflict away, not the problem of coordination. It also makes learning harder:
# my reward now moves with what all the others try (*credit assignment*).
#
# And fairness? `solve_fair` maps for the largest sum of log profits, which is the only candidate
# for a proportionally fair mapping (equation (5) of the paper).

# %%
def profit_of(world, allocation):
    """Mean profit of each provider under an allocation (M, 2) that fits."""
    m = np.arange(world.scenario.providers)
    return sum(world.mean_profit[0, s, m, allocation[:, s]] for s in (ENC, LLM))


def fair_profit(world):
    """Mean profit of each provider under the mapping of the largest sum of log profits."""
    m, n = world.scenario.providers, world.scenario.workers
    problem = disaggregated(make_problem(world), world.mean_profit[0, ..., :-1], 0)
    return profit_of(world, to_allocation(solve_fair(problem, m).choice, m, n))


worlds = [draw_world(scarce, [seed]) for seed in seeds]
outcomes["proportionally fair"] = np.array([fair_profit(world) for world in worlds])
print_table(outcomes, best.value)

fig, ax = plt.subplots(layout="constrained")
looks = {
    "optimum": ("#000000", "o"),
    "in turn, by index": ("#D55E00", "s"),
    "proportionally fair": ("#0072B2", "^"),
}
for label, (colour, marker) in looks.items():
    sorted_mean = np.sort(outcomes[label], axis=1).mean(axis=0)
    ax.plot(range(1, 11), sorted_mean, marker=marker, color=colour, ls=":", label=label)
ax.set(xlabel="providers of a world, poorest to richest", ylabel="profit per slot")
ax.set_xticks(range(1, 11))
ax.legend()
plt.show()

# %% [markdown]
# **What to see.** Among good allocations, fairness costs little here: the fair mapping lifts the
# poor end and gives up a small part of the sum. The unfair rule, in turn by index, is worse in
# *every* column, so "fair or efficient" is not always the choice. Where it is one, how much of the
# one to give for the other is no technical question, and an honest report shows both columns.

# %% [markdown]
# ## Exercises
#
# Every cell runs as it is. Change it.
#
# ### Exercise 1 · A better crowd
#
# On `toy`, find actions with which *nobody* is rejected and the profit per slot is 5.1. How many
# such profiles are there?

# %%
actions = {"provider_0": np.array([1, 1]), "provider_1": np.array([1, 1])}
print(f"{mean_welfare(distmllm_env.parallel_env(scenario='toy'), actions):.2f}")

# %% [markdown]
# <details><summary>Hint</summary>
# <code>draw_world(toy, [0]).mean_profit[0]</code>, indexed by stage, provider and worker, says what
# each task earns. Which task must wait? Does it matter whose it is?
# </details>
#
# <details><summary>Solution</summary>
# Both LLM tasks on worker 1, one ENC task on worker 0, the other one deferred: (0, 1) and (2, 1),
# or (2, 1) and (0, 1). Two profiles, since both ENC tasks earn 0.9 on worker 0.
# </details>

# %% [markdown]
# ### Exercise 2 · Is a rejection a reward of zero?
#
# `SelfishUCB` counts a rejected task as a sample of 0. The alternative is to take no sample at all.
# Write `Stubborn.update` so that rejected tasks leave mean and count as they are. Predict first:
# are there more or fewer rejections?

# %%
class Stubborn(SelfishUCB):
    def update(self, action, profit):
        super().update(action, profit)  # change me: a profit of exactly 0 is a rejection here


env = distmllm_env.parallel_env(scenario="scarce")
learners = {agent: Stubborn(5, 0.2, seed=m) for m, agent in enumerate(env.possible_agents)}
welfare, rejected = play_parallel(env, learners, seed=0)
late = slice(-200, None)
print(f"{welfare[late].mean():.1f} per slot, {rejected[late].mean():.1f} rejected, late in the run")

# %% [markdown]
# <details><summary>Hint</summary>
# Work on a mask <code>seen = profit != 0</code> and index with
# <code>np.array([ENC, LLM])[seen]</code>. Mind the divisor in <code>act</code>: a worker that never
# admitted you has a count of 0.
# </details>

# %% [markdown]
# ### Exercise 3 · Priority by value
#
# In `take_turns` the order is by provider. In which order should *tasks* be placed so that
# first come, first served gets closer to the optimum? Here tasks are placed outside the
# environment, one after the other, into the room that is left, in ten worlds.

# %%
def in_order(world, order):
    """Place tasks (m, s) one by one on the best worker with room; return the allocation."""
    n = world.scenario.workers
    room = world.capacity[0].copy()
    allocation = np.full((world.scenario.providers, 2), n)
    for m, s in order:
        fits = room >= world.demand[0, m]
        allocation[m, s] = np.where(fits, world.mean_profit[0, s, m], -np.inf).argmax()
        room[allocation[m, s]] -= world.demand[0, m]
    return allocation


tasks = [(m, s) for m in range(10) for s in (ENC, LLM)]  # change me: the order of this list
reached = [profit_of(w, in_order(w, tasks)).sum() / optimum(w).value[0] for w in worlds]
print(f"{100 * np.mean(reached):.0f} % of the optimum")

# %% [markdown]
# <details><summary>Hint</summary>
# LLM before ENC is a start. Then think of a knapsack: what counts is profit per unit of demand.
# </details>
#
# <details><summary>Solution</summary>
# For each world, sort by falling
# <code>world.mean_profit[0, s, m].max() / world.demand[0, m]</code>: greedy by density, the
# classical heuristic for a knapsack. It comes much closer, and it is still not the optimum: what is
# wrong with taking the best worker first?
# </details>

# %% [markdown]
# ### Exercise 4 · Another rule for overload
#
# With `market.overload = "reject_all"` an overloaded worker serves nobody. Write `harsh` for that
# rule and compute the price of anarchy of the tight worlds again. Does a harsher rule make
# selfish providers better or worse?

# %%
def harsh(demands, capacity):
    return admission(demands, capacity)  # change me


found = np.array([anarchy(tight, seed, rule=harsh) for seed in range(8)])
print(f"worst equilibria: {100 * found[:, 0].min():.0f} to {100 * found[:, 0].max():.0f} %")
print(f"best equilibria:  {100 * found[:, 1].min():.0f} to {100 * found[:, 1].max():.0f} %")

# %% [markdown]
# <details><summary>Hint</summary>
# All ones if the sum of demands fits, else all zeros. Then look at the best and the worst
# equilibrium separately: one of them surprises. There can be equilibria in which everybody is
# rejected; why does nobody leave?
# </details>

# %% [markdown]
# ### Exercise 5 · A tax that makes the optimum stable
#
# Pay each provider its **marginal contribution**: the welfare with it, less the welfare if its two
# tasks were deferred and all others stayed. Show, on paper, that every welfare optimum is then an
# equilibrium. Then compute it.

# %%
def contribution(table, strategies):
    """Payoffs if everybody is paid what it adds to the welfare."""
    welfare = table.sum(axis=-1)
    n = max(worker for pair in strategies for worker in pair)
    nobody = strategies.index((n, n))
    paid = table.copy()
    for i in range(table.shape[-1]):
        without = np.take(welfare, [nobody], axis=i)  # the same profile, provider i deferred
        paid[..., i] = table[..., i]  # change me: use welfare and without
    return paid


for seed in range(5):
    world = draw_world(tight, [seed])
    strategies, table = payoff_table(world)
    sums = 100 * table.sum(axis=-1) / optimum(world).value[0]
    stable = equilibria(contribution(table, strategies))
    print(f"seed {seed}: equilibria at {sums[stable].min():.0f} to {sums[stable].max():.0f} %")

# %% [markdown]
# <details><summary>Hint</summary>
# If provider i changes its choice, <code>without</code> stays what it was. So its payoff changes by
# exactly as much as the welfare does: the welfare is a <em>potential</em> of the game.
# </details>

# %% [markdown]
# ### Exercise 6 · Learners under that tax (open)
#
# Who would have to know what, so that the contribution of exercise 5 can be paid in the real
# market, slot by slot, with learners that see rewards only? Design it, and try it in
# `play_parallel` on `tight`: a coordinator needs an estimate of what the others would have earned.
# Compare with `ucb-sigma` on paired seeds (notebook 5 says how).

# %%
env = distmllm_env.parallel_env(scenario=tight, slots=1000, world_seed=0)
learners = {agent: SelfishUCB(3, 0.2, seed=m) for m, agent in enumerate(env.possible_agents)}
welfare, rejected = play_parallel(env, learners, seed=0)
late = 100 * welfare[-500:].mean() / optimum(draw_world(tight, [0])).value[0]
print(f"without a tax: {late:.0f} % of the optimum, late in the run")

# %% [markdown]
# <details><summary>Hint</summary>
# With random drops, who is in my way is known after the slot: <code>infos</code> of all agents say
# who was rejected, and a running mean per (task, worker) says what it would have earned. Start with
# a fine for every place taken while somebody else was rejected there.
# </details>

# %% [markdown]
# ## What you should be able to say now
#
# - why no mask over simultaneous choices can prevent an overload, and what taking turns changes;
# - which part of a selfish learner's regret is a cost of learning and which of selfishness, and how
#   an enumeration of a small game separates them;
# - when the optimum is an equilibrium of this market and when no equilibrium comes near it;
# - what `profit`, `welfare` and `proportional_fair` ask the agents for, and what a common reward
#   does not solve;
# - why "sum of profits" and "fair" are two columns and not one.
#
# ## Further reading
#
# - Y. Shoham and K. Leyton-Brown, *Multiagent Systems: Algorithmic, Game-Theoretic, and Logical
#   Foundations*, Cambridge University Press, 2009. Chapters 3 and 6: games, congestion games.
# - E. Koutsoupias and C. Papadimitriou, "Worst-case equilibria", STACS 1999: the price of anarchy.
# - I. Milchtaich, "Congestion games with player-specific payoff functions", *Games and Economic
#   Behavior* 13, 1996: when pure equilibria exist, and when best replies run in circles.
# - F. Kelly, A. Maulloo and D. Tan, "Rate control for communication networks: shadow prices,
#   proportional fairness and stability", *Journal of the Operational Research Society* 49, 1998.
# - J. Terry et al., "PettingZoo: Gym for multi-agent reinforcement learning", NeurIPS 2021.
# - M. Lanctot et al., "A unified game-theoretic approach to multiagent reinforcement learning",
#   NeurIPS 2017: learning best replies to populations.
