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
# # 1 · The market, and one slot by hand
#
# You compute one slot of an edge market by hand, check it against the package, then let programs
# play it, and in the end a program of your own.
#
# **You will**
#
# - say what providers, workers, stages and slots are, and what is decided in a slot;
# - compute latency, energy and profit of a placement from three equations;
# - see what happens on a worker that too many tasks are sent to, and what it costs to split a
#   request over two workers;
# - drive the market through Gymnasium and through PettingZoo;
# - write a scheduler and measure, on equal terms, whether it beats another one.
#
# About 90 minutes, exercises not counted. Needs Python, NumPy arrays, means and standard
# deviations; nothing about language models, edge computing or reinforcement learning.

# %%
# On Colab, take away the first "# ":
# # %pip install -q distmllm-env

from itertools import product

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import distmllm_env
from distmllm_bench import style
from distmllm_bench.metrics import optimum
from distmllm_env import ENC, LLM, Market, Scenario, Status, draw_world, load_policy, play
from distmllm_env.envs.observation import fields

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#757575"  # ENC, LLM, all else
plt.rcParams.update(style.RC)
plt.rcParams.update(
    {"figure.figsize": (6.5, 3), "figure.dpi": 90, "figure.constrained_layout.use": True}
)
np.set_printoptions(precision=3, suppress=True)

# %% [markdown]
# ## 1 · Who is who
#
# A *multimodal* model answers questions about more than text: "which of these two screws is the
# longer one?", with a photo. It works in two **stages**. First an *encoder* (**ENC**) turns the
# photo into a tensor, an array of numbers that a language model can take in. Then a *large language
# model* (**LLM**) reads the tensor and the question and writes the answer. Encoding is a small
# job, writing the answer a large one, so the two need not run on the same machine.
#
# *At the edge* means: close to the user instead of in a far data centre. A board behind a camera, a
# gaming GPU in an office, a server in a cellar. Such machines differ a lot, and none of them is
# large.
#
# | word | symbol | meaning |
# |:--|:--|:--|
# | provider | *m* = 0 ... *M* − 1 | a company that answers its users' requests, for money |
# | worker | *n* = 0 ... *N* − 1 | a machine at the edge that runs tasks for money |
# | slot | *t* | one round: every provider has one request, that is one ENC and one LLM task |
# | task | (*m*, *s*) | what there is to place: stage *s*, ENC or LLM, of provider *m*'s request |
# | allocation | | the worker of every task, or *N*: **defer**, the task runs nowhere and earns 0 |
# | demand | *c*<sub>m</sub> | how much of a worker each task of provider *m* takes up |
# | capacity | *C*<sub>n</sub> | how much worker *n* offers in a slot, to both stages together |
# | performance | *p*<sub>n</sub> | how fast worker *n* is |
# | price | *ω*<sub>n</sub> | what worker *n* asks per joule of energy |
# | data size | *d*<sub>m</sub> | size of provider *m*'s input |
# | value | *V*<sub>s</sub>(*m*) | what a finished task of stage *s* is worth to provider *m* |
#
# Somebody has to choose the allocation, slot after slot: the **scheduler** (in the code a
# *policy*). The whole package is about good ones. A slot is a round of its own: nothing queues, and
# a deferred task does not come back.
#
# A **scenario** says what kind of market is played; a scenario and a seed give a **world**, the
# numbers of one market. We begin with the scenario `toy`: two providers, two workers, all numbers
# fixed.

# %%
toy = Scenario.load("toy")
world = draw_world(toy, seeds=[0])  # worlds come in batches, one per seed: hence the [0] below

print("p      of the workers    ", world.performance[0])
print("price  of the workers    ", world.price[0, :-1])  # the last column is "defer"
print("C      of the workers    ", world.capacity[0, :-1])
print("c      of the providers  ", world.demand[0])
print("d      of the providers  ", world.data_bytes[0] / 1e6, "MB")
print("V_enc  of the providers  ", world.value[0, ENC])
print("V_llm  of the providers  ", world.value[0, LLM])

# %% [markdown]
# Worker 1 is twice as fast as worker 0 and has two places instead of one. There are four tasks,
# each takes one place, and three places in all: one task will have to wait.

