"""A summary of noisy data that is learnt: the mean of the parameters given the data, by ridge regression plus a small network.

Fearnhead & Prangle (2012): of all summaries as small as the parameters, the posterior mean loses least. Folds are of whole
runs, never of noise copies of one run: each run is summarised by a network that has not seen it, and the observed data by the
same network, so that differences from the observed summary are honest.

References:
    Fearnhead, P. & Prangle, D. (2012). Constructing summary statistics for approximate Bayesian computation. JRSS B 74.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

FOLDS = 4
PENALTIES = tuple(10.0**power for power in (-4.0, -3.0, -2.0, -1.0, 0.0))
HIDDEN, BATCH, STEPS, EVERY, PATIENCE = 32, 256, 600, 25, 5
RATE, DECAY = 4e-3, 1e-3
FARTHEST = 6.0  # sds at which a standardised feature is cut


@dataclass(frozen=True, eq=False)
class Features:
    """Maps data to standardised features: square roots of counts, inverse hyperbolic sines of other data.

    Attributes:
        counts: whether the data are treated as counts.
        centre: `[K]`.
        scale: `[K]`.
        kept: entries that vary, `[K]` bool.
        mean: of the kept entries after the map, `[F]`.
        sd: of the kept entries after the map, `[F]`.
    """

    counts: bool
    centre: Tensor
    scale: Tensor
    kept: Tensor
    mean: Tensor
    sd: Tensor

    @staticmethod
    def of(data: Tensor, observed: Tensor) -> Features:
        """The map for simulated data `[N, K]` and observed `[K]`; entries that are constant are left out."""
        counts = bool((data >= 0).all() and (observed >= 0).all())
        centre = data.median(0).values
        apart = (data - centre).abs().quantile(0.75, dim=0)
        scale = torch.where(apart > 0, apart, data.std(0)).clamp_min(1e-300)
        mapped = _map(data, counts, centre, scale)
        sd = mapped.std(0)
        kept = sd > 1e-9
        return Features(counts, centre, scale, kept, mapped.mean(0)[kept], sd[kept])

    def __call__(self, data: Tensor) -> Tensor:
        """Features `[..., F]` of data `[..., K]`."""
        mapped = _map(data, self.counts, self.centre, self.scale)[..., self.kept]
        return ((mapped - self.mean) / self.sd).clamp(-FARTHEST, FARTHEST)


def _map(data: Tensor, counts: bool, centre: Tensor, scale: Tensor) -> Tensor:
    return data.clamp_min(0.0).sqrt() if counts else torch.asinh((data - centre) / scale)


def differences(
    features: Tensor, observed: Tensor, z: Tensor, weight: Tensor, generator: torch.Generator, network: bool = True
) -> Tensor:
    """Learn summaries and subtract the observed one.

    Args:
        features: of C noisy data of each run, `[N, C, F]`.
        observed: features of the data, `[F]`.
        z: parameters of the runs, `[N, D]`.
        weight: of the runs in learning, normalised, `[N]`.
        generator: of folds, starts and batches.
        network: whether a network follows the ridge regression.

    Returns:
        Summary of each noisy data set minus that of the data, `[N, C, D]`, in units of z.
    """
    count = len(z)
    fold = torch.arange(count)[torch.randperm(count, generator=generator)] % FOLDS
    centre = weight @ z
    scale = (weight @ (z - centre) ** 2).sqrt().clamp_min(1e-9)
    target = (z - centre) / scale
    inputs = torch.cat([features.new_ones(*features.shape[:2], 1), features], -1)
    coefficients = _ridge(inputs, target, weight, fold)  # [fold, 1 + F, D]
    first = torch.einsum("ncf,nfd->ncd", inputs, coefficients[fold])
    data_row = torch.cat([observed.new_ones(1), observed])
    first_of_data = torch.einsum("f,kfd->kd", data_row, coefficients)
    if network:
        every = torch.einsum("ncf,kfd->kncd", inputs, coefficients)
        nets = _train(features, every, target, weight, fold, generator)
        own = [w[fold] for w in nets]
        first = first + _forward(own, torch.cat([features, first], -1))
        joined = torch.cat([observed.expand(FOLDS, -1), first_of_data], -1)
        first_of_data = first_of_data + _forward(nets, joined[:, None])[:, 0]
    return (first - first_of_data[fold][:, None]) * scale


def _ridge(inputs: Tensor, target: Tensor, weight: Tensor, fold: Tensor) -> Tensor:
    """Coefficients without each fold, `[fold, 1 + F, D]`; each target's penalty predicts the folds left out best."""
    copies, size = inputs.shape[1:]
    grams, products = [], []
    for k in range(FOLDS):
        part = inputs[fold == k]
        weighted = part * (weight[fold == k] / copies)[:, None, None]
        grams.append(torch.einsum("ncf,ncg->fg", weighted, part))
        products.append(torch.einsum("ncf,nd->fd", weighted, target[fold == k]))
    whole, product = torch.stack(grams).sum(0), torch.stack(products).sum(0)
    identity = torch.eye(size).to(inputs)
    identity[0, 0] = 1e-8
    found, errors = [], []
    for penalty in PENALTIES:
        parts = torch.stack(
            [
                torch.linalg.solve(whole - g + penalty * identity, product - p)
                for g, p in zip(grams, products, strict=True)
            ]
        )
        found.append(parts)
        # squared error of the fold left out, but for the part that no coefficient changes
        errors.append(
            sum(
                torch.einsum("fd,fg,gd->d", b, g, b) - 2 * (b * p).sum(0)
                for b, g, p in zip(parts, grams, products, strict=True)
            )
        )
    best = torch.stack([torch.as_tensor(e) for e in errors]).argmin(0)
    return torch.stack([found[int(best[d])][..., d] for d in range(target.shape[1])], -1)


