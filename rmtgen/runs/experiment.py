"""Experiments: from a YAML file and the command line to one `Config` per run."""

import itertools
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rmtgen.errors import MissingInputError, UsageError, did_you_mean, warn
from rmtgen.models.layer_names import layers_named, stands_for_several
from rmtgen.names import expanded
from rmtgen.runs.combinations import check_draws
from rmtgen.runs.concatenation import matched
from rmtgen.runs.config import FIELDS, Config
from rmtgen.runs.documents import read_documents
from rmtgen.runs.own_features import data_sets, has_network, refuse_networks
from rmtgen.runs.parsers import shown
from rmtgen.store import durable

EXPERIMENTS = Path(__file__).parent / "experiments"
"""Folder of the experiments that are shipped with the package."""

_LISTS = ("dataset", "model", "init", "kernel", "head_seed", "img_size", "layer", "pooling")
"""Fields that may list several values; an experiment has one run per combination."""
_MOST_RUNS = 1000
_OF_THE_ENTK = ("heads", "projection")
"""Fields that mean nothing for another kernel."""


@dataclass(frozen=True)
class Experiment:
    """A named set of runs, which differ in the backbone, its initialisation, or the kernel."""

    name: str
    runs: tuple[Config, ...]

    @property
    def report_name(self) -> str:
        """The experiment's name and the first 8 characters of a hash of its runs' names."""
        names = " ".join(run.run_name for run in self.runs)
        return f"{self.name}-{durable.digest(names.encode())[:8]}"


def load_experiment(config: str | None, overrides: Mapping[str, Any]) -> Experiment:
    """Read a YAML file, apply overrides, and make one `Config` per combination of `_LISTS`.

    A file of several documents describes several groups of runs; each further document overrides
    keys of the first.

    Args:
        config: Path of a YAML file, name of a shipped experiment, or None for the defaults.
        overrides: Field values as text, from flags and make variables; names in any case.

    Returns:
        The experiment, without duplicate runs.

    Raises:
        MissingInputError: There is no such file.
        UsageError: Some keys are unknown or some values do not parse; all are in one message. Or
            runs do not go together: fields of another kernel, heads that two runs share, too many.
    """
    file = None if config is None else _find(config)
    first, *others = [{}] if file is None else read_documents(file)
    flags = {key.lower().replace("-", "_"): value for key, value in overrides.items()}
    groups = [first | flags, *(first | document | flags for document in others)]
    runs = dict.fromkeys(run for values in groups for run in _runs(values))
    refuse_networks((run.dataset for run in runs), groups)
    if not any(run.kernel == "entk" for run in runs):
        _refuse_heads(groups)
    named = any(values.get("weights") for values in groups)
    if named and not any(run.has_network and run.init == "pretrained" for run in runs):
        warn("weights is not used: no run has init=pretrained.")
    if len(runs) > _MOST_RUNS:
        raise UsageError(
            f"an experiment has at most {_MOST_RUNS:,} runs, got {len(runs):,}. Narrow its lists."
        )
    return Experiment(file.stem if file else "run", tuple(runs))


def _refuse_heads(groups: Sequence[Mapping[str, Any]]) -> None:
    """Refuse what is said of heads where no run has one; a single seed does no harm."""
    for name in _OF_THE_ENTK:
        if any(values.get(name) for values in groups):
            raise UsageError(
                f"{name} is for kernel=entk, and no run has it. Add it, or leave {name} out."
            )
    if any(len(_parse_field("head_seed", values.get("head_seed"))) > 1 for values in groups):
        raise UsageError(
            "head_seed lists heads of kernel=entk, and no run has it. Add it, or give one seed."
        )


def _runs(values: Mapping[str, Any]) -> list[Config]:
    """One `Config` per combination of the lists of one document; some may be equal."""
    parsed, problems = {}, []
    for key, value in values.items():
        try:
            parsed[key] = _parse_field(key, value)
        except UsageError as error:
            problems.append(str(error))
    if problems:
        raise UsageError("; ".join(problems))
    lists = [parsed.pop(key, [FIELDS[key].default]) for key in _LISTS]
    if (count := math.prod(map(len, lists))) > _MOST_RUNS:
        listed = (f"{len(one):,} of {name}" for name, one in zip(_LISTS, lists, strict=True))
        several = [words for words in listed if not words.startswith("1 ")]
        raise UsageError(
            f"lists and patterns must make at most {_MOST_RUNS:,} runs together, got {count:,}:"
            f" {', '.join(several)}. Narrow them; a ranking of more than 100 takes a budget."
        )
    check_draws(lists[_LISTS.index("head_seed")], parsed.get("heads"))
    runs: list[Config] = []
    counted: dict[Any, dict[str, int]] = {}  # the images of a data set, so that it is listed once
    for combination in itertools.product(*lists):
        chosen = dict(zip(_LISTS, combination, strict=True))
        for layer in _layers(chosen):
            images = counted.get(chosen["dataset"], {})
            runs.append(Config(**parsed | images | chosen | {"layer": layer}))
            counted[chosen["dataset"]] = {"train": runs[-1].train, "test": runs[-1].test}
    networks = (one for run in runs for one in run.members or (run,) if one.has_network)
    if parsed.get("weights") and len({run.model for run in networks}) > 1:
        raise UsageError(
            "weights names one file, but there are several models: give one model, or put"
            " MODEL.safetensors in checkpoints/."
        )
    return runs


def _layers(chosen: Mapping[str, Any]) -> Sequence[str | None]:
    """The layers of one run, or of several where a pattern stands for them.

    A pattern that matches nothing is left as it is: the run of this network is refused by name.
    """
    layer = chosen["layer"]
    if not (stands_for_several(layer) and has_network(chosen["dataset"])):
        return (layer,)
    return layers_named(chosen["model"], layer) or (layer,)


def _parse_field(key: str, value: Any) -> Any:
    if key not in FIELDS:
        raise UsageError(f"unknown field {shown(key)}. {did_you_mean(key, FIELDS)}")
    parse = FIELDS[key].metadata["parse"]
    try:
        if key in _LISTS:
            items = value if isinstance(value, list) else _items(key, value)
            if not items:
                raise UsageError("expected at least one value, got an empty list.")
            return [parse(one) for item in items for one in _named(key, item)]
        return parse(value)
    except UsageError as error:
        raise UsageError(f"{key}: {error}") from None


def _items(key: str, value: Any) -> list[Any]:
    """The values that text lists; a path may hold commas."""
    if key == "dataset":
        return data_sets(value) if isinstance(value, str) else [value]
    return str(value).split(",")


def _named(key: str, item: Any) -> list[Any]:
    """A value, or what a pattern of models stands for."""
    if not isinstance(item, str) or key == "dataset":
        return [item]
    item = item.strip()
    return matched(item) if key == "model" else [item]


def _find(config: str) -> Path:
    path = expanded(config)
    shipped = {file.stem: file for file in EXPERIMENTS.glob("*.yaml")}
    if path.suffix in (".yaml", ".yml") and os.path.lexists(path):
        return path
    if config in shipped:
        return shipped[config]
    raise MissingInputError(
        f"no configuration {shown(config)}: not a .yaml file, and not shipped."
        f" {did_you_mean(config, shipped)}"
    )
