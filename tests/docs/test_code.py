"""Every block of Python of the pages, and every notebook, is executed."""

from unittest import mock

import jupytext
import pytest
from nbclient import NotebookClient
from pages import NOTEBOOKS, ROOT, blocks

from rmtgen.datasets.catalogue import DATA_SETS
from rmtgen.kernels.entk.layers import OPERATIONS


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_runs(block, request, monkeypatch):
    """What a block enters in a registry is taken out again."""
    monkeypatch.chdir(request.getfixturevalue("demo" if "data/runs" in block.text else "workspace"))
    source = "\n" * (block.line - 1) + block.text
    with mock.patch.dict(DATA_SETS), mock.patch.dict(OPERATIONS):
        exec(compile(source, ROOT / block.page, "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path):
    """A cell that raises fails the test; so does a notebook whose cells print nothing."""
    notebook = jupytext.read(path)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, resources=resources).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert any(cell.outputs for cell in code)
    assert all(cell.execution_count for cell in code)
