"""Transformed images that are kept for the next pass."""

from collections import Counter

import torch

from rmtgen.stages.loading import Kept


def test_images_that_fit_are_transformed_once_and_a_change_stays_with_its_reader():
    read = []

    class Counted(torch.utils.data.Dataset):
        def __len__(self):
            return 5

        def __getitem__(self, position):
            read.append(position)
            return torch.full((3, 4, 4), float(position))

    images = Kept(torch.utils.data.ConcatDataset([Counted()]), room=2 * 3 * 4 * 4 * 4 + 8)
    assert len(images) == 5
    for _ in range(2):
        for position in range(5):
            image = images[position]
            assert (image == position).all()
            image += 100
    assert Counter(read) == {0: 1, 1: 1, 2: 2, 3: 2, 4: 2}
