"""Files of generalized assignment problems, as OR-Library and Yagiura publish them.

Numbers between blanks and line ends: agents m and jobs n, then m rows of n profits (or costs), m
rows of n weights, and m capacities. A file of several problems starts with their number. A job
takes exactly one agent.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from distmllm_agents.mapping.problem import MappingProblem


def read_gap(path: str | Path, maximise: bool = True, problem: int = 0) -> MappingProblem:
    """Read one problem: items are the jobs, workers the agents.

    Args:
        path: The file, with or without a leading number of problems; the count of numbers tells.
        maximise: Utilities are the profits of the file; if not, they are its costs, negated.
        problem: Which problem of the file, from 0.

    Raises:
        ValueError: The file is no such file, or has no such problem; says which file, and how many
            numbers it has and should have.
        OSError: The file cannot be read.
    """
    numbers = _numbers(path)
    starts = _starts(path, numbers)
    if not 0 <= problem < len(starts):
        raise ValueError(f"{path}: problem {problem} is not allowed: 0..{len(starts) - 1}.")
    at = starts[problem]
    m, n = int(numbers[at]), int(numbers[at + 1])
    body = np.array(numbers[at + 2 : at + _size(m, n)])
    profit, weight, capacity = np.split(body, [m * n, 2 * m * n])
    try:
        return MappingProblem(
            utility=profit.reshape(m, n).T * (1 if maximise else -1),
            weight=weight.reshape(m, n).T,
            capacity=capacity[None],
            pool=np.zeros(n, int),
            allowed=np.ones((n, m), bool),
            exactly_one=True,
        )
    except ValueError as error:
        raise ValueError(f"{path}, problem {problem}: {error}") from None


def _numbers(path: str | Path) -> list[float]:
    words = Path(path).read_text(encoding="utf-8", errors="replace").split()
    numbers = []
    for i, word in enumerate(words):
        try:
            number = float(word)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(f"{path}: word {i + 1} is {word[:20]!r}: a finite number is allowed.")
        numbers.append(number)
    return numbers


def _starts(path: str | Path, numbers: list[float]) -> list[int]:
    """Where the problems of the file begin: the one reading that uses up all its numbers."""
    readings = [_walk(numbers, 0, 1)]
    if numbers and numbers[0] >= 1 and numbers[0].is_integer():
        readings.append(_walk(numbers, 1, int(numbers[0])))
    fitting = [starts for starts, end, _ in readings if end == len(numbers)]
    meanings = [meaning for *_, meaning in readings]
    if len(fitting) > 1:
        raise ValueError(
            f"{path} holds {len(numbers)} numbers and can be read as {' and as '.join(meanings)}: "
            "put a 1 before the first number if it is a single problem."
        )
    if not fitting:
        raise ValueError(f"{path} holds {len(numbers)} numbers; expected {', or '.join(meanings)}.")
    return fitting[0]


def _walk(numbers: list[float], at: int, problems: int) -> tuple[list[int], int | None, str]:
    """Read on from ``at``: where the problems begin and end (None if they cannot), in words."""
    starts: list[int] = []
    name = f"{problems} problem{'s' * (problems > 1)}" if at else "a single problem"
    for _ in range(problems):
        if at + 2 > len(numbers):
            return starts, None, f"{name}: more than {len(numbers)}"
        m, n = numbers[at : at + 2]
        if not (m >= 1 and n >= 1 and m.is_integer() and n.is_integer()):
            where = f"{name}: agents and jobs, not {m:g} and {n:g}, at number {at + 1}"
            return starts, None, where
        starts.append(at)
        at += _size(int(m), int(n))
        if at > len(numbers):
            break
    more = " or more" if len(starts) < problems else ""
    return starts, at if not more else None, f"{name}: {at}{more}"


def _size(m: int, n: int) -> int:
    return 2 + 2 * m * n + m
