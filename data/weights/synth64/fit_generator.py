"""Give a generator random faces: python fit_generator.py FOLDER [--extra GLOB] [--steps N] [--of_asit]

Each training face has one code, a linear map of all that ASIT finds for it. Map and synthesis network learn together to draw the face
from this code and the learned constant. A flow then learns to turn noise into such codes, and the mapping network to do in one step what the
flow does in many. Starts from the shipped generator and ASIT. With --of_asit only the mapping network of
ASIT's own decoder learns, from the means over the layers of the codes that ASIT finds.
"""
import argparse
import copy
import glob

import torch
from scipy.optimize import linear_sum_assignment
from torch import nn

from ifer import ASIT, Generator, load_faces
from ifer.adversarial import frozen, nonsaturating_d_loss, nonsaturating_g_loss, r1_penalty
from ifer.core import channels_last, progress, reused_memory, seed_all
from ifer.data import load_parquet
from ifer.losses import ASITLoss
from ifer.training import cosine_factor, update_average

LEADING = 128                                         # principal directions that the mapping network carries
GAME = 60                                             # of them, those that the game is about
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
    betas=(.9, .99),    # of Adam
):
    "Descend `loss` with Adam, warm-up, cosine and clipping."
    optimizer = torch.optim.Adam(groups, betas=betas)
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


class Flow(nn.Module):
    "Velocity of codes on their straight ways from noise (flow matching, arXiv 2210.02747): noise at time 0, a code at time 1."
    def __init__(
        self,
        codes,      # (N,D)
        width=512,  # of the network
        depth=3,    # residual blocks
    ):
        super().__init__()
        mean, scale, directions = principal(codes)
        for name, v in dict(mean=mean, scale=scale[:LEADING], directions=directions[:LEADING]).items(): self.register_buffer(name, v)
        self.first, self.last = nn.Linear(LEADING, width), nn.Linear(width, LEADING)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.clocks = nn.ModuleList(nn.Linear(64, 2 * width) for _ in range(depth))
        self.bends = nn.ModuleList(nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)) for _ in range(depth))
        for layer in (self.last, *(bend[2] for bend in self.bends)):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x, t):
        angles = torch.linspace(0, 5, 32).exp() * t
        clock, x = torch.cat([angles.sin(), angles.cos()], 1), self.first(x)
        for norm, tell, bend in zip(self.norms, self.clocks, self.bends):
            gain, shift = tell(clock).chunk(2, 1)
            x = x + bend(norm(x) * (1 + gain) + shift)
        return self.last(x)

    def scores(self, codes): return (codes - self.mean) @ self.directions.T / self.scale

    @torch.no_grad()
    def codes(
        self,
        noise,    # standard normal (N,LEADING)
        steps=8,  # of Heun's method
    ) -> torch.Tensor:  # (N,D)
        "Where the noise arrives."
        x = noise
        for i in range(steps):
            t = torch.full((len(x), 1), i / steps)
            here = self(x, t)
            there = self(x + here / steps, t + 1 / steps)
            x = x + (here + there) / (2 * steps)
        return self.mean + (x * self.scale) @ self.directions


def principal(
    codes,  # (N,D)
) -> tuple:
    "Mean (D,), standard deviations (D,) and directions (D,D) of the codes."
    mean = codes.mean(0)
    _, scale, directions = torch.linalg.svd(codes - mean, full_matrices=False)
    return mean, scale / len(codes)**.5, directions


def fit_flow(
    codes,           # (N,D)
    steps=5000,      # of Adam
    batch_size=512,  # codes a step
) -> Flow:
    "Learn to turn noise into codes. Noise and codes of a batch are paired so that their ways are short (arXiv 2302.00482), which keeps the ways straight."
    flow = Flow(codes)
    average, scores = copy.deepcopy(flow), flow.scores(codes)

    def loss(i):
        "Of a random batch, at random times."
        noise, x = torch.randn(batch_size, LEADING), scores[torch.randint(len(scores), (batch_size,))]
        x = x[linear_sum_assignment(torch.cdist(noise * flow.scale, x * flow.scale).square().numpy())[1]]
        t = torch.rand(batch_size, 1)
        return (flow((1 - t) * noise + t * x, t) - (x - noise)).square().mean()

    descend([dict(params=list(flow.parameters()), lr=1e-3)], steps, loss, 1., lambda i: update_average(average, flow, min(.999, (i + 1) / (i + 10))))
    return average


