"""Give a generator random faces: python fit_generator.py FOLDER [--extra GLOB] [--steps N] [--of_asit]

Each training face has one code, a linear map of all that ASIT finds for it. Map and synthesis network learn together to draw the face
from this code and the learned constant. The mapping network then learns to give codes like these: it starts as the linear map of the
codes' covariance, and an energy distance does the rest. Starts from the shipped generator and ASIT. With --of_asit only the mapping network of
ASIT's own decoder learns, from the means over the layers of the codes that ASIT finds.
"""
import argparse
import copy
import glob

import torch
from torch import nn

from ifer import ASIT, Generator, load_faces
from ifer.core import channels_last, progress, reused_memory, seed_all
from ifer.data import load_parquet
from ifer.losses import ASITLoss
from ifer.train_generator import energy_distance
from ifer.training import cosine_factor, update_average

LEADING = 128                                         # principal directions that the mapping network carries
BANDS = (0, 256), (0, 6), (6, 20), (20, 60)           # of the principal directions, compared apart
DRAWING = dict(l2_lambda=2, middle_lambda=1, gradient_lambda=1, au_lambda=.1, expression_lambda=.01, adv_lambda=0, distribute_lambda=0,
               id_lambda=0, lpips_lambda=.5, jitter=True)


@torch.no_grad()
def found(
    asit,  # an `ASIT`
    x,     # images (N,3,64,64) in [-1,1]
) -> torch.Tensor:  # (N,F) float16
    "All that ASIT finds: the codes of all layers, and the structure code."
    def row(encoding): return torch.cat([asit.absolute(encoding.codes).flatten(1), encoding.structure.flatten(1)], 1).half()
    return torch.cat([row(asit.encode(part)) for part in x.split(64)])


class OneCode(nn.Module):
    "A linear map of what ASIT finds to one code; it starts as the mean over the layers."
    def __init__(
        self,
        rows,    # what `found` gives for many images (N,F)
        config,  # a `GeneratorConfig`
    ):
        super().__init__()
        n, d = config.n_styles, config.style_dim
        self.register_buffer('mean', rows.float().mean(0))
        self.register_buffer('scale', rows.float().std(0) + 1e-4)
        self.linear = nn.Linear(rows.shape[1], d)
        first = self.scale[:n * d].view(n, d) / n
        with torch.no_grad():
            self.linear.weight.zero_()
            self.linear.weight[:, :n * d] = torch.cat([torch.diag(row) for row in first], 1)
            self.linear.bias.copy_(self.mean[:n * d].view(n, d).mean(0))

    def forward(self, rows): return self.linear((rows.float() - self.mean) / self.scale)


def descend(
    groups,             # of parameters, each with its learning rate 'lr' at the peak
    steps,              # of Adam
    loss,               # number of the step -> scalar
    clip=float('inf'),  # largest norm of the gradient of the first group
    after=None,         # called after each step
):
    "Descend `loss` with Adam, warm-up, cosine and clipping."
    optimizer = torch.optim.Adam(groups, betas=(.9, .99))
    peaks = [group['lr'] for group in groups]
    for i in progress(range(steps)):
        for group, peak in zip(optimizer.param_groups, peaks): group['lr'] = peak * cosine_factor(i, steps, warmup=50)
        optimizer.zero_grad()
        loss(i).backward()
        torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]['params'], clip)
        optimizer.step()
        if after: after(i)


def fit_synthesis(
    generator,     # a `Generator`, which learns
    one_code,      # a `OneCode`, which learns with it
    x,             # uint8 images (N,3,64,64)
    rows,          # what `found` gives for them
    steps,         # of Adam
    batch_size=16, # images a step
) -> tuple:        # moving averages of both
    "Let the generator draw each image from its one code."
    judge = ASITLoss('faces', **DRAWING).train()
    averages = copy.deepcopy(generator), copy.deepcopy(one_code)

    def loss(i):
        "Of a random batch, with a little noise on the codes."
        torch.manual_seed(i)
        picked = torch.randint(len(x), (batch_size,))
        codes = one_code(rows[picked])
        noisy = codes + .05 * codes.detach().std(0) * torch.randn_like(codes)
        return judge(generator.synthesize(noisy, noise='const').image, x[picked].float() / 127.5 - 1)[0]

    def follow(i):
        for average, network in zip(averages, (generator, one_code)): update_average(average, network, min(.998, (i + 1) / (i + 10)))

    drawing = [p for name, p in generator.named_parameters() if not name.startswith('style.')]
    descend([dict(params=drawing, lr=2e-3), dict(params=list(one_code.parameters()), lr=1e-4)], steps, loss, 1., follow)
    return averages


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

    def loss(i):
        "Energy distance of random z and random codes, in units of each band's size."
        w = generator.map(torch.randn(batch_size, codes.shape[1]))
        a, b = ((v - mean) @ directions.T for v in (w, codes[torch.randint(len(codes), (batch_size,))]))
        return sum(energy_distance(a[:, i:j], b[:, i:j]) / scale[i:j].norm() for i, j in BANDS)

    descend([dict(params=list(generator.style.parameters()), lr=.1)], steps, loss)


def fit_generator(
    asit,   # an `ASIT`
    x,      # uint8 images (N,3,64,64)
    steps,  # of drawing
) -> Generator:
    "The shipped generator, drawing and mapping anew."
    generator = channels_last(Generator.from_pretrained('synth64'))
    rows = torch.cat([found(asit, part.float() / 127.5 - 1) for part in x.split(1024)])
    generator, one_code = fit_synthesis(generator, OneCode(rows, generator.config), x, rows, steps)
    with torch.no_grad(): codes = torch.cat([one_code(part) for part in rows.split(4096)])
    fit_mapping(generator, codes)
    generator.set_latent_avg()
    return generator


def fit_asit(
    asit,  # an `ASIT`
    x,     # uint8 images (N,3,64,64)
) -> ASIT:
    "ASIT with a mapping network that gives codes like those it finds."
    with torch.no_grad(): codes = torch.cat([asit.absolute(asit.encode(part.float() / 127.5 - 1).codes).mean(1) for part in x.split(64)])
    fit_mapping(asit.decoder.requires_grad_(True), codes)
    return asit


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', help='to write to')
    parser.add_argument('--extra', default='', help='glob of further parquet files of faces')
    parser.add_argument('--steps', type=int, default=3000, help='of drawing')
    parser.add_argument('--of_asit', action='store_true', help="the mapping network of ASIT's own decoder alone")
    o = parser.parse_args()
    seed_all(0)
    parts = [load_faces('train'), *map(load_parquet, sorted(glob.glob(o.extra)))]
    x = torch.cat([((part.images() + 1) * 127.5).round().to(torch.uint8) for part in parts])
    asit = ASIT.from_pretrained('synth64')
    with reused_memory(): made = fit_asit(asit, x) if o.of_asit else fit_generator(asit, x, o.steps)
    made.eval().save_pretrained(o.folder, dtype=torch.float16)
