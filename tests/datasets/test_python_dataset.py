"""`LabelledImages.of`: data sets in Python, and what is none."""

import pickle

import numpy as np
import pytest
import torch
import torchvision
from image_files import encoded, noise, write_folder
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, Subset, TensorDataset
from torchvision.transforms import v2

import rmtgen
from rmtgen.datasets.python_dataset import picture_of
from rmtgen.errors import DamagedImageError, NumericalError, UsageError

PIXELS = noise(12, 8, 6, 3)
LABELS = [number % 3 for number in range(12)]


class Pairs:
    """Pairs, and a count of how often one is read."""

    def __init__(self, images, numbers, **attributes):
        self.images, self.numbers, self.reads = images, numbers, 0
        vars(self).update(attributes)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, position):
        self.reads += 1
        return self.images[position], self.numbers[position]


PICTURES = [Image.fromarray(pixels) for pixels in PIXELS]


@pytest.mark.parametrize(
    "images",
    [
        PICTURES,
        list(PIXELS),
        PIXELS,
        torch.from_numpy(PIXELS).permute(0, 3, 1, 2),
    ],
    ids=["PIL", "arrays", "array", "tensor"],
)
def test_pictures_are_those_of_the_data_set(images):
    data = rmtgen.LabelledImages.of(Pairs(images, LABELS))
    assert (data.name, data.split, len(data), data.classes) == (
        "Pairs",
        "train",
        12,
        ("0", "1", "2"),
    )
    assert data.labels.dtype == data.indices.dtype == np.int64
    assert data.labels.tolist() == LABELS
    assert all(np.array_equal(data[k], PIXELS[k]) for k in range(12))
    assert data[3].mode == "RGB"
    assert len(set(data.digests())) == 12
    part = data.subset([5, 2])
    assert (part.indices.tolist(), part.labels.tolist()) == ([5, 2], [2, 2])
    assert np.array_equal(part[0], PIXELS[5])
    assert part.images.locate(1) == "image 2 of Pairs"
    assert pickle.loads(pickle.dumps(part)).digests() == part.digests()


def test_grey_pictures_are_grey_in_every_channel():
    grey = PIXELS[..., 0]
    for images in (grey, torch.from_numpy(grey), torch.from_numpy(grey)[:, None]):
        data = rmtgen.LabelledImages.of(Pairs(images, LABELS))
        assert np.array_equal(data[4], np.repeat(grey[4, :, :, None], 3, axis=2))


def test_sizes_are_part_of_the_digest():
    images = [np.zeros((4, 6, 3), np.uint8), np.zeros((6, 4, 3), np.uint8)]
    data = rmtgen.LabelledImages.of(Pairs(images, [0, 1]))
    assert len(set(data.digests())) == 2
    assert [image.size for image in data.images] == [(6, 4), (4, 6)]


