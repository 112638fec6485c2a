"""Commands about learned policies: train, learning."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from distmllm_bench.cli.common import AsJson, key_value, usage_errors


def train(
    algo: Annotated[str, typer.Option(help="ppo, a2c, dqn or maskable_ppo.")] = "ppo",
    scenario: Annotated[str | None, typer.Option(help="Name or TOML file [paper].")] = None,
    mode: Annotated[
        str | None, typer.Option(help="central, shared or independent [the algorithm's].")
    ] = None,
    network: Annotated[str, typer.Option(help="mlp or equivariant.")] = "mlp",
    observation: Annotated[
        str | None, typer.Option(help="last (slot) or statistics of every pair.")
    ] = None,
    world: Annotated[str | None, typer.Option(help="fixed, or redrawn for every episode.")] = None,
    slots: Annotated[int | None, typer.Option(min=1, help="Market slots to train for.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Fixes everything.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for policy, curve and log.")] = Path(
        "runs/train"
    ),
    settings: Annotated[
        str | None, typer.Option(help="TOML file with all settings, instead of the shipped ones.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a setting, e.g. algorithm.gamma=0.9."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what is in --out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a policy with Stable-Baselines3 (extra rl)."""
    from distmllm_bench.training import run_training

    preset = settings or (f"{algo}-{network}" if network != "mlp" else algo)
    named = {
        "scenario": scenario,
        "mode": mode,
        "observation": observation,
        "world": world,
        "slots": slots,
        "seed": seed,
    }
    with usage_errors():
        overrides = {key: value for key, value in named.items() if value is not None}
        overrides |= dict(map(key_value, set_ or []))
        command = " ".join(["distmllm", *sys.argv[1:]])
        text, numbers = run_training(out, preset, overrides, resume, command)
    print(json.dumps(numbers, indent=2) if as_json else text)


def learning(
    only: Annotated[
        list[str] | None,
        typer.Option(help="table, elsewhere, fixed or networks; repeatable [all]."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=2, help="Runs of table and elsewhere.")] = 20,
    out: Annotated[Path, typer.Option(help="Folder for tables and figures.")] = Path(
        "runs/learning"
    ),
    jobs: Annotated[int, typer.Option(min=1, help="Trainings side by side.")] = 2,
    quick: Annotated[bool, typer.Option("--quick", help="A twentieth of the training.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure what training buys: shipped policies, other markets, fixed worlds, networks."""
    from distmllm_bench.learning import run_learning

    with usage_errors():
        tables = run_learning(out, only or (), range(seeds), jobs, quick)
    if as_json:
        print(json.dumps(tables, indent=2))
    else:
        print("\n".join(f"{name}\n\n{table}" for name, table in tables.items()), end="")
        print(f"\nfiles: {out}")
