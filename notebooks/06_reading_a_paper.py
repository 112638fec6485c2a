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
# # 6 · Reading a paper critically
#
# Take one figure of a published paper, turn its sentences into inequalities, test them, and find
# out which can hold, which cannot, and what one would have to ask.
#
# **You will**
#
# - cut prose into claims that a program can check;
# - reproduce a figure and give a verdict with an interval instead of an impression;
# - prove that two published claims exclude each other, and test the proof on data;
# - look for readings under which both could be true, before you call anything wrong;
# - measure how much of a verdict hangs on constants that nobody printed.
#
# About 75 minutes, exercises not counted. Needs notebook 2 (regret) and sections 5 and 8 of
# notebook 5 (pairs, honest comparison).
#
# **The paper** is the one that this package implements: X. Yuan, H. Chen, L. Liu and H. Li,
# "DistMLLM: Enhancing Multimodal Large Language Model Serving in Heterogeneous Edge Computing",
# *Sensors* 2025, 25(24), 7612, [doi:10.3390/s25247612](https://doi.org/10.3390/s25247612). It is
# open access: read Sections 2.1 and 3.3 now. We have no quarrel with its idea, which we built a
# package around. It reports means and standard deviations over 20 runs and offers its data on
# request, which is more than many do. Hardly any paper would come out of the following without a
# scratch, and neither would this package: [ASSUMPTIONS.md](../ASSUMPTIONS.md) lists where *we*
# guessed.

# %%
# On Colab, take away the first "# ":
# # %pip install -q distmllm-env

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np

from distmllm_bench import style
from distmllm_bench.reproduce import fig4
from distmllm_bench.reproduce.claims import CLAIMS, contradictions
from distmllm_bench.reproduce.evidence import above_zero
from distmllm_bench.reproduce.lab import Lab, Setting
from distmllm_bench.reproduce.robustness import constants
from distmllm_env import LLM

look = {"figure.dpi": 90, "figure.figsize": (6.5, 3.0), "axes.axisbelow": True}
plt.rcParams.update(style.RC | look)

# %% [markdown]
# ## 1 · Claims first
#
# Before any code: what does the text say, sentence by sentence, that could turn out false? Figure 4
# compares three algorithms over time, DistMLLM, UCB and HEU: (a) LLM profit, (b) ENC profit,
# (c) LLM regret, (d) ENC regret. Section 3.3 describes it. In our words:

# %%
figure_4 = [claim for claim in CLAIMS if claim.where.startswith("Fig. 4")]
for claim in figure_4:
    print(f"{claim.id:10} {claim.text}")

# %% [markdown]
# A claim is checkable if it ends in inequalities. Each of these carries its own: who is above whom,
# in what, and when. (Words such as "slightly" have no number and are left out.)

# %%
for claim in figure_4:
    what, when = claim.ranks
    pairs = ", ".join(f"{style.title(a)} > {style.title(b)}" for a, b in sorted(claim.above))
    print(f"{claim.id:10} {what}, {when}: {pairs}")

# %% [markdown]
# ## 2 · Reproduce the figure
#
# The paper prints T = 500, the numbers of providers and workers, performances uniform on [0.8,
# 1.0], and 20 runs. It does not print demands, capacities, values, prices, the noise, or the scale
# of UCB's bonus. Ours are in the scenario `paper`; where each comes from stands in ASSUMPTIONS.md,
# "Constants of the scenario `paper`". They follow from what the text says of the model and were
# *not* tuned to the figures. *UCB (range)* is UCB1 as its authors state it, with the bonus scaled
# by the range of mean profits (notebook 2).
#
# A `Lab` plays policies on shared seeds. `Curves` hold profit and regret per stage, (runs, slots,
# 2).

# %%
RUNS = 20
lab = Lab(range(RUNS))
panels = fig4.panels(lab, band="sd")

