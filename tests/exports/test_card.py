"""The model card: its figures, its front matter, and names from elsewhere that stay names."""

import dataclasses
import math
import re

import pytest
import yaml

import rmtgen
from rmtgen.exports.card import accuracy_text, code, model_card
from rmtgen.exports.description import Content
from rmtgen.exports.quality import Quality
from rmtgen.exports.writing import export_probe

HOSTILE = "`x`\n# Title <script>alert(1)</script> | [a](javascript:1)"


def read(folder):
    """Front matter and text of a card."""
    _, front, text = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(front), text


def test_the_card_says_what_the_run_has_found(ranked, exported):
    front, text = read(exported)
    assert front == {
        "tags": ["image-classification", "timm", "ridge-regression"],
        "pipeline_tag": "image-classification",
        "library_name": "timm",
        "datasets": ["mnist5k"],
    }
    score = rmtgen.load_run(ranked).score
    figures, best = score.figures, score.best
    good = f"{100 - 100 * figures['error']:.1f} %"
    ends = f"[{100 - 100 * figures['error_high']:.1f}, {100 - 100 * figures['error_low']:.1f}]"
    risk = f"{best['loo']:.4f} [{best['loo_low']:.4f}, {best['loo_high']:.4f}]"
    assert f"its accuracy on new ones is {good} {ends}" in text
    assert f"| leave-one-out, training images | {good} {ends} | {risk} |" in text
    assert f"λ = {best['ridge']:.4g}" in text and "They are no probabilities" in text
    assert "| 3,000 |" in text and "test images" not in text
    assert "- **Licence of the weights:** `not stated`" in text
    assert 'timm.create_model("local-dir:FOLDER", pretrained=True)' in text
    assert "`0`, `1`, `2`" in text and "- **crop_pct:** `1.0`" in text


def test_a_measured_run_has_a_row_of_its_test_images(measured, tmp_path):
    folder = export_probe(measured, tmp_path / "probe")
    quality, (_, text) = rmtgen.load_probe(folder).quality, read(folder)
    error = quality["test_error"]
    spread = 100 * math.sqrt(error * (1 - error) / 200)
    assert f"| 200 test images, measured | {100 - 100 * error:.1f} % ± {spread:.1f} |" in text
    assert "forecast" not in text and "with a free constant" in text


def test_every_command_and_block_of_the_card_runs(exported, tmp_path, monkeypatch, capsys):
    from rmtgen.cli.main import main

    images = [rmtgen.load_dataset("mnist5k", size=60)[place] for place in range(3)]
    (tmp_path / "my" / "pictures").mkdir(parents=True)
    images[0].save(tmp_path / "my" / "pictures" / "0.png")
    monkeypatch.chdir(tmp_path)
    _, text = read(exported)
    names = {"FOLDER": str(exported), "images": images}
    for language, block in re.findall(r"```(sh|python)\n(.*?)```", text, re.DOTALL):
        if language == "python":
            exec(block.replace('"local-dir:FOLDER"', f'"local-dir:{exported}"'), names)
        else:
            _, *words = block.replace("FOLDER", str(exported)).split()
            assert main(words) == 0
    assert names["scores"].shape == (3, 10) and names["model"].num_classes == 10
    assert (tmp_path / "predictions.csv").is_file()


def changed(exported, **fields):
    """The card of an export with other contents."""
    found = rmtgen.load_probe(exported).description
    quality = Quality(**found.quality)
    reason = fields.pop("reason", "")
    quality = dataclasses.replace(quality, **fields.pop("quality", {}))
    return model_card(dataclasses.replace(found, **fields), quality, reason)


def test_names_from_elsewhere_are_code_on_one_line(exported):
    found = rmtgen.load_probe(exported).description
    card = changed(
        exported,
        classes=(HOSTILE, "b"),
        settings={**found.settings, "dataset": f"folder:{HOSTILE}"},
        origin={**found.origin, "weights": HOSTILE, "licence": HOSTILE},
        quality={"doubts": (HOSTILE,)},
    )
    _, front, text = card.split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "other"
    assert isinstance(yaml.safe_load(front)["datasets"][0], str)
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text)
    assert "<script>" not in outside and "javascript" not in outside
    assert [line for line in card.splitlines() if line.startswith("# ")] == [
        line for line in card.splitlines() if line.startswith("# Model card for ")
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a", "`a`"), ("a`b", "`` a`b ``"), ("``", "``` `` ```"), ("a\nb", r"`a\nb`")],
)
def test_code_holds_any_text(text, shown):
    assert code(text) == shown


def test_a_licence_that_is_stated_is_in_the_front_matter(exported):
    found = rmtgen.load_probe(exported).description
    card = changed(exported, origin={**found.origin, "licence": "Apache-2.0"})
    assert yaml.safe_load(card.split("---\n")[1])["license"] == "apache-2.0"


def test_many_classes_are_counted(exported):
    card = changed(exported, classes=tuple(f"class {k}" for k in range(45)))
    assert "`class 39`, and 5 more in `rmtgen.json`" in card


def test_what_is_not_known_is_left_out(exported):
    unknown = dict.fromkeys(("accuracy", "accuracy_low", "accuracy_high", "loo_low"), math.nan)
    card = changed(exported, quality={**unknown, "forecast": (), "doubts": ("copies",)})
    assert "| leave-one-out, training images | – |" in card and "forecast" not in card
    assert "- Doubtful: `copies`" in card and "nan" not in card
    assert accuracy_text(Quality(**rmtgen.load_probe(exported).quality)).endswith("]")


def test_a_file_of_onnx_is_explained(exported):
    found = rmtgen.load_probe(exported).description
    card = changed(exported, files={**found.files, "model.onnx": Content(1, "0" * 32)})
    assert "from `images`, float32 (b, 3, 32, 32) after the preprocessing" in card
