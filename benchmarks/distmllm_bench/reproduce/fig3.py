"""Figure 3: what encoders hand on, and where the time of a request goes, from the profiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from distmllm_bench.reproduce.drawing import Panel, Row
from distmllm_bench.reproduce.evidence import Finding, fact
from distmllm_bench.reproduce.fig1 import AGX, short
from distmllm_bench.reproduce.lab import Lab
from distmllm_env.devices import Model, find_device, inputs, links, models

RAW, RESIZED = "png-4k", "rgb-336"
PRECISIONS = {"FP16": 1, "FP32": 2}
"""Bytes against the FP16 of the profiles."""
MUCH, LIGHT_RATIO = 2.0, 10.0
"""How we read "significantly smaller", and what the paper says of its light backbones."""
LIGHT = {"efficientnet": "EfficientNet", "resnet50": "ResNet50"}
"""How the names of the light backbones begin -> what to call them."""

A100 = "a100-80gb-pcie"
ENCODER = "clip-vit-l14-336"
LLMS = {"llava-1.5-7b-fp16": "FP16", "llava-1.5-7b-int4": "4-bit"}
LINKS = {"5g-uplink-median": "5G", "wifi6-share": "Wi-Fi 6", "ethernet-1g": "Ethernet"}
"""First the one that the paper's story needs: a server far away, behind a radio uplink."""
PROMPT_TOKENS, OUTPUT_TOKENS = 640.0, 100.0
"""As in the photo question of the scenario ``testbed``: 576 image tokens and a short question."""

PARTS = ("upload raw input", "encode", "upload tensor", "LLM prefill", "LLM decode")
LOOKS: Mapping[str, Mapping[str, Any]] = {
    "upload raw input": {"color": "#D55E00", "hatch": "////"},
    "encode": {"color": "#000000", "hatch": ""},
    "upload tensor": {"color": "#E69F00", "hatch": "\\\\\\\\"},
    "LLM prefill": {"color": "#56B4E9", "hatch": "...."},
    "LLM decode": {"color": "#0072B2", "hatch": ""},
}


def panels(lab: Lab, band: str) -> list[Panel]:
    """Return 3a and 3b. Profiles hold no luck: neither argument changes them."""
    encoders = [model for model in models().values() if model.stage == "enc"]
    requests = _requests()
    return [
        Panel(
            "3a",
            "Size of encoder outputs against the image, FP16 and FP32",
            _size_rows(encoders),
            partial(_draw_sizes, encoders=encoders),
            tuple(_size_finding(encoders, precision) for precision in PRECISIONS),
            size=(4.6, 2.8),
        ),
        Panel(
            "3b",
            "Latency of LLaVA-1.5-7B in FP16: "
            f"{PROMPT_TOKENS:g} prompt and {OUTPUT_TOKENS:g} output tokens",
            [request.row() for request in requests],
            partial(_draw_requests, requests=requests),
            tuple(_latency_finding(llm, link) for link in LINKS for llm in LLMS),
            size=(5.0, 3.2),
        ),
    ]


def _tensor_bytes(encoder: Model, precision: str) -> int:
    return round(encoder.number("tensor_bytes").value * PRECISIONS[precision])


def _raw_bytes() -> float:
    return inputs()[RAW].size_bytes.value


def _size_rows(encoders: Sequence[Model]) -> list[Row]:
    raw = _raw_bytes()
    rows: list[Row] = []
    for name, item in inputs().items():
        number = item.size_bytes
        rows.append(
            {
                "name": name,
                "what": "input",
                "precision": "",
                "byte": round(number.value),
                "raw input / this": raw / number.value,
                "kind": number.kind,
                "conditions": number.conditions,
                "source": number.source,
            }
        )
    for encoder in encoders:
        number = encoder.number("tensor_bytes")
        for precision, factor in PRECISIONS.items():
            size = _tensor_bytes(encoder, precision)
            rows.append(
                {
                    "name": encoder.name,
                    "what": "encoder output",
                    "precision": precision,
                    "byte": size,
                    "raw input / this": raw / size,
                    "kind": number.kind,
                    "conditions": number.conditions,
                    "source": number.source if factor == 1 else f"{factor} x FP16",
                }
            )
    return rows