fig, axes = plt.subplots(2, 2, figsize=(6.5, 5.0), layout="constrained")
for ax, panel in zip(axes.flat, panels):
    panel.draw(ax)
    ax.get_legend().remove()
    ax.set_title(panel.id)
fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
plt.show()

# %% [markdown]
# **What to see.** Bands are one standard deviation between runs, as in the paper. The upper row is
# profit averaged from the first slot on, the lower row regret, the sum of what was lost. Look at
# the *order* of the curves in (a) and in (c), at the same time slot. Do it now; section 4 is about
# it. And where two curves lie on each other, no amount of looking will tell which is higher.

# %% [markdown]
# ## 3 · A verdict per claim
#
# An impression is no verdict. For each inequality we take the difference *run by run* (same world,
# same luck) and its interval. A claim is **reproduced** if all its inequalities are above 0 with 99
# % confidence, **not reproduced** if one is surely below, else **undetermined**. The weakest part
# is what the verdict hangs on.

# %%
SHORT = {
    fig4.AVERAGE: "",
    fig4.REALISED: "",
    fig4.MOVING: "(moving average)",
    fig4.FREE: "(contention-free)",
}


def name_of(finding):
    """Claim and reading in short."""
    return f"{finding.claim} {SHORT[finding.reading]}".strip()


for panel in panels:
    for finding in panel.findings:
        part = finding.weakest
        effect = f"{part.effect:.3g} [{part.low:.3g}, {part.high:.3g}]"
        print(f"{name_of(finding):29}{finding.verdict:26}{part.what}")
        print(f"{'':29}{effect} {finding.unit}")

# %% [markdown]
# **How to read this.** "Not reproduced" says: *under our constants and this reading, no*. It does
# not say that the authors saw something else, and not why. There are at least four reasons: our
# constants differ from theirs, our reading of the words or of the algorithm does, one of us has a
# mistake, or the claim is false. For most lines above, we cannot tell these apart. For some, we
# can.

# %% [markdown]
# ## 4 · Two claims that exclude each other
#
# Regret after t slots is what the optimum would have earned, less what was earned:
#
# ```text
# R(t) = sum over i <= t of (V* - r_i)
#      = t V* - t (r_1 + ... + r_t) / t
#      = t (V* - average profit up to t)
# ```
#
# For one optimum and one set of runs, **regret is average profit, turned upside down**. Of two
# policies, the one with the higher average profit at t has the lower regret at t: always, whatever
# the algorithms and the constants. Test it on our runs: is there a single run, slot and pair of
# policies in which the order of average profit is not the reverse of the order of regret?

# %%
POLICIES = fig4.POLICIES
curves = {policy: lab.curves(fig4.SETTING, policy) for policy in POLICIES}


def expected_average(found):
    """Profit averaged from slot 1 to t, with the noise of the slots averaged out."""
    return found.expected.cumsum(axis=1) / np.arange(1, found.slots + 1)[:, None]


slot = np.arange(1, 501)[:, None]
worst = 0.0
for found in curves.values():
    turned = slot * (found.best[:, None] - expected_average(found))
    worst = max(worst, abs(found.regret - turned).max())
print("largest error of the identity below 1e-9:", bool(worst < 1e-9))

compared = reversed_order = 0
for a, b in (("distmllm", "ucb"), ("distmllm", "heu"), ("heu", "ucb")):
    profit = expected_average(curves[a]) - expected_average(curves[b])
    regret = curves[a].regret - curves[b].regret
    apart = abs(regret) > 1e-9  # both equal: nothing to order
    compared += apart.sum()
    reversed_order += (np.sign(profit) == -np.sign(regret))[apart].sum()
print(f"of {compared:,} comparisons, the orders are reversed in {reversed_order:,}")

# %% [markdown]
# One subtlety. Profit in our figure is what was realised, noise included; regret is counted on
# means, as usual. Then the identity holds up to the *sum of the noise*. Could noise turn the order?
# Compare its size with the differences in question:

# %%
for policy, found in curves.items():
    noise = (found.profit - found.expected).sum(axis=1)[:, LLM]
    size = noise.std(ddof=1)
    print(f"{style.title(policy):12} noise summed over 500 slots: ± {size:.0f} in one run")
gap = (curves["ucb"].regret - curves["heu"].regret)[:, -1, LLM].mean()
print(f"UCB's LLM regret less HEU's, mean of {RUNS} runs: {gap:.0f}")

# %% [markdown]
# And in the mean of 20 runs the noise is √20 times smaller still. So now a program can look for
# conflicts: turn each regret claim into a claim about profit, and look for a pair that two claims
# of the same stage order differently at the same time.

# %%
def earns_more(claim):
    """Pairs (a, b) such that the claim says, in effect, that a earns more than b."""
    if claim.ranks[0].endswith("regret"):
        return {(low, high) for high, low in claim.above}
    return set(claim.above)


def same_time(one, other):
    """Whether two claims speak of a common time."""
    return one == other or "always" in (one, other)


def excludes(one, other):
    """Whether two claims on the same stage and time order some pair differently."""
    stage = one.ranks[0].split()[0] == other.ranks[0].split()[0]
    together = stage and same_time(one.ranks[1], other.ranks[1])
    return together and any((b, a) in earns_more(other) for a, b in earns_more(one))


conflicts = [pair for pair in combinations(figure_4, 2) if excludes(*pair)]
for one, other in conflicts:
    print(f"{one.id} and {other.id} exclude each other")
package = {(profit, regret) for regret, profit in contradictions().items()}
print("the package finds the same:", {(one.id, other.id) for one, other in conflicts} == package)

# %% [markdown]
# **What this proves.** (a) puts UCB last in LLM profit at the end, (c) puts HEU last in LLM regret
# at the end: at most one of the two can be true. (b) has DistMLLM first in ENC profit at all times,
# (d) has UCB ahead of it in ENC regret early on: likewise. No constants of ours enter the proof
# (they enter the remark that noise is too small to matter). That is why the package's ledger says
# *cannot hold* (of the regret claim; it could as well be the profit claim of the pair): not because
# of our runs, but beside another claim.
#
# A third pair is a matter of reading. By (a), DistMLLM is ahead of UCB in "time-averaged" LLM
# profit once exploration is over, after about 100 slots; by (c) it is behind in regret until about
# 400. With an average from the first slot on, both must cross at the *same* slot. A moving average
# may cross earlier. An invented example, a policy that explores for 100 slots against a steady one:

# %%
t = np.arange(1, 501)
explorer, steady = np.where(t <= 100, 0.6, 1.0), np.full(500, 0.9)
best = 1.1
ahead = explorer.cumsum() >= steady.cumsum() - 1e-9  # in average profit, from slot 1 on
moving = np.convolve(explorer, np.ones(50) / 50, mode="valid")  # of slots 50, 51, ...

fig, (left, right) = plt.subplots(1, 2, figsize=(6.5, 3.2), layout="constrained")
left.plot(t, explorer.cumsum() / t, color="#0072B2", label="explorer, from slot 1")
left.plot(t[49:], moving, color="#56B4E9", ls="--", label="explorer, last 50 slots")
left.plot(t, steady, color="#D55E00", ls="-.", label="steady")
right.plot(t, (best - explorer).cumsum(), color="#0072B2")
right.plot(t, (best - steady).cumsum(), color="#D55E00", ls="-.")
for ax, label in ((left, "average profit per slot"), (right, "regret")):
    ax.axvline(t[ahead][0], color="black", lw=0.8, ls=":")
    ax.set(xlabel="time slot", ylabel=label)
fig.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3)
plt.show()
print(f"average profit and regret cross at slot {t[ahead][0]},", end=" ")
print(f"the moving average is ahead from slot {t[49:][moving > 0.9][0]} on")

