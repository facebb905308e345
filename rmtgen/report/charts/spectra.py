"""Eigenvalues of the kernel, cumulative target power, and learnability of the modes."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rmtgen.report.axes import limits
from rmtgen.report.chart import Axis, Chart, Line, Panel
from rmtgen.report.run_set import Run, RunSet
from rmtgen.report.wording import listed, number, percentage
from rmtgen.theory.alignment import cumulative_power

STEM = "spectra"
TITLE = "Spectra and target power"
NEEDS = ""

EIGENVALUE_FLOOR = 1e-10
"""Share of the largest eigenvalue below which an eigenvalue is rounding error."""
CURVE_POINTS = 300
"""Number of points of a curve."""


def chart(runs: RunSet) -> Chart:
    """The eigenvalues of each run, the cumulative target power, and learnability where known."""
    shares = [_shares(run) for run in runs]
    powers = [_captured(run) for run in runs]
    top = max(share.max() for share in shares)
    low, high = limits(*(share[share >= EIGENVALUE_FLOOR * top] for share in shares))
    modes = Axis("mode m", "log", limits([1, max(map(len, shares))]))
    decay = [Line(run.label, "", _thinned(share)) for run, share in zip(runs, shares, strict=True)]
    captured = [
        line
        for run, power in zip(runs, powers, strict=True)
        for line in (Line(run.label, "target power C(m)", _thinned(power)), *_learnability(run))
    ]
    return Chart(
        stem=STEM,
        title=TITLE,
        caption=_caption(runs, below=sum(int((share < low).sum()) for share in shares)),
        alt=_alt(runs, powers),
        panels=(
            Panel("Eigenvalues", modes, Axis("share of tr K/n", "log", (low, high)), tuple(decay)),
            Panel("Targets", modes, Axis("share", "linear", (0.0, 1.03)), tuple(captured)),
        ),
        groups=runs.labels,
    )


def _shares(run: Run) -> np.ndarray:
    """The eigenvalues as shares of their sum."""
    spectrum = run.result.spectrum
    return spectrum.eigenvalues / spectrum.trace


def _captured(run: Run) -> np.ndarray:
    """C(m), the share of the target power in the leading m modes."""
    spectrum = run.result.spectrum
    return cumulative_power(spectrum.power, spectrum.null_energy)


def _thinned(values: np.ndarray) -> pd.DataFrame:
    """`CURVE_POINTS` of the values, evenly spaced in the logarithm of the mode."""
    modes = np.unique(np.rint(np.geomspace(1, len(values), CURVE_POINTS)).astype(int))
    return pd.DataFrame({"x": modes, "y": values[modes - 1]})


def _learnability(run: Run) -> list[Line]:
    """Learnability of each mode at the best ridge of the pool, with the ranks beyond it."""
    if "modes" not in run.theory:
        return []
    modes = run.theory["modes"]
    table = {
        "x": modes["mode"],
        "y": modes["learnability"],
        "r beyond": modes["r"],
        "R beyond": modes["R"],
    }
    return [Line(run.label, "learnability of mode m", pd.DataFrame(table), dash="--", marked=False)]


def _caption(runs: RunSet, *, below: int) -> str:
    sizes = ", ".join(f"{n:,}" for n in sorted({run.result.spectrum.n for run in runs}))
    sentences = [
        f"Spectra at n = {sizes}. First panel: eigenvalues of K/n in descending order, as shares"
        " of their sum. Ridges are given in the same unit: modes far below the ridge have no part"
        " in the fit. Second panel: C(m), the share of the targets' power in the leading m"
        " eigenvectors. The earlier it rises, the better the targets align with the kernel.",
    ]
    if len(runs.having("modes")):
        sentences.append(
            "Learnability, σ/(σ + κ) at the best ridge of the pool, is the share of a mode that the"
            " fit learns."
        )
    if below:
        sentences.append(f"{below:,} eigenvalues lie below the view.")
    return " ".join(sentences)


def _alt(runs: RunSet, powers: Sequence[np.ndarray]) -> str:
    findings = []
    for run, captured in zip(runs, powers, strict=True):
        half = int(np.searchsorted(captured, 0.5)) + 1
        reach = (
            f"{half:,} modes hold half of the target power"
            if half <= len(captured)
            else f"all modes hold {percentage(captured[-1])} % of the target power"
        )
        findings.append(
            f"{run.label}: the first mode holds {percentage(_shares(run)[0])} % of the trace,"
            f" {reach}{_learnt(run)}"
        )
    return listed("Eigenvalues of K/n and cumulative target power", findings)


def _learnt(run: Run) -> str:
    """The last mode of which half is learnt."""
    if "modes" not in run.theory:
        return ""
    modes = run.theory["modes"]
    last = modes.loc[modes["learnability"] >= 0.5, "mode"].max()
    return f", modes up to {number(last, ',.0f')} are learnt by half or more"