def test_orientation_is_respected(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        content = encoded(noise(4, 8, 3, seed=number), "jpg", exif=exif)
        (tmp_path / str(number) / "x.jpg").write_bytes(content)
    data = rmtgen.LabelledImages.of(torchvision.datasets.ImageFolder(tmp_path))
    assert data[0].size == (4, 8)


@pytest.mark.parametrize("name", ["targets", "labels"])
@pytest.mark.parametrize("as_type", [list, np.array, torch.tensor])
def test_labels_are_taken_as_a_whole_where_they_are_there(name, as_type):
    pairs = Pairs(PICTURES, LABELS, **{name: as_type(LABELS)})
    assert rmtgen.LabelledImages.of(pairs).labels.tolist() == LABELS
    assert pairs.reads == 9, "three are read twice, and their labels once"


@pytest.mark.parametrize(
    "attributes",
    [
        {"targets": LABELS[:5]},
        {"targets": [label + 1 for label in LABELS]},
        {"targets": list("abcabcabcabc")},
        {"targets": [[0], [1, 2]]},
        {"targets": None},
        {"targets": LABELS, "target_transform": int},
        {},
    ],
)
def test_labels_are_read_one_by_one_elsewhere(attributes):
    pairs = Pairs(PICTURES, LABELS, **attributes)
    assert rmtgen.LabelledImages.of(pairs).labels.tolist() == LABELS
    assert pairs.reads >= 6 + 12


def test_a_transform_of_the_targets_is_respected(tmp_path):
    folder = write_folder(tmp_path)
    pairs = torchvision.datasets.ImageFolder(folder / "train", target_transform=lambda k: 2 - k)
    data = rmtgen.LabelledImages.of(pairs)
    assert data.labels.tolist() == [2] * 12 + [1] * 12 + [0] * 12


def test_a_folder_of_torchvision_gives_what_our_own_gives(tmp_path):
    folder = write_folder(tmp_path)
    data = rmtgen.LabelledImages.of(torchvision.datasets.ImageFolder(folder / "train"))
    own = rmtgen.load_dataset(f"folder:{folder}", shuffle=False)
    assert (data.name, data.classes) == ("ImageFolder", own.classes)
    assert np.array_equal(data.labels, own.labels)
    assert all(np.array_equal(a, b) for a, b in zip(data, own, strict=True))


def test_a_subset_has_the_labels_of_what_it_is_taken_from():
    pairs = Pairs(PICTURES, LABELS, targets=LABELS, classes=["ant", "bee", "cat"])
    data = rmtgen.LabelledImages.of(Subset(Subset(pairs, [1, 3, 4, 8]), [3, 0, 1]))
    assert data.labels.tolist() == [2, 1, 0]
    assert pairs.reads <= 9
    joined = rmtgen.LabelledImages.of(ConcatDataset([pairs, pairs]))
    assert joined.labels.tolist() == LABELS * 2


def test_classes_are_given_or_those_of_the_data_set():
    own = Pairs(PICTURES, LABELS, classes=["ant", "bee", "cat", "dog"])
    assert rmtgen.LabelledImages.of(own).classes == ("ant", "bee", "cat", "dog")
    assert rmtgen.LabelledImages.of(own, ["x", "y", "z"]).classes == ("x", "y", "z")
    few = Pairs(PICTURES, LABELS, classes=["ant"])
    assert rmtgen.LabelledImages.of(few).classes == ("0", "1", "2")
    for classes, message in (
        (["x", "y"], r"the highest is 2, got 2 classes\. Give 3"),
        ("xyz", "classes must be a list of names, got 'xyz'"),
        ([1, 2, 3], r"classes must be a list of names, got \[1, 2, 3\]"),
        (3, "classes must be a list of names, got 3"),
    ):
        with pytest.raises(UsageError, match=message):
            rmtgen.LabelledImages.of(own, classes)


def test_the_features_of_a_data_set_are_those_of_its_pictures():
    backbone = rmtgen.load_backbone("test_resnet", init="random", img_size=32)
    data = rmtgen.LabelledImages.of(Pairs(PICTURES, LABELS))
    expected = rmtgen.extract_features(backbone, PICTURES)
    assert torch.equal(rmtgen.extract_features(backbone, data), expected)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(())


FLOATS = torch.rand(12, 3, 8, 6)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (None, "must have a length and be read by number, got NoneType"),
        (3, "got int"),
        ("pictures", "got str"),
        ({0: (PICTURES[0], 0)}, "got dict"),
        (Stream(), "got Stream. Of a stream give list"),
        (DataLoader(Pairs(PICTURES, LABELS)), "got DataLoader. .* of a loader its data set"),
        ([], "must hold an image, got a list of length 0"),
        (PICTURES, r"must hold pairs \(image, label\): image 0 of list is a Image"),
        ([(PICTURES[0], 0, 0)], "image 0 of list is a tuple of length 3"),
        ([{"image": 0, "label": 1}], "is a dict with the keys image, label"),
        (
            TensorDataset(FLOATS, torch.tensor(LABELS)),
            r"of uint8, before any transform: image 0 of TensorDataset is a Tensor \(3, 8, 6\) of"
            r" torch\.float32\. Give the data set without its transform \(dataset\.transform = N",
        ),
        (Pairs(PIXELS / 255, LABELS), r"is a ndarray \(8, 6, 3\) of float64\. Give the data set"),
        (Pairs(list("ab"), LABELS), "image 0 of Pairs is a str"),
        (Pairs(PIXELS[..., :2], LABELS), r"shape \(h, w\) or \(h, w, 3\): .* \(8, 6, 2\) of uint8"),
        (
            Pairs(torch.from_numpy(PIXELS), LABELS),
            r"\(h, w\), \(1, h, w\) or \(3, h, w\): .* \(8, 6, 3\) of torch\.uint8",
        ),
        (Pairs(PIXELS[:, :0], LABELS), r"\(0, 6, 3\)"),
        (Pairs([Image.new("I", (4, 4))] * 3, LABELS), "at most 8 bits per channel: mode I"),
        (
            Pairs(PICTURES, [0.5] * 12),
            r"must vary: 1 of 1 of Pairs are the same in 12 images \(0\)",
        ),
        (Pairs(PICTURES, ["ant"] * 12), "image 0 of Pairs has 'ant'"),
        (Pairs(PICTURES, [True] * 12), "image 0 of Pairs has True"),
        (Pairs(PICTURES, [(0, 1)] * 12), r"none of the 2 of Pairs is, among 12 images \(0, 1\)"),
        (Pairs(PICTURES, [(0, 2)] * 12), r"must hold 0 and 1.*: got 2 \(row 0, column 1\)"),
        (
            Pairs(PICTURES, [*LABELS[:7], 0.5, *LABELS[8:]]),
            r"image 7 of Pairs has 0\.5, and image 0",
        ),
        (Pairs(PICTURES, [10**30] * 12), "image 0 of Pairs has 10000"),
        (
            Pairs(PICTURES, [None] * 12),
            r"12 of 12 have none \(image 0 of Pairs \(None\), image 1 of",
        ),
        (
            Pairs(PICTURES, [*LABELS[:7], None, -1, *LABELS[9:]]),
            r"2 of 12 have none \(image 7 of Pairs \(None\), image 8 of Pairs \(-1\)\)\. Leave",
        ),
        (Pairs(PICTURES, [*LABELS[:7], -2, *LABELS[8:]]), "≥ 0: image 7 of Pairs has -2. Leave"),
        (
            Pairs(PICTURES, [(0, 1), (1, -1)] * 6),
            r"6 of 12 have none \(image 1 of Pairs \(\[1, -1\]\), image 3 .*, …\)",
        ),
        (Pairs(PICTURES, [1] * 12), "at least 2 classes: Pairs has images of 1 alone"),
        (Pairs(PICTURES, [10**9, *LABELS[1:]]), "from 0, got 1000000000 among 12 images"),
    ],
)
def test_what_is_no_data_set_of_pictures_is_refused(dataset, message):
    with pytest.raises(UsageError, match=message):
        rmtgen.LabelledImages.of(dataset)


