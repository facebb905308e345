"""Public implementations of the eNTK as functions (model, images) -> (N, N).

Two are written here from their published form, three are installed. A peer that cannot run a model
raises; the benchmark prints the reason.
"""

import torch

CHUNK = 2_000_000
"""Parameters per chunk of the Jacobian.

ResNet-50 takes 13 passes, as in the public code of Wei, Hu and Steinhardt.
"""

BATCH = 32


def per_sample_backward(model, images):
    """One forward and backward pass per sample, repeated for every chunk of parameters."""
    parameters, chunks, size = list(model.parameters()), [[]], 0
    for parameter in parameters:
        if size and size + parameter.numel() > CHUNK:
            chunks.append([])
            size = 0
        chunks[-1].append(parameter)
        size += parameter.numel()
    kernel = images.new_zeros(len(images), len(images))
    for chunk in chunks:
        rows = []
        for image in images:
            gradients = torch.autograd.grad(model(image[None])[0, 0], chunk)
            rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
        jacobian = torch.stack(rows)
        kernel += jacobian @ jacobian.T
    return kernel


def torch_func(model, images):
    """vmap(grad) of the functional model, the per-sample gradients of each parameter multiplied."""
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def output(parameters, image):
        return torch.func.functional_call(model, (parameters, buffers), (image[None],))[0, 0]

    rows = torch.func.vmap(torch.func.grad(output), in_dims=(None, 0), chunk_size=BATCH)(
        parameters, images
    )
    return sum(row.flatten(1) @ row.flatten(1).T for row in rows.values())


def nngeometry(model, images):
    """`GramMatrix` in its dense representation."""
    from nngeometry import GramMatrix

    data = torch.utils.data.TensorDataset(images.clone(), torch.zeros(len(images)))
    loader = torch.utils.data.DataLoader(data, batch_size=BATCH)
    gram = GramMatrix(model=model, loader=loader, function=lambda x, _: model(x))
    return gram.to_torch().reshape(len(images), len(images))


def opacus(model, images):
    """`GradSampleModule`: the per-sample gradients of every parameter, multiplied."""
    from opacus import GradSampleModule

    wrapped = GradSampleModule(model, strict=False)
    try:
        rows = {name: [] for name, _ in wrapped.named_parameters()}
        for batch in images.split(BATCH):
            wrapped.zero_grad()
            wrapped(batch).sum().backward()
            for name, parameter in wrapped.named_parameters():
                rows[name].append(parameter.grad_sample.flatten(1))
        found = sum(torch.cat(row) @ torch.cat(row).T for row in rows.values())
    finally:
        wrapped.to_standard_module()
        model.zero_grad()
    return found


def backpack(model, images):
    """`BatchGrad`: the per-sample gradients of every parameter, multiplied."""
    import backpack as package
    from backpack.extensions import BatchGrad

    extended = package.extend(model, use_converter=True)
    rows = {name: [] for name, _ in extended.named_parameters()}
    for batch in images.split(BATCH):
        extended.zero_grad()
        with package.backpack(BatchGrad()):
            extended(batch).sum().backward()
        for name, parameter in extended.named_parameters():
            rows[name].append(parameter.grad_batch.flatten(1))
            del parameter.grad_batch
    return sum(torch.cat(row) @ torch.cat(row).T for row in rows.values())


PEERS = (per_sample_backward, torch_func, nngeometry, opacus, backpack)
