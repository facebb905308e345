"""Names → labelled images with seeded, nested, stratifiable subsets, and a train/test pair that
shares no image.

`images` holds the pictures and their labels, `folder` a folder or `.tar` with one folder a class,
`vision` the sets of torchvision, `hub` those of the Hugging Face hub, `catalogue` turns a name into
one of these, `subsets` draws, `splits` pairs training with test images.
"""

from rmtgen.datasets.catalogue import dataset_files
from rmtgen.datasets.images import ArrayImages, FileImages, ImageSource, LabelledImages, TarImages
from rmtgen.datasets.splits import Split, load_dataset, load_split

__all__ = [
    "ArrayImages",
    "FileImages",
    "ImageSource",
    "LabelledImages",
    "Split",
    "TarImages",
    "dataset_files",
    "load_dataset",
    "load_split",
]
