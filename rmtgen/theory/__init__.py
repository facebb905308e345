"""The theory of generalisation: what predicts the risk of ridge regression on a representation,
what does not, and why.

`effective_ridge` is random matrix theory for a known spectrum; `transport` reads what it needs from
a pool of samples; `influence` says how sure that is, `forecast` goes beyond the pool, `scaling`
finds exponents. `baselines` are the rival theories, and `scores` holds all of them against measured
risk. `alignment` compares representations, `local_law` tests the assumption on data, `trust` warns
where it fails. `study` does all of it for a run.
"""
