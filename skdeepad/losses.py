"""Losses of one row each: pure functions of a distance and a label.

They hold ``torch.where`` and last-axis reductions only, no boolean indexing and no branch on data,
so that ``torch.func.vmap`` can stack many models; the branch that ``where`` does not choose gets a
safe input, because its gradient is computed all the same.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

DEEP_SAD_EPS = 1e-6
"""Added to a distance before its reciprocal is taken, as in the authors' experiments."""

LEAST_DISTANCE = 1e-30
"""Distances below count as this much before their logarithm is taken."""


def squared_norm(z: Tensor) -> Tensor:
    r""":math:`\lVert z \rVert^2` of vectors (..., d): (...)."""
    return z.square().sum(-1)


def norm(z: Tensor) -> Tensor:
    r""":math:`\lVert z \rVert` of vectors (..., d), with gradient 0 at 0: (...)."""
    squared = squared_norm(z)
    zero = squared == 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, squared).sqrt())


def l1_norm(z: Tensor) -> Tensor:
    r""":math:`\lVert z \rVert_1` of vectors (..., d): (...)."""
    return z.abs().sum(-1)


def pseudo_huber(z: Tensor) -> Tensor:
    r""":math:`\sqrt{\lVert z \rVert^2 + 1} - 1` of vectors (..., d): (...)."""
    # Where the square overflows, the quotient would be NaN.
    squared = squared_norm(z).clamp(max=torch.finfo(z.dtype).max)
    # The difference itself would be 0 in float32 for small vectors.
    return squared / ((squared + 1.0).sqrt() + 1.0)


def one_class(distance: Tensor, y: Tensor) -> Tensor:
    """Give the distance itself, whatever the label: (n,)."""
    return distance


def soft_boundary(distance: Tensor, y: Tensor, radius_squared: Tensor, nu: Tensor) -> Tensor:
    r""":math:`R^2 + \frac{1}{\nu} \max(0, d - R^2)`, whatever the label: (n,)."""
    return radius_squared + torch.relu(distance - radius_squared) / nu


def deep_sad(distance: Tensor, y: Tensor, eta: Tensor) -> Tensor:
    r"""By label 0, > 0, < 0: :math:`d`, :math:`\eta d`, :math:`\eta / (d + 10^{-6})`: (n,)."""
    anomalous = y < 0
    reciprocal = 1.0 / (torch.where(anomalous, distance, 1.0) + DEEP_SAD_EPS)
    labeled = eta * torch.where(anomalous, reciprocal, distance)
    return torch.where(y == 0, distance, labeled)


def hypersphere_classification(distance: Tensor, y: Tensor, eta: Tensor) -> Tensor:
    r"""By label 0, > 0, < 0: :math:`h`, :math:`\eta h`, :math:`-\eta \log(1 - e^{-h})`: (n,).

    That is binary cross-entropy with :math:`e^{-h}` for the probability of a normal row.
    """
    anomalous = y < 0
    labeled = eta * torch.where(anomalous, minus_log_one_minus_exp(distance), distance)
    return torch.where(y == 0, distance, labeled)


def minus_log_one_minus_exp(h: Tensor) -> Tensor:
    r""":math:`-\log(1 - e^{-h})` for h >= 0, finite with finite gradients, of any shape."""
    h = h.clamp(min=LEAST_DISTANCE)
    # Each form loses all digits where the other is exact.
    near = h < math.log(2.0)
    by_expm1 = torch.log(-torch.expm1(-torch.where(near, h, 1.0)))
    by_log1p = torch.log1p(-torch.exp(-torch.where(near, 1.0, h)))
    return -torch.where(near, by_expm1, by_log1p)


def cross_entropy(logit: Tensor, y: Tensor) -> Tensor:
    r""":math:`\log(1 + e^{-l})` for y < 0, else :math:`\log(1 + e^l)`: (n,).

    The logit :math:`l` is that of an anomaly.
    """
    return functional.softplus(torch.where(y < 0, -logit, logit))


def focal(logit: Tensor, y: Tensor, gamma: Tensor, alpha: Tensor) -> Tensor:
    r""":math:`-a (1 - p)^\gamma \log p`, p being the probability of the row's own kind: (n,).

    :math:`a` is :math:`\alpha` for y < 0, else :math:`1 - \alpha`.
    """
    minus_log_p = cross_entropy(logit, y)
    # 1 - p = exp(log(1 - p)), from the logit: 1 - exp(-minus_log_p) would lose its digits.
    log_other = -functional.softplus(torch.where(y < 0, logit, -logit))
    return torch.where(y < 0, alpha, 1.0 - alpha) * torch.exp(gamma * log_other) * minus_log_p


def squared_error(x: Tensor, reconstruction: Tensor) -> Tensor:
    r""":math:`\frac{1}{D} \lVert x - \hat x \rVert^2` over all D features of a row: (n,)."""
    return (x - reconstruction).square().flatten(1).mean(-1)


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    r"""Kullback-Leibler divergence of N(mean, variance) from N(0, 1), vectors (..., d): (...).

    :math:`\frac{1}{2} \sum_j (\mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2)`.
    """
    return 0.5 * (mean.square() + torch.expm1(log_variance) - log_variance).sum(-1)


def gaussian_log_likelihood(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Logarithm of the normal density of each row, summed over its features: (n,)."""
    squared = (x - mean).square() * torch.exp(-log_variance)
    return -0.5 * (squared + log_variance + math.log(2.0 * math.pi)).flatten(1).sum(-1)


def bernoulli_log_likelihood(x: Tensor, logit: Tensor) -> Tensor:
    r""":math:`x \log p + (1 - x) \log(1 - p)`, summed over the features of a row: (n,).

    :math:`p = 1 / (1 + e^{-l})` for the logit :math:`l`.
    """
    return (
        -functional.binary_cross_entropy_with_logits(logit, x, reduction="none").flatten(1).sum(-1)
    )