# %% [markdown]
# ## 5 · What would have to be true?
#
# A contradiction on paper is a question, not a verdict on people. The identity needs *one* optimum,
# *one* set of runs, *one* notion of profit. So at least one of these must differ between the
# panels:
#
# 1. the **measure**: profit counts contention, and regret is that of the chosen workers as if
# nobody else had come;
# 2. the **setting**: panels were made with different capacities, noise or scale;
# 3. the **algorithm**: another UCB, say, with another bonus;
# 4. the **oracle**: an optimum of its own for each stage, or for each policy;
# 5. the **text**: a sentence or a legend mixed up two curves.
#
# We can try the first three. For each reading: is HEU above UCB in LLM profit, as 4a says, and is
# HEU above UCB in LLM regret, as 4c says?

# %%
SETTINGS = {name: Setting(name, scenario=name) for name in ("paper", "slack")}


def verdict(difference):
    """Yes, no, or not decided by these runs."""
    part = above_zero("", difference)
    return "yes" if part.sure_low > 0 else "no" if part.sure_high < 0 else "undecided"


def readings(name, ucb):
    """The verdicts on both claims: by profit, by regret, by contention-free regret."""
    heu, other = lab.curves(SETTINGS[name], "heu"), lab.curves(SETTINGS[name], ucb)
    measures = (
        heu.average - other.average,
        heu.regret - other.regret,
        heu.free_regret - other.free_regret,
    )
    return [verdict(measure[:, -1, LLM]) for measure in measures]


columns = ("profit (4a)", "regret (4c)", "contention-free regret")
print(f"{'HEU above UCB in LLM ...':26}" + "   ".join(["", *columns]))
for name in SETTINGS:
    for ucb in ("ucb", "ucb-sigma"):
        row = zip(readings(name, ucb), columns)
        cells = "".join(f"{answer:>{len(column) + 3}}" for answer, column in row)
        print(f"{name + ', ' + style.title(ucb):26}{cells}")

# %% [markdown]
# **What to see.** In no line are the first two columns both "yes", as the proof demands. In
# `paper`, where providers get into each other's way, UCB earns less than HEU, as in 4a. In `slack`,
# where each worker has room for all, UCB scaled to the noise overtakes HEU, which keeps to its
# ranks: as in 4c. So each of the two sentences describes a market that exists, only not the same
# one; **different settings for the two panels** (readings 2 and 3) would explain both. The
# contention-free reading (1) would explain them in a line with "yes" in the first and the last
# column; our runs have none.
#
# This is a guess about what happened, and it has to be labelled as one. Only the authors know.

# %% [markdown]
# ## 6 · How much hangs on the constants?
#
# "Not reproduced" under one set of constants is weak: we chose them. So draw the unprinted ones at
# random, within ranges that the text does not exclude, and look at all claims again.
# `constants(draw)` scales latencies and energies by up to two either way and draws values, demands,
# capacities, sizes, prices and the noise.

# %%
for draw in range(2):
    some = {key: constants(draw)[key] for key in ("latency.llm_scale_s", "noise.std", "demand")}
    print(f"draw {draw}:", {k: round(v, 2) if isinstance(v, float) else v for k, v in some.items()})

DRAWS = range(30)
holds = []
for draw in DRAWS:
    found = fig4.panels(Lab(range(10), base=constants(draw)), band="sd")
    findings = [finding for panel in found for finding in panel.findings]
    holds.append([all(part.effect > 0 for part in finding.parts) for finding in findings])
holds = np.array(holds)
names = [name_of(finding) for finding in findings]

fig, ax = plt.subplots(figsize=(6.5, 3.6), layout="constrained")
draws, rows = np.nonzero(holds)
ax.plot(draws, rows, "s", ms=5, color="#0072B2", label="holds in the mean of 10 runs")
draws, rows = np.nonzero(~holds)
ax.plot(draws, rows, "x", ms=4, color="#BBBBBB", label="does not")
labels = [f"{name}   {share:4.0%}" for name, share in zip(names, holds.mean(axis=0))]
ax.set_yticks(range(len(names)), labels)
ax.invert_yaxis()
ax.grid(False)
ax.set(xlabel="draw of the unprinted constants")
fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=2)
plt.show()

