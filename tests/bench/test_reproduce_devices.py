"""Figures 1 and 3 and the tables: every number is a profile's, every verdict follows from them."""

import csv
import io
from dataclasses import replace

import pytest

from distmllm_agents.distmllm import DistMLLM
from distmllm_agents.mapping import SOLVERS
from distmllm_agents.mapping.problem import disaggregated
from distmllm_bench.metrics import Scores, optimum
from distmllm_bench.reproduce import fig1, fig3, tables
from distmllm_bench.reproduce.evidence import NOT_REPRODUCED, REPRODUCED
from distmllm_bench.reproduce.lab import Lab
from distmllm_bench.reproduce.ledger import ledger
from distmllm_env import Scenario, draw_world, equations, play
from distmllm_env.devices import (
    Device,
    Model,
    Number,
    Refusal,
    devices,
    find_device,
    inputs,
    links,
    models,
)
from distmllm_env.policy import make_problem
from distmllm_env.scenario import Energy

LAB = Lab((0, 1))
DIGITS = pytest.approx  # a CSV file keeps six


def panel(module, name):
    return next(p for p in module.panels(LAB, "sd") if p.id == name)


def lines(panel):
    return list(csv.DictReader(io.StringIO(panel.csv())))


def verdicts(module, name):
    return [finding.verdict for finding in panel(module, name).findings]


def with_value(monkeypatch, module, device, quantity, model, value):
    """Change one number of one device, as ``module`` sees it."""
    changed: Device = devices()[device]
    numbers = dict(changed.numbers)
    numbers[quantity, model] = replace(numbers[quantity, model], value=value)
    see(monkeypatch, module, replace(changed, numbers=numbers))


def see(monkeypatch, module, *changed):
    mine = {device.name: device for device in changed}
    monkeypatch.setattr(module, "find_device", lambda name: mine.get(name) or find_device(name))


def refusing(device, model):
    """The device with a refusal in place of its numbers for ``model``."""
    numbers = {key: n for key, n in device.numbers.items() if key[1] != model}
    refusal = Refusal(model, "a test", "derived", "none")
    return replace(device, numbers=numbers, infeasible={**device.infeasible, model: refusal})


def running(device, model, value):
    """The device with a decode rate in place of its refusal of ``model``."""
    number = replace(device.number("decode_rate", "llama-2-7b-q4"), value=value)
    refusals = {name: why for name, why in device.infeasible.items() if name != model}
    numbers = {**device.numbers, ("decode_rate", model): number}
    return replace(device, numbers=numbers, infeasible=refusals)


@pytest.mark.parametrize("name", ["1a", "1b"])
def test_figure_1_prints_the_profiles(name):
    quantity = {"1a": "decode_rate", "1b": "encode_time"}[name]
    rows = lines(panel(fig1, name))
    assert len(rows) == 9
    for row in rows:
        device = devices()[row["device"]]
        if row["runs"] == "yes":
            number = device.number(quantity, row["model"])
            assert float(row["value"]) == DIGITS(number.value, rel=1e-5)
            assert row["unit"] == number.unit
            assert (row["kind"], row["source"]) == (number.kind, number.source)
            assert row["conditions"] == number.conditions
            assert row["reason"] == ""
        else:
            assert row["runs"] == "cannot run"
            assert row["value"] == ""
            assert row["reason"] == device.why_infeasible(row["model"])


def test_what_does_not_run_is_marked_and_told_why():
    rows = lines(panel(fig1, "1a"))
    refused = {(row["device"], row["model"]) for row in rows if row["runs"] == "cannot run"}
    assert refused == {
        ("jetson-orin-nano-8gb", "llama-2-13b-q4"),
        ("jetson-orin-nano-8gb", "llama-2-70b-q4"),
        ("rtx-4090-24gb", "llama-2-70b-q4"),
    }
    drawing = panel(fig1, "1a").files()["svg"].decode()
    assert drawing.count(">cannot run<") == 3


def test_70b_decides_figure_1a():
    whole, fitting = panel(fig1, "1a").findings
    assert whole.verdict == NOT_REPRODUCED
    assert whole.weakest.what == "Llama-2 70B: RTX 4090 > AGX Orin"
    assert whole.weakest.effect == -1.0
    assert fitting.verdict == REPRODUCED
    assert fitting.parts[0].effect == pytest.approx(149.35 / 22.5 - 1)


