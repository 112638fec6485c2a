"""``distmllm grade FOLDER``: a whole class, one file for each student and one table."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distmllm_bench.progress import Progress
from distmllm_bench.teaching.grading import grade, tests_for, text
from distmllm_bench.teaching.source import SALT
from distmllm_bench.teaching.submission import submissions
from distmllm_env.errors import require_extra
from distmllm_env.files import write_atomic

TABLE = "grades.csv"


def grade_class(
    folder: Path,
    out: Path,
    tests: Path | None = None,
    source: Path | None = None,
    salt: str = SALT,
) -> list[dict[str, Any]]:
    """Grade all submissions of a folder.

    ``NAME.json`` is the result of each, ``NAME.txt`` what its student may read, and ``grades.csv``
    a table of all. Who is graded already, by the same tests, is not graded again, so a call that
    was interrupted goes on; ``grades.csv`` comes last.

    Args:
        folder: ``.py`` and ``.ipynb`` files, named by who handed them in.
        out: Folder of the results.
        tests: Pytest file of the assignment.
        source: Source of the assignment instead, hidden tests included.
        salt: Word that makes the hidden tests, with ``source``.

    Returns:
        The results, in the order of names; each has its ``name``, too.

    Raises:
        ValueError: The folder holds no submissions, or there are no tests.
        MissingExtraError: pytest is not installed.
    """
    require_extra("lab", "grading", "pytest")
    files = submissions(folder)
    if tests is None and source is None:
        raise ValueError(
            f"no tests for {str(folder)!r}: name a file by --tests, or an assignment by "
            f"--assignment."
        )
    with tests_for(folder, tests, source, salt) as path:
        made_by = path.read_bytes()
    results = []
    with Progress(len(files), "submission") as progress:
        for name, file in files.items():
            progress.begin(name)
            key = hashlib.sha256(made_by + file.read_bytes()).hexdigest()
            kept = out / f"{name}.json"
            result = _kept(kept, key)
            if result is None:
                result = {"name": name, **grade(file, tests, source, salt), "key": key}
                write_atomic(out / f"{name}.txt", text(result) + "\n")
                write_atomic(kept, json.dumps(result, indent=2) + "\n")
            results.append(result)
            progress.step()
    write_atomic(out / TABLE, _table(results))
    return results


def summary(results: Sequence[Mapping[str, Any]], out: Path) -> str:
    """Return what is printed: everybody's points, and which tests most lost."""
    width = max(len(result["name"]) for result in results)
    lines = [f"{r['name']:{width}}  {r['score']:g} of {r['max']:g}" for r in results]
    failed: dict[str, int] = {}
    for result in results:
        for question in result["questions"]:
            for test in question["tests"]:
                failed[test["name"]] = failed.get(test["name"], 0) + (not test["passed"])
    hardest = sorted((name for name in failed if failed[name]), key=lambda name: -failed[name])
    lines += [f"{name}: {failed[name]} of {len(results)} lost it" for name in hardest[:5]]
    return "\n".join([*lines, f"table: {out / TABLE}"])


def _kept(path: Path, key: str) -> dict[str, Any] | None:
    """Return the result of an earlier call for the same file and tests."""
    try:
        result = json.loads(path.read_text("utf-8"))
        return result if result["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _table(results: Sequence[Mapping[str, Any]]) -> str:
    names = dict.fromkeys(q["name"] for result in results for q in result["questions"])
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["name", "file", "score", "max", *names, "errors", "seconds"])
    for result in results:
        points = {q["name"]: q["score"] for q in result["questions"]}
        row = [result["name"], result["file"], result["score"], result["max"]]
        errors = " | ".join(result["errors"])
        writer.writerow([*row, *(points[name] for name in names), errors, result["seconds"]])
    return out.getvalue()
