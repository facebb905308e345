"""Rivals that look at no image."""

import numpy as np
import pytest
from torch import nn

from rmtgen.errors import CorruptInputError, MissingInputError, UsageError
from rmtgen.ranking.rivals.facts import (
    ModelFacts,
    imagenet_top1,
    parameter_count,
    parameter_counts,
    read_top1,
    size_list,
)

MODELS = [
    ModelFacts("b", 25_000_000, 80.4),
    ModelFacts("a", 5_000_000, 75.1),
    ModelFacts("d", 86_000_000, 79.0),
    ModelFacts("c", 25_000_000, 81.0),
]


def table(tmp_path, text, encoding="utf-8"):
    file = tmp_path / "results.csv"
    file.write_bytes(text.encode(encoding))
    return file


def test_the_parameters_of_a_network_are_counted_once():
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
    network.append(network[2])
    for parameter in network[0].parameters():
        parameter.requires_grad_(False)
    assert parameter_count(network) == 3 * 4 + 4 + 2 * 4 + 4 * 4 + 4


def test_sizes_and_their_order():
    np.testing.assert_array_equal(parameter_counts(MODELS), [25e6, 5e6, 86e6, 25e6])
    np.testing.assert_array_equal(size_list(MODELS), [2.5, 1, 4, 2.5])
    np.testing.assert_array_equal(imagenet_top1(MODELS), [80.4, 75.1, 79.0, 81.0])


@pytest.mark.parametrize("score", [parameter_counts, size_list, imagenet_top1])
@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([], "models must be one or more: got none"),
        (["resnet50"], "each of models must be a ModelFacts: got str 'resnet50'. Make one with"),
    ],
)
def test_what_are_no_models_is_refused(score, models, message):
    with pytest.raises(UsageError, match=message):
        score(models)


@pytest.mark.parametrize("score", [parameter_counts, size_list])
@pytest.mark.parametrize("size", [0, -3, 2.5, None])
def test_a_size_that_is_none_is_refused(score, size):
    with pytest.raises(
        UsageError, match=f"parameters of b must be a whole number >= 1: got {size}"
    ):
        score([ModelFacts("a", 3), ModelFacts("b", size)])


def test_an_accuracy_that_is_not_known_is_named():
    with pytest.raises(
        UsageError, match=r"got none for 2 of 3, the first 'x'\. Look it up by read"
    ):
        imagenet_top1([MODELS[0], ModelFacts("x", 1), ModelFacts("y", 1)])


def test_what_is_no_network_is_refused():
    with pytest.raises(UsageError, match="model must be a Module: got str 'resnet50'. Pass the"):
        parameter_count("resnet50")


TEXT = 'model,top1,top5,param_count\nresnet50.a1_in1k,80.22,94.6,"25,560"\nvit_tiny,75.45,92.8,6\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_accuracies_are_read_from_a_table(tmp_path, encoding, ends):
    file = table(tmp_path, TEXT.replace("\n", ends), encoding)
    assert read_top1(file, ["vit_tiny"]) == {"vit_tiny": 75.45}
    assert read_top1(str(file), ["vit_tiny", "resnet50.a1_in1k"]) == {
        "vit_tiny": 75.45,
        "resnet50.a1_in1k": 80.22,
    }


def test_a_model_that_the_table_lacks_is_named_with_its_neighbours(tmp_path):
    message = r"must be models of .*results.csv: got 'resnet50'\. Did you mean resnet50\.a1_in1k\?"
    with pytest.raises(UsageError, match=message):
        read_top1(table(tmp_path, TEXT), ["resnet50"])


def test_a_name_that_is_no_text_is_refused(tmp_path):
    with pytest.raises(UsageError, match="each of names must be a str: got int 3. Pass names as"):
        read_top1(table(tmp_path, TEXT), [3])


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(
        MissingInputError, match=r"got .*none\.csv, which does not\. timm has it in"
    ):
        read_top1(tmp_path / "none.csv", ["a"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,top1\na,3\n", "must have columns model and top1: got name, top1. Name them"),
        ("", "must have columns model and top1: got an empty file"),
        ("model,top1\na,nan\n", r"in \[0, 100\]: got 'a' and 'nan' \(.*results.csv, line 2\)"),
        ("model,top1\na,80\nb,101\n", r"got 'b' and '101' \(.*line 3\)"),
        ("model,top1\na,-1\n", r"got 'a' and '-1'"),
        ("model,top1\na,eighty\n", r"got 'a' and 'eighty'"),
        ("model,top1\na\n", r"got 'a' and None"),
        ("model,top1\n,80\n", r"got '' and '80'"),
        ("model,top1\na,80\na,81\n", r"one accuracy: got 80.0 and 81.0 for 'a' \(.*line 3\)"),
    ],
)
def test_a_table_that_is_damaged_is_named(tmp_path, text, message):
    with pytest.raises(CorruptInputError, match=message):
        read_top1(table(tmp_path, text), ["a"])


def test_what_is_no_text_is_refused(tmp_path):
    file = tmp_path / "results.csv"
    file.write_bytes(b"model,top1\n\xff\xfe,80\n")
    with pytest.raises(CorruptInputError, match="must be a CSV in UTF-8: it cannot be read"):
        read_top1(file, ["a"])
    with pytest.raises(CorruptInputError, match="must be a CSV in UTF-8: it cannot be read"):
        read_top1(tmp_path, ["a"])


def test_a_line_that_is_there_twice_counts_once(tmp_path):
    assert read_top1(table(tmp_path, "model,top1\na,80\na,80\n"), ["a"]) == {"a": 80.0}
