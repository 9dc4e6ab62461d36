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
    r"""Square the Euclidean length of vectors, :math:`\lVert z \rVert^2`.

    Parameters
    ----------
    z : Tensor of shape (..., d)
        Vectors.

    Returns
    -------
    Tensor of shape (...)
        The squared lengths.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.losses import squared_norm
    >>> squared_norm(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([25., 0.])
    """
    return z.square().sum(-1)


def norm(z: Tensor) -> Tensor:
    r"""Compute the Euclidean length of vectors, :math:`\lVert z \rVert`.

    Parameters
    ----------
    z : Tensor of shape (..., d)
        Vectors.

    Returns
    -------
    Tensor of shape (...)
        The lengths; their gradient is 0 at 0.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.losses import norm
    >>> norm(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([5., 0.])
    """
    squared = squared_norm(z)
    zero = squared == 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, squared).sqrt())


def l1_norm(z: Tensor) -> Tensor:
    r"""Sum the absolute values of vectors, :math:`\lVert z \rVert_1`.

    Parameters
    ----------
    z : Tensor of shape (..., d)
        Vectors.

    Returns
    -------
    Tensor of shape (...)
        The sums.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.losses import l1_norm
    >>> l1_norm(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([7., 0.])
    """
    return z.abs().sum(-1)


def pseudo_huber(z: Tensor) -> Tensor:
    r"""Compute :math:`\sqrt{\lVert z \rVert^2 + 1} - 1` of vectors.

    Parameters
    ----------
    z : Tensor of shape (..., d)
        Vectors.

    Returns
    -------
    Tensor of shape (...)
        About half the squared length of short vectors, and the length of long ones.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.losses import pseudo_huber
    >>> pseudo_huber(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([4.0990, 0.0000])
    """
    # Where the square overflows, the quotient would be NaN.
    squared = squared_norm(z).clamp(max=torch.finfo(z.dtype).max)
    # The difference itself would be 0 in float32 for small vectors.
    return squared / ((squared + 1.0).sqrt() + 1.0)


def one_class(distance: Tensor, y: Tensor) -> Tensor:
    """Give the distance itself, whatever the label.

    Parameters
    ----------
    distance : Tensor of shape (n,)
        Distances to the centre, at least 0.
    y : Tensor of shape (n,)
        Labels: > 0 normal, 0 unlabeled, < 0 anomalous.

    Returns
    -------
    Tensor of shape (n,)
        The loss of each row.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.losses import one_class
    >>> distance = torch.tensor([1.0, 4.0])
    >>> one_class(distance, y=torch.tensor([0, -1]))
    tensor([1., 4.])
    """
    return distance


def soft_boundary(distance: Tensor, y: Tensor, radius_squared: Tensor, nu: Tensor) -> Tensor:
    r"""Give :math:`R^2 + \frac{1}{\nu} \max(0, d - R^2)`, whatever the label.

    Parameters
    ----------
    distance : Tensor of shape (n,)
        Distances to the centre, d, at least 0.
    y : Tensor of shape (n,)
        Labels: > 0 normal, 0 unlabeled, < 0 anomalous.
    radius_squared : Tensor of shape ()
        :math:`R^2`, the squared radius.
    nu : Tensor of shape ()
        :math:`\nu`, in (0, 1].

    Returns
    -------
    Tensor of shape (n,)
        The loss of each row.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.losses import soft_boundary
    >>> distance = torch.tensor([1.0, 4.0])
    >>> y, radius_squared, nu = torch.tensor([0, 0]), torch.tensor(2.0), torch.tensor(0.5)
    >>> soft_boundary(distance, y, radius_squared, nu)
    tensor([2., 6.])
    """
    return radius_squared + torch.relu(distance - radius_squared) / nu


def deep_sad(distance: Tensor, y: Tensor, eta: Tensor) -> Tensor:
    r"""Draw unlabeled and normal rows to the centre, and push anomalies away.

    :math:`d` for unlabeled rows, :math:`\eta d` for normal ones and :math:`\eta / (d + 10^{-6})`
    for anomalies.

    Parameters
    ----------
    distance : Tensor of shape (n,)
        Distances to the centre, d, at least 0.
    y : Tensor of shape (n,)
        Labels: > 0 normal, 0 unlabeled, < 0 anomalous.
    eta : Tensor of shape ()
        :math:`\eta`, the weight of labeled rows.

    Returns
    -------
    Tensor of shape (n,)
        The loss of each row.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.losses import deep_sad
    >>> distance = torch.tensor([4.0, 4.0, 4.0])
    >>> deep_sad(distance, y=torch.tensor([0, 1, -1]), eta=torch.tensor(2.0))
    tensor([4.0000, 8.0000, 0.5000])
    """
    reciprocal = 1.0 / (torch.where(y < 0, distance, 1.0) + DEEP_SAD_EPS)
    return _near_or_far(distance, reciprocal, y, eta)