# %% [markdown]
# ## 2 · Three equations
#
# What does a task earn on a worker? Three steps, which are equations (1), (2) and (3) of the
# [DistMLLM paper](https://doi.org/10.3390/s25247612).
#
# $$
# \begin{aligned}
# l &= \psi_s(d_m)\,\beta(p_n) && \text{(1) latency in seconds} \\
# e &= (\gamma_s + \mu)\, d_m\, \alpha(p_n)^2 && \text{(2) energy in joules} \\
# r &= V_s(m) + G_s(l) - \omega_n e && \text{(3) profit in money}
# \end{aligned}
# $$
#
# A large input takes longer, a fast worker takes less long but draws more power, and the profit is
# the value less what the waiting and the energy cost. The paper leaves the shapes of the functions
# open. This package takes the simplest that fit its words:
#
# $$
# \psi_s(d) = a_s \sqrt{d}, \quad \beta(p) = \frac{1}{p}, \quad \alpha(p) = p, \quad
# G_s(l) = -g_s\, l,
# $$
#
# with $d$ in MB, $a_s$ the seconds that stage $s$ takes for 1 MB at $p = 1$, $\gamma_s$ the joules
# per MB for processing, $\mu$ those for sending, and $g_s$ what a second of waiting costs.
# [ASSUMPTIONS.md](../ASSUMPTIONS.md) lists all such choices and what else one could choose.
#
# One task by hand: the LLM task of provider 0 on worker 1, where $p = 1$.

# %%
a_llm, gamma_llm, mu, g_llm = 1.0, 0.3, 0.1, 1.0  # from the scenario `toy`
d, p, price, value = 1.0, 1.0, 1.0, 4.0

latency = a_llm * d**0.5 * (1 / p)
energy = (gamma_llm + mu) * d * p**2
profit = value - g_llm * latency - price * energy
print(f"(1) latency {latency:.1f} s   (2) energy {energy:.1f} J   (3) profit {profit:.1f}")

# %% [markdown]
# Do the same on paper for the LLM task of provider 1 on worker 0 ($p = 0.5$, $V = 3$) before you
# go on. Then for all tasks and workers at once: NumPy repeats axes of length 1, so one axis for the
# stage, one for the provider and one for the worker give the whole table.


# %%
def profit_table(scenario, world):
    """Equations (1) to (3) for every stage, provider and worker of one world: (2, M, N)."""
    d = world.data_bytes[0][None, :, None] / 1e6
    p = world.performance[0][None, None, :]
    price = world.price[0, :-1][None, None, :]
    value = world.value[0][:, :, None]
    seconds, joules = scenario.latency, scenario.energy
    a = np.array([seconds.enc_scale_s, seconds.llm_scale_s])[:, None, None]
    gamma = np.array([joules.enc_j_per_mb, joules.llm_j_per_mb])[:, None, None]
    g = scenario.stage_weights_per_s[:, None, None]

    latency = a * d**seconds.exponent * (1 / p)
    energy = (gamma + joules.mu_j_per_mb) * d * p**2
    return value - g * latency - price * energy


table = profit_table(toy, world)
print("               worker 0  worker 1")
for m in range(toy.providers):
    for s, name in ((ENC, "ENC"), (LLM, "LLM")):
        print(f"provider {m}, {name} {table[s, m, 0]:8.1f} {table[s, m, 1]:9.1f}")

# %% [markdown]
# Was your number right? And is the table? The package has one of its own, `mean_profit`, with a
# last column for "defer" that is all zeros.

# %%
print("toy:   equal to the last digit:", np.array_equal(table, world.mean_profit[0, :, :, :-1]))

paper = Scenario.load("paper")
paper_world = draw_world(paper, seeds=[7])
same = np.array_equal(profit_table(paper, paper_world), paper_world.mean_profit[0, :, :, :-1])
print("paper: equal to the last digit:", same)

# %% [markdown]
# So there is no more to it: these three lines are all that the model says about a worker.
#
# In `toy` the fast worker is better for everybody. That need not be so, because energy grows
# with $p^2$. The scenario `paper` has the constants of the paper's simulation (those that the paper
# does not print are ours). What would a task earn there on workers of different speed?


# %%
def profit_at(p, scenario, stage, value):
    """Profit of a 1 MB task at a price of 1, for performances p."""
    a = (scenario.latency.enc_scale_s, scenario.latency.llm_scale_s)[stage]
    gamma = (scenario.energy.enc_j_per_mb, scenario.energy.llm_j_per_mb)[stage]
    return value - a / p - (gamma + scenario.energy.mu_j_per_mb) * p**2


