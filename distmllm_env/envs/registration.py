"""Names under which Gymnasium and PettingZoo find the environments."""

from __future__ import annotations

from typing import Any

import gymnasium
import pettingzoo

ENTRY_POINTS: dict[str, dict[str, Any]] = {
    "DistMLLM-v0": {
        "entry_point": "distmllm_env.envs.central:CentralEnv",
        "vector_entry_point": "distmllm_env.envs.vector:CentralVectorEnv",
    },
    "DistMLLM-Provider-v0": {"entry_point": "distmllm_env.envs.provider:ProviderEnv"},
}


def register_envs() -> None:
    """Register every environment; calling it again changes nothing."""
    for name, entry_points in ENTRY_POINTS.items():
        if name not in gymnasium.registry:
            gymnasium.register(name, **entry_points)
    if hasattr(pettingzoo, "register"):  # PettingZoo 1.27 and later
        from pettingzoo.env_registry import registration

        name = "distmllm/DistMLLM-v0"
        if name not in registration.parallel_registry:
            pettingzoo.register("parallel", name, "distmllm_env:parallel_env")
        if name not in registration.aec_registry:
            pettingzoo.register("aec", name, "distmllm_env:env")
