"""Class folders with hostile names, from the pictures to the page of the report."""

import csv
import io
import json
import os

import h5py
import numpy as np
from PIL import Image

from rmtgen.cli.main import main
from rmtgen.store.feature_store import FeatureStore

HOSTILE = (
    b"caf\xe9",
    "e\u0301clair".encode(),
    b"new\nline",
    b"tab\there",
    b"quo\"te's",
    b"<script>alert(1)<b>",
    b"comma,semi;colon",
    b"back\\slash",
    "mark\u202egnp".encode(),
    b"-dash",
    b"$math^{2_x$",
    b"%s {brace} {{x}}",
    "\U0001f469\u200d\U0001f467".encode(),
    b"x" * 250,
    b"CON",
    b" space ",
    b"=1+1",
    b"\x1b[31mred",
)


def test_hostile_names_reach_the_report_as_text(tmp_path, capsys):
    root = tmp_path / os.fsdecode(b"a $(set) $x_ <i>\xe9")
    rng = np.random.default_rng(0)
    for name in HOSTILE:
        (folder := root / os.fsdecode(name)).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    words = [f"dataset=folder:{root}", f"output={tmp_path / 'out'}"]
    words += ["model=test_resnet", "init=random", "img_size=32", "ridges=1e-3,1", "trials=1"]
    assert main(["run", *words, "stratify=true", "sizes=27,54"]) == 0
    shown = capsys.readouterr()
    assert "\x1b[31mred" not in shown.out + shown.err

    (run,) = (tmp_path / "out" / "runs").iterdir()
    classes = json.loads((run / "extract.json").read_text())["details"]["classes"]
    assert classes == list(FeatureStore.open(run).layout.classes) == sorted(classes)
    assert len(classes) == len(HOSTILE)
    for name in ("caf\\xe9", "\u00e9clair", "new\\nline", "tab\\there", "\\x1b[31mred", "=1+1"):
        assert name in classes
    for path in (tmp_path / "out").rglob("*.csv"):
        rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
        assert len({len(row) for row in rows}) == 1
    for path in run.glob("*.h5"):
        with h5py.File(path) as file:
            assert len(file)
    (page,) = (tmp_path / "out" / "reports").glob("*/report.html")
    text = page.read_text(encoding="utf-8")
    assert "<script>alert(1)" not in text
    assert "<i>\\xe9" not in text
