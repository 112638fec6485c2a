"""One iteration of RLlib's PPO, one policy for all providers; ``make rllib`` runs this script.

Ray pins a Gymnasium of its own, so this needs an environment apart from the other tests, and pytest
does not collect it.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from typing import Any

SLOTS = 50
EPISODES = 4


def train(folder: str) -> dict[str, Any]:
    """Play a few episodes, learn from them once and return RLlib's report.

    Args:
        folder: Where Ray may write.
    """
    import ray  # reads the environment variables when it is imported
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
    from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv
    from ray.tune.registry import register_env

    import distmllm_env

    register_env(
        "distmllm", lambda config: ParallelPettingZooEnv(distmllm_env.parallel_env(**config))
    )
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, _temp_dir=folder)
    try:
        algorithm = (
            PPOConfig()
            .environment("distmllm", env_config={"scenario": "paper", "slots": SLOTS})
            .env_runners(num_env_runners=0)
            .multi_agent(policies={"provider"}, policy_mapping_fn=lambda *_, **__: "provider")
            .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[32, 32]))
            .training(train_batch_size=EPISODES * SLOTS, minibatch_size=100, num_epochs=1)
            .debugging(seed=0)
            .build_algo()
        )
        try:
            return algorithm.train()
        finally:
            algorithm.stop()
    finally:
        ray.shutdown()


def main() -> None:
    """Train, and print what the providers earned.

    Raises:
        RuntimeError: The report is not what such a training must give.
    """
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        # Ray would write results and a token into the home folder and report its use to its makers.
        os.environ.update(HOME=folder, RAY_USAGE_STATS_ENABLED="0")
        result = train(folder)
    played, learned = result["env_runners"], result["learners"]["provider"]
    mean, loss = float(played["episode_return_mean"]), float(learned["total_loss"])
    if played["num_episodes"] != EPISODES or played["episode_len_mean"] != SLOTS:
        raise RuntimeError(f"not {EPISODES} episodes of {SLOTS} slots: {played}")
    if learned["num_module_steps_trained"] == 0 or not math.isfinite(mean + loss):
        raise RuntimeError(f"nothing was learned: mean return {mean}, {learned}")
    print(  # noqa: T201
        f"{EPISODES} episodes of {SLOTS} slots, mean return of all providers {mean:.1f}, "
        f"{mean / SLOTS:.2f} per slot; {time.perf_counter() - start:.0f} s"
    )


if __name__ == "__main__":
    main()
