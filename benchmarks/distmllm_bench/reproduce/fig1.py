"""Figure 1: language models and encoders on three devices, straight from the device profiles."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from distmllm_bench.reproduce.drawing import Panel, Row
from distmllm_bench.reproduce.evidence import Finding, Part, fact
from distmllm_bench.reproduce.lab import Lab
from distmllm_env.devices import Number, Refusal, find_device, models

NANO, AGX, RTX = "jetson-orin-nano-8gb", "jetson-agx-orin-64gb", "rtx-4090-24gb"
DEVICES = {NANO: "Orin Nano", AGX: "AGX Orin", RTX: "RTX 4090"}
LLMS = ("llama-2-7b-q4", "llama-2-13b-q4", "llama-2-70b-q4")
ENCODERS = ("flava-full", "vit-b16-224", "clip-vit-b32")
TOO_LARGE = LLMS[1:]
"""What the Orin Nano is said not to run."""
LIMIT_S = 1.0
"""What the paper says that both Jetsons stay below when they encode."""

CANNOT_RUN = "cannot run"
LOOKS: Mapping[str, Mapping[str, Any]] = {
    NANO: {"color": "#E69F00", "hatch": "////"},
    AGX: {"color": "#009E73", "hatch": "...."},
    RTX: {"color": "#0072B2", "hatch": ""},
}

Entries = Mapping[tuple[str, str], Number | Refusal]
"""(model, device) -> its number, or why there is none."""


def panels(lab: Lab, band: str) -> list[Panel]:
    """Return 1a and 1b. Profiles hold no luck: neither argument changes them."""
    rates = _entries("decode_rate", LLMS)
    times = _entries("encode_time", ENCODERS)
    return [
        Panel(
            "1a",
            "Decoding speed of Llama-2, 4-bit, on three devices",
            _rows(rates),
            partial(_draw, entries=rates, draw_axis=_rate_axis),
            _llm_findings(rates),
            size=(4.2, 2.8),
        ),
        Panel(
            "1b",
            "Time to encode one image on three devices",
            _rows(times),
            partial(_draw, entries=times, draw_axis=_time_axis, scale=1e3),
            _encoder_findings(times),
            size=(4.2, 2.8),
        ),
    ]


def short(title: str) -> str:
    """Return a model's title without what follows its name: resolution, precision, parts."""
    return re.split(r" at |,| \(", title)[0]


def _entries(quantity: str, names: Sequence[str]) -> Entries:
    found: dict[tuple[str, str], Number | Refusal] = {}
    for model in names:
        for name in DEVICES:
            device = find_device(name)
            refusal = device.infeasible.get(model)
            found[model, name] = refusal or device.number(quantity, model)
    return found


def _rows(entries: Entries) -> list[Row]:
    rows: list[Row] = []
    for (model, device), entry in entries.items():
        runs = isinstance(entry, Number)
        rows.append(
            {
                "model": model,
                "device": device,
                "runs": "yes" if runs else CANNOT_RUN,
                "value": entry.value if isinstance(entry, Number) else "",
                "unit": entry.unit if isinstance(entry, Number) else "",
                "kind": entry.kind,
                "reason": entry.reason if isinstance(entry, Refusal) else "",
                "conditions": entry.conditions if isinstance(entry, Number) else "",
                "source": entry.source,
            }
        )
    return rows


def _llm_findings(entries: Entries) -> tuple[Finding, ...]:
    unable = tuple(
        fact(
            f"{DEVICES[NANO]} cannot run {_name(model)}",
            1.0 if isinstance(entries[model, NANO], Refusal) else -1.0,
        )
        for model in TOO_LARGE
    )
    fits = [model for model in LLMS if isinstance(entries[model, RTX], Number)]
    words = "token/s while decoding, 4-bit weights in the memory of the device"
    readings = (
        (LLMS, f"{words}; what does not fit has a rate of 0"),
        (fits, f"{words}; only sizes that fit on the {DEVICES[RTX]}"),
    )
    return tuple(
        Finding(
            "1a",
            reading,
            (*(_lead(entries, model, lambda rate: rate) for model in sizes), *unable),
            "as a share of the other's rate; 1 or -1 for yes or no",
        )
        for sizes, reading in readings
    )


