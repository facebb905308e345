"""Configuration: one frozen `Config` per run, from YAML, flags and make variables.

A field is declared once, in `Config`, with its help, its parser and the stages whose result it
changes. The flags, the YAML keys, the suggestions for a mistyped key and the hashes follow from the
declaration. The hash of a stage covers exactly the fields that can change its result: a change of
the ridge grid reuses the features, and a change of the device reuses everything.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rmtgen.models.preprocessing import PREPROCESSING
from rmtgen.ridge.columns import SOLVER_NAMES
from rmtgen.runs.automatic import MOST_TEST, MOST_TRAIN, geometric_sizes, image_counts
from rmtgen.runs.combinations import check_choices, check_sizes
from rmtgen.runs.concatenation import members_of, written_out
from rmtgen.runs.fields import declared
from rmtgen.runs.graph import DECLARED, STAGES
from rmtgen.runs.own_features import OF_A_NETWORK, has_network
from rmtgen.runs.parsers import (
    MOST_SEED,
    auto,
    data_set,
    names,
    one_of,
    optional,
    parse_cluster,
    parse_grid,
    place,
    sample_sizes,
    share,
    switch,
    text,
    whole,
)
from rmtgen.runs.share import Share, parse_share
from rmtgen.runs.slugs import slug
from rmtgen.store import durable
from rmtgen.units import parse_bytes

if TYPE_CHECKING:
    from rmtgen.datasets.labelling import Labelling

_SOLVES = ("spectrum", "risk")
_FITS = (*_SOLVES, "score")


@dataclass(frozen=True)
class Config:
    """Everything one run depends on; `rmtgen run --help` explains each field."""

    dataset: str = declared(
        "cifar100",
        data_set,
        ("extract",),
        "data set: a name, folder:PATH (a folder or .tar), csv:PATH (a table of path and label),"
        " wds:PATTERN (WebDataset shards), hfds/NAME, or features:PATH (an .npy or .npz of features"
        " of one's own); several of the last make several runs",
    )
    task: str = declared(
        "classes",
        one_of("classes", "labels", "values"),
        ("extract",),
        "what images are labelled with in columns of a table, or where else there are some:"
        " classes, one each; labels, any number of them; or values, the targets of a regression",
        option=True,
    )
    columns: tuple[str, ...] = declared(
        "none",
        names,
        ("extract",),
        "names of the columns that hold them, separated by commas; none: label, class or target",
        option=True,
    )
    separator: str = declared(
        ";",
        text,
        ("extract",),
        "what is between two labels of an image (labels)",
        option=True,
    )
    train: int = declared(
        "auto",
        auto(whole(2)),
        ("extract",),
        f"training images, the pool of N samples; auto: all there are, up to {MOST_TRAIN}",
    )
    test: int = declared(
        "auto",
        auto(whole(0)),
        ("extract",),
        f"test images; auto: all there are, up to {MOST_TEST}; 0: none, for `rmtgen rank`",
    )
    split: float | None = declared(
        None,
        optional(share),
        ("extract",),
        "share of test images where the data are not divided, as in a folder of CLASS/IMAGE; none:"
        " 0.2",
        option=True,
    )
    seed: int = declared(
        0,
        whole(0, MOST_SEED),
        ("extract", *_SOLVES),
        "seed of the subsets and of the trials' shuffles",
    )
    stratify: bool = declared(
        False,
        switch,
        ("extract",),
        "draw pool and test set class-balanced (trials stay plain shuffles of the pool)",
    )
    shuffle: bool = declared(
        True,
        switch,
        ("extract",),
        "draw pool and test set in a seeded order; false: the first images of each split",
        option=True,
    )
    on_corrupt: str = declared(
        "refuse",
        one_of("refuse", "skip"),
        ("extract",),
        "what to do with images that are damaged, missing from a table, or without a label: refuse"
        " or skip",
    )
    max_pixels: int | None = declared(
        None,
        optional(whole(1)),
        ("extract",),
        "largest number of pixels of an image file; none: 250 million",
        option=True,
    )
    model: str = declared(
        "resnet50",
        text,
        ("extract",),
        "timm backbone, or torchvision/NAME; several, separated by commas, make several runs; a"
        " pattern such as resnet* stands for all that match; a+b puts features side by side, for"
        " `rmtgen rank`",
    )
    init: str = declared(
        "pretrained",
        one_of("pretrained", "random", "calibrated"),
        ("extract",),
        "weights: pretrained, random, or calibrated: random, with the BatchNorm statistics of"
        " training images; several make several runs",
    )
    weights: str | None = declared(
        None,
        optional(place),
        ("extract",),
        "file with pretrained weights, instead of looking for them",
    )
    init_seed: int = declared(
        438, whole(0, MOST_SEED), ("extract",), "seed of the random initialisation"
    )
    img_size: int | None = declared(
        224,
        optional(whole(1)),
        ("extract",),
        "side in pixels that images are scaled to; several make several runs; none: timm's own",
    )
    transform: str | None = declared(
        None,
        optional(one_of(*PREPROCESSING)),
        ("extract",),
        "transform that the paper's public code has for this data set; none: the backbone's own",
        option=True,
    )
    layer: str | None = declared(
        None,
        optional(text),
        ("extract",),
        "module of the network whose output the features are, such as layer3 of a ResNet; several,"
        " or a pattern such as blocks.*, make several runs; each: every stage of the network; x+y"
        " puts two side by side; none: the last, as its classifier takes it",
        option=True,
    )
    pooling: str = declared(
        "avg",
        one_of("avg", "max", "cls"),
        ("extract",),
        "how the positions of that output make one vector: avg, max, or cls, the class token;"
        " several make several runs",
        option=True,
    )
    batch_size: int = declared(
        64,
        whole(1),
        ("extract",),
        "images in a forward pass, and in a resumable part of the features",
    )
    fp32_precision: str = declared(
        "ieee",
        one_of("ieee", "tf32"),
        ("extract", "gram"),
        "float32 products on CUDA: ieee or tf32",
    )
    kernel: str = declared(
        "features",
        one_of("features", "entk"),
        ("gram", *_FITS),
        "kernel: features, or entk, the empirical neural tangent kernel under a fresh head; several"
        " make several runs",
    )
    head_seed: int | None = declared(
        438,
        optional(whole(0, MOST_SEED)),
        ("gram",),
        "seed of that head (entk); several make several runs; none: it continues the random stream"
        " of init_seed",
    )
    gram_precision: str | None = declared(
        None,
        optional(one_of("ieee", "split", "fast")),
        ("gram",),
        "float32 products of the entk: ieee, split or fast; none: fast where fp32_precision is"
        " tf32, else split on a CUDA device that can, and ieee elsewhere",
        option=True,
    )
    heads: int | None = declared(
        None,
        optional(whole(2)),
        ("gram",),
        "average the entk over so many heads, of consecutive seeds",
        option=True,
    )
    projection: int | None = declared(
        None,
        optional(whole(1)),
        ("extract",),
        "random sketch of the entk's gradients to so many dimensions, solved from as features",
        option=True,
    )
    solve_from: str = declared(
        "auto",
        one_of("auto", "features", "gram"),
        _FITS,
        "what is solved from; auto: Gram matrix if N ≤ dimension; features: needs no Gram matrix",
    )
    gram_dtype: str = declared(
        "auto",
        one_of("auto", "float32", "float64"),
        ("gram",),
        "type of the stored Gram matrix, and that an entk is computed in; auto: float64 for"
        " features, float32 for entk",
    )
    tile: int = declared(
        1024, whole(16), ("gram",), "edge of a tile of the Gram matrix, in samples"
    )
    targets: str = declared(
        "centered",
        one_of("onehot", "centered", "intercept"),
        _FITS,
        "label coding: onehot, centered or intercept; always intercept for labels and values",
    )
    sizes: tuple[int, ...] = declared(
        "auto", sample_sizes, _SOLVES, "sample sizes n; auto: 8 in geometric steps up to train"
    )
    trials: int = declared(3, whole(1), _SOLVES, "seeded shuffles of the pool at each size")
    ridges: tuple[float, ...] = declared(
        "0,1e-8:1e2:21",
        lambda value: parse_grid(value, integers=False),
        ("risk", "score"),
        "ridges relative to tr K/N; low:high:count is a geometric range",
    )
    balanced: bool = declared(
        False,
        switch,
        ("score",),
        "let every class count the same in a ranking, in the fit and in what is measured",
        option=True,
    )
    loo: bool = declared(True, switch, ("risk",), "leave-one-out columns")
    solver: str = declared(
        "auto",
        one_of("auto", *SOLVER_NAMES),
        ("risk",),
        "solver of the ridge path; auto: the cheapest that is exact and fits; streamed: features"
        " alone, with spill; matrix_free: estimates with standard errors",
        option=True,
    )
    data_root: str = declared("data", place, (), "where data sets lie and are downloaded to")
    download: bool = declared(False, switch, (), "fetch a data set or weights that are missing")
    checkpoints: str = declared(
        "checkpoints", place, (), "where local weights lie, as MODEL.safetensors or MODEL.pth"
    )
    output: str = declared("data", place, (), "where results go: runs/ and reports/ under it")
    device: str | None = declared(
        None, optional(text), (), "torch device; none: CUDA where there is one"
    )
    workers: int | None = declared(
        None, optional(whole(0, 256)), (), "processes that decode images; none: chosen by device"
    )
    memory: int = declared(
        "4GiB",
        parse_bytes,
        (),
        "budget of the entk, of the batched eigensolves, of a solver by name, and of decoded images"
        " that networks of a command share, as in 4GiB",
    )
    shard: Share | None = declared(
        None,
        optional(parse_share),
        (),
        "share of the work for this process, as in 3/16; a run without it gathers all; none: all",
    )
    cluster: str | None = declared(
        None,
        optional(parse_cluster),
        (),
        "Dask workers that compute: how many on this machine, or tcp://HOST:PORT of a scheduler;"
        " none: this process",
    )
    spill: str | None = declared(
        None,
        optional(place),
        (),
        "folder for what exceeds memory: the entk's gradients and shared images, which else are"
        " made again, and the factor of solver=streamed",
    )

    def __post_init__(self) -> None:
        for name in () if self.has_network else OF_A_NETWORK:
            object.__setattr__(self, name, FIELDS[name].default)
        for name, value in written_out(self).items():
            object.__setattr__(self, name, value)
        if self.init != "pretrained" and self.weights:
            object.__setattr__(self, "weights", None)
        if self.layer is None:
            object.__setattr__(self, "pooling", FIELDS["pooling"].default)
        self._resolve_kernel()
        check_choices(self)
        if self.task != "classes":
            object.__setattr__(self, "targets", "intercept")
        for name, number in image_counts(self).items():
            object.__setattr__(self, name, number)
        if self.sizes == "auto":
            object.__setattr__(self, "sizes", geometric_sizes(self.train))
        check_sizes(self)

    def _resolve_kernel(self) -> None:
        """Give fields that mean nothing for the kernel one value: equal runs, equal hashes."""
        unset = () if self.kernel == "entk" else ("head_seed", "heads", "projection")
        for name in unset:
            object.__setattr__(self, name, FIELDS[name].default)
        if self.kernel == "entk" and self.solve_from == "auto":
            object.__setattr__(self, "solve_from", "gram" if self.tangent else "features")
        if self.gram_dtype == "auto":
            object.__setattr__(self, "gram_dtype", "float32" if self.tangent else "float64")

    @property
    def labelling(self) -> "Labelling":
        """What labels the images of a table."""
        from rmtgen.datasets.labelling import Labelling  # it imports NumPy

        return Labelling(self.task, self.columns, self.separator)

    @property
    def has_network(self) -> bool:
        """Whether a network runs on the data set: not on features of one's own."""
        return has_network(self.dataset)

    @property
    def members(self) -> tuple["Config", ...]:
        """What a concatenation puts side by side; none of another representation."""
        return members_of(self)

    @property
    def entk_precision(self) -> str | None:
        """The precision of an `Entk`; None for that of the device."""
        return self.gram_precision or ("fast" if self.fp32_precision == "tf32" else None)

    @property
    def tangent(self) -> bool:
        """Whether the Gram matrix is that of an exact eNTK, not of stored rows."""
        return self.kernel == "entk" and not self.projection

    def stage_fields(self, stage: str) -> dict[str, Any]:
        """The fields that can change a stage's result, those of the stages it reads included."""
        closure = {stage, *DECLARED[stage].reads(self)}
        values = {field: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            field.name: value
            for field, value in values.items()
            if closure & self._changed_by(field)
            and not (field.metadata["option"] and value == field.default)
            and (self.has_network or field.name not in OF_A_NETWORK)
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
        """A readable slug and the first 8 characters of the hash of all result-affecting fields.

        Other heads than that of the default seed are named, so that such runs are told apart.
        """
        stages = (*_WITH_FIELDS, *(("score",) if self.balanced else ()))
        hashes = "".join(self.stage_hash(stage) for stage in stages)
        named = slug(self, FIELDS["head_seed"].default)
        return f"{named}-{durable.digest(hashes.encode())[:8]}"


FIELDS: Mapping[str, dataclasses.Field] = {
    field.name: field for field in dataclasses.fields(Config)
}
_WITH_FIELDS = tuple(
    stage for stage in STAGES if any(stage in field.metadata["stages"] for field in FIELDS.values())
)
"""Stages with fields of their own; the hash in a run's name covers them."""
