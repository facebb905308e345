"""The theory of generalisation: what predicts the risk of ridge regression, what does not, and why.

`effective_ridge` is random matrix theory for a known spectrum; `transport` estimates its quantities
from a pool of samples; `influence` gives standard errors, `forecast` extrapolates beyond the pool,
and `scaling` fits exponents. `baselines` are the rival theories, `registry` lists every theory, and
`scores` compares them with the measured risk. `alignment` compares representations,
`swaps` explains the gap between two, `local_law` tests the assumption on `subset_fits`, and
`diagnostics` warns where it fails. `beyond` has ensembles and gradient descent stopped early.
`study` does all of it.
"""
