"""The network of an export as ONNX, held against torch before it counts as written."""

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rmtgen.errors import MissingInputError, NumericalError, UsageError
from rmtgen.models.headed import TOLERANCE, random_images, traceable
from rmtgen.store import durable

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""What the extra `onnx` installs."""
INPUT, OUTPUT = "images", "scores"
"""Names of the input and the output."""
CHECKED = (1, 3)
"""Numbers of images in the batches on which both are compared."""
LARGEST = 2**31 - 2**20
"""Bytes of a network that one file of ONNX can hold."""


def require_packages() -> None:
    """Check that what writes and runs ONNX is installed.

    Raises:
        MissingInputError: A package is missing.
    """
    missing = [name for name in PACKAGES if not _is_installed(name)]
    if missing:
        raise MissingInputError(
            f"ONNX needs {', '.join(PACKAGES)}: got no {' and no '.join(missing)}. Install them:"
            " `pip install 'rmtgen[onnx]'`, or leave --onnx out."
        )


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # it is loaded without a place of its own
        return False


def write_onnx(path: Path, model: nn.Module, size: tuple[int, int, int]) -> bytes:
    """Write a network of images (b, 3, h, w), b free, to one file.

    Args:
        path: The file.
        model: The network in eval mode, on the CPU.
        size: (channels, height, width).

    Returns:
        The content of the file.

    Raises:
        UsageError: The network is too large, or torch cannot take it apart.
        NumericalError: The file computes other scores than torch.
        StorageError: The disk refuses.
    """
    data = _converted(model, size)
    _check(data, model, size)
    durable.write_bytes(path, data)
    return data


def _converted(model: nn.Module, size: tuple[int, int, int]) -> bytes:
    weight = sum(tensor.nbytes for tensor in model.state_dict().values())
    if weight > LARGEST:
        raise UsageError(
            f"a file of ONNX holds at most {LARGEST:,} bytes: the network has {weight:,}. Leave"
            " --onnx out."
        )
    images, free = random_images(2, size), {0: torch.export.Dim.DYNAMIC}
    try:
        with _quiet(), torch.inference_mode():
            program: Any = torch.onnx.export(
                traceable(model),
                (images,),
                dynamo=True,
                verbose=False,
                dynamic_shapes=(free,),
                input_names=[INPUT],
                output_names=[OUTPUT],
            )
            return program.model_proto.SerializeToString()
    except Exception as failure:  # the exporter has no error class of its own
        why = (str(failure).strip() or type(failure).__name__).splitlines()[0][:200]
        raise UsageError(
            f"torch cannot write this network as ONNX: {why}. Leave --onnx out."
        ) from failure


def _check(data: bytes, model: nn.Module, size: tuple[int, int, int]) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    for count in CHECKED:
        images = random_images(count, size)
        (found,) = session.run([OUTPUT], {INPUT: images.numpy()})
        with torch.inference_mode():
            expected = model(images)
        scores = torch.from_numpy(found)
        off = (scores - expected).abs().max() if scores.shape == expected.shape else torch.inf
        if not off <= TOLERANCE * expected.abs().max():
            raise NumericalError(
                f"ONNX must give the scores of torch: got {off:.3g} of difference for {count}"
                f" random images, whose largest score is {expected.abs().max():.3g}. Leave --onnx"
                " out."
            )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter prints and logs about its steps."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
