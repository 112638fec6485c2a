"""What somebody handed in: a Python file or a notebook, as the code in it."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from distmllm_env.files import write_atomic

SUFFIXES = (".py", ".ipynb")


def code_cells(path: Path) -> list[str]:
    """Return the code of a submission, a Python file as one cell.

    Lines of a notebook that are not Python (``%`` and ``!``) are left out.

    Raises:
        ValueError: It is not UTF-8, or no notebook.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors begin with a mark
    except UnicodeDecodeError as error:
        raise ValueError(f"it cannot be read: it is not UTF-8 at byte {error.start}.") from None
    if path.suffix == ".py":
        return [text]
    try:
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        return [_python(cell["source"]) for cell in cells]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"it cannot be read: it is no notebook ({_short(error)}).") from error


def check_name(path: Path) -> None:
    """Raise ``ValueError`` unless there is a Python file or notebook of this name."""
    if not path.is_file():
        raise ValueError(f"submission {str(path)!r} does not exist.")
    if path.suffix not in SUFFIXES:
        raise ValueError(f"submission {str(path)!r}: a file ending in .py or .ipynb is allowed.")


def submissions(folder: Path, taken: Collection[str] = ()) -> dict[str, Path]:
    """Return the submissions in a folder by name: that of the file, without its suffix.

    Where two would have the same, or one is taken, the suffix belongs to the name.

    Raises:
        ValueError: There is none.
    """
    visible = [path for path in folder.glob("[!.]*") if path.is_file()]
    files = sorted(path for path in visible if path.suffix in SUFFIXES)
    if not files:
        raise ValueError(f"{folder} holds no submissions: files ending in .py or .ipynb.")
    stems = [path.stem for path in files]
    alone = [stems.count(stem) == 1 and stem not in taken for stem in stems]
    return {path.stem if own else path.name: path for path, own in zip(files, alone, strict=True)}


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]


def _python(source: str | list[str]) -> str:
    lines = (source if isinstance(source, str) else "".join(source)).splitlines()
    kept = ["" if line.lstrip().startswith(("%", "!")) else line for line in lines]
    return "\n".join(kept)


MODULE = "submission"
"""What a submission is called in the process where it runs."""


def prepare(path: Path, folder: Path) -> None:
    """Put a submission into a folder of its own, as a module that survives its own mistakes.

    A cell that raises is noted in ``ERRORS``; the others run all the same. Who asks for a name that
    none defines is told what was noted.

    Raises:
        ValueError: As :func:`code_cells`.
    """
    cells = code_cells(path)
    write_atomic(folder / f"{MODULE}.py", _TEMPLATE.replace("CELLS_HERE", repr(cells)))


_TEMPLATE = """# Made of what was handed in: one text per cell.
CELLS = CELLS_HERE
ERRORS = []
for _number, _cell in enumerate(CELLS, start=1):
    try:
        exec(compile(_cell, f"cell {_number}", "exec"), globals())
    except (Exception, SystemExit) as _error:
        ERRORS.append(f"cell {_number}: {type(_error).__name__}: {_error}")


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    raise NameError(" ".join([f"{name!r} is not defined.", *(f"In {e}." for e in ERRORS)]))
"""
