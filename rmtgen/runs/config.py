"""Configuration: one frozen `Config` per run, from YAML, flags and make variables.

A field is declared once, in `Config`, with its help, its parser and the stages whose result it
changes. The flags, the YAML keys, the suggestions for a mistyped key and the hashes follow from the
declaration. The hash of a stage covers exactly the fields that can change its result: a change of
the ridge grid reuses the features, and a change of the device reuses everything.
"""

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rmtgen.errors import MissingInputError, UsageError, did_you_mean
from rmtgen.runs.graph import STAGES
from rmtgen.store import durable
from rmtgen.units import parse_bytes

EXPERIMENTS = Path(__file__).parent / "experiments"
"""Folder of the experiments that are shipped with the package."""

_MOST_IN_RANGE = 10_000
_LISTS = ("model", "init", "kernel")
"""Fields that may list several values; an experiment has one run per combination."""


def parse_grid(value: Any, *, integers: bool) -> tuple[float, ...]:
    """Parse a grid of numbers, in the order given and without duplicates.

    Args:
        value: A list, or text such as "0,1e-8:1e2:21", where low:high:count is a geometric range.
        integers: Round the numbers of a range to integers, and refuse other fractions.

    Returns:
        The numbers.

    Raises:
        UsageError: A term is neither a number ≥ 0 nor a range with 0 < low < high and count ≥ 2;
            the grid is empty; or a number is not whole where it must be.
    """
    terms = value if isinstance(value, (list, tuple)) else str(value).split(",")
    numbers = [number for term in terms for number in _grid_term(str(term).strip())]
    if integers:
        ranged = any(":" in str(term) for term in terms)
        numbers = sorted(round(number) for number in numbers) if ranged else numbers
        if any(number != int(number) for number in numbers):
            raise UsageError(f"expected whole numbers, got {value!r}.")
        numbers = [int(number) for number in numbers]
    if not numbers:
        raise UsageError(f"expected at least one number, got {value!r}.")
    return tuple(dict.fromkeys(numbers))


def _grid_term(term: str) -> list[float]:
    try:
        parts = [float(part) for part in term.split(":")]
    except ValueError:
        raise UsageError(f"expected a number or low:high:count, got {term!r}.") from None
    if any(math.isnan(part) or math.isinf(part) or part < 0 for part in parts):
        raise UsageError(f"grid values must be finite and ≥ 0, got {term!r}.")
    if len(parts) == 1:
        return parts
    if (
        len(parts) != 3
        or not 0 < parts[0] < parts[1]
        or parts[2] not in range(2, _MOST_IN_RANGE + 1)
    ):
        raise UsageError(
            f"a range is low:high:count with 0 < low < high and count from 2 to {_MOST_IN_RANGE},"
            f" got {term!r}."
        )
    low, high, count = parts[0], parts[1], int(parts[2])
    step = (math.log(high) - math.log(low)) / (count - 1)
    return [low, *(math.exp(math.log(low) + step * k) for k in range(1, count - 1)), high]


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError(f"expected text, got {value!r}.")
    return value


