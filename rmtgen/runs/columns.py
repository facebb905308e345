"""Descriptions of the columns of every CSV, and tables on disk: a CSV and its sidecar.

The sidecar describes the columns in W3C "CSV on the Web". `COLUMNS` is the one description of a
column: the sidecars are made from it, and `python -m rmtgen.runs.columns` prints it. The theories'
columns are those of `rmtgen.theory.registry`. A name has one meaning in every table.

References: Tennison, Kellogg & Herman 2015, Metadata Vocabulary for Tabular Data,
https://www.w3.org/TR/tabular-metadata/.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rmtgen.errors import UsageError
from rmtgen.store import durable
from rmtgen.tables import Table
from rmtgen.theory.registry import DIMENSIONLESS, RISK, THEORIES

if TYPE_CHECKING:
    import pandas as pd

SIDECAR_SUFFIX = "-metadata.json"
"""Suffix of the CSV's name under which readers of the standard look for its metadata."""
SAMPLES = "samples"
KERNEL = "unit of the kernel"
_DATATYPES = {"i": "integer", "u": "integer", "f": "double", "b": "boolean"}
"""Data types of the standard by the kind of a NumPy type; text otherwise. A missing number is an
empty cell."""
_INFINITE = re.compile(r"(?<=[,\n-])inf(?=[,\n])")
"""Pattern of an infinite number as pandas writes it; the standard writes INF."""


@dataclass(frozen=True)
class Column:
    """What a column holds.

    Attributes:
        text: A sentence without a full stop.
        unit: Unit of its numbers; None for a number that only identifies.
        key: Whether it identifies the rows of a table, with the other keys there.
    """

    text: str
    unit: str | None = DIMENSIONLESS
    key: bool = False


_THEORIES = {name: Column(theory.meaning, theory.unit) for name, theory in THEORIES.items()} | {
    theory.error_name: Column(
        f"standard error of `{name}` from the draw of the pool, with the gap between"
        f" leave-one-out and GCV of the pool there, over `{name}`"
    )
    for name, theory in THEORIES.items()
    if theory.relative_error
}

_OVER_DRAWS = {
    "test_risk": ("`test_risk`", RISK),
    "loo": ("`loo`", RISK),
    "gcv": ("`gcv`", RISK),
    "signed_gap": ("`gcv` over `test_risk`, minus 1,", DIMENSIONLESS),
}
_HEADS = {
    f"{name}_{what}": Column(f"{meaning} of {over} over draws of the head", unit)
    for name, (over, unit) in _OVER_DRAWS.items()
    for what, meaning in (
        ("mean", "mean"),
        ("sd", "standard deviation"),
        ("sd_low", "low end of the 95 % interval of the standard deviation"),
        ("sd_high", "high end of the 95 % interval of the standard deviation"),
    )
}

