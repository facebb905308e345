"""From a finished run's directory to the `RunResult` that the report draws."""

import io
from pathlib import Path

import h5py
import pandas as pd

from rmtgen.config import kernel_label
from rmtgen.durable import digest
from rmtgen.errors import CorruptInputError, MissingInputError
from rmtgen.manifest import Manifest
from rmtgen.report.results import RunResult
from rmtgen.theory.study import to_frame

STAGES = ("extract", "gram", "spectrum", "risk", "theory")
NEEDED = ("spectrum", "risk")


def load_result(folder: Path) -> RunResult:
    """Read one run: its risk table, its spectrum at the largest n, and what its manifests say.

    Raises:
        MissingInputError: there is no such run, or a stage of it is not done.
        CorruptInputError: a file is not what its stage wrote.
    """
    manifests = {stage: manifest for stage in STAGES if (manifest := Manifest.read(folder, stage))}
    missing = [stage for stage in NEEDED if stage not in manifests]
    if missing:
        raise MissingInputError(
            f"{folder} is not a finished run: stage {' and '.join(missing)} missing. Run `make all` with its settings."
        )
    risk = pd.read_csv(io.BytesIO(_verified(folder, manifests["risk"], "risk.csv")))
    curve = None
    if "curve.csv" in manifests["risk"].outputs:
        curve = pd.read_csv(io.BytesIO(_verified(folder, manifests["risk"], "curve.csv")))
    with h5py.File(io.BytesIO(_verified(folder, manifests["spectrum"], "spectrum.h5")), "r") as file:
        largest = max(file, key=lambda name: (int(file[name]["n"][()]), -int(name[-3:])))
        spectrum = {key: dataset[()] for key, dataset in file[largest].items()}
    theory = None
    if "theory" in manifests:
        with h5py.File(io.BytesIO(_verified(folder, manifests["theory"], "theory.h5")), "r") as file:
            theory = {name: to_frame({key: column[()] for key, column in file[name].items()}) for name in file}
    spec = manifests["risk"].spec
    return RunResult(
        name=folder.name,
        **{key: spec[key] for key in ("model", "init", "dataset")},
        kernel=kernel_label(spec["kernel"], spec.get("heads"), spec.get("projection")),
        config=spec,
        risk=risk,
        curve=curve,
        theory=theory,
        eigenvalues=spectrum["eigenvalues"] / spectrum["n"],
        target_power=(spectrum["coefficients"] ** 2).sum(axis=1),
        null_energy=float(spectrum["null_energy"]),
        spectrum_n=int(spectrum["n"]),
        provenance={stage: _summary(manifest) for stage, manifest in manifests.items()},
    )


def _verified(folder: Path, manifest: Manifest, name: str) -> bytes:
    path = folder / name
    if not path.exists():
        raise MissingInputError(f"{path} is gone. Run `make {manifest.stage}` with the run's settings.")
    content, expected = path.read_bytes(), manifest.outputs[name].blake2b
    if digest(content) != expected:
        raise CorruptInputError(
            f"{path} is not what stage {manifest.stage} wrote: expected BLAKE2b {expected}, got {digest(content)}. Delete it and run "
            f"`make {manifest.stage}` again."
        )
    return content


def _summary(manifest: Manifest) -> dict[str, object]:
    """What a reader wants of a manifest: everything but the long lists and the checksum of every file."""
    details = {key: value for key, value in manifest.details.items() if not isinstance(value, list) or len(value) <= 5}
    made = {key: value for key, value in manifest.provenance.items() if key != "versions"}
    versions = manifest.provenance.get("versions", {})
    return {"spec_hash": manifest.spec_hash, "seconds": manifest.seconds, **made, **versions, **details}
