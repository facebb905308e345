"""Pages of ridge problems on made-up features: three runs with theory, or many small ones."""

import dataclasses
import functools

import numpy as np
import pandas as pd
import torch

from rmtgen.errors import NumericalError, UsageError
from rmtgen.linalg.spectrum import Spectra, Spectrum
from rmtgen.report.charts import make_charts
from rmtgen.report.page import render_page
from rmtgen.report.run_result import RunResult
from rmtgen.report.run_set import RunSet
from rmtgen.ridge.kernel import FeatureKernel
from rmtgen.ridge.pool import Pool
from rmtgen.ridge.targets import encode_targets
from rmtgen.runs.config import Config
from rmtgen.stages.pool import cells
from rmtgen.theory.study import ANALYSES, Study

HOSTILE = "<script>window.harmed=1</script><img src=x onerror=window.harmed=1>\"'&"
N, M, CLASSES, DIM = 1000, 300, 4, 120


@functools.lru_cache(maxsize=4)
def study(decay, seed):
    """Classes follow noisy linear scores of features whose covariance decays as i^−2·decay."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((N + M, DIM)) * np.arange(1, DIM + 1) ** -decay
    scores = features @ rng.standard_normal((DIM, CLASSES)) + 0.3 * rng.standard_normal(
        (N + M, CLASSES)
    )
    parts = (slice(N), slice(N, None))
    encoded = [encode_targets(scores.argmax(axis=1)[part], CLASSES, "centered") for part in parts]
    config = Config(
        train=N,
        test=M,
        sizes=(60, 125, 250, 500, N),
        ridges=(0.0, 1e-4, 1e-3, 1e-2, 1e-1, 1.0),
        trials=2,
    )
    pool = Pool(FeatureKernel(*(torch.from_numpy(features[part]) for part in parts)), *encoded)
    wanted = cells(config)
    orders = {cell: cell.order(config.seed, config.train) for cell in wanted}
    risk = pd.concat(
        [pool.risk(cell, config.ridges, seed=config.seed) for cell in wanted], ignore_index=True
    )
    spectra = {
        cell: Spectrum.of(next(pool.modes([order], config.memory)), encoded[0].values[order])
        for cell, order in orders.items()
    }
    return Study(pool, risk, Spectra(spectra))


def tables(made):
    """Every analysis that the run is large enough for."""
    found = {}
    for name, analyse in ANALYSES.items():
        try:
            found[name] = analyse(made)
        except (UsageError, NumericalError):
            continue
    return found


@functools.lru_cache(maxsize=4)
def result(name, init, decay, seed, theory):
    made = study(decay, seed)
    return RunResult(
        name=name,
        model="tiny_net",
        init=init,
        dataset="blobs",
        kernel="features",
        config={"model": "tiny_net", "targets": "centered"},
        risk=made.risk,
        spectrum=made.spectrum,
        theory=tables(made) if theory else None,
        provenance={"risk": {"seconds": 1.25, "made": "2026-11-24", "taken_from": "another-run"}},
    )


def three_runs(model="tiny_net"):
    """A pretrained and a random run with theory, and one without."""
    runs = (
        result("tiny-pretrained-1a2b", "pretrained", 0.9, 0, True),
        result("tiny-random-3c4d", "random", 0.5, 1, True),
        result("tiny-other-5e6f", "pretrained", 0.7, 2, False),
    )
    return [
        dataclasses.replace(run, model=model, name=f"{model}-{run.name}", risk=run.risk.copy())
        for run in runs
    ]


def many_runs(count):
    """Runs without theory, each with risks of its own."""
    run = result("tiny-other-5e6f", "pretrained", 0.7, 2, False)
    rng = np.random.default_rng(0)
    return [
        dataclasses.replace(
            run,
            name=f"net-{place}",
            model=f"net_{place}",
            risk=run.risk.assign(test_risk=run.risk["test_risk"] * rng.uniform(0.8, 1.2)),
        )
        for place in range(count)
    ]


def page_of(results, title="comparison"):
    runs = RunSet.of(results)
    return render_page(runs, make_charts(runs), title, {"half-done": "not finished"})
