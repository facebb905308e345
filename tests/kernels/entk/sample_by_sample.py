"""The kernel of each sample alone, and the smallest models that are held against it."""

import torch
from torch import nn

TOKENS, WIDTH = 4, 6


def alone(model, images, copies=1):
    """K = JJᵀ, each sample in a batch of its own, or of `copies` of it."""
    rows = []
    for image in images:
        out = model(torch.stack([image] * copies))[0].sum()
        found = torch.autograd.grad(out, list(model.parameters()), materialize_grads=True)
        rows.append(torch.cat([gradient.flatten() for gradient in found]))
    jacobian = torch.stack(rows).detach()
    return jacobian @ jacobian.T


def build(kind, *arguments):
    torch.manual_seed(0)
    return kind(*arguments).double().eval()


def draw(n=7, *shape, seed=1):
    shape = shape or (TOKENS, WIDTH)
    return torch.randn(
        n, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


class Base(nn.Module):
    """Two layers and a head; `mix` is what a model does between them."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = (
            nn.Linear(WIDTH, WIDTH),
            nn.Linear(WIDTH, WIDTH),
            nn.Linear(WIDTH, 1),
        )

    def forward(self, x):
        return self.head(self.mix(x).tanh().sum(1))


class Routed(Base):
    def mix(self, x):
        flat = x.reshape(-1, WIDTH)
        to_a = flat[:, 0] > 0
        out = torch.zeros_like(flat)
        out[to_a], out[~to_a] = self.a(flat[to_a]), self.b(flat[~to_a])
        return out.reshape(x.shape)
