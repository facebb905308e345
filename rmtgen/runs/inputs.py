"""The local files that a run's features are made from, as they would be found now. Imports no
torch: the cached path asks.
"""

from pathlib import Path

from rmtgen.datasets import dataset_files
from rmtgen.models.weights import local_weights
from rmtgen.runs.config import Config


def sources(config: Config) -> dict[str, Path]:
    """The weights file and the data set's files or folders, by role; only those that exist.

    A role says what a file is for, not where it lies, so that a moved data set or another virtual
    environment is no other source.
    """
    found = {
        f"dataset {path.name}": path for path in dataset_files(config.dataset, config.data_root)
    }
    if config.init == "pretrained":
        weights = local_weights(config.model, config.weights, config.checkpoints)
        found |= {"weights": weights} if weights else {}
    return {role: path for role, path in found.items() if path.exists()}
