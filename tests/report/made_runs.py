"""Made-up runs: ridge problems solved by plain NumPy, and theory tables of known numbers."""

import dataclasses
import itertools

import numpy as np
import pandas as pd

from rmtgen.linalg.spectrum import Spectrum
from rmtgen.report.run_result import RunResult
from rmtgen.theory.registry import THEORIES

CLASSES, FEATURES = 3, 20
LAW_TESTS = ("diagonal_rms", "off_diagonal_rms", "trace", "gcv")
SIZES, RIDGES, TRIALS = (15, 60, 600), (1e-6, 1e-3, 1e-1, 1e1), 3


def ridge_fits(decay, rng, sizes=SIZES, ridges=RIDGES, trials=TRIALS):
    """Rows of a ridge problem by definition, and its spectrum. No test reads kappa or norm2."""
    scales = np.arange(1.0, FEATURES + 1) ** -decay
    directions = rng.standard_normal((FEATURES, CLASSES))

    def draw(count):
        latent = rng.standard_normal((count, FEATURES))
        labels = (latent @ directions + rng.standard_normal((count, CLASSES))).argmax(axis=1)
        return latent * scales, np.eye(CLASSES)[labels] - 1 / CLASSES

    pool, targets = draw(max(sizes))
    test, test_targets = draw(100)
    mean_diagonal = (pool**2).sum() / len(pool)
    rows = []
    for n, trial, relative in itertools.product(sizes, range(trials), ridges):
        chosen = np.random.default_rng(trial).permutation(len(pool))[:n]
        x, y, ridge = pool[chosen], targets[chosen], relative * mean_diagonal
        weights = np.linalg.solve(x.T @ x + n * ridge * np.eye(FEATURES), x.T)
        hat, residual = x @ weights, y - x @ weights @ y
        test_loss = ((test_targets - test @ weights @ y) ** 2).sum(axis=1)
        loo_residual = residual / (1 - np.diag(hat))[:, None]
        rows.append(
            {
                **{
                    "n": n,
                    "trial": trial,
                    "ridge": ridge,
                    "relative_ridge": relative,
                    "outputs": CLASSES,
                },
                **{"kappa": np.nan, "kappa_prime": np.nan, "norm2": np.nan, "df": np.trace(hat)},
                "train_risk": (residual**2).sum() / n,
                "gcv": (residual**2).sum() / n / (1 - np.trace(hat) / n) ** 2,
                **interval((loo_residual**2).sum(axis=1)),
                "test_risk": test_loss.mean(),
                "test_risk_se": test_loss.std(ddof=1) / 10,
                "train_error": wrong(y - residual, y),
                "loo_error": wrong(y - loo_residual, y),
                "test_error": wrong(test @ weights @ y, test_targets),
            }
        )
    left, singular, _ = np.linalg.svd(pool, full_matrices=False)
    power = ((left.T @ targets) ** 2).sum(axis=1)
    null_energy = (targets**2).sum() - power.sum()
    return pd.DataFrame(rows), Spectrum.of_power(singular**2, power, null_energy, len(pool))


def interval(losses):
    """The mean of losses, and an interval of some width about it."""
    mean, error = losses.mean(), losses.std(ddof=1) / len(losses) ** 0.5
    return {
        "loo": mean,
        "loo_se": error,
        "loo_low": mean - 2 * error,
        "loo_high": mean + 2 * error,
        "loo_kurtosis": (losses**2).mean() / mean**2,
    }


def wrong(predicted, targets):
    return (predicted.argmax(axis=1) != targets.argmax(axis=1)).mean()


def make_run(name, init, decay=0.5, seed=0, **grid):
    risk, spectrum = ridge_fits(decay, np.random.default_rng(seed), **grid)
    return RunResult(
        name=name,
        model="tiny_net",
        init=init,
        dataset="blobs",
        kernel="features",
        config={"model": "tiny_net", "ridges": list(RIDGES)},
        risk=risk,
        spectrum=spectrum,
        provenance={"risk": {"seconds": 1.25, "made": "2026-11-24"}},
    )


def both_runs():
    """A pretrained and a random one."""
    return [
        make_run("tiny-pretrained-1a2b", "pretrained"),
        make_run("tiny-random-3c4d", "random", decay=2.0, seed=1),
    ]


def with_risk(run, **columns):
    return dataclasses.replace(run, risk=run.risk.assign(**columns))


def leveraged(run, **worst):
    """`run` with its first fit at n = 600 replaced, as if a few samples carried the fit."""
    risk = run.risk.copy()
    for name, value in worst.items():
        risk.loc[risk.index[risk["n"] == 600][0], name] = value
    return dataclasses.replace(run, risk=risk)


