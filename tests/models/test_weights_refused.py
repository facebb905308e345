"""Files that are no weights of the network: damaged, hostile, or of another architecture."""

import gzip
import io
import os
import pickle
import re
import struct
import tarfile
import zipfile

import numpy as np
import pytest
import timm
import torch
from networks import NAME, converted, headless, under
from safetensors.torch import save_file

from rmtgen.errors import CorruptInputError
from rmtgen.models.backbones import load_backbone
from rmtgen.models.state_dicts import load_weights


class Trap:
    def __reduce__(self):
        return (print, ("a pickle ran code",))


class Shell:
    def __reduce__(self):
        return (os.system, ("echo ran code",))


def damaged(path, state):
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damaged_safetensors(path, state):
    save_file(state, path)
    path.write_bytes(path.read_bytes()[:-100])


def beside(thing):
    return lambda path, state: torch.save({"state_dict": state, "other": thing}, path)


def raw(content):
    return lambda path, _: path.write_bytes(content)


def zipped(path, _):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no weights")


def compressed(path, state):
    torch.save(state, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)


def saved(save, **arrays):
    content = io.BytesIO()
    save(content, **arrays)
    return raw(content.getvalue())


def tarred(path, _):
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("weights.pth"), io.BytesIO())


def header(text, length=None):
    content = text.encode()
    return raw(struct.pack("<Q", len(content) if length is None else length) + content + bytes(64))


OVERLAP = (
    '{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},'
    '"b":{"dtype":"F32","shape":[4],"data_offsets":[8,24]}}'
)
HUGE = '{"a":{"dtype":"F32","shape":[4000000000000],"data_offsets":[0,16000000000000]}}'
BAD_FILES = {
    "text": (raw(b"not weights\n"), r"it is a text file that begins with 'not weights'"),
    "empty": (raw(b""), r"it is empty\. Download the weights again"),
    "blank": (raw(b"\n\n"), r"it is a text file"),
    "zeros": (raw(bytes(64)), r"binary data of no known kind \(first bytes 00 00 00"),
    "LFS": (
        raw(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"),
        r"it is a pointer of Git LFS, not the file itself\. Fetch it with `git lfs pull`",
    ),
    "HTML": (raw(b"\n<!DOCTYPE html><html>Not found</html>"), r"it is a web page \(HTML\)"),
    "XML": (raw(b"<?xml version='1.0'?><Error/>"), r"it is an XML document"),
    "JSON": (raw(b'{"error": "not found"}'), r"it is a JSON document"),
    "umlaut": (raw(("é" * 255 + "éé").encode()), r"it is a text file"),
    "ZIP": (zipped, r"it is a ZIP archive with other content \(notes\.txt\)"),
    "compressed": (compressed, r"whose parts are compressed\. Unpack it"),
    "NPZ": (saved(np.savez, a=np.ones(2)), r"it is a NumPy archive \(\.npz\)"),
    "NPY": (saved(np.save, arr=np.ones(2)), r"it is one NumPy array"),
    "tar": (tarred, r"it is a tar archive\. Unpack it"),
    "gzip": (raw(gzip.compress(b"weights")), r"it is a gzip archive\. Unpack it"),
    "ONNX": (raw(b"\x08\x09\x12\x07pytorch\x1a\x052.1.0" + bytes(99)), r"it is a model of ONNX"),
    "SavedModel": (raw(b"\x08\x01\x12\xff\x01" + bytes(99)), r"it is a TensorFlow SavedModel"),
    "Flax": (raw(b"\x81\xa6params\xc7\x00\x01" + b"\xff" * 9), r"it is a msgpack file"),
    "Keras": (raw(b"\x89HDF\r\n\x1a\n" + bytes(99)), r"it is an HDF5 file"),
    "TorchScript": (
        lambda path, _: torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path),
        r"it is a TorchScript archive, which is a program\. Save the `state_dict\(\)`",
    ),
    "cut": (damaged, r"a file of torch, or another ZIP archive, that is damaged or cut off"),
    "cut safetensors": (damaged_safetensors, r"it is a safetensors file that is damaged or cut"),
    "long header": (header(OVERLAP, 2**62), r"a safetensors file that is damaged or cut off"),
    "longer header": (header(OVERLAP, 10**6), r"a safetensors file that is damaged or cut off"),
    "overlap": (header(OVERLAP), r"a safetensors file that is damaged or cut off"),
    "huge": (header(HUGE), r"a safetensors file that is damaged or cut off"),
    "plain pickle": (
        lambda path, _: path.write_bytes(pickle.dumps({"a": 1})),
        r"it is a pickle with other things .* Save `model\.state_dict\(\)` with torch\.save",
    ),
    "code": (
        lambda path, _: path.write_bytes(pickle.dumps(Trap(), protocol=2)),
        r"it holds objects of print, which could run code",
    ),
    "code beside": (beside(Trap()), r"it holds objects of print, which could run code"),
    "blocked code": (beside(Shell()), r"it holds objects of posix\.system, which could run code"),
    "whole model": (
        lambda path, _: torch.save(torch.nn.Linear(2, 2), path),
        r"it is a whole pickled model.*`torch\.save\(model\.state_dict\(\), PATH\)`",
    ),
    "whole model, old": (
        lambda path, _: torch.save(
            torch.nn.Linear(2, 2), path, _use_new_zipfile_serialization=False
        ),
        r"it is a whole pickled model",
    ),
    "list": (lambda path, _: torch.save([1, 2], path), r"got an object of type list"),
    "tensor": (lambda path, _: torch.save(torch.ones(2, 3), path), r"one tensor of shape \(2, 3\)"),
    "numbers": (
        lambda path, _: torch.save({"epoch": 3}, path),
        r"names and tensors: got int at 'epoch'",
    ),
    "nothing": (
        lambda path, _: torch.save({}, path),
        r"names and tensors: got no entry",
    ),
}


