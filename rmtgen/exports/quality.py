"""The ridge of a run's probe, and what the run says of the probe at that ridge.

A run of `rmtgen rank` has it in its stage `score`, one of `rmtgen run` in `risk` and `theory`.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rmtgen.errors import NumericalError, UsageError
from rmtgen.report.answers import predicted_accuracy
from rmtgen.ridge.per_target import least
from rmtgen.runs.run import Run

LATER = ("n", "risk", "risk_low", "risk_high", "accuracy", "accuracy_low", "accuracy_high")
"""Numbers of a forecast."""
WITHIN = 1e-6
"""Relative difference of ridges that are the same."""


@dataclass(frozen=True)
class Quality:
    """What is known of a probe; NaN where the run does not say it.

    Attributes:
        n: Number of training images.
        ridge: λ.
        relative_ridge: λ over tr K/N.
        smallest: Whether it is the ridge of the smallest leave-one-out risk.
        loo: Leave-one-out risk; `loo_low` and `loo_high` are the ends of its 95 % interval.
        loo_low: See `loo`.
        loo_high: See `loo`.
        accuracy: Share of new images that are classified rightly, in [0, 1], from the training
            images alone; `accuracy_low` and `accuracy_high` are the ends of its 95 % interval.
        accuracy_low: See `accuracy`.
        accuracy_high: See `accuracy`.
        tests: Number of test images that were measured; 0 without.
        test_risk: Risk on them; `test_risk_se` is its standard error.
        test_risk_se: See `test_risk`.
        test_error: Share of them that was classified wrongly.
        forecast: With more images and the best ridge there, one object with the keys `LATER` each.
        doubts: Reasons to doubt the images, one sentence each.
    """

    n: int
    ridge: float
    relative_ridge: float
    smallest: bool
    loo: float
    loo_low: float
    loo_high: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    tests: int
    test_risk: float
    test_risk_se: float
    test_error: float
    forecast: tuple[dict[str, float], ...]
    doubts: tuple[str, ...]


def quality_of(run: Run, relative_ridge: float | None = None) -> Quality:
    """What a run says of its probe.

    Args:
        run: A run whose stage `score` or `risk` is done.
        relative_ridge: One of the run's `ridges`; None: that of the smallest leave-one-out risk.

    Raises:
        UsageError: Another ridge, a run that is not solved at all its images, or an eNTK, whose
            predictor is no linear probe.
        MissingInputError: Neither stage is done; the message names the command.
        NumericalError: No leave-one-out risk is finite.
    """
    _require_classifier(run)
    if "score" in run.stages:
        path, beyond = _scored_path(run), _of_score
    else:
        run.manifest("risk" if run.config.get("test") != 0 else "score")
        path, beyond = _whole_pool(run), _of_theory
    best = _best(path) if relative_ridge is None or path["loo"].notna().any() else None
    place = best if relative_ridge is None else _place(path, relative_ridge)
    row = path.iloc[place]
    found, tested = beyond(run, row, place == best), _tested(run, row)
    return Quality(
        n=int(run.config["train"]),
        ridge=float(row["ridge"]),
        relative_ridge=float(row["relative_ridge"]),
        smallest=place == best,
        loo=float(row["loo"]),
        loo_low=float(row["loo_low"]),
        loo_high=float(row["loo_high"]),
        accuracy=found.accuracy[0],
        accuracy_low=found.accuracy[1],
        accuracy_high=found.accuracy[2],
        tests=0 if tested is None else int(run.config["test"]),
        test_risk=math.nan if tested is None else float(tested["test_risk"]),
        test_risk_se=math.nan if tested is None else float(tested["test_risk_se"]),
        test_error=math.nan if tested is None else float(tested["test_error"]),
        forecast=tuple(found.forecast[list(LATER)].to_dict("records")),
        doubts=tuple(found.doubts),
    )


@dataclass(frozen=True, eq=False)
class _Beyond:
    """What a run says of new images beside the risk.

    Attributes:
        accuracy: Accuracy, and the ends of its interval.
        forecast: Rows of more images than there are, with the columns `LATER`.
        doubts: Reasons to doubt the images.
    """

    accuracy: tuple[float, float, float]
    forecast: pd.DataFrame
    doubts: list[str]


def _require_classifier(run: Run) -> None:
    """Refuse a run whose predictor is no network with a linear head that gives a class.

    Raises:
        UsageError: An eNTK, features without a network, targets other than classes, or classes
            that count the same.
    """
    kernel, task = run.config.get("kernel", "features"), run.config.get("task", "classes")
    if kernel != "features" or run.config.get("projection"):
        raise UsageError(
            "an export needs kernel=features, whose ridge fit is a linear layer on the network: got"
            f" kernel={kernel} in {run.name}. The fit of an eNTK is a linear function of the"
            " gradients of every parameter, which no layer computes. Rank or run the same network"
            " with kernel=features."
        )
    if task != "classes":
        raise UsageError(
            f"an export predicts one class an image: got task={task} in {run.name}. Fit it in"
            " Python: `rmtgen.KernelRidgeGCV` on `rmtgen.load_run(RUN).features`."
        )
    if run.config.get("balanced"):
        raise UsageError(
            f"an export is of a fit in which every image counts the same: got balanced=true in"
            f" {run.name}. Rank without it, or fit it in Python:"
            " `rmtgen.KernelRidgeGCVClassifier(class_weight='balanced')`."
        )
    if "backbone_blake2b" not in run.manifest("extract").details:
        raise UsageError(
            f"an export has the network that the features are made by: {run.name} is of features"
            " of one's own, which no network made. Fit it in Python:"
            " `rmtgen.KernelRidgeGCVClassifier`."
        )


def _scored_path(run: Run) -> pd.DataFrame:
    """Ridges of the stage `score`."""
    return run.score.path.assign(relative_ridge=run.config["ridges"])


def _whole_pool(run: Run) -> pd.DataFrame:
    """Ridges of the stage `risk`, of all images of the run."""
    table, n = run.risk, int(run.config["train"])
    whole = table[(table["n"] == n) & (table["trial"] == 0)].reset_index(drop=True)
    if whole.empty:
        raise UsageError(
            f"an export is fitted to all {n:,} training images: {run.name} has no fit of as many,"
            f" its sizes end at {table['n'].max():,}. Run {run.command('score')}."
        )
    return whole


def _best(path: pd.DataFrame) -> int:
    """Place of the smallest leave-one-out risk, that of the largest ridge in a tie."""
    losses = path["loo"].where(np.isfinite(path["loo"]))
    if losses.isna().all():
        raise NumericalError(
            f"leave-one-out chooses the ridge: got no finite risk of it among {len(path)} ridges."
            " Run the stage with loo=true, or name a ridge."
        )
    order = path["ridge"].to_numpy().argsort(kind="stable")
    return int(order[least(losses.fillna(np.inf).to_numpy()[order, None])[0]])


def _place(path: pd.DataFrame, relative_ridge: float) -> int:
    known = path["relative_ridge"].to_numpy(float)
    near = np.abs(known - relative_ridge) <= WITHIN * np.abs(known)
    if not near.any():
        listed = ", ".join(f"{value:.4g}" for value in known[:12])
        raise UsageError(
            f"the ridge must be one of those of the run, relative to tr K/N: got"
            f" {relative_ridge:.4g}, expected one of {listed}{', …' if len(known) > 12 else ''}."
        )
    return int(near.argmax())


def _of_score(run: Run, row: pd.Series, best: bool) -> _Beyond:
    """That of the stage `score`, whose interval is for the best ridge alone."""
    figures, outlook = run.score.figures, run.score.outlook
    error = figures["error"], figures["error_high"], figures["error_low"]
    if not (best and math.isfinite(error[0])):
        error = float(row["loo_error"]), math.nan, math.nan
    table = pd.DataFrame(
        {
            "n": outlook["n"],
            "risk": outlook["predicted_risk"],
            "risk_low": outlook["low"],
            "risk_high": outlook["high"],
            "accuracy": 1 - outlook["predicted_error"],
            "accuracy_low": 1 - outlook["error_high"],
            "accuracy_high": 1 - outlook["error_low"],
        }
    )
    return _Beyond(_turned(error), _later(table, run.score.n), list(run.score.doubts))


def _of_theory(run: Run, row: pd.Series, best: bool) -> _Beyond:
    """That of the stage `theory`, as far as it is done, which knows every ridge."""
    error, none = (float(row["loo_error"]), math.nan, math.nan), pd.DataFrame(columns=LATER)
    if "theory" not in run.stages:
        return _Beyond(_turned(error), none, [])
    tables = run.theory
    found = predicted_accuracy(tables["predictions"], row)
    if math.isfinite(found["predicted_error"]):
        error = found["predicted_error"], found["high"], found["low"]
    doubts = list(tables["trust"].query("tripped")["message"]) if "trust" in tables else []
    if "forecast" not in tables:
        return _Beyond(_turned(error), none, doubts)
    risks = tables["forecast"].set_index("n")
    errors = tables["accuracy"].set_index("n") if "accuracy" in tables else pd.DataFrame()
    errors = errors.reindex(index=risks.index, columns=["predicted_error", "low", "high"])
    table = pd.DataFrame(
        {
            "risk": risks["predicted_risk"],
            "risk_low": risks["low"],
            "risk_high": risks["high"],
            "accuracy": 1 - errors["predicted_error"],
            "accuracy_low": 1 - errors["high"],
            "accuracy_high": 1 - errors["low"],
        }
    ).reset_index()
    return _Beyond(_turned(error), _later(table, row["n"]), doubts)


def _turned(error: tuple[float, float, float]) -> tuple[float, float, float]:
    """An accuracy and its interval, of an error with its high and its low end."""
    return 1 - error[0], 1 - error[1], 1 - error[2]


def _later(table: pd.DataFrame, n: float) -> pd.DataFrame:
    """Rows of more images than there are, up to sixteen times as many."""
    return table[(table["n"] > n) & (table["n"] <= 16 * n)]


def _tested(run: Run, row: pd.Series) -> pd.Series | None:
    """The row of `risk` at the same ridge, where that was measured on test images."""
    if "risk" not in run.stages:
        return None
    table, n = run.risk, int(run.config["train"])
    rows = table[(table["n"] == n) & (table["trial"] == 0)]
    same = np.isclose(rows["ridge"], row["ridge"], rtol=WITHIN, atol=0)
    return rows[same].iloc[0] if same.any() else None
