"""What a ranking says of images that cannot be ranked, or that make its numbers doubtful."""

import re
import shutil

import pytest

from rmtgen.cli.main import main


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch):
    monkeypatch.setattr("rmtgen.stages.rank.save_figures", lambda *_: [])


def test_a_picture_in_two_classes_is_named_with_both(image_folder, tmp_path, capsys):
    folder = tmp_path / "images"
    shutil.copytree(image_folder / "train", folder)
    first, second, *_ = sorted((folder / "ash").iterdir())
    shutil.copy(first, folder / "birch" / "again.png")
    shutil.copy(second, folder / "ash" / "twice.png")
    given = [f"data=folder:{folder}", "models=test_resnet,test_byobnet", "init=random"]
    assert main(["rank", *given, "img_size=32", f"output={tmp_path}"]) == 0
    shown = capsys.readouterr()
    assert shown.err.count("the same picture is in several classes, 1 such:") == 1
    assert (
        f"{first} (ash)" in shown.err and f"{folder / 'birch' / 'again.png'} (birch)" in shown.err
    )
    text = " ".join(shown.out.split())
    assert "the same picture is in several classes: " in text
    assert f"ash/{first.name} (ash)" in text and "birch/again.png (birch)" in text
    assert str(folder) not in text.partition("xdg-open")[0] and "twice.png" not in text


def test_a_class_of_one_image_is_named(image_folder, tmp_path, capsys):
    folder = tmp_path / "images"
    shutil.copytree(image_folder / "train", folder)
    for path in sorted((folder / "ash").iterdir())[1:]:
        path.unlink()
    given = [f"data=folder:{folder}", "models=test_resnet", "init=random", "img_size=32"]
    assert main(["rank", *given, f"output={tmp_path}"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "a single image has the class ash: left out, it cannot be recognised" in text


@pytest.mark.parametrize(
    ("make", "code", "message"),
    [
        (lambda folder, _: folder.mkdir(), 3, r"got no image\. Sort them into a folder a class"),
        (
            lambda folder, images: shutil.copytree(images / "train" / "ash", folder),
            3,
            r"40 × outside a class folder\. Sort them into a folder a class, or list them",
        ),
        (
            lambda folder, images: shutil.copytree(images / "train" / "ash", folder / "ash"),
            2,
            r"at least 2 classes: .* has 1 \(ash\)\. Add images of another class",
        ),
        (
            lambda folder, images: [
                shutil.copytree(images / "train", folder),
                sorted((folder / "ash").iterdir())[0].write_bytes(b""),
            ],
            3,
            r"1 chosen from .* are damaged\. .*the file is empty\. Replace them, or leave them out",
        ),
    ],
)
def test_images_that_cannot_be_ranked_say_what_to_do(
    make, code, message, image_folder, tmp_path, capsys
):
    make(tmp_path / "images", image_folder)
    given = [f"data=folder:{tmp_path / 'images'}", "models=test_resnet,test_byobnet", "init=random"]
    assert main(["rank", *given, "img_size=32", f"output={tmp_path / 'out'}"]) == code
    assert re.search(message, capsys.readouterr().err)
