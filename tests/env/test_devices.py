"""Device profiles: complete, sourced, worked by hand, and strict about a wrong file."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import get_args

import pytest

from distmllm_env.devices import Device, Kind, Number, devices, inputs, links, load_device, models

NANO, AGX = "jetson-orin-nano-8gb", "jetson-agx-orin-64gb"
RTX, A100 = "rtx-4090-24gb", "a100-80gb-pcie"
DEVICES = (NANO, AGX, RTX, A100)
ENCODERS = ("resnet50", "clip-vit-b32", "vit-b16-224", "flava-full", "clip-vit-l14-336")
SIZE_ONLY = "efficientnet-b0"
B7, B13, B70 = "llama-2-7b-q4", "llama-2-13b-q4", "llama-2-70b-q4"
INT4, FP16 = "llava-1.5-7b-int4", "llava-1.5-7b-fp16"
LLMS = (B7, B13, B70, INT4, FP16)
REFUSED = {(NANO, B13), (NANO, B70), (NANO, FP16), (RTX, B70)}
NEEDS = dict.fromkeys(ENCODERS, ("encode_time",)) | dict.fromkeys(
    LLMS, ("decode_rate", "prefill_time", "decode_energy")
)


def every_number() -> dict[str, Number]:
    found = {f"{d.name}/{q}/{m}": n for d in devices().values() for (q, m), n in d.numbers.items()}
    for model in models().values():
        for quantity in ("tensor_bytes", "memory"):
            number = getattr(model, quantity)
            if number is not None:
                found[f"{model.name}/{quantity}"] = number
    found |= {link.name: link.rate_bit_s for link in links().values()}
    found |= {item.name: item.size_bytes for item in inputs().values()}
    return found


class TestCoverage:
    def test_names(self) -> None:
        assert set(devices()) == set(DEVICES)
        encoders = {m.name for m in models().values() if m.stage == "enc"}
        assert encoders == {*ENCODERS, SIZE_ONLY}
        assert [m.name for m in models().values() if m.stage == "llm"] == list(LLMS)
        for file in (files("distmllm_env") / "profiles").iterdir():
            assert file.name.removesuffix(".toml") in {*DEVICES, "models", "links"}

    @pytest.mark.parametrize("device", DEVICES)
    @pytest.mark.parametrize("model", ENCODERS + LLMS)
    def test_a_pair_is_covered_or_refused_never_both(self, device: str, model: str) -> None:
        profile = devices()[device]
        stated = {q for q, m in profile.numbers if m == model}
        reason = profile.why_infeasible(model)
        if (device, model) in REFUSED:
            assert reason
            assert "MiB" in reason
            assert not stated
        else:
            assert reason is None
            assert stated == set(NEEDS[model])

    @pytest.mark.parametrize("device", DEVICES)
    def test_a_model_without_a_time_says_so(self, device: str) -> None:
        with pytest.raises(ValueError, match=f"encode_time.*{SIZE_ONLY}"):
            devices()[device].encode_time_s(SIZE_ONLY)

    @pytest.mark.parametrize("device", DEVICES)
    def test_every_device_states_load_power_and_memory(self, device: str) -> None:
        assert devices()[device].number("load_power").unit == "W"
        assert devices()[device].number("memory").unit == "byte"

    @pytest.mark.parametrize("device", [NANO, AGX, RTX])
    def test_idle_is_below_load(self, device: str) -> None:
        profile = devices()[device]
        assert profile.number("idle_power").value < profile.number("load_power").value

    @pytest.mark.parametrize("device", DEVICES)
    def test_what_exceeds_the_memory_is_refused(self, device: str) -> None:
        profile = devices()[device]
        room = profile.number("memory").value
        too_big = {name for name in LLMS if models()[name].number("memory").value > room}
        assert too_big <= set(profile.infeasible)
        # 13B in 4 bits would fit 8 GB on paper; the operating system leaves too little.
        assert set(profile.infeasible) - too_big == ({B13} if device == NANO else set())


class TestProvenance:
    def test_every_number_has_a_public_source_and_a_kind(self) -> None:
        assert len(every_number()) > 90
        for name, number in every_number().items():
            public = any(mark in number.source for mark in ("https://", "arXiv "))
            assert public, f"{name}: {number.source}"
            assert number.kind in get_args(Kind), name

    def test_every_refusal_has_a_public_source_and_a_kind(self) -> None:
        for device in devices().values():
            for model, refusal in device.infeasible.items():
                assert "https://" in refusal.source, (device.name, model)
                assert refusal.kind in get_args(Kind), (device.name, model)

    def test_texts_are_free_of_leftovers(self) -> None:
        for file in (files("distmllm_env") / "profiles").iterdir():
            text = file.read_text("utf-8").lower()
            for word in ("proposed", "shared", "devices.md", "devices.csv", "todo", "same page"):
                assert word not in text, (file.name, word)


# A derived number must be what its rule says, up to the rounding of the number (1 %).
RULES = [
    (NANO, "load_power", "", 15),
    (NANO, "decode_rate", B7, 16 * 22.5 / 47),
    (NANO, "prefill_time", B7, 0.264 * 231.5 / 63.5),
    (NANO, "decode_energy", B7, 15 / 7.7),
    (NANO, "decode_rate", INT4, 16 * 35.6 / 38.6),
    (NANO, "prefill_time", INT4, 0.264 * 231.5 / 63.5),
    (NANO, "decode_energy", INT4, 15 / 14.8),
    (NANO, "encode_time", "flava-full", 2.08 / 98),
    (NANO, "encode_time", "clip-vit-l14-336", 3.8 / 28),
    (AGX, "load_power", "", 27.8 + 10),
    (AGX, "encode_time", "clip-vit-b32", 1 / 196 / 3.8),
    (AGX, "encode_time", "vit-b16-224", 1 / 98 / 3.8),
    (AGX, "encode_time", "flava-full", 2.08 * 0.0027),
    (AGX, "prefill_time", B7, 0.315 * 6.74 / 8.03),
    (AGX, "prefill_time", B13, 0.264 * 13.02 / 6.74),
    (AGX, "prefill_time", B70, 0.264 * 68.98 / 6.74),
    (AGX, "decode_energy", B7, 27.8 / 22.5),
    (AGX, "decode_energy", B13, 27.8 / 13.3),
    (AGX, "decode_energy", B70, 27.8 / 3.0),
    (AGX, "decode_rate", INT4, 1 / 0.02809),
    (AGX, "prefill_time", INT4, 0.315 * 6.74 / 8.03),
    (AGX, "decode_energy", INT4, 27.8 / 35.6),
    (AGX, "decode_rate", FP16, 1 / 0.08695),
    (AGX, "prefill_time", FP16, (6.645e-7 * 640**2 + 2.904e-4 * 640 + 0.1038) * 6.74 / 8.03),
    (AGX, "decode_energy", FP16, 27.8 / 11.5),
    (RTX, "encode_time", "resnet50", 0.0005),
    (RTX, "encode_time", "clip-vit-b32", 0.001),
    (RTX, "encode_time", "vit-b16-224", 0.0015),
    (RTX, "encode_time", "flava-full", 2.08 * 0.0015),
    (RTX, "encode_time", "clip-vit-l14-336", 0.00536 * (2.91 + 3.43) / 2 / 3.90),
    (RTX, "decode_energy", B7, (261.9 + 202.3 * (3.82 - 2.0) / 7.0) / 149.35),
    (RTX, "decode_energy", B13, (261.9 + 202.3 * (7.37 - 2.0) / 7.0) / 88.51),
    (RTX, "prefill_time", INT4, 0.08936),
    (RTX, "decode_rate", INT4, 1 / 0.00595),
    (RTX, "decode_energy", INT4, 314.5 / 168.1),
    (RTX, "decode_rate", FP16, 1 / 0.01709),
    (RTX, "prefill_time", FP16, 0.07),  # rounded up from 0.058 + (0.100 - 0.058) / 4 = 0.0685
    (RTX, "decode_energy", FP16, 314.5 / 58.5),
    (A100, "load_power", "", 212),
    (A100, "encode_time", "clip-vit-b32", 0.001),
    (A100, "encode_time", "clip-vit-l14-336", 0.00536),
    (A100, "encode_time", "flava-full", 2.08 * 0.00153),
    (A100, "decode_energy", B7, 169 / 136.17),
    (A100, "decode_energy", B13, 212 / 92.12),
    (A100, "decode_energy", B70, 250 / 25.67),
    (A100, "prefill_time", INT4, 0.14138),
    (A100, "decode_rate", INT4, 1 / 0.00592),
    (A100, "decode_energy", INT4, 169 / 168.9),
    (A100, "decode_rate", FP16, 1 / 0.01335),
    (A100, "prefill_time", FP16, 0.09561 * 640 / 494),
    (A100, "decode_energy", FP16, 169 / 74.9),
]
GIB, MIB = 2**30, 2**20
# As the sources print them, in our units: value, kind, prompt tokens.
STATED = [
    (NANO, "memory", "", 8 * GIB, "vendor", None),
    (NANO, "idle_power", "", 6.17, "measured", None),
    (NANO, "encode_time", "resnet50", 0.01418, "measured", None),
    (NANO, "encode_time", "clip-vit-b32", 0.0051, "vendor", None),
    (NANO, "encode_time", "vit-b16-224", 0.0102, "vendor", None),
    (AGX, "memory", "", 64 * GIB, "vendor", None),
    (AGX, "idle_power", "", 6.4, "measured", None),
    (AGX, "encode_time", "resnet50", 0.00064, "measured", None),
    (AGX, "encode_time", "clip-vit-l14-336", 0.0357, "vendor", None),
    (AGX, "decode_rate", B7, 22.5, "measured", None),
    (AGX, "decode_rate", B13, 13.3, "measured", None),
    (AGX, "decode_rate", B70, 3.0, "measured", None),
    (RTX, "memory", "", 24564 * MIB, "measured", None),
    (RTX, "idle_power", "", 22, "measured", None),
    (RTX, "load_power", "", 397.5, "measured", None),
    (RTX, "decode_rate", B7, 149.35, "measured", None),
    (RTX, "decode_rate", B13, 88.51, "measured", None),
    (RTX, "prefill_time", B7, 0.08936, "measured", 494),
    (RTX, "prefill_time", B13, 0.15619, "measured", 494),
    (A100, "memory", "", 81920 * MIB, "measured", None),
    (A100, "encode_time", "resnet50", 0.000476, "measured", None),
    (A100, "encode_time", "vit-b16-224", 0.00153, "vendor", None),
    (A100, "decode_rate", B7, 136.17, "measured", None),
    (A100, "decode_rate", B13, 92.12, "measured", None),
    (A100, "decode_rate", B70, 25.67, "measured", None),
    (A100, "prefill_time", B7, 0.14138, "measured", 494),
    (A100, "prefill_time", B13, 0.21152, "measured", 494),
    (A100, "prefill_time", B70, 0.79807, "measured", 494),
]


class TestNumbers:
    @pytest.mark.parametrize(("device", "quantity", "model", "expected"), RULES)
    def test_derived(self, device: str, quantity: str, model: str, expected: float) -> None:
        number = devices()[device].number(quantity, model)
        assert number.kind == "derived"
        assert number.value == pytest.approx(expected, rel=0.01)

    @pytest.mark.parametrize(("device", "quantity", "model", "value", "kind", "tokens"), STATED)
    def test_stated(
        self, device: str, quantity: str, model: str, value: float, kind: str, tokens: int | None
    ) -> None:
        number = devices()[device].number(quantity, model)
        assert (number.value, number.kind, number.tokens) == (value, kind, tokens)

    def test_every_number_of_a_device_stands_in_a_table_above(self) -> None:
        for device in devices().values():
            derived = {(q, m) for (q, m), n in device.numbers.items() if n.kind == "derived"}
            assert derived == {(q, m) for d, q, m, _ in RULES if d == device.name}
            stated = {(q, m) for d, q, m, *_ in STATED if d == device.name}
            assert set(device.numbers) - derived == stated

    def test_memory_of_llms(self) -> None:
        need = {name: models()[name].number("memory").value / MIB for name in LLMS}
        assert need == {B7: 3904, B13: 7411, B70: 37235, INT4: 3904, FP16: 12930}

    def test_tensors_are_exact(self) -> None:
        assert {
            name: models()[name].number("tensor_bytes").value for name in (*ENCODERS, SIZE_ONLY)
        } == {
            SIZE_ONLY: 1280 * 7 * 7 * 2,
            "resnet50": 2048 * 7 * 7 * 2,
            "clip-vit-b32": (7 * 7 + 1) * 768 * 2,
            "vit-b16-224": (14 * 14 + 1) * 768 * 2,
            "flava-full": (14 * 14 + 1) * 768 * 2,
            "clip-vit-l14-336": 24 * 24 * 1024 * 2,
        }

    def test_inputs_and_links(self) -> None:
        assert {i.name: i.size_bytes.value for i in inputs().values()} == {
            "png-4k": 5_400_000,
            "rgb-336": 336 * 336 * 3,
        }
        assert {i.name: i.rate_bit_s.value for i in links().values()} == {
            "5g-uplink-median": 21.08e6,
            "5g-uplink-us": 14.56e6,
            "wifi6-share": 36.4e6,
            "ethernet-1g": 940e6,
        }

    def test_the_orders_that_the_sources_show(self) -> None:
        def rate(llm: str) -> dict[str, float]:
            able = (d for d in devices().values() if d.why_infeasible(llm) is None)
            return {d.name: d.number("decode_rate", llm).value for d in able}

        by_rate = sorted(rate(B7), key=rate(B7).__getitem__)
        assert by_rate == [NANO, AGX, A100, RTX]
        assert max(rate(B13), key=rate(B13).__getitem__) == A100
        assert set(rate(B70)) == {AGX, A100}
        for device in (NANO, AGX):
            assert all(devices()[device].encode_time_s(name) < 1.0 for name in ENCODERS)
        for name in ENCODERS:
            assert devices()[AGX].encode_time_s(name) < devices()[NANO].encode_time_s(name)


# Time in s and energy in J, written out as prefill + decode.
GENERATE = [
    (AGX, B7, 500, 100, 0.264 + 100 / 22.5, 38 * 0.264 + 1.24 * 100),
    (AGX, B7, 1000, 0, 2 * 0.264, 38 * 2 * 0.264),
    (AGX, B70, 0, 30, 30 / 3.0, 9.27 * 30),
    (NANO, B7, 250, 77, 0.964 / 2 + 77 / 7.7, 15 * 0.964 / 2 + 1.95 * 77),
    (RTX, B13, 494, 50, 0.15619 + 50 / 88.51, 397.5 * 0.15619 + 4.71 * 50),
    (A100, FP16, 640, 100, 0.124 + 100 / 74.9, 212 * 0.124 + 2.26 * 100),
]
ENCODE = [
    (AGX, "clip-vit-l14-336", 0.0357, 38 * 0.0357),
    (NANO, "vit-b16-224", 0.0102, 15 * 0.0102),
    (RTX, "resnet50", 0.0005, 397.5 * 0.0005),
]


class TestMethods:
    @pytest.mark.parametrize(("device", "llm", "prompt", "output", "time", "energy"), GENERATE)
    def test_generate(
        self, device: str, llm: str, prompt: int, output: int, time: float, energy: float
    ) -> None:
        profile = devices()[device]
        assert profile.generate_time_s(llm, prompt, output) == pytest.approx(time, rel=1e-12)
        assert profile.generate_energy_j(llm, prompt, output) == pytest.approx(energy, rel=1e-12)

    @pytest.mark.parametrize(("device", "encoder", "time", "energy"), ENCODE)
    def test_encode(self, device: str, encoder: str, time: float, energy: float) -> None:
        assert devices()[device].encode_time_s(encoder) == time
        assert devices()[device].encode_energy_j(encoder) == pytest.approx(energy, rel=1e-12)

    @pytest.mark.parametrize(("device", "model"), sorted(REFUSED))
    def test_refused_models_raise_their_reason(self, device: str, model: str) -> None:
        profile = devices()[device]
        reason = profile.why_infeasible(model)
        assert reason is not None
        calls: list[Callable[[], float]] = [
            lambda: profile.generate_time_s(model, 1, 1),
            lambda: profile.generate_energy_j(model, 1, 1),
            lambda: profile.encode_time_s(model),
            lambda: profile.encode_energy_j(model),
        ]
        for call in calls:
            with pytest.raises(ValueError, match="does not run on") as error:
                call()
            assert reason in str(error.value)

    @pytest.mark.parametrize(
        ("quantity", "model", "near"),
        [
            ("decode_rat", B7, "decode_rate"),
            ("decode_rate", "llama-2-7b", B7),
            ("encode_time", "clip-vit-b16", "clip-vit-b32"),
            ("load_power", B7, "(no model)"),
        ],
    )
    def test_unknown_numbers_name_the_device_and_the_nearest(
        self, quantity: str, model: str, near: str
    ) -> None:
        with pytest.raises(ValueError, match=AGX) as error:
            devices()[AGX].number(quantity, model)
        assert near in str(error.value)

    def test_unknown_models_raise(self) -> None:
        with pytest.raises(ValueError, match=f"Did you mean '{B7}'"):
            devices()[AGX].why_infeasible("llama-2-7b-q5")
        with pytest.raises(ValueError, match="tensor_bytes"):
            models()[B7].number("tensor_bytes")

    @pytest.mark.parametrize("count", [-1, float("nan"), float("inf")])
    def test_token_counts_are_checked(self, count: float) -> None:
        profile = devices()[AGX]
        for call in (profile.generate_time_s, profile.generate_energy_j):
            with pytest.raises(ValueError, match="prompt_tokens"):
                call(B7, count, 1)
            with pytest.raises(ValueError, match="output_tokens"):
                call(B7, 1, count)

    def test_devices_survive_pickle_and_deepcopy(self) -> None:
        device = devices()[AGX]
        assert pickle.loads(pickle.dumps(device)) == device == copy.deepcopy(device)

    def test_packaged_tables_cannot_be_changed(self) -> None:
        for table in (devices(), models(), links(), inputs()):
            with pytest.raises(TypeError):
                table["new"] = None  # type: ignore[index]


GOOD = """
name = "mine"
title = "My board"
[[number]]
quantity = "prefill_time"
model = "llama-2-7b-q4"
value = 0.5
unit = "s"
tokens = 256
kind = "measured"
source = "my own run"
[[number]]
quantity = "load_power"
value = 20
unit = "W"
kind = "vendor"
source = "data sheet"
[[infeasible]]
model = "llama-2-70b-q4"
reason = "too big"
kind = "measured"
source = "my own run"
"""
FIRST, SECOND, THIRD = "mine.toml.number[0]", "mine.toml.number[1]", "mine.toml.infeasible[0]"
AGAIN = '[[number]]\nquantity = "load_power"\nvalue = 1\nunit = "W"\nkind = "vendor"\nsource = "x"'
# What to replace in GOOD, by what, and what the error must say.
BAD = [
    ("value = 0.5", "valeu = 0.5", (FIRST, "'valeu'", "Did you mean 'value'")),
    ('title = "My board"', 'titel = "My board"', ("mine.toml", "Did you mean 'title'")),
    ("[[infeasible]]", "[[infeasable]]", ("mine.toml", "Did you mean 'infeasible'")),
    ("value = 0.5\n", "", (f"{FIRST}.value", "missing")),
    ('source = "data sheet"\n', "", (f"{SECOND}.source", "missing")),
    ("value = 0.5", "value = -0.5", (f"{FIRST}.value", "-0.5", "above 0")),
    ("value = 20", "value = 0", (f"{SECOND}.value", "0", "above 0")),
    ("value = 0.5", "value = nan", (f"{FIRST}.value", "nan", "finite")),
    ("value = 0.5", "value = inf", (f"{FIRST}.value", "inf", "finite")),
    ("value = 20", 'value = "20"', (f"{SECOND}.value", "'20'", "float")),
    ("value = 20", "value = true", (f"{SECOND}.value", "True", "float")),
    ('unit = "s"', 'unit = "ms"', (f"{FIRST}.unit", "'ms'", "Allowed: s")),
    ('unit = "W"', 'unit = "J/token"', (f"{SECOND}.unit", "'J/token'", "Allowed: W")),
    ('kind = "vendor"', 'kind = "vendors"', (f"{SECOND}.kind", "Did you mean 'vendor'")),
    ('"prefill_time"', '"prefil_time"', (f"{FIRST}.quantity", "Did you mean 'prefill_time'")),
    ('"prefill_time"', '"encode_time"', (f"{FIRST}.quantity", "'encode_time'", "prefill_time")),
    ('model = "llama-2-7b-q4"\n', "", (f"{FIRST}.quantity", "without model", "load_power")),
    ("llama-2-7b-q4", "llama-2-7b-q5", (f"{FIRST}.model", "Did you mean 'llama-2-7b-q4'")),
    ("tokens = 256\n", "", (f"{FIRST}.tokens", "None", "above 0")),
    ("tokens = 256", "tokens = 0", (f"{FIRST}.tokens", "0", "above 0")),
    ("tokens = 256", "tokens = 2.5", (f"{FIRST}.tokens", "2.5", "int")),
    ("value = 20", "value = 20\ntokens = 3", (f"{SECOND}.tokens", "3", "prefill_time only")),
    ('"data sheet"', '""', (f"{SECOND}.source", "not empty")),
    ('"too big"', '""', (f"{THIRD}.reason", "not empty")),
    ("llama-2-70b-q4", "llama-2-70b", (f"{THIRD}.model", "Did you mean 'llama-2-70b-q4'")),
    ("llama-2-70b-q4", "llama-2-7b-q4", (f"{THIRD}.model", "without numbers")),
    ("[[infeasible]]", AGAIN + "\n[[infeasible]]", ("mine.toml.number[2]", "once")),
    ("value = 20", "value =", ("mine.toml", "not valid TOML")),
]


class TestYourOwnProfile:
    def load(self, folder: Path, text: str) -> Device:
        path = folder / "mine.toml"
        path.write_text(text)
        return load_device(path)

    def test_good(self, tmp_path: Path) -> None:
        device = self.load(tmp_path, GOOD)
        assert (device.name, device.title) == ("mine", "My board")
        assert device.number("prefill_time", B7) == Number(
            0.5, "s", "measured", "my own run", tokens=256
        )
        assert device.number("load_power").value == 20.0
        assert device.why_infeasible(B70) == "too big"
        assert device.why_infeasible(B13) is None
        with pytest.raises(ValueError, match="quantity of device mine 'decode_rate'"):
            device.generate_time_s(B7, 1, 1)

    @pytest.mark.parametrize(("old", "new", "says"), BAD)
    def test_bad(self, tmp_path: Path, old: str, new: str, says: tuple[str, ...]) -> None:
        assert old in GOOD
        with pytest.raises(ValueError) as error:  # noqa: PT011 -- the text is checked below
            self.load(tmp_path, GOOD.replace(old, new, 1))
        for part in says:
            assert part in str(error.value)

    @pytest.mark.parametrize("name", DEVICES)
    def test_a_packaged_file_loads_like_your_own(self, tmp_path: Path, name: str) -> None:
        text = (files("distmllm_env") / "profiles" / f"{name}.toml").read_text("utf-8")
        assert self.load(tmp_path, text) == devices()[name]

    def test_a_missing_file_is_an_os_error(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            load_device(tmp_path / "none.toml")
