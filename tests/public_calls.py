"""A valid call of every public function, by the name under which it is known."""

from dataclasses import dataclass, fields, is_dataclass

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import nn

import rmtgen
from rmtgen.kernels.entk.plan import Plan
from rmtgen.ridge import resolve_ridges

N, M, P, C = 40, 6, 9, 2


@dataclass(frozen=True)
class Call:
    function: object
    arguments: dict

    def __call__(self, **changed):
        return self.function(**(self.arguments | changed))


def pictures_in(folder):
    """train/ and test/ with two classes of three pictures."""
    for number, name in enumerate(("ash", "birch")):
        for split in ("train", "test"):
            (folder / split / name).mkdir(parents=True)
            for shade in range(3):
                colour = (40 * shade, 90 * number, 200 if split == "test" else 100)
                Image.new("RGB", (8, 8), colour).save(folder / split / name / f"{shade}.png")
    return folder


def calls(folder):
    """Every call; `folder` is an empty one for stores and pictures."""
    rng = np.random.default_rng(3)
    features, tests = (
        rng.standard_normal((count, P)) * np.arange(1, P + 1) ** -0.5 for count in (N, M)
    )
    wide = np.concatenate([features, 0.3 * rng.standard_normal((N, 2 * N))], axis=1)
    gram, targets, test_targets = wide @ wide.T, features[:, :C].copy(), tests[:, :C].copy()
    test_gram = np.pad(tests, ((0, 0), (0, 2 * N))) @ wide.T
    modes = rmtgen.gram_modes(gram)
    influence = rmtgen.pool_influence(modes, targets)
    words = rmtgen.encode_targets((targets[:, 0] > 0).astype(int), C, "centered").values
    labelled = rmtgen.pool_influence(modes, words)
    path = {"targets": targets, "ridges": [0.01, 1.0], "sizes": [20, N]}
    spectrum = {"eigenvalues": np.arange(1.0, 30) ** -1.5}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.Tanh(), nn.Linear(7, 1)).eval()
        images = torch.randn(5, 3, 2, 2)
    backbone = rmtgen.load_backbone("test_resnet", init="random", img_size=32)
    pictures = [
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)) for _ in range(3)
    ]
    kernels = {"first": features @ features.T, "second": gram}
    return {
        "combine_kernels": Call(
            rmtgen.combine_kernels, {"kernels": kernels, "weights": np.array([0.5, 2.0])}
        ),
        "descent_path": Call(
            rmtgen.descent_path,
            {"gram": gram, "targets": targets, "times": [1, 30], "intercept": True}
            | {"test_gram": test_gram, "test_targets": test_targets},
        ),
        "calibrate_norms": Call(rmtgen.calibrate_norms, {"backbone": backbone, "images": pictures}),
        "calibration": Call(rmtgen.calibration, {"influence": labelled, "sizes": [20, N]}),
        "class_errors": Call(rmtgen.class_errors, {"influence": labelled, "n": 20, "ridge": 0.1}),
        "effective_ridge": Call(rmtgen.effective_ridge, spectrum | {"ridge": 0.1, "n": 10}),
        "encode_targets": Call(
            rmtgen.encode_targets,
            {"labels": np.array([0, 2, 1, 1]), "classes": 3, "coding": "centered"},
        ),
        "ensemble_path": Call(
            rmtgen.ensemble_path,
            {"gram": gram, "targets": targets, "ridges": [0.0, 0.1], "subsample": 20, "members": 3}
            | {"test_gram": test_gram, "test_targets": test_targets},
        ),
        "entk_features": Call(
            rmtgen.entk_features, {"model": model, "images": images, "dim": 16, "seed": 1}
        ),
        "entk_gram": Call(rmtgen.entk_gram, {"model": model, "rows": images, "by": "layer"}),
        "entk_plan": Call(
            rmtgen.entk_plan, {"model": model, "image_shape": (3, 2, 2), "rows": 5, "columns": 2}
        ),
        "extract_features": Call(
            rmtgen.extract_features, {"backbone": backbone, "images": pictures, "batch_size": 2}
        ),
        "feature_modes": Call(
            rmtgen.feature_modes, {"features": features.astype(np.float32), "intercept": True}
        ),
        "forecast": Call(rmtgen.forecast, {"influence": influence, "sizes": [20, 400]}),
        "gcv_loss": Call(rmtgen.gcv_loss, {"gram": gram, "targets": targets, "ridge": 0.1}),
        "gram_modes": Call(rmtgen.gram_modes, {"gram": gram, "intercept": True}),
        "labels_needed": Call(rmtgen.labels_needed, {"influence": influence, "risks": [0.5]}),
        "learn_weights": Call(
            rmtgen.learn_weights, {"kernels": kernels, "targets": targets, "folds": 2}
        ),
        "load_backbone": Call(
            rmtgen.load_backbone,
            {"name": "test_resnet", "init": "random", "img_size": 32, "head": "random"},
        ),
        "load_dataset": Call(
            rmtgen.load_dataset,
            {"name": f"folder:{pictures_in(folder / 'pictures')}", "size": 4, "seed": 1},
        ),
        "GramLayout": Call(rmtgen.GramLayout, {"n_train": 3, "n_test": 2, "tile": 2}),
        "GramStore.create": Call(
            rmtgen.GramStore.create, {"folder": folder / "new", "layout": rmtgen.GramLayout(3, 2)}
        ),
        "GramStore.open": Call(rmtgen.GramStore.open, {"path": folder}),
        "loo_loss": Call(rmtgen.loo_loss, {"gram": gram, "targets": targets, "ridge": 0.1}),
        "omniscient_risk": Call(
            rmtgen.omniscient_risk,
            spectrum | {"target_power": np.ones(29), "ridge": [0.0, 0.1], "n": 10, "noise": 0.1},
        ),
        "per_target_path": Call(
            rmtgen.per_target_path, {"modes": modes, "targets": targets, "ridges": [0.01, 1.0]}
        ),
        "pool_influence": Call(rmtgen.pool_influence, {"modes": modes, "targets": targets}),
        "predicted_error": Call(
            rmtgen.predicted_error, {"influence": labelled, "sizes": [20, 400], "ridges": [0.1]}
        ),
        "at_layer": Call(rmtgen.at_layer, {"backbone": backbone, "layer": "layer2"}),
        "compare_features": Call(
            rmtgen.compare_features,
            {
                "representations": {"some": features[:, :4], "others": features[:, 4:]},
                "labels": (targets[:, 0] > 0).astype(int),
                "relative_ridges": [0.01, 1.0],
            },
        ),
        "rank": Call(
            rmtgen.rank,
            {
                "representations": {"all": features, "some": features[:, :4]},
                "labels": (targets[:, 0] > 0).astype(int),
                "relative_ridges": [0.01, 1.0],
            },
        ),
        "rank_outputs": Call(
            rmtgen.rank_outputs,
            {
                "representations": {"all": features, "some": features[:, :4]},
                "labels": targets,
                "relative_ridges": [0.01, 1.0],
            },
        ),
        "resolve_ridges": Call(resolve_ridges, {"relative": [0.1, 1.0], "trace": 4.0, "n": 10}),
        "ridge_path": Call(
            rmtgen.ridge_path,
            path
            | {
                "gram": gram.astype(np.float32).astype(np.float64),
                "test_gram": test_gram,
                "test_targets": test_targets,
            },
        ),
        "ridge_path_features": Call(
            rmtgen.ridge_path_features,
            path
            | {"features": features.astype(np.float32), "test_features": tests}
            | {"test_targets": test_targets, "intercept": True},
        ),
        "ridge_path_stored": Call(
            rmtgen.ridge_path_stored,
            path
            | {"store": stored(folder, np.concatenate([gram, test_gram]))}
            | {"test_targets": test_targets, "solver": "matrix_free", "memory": "64MiB"},
        ),
        "study": Call(rmtgen.study, {"gram": gram, "targets": targets, "sizes": [10, N]}),
        "transport": Call(
            rmtgen.transport,
            {"gram": gram, "targets": targets, "sizes": [10, N], "ridges": [0.0, 0.1]},
        ),
        "trust_report": Call(
            rmtgen.trust_report,
            {"gram": gram, "targets": targets, "ridge": 0.1}
            | {"test_gram": test_gram, "test_targets": test_targets},
        ),
    }


