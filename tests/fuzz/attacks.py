"""What is attacked, and how: each subject has files of its own, and a way to read them.

An attack ends well if it returns, or raises an `RmtgenError`. Everything else escapes.
"""

import contextlib
import io
import os
import shutil
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from rmtgen.cli.main import main
from rmtgen.datasets import load_features, load_split
from rmtgen.exports.description import DESCRIPTION, WEIGHTS
from rmtgen.exports.probe import load_probe
from rmtgen.exports.writing import export_probe
from rmtgen.models.state_dicts import load_weights
from rmtgen.report.loading import load_result
from rmtgen.runs.experiment import EXPERIMENTS, load_experiment
from rmtgen.runs.run import load_run

NETWORK = "test_resnet"
_RUN = (
    *("train=16", "test=8", f"model={NETWORK}", "init=random", "img_size=32", "batch_size=8"),
    *("tile=16", "sizes=4,16", "trials=2", "ridges=0,1e-3:10:3", "solve_from=gram"),
)


@dataclass(frozen=True)
class Subject:
    """One kind of input.

    Attributes:
        files: The sound files, of which an attack changes one.
        read: What reads them all; its argument is the changed file.
        examples: How many attacks are tried in the suite.
    """

    files: tuple[Path, ...]
    read: Callable[[Path], object]
    examples: int


def subjects(root: Path) -> Mapping[str, Subject]:
    """Every subject, its files under `root`."""
    pictures = _pictures(root / "pictures")
    run = _finished_run(pictures, root / "output")
    weights = _weights(root / "weights")
    network = timm.create_model(NETWORK, num_classes=0)
    exported = export_probe(run, root / "export")
    return {
        "YAML": Subject(_configurations(root / "yaml"), _read_configuration, 400),
        "manifests": Subject(tuple(sorted(run.glob("*.json"))), lambda _: _read_run(run), 150),
        "journals": Subject(
            tuple(sorted(run.glob("*/journal.jsonl"))), lambda _: _read_stores(run), 150
        ),
        "HDF5": Subject(tuple(sorted(run.rglob("*.h5"))), lambda _: _read_stores(run), 200),
        "CSV": Subject(tuple(sorted(run.glob("*.csv"))), lambda _: _read_tables(run), 100),
        "pictures": Subject(
            tuple(sorted((pictures / "train" / "ash").iterdir())), _read_folder(pictures), 300
        ),
        "tar": Subject((_archive(pictures, root / "trees.tar"),), _read_archive, 300),
        "tables": Subject((_table(pictures, root / "trees.csv"),), _read_table, 300),
        "shards": Subject((_shard(pictures, root / "trees-0.tar"),), _read_shard, 300),
        "arrays": Subject(_arrays(root / "arrays"), _read_arrays, 300),
        "exports": Subject(
            (exported / DESCRIPTION, exported / WEIGHTS), lambda _: load_probe(exported), 150
        ),
        "state dicts": Subject(weights, lambda path: load_weights(network, path, NETWORK), 300),
    }


def _pictures(folder: Path) -> Path:
    """Two classes of small pictures in every common format."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 4)):
        for name in ("ash", "birch"):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                suffix = ("png", "jpg", "webp", "gif", "bmp", "tif", "ppm", "png")[number]
                pixels = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.{suffix}")
    return folder


def _finished_run(pictures: Path, output: Path) -> Path:
    """The directory of a small run of every stage."""
    words = [f"dataset=folder:{pictures}", f"output={output}", *_RUN]
    # in a process of its own, so that this one has no threads when it forks
    pid = os.fork()
    if pid == 0:
        os._exit(main(["run", *words]))
    if os.waitpid(pid, 0)[1]:
        raise SystemExit("the run to attack was not made")
    (run,) = (output / "runs").iterdir()
    return run


def _configurations(folder: Path) -> tuple[Path, ...]:
    folder.mkdir()
    return tuple(
        Path(shutil.copy(path, folder / path.name)) for path in sorted(EXPERIMENTS.glob("*.yaml"))
    )


def _weights(folder: Path) -> tuple[Path, ...]:
    """One state dict, as torch has it in its two formats, and as safetensors."""
    folder.mkdir()
    state = timm.create_model(NETWORK, num_classes=3).state_dict()
    torch.save({"state_dict": state, "epoch": 3}, folder / "new.pth")
    torch.save(state, folder / "old.pth", _use_new_zipfile_serialization=False)
    save_file(state, folder / "w.safetensors")
    return tuple(sorted(folder.iterdir()))


def _archive(pictures: Path, path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        archive.add(pictures, arcname=".")
    return path


def _table(pictures: Path, path: Path) -> Path:
    """A CSV of all pictures."""
    found = sorted(pictures.glob("*/*/*"))
    rows = [f"{picture},{picture.parent.name},{picture.parents[1].name}" for picture in found]
    path.write_text("\n".join(["path,label,split", *rows]))
    return path


def _shard(pictures: Path, path: Path) -> Path:
    """A WebDataset shard of all pictures."""
    with tarfile.open(path, "w") as archive:
        for number, picture in enumerate(sorted(pictures.glob("*/*/*"))):
            archive.add(picture, arcname=f"{number}{picture.suffix}")
            kind = ("cls", "json")[number % 2]
            label = number % 3
            text = (f"{label}" if kind == "cls" else f'{{"label": {label}}}').encode()
            member = tarfile.TarInfo(f"{number}.{kind}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    return path


def _arrays(folder: Path) -> tuple[Path, ...]:
    """Features and labels in NumPy's two formats."""
    folder.mkdir()
    features = np.random.default_rng(0).standard_normal((9, 4))
    np.save(folder / "x.npy", features)
    np.savez(folder / "a.npz", features=features, labels=np.arange(9) % 3)
    np.savez_compressed(folder / "b.npz", X=features, y=np.array(["ash", "elm", "oak"] * 3))
    return tuple(sorted(folder.iterdir()))


def _read_configuration(path: Path) -> None:
    for run in load_experiment(str(path), {}).runs:
        assert run.run_name


def _read_run(folder: Path) -> None:
    """All that is read of a run, through the library and through commands."""
    words = [f"output={folder.parents[1]}"]
    nowhere = io.StringIO()
    with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        main(["ls", *words])
        main(["verify", *words])
    _read_tables(folder)
    _read_stores(folder)


def _read_tables(folder: Path) -> None:
    run = load_run(folder)
    assert len(run.risk) > 0
    assert all(len(table) >= 0 for table in run.theory.values())
    load_result(folder)


def _read_stores(folder: Path) -> None:
    run = load_run(folder)
    assert run.features.train.ndim == run.features.test.ndim
    if run.gram is not None:
        run.gram.verify()
        assert run.gram.read(slice(0, 16), slice(0, 16)).shape
    assert run.spectrum is not None


def _read_folder(folder: Path) -> Callable[[Path], None]:
    def read(_: Path) -> None:
        _read_pictures(f"folder:{folder}")

    return read


def _read_archive(path: Path) -> None:
    _read_pictures(f"folder:{path}")


def _read_table(path: Path) -> None:
    _read_pictures(f"csv:{path}")


def _read_shard(path: Path) -> None:
    _read_pictures(f"wds:{path}")


def _read_arrays(path: Path) -> None:
    assert np.isfinite(load_features(path).features).all()


def _read_pictures(name: str) -> None:
    split = load_split(name, train=4, test=4)
    for position in range(len(split.train)):
        split.train[position].convert("RGB")