# %% [markdown]
# **What to see.** Percentages are shares of draws. Rows that are nearly full or empty do not hang
# on our choice of constants: HEU's early lead, say, or the regret claims of (c) and (d) in their
# plain reading. Rows in between are claims that a reader can neither trust nor reject without the
# constants. The fair sentence is "in so many of 30 draws", not "reproduced" or "refuted".
# (`distmllm reproduce --robustness` does this for all figures.) One choice was not drawn: the scale
# of UCB's bonus, and section 5 showed that it matters. A robustness check covers what it varies.

# %% [markdown]
# ## 7 · What a verdict needs: pairs, and enough of them
#
# Is DistMLLM ahead of HEU in LLM profit at the end (a part of 4a-final)? Look at the interval of
# the paired difference as seeds come in.

# %%
MANY = 160
wide = Lab(range(MANY))
ours, heu = (wide.curves(fig4.SETTING, p).average[:, -1, LLM] for p in ("distmllm", "heu"))
counts = (5, 10, 20, 40, 80, 160)
parts = [above_zero("DistMLLM > HEU", (ours - heu)[:n]) for n in counts]

fig, ax = plt.subplots(layout="constrained")
for x, part in enumerate(parts):
    ax.plot([x, x], [part.sure_low, part.sure_high], color="#BBBBBB", lw=5, solid_capstyle="butt")
    ax.errorbar(x, part.effect, part.effect - part.low, fmt="kd", capsize=4)
ax.axhline(0, color="black", lw=0.8)
ax.set_xticks(range(len(counts)), counts)
ax.set(xlabel="seeds", ylabel="DistMLLM less HEU,\nLLM profit per slot")
plt.show()
for n, part in zip(counts, parts):
    print(f"{n:4} seeds: {part.effect:6.3f} [{part.low:.3f}, {part.high:.3f}]  {part.verdict}")

# %% [markdown]
# Black: 95 %, grey: 99 %, which decides.
#
# **What to see.** As seeds come in, the verdict comes, goes, and comes again, and the difference
# shrinks: who stops at the first decided verdict reports it too large. Twenty runs are a custom,
# not a law: enough against UCB, too few for a difference as small as this one. Two rules follow:
#
# - state the number of runs, the interval of the *paired* difference, and the level that decides;
# - fix the number **before** you look. To add seeds until the verdict pleases is another way to
#   choose the best of k (notebook 5, section 8).
#
# The bands in the paper's figures, one standard deviation of each policy by itself, answer another
# question, how much runs differ, mostly because worlds do.

# %% [markdown]
# ## 8 · Ask
#
# What would settle it? Short questions that can be answered with a number or a file. For this
# paper:
#
# 1. What are demands, capacities, values, prices and the noise, for each figure?
# 2. Is regret measured against one optimum for all panels? Jointly or per stage? On means?
# 3. Does profit in (a) and (b) count rejected tasks? Does regret in (c) and (d)?
# 4. Is "time-averaged" from slot 1 on, or a moving window, and how long?
# 5. How long is an exploration, and does it return after each exploitation, as Algorithm 1 says?
# 6. What is the scale of UCB's bonus, and what is a rejected task to UCB?
# 7. Do all algorithms meet the same worlds in run k? Could we have the numbers per run?
#
# A good mail to authors thanks them, names the figure, shows the two lines of algebra, says which
# readings you have tried, and asks. It does not say "wrong": often a sentence is missing, and
# nothing else.
#
# ## 9 · A checklist for papers on systems with learning
#
# **Claims.** Can each be written as an inequality? Who is compared, in what, when, where?
#
# **Identities.** Which quantities are tied (profit and regret, load and capacity, latency and
# throughput, parts and total)? Do figures agree with each other? Do tables add up?
#
# **Baselines.** As strong as their authors would have made them? Tuned as much as the new method?
# What does each know, and does it coordinate?
#
# **Optimum.** Against what is regret or "gap" measured? Exact, or a heuristic that can be beaten?
#
# **Runs.** How many? Same worlds for all? Is the band a deviation or an interval? Several training
# seeds? Were test seeds used for tuning?
#
# **Constants.** All printed? One set for all figures? What happens if they change?
#
# **Text, algorithm, theorem, code.** Do they describe the same thing? Does the theorem's condition
# hold in the experiment?
#
# **Cost.** Training, memory, time of a decision, on what machine?
#
# **Artifacts.** Code, data, seeds, versions? If not: what would you need to guess?
#
# **Yourself.** Would you look as hard if the result were one that you like?