def studied_run(name, init, *, dataset="digits", bend=1.0, theory=True):
    """A run with exact GCV, inverted training risk, and theory tables that are power laws."""
    keys = [(n, trial, ridge) for n in (100, 400) for trial in (0, 1) for ridge in (0.0, 0.1, 1.0)]
    fits = pd.DataFrame(keys, columns=["n", "trial", "ridge"])
    truth = bend * (0.5 + 0.1 * fits["ridge"] + 10 / fits["n"])
    predictions = fits.assign(
        relative_ridge=fits["ridge"], test_risk=truth, test_risk_se=0.01, transport_se=0.01
    )
    predictions = predictions.assign(**dict.fromkeys(THEORIES, 3 * truth))
    predictions = predictions.assign(gcv=truth, transport=1.02 * truth, train_risk=1 / truth)
    predictions = predictions.assign(
        test_error=0.5, predicted_error=0.4 + 0.1 * fits["ridge"], predicted_error_se=0.02
    )
    blank = dict.fromkeys(
        ("train_risk", "df", "kappa_prime", "norm2", "train_error", "loo_error", "test_error"), 0.5
    )
    values = np.arange(1, 401.0) ** -1.5
    about = {"loo": truth, "loo_se": 0.05 * truth, "loo_low": 0.9 * truth, "loo_high": 1.1 * truth}
    about |= {"loo_kurtosis": 2.0}
    risk = predictions.assign(**blank, **about, kappa=2 * values.sum() / fits["n"], outputs=2)
    power = 400 * np.arange(1, 401.0) ** -(1.2 if init == "random" else 2.0)
    tables = theory_tables(values, bend) | {"predictions": predictions} if theory else None
    return RunResult(
        *(
            name,
            "resnet18",
            init,
            dataset,
            "features",
            {"targets": "centered"},
            risk,
            Spectrum.of_power(400 * values, power, 0.0, 400),
        ),
        theory=tables,
    )


def theory_tables(values, bend):
    """The other tables of the `theory` stage: κ(0, n) = tr K/N · n⁻¹·⁵, and a risk n^−0.25."""
    n, modes = np.geomspace(1, 300, 40), np.array([1, 20, 400])
    sizes = np.array([100, 200, 400, 800, 1600])
    risk = bend * sizes**-0.25
    unknown = [np.nan] * 3
    quantities = [
        "noise",
        "decay",
        "alignment",
        "power",
        "kappa",
        "ridgeless",
        "best_ridge",
        "fixed_ridge",
        "subset_decay",
    ]
    exponents = [0.0, 1.5, 0.8, 1.8, -1.5, np.nan, -0.25, 0.0, 1.4]
    scaling = pd.DataFrame({"quantity": quantities, "exponent": exponents}).assign(
        first=30, last=100
    )
    scaling = scaling.assign(
        low=scaling["exponent"] - 0.1, high=scaling["exponent"] + 0.1, predicted=np.nan
    )
    scaling.loc[4, "predicted"] = -1.5
    scaling[["measured", "measured_low", "measured_high"]] = (
        [unknown] * 6 + [[-0.3, -0.35, -0.2]] + [unknown] * 2
    )
    deviations = [(test, size, size**-0.5) for test in LAW_TESTS for size in (50, 100, 200)]
    return {
        "curves": pd.DataFrame({"df1": n, "relative_kappa": n**-1.5, "floor": bend * n**-0.8}),
        "modes": pd.DataFrame({"mode": modes, "learnability": [0.9, 0.5, 0.1], "r": 2.0, "R": 3.0}),
        "forecast": (
            pd.DataFrame(
                {"n": sizes, "predicted_risk": risk, "low": 0.9 * risk, "high": 1.1 * risk}
            ).assign(extrapolated=sizes > 400)
        ),
        "accuracy": pd.DataFrame(
            {"n": sizes, "predicted_error": 8 / sizes, "low": 6 / sizes, "high": 10 / sizes}
        ).assign(extrapolated=sizes > 400),
        "labels": pd.DataFrame(
            {
                "risk": [0.4, 0.3, 0.1],
                "labels": [900, 4e4, np.inf],
                "low": [700, 9e3, np.inf],
                "high": [1200, np.inf, np.inf],
            }
        ),
        "hindcast": pd.DataFrame(
            [
                {
                    "n": 400,
                    "predicted_risk": 0.5,
                    "low": 0.4,
                    "high": 0.6,
                    "test_risk": 0.55,
                    "test_risk_se": 0.01,
                    "seen": 40,
                }
            ]
        ),
        "scaling": scaling,
        **other_fits(bend),
        "local_law": pd.DataFrame(deviations, columns=["test", "n", "deviation"]),
        "trust": pd.DataFrame(
            {
                "detector": ["small_sample", "outliers"],
                "tripped": [False, True],
                "message": ["all is well", "H is 9 against 3"],
            }
        ),
    }


def other_fits(bend):
    """Ensembles and stopped descent of known risk and errors: leave-one-out is 1 % too high, GCV
    20 % and 50 % too high, and after 64 steps eight times; corrected GCV is 4 % too low."""
    cells = pd.DataFrame([(50, 0), (50, 1), (100, 0)], columns=["n", "trial"])
    ridges = pd.DataFrame({"relative_ridge": [0.0, 0.1], "df": [25.0, 10.0]})
    ensembles = cells.merge(ridges, how="cross")
    risk = bend * (0.5 + 10 / ensembles["n"] + 0.1 * ensembles["relative_ridge"])
    ensembles = ensembles.assign(
        **{"test_risk": risk, "gcv": 1.2 * risk, "gcv_corrected": 0.96 * risk, "loo": 1.01 * risk},
        **{"test_limit": risk / 2, "gcv_limit": 0.52 * risk, "loo_limit": 0.49 * risk},
    )
    times = pd.DataFrame({"time": [1, 4, 16, 64], "df": [5.0, 10.0, 20.0, 50.0]})
    descent = cells.merge(times, how="cross")
    risk = bend * (0.5 + 10 / descent["n"] + 0.1 / descent["time"])
    factor = np.where(descent["time"] == 64, 8.0, 1.5)
    return {
        "ensembles": ensembles,
        "descent": descent.assign(test_risk=risk, gcv=factor * risk, loo=1.01 * risk),
    }
