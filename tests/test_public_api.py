"""Every public function answers a bad argument by an error of this package, or rightly."""

import inspect
from dataclasses import dataclass

import numpy as np
import pandas as pd
import public_calls
import pytest
import scipy.sparse
import torch

import rmtgen
from rmtgen.errors import RmtgenError

CLASSES = {"Backbone", "GramLayout", "GramStore", "LabelledImages", "Labelling"} | {
    "KernelRidgeGCV",
    "KernelRidgeGCVClassifier",
}
"""Public names that are no functions."""
RUNS = {"load_run", "export_probe", "load_probe"}
"""Functions of finished runs, and of what is exported from them."""
MODELS = {"model", "images", "rows", "columns", "image_shape", "backbone", "progress", "by"}
"""Arguments of the entrances of networks, whose tests have tables of their own."""
INNER = {"recorded"}
"""Arguments that only other rooms pass."""

ANY = {
    "None": None,
    "text": "many",
    "an object": object(),
    "a dictionary": {"a": 1},
    "a set": {1.0},
    "a function": len,
    "NaN": np.nan,
    "infinity": np.inf,
    "negative": -1,
    "huge": 10**400,
    "empty": [],
    "ragged": [[1.0], [1.0, 2.0]],
    "four axes": np.ones((2, 2, 2, 2)),
    "no axis": np.float64(0.5),
    "complex": np.array([[1j, 0], [0, 1]]),
    "texts": np.array(["1", "2"]),
    "objects": np.array([None, {}], dtype=object),
    "dates": np.array(["2020-01-01"], dtype="datetime64[D]"),
    "bool": True,
    "meta": torch.ones(40, 40, device="meta"),
    "sparse": scipy.sparse.eye(40, format="csr"),
    "sparse tensor": torch.eye(40).to_sparse(),
    "NaN inside": np.full((40, 40), np.nan),
    "masked": np.ma.masked_invalid(np.full((40, 40), np.nan)),
    "a frame of texts": pd.DataFrame({"a": ["x", "y"]}),
    "bytes": b"1",
}


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    return public_calls.calls(tmp_path_factory.mktemp("store"))


def test_every_public_function_is_in_the_table(calls):
    public = set(rmtgen.__all__) - CLASSES - RUNS
    assert public <= set(calls)
    undressed = [
        name for name in public if not hasattr(inspect.getattr_static(rmtgen, name), "__wrapped__")
    ]
    assert undressed == []


@dataclass(frozen=True)
class Raw:
    function: str
    argument: str
    value: str
    error: str


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ANY)
def test_bad_arguments(calls, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a text is the name of a store
    raw = []
    with pytest.raises(RmtgenError):
        rmtgen.load_run(ANY[kind])
    for name, call in calls.items():
        for argument in inspect.signature(call.function).parameters:
            if argument in MODELS | INNER:
                continue
            try:
                call(**{argument: ANY[kind]})
            except RmtgenError as error:
                if len(str(error)) < 20:
                    raw.append(Raw(name, argument, kind, f"says too little: {error}"))
            except Exception as error:
                raw.append(Raw(name, argument, kind, f"{type(error).__name__}: {error}"[:150]))
    assert raw == []