p = np.linspace(0.5, 1.4, 300)
fig, axes = plt.subplots(1, 2)
for ax, stage, name, colour in ((axes[0], ENC, "ENC", BLUE), (axes[1], LLM, "LLM", ORANGE)):
    value = (paper.reward.value_enc.high, paper.reward.value_llm.high)[stage]
    r = profit_at(p, paper, stage, value)
    ax.plot(p, r, color=colour)
    ax.plot(p[r.argmax()], r.max(), "o", color=colour)
    ax.annotate(f"best at p = {p[r.argmax()]:.2f}", (p[r.argmax()], r.max()),
                textcoords="offset points", xytext=(0, -34), ha="center")
    ax.axvspan(paper.performance.low, paper.performance.high, color=GREY, alpha=0.15, lw=0)
    ax.set(title=f"{name} task", xlabel="performance p of the worker", ylabel="profit per slot",
           ylim=(r.max() - 0.6, r.max() + 0.05))
plt.show()

# %% [markdown]
# **What to see.** In grey the workers that `paper` draws. An ENC task has its best worker at the
# slow end, and it hardly matters; an LLM task wants the fastest. That is the idea behind
# splitting a request: the stages want different machines.

# %% [markdown]
# ## 3 · One slot
#
# Back to `toy`. An allocation is an array with a row per provider and a column per stage. Let both
# LLM tasks go to the fast worker, provider 0's ENC task to the slow one, and provider 1's ENC task
# wait. A `Market` plays slots; it, too, comes in batches, so the allocation gets one more axis.

# %%
DEFER = toy.workers  # the choice N
allocation = np.array([
    [0, 1],  # provider 0: ENC on worker 0, LLM on worker 1
    [DEFER, 1],  # provider 1: ENC waits, LLM on worker 1
])

outcome = Market(toy, seeds=[0]).step(allocation[None])
by_hand = table[ENC, 0, 0] + table[LLM, 0, 1] + 0.0 + table[LLM, 1, 1]

print("profit of each task:", outcome.profit[0].tolist())
print(f"sum of the slot:     {outcome.profit[0].sum():.1f}, by hand {by_hand:.1f}")
print("load of the workers:", outcome.load[0], "of", world.capacity[0, :-1])
print("what became of each:", [Status(s).name for s in outcome.status[0].ravel()])

# %% [markdown]
# Provider 1 earns for an answer although its photo was never encoded. No real pipeline does that;
# the paper adds the two profits and lets the tasks be independent, so the package does, too. In
# exercise 3 you couple them.
#
# The environment that we come to in section 7 can draw a slot. We borrow its picture.


# %%
def picture_of(allocation, scenario, seed=0):
    """Play one slot and return its picture."""
    env = gym.make("DistMLLM-v0", scenario=scenario, render_mode="rgb_array")
    env.reset(seed=seed)
    env.step(allocation.ravel())
    return Image.fromarray(env.render()).quantize(64)  # 64 colours keep the notebook small


picture_of(allocation, "toy")

# %% [markdown]
# **What to see.** Providers on the left with demand and profit, workers on the right with load and
# capacity; a blue line is an ENC task, a dashed orange one an LLM task. Worker 1 is full, and
# provider 1's ENC task is the ring that goes nowhere.

# %% [markdown]
# ## 4 · Too many guests
#
# Nobody stops the providers from all going to the fast worker. Then its load, 4, exceeds its
# capacity, 2. What happens is a rule of the scenario, `market.overload`:
#
# - `random` (the default): tasks are dropped in random order until the rest fits;
# - `reject_all`: all tasks on the worker fail;
# - `share`: all run, but their latency grows by load / capacity.
#
# A dropped task earns 0, like a deferred one.

# %%
crowd = np.ones((1, 2, 2), int)  # all four tasks on worker 1
for rule in ("random", "reject_all", "share"):
    scenario = Scenario.load("toy", {"market.overload": rule})
    outcome = Market(scenario, seeds=[0]).step(crowd)
    served = ["served" if a else "dropped" for a in outcome.admitted[0].ravel()]
    print(f"{rule:11} profit {outcome.profit.sum():.1f}   {', '.join(served)}")

# %% [markdown]
# Under `random` the profit hangs on *luck*: that is our word for all that is random in a slot, and
# the seed fixes it. Two of the four tasks stay and every pair of tasks is equally likely, so each
# task stays with probability 1/2, and the mean profit is half of what all four would earn. A
# thousand markets in one batch, each with a seed of its own, should agree:

# %%
seeds = range(1000)
outcome = Market(toy, seeds=seeds).step(np.repeat(crowd, len(seeds), axis=0))
profit = outcome.profit.sum(axis=(1, 2))
error = profit.std(ddof=1) / len(profit) ** 0.5
print(f"by hand:      {table[:, :, 1].sum() / 2:.2f}")
print(f"1000 markets: {profit.mean():.2f} ± {error:.2f} (standard error)")
print("how often each task was served:", outcome.admitted.mean(axis=0).ravel())

