"""Make the pictures of README: ``.venv/bin/python docs/pictures.py``."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import matplotlib.image

import distmllm_env
from distmllm_bench.demo import POLICIES, figure, play_all

HERE = Path(__file__).parent


def market(slot: int = 120) -> None:
    """DistMLLM on the testbed: a recorded run, replayed in the environment up to ``slot``."""
    scenario = distmllm_env.Scenario.load("testbed")
    run = distmllm_env.play(scenario, distmllm_env.load_policy("distmllm"), [0])
    env = gym.make("DistMLLM-v0", scenario="testbed", render_mode="rgb_array")
    env.reset(seed=0)
    for allocation in run.allocation[0, :slot]:
        env.step(allocation.ravel())
    matplotlib.image.imsave(HERE / "market.png", env.render())


def demo() -> None:
    """The figures of ``distmllm demo``."""
    scenarios = [distmllm_env.Scenario.load(name) for name in ("paper", "testbed")]
    results = play_all(scenarios, POLICIES, range(20))
    for scenario in scenarios:
        files = figure(scenario, results[scenario.name])
        (HERE / f"demo-{scenario.name}.png").write_bytes(files["png"])


if __name__ == "__main__":
    market()
    demo()
