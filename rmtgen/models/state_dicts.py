"""From the objects of a file of weights to the tensors of one architecture.

A training script nests a state dict in others and puts a prefix before its names. A *set* is the
tensors of one mapping of the file, less one common prefix. It fits if it has every tensor of the
architecture and none besides, but for a classifier. Of several sets that fit, one is taken by
the rule of `_preference`.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rmtgen.errors import CorruptInputError
from rmtgen.models.checkpoints import read_checkpoint
from rmtgen.models.libraries import library_of
from rmtgen.models.library import Library

log = logging.getLogger(__name__)

_NEVER_USED = re.compile(r"AuxLogits\.|level\d\.project\.")
"""Layers of published checkpoints that the networks of timm lack.

These are the auxiliary head of Inception and unused projections of DLA.
"""

_WRAPPERS = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
"""Names that torch puts anywhere before those of a module that it compiles or wraps."""

_AVERAGE = re.compile(r"(?:^|[._ ])(?:\w*ema|ema\w*|teacher|averaged?|swa)(?:_\w+)?(?:$|[._ ])")
_FOLLOWER = re.compile(r"(?:^|[._ ])(?:encoder_k|momentum\w*|key_encoder|target\w*)(?:$|[._ ])")

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_COUNTER = "num_batches_tracked"
"""A batch counter of BatchNorm, which inference does not read."""

_DEEPEST = 6
"""Mappings inside one another, and parts of a prefix, that are looked into."""

_MOST_REPEATED = 1 << 26
"""Elements up to which a tensor may have fewer values in the file (`expand`)."""


@dataclass(frozen=True)
class _Set:
    """Tensors under the names that they may have in an architecture.

    Attributes:
        place: The keys that lead to the mapping in the file, joined by dots; "" for the file
            itself.
        prefix: What was removed from each name.
        tensors: The tensors under the names that remain.
        outside: Names in the mapping that do not begin with the prefix.
    """

    place: str
    prefix: str
    tensors: Mapping[str, Tensor]
    outside: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = [f"at {self.place}" if self.place else "", f"under {self.prefix}*"]
        return " ".join(filter(None, where if self.prefix else where[:1])) or "at the top"


@dataclass(frozen=True)
class _Fit:
    """A set after the filter of its architecture, and how it differs from what is wanted."""

    source: _Set
    tensors: Mapping[str, Tensor]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    differing: tuple[str, ...]
    failure: Exception | None = None

    @property
    def faults(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.differing)

    @property
    def fits(self) -> bool:
        return self.failure is None and not self.faults


def load_weights(model: nn.Module, path: Path, name: str) -> str:
    """Load every tensor of a model without a classifier, as `Library.build` makes it, from a file.

    The set of tensors that fits is searched in all mappings of the file, less one common prefix.
    The filter of its library renames and resamples tensors, and the classifier is dropped.
    float16, bfloat16 and float64 become the type of the model, float32.

    Args:
        model: Model without a classifier; changed in place.
        path: File of safetensors, or one that `torch.save` wrote, of any suffix.
        name: Name of the model in its library.

    Returns:
        Which set was taken if several fit, as "at teacher under backbone.*"; "" if one fits. An
        average of weights (EMA, SWA, teacher) comes before the weights themselves (student), these
        before an encoder that follows them (MoCo's key encoder, a momentum or target encoder), and
        then the first in the file.

    Raises:
        CorruptInputError: The file cannot be read, is of another kind, or has no state dict; its
            tensors are of another architecture, sparse, quantised, without data, or of a type that
            is not a float of 16 to 64 bits; or a tensor that is loaded has NaN or infinite values.
    """
    content = read_checkpoint(path)
    mappings = list(_mappings(content, set()))
    for _, tensors in mappings:
        _refuse_giants(tensors, path)
    library = library_of(name)
    fits = [_fit(found, model, name, library) for found in _sets(mappings, model)]
    if not fits:
        raise CorruptInputError(
            f"{path} must be a state dict of names and tensors: got {_description(content)}. Save"
            " only `model.state_dict()`."
        )
    fitting = sorted((fit for fit in fits if fit.fits), key=_preference)
    if not fitting:
        raise CorruptInputError(_misfit(fits, model, path, name))
    chosen, *others = fitting
    _check_values(chosen, model, path, library.classifiers(model))
    # Only batch counters can still be missing.
    model.load_state_dict(_loadable(chosen, model), strict=False)
    if chosen.source.outside:
        log.warning(
            f"{path}: {_some('tensors outside the network', chosen.source.outside)} are not"
            f" loaded; it is {chosen.source}."
        )
    if not others:
        return ""
    log.warning(
        f"{path} holds {len(fitting)} sets of weights of {name}: the one {chosen.source} is"
        f" loaded, not {' or '.join(str(other.source) for other in others)}. For another, save it"
        " in a file of its own."
    )
    return str(chosen.source)


def _preference(fit: _Fit) -> int:
    """The rank of a set among those that fit, the lowest first."""
    names = f"{fit.source.place}.{fit.source.prefix}".lower()
    return 0 if _AVERAGE.search(names) else 2 if _FOLLOWER.search(names) else 1


def _sets(found: list[tuple[str, dict[str, Tensor]]], model: nn.Module) -> Iterator[_Set]:
    """The sets of a file that have at least half as many tensors as the model, or the largest."""
    fewest = (len(model.state_dict()) + 1) // 2
    for place, tensors in found:
        for prefix in _prefixes(tensors, fewest):
            yield _Set(
                place,
                prefix,
                {
                    key.removeprefix(prefix): tensor
                    for key, tensor in tensors.items()
                    if key.startswith(prefix)
                },
                tuple(key for key in tensors if not key.startswith(prefix)),
            )
    if found and all(len(tensors) < fewest for _, tensors in found):
        yield _Set(*max(((place, "", tensors) for place, tensors in found), key=_size))


def _size(found: tuple[str, str, Mapping[str, Tensor]]) -> int:
    return len(found[2])


def _mappings(
    content: Any, seen: set[int], place: tuple[str, ...] = ()
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Each mapping of a file that has tensors, once, with the keys that lead to it."""
    if len(place) > _DEEPEST or id(content) in seen:
        return
    seen.add(id(content))
    if isinstance(content, Mapping):
        tensors = {
            _WRAPPERS.sub("", key): value
            for key, value in content.items()
            if isinstance(key, str) and isinstance(value, Tensor)
        }
        if tensors:
            yield ".".join(place), tensors
        entries = list(content.items())
    elif isinstance(content, (list, tuple)):
        entries = list(enumerate(content))
    else:
        return
    for key, value in entries:
        if isinstance(value, (Mapping, list, tuple)):
            yield from _mappings(value, seen, (*place, str(key)))


def _prefixes(names: Mapping[str, Tensor], fewest: int) -> list[str]:
    """What begins at least `fewest` names and ends in a dot, and "", the shortest first."""
    begun: Counter[str] = Counter()
    for name in names:
        dots = [place for place, character in enumerate(name) if character == "."]
        begun.update(name[: dot + 1] for dot in dots[:_DEEPEST])
    often = [prefix for prefix, count in begun.items() if count >= fewest]
    whole = [""] if len(names) >= fewest else []
    return whole + sorted(often, key=len)


def _fit(source: _Set, model: nn.Module, name: str, library: Library) -> _Fit:
    """A set under the names and shapes of the model, as far as it has them."""
    wanted, classifiers = model.state_dict(), library.classifiers(model)
    try:
        filtered = library.renamed(_plain(source.tensors), model, name)
    except Exception as failure:  # noqa: BLE001 - filters fail in many ways on other architectures
        return _Fit(source, {}, tuple(wanted), (), (), failure)
    tensors = {
        key: tensor
        for key, tensor in filtered.items()
        if key in wanted or not _is_spare(key, classifiers)
    }
    needed = {key for key in wanted if not key.endswith(_COUNTER)}
    differing = (
        f"{key} {tuple(tensors[key].shape)} for {tuple(wanted[key].shape)}"
        for key in sorted(needed & tensors.keys())
        if tensors[key].shape != wanted[key].shape
    )
    unexpected = (key for key in sorted(tensors.keys() - wanted.keys()) if _COUNTER not in key)
    missing = sorted(needed - tensors.keys())
    return _Fit(source, tensors, tuple(missing), tuple(unexpected), tuple(differing))


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, with zeros of their shape for those that no filter can take."""
    return {
        key: torch.zeros(()).expand(_shape(tensor)) if _odd_kind(tensor) else tensor
        for key, tensor in tensors.items()
    }


def _shape(tensor: Tensor) -> torch.Size:
    return torch.Size([0]) if tensor.is_nested else tensor.shape


def _odd_kind(tensor: Tensor) -> str | None:
    """What a tensor is, if its values cannot be weights whatever the architecture."""
    if tensor.is_nested or tensor.layout != torch.strided:
        return "nested" if tensor.is_nested else f"sparse ({tensor.layout})"
    if tensor.is_quantized or tensor.is_meta:
        return "quantised" if tensor.is_quantized else "without data (on the meta device)"
    if tensor.is_complex() or (tensor.is_floating_point() and tensor.dtype not in _FLOATS):
        return f"of type {tensor.dtype}"
    return None


def _refuse_giants(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse a tensor of many more elements than are stored, before a filter copies it."""
    for key, tensor in tensors.items():
        stored = tensor.untyped_storage().nbytes() if _odd_kind(tensor) is None else 0
        if not tensor.is_nested and tensor.numel() > max(stored, _MOST_REPEATED):
            kind = f"of shape {tuple(tensor.shape)} with {stored} bytes of values"
            raise CorruptInputError(_unloadable(key, path, kind))


def _is_spare(key: str, classifiers: Sequence[str]) -> bool:
    """Whether a tensor that the model lacks belongs to its classifier, or was never used."""
    return (
        key.startswith(tuple(f"{place}." for place in classifiers))
        or _NEVER_USED.match(key) is not None
    )


def _check_values(fit: _Fit, model: nn.Module, path: Path, classifiers: Sequence[str]) -> None:
    """Refuse a tensor that is to be loaded and cannot be, by the name it has in the file."""
    prefix = fit.source.prefix
    for key, tensor in fit.source.tensors.items():
        spare = key.endswith(_COUNTER) or _is_spare(key, classifiers)
        kind = None if spare else _odd_kind(tensor)
        if kind:
            raise CorruptInputError(_unloadable(f"{prefix}{key}", path, kind))
    wanted = model.state_dict()
    for key, tensor in _loadable(fit, model).items():
        if key.endswith(_COUNTER):
            continue
        if tensor.is_floating_point() != wanted[key].is_floating_point():
            kind = f"of type {tensor.dtype} where {wanted[key].dtype} is due"
            raise CorruptInputError(_unloadable(f"{prefix}{key}", path, kind))
        bad = int((~tensor.to(wanted[key].dtype).isfinite()).sum())
        if bad:
            raise CorruptInputError(
                f"weights must be finite in {wanted[key].dtype}: {prefix}{key} in {path} has {bad}"
                " NaN or infinite values. Download the file again."
            )


def _unloadable(key: str, path: Path, kind: str) -> str:
    return (
        f"weights must be plain tensors of float16, bfloat16, float32 or float64: {key} in {path}"
        f" is {kind}. Save the weights in float32."
    )


def _loadable(fit: _Fit, model: nn.Module) -> dict[str, Tensor]:
    wanted = model.state_dict()
    return {key: tensor for key, tensor in fit.tensors.items() if key in wanted}


def _misfit(fits: list[_Fit], model: nn.Module, path: Path, name: str) -> str:
    """What the set that comes closest lacks, and where the other sets are."""
    closest = min(fits, key=lambda fit: len(fit.missing) + len(fit.differing))
    others = [str(fit.source) for fit in fits if fit is not closest]
    where = "" if str(closest.source) == "at the top" else f" {closest.source}"
    if closest.failure is not None:
        return (
            f"{path} must hold weights of {name}: the filter of timm for it fails with"
            f" {' '.join(repr(closest.failure).split())[:200]}{where}. Name the model that the"
            " weights belong to, or give other weights."
        )
    found = [
        _some("missing", closest.missing),
        _some("unexpected", closest.unexpected),
        _some("of another shape", closest.differing),
    ]
    needed = sum(not key.endswith(_COUNTER) for key in model.state_dict())
    also = f" ({_some('other sets of tensors', others)} fit no better)" if others else ""
    return (
        f"{path} must hold weights of {name}: expected its {needed} tensors{where}, got"
        f" {'; '.join(filter(None, found))}{also}. Name the model and the img_size that the weights"
        " belong to, or give other weights."
    )


def _some(what: str, names: Sequence[str]) -> str:
    return (
        f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        if names
        else ""
    )


def _description(content: Any) -> str:
    """A few words on a file without a mapping of names to tensors."""
    if isinstance(content, Mapping):
        if not content:
            return "no entry"
        key, value = next(iter(content.items()))
        return f"{type(value).__name__} at {key!r}"
    if isinstance(content, Tensor):
        return f"one tensor of shape {tuple(_shape(content))}"
    return f"an object of type {type(content).__name__}"
