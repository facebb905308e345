"""Checks of single arguments."""

import pytest

from rmtgen import load_backbone, load_dataset
from rmtgen.errors import UsageError
from rmtgen.scalars import path


@pytest.mark.parametrize(
    "call",
    [
        lambda: path("~nobody-here/a", "root"),
        lambda: load_dataset("cifar10", root="~nobody-here/a"),
        lambda: load_dataset("folder:~nobody-here/a"),
        lambda: load_backbone("resnet18", weights="~nobody-here/a"),
        lambda: load_backbone("resnet18", checkpoints="~nobody-here/a"),
    ],
)
def test_a_home_folder_that_is_not_known_is_refused(call):
    with pytest.raises(UsageError, match="no home folder is known for '~nobody-here'"):
        call()