COLUMNS = {
    "n": Column("sample size, the number of training samples", SAMPLES, key=True),
    "trial": Column(
        "number of the random subset, from 0; all subsets of one trial are nested", None, key=True
    ),
    "ridge": Column("ridge λ of the mean objective (1/n)‖Y − f(X)‖² + λ‖f‖²", KERNEL),
    "relative_ridge": Column("λ over tr K/N of the whole pool of N samples", key=True),
    "relative_sum_ridge": Column("sum ridge δ = nλ over tr K of the whole pool", key=True),
    **_THEORIES,
    "loo_se": Column(
        "standard error of `loo` as the risk of this fit, from the losses without two samples;"
        " empty below 8 samples, and where a pair leaves too few digits",
        RISK,
    ),
    "loo_low": Column("low end of the 95 % interval of the risk of this fit about `loo`", RISK),
    "loo_high": Column("high end of the 95 % interval of the risk of this fit about `loo`", RISK),
    "loo_kurtosis": Column(
        "mean squared leave-one-out loss over the square of `loo`; far above 3 few samples carry"
        " the risk, and the interval is too narrow; empty below 8 samples"
    ),
    "df": Column(
        "effective degrees of freedom tr K(K + nλI)⁻¹, plus 1 for an intercept; at most n"
    ),
    "kappa": Column("effective ridge κ = 1/tr (K + nλI)⁻¹", KERNEL),
    "kappa_prime": Column("derivative of κ in λ"),
    "norm2": Column("squared norm ‖f‖² of the fit, without the intercept", f"{RISK} / {KERNEL}"),
    "train_error": Column("share of the training samples classified wrongly, in [0, 1]"),
    "loo_error": Column(
        "share of the samples classified wrongly when left out, in [0, 1]; empty where not"
        " asked for"
    ),
    "test_risk": Column("mean squared error on the test samples, summed over outputs", RISK),
    "test_risk_se": Column(
        "standard error of `test_risk` from the draw of the test samples; empty for one sample",
        RISK,
    ),
    "test_error": Column("share of the test samples classified wrongly, in [0, 1]"),
    "predicted_error": Column(
        "share of new samples that the whole pool says are classified wrongly, in [0, 1]; empty for"
        " targets that encode no classes; of a large pool for the ridge of smallest `loo` alone"
    ),
    "predicted_error_se": Column(
        "standard error of `predicted_error` from the draw of the pool; empty below 8 samples"
    ),
    "gcv_se": Column("standard error of `gcv` from the random signs of an estimate", RISK),
    "df_se": Column("standard error of `df` likewise"),
    "kappa_se": Column("standard error of `kappa` likewise", KERNEL),
    "kappa_prime_se": Column("standard error of `kappa_prime` likewise"),
    "residual": Column("‖Y − (K + nλI)X‖/‖Y‖ of the dual solution X of an estimate"),
    "loo_sampled_se": Column(
        "standard error of `loo` of an estimate from the samples that are looked at; empty where"
        " leave-one-out is not asked for",
        RISK,
    ),
    "loo_se_se": Column("standard error of `loo_se` likewise; empty below 8 samples", RISK),
    "outputs": Column("number of outputs c that risks are summed over; divide by it for the mean"),
    "run": Column("run of the smallest seed among those that differ in the head alone", key=True),
    "draws": Column("number of these runs, no two of which have a head in common"),
    "total_se": Column(
        "standard error of `test_risk` from the draw of the test samples and of the subsets, mean"
        " over these runs",
        RISK,
    ),
    **_HEADS,
    "correlation": Column(
        "Pearson's correlation of `loo` and `test_risk` over draws; empty for two"
    ),
    "averaged_run": Column("run of the kernel that is the mean over heads", None),
    "averaged_heads": Column("number of its heads"),
    "averaged_test_risk": Column("its `test_risk`", RISK),
    "averaged_loo": Column("its `loo`", RISK),
    "above": Column("number of draws whose `test_risk` is larger"),
    "loo_above": Column("number of draws whose `loo` is larger"),
    "dataset": Column("data set of the runs", key=True),
    "theory": Column("theory, by its column of theory.csv", key=True),
    "fit": Column("kind of the fits, by their table in theory.h5", key=True),
    "estimator": Column("estimate of their risk, by its column there", key=True),
    "runs": Column("number of runs on the data set"),
    "kendall": Column("Kendall's τ of predicted and measured risk over all fits, in [−1, 1]"),
    "kendall_low": Column("low end of the 95 % interval of `kendall`"),
    "kendall_high": Column("high end of the 95 % interval of `kendall`"),
    "log_error": Column("median absolute log of predicted over measured risk"),
    "log_error_low": Column("low end of the 95 % interval of `log_error`"),
    "log_error_high": Column("high end of the 95 % interval of `log_error`"),
    "shape_error": Column("`log_error` after the median ratio is taken out"),
    "shape_error_low": Column("low end of the 95 % interval of `shape_error`"),
    "shape_error_high": Column("high end of the 95 % interval of `shape_error`"),
    "relative_error": Column("median relative error, the size of predicted over measured risk − 1"),
    "relative_error_low": Column("low end of the 95 % interval of `relative_error`"),
    "relative_error_high": Column("high end of the 95 % interval of `relative_error`"),
    "worst_error": Column("largest relative error of a fit"),
    "within": Column("share of the fits whose relative error is at most a tenth"),
    "fits": Column("number of fits that the scores are taken over"),
    "representation": Column("representation, by what tells it from the others", key=True),
    "place": Column("place in the order of accuracy, or of `loo` where that was asked for, from 1"),
    "place_low": Column("first place that paired intervals of 95 % leave it"),
    "place_high": Column("last place that they leave it"),
    "behind": Column("`loo` less that of the first representation", RISK),
    "behind_low": Column("low end of the paired 95 % interval of `behind`", RISK),
    "behind_high": Column("high end of the paired 95 % interval of `behind`", RISK),
    "tied": Column("whether that interval holds 0"),
    "accuracy": Column(
        "share of new images classified rightly at the ridge of smallest `loo`, in [0, 1]; empty"
        " for targets that encode no classes"
    ),
    "accuracy_low": Column("low end of the 95 % interval of `accuracy`"),
    "accuracy_high": Column("high end of the 95 % interval of `accuracy`"),
    "accuracy_behind": Column("`accuracy` of the first representation less its own"),
    "accuracy_behind_low": Column("low end of the paired 95 % interval of `accuracy_behind`"),
    "accuracy_behind_high": Column("high end of the paired 95 % interval of `accuracy_behind`"),
    "with_more": Column("forecast of the risk at ten times the samples and its best ridge", RISK),
    "with_more_low": Column("low end of the 95 % interval of `with_more`", RISK),
    "with_more_high": Column("high end of the 95 % interval of `with_more`", RISK),
    "place_with_more": Column("place in the order of `with_more`"),
    "accuracy_with_more": Column("forecast of the accuracy there, in [0, 1]"),
    "accuracy_with_more_low": Column("low end of its 95 % interval"),
    "accuracy_with_more_high": Column("high end of its 95 % interval"),
    "r2": Column(
        "share of the variance of values or labels that is explained on new images, 1 less `loo`"
        " over the leave-one-out risk of the mean; the mean over values; empty for classes"
    ),
    "r2_low": Column("low end of the 95 % interval of `r2`"),
    "r2_high": Column("high end of the 95 % interval of `r2`"),
    "r2_with_more": Column("forecast of `r2` at ten times the samples"),
    "r2_with_more_low": Column("low end of its 95 % interval"),
    "r2_with_more_high": Column("high end of its 95 % interval"),
    "auc": Column(
        "chance that an image with a label scores above one without, both left out, in [0, 1];"
        " the mean over labels is of those that two images have and two lack; empty but for labels"
    ),
    "auc_low": Column("low end of the 95 % interval of `auc`"),
    "auc_high": Column("high end of the 95 % interval of `auc`"),
    "auc_behind": Column("`auc` of the first representation less its own"),
    "auc_behind_low": Column("low end of the paired 95 % interval of `auc_behind`"),
    "auc_behind_high": Column("high end of the paired 95 % interval of `auc_behind`"),
    "output": Column("value or label, by its name", key=True),
    "share": Column("share of the images that have the label; empty for values"),
    "participation_ratio": Column("(tr K)²/‖K‖_F², the number of modes that share the trace"),
    "alignment": Column("kernel-target alignment ⟨K, YYᵀ⟩/(‖K‖_F ‖YYᵀ‖_F)"),
    "balanced": Column(
        "whether every class counts the same in risks and accuracies, however many images it has;"
        " there are no forecasts then"
    ),
    "images_per_second": Column(
        "images extracted per second, decoding included, even of images that another network has"
        " decoded, on the machine that did it; empty where the features were there"
    ),
    "parameters": Column("number of parameters of the backbone, without its classifier"),
    "flops": Column("operations of a forward pass of one image"),
    "dim": Column("number of features"),
    "licence": Column("licence of the pretrained weights, where the library states one", None),
    "pareto": Column("whether no other representation is as good and as fast"),
    "foreseen": Column("risk foreseen with all images, from the n that were looked at", RISK),
    "accuracy_foreseen": Column("accuracy foreseen with all images, from these n, in [0, 1]"),
    "outdone": Column(
        "whether it is surely behind the first at n images, and foreseen to stay behind it"
    ),
    "reason": Column("why it was not taken to more images", None),
    "run_name": Column("name of its run", None),
    "first": Column("the one representation of a pair", key=True),
    "second": Column("the other one", key=True),
    "cka": Column("centred kernel alignment of their linear kernels, in [0, 1]"),
    "loo_first": Column("smallest `loo` of a ridge probe on the first alone", RISK),
    "loo_second": Column("that of the second alone", RISK),
    "loo_both": Column("that of both side by side, each scaled to tr K = n", RISK),
    "alignment_first": Column("`alignment` of the first"),
    "alignment_second": Column("`alignment` of the second"),
    "gain_over_first": Column("`loo_first` less `loo_both`: what the second adds", RISK),
    "gain_over_first_low": Column("low end of its paired 95 % interval", RISK),
    "gain_over_first_high": Column("high end of its paired 95 % interval", RISK),
    "gain_over_second": Column("`loo_second` less `loo_both`: what the first adds", RISK),
    "gain_over_second_low": Column("low end of its paired 95 % interval", RISK),
    "gain_over_second_high": Column("high end of its paired 95 % interval", RISK),
    "path": Column("image, of a member of an archive after a colon", None, key=True),
    "class": Column("class of the largest score; empty where the image could not be read", None),
    "score": Column(
        "the largest score: prediction of ridge regression on targets 1 for the class and 0 else,"
        " no probability; `score of NAME` is that of one class"
    ),
    "problem": Column("why the image could not be read", None),
    "skipped": Column(
        "number of fits left out, predicted or measured risk not being finite and positive"
    ),
}
"""Every column of every CSV that a stage or the report writes. Targets that encode classes have no
unit; then risks have none either."""


