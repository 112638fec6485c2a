"""Notebooks: source and .ipynb are one, all run from a clean kernel and print what is kept."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
SOURCES = sorted(NOTEBOOKS.glob("0*.py"))
LARGEST = 500_000


def tool():
    """The script that runs the notebooks."""
    pytest.importorskip("jupytext", reason="extra teach is not installed")
    pytest.importorskip("nbclient", reason="extra teach is not installed")
    spec = importlib.util.spec_from_file_location("execute", NOTEBOOKS / "execute.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kept(source):
    return json.loads(source.with_suffix(".ipynb").read_text("utf-8"))


def joined(text):
    return text if isinstance(text, str) else "".join(text)


def printed(cells):
    """What every code cell prints; pictures are not compared, their bits hang on the CPU."""
    found = []
    for cell in cells:
        if cell["cell_type"] == "code":
            found.append(
                [joined(out["text"]) for out in cell["outputs"] if out["output_type"] == "stream"]
                + [
                    joined(out["data"]["text/plain"])
                    for out in cell["outputs"]
                    if out["output_type"] == "execute_result"
                ]
            )
    return found


def test_there_are_six():
    assert [source.stem[:2] for source in SOURCES] == ["01", "02", "03", "04", "05", "06"]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
class TestNotebook:
    def test_source_and_notebook_are_one(self, source):
        jupytext = pytest.importorskip("jupytext", reason="extra teach is not installed")
        cells = jupytext.read(source).cells
        notebook = kept(source)["cells"]
        assert [(c["cell_type"], c["source"]) for c in cells] == [
            (c["cell_type"], joined(c["source"])) for c in notebook
        ]

    def test_it_is_small_and_whole(self, source):
        assert source.with_suffix(".ipynb").stat().st_size < LARGEST
        counts = [c["execution_count"] for c in kept(source)["cells"] if c["cell_type"] == "code"]
        assert counts == list(range(1, len(counts) + 1))

    def test_what_it_tells(self, source):
        text = source.read_text("utf-8")
        assert "# On Colab, take away the first" in text
        assert "%pip install" in text
        assert text.count("Exercise") >= 4
        assert len(re.findall(r"<details>", text)) >= 3
        outputs = json.dumps([c.get("outputs") for c in kept(source)["cells"]])
        assert "image/png" in outputs
        for word in ("Traceback", "Warning", " at 0x"):
            assert word not in outputs

    def test_it_runs_from_a_clean_kernel_and_prints_what_is_kept(self, source):
        notebook = tool().executed(source)
        assert not [
            out
            for cell in notebook.cells
            if cell["cell_type"] == "code"
            for out in cell["outputs"]
            if out.get("name") == "stderr" or out["output_type"] == "error"
        ]
        assert printed(notebook.cells) == printed(kept(source)["cells"])


def test_the_script_writes_whole_files(tmp_path, monkeypatch):
    """A notebook that fails leaves the old one as it was."""
    execute = tool()
    (tmp_path / "01_x.py").write_text("# %%\nprint(1)\n")
    (tmp_path / "02_y.py").write_text("# %%\nraise ValueError('no')\n")
    (tmp_path / "02_y.ipynb").write_text("old")
    monkeypatch.setattr(execute, "HERE", tmp_path)
    assert [source.name for source in execute.sources()] == ["01_x.py", "02_y.py"]
    notebook = execute.executed(tmp_path / "01_x.py")
    assert printed(notebook.cells) == [["1\n"]]
    with pytest.raises(Exception, match="no"):
        execute.executed(tmp_path / "02_y.py")
    assert (tmp_path / "02_y.ipynb").read_text() == "old"
    assert sys.modules.get("execute") is None