@pytest.mark.filterwarnings("ignore:.torch.jit.* is deprecated:FutureWarning")
@pytest.mark.parametrize("file", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize(("write", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_is_no_state_dict_is_named_for_what_it_is(
    tmp_path, trained, capfd, file, write, message
):
    write(tmp_path / file, trained)
    with pytest.raises(CorruptInputError, match=message) as caught:
        load_weights(torch.nn.Identity(), tmp_path / file, NAME)
    assert str(tmp_path / file) in str(caught.value)
    assert not re.search(r"\n|weights_only|add_safe_globals", str(caught.value))
    assert "ran code" not in capfd.readouterr().out


KINDS = {
    "sparse": (lambda t: t.to_sparse(), r"sparse \(torch\.sparse_coo\)"),
    "float8": (lambda t: t.to(torch.float8_e4m3fn), r"of type torch\.float8_e4m3fn"),
    "meta": (lambda t: t.to("meta"), r"without data \(on the meta device\)"),
    "complex": (lambda t: t.to(torch.complex64), r"of type torch\.complex64"),
    "int64": (lambda t: t.long(), r"of type torch\.int64 where torch\.float32 is due"),
    "bool": (lambda t: t.bool(), r"of type torch\.bool where torch\.float32 is due"),
    "uint8": (lambda t: t.byte(), r"of type torch\.uint8 where torch\.float32 is due"),
    "quantised": (
        lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
        r"quantised",
    ),
}


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.parametrize(("convert", "message"), KINDS.values(), ids=KINDS)
def test_tensors_of_another_kind_are_refused_by_name(tmp_path, trained, convert, message):
    torch.save(under("net.", converted(convert)(trained)), tmp_path / "w.pth")
    with pytest.raises(
        CorruptInputError, match=rf"net\.conv1\.0\.weight in .* is {message}\. Save"
    ):
        load_backbone(NAME, weights=tmp_path / "w.pth", img_size=32)


@pytest.mark.parametrize("make", [lambda t: t.expand(1, 1 << 40, 64), lambda t: t.to("meta")])
def test_a_tensor_of_more_elements_than_a_file_can_store_costs_no_memory(tmp_path, make):
    state = timm.create_model("test_vit").state_dict()
    giant = make(torch.ones(1, 1, 1).expand(1, 1 << 40, 64))
    torch.save({"state_dict": {**state, "pos_embed": giant}}, tmp_path / "w.pth")
    with pytest.raises(
        CorruptInputError, match=r"pos_embed in .* is of shape \(1, 1099511627776, 64\) with"
    ):
        load_backbone("test_vit", weights=tmp_path / "w.pth")


def test_a_double_beyond_single_precision_is_not_finite(tmp_path, trained):
    wide = {key: tensor.double() for key, tensor in trained.items()}
    wide["conv1.0.weight"][0, 0, 0, 0] = 1e300
    torch.save(wide, tmp_path / "w.pth")
    with pytest.raises(
        CorruptInputError, match=r"finite in torch\.float32: conv1\.0\.weight in .* has 1"
    ):
        load_backbone(NAME, weights=tmp_path / "w.pth", img_size=32)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, trained, value):
    broken = {key: tensor.clone() for key, tensor in trained.items()}
    broken["layer2.0.bn1.running_var"][:2] = value
    torch.save(broken, tmp_path / "w.pth")
    with pytest.raises(
        CorruptInputError,
        match=r"layer2\.0\.bn1\.running_var in .*w\.pth has 2 NaN or infinite values",
    ):
        load_backbone(NAME, weights=tmp_path / "w.pth", img_size=32)


def without(state, *keys):
    return {key: tensor for key, tensor in state.items() if key not in keys}


MISFITS = {
    "missing": (
        lambda s: without(s, "layer1.0.conv1.weight", "conv1.0.weight"),
        r"got 2 missing \(conv1\.0\.weight, layer1\.0\.conv1\.weight\)\.",
    ),
    "superset": (
        lambda s: {**s, "layer9.weight": torch.ones(1)},
        r"got 1 unexpected \(layer9\.weight\)",
    ),
    "shape": (
        lambda s: {**s, "conv1.0.weight": torch.ones(2, 3, 7, 7)},
        r"got 1 of another shape \(conv1\.0\.weight \(2, 3, 7, 7\) for \(\d+, 3, 3, 3\)\)",
    ),
    "all": (
        lambda s: {f"{key}.w": tensor for key, tensor in s.items()},
        r"expected its (\d+) tensors, got \1 missing \(.*, …\); \d+ unexpected \(.*, …\)",
    ),
    "one under a prefix": (
        lambda s: {"net": under("model.", without(s, "conv1.0.weight")), "ema": {}},
        r"tensors at net under model\.\*, got 1 missing \(conv1\.0\.weight\)",
    ),
    "two": (
        lambda s: {"a": without(s, "conv1.0.weight"), "b": headless(without(s, "bn1.weight"))},
        r"tensors at a, got 1 missing \(conv1\.0\.weight\) \(1 other sets of tensors \(at b\)",
    ),
    "few": (lambda s: {"w": {"a": torch.ones(2)}}, r"tensors at w, got \d+ missing"),
}


@pytest.mark.parametrize(("change", "message"), MISFITS.values(), ids=MISFITS)
def test_weights_of_another_architecture_are_counted_and_shown(tmp_path, trained, change, message):
    torch.save(change(trained), tmp_path / "w.pth")
    with pytest.raises(CorruptInputError, match=f"must hold weights of {NAME}: .*{message}"):
        load_backbone(NAME, weights=tmp_path / "w.pth", img_size=32)


def test_a_deeper_network_of_the_same_family_does_not_pass(tmp_path):
    torch.save(timm.create_model("resnet34").state_dict(), tmp_path / "w.pth")
    with pytest.raises(
        CorruptInputError,
        match=r"must hold weights of resnet18: expected its \d+ tensors, got 80 unexpected",
    ):
        load_backbone("resnet18", weights=tmp_path / "w.pth", img_size=32)


def test_a_filter_that_breaks_on_foreign_weights_is_reported(tmp_path, trained, monkeypatch):
    def stumble(_state, _model):
        raise KeyError("pos_embed")

    torch.save(trained, tmp_path / "w.pth")
    monkeypatch.setattr(timm.models.vision_transformer, "checkpoint_filter_fn", stumble)
    with pytest.raises(
        CorruptInputError, match=r"the filter of timm for it fails with KeyError\('pos_embed'\)"
    ):
        load_backbone("test_vit", weights=tmp_path / "w.pth")