def _size_finding(encoders: Sequence[Model], precision: str) -> Finding:
    ratio = {model.name: _raw_bytes() / _tensor_bytes(model, precision) for model in encoders}
    title = {model.name: short(model.title) for model in encoders}
    parts = [fact(f"PNG > {MUCH:g} x {title[m]}", ratio[m] / MUCH - 1.0) for m in ratio]
    missing = []
    for start, backbone in LIGHT.items():
        light = [m for m in ratio if m.startswith(start)]
        if not light:
            missing.append(backbone)
        parts += [
            fact(f"PNG > {LIGHT_RATIO:g} x {title[m]}", ratio[m] / LIGHT_RATIO - 1.0) for m in light
        ]
    reading = f"{precision}, last map or hidden state; 'much' as at least {MUCH:g} times"
    if missing:
        reading += f"; without {' and '.join(missing)}, which the profiles lack"
    return Finding("3a", reading, tuple(parts), "of the factor that is needed, above it")


@dataclass(frozen=True)
class Request:
    """One request on one path.

    Attributes:
        llm: Name of the language model.
        path: What goes where, in words.
        link: Name of the link; empty where nothing is sent.
        input: Name of what is encoded.
        encodes: Device of the encoder.
        generates: Device of the language model.
    """

    llm: str
    path: str
    link: str
    input: str
    encodes: str
    generates: str

    def seconds(self) -> dict[str, float]:
        """Return the time of every part of :data:`PARTS`."""
        raw = inputs()[self.input].size_bytes.value
        tensor = models()[ENCODER].number("tensor_bytes").value
        generator = find_device(self.generates)
        times = (
            self._upload_s(raw) if self.encodes != AGX else 0.0,  # the AGX Orin is at the user's
            find_device(self.encodes).encode_time_s(ENCODER),
            self._upload_s(tensor) if self.encodes != self.generates else 0.0,
            generator.generate_time_s(self.llm, PROMPT_TOKENS, 0),
            generator.generate_time_s(self.llm, 0, OUTPUT_TOKENS),
        )
        return dict(zip(PARTS, times, strict=True))

    def _upload_s(self, size: float) -> float:
        return 8.0 * size / links()[self.link].rate_bit_s.value

    def row(self) -> Row:
        """Return its line of the CSV file."""
        seconds = self.seconds()
        return {
            "LLM": self.llm,
            "path": self.path,
            "link": self.link or "none",
            "input": self.input,
            "encodes": self.encodes,
            "generates": self.generates,
            **{f"{part} (s)": seconds[part] for part in PARTS},
            "total (s)": sum(seconds.values()),
        }


LOCAL, REMOTE, SPLIT, SMALL = "local", "remote", "split", "resized, remote"


def _requests() -> list[Request]:
    """All paths: alone on the AGX Orin, then three ways to use the A100 over each link."""
    found = []
    for llm in LLMS:
        found.append(Request(llm, LOCAL, "", RAW, AGX, AGX))
        for link in LINKS:
            found.append(Request(llm, REMOTE, link, RAW, A100, A100))
            found.append(Request(llm, SPLIT, link, RAW, AGX, A100))
            found.append(Request(llm, SMALL, link, RESIZED, A100, A100))
    return found


def _latency_finding(llm: str, link: str) -> Finding:
    local = Request(llm, LOCAL, "", RAW, AGX, AGX).seconds()
    remote = Request(llm, REMOTE, link, RAW, A100, A100).seconds()
    here, there = (s["LLM prefill"] + s["LLM decode"] for s in (local, remote))
    upload, total = remote["upload raw input"], sum(remote.values())
    parts = (
        fact("AGX Orin: LLM > half of the latency", here / sum(local.values()) - 0.5),
        fact("LLM: A100 faster than AGX Orin", 1.0 - there / here),
        fact("A100: upload of the PNG > encoding", (upload - remote["encode"]) / total),
        fact("A100: upload of the PNG > LLM", (upload - there) / total),
    )
    # The answer's length is ours, and the last part hangs on it.
    per_token = remote["LLM decode"] / OUTPUT_TOKENS
    longest = max(0.0, (upload - remote["LLM prefill"]) / per_token)
    reading = (
        f"{LLMS[llm]}, {links()[link].title}, {PROMPT_TOKENS:g} + {OUTPUT_TOKENS:g} tokens "
        f"(the upload outweighs the LLM up to {int(longest)} output tokens)"
    )
    return Finding("3b", reading, parts, "as a share of the latency")


