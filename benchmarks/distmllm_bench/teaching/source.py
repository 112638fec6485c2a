"""The one source of an assignment: a percent-format Python file with Otter's markers.

From it come the student's notebook and the autograder (Otter Assign), and a plain pytest file with
the same tests. What is read here is the part of the format that the tests need.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SALT = "SEED-SALT"
"""Stands in hidden tests where their seeds come from; another word makes other tests."""


@dataclass(frozen=True)
class Test:
    """One test of a question.

    Attributes:
        code: Assertions about what the student wrote.
        hidden: Whether students see it.
    """

    code: str
    hidden: bool


@dataclass(frozen=True)
class Question:
    """A question with its tests; each test is worth the same.

    Attributes:
        name: ``q1``, ...
        points: For all tests.
        tests: In order.
    """

    name: str
    points: float
    tests: tuple[Test, ...]


@dataclass(frozen=True)
class Assignment:
    """An assignment as its tests need it.

    Attributes:
        name: Of the file, without its suffix.
        imports: What its first cells import; the tests use it too.
        names: Functions that the solutions define.
        classes: Classes that they define.
        questions: In order.
    """

    name: str
    imports: str
    names: tuple[str, ...]
    classes: tuple[str, ...]
    questions: tuple[Question, ...]

    @property
    def points(self) -> float:
        """Of all questions."""
        return sum(question.points for question in self.questions)


def read_assignment(path: Path, salt: str = SALT) -> Assignment:
    """Read an assignment.

    Args:
        path: Its source.
        salt: Word that takes the place of :data:`SALT`.

    Raises:
        ValueError: There is no such file, or its markers do not fit together; says where.
    """
    if not path.is_file():
        raise ValueError(f"assignment {str(path)!r} does not exist.")
    questions: list[Question] = []
    imports: list[str] = []
    names: list[str] = []
    classes: list[str] = []
    tests: list[Test] = []
    name, points, part = "", 0.0, ""
    for kind, text, line in _cells(path.read_text(encoding="utf-8")):
        mark = _mark(text) if kind == "raw" else ""
        where = f"{path}, line {line}"
        if mark == "BEGIN QUESTION":
            _need(not name, where, "a question inside a question")
            keys = dict(re.findall(r"^(\w+):\s*(.+)$", text, re.MULTILINE))
            _need({"name", "points"} <= keys.keys(), where, "a question needs name and points")
            name, points, tests = keys["name"], _points(keys["points"], where), []
        elif mark == "END QUESTION":
            _need(bool(name and tests and not part), where, "a question without tests, or open")
            questions.append(Question(name, points, tuple(tests)))
            name = ""
        elif mark.startswith("BEGIN "):
            _need(bool(name and not part), where, f"{mark} does not belong here")
            part = mark.removeprefix("BEGIN ")
        elif mark.startswith("END "):
            _need(part == mark.removeprefix("END "), where, f"{mark} does not belong here")
            part = ""
        elif kind == "code" and part == "SOLUTION":
            names += _defined(text, ast.FunctionDef, where)
            classes += _defined(text, ast.ClassDef, where)
        elif kind == "code" and part == "TESTS":
            hidden = text.startswith("# HIDDEN")
            code = text.removeprefix("# HIDDEN").strip()
            tests.append(Test(code.replace(SALT, salt), hidden))
        elif kind == "code" and not name:
            imports += [s for s in text.splitlines() if s.startswith(("import ", "from "))]
    _need(not name, str(path), f"question {name} has no end")
    return Assignment(path.stem, "\n".join(imports), tuple(names), tuple(classes), tuple(questions))


def test_file(assignment: Assignment, hidden: bool) -> str:
    """Return the tests as a pytest file.

    Args:
        assignment: Whose.
        hidden: With those that students do not see.
    """
    parts = [
        f'"""Tests of {assignment.name}: `distmllm grade FILE`, or\n'
        f'`DISTMLLM_SUBMISSION=FILE pytest test_{assignment.name}.py`.\n"""\n',
        f"{assignment.imports}\n\nfrom distmllm_bench.teaching.remote import submitted\n",
        f"globals().update(submitted({list(assignment.names)!r}, {list(assignment.classes)!r}))",
        f"POINTS = { ({q.name: q.points for q in assignment.questions})!r}",
        f"TESTS = { ({q.name: len(q.tests) for q in assignment.questions})!r}  # hidden ones too\n",
    ]
    for question in assignment.questions:
        for i, test in enumerate(question.tests, start=1):
            if test.hidden and not hidden:
                continue
            kind = "hidden" if test.hidden else "public"
            body = "\n".join(f"    {line}" if line else "" for line in test.code.splitlines())
            parts.append(f"\ndef test_{question.name}_{i}_{kind}():\n{body}\n")
    return "\n".join(parts)


def _cells(text: str) -> Iterator[tuple[str, str, int]]:
    """Yield kind (code, raw, markdown), text and line of every cell."""
    lines = text.splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("# %%")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        match = re.search(r"\[(raw|markdown)\]", lines[start])
        body = lines[start + 1 : end]
        if match is not None:
            body = [line.removeprefix("#").removeprefix(" ") for line in body]
        yield (match[1] if match else "code"), "\n".join(body).strip(), start + 1


def _mark(text: str) -> str:
    first = text.partition("\n")[0].strip()
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def _defined(code: str, kind: type[ast.FunctionDef] | type[ast.ClassDef], where: str) -> list[str]:
    try:
        return [node.name for node in ast.parse(code).body if isinstance(node, kind)]
    except SyntaxError as error:
        raise ValueError(f"{where}: the solution is no Python: {error}.") from error


def _points(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{where}: points {text!r} are not allowed: a number.") from None


def _need(condition: bool, where: str, why: str) -> None:
    if not condition:
        raise ValueError(f"{where}: {why}.")
