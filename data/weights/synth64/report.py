"""Measure weights on the test identities, and draw the pictures of the card.

Writes report.json, people.jpg (source | inversion | refined) and samples.jpg (random faces) into OUT; where that is this folder,
also curves.png (of runs/asit_gpu and runs/asit) and the README's pictures, outputs/figures/inversion.png and random.png.
"""
import argparse
from pathlib import Path

import torch
from torchmetrics.image.kid import poly_mmd

from ifer import ASIT, CLASSES, IFER, Generator, load_faces
from ifer.core import asset, autocast, write_json
from ifer.features import FaceFeatures
from ifer.figures import curves, image_grid, pair_grid, save_png
from ifer.metrics import protocol_of, psnr, reconstruction, ssim
from ifer.refine import refine
from ifer.train_ifer import evaluate_recognition

HERE = Path(__file__).resolve().parent
STEPS = 25  # of the refinement


def places(
    faces,   # a `FaceSet`
    people,  # how many
) -> list:
    "Indices of one image of every expression of the first identities."
    chosen = sorted(set(faces.identities))[:people]
    return [next(i for i in range(len(faces)) if faces.identities[i] == p and faces.labels[i] == c) for p in chosen for c in range(len(CLASSES))]


@torch.no_grad()
def features(
    network,  # `FaceFeatures`
    x,        # images (N,3,64,64)
) -> torch.Tensor:  # (N,112)
    "The last map, averaged over its places."
    return torch.cat([network.maps(part)[-1].mean((2, 3)) for part in x.clamp(-1, 1).split(64)]).double()


@torch.no_grad()
def random_faces(
    generator,     # a `Generator`
    n,             # images
    truncation=1., # see `Generator.map`
) -> torch.Tensor: # (n,3,64,64)
    "Faces of the same `n` random z each time."
    z = torch.randn(n, generator.config.style_dim, generator=torch.Generator().manual_seed(1))
    return torch.cat([generator.synthesize(part).image for part in generator.map(z, truncation).split(64)]).clamp(-1, 1)


@torch.no_grad()
def interpolations(
    generator,  # a `Generator`
    n,          # pairs of z
    steps=16,   # pictures from one to the other
) -> torch.Tensor:  # (n*steps,3,64,64)
    "Faces on the way from one random z to another, in W."
    w = generator.map(torch.randn(2 * n, generator.config.style_dim, generator=torch.Generator().manual_seed(2))).view(n, 2, 1, -1)
    ways = torch.lerp(w[:, 0], w[:, 1], torch.linspace(0, 1, steps).view(1, -1, 1)).flatten(0, 1)
    return generator.synthesize(ways).image.clamp(-1, 1)


def nearest(
    images,  # (N,3,64,64)
    among,   # (M,3,64,64)
) -> torch.Tensor:  # (N,3,64,64)
    "For each image the one that is nearest to it, by L2."
    return among[torch.cdist(images.flatten(1), among.flatten(1)).argmin(1)]


def report(
    weights,  # a folder, or a shipped name
    out,      # folder
):
    "Figures and pictures."
    out = Path(out)
    asit, ifer, generator = (cls.from_pretrained(weights).eval() for cls in (ASIT, IFER, Generator))
    faces = load_faces('test')
    x, protocol = faces.images(), protocol_of(faces)
    with torch.no_grad(), autocast('cpu'): made = asit.invert(x, batch_size=32)
    image = made.image.float().clamp(-1, 1)
    found = dict(inversion=reconstruction(image, x, protocol).to_dict()['values'])
    for kind, images in dict(sources=x, inversions=image).items():
        found[kind] = evaluate_recognition(ifer, images, faces.labels, protocol | dict(images=kind)).to_dict()['values']
    judge = FaceFeatures.from_pretrained('synth64').eval()
    train = load_faces('train')
    drawn = torch.randperm(len(train), generator=torch.Generator().manual_seed(1))[:len(x)].tolist()
    real, seen = features(judge, x), features(judge, train.images(drawn))
    random = random_faces(generator, len(x))
    found['kid'] = {kind: poly_mmd(real, other).item() for kind, other in dict(random=features(judge, random), training=seen).items()}
    at = places(faces, 12)
    some = type(made)(*(t[at] for t in made))
    refined = refine(asit, x[at], some.codes, some.structure, STEPS).image.clamp(-1, 1)
    found['refined'] = dict(n=len(at), one_pass=psnr(image[at], x[at]).mean().item(), psnr=psnr(refined, x[at]).mean().item(), ssim=ssim(refined, x[at]).mean().item())
    found['refined'] |= evaluate_recognition(ifer, refined, faces.labels[at], protocol).to_dict()['values']
    write_json(out/'report.json', found)
    names = [faces.identities[i] for i in at[::len(CLASSES)]]
    kinds = 'source', 'inversion', f'{STEPS} steps refined'
    caption = f'Test identities of the embedded faces, {faces.size} px.'
    figure = pair_grid(x[at], image[at], refined, rows=names, cols=CLASSES, kinds=kinds, caption=caption, scale=1)
    figure.save(out/'people.jpg', quality=92)
    tiles = torch.cat([random[:64], random_faces(generator, 64, .7), interpolations(generator, 2), random[:16], nearest(random[:16], train.images())])
    caption_of = 'Random faces: four rows at truncation 1, the same z at 0.7 below; two rows from one to another; sixteen, and below each the nearest training face.'
    figure = image_grid(tiles, nrow=16, scale=1, caption=caption_of)
    figure.save(out/'samples.jpg', quality=92)
    first = 6 * len(CLASSES)
    if out.resolve() == HERE:
        figure = pair_grid(x[at][:first], image[at][:first], rows=names[:6], cols=CLASSES, caption=f'synth64, {caption[0].lower()}{caption[1:]}')
        save_png(figure, asset('').parent/'outputs'/'figures'/'inversion.png')
        panels = 'l2', 'middle', 'gradient', 'perceptual', 'au', 'expression'
        runs = {name: out/'runs'/run/'metrics.jsonl' for name, run in {'GPU, 128:': 'asit_gpu', 'CPU, 32:': 'asit'}.items()}
        save_png(curves(runs, panels, caption='ASIT, tenth edition: batches of 128, then of 32.'), out/'curves.png')
        save_png(image_grid(random_faces(generator, 16, .7), nrow=8, caption='Random faces of synth64, truncation 0.7: these people do not exist.'), asset('').parent/'outputs'/'figures'/'random.png')
    print(found)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('weights', nargs='?', default='synth64', help='a folder, or a shipped name')
    parser.add_argument('out', nargs='?', default=HERE, help='where results go')
    report(**vars(parser.parse_args()))