# %% [markdown]
# ## Exercises
#
# Every cell runs as it is. Change it.
#
# ### Exercise 1 · Another figure
#
# Figure 6a says: on five workers, DistMLLM earns more than UCB for 5 to 10 providers. Test it for
# all six sizes, with an interval each.

# %%
for m in (5,):  # change me
    setting = Setting(f"M={m}", {"providers": m})
    gain = lab.curves(setting, "distmllm").total - lab.curves(setting, "ucb").total
    part = above_zero("DistMLLM > UCB", gain)
    print(f"M = {m}: {part.effect:.2f} [{part.low:.2f}, {part.high:.2f}]  {part.verdict}")

# %% [markdown]
# <details><summary>Hint</summary>
# Is the claim still reproduced with <code>ucb-sigma</code>? A verdict about "UCB" is a verdict
# about one scale of its bonus.
# </details>
#
# <details><summary>Solution</summary>
# <code>for m in range(5, 11)</code>. It is reproduced at all sizes, and with
# <code>"ucb-sigma"</code> as well, by smaller margins.
# </details>

# %% [markdown]
# ### Exercise 2 · The part that may be negative
#
# Regret per stage is measured against that stage's part of the *joint* optimum (row D7 of
# ASSUMPTIONS.md). Find a policy, a scenario and a run with negative regret in one stage. Why is
# this no mistake? What does it mean for a theorem that bounds the two stages one by one?

# %%
policy = "ucb"  # change me
enc, llm = lab.curves(fig4.SETTING, policy).regret[:, -1].min(axis=0)
print(f"{style.title(policy)}, lowest regret of a run: ENC {enc:.0f}, LLM {llm:.0f}")

# %% [markdown]
# <details><summary>Hint</summary>
# The joint optimum gives a good place to the task that gains most from it. What does a policy lose,
# in which stage, that gives it to the other one?
# </details>

# %% [markdown]
# ### Exercise 3 · Text against algorithm
#
# Section 3.3 speaks of one exploration in about the first 100 slots and a stable mapping after it.
# Algorithm 1 explores `explore` slots, exploits 2, explores again, exploits 4, then 8, 16, ... How
# many of 500 slots does it explore if `explore` is 5, 10, 25, 50, 100? Which schedule fits the
# sentence?

# %%
def slots_exploring(explore, base=2, horizon=500):
    """Number of slots that Algorithm 1 explores until the horizon."""
    return min(explore, horizon)  # change me: this is the first exploration only


for explore in (5, 10, 25, 50, 100):
    print(f"T_explore = {explore:3}: explores in {slots_exploring(explore)} of 500 slots")

# %% [markdown]
# <details><summary>Hint</summary>
# A loop over epochs τ = 1, 2, ...: add <code>min(explore, left)</code>, then take
# <code>base ** τ</code> away. Check yourself with
# <code>Lab([0]).curves(fig4.SETTING, Contender("distmllm", {"explore_slots": 100}))</code> and its
# <code>exploring</code> (<code>Contender</code> is in <code>distmllm_bench.reproduce.lab</code>).
# </details>

