"""Bad spectra, powers, ridges, sizes and noise are refused by name."""

import numpy as np
import pytest

from rmtgen.errors import NumericalError, UsageError
from rmtgen.theory.effective_ridge import (
    effective_ridge,
    omniscient_risk,
)

GOOD = {"eigenvalues": [1.0, 0.5], "target_power": [1.0, 1.0], "ridge": 0.1, "n": 5}


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (
            {"eigenvalues": [1.0, -0.25]},
            UsageError,
            r"eigenvalues must be >= 0: got -0.25 at 1 \(1 such\)",
        ),
        (
            {"eigenvalues": []},
            UsageError,
            r"eigenvalues must be a vector with entries: got shape \(0,\)",
        ),
        (
            {"eigenvalues": np.eye(2)},
            UsageError,
            r"eigenvalues must be a vector with entries: got shape \(2, 2\)",
        ),
        (
            {"eigenvalues": 1.0},
            UsageError,
            r"eigenvalues must be a vector with entries: got shape \(\)",
        ),
        (
            {"eigenvalues": [1.0, np.nan]},
            NumericalError,
            r"eigenvalues must be finite: got 1 NaN or infinite of 2, the first at 1",
        ),
        (
            {"eigenvalues": [np.inf, np.inf]},
            NumericalError,
            "got 2 NaN or infinite of 2, the first at 0",
        ),
        (
            {"eigenvalues": [0.0, 0.0]},
            NumericalError,
            "eigenvalues must not all be zero: got 2 zeros",
        ),
        (
            {"target_power": [1.0, -2.0]},
            UsageError,
            r"target_power must be >= 0: got -2 at 1 \(1 such\)",
        ),
        ({"target_power": [np.nan, 1.0]}, NumericalError, "target_power must be finite: got 1 NaN"),
        (
            {"target_power": [0.0, 0.0]},
            NumericalError,
            "target_power must not all be zero: got 2 zeros",
        ),
        (
            {"target_power": [1.0]},
            UsageError,
            "target_power needs one value per mode: expected 2, got 1",
        ),
        ({"ridge": -0.5}, UsageError, "ridge must be >= 0: got -0.5"),
        ({"ridge": [0.1, np.nan]}, UsageError, "ridge must be >= 0: got nan"),
        ({"n": [4, 0]}, UsageError, "n must be positive and finite: got 0 samples"),
        ({"n": -3}, UsageError, "n must be positive and finite: got -3 samples"),
        ({"n": np.inf}, UsageError, "n must be positive and finite: got inf samples"),
        ({"n": np.nan}, UsageError, "n must be positive and finite: got nan samples"),
        (
            {"ridge": [0.1, 0.2], "n": [1, 2, 3]},
            UsageError,
            r"ridge and n must broadcast: got shapes \(2,\) and \(3,\)",
        ),
        ({"noise": -0.1}, UsageError, "noise must be finite and >= 0: got -0.1"),
        ({"noise": np.nan}, UsageError, "noise must be finite and >= 0: got nan"),
        ({"noise": np.inf}, UsageError, "noise must be finite and >= 0: got inf"),
    ],
)
def test_bad_input_is_refused_by_name(wrong, error, message):
    with pytest.raises(error, match=message):
        omniscient_risk(**GOOD | wrong)
    if wrong.keys() & {"eigenvalues", "ridge", "n"}:
        arguments = {
            name: value for name, value in (GOOD | wrong).items() if name != "target_power"
        }
        with pytest.raises(error, match=message):
            effective_ridge(**arguments)
