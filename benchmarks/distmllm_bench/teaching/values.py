"""Numbers, texts and arrays as JSON: what a submission's process may send back. Never code."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

DEPTH = 20
"""Most levels of lists in lists."""


def encode(value: Any, depth: int = DEPTH) -> Any:
    """Turn a value into JSON.

    Raises:
        ValueError: It holds something that is neither number, text, array, list, tuple, dict nor
            None, or is nested too deeply.
    """
    if depth == 0:
        raise ValueError(f"a value with more than {DEPTH} levels cannot be handed back")
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, (np.generic, np.ndarray)):
        array = np.asarray(value)
        if array.dtype.kind not in "biufc":
            raise ValueError(f"an array of dtype {array.dtype} cannot be handed back")
        body = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
        kind = "scalar" if isinstance(value, np.generic) else "array"
        return {"kind": kind, "dtype": array.dtype.str, "shape": array.shape, "body": body}
    if isinstance(value, (list, tuple)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {"kind": kind, "items": [encode(item, depth - 1) for item in value]}
    if isinstance(value, dict):
        pairs = [[encode(k, depth - 1), encode(v, depth - 1)] for k, v in value.items()]
        return {"kind": "dict", "items": pairs}
    raise ValueError(f"a value of type {type(value).__name__} cannot be handed back")


def decode(data: Any) -> Any:
    """Return the value that :func:`encode` turned into JSON.

    Raises:
        ValueError: It is not what :func:`encode` gives.
    """
    if data is None or isinstance(data, (bool, int, float, str)):
        return data
    try:
        kind = data["kind"]
        if kind in ("array", "scalar"):
            dtype = np.dtype(data["dtype"])
            if dtype.kind not in "biufc":
                raise ValueError(f"dtype {dtype}")
            array = np.frombuffer(base64.b64decode(data["body"]), dtype).reshape(data["shape"])
            return array[()] if kind == "scalar" else array.copy()
        items = data["items"]
        if kind == "dict":
            return {decode(key): decode(value) for key, value in items}
        return (tuple if kind == "tuple" else list)(decode(item) for item in items)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"what came back is no value: {error!r}") from error
