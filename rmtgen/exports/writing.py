"""From a run to a folder: the probe fitted, joined with its network, described, and read back."""

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from jaxtyping import Float64
from safetensors.torch import save
from torch import Tensor, nn

from rmtgen.entrance import public
from rmtgen.errors import CorruptInputError, NumericalError, StaleInputError, UsageError
from rmtgen.exports import onnx_file
from rmtgen.exports.card import model_card
from rmtgen.exports.description import (
    CARD,
    HUB,
    ONNX,
    WEIGHTS,
    Content,
    Description,
    is_export,
    looked_up,
)
from rmtgen.exports.probe import load_probe
from rmtgen.exports.quality import Quality, quality_of
from rmtgen.models.backbones import Backbone
from rmtgen.models.headed import WHOLE, Blueprint, Headed, agree, with_head
from rmtgen.models.libraries import library_of
from rmtgen.models.recipes import data_config
from rmtgen.models.timm_library import TimmLibrary
from rmtgen.names import printable
from rmtgen.ridge.kernel import FeatureKernel
from rmtgen.ridge.linear_fit import linear_fit
from rmtgen.ridge.problem import Problem
from rmtgen.ridge.targets import coded_targets
from rmtgen.runs.concatenation import is_concatenation, said
from rmtgen.runs.config import FIELDS, Config
from rmtgen.runs.manifest import plain, provenance
from rmtgen.runs.run import Run, load_run
from rmtgen.scalars import flag
from rmtgen.stages.calibrating import calibrated
from rmtgen.stages.loading import open_backbone, open_images, up_to_layer
from rmtgen.store import durable

REMEDY = "Free space, or choose another place, and export again."
MEASURED = 1e-3
"""Largest relative difference of a test risk that is the same: a Gram matrix may be float32."""
FACTS = ("parameters", "flops", "licence")
"""What the stage `extract` records of the network."""


@public
def export_probe(
    run: str | Path,
    folder: str | Path,
    *,
    relative_ridge: float | None = None,
    onnx: bool = False,
    overwrite: bool = False,
    **places: Any,
) -> Path:
    """Write the ridge probe of a run as a folder that predicts on new images.

    The folder has `model.safetensors`, the network with the probe as its head; `rmtgen.json`, its
    transform, its classes, the settings of the run and how good it is; `README.md`, a model card;
    and `config.json` where timm can load the folder itself. It is read back, and the scores of
    random images are compared, before it has its name. A failure, or a kill, leaves none.

    Args:
        run: Directory of a run of `rmtgen rank`, or of `rmtgen run` up to `risk`.
        folder: What is written.
        relative_ridge: λ over tr K/N, one of the run's `ridges`; None: that of the smallest
            leave-one-out risk.
        onnx: Write `model.onnx` too, which needs the extra `onnx`.
        overwrite: Replace an export that is there.
        **places: `checkpoints`, `data_root`, `download` and `spill`, as in the configuration.

    Returns:
        The folder.

    Raises:
        UsageError: An unknown ridge or place, an eNTK, a concatenation, or a folder that is there.
        MissingInputError: There is no such run, it is not far enough (the message names the
            command), or its features, its weights or a package are missing.
        CorruptInputError: A file of the run is not what was written.
        StaleInputError: The network that is there now is not that of the features.
        NumericalError: The fit is not finite, or not the one that the run has measured.
        StorageError: The disk refuses.
        BusyError: Another process writes the same folder.
    """
    folder, onnx = looked_up(folder), flag(onnx, "onnx")
    overwrite = flag(overwrite, "overwrite")
    _require_free(folder, overwrite)
    if onnx:
        onnx_file.require_packages()
    found = load_run(run)
    if is_concatenation(found.config):
        raise UsageError(
            f"an export is of one network up to one layer, and {found.name} is of features side by"
            f" side: {said(found.config)}. Export the run of one of them."
        )
    quality = quality_of(found, relative_ridge)
    config = _config(found, places)
    weights, offset = _fitted(found, config, quality)
    backbone = _backbone(found, config)
    headed = with_head(backbone, config.img_size, weights, offset)
    with durable.new_folder(folder, REMEDY, replace=overwrite) as partial:
        _fill(partial, found, config, backbone, headed, quality, onnx)
        _check(partial, headed, backbone)
    return folder