def write_table(path: Path, frame: "pd.DataFrame", title: str) -> list[Path]:
    """Write a table as CSV, and its sidecar; `pandas.read_csv(path)` returns the table.

    Args:
        path: NAME.csv; the sidecar is NAME.csv-metadata.json.
        frame: The table, with columns that `COLUMNS` describes.
        title: What a row is.

    Returns:
        The two files.

    Raises:
        UsageError: a column that is not described.
        StorageError: the disk refuses.
    """
    sidecar = path.with_name(path.name + SIDECAR_SUFFIX)
    described = json.dumps(_metadata(path.name, frame, title), indent=1, ensure_ascii=False)
    durable.write_text(path, _INFINITE.sub("INF", frame.to_csv(index=False)))
    durable.write_text(sidecar, described + "\n")
    return [path, sidecar]


def _metadata(name: str, frame: "pd.DataFrame", title: str) -> dict[str, object]:
    unknown = [column for column in frame if column not in COLUMNS]
    if unknown:
        raise UsageError(
            f"every column of {name} must be described: got {', '.join(unknown)}. Add it to"
            " COLUMNS."
        )
    return {
        "@context": ["http://www.w3.org/ns/csvw", {"@language": "en"}],
        "url": name,
        "dc:title": title,
        "tableSchema": {
            "columns": [_described(column, frame[column].dtype.kind) for column in frame],
            "primaryKey": [column for column in frame if COLUMNS[column].key],
        },
    }


def _described(name: str, kind: str) -> dict[str, object]:
    """The metadata of one column.

    Its titles are what the first line of the CSV says. The standard has no unit; schema.org has.
    """
    column = COLUMNS[name]
    unit = {} if column.unit is None else {"schema:unitText": column.unit}
    datatype = _DATATYPES.get(kind, "string")
    return {
        "name": name,
        "titles": name,
        "dc:description": column.text,
        "datatype": datatype,
        **unit,
    }


def as_markdown() -> str:
    """The descriptions as a Markdown table of `column unit meaning`."""
    rows = tuple((f"`{name}`", column.unit or "–", column.text) for name, column in COLUMNS.items())
    return Table(("column", "unit", "meaning"), rows, align="<<<").markdown()


if __name__ == "__main__":
    print(as_markdown())
