from itertools import permutations

import numpy as np
import pytest
import reference
import torch
from scipy.stats import binom, ks_2samp
from sklearn.datasets import load_digits
from sklearn.metrics.pairwise import rbf_kernel

from rmtgen.errors import NumericalError, UsageError
from rmtgen.ridge import ridge_path
from rmtgen.ridge.targets import encode_targets
from rmtgen.theory import resolvent, trust
from rmtgen.theory.trust import trust_report

N, TESTS = 220, 220
DRAWS = 32
intercepts = pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])


# --- data -----------------------------------------------------------------------------------------
# ----------------------


def gaussian(count, rng, decay=0.0, p=2 * N):
    return rng.standard_normal((count, p)) * np.arange(1, p + 1.0) ** (-decay / 2)


def power_law(count, rng):
    return gaussian(count, rng, 1.5)


def slow_decay(count, rng):
    return gaussian(count, rng, 0.7)


def uniform(count, rng):
    return rng.uniform(-1, 1, (count, 2 * N))


def relu(count, rng):
    return np.maximum(rng.standard_normal((count, 30)) @ rng.standard_normal((30, 600)), 0)


def large_mean(count, rng):
    return gaussian(count, rng, 0.7) + 10


def one_dimension(count, rng):
    return rng.standard_normal((count, 1))


def mixture(count, rng):
    return 2 * rng.standard_normal((10, 2 * N))[rng.integers(0, 10, count)] + gaussian(
        count, rng, 0.7
    )


CONTROLS = (gaussian, power_law, slow_decay, uniform, relu, large_mean, one_dimension, mixture)
controls = pytest.mark.parametrize("draw", CONTROLS, ids=lambda draw: draw.__name__)


def linear(features, rng, noise=0.3):
    signal = features @ rng.standard_normal(features.shape[1])
    return (signal - signal.mean()) / signal.std() + noise * rng.standard_normal(len(features))


def report(features, targets, relative=1e-3, n=N, **options):
    """Of the first n rows, tested on the others."""
    gram = features @ features[:n].T
    ridge = relative * np.trace(gram[:n]) / n
    return trust_report(
        gram[:n], targets[:n], ridge=ridge, test_gram=gram[n:] if len(gram) > n else None, **options
    )


def tripped(found):
    return {finding.detector for finding in found.findings if finding.tripped}


def value(found, detector):
    return {finding.detector: finding.value for finding in found.findings}[detector]


def both(gram, sum_ridge):
    return resolvent.resolvents(torch.from_numpy(gram), sum_ridge)


def small(n=14, p=9, m=4, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n + m, p)) + 2
    return features[:n], features[n:], rng.standard_normal((n, 2))


# --- false alarms ---------------------------------------------------------------------------------
# ----------------------


@pytest.fixture(scope="module")
def alarms():
    """Draws of each control, half of them with an intercept or classes, at relative ridges 1e-4 and
    1e-2: what tripped."""
    found = {}
    for draw in CONTROLS:
        rng, found[draw] = np.random.default_rng(11), []
        for count in range(DRAWS):
            features = draw(N + TESTS, rng)
            targets = np.sign(linear(features, rng)) if count & 4 else linear(features, rng)
            relative = (1e-4, 1e-2)[count & 1]
            found[draw].append(
                tripped(report(features, targets, relative, intercept=bool(count & 2)))
            )
    return found


@controls
def test_samples_that_are_iid_are_trusted_in_each_family(draw, alarms):
    """At most 5 % false alarms of the whole report: more than 6 of 32 would have a probability
    below .001."""
    counted = sum(map(bool, alarms[draw]))
    assert counted <= binom.ppf(0.999, DRAWS, 0.05), [alarm for alarm in alarms[draw] if alarm]


def test_false_alarms_are_at_most_five_in_a_hundred(alarms):
    every = [alarm for found in alarms.values() for alarm in found]
    assert np.mean([bool(alarm) for alarm in every]) <= 0.05
    for detector in set().union(*every):
        assert np.mean([detector in alarm for alarm in every]) <= 0.025, detector