def _draw_sizes(ax: Any, encoders: Sequence[Model]) -> None:
    """Draw bars of bytes, the largest on top: FP16 filled, FP32 as an outline."""
    raw = _raw_bytes()
    bars = [(short(e.title), _tensor_bytes(e, "FP16"), _tensor_bytes(e, "FP32")) for e in encoders]
    bars.sort(key=lambda bar: bar[1], reverse=True)
    resized = inputs()[RESIZED].size_bytes.value
    ax.barh([0], [raw], 0.7, color="#D55E00", hatch="////", edgecolor="white", lw=0)
    ax.barh([1], [resized], 0.7, color="#E69F00", hatch="\\\\\\\\", edgecolor="white", lw=0)
    at = [2 + i for i in range(len(bars))]
    ax.barh(at, [fp16 for _, fp16, _ in bars], 0.7, color="#0072B2", label="FP16")
    ax.barh(
        at, [fp32 for _, _, fp32 in bars], 0.7, color="none", edgecolor="#0072B2", lw=1,
        ls=(0, (2, 1)), label="FP32",
    )  # fmt: skip
    ax.axvline(raw, color="black", lw=0.9, ls=(0, (4, 2)))
    notes = [_size(raw), f"{_size(resized)} = PNG / {raw / resized:.3g}"]
    notes += [f"{_size(fp16)} = PNG / {raw / fp16:.3g}" for _, fp16, _ in bars]
    for y, note in enumerate(notes):
        ax.annotate(note, (raw, y), (5, 0), textcoords="offset points", va="center", fontsize=7)
    names = ["4K PNG", "RGB, 336 pixels", *(name for name, _, _ in bars)]
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set_xscale("log")
    ax.set_xlim(min(fp16 for _, fp16, _ in bars) / 3, 14 * raw)  # on the right the notes
    ax.set_xticks([1e5, 1e6])
    ax.set_xlabel("size (byte); numbers of encoders: FP16")
    ax.tick_params(axis="y", length=0)
    ax.grid(False, axis="y")
    ax.set_axisbelow(True)
    ax.legend(handlelength=1.4, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _size(value: float) -> str:
    return f"{value / 1e6:.3g} MB" if value >= 1e6 else f"{value / 1e3:.3g} kB"


def _draw_requests(ax: Any, requests: Sequence[Request]) -> None:
    """Draw one stacked bar per path of the FP16 model."""
    drawn = [request for request in requests if LLMS[request.llm] == "FP16"]
    titles = {
        LOCAL: "AGX Orin alone",
        REMOTE: "PNG to A100",
        SPLIT: "tensor to A100",
        SMALL: "336 px to A100",
    }
    at, y, last = [], 0.0, drawn[0].link
    for request in drawn:
        y += 0.5 if request.link != last else 0.0
        last = request.link
        at.append(y)
        y += 1.0
    left = [0.0] * len(drawn)
    seconds = [request.seconds() for request in drawn]
    for part in PARTS:
        lengths = [s[part] for s in seconds]
        # Too short to be seen, so the legend says how short.
        label = f"{part} (at most {max(lengths):.2f} s)" if part == "encode" else part
        ax.barh(at, lengths, 0.8, left=left, label=label, edgecolor="white", lw=0, **LOOKS[part])
        left = [a + b for a, b in zip(left, lengths, strict=True)]
    for where, total in zip(at, left, strict=True):
        ax.annotate(
            f"{total:.2f}", (total, where), (3, 0), textcoords="offset points", va="center",
            fontsize=7,
        )  # fmt: skip
    labels = [f"{titles[r.path]}, {LINKS[r.link]}" if r.link else titles[r.path] for r in drawn]
    ax.set_yticks(at, labels)
    ax.invert_yaxis()
    ax.margins(x=0.1)
    ax.set_xlabel("latency (s)")
    ax.tick_params(axis="y", length=0)
    ax.grid(False, axis="y")
    ax.set_axisbelow(True)
    ax.legend(loc="lower right", handlelength=1.4)
