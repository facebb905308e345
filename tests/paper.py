"""The Gram matrix of the eNTK as the paper's public code computes it, written plainly.

Wei, Hu and Steinhardt (2022): torchvision's network under seed 438, one forward and one backward
pass per sample and chunk of parameters, the chunk of the Jacobian times its transpose. Nothing here
uses rmtgen.
"""

import torch
import torchvision
from torch import nn
from torch.nn import functional
from torchvision import transforms

SEED = 438
IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
COLUMNS = 20_000
"""Parameters in one product, which is summed in float64."""


def network(name, state=None):
    """A network of torchvision with one output, random or with a state dict, in eval mode."""
    torch.manual_seed(SEED)
    model = getattr(torchvision.models, name)()
    if state is not None:
        model.load_state_dict(state)
    if name.startswith("efficientnet"):
        model.classifier[1] = nn.Linear(model.classifier[1].in_features, 1)
    else:
        model.fc = nn.Linear(model.fc.in_features, 1)
    return model.eval()


def transform(data_set, side=224):
    """The transform of a data set; the sizes for 224 pixels are scaled to `side`."""
    mean, std = {
        "svhn": ([0.4380, 0.4440, 0.4730], [0.1751, 0.1771, 0.1744]),
        "fashionmnist": ([0.2860], [0.3530]),
    }.get(data_set, IMAGENET)
    framing = {
        "fashionmnist": [transforms.Grayscale(3), transforms.Resize(side)],
        "fgvcaircraft": [transforms.Resize((side, side))],
        "food101": [transforms.Resize(side * 240 // 224), transforms.CenterCrop(side)],
        "flowers102": [transforms.Resize(side * 240 // 224), transforms.CenterCrop(side)],
    }.get(data_set, [transforms.Resize(side)])
    return transforms.Compose(
        [*framing, transforms.ToTensor(), transforms.Normalize(mean, std)],
    )


def gram(model, images, columns, chunk=1_900_000):
    """Inner products of the gradients of all images with those of the first `columns`, float64.

    Args:
        model: Network with one output; its parameters' `requires_grad` and gradients change.
        images: (n, 3, h, w) of the type of the parameters.
        columns: Number of images that are columns.
        chunk: Parameters of a chunk of the Jacobian, in the order of `model.parameters()`.
    """
    total = torch.zeros(len(images), columns, dtype=torch.float64)
    for jacobian in jacobians(model, images, chunk):
        for part in jacobian.split(COLUMNS, dim=1):
            part = part.double()
            total += part @ part[:columns].T
    return total


def jacobians(model, images, chunk):
    """The Jacobian, chunk by chunk of its columns; each is valid until the next."""
    parameters = list(model.parameters())
    stops = torch.tensor([parameter.numel() for parameter in parameters]).cumsum(0).tolist()
    starts = [0, *stops[:-1]]
    values = torch.empty(len(images), min(chunk, stops[-1]), dtype=images.dtype)
    for first in range(0, stops[-1], chunk):
        last = min(first + chunk, stops[-1])
        for parameter, start, stop in zip(parameters, starts, stops, strict=True):
            parameter.requires_grad_(start < last and stop > first)
        for row, image in zip(values, images, strict=True):
            model.zero_grad(set_to_none=True)
            model(image[None])[0].backward()
            for parameter, start, stop in zip(parameters, starts, stops, strict=True):
                if parameter.requires_grad:
                    low, high = max(start, first), min(stop, last)
                    flat = parameter.grad.flatten()
                    row[low - first : high - first] = flat[low - start : high - start]
        yield values[:, : last - first]


def decisions(model, images):
    """Which units of every ReLU are on, and which entry every maximum takes: integers (n, …)."""
    found = []

    def note(module, inputs, output):
        if isinstance(module, nn.MaxPool2d):
            output = functional.max_pool2d(
                inputs[0], module.kernel_size, module.stride, module.padding, return_indices=True
            )[1]
        else:
            output = (output > 0).int()
        found.append(output.flatten(1))

    watched = [module for module in model.modules() if isinstance(module, nn.ReLU | nn.MaxPool2d)]
    hooks = [module.register_forward_hook(note) for module in watched]
    rows = []
    for image in images:
        found.clear()
        with torch.no_grad():
            model(image[None])
        rows.append(torch.cat(found, dim=1))
    for hook in hooks:
        hook.remove()
    return torch.cat(rows)


def disturbed(kernel, exact):
    """Samples whose entries differ from those of the exact kernel by more than sums do: (n,).

    A unit of ReLU within rounding of zero can be on in one and off in the other, and the gradient
    jumps there. A sample that is a column too is computed twice.
    """
    errors = (kernel.double() - exact).abs() / exact.abs()
    found = errors.median(dim=1).values > 2e-6
    found[: errors.shape[1]] |= errors.median(dim=0).values > 2e-6
    return found
