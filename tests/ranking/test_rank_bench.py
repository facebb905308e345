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
from sklearn.linear_model import Ridge

import rmtgen
from rmtgen.errors import UsageError
from rmtgen.ranking.ranked import RELATIVE_RIDGES
from tests.bench import rank_tuned
from tests.bench.rank_ahead import AHEAD, ahead, foreseen, tenth
from tests.bench.rank_features import LAST, Layers, Network, networks, probabilities
from tests.bench.rank_order import over_tasks, regret, tau, within
from tests.bench.rank_scores import Store, logistic_truth, path_alone, probed, ridge_truth
from tests.bench.rank_tables import (
    FIRST,
    Results,
    apart,
    by_task,
    costs,
    fine_tuned,
    heads,
    overall,
    tuned_networks,
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


@pytest.fixture
def source():
    """Six classes of 40 + 10 + 20 pictures."""
    labels = np.random.default_rng(0).permutation(240) % 6
    labels = np.concatenate([labels, np.arange(60) % 6, np.arange(120) % 6])
    return Source("some", (range(420),), labels, tuple("abcdef"), (240, 60, 120))


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


def made(source, p, classes=6, each=20):
    """A task of a source, and features that know its classes more or less."""
    task = drawn(source, f"of {p} features", np.arange(6) % classes, np.full(classes, each))
    rng = np.random.default_rng(p)
    centres = rng.standard_normal((classes, p))
    parts = {
        part: (centres[labels] + 2 * rng.standard_normal((len(labels), p))).astype(np.float32)
        for part, labels in task.labels.items()
    }
    return task, parts


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


def test_the_path_alone_gives_the_risk_of_the_probe(source):
    task, parts = made(source, 30)
    one, other = (score(parts["train"], task) for score in (probed, path_alone))
    assert one["score"] == pytest.approx(other["score"], rel=1e-9)
    assert one["accuracy"] == pytest.approx(other["accuracy"])


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


def results_of(tasks):
    """Results of three representations whose scores are all the truth."""
    network = Network("tf_efficientnet_lite0", "pretrained", 32, ("blocks.2", "blocks.4", LAST))
    truth = {"risk": 0.5, "accuracy": 0.5}
    found = {}
    for task in tasks:
        for place, one in enumerate(network.representations):
            score = {"score": float(place), "accuracy": float(place), "seconds": 2.0}
            found[task.name, str(one)] = {
                **dict.fromkeys(
                    ("probe", "path", "standardised", "logme", "h_score", "neighbours"), score
                ),
                **dict.fromkeys(("ridge_probe", "nce", "leep"), score),
                "logistic_probe": score | {"seconds": 10.0},
                "transrate": {"failure": "no rate", "seconds": 1.0},
                "ridge": {
                    key: value + sign * place / 10
                    for (key, value), sign in zip(truth.items(), (-1, 1), strict=True)
                },
                "logistic": {"accuracy": 0.5 + place / 10},
            }
    widths = np.array([40, 60, 1280])
    facts = {"tf_efficientnet_lite0": 4}
    return Results(tasks, network.representations, widths, facts, found)


def test_the_tables_say_who_is_right(source):
    results = results_of([drawn(source, name, np.arange(6), np.full(6, 5)) for name in "ab"])
    rows = {row[0]: row[1:] for row in overall(results).rows}
    assert rows[FIRST][:3] == ("1.00 [1.00, 1.00]",) * 3
    assert rows[FIRST][3:] == ("0.0 [0.0, 0.0]",) * 2
    assert rows["TransRate"][0] == rows["number of parameters"][0] == ".00 [.00, .00]"
    assert rows["TransRate"][3] == "10.0 [10.0, 10.0]"
    spent = {row[0]: row[1:] for row in costs(results).rows}
    assert spent["rmtgen, LOO risk alone"] == ("12", ".20", "6", ".20", "6", ".20")
    assert "ImageNet top-1" in {row[0] for row in heads(results).rows}
    behind = {row[0]: row[3:] for row in apart(results).rows}
    assert behind[FIRST] == ("–", "–")
    assert behind["LogME"] == (".00 [.00, .00]",) * 2
    assert behind["number of parameters"] == ("1.00 [1.00, 1.00]",) * 2
    cells = by_task(results).rows[0]
    assert cells[:5] == ("a", "30", "70.0", "1.00", "1.00")
    assert cells[5].startswith("1.00 ")


def test_fine_tuned_networks_are_a_truth_too(source):
    network, other = (
        Network(name, "pretrained", 32, (LAST,))
        for name in ("tf_efficientnet_lite0", "tf_efficientnet_lite1")
    )
    task = drawn(source, "a", np.arange(6), np.full(6, 5))
    known = results_of([task]).found[task.name, str(network.representations[0])]
    better, worse = {"score": 1.0, "accuracy": 0.9}, {"score": 0.0, "accuracy": 0.1}
    found = {
        (task.name, str(network.representations[0])): {**known, "probe": better},
        (task.name, str(other.representations[0])): {**known, "probe": worse},
    }
    shown = (*network.representations, *other.representations)
    parameters = {"tf_efficientnet_lite0": 4, "tf_efficientnet_lite1": 5}
    results = Results([task], shown, np.array([1280, 1280]), parameters, found)
    accuracies = {(task.name, str(network)): 0.4, (task.name, str(other)): 0.6}
    rows = {row[0]: row[1:] for row in fine_tuned(results, accuracies).rows}
    assert rows[FIRST] == ("-1.00", "20.0")
    assert rows["number of parameters"] == ("1.00", "0.0")
    assert rows["measured ridge risk"] == (".00", "10.0")
    assert tuned_networks([network, other], accuracies).rows == (
        ("lite0 pretrained 32 px", "40.0"),
        ("lite1 pretrained 32 px", "60.0"),
    )


def test_forecasts_are_held_against_what_was_measured():
    rng = np.random.default_rng(0)
    risk, right = np.linspace(0.5, 0.9, 6), np.linspace(0.8, 0.3, 6)
    whole = [
        {"risk": a, "risk_se": 0.0, "accuracy_at_risk": b, "tested": 10**9}
        for a, b in zip(risk, right, strict=True)
    ]
    exact = [
        {
            "loo": rng.random(),
            "accuracy": b,
            "with_more": a,
            "with_more_low": a - 0.01,
            "with_more_high": a + 0.01,
            "accuracy_with_more": b - 0.02,
            "accuracy_with_more_low": b - 0.03,
            "accuracy_with_more_high": b - 0.01 * (place % 2 == 0) + 0.01 * (place % 2),
        }
        for place, (a, b) in enumerate(zip(risk, right, strict=True))
    ]
    row = dict(zip(AHEAD, ahead("task", whole, [exact]), strict=False))
    assert (row["task"], row["τ foreseen"], row["risk off, %"]) == ("task", "1.00", "0.00")
    cells = ahead("task", whole, [exact])
    assert cells[4:] == ("1.00", "1.00", "1.00", "2.0", "0.50")


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
