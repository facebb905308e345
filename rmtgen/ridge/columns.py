"""Columns of a ridge path and of the tables made from it; importing this does not import torch."""

COLUMNS = (
    *("n", "ridge", "train_risk", "gcv", "loo"),
    *("loo_se", "loo_low", "loo_high", "loo_kurtosis"),
    *("df", "kappa", "kappa_prime", "norm2"),
    *("train_error", "loo_error", "test_risk", "test_risk_se", "test_error"),
)
"""Columns of a ridge path, in this order."""
INTERVAL_COLUMNS = ("loo_se", "loo_low", "loo_high", "loo_kurtosis")
"""Columns that tables made before there was an interval lack."""
LOOKED_COLUMNS = ("loo_sampled_se", "loo_se_se")
"""Standard errors of leave-one-out from the samples that an estimate looks at; NaN without it."""
ERROR_COLUMNS = ("gcv_se", "df_se", "kappa_se", "kappa_prime_se", "residual", *LOOKED_COLUMNS)
"""Columns that a path of estimates has beyond `COLUMNS`."""
RISK_COLUMNS = ("n", "trial", "ridge", "relative_ridge", *COLUMNS[2:], "outputs")
"""Columns of `Pool.risk` and risk.csv. Risks are sums over the outputs; divide by `outputs` for
means."""
CURVE_COLUMNS = ("n", "relative_sum_ridge", *COLUMNS[1:], "outputs")
"""Columns of `Pool.curve` and curve.csv. `relative_sum_ridge` is δ = nλ over tr K of the pool."""
_TESTED = ("test_risk", "test_risk_se", "test_error")
DESCENT_COLUMNS = (
    *("n", "time", "rate", "train_risk", "gcv", "loo", "df", "train_error", "loo_error"),
    *_TESTED,
)
"""Columns of a path of gradient descent."""
ENSEMBLE_COLUMNS = (
    *("n", "subsample", "members", "ridge", "train_risk"),
    *("gcv", "gcv_corrected", "gcv_limit", "loo", "loo_member", "loo_limit", "df"),
    *("train_error", "loo_error", *_TESTED, "test_limit"),
)
"""Columns of a path of ensembles."""
SOLVER_NAMES = ("eigen", "nested", "banded", "primal", "streamed", "matrix_free")
"""Solvers of a ridge path, those of `rmtgen.ridge.SOLVERS`."""
ESTIMATING = "matrix_free"
"""The solver whose rows are estimates, with `ERROR_COLUMNS`."""
BUDGETED = ("streamed", ESTIMATING)
"""The solvers that keep to a budget of memory whatever the number of samples."""