def _require_free(folder: Path, overwrite: bool) -> None:
    """Refuse a place where something is, unless it is an export to be replaced."""
    shown = printable(str(folder))
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError(f"{shown} must be a folder, and is a file or a link. Name another place.")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not is_export(folder):
        raise UsageError(
            f"{shown} is there already and is no export, so that it is not replaced. Name another"
            " place."
        )
    if not overwrite:
        raise UsageError(
            f"{shown} is there already. Name another place (--to), or replace it with overwrite"
            " (--overwrite)."
        )


def _config(run: Run, places: Mapping[str, Any]) -> Config:
    """The configuration of a run, with the places of this call; weights where they were found."""
    free = [name for name in ("checkpoints", "data_root", "download", "spill") if name in FIELDS]
    unknown = sorted(places.keys() - set(free))
    if unknown:
        raise UsageError(f"unknown place {unknown[0]!r}: expected one of {', '.join(free)}.")
    parsed = {name: FIELDS[name].metadata["parse"](str(value)) for name, value in places.items()}
    stored = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in run.config.items()
        if name in FIELDS
    }
    source = run.manifest("extract").details.get("sources", {}).get("weights")
    if stored.get("weights") is None and isinstance(source, str) and Path(source).is_file():
        stored["weights"] = source
    return Config(**{**stored, **parsed})


def _fitted(
    run: Run, config: Config, quality: Quality
) -> tuple[Float64[Tensor, "p c"], Float64[Tensor, " c"]]:
    """W and b for targets of 0 and 1, from the features in the run's shards."""
    store, coding = run.feature_store, config.targets
    rows = store.mapped("train", Path(config.spill)) if config.spill else store.read("train")
    kernel = FeatureKernel.checked(torch.from_numpy(rows), None)
    classes = len(run.classes)
    targets = coded_targets(run.labels.train, classes, coding)
    problem = Problem.checked(kernel, targets.values, None, loo=False, intercept=targets.intercept)
    weights, offset = linear_fit(problem, quality.ridge)
    _check_measured(run, coding, (weights, offset), quality)
    low = 0.0 if problem.code is None else problem.code.low
    return weights, offset - low


def _check_measured(run: Run, coding: str, fit: tuple[Tensor, Tensor], quality: Quality) -> None:
    """Hold the fit against the test risk that the run has measured, where it has one."""
    if not quality.tests:
        return
    features = torch.from_numpy(run.feature_store.read("test")).double()
    targets = coded_targets(run.labels.test, len(run.classes), coding).values[:]
    risk = (features @ fit[0] + fit[1] - targets).square().sum(dim=1).mean().item()
    if not abs(risk - quality.test_risk) <= MEASURED * quality.test_risk:
        raise NumericalError(
            f"the probe must have the test risk that the run has measured: got {risk:.6g}, expected"
            f" {quality.test_risk:.6g} at λ = {quality.ridge:.4g}. Its Gram matrix was rounded, or"
            " a file was changed: run it with solve_from=features, or take a larger ridge."
        )


def _backbone(run: Run, config: Config) -> Backbone:
    """The network that the features were made by, on the CPU."""
    opened = open_backbone(config)
    if config.init == "calibrated":
        opened = calibrated(config, opened, open_images(config).train)
    backbone = up_to_layer(config, opened)
    recorded = run.manifest("extract").details.get("backbone_blake2b")
    if backbone.digest() != recorded:
        raise StaleInputError(
            f"the network must be the one that the features of {run.name} were made by: its weights"
            f" have the digest {str(recorded)[:8]}, got {backbone.digest()[:8]} of"
            f" {backbone.source}. Put the weights back, or name their folder with checkpoints=."
        )
    dim = run.feature_store.layout.dim
    if backbone.feature_dim != dim:
        raise CorruptInputError(
            f"the features of {run.name} must be those of its network, of dimension"
            f" {backbone.feature_dim}: got {dim}. Run {run.command('extract')}."
        )
    return backbone


