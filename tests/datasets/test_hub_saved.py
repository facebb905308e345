"""Data sets that the package `datasets` itself has saved; it is an extra, and may not be there."""

import pytest
from image_files import encoded, noise

from rmtgen import Labelling
from rmtgen.datasets import load_split
from rmtgen.errors import CorruptInputError, RmtgenWarning

package = pytest.importorskip("datasets", reason="the extra hub is not installed")
if not hasattr(package, "load_dataset"):  # it is this folder
    pytest.skip("the extra hub is not installed", allow_module_level=True)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

TAGS = [[0], [], None, [1, 2], [0, 1], [2]]
AGES = [1.5, None, float("nan"), -1.0, 4.0, 5.0]
KINDS = [0, 1, 0, -1, None, 1]


@pytest.fixture(params=["alone", "in splits", "parquet"])
def name(request, tmp_path, monkeypatch):
    """A set of six rows in a folder, as the package writes it."""
    monkeypatch.setattr(package.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    types = package.Features(
        {
            "image": package.Image(),
            "label": package.ClassLabel(names=["cat", "dog"]),
            "tags": package.Sequence(package.ClassLabel(names=["a", "b", "c"])),
            "age": package.Value("float32"),
        }
    )
    images = [{"bytes": encoded(pixels), "path": None} for pixels in noise(6, 8, 8, 3)]
    cells = {"image": images, "label": KINDS, "tags": TAGS, "age": AGES}
    whole, folder = package.Dataset.from_dict(cells, features=types), tmp_path / "saved"
    if request.param == "parquet":
        folder.mkdir()
        whole.to_parquet(str(folder / "train.parquet"))
    else:
        made = whole if request.param == "alone" else package.DatasetDict(train=whole, test=whole)
        made.save_to_disk(str(folder))
    return f"hfds/{folder}"


@pytest.mark.parametrize(
    ("labelling", "rows", "classes", "expected"),
    [
        (Labelling(), [0, 1, 2, 5], ("cat", "dog"), [0, 1, 0, 1]),
        (
            Labelling("labels", ("tags",)),
            [0, 1, 3, 4, 5],
            ("a", "b", "c"),
            [[1, 0, 0], [0, 0, 0], [0, 1, 1], [1, 1, 0], [0, 0, 1]],
        ),
        (Labelling("values", ("age",)), [0, 3, 4, 5], ("age",), [[1.5], [-1], [4], [5]]),
    ],
)
def test_what_the_package_saved_is_read(name, labelling, rows, classes, expected):
    options = {"train": None, "test": 0, "shuffle": False, "labelling": labelling}
    missing = 6 - len(rows)
    with pytest.raises(CorruptInputError, match=rf"has {missing} of 6 without: train row"):
        load_split(name, **options)
    with pytest.warns(RmtgenWarning, match=rf"{missing} × no label \(train row"):
        data = load_split(name, **options, on_corrupt="skip").train
    assert data.indices.tolist() == rows and data.classes == classes
    assert data.labels.tolist() == expected
    assert data[len(rows) - 1].size == (8, 8)