# %% [markdown]
# The careful allocation of section 3 earned more. It wastes no place on worker 0, and it chose
# *who* waits.

# %% [markdown]
# ## 5 · One request, two workers
#
# If the stages of a request run on different workers, the tensor has to travel. The scenario key
# `market.transfer_cost_per_mb` ($\kappa$) charges for it: $\kappa$ times the size of the tensor,
# once per provider whose tasks are both served, on different workers. The LLM task pays, since it
# receives the tensor. By default $\kappa = 0$.

# %%
kappa = 0.3
dear = Scenario.load("toy", {"market.transfer_cost_per_mb": kappa})
tensor_mb = draw_world(dear, [0]).tensor_bytes[0, 0] / 1e6
outcome = Market(dear, seeds=[0]).step(allocation[None])
print("profit of each task:", outcome.profit[0].round(3).tolist())
print(f"sum: {outcome.profit.sum():.1f}, by hand {by_hand - kappa * tensor_mb:.1f}")

# %% [markdown]
# Provider 0 pays; provider 1 does not, as its ENC task runs nowhere.

# %% [markdown]
# ## 6 · The best slot
#
# What is the most that a slot of `toy` can earn? Each of the four tasks has three choices, worker
# 0, worker 1 or defer, so we can try everything.


# %%
def fits(world, allocation):
    """Whether no worker gets more than its capacity; "defer" has room without end."""
    load = np.zeros(world.capacity.shape[1])
    np.add.at(load, allocation.ravel(), np.repeat(world.demand[0], 2))
    return (load <= world.capacity[0]).all()


def mean_profit(world, allocation):
    """Mean profit of a slot in which every placed task is served."""
    workers = world.scenario.workers
    total = 0.0
    for m, (enc, llm) in enumerate(allocation):
        total += world.mean_profit[0, ENC, m, enc] + world.mean_profit[0, LLM, m, llm]
        if enc != llm and workers not in (enc, llm):
            total -= world.transfer_cost[0, m]
    return total


def every_allocation(world):
    """All allocations that fit, with their profits."""
    m, n = world.scenario.providers, world.scenario.workers
    choices = (np.array(x).reshape(m, 2) for x in product(range(n + 1), repeat=2 * m))
    return [(mean_profit(world, x), x) for x in choices if fits(world, x)]


found = every_allocation(world)
best = max(profit for profit, _ in found)
print(f"{3**4} allocations, {len(found)} of them fit; the best earns {best:.1f}:")
for profit, x in found:
    if profit == best:
        print("  ", x.tolist())
print(f"the package's optimum: {optimum(world).value[0]:.1f}")

# %% [markdown]
# The allocation of section 3 is one of the two best. The package finds the optimum without trying
# everything ([notebook 3](03_allocation.ipynb) shows how). It has to. In `paper`, with five
# providers and five workers:

# %%
print(f"{(paper.workers + 1) ** (2 * paper.providers):,} allocations per slot")

# %% [markdown]
# With ten providers it is the square of that.
#
# Does it still pay to split requests when tensors are dear?

# %%
kappas = np.linspace(0, 1, 41)
together, split = [], []
for kappa in kappas:
    scenario = Scenario.load("toy", {"market.transfer_cost_per_mb": float(kappa)})
    priced = draw_world(scenario, [0])
    for profits, wanted in ((together, False), (split, True)):
        profits.append(max(
            profit for profit, x in every_allocation(priced)
            if any(a != b and DEFER not in (a, b) for a, b in x) == wanted
        ))

fig, ax = plt.subplots()
ax.plot(kappas, split, color=ORANGE, label="best with a split request")
ax.plot(kappas, together, color=BLUE, ls="--", label="best without")
ax.plot(kappas, np.maximum(split, together), color="black", lw=5, alpha=0.15, label="optimum")
ax.set(xlabel="transfer cost κ (money per MB)", ylabel="profit per slot", title="toy")
ax.legend()
plt.show()

# %% [markdown]
# **What to see.** Splitting loses $\kappa$ per MB, staying together loses nothing, so there is one
# $\kappa$ beyond which a scheduler should keep both stages of a request on one worker.

