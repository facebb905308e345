"""Chart 1: the risk that GCV predicts against the risk measured, fit by fit and size by size."""

from collections.abc import Sequence

import pandas as pd

from rmtgen.report.chart import Axis, Chart, Line, Panel
from rmtgen.report.chart_axes import drawable, limits, log_axis, size_axis, view_limits
from rmtgen.report.chart_runs import Run, doubts, labels
from rmtgen.report.fits import agreement, gaps
from rmtgen.report.wording import count_fits, counted, listed, percentage, scientific


def prediction_chart(runs: Sequence[Run]) -> Chart:
    """GCV against test risk for every fit, and the gap between them against n."""
    table = pd.concat([run.result.risk for run in runs])
    shown = drawable(table)
    low, high = view_limits(shown["test_risk"], shown["gcv"])
    # one decade shows the training risk fall away; an axis down to its 1e-16 would show nothing
    # else
    bottom = min(low, max(low / 10, limits(shown["train_risk"])[0]))
    caption, alt = _words(runs, shown, skipped=len(table) - len(shown), low=bottom, edge=high)
    return Chart(
        stem="predicted-vs-measured",
        title="Predicted and measured risk",
        caption=caption,
        alt=alt,
        panels=(_fits(runs, (low, high), bottom), _gaps(runs)),
        groups=labels(runs),
        warnings=doubts(runs),
    )


def _fits(runs: Sequence[Run], view: tuple[float, float], bottom: float) -> Panel:
    lines = [line for run in runs for line in _cloud(run, edge=view[1])]
    lines.append(Line("", "exact", pd.DataFrame({"x": view, "y": view}), dash="--", marked=False))
    return Panel(
        "Every fit",
        Axis("measured test risk", "log", view),
        Axis("risk from training images alone", "log", (bottom, view[1])),
        tuple(lines),
    )


def _cloud(run: Run, *, edge: float) -> list[Line]:
    """The fits of a run: training risk behind, GCV, and on the edge of the view what lies beyond
    it.
    """
    risk = run.result.risk
    places = {"x": risk["test_risk"], "y": risk["gcv"]}
    table = pd.DataFrame(
        places | {"n": risk["n"], "ridge": risk["relative_ridge"], "subset": risk["trial"]}
    )
    beyond = drawable(risk).index.intersection(
        risk.index[(risk[["test_risk", "gcv"]] > edge).any(axis=1)]
    )
    inside = table.drop(beyond)
    off = table.loc[beyond]
    told = {"test risk": off["x"], "GCV": off["y"]}
    off = off.assign(**told, x=off["x"].clip(upper=edge), y=off["y"].clip(upper=edge))
    train = inside[["x"]].assign(y=risk["train_risk"], n=risk["n"], ridge=risk["relative_ridge"])
    lines = [
        Line(run.label, "GCV", inside, dash="", size=4.0),
        Line(run.label, "training risk", train, dash="", size=3.0, pale=True),
    ]
    return lines + [Line(run.label, "off the scale", off, dash="", hollow=True)] * (len(off) > 0)


def _gaps(runs: Sequence[Run]) -> Panel:
    lines = []
    for run in runs:
        risk = run.result.risk
        spread = (
            gaps(risk).mul(100).groupby(risk["n"]).agg(["median", "max", "count"]).reset_index()
        )
        told = {"x": spread["n"], "fits": spread["count"]}
        lines += [
            Line(run.label, "median fit", pd.DataFrame({"y": spread["median"], **told})),
            Line(
                run.label,
                "worst fit",
                pd.DataFrame({"y": spread["max"], **told}),
                dash=":",
                size=3.0,
            ),
        ]
    return Panel(
        "Gap at each sample size",
        size_axis([run.result.risk for run in runs]),
        log_axis("|GCV / test risk − 1|  (%)", *(line.table["y"] for line in lines)),
        tuple(lines),
    )


def _words(
    runs: Sequence[Run], shown: pd.DataFrame, *, skipped: int, low: float, edge: float
) -> tuple[str, str]:
    below = int((shown["train_risk"] < low).sum())
    hidden = f" ({below:,} of them lie below the view)" if below else ""
    top = shown[["test_risk", "gcv"]].max(axis=1)
    beyond = int((top > edge).sum())
    capped = (
        f" Open points on the edge stand for {count_fits(beyond)} off the scale, up to"
        f" {scientific(top.max())}."
        if beyond
        else ""
    )
    caption = (
        "Every fit: each strong point is one fit: one run, sample size, ridge and random subset."
        " Its height is the risk GCV predicts from the training images alone, its place across the"
        f" risk measured on held-out images; on the dashed line the prediction is exact.{capped}"
        " The pale points behind are the training risk of the same fits: it falls towards zero as"
        f" a fit begins to interpolate, and says little about new images{hidden}. Gap at each"
        " sample size: how far GCV is off, in the median and at worst over ridges and subsets."
    )
    told = []
    for run in runs:
        gap = agreement(run.result.risk, min_n=0)
        where = f" at n = {gap.worst_n:,}" if gap.count else ""
        told.append(
            f"{run.label}: median gap {percentage(gap.median)} %, worst {percentage(gap.worst)}"
            f" %{where}"
        )
    return counted(caption, skipped), listed(
        f"GCV against measured test risk, {count_fits(len(shown))}", told
    )
