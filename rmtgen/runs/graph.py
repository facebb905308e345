"""The stage graph: what each stage reads, when it is needed, and which files it leaves.

These are the lists of stages, in the order that they run in: `STAGES` of a run, `RANKING` of the
ranking of representations, which shares the first of them, and `COMPARING` of pairs of them. The
work and the cost of a stage are in `rmtgen.stages.NAME`, which is imported only when the stage has
something to do: this module imports none of them, so that a cached run stays light. A new stage is
one module there and one entry here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rmtgen.runs.config import Config


def _nothing(_config: "Config") -> tuple[str, ...]:
    return ()


def _pool(config: "Config") -> tuple[str, ...]:
    """The stages that hold the pool of training samples; the Gram matrix only where it may be."""
    return ("extract",) if config.solve_from == "features" else ("extract", "gram")


def _always(_config: "Config", _feature_dim: int | None) -> bool:
    return True


def solves_gram(config: "Config", feature_dim: int | None) -> bool:
    """Whether a run is solved from its Gram matrix.

    Args:
        config: The configuration of the run.
        feature_dim: Dimension p of the features; None where it is not known yet.

    Returns:
        True where the Gram matrix was asked for or is the smaller problem (N ≤ p); also where p is
        not known yet and the Gram matrix may be the smaller one.
    """
    if config.solve_from == "auto":
        return feature_dim is None or config.train <= feature_dim
    return config.solve_from == "gram"


def _tested(config: "Config", _feature_dim: int | None) -> bool:
    """Without test images there is nothing to compare with; such a run is for a ranking."""
    return config.test > 0


@dataclass(frozen=True)
class Stage:
    """The declaration of one stage.

    Attributes:
        summary: What it reads and what it makes, in one line.
        reads: The stages whose results it reads, for a configuration.
        needed: Whether any stage reads its result, for a configuration and the dimension p of the
            features, which is None as long as it is not known.
        files: Names of the files and folders that it leaves in its directory.
        divided: Whether its work falls into units that several processes can share.
        joint: Whether one result covers all runs of an experiment, in a directory of its own.
    """

    summary: str
    files: tuple[str, ...]
    reads: Callable[["Config"], tuple[str, ...]] = _pool
    needed: Callable[["Config", int | None], bool] = _always
    divided: bool = False
    joint: bool = False


STAGES: Mapping[str, Stage] = {
    "extract": Stage(
        summary="images, backbone -> features.h5; for a sketched entk, its rows",
        files=("features.h5", "features/"),
        reads=_nothing,
        divided=True,
    ),
    "gram": Stage(
        summary="features, or images under a backbone (eNTK) -> gram.h5",
        files=("gram.h5", "gram/"),
        reads=lambda config: ("extract",),
        needed=solves_gram,
        divided=True,
    ),
    "spectrum": Stage(
        summary="features or Gram matrix -> eigenvalues, coefficients: spectrum.h5",
        files=("spectrum.h5",),
        needed=_tested,
        divided=True,
    ),
    "risk": Stage(
        summary="features or Gram matrix -> GCV, LOO, test risk: risk.csv, curve.csv",
        files=("risk.csv", "curve.csv"),
        needed=_tested,
        divided=True,
    ),
    "theory": Stage(
        summary="spectrum, risk, pool -> predicted risk: theory.csv, theory.h5",
        files=("theory.csv", "theory.h5"),
        reads=lambda config: (*_pool(config), "spectrum", "risk"),
        needed=_tested,
    ),
    "report": Stage(
        summary="spectrum, risk, theory of all runs -> report.html, figures",
        files=(
            *("report.html", "summary.json", "summary.txt"),
            *("heads.csv", "theories.csv", "beyond.csv", "figures/"),
        ),
        reads=lambda config: ("spectrum", "risk", "theory"),
        joint=True,
    ),
}

RANKING: Mapping[str, Stage] = {
    "score": Stage(
        summary="features or Gram matrix -> what a ridge probe says of new images: score.h5",
        files=("score.h5",),
    ),
    "rank": Stage(
        summary="scores of all representations -> ranking.html, ranking.csv, figures",
        files=(
            *("ranking.html", "ranking.csv", "outputs.csv"),
            *("summary.json", "summary.txt", "figures/"),
        ),
        reads=lambda config: ("score",),
        joint=True,
    ),
}
"""The stages of a ranking that follow those that hold the pool."""

COMPARING: Mapping[str, Stage] = {
    "pairs": Stage(
        summary="features, scores of several runs -> what each two share: pairs.html, pairs.csv",
        files=("pairs.html", "pairs.csv", "summary.json", "summary.txt"),
        reads=lambda config: ("extract", "score"),
        joint=True,
    ),
}
"""The stage of a comparison of features, which follows `score`."""

DECLARED: Mapping[str, Stage] = {**STAGES, **RANKING, **COMPARING}
"""Every stage by name."""

RUN_STAGES = tuple(name for name, stage in STAGES.items() if not stage.joint)
"""The stages that leave a result in the directory of each run."""

KEPT = tuple(name for name, stage in DECLARED.items() if not stage.joint)
"""Those, and the stages of a ranking that do."""

RANKED = ("extract", "gram", *RANKING)
"""The stages of a ranking, in order."""


def leading_to(name: str) -> tuple[str, ...]:
    """The stages up to and including `name`, in order."""
    order = tuple(STAGES)
    return order[: order.index(name) + 1]