def hypersphere_classification(distance: Tensor, y: Tensor, eta: Tensor) -> Tensor:
    r"""Take cross-entropy with :math:`e^{-h}` for the probability of a normal row.

    :math:`h` for unlabeled rows, :math:`\eta h` for normal ones and
    :math:`-\eta \log(1 - e^{-h})` for anomalies.

    Parameters
    ----------
    distance : Tensor of shape (n,)
        Distances to the centre, h, at least 0.
    y : Tensor of shape (n,)
        Labels: > 0 normal, 0 unlabeled, < 0 anomalous.
    eta : Tensor of shape ()
        :math:`\eta`, the weight of labeled rows.

    Returns
    -------
    Tensor of shape (n,)
        The loss of each row.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.losses import hypersphere_classification
    >>> distance = torch.tensor([0.5, 0.5, 3.0])
    >>> hypersphere_classification(distance, y=torch.tensor([0, -1, -1]), eta=torch.tensor(1.0))
    tensor([0.5000, 0.9328, 0.0511])
    """
    return _near_or_far(distance, minus_log_one_minus_exp(distance), y, eta)


def minus_log_one_minus_exp(h: Tensor) -> Tensor:
    r"""Compute :math:`-\log(1 - e^{-h})`, finite with finite gradients.

    Parameters
    ----------
    h : Tensor of shape (...)
        Numbers of at least 0; those below :data:`LEAST_DISTANCE` count as that much.

    Returns
    -------
    Tensor of shape (...)
        Large where h is small.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.losses import minus_log_one_minus_exp
    >>> minus_log_one_minus_exp(torch.tensor([0.5, 3.0]))
    tensor([0.9328, 0.0511])
    """
    h = h.clamp(min=LEAST_DISTANCE)
    # Each form loses all digits where the other is exact.
    near = h < math.log(2.0)
    by_expm1 = torch.log(-torch.expm1(-torch.where(near, h, 1.0)))
    by_log1p = torch.log1p(-torch.exp(-torch.where(near, 1.0, h)))
    return -torch.where(near, by_expm1, by_log1p)


def context_description(distance: Tensor, y: Tensor, eta: Tensor) -> Tensor:
    r"""Draw unlabeled and normal texts to their contexts, and push anomalies away.

    With a cosine distance :math:`d \in [0, 1]`, it is :math:`d` for unlabeled texts, :math:`\eta d`
    for normal ones and :math:`-\eta \log d` for anomalies.

    Parameters
    ----------
    distance : Tensor of shape (n,)
        Distances, d; those below :data:`LEAST_DISTANCE` count as that much for anomalies.
    y : Tensor of shape (n,)
        Labels: > 0 normal, 0 unlabeled, < 0 anomalous.
    eta : Tensor of shape ()
        :math:`\eta`, the weight of labeled texts.

    Returns
    -------
    Tensor of shape (n,)
        The loss of each text.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.losses import context_description
    >>> distance = torch.tensor([0.5, 0.5, 0.5])
    >>> context_description(distance, y=torch.tensor([0, 1, -1]), eta=torch.tensor(2.0))
    tensor([0.5000, 1.0000, 1.3863])
    """
    far = -torch.log(torch.where(y < 0, distance, 1.0).clamp(min=LEAST_DISTANCE))
    return _near_or_far(distance, far, y, eta)


def _near_or_far(distance: Tensor, far: Tensor, y: Tensor, eta: Tensor) -> Tensor:
    """Take the distance of unlabeled and normal rows, ``far`` of anomalies; weigh labeled rows."""
    labeled = eta * torch.where(y < 0, far, distance)
    return torch.where(y == 0, distance, labeled)


def cross_entropy(logit: Tensor, y: Tensor) -> Tensor:
    r"""Take cross-entropy of anomalies against all other rows.

    :math:`\log(1 + e^{-l})` for anomalies and :math:`\log(1 + e^l)` for others.

    Parameters
    ----------
    logit : Tensor of shape (n,)
        Logits l of being an anomaly.
    y : Tensor of shape (n,)
        Labels: > 0 normal, 0 unlabeled, < 0 anomalous.

    Returns
    -------
    Tensor of shape (n,)
        The loss of each row.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.losses import cross_entropy
    >>> logit = torch.tensor([0.0, 2.0, 2.0])
    >>> cross_entropy(logit, y=torch.tensor([0, 0, -1]))
    tensor([0.6931, 2.1269, 0.1269])
    """
    return functional.softplus(torch.where(y < 0, -logit, logit))


