"""README.md: the model card of an export, in the layout of the Hugging Face hub.

Names of classes, data sets and files come from elsewhere. They stand between back quotes, in which
Markdown and HTML mean nothing, or as JSON in the front matter.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rmtgen.exports.description import HUB, ONNX, WEIGHTS, Description
from rmtgen.exports.onnx_file import INPUT
from rmtgen.exports.quality import Quality
from rmtgen.models.headed import WHOLE
from rmtgen.models.recipes import MAKER
from rmtgen.names import printable
from rmtgen.report.wording import dataset_names, number
from rmtgen.tables import Table

MOST_CLASSES = 40
"""Number of classes that the card lists."""
_IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9.+-]*")
"""What the hub takes as the name of a licence."""
CODINGS = {
    "onehot": "1 for the class of an image and 0 for the others",
    "centered": "1 for the class of an image and 0 for the others, less 1/C for C classes",
    "intercept": "1 for the class of an image and 0 for the others, with a free constant",
}
"""Label codings in words."""


WEIGHTS_OF = {
    "pretrained": "with its pretrained weights",
    "random": "with random weights",
    "calibrated": "with random weights and the BatchNorm statistics of training images",
}
"""Initialisations in words."""


def model_card(found: Description, quality: Quality, reason: str) -> str:
    """The text of README.md.

    Args:
        found: What the export is.
        quality: What its run says of it.
        reason: Why its network is not the library's own; empty where it is.
    """
    parts = (
        _front_matter(found),
        f"# Model card for {code(title(found))}",
        _what(found, quality),
        f"## Model details\n\n{_details(found)}",
        f"## Evaluation\n\n{_evaluation(found, quality)}",
        f"## Doubts and limits\n\n{_limits(quality)}",
        f"## Use\n\n{_use(found, reason)}",
        f"## Preprocessing\n\n{_preprocessing(found.recipe)}",
        f"## Classes\n\n{_classes(found.classes)}",
    )
    return "\n\n".join(part.strip() for part in parts) + "\n"


def title(found: Description) -> str:
    """The network, its layer, and the data set in short."""
    layer = f" {found.blueprint.layer}" if found.blueprint.layer else ""
    return f"{found.blueprint.name}{layer}, {_dataset(found)}"


def code(text: object) -> str:
    """A text of any kind as code of Markdown, on one line."""
    shown = printable(str(text))
    fence = "`" * (1 + max(map(len, re.findall(r"`+", shown)), default=0))
    pad = " " if "`" in shown else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def accuracy_text(quality: Quality) -> str:
    """The accuracy in per cent with its interval; empty where it is not known."""
    ends = quality.accuracy_low, quality.accuracy_high
    return _percent(quality.accuracy, *ends) if math.isfinite(quality.accuracy) else ""


def _dataset(found: Description) -> str:
    name = printable(str(found.settings["dataset"]))
    return dataset_names([name])[name]


def _front_matter(found: Description) -> str:
    """What the hub reads; text as JSON, which is YAML too."""
    library = "timm" if HUB in found.files else "rmtgen"
    licence = found.origin.get("licence")
    lines = ["tags:", "- image-classification", f"- {library}", "- ridge-regression"]
    lines += ["pipeline_tag: image-classification", f"library_name: {library}"]
    if isinstance(licence, str):
        known = licence.lower() if _IDENTIFIER.fullmatch(licence.lower()) else "other"
        lines.append(f"license: {known}")
    lines += ["datasets:", f"- {json.dumps(_dataset(found))}"]
    return "\n".join(["---", *lines, "---"])


def _what(found: Description, quality: Quality) -> str:
    layer = found.blueprint.layer
    where = f", up to its layer {code(layer)}," if layer else ""
    weights = WEIGHTS_OF.get(str(found.settings["init"]), "with weights that are not trained here")
    good = accuracy_text(quality)
    known = f" From the training images alone its accuracy on new ones is {good}." if good else ""
    network = f"{code(found.blueprint.name)}{where} {weights}"
    return (
        f"An image classifier: the frozen network {network}, and a linear layer on its"
        f" {found.features:,} features, fitted by ridge regression to"
        f" {quality.n:,} labelled images of {code(_dataset(found))} with {len(found.classes):,}"
        f" classes.{known}"
    )


def _details(found: Description) -> str:
    settings, origin = found.settings, found.origin
    lines = {
        "Network": code(found.blueprint.name),
        "Weights": f"{code(settings['init'])}, {code(origin['weights'])}",
        "Licence of the weights": code(origin.get("licence") or "not stated"),
        "Layer": code(found.blueprint.layer or "the last, as the classifier takes it"),
        "Parameters": _count(origin.get("parameters")),
        "Operations of an image": _count(origin.get("flops")),
        "Data": f"{code(_dataset(found))}, {settings['train']:,} training images",
        "Run": code(origin["run"]),
        "Made": f"{origin['made']} with rmtgen {origin['versions']['rmtgen']}",
    }
    return "\n".join(f"- **{name}:** {text}" for name, text in lines.items())


def _evaluation(found: Description, quality: Quality) -> str:
    rows = [("leave-one-out, training images", *_figures_of_training(quality))]
    if quality.tests:
        error = quality.test_error
        spread = math.sqrt(error * (1 - error) / quality.tests)
        measured = f"{100 * (1 - error):.1f} % ± {100 * spread:.1f}"
        risk = f"{quality.test_risk:.4f} ± {number(quality.test_risk_se, '.4f')}"
        shown = measured if math.isfinite(error) else "–"
        rows.append((f"{quality.tests:,} test images, measured", shown, risk))
    table = Table(("from", "accuracy", "risk"), tuple(rows)).markdown()
    coding = found.settings["targets"]
    chosen = "that of the smallest leave-one-out risk" if quality.smallest else "chosen by hand"
    said = (
        f"Intervals are of 95 %; ± is one standard error. Risk is the squared error summed over"
        f" classes, on targets that are {CODINGS.get(coding, code(coding))}. The ridge is"
        f" λ = {quality.ridge:.4g}, {quality.relative_ridge:.3g} of tr K/N, {chosen}."
    )
    return f"{table}\n\n{said}\n\n{_forecast(quality)}".strip()


def _figures_of_training(quality: Quality) -> tuple[str, str]:
    risk = f"{number(quality.loo, '.4f')}"
    if math.isfinite(quality.loo_low):
        risk += f" [{quality.loo_low:.4f}, {quality.loo_high:.4f}]"
    return accuracy_text(quality) or "–", risk


def _forecast(quality: Quality) -> str:
    """What more labelled images would give."""
    if not quality.forecast:
        return ""
    rows = tuple(
        (
            f"{row['n']:,.0f}",
            _percent(row["accuracy"], row["accuracy_low"], row["accuracy_high"]),
            f"{row['risk']:.4f} [{row['risk_low']:.4f}, {row['risk_high']:.4f}]",
        )
        for row in quality.forecast
    )
    table = Table(("labelled images", "accuracy", "risk"), rows, "<<<").markdown()
    return (
        "With more labelled images of the same kind, and the best ridge for as many, the training"
        f" images forecast:\n\n{table}"
    )


def _limits(quality: Quality) -> str:
    lines = [
        "Scores are predictions of ridge regression, near 1 for a class that the image is sure to"
        " belong to and near 0 else. They are no probabilities: they may be below 0 or above 1.",
        "The figures hold for new images like the training ones, in the same proportions of"
        " classes. An image of none of the classes is given one of them all the same.",
    ]
    lines += [f"Doubtful: {code(message)}" for message in quality.doubts]
    if not quality.doubts:
        lines.append("No check of the run warns of its images.")
    return "\n".join(f"- {line}" for line in lines)


def _use(found: Description, reason: str) -> str:
    parts = [
        "```sh\nrmtgen predict FOLDER my/pictures --to predictions.csv\n```",
        "```python\nimport rmtgen\n\nprobe = rmtgen.load_probe(FOLDER)\n"
        "scores = probe.scores(images)  # PIL images; one column per class of probe.classes\n```",
    ]
    if HUB in found.files:
        parts.append(
            f"{code(WEIGHTS)} is the state dict of the network of timm itself:\n\n```python\n"
            'import timm\n\nmodel = timm.create_model("local-dir:FOLDER", pretrained=True).eval()\n'
            f"```\n\nWithout {code(HUB)} the same is"
            f" {code(_created(found))} and {code('load_state_dict')}."
        )
    elif found.blueprint.form == WHOLE:
        name = found.blueprint.name.partition("/")[2]
        parts.append(
            f"{code(WEIGHTS)} is the state dict of"
            f" {code(f'torchvision.models.{name}(num_classes={len(found.classes)})')}."
        )
    else:
        parts.append(
            f"{code(WEIGHTS)} is the state dict of a module of rmtgen, the backbone under"
            f" {code('backbone')} and the linear layer under {code('head')}: {reason}."
        )
    if ONNX in found.files:
        parts.append(
            f"{code(ONNX)} is the network alone, from {code(INPUT)}, float32 (b,"
            f" {', '.join(map(str, found.recipe['input_size']))}) after the preprocessing, to"
            " scores (b, c)."
        )
    return "\n\n".join(parts)


def _created(found: Description) -> str:
    size = found.origin.get("model_args", {})
    more = "".join(f", {name}={value}" for name, value in size.items())
    return f"timm.create_model({found.blueprint.name!r}, num_classes={len(found.classes)}{more})"


def _preprocessing(recipe: Mapping[str, Any]) -> str:
    """The settings of the transform; the picture is made upright and RGB first."""
    lines = [f"- **{name}:** {code(json.dumps(value))}" for name, value in recipe.items()]
    made = f"The transform is that of {code(recipe[MAKER])}, of a picture that is upright RGB:"
    return "\n".join([made, "", *lines])


def _classes(classes: Sequence[str]) -> str:
    shown = ", ".join(map(code, classes[:MOST_CLASSES]))
    more = len(classes) - MOST_CLASSES
    return f"{shown}, and {more:,} more in {code('rmtgen.json')}" if more > 0 else shown


def _percent(value: float, low: float, high: float) -> str:
    if not math.isfinite(value):
        return "–"
    ends = f" [{100 * low:.1f}, {100 * high:.1f}]" if math.isfinite(low) else ""
    return f"{100 * value:.1f} %{ends}"


def _count(value: object) -> str:
    return f"{value:,}" if type(value) is int else "not known"