# %% [markdown]
# ## 7 · The market as a Gymnasium environment
#
# [Gymnasium](https://gymnasium.farama.org) is the usual interface between a world and whoever acts
# in it: `reset` starts a run and gives a first observation, `step` takes an action and gives an
# observation, a reward, and whether the run is over (*terminated* by what happened, or *truncated*
# because time is up; here it is always time, after T slots). In `DistMLLM-v0` one *dispatcher* acts
# for all providers: the action is the allocation as a flat array (ENC and LLM of provider 0, ENC
# and LLM of provider 1, ...), the reward is the profit of the slot.

# %%
env = gym.make("DistMLLM-v0", scenario="toy")
env.action_space.seed(0)  # the space draws random actions from a generator of its own
observation, info = env.reset(seed=0)
total, over = 0.0, False
while not over:
    action = env.action_space.sample(mask=tuple(info["action_mask"]))
    observation, reward, terminated, truncated, info = env.step(action)
    total, over = total + reward, terminated or truncated

print(f"random dispatcher on toy: {total / info['slot']:.2f} profit per slot; best {best:.2f}")

# %% [markdown]
# The *mask* says which workers can ever run a task (here all; on real devices some models do not
# fit into some memories). A random dispatcher also defers at random.
#
# An observation is a flat array of numbers between -1 and 1, as neural networks like them; the
# docstring of `distmllm_env.envs.observation` says how each is scaled. It holds what a scheduler
# may know: sizes, prices, and what the last slot gave. It does not hold $p_n$, nor any true mean.
# How fast a worker is must be found out.

# %%
for name, place in fields("central", toy.providers, toy.workers).items():
    print(f"{name:14} {observation[place]}")

# %% [markdown]
# Now `paper`: five providers, five workers, 500 slots, and **noise**. In every slot the measured
# latency and energy of a task are their means of equations (1) and (2) times a random factor of
# mean 1 and standard deviation 0.1. The same allocation again and again:

# %%
env = gym.make("DistMLLM-v0", scenario="paper", render_mode="rgb_array")
env.reset(seed=7)
plan = np.stack([np.arange(5), (np.arange(5) + 1) % 5], axis=1)  # ENC on worker m, LLM on the next
rewards = np.array([env.step(plan.ravel())[1] for _ in range(60)])

fig, ax = plt.subplots()
ax.plot(np.arange(1, 61), rewards, ".", color=GREY, label="profit of a slot")
ax.plot(np.arange(1, 61), rewards.cumsum() / np.arange(1, 61), color="black", label="mean so far")
ax.axhline(mean_profit(paper_world, plan), color=ORANGE, ls="--", label="mean by equation (3)")
ax.set(xlabel="slot", ylabel="profit of all tasks", ylim=(12.3, 15.6),
       title="paper, seed 7, one allocation")
ax.legend(ncols=3, loc="lower center")
plt.show()

# %% [markdown]
# **What to see.** One slot says little, the mean of many says what equation (3) says. A scheduler
# that does not know the table has to earn it in this way, and pays for every try with a slot. That
# is the subject of [notebook 2](02_bandits.ipynb).
#
# The last of these slots, as the environment draws it:

# %%
Image.fromarray(env.render()).quantize(64)

# %% [markdown]
# ## 8 · Every provider an agent: PettingZoo
#
# In a real market there may be no dispatcher; every provider chooses for itself.
# [PettingZoo](https://pettingzoo.farama.org) is Gymnasium for several agents: actions, observations
# and rewards are dictionaries, one entry per agent. The list `agents` is empty when the run is
# over.

# %%
parallel = distmllm_env.parallel_env(scenario="paper")
observations, infos = parallel.reset(seed=7)
for m, agent in enumerate(parallel.agents):
    parallel.action_space(agent).seed(m)
earned = dict.fromkeys(parallel.agents, 0.0)
while parallel.agents:
    actions = {
        agent: parallel.action_space(agent).sample(mask=tuple(infos[agent]["action_mask"]))
        for agent in parallel.agents
    }
    observations, rewards, terminations, truncations, infos = parallel.step(actions)
    for agent, reward in rewards.items():
        earned[agent] += reward / paper.slots
print("random providers, profit per slot:")
for agent, profit in earned.items():
    print(f"  {agent} {profit:5.2f}")
print(f"  all        {sum(earned.values()):5.2f}, optimum {optimum(paper_world).value[0]:.2f}")

# %% [markdown]
# **What to see.** Every agent has a reward of its own, and they differ: the worlds of `paper` have
# providers with small and with large inputs. Nobody looks after the sum.
#
# Both interfaces play the same market. With the same seed and the same choices they give the same
# profits, noise included:

# %%
env.reset(seed=7)
parallel.reset(seed=7)
for _ in range(20):
    _, reward, _, _, info = env.step(plan.ravel())
    _, rewards, _, _, _ = parallel.step(dict(zip(parallel.agents, plan, strict=True)))
    assert np.array_equal(info["profit"].sum(axis=1), list(rewards.values()))
print("20 slots, all profits equal to the last digit")

# %% [markdown]
# ## 9 · Your first scheduler
#
# To compare schedulers we do not write loops by hand. A scheduler is any class with three methods,
# and `play` runs it on as many worlds as you give it seeds:
#
# - `reset(problem, rng)`: a new run. `problem` holds what may be known: `providers`, `workers`,
#   `demand` (1, M), `capacity` (1, N), `price` and so on; `rng` is a NumPy generator to draw from.
# - `act(observation)`: return the allocation, an integer array of shape (1, M, 2).
# - `update(feedback)`: what the slot gave: `feedback.profit`, `feedback.admitted`, ... (1, M, 2).
#
# The leading 1 is the batch axis: the class plays one run, and `play` makes a copy of it for every
# seed. Two that learn nothing:


# %%
class Random:
    """Every task on a random worker."""

    def reset(self, problem, rng):
        self.rng, self.shape, self.workers = rng, (1, problem.providers, 2), problem.workers

    def act(self, observation):
        return self.rng.integers(self.workers, size=self.shape)

    def update(self, feedback):
        pass


class Spread:
    """Provider m's ENC task on worker m, its LLM task on the next worker, in every slot."""

    def reset(self, problem, rng):
        m = np.arange(problem.providers)
        self.plan = np.stack([m, m + 1], axis=1) % problem.workers

    def act(self, observation):
        return self.plan[None]

    def update(self, feedback):
        pass


def per_slot(policy, scenario=paper, seeds=range(20)):
    """Total profit per slot of every run."""
    run = play(scenario, policy, seeds)
    return run.profit.sum(axis=(1, 2, 3)) / scenario.slots


def mean_sd(x):
    return f"{x.mean():.2f} ± {x.std(ddof=1):.2f}"


of_random, of_spread = per_slot(Random()), per_slot(Spread())
print("profit per slot on paper, seeds 0 to 19, mean ± standard deviation")
print("  Random", mean_sd(of_random))
print("  Spread", mean_sd(of_spread))

# %% [markdown]
# Is `Spread` better? The standard deviations are almost as large as the difference of the means.
# But most of that deviation is that the 20 *worlds* differ: with low prices and small inputs
# everybody earns more. Both schedulers met the same worlds and the same noise, so compare world by
# world: look at the **paired differences**.

# %%
difference = of_spread - of_random
fig, axes = plt.subplots(1, 2, width_ratios=(2, 1))
axes[0].plot([0, 1], [of_random, of_spread], color=GREY, lw=0.8)
axes[0].plot(np.zeros(20), of_random, "o", color=ORANGE, ms=4)
axes[0].plot(np.ones(20), of_spread, "s", color=BLUE, ms=4)
axes[0].set(xticks=[0, 1], xticklabels=["Random", "Spread"], xlim=(-0.3, 1.3),
            ylabel="profit per slot", title="a line per world")
axes[1].axhline(0, color="black", lw=0.8)
axes[1].plot(np.linspace(-0.1, 0.1, 20), np.sort(difference), "s", color=BLUE, ms=4)
axes[1].set(xlim=(-0.3, 0.3), xticks=[], title="differences", ylabel="Spread − Random")
plt.show()

standard_error = difference.std(ddof=1) / len(difference) ** 0.5
print(f"paired difference {mean_sd(difference)}, standard error {standard_error:.2f}")
print(f"ahead in {(difference > 0).sum()} of {len(difference)} worlds")

# %% [markdown]
# **What to see.** Not one line falls. The mean difference is many standard errors from 0, so it is
# no accident of these 20 seeds. Same worlds, same luck, paired differences: that is how all
# comparisons in this package are made.
#
# `Spread` learns nothing. Why is it better? Nobody is ever rejected: five ENC and five LLM tasks
# on five workers, one of each. Here it is among schedulers that come with the package. The oracle
# is told the true table and plays the optimum; HEU is told the true speeds of the workers.

# %%
for name in ("oracle", "heu", "random"):
    policy = load_policy(name)
    print(f"  {style.title(name):8}{mean_sd(per_slot(policy))}   knows {policy.knows}")
print(f"  Spread  {mean_sd(of_spread)}   knows rewards, and ignores them")