def test_a_4090_that_held_70b_would_turn_figure_1a(monkeypatch):
    see(monkeypatch, fig1, running(devices()["rtx-4090-24gb"], "llama-2-70b-q4", 3.1))
    assert verdicts(fig1, "1a") == [REPRODUCED, REPRODUCED]


def test_a_faster_agx_orin_would_turn_figure_1a(monkeypatch):
    args = ("jetson-agx-orin-64gb", "decode_rate", "llama-2-7b-q4", 149.36)
    with_value(monkeypatch, fig1, *args)
    assert verdicts(fig1, "1a") == [NOT_REPRODUCED, NOT_REPRODUCED]


def test_an_orin_nano_that_ran_13b_would_turn_figure_1a(monkeypatch):
    see(monkeypatch, fig1, running(devices()["jetson-orin-nano-8gb"], "llama-2-13b-q4", 1.0))
    assert verdicts(fig1, "1a") == [NOT_REPRODUCED, NOT_REPRODUCED]
    assert panel(fig1, "1a").findings[1].weakest.what == "Orin Nano cannot run Llama-2 13B"


def test_figure_1b_and_what_would_turn_it(monkeypatch):
    (finding,) = panel(fig1, "1b").findings
    assert finding.verdict == REPRODUCED
    assert finding.weakest.what == "CLIP ViT-B/32: RTX 4090 > AGX Orin"
    assert finding.weakest.effect == pytest.approx(1.34 / 1.0 - 1)
    assert "0 measured, 2 vendor, 7 derived" in finding.reading
    slow = {part.what: part.effect for part in finding.parts}["FLAVA on Orin Nano within 1 s"]
    assert slow == pytest.approx(1 - 0.0212)
    with_value(monkeypatch, fig1, "jetson-orin-nano-8gb", "encode_time", "flava-full", 1.01)
    assert verdicts(fig1, "1b") == [NOT_REPRODUCED]
    with_value(monkeypatch, fig1, "rtx-4090-24gb", "encode_time", "clip-vit-b32", 0.0014)
    assert verdicts(fig1, "1b") == [NOT_REPRODUCED]


def test_a_device_without_an_encoder_is_slower_than_any_and_not_within_1_s(monkeypatch):
    changed = {name: refusing(devices()[name], "vit-b16-224") for name in fig1.DEVICES}
    for name in fig1.DEVICES:
        see(monkeypatch, fig1, changed[name])
        assert verdicts(fig1, "1b") == [NOT_REPRODUCED]
        assert "cannot run" in panel(fig1, "1b").files()["svg"].decode()
    for refuse, expected in (((fig1.NANO, fig1.AGX), 1.0), (fig1.DEVICES, -1.0)):
        see(monkeypatch, fig1, *(changed[name] for name in refuse))
        parts = {part.what: part.effect for part in panel(fig1, "1b").findings[0].parts}
        assert parts["ViT-B/16: RTX 4090 > Orin Nano"] == expected
        assert parts["ViT-B/16 on AGX Orin within 1 s"] == -1.0


def test_figure_3a_prints_the_profiles():
    rows = lines(panel(fig3, "3a"))
    encoders = {name: m for name, m in models().items() if m.stage == "enc"}
    sent = [row["name"] for row in rows if row["what"] == "input"]
    assert sent == list(inputs())
    outputs = {(r["name"], r["precision"]): r for r in rows if r["what"] == "encoder output"}
    assert set(outputs) == {(name, p) for name in encoders for p in ("FP16", "FP32")}
    for (name, precision), row in outputs.items():
        number = encoders[name].number("tensor_bytes")
        assert int(row["byte"]) == number.value * {"FP16": 1, "FP32": 2}[precision]
        assert float(row["raw input / this"]) == DIGITS(5.4e6 / int(row["byte"]), rel=1e-5)
        assert row["conditions"] == number.conditions


def test_figure_3a_by_hand():
    half, single = panel(fig3, "3a").findings
    assert (half.verdict, single.verdict) == (REPRODUCED, REPRODUCED)
    assert half.reading.startswith("FP16")
    assert half.weakest.what == single.weakest.what == "PNG > 2 x CLIP ViT-L/14"
    assert half.weakest.effect == pytest.approx(5.4e6 / 1_179_648 / 2 - 1)
    assert single.weakest.effect == pytest.approx(5.4e6 / 2_359_296 / 2 - 1)
    ten = {part.what: part.effect for part in single.parts}["PNG > 10 x ResNet50"]
    assert ten == pytest.approx(5.4e6 / 401_408 / 10 - 1)


