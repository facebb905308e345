"""Workers of a Dask cluster leave what one process leaves, whoever is killed."""

import contextlib
import json
import logging
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest
from trees import but, tree

pytest.importorskip("distributed")
import dask
from distributed import LocalCluster

from rmtgen.cli.main import main
from rmtgen.errors import MissingInputError
from rmtgen.runs.graph import STAGES
from rmtgen.stages import cluster, worker

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # of sockets of Dask

MAKE = worker.make
MANIFESTS = tuple(f"{name}.json" for name in STAGES)


@contextlib.contextmanager
def threads(count, **options):
    """The address of a scheduler whose workers are threads of this process."""
    settings = {"processes": False, "protocol": "tcp://", "host": "127.0.0.1", **options}
    settings |= {"dashboard_address": "127.0.0.1:0", "silence_logs": logging.CRITICAL}
    with LocalCluster(n_workers=count, threads_per_worker=1, **settings) as there:
        yield there.scheduler_address
        cluster._client(there.scheduler_address).close()
        cluster._client.cache_clear()


@pytest.fixture(scope="module")
def scheduler():
    """A scheduler of two workers."""
    with threads(2) as address:
        yield address


def results(output):
    """The bytes of all runs but their manifests, which hold times."""
    made = tree(output / "runs")
    return but(made, *(name for name in made if name.endswith(MANIFESTS)))


