"""Commands that publish figures: reproduce, speed, mapping-speed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from distmllm_bench.cli.common import AsJson, usage_errors


def reproduce(
    only: Annotated[
        list[str] | None, typer.Option(help="Figure or group, e.g. 4a or theory; repeatable [all].")
    ] = None,
    seeds: Annotated[int, typer.Option(min=2, help="Number of runs.")] = 20,
    base_seed: Annotated[int, typer.Option(min=0, help="First seed.")] = 0,
    band: Annotated[
        str, typer.Option(help="sd, as in the paper, or ci (95 % of the mean).")
    ] = "sd",
    out: Annotated[Path, typer.Option(help="Folder; a second call goes on from there.")] = Path(
        "runs/reproduce"
    ),
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Draw the unprinted constants at random instead.")
    ] = False,
    draws: Annotated[int, typer.Option(min=1, help="How often, with --robustness.")] = 200,
    jobs: Annotated[int, typer.Option(min=1, help="Processes, with --robustness.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Redraw the paper's figures and tables and judge its claims."""
    from distmllm_bench.reproduce import run as work

    with usage_errors():
        if robustness and (only or band != "sd"):
            raise ValueError("--only and --band have no effect with --robustness: leave them out.")
        if robustness:
            result = work.robust(out, range(base_seed, base_seed + seeds), draws, jobs)
        else:
            result = work.reproduce(
                out,
                range(base_seed, base_seed + seeds),
                only or (),
                band,
                f"distmllm reproduce --seeds {seeds} --base-seed {base_seed}"
                + "".join(f" --only {name}" for name in only or ()),
            )
    print(json.dumps(result, indent=2) if as_json else work.text(result))


def speed(
    out: Annotated[Path, typer.Option(help="Folder for tables and figure.")] = Path("runs/speed"),
    quick: Annotated[bool, typer.Option("--quick", help="Short windows, few rounds.")] = False,
    providers: Annotated[int, typer.Option(min=1, help="M of the market that is timed.")] = 10,
    workers: Annotated[int, typer.Option(min=1, help="N of the market that is timed.")] = 30,
    seconds: Annotated[
        float | None, typer.Option(min=0.001, help="Length of a timed window [0.2; quick 0.03].")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Time the environments beside a bare kernel, empty environments and other people's."""
    from dataclasses import replace

    from distmllm_bench.speed.run import run_speed
    from distmllm_bench.speed.setting import FULL, QUICK

    setting = QUICK if quick else FULL
    setting = replace(setting, providers=providers, workers=workers)
    if seconds is not None:
        setting = replace(setting, window_s=seconds)
    with usage_errors():
        text, numbers = run_speed(out, setting)
    if as_json:
        print(json.dumps(numbers, indent=2))
    else:
        print(f"{text}\n\nfiles: {out}")


def mapping_speed(
    out: Annotated[Path, typer.Option(help="Folder for tables and figures.")] = Path(
        "runs/mapping"
    ),
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes, five instances.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Fixes the instances.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Time the solvers of the mapping problem side by side."""
    from distmllm_bench.mapping_measure import QUICK, SIZES
    from distmllm_bench.mapping_speed import run_mapping_speed

    text, numbers = run_mapping_speed(out, seed, QUICK if quick else SIZES)
    if as_json:
        print(json.dumps(numbers, indent=2))
    else:
        print(f"{text}\n\nfiles: {out}")
