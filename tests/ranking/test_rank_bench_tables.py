"""The tables of the benchmark of rankings: what they say of scores whose worth is known."""

import numpy as np

from tests.bench.rank_ahead import AHEAD, ahead
from tests.bench.rank_features import LAST, Network
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
from tests.bench.rank_tasks import drawn


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
                    ("loo", "probe", "standardised", "logme", "h_score", "neighbours"), score
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
    spent = {row[0]: row[1:] for row in costs(results, ["b"]).rows}
    assert spent[FIRST] == ("6", ".20", "12", ".20")
    assert "ImageNet top-1" in {row[0] for row in heads(results).rows}
    behind = {row[0]: row[3:] for row in apart(results).rows}
    assert behind[FIRST] == ("–", "–")
    assert behind["LogME"] == (".00 [.00, .00]",) * 2
    assert behind["number of parameters"] == ("1.00 [1.00, 1.00]",) * 2
    cells = by_task(results).rows[0]
    assert cells[:4] == ("a", "30", "70.0", "1.00")
    assert cells[4] == cells[7] == "1.00 LogME"
    assert cells[5:7] == ("1.00", "1.00")


def test_fine_tuned_networks_are_a_truth_too(source):
    network, other = (
        Network(name, "pretrained", 32, (LAST,))
        for name in ("tf_efficientnet_lite0", "tf_efficientnet_lite1")
    )
    task = drawn(source, "a", np.arange(6), np.full(6, 5))
    known = results_of([task]).found[task.name, str(network.representations[0])]
    better, worse = {"score": 1.0, "accuracy": 0.9}, {"score": 0.0, "accuracy": 0.1}
    found = {
        (task.name, str(network.representations[0])): {**known, "loo": better},
        (task.name, str(other.representations[0])): {**known, "loo": worse},
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
