"""The parts of the benchmark of rankings that need no data set: tasks, order, truth, and cache."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import scipy.special
import torch
from hypothesis import given
from hypothesis import strategies as st
from rank_cases import made
from sklearn.linear_model import Ridge

import rmtgen
from rmtgen.errors import UsageError
from rmtgen.ranking.ranked import RELATIVE_RIDGES
from tests.bench import rank_tuned
from tests.bench.rank_ahead import foreseen, tenth
from tests.bench.rank_features import LAST, Layers, Network, networks, probabilities
from tests.bench.rank_order import over_tasks, regret, tau, within
from tests.bench.rank_scores import (
    Store,
    left_out,
    logistic_truth,
    ridge_truth,
    standardised,
    whole_probe,
)
from tests.bench.rank_tasks import (
    ANIMALS,
    PARTS,
    SUPER,
    Source,
    drawn,
    long_tail,
    mislabelled,
    superclasses,
)
from tests.bench.rank_tuned import Joined, tuned


def test_super_classes_are_twenty_of_five():
    fines = list(itertools.chain(*SUPER.values()))
    assert len(SUPER) == 20
    assert {len(own) for own in SUPER.values()} == {5}
    assert len(set(fines)) == 100
    assert set(ANIMALS) < set(SUPER)
    found = superclasses(("whale", "apple", "tractor"))
    assert [list(SUPER)[place] for place in found] == [
        *("aquatic mammals", "fruit and vegetables", "vehicles 2")
    ]
    with pytest.raises(KeyError, match="unicorn"):
        superclasses(("whale", "unicorn"))


def test_a_task_takes_its_counts_and_keeps_the_parts_apart(source):
    coarse = np.array([0, 1, 1, -1, 0, 2])
    task = drawn(source, "three", coarse, np.array([20, 10, 5]))
    assert np.bincount(task.labels["train"]).tolist() == [20, 10, 5]
    assert np.bincount(task.labels["validation"]).tolist() == [10, 5, 2]
    assert np.bincount(task.labels["test"]).tolist() == [20, 10, 5]
    for part in PARTS:
        assert set(task.rows[part]) <= set(source.part(part))
        assert len(set(task.rows[part])) == len(task.rows[part])
        assert (coarse[source.labels[task.rows[part]]] == task.labels[part]).all()
    assert 3 not in source.labels[np.concatenate(list(task.rows.values()))]


def test_a_task_says_which_class_is_short(source):
    with pytest.raises(ValueError, match="class 1 must have 41 pictures to train: got 40"):
        drawn(source, "much", np.arange(6), np.array([40, 41, 40, 40, 40, 40]))


def test_the_name_of_a_task_is_its_draw(source):
    one, same, other = (
        drawn(source, name, np.arange(6), np.full(6, 5)) for name in ("a", "a", "b")
    )
    assert one.digest == same.digest != other.digest
    relabelled = dataclasses.replace(one, labels={**one.labels, "test": 5 - one.labels["test"]})
    assert relabelled.digest != one.digest


def test_a_long_tail_falls_to_a_twentieth():
    counts = long_tail(20, 100)
    assert (counts[0], counts[-1]) == (100, 5)
    assert (np.diff(counts) < 0).all()
    ratios = counts[1:] / counts[:-1]
    assert ratios == pytest.approx(np.full(19, 0.05 ** (1 / 19)), abs=0.06)


def test_wrong_labels_are_of_the_training_alone(source):
    task = drawn(source, "plain", np.arange(6), np.full(6, 30))
    noisy = mislabelled(task, "noisy")
    assert (noisy.labels["train"] != task.labels["train"]).sum() == 36
    assert set(noisy.labels["train"]) == set(range(6))
    for part in ("validation", "test"):
        assert (noisy.labels[part] == task.labels[part]).all()


def plain_tau(truth, scores):
    """Σ w s / Σ w |ties| of all pairs, with weights 1/(1 + r) + 1/(1 + q) by the ranks in
    decreasing order of truth then score, and of score then truth; the mean of both."""
    n, found = len(truth), []
    for keys in ((truth, scores), (scores, truth)):
        order = sorted(range(n), key=lambda i: (keys[0][i], keys[1][i]), reverse=True)
        rank = {one: place for place, one in enumerate(order)}
        top, left, right = 0.0, 0.0, 0.0
        for i, j in itertools.combinations(range(n), 2):
            weight = 1 / (1 + rank[i]) + 1 / (1 + rank[j])
            a, b = np.sign(truth[i] - truth[j]), np.sign(scores[i] - scores[j])
            top, left, right = top + weight * a * b, left + weight * a * a, right + weight * b * b
        found.append(top / math.sqrt(left * right))
    return sum(found) / 2


@given(st.permutations(range(7)))
def test_tau_is_the_weighted_share_of_pairs(order):
    truth, scores = np.arange(7) / 10, np.array(order, float) ** 3
    assert tau(truth, scores) == pytest.approx(plain_tau(truth, scores), abs=1e-12)


def test_tau_of_extremes():
    truth = np.array([0.1, 0.4, 0.2, 0.9])
    assert tau(truth, truth * 5 - 3) == pytest.approx(1)
    assert tau(truth, -truth) == pytest.approx(-1)
    assert tau(truth, np.ones(4)) == 0
    unknown = np.array([np.nan, 0.4, 0.2, np.inf])
    assert tau(truth, unknown) == pytest.approx(1)
    last = np.array([0.1, 0.4, 0.2, np.nan])
    assert tau(truth, last) < 0.5
    assert tau(truth[:1], truth[:1]) == 0


def test_regret_is_what_the_choice_loses():
    accuracy = np.array([0.5, 0.9, 0.7])
    assert regret(accuracy, np.array([0, 3, 1])) == 0
    assert regret(accuracy, np.array([3, np.nan, 1])) == pytest.approx(0.4)
    assert regret(accuracy, np.array([2.0, 1.0, 2.0])) == pytest.approx(0.3)
    assert regret(accuracy, np.full(3, np.nan)) == pytest.approx(0.2)


def test_within_groups_the_rest_does_not_count():
    truth, scores = np.array([1.0, 2, 10, 20]), np.array([5.0, 6, 2, 1])
    groups = np.array([0, 0, 1, 1])
    assert within(truth, scores, groups) == pytest.approx(0)
    assert within(truth, scores[[0, 1, 3, 2]], groups) == pytest.approx(1)
    assert within(truth, scores, np.array([0, 0, 1, 2])) == pytest.approx(1)


def test_the_bootstrap_resamples_tasks():
    values = np.random.default_rng(0).standard_normal(400)
    mean, low, high = over_tasks(values)
    reach = 1.96 * values.std() / 20
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((mean - reach, mean + reach), abs=0.02)
    assert over_tasks(np.full(5, 0.3)) == pytest.approx((0.3, 0.3, 0.3))


def test_layers_of_one_pass_are_those_of_many():
    backbone = rmtgen.load_backbone("test_resnet", init="random", img_size=32)
    names = ("layer2", "layer3", LAST)
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    layers = Layers(backbone.model, names).eval()
    widths = layers.widths(backbone.input_size)
    whole = dataclasses.replace(backbone, model=layers, feature_dim=sum(widths))
    parts = rmtgen.extract_features(whole, images).split(widths, dim=1)
    for name, part in zip(names, parts, strict=True):
        alone = backbone if name == LAST else rmtgen.at_layer(backbone, name)
        assert torch.allclose(part, rmtgen.extract_features(alone, images), atol=1e-6)


def test_there_are_enough_networks_with_names_of_their_own():
    shown = [str(one) for network in networks() for one in network.representations]
    assert len(set(shown)) == len(shown) >= 32


def test_probabilities_are_a_softmax():
    rng = np.random.default_rng(0)
    features, weight, bias = (rng.standard_normal(shape) for shape in ((4, 3), (5, 3), (5,)))
    expected = scipy.special.softmax(features @ weight.T + bias, axis=1)
    assert probabilities(features, weight, bias) == pytest.approx(expected)


@pytest.mark.parametrize("p", [8, 200])
def test_the_ridge_truth_is_that_of_scikit_learn(source, p):
    task, parts = made(source, p)
    train = parts["train"].astype(float)
    onehot = np.eye(6) - 1 / 6
    risks, rights = [], []
    for relative in RELATIVE_RIDGES:
        model = Ridge(relative * np.square(train).sum(), fit_intercept=False, solver="cholesky")
        model.fit(train, onehot[task.labels["train"]])
        shown = {part: model.predict(parts[part].astype(float)) for part in PARTS}
        risks.append(
            [((shown[part] - onehot[task.labels[part]]) ** 2).sum(axis=1) for part in PARTS[1:]]
        )
        rights.append(
            [(shown[part].argmax(axis=1) == task.labels[part]).mean() for part in PARTS[1:]]
        )
    safe = int(np.argmin([validation.mean() for validation, _ in risks]))
    sharp = int(np.argmax([validation for validation, _ in rights]))
    found = ridge_truth(parts, task)
    losses = risks[safe][1]
    assert found["risk"] == pytest.approx(losses.mean(), rel=1e-6)
    assert found["risk_se"] == pytest.approx(losses.std(ddof=1) / len(losses) ** 0.5, rel=1e-5)
    assert found["accuracy"] == pytest.approx(rights[sharp][1])
    assert found["accuracy_at_risk"] == pytest.approx(rights[safe][1])
    assert found["tested"] == len(losses)


def test_the_logistic_truth_is_better_on_better_features(source):
    task, parts = made(source, 30)
    noise = {part: np.random.default_rng(1).permutation(own) for part, own in parts.items()}
    assert logistic_truth(parts, task)["accuracy"] > logistic_truth(noise, task)["accuracy"] + 0.2


def test_the_risk_alone_is_that_of_a_ranking(source):
    task, parts = made(source, 30)
    found, whole = (score(parts["train"], task) for score in (left_out, whole_probe))
    assert found["score"] == pytest.approx(whole["score"], rel=1e-9)
    table = rmtgen.rank({"a": parts["train"]}, task.labels["train"], classes=6)
    assert found["accuracy"] == pytest.approx(table["accuracy"].iloc[0])


def test_the_standardised_risk_does_not_depend_on_units(source):
    task, parts = made(source, 30)
    units = np.logspace(-1, 1, 30, dtype=np.float32)
    one, other = (standardised(parts["train"] * some + some, task) for some in (1, units))
    assert one["score"] == pytest.approx(other["score"], rel=1e-4)


def test_a_tenth_is_part_of_the_whole_and_foreseen_by_the_ranking(source):
    task, parts = made(source, 30, classes=2, each=120)
    few = tenth(task, 0)
    assert len(few.rows["train"]) == 24
    assert set(few.rows["train"]) < set(task.rows["train"])
    assert (few.rows["test"] == task.rows["test"]).all()
    assert few.rows["train"].tolist() != tenth(task, 1).rows["train"].tolist()
    table = rmtgen.rank({"a": parts["train"]}, task.labels["train"], classes=2)
    assert foreseen(parts, task)["with_more"] == table["with_more"].iloc[0]


def test_the_store_keeps_what_is_there(source, tmp_path):
    task, store = drawn(source, "a task", np.arange(6), np.full(6, 5)), Store(tmp_path)
    shown = Network("net", "random", 32, ("blocks.2", "blocks.4")).representations
    calls = []

    def work():
        calls.append(1)
        return {"score": len(calls)}

    for one in (*shown, *shown):
        store.add(task, one, "counted", work)
    assert [store.of(task, one)["counted"]["score"] for one in shown] == [1, 2]
    assert store.of(task, shown[0])["counted"]["seconds"] >= 0
    other = dataclasses.replace(task, rows={**task.rows, "test": task.rows["test"][:-1]})
    assert store.of(other, shown[0]) == {}


def test_a_failure_is_kept_as_one(source, tmp_path):
    task, store = drawn(source, "a task", np.arange(6), np.full(6, 5)), Store(tmp_path)

    def fail():
        raise UsageError("no features")

    store.add(task, "net", "failed", fail)
    assert store.of(task, "net")["failed"]["failure"] == "no features"


def test_sequences_are_joined():
    joined = Joined(("ab", "cde"))
    assert len(joined) == 5
    assert "".join(joined[place] for place in range(5)) == "abcde"


def test_fine_tuning_learns_colours(monkeypatch):
    monkeypatch.setattr(rank_tuned, "EPOCHS", 30)
    rng = np.random.default_rng(0)
    labels = np.arange(160) % 2
    pixels = rng.integers(0, 150, (160, 32, 32, 3), dtype=np.uint8)
    pixels[np.arange(160), :, :, labels] += 100
    source = Source("colours", (pixels,), labels, ("red", "green"), (100, 10, 50))
    task = drawn(source, "colours", np.arange(2), np.full(2, 50))
    backbone = rmtgen.load_backbone("test_resnet", init="random", img_size=32)
    assert tuned(backbone, source, task)["accuracy"] > 0.9
