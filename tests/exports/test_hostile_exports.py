"""Damaged and hostile exports: every fault has a name, and nothing of the folder runs."""

import json
import os
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import rmtgen
from rmtgen.errors import CorruptInputError, MissingInputError, RmtgenError, StaleInputError
from rmtgen.exports.description import DESCRIPTION, WEIGHTS, Content
from rmtgen.store import sealed


@pytest.fixture
def copy(exported, tmp_path):
    """An export that a test may damage."""
    return shutil.copytree(exported, tmp_path / "probe")


def reseal(folder, **changed):
    """Change rmtgen.json as someone would who knows its seal."""
    path = folder / DESCRIPTION
    content = sealed.unseal(path.read_bytes(), json.loads(path.read_text()))
    for name, value in changed.items():
        group, _, key = name.partition("__")
        if key:
            content[group][key] = value
        else:
            content[group] = value
    path.write_bytes(sealed.seal(content))


def swap_weights(folder, state):
    """Other tensors under the name of the weights, entered in rmtgen.json."""
    save_file(state, folder / WEIGHTS)
    content = Content.of((folder / WEIGHTS).read_bytes())
    files = json.loads((folder / DESCRIPTION).read_text())["files"]
    reseal(folder, files=files | {WEIGHTS: vars(content)})


@pytest.mark.parametrize("name", [DESCRIPTION, WEIGHTS])
@pytest.mark.parametrize("where", [0, 0.3, 0.7, 0.999])
def test_one_changed_byte_is_found(copy, name, where):
    data = bytearray((copy / name).read_bytes())
    data[int(where * (len(data) - 1))] ^= 1
    (copy / name).write_bytes(bytes(data))
    with pytest.raises(CorruptInputError, match=name):
        rmtgen.load_probe(copy)


def test_a_changed_field_is_named(copy):
    text = (copy / DESCRIPTION).read_text()
    (copy / DESCRIPTION).write_text(text.replace('"bicubic"', '"nearest"'))
    with pytest.raises(CorruptInputError, match="changed since it was written: recipe"):
        rmtgen.load_probe(copy)


@pytest.mark.parametrize(("found", "shown"), [(2, "2"), (None, "None"), ("\x1b[31m", r"\\x1b")])
def test_another_version_is_named(copy, found, shown):
    reseal(copy, format=found)
    with pytest.raises(
        StaleInputError, match=rf"has format {shown}.*this version of rmtgen reads 1"
    ):
        rmtgen.load_probe(copy)


@pytest.mark.parametrize("name", [DESCRIPTION, WEIGHTS])
@pytest.mark.parametrize("kind", ["gone", "link", "pipe", "folder"])
def test_what_is_no_file_of_the_folder_is_not_opened(copy, name, kind, tmp_path):
    path = copy / name
    path.rename(tmp_path / "elsewhere")
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    with pytest.raises((MissingInputError, CorruptInputError), match=name):
        rmtgen.load_probe(copy)


class _Bomb:
    def __reduce__(self):
        return os._exit, (86,)


@pytest.mark.parametrize("make", [pickle.dumps, lambda bomb: b"\x80" * 64, lambda bomb: b""])
def test_a_pickle_in_the_place_of_tensors_is_not_read(copy, make):
    (copy / WEIGHTS).write_bytes(make(_Bomb()))
    content = Content.of((copy / WEIGHTS).read_bytes())
    reseal(copy, files={WEIGHTS: vars(content)})
    with pytest.raises(CorruptInputError, match="must be a safetensors file"):
        rmtgen.load_probe(copy)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"blueprint__name": "hf-hub:someone/evil"}, "cannot be built: model must be a name"),
        ({"blueprint__name": "local-dir:/tmp"}, "cannot be built: model must be a name"),
        ({"blueprint__name": "resnet18.nosuchtag"}, "cannot be built"),
        ({"blueprint__name": "torchvision/vit_b_16"}, "cannot be built"),
        ({"blueprint__name": "test_resnet"}, "tensors of test_resnet: .* differ"),
        ({"blueprint__name": 3}, "no name of 3"),
        ({"blueprint__form": "backbone and head"}, "differ"),
        ({"blueprint__layer": "nosuchlayer", "blueprint__form": "backbone and head"}, "be built"),
        ({"blueprint__form": "exec"}, "no form of 'exec'"),
        ({"blueprint__img_size": 10**9}, "no img_size of 1000000000"),
        ({"blueprint__pooling": "mean"}, "no pooling of 'mean'"),
        ({"blueprint__command": "rm"}, "unexpected keyword argument"),
        ({"classes": [f"c{k}" for k in range(10**5)]}, "a head of 100000 × 256 weights"),
        ({"classes": ["a"] * 10}, "two or more different names"),
        ({"classes": [1, 2]}, "a list of names"),
        ({"features": 10**12}, "a head of 10 × 1000000000000"),
        ({"features": 2.5}, "features must be a whole number"),
        ({"recipe__maker": "os.system"}, "must be of a known maker"),
        ({"recipe__input_size": [3, 10**9, 2]}, "no input_size"),
        ({"recipe__std": [0, 1, 1]}, "no std"),
        ({"recipe__interpolation": "random"}, "no interpolation"),
        ({"recipe__extra": 1}, "must have the settings"),
        ({"settings": []}, "settings must be an object"),
        ({"files": {"../../secret": {"size": 1, "blake2b": "0" * 32}}}, "no name of a"),
        ({"files": {WEIGHTS: {"size": 1, "blake2b": "zz"}}}, "must be a digest"),
        ({"files": {WEIGHTS: {"size": -1, "blake2b": "0" * 32}}}, "a size must be"),
        ({"files": {}}, "must list model.safetensors"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
def test_whoever_knows_the_seal_runs_nothing(copy, changed, message):
    reseal(copy, **changed)
    with pytest.raises(CorruptInputError, match=message):
        rmtgen.load_probe(copy)


@pytest.mark.parametrize("fault", ["a tensor more", "a tensor less", "another type", "a shape"])
def test_other_tensors_are_named(copy, fault):
    state = load_file(copy / WEIGHTS)
    last = "head.fc.weight"
    if fault == "a tensor more":
        state["more"] = torch.zeros(2)
    elif fault == "a tensor less":
        del state["head.fc.bias"]
    elif fault == "another type":
        state["head.fc.bias"] = state["head.fc.bias"].double()
    else:
        state["head.fc.bias"] = torch.zeros(11)
    assert last in state
    swap_weights(copy, state)
    with pytest.raises(CorruptInputError, match="must hold the .* tensors of test_byobnet"):
        rmtgen.load_probe(copy)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"null", b'{"format": 1}', b"\xff\xfe", b"[" * 10**5]
)
def test_what_is_no_description_is_refused(copy, data):
    (copy / DESCRIPTION).write_bytes(data)
    with pytest.raises(CorruptInputError, match="does not describe an export"):
        rmtgen.load_probe(copy)


@pytest.mark.parametrize("place", [None, 3, "", "no\0where", "x" * 5000])
def test_what_is_no_folder_is_refused(place):
    with pytest.raises(RmtgenError):
        rmtgen.load_probe(place)
