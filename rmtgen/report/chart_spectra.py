"""Chart 4: how the eigenvalues of the kernel decay, how early they capture the targets, and which
modes are learnt.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rmtgen.report.chart import Axis, Chart, Line, Panel
from rmtgen.report.chart_axes import limits
from rmtgen.report.chart_runs import Run, labels
from rmtgen.report.wording import listed, number, percentage
from rmtgen.theory.alignment import cumulative_power

EIGENVALUE_FLOOR = 1e-10
"""Below this share of the largest there is only rounding."""
CURVE_POINTS = 300


def spectra_chart(runs: Sequence[Run]) -> Chart:
    """Each run's eigenvalues, the cumulative target power of its modes, and their learnability
    where theory tells it.
    """
    shares = [run.result.eigenvalues / run.result.eigenvalues.sum() for run in runs]
    powers = [cumulative_power(run.result.target_power, run.result.null_energy) for run in runs]
    top = max(share.max() for share in shares)
    low, high = limits(*(share[share >= EIGENVALUE_FLOOR * top] for share in shares))
    modes = Axis("mode m", "log", limits([1, max(map(len, shares))]))
    caption, alt = _words(runs, powers, below=sum(int((share < low).sum()) for share in shares))
    decay = [Line(run.label, "", _thinned(share)) for run, share in zip(runs, shares, strict=True)]
    captured = [
        line
        for run, power in zip(runs, powers, strict=True)
        for line in (_power(run, power), *_learnability(run))
    ]
    return Chart(
        stem="spectra",
        title="Spectra and target power",
        caption=caption,
        alt=alt,
        panels=(
            Panel("Eigenvalues", modes, Axis("share of tr K/n", "log", (low, high)), tuple(decay)),
            Panel(
                "What the modes hold", modes, Axis("share", "linear", (0.0, 1.03)), tuple(captured)
            ),
        ),
        groups=labels(runs),
    )


def _thinned(values: np.ndarray) -> pd.DataFrame:
    """`CURVE_POINTS` of the values, evenly spread over the logarithm of their place."""
    modes = np.unique(np.rint(np.geomspace(1, len(values), CURVE_POINTS)).astype(int))
    return pd.DataFrame({"x": modes, "y": values[modes - 1]})


def _power(run: Run, captured: np.ndarray) -> Line:
    return Line(run.label, "target power C(m)", _thinned(captured))


def _learnability(run: Run) -> list[Line]:
    """Of each mode at the best ridge of the pool, with the effective ranks beyond it to be told."""
    if "modes" not in run.theory:
        return []
    modes = run.theory["modes"]
    told = {"r beyond": modes["r"], "R beyond": modes["R"]}
    table = pd.DataFrame({"x": modes["mode"], "y": modes["learnability"], **told})
    return [Line(run.label, "learnability of mode m", table, dash="--", marked=False)]


def _words(runs: Sequence[Run], powers: Sequence[np.ndarray], *, below: int) -> tuple[str, str]:
    sizes = ", ".join(f"{n:,}" for n in sorted({run.result.spectrum_n for run in runs}))
    hidden = f" {below:,} eigenvalues lie below the view." if below else ""
    learnt = (
        " Learnability, σ/(σ + κ) at the best ridge of the pool, is the share of a mode that is"
        " learnt."
        if any("modes" in run.theory for run in runs)
        else ""
    )
    caption = (
        f"Spectra at n = {sizes}. Eigenvalues of K/n stand in descending order, as shares of their"
        " sum, the unit in which ridges are given: modes far below the ridge have no part in the"
        " fit. C(m) is the share of the targets' power in the leading m eigenvectors; the earlier"
        f" it rises, the better the targets align with the kernel.{learnt}{hidden}"
    )
    told = []
    for run, captured in zip(runs, powers, strict=True):
        first = run.result.eigenvalues[0] / run.result.eigenvalues.sum()
        half = int(np.searchsorted(captured, 0.5)) + 1
        reach = (
            f"{half:,} modes hold half of the target power"
            if half <= len(captured)
            else f"all modes hold {percentage(captured[-1])} % of the target power"
        )
        told.append(
            f"{run.label}: the first mode holds {percentage(first)} % of the trace,"
            f" {reach}{_learnt(run)}"
        )
    return caption, listed("Eigenvalues of K/n and cumulative target power", told)


def _learnt(run: Run) -> str:
    """How many modes are learnt by half."""
    if "modes" not in run.theory:
        return ""
    modes = run.theory["modes"]
    last = modes.loc[modes["learnability"] >= 0.5, "mode"].max()
    return f", modes up to {number(last, ',.0f')} are learnt by half or more"