@pytest.mark.parametrize(("n", "m"), [(300, 60), (150, 900)])
def test_other_numbers_of_test_samples_raise_no_more_alarms(n, m):
    rng, alarms = np.random.default_rng(12), []
    for count in range(20):
        features = CONTROLS[count % 4](n + m, rng)
        alarms.append(tripped(report(features, linear(features, rng), n=n)))
    assert sum(map(bool, alarms)) <= binom.ppf(0.999, 20, 0.05), alarms


# --- planted failures -----------------------------------------------------------------------------
# ----------------------


def autoregressive(draws, count, memory=0.9):
    draws = draws.copy()
    for row in range(1, count):
        draws[row] = memory * draws[row - 1] + np.sqrt(1 - memory**2) * draws[row]
    return draws


def elliptical(rng, decay=0.0):
    features = gaussian(N, rng, decay) / np.sqrt(rng.chisquare(3, N) / 3)[:, None]
    return features, linear(features, rng)


def copied(rng, decay=0.0):
    features = gaussian(N, rng, decay)
    targets, order = linear(features, rng), rng.permutation(N)
    copies, sources = order[: int(0.3 * N)], rng.choice(order[int(0.3 * N) :], int(0.3 * N))
    noise = 0.05 * features.std(axis=0) * rng.standard_normal((len(copies), features.shape[1]))
    features[copies], targets[copies] = features[sources] + noise, targets[sources]
    return features, targets


def correlated(rng, decay=0.0):
    features = autoregressive(gaussian(N, rng, decay), N)
    return features, linear(features, rng)


def rescaled(rng, decay=0.0):
    features = gaussian(N + TESTS, rng, decay)
    features[N:] *= 1.5
    return features, linear(features, rng)


def rotated(rng, decay=0.7):
    features = gaussian(N + TESTS, rng, decay)
    features[N:] = features[N:, rng.permutation(features.shape[1])]
    return features, linear(features, rng)


def displaced(rng, decay=0.0):
    features = gaussian(N + TESTS, rng, decay)
    features[N:] += 0.5 * features.std(axis=0)
    return features, linear(features, rng)


def sorted_classes(rng):
    labels = np.sort(rng.integers(0, 10, N))
    features = gaussian(N, rng, 0.7) + 0.3 * rng.standard_normal((10, 2 * N))[labels]
    return features, np.eye(10)[labels]


def power_law_of(plant):
    def decaying(rng):
        return plant(rng, 1.5)

    decaying.__name__ = f"{plant.__name__}-power_law"
    return decaying


FAILURES = [
    (elliptical, "leverage"),
    (power_law_of(elliptical), "leverage"),
    (elliptical, "gcv_loo_gap"),
    (copied, "near_duplicates"),
    (power_law_of(copied), "near_duplicates"),
    (correlated, "correlated_samples"),
    (power_law_of(correlated), "correlated_samples"),
    (rescaled, "covariate_shift"),
    (power_law_of(rescaled), "covariate_shift"),
    (rotated, "covariate_shift"),
    (displaced, "mean_shift"),
    (power_law_of(displaced), "mean_shift"),
    (sorted_classes, "ordered_classes"),
    (sorted_classes, "correlated_samples"),
]


@pytest.mark.parametrize(
    ("plant", "detector"), FAILURES, ids=lambda part: getattr(part, "__name__", part)
)
def test_a_planted_failure_is_caught_in_nine_draws_of_ten(plant, detector):
    rng = np.random.default_rng(21)
    caught = [
        report(*plant(rng), relative=(1e-4, 1e-2)[draw % 2], intercept=draw % 4 > 1)
        for draw in range(10)
    ]
    assert sum(detector in tripped(found) for found in caught) >= 9
    for found in caught:
        assert all(
            f"is {finding.value:.4g} against" in finding.message for finding in found.findings
        )


