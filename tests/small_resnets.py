"""The residual networks for 32 px of He et al. (2016), section 4.2, and the rank of a kernel."""

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    """Two convolutions and a shortcut without parameters: strided, padded by zero channels."""

    def __init__(self, inside, outside, stride):
        super().__init__()
        self.stride, self.grown = stride, outside - inside
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)

    def forward(self, x):
        branch = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        before = self.grown // 2
        shortcut = functional.pad(shortcut, (0, 0, 0, 0, before, self.grown - before))
        return functional.relu(branch + shortcut)


class SmallResNet(nn.Sequential):
    """ResNet of depth 6n + 2 with 16, 32 and 64 channels, Kaiming initialisation, one output."""

    def __init__(self, depth):
        stem = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
        blocks, inside = [], 16
        for outside in (16, 32, 64):
            for number in range((depth - 2) // 6):
                blocks.append(Block(inside, outside, 2 if outside > 16 and not number else 1))
                inside = outside
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 1)]
        super().__init__(*stem, *blocks, *head)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)


def effective_rank(kernel):
    """(tr K)² / ‖K‖_F²."""
    kernel = torch.as_tensor(kernel).double()
    return float(kernel.trace() ** 2 / kernel.norm() ** 2)
