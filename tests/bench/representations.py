"""What runs fit, and the kernels that they fit with, side by side.

`make bench BENCH=representations RUNS=DIR,…`: of all N samples the fit at the ridge that
leave-one-out chooses, with its interval of 95 % and the test risk ± 2 standard errors; and of the
kernel the standard deviation of K_ii over its mean, the median cosine of two samples, tr K/‖K‖,
(tr K)²/‖K‖_F², degrees of freedom at the effective ridge 10⁻³ tr Σ, the exponent of decay, and the
leverage ratio of the check `leverage`. Then of each two runs of one data set the share of fits that
the first one does better, where two standard errors part them. Every stage of the runs is finished.
"""

import os
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from rmtgen.report.loading import load_result
from rmtgen.report.risk_statistics import chosen, trial_means
from tests.bench.beyond_runs import studied
from tests.bench.claims import CERTAIN, known, name_of, show

BLOCK = 4_000
"""Largest number of samples whose entries of K are compared."""
SPECTRAL = ("effective_rank", "participation_ratio", "df1 at 0.001")
"""Quantities of the table `representation`."""


def fit(result):
    """The fit of all samples that leave-one-out chooses."""
    top = chosen(result.risk, result.risk["n"].max())
    error = top["total_se"]
    return (
        f"{top['n']:,.0f}",
        f"{top['relative_ridge']:.1e}",
        f"{top['loo']:.4f} [{top['loo_low']:.4f}, {top['loo_high']:.4f}]",
        f"{top['test_risk']:.4f} ±{CERTAIN * error:.4f}",
        f"{100 * (1 - top['test_error']):.1f}",
    )


def kernel(folder, result):
    """What describes the kernel of a pool."""
    gram = studied(folder).pool.block(BLOCK)[0].double()
    sizes = gram.diagonal()
    yield f"{sizes.std() / sizes.mean():.2f}"
    cosines = gram / sizes.sqrt()[:, None] / sizes.sqrt()
    yield f"{cosines[~torch.eye(len(gram), dtype=torch.bool)].median():.2f}"
    values = result.theory["representation"].set_index("quantity")["value"]
    yield from (f"{values[name]:.1f}" for name in SPECTRAL)
    decay = result.theory["scaling"].set_index("quantity").loc["decay"]
    yield known(*decay[["exponent", "low", "high"]])
    checks = result.theory["trust"].set_index("detector")["value"]
    yield f"{checks['leverage']:.2f}"


def better(one, other):
    """Of the fits of two runs that two standard errors part those that the first does better."""
    keys = ["n", "relative_ridge"]
    tables = [trial_means(result.risk).round({"relative_ridge": 12}) for result in (one, other)]
    both = tables[0].merge(tables[1], on=keys, suffixes=("", "_other"))
    gap = np.log(both["test_risk_other"] / both["test_risk"])
    errors = (both[f"total_se{of}"] / both[f"test_risk{of}"] for of in ("", "_other"))
    sure = gap[gap.abs() > CERTAIN * np.hypot(*errors)]
    share = f"{100 * (sure > 0).mean():.0f}" if len(sure) else "–"
    return f"{len(sure)} of {len(both)}", share, f"{100 * gap.median():+.2f}"


def main() -> None:
    """Print the tables."""
    folders = [Path(run) for run in os.environ["RUNS"].split(",")]
    runs = [(folder, load_result(folder)) for folder in folders]
    print("\nThe fit that leave-one-out chooses; its test risk ± 2 standard errors; accuracy, %")
    headings = ("run", "n", "ridge", "LOO", "test risk", "accuracy")
    show(headings, ((name_of(one), *fit(one)) for _, one in runs))
    print("The kernel: spread of K_ii, cosine, ranks, degrees of freedom, decay, leverage ratio")
    headings = ("run", "K_ii", "cosine", "tr K/‖K‖", "(tr K)²/‖K‖²", "df", "decay", "leverage")
    show(headings, ((name_of(one), *kernel(*pair)) for pair in runs for one in pair[1:]))
    print("Fits that the first does better, % of those 2 SE apart; median log ratio of risks, %")
    pairs = combinations((one for _, one in runs), 2)
    alike = ((a, b) for a, b in pairs if (a.dataset, a.kernel) == (b.dataset, b.kernel))
    headings = ("first", "second", "apart", "better", "log ratio")
    show(headings, ((name_of(a), name_of(b), *better(a, b)) for a, b in alike))


if __name__ == "__main__":
    main()
