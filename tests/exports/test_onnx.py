"""model.onnx: the scores of torch for any batch, and an error without the packages."""

import sys

import numpy as np
import pytest
import torch
from digit_runs import made

import rmtgen
from rmtgen.cli.main import main
from rmtgen.errors import MissingInputError, NumericalError
from rmtgen.exports import onnx_file
from rmtgen.exports.writing import export_probe


def test_without_the_packages_it_says_what_to_install(ranked, tmp_path, monkeypatch, capsys):
    for name in onnx_file.PACKAGES:
        monkeypatch.setitem(sys.modules, name, None)
    words = ["export", str(ranked), "--to", str(tmp_path / "probe"), "--onnx"]
    assert main(words) == 3
    assert "got no onnx and no onnxscript" in (said := capsys.readouterr().err)
    assert "`pip install 'rmtgen[onnx]'`" in said and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [["model=test_resnet"], ["model=test_resnet", "layer=layer2"], ["model=dla34", "train=30"]],
    ids=" ".join,
)
def test_it_gives_the_scores_of_torch_for_any_batch(words, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    run = made(tmp_path, "rank", "train=60", *words)
    folder = export_probe(run, tmp_path / "probe", onnx=True)
    probe = rmtgen.load_probe(folder)
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    for count in (1, 5):
        pixels = torch.randn(count, *probe.input_size)
        (scores,) = session.run(["scores"], {"images": pixels.numpy()})
        expected = probe.model(pixels).detach().numpy()
        assert np.abs(scores - expected).max() <= 1e-4 * np.abs(expected).max()
    assert "model.onnx" in (folder / "README.md").read_text()


def test_other_scores_than_those_of_torch_are_refused(ranked, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    monkeypatch.setattr(onnx_file, "TOLERANCE", -1.0)
    with pytest.raises(NumericalError, match="ONNX must give the scores of torch: got"):
        export_probe(ranked, tmp_path / "probe", onnx=True)
    assert list(tmp_path.iterdir()) == []


def test_the_packages_are_looked_for_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingInputError, match="ONNX needs onnx, onnxscript, onnxruntime"):
        export_probe(tmp_path / "no run", tmp_path / "probe", onnx=True)
