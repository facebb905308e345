"""The stages end to end on a small set of real files: what they leave, when they say `cached`, and
what bad input gets."""

import dataclasses
import json
import os
import pickle
import re
import resource
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from rmtgen.cli import compare, plan
from rmtgen.runs.config import load_experiment
from rmtgen.runs.rundir import locked
from rmtgen.stages import extract, gram, report, risk, spectrum, theory
from rmtgen.stages.cost import estimate

STAGES = {
    "extract": extract,
    "gram": gram,
    "spectrum": spectrum,
    "risk": risk,
    "theory": theory,
    "report": report,
}


def run_all(words):
    return [module.main(words) for module in STAGES.values()]


@pytest.fixture(scope="session")
def finished(tmp_path_factory, tiny_images):
    """A finished run and the words that made it; tests that change anything copy it."""
    output = tmp_path_factory.mktemp("finished")
    words = [*tiny_images, f"output={output}"]
    assert run_all(words) == [0] * len(STAGES)
    return output, words


@pytest.fixture
def copied(finished, tmp_path):
    """The directory of a copied run, and words that lead there."""
    output, words = finished
    shutil.copytree(output, tmp_path / "copy", copy_function=shutil.copy2)
    (run,) = (tmp_path / "copy" / "runs").iterdir()
    return run, [*words[:-1], f"output={tmp_path / 'copy'}"]


def tree(folder):
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_every_stage_leaves_what_the_design_says(finished):
    (run,) = (finished[0] / "runs").iterdir()
    assert {path.name for path in run.iterdir()} == {
        *("extract.json", "features.h5", "features", "gram.json", "gram.h5", "gram"),
        *("spectrum.json", "spectrum.h5", "risk.json", "risk.csv", "curve.csv", ".lock"),
        *("theory.json", "theory.csv", "theory.h5"),
        *(f"{table}.csv-metadata.json" for table in ("risk", "curve", "theory")),
    }
    with h5py.File(run / "features.h5") as features, h5py.File(run / "gram.h5") as file:
        rows = np.concatenate([features["train"], features["test"]]).astype(float)
        np.testing.assert_allclose(file["gram"], rows @ rows[:96].T, rtol=1e-12)
    manifest = json.loads((run / "extract.json").read_text())
    drawn = manifest["details"]["train_indices"]
    assert len(set(drawn)) == 96
    assert drawn != sorted(drawn)  # a shuffle, not a prefix


def test_risk_holds_a_plain_ridge_regression(finished):
    """One row of risk.csv against NumPy's solver, from the files alone."""
    (run,) = (finished[0] / "runs").iterdir()
    table = pd.read_csv(run / "risk.csv")
    assert len(table) == (2 + 2 + 1) * 6
    with h5py.File(run / "gram.h5") as file, h5py.File(run / "features.h5") as features:
        gram_matrix, labels, test_labels = (
            file["gram"][()],
            features["train_labels"][()],
            features["test_labels"][()],
        )
    targets, test_targets = np.eye(3)[labels] - 1 / 3, np.eye(3)[test_labels] - 1 / 3
    train, test = gram_matrix[:96], gram_matrix[96:]
    for row in table[(table["n"] == 96) & (table["relative_ridge"] > 0)].itertuples():
        ridge = row.relative_ridge * np.trace(train) / 96
        assert row.ridge == pytest.approx(ridge, rel=1e-12)
        inverse = np.linalg.inv(train + 96 * ridge * np.eye(96))
        weights = inverse @ targets
        assert row.gcv == pytest.approx(96 * (weights**2).sum() / np.trace(inverse) ** 2, rel=1e-6)
        assert row.test_risk == pytest.approx(
            ((test @ weights - test_targets) ** 2).sum(axis=1).mean(), rel=1e-6
        )
        assert row.loo == pytest.approx(
            ((weights / np.diag(inverse)[:, None]) ** 2).sum(axis=1).mean(), rel=1e-6
        )
        assert row.test_error == pytest.approx(((test @ weights).argmax(1) != test_labels).mean())