# %% [markdown]
# **Your turn.** `Mine` begins as a copy of `Spread` and keeps the mean of all profits that it has
# seen, for every task and worker, but does not use it. Change `act`. How much of what lies between
# `Spread` and the oracle can you get, without being told $p_n$?


# %%
class Mine(Spread):
    """Spread with a memory."""

    def reset(self, problem, rng):
        super().reset(problem, rng)
        shape = (problem.providers, 2, problem.workers + 1)  # the last column is "defer"
        self.count, self.mean = np.zeros(shape), np.zeros(shape)
        self.m, self.s = np.indices((problem.providers, 2))

    def act(self, observation):
        return self.plan[None]  # your idea here; observation.slot is the number of the slot

    def update(self, feedback):
        at = self.m, self.s, feedback.allocation[0]
        self.count[at] += 1
        self.mean[at] += (feedback.profit[0] - self.mean[at]) / self.count[at]


difference = per_slot(Mine()) - of_spread
print(f"Mine − Spread: {mean_sd(difference)}, "
      f"ahead in {(difference > 0).sum()} of {len(difference)} worlds")

# %% [markdown]
# <details><summary>Hint</summary>
#
# `Spread` is one of five plans that reject nobody: shift all workers by `k`, that is
# `(self.plan + k) % workers`. To keep the best of the five brings little. But after all shifts you
# have seen every task on every worker: now which task should go where? Keep to the capacities,
# which `reset` tells you.
# </details>
#
# **Take it further.** Save `Spread` and `Mine`, with `import numpy as np` above them, as `mine.py`, and
# type in its folder
#
# ```console
# distmllm demo --scenario paper --policy oracle --policy random --policy mine:Mine
# distmllm bench paper --policy mine:Mine
# distmllm report runs/bench/paper
# ```
#
# The first compares it as above, in seconds; the other two on four markets, with intervals, on a page.

# %% [markdown]
# ## Exercises
#
# All cells below run as they are. Change them.

# %% [markdown]
# ### Exercise 1 · A larger photo (by hand)
#
# Provider 0's input grows to 4 MB. Which entries of the profit table of
# `toy` change, and to what? Write your numbers down first.

# %%
changed = Scenario.load("toy", {"data_bytes": [1e6, 1e6]})  # the two inputs, in bytes
print(profit_table(changed, draw_world(changed, [0]))[:, 0])  # provider 0: rows ENC, LLM

# %% [markdown]
# <details><summary>Hint</summary>
#
# $\sqrt{4} = 2$ doubles the latency, but the energy grows by the factor 4. Some profits become
# negative: what should a scheduler do then? And which worker is now the better one for ENC?
# </details>
#
# <details><summary>Solution</summary>
#
# ENC earns −0.4 on worker 0 and −0.6 on worker 1, LLM −0.4 and 0.4. Only the LLM task on worker 1
# is worth serving; the ENC task had better wait, and the slow worker is now the lesser evil for it.
# </details>

# %% [markdown]
# ### Exercise 2 · The best speed
#
# Where is the best $p$? Derive it from equations (1) to (3): set the derivative of
# $-g a \sqrt d / p - \omega (\gamma + \mu) d\, p^2$ to 0. Check your formula against the two dots
# in the picture of section 2. For which input sizes does an ENC task of `paper` want a worker
# faster than 0.9?

# %%
def best_p(a, gamma_mu, d=1.0, price=1.0, g=1.0):
    """The p of the largest profit."""
    return 1.0  # your formula here


print(f"ENC {best_p(0.3, 0.3):.2f}   LLM {best_p(1.8, 0.6):.2f}")

# %% [markdown]
# <details><summary>Hint</summary>
#
# Multiply the derivative by $p^2$: you get $p^3 = \dots$
# </details>
#
# <details><summary>Solution</summary>
#
# $p^3 = g\,a / (2\, \omega\, (\gamma + \mu) \sqrt d)$. For ENC at a price of 1 it exceeds
# $0.9^3$ below about 0.47 MB: small inputs are quick to pay for.
# </details>

# %% [markdown]
# ### Exercise 3 · No answer without its photo
#
# Couple the stages: a provider whose two tasks are not both placed earns nothing
# for the one that is. Which allocation of `toy` is the best then, and how much does a slot lose?

# %%
def coupled_profit(world, allocation):
    """Mean profit if an answer needs both stages."""
    return mean_profit(world, allocation)  # change this


