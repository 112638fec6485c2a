"""The command ``solve``: a published assignment problem, solved by one of the package's methods."""

from __future__ import annotations

import math
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

from distmllm_agents.mapping import SOLVERS, Mapping
from distmllm_agents.mapping.gap_files import read_gap
from distmllm_agents.mapping.problem import OUT
from distmllm_env.errors import unknown_name


def solve_file(
    path: Path,
    method: str = "exact",
    minimise: bool = False,
    problem: int = 0,
    node_limit: int | None = None,
) -> dict[str, Any]:
    """Solve one problem of a file.

    Args:
        path: See :mod:`distmllm_agents.mapping.gap_files`.
        method: Key of :data:`distmllm_agents.mapping.SOLVERS`.
        minimise: The file holds costs.
        problem: Which problem of the file, from 0.
        node_limit: Stop there; for methods that take one.

    Returns:
        ``value`` and ``bound`` in the file's own sense, so that a bound on costs is a lower one;
        ``gap``, ``status``, ``nodes``, ``seconds``; ``agents``, the agent of every job, from 0.
        None stands for what there is not: a number that is not finite, the agent of a job without.

    Raises:
        ValueError: No such method, or one that cannot solve this; or the file is wrong.
    """
    if method not in SOLVERS:
        raise unknown_name("method", method, SOLVERS)
    limit = {} if node_limit is None else {"node_limit": node_limit}
    if limit:
        able = [name for name in SOLVERS if "node_limit" in signature(SOLVERS[name]).parameters]
        if method not in able:
            raise ValueError(f"method {method!r} takes no node limit: {', '.join(able)} does.")
    solver: Callable[..., Mapping] = SOLVERS[method]
    found = solver(read_gap(path, not minimise, problem), **limit)
    sign = -1 if minimise else 1
    return {
        "file": str(path),
        "problem": problem,
        "method": method,
        "sense": "minimise" if minimise else "maximise",
        "value": _finite(sign * found.value),
        "bound": _finite(sign * found.bound),
        "gap": None if found.value == -math.inf else found.gap,
        "status": found.status,
        "nodes": found.nodes,
        "seconds": found.seconds,
        "agents": [None if n == OUT else int(n) for n in found.choice],
    }


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None