def stored(folder, gram):
    store = rmtgen.GramStore.create(folder, rmtgen.GramLayout(N, M, tile=16))
    for tile in store.tiles():
        store.write(tile, gram[tile.rows, tile.columns])
    return store


def bits(value):
    """What a result is, to the last bit; objects by their fields."""
    for kinds, parts in PARTS:
        if isinstance(value, kinds):
            return parts(value)
    return [bits(entry) for entry in _fields(value)] if hasattr(value, "__dict__") else str(value)


def _fields(value):
    if is_dataclass(value):
        return [getattr(value, field.name) for field in fields(value)]
    return [] if callable(value) else vars(value).values()


def _of_a_plan(plan):
    """What it counts; the seconds that it measures differ every time."""
    return [bits(value) for name, value in vars(plan).items() if name not in {"seconds", "load"}]


def _of_an_array(value):
    """Type, shape and bytes; those of objects are their addresses, so each is read by itself."""
    content = [bits(entry) for entry in value.flat] if value.dtype == object else value.tobytes()
    return str(value.dtype), value.shape, content


PARTS = (
    (Plan, _of_a_plan),
    (torch.Tensor, lambda value: bits(value.detach().numpy())),
    (np.ndarray, _of_an_array),
    (pd.DataFrame, lambda value: bits([{name: value[name].to_numpy() for name in value}])),
    (nn.Module, lambda value: bits(value.state_dict())),
    (dict, lambda value: {name: bits(entry) for name, entry in value.items()}),
    ((list, tuple), lambda value: [bits(entry) for entry in value]),
    (float, float.hex),
)
"""How the bits of each kind of result are read."""
