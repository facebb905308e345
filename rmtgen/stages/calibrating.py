"""The BatchNorm statistics of a run with `init=calibrated`: those of its first training images."""

import torch

from rmtgen.datasets import LabelledImages
from rmtgen.models.backbones import Backbone
from rmtgen.models.calibration import bytes_of_image, calibrate_norms, fit_norms, in_float64
from rmtgen.models.facts import counted
from rmtgen.rates import Rates
from rmtgen.runs.config import Config
from rmtgen.stages.cost import PROBE_IMAGES, StageCost, Workload

IMAGES = 256
"""Training images whose statistics are taken, the first of the pool; all where it has fewer."""


def calibrated(config: Config, backbone: Backbone, train: LabelledImages) -> Backbone:
    """The backbone as the run takes it: with its own statistics, or with those of images.

    Every process of a run computes them itself, from the same images.

    Args:
        config: The run.
        backbone: As `open_backbone` returns it.
        train: The training images of the run, in order.

    Raises:
        UsageError, NumericalError, CapacityError: As `rmtgen.calibrate_norms`.
    """
    if config.init != "calibrated":
        return backbone
    return calibrate_norms(backbone, train.subset(slice(IMAGES)))


def cost(workload: Workload) -> StageCost:
    """What every process of a stage that opens the backbone does first: a pass in float64.

    Raises:
        UsageError: As `rmtgen.calibrate_norms`.
    """
    config, backbone = workload.config, workload.backbone
    if config.init != "calibrated":
        return StageCost(0.0, 0, 0, 0.0)
    count = min(IMAGES, config.train)
    network = in_float64(backbone.model)
    pixels = torch.zeros(min(PROBE_IMAGES, count), *backbone.input_size, dtype=torch.float64)
    with counted(network) as counter:
        held = count * bytes_of_image(network, pixels[:1])
    rates = Rates(torch.device("cpu"))
    passing = rates.seconds(lambda: fit_norms(network, pixels, backbone.name)) / len(pixels)
    seconds = count * (passing + workload.transform_seconds)
    weights = sum(tensor.nbytes for tensor in network.state_dict().values())
    return StageCost(count * counter.get_total_flops(), held + weights, 0, seconds)