def focal(logit: Tensor, y: Tensor, gamma: Tensor, alpha: Tensor) -> Tensor:
    r"""Take the focal loss of anomalies against all other rows.

    :math:`-a (1 - p)^\gamma \log p`, where p is the probability of the row's own kind, and
    :math:`a` is :math:`\alpha` for anomalies and :math:`1 - \alpha` for others.

    Parameters
    ----------
    logit : Tensor of shape (n,)
        Logits of being an anomaly.
    y : Tensor of shape (n,)
        Labels: > 0 normal, 0 unlabeled, < 0 anomalous.
    gamma : Tensor of shape ()
        :math:`\gamma`, at least 0: the larger, the less rows count that are well classified.
    alpha : Tensor of shape ()
        :math:`\alpha`, in (0, 1): the weight of anomalies.

    Returns
    -------
    Tensor of shape (n,)
        The loss of each row.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.losses import focal
    >>> logit = torch.tensor([0.0, 2.0, 2.0])
    >>> focal(logit, y=torch.tensor([0, 0, -1]), gamma=torch.tensor(2.0), alpha=torch.tensor(0.5))
    tensor([0.0866, 0.8250, 0.0009])
    """
    minus_log_p = cross_entropy(logit, y)
    # 1 - p = exp(log(1 - p)), from the logit: 1 - exp(-minus_log_p) would lose its digits.
    log_other = -functional.softplus(torch.where(y < 0, logit, -logit))
    return torch.where(y < 0, alpha, 1.0 - alpha) * torch.exp(gamma * log_other) * minus_log_p


def squared_error(x: Tensor, reconstruction: Tensor) -> Tensor:
    r"""Average the squared error over the D features of a row.

    :math:`\frac{1}{D} \lVert x - \hat x \rVert^2`.

    Parameters
    ----------
    x, reconstruction : Tensor of shape (n, ...)
        Rows, and what has been made of them.

    Returns
    -------
    Tensor of shape (n,)
        The mean squared error of each row.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.losses import squared_error
    >>> squared_error(torch.tensor([[1.0, 2.0]]), reconstruction=torch.tensor([[1.0, 4.0]]))
    tensor([2.])
    """
    return (x - reconstruction).square().flatten(1).mean(-1)


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    r"""Compute the Kullback-Leibler divergence of normal distributions from the standard one.

    :math:`\frac{1}{2} \sum_j (\mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2)`.

    Parameters
    ----------
    mean, log_variance : Tensor of shape (..., d)
        :math:`\mu` and :math:`\log \sigma^2`.

    Returns
    -------
    Tensor of shape (...)
        The divergence, at least 0.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.losses import gaussian_kl
    >>> gaussian_kl(mean=torch.tensor([[0.0, 0.0], [1.0, 2.0]]), log_variance=torch.zeros(2, 2))
    tensor([0.0000, 2.5000])
    """
    return 0.5 * (mean.square() + torch.expm1(log_variance) - log_variance).sum(-1)


def gaussian_log_likelihood(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Sum the logarithm of the normal density over the features of a row.

    Parameters
    ----------
    x : Tensor of shape (n, ...)
        Rows.
    mean, log_variance : Tensor of shape (n, ...)
        Of each feature's normal distribution.

    Returns
    -------
    Tensor of shape (n,)
        The logarithm of each row's density.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.losses import gaussian_log_likelihood
    >>> x = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    >>> gaussian_log_likelihood(x, mean=torch.zeros(2, 2), log_variance=torch.zeros(2, 2))
    tensor([-1.8379, -4.3379])
    """
    squared = (x - mean).square() * torch.exp(-log_variance)
    return -0.5 * (squared + log_variance + math.log(2.0 * math.pi)).flatten(1).sum(-1)


def bernoulli_log_likelihood(x: Tensor, logit: Tensor) -> Tensor:
    r"""Sum :math:`x \log p + (1 - x) \log(1 - p)` over the features of a row.

    Parameters
    ----------
    x : Tensor of shape (n, ...)
        Rows, of values between 0 and 1.
    logit : Tensor of shape (n, ...)
        l, where :math:`p = 1 / (1 + e^{-l})`.

    Returns
    -------
    Tensor of shape (n,)
        The logarithm of each row's likelihood.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.losses import bernoulli_log_likelihood
    >>> x = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    >>> bernoulli_log_likelihood(x, logit=torch.tensor([[-2.0, 2.0], [0.0, 0.0]]))
    tensor([-0.2539, -1.3863])
    """
    return (
        -functional.binary_cross_entropy_with_logits(logit, x, reduction="none").flatten(1).sum(-1)
    )
