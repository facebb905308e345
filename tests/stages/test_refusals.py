"""What bad input gets: one line, the documented exit code, and nothing half-written."""

import io
import json
import os
import pickle
import re
import shutil
import tarfile

import pytest
import timm
import torch
from trees import tree

from rmtgen.cli.main import main

BAD = {
    "unknown model": (["model=resnt50"], 2, "Did you mean resnet50"),
    "unknown data set": (["dataset=cifar1000"], 2, "Did you mean cifar10"),
    "unknown field": (["modle=resnet50"], 2, "Did you mean model?"),
    "unknown flag": (["--trian", "5"], 2, "unknown flag '--trian'. Did you mean train"),
    "unknown unit": (["memory=4Gigs"], 2, "unknown unit 'Gigs'"),
    "not a word": (["train"], 3, "no configuration 'train'"),
    "negative ridge": (["ridges=-1"], 2, "≥ 0, got '-1'"),
    "NaN ridge": (["ridges=nan"], 2, "finite and ≥ 0, got 'nan'"),
    "n beyond the data": (["train=500", "sizes=500"], 2, "between 1 and the 120 images .* got 500"),
    "n beyond the pool": (["sizes=97"], 2, "expected at most 96, got 97"),
    "negative test set": (["test=-1"], 2, "expected a whole number ≥ 0, got '-1'"),
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
    fields = {word.partition("=")[0] for word in words if "=" in word}
    base = [word for word in tiny_images if word.partition("=")[0] not in fields]
    assert main(["extract", *base, f"output={tmp_path}", *words]) == code
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert re.search(message, error), error
    assert not list(tmp_path.rglob("*.json"))


def test_one_class_is_refused(images, capsys):
    folder, words = images
    for split in ("train", "test"):
        for name in ("birch", "cedar"):
            shutil.rmtree(folder / split / name)
    assert main(["extract", *words, "train=8", "test=8", "sizes=8"]) == 2
    assert "at least 2 classes" in capsys.readouterr().err


def test_a_class_missing_from_the_training_subset_is_refused(images, capsys):
    _, words = images
    assert main(["extract", *words, "train=2", "test=8", "sizes=2"]) == 2
    assert "stratif" in capsys.readouterr().err


def test_damaged_images_are_named_and_refused_or_skipped(images, capsys):
    folder, words = images
    for name in ("ash/000.png", "cedar/005.png"):
        (folder / "test" / name).write_bytes((folder / "test" / name).read_bytes()[:-300])
    words = [*words, "test=60"]
    assert main(["extract", *words]) == 3
    error = capsys.readouterr().err
    assert "2 chosen from" in error
    assert "000.png" in error
    assert main(["extract", *words, "on_corrupt=skip"]) == 2  # 58 are left
    assert main(["extract", *words, "on_corrupt=skip", "test=50"]) == 0
    assert "skipped a damaged image" in capsys.readouterr().err


def test_a_tar_member_that_escapes_is_refused(tmp_path, capsys):
    archive = tmp_path / "bad.tar"
    with tarfile.open(archive, "w") as file:
        for name in ("train/a/1.png", "../escaped.png"):
            file.addfile(tarfile.TarInfo(name), io.BytesIO())
    words = [f"dataset=folder:{archive}", f"output={tmp_path / 'out'}"]
    assert main(["extract", *words, "model=test_resnet", "init=random"]) == 3
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
        assert main(["extract", *words, "init=pretrained", f"weights={tmp_path / name}"]) == 3
        error = capsys.readouterr().err
        assert name in error
        assert "Traceback" not in error


def test_non_finite_features_are_a_numerical_failure(images, tmp_path, capsys):
    _, words = images
    state = timm.create_model("test_resnet").state_dict()
    state = {name: tensor * 1e20 if tensor.ndim == 4 else tensor for name, tensor in state.items()}
    torch.save(state, tmp_path / "huge.pth")
    assert main(["extract", *words, "init=pretrained", f"weights={tmp_path / 'huge.pth'}"]) == 4
    assert "finite" in capsys.readouterr().err


def test_a_stage_before_its_input_says_what_to_run(images, capsys):
    _, words = images
    assert main(["gram", *words]) == 3
    assert "Run `rmtgen run --stage extract` with the same settings" in capsys.readouterr().err
    assert main(["report", *words]) == 3


def test_a_manifest_of_another_version_is_refused_and_kept(copied, capsys):
    run, words = copied
    manifest = run / "risk.json"
    text = json.dumps({**json.loads(manifest.read_text()), "format": 0})
    manifest.write_text(text)
    assert main(["risk", *words]) == 3
    assert "manifest format 0; this version reads 1" in capsys.readouterr().err
    assert manifest.read_text() == text


def test_read_only_images_are_enough(images):
    folder, words = images
    before = tree(folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert main(["extract", *words]) == 0
    assert tree(folder) == before


def test_changed_images_are_noticed(images, capsys):
    folder, words = images
    assert main(["extract", *words]) == 0
    (folder / "train" / "ash" / "000.png").unlink()
    assert main(["extract", *words]) == 3
    assert "is not what" in capsys.readouterr().err


def test_a_dangling_link_among_the_images_is_no_traceback(images, capsys):
    folder, words = images
    (folder / "train" / "ash" / "link.png").symlink_to(folder / "nowhere")
    assert main(["extract", *words, "train=120"]) == 0
    assert "1 × broken link (train/ash/link.png)" in capsys.readouterr().err
