"""Run the notebooks: `make notebooks`, or `python notebooks/execute.py [NAME ...]`.

Every percent-format .py beside this file becomes an .ipynb of the same name with what it prints and
draws, run from a clean kernel.
"""

import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
SECONDS = 240


def sources() -> list[Path]:
    """Return the notebooks' sources, in order."""
    return sorted(HERE.glob("0*.py"))


def executed(source: Path) -> nbformat.NotebookNode:
    """Run a source from a clean kernel and return the notebook, equal for equal outputs."""
    notebook = jupytext.read(source)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata["kernelspec"] = kernel
    NotebookClient(
        notebook,
        timeout=SECONDS,
        coalesce_streams=True,
        record_timing=False,
        resources={"metadata": {"path": str(HERE)}},
    ).execute()
    notebook.metadata.pop("language_info", None)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
    return notebook


if __name__ == "__main__":
    names = sys.argv[1:]
    for source in sources():
        if not names or source.stem in names:
            sys.stderr.write(f"{source.name} ...\n")
            notebook = executed(source)
            path = source.with_suffix(".ipynb")
            temporary = path.with_suffix(".tmp")
            nbformat.write(notebook, temporary)
            temporary.replace(path)