def differing(found, expected):
    """Both contents of every file that is not the same, by its name."""
    names = sorted(found.keys() | expected.keys())
    pairs = {name: (found.get(name), expected.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def test_killed_workers_leave_the_bytes_of_one_process(finished, tmp_path):
    """Real processes, pinned to their cores; each time one is killed another one comes."""
    output, words = finished
    command = [sys.executable, "-m", "rmtgen", "run", "--stage", "risk", *words[:-1]]
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [*command, f"output={tmp_path}", "cluster=2"], stdout=file, stderr=file
        )
    rng, kills, client = random.Random(0), 0, psutil.Process(process.pid)
    while process.poll() is None and kills < 6:
        time.sleep(rng.uniform(0.0, 1.0))
        for child in _workers(client):
            if any(tmp_path.glob("runs/*/*/*.h5")) and rng.random() < 0.5:
                child.kill()
                kills += 1
    assert process.wait(600) == 0, log.read_text()
    expected = {name: content for name, content in results(output).items() if "theory" not in name}
    assert results(tmp_path) == expected
    assert kills


def _workers(client):
    """The worker processes of a local cluster: they answer to no nanny once they are killed."""
    try:
        return [
            child
            for child in client.children(recursive=True)
            if "spawn_main" in " ".join(child.cmdline())
        ]
    except psutil.Error:
        return []


def test_an_existing_scheduler_computes_all_stages(finished, tmp_path, scheduler, capfd):
    output, words = finished
    words = [*words[:-1], f"output={tmp_path}", f"cluster={scheduler}"]
    assert main(["run", *words]) == 0
    assert "2 workers; dashboard" in capfd.readouterr().err
    assert differing(results(tmp_path), results(output)) == {}
    assert main(["run", *words]) == 0
    assert capfd.readouterr().out.count("cached") >= 5


def test_all_workers_are_known_while_dask_looks_after_its_own_list():
    """Every few seconds the client of Dask replaces its list of workers by an empty one."""
    with dask.config.set({"distributed.client.scheduler-info-interval": "1ms"}), threads(1) as at:
        client = cluster._client(at)
        found = [cluster._workers(client) for _ in range(100)]
    assert all(len(workers) == 1 for workers in found)


class _Starting(logging.Handler):
    """Starts a worker, as one does by hand, when the user is told that there is none."""

    def __init__(self, address, folder):
        super().__init__()
        self.command = [sys.executable, "-m", "distributed.cli.dask_worker", address]
        self.command += ["--nthreads", "1", "--no-nanny", "--no-dashboard"]
        self.folder, self.worker = folder, None

    def emit(self, record):
        if "no worker computes at tcp://" in record.getMessage() and not self.worker:
            log = (self.folder / "log").open("w")
            self.worker = subprocess.Popen(self.command, cwd=self.folder, stdout=log, stderr=log)


def test_a_worker_that_comes_late_is_waited_for(finished, tiny_images, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "NEWS", 0.0)
    monkeypatch.setattr(cluster, "WAIT", 5.0)  # the workers of a cluster of this machine have it
    with threads(0) as address:
        starting = _Starting(address, tmp_path)
        cluster.log.addHandler(starting)
        try:
            words = [*tiny_images, f"output={tmp_path / 'out'}", f"cluster={address}"]
            assert main(["extract", *words]) == 0
        finally:
            cluster.log.removeHandler(starting)
            starting.worker.terminate()
            starting.worker.wait()
    (run,) = (tmp_path / "out" / "runs").iterdir()
    (reference,) = (finished[0] / "runs").iterdir()
    assert tree(run / "features") == tree(reference / "features")


def test_warnings_of_workers_reach_the_user(tiny_images, tmp_path, capfd):
    words = [*tiny_images, f"output={tmp_path}", "kernel=entk"]
    with threads(1) as address:  # recorded warnings are those of all threads
        assert main(["run", "--stage", "risk", *words, f"cluster={address}"]) == 0
    assert "a float32 Gram matrix resolves" in capfd.readouterr().err


def test_without_a_scheduler_the_address_is_named(tiny_images, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(cluster, "WAIT", 0.3)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
        assert main(["extract", *tiny_images, f"output={tmp_path}", f"cluster={address}"]) == 3
    assert f"no scheduler answers at {address}" in capfd.readouterr().err


def test_workers_of_another_version_are_refused(
    tiny_images, tmp_path, scheduler, monkeypatch, capfd
):
    own = worker.versions()
    monkeypatch.setattr(worker, "introduce", _other_torch)
    assert main(["extract", *tiny_images, f"output={tmp_path}", f"cluster={scheduler}"]) == 3
    said = capfd.readouterr().err
    assert f"versions differ: torch 1.0, here {own['torch']}" in said
    assert "no worker can compute" in said


def _other_torch(_folder, _token):
    return {**worker.versions(), "torch": "1.0"}


def test_a_worker_that_sees_another_folder_is_refused(tmp_path):
    with pytest.raises(MissingInputError, match=r"must see the run under .*, and does not"):
        worker.introduce(str(tmp_path), "token")
    (tmp_path / ".meeting").write_text("another")
    with pytest.raises(MissingInputError, match="Mount it there"):
        worker.introduce(str(tmp_path), "token")
    (tmp_path / ".meeting").write_text("token")
    assert worker.introduce(str(tmp_path), "token") == worker.versions()


def test_a_worker_without_rmtgen_is_refused_at_once(
    tiny_images, tmp_path, scheduler, monkeypatch, capfd
):
    monkeypatch.setattr(worker, "introduce", _not_installed)
    assert main(["extract", *tiny_images, f"output={tmp_path}", f"cluster={scheduler}"]) == 3
    assert "it cannot compute: No module named 'rmtgen'" in capfd.readouterr().err


def _not_installed(_folder, _token):
    raise ModuleNotFoundError("No module named 'rmtgen'")


def test_what_all_workers_lack_is_said_once_more(
    tiny_images, tmp_path, scheduler, monkeypatch, capfd
):
    monkeypatch.setattr(worker, "make", _without_data)
    assert main(["extract", *tiny_images, f"output={tmp_path}", f"cluster={scheduler}"]) == 3
    said = capfd.readouterr().err
    assert said.count("gets no more work: no such data set") == 2
    assert "no worker can compute; the last, tcp://" in said


def _without_data(*_arguments):
    raise MissingInputError("no such data set here.")


def test_one_worker_that_fails_leaves_the_rest_to_the_other(
    finished, tmp_path, scheduler, monkeypatch, capfd
):
    output, words = finished
    monkeypatch.setattr(worker, "make", _FailsOnce(tmp_path))
    words = [*words[:-1], f"output={tmp_path / 'out'}", f"cluster={scheduler}"]
    assert main(["run", "--stage", "gram", *words]) == 0
    assert "gets no more work: cannot write /there: No space left" in capfd.readouterr().err
    (run,) = (tmp_path / "out" / "runs").iterdir()
    (reference,) = (output / "runs").iterdir()
    assert tree(run / "gram") == tree(reference / "gram")


class _FailsOnce:
    """A worker's disk is full: the first task raises, the others go on."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, *arguments):
        from rmtgen.errors import StorageError

        try:
            (self.folder / "failed").touch(exist_ok=False)
        except FileExistsError:
            return MAKE(*arguments)
        raise StorageError("cannot write /there: No space left on device.")


def test_workers_that_divide_otherwise_say_so(finished, tmp_path, scheduler, monkeypatch, capfd):
    """As those do that compute on another kind of device."""
    _, words = finished
    monkeypatch.setattr(worker, "make", _of_another_device)
    assert main(["extract", *words[:-1], f"output={tmp_path}", f"cluster={scheduler}"]) == 2
    said = capfd.readouterr().err
    assert "must divide stage extract alike" in said and "device=cpu" in said
    assert "Traceback" not in said


def _of_another_device(config, stage, unit):
    return MAKE(config, stage, f"another {unit}")


def test_a_scheduler_of_another_version_is_refused(
    tiny_images, tmp_path, scheduler, monkeypatch, capfd
):
    from rmtgen.stages import scheduler as way

    cluster._client.cache_clear()
    monkeypatch.setattr(way.distributed, "__version__", "2020.1.0")
    assert main(["extract", *tiny_images, f"output={tmp_path}", f"cluster={scheduler}"]) == 3
    said = capfd.readouterr().err
    assert f"the scheduler at {scheduler} must have the version of distributed that is here" in said
    assert "expected 2020.1.0, got 20" in said


def test_what_is_no_scheduler_is_named_and_not_waited_for_at_the_end(tiny_images, tmp_path):
    """A listener that says nothing; the process ends."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
        words = ["extract", *tiny_images, f"output={tmp_path}", f"cluster={address}"]
        started = [sys.executable, "-c", IMPATIENT, *words]
        ended = subprocess.run(started, check=False, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 3
    assert f"no scheduler answers at {address}" in ended.stderr
    assert "Traceback" not in ended.stderr


IMPATIENT = """
import sys
from rmtgen.cli.main import main
from rmtgen.stages import cluster
cluster.WAIT = 0.5
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("moment", ["_local", "_workers"])
def test_ctrl_c_ends_a_cluster_without_a_trace(tiny_images, tmp_path, moment):
    """To all processes at once, as a terminal sends it: in the start, and after it."""
    words = ["extract", *tiny_images, f"output={tmp_path}", "cluster=2"]
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, moment, *words],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 130, said
    assert "rmtgen: interrupted" in said
    assert "Traceback" not in said
    assert "leaked" not in said
    while _is_there(process.pid):  # what tracks the semaphores is the last to go
        time.sleep(0.01)


def _is_there(group):
    """Whether a process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


INTERRUPTED = """
import os, signal, sys, threading, time
from rmtgen.cli.main import main
from rmtgen.stages import cluster, scheduler
signal.signal(signal.SIGINT, signal.default_int_handler)
place = cluster if sys.argv[1] == "_workers" else scheduler
body = getattr(place, sys.argv[1])
def interrupt():
    while place is scheduler and not scheduler.SpecCluster._instances:
        time.sleep(0.01)
    os.killpg(0, signal.SIGINT)
def interrupted(*arguments):
    threading.Thread(target=interrupt).start()
    return body(*arguments)
setattr(place, sys.argv[1], interrupted)
sys.exit(main(sys.argv[2:]))
"""


def test_a_killed_client_is_resumed(finished, tmp_path):
    output, words = finished
    command = [sys.executable, "-m", "rmtgen", "run", "--stage", "gram", *words[:-1]]
    command += [f"output={tmp_path}", "cluster=2"]
    first = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    while first.poll() is None and not any(tmp_path.glob("runs/*/features/*.h5")):
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    (run,) = (tmp_path / "runs").iterdir()
    (reference,) = (output / "runs").iterdir()
    for name in ("features", "gram"):
        assert tree(run / name) == tree(reference / name)
    assert json.loads((run / "gram.json").read_text())["details"]["tiles"] > 1


@pytest.fixture
def certificate(tmp_path):
    """A certificate that signs itself, and its key."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=localhost", "-keyout", key, "-out", certificate]
    if not shutil.which("openssl"):
        pytest.skip("no openssl, which makes a certificate")
    subprocess.run(command, check=True, capture_output=True)
    return str(certificate), str(key)


def test_a_scheduler_with_certificates_lets_in_only_who_has_one(
    finished, tiny_images, tmp_path, certificate, monkeypatch, capfd
):
    from distributed import Security

    monkeypatch.setattr(cluster, "WAIT", 3.0)
    cert, key = certificate
    own = {"tls_ca_file": cert, "require_encryption": True}
    own |= {
        f"tls_{role}_{kind}": path
        for role in ("client", "scheduler", "worker")
        for kind, path in (("cert", cert), ("key", key))
    }
    with threads(1, protocol="tls://", security=Security(**own)) as address:
        words = [*tiny_images, f"output={tmp_path / 'out'}", f"cluster={address}"]
        assert main(["extract", *words]) == 3
        assert f"{address} needs certificates" in capfd.readouterr().err
        settings = {"ca-file": cert, "client.cert": cert, "client.key": key}
        with dask.config.set({f"distributed.comm.tls.{name}": settings[name] for name in settings}):
            assert main(["extract", *words]) == 0
    (run,) = (tmp_path / "out" / "runs").iterdir()
    (reference,) = (finished[0] / "runs").iterdir()
    assert tree(run / "features") == tree(reference / "features")
