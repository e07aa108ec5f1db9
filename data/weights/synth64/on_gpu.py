"""Train ASIT's encoder, or the generator, on one GPU: python on_gpu.py asit|generator OUT [--seconds N] [--extra GLOB] [--discriminator FILE]

Starts from the shipped weights. A step of `ifer.train_asit` or `ifer.train_generator` is recorded once as a CUDA graph and replayed, for without one such
small networks wait for Python most of the time; the pictures lie on the device. Writes metrics.jsonl, pictures and the average of the weights
into OUT, every `--every` seconds and at the end. Without a GPU it takes the same steps one by one.
"""
import argparse
import json
import math
import time
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import save_file
from timm.optim.muon import _COEFFICIENTS, zeropower_via_newtonschulz
from torch import nn

from ifer import layers, losses
from ifer.config import read_yaml
from ifer.features import jitter
from ifer.train_asit import ASITTraining, TrainASIT, asit_groups
from ifer.train_generator import GeneratorTraining, TrainGenerator

SETTLED = 10**6  # as step number: past every warm-up, due for every regularisation


# Resampling: a matrix along each side, which a GPU applies many times as fast as a convolution of each channel by itself

def filter_matrix(
    n,        # side, px
    pad,      # zeros at each end, px
    stride,   # of the filter, px
    gain,     # of the filter along both sides
    enlarge,  # its transpose
) -> torch.Tensor:  # (n_out,n)
    "The matrix (n_out,n) that filters a side of n px with [1,3,3,1]/8, or its transpose."
    n_out = (n - 1) * stride + 4 - 2 * pad if enlarge else (n + 2 * pad - 4) // stride + 1
    far, near = torch.arange(n_out)[:, None], torch.arange(n)
    tap = far + pad - near * stride if enlarge else near + pad - far * stride
    return gain ** .5 / 8 * torch.tensor([1., 3, 3, 1, 0])[tap.where((tap >= 0) & (tap < 4), 4)]


def resample(
    module,   # `Blur`, `Downsample` or `Upsample`
    x,        # maps (B,C,H,W)
    pad,      # zeros at each edge, px
    stride,   # of the filter, px
    enlarge,  # by the transpose
) -> torch.Tensor:  # (B,C,H_out,W_out)
    "What the module gives, by matrices."
    if not hasattr(module, 'matrices'): module.matrices, module.gain = {}, round(module.kernel.sum().item(), 6)
    def matrix(n):
        key = n, x.dtype, x.device
        if key not in module.matrices: module.matrices[key] = filter_matrix(n, pad, stride, module.gain, enlarge).to(x)
        return module.matrices[key]
    rows = x.movedim(1, 3).contiguous()
    rows = matrix(x.shape[3]) @ rows
    return (matrix(x.shape[2]) @ rows.flatten(2)).unflatten(2, (-1, x.shape[1])).movedim(3, 1)


def resample_by_matrices():
    "From here on, all networks."
    layers.Blur.forward = lambda self, x: resample(self, x, self.pad, 1, False)
    layers.Downsample.forward = lambda self, x: resample(self, x, 1, 2, False)
    layers.Upsample.forward = lambda self, x: resample(self, x, 1, 2, True)


class Muon:
    "timm's Muon, all matrices of one shape at a time, with AdamW for the groups that fall back to it; the rates are tensors."
    def __init__(
        self,
        groups,  # of parameters, as `asit_groups` gives them, each with a tensor () as 'lr'
    ):
        self.param_groups, self.alike, self.average = groups, None, {}
        others = [dict(params=g['params'], lr=g['lr']) for g in groups if g.get('use_fallback')]
        self.adam = torch.optim.AdamW(others, betas=(.9, .99), eps=1e-7, weight_decay=0, capturable=others[0]['lr'].is_cuda)

    def sorted(self):
        "(shape, rate) -> matrices that get a gradient."
        alike = defaultdict(list)
        for g in self.param_groups:
            for p in g['params'] if not g.get('use_fallback') else (): alike[tuple(sorted((len(p), p[0].numel()))), g['lr']].append(p)
        return {k: learning for k, v in alike.items() if (learning := [p for p in v if p.grad is not None])}

    @torch.no_grad()
    def step(self):
        if self.alike is None: self.alike = self.sorted()
        for (shape, rate), parameters in self.alike.items():
            gradients = torch.stack([_wide(p.grad) for p in parameters])
            average = self.average.setdefault((shape, rate), torch.zeros_like(gradients)).lerp_(gradients, .05)
            update = zeropower_via_newtonschulz(average, 5, _COEFFICIENTS['quintic'], eps=1e-7).float() * (-.2 * shape[1] ** .5 * rate)
            torch._foreach_add_(parameters, [(u.mT if len(p) > p[0].numel() else u).reshape(p.shape) for u, p in zip(update, parameters)])
        self.adam.step()

    def zero_grad(self, set_to_none=True):
        for g in self.param_groups:
            for p in g['params']: p.grad = None


