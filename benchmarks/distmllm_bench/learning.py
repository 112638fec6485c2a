"""``distmllm learning``: what training buys, measured. Tables and figures of the learned policies.

Parts:

- ``table``: the shipped policies beside bandits, heuristic and oracle, on worlds they never saw.
- ``elsewhere``: the weights of ``paper`` on numbers of providers and workers, and on scenarios,
  that they were not trained on.
- ``fixed``: PPO on one fixed world of ``paper``, five worlds and seeds.
- ``networks``: the equivariant network beside an MLP, on redrawn worlds, same budget.

``table`` and ``elsewhere`` take half a minute, the trainings some minutes each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distmllm_bench import style
from distmllm_bench.metrics import Scores, optimum
from distmllm_bench.progress import Progress
from distmllm_bench.statistics import t_quantile
from distmllm_env import Scenario, draw_world, load_policy, play
from distmllm_env.equations import Array
from distmllm_env.errors import require_extra, unknown_name
from distmllm_env.files import write_atomic

SCENARIOS = ("paper", "testbed", "scarce")
POLICIES = ("oracle", "ppo", "greedy", "distmllm-fixed", "distmllm", "heu", "ucb-sigma", "random")
SIZES = ((3, 3), (5, 5), (10, 5), (10, 10), (10, 30), (20, 10))
OTHERS = ("slack", "crowd2", "testbed")
ELSEWHERE_POLICIES = ("ppo", "distmllm-fixed", "distmllm", "heu", "ucb-sigma")
FIXED_SEEDS = range(5)
FIXED_SLOTS = 149_504
"""The most whole rollouts (64 markets of 16 slots) below 150,000 slots."""
NETWORK_SLOTS = 200_000
NETWORK_SEEDS = range(3)


@dataclass(frozen=True)
class Shares:
    """Expected profit as a share of the optimum.

    Attributes:
        values: One per run, (B,).
    """

    values: Array

    @property
    def mean(self) -> float:
        """Mean over the runs."""
        return float(self.values.mean())

    @property
    def half(self) -> float:
        """Half the width of the 95 % confidence interval of the mean (Student's t)."""
        n = len(self.values)
        return float(t_quantile(n - 1, 0.95) * self.values.std(ddof=1) / math.sqrt(n))

    def __str__(self) -> str:
        return f"{self.mean:.2%} ± {self.half:.2%}"


def shares(
    scenario: Scenario,
    names: Iterable[str],
    seeds: Sequence[int],
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Shares]:
    """Play policies on the same runs.

    Args:
        scenario: What to play.
        names: Policies.
        seeds: One per run.
        options: Parameters of a policy, by its name.
    """
    best = optimum(draw_world(scenario, seeds))
    found = {}
    for name in names:
        policy = load_policy(name, **(options or {}).get(name, {}))
        regret = Scores(play(scenario, policy, seeds), best).regret
        found[name] = Shares(1.0 - regret / (best.value * scenario.slots))
    return found


def table(seeds: Sequence[int]) -> str:
    """Return the table of the shipped policies as Markdown: mean and 95 % interval of the mean.

    Args:
        seeds: One per run.
    """
    from distmllm_agents.learned.shipped import about_shipped

    columns = {name: shares(Scenario.load(name), POLICIES, seeds) for name in SCENARIOS}
    lines = [
        f"| policy | knows | {' | '.join(SCENARIOS)} |",
        f"|:--|:--|{'--:|' * len(SCENARIOS)}",
    ]
    for name in POLICIES:
        policy = load_policy(name)
        knows = getattr(policy, "knows", "rewards")
        cells = " | ".join(str(columns[scenario][name]) for scenario in SCENARIOS)
        lines.append(f"| {style.title(name)} | {knows} | {cells} |")
    cost = " | ".join(
        f"{about['slots'] / 1e6:.1f} M slots, {about['seconds'] / 60:.0f} min"
        for about in map(about_shipped, SCENARIOS)
    )
    lines.append(f"| *training of PPO* | | {cost} |")
    return "\n".join(lines) + "\n"


def elsewhere(seeds: Sequence[int]) -> str:
    """Return how the weights of ``paper`` do where they were not trained, as Markdown.

    Args:
        seeds: One per run.
    """
    heads = " | ".join(style.title(name) for name in ELSEWHERE_POLICIES)
    lines = [f"| market | {heads} |", "|:--|" + "--:|" * len(ELSEWHERE_POLICIES)]
    places = [
        (f"`paper`, {m} x {n}", Scenario.load("paper", providers=m, workers=n)) for m, n in SIZES
    ]
    places += [(f"`{name}`", Scenario.load(name)) for name in OTHERS]
    for label, scenario in places:
        found = shares(scenario, ELSEWHERE_POLICIES, seeds, {"ppo": {"weights": "paper"}})
        cells = " | ".join(str(found[name]) for name in ELSEWHERE_POLICIES)
        lines.append(f"| {label} | {cells} |")
    return "\n".join(lines) + "\n"


def fixed(out: Path, jobs: int, slots: int, seeds: Sequence[int]) -> tuple[str, bytes]:
    """Train PPO on fixed worlds, world s with seed s; return a table and a figure."""
    each = _train_all(
        out / "fixed", jobs, [("ppo", {"slots": slots, "seed": s, "world_seed": s}) for s in seeds]
    )
    final = Shares(np.array([points[-1]["share"] for points, _, _ in each]))
    heu = Shares(np.array([points[-1]["heu"] for points, _, _ in each]))
    minutes = np.array([seconds / 60 for _, seconds, _ in each])
    learner = np.array([learner for _, _, learner in each])
    text = (
        "| worlds | slots | share of the optimum | lowest | HEU | minutes | learner's time |\n"
        "|--:|--:|--:|--:|--:|--:|--:|\n"
        f"| {len(each)} | {each[0][0][-1]['slots']} | {final} | {final.values.min():.2%} | {heu} | "
        f"{minutes.mean():.1f} ± {minutes.std(ddof=1):.1f} | "
        f"{learner.mean():.0%} (lowest {learner.min():.0%}) |\n"
    )
    curves = {"PPO, MLP": [points for points, _, _ in each]}
    return text, _curves(curves, "paper, one fixed world for each seed")


def networks(out: Path, jobs: int, slots: int, seeds: Sequence[int]) -> tuple[str, bytes]:
    """Train an MLP and the equivariant network on redrawn worlds; return a table and a figure."""
    mlp = {"network": "mlp", "layers": [128, 128], "episode_slots": 100}
    plans = [
        ("ppo-equivariant", {"slots": slots, "seed": s, **change})
        for change in ({}, mlp)
        for s in seeds
    ]
    each = _train_all(out / "networks", jobs, plans)
    half = len(seeds)
    groups = {"equivariant": each[:half], "MLP": each[half:]}
    lines = ["| network | runs | slots | share of the optimum | minutes |", "|:--|--:|--:|--:|--:|"]
    for name, group in groups.items():
        final = Shares(np.array([points[-1]["share"] for points, _, _ in group]))
        minutes = np.mean([seconds / 60 for _, seconds, _ in group])
        slots_played = group[0][0][-1]["slots"]
        lines.append(f"| {name} | {len(group)} | {slots_played} | {final} | {minutes:.1f} |")
    curves = {name: [points for points, _, _ in group] for name, group in groups.items()}
    return "\n".join(lines) + "\n", _curves(curves, "paper, redrawn worlds")


def run_learning(
    out: Path, only: Sequence[str], seeds: Sequence[int], jobs: int, quick: bool
) -> dict[str, str]:
    """Do the parts and save their tables and figures under ``out``.

    Args:
        out: Folder.
        only: Parts; none: all.
        seeds: Of the runs of ``table`` and ``elsewhere``.
        jobs: Trainings side by side.
        quick: Train for a twentieth of the slots, to see that it works.

    Returns:
        Part -> table.

    Raises:
        MissingExtraError: The extra ``rl`` is not installed.
        ValueError: There is no such part.
    """
    require_extra("rl", "learned policies", "torch", "stable_baselines3", "sb3_contrib")
    parts = ("table", "elsewhere", "fixed", "networks")
    for name in only:
        if name not in parts:
            raise unknown_name("part", name, parts)
    chosen = [name for name in parts if not only or name in only]
    less = 20 if quick else 1
    tables = {}
    with Progress(len(chosen), "part") as progress:
        for name in chosen:
            progress.begin(name)
            if name == "table":
                tables[name] = table(seeds)
            elif name == "elsewhere":
                tables[name] = elsewhere(seeds)
            elif name == "fixed":
                tables[name], picture = fixed(out, jobs, FIXED_SLOTS // less, FIXED_SEEDS)
                write_atomic(out / "fixed.png", picture)
            else:
                tables[name], picture = networks(out, jobs, NETWORK_SLOTS // less, NETWORK_SEEDS)
                write_atomic(out / "networks.png", picture)
            write_atomic(out / f"{name}.md", tables[name])
            progress.step()
    return tables


Trained = tuple[list[dict[str, float]], float, float]
"""Evaluations, seconds of training, and the learner's share of them."""


def _train_all(
    out: Path, jobs: int, plans: Sequence[tuple[str, Mapping[str, Any]]]
) -> list[Trained]:
    from joblib import Parallel, delayed

    work = (
        delayed(_train)(out / str(i), preset, dict(changes))
        for i, (preset, changes) in enumerate(plans)
    )
    return list(Parallel(n_jobs=jobs)(work))


def _train(out: Path, preset: str, changes: dict[str, Any]) -> Trained:
    from distmllm_agents.learned.settings import load_settings
    from distmllm_agents.learned.training import Training

    training = Training(load_settings(preset, {"scenario": "paper", **changes}), out)
    training.run()
    learner = 1.0 - training.market_seconds / training.seconds
    return [vars(point) for point in training.curve], training.seconds, learner


def _curves(groups: Mapping[str, Sequence[Sequence[Mapping[str, float]]]], title: str) -> bytes:
    """Draw mean and range over the trainings of each group, PNG."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    with mpl.rc_context(style.RC):
        fig = Figure(figsize=(6.4, 3.6), layout="constrained")
        FigureCanvasAgg(fig)
        ax = fig.subplots()
        colours = ("#882255", "#0072B2")
        for colour, (name, trainings) in zip(colours, groups.items(), strict=False):
            slots = np.array([p["slots"] for p in trainings[0]]) / 1000
            share = np.array([[p["share"] for p in points] for points in trainings])
            ax.plot(slots, share.mean(axis=0), color=colour, marker="o", markersize=4, label=name)
            ax.fill_between(
                slots, share.min(axis=0), share.max(axis=0), color=colour, alpha=0.15, linewidth=0
            )
        every = [points[-1]["heu"] for trainings in groups.values() for points in trainings]
        ax.axhline(float(np.mean(every)), **style.style("heu"), linewidth=1.3, label="HEU")
        ax.axhline(1.0, color="0.2", linewidth=0.8)
        ax.yaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        ax.set_xlabel("thousand slots of training")
        ax.set_ylabel("profit, share of the optimum")
        ax.set_title(f"{title}: mean and range of the trainings", fontsize=10)
        ax.set_xlim(left=0)
        ax.legend(loc="best")
        return style.rendered(fig, 160)["png"]
