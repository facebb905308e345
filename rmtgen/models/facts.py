"""What a backbone costs, whatever the images: parameters, operations, and the licence it states."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rmtgen.models.backbones import Backbone
from rmtgen.models.libraries import library_of


@contextlib.contextmanager
def counted(model: nn.Module) -> Iterator[FlopCounterMode]:
    """A counter of the floating-point operations of passes of a network without gradients.

    The counter hooks on the gradients of what modules take, also of parameters, such as the queries
    of an attention pool. These are frozen meanwhile, because without a graph there are none.
    """
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in learned:
            parameter.requires_grad_(False)
        with FlopCounterMode(display=False) as counter:
            yield counter
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)


@torch.inference_mode()
def backbone_facts(backbone: Backbone) -> dict[str, int | str | None]:
    """Facts of a backbone without its classifier.

    Returns:
        `parameters`, their number; `flops`, floating-point operations of a forward pass of one
        image, products and sums each, as torch counts them; `licence` of the pretrained weights as
        the library states it, None for others and where it states none.
    """
    parameter = next(backbone.model.parameters(), torch.zeros(()))
    image = torch.zeros(1, *backbone.input_size, device=parameter.device)
    with counted(backbone.model) as counter:
        backbone.model(image)
    pretrained = backbone.init == "pretrained"
    return {
        "parameters": sum(tensor.numel() for tensor in backbone.model.parameters()),
        "flops": int(counter.get_total_flops()),
        "licence": library_of(backbone.name).licence(backbone.name) if pretrained else None,
    }
