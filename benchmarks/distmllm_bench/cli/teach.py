"""Commands for courses: assignments, grade, leaderboard."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from distmllm_bench.cli.common import AsJson, kept_cells, usage_errors


def assignments(
    sources: Annotated[list[Path], typer.Argument(help="Percent-format files.")],
    out: Annotated[Path, typer.Option(help="Folder.")] = Path("runs/assignments"),
    seed_salt: Annotated[
        str | None, typer.Option(help="Word that makes the hidden tests; keep it to yourself.")
    ] = None,
    package: Annotated[
        str | None,
        typer.Option(help="What Otter's autograder installs [this version, from PyPI]."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Build student and instructor versions of assignments (extra teach)."""
    from distmllm_bench import catalogue
    from distmllm_bench.teaching.building import build
    from distmllm_bench.teaching.source import SALT

    with usage_errors():
        rows = build(sources, out, seed_salt or SALT, package)
    print(json.dumps(rows, indent=2) if as_json else f"{catalogue.table(rows)}\nfiles: {out}")
    if seed_salt is None:
        print(
            "the hidden tests are made by the word in the public source: give --seed-salt a word "
            "of your own before you hand out anything",
            file=sys.stderr,
        )


def grade(
    file: Annotated[
        Path, typer.Argument(help="What was handed in: .py or .ipynb, or a folder of them.")
    ],
    tests: Annotated[
        Path | None, typer.Option(help="Its pytest file [test_NAME.py beside it].")
    ] = None,
    assignment: Annotated[
        Path | None, typer.Option(help="Source of the assignment instead, hidden tests included.")
    ] = None,
    seed_salt: Annotated[
        str | None, typer.Option(help="Word that makes the hidden tests, with --assignment.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="With a folder: where results go [runs/grades/FOLDER].")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Grade submissions with plain pytest; their code runs in processes of its own (extra lab)."""
    from distmllm_bench.teaching import gradebook, grading
    from distmllm_bench.teaching.source import SALT

    with usage_errors():
        if assignment is None and seed_salt is not None:
            raise ValueError("--seed-salt has no effect without --assignment: leave it out.")
        given = (tests, assignment, seed_salt or SALT)
        if not file.is_dir():
            if out is not None:
                raise ValueError("--out has no effect for one submission: leave it out.")
            result = grading.grade(file, *given)
            print(json.dumps(result, indent=2) if as_json else grading.text(result))
            return
        folder = out or Path("runs/grades") / file.resolve().name
        results = gradebook.grade_class(file, folder, *given)
    print(json.dumps(results, indent=2) if as_json else gradebook.summary(results, folder))


def leaderboard(
    folder: Annotated[Path, typer.Argument(help="One .py or .ipynb per submission.")],
    out: Annotated[Path, typer.Option(help="Folder of results.")] = Path("runs/leaderboard"),
    suite: Annotated[str, typer.Option(help="Name or TOML file.")] = "course",
    seed_salt: Annotated[str | None, typer.Option(help="Draw the seeds by this word.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes; 1: this one.")] = 2,
    timeout: Annotated[
        float, typer.Option(min=0.001, help="Seconds that a submission may take for a run.")
    ] = 10.0,
    as_json: AsJson = False,
) -> None:
    """Compare the schedulers that a class handed in, in the closed division, on one page."""
    from distmllm_bench.engines import make_engine
    from distmllm_bench.report.run import text
    from distmllm_bench.sweep.suite import Suite
    from distmllm_bench.teaching import leaderboard as work

    command = " ".join(["distmllm", *sys.argv[1:]])
    with usage_errors(), kept_cells(out):
        result = work.leaderboard(
            folder,
            out,
            Suite.load(suite),
            make_engine("loky", jobs),
            salt=seed_salt,
            seconds=timeout,
            command=command,
        )
    print(json.dumps(result, indent=2) if as_json else text(result))
