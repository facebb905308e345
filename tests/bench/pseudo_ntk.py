"""The kernel of one logit beside that of the sum of all, the pseudo-NTK, under fresh heads.

`make bench BENCH=pseudo_ntk`: `MODEL` (resnet18) at 32 px, random, and with `WEIGHTS=FILE` also
pretrained; `DATASET` (mnist5k), `SIZE` (500) training and `TESTS` (500) test images. The distance
is ‖K/tr K − R/tr R‖ over ‖R/tr R‖, R the mean of the kernels of 8 logits. The fit is that of the
ridge which leave-one-out chooses.
"""

import os

import numpy as np
import torch

from rmtgen import encode_targets, entk_gram, load_backbone, load_dataset, ridge_path
from rmtgen.tables import Table

LOGITS = 8
HEADINGS = ("network", "kernel", "distance", "LOO", "test risk", "accuracy, %")
RIDGES = np.geomspace(1e-5, 1, 11)


def model(body, width, logits, seed):
    """A network under a fresh linear head."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = torch.nn.Linear(width, logits)
    return torch.nn.Sequential(body, head).eval()


def kernels(body, width, classes, *images):
    """Blocks (train, train) and (test, train) by name; the first is R."""
    train, test = images

    def blocks(logits, seed, **options):
        network = model(body, width, logits, seed)
        return [entk_gram(network, *sides, **options) for sides in ((train,), (test, train))]

    means = [sum(part.values()) / LOGITS for part in blocks(LOGITS, 0, by="output")]
    yield f"mean of {LOGITS} logits", means
    for seed in (1, 2):
        yield f"one logit, head {seed}", blocks(1, seed)
    for seed in (1, 2):
        yield f"sum of {classes} logits, head {seed}", blocks(classes, seed, output="sum")


def main() -> None:
    """Print the table."""
    name, rows = os.environ.get("DATASET", "mnist5k"), []
    parts = [
        load_dataset(name, split=split, size=int(os.environ.get(size, "500")))
        for split, size in (("train", "SIZE"), ("test", "TESTS"))
    ]
    classes = int(max(max(part.labels) for part in parts)) + 1
    targets, answers = (encode_targets(part.labels, classes, "centered").values for part in parts)
    for init in ("random", "pretrained") if os.environ.get("WEIGHTS") else ("random",):
        weights = os.environ.get("WEIGHTS") if init == "pretrained" else None
        backbone = load_backbone(
            os.environ.get("MODEL", "resnet18"), init=init, weights=weights, img_size=32
        )
        images = [
            torch.stack([backbone.transform(image) for image in part.images]) for part in parts
        ]
        with torch.no_grad():
            width = backbone.model(images[0][:1]).shape[1]
        mean = None
        for kernel, (gram, across) in kernels(backbone.model, width, classes, *images):
            scale = gram.trace().double()
            mean = gram / scale if mean is None else mean
            path = ridge_path(
                gram,
                targets,
                ridges=RIDGES * (scale / len(gram)).item(),
                test_gram=across,
                test_targets=answers,
            )
            fit = path.loc[path["loo"].idxmin()]
            distance = ((gram / scale - mean).norm() / mean.norm()).item()
            numbers = (f"{fit['loo']:.4f}", f"{fit['test_risk']:.4f} ±{fit['test_risk_se']:.4f}")
            accuracy = f"{100 * (1 - fit['test_error']):.1f}"
            rows.append((init, kernel, f"{distance:.3f}", *numbers, accuracy))
            print(*rows[-1], flush=True)
    print(Table(HEADINGS, tuple(rows), "<<" + ">" * 4).text())


if __name__ == "__main__":
    main()
