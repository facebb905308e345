"""What is done stays done; what is damaged, held or interrupted is named, and the same command goes
on."""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys

import pytest
from trees import tree

from rmtgen.cli.main import main
from rmtgen.runs.graph import STAGES
from rmtgen.runs.rundir import locked


def test_a_new_ridge_grid_takes_over_features_gram_and_spectra(copied, capsys):
    _, words = copied
    assert main(["run", "--stage", "theory", *words, "ridges=1e-3,1"]) == 0
    out = capsys.readouterr().out
    assert out.count("cached  taken from test_resnet-random-trees") == 3
    assert "10 rows over 3 sizes" in out


def test_damage_to_any_file_is_named_by_the_stage_that_wrote_it(copied, capsys):
    run, words = copied
    victims = {
        "extract": next(run.glob("features/train-*.h5")),
        "gram": next(run.glob("gram/tile-*.h5")),
    }
    victims |= {
        "spectrum": run / "spectrum.h5",
        "risk": run / "risk.csv",
        "theory": run / "theory.h5",
    }
    for stage, victim in victims.items():
        content = victim.read_bytes()
        victim.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert main([stage, *words]) == 3
        assert victim.name in capsys.readouterr().err
        victim.unlink()
        assert main([stage, *words]) == 0
        assert victim.read_bytes() == content  # made anew, to the same bytes


def test_a_damaged_shard_with_an_old_time_is_found_when_it_is_read(copied, capsys):
    run, words = copied
    victim = next(run.glob("gram/tile-*.h5"))
    status, content = victim.stat(), bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(content)
    os.utime(victim, ns=(status.st_atime_ns, status.st_mtime_ns))
    (run / "risk.json").unlink()
    assert main(["risk", *words]) == 3
    assert f"{victim.name} is not what was written" in capsys.readouterr().err


def test_a_held_run_is_refused(copied, capsys):
    run, words = copied
    (run / "risk.json").unlink()
    code = (
        f"import fcntl, signal; handle = open({str(run / '.lock')!r}, 'r+'); fcntl.flock(handle,"
        " fcntl.LOCK_EX); print('held', flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout.readline() == b"held\n"
            assert main(["risk", *words]) == 3
            assert "held by another process" in capsys.readouterr().err
        finally:
            holder.kill()
    assert main(["risk", *words]) == 0


@contextlib.contextmanager
def small_disk(limit):
    """No file may grow past `limit` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("stage", "limit"), [("gram", 6000), ("spectrum", 3000), ("risk", 2000), ("theory", 4000)]
)
def test_a_full_disk_is_one_line_and_the_same_command_resumes(copied, stage, limit, capsys):
    """Some file of each stage needs more than its limit."""
    run, words = copied
    (run / f"{stage}.json").unlink()
    for path in (*run.glob(f"{stage}*.h5"), *run.glob(f"{stage}/*"), *run.glob(f"{stage}.csv")):
        path.unlink()
    before = tree(run)
    with small_disk(limit):
        assert main([stage, *words]) == 3
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("rmtgen: error: cannot write ")
    assert {name: content for name, content in tree(run).items() if name in before} == before
    assert not (run / f"{stage}.json").exists()
    assert main([stage, *words]) == 0


@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c_is_exit_code_130_and_the_same_command_resumes(copied, stage, monkeypatch, capsys):
    """The interrupt comes at the stage's first write."""
    run, words = copied
    (run / f"{stage}.json").unlink(missing_ok=True)
    for path in (
        *run.glob(f"{stage}*.h5"),
        *run.glob(f"{stage}/*"),
        *run.glob("features*/*" if stage == "extract" else "none"),
    ):
        path.unlink()
    if stage == "report":
        shutil.rmtree(run.parent.parent / "reports")
        monkeypatch.setattr("rmtgen.stages.report.save_figures", lambda *_: [])
    with monkeypatch.context() as patch:
        patch.setattr(
            "rmtgen.store.durable.os.fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        assert main([stage, *words]) == 130
    captured = capsys.readouterr()
    assert captured.err.strip() == "rmtgen: interrupted. Run the same command again: it resumes."
    assert not list(run.rglob("*.partial"))
    assert main([stage, *words]) == 0


def test_a_real_sigint_is_exit_code_130(images):
    """The signal comes when the work has begun and cannot end: its last image waits for it."""
    _, words = images
    code = (
        "import signal, sys\n"
        # a shell that runs the tests in the background has them ignore it
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from rmtgen.cli.main import main\n"
        "from rmtgen.stages import extract\n"
        "def wait(*_):\n"
        "    print('begun', flush=True)\n"
        "    signal.pause()\n"
        "extract.Extraction.make = wait\n"
        "sys.exit(main(['extract', *sys.argv[1:]]))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as stage:
        assert stage.stdout.readline() == "begun\n"
        stage.send_signal(signal.SIGINT)
        _, error = stage.communicate()
    assert stage.returncode == 130
    assert error == "rmtgen: interrupted. Run the same command again: it resumes.\n"
    assert main(["extract", *words]) == 0


def test_two_reports_at_once_are_kept_apart(copied, capsys, monkeypatch):
    monkeypatch.setattr("rmtgen.stages.report.save_figures", lambda *_: [])
    run, words = copied
    (folder,) = (run.parent.parent / "reports").iterdir()
    (folder / "report.json").unlink()
    with locked(folder):
        assert main(["report", *words]) == 3
    assert "held by another process" in capsys.readouterr().err
    assert main(["report", *words]) == 0
