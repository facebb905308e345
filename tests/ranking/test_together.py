"""Comparisons of two representations against plain NumPy, and their extremes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_probe import drawn, probed

import rmtgen
from rmtgen.errors import NumericalError, UsageError
from rmtgen.ranking.paired import risk_difference
from rmtgen.ranking.ranked import RELATIVE_RIDGES
from rmtgen.ranking.together import COLUMNS, cka


def plain_cka(first, second):
    """HSIC of centred Gram matrices over the root of those with themselves."""
    n = len(first)
    centre = np.eye(n) - 1 / n
    grams = [centre @ (x @ x.T) @ centre for x in (first, second)]
    crossed, *own = (np.trace(grams[i] @ grams[j]) for i, j in ((0, 1), (0, 0), (1, 1)))
    return crossed / np.sqrt(own[0] * own[1])


@pytest.mark.parametrize(("p", "q"), [(3, 5), (40, 5), (40, 60)])
def test_cka_is_that_of_centred_gram_matrices(p, q):
    rng = np.random.default_rng(p)
    first, second = rng.standard_normal((20, p)) + 1, rng.standard_normal((20, q)) ** 3
    found = cka(torch.from_numpy(first), torch.from_numpy(second))
    assert found == pytest.approx(plain_cka(first, second), rel=1e-10)


@given(seed=st.integers(0, 99), scale=st.floats(1e-3, 1e3), shift=st.floats(-5, 5))
def test_cka_of_a_rotation_is_one(seed, scale, shift):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((12, 4))
    turned = scale * x @ np.linalg.qr(rng.standard_normal((4, 4)))[0] + shift
    assert cka(torch.from_numpy(x), torch.from_numpy(turned)) == pytest.approx(1, rel=1e-6)


def test_gains_are_paired_differences_to_both_side_by_side():
    features, labels = drawn(10, n=50)
    parts = {"front": 7 * features[:, :3], "back": features[:, 3:]}
    table = rmtgen.compare_features(parts, labels)
    assert list(table) == list(COLUMNS) and len(table) == 1
    row = table.iloc[0]
    scaled = {name: x / np.sqrt((x**2).sum() / 50) for name, x in parts.items()}
    scaled["both"] = np.concatenate(list(scaled.values()), axis=1)
    probes = {}
    for name, x in scaled.items():
        ridges = np.array(RELATIVE_RIDGES) * (x**2).sum() / 50
        probes[name], _ = probed(x, labels, ridges=tuple(ridges))
    assert row["cka"] == pytest.approx(plain_cka(parts["front"], parts["back"]), rel=1e-9)
    for name, label in (("front", "first"), ("back", "second"), ("both", "both")):
        assert row[f"loo_{label}"] == pytest.approx(probes[name].best["loo"], rel=1e-9)
    for name, label in (("front", "first"), ("back", "second")):
        gain = risk_difference(probes[name], probes["both"])
        stated = row[[f"gain_over_{label}{end}" for end in ("", "_low", "_high")]]
        assert stated.tolist() == pytest.approx([gain.value, *gain.interval], rel=1e-6)
    coded = np.eye(labels.max() + 1)[labels] - 1 / (labels.max() + 1)
    for name, label in (("front", "first"), ("back", "second")):
        kernels = scaled[name] @ scaled[name].T, coded @ coded.T
        plain = np.vdot(*kernels) / np.prod([np.linalg.norm(kernel) for kernel in kernels])
        assert row[f"alignment_{label}"] == pytest.approx(plain, rel=1e-9)
    assert row["gain_over_second_low"] > 0  # the labels are made of the front


def test_a_copy_adds_nothing():
    features, labels = drawn(6, n=40)
    row = rmtgen.compare_features({"one": features, "again": 3 * features}, labels).iloc[0]
    assert row["cka"] == pytest.approx(1) and row["gain_over_first"] == pytest.approx(0, abs=1e-9)


def test_three_make_three_pairs():
    features, labels = drawn(9, n=40)
    parts = {name: features[:, at : at + 3] for at, name in enumerate("abc")}
    table = rmtgen.compare_features(parts, labels)
    assert table[["first", "second"]].agg("".join, axis=1).tolist() == ["ab", "ac", "bc"]


@pytest.mark.parametrize("given", [{}, None, {"one": np.ones((4, 2))}])
def test_one_alone_is_refused(given):
    with pytest.raises(UsageError, match="at least two: got"):
        rmtgen.compare_features(given, [0, 1, 0, 1])


def test_what_cannot_be_compared_is_named():
    features, labels = drawn(4, n=20)
    with pytest.raises(NumericalError, match="representation 'zero': features need squares"):
        rmtgen.compare_features({"some": features, "zero": 0 * features}, labels)
    with pytest.raises(NumericalError, match="differ between samples"):
        cka(torch.ones(5, 2, dtype=torch.float64), torch.from_numpy(features[:5]))
    with pytest.raises(UsageError, match=r"'short'.*expected 10, got 20"):
        rmtgen.compare_features({"some": features, "short": features[:10]}, labels)