def test_what_trips_is_where_gcv_is_wrong():
    """GCV against the test risk: off by more than a quarter for elliptical features, where LOO is
    not, and right for Gaussian ones."""
    rng, ratios = np.random.default_rng(5), []
    for scale in (np.ones(2000), 1 / np.sqrt(rng.chisquare(3, 2000) / 3)):
        features = gaussian(2000, rng, p=600) * scale[:, None]
        targets, gram = linear(features, rng), features @ features[:300].T
        frame = ridge_path(
            gram[:300],
            targets[:300],
            ridges=[0.06],
            test_gram=gram[300:],
            test_targets=targets[300:],
        )
        ratios.append(
            (
                frame.gcv[0] / frame.test_risk[0],
                "leverage" in tripped(report(features, targets, 1e-4, n=300)),
            )
        )
    (right, quiet), (wrong, loud) = ratios
    assert not quiet and loud
    assert abs(np.log(right)) < 0.2 < abs(np.log(wrong))


@pytest.mark.parametrize(("kernel", "right"), [("linear", True), ("rbf", False)])
def test_handwritten_digits_are_trusted_with_the_kernel_whose_gcv_is_right(kernel, right):
    """At λ = 1e-4·tr K/n a narrow RBF kernel leaves some digits alone in the world; GCV is off by
    half, LOO right."""
    digits, labels = load_digits(return_X_y=True)
    gram = digits @ digits.T if kernel == "linear" else rbf_kernel(digits, gamma=1e-3)
    train, test = np.split(np.random.default_rng(0).permutation(len(labels))[:900], [200])
    onehot = encode_targets(labels, 10, "onehot").values.numpy()
    block, test_block = gram[np.ix_(train, train)], gram[np.ix_(test, train)]
    ridge = 1e-4 * np.trace(block) / len(train)
    frame = ridge_path(
        block, onehot[train], ridges=[ridge], test_gram=test_block, test_targets=onehot[test]
    )
    found = trust_report(block, onehot[train], ridge=ridge, test_gram=test_block)
    assert tripped(found) == (set() if right else {"leverage", "gcv_loo_gap"})
    assert (frame.gcv[0] > 0.9 * frame.test_risk[0]) == right
    assert frame.loo[0] == pytest.approx(frame.test_risk[0], rel=0.15)


@pytest.mark.parametrize("n", [12, 40, 99, 100])
def test_fewer_than_a_hundred_samples_are_few(n):
    rng = np.random.default_rng(n)
    features = gaussian(n, rng, p=50)
    found = report(features, linear(features, rng), n=n)
    assert ("small_sample" in tripped(found)) == (n < 100)
    assert (len(found.findings) == 1) == (n < trust.ENOUGH)


def test_float32_trips_where_it_resolves_nothing():
    rng = np.random.default_rng(3)
    features = gaussian(N, rng, 3.0)
    gram, targets = features @ features.T, linear(features, rng)
    ridge = 1e-9 * np.trace(gram) / N
    single = trust_report((gram + 1e-7 * np.eye(N)).astype(np.float32), targets, ridge=4e3 * ridge)
    assert not tripped(single) & {"float32_df", "float32_ridge"}
    single = trust_report((gram + 1e-5 * np.eye(N)).astype(np.float32), targets, ridge=ridge)
    assert "float32_ridge" in tripped(single)
    assert value(single, "float32_ridge") == pytest.approx(N * ridge, rel=1e-4)
    rounding = next(
        found.threshold for found in single.findings if found.detector == "float32_ridge"
    )
    assert rounding == pytest.approx(10 * 2**-23 * np.linalg.eigvalsh(gram)[-1], rel=1e-3)
    double = trust_report(gram, targets, ridge=ridge)
    assert not {finding.detector for finding in double.findings} & {"float32_df", "float32_ridge"}


