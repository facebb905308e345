"""What every column of a stage's CSV is, and a table on disk: the CSV, and beside it a sidecar that
says so in W3C "CSV on the Web".

`COLUMNS` is the one description of a column: the sidecars are made from it, and `python -m
rmtgen.runs.columns` prints it. A name means the same in every table.

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

if TYPE_CHECKING:
    import pandas as pd

SIDECAR_SUFFIX = "-metadata.json"
"""Of the CSV's own name: where readers of the standard look for its metadata."""
DIMENSIONLESS = "dimensionless"
SAMPLES = "samples"
KERNEL = "unit of the kernel"
TARGET = "unit of the targets"
RISK = "squared unit of the targets"
_DATATYPES = {"i": "integer", "u": "integer", "f": "double", "b": "boolean"}
"""Of the standard, by the kind of a NumPy type; text otherwise. A missing number is an empty cell.
"""
_INFINITE = re.compile(r"(?<=[,\n-])inf(?=[,\n])")
"""An infinite number as pandas writes it; the standard writes INF."""


@dataclass(frozen=True)
class Column:
    """What a column holds.

    Attributes:
        text: a sentence without a full stop.
        unit: of its numbers; None for a number that only identifies.
        key: whether it tells the rows of a table apart, with the other keys there.
    """

    text: str
    unit: str | None = DIMENSIONLESS
    key: bool = False


COLUMNS = {
    "n": Column("sample size, the number of training samples", SAMPLES, key=True),
    "trial": Column(
        "number of the random subset, from 0; all subsets of one trial are nested", None, key=True
    ),
    "ridge": Column("ridge λ of the mean objective (1/n)‖Y − f(X)‖² + λ‖f‖²", KERNEL),
    "relative_ridge": Column("λ over tr K/N of the whole pool of N samples", key=True),
    "relative_sum_ridge": Column("sum ridge δ = nλ over tr K of the whole pool", key=True),
    "train_risk": Column("mean squared error on the training samples, summed over outputs", RISK),
    "gcv": Column(
        "generalised cross-validation: the test risk as foretold without a test set", RISK
    ),
    "loo": Column(
        "mean exact leave-one-out squared error, summed over outputs; empty where not asked for",
        RISK,
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
    "outputs": Column("number of outputs c that risks are summed over; divide by it for the mean"),
    "transport": Column(
        "risk foretold from the whole pool at the same effective ridge (same-κ transport)", RISK
    ),
    "transport_se": Column(
        "standard error of `transport` from the draw of the pool, over `transport`"
    ),
    "naive": Column(
        "omniscient risk with the pool's own eigenvalues in place of the population's", RISK
    ),
    "fixed_design": Column("classical limit κ = λ of the omniscient risk, whatever n", RISK),
    "mallows_cp": Column(
        "Mallows' Cp, noise from the fit of the most degrees of freedom ≤ n/2", RISK
    ),
    "akaike": Column("exp(AIC/n), train_risk · exp(2 df/n)", RISK),
    "isotropic": Column("risk that a prior without direction expects of the spectrum alone", RISK),
    "norm_proxy": Column("norm2 · tr K/n², the square of `rademacher`", RISK),
    "rademacher": Column(
        "Rademacher complexity sqrt(norm2 · tr K)/n, without its constant", TARGET
    ),
    "arora": Column(
        "sqrt(2 norm2 · max K_ii/n), the bound of Arora et al. (2019), without its constant", TARGET
    ),
    "benign": Column(
        "variance k*/n + n/R of a benign overfit in units of the noise, up to a constant"
    ),
    "dataset": Column("data set of the runs", key=True),
    "theory": Column("theory, by its column of theory.csv", key=True),
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
    "fits": Column("number of fits that the scores are taken over"),
    "skipped": Column(
        "number of fits left out, predicted or measured risk not being finite and positive"
    ),
}
"""Every column of every CSV that a stage or the report writes. Targets that encode classes have no
unit; then risks have none either."""


def write_table(path: Path, frame: "pd.DataFrame", title: str) -> list[Path]:
    """Write a table as CSV, and its sidecar; the two files. `pandas.read_csv(path)` gives the table
    back.

    Args:
        path: NAME.csv; the sidecar is NAME.csv-metadata.json.
        frame: columns that `COLUMNS` describes.
        title: what a row is.

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
    """One column, its titles being what the CSV's first line says; the standard has no word for
    units, schema.org has.
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
