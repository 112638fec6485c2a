"""Sentences of a report that page and summary share. Plain text."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping

from distmllm_bench.report.comparison import DIVISIONS, Comparison
from distmllm_bench.report.markets import MarketView
from distmllm_bench.report.names import Names, printable
from distmllm_bench.report.undone import counted, ranges
from distmllm_bench.sweep.cells import State
from distmllm_env import Scenario

FEW = 10
"""Runs below which a bootstrap interval comes with a warning."""

SPLITS = {
    "development": "development seeds: policies may have been tuned on them",
    "official": "official seeds: for results, not for tuning",
    "salt": "seeds drawn by a word of the organiser's",
}


def title(comparison: Comparison) -> str:
    """Return the head of the report."""
    return f"Policies compared: suite {printable(comparison.results.plan.suite)}"


def compared(comparison: Comparison) -> str:
    """Say what was played."""
    results = comparison.results
    runs = len(results.seeds)
    return (
        f"{_count(len(comparison.entrants), 'policy', 'policies')} and the references random and "
        f"oracle on {_count(len(results.markets), 'scenario', 'scenarios')}, "
        f"{_count(runs, 'run', 'runs')} each: seeds {ranges(results.seeds)}, "
        f"{SPLITS.get(results.plan.split, results.plan.split)}. Every policy meets the same worlds "
        f"and the same luck, so policies are compared seed by seed."
    )


def incomplete(found: Mapping[State, int]) -> str:
    """Say how many cells are undone."""
    total = sum(found.values())
    return (
        f"This sweep is not complete: {counted(dict(found))}, of {total} cells. A cell is one run "
        f"of one policy on one scenario. No average below leaves such a cell out: a policy has "
        f"numbers on a scenario only if all its runs there are done, and a rank only if all its "
        f"cells are."
    )


def scale(comparison: Comparison) -> list[str]:
    """Say what a score is and what stands beside it, one paragraph each."""
    text = [
        "The score of a run is where its expected profit lies between that of random play (0) and "
        "the exact optimum (1) on the same world. It is averaged over scenarios and seeds by the "
        "interquartile mean (IQM): the lowest and the highest quarter of the runs are left out. "
        "The optimality gap is the mean of what is missing to 1; lower is better. Of optimum is "
        "realised profit as a share of the optimum, and µs / slot the decision time on one market.",
    ]
    runs = len(comparison.results.seeds)
    if runs < 2:
        return [*text, "One run: no interval."]
    few = (
        f" With {runs} runs a bootstrap interval is too narrow, for it takes the runs that there "
        f"are for all there can be; the paired differences keep their level."
    )
    return [
        *text,
        "In brackets: the 95 % interval of a bootstrap over seeds, each drawn with all its "
        "scenarios, for one seed makes the luck of all of them. A policy is behind the best, which "
        "is the first of its division, if the 95 % interval of their mean paired difference lies "
        "below 0; else these runs do not tell the two apart." + (few if runs < FEW else ""),
    ]


def left_out(comparison: Comparison) -> list[str]:
    """Say which scenarios do not count, one sentence each."""
    return [
        f"{printable(market)} is left out of scores: {why}, so there is nothing to tell apart."
        for market, why in comparison.left_out.items()
    ]


def division(comparison: Comparison, name: str) -> str:
    """Say what a division is, and how far that is sure."""
    text = f"For {DIVISIONS[name]}."
    if name != "closed" or comparison.results.plan.split == "salt":
        return text
    return (
        f"{text} These seeds are public, so a policy that draws the same worlds itself knows them: "
        f"where you do not trust its code, draw the seeds by a word of your own (--salt)."
    )


def no_ranking(comparison: Comparison) -> str:
    """Say why nobody is ranked."""
    if not comparison.entrants:
        return "Nobody is ranked: the sweep holds no policy but the references."
    return "Nobody is ranked."


def paired(comparison: Comparison) -> str:
    """Say what the paired differences are."""
    text = (
        "Differences of the mean score, seed by seed, to the first of the division, and how often "
        "the policy beats it at the same seed (a tie counts half)."
    )
    if len(comparison.results.seeds) < 2:
        return f"{text} One run: no interval."
    return (
        f"{text} In brackets: 95 % intervals, of the difference by Student's t over the runs, of "
        f"the probability by the bootstrap."
    )


def market(view: MarketView) -> str:
    """Say how large a scenario is, and which keys are not those of the shipped one of its name."""
    s = view.scenario
    parts = (
        _count(s.providers, "provider", "providers"),
        _count(s.workers, "worker", "workers"),
        _count(s.slots, "slot", "slots"),
    )
    text = f"Played: {', '.join(parts)}."
    changes = ", ".join(f"{key} = {value}" for key, value in changed(s).items())
    return f"{text} Not as in {s.name}: {printable(changes)}." if changes else text


def measures(comparison: Comparison) -> str:
    """Say what is in the tables of the scenarios."""
    several = len(comparison.results.seeds) > 1
    spread = "Mean ± standard deviation over the runs" if several else "One run: no spread"
    return (
        f"{spread}. Policies stand in the order of their regret. Regret is "
        f"pseudo-regret against the exact optimum on the true means, R(T) = T V* less the expected "
        f"profit; its three parts say what became of the tasks on which it was lost. Rejected is a "
        f"share of placed tasks, deferred of all tasks, moved of all tasks from the second slot on."
    )


def not_shown(view: MarketView, names: Names) -> str:
    """Say which policies have no numbers on a scenario."""
    told = ", ".join(
        f"{names.title(policy)} ({done} of {view.runs} runs done)"
        for policy, done in view.incomplete.items()
    )
    return f"Without numbers here: {told}." if told else ""


def changed(scenario: Scenario) -> dict[str, object]:
    """Return the keys in which a scenario differs from the shipped one of its name, if any is."""
    if scenario.name not in Scenario.names():
        return {}
    before = dict(_flat(tomllib.loads(Scenario.load(scenario.name).to_toml())))
    after = dict(_flat(tomllib.loads(scenario.to_toml())))
    keys = [key for key in {**after, **before} if after.get(key) != before.get(key)]
    return {key: after.get(key, "not set") for key in keys}


def _flat(table: Mapping[str, object], before: str = "") -> Iterator[tuple[str, object]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
