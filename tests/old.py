"""The runs in data/runs-0.1.0.tar.xz: the words that made them with version 0.1.0, by the end of
their names.

Their pictures are not there any more, which contradicts nothing.
"""

_SHARED = (
    *("dataset=folder:pictures", "test=16", "model=test_resnet", "init=random", "img_size=32"),
    *("batch_size=16", "tile=64", "trials=2", "ridges=0,1e-4:1:3"),
)
SMALL, LARGE, TANGENT, FEATURES = "e2bcb2a9", "8e624d26", "6608ca66", "8ccc1df1"
WORDS = {
    SMALL: (*_SHARED, "train=48", "sizes=12,48"),
    LARGE: (*_SHARED, "train=112", "sizes=12,112"),
    TANGENT: (*_SHARED, "train=48", "sizes=12,48", "kernel=entk"),
    FEATURES: (
        *(*_SHARED, "train=112", "sizes=12,112"),
        *("solve_from=features", "targets=intercept"),
    ),
}
"""`LARGE` has a Gram matrix that nothing reads: 112 images and 96 features."""


def contents(folder):
    """Every file under a folder but the locks: its bytes and its time."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in paths
    }