# %% [markdown]
# ### Exercise 4 · How far can an oracle bend the order?
#
# Let panel (c) use an optimum of its own for each policy, V_heu and V_ucb. By how much
# must they differ, per slot, so that HEU has the higher LLM regret while UCB earns less? Compute
# it, and compare with the difference between the joint optimum and Algorithm 2's mapping on the
# true means. Is reading 4 plausible?

# %%
heu, ucb = (curves[p].expected[..., LLM].mean() for p in ("heu", "ucb"))
needed = 0.0  # change me
print(f"HEU earns {heu:.2f} and UCB {ucb:.2f} per slot; you say {needed:.2f}")

# %% [markdown]
# <details><summary>Hint</summary>
# Write down R for both, each with its own V*, and ask for R(HEU) > R(UCB). For the comparison, the
# ledger of claims (docs/reproduced/claims.md, lemma-3) says what Algorithm 2 loses on true means.
# </details>

# %% [markdown]
# ### Exercise 5 · Find the range
#
# In section 6 some claims hold in some draws. Which constant decides? Take one such claim, sort the
# draws by one constant at a time, and look for a threshold. How many constants can you try before a
# pattern turns up by luck?

# %%
claim = names.index("4b-always")
noise = np.array([constants(draw)["noise.std"] for draw in DRAWS])  # change me: another constant
for label, rows in (("low", noise < np.median(noise)), ("high", noise >= np.median(noise))):
    print(f"{names[claim]}, {label} noise: holds in {holds[rows, claim].mean():.0%} of draws")

# %% [markdown]
# <details><summary>Hint</summary>
# On the last question see notebook 5, exercise 5. Test on fresh draws what you found on these.
# </details>
#
# <details><summary>Solution</summary>
# There is no single right constant; what counts is the method: choose on draws 0 to 29, confirm on
# draws 30 to 129, which takes some seconds.
# </details>

# %% [markdown]
# ### Exercise 6 · Your own paper (open)
#
# Take a paper on scheduling or serving that you like. Write its ledger: five claims as
# inequalities, the identities that tie its figures, what is not printed, and one mail with three
# questions. Then do the same for the README of this package.

# %%
ledger = [
    {"claim": "", "where": "", "above": ("", ""), "measure": "", "when": "", "printed": False},
]
print(f"{len(ledger)} claim(s) to fill in")

# %% [markdown]
# <details><summary>Hint</summary>
# Start with figures that show two faces of one quantity. They are where slips show, yours included.
# </details>

# %% [markdown]
# ## What you should be able to say now
#
# - what makes a sentence of a paper checkable, and what a verdict on it consists of;
# - the difference between "not reproduced" and "cannot hold", and why only the second is a proof;
# - why regret and time-averaged profit are one curve drawn twice, and what has to differ if two
#   panels disagree;
# - why a verdict without the constants, or with too few runs, is "undetermined", and that this is a
#   result;
# - what you would ask the authors, in which words.
#
# ## Further reading
#
# - X. Yuan, H. Chen, L. Liu and H. Li, *Sensors* 2025, 25(24), 7612,
#   [doi:10.3390/s25247612](https://doi.org/10.3390/s25247612): the paper.
# - P. Auer, N. Cesa-Bianchi and P. Fischer, "Finite-time analysis of the multiarmed bandit
#   problem", *Machine Learning* 47, 2002: UCB1, and what its bonus assumes.
# - P. Henderson, R. Islam, P. Bachman, J. Pineau, D. Precup and D. Meger, "Deep reinforcement
#   learning that matters", AAAI 2018.
# - J. Pineau et al., "Improving reproducibility in machine learning research", *Journal of Machine
#   Learning Research* 22, 2021: the NeurIPS checklist and how it went.
# - S. Keshav, "How to read a paper", *ACM SIGCOMM Computer Communication Review* 37, 2007.
# - In this package: [ASSUMPTIONS.md](../ASSUMPTIONS.md), and
#   [docs/reproduced/claims.md](../docs/reproduced/claims.md), the ledger for all figures.