def test_a_backbone_without_data_is_named_and_one_with_data_is_weighed(monkeypatch):
    def tensor(value):
        number = Number(value, "byte", "derived", "a test")
        return Model("efficientnet-b0", "EfficientNet-B0 at 224 pixels", "enc", number)

    have = {name: m for name, m in models().items() if not name.startswith("efficientnet")}
    for value, expected in ((125_440, REPRODUCED), (600_000, NOT_REPRODUCED)):
        monkeypatch.setattr(fig3, "models", lambda v=value: {**have, "efficientnet-b0": tensor(v)})
        finding = panel(fig3, "3a").findings[0]
        assert finding.verdict == expected
        assert "lack" not in finding.reading
    monkeypatch.setattr(fig3, "models", lambda: have)
    assert panel(fig3, "3a").findings[0].reading.endswith("without EfficientNet, which the "
                                                          "profiles lack")  # fmt: skip


def test_a_small_image_would_turn_figure_3a(monkeypatch):
    number = inputs()["png-4k"].size_bytes
    small = replace(inputs()["png-4k"], size_bytes=replace(number, value=2e6))
    monkeypatch.setattr(fig3, "inputs", lambda: {**inputs(), "png-4k": small})
    assert verdicts(fig3, "3a") == [NOT_REPRODUCED, NOT_REPRODUCED]


def test_figure_3b_prints_the_profiles():
    rows = lines(panel(fig3, "3b"))
    assert len(rows) == 2 * (1 + 3 * 3)
    for row in rows:
        encodes, generates = devices()[row["encodes"]], devices()[row["generates"]]
        rate = links()[row["link"]].rate_bit_s.value if row["link"] != "none" else float("inf")
        raw, tensor = inputs()[row["input"]].size_bytes.value, 1_179_648
        prefill = generates.number("prefill_time", row["LLM"])
        expected = {
            "upload raw input": 8 * raw / rate if "remote" in row["path"] else 0.0,
            "encode": encodes.number("encode_time", "clip-vit-l14-336").value,
            "upload tensor": 8 * tensor / rate if row["path"] == "split" else 0.0,
            "LLM prefill": prefill.value * 640 / prefill.tokens,
            "LLM decode": 100 / generates.number("decode_rate", row["LLM"]).value,
        }
        for part, seconds in expected.items():
            assert float(row[f"{part} (s)"]) == DIGITS(seconds, rel=1e-5)
        assert float(row["total (s)"]) == DIGITS(sum(expected.values()), rel=1e-5)


def test_figure_3b_asks_what_the_testbed_asks():
    app = Scenario.load("testbed").testbed.apps[0]
    assert (app.encoder, app.llm) == (fig3.ENCODER, "llava-1.5-7b-int4")
    assert (app.prompt_tokens, app.output_tokens) == (fig3.PROMPT_TOKENS, fig3.OUTPUT_TOKENS)


def test_figure_3b_hangs_on_the_link_and_on_the_precision():
    found = {f.reading.split(", 640")[0]: f for f in panel(fig3, "3b").findings}
    assert {reading: f.verdict for reading, f in found.items()} == {
        "FP16, 5G uplink, global median": REPRODUCED,
        "4-bit, 5G uplink, global median": REPRODUCED,
        "FP16, Wi-Fi 6, one of 16 stations": NOT_REPRODUCED,
        "4-bit, Wi-Fi 6, one of 16 stations": REPRODUCED,
        "FP16, Gigabit Ethernet": NOT_REPRODUCED,
        "4-bit, Gigabit Ethernet": NOT_REPRODUCED,
    }
    main = found["FP16, 5G uplink, global median"]
    assert panel(fig3, "3b").findings[0] == main
    upload, prefill, decode = 5.4e6 * 8 / 21.08e6, 0.124, 100 / 74.9
    total = upload + 0.00536 + prefill + decode
    assert main.weakest.what == "A100: upload of the PNG > LLM"
    assert main.weakest.effect == pytest.approx((upload - prefill - decode) / total)
    assert f"up to {int((upload - prefill) * 74.9)} output tokens" in main.reading
    here = 0.47 + 100 / 11.5
    assert main.parts[0].effect == pytest.approx(here / (here + 0.0357) - 0.5)
    assert main.parts[1].effect == pytest.approx(1 - (prefill + decode) / here)