def _forward(weights: list[Tensor], x: Tensor) -> Tensor:
    """Networks side by side: `x [K, B, in]` to `[K, B, D]`."""
    w1, b1, w2, b2, w3, b3 = weights
    hidden = torch.tanh(torch.baddbmm(b1[:, None], x, w1))
    hidden = torch.tanh(torch.baddbmm(b2[:, None], hidden, w2))
    return torch.baddbmm(b3[:, None], hidden, w3)


def _train(
    features: Tensor, ridge: Tensor, target: Tensor, weight: Tensor, fold: Tensor, generator: torch.Generator
) -> list[Tensor]:
    """One network a fold on what ridge regression leaves, stopped where a tenth of the runs kept apart is predicted best."""
    count, copies, size = features.shape
    dim = target.shape[1]
    apart = torch.rand(count, generator=generator) < 0.1
    learn = torch.stack([torch.where((fold != k) & ~apart, weight, 0.0) for k in range(FOLDS)])
    judge = torch.stack([torch.where((fold != k) & apart, weight, 0.0) for k in range(FOLDS)])
    shapes = ((size + dim, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, dim))
    weights: list[Tensor] = []
    for into, out in shapes:
        start = torch.randn(FOLDS, into, out, generator=generator, dtype=features.dtype) / math.sqrt(into)
        weights += [start * (0.0 if out == dim and into == HIDDEN else 1.0), torch.zeros(FOLDS, out).to(features)]
    if int((judge > 0).sum(1).min()) < 3:
        return weights
    adam = torch.optim.AdamW([w.requires_grad_() for w in weights], lr=RATE, weight_decay=DECAY)
    place = torch.arange(FOLDS)[:, None]
    tested = [torch.nonzero(judge[k]).squeeze(1) for k in range(FOLDS)]

    def loss_apart() -> Tensor:
        out = []
        with torch.no_grad():
            for k, runs in enumerate(tested):
                x = torch.cat([features[runs, 0], ridge[k][runs, 0]], -1)
                made = _forward([w[k : k + 1] for w in weights], x[None])[0] + ridge[k][runs, 0]
                out.append(judge[k][runs] @ ((made - target[runs]) ** 2).sum(-1))
        return torch.stack(out)

    best, kept, waited = loss_apart(), [w.detach().clone() for w in weights], 0
    for step in range(STEPS):
        for group in adam.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * step / STEPS))
        pick = torch.multinomial(learn, BATCH, replacement=True, generator=generator)
        copy = torch.randint(copies, pick.shape, generator=generator)
        base = ridge[place, pick, copy]
        made = _forward(weights, torch.cat([features[pick, copy], base], -1)) + base
        loss = ((made - target[pick]) ** 2).sum(-1).mean(1).sum()
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        if step % EVERY == EVERY - 1:
            reached = loss_apart()
            better = reached < best
            best = torch.where(better, reached, best)
            for stored, new in zip(kept, weights, strict=True):
                stored[better] = new.detach()[better]
            waited = 0 if bool(better.any()) else waited + 1
            if waited == PATIENCE:
                break
    return kept