def _wide(matrix):
    "A matrix, or a kernel as one, with no more rows than columns."
    flat = matrix.flatten(1)
    return flat.mT if flat.shape[0] > flat.shape[1] else flat


class Graphs(dict):
    "Name -> a step, recorded; without a GPU the step itself."
    pool = stream = None
    def record(
        self,
        name,    # of the step
        step,    # function without arguments that takes it and gives its scalars
        warm=2,  # how often it is taken before it is recorded
    ):
        "Take the step a few times, then record it."
        if not torch.cuda.is_available(): self[name] = step; return
        stream = self.stream = self.stream or torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(warm): step()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool, stream=stream): said = step()
        self.pool = graph.pool()
        def replay():
            graph.replay()
            return said
        self[name] = replay


class Pictures:
    "The training images on the device, epoch by epoch in random order, mirrored by chance."
    def __init__(
        self,
        ds,          # an `ImageSet`
        batch_size,  # images
        device,      # a `torch.device`
        seed,        # of the order, an int
    ):
        self.pixels, self.n, self.random = ds.tensors()[0].to(device), batch_size, torch.Generator().manual_seed(seed)
        self.order = torch.zeros(len(self.pixels), dtype=torch.long, device=device)  # made before the graphs, as all that lasts beside them
        self.at, self.place = self.order[:batch_size].clone(), len(self.order)

    def move(self):
        "Choose the next batch."
        if self.place + self.n > len(self.order):
            self.order.copy_(torch.randperm(len(self.order), generator=self.random))
            self.place = 0
        self.at.copy_(self.order[self.place:self.place + self.n])
        self.place += self.n

    def batch(self):
        "The chosen images, as a training gets them."
        x = self.pixels[self.at] / 127.5 - 1
        x = torch.where(torch.rand(len(x), 1, 1, 1, device=x.device) < .5, x.flip(3), x).contiguous(memory_format=torch.channels_last)
        return SimpleNamespace(images=x, sources=x)


class Clock:
    "How much of the time is over, and what is written meanwhile."
    def __init__(
        self,
        training,  # a `Training`
        network,   # the average that is saved
        args,      # of the command line
    ):
        self.training, self.network, self.args, self.out = training, network, args, Path(args.out)
        self.start, self.due = time.time(), args.every
        (self.out/'images').mkdir(parents=True, exist_ok=True)

    def over(self): "Share of the time, from 0 to 1."; return (time.time() - self.start) / self.args.seconds

    def rate(
        self,
        flat,  # share of the time, in [0,1)
    ):
        "Relative rate: 1 for so long, then half a cosine to 0."
        return .5 + .5 * math.cos(math.pi * min(1, max(0, (self.over() - flat) / (1 - flat))))

    def note(
        self,
        step,           # its number
        split='train',  # or 'val'
        **values,       # name -> number or tensor ()
    ):
        "A line of metrics.jsonl."
        row = dict(step=step, split=split, seconds=round(time.time() - self.start, 1)) | {k: float(v) for k, v in values.items()}
        with open(self.out/'metrics.jsonl', 'a') as f: f.write(json.dumps(row) + '\n')
        print(row)

    def keep(self, step):
        "Validate, draw and save."
        t = self.training
        with t.evaluation():
            torch._foreach_add_(list(self.network.parameters()), 0.)  # a graph changes weights behind the back of what is prepared from them
            self.note(step, 'val', **t.validate())
            t.picture().save(self.out/'images'/f'{step:07d}.png')
        self.network.save_pretrained(self.out, dtype=torch.float16, step=step)
        self.due = time.time() - self.start + self.args.every


