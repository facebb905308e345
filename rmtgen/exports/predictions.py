"""Class and score of every image, batch by batch; an image that cannot be read says why."""

import csv
import io
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rmtgen.device import default_device, fp32_precision
from rmtgen.errors import RmtgenError
from rmtgen.exports.pictures import Pictures
from rmtgen.exports.probe import ExportedProbe
from rmtgen.models.features import place
from rmtgen.scalars import whole_number

COLUMNS = ("path", "class", "score", "problem")
"""Columns of the CSV, before the score of each class."""
SCORE_OF = "score of "
"""What the heading of such a column begins with."""
MOST_WORKERS = 8
"""Largest number of processes that decode images for a GPU."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the probe says of one image.

    Attributes:
        path: Its path; of a member of an archive after a colon.
        label: The class of the largest score; None for an image that could not be read.
        scores: One number per class, float32; none for such an image.
        problem: Why it could not be read, else empty.
    """

    path: str
    label: str | None
    scores: np.ndarray
    problem: str = ""

    @property
    def score(self) -> float:
        """The largest score; NaN for an image that could not be read."""
        return float(self.scores.max()) if len(self.scores) else math.nan


def predictions(
    probe: ExportedProbe,
    images: Pictures,
    *,
    batch_size: int = 64,
    device: str | torch.device | None = None,
) -> Iterator[list[Prediction]]:
    """The predictions of images, in their order, a batch at a time.

    Args:
        probe: From `load_probe`. Its model is moved to `device` and remains there.
        images: From `gather`.
        batch_size: Images per forward pass.
        device: Device of the computation; None: the GPU if there is one.

    Raises:
        UsageError: The batch size is below 1, or the device does not exist.
    """
    batch_size = whole_number(batch_size, "batch_size", least=1)
    device = default_device(device)
    model = place(probe.model, device)
    on_gpu = device.type == "cuda"
    loader = DataLoader(
        _Batches(images, probe, batch_size),
        batch_size=None,
        shuffle=False,
        num_workers=min(MOST_WORKERS, os.cpu_count() or 1) if on_gpu else 0,
        pin_memory=on_gpu,
        generator=torch.Generator(),  # else the loader draws a seed from the global generator
    )

    def batches() -> Iterator[list[Prediction]]:
        for start, kept, problems in loader:
            scores = iter(())
            if kept is not None:
                with torch.inference_mode(), fp32_precision(probe.precision):
                    pixels = kept.to(device).contiguous(memory_format=torch.channels_last)
                    scores = iter(model(pixels).float().cpu().numpy())
            yield [
                _failed(images.locate(start + offset), problem)
                if problem
                else _predicted(images.locate(start + offset), next(scores), probe.classes)
                for offset, problem in enumerate(problems)
            ]

    return batches()


class _Batches(Dataset):
    """Batches of transformed images, and why others could not be read."""

    def __init__(self, images: Pictures, probe: ExportedProbe, batch_size: int):
        self.images, self.transform, self.batch_size = images, probe.transform, batch_size

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __getitem__(self, batch: int) -> tuple[int, Tensor | None, list[str]]:
        """The number of the first image, those that could be read, and a reason or "" for each."""
        if not 0 <= batch < len(self):
            raise IndexError(batch)
        start, kept, problems = batch * self.batch_size, [], []
        for position in range(start, min(start + self.batch_size, len(self.images))):
            try:
                kept.append(self.transform(self.images[position]))
                problems.append("")
            except RmtgenError as error:
                problems.append(str(error))
        return start, torch.stack(kept) if kept else None, problems


def _failed(path: str, problem: str) -> Prediction:
    return Prediction(path, None, np.empty(0, np.float32), problem)


def _predicted(path: str, scores: np.ndarray, classes: Sequence[str]) -> Prediction:
    if not np.isfinite(scores).all():
        return _failed(path, f"{path} gives scores that are NaN or infinite.")
    return Prediction(path, classes[int(scores.argmax())], scores)


def heading(classes: Sequence[str], *, scores: bool) -> str:
    """The first line of the CSV."""
    return _line([*COLUMNS, *([f"{SCORE_OF}{name}" for name in classes] if scores else [])])


def as_csv(rows: Iterable[Prediction], *, classes: int | None) -> str:
    """Lines of the CSV.

    Args:
        rows: Predictions.
        classes: Number of classes where the score of each is wanted, else None.
    """
    return "".join(_line(_cells(row, classes)) for row in rows)


def _cells(row: Prediction, classes: int | None) -> list[str]:
    numbers = [_number(score) for score in row.scores] or [""] * (classes or 0)
    best = _number(row.scores.max()) if len(row.scores) else ""
    return [row.path, row.label or "", best, row.problem, *(numbers if classes else [])]


def _number(score: np.float32) -> str:
    """The shortest text that is read as this number."""
    return str(score)


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