@torch.no_grad()
def start_linear(
    mapping,  # the generator's `MappingNetwork`
    z,        # (N,D), of norm as the network makes it
    codes,    # (N,D), what it shall give for them
):
    "Make the mapping network the linear map nearest to these pairs: each leading direction passes as a pair of opposite signs."
    x = torch.cat([z[:, :LEADING], torch.ones(len(z), 1)], 1)
    wanted = torch.where(codes > 0, codes, codes / .2) / 2**.5              # before the last activation
    solution = torch.linalg.lstsq(x, wanted).solution
    signs = torch.eye(LEADING).repeat_interleave(2, 0)
    signs[1::2] *= -1
    apart = torch.nn.functional.pad(signs, (0, z.shape[1] - LEADING))       # z to pairs
    together = signs.T / (1.2 * 2**.5)                                      # activated pairs to scores
    layers = [layer for layer in mapping if hasattr(layer, 'lr_mul')]
    weights = [apart, *[signs @ together] * (len(layers) - 2), solution[:LEADING].T @ together]
    for layer, weight in zip(layers, weights):
        layer.weight.copy_(weight / layer.scale)
        layer.bias.zero_()
    layers[-1].bias.copy_(solution[LEADING] / layers[-1].lr_mul)


def fit_mapping(
    generator,        # a `Generator`, whose mapping network learns
    codes,            # (N,D), what it shall give
    steps=6000,       # of regression; half as many of the game
    pairs=120_000,    # of z and codes
    batch_size=1024,  # pairs a step of regression; half as many of the game
):
    """Let the mapping network do in one step what a flow does in many. Regression alone gives the mean where it cannot follow, so a
    game on the codes' leading directions gives back the spread."""
    flow = fit_flow(codes)
    z = torch.randn(pairs, codes.shape[1])
    z = z / z.square().mean(1, keepdim=True).sqrt()
    wanted = torch.cat([flow.codes(part[:, :LEADING]) for part in z.split(2048)])
    start_linear(generator.style, z[:12_000], wanted[:12_000])
    spread = wanted.var(0).sum()

    def unexplained(picked): return (generator.style(z[picked]) - wanted[picked]).square().sum(1).mean() / spread
    descend([dict(params=list(generator.style.parameters()), lr=.03)], steps, lambda i: unexplained(torch.randint(pairs, (batch_size,))), 1.)
    play(generator.style, flow, codes, z, unexplained, steps // 2, batch_size // 2)


def play(
    mapping,      # the generator's `MappingNetwork`, which learns
    flow,         # a `Flow`, for its principal directions
    codes,        # (N,D), the real ones
    z,            # (M,D)
    unexplained,  # numbers of z -> the loss of the regression, which goes on
    steps,        # of the game
    batch_size,   # of either kind
    start=400,    # steps of the discriminator alone
    weight=.6,    # of the discriminator's score beside the regression
):
    "StyleGAN2's game with codes in place of pictures."
    emphasis = 2 * (flow.scale[:GAME] / flow.scale[0]).sqrt()
    def seen(codes): return flow.scores(codes)[:, :GAME] * emphasis
    widths = GAME, 512, 512, 512
    layers = [part for a, b in zip(widths, widths[1:]) for part in (nn.Linear(a, b), nn.LeakyReLU(.2))]
    discriminator, average = nn.Sequential(*layers, nn.Linear(512, 1)), copy.deepcopy(mapping)
    other = torch.optim.Adam(discriminator.parameters(), 1e-3, betas=(0., .99))

    def loss(i):
        "Of the mapping network, after a step of the discriminator."
        picked = torch.randint(len(z), (batch_size,))
        real, fake = seen(codes[torch.randint(len(codes), (batch_size,))]).requires_grad_(), seen(mapping(z[picked]))
        scores = discriminator(real)
        other.zero_grad()
        (nonsaturating_d_loss(scores, discriminator(fake.detach())) + .25 * r1_penalty(scores, real)).backward()
        other.step()
        with frozen(discriminator): return unexplained(picked) + (i >= start) * weight * nonsaturating_g_loss(discriminator(fake))

    def follow(i): update_average(average, mapping, min(.998, (i + 1) / (i + 10)))
    descend([dict(params=list(mapping.parameters()), lr=.02)], steps, loss, after=follow, betas=(0., .99))
    mapping.load_state_dict(average.state_dict())


def with_mapping(
    generator,  # a `Generator`
    depth,      # layers
) -> Generator:
    "The same generator with a new mapping network."
    made = Generator(generator.config.replace(n_mlp=depth))
    made.load_state_dict(generator.state_dict() | {k: v for k, v in made.state_dict().items() if k.startswith('style.')})
    return made


def fit_generator(
    asit,   # an `ASIT`
    x,      # uint8 images (N,3,64,64)
    steps,  # of drawing
) -> Generator:
    "The shipped generator, drawing and mapping anew."
    generator = channels_last(with_mapping(Generator.from_pretrained('synth64'), 8))
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