def asit(args):
    "The encoder goes on; the generator rests."
    o = TrainASIT(**read_yaml('synth64_asit_9')).replace(batch_size=128, extra=args.extra, checkpoint_path='synth64', precision='bf16', val_images=560)
    t = ASITTraining(o)
    rates = [torch.tensor(0., device=t.device) for _ in range(2)]
    groups = asit_groups(t.asit, o)
    for g, r in zip(groups, rates): g['lr'] = r
    t.optimizers['asit'] = Muon(groups)
    pictures, graphs, clock = Pictures(t.train_set, o.batch_size, t.device, o.seed), Graphs(), Clock(t, t.average, args)
    def step():
        return t.step(pictures.batch(), SETTLED)
    pictures.move()
    for k in range(4):  # one in three batches is blurred, by three fixed sizes
        losses.jitter = lambda *pair, **options: jitter(*pair, blur=min(k, 1), **options)
        graphs.record(k, step)
    chance, i = torch.Generator().manual_seed(o.seed), 0
    while clock.over() < 1:
        for r in rates: r.fill_(o.learning_rate * min(1, i / 150) * clock.rate(.5))
        pictures.move()
        said = graphs[max(0, torch.randint(-5, 4, (), generator=chance).item())]()
        i += 1
        if i % 50 == 0: clock.note(i, rate=rates[0], **said)
        if time.time() - clock.start > clock.due: clock.keep(i)
    clock.keep(i)


def generator(args):
    "The game: the discriminator begins alone, and the generator learns as fast as it can follow."
    torch.backends.cudnn.benchmark = True
    o = TrainGenerator(autoencoder=False, initial='synth64', initial_discriminator=args.discriminator, extra=args.extra, precision='bf16', batch_size=64,
                       learning_rate=2e-4, discriminator_lr=10, r1_gamma=.1, path_interval=8, augment_target=0, ema_images=20_000, val_images=560)
    t = GeneratorTraining(o)
    rates = {name: torch.tensor(0., device=t.device) for name in ('generator', 'discriminator')}
    for name, rate in rates.items(): t.optimizers[name] = torch.optim.Adam(getattr(t, name).parameters(), rate, betas=(0., .99), capturable=rate.is_cuda)
    t.augment.forward = nn.Identity()
    pictures, graphs, clock = Pictures(t.train_set, o.batch_size, t.device, o.seed), Graphs(), Clock(t, t.average, args)
    def step(alone, i):
        "The step that begins alone, or one of the game; `i` says which regularisation it has."
        def take():
            o.head_start = 2 * SETTLED if alone else 0
            return t.step(pictures.batch(), SETTLED + i)
        return take
    pictures.move()
    for name, alone, i in (('alone', True, 1), ('alone R1', True, 0), ('game', False, 1), ('game path', False, 8), ('game R1', False, 0)): graphs.record(name, step(alone, i))
    i, head, fast, heard = 0, 400, o.learning_rate, []
    while clock.over() < 1:
        fall = max(.05, clock.rate(.6))
        rates['discriminator'].fill_(10 * o.learning_rate * fall)
        rates['generator'].fill_(fast * fall * min(1, max(0, i - head) / 200))
        pictures.move()
        kind = 'R1' if i % 16 == 0 else 'path' if i % 8 == 0 and i >= head else ''
        said = graphs[f"{'game' if i >= head else 'alone'} {kind}".strip()]()
        i += 1
        if i % 10 == 0: heard.append(said['d_loss'].item())
        if i % 100 == 0 and i > head + 200:
            mean, heard = sum(heard) / len(heard), []
            fast = min(1e-3, max(5e-5, fast * (1.08 if mean < .85 else .92 if mean > 1.1 else 1)))
        if i % 50 == 0: clock.note(i, rate=rates['generator'], **said)
        if time.time() - clock.start > clock.due: clock.keep(i)
    clock.keep(i)
    save_file({k: v.contiguous() for k, v in t.discriminator.state_dict().items()}, clock.out/'discriminator.safetensors')  # what `--discriminator` takes


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('kind', choices=('asit', 'generator'))
    parser.add_argument('out')
    parser.add_argument('--seconds', type=float, default=400)
    parser.add_argument('--every', type=float, default=100)
    parser.add_argument('--extra', default='')
    parser.add_argument('--discriminator', default='', help='the one to begin with')
    args = parser.parse_args()
    resample_by_matrices()
    dict(asit=asit, generator=generator)[args.kind](args)
