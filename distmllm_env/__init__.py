"""Edge markets for multimodal LLM serving, as Gymnasium and PettingZoo environments.

Importing the package registers ``DistMLLM-v0`` and ``DistMLLM-Provider-v0`` with Gymnasium and
``distmllm/DistMLLM-v0`` with PettingZoo.
"""

from __future__ import annotations

from typing import Any

from distmllm_env.distribution import Distribution
from distmllm_env.envs.registration import register_envs
from distmllm_env.market import Market
from distmllm_env.policy import Policy
from distmllm_env.registry import load_policy
from distmllm_env.runs import Run, play
from distmllm_env.scenario import ENC, LLM, Scenario
from distmllm_env.slot import Outcome, Status
from distmllm_env.world import World, draw_world

__all__ = [
    "ENC",
    "LLM",
    "Distribution",
    "Market",
    "Outcome",
    "Policy",
    "Run",
    "Scenario",
    "Status",
    "World",
    "draw_world",
    "env",
    "load_policy",
    "parallel_env",
    "parallel_vector_env",
    "play",
    "raw_env",
    "register_envs",
]


def parallel_env(**options: Any) -> Any:
    """Make the PettingZoo parallel environment; see :class:`~.envs.parallel.ParallelMarketEnv`."""
    from distmllm_env.envs.parallel import ParallelMarketEnv

    return ParallelMarketEnv(**options)


def env(**options: Any) -> Any:
    """Make the PettingZoo sequential (AEC) environment.

    See :class:`~.envs.sequential.SequentialMarketEnv`.
    """
    from distmllm_env.envs.sequential import SequentialMarketEnv

    return SequentialMarketEnv(**options)


def parallel_vector_env(**options: Any) -> Any:
    """Make many markets as one batch of providers.

    See :class:`~.envs.vector.ParallelMarketVectorEnv`;
    ``gym.make_vec("DistMLLM-v0", num_envs=...)`` makes the batched environment of one dispatcher.
    """
    from distmllm_env.envs.vector import ParallelMarketVectorEnv

    return ParallelMarketVectorEnv(**options)


raw_env = env
"""The sequential environment checks order and range itself, so ``env`` needs no wrappers."""

register_envs()


def __getattr__(name: str) -> Any:
    if name == "__version__":  # importlib.metadata costs more than the rest of this package
        from importlib.metadata import version

        return version("distmllm-env")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
