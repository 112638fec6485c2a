"""Thresholds of assignment 3: `python notebooks/assignments/calibrate.py [RUNS]`, about two minutes.

Each reference is played on RUNS worlds (400) of each scenario. Its threshold is its mean share of
the optimum less 2.33 standard errors of a mean over as many runs as a submission is graded on, so
that the reference itself would pass 99 times in 100.
"""

import sys

import numpy as np

from distmllm_agents.oracle import optimum
from distmllm_env import Scenario, load_policy, play

SCENARIOS = ("paper", "scarce", "testbed")
REFERENCES = {"UCB": "ucb-sigma", "HEU": "heu", "DistMLLM": "distmllm"}
GRADED_RUNS = 20


def thresholds(runs: int) -> dict[str, dict[str, float]]:
    """Return reference -> scenario -> threshold, rounded down to three digits."""
    found: dict[str, dict[str, float]] = {name: {} for name in REFERENCES}
    for scenario in map(Scenario.load, SCENARIOS):
        for name, policy in REFERENCES.items():
            run = play(scenario, load_policy(policy), range(runs))
            best = optimum(run.world).value * scenario.slots
            share = run.expected_profit.sum(axis=(1, 2, 3)) / best
            low = share.mean() - 2.33 * share.std(ddof=1) / np.sqrt(GRADED_RUNS)
            found[name][scenario.name] = float(np.floor(1000 * low) / 1000)
    return found


if __name__ == "__main__":
    for name, row in thresholds(int(sys.argv[1]) if len(sys.argv) > 1 else 400).items():
        print(f'    "{name}": {row},')