def _optional(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value in (None, "", "none", "null") else parse(value)


def _one_of(*choices: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if value not in choices:
            raise UsageError(
                f"expected one of {', '.join(choices)}, got {value!r}."
                f" {did_you_mean(str(value), choices)}"
            )
        return value

    return parse


def _whole(low: int, high: float = math.inf) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        number = value if isinstance(value, int) and not isinstance(value, bool) else None
        if isinstance(value, str) and re.fullmatch(r"[+-]?\d+", value.strip()):
            number = int(value)
        if number is None or not low <= number <= high:
            bounds = f"≥ {low}" if math.isinf(high) else f"from {low} to {high}"
            raise UsageError(f"expected a whole number {bounds}, got {value!r}.")
        return number

    return parse


def _switch(value: Any) -> bool:
    words = {
        "true": True,
        "yes": True,
        "1": True,
        "on": True,
        "false": False,
        "no": False,
        "0": False,
        "off": False,
    }
    if str(value).lower() not in words:
        raise UsageError(f"expected true or false, got {value!r}.")
    return words[str(value).lower()]


def _sizes(value: Any) -> tuple[int, ...] | str:
    if value == "auto":
        return value
    sizes = tuple(map(int, parse_grid(value, integers=True)))
    if min(sizes) < 1:
        raise UsageError(f"sample sizes must be ≥ 1, got {value!r}.")
    return sizes


def _field(
    default: Any,
    parse: Callable[[Any], Any],
    stages: Sequence[str],
    text: str,
    *,
    option: bool = False,
) -> Any:
    """Declare a field of `Config`.

    Args:
        default: Default value, as YAML or the command line gives it.
        parse: Function from what YAML or the command line gives to the value; raises `UsageError`.
        stages: Stages whose own result the field can change.
        text: Help text.
        option: Leave the field out of the hashes where it is None, so that a new field changes no
            hash of an earlier run.
    """
    written = "none" if default is None else str(default)
    metadata = {
        "parse": parse,
        "default": written.lower() if isinstance(default, bool) else written,
        "stages": tuple(stages),
        "help": text,
        "option": option,
    }
    return dataclasses.field(default=parse(default), metadata=metadata)


def kernel_label(kernel: str, heads: int | None = None, projection: int | None = None) -> str:
    """A kernel in a few words: features, entk, entk 4 heads, entk sketch 4096."""
    head = f" {heads} heads" if heads else ""
    return f"{kernel}{head}{f' sketch {projection}' if projection else ''}"


_SOLVES = ("spectrum", "risk")


@dataclass(frozen=True)
class Config:
    """Everything one run depends on; `rmtgen run --help` explains each field."""

    dataset: str = _field(
        "cifar100",
        _text,
        ("extract",),
        "data set: a name, folder:PATH (a folder or .tar), or hfds/NAME",
    )
    train: int = _field(10000, _whole(2), ("extract",), "training images, the pool of N samples")
    test: int = _field(2000, _whole(1), ("extract",), "test images")
    seed: int = _field(
        0, _whole(0), ("extract", *_SOLVES), "seed of the subsets and of the trials' shuffles"
    )
    stratify: bool = _field(
        False,
        _switch,
        ("extract",),
        "draw pool and test set class-balanced (trials stay plain shuffles of the pool)",
    )
    on_corrupt: str = _field(
        "refuse",
        _one_of("refuse", "skip"),
        ("extract",),
        "what to do with damaged image files: refuse or skip",
    )
    model: str = _field(
        "resnet50",
        _text,
        ("extract",),
        "timm backbone; several, separated by commas, make several runs",
    )
    init: str = _field(
        "pretrained",
        _one_of("pretrained", "random"),
        ("extract",),
        "weights: pretrained or random; both make two runs",
    )
    weights: str | None = _field(
        None,
        _optional(_text),
        ("extract",),
        "file with pretrained weights, instead of looking for them",
    )
    init_seed: int = _field(438, _whole(0), ("extract",), "seed of the random initialisation")
    img_size: int | None = _field(
        224,
        _optional(_whole(1)),
        ("extract",),
        "side in pixels that images are scaled to; none: timm's own",
    )
    batch_size: int = _field(
        64,
        _whole(1),
        ("extract",),
        "images in a forward pass, and in a resumable part of the features",
    )
    fp32_precision: str = _field(
        "ieee",
        _one_of("ieee", "tf32"),
        ("extract", "gram"),
        "float32 products on CUDA: ieee or tf32",
    )
    kernel: str = _field(
        "features",
        _one_of("features", "entk"),
        ("gram", *_SOLVES),
        "kernel: features, or entk, the empirical neural tangent kernel under a fresh head; several"
        " make several runs",
    )
    head_seed: int = _field(438, _whole(0), ("gram",), "seed of that head (entk)")
    heads: int | None = _field(
        None,
        _optional(_whole(2)),
        ("gram",),
        "average the entk over so many heads, of consecutive seeds",
        option=True,
    )
    projection: int | None = _field(
        None,
        _optional(_whole(1)),
        ("extract",),
        "random sketch of the entk's gradients to so many dimensions, solved from as features",
        option=True,
    )
    solve_from: str = _field(
        "auto",
        _one_of("auto", "features", "gram"),
        _SOLVES,
        "what is solved from; auto: Gram matrix if N ≤ dimension; features: needs no Gram matrix",
    )
    gram_dtype: str = _field(
        "auto",
        _one_of("auto", "float32", "float64"),
        ("gram",),
        "type of the stored Gram matrix, and that an entk is computed in; auto: float64 for"
        " features, float32 for entk",
    )
    tile: int = _field(1024, _whole(16), ("gram",), "edge of a tile of the Gram matrix, in samples")
    targets: str = _field(
        "centered",
        _one_of("onehot", "centered", "intercept"),
        _SOLVES,
        "label coding: onehot, centered or intercept",
    )
    sizes: tuple[int, ...] = _field(
        "auto", _sizes, _SOLVES, "sample sizes n; auto: 8 in geometric steps up to train"
    )
    trials: int = _field(3, _whole(1), _SOLVES, "seeded shuffles of the pool at each size")
    ridges: tuple[float, ...] = _field(
        "0,1e-8:1e2:21",
        lambda value: parse_grid(value, integers=False),
        ("risk",),
        "ridges relative to tr K/N; low:high:count is a geometric range",
    )
    loo: bool = _field(True, _switch, ("risk",), "leave-one-out columns")
    data_root: str = _field("data", _text, (), "where data sets lie and are downloaded to")
    download: bool = _field(False, _switch, (), "fetch a missing data set")
    checkpoints: str = _field(
        "checkpoints", _text, (), "where local weights lie, as MODEL.safetensors or MODEL.pth"
    )
    output: str = _field("data", _text, (), "where results go: runs/ and reports/ under it")
    device: str | None = _field(
        None, _optional(_text), (), "torch device; none: CUDA where there is one"
    )
    workers: int | None = _field(
        None, _optional(_whole(0, 256)), (), "processes that decode images; none: chosen by device"
    )
    memory: int = _field(
        "4GiB",
        parse_bytes,
        (),
        "budget of the entk and of the batched eigensolves, as in 4GiB",
    )

    def __post_init__(self) -> None:
        if self.init == "random" and self.weights:
            object.__setattr__(self, "weights", None)
        self._resolve_kernel()
        if self.sizes == "auto":
            low = max(2, min(100, self.train // 8))
            sizes = (
                parse_grid(f"{low}:{self.train}:8", integers=True)
                if self.train > low
                else (self.train,)
            )
            object.__setattr__(self, "sizes", sizes)
        if self.targets == "intercept" and min(self.sizes) < 2:
            raise UsageError(
                f"targets=intercept needs sizes ≥ 2, got {min(self.sizes)}: one sample is its own"
                " intercept."
            )
        if max(self.sizes) > self.train:
            raise UsageError(
                f"sizes must be ≤ train: expected at most {self.train}, got {max(self.sizes)}."
                " Raise train or lower sizes."
            )

    def _resolve_kernel(self) -> None:
        """Give fields that mean nothing for the kernel one value: equal runs, equal hashes."""
        unset = () if self.kernel == "entk" else ("head_seed", "heads", "projection")
        for name in unset:
            object.__setattr__(self, name, FIELDS[name].default)
        if self.projection and self.heads:
            raise UsageError(
                f"projection sketches the gradients of one head, got heads={self.heads}. Leave one"
                " of them out."
            )
        if self.tangent and self.solve_from == "features":
            raise UsageError(
                "solve_from=features is for kernel=features, got kernel=entk. Leave solve_from out,"
                " or sketch: projection=4096."
            )
        if self.kernel == "entk" and self.solve_from == "auto":
            object.__setattr__(self, "solve_from", "gram" if self.tangent else "features")
        if self.gram_dtype == "auto":
            object.__setattr__(self, "gram_dtype", "float32" if self.tangent else "float64")

    @property
    def tangent(self) -> bool:
        """Whether the Gram matrix is that of an exact eNTK, not of stored rows."""
        return self.kernel == "entk" and not self.projection

    def stage_fields(self, stage: str) -> dict[str, Any]:
        """The fields that can change a stage's result, those of the stages it reads included."""
        closure = {stage, *STAGES[stage].reads(self)}
        values = {field: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            field.name: value
            for field, value in values.items()
            if closure & self._changed_by(field)
            and not (field.metadata["option"] and value is None)
        }

    def _changed_by(self, field: dataclasses.Field) -> set[str]:
        """The stages whose result a field can change."""
        stages = set(field.metadata["stages"])
        sketched = self.projection and field.name in ("kernel", "head_seed")
        return stages | {"extract"} if sketched else stages  # the sketch takes the features' place

    def stage_hash(self, stage: str) -> str:
        """BLAKE2b-128 of the canonical JSON of `stage_fields`."""
        return durable.digest(
            durable.canonical_json({"stage": stage, **self.stage_fields(stage)}).encode()
        )

    @property
    def run_name(self) -> str:
        """A readable slug and the first 8 characters of the hash of all result-affecting fields."""
        source = (
            Path(self.dataset.partition(":")[2]).name.split(".")[0]
            if ":" in self.dataset
            else self.dataset
        )
        size = f"{self.img_size}px" if self.img_size else "native"
        label = kernel_label(self.kernel, self.heads, self.projection)
        kernel = "" if label == "features" else f"-{label.replace(' ', '')}"
        slug = f"{self.model}-{self.init}{kernel}-{source}-n{self.train}-{size}"
        slug = re.sub(r"[^A-Za-z0-9._-]+", "_", slug)
        hashes = "".join(self.stage_hash(stage) for stage in _WITH_FIELDS)
        return f"{slug}-{durable.digest(hashes.encode())[:8]}"


FIELDS: Mapping[str, dataclasses.Field] = {
    field.name: field for field in dataclasses.fields(Config)
}
_WITH_FIELDS = tuple(
    stage for stage in STAGES if any(stage in field.metadata["stages"] for field in FIELDS.values())
)
"""Stages with fields of their own; the hash in a run's name covers them."""


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