def _fill(
    folder: Path,
    run: Run,
    config: Config,
    backbone: Backbone,
    headed: Headed,
    quality: Quality,
    onnx: bool,
) -> None:
    """Write every file."""
    blueprint = Blueprint(config.model, config.img_size, config.layer, config.pooling, headed.form)
    written: dict[str, bytes] = {WEIGHTS: _state_dict(headed.model)}
    library, arguments = library_of(config.model), dict[str, int]()
    if headed.form == WHOLE and isinstance(library, TimmLibrary):
        arguments = library.arguments(config.model, config.img_size)
        written[HUB] = _hub_config(headed.model, backbone, run.classes, arguments)
    for name, data in written.items():
        durable.write_bytes(folder / name, data)
    if onnx:
        written[ONNX] = onnx_file.write_onnx(folder / ONNX, headed.model, backbone.input_size)
    described = Description(
        blueprint=blueprint,
        recipe=dict(backbone.recipe or {}),
        classes=run.classes,
        features=backbone.feature_dim,
        settings=plain(run.config),
        quality=plain(dataclasses.asdict(quality)),
        origin=plain(_origin(run, backbone, arguments)),
        files={name: Content.of(data) for name, data in written.items()},
    )
    card = model_card(described, quality, headed.reason).encode(errors="backslashreplace")
    durable.write_bytes(folder / CARD, card)
    with_card = {**described.files, CARD: Content.of(card)}
    dataclasses.replace(described, files=with_card).write(folder)


def _state_dict(model: nn.Module) -> bytes:
    return save({name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()})


def _hub_config(
    model: nn.Module, backbone: Backbone, classes: tuple[str, ...], arguments: Mapping[str, int]
) -> bytes:
    """config.json as timm writes it for the Hugging Face hub, with our transform and classes."""
    published: Any = model.pretrained_cfg
    settings = data_config(backbone.recipe or {})
    kept = {"first_conv", "classifier", "fixed_input_size", "license"}
    settings |= {key: published[key] for key in kept if published.get(key) is not None}
    content = {
        "architecture": backbone.name.partition(".")[0],
        "num_classes": len(classes),
        "num_features": backbone.feature_dim,
        "label_names": list(classes),
        "model_args": dict(arguments),
        "pretrained_cfg": {**settings, "custom_load": False, "num_classes": len(classes)},
    }
    return (json.dumps(plain(content), indent=2, ensure_ascii=False) + "\n").encode(
        errors="backslashreplace"
    )


def _origin(run: Run, backbone: Backbone, arguments: Mapping[str, int]) -> dict[str, Any]:
    details, made = run.manifest("extract").details, provenance()
    return {
        "run": run.name,
        "weights": _shown_source(backbone.source),
        **{name: details.get(name) for name in FACTS},
        "model_args": dict(arguments),
        "made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": made["versions"],
    }


def _shown_source(source: str) -> str:
    """The source of weights without the folders of this machine."""
    path, comma, rest = source.partition(", ")
    return f"{Path(path).name}{comma}{rest}" if path.startswith(("/", ".", "~")) else source


def _check(folder: Path, headed: Headed, backbone: Backbone) -> None:
    """Read the folder back, as its users will, and compare the scores of random images."""
    loaded = [load_probe(folder).model]
    if (folder / HUB).exists():
        with torch.random.fork_rng(devices=[]):
            loaded.append(timm.create_model(f"local-dir:{folder}", pretrained=True).eval())
    if not all(agree(model, headed.model, backbone.input_size) for model in loaded):
        raise NumericalError(
            f"the network that is read back must give the same scores as the one written: it does"
            f" not, for random images ({backbone.name}). Report this with the name of the network."
        )


__all__ = ["export_probe"]
