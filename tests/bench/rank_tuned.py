"""Fine-tuning of the networks of the benchmark of rankings: a few epochs, one setting for all.

AdamW with a cosine schedule, random flips, no choice of the step size by validation: it says what a
short plain run gives, not the best that a network can do.
"""

import numpy as np
import torch
from torch import Tensor, nn

from rmtgen.models.backbones import Backbone
from rmtgen.models.features import TransformedImages
from tests.bench.rank_scores import Found
from tests.bench.rank_tasks import Source, Task

EPOCHS, BATCH, RATE, DECAY = 12, 50, 1e-3, 0.05


def tuned(backbone: Backbone, source: Source, task: Task) -> Found:
    """Test accuracy of a network that is trained on a task as a whole."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(backbone.model, nn.Linear(backbone.feature_dim, task.classes))
        model = model.to(memory_format=torch.channels_last)
        images, labels = pictures(backbone, source, task, "train")
        _train(model.train(), images, labels)
    images, labels = pictures(backbone, source, task, "test")
    with torch.inference_mode():
        shown = torch.cat([model.eval()(some) for some in images.split(500)])
    return {"accuracy": (shown.argmax(dim=1) == labels).double().mean().item()}


def pictures(backbone: Backbone, source: Source, task: Task, part: str) -> tuple[Tensor, Tensor]:
    """Images (n, 3, h, w) and labels (n,) of a part."""
    images = Joined(source.pictures)
    transformed = TransformedImages(images, backbone)
    stacked = torch.stack([transformed[int(place)] for place in task.rows[part]])
    return stacked.to(memory_format=torch.channels_last), torch.from_numpy(task.labels[part])


class Joined:
    """Sequences one after the other."""

    def __init__(self, sequences):
        self.sequences = sequences
        self.ends = np.cumsum([len(one) for one in sequences])

    def __len__(self):
        return int(self.ends[-1])

    def __getitem__(self, position):
        which = int(np.searchsorted(self.ends, position, side="right"))
        return self.sequences[which][position - (self.ends[which - 1] if which else 0)]


def _train(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    steps = EPOCHS * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(EPOCHS):
        for some in torch.randperm(len(images)).split(BATCH):
            if len(some) < BATCH:  # of which batch norm may know too little
                continue
            flipped = images[some].flip(3)
            turned = torch.rand(len(some), 1, 1, 1) < 0.5
            outputs = model(torch.where(turned, flipped, images[some]))
            optimiser.zero_grad()
            nn.functional.cross_entropy(outputs, labels[some]).backward()
            optimiser.step()
            schedule.step()
