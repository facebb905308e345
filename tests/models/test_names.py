"""Deprecated names of timm: the table, and that both names of a network are one run."""

import pytest
import timm
from networks import random_backbone
from timm.models import get_deprecated_models

from rmtgen.errors import UsageError
from rmtgen.models.names import present_name, renamed
from rmtgen.runs.config import Config


def test_the_table_is_that_of_timm():
    present = {old: new for old, new in get_deprecated_models().items() if new}
    assert renamed() == present
    assert len(present) > 200


WITHDRAWN = {"vit_base_patch16_224_sam", "vit_base_patch32_224_sam"}
"""Names whose tag timm itself refuses: their weights are no longer published."""


def test_every_deprecated_name_leads_to_a_network_with_its_settings():
    for old in renamed().keys() - WITHDRAWN:
        present = present_name(old)
        assert present.partition(".")[0] in timm.list_models()
        assert timm.get_pretrained_cfg(present) is not None, old


@pytest.mark.parametrize("old", sorted(WITHDRAWN))
def test_a_name_whose_weights_were_withdrawn_is_refused_with_those_that_remain(old):
    with pytest.raises(UsageError, match=r"must carry a tag that timm has .*\.sam'\. Did you mean"):
        random_backbone(old)


@pytest.mark.parametrize(
    ("name", "present"),
    [
        ("tv_resnet50", "resnet50.tv_in1k"),
        ("tf_efficientnet_b0_ap", "tf_efficientnet_b0.ap_in1k"),
        ("tf_efficientnet_b0_ap.ns_jft_in1k", "tf_efficientnet_b0.ns_jft_in1k"),
    ],
)
def test_a_deprecated_name_becomes_the_present_one_and_is_noted(name, present, caplog):
    assert present_name(name) == present
    assert f"{name} is an old name of timm: {present} is used" in caplog.text


@pytest.mark.parametrize("name", ["resnet18.a1_in1k", "no_such_model", ""])
def test_another_name_is_left_alone(name, caplog):
    assert (present_name(name), caplog.text) == (name, "")


def test_both_names_are_one_backbone_and_one_run():
    old, new = "tf_efficientnet_b0_ap", "tf_efficientnet_b0.ap_in1k"
    assert random_backbone(old).name == new
    assert Config(model=old) == Config(model=new)
    assert Config(model=old).run_name == Config(model=new).run_name
