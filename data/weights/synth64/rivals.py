"""The plain CNN as a rival of IFER, and as the measure of what inversions keep: python rivals.py OUT [--extra GLOB] [--epochs N] [--seeds N]

Trains `08_baseline` on the shipped training images and the extra renders, once per seed, and once on inversions of the shipped training images;
each is tested on the test identities. Writes rivals.json into OUT.
"""
import argparse
import glob
from pathlib import Path

import torch

from ifer import ASIT, load_faces
from ifer.baseline import train_plain_cnn
from ifer.core import write_json
from ifer.data import load_parquet


def pictured(
    faces,  # a `FaceSet`
) -> tuple:  # images (N,3,64,64), labels (N,)
    "Images and labels."
    return faces.images(), torch.as_tensor(faces.labels)


@torch.no_grad()
def accuracy(
    network,  # gives logits
    x,        # images (N,3,64,64)
    labels,   # (N,)
) -> float:
    "Share of images that are read right."
    return torch.cat([network(part).argmax(1) for part in x.split(64)]).eq(labels).float().mean().item()


@torch.no_grad()
def inverted(
    asit,  # an `ASIT`
    x,     # images (N,3,64,64)
) -> torch.Tensor:  # (N,3,64,64)
    "Inversions, one pass."
    return asit.invert(x, batch_size=32).image.float().clamp(-1, 1)


def rivals(
    out,     # folder
    extra,   # glob of parquet files; empty: the shipped images alone
    epochs,  # over all images
    seeds,   # trainings
):
    "Accuracies, by what was trained on and tested on."
    train, test = pictured(load_faces('train')), pictured(load_faces('test'))
    more = [pictured(load_parquet(path)) for path in sorted(glob.glob(extra))]
    x, y = (torch.cat(parts) for parts in zip(train, *more))
    asit = ASIT.from_pretrained('synth64').eval()
    made = inverted(asit, test[0])
    found = dict(images=len(x), epochs=epochs, cnn=[])
    for seed in range(seeds):
        network = train_plain_cnn(x, y, epochs=epochs, seed=seed, device='cpu')
        found['cnn'].append(dict(seed=seed, images=accuracy(network, *test), inversions=accuracy(network, made, test[1])))
        write_json(Path(out)/'rivals.json', found)
    network = train_plain_cnn(inverted(asit, train[0]), train[1], epochs=20, device='cpu')
    found['trained_on_inversions'] = dict(images=accuracy(network, *test), inversions=accuracy(network, made, test[1]))
    write_json(Path(out)/'rivals.json', found)
    print(found)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out')
    parser.add_argument('--extra', default='')
    parser.add_argument('--epochs', type=int, default=20)
    parser.add_argument('--seeds', type=int, default=3)
    rivals(**vars(parser.parse_args()))