@intercepts
def test_float32_trips_near_interpolation(intercept):
    rng = np.random.default_rng(4)
    features, targets = gaussian(N, rng), rng.standard_normal(N)
    gram = (features @ features.T).astype(np.float32)
    for ridge, full in ((1e-3, True), (1.0, False)):
        found = trust_report(gram, targets, ridge=ridge, intercept=intercept)
        assert ("float32_df" in tripped(found)) == full
        frame = ridge_path(gram.astype(float), targets, ridges=[ridge], intercept=intercept)
        assert value(found, "float32_df") == pytest.approx(frame.df[0] / N, rel=1e-9)


# --- the formulas ---------------------------------------------------------------------------------
# ----------------------


@intercepts
def test_the_resolvent_is_plain_linear_algebra(intercept):
    train, _, columns = small()
    gram, found = train @ train.T, both(train @ train.T, 0.7)[intercept]
    known = reference.resolvent(gram, 0.7, intercept)
    index = torch.tensor([[3, 1, 8], [0, 2, 13]])
    n = len(gram) - intercept
    np.testing.assert_allclose(found.diagonal, known.diagonal(), rtol=1e-11)
    np.testing.assert_allclose(
        found.times(torch.from_numpy(columns)), known @ columns, rtol=1e-9, atol=1e-13
    )
    for block, rows in zip(found.blocks(index), index.numpy(), strict=True):
        np.testing.assert_allclose(block, known[np.ix_(rows, rows)], rtol=1e-9, atol=1e-13)
    assert found.directions == n
    assert found.kappa_prime == pytest.approx(
        n * np.trace(known @ known) / np.trace(known) ** 2, rel=1e-11
    )


@intercepts
def test_blocks_are_left_out_exactly(intercept):
    train, _, targets = small()
    gram = train @ train.T
    found = both(gram, 0.7)[intercept]
    blocks = torch.tensor([[0, 1, 2, 3], [9, 4, 13, 6]])
    residuals = resolvent.left_out(found, found.times(torch.from_numpy(targets)), blocks)
    for block, residual in zip(blocks.numpy(), residuals, strict=True):
        rest = np.setdiff1d(np.arange(len(gram)), block)
        refit = reference.predict(
            gram[np.ix_(rest, rest)], targets[rest], 0.7, intercept, gram[np.ix_(block, rest)]
        )
        np.testing.assert_allclose(residual, targets[block] - refit, rtol=1e-9, atol=1e-12)


def test_what_is_explained_is_that_of_fits_without_the_sample():
    train, tests, _ = small()
    n = len(train)

    def known(rows, x):
        centred, x = rows - rows.mean(axis=0), x - rows.mean(axis=0)
        k = centred @ x
        return k @ np.linalg.solve(centred @ centred.T + 0.7 * np.eye(len(rows)), k)

    without = [np.delete(train, i, axis=0) for i in range(n)]
    gram = torch.from_numpy(train @ train.T)
    found, tested = resolvent.explained(
        gram, both(gram.numpy(), 0.7)[1], torch.from_numpy(tests @ train.T)
    )
    np.testing.assert_allclose(
        found, [known(rows, x) for rows, x in zip(without, train, strict=True)], rtol=1e-8
    )
    np.testing.assert_allclose(
        tested, [np.mean([known(rows, x) for rows in without]) for x in tests], rtol=1e-8
    )


def test_differences_in_the_last_digit_are_no_shift():
    """Orthogonal samples: every fit explains the same of each, up to rounding."""
    found = trust_report(3 * np.eye(60), np.arange(60.0), test_gram=np.zeros((40, 60)), ridge=0.7)
    assert found.findings[-2].detector == "covariate_shift"
    assert found.findings[-2].value == 0


