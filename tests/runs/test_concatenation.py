"""What names a concatenation, what its members are, and what is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmtgen.errors import CorruptInputError, UsageError
from rmtgen.runs.concatenation import is_concatenation, matched
from rmtgen.runs.config import Config
from rmtgen.runs.experiment import load_experiment
from rmtgen.runs.features import CONCATENATION, Concatenation, Member
from rmtgen.runs.manifest import FileRecord
from rmtgen.runs.rundir import RunDir

FIELDS = {"dataset": "mnist5k", "train": 60, "test": 0}
NAMES = st.lists(st.sampled_from(["resnet18", "test_vit", "vgg11", "resnet50"]), min_size=1)


def _inside(values):
    names = st.sampled_from(["members", "labelled", "name", "digest", "scale"])
    return st.lists(values, max_size=2) | st.dictionaries(names, values, max_size=3)


def of(**fields):
    return Config(**FIELDS | fields)


@given(NAMES.filter(lambda names: len(set(names)) == len(names)), st.sampled_from(["+", " + "]))
def test_each_member_is_the_run_of_a_network_alone(names, sign):
    config = of(model=sign.join(names), init="random", img_size=64)
    alone = [of(model=name, init="random", img_size=64) for name in names]
    assert config.members == (tuple(alone) if len(names) > 1 else ())
    assert is_concatenation(vars(config)) == (len(names) > 1)
    assert config.model == "+".join(names)
    if len(names) == 1:
        assert config == alone[0]


def test_layers_have_the_pooling_of_layers_and_the_last_one_none():
    config = of(model="resnet18+resnet50", layer="layer2 + Null", pooling="max")
    found = [(one.model, one.layer, one.pooling) for one in config.members]
    assert found == [
        *(("resnet18", "layer2", "max"), ("resnet18", None, "avg")),
        *(("resnet50", "layer2", "max"), ("resnet50", None, "avg")),
    ]
    assert config.layer == "layer2+none"


def test_a_file_is_one_member_whatever_the_layers():
    config = of(model="features:my/a.npz+resnet18", layer="layer2+layer3")
    file, *networks = config.members
    assert file == Config(**FIELDS | {"dataset": "features:my/a.npz"})
    assert [one.layer for one in networks] == ["layer2", "layer3"]
    assert config.run_name.startswith("a_resnet18-pretrained-mnist5k-")


def test_old_names_of_networks_are_the_present_ones():
    config = of(model="tf_efficientnet_b0_ap+resnet18")
    assert config.model == "tf_efficientnet_b0.ap_in1k+resnet18"


def test_the_name_of_a_run_holds_a_few_members_and_its_hash_all():
    names = ["resnet10t", "resnet14t", "resnet18", "resnet26", "resnet34"]
    long, other = (of(model="+".join(some)) for some in (names, names[:4]))
    assert long.run_name.startswith("resnet10t_resnet14t_3_more-pretrained-")
    assert of(model="+".join(names[:3])).run_name.startswith("resnet10t_resnet14t_resnet18-")
    assert long.run_name[-8:] != other.run_name[-8:]


def test_a_concatenation_has_no_inputs_and_no_cluster_of_its_own():
    folder = RunDir(of(model="resnet18+resnet50", cluster="2"))
    assert folder.cluster is None and [one.cluster for one in folder.members] == ["2", "2"]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("resnet18+vgg11", ["resnet18+vgg11"]),
        ("test_res[n]et + test_vi?", ["test_resnet+test_vit"]),
        ("test_resn*+test_resn*", ["test_resnet+test_resnet"]),
        ("test_vi?+test_[rv][ei][st]*t", ["test_vit+test_resnet"]),
        ("features:a*.npz+test_vi?", ["features:a*.npz+test_vit"]),
    ],
)
def test_a_pattern_stands_for_a_concatenation_with_each_name(value, found):
    assert matched(value) == found


def test_members_in_another_order_are_matched_once():
    found = matched("test_byob*+test_*net")
    assert len(found) == len(set(map(frozenset, (one.split("+") for one in found)))) >= 4
    pairs = matched("test_*net+test_*net")
    names = matched("test_*net")
    assert len(pairs) == len(names) * (len(names) - 1) // 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "a+a"}, r"model joins different names by \+: got a twice in 'a\+a'. Leave it"),
        ({"model": "a+"}, "got one without a name in 'a.'"),
        ({"model": "a", "layer": "x+ x"}, r"layer joins .*: got x twice in 'x\+x'"),
        ({"model": "a", "layer": "none+null"}, r"got none twice in 'none\+none'"),
        ({"model": "a", "layer": "x+"}, r"layer joins .*: got one without a name in 'x\+'"),
        ({"model": "a+b", "kernel": "entk"}, r"of features, got kernel=entk with model=a\+b\."),
        ({"model": "a", "layer": "x+y", "kernel": "entk"}, r"got kernel=entk with layer=x\+y\."),
        (
            {"model": "features:a.npz"},
            "names a network, .*: got features:a.npz. Rank .* dataset=mnist5k,features:a.npz.",
        ),
        ({"model": "features:a.npz+features:b.npz"}, "names a network, alone or with files"),
        ({"model": "a+b", "weights": "w.pth"}, "weights names one file, but there are several mod"),
        (
            {"model": "a+b", "layer": "each"},
            "'each' stands for layers of one network, got it with mod",
        ),
        ({"model": "a", "layer": "layer?+none"}, r"'layer\?' stands for layers of one network"),
        ({"model": "*+vgg*"}, r"patterns of a concatenation must stand for at most 1,000, got \d"),
        ({"model": "resnet18+nosuch*"}, "models must match a name of timm, got 'nosuch"),
    ],
)
def test_what_makes_no_concatenation_is_refused(fields, message):
    with pytest.raises(UsageError, match=message):
        load_experiment(None, FIELDS | fields)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"members": [{"name": "../a", "digest": "d", "scale": 1.0}], "labelled": 0}, "a"),
        ({"members": [{"name": "a/b", "digest": "d", "scale": 1.0}], "labelled": 0}, "no member"),
        ({"members": [{"name": "a", "digest": "d", "scale": 0.0}], "labelled": 0}, "no member"),
        ({"members": [{"name": "a", "digest": 5, "scale": 1.0}], "labelled": 0}, "no member"),
        ({"members": [{"name": "a", "digest": "d"}], "labelled": 0}, "scale"),
        ({"members": [{"name": "a", "digest": "d", "scale": 1.0}], "labelled": 1}, "got 1"),
        ({"labelled": 0}, "members"),
        ([], "list"),
    ],
)
def test_what_is_no_concatenation_is_refused_by_the_name_of_its_file(tmp_path, content, why):
    path = tmp_path / CONCATENATION
    path.write_text(json.dumps(content))
    with pytest.raises(CorruptInputError, match=f"{CONCATENATION} must name runs .*{why}"):
        Concatenation.read(tmp_path, FileRecord.of(path))


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), _inside, max_leaves=9))
def test_json_of_any_kind_is_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / CONCATENATION
    path.write_text(json.dumps(content))
    with pytest.raises(CorruptInputError, match="must name runs and their scales"):
        Concatenation.read(path.parent, FileRecord.of(path))


def test_what_was_written_is_read(tmp_path):
    written = Concatenation([Member("a", "d" * 32, 0.1), Member("b", "e" * 32, 3.0)], 1)
    path = written.write(tmp_path)
    assert Concatenation.read(tmp_path, FileRecord.of(path)) == written