def _encoder_findings(entries: Entries) -> tuple[Finding, ...]:
    lead = tuple(_lead(entries, model, lambda time: 1 / time) for model in ENCODERS)
    quick = tuple(_within(entries, model, device) for model in ENCODERS for device in (NANO, AGX))
    kinds = Counter(entry.kind for entry in entries.values())
    origin = ", ".join(f"{kinds[kind]} {kind}" for kind in ("measured", "vendor", "derived"))
    reading = f"one image at a time, no transfer; of {len(entries)} times {origin}"
    return (Finding("1b", reading, (*lead, *quick), "as a share of the other's speed, or of 1 s"),)


def _lead(entries: Entries, model: str, speed: Callable[[float], float]) -> Part:
    """How far the RTX 4090 is ahead of the best other device; a refusal is a speed of 0."""
    speeds = {
        device: speed(entry.value) if isinstance(entry, Number) else 0.0
        for device in DEVICES
        for entry in [entries[model, device]]
    }
    mine = speeds.pop(RTX)
    other = max(speeds, key=lambda device: speeds[device])
    best = speeds[other]
    alone = 1.0 if mine else -1.0  # nobody else runs it, so there is nothing to divide by
    what = f"{_name(model)}: {DEVICES[RTX]} > {DEVICES[other]}"
    return fact(what, mine / best - 1.0 if best else alone)


def _within(entries: Entries, model: str, device: str) -> Part:
    entry = entries[model, device]
    what = f"{_name(model)} on {DEVICES[device]} within {LIMIT_S:g} s"
    return fact(what, (LIMIT_S - entry.value) / LIMIT_S if isinstance(entry, Number) else -1.0)


def _name(model: str) -> str:
    return short(models()[model].title)


def _draw(
    ax: Any,
    entries: Entries,
    draw_axis: Callable[[Any], float],
    scale: float = 1.0,
) -> None:
    """Draw groups of bars, one per model; ``draw_axis`` returns where the bars stand."""
    names = list(dict.fromkeys(model for model, _ in entries))
    width = 0.29
    floor = draw_axis(ax)
    for i, (device, title) in enumerate(DEVICES.items()):
        at = [group + (i - 1) * width for group in range(len(names))]
        found = [entries[model, device] for model in names]
        heights = [scale * entry.value if isinstance(entry, Number) else floor for entry in found]
        ax.bar(at, heights, 0.9 * width, label=title, edgecolor="white", lw=0, **LOOKS[device])
        for x, height, entry in zip(at, heights, found, strict=True):
            if isinstance(entry, Refusal):
                ax.annotate(
                    CANNOT_RUN, (x, floor), (0, 3), textcoords="offset points",
                    rotation=90, ha="center", va="bottom", fontsize=7, color="#444444",
                )  # fmt: skip
                continue
            star = "*" if entry.kind == "derived" else ""
            ax.annotate(
                f"{height:.3g}{star}", (x, height), (0, 1.5), textcoords="offset points",
                ha="center", va="bottom", fontsize=7,
            )  # fmt: skip
    ax.set_xticks(range(len(names)), [_name(model) for model in names])
    ax.set_xlabel("* derived from other numbers", fontsize=7, loc="right")
    ax.tick_params(axis="x", length=0)
    ax.grid(False, axis="x")
    ax.set_axisbelow(True)
    ax.legend(handlelength=1.4, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _rate_axis(ax: Any) -> float:
    ax.set_ylabel("decode rate (token/s)")
    ax.margins(y=0.12)
    return 0.0


def _time_axis(ax: Any) -> float:
    floor = 0.3
    limit = 1e3 * LIMIT_S
    ax.set_yscale("log")
    ax.set_ylim(floor, 2 * limit)
    ax.set_yticks([1, 10, 100, 1000], ["1", "10", "100", "1000"])
    ax.set_ylabel("time per image (ms)")
    ax.axhline(limit, color="black", lw=0.9, ls=(0, (4, 2)))
    ax.annotate(
        f"{LIMIT_S:g} s", (1, limit), (0, -2), xycoords=("axes fraction", "data"),
        textcoords="offset points", ha="right", va="top", fontsize=8,
    )  # fmt: skip
    return floor
