"""The labels that an error needs, against the errors that they give."""

import numpy as np
import pytest
from accuracy_cases import Labelled

import rmtgen
from rmtgen.errors import UsageError
from rmtgen.theory.accuracy import predicted_error
from rmtgen.theory.labels import labels_needed


@pytest.fixture(scope="module")
def pool():
    return Labelled(4, 40).influence(160, np.random.default_rng(0))


def test_the_labels_have_the_error_and_fewer_do_not(pool):
    wanted = [0.6, 0.45, 0.3]
    found = labels_needed(pool, errors=wanted)
    assert found.columns.tolist() == ["error", "labels", "low", "high", "extrapolated"]
    assert found.error.tolist() == wanted
    errors = predicted_error(pool, found.labels).predicted_error
    np.testing.assert_allclose(errors, wanted, atol=0.015)
    assert (np.diff(found.labels) > 0).all()
    assert ((found.low <= found.labels) & (found.labels <= found.high)).all()
    assert found.extrapolated.tolist() == (found.labels > 160).tolist()


def test_an_error_that_no_number_reaches_needs_infinitely_many(pool):
    reached = predicted_error(pool, [10**9]).predicted_error[0]
    found = labels_needed(pool, errors=[reached / 2, reached + 0.05, 0.99])
    assert np.isinf(found.labels[0])
    assert np.isfinite(found.labels[1:]).all()
    assert found.labels[2] == 2
    capped = labels_needed(pool, errors=reached + 0.05, most=found.labels[1] / 2)
    assert np.isinf(capped.labels[0])


def test_risks_are_counted_as_before(pool):
    risk = rmtgen.forecast(pool, [100]).predicted_risk[0]
    assert labels_needed(pool, risk).labels[0] == pytest.approx(100, rel=0.01)
    assert labels_needed(pool, risks=risk).equals(labels_needed(pool, [risk]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "for risks or for errors: got neither"),
        ({"risks": 0.5, "errors": 0.5}, "for risks or for errors: got both"),
        ({"errors": 0.0}, r"errors must lie in \(0, 1\): got 0.0"),
        ({"errors": [0.2, 20.0]}, r"errors must lie in \(0, 1\): got 20.0"),
        ({"errors": []}, r"errors must lie in \(0, 1\): got none"),
        ({"errors": 0.2, "most": np.inf}, "most must be finite and >= 4: got inf"),
    ],
)
def test_bad_input_is_refused_with_its_values(pool, wrong, message):
    with pytest.raises(UsageError, match=message):
        labels_needed(pool, **wrong)


def test_targets_without_classes_have_no_errors():
    rng = np.random.default_rng(1)
    features = rng.standard_normal((40, 60))
    targets = features[:, 0] + rng.standard_normal(40)
    influence = rmtgen.pool_influence(rmtgen.gram_modes(features @ features.T), targets)
    with pytest.raises(UsageError, match="targets that encode classes"):
        labels_needed(influence, errors=0.2)
