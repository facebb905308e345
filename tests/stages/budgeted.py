"""What tests of budgets and of killed rankings share: a clock that batches turn, and a kill."""

from rmtgen.stages.extract import Extraction

IMAGES = 1024
SECONDS = {"test_resnet": 8.0, "test_byobnet": 1.0, "test_efficientnet": 1.0}
"""Seconds of a batch of each network, of 32 images."""
KILLED = """
import os, signal, sys
from rmtgen.cli.main import main
from rmtgen.store.feature_store import FeatureStore
import rmtgen.stages.rank
rmtgen.stages.rank.save_figures = lambda *_: []
left, write = [int(sys.argv[1])], FeatureStore.write
def counted(self, *arguments):
    write(self, *arguments)
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
FeatureStore.write = counted
sys.exit(main(["rank", *sys.argv[2:]]))
"""
"""A program that ranks, and is killed after so many batches of features."""


def ranking_words(tmp_path, monkeypatch):
    """FIELD=VALUE words of a ranking without figures, but for its models."""
    monkeypatch.setattr("rmtgen.stages.rank.save_figures", lambda *_: [])
    return [
        *("data=mnist5k", "init=random", f"train={IMAGES}", "img_size=32"),
        *("batch_size=32", "ridges=1e-4:1e1:6", f"output={tmp_path}"),
    ]


def turned_clock(monkeypatch):
    """A clock that a batch of a network alone turns, by `SECONDS`."""
    now, make = [0.0], Extraction.make

    def ticking(self, units):
        for name in make(self, units):
            now[0] += SECONDS[self.job.config.model]
            yield name

    monkeypatch.setattr(Extraction, "make", ticking)
    monkeypatch.setattr("rmtgen.cli.rank.clock", lambda: now[0])
    return now