def test_spectra_belong_to_the_same_subsets(finished):
    (run,) = (finished[0] / "runs").iterdir()
    table = pd.read_csv(run / "risk.csv").set_index(["n", "trial", "relative_ridge"])
    with h5py.File(run / "spectrum.h5") as file:
        assert len(file) == 5
        for name, group in file.items():
            n, trial = int(name[1:9]), int(name[-3:])
            values, power = group["eigenvalues"][()], (group["coefficients"][()] ** 2).sum(axis=1)
            row = table.loc[(n, trial, 10.0)]
            weights = 1 / (values + n * row["ridge"])
            null = n - len(values)
            trace = weights.sum() + null / (n * row["ridge"])
            energy = (weights**2 * power).sum() + group["null_energy"][()] / (n * row["ridge"]) ** 2
            assert row["gcv"] == pytest.approx(n * energy / trace**2, rel=1e-8)


def test_again_every_stage_is_cached_without_importing_torch(finished):
    code = (
        "import sys\nfrom pipelines import extract, gram, spectrum, risk, theory, report\nfor stage"
        " in (extract, gram, spectrum, risk, theory, report):\n    assert stage.main(sys.argv[1:])"
        " == 0\nheavy = {'torch', 'timm', 'scipy', 'pandas', 'matplotlib', 'h5py', 'jinja2',"
        " 'tqdm'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    before = tree(finished[0])
    done = subprocess.run(
        [sys.executable, "-c", code, *finished[1]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[-1] for line in done.stdout.splitlines()[:6]] == ["cached"] * 6
    assert tree(finished[0]) == before


def test_import_rmtgen_is_light():
    code = (
        "import sys, rmtgen; assert 'torch' not in sys.modules and 'numpy' not in sys.modules;"
        " rmtgen.GramStore"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_new_ridge_grid_takes_over_features_gram_and_spectra(copied, capsys):
    _, words = copied
    assert run_all([*words, "ridges=1e-3,1"]) == [0] * len(STAGES)
    out = capsys.readouterr().out
    assert out.count("cached  taken from test_resnet-random-trees") == 3
    assert "10 rows over 3 sizes" in out


def test_compare_reports_all_finished_runs_or_those_named(copied, capsys):
    run, words = copied
    assert run_all([*words, "ridges=1e-3,1"]) == [0] * len(STAGES)
    assert compare.main(words) == 0
    assert "2 run(s)" in capsys.readouterr().out
    assert compare.main([*words, "--run", run.name]) == 0
    told = capsys.readouterr().out
    assert "1 run(s)" in told
    assert (
        compare.main([*words, "--run", run.name[-8:], "--run", run.name]) == 0
    )  # a shortened name still shows its end
    assert capsys.readouterr().out.splitlines()[1:] == told.splitlines()[1:]
    assert compare.main([*words, "--run", "nonesuch"]) == 3
    assert "no run 'nonesuch'" in capsys.readouterr().err


def test_compare_names_what_is_not_finished(copied, capsys):
    run, words = copied
    half = run.with_name("half-of-it-1a2b3c4d")
    half.mkdir()
    for path in run.iterdir():
        if path.name.startswith(("extract", "features", "gram")):
            (shutil.copytree if path.is_dir() else shutil.copy)(path, half / path.name)
    assert compare.main(words) == 0
    assert "1 run(s)" in capsys.readouterr().out
    (folder,) = (
        path for path in (run.parents[1] / "reports").iterdir() if path.name.startswith("compare")
    )
    text = (folder / "report.html").read_text()
    assert "half-of-it-1a2b3c4d: not finished; done are extract, gram. Next: `make spectrum" in text
    assert compare.main([*words, "--run", half.name]) == 3
    assert "no finished run" in capsys.readouterr().err


def test_compare_leaves_out_a_run_of_another_version_unless_it_is_named(copied, capsys):
    run, words = copied
    old = run.with_name("of-old-1a2b3c4d")
    shutil.copytree(run, old)
    manifest = json.loads((old / "risk.json").read_text())
    (old / "risk.json").write_text(json.dumps(manifest | {"format": manifest["format"] + 1}))
    assert compare.main(words) == 0
    assert "1 run(s)" in capsys.readouterr().out
    (folder,) = (
        path for path in (run.parents[1] / "reports").iterdir() if path.name.startswith("compare")
    )
    assert re.search("of-old-1a2b3c4d: .*version", (folder / "report.html").read_text())
    assert compare.main([*words, "--run", old.name]) == 3
    assert "version" in capsys.readouterr().err
    shutil.rmtree(old)
    shutil.copytree(run, old)
    (old / "risk.csv").unlink()
    assert compare.main([*words, "--json"]) == 0
    seen = capsys.readouterr()
    assert "of-old-1a2b3c4d is not reported" in seen.err
    assert "risk.csv is gone" in json.loads(seen.out)["runs"][0]["details"]["omitted"][old.name]


def test_the_report_is_one_file_that_asks_nothing_of_the_network(finished):
    (folder,) = (finished[0] / "reports").iterdir()
    page = (folder / "report.html").read_text()
    assert page.count('<figure class="chart">') >= 4
    assert "test_resnet" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert {path.suffix for path in (folder / "figures").iterdir()} == {".svg", ".png", ".pdf"}


def test_plan_costs_nothing_and_needs_no_data(capsys, tmp_path):
    words = [
        "model=test_resnet",
        "init=random",
        "dataset=cifar100",
        "img_size=32",
        "train=100",
        "test=20",
    ]
    assert plan.main([*words, f"output={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert all(stage in out for stage in ("extract", "gram", "spectrum", "risk", "theory", "total"))
    assert "100 + 20 images" in out
    assert not list(tmp_path.iterdir())


def test_plan_knows_that_features_need_neither_a_gram_matrix_nor_an_eigensolve_in_n():
    words = {
        "model": "test_resnet",
        "init": "random",
        "img_size": 32,
        "solve_from": "features",
        "test": 20,
    }
    small, large = (
        {
            cost.stage: cost
            for cost in estimate(
                load_experiment(None, words | {"train": train, "sizes": [200]}).runs[0]
            )
        }
        for train in (2_000, 200_000)
    )
    assert set(large) == {"extract", "spectrum", "risk", "theory"}
    assert large["spectrum"].flops == small["spectrum"].flops  # of the same 200 samples
    assert large["risk"].flops < 200 * small["risk"].flops
    assert large["risk"].ram < 200 * small["risk"].ram


def test_help_names_every_field(capsys):
    with pytest.raises(SystemExit) as ended:
        extract.main(["--help"])
    assert ended.value.code == 0
    assert "--img-size" in capsys.readouterr().out


BAD = {
    "unknown model": (["model=resnt50"], 2, "Did you mean resnet50"),
    "unknown data set": (["dataset=cifar1000"], 2, "Did you mean cifar10"),
    "unknown field": (["modle=resnet50"], 2, "Did you mean model?"),
    "unknown flag": (["--trian", "5"], 2, "unknown flag '--trian'. Did you mean train"),
    "unknown unit": (["memory=4Gigs"], 2, "unknown unit 'Gigs'"),
    "not a word": (["train"], 2, "expected FIELD=VALUE, got 'train'"),
    "negative ridge": (["ridges=-1"], 2, "≥ 0, got '-1'"),
    "NaN ridge": (["ridges=nan"], 2, "finite and ≥ 0, got 'nan'"),
    "n beyond the data": (["train=500", "sizes=500"], 2, "between 1 and the 120 images .* got 500"),
    "n beyond the pool": (["sizes=97"], 2, "expected at most 96, got 97"),
    "empty test set": (["test=0"], 2, "expected a whole number ≥ 1, got '0'"),
    "missing folder": (["dataset=folder:/nonesuch"], 3, "/nonesuch"),
    "missing set": (["dataset=cifar100", "data_root=/nonesuch"], 3, "(?i)download"),
    "missing weights": (["init=pretrained", "weights=/nonesuch.pth"], 3, "/nonesuch.pth"),
    "missing configuration": (["--config", "dmo"], 3, "Did you mean demo"),
    "unknown device": (["device=gpu"], 2, "device must be one that torch knows"),
    "image too small": (
        ["model=test_vit", "img_size=3"],
        2,
        "img_size must be one that test_vit can take, got 3",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_the_documented_exit_code(case, tiny_images, tmp_path, capsys):
    words, code, message = BAD[case]
    assert extract.main([*tiny_images, f"output={tmp_path}", *words]) == code
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert re.search(message, error), error
    assert not list(tmp_path.rglob("*.json"))


@pytest.fixture
def images(image_folder, tmp_path):
    """A copy of the images that a test may damage, and words for a run on it."""
    folder = Path(shutil.copytree(image_folder, tmp_path / "trees"))
    words = [
        f"dataset=folder:{folder}",
        f"output={tmp_path / 'out'}",
        "model=test_resnet",
        "init=random",
        "img_size=32",
    ]
    return folder, [*words, "train=96", "test=48", "sizes=24,96", "trials=1", "tile=32"]


def test_one_class_is_refused(images, capsys):
    folder, words = images
    for split in ("train", "test"):
        for name in ("birch", "cedar"):
            shutil.rmtree(folder / split / name)
    assert extract.main([*words, "train=8", "test=8", "sizes=8"]) == 2
    assert "at least 2 classes" in capsys.readouterr().err


def test_a_class_missing_from_the_training_subset_is_refused(images, capsys):
    _, words = images
    assert extract.main([*words, "train=2", "test=8", "sizes=2"]) == 2
    assert "stratif" in capsys.readouterr().err


def test_damaged_images_are_named_and_refused_or_skipped(images, capsys):
    folder, words = images
    for name in ("ash/000.png", "cedar/005.png"):
        (folder / "test" / name).write_bytes((folder / "test" / name).read_bytes()[:-300])
    words = [*words, "test=60"]
    assert extract.main(words) == 3
    error = capsys.readouterr().err
    assert "2 chosen from" in error
    assert "000.png" in error
    assert extract.main([*words, "on_corrupt=skip"]) == 2  # 58 are left
    assert extract.main([*words, "on_corrupt=skip", "test=50"]) == 0
    assert "skipped a damaged image" in capsys.readouterr().err


def test_a_tar_member_that_escapes_is_refused(tmp_path, capsys):
    import io
    import tarfile

    archive = tmp_path / "bad.tar"
    with tarfile.open(archive, "w") as file:
        for name in ("train/a/1.png", "../escaped.png"):
            file.addfile(tarfile.TarInfo(name), io.BytesIO())
    assert (
        extract.main(
            [
                f"dataset=folder:{archive}",
                f"output={tmp_path / 'out'}",
                "model=test_resnet",
                "init=random",
            ]
        )
        == 3
    )
    assert "../escaped.png" in capsys.readouterr().err
    assert not (tmp_path.parent / "escaped.png").exists()


def test_weights_that_are_not_weights_are_refused(images, tmp_path, capsys):
    _, words = images
    files = {
        "code.pth": pickle.dumps(os.system),
        "list.pth": None,
        "junk.safetensors": b"junk",
        "other.pth": None,
    }
    for name, content in files.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "other.pth")
    for name in files:
        assert extract.main([*words, "init=pretrained", f"weights={tmp_path / name}"]) == 3
        error = capsys.readouterr().err
        assert name in error
        assert "Traceback" not in error


def test_non_finite_features_are_a_numerical_failure(images, tmp_path, capsys):
    import timm

    _, words = images
    state = timm.create_model("test_resnet").state_dict()
    state = {name: tensor * 1e20 if tensor.ndim == 4 else tensor for name, tensor in state.items()}
    torch.save(state, tmp_path / "huge.pth")
    assert extract.main([*words, "init=pretrained", f"weights={tmp_path / 'huge.pth'}"]) == 4
    assert "finite" in capsys.readouterr().err


def test_a_stage_before_its_input_says_what_to_run(images, capsys):
    _, words = images
    assert gram.main(words) == 3
    assert "Run `make extract`" in capsys.readouterr().err
    assert report.main(words) == 3


def test_a_manifest_of_another_version_is_refused_and_kept(copied, capsys):
    run, words = copied
    manifest = run / "risk.json"
    text = json.dumps({**json.loads(manifest.read_text()), "format": 0})
    manifest.write_text(text)
    assert risk.main(words) == 3
    assert "manifest format 0; this version reads 1" in capsys.readouterr().err
    assert manifest.read_text() == text


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
        assert STAGES[stage].main(words) == 3
        assert victim.name in capsys.readouterr().err
        victim.unlink()
        assert STAGES[stage].main(words) == 0
        assert victim.read_bytes() == content  # made anew, to the same bytes


def test_a_damaged_shard_with_an_old_time_is_found_when_it_is_read(copied, capsys):
    run, words = copied
    victim = next(run.glob("gram/tile-*.h5"))
    status, content = victim.stat(), bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(content)
    os.utime(victim, ns=(status.st_atime_ns, status.st_mtime_ns))
    (run / "risk.json").unlink()
    assert risk.main(words) == 3
    assert f"{victim.name} is damaged" in capsys.readouterr().err


def test_a_held_run_is_refused(copied, capsys):
    run, words = copied
    (run / "risk.json").unlink()
    code = (
        f"import fcntl, sys, time; handle = open({str(run / '.lock')!r}, 'r+'); fcntl.flock(handle,"
        " fcntl.LOCK_EX); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        assert risk.main(words) == 3
        assert "held by another process" in capsys.readouterr().err
        holder.kill()
    assert risk.main(words) == 0


def test_a_full_disk_is_one_line_and_the_same_command_resumes(copied):
    """RLIMIT_FSIZE stands for the disk: no file may grow past a size that some file of each stage
    needs."""
    run, words = copied
    for stage, limit in (("gram", 6000), ("spectrum", 3000), ("risk", 2000), ("theory", 4000)):
        (run / f"{stage}.json").unlink()
        for path in (*run.glob(f"{stage}*.h5"), *run.glob(f"{stage}/*"), *run.glob(f"{stage}.csv")):
            path.unlink()
        before = tree(run)
        done = subprocess.run(
            [sys.executable, "-m", f"pipelines.{stage}", *words],
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=lambda limit=limit: resource.setrlimit(
                resource.RLIMIT_FSIZE, (limit, limit)
            ),
        )
        assert done.returncode == 3, done.stderr
        assert "cannot write" in done.stderr
        assert "Traceback" not in done.stderr
        assert {name: content for name, content in tree(run).items() if name in before} == before
        assert STAGES[stage].main(words) == 0


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
    with monkeypatch.context() as patch:
        patch.setattr(
            "rmtgen.store.durable.os.fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        assert STAGES[stage].main(words) == 130
    captured = capsys.readouterr()
    assert captured.err.strip() == "rmtgen: interrupted. Run the same command again: it resumes."
    assert not list(run.rglob("*.partial"))
    assert STAGES[stage].main(words) == 0


def test_a_real_sigint_is_exit_code_130(images):
    _, words = images
    with subprocess.Popen(
        [sys.executable, "-m", "pipelines.extract", *words], stderr=subprocess.PIPE, text=True
    ) as stage:
        output = Path(words[1].removeprefix("output="))
        while stage.poll() is None and not list(output.rglob("features.h5")):
            pass
        stage.send_signal(2)
        _, error = stage.communicate()
    assert stage.returncode in (130, 0)  # 0: it was done before the signal came
    assert "Traceback" not in error


def test_read_only_images_are_enough(images):
    folder, words = images
    before = tree(folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert extract.main(words) == 0
    assert tree(folder) == before


def test_changed_images_are_noticed(images, capsys):
    folder, words = images
    assert extract.main(words) == 0
    (folder / "train" / "ash" / "000.png").unlink()
    assert extract.main(words) == 3
    assert "is not what" in capsys.readouterr().err


def test_a_dangling_link_among_the_images_is_no_traceback(images, capsys):
    folder, words = images
    (folder / "train" / "ash" / "link.png").symlink_to(folder / "nowhere")
    assert extract.main([*words, "train=121"]) == 3
    assert "link.png" in capsys.readouterr().err
    assert extract.main(words) in (0, 3)  # 3 where the link was drawn


def test_out_of_memory_and_refusals_of_the_system_are_one_line(capsys):
    from rmtgen.stages.engine import run_command

    def fail(error):
        raise error

    for error, code in (
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), 4),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 4),
        (MemoryError(), 4),
        (PermissionError(13, "Permission denied", "/secret"), 3),
    ):
        assert run_command("risk", lambda *_, error=error: fail(error), []) == code
        assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(RuntimeError, match="a bug"):
        run_command("risk", lambda *_: fail(RuntimeError("a bug")), [])


def test_an_unknown_stage_or_target_is_a_usage_error():
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", "extarct"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (
        2,
        "rmtgen: error: unknown stage 'extarct'. Did you mean extract?\n",
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        ["make", "extarct"], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "no target 'extarct'" in done.stderr


def test_two_reports_at_once_are_kept_apart(copied, capsys):
    run, words = copied
    (folder,) = (run.parent.parent / "reports").iterdir()
    (folder / "report.json").unlink()
    with locked(folder):
        assert report.main(words) == 3
    assert "held by another process" in capsys.readouterr().err
    assert report.main(words) == 0


def test_warnings_become_lines_of_the_log(capsys):
    from rmtgen.stages.engine import run_command

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert run_command("risk", lambda *_: warnings.warn("look out", stacklevel=1), []) == 0
    assert capsys.readouterr().err == "rmtgen: warning: look out\n"


def test_warnings_that_differ_in_numbers_are_told_once_and_counted(capsys):
    from rmtgen.errors import RmtgenWarning, UsageError
    from rmtgen.stages.engine import run_command

    def work(*_):
        for size in (10, 20, 30):
            warnings.warn(f"n must be small, got {size}", RmtgenWarning, stacklevel=1)
        warnings.warn("look out", RmtgenWarning, stacklevel=1)
        raise UsageError("stop")

    assert run_command("risk", work, []) == 2
    assert capsys.readouterr().err.splitlines() == [
        "rmtgen: warning: n must be small, got 10",
        "rmtgen: warning: look out",
        "rmtgen: warning: 2 more of the kind “n must be small, got …”",
        "rmtgen: error: stop",
    ]


def test_an_entk_run_ends_to_end_and_resumes_tile_by_tile(tiny_images, tmp_path, capsys):
    from rmtgen import entk_gram
    from rmtgen.models.features import TransformedImages
    from rmtgen.runs.config import load_experiment
    from rmtgen.stages.loading import open_backbone, open_images

    words = [
        *tiny_images,
        "train=48",
        "test=20",
        "sizes=8,48",
        "ridges=1e-2,1",
        "kernel=entk",
        f"output={tmp_path}",
    ]
    assert run_all(words) == [0] * len(STAGES)
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("test_resnet-random-entk-trees-")
    (config,) = load_experiment(None, dict(word.split("=", 1) for word in words)).runs
    backbone, split = open_backbone(config, head="random"), open_images(config)
    train, test = (TransformedImages(images, backbone) for images in (split.train, split.test))
    with h5py.File(run / "gram.h5") as file:
        stored = file["gram"][()]
    assert stored.dtype == np.float32
    np.testing.assert_allclose(stored[:48], entk_gram(backbone.model, train), rtol=2e-6)
    np.testing.assert_allclose(stored[48:], entk_gram(backbone.model, test, train), rtol=2e-6)
    before = tree(run)
    (run / "gram.json").unlink()
    next(run.glob("gram/tile-*.h5")).unlink()
    capsys.readouterr()
    assert run_all(words) == [0] * len(STAGES)
    assert {name: content for name, content in tree(run).items() if name != "gram.json"} == {
        name: content for name, content in before.items() if name != "gram.json"
    }
    assert capsys.readouterr().out.count("cached") == 5


def test_an_entk_is_averaged_over_heads_and_says_how_far_they_differ(tiny_images, tmp_path, capsys):
    from rmtgen import entk_gram
    from rmtgen.models.features import TransformedImages
    from rmtgen.runs.config import load_experiment
    from rmtgen.stages.loading import open_backbone, open_images

    words = [
        *tiny_images,
        "train=40",
        "test=20",
        "sizes=8,40",
        "ridges=1e-2,1",
        "kernel=entk",
        f"output={tmp_path}",
    ]
    words.append("heads=3")
    assert run_all(words) == [0] * len(STAGES)
    (run,) = (tmp_path / "runs").iterdir()
    (config,) = load_experiment(None, dict(word.split("=", 1) for word in words)).runs
    split, single = open_images(config), []
    for seed in range(config.head_seed, config.head_seed + 3):
        backbone = open_backbone(
            dataclasses.replace(config, heads=None, head_seed=seed), head="random"
        )
        single.append(entk_gram(backbone.model, TransformedImages(split.train, backbone)))
    single = torch.stack(single)
    with h5py.File(run / "gram.h5") as file:
        np.testing.assert_allclose(file["gram"][:40], single.mean(dim=0), rtol=2e-6)
    details = json.loads((run / "gram.json").read_text())["details"]
    spread = single.std(dim=0).norm() / single.mean(dim=0).norm()
    assert details["spread_of_heads"] == pytest.approx(float(spread), rel=1e-4)
    assert re.search(r"Gram matrix in \d+ tiles, spread of heads \d+\.\d%", capsys.readouterr().out)


def test_a_sketched_entk_is_solved_from_its_rows_and_says_how_far_off_it_is(
    tiny_images, tmp_path, capsys
):
    from rmtgen import entk_gram
    from rmtgen.models.features import TransformedImages
    from rmtgen.runs.config import load_experiment
    from rmtgen.stages.loading import open_backbone, open_images

    words = [
        *tiny_images,
        "train=40",
        "test=20",
        "sizes=8,40",
        "ridges=1e-2,1",
        "kernel=entk",
        f"output={tmp_path}",
    ]
    words.append("projection=512")
    assert run_all(words) == [0] * len(STAGES)
    said = capsys.readouterr().out
    assert re.search(
        r"60 images × 512 sketched gradients; kernel off by \d+\.\d% \(bound \d+\.\d%\)", said
    )
    assert re.search(r"^gram .*  –  not needed for features$", said, re.MULTILINE)
    assert "test_resnet, random, entk sketch 512" in said
    (run,) = (tmp_path / "runs").iterdir()
    assert not (run / "gram.h5").exists()
    (config,) = load_experiment(None, dict(word.split("=", 1) for word in words)).runs
    backbone, split = open_backbone(config, head="random"), open_images(config)
    exact = entk_gram(backbone.model, TransformedImages(split.train, backbone)).numpy()
    with h5py.File(run / "features.h5") as file:
        rows = file["train"][()]
    error = np.linalg.norm(rows @ rows.T - exact) / np.linalg.norm(exact)
    assert json.loads((run / "extract.json").read_text())["details"][
        "sketch_error"
    ] == pytest.approx(error, rel=1e-3)
    assert 0 < error < 0.2
    before = tree(run)
    (run / "extract.json").unlink()
    next(run.glob("features/train-*.h5")).unlink()
    assert run_all(words) == [0] * len(STAGES)
    assert {name: content for name, content in tree(run).items() if name != "extract.json"} == {
        name: content for name, content in before.items() if name != "extract.json"
    }
    (page,) = (tmp_path / "reports").glob("*/report.html")
    assert "entk sketch 512" in page.read_text()


def test_an_entk_of_other_images_than_the_features_is_refused(
    tiny_images, tmp_path, capsys, monkeypatch
):
    import pipelines.gram as stage

    words = [*tiny_images, "train=48", "test=20", "sizes=48", "kernel=entk", f"output={tmp_path}"]
    assert extract.main(words) == 0
    honest = stage.open_images
    monkeypatch.setattr(
        stage, "open_images", lambda config: honest(dataclasses.replace(config, seed=5))
    )
    assert gram.main(words) == 3
    assert "the train images must be those of" in capsys.readouterr().err


def test_plan_shows_the_entk_weight_by_weight(capsys):
    words = [
        "model=test_resnet",
        "init=random",
        "dataset=cifar100",
        "img_size=32",
        "train=100",
        "test=20",
        "kernel=entk",
    ]
    assert plan.main(words) == 0
    out = capsys.readouterr().out
    assert "(100 + 20) × 100: 7,050 entries" in out
    assert "head.weight" in out


def test_plan_knows_heads_and_sketches_and_what_a_finished_stage_took(
    tiny_images, tmp_path, capsys
):
    words = [*tiny_images, "train=40", "test=20", "sizes=40", "kernel=entk", f"output={tmp_path}"]
    assert plan.main([*words, "heads=3"]) == plan.main([*words, "projection=64"]) == 0
    averaged, sketched = capsys.readouterr().out.split("1 run(s)")[:2]
    assert "head.weight" in averaged
    assert not re.search(r"^  gram ", sketched, re.MULTILINE)
    assert "it took" in sketched
    assert extract.main(words) == plan.main(words) == 0
    out = capsys.readouterr().out
    assert re.search(r"^  extract .* s +\d+\.\d s$", out, re.MULTILINE)
    assert re.search(r"^  gram .* –$", out, re.MULTILINE)
