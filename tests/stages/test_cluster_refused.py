"""Values of `cluster` that are refused before any worker starts."""

import os
import sys

import pytest
import torch

pytest.importorskip("distributed")

from rmtgen.cli.main import main
from rmtgen.errors import UsageError
from rmtgen.runs.parsers import parse_cluster
from rmtgen.stages import cluster


@pytest.mark.parametrize(
    "value",
    [
        *("0", "-1", "1025", "x", "1.5", "tcp://", "localhost:8786", "tcp://host", "udp://host:1"),
        *("tcp://host:0", "tcp://host:65536", "tcp://a b:1", "tcp://[::1:1", "tcp://host:1/x"),
    ],
)
def test_what_is_no_cluster_is_refused(value):
    with pytest.raises(UsageError, match="expected a number of workers from 1 to 1024 or an addr"):
        parse_cluster(value)


@pytest.mark.parametrize(
    "value", ["1024", "tcp://10.0.0.1:8786", "tls://a-b.org:1", "ws://[::1]:9"]
)
def test_what_is_a_cluster_is_taken_as_it_is(value):
    assert parse_cluster(value) == value


def test_a_password_in_an_address_is_not_repeated():
    with pytest.raises(UsageError, match="got 'tcp://…@host:1'") as raised:
        parse_cluster("tcp://user:secret@host:1")
    assert "secret" not in str(raised.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="workers are limited by the GPUs here")
def test_more_workers_than_cores_can_bear_are_refused(tiny_images, tmp_path, capfd):
    cores = len(os.sched_getaffinity(0))
    most = 4 * cores
    words = [*tiny_images, f"output={tmp_path}", f"cluster={most + 1}"]
    assert main(["extract", *words]) == 2
    said = capfd.readouterr().err
    assert f"cluster must be at most {most} on {cores} cores: got {most + 1}." in said


def test_a_shard_and_a_cluster_exclude_each_other(tiny_images, capfd):
    assert main(["extract", *tiny_images, "shard=1/2", "cluster=2"]) == 2
    assert "shard=1/2 with cluster=2" in capfd.readouterr().err


def test_without_dask_the_extra_is_named(tiny_images, tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "distributed", None)
    cluster._client.cache_clear()
    assert main(["extract", *tiny_images, f"output={tmp_path}", "cluster=1"]) == 2
    assert "pip install 'rmtgen[distributed]'" in capfd.readouterr().err
