"""The risk that GCV predicts against the measured risk, for every fit and for every size."""

import pandas as pd

from rmtgen.report.axes import drawable, limits, log_axis, size_axis, view_limits
from rmtgen.report.chart import Axis, Chart, Line, Panel
from rmtgen.report.risk_statistics import agreement, differing, gaps
from rmtgen.report.run_set import Run, RunSet
from rmtgen.report.wording import compact, count_fits, counted, listed, percentage
from rmtgen.theory.fit_checks import DIFFERENCE

STEM = "predicted-vs-measured"
TITLE = "Predicted and measured risk"
NEEDS = ""


def chart(runs: RunSet) -> Chart:
    """GCV against test risk for every fit, and the gap between them against n."""
    table = pd.concat([run.result.risk for run in runs])
    shown = drawable(table)
    low, high = view_limits(shown["test_risk"], shown["gcv"])
    # half of the height shows the fall of the training risk, at most a decade; an axis down to
    # 1e-16 would show little else
    bottom = min(low, max(low / min(10, high / low), limits(shown["train_risk"])[0]))
    return Chart(
        stem=STEM,
        title=TITLE,
        caption=counted(_caption(shown, low=bottom, edge=high), len(table) - len(shown)),
        alt=_alt(runs, len(shown)),
        panels=(_fits(runs, (low, high), bottom), _gaps(runs)),
        groups=runs.labels,
        warnings=runs.doubts,
    )


def _fits(runs: RunSet, view: tuple[float, float], bottom: float) -> Panel:
    lines = [line for run in runs for line in _cloud(run, edge=view[1])]
    lines.append(Line("", "exact", pd.DataFrame({"x": view, "y": view}), dash="--", marked=False))
    return Panel(
        "Every fit",
        Axis("measured test risk", "log", view),
        Axis("risk from training images alone", "log", (bottom, view[1])),
        tuple(lines),
    )


def _cloud(run: Run, *, edge: float) -> list[Line]:
    """The fits of a run: GCV, the training risk behind, and fits beyond the view at its edge.

    Where GCV and LOO differ, LOO with its interval is the estimate, and GCV is an open point.
    """
    risk = run.result.risk
    places = {"x": risk["test_risk"], "y": risk["gcv"]}
    table = pd.DataFrame(
        places | {"n": risk["n"], "ridge": risk["relative_ridge"], "subset": risk["trial"]}
    )
    beyond = drawable(risk).index.intersection(
        risk.index[(risk[["test_risk", "gcv"]] > edge).any(axis=1)]
    )
    doubted = risk.index[differing(risk)].difference(beyond)
    inside = table.drop(beyond)
    off = table.loc[beyond]
    values = {"test risk": off["x"], "GCV": off["y"]}
    off = off.assign(**values, x=off["x"].clip(upper=edge), y=off["y"].clip(upper=edge))
    train = inside[["x"]].assign(y=risk["train_risk"], n=risk["n"], ridge=risk["relative_ridge"])
    estimate = table.loc[doubted].assign(
        y=risk["loo"], low=risk["loo_low"], high=risk["loo_high"], GCV=risk["gcv"]
    )
    instead = table.loc[doubted].assign(LOO=risk["loo"])
    lines = [
        Line(run.label, "GCV", inside.drop(doubted), dash="", size=4.0),
        Line(run.label, "training risk", train, dash="", size=3.0, pale=True),
    ]
    if len(doubted):
        lines += [
            Line(run.label, "LOO where GCV differs", estimate, dash="", size=4.0),
            Line(run.label, "GCV where LOO differs", instead, dash="", size=4.0, hollow=True),
        ]
    if len(off):
        lines.append(Line(run.label, "off the scale", off, dash="", hollow=True))
    return lines


def _gaps(runs: RunSet) -> Panel:
    lines = []
    for run in runs:
        risk = run.result.risk
        spread = (
            gaps(risk).mul(100).groupby(risk["n"]).agg(["median", "max", "count"]).reset_index()
        )
        table = pd.DataFrame({"x": spread["n"], "fits": spread["count"]})
        median, worst = table.assign(y=spread["median"]), table.assign(y=spread["max"])
        lines += [
            Line(run.label, "median fit", median),
            Line(run.label, "worst fit", worst, dash=":", size=3.0),
        ]
    return Panel(
        "Gap at each sample size",
        size_axis([run.result.risk for run in runs]),
        log_axis("|GCV / test risk − 1|  (%)", *(line.table["y"] for line in lines)),
        tuple(lines),
    )


def _caption(shown: pd.DataFrame, *, low: float, edge: float) -> str:
    below = int((shown["train_risk"] < low).sum())
    hidden = f" ({below:,} of them lie below the view)" if below else ""
    top = shown[["test_risk", "gcv"]].max(axis=1)
    beyond = int((top > edge).sum())
    capped = (
        f" Open points on the edge stand for {count_fits(beyond)} off the scale, up to"
        f" {compact(top.max())}."
        if beyond
        else ""
    )
    doubted = int(differing(shown).sum())
    doubt = (
        f" In {count_fits(doubted)} GCV and leave-one-out differ by more than"
        f" {percentage(DIFFERENCE)} %: there leave-one-out with its 95 % interval is the estimate,"
        " and GCV is an open point."
        if doubted
        else ""
    )
    return (
        "First panel: each strong point is one fit, of one run, sample size, ridge and random"
        " subset. Its height is the risk that GCV predicts from the training images alone, its"
        " horizontal position the risk measured on held-out images. On the dashed line the"
        f" prediction is exact.{capped}{doubt} The pale points are the training risks of the same"
        " fits: they fall towards zero as a fit begins to interpolate, and say little about new"
        f" images{hidden}. Second panel: the gap between GCV and the test risk at each sample"
        " size, in the median and at worst over ridges and subsets."
    )


def _alt(runs: RunSet, fits: int) -> str:
    findings = []
    for run in runs:
        gap = agreement(run.result.risk, min_n=0)
        where = f" at n = {gap.worst_n:,}" if gap.count else ""
        findings.append(
            f"{run.label}: median gap {percentage(gap.median)} %, worst {percentage(gap.worst)}"
            f" %{where}"
        )
    return listed(f"GCV against measured test risk, {count_fits(fits)}", findings)