def test_a_random_transform_is_refused():
    class Random(Pairs):
        def __getitem__(self, position):
            self.reads += 1
            return np.full((4, 4), self.reads, dtype=np.uint8), position % 2

    with pytest.raises(UsageError, match="same each time: image 0 of Random is not, as with"):
        rmtgen.LabelledImages.of(Random(PICTURES, LABELS))


def test_a_transform_to_tensors_is_refused_but_one_of_uint8_is_read(tmp_path):
    folder = write_folder(tmp_path) / "train"
    scaled = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    with pytest.raises(UsageError, match=r"image 0 of ImageFolder is a Image \(3, 8, 8\) of"):
        rmtgen.LabelledImages.of(torchvision.datasets.ImageFolder(folder, scaled))
    plain = rmtgen.LabelledImages.of(torchvision.datasets.ImageFolder(folder))
    whole = rmtgen.LabelledImages.of(torchvision.datasets.ImageFolder(folder, v2.PILToTensor()))
    assert whole.digests() == plain.digests()


def test_the_errors_of_a_data_set_are_named():
    class Broken(Pairs):
        def __getitem__(self, position):
            raise OSError(f"cannot identify image file\n{position}")

    with pytest.raises(DamagedImageError, match=r"image 0 of Broken cannot be read: OSError: c"):
        rmtgen.LabelledImages.of(Broken(PICTURES, LABELS))


def test_a_picture_of_one_channel_last_is_refused_with_its_shape():
    with pytest.raises(UsageError, match=r"must have the shape \(h, w\) or \(h, w, 3\): it is"):
        picture_of(np.zeros((4, 4, 1), np.uint8), "it")


def test_targets_and_several_labels_are_taken_by_their_type():
    ages = np.linspace(20, 31, 12)
    for given in (ages.tolist(), ages[:, None], ages.astype(np.float32)):
        data = rmtgen.LabelledImages.of(Pairs(PICTURES, given))
        assert data.labels.dtype == np.float64 and data.labels.shape == (12, 1)
        assert data.labels[:, 0] == pytest.approx(ages, rel=1e-6)
    marks = np.arange(24).reshape(12, 2) % 3 == 0
    data = rmtgen.LabelledImages.of(Pairs(PICTURES, marks.astype(int)), ["red", "large"])
    assert data.labels.dtype == bool and data.labels.tolist() == marks.tolist()
    assert data.classes == ("red", "large")
    assert data.subset([3, 1]).labels.tolist() == marks[[3, 1]].tolist()
    with pytest.raises(UsageError, match="must be 2 names of labels or values, got"):
        rmtgen.LabelledImages.of(Pairs(PICTURES, marks.astype(int)), ["a"])
    with pytest.raises(
        NumericalError, match=r"labels of Pairs must be finite, .*: got inf \(row 5, c"
    ):
        rmtgen.LabelledImages.of(Pairs(PICTURES, [*ages[:5], np.inf, *ages[6:]]))


@pytest.mark.parametrize("stated", [False, True])
@pytest.mark.parametrize("unknown", [np.nan, -1])
def test_images_without_a_label_are_counted_and_named(stated, unknown):
    labels = np.arange(24).reshape(12, 2) % 5
    labels = labels.astype(float) if np.isnan(unknown) else labels % 2
    labels[[3, 9], 1] = unknown
    pairs = Pairs(PICTURES, labels, **({"targets": labels} if stated else {}))
    with pytest.raises(
        UsageError,
        match=r"every image must have a label: 2 of 12 have none \(image 3 of Pairs \(\[",
    ):
        rmtgen.LabelledImages.of(pairs)
    kept = [place for place in range(12) if place not in (3, 9)]
    assert len(rmtgen.LabelledImages.of(Subset(pairs, kept))) == 10
