"""Give a generator random faces: python fit_generator.py FOLDER

The synthesis network learns to draw every training face from one code, the mean of the codes that ASIT finds for it, and from the
learned constant. The mapping network then learns to give codes like these: it starts as the linear map of the codes' covariance,
and an energy distance does the rest. Starts from the first edition's generator and ASIT.
"""
import sys

import torch

from ifer import ASIT, Generator, load_faces
from ifer.core import autocast, seed_all
from ifer.losses import ASITLoss
from ifer.train_generator import energy_distance
from ifer.training import cosine_factor

LEADING = 128                                         # principal directions that the mapping network carries
BANDS = (0, 256), (0, 6), (6, 20), (20, 60)           # of the principal directions, compared apart
STAGES = (220, .05), (200, .3), (260, .7)              # of drawing: steps, weight of the perceptual term
DRAWING = dict(l2_lambda=2, middle_lambda=1, gradient_lambda=1, au_lambda=.1, expression_lambda=.01, adv_lambda=0, distribute_lambda=0,
               id_lambda=0, jitter=True)


@torch.no_grad()
def mean_codes(
    asit,  # an `ASIT`
    x,     # images (N,3,64,64) in [-1,1]
) -> torch.Tensor:  # (N,style_dim)
    "One code an image: the mean over the layers."
    return torch.cat([asit.absolute(asit.encode(part).codes).mean(1) for part in x.split(64)])


def descend(
    parameters,      # what learns
    learning_rate,   # at its peak
    steps,           # of Adam
    loss,            # () -> scalar
    clip=float('inf'), # largest norm of the gradient
):
    "Descend `loss` with Adam, warm-up, cosine and clipping."
    parameters = list(parameters)
    optimizer = torch.optim.Adam(parameters, learning_rate, betas=(.9, .99))
    for i in range(steps):
        optimizer.param_groups[0]['lr'] = learning_rate * cosine_factor(i, steps, warmup=20)
        optimizer.zero_grad()
        loss().backward()
        torch.nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()


def fit_synthesis(
    generator,     # a `Generator`, which learns
    x,             # images (N,3,64,64)
    codes,         # (N,style_dim), one an image
    steps,         # of Adam
    perceptual,    # weight of the perceptual term
    batch_size=16, # images a step
):
    "Let the generator draw each image from its one code."
    judge = ASITLoss('faces', lpips_lambda=perceptual, **DRAWING).train()

    def loss():
        "Of a random batch, with a little noise on the codes."
        picked = torch.randint(len(x), (batch_size,))
        noisy = codes[picked] + .01 * torch.randn_like(codes[picked])
        with autocast('cpu', 'bf16'): image = generator.synthesize(noisy).image.float()
        return judge(image, x[picked])[0]

    descend([p for name, p in generator.named_parameters() if not name.startswith('style.')], 2e-3, steps, loss, clip=1.)


def principal(
    codes,  # (N,D)
) -> tuple:
    "Mean (D,), standard deviations (D,) and directions (D,D) of the codes."
    mean = codes.mean(0)
    _, scale, directions = torch.linalg.svd(codes - mean, full_matrices=False)
    return mean, scale / len(codes)**.5, directions


@torch.no_grad()
def start_linear(
    mapping,  # the generator's `MappingNetwork`
    codes,    # (N,D)
):
    "Make the mapping network the linear map of the codes' covariance: each leading direction passes as a pair of opposite signs."
    mean, scale, directions = principal(codes)
    scores = ((codes - mean) @ directions.T / scale)[:, :LEADING]
    wanted = torch.where(codes > 0, codes, codes / .2) / 2**.5            # before the last activation
    solution = torch.linalg.lstsq(torch.cat([scores, torch.ones(len(scores), 1)], 1), wanted).solution
    signs = torch.eye(LEADING).repeat_interleave(2, 0)
    signs[1::2] *= -1
    apart = torch.nn.functional.pad(signs, (0, codes.shape[1] - LEADING))  # z to pairs
    together = signs.T / (1.2 * 2**.5)                                      # activated pairs to scores
    layers = [layer for layer in mapping if hasattr(layer, 'lr_mul')]
    weights = [apart, *[signs @ together] * (len(layers) - 2), solution[:LEADING].T @ together]
    for layer, weight in zip(layers, weights):
        layer.weight.copy_(weight / layer.scale)
        layer.bias.zero_()
    layers[-1].bias.copy_(solution[LEADING] / layers[-1].lr_mul)


def fit_mapping(
    generator,       # a `Generator`, whose mapping network learns
    codes,           # (N,D), what it shall give
    steps=500,       # of Adam
    batch_size=384,  # z and codes a step
):
    "Bring mapped z near the codes: a linear start, then the energy distance in bands of the principal directions."
    start_linear(generator.style, codes)
    mean, scale, directions = principal(codes)

    def loss():
        "Energy distance of random z and random codes, in units of each band's size."
        w = generator.map(torch.randn(batch_size, codes.shape[1]))
        a, b = ((v - mean) @ directions.T for v in (w, codes[torch.randint(len(codes), (batch_size,))]))
        return sum(energy_distance(a[:, i:j], b[:, i:j]) / scale[i:j].norm() for i, j in BANDS)

    descend(generator.style.parameters(), .1, steps, loss)


if __name__ == '__main__':
    seed_all(0)
    x = load_faces('train').images()
    generator = Generator.from_pretrained('synth64')
    codes = mean_codes(ASIT.from_pretrained('synth64'), x)
    for steps, perceptual in STAGES: fit_synthesis(generator, x, codes, steps, perceptual)
    fit_mapping(generator, codes)
    generator.set_latent_avg()
    generator.save_pretrained(sys.argv[1], dtype=torch.float16)
