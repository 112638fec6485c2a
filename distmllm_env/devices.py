"""What real devices, models and links can do, each number with its source.

The profiles lie in ``profiles/*.toml``. One number cannot rank devices: at 7B the RTX 4090 beats
the A100, at 13B it loses, and 70B it cannot run at all. A device is therefore a table over
(quantity, model), and every pair is either covered or refused with a reason.

Kinds of numbers: ``measured`` (somebody ran it and published the run), ``vendor`` (the maker says
so), ``derived`` (computed from other numbers by the rule given in ``source``).
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from distmllm_env.errors import unknown_name
from distmllm_env.schema import build, require

Kind = Literal["measured", "vendor", "derived"]
Stage = Literal["enc", "llm"]

# Every quantity has one unit. The second table is for (device, model) pairs, by the model's stage.
DEVICE_UNITS: Mapping[str, str] = {"memory": "byte", "idle_power": "W", "load_power": "W"}
PAIR_UNITS: Mapping[Stage, Mapping[str, str]] = {
    "enc": {"encode_time": "s"},
    "llm": {"prefill_time": "s", "decode_rate": "token/s", "decode_energy": "J/token"},
}


@dataclass(frozen=True)
class Number:
    """One number and where it comes from.

    Attributes:
        value: The number, finite and above 0.
        unit: ``s``, ``token/s``, ``J/token``, ``W``, ``byte`` or ``bit/s``.
        kind: How far to trust it; see the module's docstring.
        source: Public address of the number, or the rule and the addresses it is derived from.
        conditions: Setting in which it holds; may be empty.
        tokens: Prompt length of a ``prefill_time``, else ``None``.
    """

    value: float
    unit: str
    kind: Kind
    source: str
    conditions: str = ""
    tokens: int | None = None


@dataclass(frozen=True)
class Refusal:
    """Why a model does not run on a device, and who says so."""

    model: str
    reason: str
    kind: Kind
    source: str


@dataclass(frozen=True)
class Model:
    """An encoder (``stage = "enc"``) or an LLM (``"llm"``).

    Attributes:
        name: Name used in scenarios, e.g. ``"llama-2-7b-q4"``.
        title: Name used in tables and plots.
        stage: Which of the two tasks of a request it serves.
        tensor_bytes: Output of an encoder in FP16, in bytes; ``None`` for an LLM.
        memory: What an LLM occupies on a device, in bytes; ``None`` for an encoder.
    """

    name: str
    title: str
    stage: Stage
    tensor_bytes: Number | None = None
    memory: Number | None = None

    def number(self, quantity: str) -> Number:
        """Return ``tensor_bytes`` or ``memory`` by name, with its source.

        Raises:
            ValueError: A model of this stage has no such number.
        """
        pairs = {"tensor_bytes": self.tensor_bytes, "memory": self.memory}
        have = {name: number for name, number in pairs.items() if number is not None}
        if quantity not in have:
            raise unknown_name(f"quantity of model {self.name}", quantity, have)
        return have[quantity]


@dataclass(frozen=True)
class Link:
    """A link and its payload rate in bit/s, for one flow, without round-trip time or loss."""

    name: str
    title: str
    rate_bit_s: Number


@dataclass(frozen=True)
class Input:
    """What a user sends to the encoder, and its size in bytes."""

    name: str
    title: str
    size_bytes: Number


@dataclass(frozen=True)
class Device:
    """What one device can do.

    Attributes:
        name: Name used in scenarios, e.g. ``"rtx-4090-24gb"``.
        title: Name used in tables and plots.
        numbers: Numbers by (quantity, model); the model is ``""`` for the device itself.
        infeasible: Refusals by model.
    """

    name: str
    title: str
    numbers: Mapping[tuple[str, str], Number]
    infeasible: Mapping[str, Refusal]

    def number(self, quantity: str, model: str = "") -> Number:
        """Return one number with its source.

        Raises:
            ValueError: The device does not run the model, or its profile lacks the number.
        """
        if (quantity, model) in self.numbers:
            return self.numbers[quantity, model]
        if model in self.infeasible:
            raise ValueError(f"{model} does not run on {self.name}: {self.why_infeasible(model)}.")
        have = {q for q, _ in self.numbers}
        if quantity not in have:
            raise unknown_name(f"quantity of device {self.name}", quantity, have)
        owners = {m or "(no model)" for q, m in self.numbers if q == quantity}
        raise unknown_name(f"model for {quantity} of device {self.name}", model, owners)

    def why_infeasible(self, model: str) -> str | None:
        """Return why ``model`` does not run here, or ``None`` if no refusal is on record.

        Raises:
            ValueError: There is no model of this name.
        """
        if model not in models():
            raise unknown_name("model", model, models())
        return self.infeasible[model].reason if model in self.infeasible else None

    def encode_time_s(self, encoder: str) -> float:
        """Return the time for one image, in seconds.

        Raises:
            ValueError: The device does not run the encoder, or its profile lacks the time.
        """
        return self.number("encode_time", encoder).value

    def encode_energy_j(self, encoder: str) -> float:
        """Return ``load_power`` times the encode time, in joules: an upper bound.

        Raises:
            ValueError: As for :meth:`encode_time_s`.
        """
        return self.encode_time_s(encoder) * self.number("load_power").value

    def generate_time_s(self, llm: str, prompt_tokens: float, output_tokens: float) -> float:
        """Return the time from prompt to last token, in seconds, for one request alone.

        Prefill is scaled linearly in tokens from the one length on record. Real prefill has a
        constant part and a quadratic one, so far from that length this is a rough figure.

        Args:
            llm: Name of a model of stage ``llm``.
            prompt_tokens: Prompt length in tokens, image tokens included.
            output_tokens: Tokens generated.

        Raises:
            ValueError: A count is negative or not finite, the device does not run the model, or
                its profile lacks a number.
        """
        decode = _count("output_tokens", output_tokens) / self.number("decode_rate", llm).value
        return self._prefill_time_s(llm, prompt_tokens) + decode

    def generate_energy_j(self, llm: str, prompt_tokens: float, output_tokens: float) -> float:
        """Return the energy from prompt to last token, in joules.

        Prefill counts ``load_power`` over its (linearly scaled) time, an upper bound; decoding
        counts ``decode_energy`` per token.

        Args:
            llm: Name of a model of stage ``llm``.
            prompt_tokens: Prompt length in tokens, image tokens included.
            output_tokens: Tokens generated.

        Raises:
            ValueError: As for :meth:`generate_time_s`.
        """
        decode = self.number("decode_energy", llm).value * _count("output_tokens", output_tokens)
        return self.number("load_power").value * self._prefill_time_s(llm, prompt_tokens) + decode

    def _prefill_time_s(self, llm: str, prompt_tokens: float) -> float:
        prefill = self.number("prefill_time", llm)
        assert prefill.tokens is not None  # checked on load
        return prefill.value * _count("prompt_tokens", prompt_tokens) / prefill.tokens


@cache
def devices() -> Mapping[str, Device]:
    """Return the packaged devices by name, in alphabetical order.

    Raises:
        ValueError: A profile is not valid; the text names file, row, field and value.
    """
    entries = (files("distmllm_env") / "profiles").iterdir()
    texts = {e.name: e.read_text("utf-8") for e in entries if e.name.endswith(".toml")}
    rows = [_device(texts[name], name) for name in sorted(texts) if name not in _NOT_DEVICES]
    return _by_name("profiles", rows)


@cache
def models() -> Mapping[str, Model]:
    """Return the packaged models by name, encoders first.

    Raises:
        ValueError: As for :func:`devices`.
    """
    rows = _packaged("models.toml").model
    for i, row in enumerate(rows):
        needs = "tensor_bytes" if row.stage == "enc" else "memory"
        where = f"models.toml.model[{i}].{needs}"
        require(getattr(row, needs) is not None, where, None, f"stage {row.stage} needs it")
    return _by_name("models.toml.model", rows, tensor_bytes="byte", memory="byte")


@cache
def links() -> Mapping[str, Link]:
    """Return the packaged links by name.

    Raises:
        ValueError: As for :func:`devices`.
    """
    return _by_name("links.toml.link", _packaged("links.toml").link, rate_bit_s="bit/s")


@cache
def inputs() -> Mapping[str, Input]:
    """Return the packaged example inputs by name.

    Raises:
        ValueError: As for :func:`devices`.
    """
    return _by_name("models.toml.input", _packaged("models.toml").input, size_bytes="byte")


def load_device(path: str | PathLike[str]) -> Device:
    """Read a device profile of your own, with the checks that the packaged ones pass.

    Args:
        path: A TOML file laid out as those in ``profiles/``. It may cover some of :func:`models`
            only; what it does not cover raises when asked for.

    Raises:
        ValueError: The file is not valid TOML or not a valid profile; the text names file, row,
            field and value, what is allowed, and the nearest valid name.
        OSError: The file cannot be read.
    """
    path = Path(path)
    return _device(path.read_text("utf-8"), path.name)


def find_device(name: str) -> Device:
    """Return a packaged device by name, or the one in a file of your own, ``name.toml``.

    Raises:
        ValueError: There is no such device or file, or the file is not a valid profile.
    """
    if name in devices():
        return devices()[name]
    if not name.endswith(".toml"):
        raise unknown_name("device", name, [*devices(), "path/to/profile.toml"])
    if not Path(name).is_file():
        raise ValueError(f"device profile {name!r} does not exist.")
    return _parsed(Path(name).read_text("utf-8"), Path(name).name)


@cache
def _parsed(text: str, file: str) -> Device:
    return _device(text, file)


@dataclass(frozen=True, kw_only=True)
class _Row(Number):
    """A ``[[number]]`` table; its fields are the allowed keys."""

    quantity: str
    model: str = ""


@dataclass(frozen=True)
class _DeviceFile:
    name: str
    title: str
    number: tuple[_Row, ...]
    infeasible: tuple[Refusal, ...] = ()


@dataclass(frozen=True)
class _OtherFile:
    model: tuple[Model, ...] = ()
    input: tuple[Input, ...] = ()
    link: tuple[Link, ...] = ()


_NOT_DEVICES = ("models.toml", "links.toml")
_Named = TypeVar("_Named", Device, Model, Link, Input)


def _device(text: str, file: str) -> Device:
    parsed = build(_DeviceFile, _toml(text, file), file)
    numbers: dict[tuple[str, str], Number] = {}
    for i, row in enumerate(parsed.number):
        where = f"{file}.number[{i}]"
        if row.model and row.model not in models():
            raise unknown_name(f"value of {where}.model", row.model, models())
        units = PAIR_UNITS[models()[row.model].stage] if row.model else DEVICE_UNITS
        if row.quantity not in units:
            owner = row.model or "a row without model"
            raise unknown_name(f"value of {where}.quantity for {owner}", row.quantity, units)
        _check(row, where, units[row.quantity], row.quantity == "prefill_time")
        key = (row.quantity, row.model)
        require(key not in numbers, where, key, "each (quantity, model) once")
        numbers[key] = Number(row.value, row.unit, row.kind, row.source, row.conditions, row.tokens)
    covered = {model for _, model in numbers}
    infeasible: dict[str, Refusal] = {}
    for i, refusal in enumerate(parsed.infeasible):
        where = f"{file}.infeasible[{i}]"
        if refusal.model not in models():
            raise unknown_name(f"value of {where}.model", refusal.model, models())
        fresh = refusal.model not in covered and refusal.model not in infeasible
        require(fresh, f"{where}.model", refusal.model, "refused once, and then without numbers")
        for field in ("reason", "source"):
            require(bool(getattr(refusal, field)), f"{where}.{field}", "", "a text, not empty")
        infeasible[refusal.model] = refusal
    return Device(parsed.name, parsed.title, numbers, infeasible)


def _check(number: Number, where: str, unit: str, tokens: bool = False) -> None:
    """Check what the types cannot say; build() has refused NaN and unknown kinds before."""
    if number.unit != unit:
        raise unknown_name(f"value of {where}.unit", number.unit, [unit])
    require(number.value > 0, f"{where}.value", number.value, "a number above 0")
    require(bool(number.source), f"{where}.source", number.source, "a text, not empty")
    if tokens:
        positive = number.tokens is not None and number.tokens > 0
        require(positive, f"{where}.tokens", number.tokens, "prefill_time needs a count above 0")
    else:
        require(number.tokens is None, f"{where}.tokens", number.tokens, "for prefill_time only")


def _by_name(where: str, rows: Iterable[_Named], **units: str) -> Mapping[str, _Named]:
    """Check the numbers in the given fields against their units, and file the rows by name."""
    result: dict[str, _Named] = {}
    for i, row in enumerate(rows):
        require(row.name not in result, f"{where}[{i}].name", row.name, "each name once")
        for field, unit in units.items():
            number = getattr(row, field)
            if number is not None:
                _check(number, f"{where}[{i}].{field}", unit)
        result[row.name] = row
    return MappingProxyType(result)


def _packaged(name: str) -> _OtherFile:
    text = (files("distmllm_env") / "profiles" / name).read_text("utf-8")
    return build(_OtherFile, _toml(text, name), name)


def _toml(text: str, file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{file}: not valid TOML: {error}.") from error


def _count(name: str, value: float) -> float:
    require(math.isfinite(value) and value >= 0, name, value, "a finite number, at least 0")
    return value
