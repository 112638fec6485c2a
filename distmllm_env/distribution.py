"""How a quantity of a scenario is drawn: a number, a list, or an interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from distmllm_env import schema
from distmllm_env.errors import unknown_name
from distmllm_env.schema import require


@dataclass(frozen=True)
class Distribution:
    """How one quantity is drawn, once per run.

    In TOML a number means that constant, a list means these values in order, and a table such as
    ``{ kind = "uniform", low = 0.8, high = 1.0 }`` or ``{ kind = "integers", low = 1, high = 3 }``
    (both ends included) means a draw per provider or worker.
    """

    kind: Literal["constant", "values", "uniform", "integers"]
    low: float = 0.0
    high: float = 0.0
    values: tuple[float, ...] = ()

    @classmethod
    def from_value(cls, value: Any, where: str) -> Distribution:
        """Read a number, a list or a table; ``where`` names the key in errors."""
        if isinstance(value, Distribution):
            value = value.to_value()  # made by hand, so not checked yet
        if isinstance(value, (list, tuple)):
            items = tuple(schema.scalar(float, v, f"{where}[{i}]") for i, v in enumerate(value))
            require(len(items) > 0, where, value, "at least one value")
            return cls("values", min(items), max(items), items)
        if isinstance(value, Mapping):
            for key in value:
                if key not in ("kind", "low", "high"):
                    raise unknown_name(f"key in {where}", key, ("kind", "low", "high"))
            kind = value.get("kind")
            if kind not in ("uniform", "integers"):
                raise unknown_name(f"value of {where}.kind", kind, ("uniform", "integers"))
            for key in ("low", "high"):
                if key not in value:
                    raise ValueError(f"{where}.{key}: this key is missing and has no default.")
            low = schema.scalar(float, value["low"], f"{where}.low")
            high = schema.scalar(float, value["high"], f"{where}.high")
            require(low <= high, f"{where}.low", low, f"at most {where}.high = {high}")
            if kind == "integers":
                whole = low == int(low) and high == int(high)
                require(whole, where, (low, high), "whole numbers for kind 'integers'")
            return cls(kind, low, high)
        number = schema.scalar(float, value, where)
        return cls("constant", number, number)

    def to_value(self) -> Any:
        """Return what :meth:`from_value` reads."""
        if self.kind == "constant":
            return float(self.low)
        if self.kind == "values":
            return [float(value) for value in self.values]
        return {"kind": self.kind, "low": float(self.low), "high": float(self.high)}

    def draw(self, uniform: Callable[[int], np.ndarray], count: int) -> np.ndarray:
        """Draw ``count`` values for each row of a batch.

        Args:
            uniform: Gives numbers uniform on [0, 1), shape (B, count), for a count; constants and
                lists do not call it.
            count: How many. The first values do not depend on it.

        Returns:
            (B, count), or (count,) where all rows are alike.
        """
        if self.kind == "uniform":
            return self.low + (self.high - self.low) * uniform(count)
        if self.kind == "integers":
            return self.low + np.floor((self.high - self.low + 1.0) * uniform(count))
        if self.kind == "values":
            return np.array(self.values)
        return np.full(count, self.low)


def constant(value: float) -> Distribution:
    """Return the distribution that is always ``value``."""
    return Distribution("constant", value, value)
