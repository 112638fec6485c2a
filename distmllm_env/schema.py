"""From a TOML table to frozen dataclasses and back, with errors that name the key.

A dataclass is the schema: its field names are the allowed keys, its annotations the allowed types,
its ``__post_init__`` the allowed values. Nothing is guessed, converted in silence or dropped.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union

import numpy as np

from distmllm_env.errors import unknown_name

T = TypeVar("T")


def build(cls: type[T], data: Mapping[str, Any], path: str = "") -> T:
    """Build dataclass ``cls`` from ``data``.

    Args:
        cls: A dataclass type. A field's type may be another dataclass, ``X | None``, ``Literal``,
            ``tuple[X, ...]``, ``int``, ``float``, ``bool`` or ``str``. A class with a
            ``from_value`` classmethod parses its own value.
        data: Keys and values as ``tomllib`` gives them.
        path: Dotted path of this table, for error messages.

    Returns:
        The instance; its ``__post_init__`` has run.

    Raises:
        ValueError: A key is unknown or missing, or a value has the wrong type.
    """
    kind = cls.__name__.lower()  # scenario, settings, suite
    if not isinstance(data, Mapping):
        raise ValueError(f"{path or kind}: expected a table, got {data!r}.")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            raise unknown_name(f"key in [{path}]" if path else f"{kind} key", key, fields)
    values = {}
    for name, field in fields.items():
        where = f"{path}.{name}" if path else name
        if name in data:
            values[name] = _convert(hints[name], data[name], where)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{where}: this key is missing and has no default.")
    return cls(**values)


def _convert(hint: Any, value: Any, where: str) -> Any:
    if hasattr(hint, "from_value"):
        return hint.from_value(value, where)
    if isinstance(hint, type) and isinstance(value, hint) and dataclasses.is_dataclass(hint):
        return value
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), value, where)
    origin = typing.get_origin(hint)
    if origin in (Union, types.UnionType):
        (inner,) = (arg for arg in typing.get_args(hint) if arg is not type(None))
        return None if value is None else _convert(inner, value, where)
    if origin is Literal:
        if value not in typing.get_args(hint):
            raise unknown_name(f"value of {where}", value, typing.get_args(hint))
        return value
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            raise ValueError(f"{where}: expected a list, got {value!r}.")
        inner = typing.get_args(hint)[0]
        return tuple(_convert(inner, item, f"{where}[{i}]") for i, item in enumerate(value))
    return scalar(hint, value, where)


def scalar(kind: type[Any], value: Any, where: str) -> Any:
    """Check one scalar; NumPy scalars and an int for a float pass, nothing else is converted.

    Raises:
        ValueError: Wrong type, or a float that is NaN or infinite.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        raise ValueError(f"{where}: expected {kind.__name__}, got {value!r}.")
    if kind is float and not math.isfinite(value):
        raise ValueError(f"{where}: expected a finite number, got {value!r}.")
    return value


def require(condition: bool, key: str, value: object, allowed: str) -> None:
    """Raise ``ValueError`` with ``key``, ``value`` and what is ``allowed`` unless ``condition``."""
    if not condition:
        raise ValueError(f"{key} = {value!r} is not allowed: {allowed}.")


def with_overrides(
    data: Mapping[str, Any], overrides: Mapping[str, Any], path: str = ""
) -> dict[str, Any]:
    """Return a copy of nested ``data`` with dotted keys replaced, e.g. ``{"noise.std": 0.2}``."""
    result = {k: dict(v) if isinstance(v, Mapping) else v for k, v in data.items()}
    for dotted, value in overrides.items():
        head, _, rest = dotted.partition(".")
        if rest:
            table = result.get(head, {})
            if not isinstance(table, Mapping):
                raise ValueError(f"{path}{dotted}: {path}{head} is a value or a list, not a table.")
            result[head] = with_overrides(table, {rest: value}, f"{path}{head}.")
        else:
            result[head] = value
    return result


def to_dict(obj: Any) -> Any:
    """Turn a dataclass into plain tables, leaving out ``None``; the inverse of :func:`build`."""
    if hasattr(obj, "to_value"):
        return obj.to_value()
    if dataclasses.is_dataclass(obj) and not isinstance(obj, type):
        pairs = ((f.name, getattr(obj, f.name)) for f in dataclasses.fields(obj) if f.init)
        return {name: to_dict(value) for name, value in pairs if value is not None}
    if isinstance(obj, tuple):
        return [to_dict(item) for item in obj]
    return obj


def to_toml(data: Mapping[str, Any]) -> str:
    """Write nested plain tables as TOML text: top-level values first, then one table each."""
    lines = [f"{k} = {_toml_value(v)}" for k, v in data.items() if not _is_table(v)]
    for key, table in data.items():
        if _is_table(table):
            lines.append(f"\n[{key}]")
            lines.extend(f"{k} = {_toml_value(v)}" for k, v in table.items())
    return "\n".join(lines) + "\n"


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) and "kind" not in value


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON escapes what TOML forbids in a string, except DEL.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{k} = {_toml_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    return repr(value)
