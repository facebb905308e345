"""A stand-in for the package `datasets`, as far as data sets of the hub are read through it."""

import sys
import types


class HubTable:
    """The part of `datasets.Dataset` that the source uses, written from its documentation."""

    def __init__(self, columns, features):
        self.columns, self.features, self.column_names = columns, features, list(columns)
        self.encoded = False

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, key):
        if isinstance(key, str):
            return self.columns[key]
        if not isinstance(key, int) or not self.encoded:
            raise TypeError(f"an int after cast_column, got {key!r}")
        return {column: values[key] for column, values in self.columns.items()}

    def select(self, positions):
        chosen = HubTable(
            {c: [v[i] for i in positions] for c, v in self.columns.items()}, self.features
        )
        chosen.encoded = self.encoded
        return chosen

    def cast_column(self, column, feature):
        cast = HubTable(self.columns, self.features)
        cast.encoded = feature == "encoded"
        return cast


def install(monkeypatch, load, saved=None):
    """Put a stand-in in the place of the package.

    Args:
        monkeypatch: The fixture of pytest.
        load: `load_dataset`: tables by split, from a name.
        saved: `load_from_disk`: a table, or tables by split, from a folder.
    """
    package = types.SimpleNamespace(
        load_dataset=load,
        load_from_disk=saved,
        Image=lambda decode: "decoded" if decode else "encoded",
    )
    monkeypatch.setitem(sys.modules, "datasets", package)