coupled = [(coupled_profit(world, x), x) for _, x in every_allocation(world)]
profit, x = max(coupled, key=lambda pair: pair[0])
print(f"best {profit:.1f}: {x.tolist()}")

# %% [markdown]
# <details><summary>Hint</summary>
#
# Zero both rows of a provider in which `DEFER` occurs, then call `mean_profit`: an allocation with
# fewer tasks is an allocation, too.
# </details>

# %% [markdown]
# ### Exercise 4 · Sharing or dropping
#
# Under `share` nobody is dropped, but all slow down. On worker 1 of `toy`, alone:
# for 1, 2, 3 and 4 tasks, when does a slot earn more under `share` than under `random`? And with
# `reward.enc_weight_per_s` and `reward.llm_weight_per_s` (what a second of waiting costs) at 2?

# %%
tasks = [(0, LLM), (1, LLM), (0, ENC), (1, ENC)]  # in this order they come
for count in (1, 2, 3, 4):
    x = np.full((1, 2, 2), DEFER)
    for m, s in tasks[:count]:
        x[0, m, s] = 1
    scenario = Scenario.load("toy", {"market.overload": "share"})
    print(f"{count} tasks, share: {Market(scenario, seeds=[0]).step(x).profit.sum():.2f}")

# %% [markdown]
# <details><summary>Hint</summary>
#
# Under `random` take the mean over many seeds, as in section 4, or compute it: with `count` tasks
# and two places each stays with probability 2 / `count`.
# </details>

# %% [markdown]
# ### Exercise 5 · How crowded is too crowded?
#
# How crowded must a market be before random placement is hopeless? Draw the share
# of rejected tasks and the share of the optimum that `Random` earns for 1 to 10 providers on the
# five workers of `paper`.

# %%
for providers in (5,):  # more of them
    scenario = Scenario.load("paper", providers=providers)
    run = play(scenario, Random(), seeds=range(20))
    rejected = (run.status == Status.REJECTED).mean(axis=(1, 2, 3))
    share = run.profit.sum(axis=(2, 3)).mean(axis=1) / optimum(run.world).value
    print(f"{providers} providers: rejected {mean_sd(100 * rejected)} %, "
          f"of the optimum {mean_sd(100 * share)} %")

# %% [markdown]
# <details><summary>Hint</summary>
#
# `plt.errorbar(numbers, means, yerr=sds)` for each of the two shares.
# </details>

# %% [markdown]
# ### Exercise 6 · Elsewhere
#
# Take `Mine` elsewhere, to the scenarios `scarce` (ten providers, a third more
# demand than capacity) and `testbed` (measured devices; not every model runs everywhere, see
# `problem.feasible`, shape (1, 2, M, N)). Is it ahead of `Spread` in every world? Where does
# `Spread` lose what the oracle has?

# %%
for name in ("paper",):  # add "scarce" and "testbed"
    scenario = Scenario.load(name)
    spread, oracle = per_slot(Spread(), scenario), per_slot(load_policy("oracle"), scenario)
    difference = per_slot(Mine(), scenario) - spread
    print(f"{name}: Mine − Spread {mean_sd(difference)}, "
          f"ahead in {(difference > 0).sum()} of {len(difference)} worlds; "
          f"oracle − Spread {mean_sd(oracle - spread)}")

# %% [markdown]
# <details><summary>Hint</summary>
#
# `run.status` says what became of every task: one placed where it can never run is `INFEASIBLE` and
# earns nothing. And if somebody has to wait, think about who.
# </details>

# %% [markdown]
# ## What you should be able to say now
#
# - what a slot decides, and why a provider's two tasks may want different workers;
# - how a task's profit on a worker comes about, in three equations;
# - what an overloaded worker does under each of the three rules, and why sending everybody to the
#   best worker is a bad plan;
# - when splitting a request stops being worth it;
# - which parts of the market a scheduler sees and which it does not;
# - why two schedulers are compared on the same seeds, by differences.
#
# ## Further reading
#
# - Yuan, Chen, Liu, Li: "DistMLLM: Enhancing Multimodal Large Language Model Serving in
#   Heterogeneous Edge Computing", Sensors 2025, 25(24), 7612,
#   [doi 10.3390/s25247612](https://doi.org/10.3390/s25247612). The model is in Section 2.1.
# - [ASSUMPTIONS.md](../ASSUMPTIONS.md): what the paper leaves open and what this package chose.
# - [CONTRIBUTING.md](../CONTRIBUTING.md): how to add a policy, a scenario or a device.
# - Next: [notebook 2](02_bandits.ipynb), learning which worker is best.