@intercepts
def test_leverage_and_gap_are_those_of_the_ridge_path(intercept):
    rng = np.random.default_rng(6)
    features = gaussian(N, rng, 0.7)
    targets, gram = linear(features, rng), features @ features.T
    frame = ridge_path(gram, targets, ridges=[0.05], intercept=intercept)
    found = trust_report(gram, targets, ridge=0.05, intercept=intercept)
    diagonal = reference.resolvent(gram, 0.05 * N, intercept).diagonal()
    gap = abs(np.log(frame.gcv[0] / frame.loo[0]))
    assert value(found, "gcv_loo_gap") == pytest.approx(gap, rel=1e-6)
    known = (
        diagonal.std() / diagonal.mean() / np.sqrt(2 * (found_kappa_prime(gram, intercept) - 1) / N)
    )
    assert value(found, "leverage") == pytest.approx(known, rel=1e-8)
    assert 0.8 < known < 1.2


def found_kappa_prime(gram, intercept):
    known = reference.resolvent(gram, 0.05 * N, intercept)
    return (N - intercept) * np.trace(known @ known) / np.trace(known) ** 2


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_every_copy_is_counted_whatever_the_mean(offset):
    rng = np.random.default_rng(7)
    features = gaussian(N, rng, 0.7)
    features[:20] = features[20:40]
    features[40:45] = features[45] + 1e-3
    found = trust.near_duplicates(torch.from_numpy((features + offset) @ (features + offset).T))
    assert found.value == pytest.approx(46 / N)
    assert found.tripped


@pytest.mark.parametrize("classes", [10, 30])
@pytest.mark.parametrize("spread", [0.05, 0.1, 0.2])
def test_tight_classes_are_not_copies(classes, spread):
    rng = np.random.default_rng(23)
    features = gaussian(classes, rng)[rng.integers(0, classes, N)] + spread * gaussian(N, rng)
    assert not trust.near_duplicates(torch.from_numpy(features @ features.T)).tripped


