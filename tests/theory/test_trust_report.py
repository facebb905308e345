"""The trust report: invariances, degenerate kernels, bad input, and its registry of detectors."""

import numpy as np
import pytest
import reference
import torch
from trust_cases import (
    TESTS,
    N,
    elliptical,
    gaussian,
    intercepts,
    linear,
    report,
    slow_decay,
    tripped,
    values,
)

from rmtgen.errors import NumericalError, UsageError
from rmtgen.theory.detector_list import ABOUT, DETECTORS, Finding
from rmtgen.theory.diagnostics import TrustReport, trust_report


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
        if one.detector not in {"correlated_samples", "drifting_residuals"}:
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
    assert list(frame.columns) == ["detector", "about", "value", "threshold", "tripped", "message"]
    assert found.warnings == tuple(frame.message[frame.tripped])
    assert not found.trusted
    assert any("trust LOO and not GCV" in message for message in found.warnings)
    assert TRUSTED.trusted and TRUSTED.warnings == ()


TRUSTED = TrustReport((Finding("small_sample", "fit", 100, 100, False, "n is 100"),), np.ones(1))


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
        "successive_residuals",
    }
    assert np.isfinite(values(found)).all()


def test_one_sample_is_few():
    assert tripped(trust_report(np.ones((1, 1)), np.ones(1), intercept=True)) == {"small_sample"}


def test_few_test_samples_are_not_compared():
    rng = np.random.default_rng(22)
    features = gaussian(N + 19, rng)
    found = report(features, linear(features, rng))
    assert not {finding.detector for finding in found.findings} & {"covariate_shift", "mean_shift"}


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
            {"test_targets": np.ones(25)},
            UsageError,
            "test_targets need the test samples: expected test_gram, got None",
        ),
        (
            (GOOD, np.ones(30)),
            {"test_gram": np.ones((25, 30)), "test_targets": np.ones((25, 2))},
            UsageError,
            r"expected \(25, 1\), got \(25, 2\)",
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


def test_every_detector_is_in_the_report_that_has_all_it_needs_once():
    rng = np.random.default_rng(24)
    features = gaussian(N + TESTS, rng)
    gram = (features @ features[:N].T).astype(np.float32)
    values = linear(features, rng)
    every = [detector.name for detector in DETECTORS]
    assert len(set(every)) == len(every)
    for targets, without in (
        (np.sign(values), {"heavy_losses"}),
        (values, {"ordered_classes", "class_counts"}),
    ):
        tests = {"test_gram": gram[N:], "test_targets": targets[N:]}
        found = trust_report(gram[:N], targets[:N], **tests).findings
        assert [one.detector for one in found] == [name for name in every if name not in without]
        assert all(one.about in ABOUT for one in found)


def test_suspected_samples_are_in_the_message_and_in_a_table():
    rng = np.random.default_rng(25)
    features = gaussian(N + TESTS, rng)
    features[:6], features[N] = features[10:16], features[100]
    found = report(features, linear(features, rng))
    table = found.suspects()
    assert list(table.columns) == ["detector", "split", "position", "share"]
    copies = table.query("detector == 'exact_duplicates'")
    assert copies["position"].tolist() == [*range(6), *range(10, 16)]
    assert set(copies["split"]) == {"train"}
    assert table["share"].isna().equals(table["split"] == "test")
    tests = table[table["split"] == "test"]
    assert tests["detector"].unique().tolist() in ([], ["shared_samples"])
    (message,) = (one.message for one in found.findings if one.detector == "exact_duplicates")
    assert message.endswith("; train samples 0, 1, 2, 3, 4, … (12 in all).")
    assert not found.clean
    quiet = report(gaussian(N, rng), rng.standard_normal(N))
    assert quiet.clean and set(quiet.suspects()["detector"]) == {"risk"}


def test_the_samples_that_carry_the_risk_are_those_of_largest_loss_left_out():
    rng = np.random.default_rng(26)
    features = gaussian(60, rng)
    targets = linear(features, rng)
    gram = features @ features.T
    losses = (reference.refit_loo(gram, targets[:, None], 6.0, False)[:, 0] - targets) ** 2
    table = trust_report(gram, targets, ridge=0.1).suspects().query("detector == 'risk'")
    assert table["position"].tolist() == np.argsort(-losses)[:10].tolist()
    np.testing.assert_allclose(table["share"], np.sort(losses)[::-1][:10] / losses.sum(), rtol=1e-8)


def test_doubts_of_a_fit_are_none_of_the_data():
    finding = Finding("gcv_loo_gap", "fit", 1.0, 0.1, True, "GCV differs")
    found = TrustReport((finding,), np.ones(1))
    assert found.clean and not found.trusted
