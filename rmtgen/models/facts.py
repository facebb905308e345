"""What a backbone costs, whatever the images: parameters, operations, and the licence it states."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from rmtgen.models.backbones import Backbone
from rmtgen.models.libraries import library_of


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
    with FlopCounterMode(display=False) as counter:
        backbone.model(image)
    pretrained = backbone.init == "pretrained"
    return {
        "parameters": sum(tensor.numel() for tensor in backbone.model.parameters()),
        "flops": int(counter.get_total_flops()),
        "licence": library_of(backbone.name).licence(backbone.name) if pretrained else None,
    }