@pytest.mark.parametrize("copies", [2, 5, 8, 11, 40])
def test_copies_of_every_sample_are_copies_however_many(copies):
    features = np.repeat(gaussian(440 // copies, np.random.default_rng(8)), copies, axis=0)[:N]
    assert trust.near_duplicates(torch.from_numpy(features @ features.T)).value == 1


def test_the_z_score_of_ordered_classes_is_that_of_every_order():
    labels = [0, 0, 0, 1, 1, 2]
    pairs = [np.sum(np.diff(order) == 0) for order in permutations(labels)]
    found = trust.ordered_classes(torch.tensor(labels))
    assert found.value == pytest.approx((3 - np.mean(pairs)) / np.std(pairs), rel=1e-12)


def test_one_class_alone_is_ordered_and_an_alternation_is_not():
    onehot = encode_targets(np.zeros(N, dtype=int), 10, "onehot").values
    rng = np.random.default_rng(9)
    gram = (lambda features: features @ features.T)(gaussian(N, rng))
    assert "ordered_classes" in tripped(trust_report(gram, onehot))
    assert trust.ordered_classes(torch.arange(N) % 2).value < 0
    assert trust.ordered_classes(torch.arange(N)).value == 0
    assert "ordered_classes" not in {
        found.detector for found in trust_report(gram, rng.standard_normal(N)).findings
    }


def test_rare_classes_raise_no_alarm():
    rng = np.random.default_rng(10)
    features = gaussian(N + TESTS, rng, 0.7)
    onehot = np.eye(3)[rng.choice(3, N + TESTS, p=[0.96, 0.03, 0.01])]
    assert report(features, onehot, intercept=True).trusted


def test_the_distance_of_distributions_is_kolmogorovs():
    rng = np.random.default_rng(13)
    first, second = rng.standard_normal(150), rng.standard_normal(90) + 0.3
    found = trust.covariate_shift(torch.from_numpy(first), torch.from_numpy(second))
    assert found.value == pytest.approx(ks_2samp(first, second).statistic, rel=1e-12)


def test_the_distance_of_means_is_that_of_explicit_splits(monkeypatch):
    monkeypatch.setattr(trust, "SPLITS", 5)
    train, tests, _ = small(n=14, m=6)
    pool, n = np.vstack([train, tests]), 14
    kernel, tested, energies = pool @ train.T, trust._memberships(14, 6).numpy().astype(bool), []
    for row in tested:
        gap = np.array(
            [
                np.mean([kernel[i, j] for i in np.flatnonzero(row) if i != j])
                - np.mean([kernel[i, j] for i in np.flatnonzero(~row) if i != j])
                for j in range(n)
            ]
        )
        energies.append(((gap - gap.mean()) ** 2).sum())
    found = trust.mean_shift(torch.from_numpy(kernel[:n]), torch.from_numpy(kernel[n:]))
    assert found.value == pytest.approx(energies[0] / np.mean(energies[1:]), rel=1e-10)
    assert tested[0].tolist() == [False] * 14 + [True] * 6
    assert (tested.sum(axis=1) == 6).all()


# --- invariances and edges
# ----------------------------------------------------------------------------------------------


def values(found):
    return np.array([finding.value for finding in found.findings])


@intercepts
def test_units_do_not_matter(intercept):
    rng = np.random.default_rng(14)
    features = slow_decay(N + 50, rng)
    targets = linear(features, rng)
    base = values(report(features, targets, intercept=intercept))
    np.testing.assert_allclose(
        values(report(100 * features, targets, intercept=intercept)), base, rtol=1e-6, atol=1e-9
    )
    np.testing.assert_allclose(
        values(report(features, -7 * targets, intercept=intercept)), base, rtol=1e-6, atol=1e-9
    )


def test_only_detectors_of_order_see_the_order():
    rng = np.random.default_rng(15)
    features = slow_decay(N, rng)
    targets = linear(features, rng)
    first, second = report(features, targets), report(features[::-1], targets[::-1])
    for one, other in zip(first.findings, second.findings, strict=True):
        if one.detector != "correlated_samples":
            assert other.value == pytest.approx(one.value, rel=1e-9), one.detector


def test_numpy_and_torch_float32_and_float64_agree_and_reports_repeat():
    rng = np.random.default_rng(16)
    features = gaussian(N + 50, rng)
    targets, gram = linear(features, rng)[:N], features @ features[:N].T
    found = trust_report(gram[:N], targets, test_gram=gram[N:])
    tensors = (
        torch.from_numpy(gram[:N].copy()),
        torch.from_numpy(targets),
        torch.from_numpy(gram[N:].copy()),
    )
    again = trust_report(tensors[0], tensors[1], test_gram=tensors[2])
    assert found.frame().equals(again.frame())
    single = trust_report(tensors[0].float(), tensors[1], test_gram=tensors[2].float())
    np.testing.assert_allclose(
        values(single)[: len(values(found))], values(found), rtol=0.02, atol=0.02
    )


def test_the_ridge_is_a_thousandth_of_the_mean_trace():
    rng = np.random.default_rng(17)
    features = gaussian(N, rng)
    gram, targets = features @ features.T, linear(features, rng)
    chosen = trust_report(gram, targets, ridge=1e-3 * np.trace(gram) / N)
    np.testing.assert_allclose(values(trust_report(gram, targets)), values(chosen), rtol=1e-9)


def test_a_report_is_a_table_with_its_warnings():
    rng = np.random.default_rng(18)
    found = report(*elliptical(rng), relative=1e-3)
    frame = found.frame()
    assert list(frame.columns) == ["detector", "value", "threshold", "tripped", "message"]
    assert found.warnings == tuple(frame.message[frame.tripped])
    assert not found.trusted
    assert all("trust LOO and not GCV." in message for message in found.warnings)
    assert TRUSTED.trusted and TRUSTED.warnings == ()


TRUSTED = trust.TrustReport((trust.small_sample(100),))


@intercepts
@pytest.mark.parametrize("kind", ["identity", "constant", "rank_one", "deficient"])
def test_degenerate_kernels_give_numbers(kind, intercept):
    rng = np.random.default_rng(19)
    features = {
        "identity": np.eye(50),
        "constant": np.ones((50, 1)),
        "rank_one": rng.standard_normal((50, 1)),
        "deficient": rng.standard_normal((50, 10)),
    }[kind]
    tests = features[rng.permutation(50)[:25]]
    found = trust_report(
        features @ features.T,
        rng.standard_normal(50),
        test_gram=tests @ features.T,
        intercept=intercept,
    )
    assert np.isfinite(values(found)).all()
    assert ("near_duplicates" in tripped(found)) == (kind == "constant")


@pytest.mark.parametrize("targets", [np.zeros(N), np.full((N, 2), 3.0)], ids=["zero", "constant"])
def test_targets_that_an_intercept_fits_have_nothing_to_compare(targets):
    features = gaussian(N, np.random.default_rng(20))
    found = trust_report(features @ features.T, targets, intercept=True)
    assert not {finding.detector for finding in found.findings} & {
        "gcv_loo_gap",
        "correlated_samples",
    }
    assert np.isfinite(values(found)).all()


def test_one_sample_is_few():
    assert tripped(trust_report(np.ones((1, 1)), np.ones(1), intercept=True)) == {"small_sample"}


def test_few_test_samples_are_not_compared():
    rng = np.random.default_rng(22)
    features = gaussian(N + 19, rng)
    found = report(features, linear(features, rng))
    assert not {finding.detector for finding in found.findings} & {"covariate_shift", "mean_shift"}


# --- bad input ------------------------------------------------------------------------------------
# ----------------------

GOOD = np.eye(30) + 0.1


def with_nan(shape):
    matrix = np.ones(shape)
    matrix.flat[0] = np.nan
    return matrix


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (
            (with_nan((30, 30)), np.ones(30)),
            {},
            NumericalError,
            "gram must be finite: got 1 NaN .*row 0, column 0",
        ),
        ((GOOD, with_nan(30)), {}, NumericalError, "targets must be finite: got 1 NaN"),
        (
            (GOOD, np.ones(30)),
            {"test_gram": with_nan((25, 30))},
            NumericalError,
            "test_gram must be finite: got 1 NaN",
        ),
        (
            (GOOD + np.triu(GOOD), np.ones(30)),
            {},
            NumericalError,
            "gram must be symmetric: .* got 0.1",
        ),
        (
            (GOOD[:20], np.ones(20)),
            {},
            UsageError,
            r"gram must be square: expected \(20, 20\), got \(20, 30\)",
        ),
        (
            (GOOD, np.ones(29)),
            {},
            UsageError,
            "targets need one row per training sample: expected 30, got 29",
        ),
        (
            (GOOD, np.ones(30)),
            {"test_gram": np.ones((25, 29))},
            UsageError,
            r"expected \(m, 30\), got \(25, 29\)",
        ),
        (
            (GOOD, np.ones(30)),
            {"ridge": 0.0},
            UsageError,
            "ridge must be positive and finite: got 0. .*1e-3·tr K/n",
        ),
        (
            (GOOD, np.ones(30)),
            {"ridge": -1.0},
            UsageError,
            "ridge must be positive and finite: got -1",
        ),
        (
            (GOOD, np.ones(30)),
            {"ridge": np.nan},
            UsageError,
            "ridge must be positive and finite: got nan",
        ),
        ((0 * GOOD, np.ones(30)), {"ridge": 1.0}, NumericalError, "positive trace: got tr K = 0"),
        ((GOOD.astype(np.float16), np.ones(30)), {}, UsageError, "gram must be float32 or float64"),
        (
            (np.diag([*np.ones(29), -2.0]), np.ones(30)),
            {"ridge": 0.01},
            NumericalError,
            "row 29 with nλ = 0.3",
        ),
    ],
)
def test_bad_input_is_refused_by_name(arguments, options, error, message):
    with pytest.raises(error, match=message):
        trust_report(*arguments, **options)
