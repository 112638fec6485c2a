"""The random numbers that learners draw: torch's, NumPy's and Python's own, as one state."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from distmllm_env.equations import Array


def get_random_state() -> dict[str, Any]:
    """Return the state of the three generators: arrays, whole numbers and None."""
    kind, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    version, words, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state().numpy().copy(),
        "numpy": np.array(keys),
        "numpy_rest": [str(kind), int(position), int(has_gauss), float(cached)],
        "python": np.array(words, np.uint64),
        "python_rest": [version, gauss],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put the three generators where :func:`get_random_state` found them."""
    torch.set_rng_state(torch.from_numpy(np.array(state["torch"], np.uint8)))
    kind, position, has_gauss, cached = state["numpy_rest"]
    np.random.set_state((kind, state["numpy"], position, has_gauss, cached))  # noqa: NPY002
    version, gauss = state["python_rest"]
    words: Array = state["python"]
    random.setstate((version, tuple(int(word) for word in words), gauss))


@contextmanager
def untouched() -> Iterator[None]:
    """Leave the generators as they were, whatever happens inside."""
    state = get_random_state()
    try:
        yield
    finally:
        set_random_state(state)
