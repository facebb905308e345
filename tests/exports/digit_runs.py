"""Runs on real digits that exports are made of."""

import pytest

from rmtgen.cli.main import main

DIGITS = ("dataset=mnist5k", "init=random", "img_size=32", "ridges=1e-6:1e1:8")


def made(folder, command, *words):
    """Make one run, and return its directory; nothing is drawn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rmtgen.stages.rank.save_figures", lambda *_: [])
        assert main([*command.split(), *DIGITS, f"output={folder}", *words]) == 0
    (run,) = folder.glob("runs/*")
    return run
