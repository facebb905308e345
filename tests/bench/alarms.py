"""How often the trust report finds planted failures, and how often it finds one in clean samples.

`make bench BENCH=alarms`: handwritten digits and Gaussian classes, `REPLICATES` draws of each
failure (20); `FEATURES=RUN` adds the features of a run. A failure counts as found where a detector
that speaks of the data trips, for the rounding of float32 one that speaks of the fit. Named is the
share of the planted samples that are named, and the share of the named ones that are planted.

Of clean samples the second table counts the reports with a finding about the data. The third
compares what is said of the fit, that GCV differs from leave-one-out, with how far GCV is off from
the measured risk.
"""

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from rmtgen import ridge_path_features, trust_report
from rmtgen.store.feature_store import FeatureStore
from rmtgen.tables import Table
from rmtgen.theory.fit_checks import DIFFERENCE
from tests.failures import FAILURES, clean

SIZES, TESTS = (150, 400), 400
RIDGES = (1e-6, 1e-4, 1e-3, 1e-2, 1.0)
"""λ over tr K/n."""
CLEAN_SIZES = (100, 150, 300)
OFF = 0.1
"""|log(GCV/risk)| of a fit whose GCV is off."""
POOL = 12_000
"""Largest number of samples of a run."""


def sources():
    """Features and labels, by name."""
    digits, labels = load_digits(return_X_y=True)
    yield "digits", (digits, labels)
    rng = np.random.default_rng(0)
    classes, decay = rng.integers(0, 10, 6000), np.arange(1, 401.0) ** -0.5
    centres = rng.standard_normal((10, 400))
    yield (
        "Gaussian classes",
        ((centres[classes] + rng.standard_normal((6000, 400))) * decay, classes),
    )
    if run := os.environ.get("FEATURES"):
        store = FeatureStore.open(Path(run))
        yield "run", (store.read("train")[:POOL], store.layout.labels("train")[:POOL])


def planted(pool, n, replicates):
    """Of each failure: the share found, detectors by how often they found it, and naming."""
    for fail in FAILURES:
        about = "fit" if fail.__name__ == "float32_rounding" else "data"
        found, counts, recall, precision = 0, Counter(), [], []
        for number in range(replicates):
            rng = np.random.default_rng([3, number])
            draw = fail(clean(pool, n, TESTS, rng), rng)
            seen = [one for one in draw.report(trust_report).findings if one.tripped]
            seen = [one for one in seen if one.about == about]
            found += bool(seen)
            counts.update(one.detector for one in seen)
            for known, named in (
                (draw.planted, {at for one in seen for at in one.samples}),
                (draw.planted_tests, {at for one in seen for at in one.test_samples}),
            ):
                if len(known):
                    hits = len(named & set(known.tolist()))
                    recall.append(hits / len(known))
                    precision += [hits / len(named)] if named else []
        yield fail, found / replicates, counts, recall, precision


def power_rows(name, pool, replicates):
    """Rows of the table of planted failures."""
    by_size = [list(planted(pool, n, replicates)) for n in SIZES]
    for cases in zip(*by_size, strict=True):
        fail, _, counts, recall, precision = cases[-1]
        first = ", ".join(detector for detector, _ in counts.most_common(2)) or "none"
        named = f"{np.mean(recall):.2f} {np.mean(precision):.2f}" if precision else "–"
        shares = (f"{case[1]:.2f}" for case in cases)
        yield name, fail.__name__.replace("_", " "), *shares, first, named


def quiet_rows(name, pool, replicates):
    """Rows of the table of clean samples: reports with a finding about the data."""
    for n in CLEAN_SIZES:
        counts, alarms = Counter(), []
        for number in range(replicates):
            draw = clean(pool, n, TESTS, np.random.default_rng([4, number]))
            for ridge in RIDGES:
                found = replace(draw, ridge=ridge).report(trust_report)
                alarms.append(not found.clean)
                counts.update(
                    one.detector for one in found.findings if one.tripped and one.about == "data"
                )
        which = ", ".join(f"{detector} {count}" for detector, count in counts.most_common(3))
        yield name, f"{n}", f"{len(alarms)}", f"{100 * np.mean(alarms):.1f}", which or "–"


def gcv_rows(name, pool, replicates):
    """Rows of the table of GCV: where it is off, and where it is said to be."""
    features, labels = pool
    values = np.eye(labels.max() + 1)[labels] - 1 / (labels.max() + 1)
    for n in CLEAN_SIZES:
        off, said, wrong_loo = [], [], []
        for number in range(replicates):
            order = np.random.default_rng([4, number]).permutation(len(features))
            own, others = order[:n], order[n : n + 4000]
            train, tests = features[own].astype(float), features[others].astype(float)
            ridges = np.array(RIDGES) * np.square(train).sum() / n
            path = ridge_path_features(
                train,
                values[own],
                ridges=ridges,
                test_features=tests,
                test_targets=values[others],
            )
            gaps = np.abs(np.log(path[["gcv", "loo"]].to_numpy() / path[["test_risk"]].to_numpy()))
            off += (gaps[:, 0] > OFF).tolist()
            wrong_loo += (gaps[:, 1] > OFF).tolist()
            said += (np.abs(np.log(path["gcv"] / path["loo"])) > DIFFERENCE).tolist()
        off, said, wrong_loo = np.array(off), np.array(said), np.array(wrong_loo)
        both = (off & said).sum()
        shares = (both / max(said.sum(), 1), both / max(off.sum(), 1))
        numbers = (off.size, off.sum(), wrong_loo.sum(), said.sum())
        yield name, f"{n}", *(f"{x}" for x in numbers), *(f"{share:.2f}" for share in shares)


def main() -> None:
    """Print the three tables."""
    replicates = int(os.environ.get("REPLICATES", 20))
    pools = dict(sources())
    tables = (
        (
            power_rows,
            ("samples", "failure", *(f"n = {n}" for n in SIZES), "by", "named"),
            "<<>><>",
            "Planted failures: the share found, and what is named (of the planted, right)",
        ),
        (
            quiet_rows,
            ("samples", "n", "reports", "alarms %", "by"),
            "<>>><",
            "Clean samples: reports with a finding about the data",
        ),
        (
            gcv_rows,
            ("samples", "n", "fits", "GCV off", "LOO off", "said", "right", "found"),
            "<" + ">" * 7,
            "GCV more than 10 % off, and where it differs from leave-one-out by more than 8 %",
        ),
    )
    for rows, headings, sides, title in tables:
        found = tuple(row for name, pool in pools.items() for row in rows(name, pool, replicates))
        print(f"{title}\n\n{Table(headings, found, sides).text()}\n", flush=True)
