"""Experiments: from a YAML file and the command line to one `Config` per run."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rmtgen.errors import MissingInputError, UsageError, did_you_mean
from rmtgen.runs.config import FIELDS, Config
from rmtgen.store import durable

EXPERIMENTS = Path(__file__).parent / "experiments"
"""Folder of the experiments that are shipped with the package."""

_LISTS = ("model", "init", "kernel")
"""Fields that may list several values; an experiment has one run per combination."""


@dataclass(frozen=True)
class Experiment:
    """A named set of runs, which differ in the backbone, the initialisation or the kernel."""

    name: str
    runs: tuple[Config, ...]

    @property
    def report_name(self) -> str:
        """The experiment's name and the first 8 characters of a hash of its runs' names."""
        names = " ".join(run.run_name for run in self.runs)
        return f"{self.name}-{durable.digest(names.encode())[:8]}"


def load_experiment(config: str | None, overrides: Mapping[str, Any]) -> Experiment:
    """Read a YAML file, apply overrides, and make one `Config` per model, init and kernel.

    A file of several documents describes several groups of runs; each further document overrides
    keys of the first.

    Args:
        config: Path of a YAML file, name of a shipped experiment, or None for the defaults.
        overrides: Field values as text, from flags and make variables; names in any case.

    Returns:
        The experiment, without duplicate runs.

    Raises:
        MissingInputError: There is no such file.
        UsageError: Some keys are unknown or some values do not parse; all are in one message.
    """
    name, documents = ("run", [{}]) if config is None else _read_yaml(_find(config))
    first, *others = documents
    flags = {key.lower().replace("-", "_"): value for key, value in overrides.items()}
    groups = [first | flags, *(first | document | flags for document in others)]
    runs = dict.fromkeys(run for values in groups for run in _runs(values))
    return Experiment(name, tuple(runs))


def _runs(values: Mapping[str, Any]) -> list[Config]:
    """One `Config` per model, init and kernel of one document."""
    parsed, problems = {}, []
    for key, value in values.items():
        try:
            parsed[key] = _parse_field(key, value)
        except UsageError as error:
            problems.append(str(error))
    if problems:
        raise UsageError("; ".join(problems))
    combinations = itertools.product(
        *(parsed.pop(key, None) or [FIELDS[key].default] for key in _LISTS)
    )
    runs = [Config(**parsed, **dict(zip(_LISTS, chosen, strict=True))) for chosen in combinations]
    if len({run.model for run in runs}) > 1 and parsed.get("weights"):
        raise UsageError(
            "weights names one file, but there are several models: give one model, or put"
            " MODEL.safetensors in checkpoints/."
        )
    return runs


def _parse_field(key: str, value: Any) -> Any:
    if key not in FIELDS:
        raise UsageError(f"unknown field {key!r}. {did_you_mean(key, FIELDS)}")
    parse = FIELDS[key].metadata["parse"]
    try:
        if key in _LISTS:
            items = value if isinstance(value, list) else str(value).split(",")
            return list(
                dict.fromkeys(
                    parse(item.strip() if isinstance(item, str) else item) for item in items
                )
            )
        return parse(value)
    except UsageError as error:
        raise UsageError(f"{key}: {error}") from None


def _find(config: str) -> Path:
    path = Path(config)
    shipped = EXPERIMENTS / f"{config}.yaml"
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path
    if shipped.is_file():
        return shipped
    known = [file.stem for file in EXPERIMENTS.glob("*.yaml")]
    raise MissingInputError(
        f"no configuration {config!r}: not a .yaml file, and not shipped."
        f" {did_you_mean(config, known)}"
    )


def _read_yaml(path: Path) -> tuple[str, list[dict[str, Any]]]:
    import yaml

    try:
        # every scalar stays text, parsed as flags are: YAML's own reading makes 65 of 1:5 and text
        # of 1e-8
        documents = list(yaml.load_all(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = " ".join(str(error).split())
        raise UsageError(f"{path} is not valid YAML: {where}") from None
    for values in documents or [None]:
        if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
            raise UsageError(f"{path} must map field names to values, got {type(values).__name__}.")
    return path.stem, documents