@pytest.mark.parametrize(
    ("device", "quantity", "model", "value"),
    [
        ("a100-80gb-pcie", "decode_rate", "llava-1.5-7b-fp16", 40.0),
        ("a100-80gb-pcie", "encode_time", "clip-vit-l14-336", 2.1),
        ("jetson-agx-orin-64gb", "encode_time", "clip-vit-l14-336", 10.0),
        ("jetson-agx-orin-64gb", "decode_rate", "llava-1.5-7b-fp16", 1e3),
    ],
)
def test_what_would_turn_figure_3b(monkeypatch, device, quantity, model, value):
    with_value(monkeypatch, fig3, device, quantity, model, value)
    assert verdicts(fig3, "3b")[0] == NOT_REPRODUCED


def test_table_1_prints_the_profiles_and_dashes():
    rows = {row["device"]: row for row in lines(panel(tables, "table-1"))}
    assert list(rows) == list(devices())
    for name, row in rows.items():
        assert row["GPU cores"] == row["storage"] == "-"
        for column, quantity, unit in (
            ("memory (GiB)", "memory", 2**30),
            ("idle power (W)", "idle_power", 1),
            ("load power (W)", "load_power", 1),
        ):
            number = devices()[name].numbers.get((quantity, ""))
            if number is None:
                assert {row[column], row[f"{column}: kind"], row[f"{column}: source"]} == {"-"}
            else:
                assert float(row[column]) == DIGITS(number.value / unit, rel=1e-5)
                assert row[f"{column}: kind"] == number.kind
                assert row[f"{column}: source"] == number.source
    assert rows["a100-80gb-pcie"]["idle power (W)"] == "-"


def test_table_2_names_what_exists_in_the_shape_it_says():
    scenario = Scenario.load("paper", slots=8, providers=4, workers=3)
    policy = DistMLLM()
    run = play(scenario, policy, [0, 1])
    problem = disaggregated(make_problem(run.world), policy.estimate[0], 0)
    owners = {
        "Scenario": scenario,
        "World": draw_world(scenario, [0, 1]),
        "Run": run,
        "Energy": Energy(),
        "equations": equations,
        "Scores": Scores(run, optimum(run.world)),
        "DistMLLM": policy,
        "Mapping": SOLVERS["sequential"](problem, None),
    }
    sizes = {"B": 2, "T": 8, "M": 4, "N": 3, "N+1": 4, "S": 2, "K": 8}
    rows = lines(panel(tables, "table-2"))
    assert len({row["symbol"] for row in rows}) == len(rows)
    for row in rows:
        owner, name = row["name"].split(".")
        thing = getattr(owners[owner], name)
        letters = row["shape"].strip("()").replace(",", " ").split()
        if letters:
            assert thing.shape == tuple(sizes[letter] for letter in letters), row["symbol"]
        else:
            assert not hasattr(thing, "shape"), row["symbol"]


@pytest.mark.parametrize(
    ("module", "names"),
    [(fig1, ["1a", "1b"]), (fig3, ["3a", "3b"]), (tables, ["table-1", "table-2"])],
)
def test_panels_render_and_repeat(module, names):
    first, second = module.panels(LAB, "sd"), module.panels(LAB, "ci")
    assert [p.id for p in first] == names
    for a, b in zip(first, second, strict=True):
        files = a.files()
        kinds = {"csv"} if module is tables else {"csv", "png", "svg"}
        assert set(files) == kinds
        assert files == b.files()
        assert len({tuple(row) for row in a.rows}) == 1


def test_the_ledger_takes_the_main_readings():
    findings = [f for m in (fig1, fig3) for p in m.panels(LAB, "sd") for f in p.findings]
    rows = {row["id"]: row for row in ledger(findings, None, "test")}
    assert {name: row["verdict"] for name, row in rows.items()} == {
        "1a": NOT_REPRODUCED,
        "1b": REPRODUCED,
        "3a": REPRODUCED,
        "3b": REPRODUCED,
    }
    assert [len(rows[name]["readings"]) for name in ("1a", "1b", "3a", "3b")] == [2, 1, 2, 6]
