"""The local files that the features of a run are made from.

The module imports no torch, because a cached run asks for them too.
"""

from pathlib import Path

from rmtgen.datasets import dataset_files
from rmtgen.models.weights import local_weights
from rmtgen.runs.config import Config


def local_inputs(config: Config) -> dict[str, Path]:
    """The weights file and the files or folders of the data set, by role; those that exist.

    A role says what a file is for, not where it lies: a moved data set, or another virtual
    environment, is no other input.
    """
    found = {
        f"dataset {path.name}": path for path in dataset_files(config.dataset, config.data_root)
    }
    if config.init == "pretrained":
        weights = local_weights(config.model, config.weights, config.checkpoints)
        found |= {"weights": weights} if weights else {}
    return {role: path for role, path in found.items() if path.exists()}
