"""Multilayer perceptrons for tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class Squash(nn.Module):
    r"""Let values beyond a limit grow by their logarithm only.

    .. math::

        f(x) = \begin{cases}
            x & |x| \le k \\
            \operatorname{sign}(x) \, k \, (1 + \log(|x| / k)) & |x| > k
        \end{cases}

    is smooth, increasing, unbounded, and 0 at 0. Heavy-tailed features would otherwise rule the
    distances.

    Parameters
    ----------
    limit : float
        k, in the units of the features.
    """

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, x: Tensor) -> Tensor:
        """Squash each value of x."""
        size = x.abs()
        # log is given at least 1, so that values within the limit send no gradient through it.
        beyond = self.limit * (1.0 + torch.log(torch.clamp(size / self.limit, min=1.0)))
        return torch.where(size <= self.limit, x, torch.sign(x) * beyond)


class BranchLinear(nn.Module):
    """A linear layer of several branches that do not see each other.

    Parameters
    ----------
    n_branches : int
        Number of branches.
    inputs, outputs : int
        Sizes in each branch.
    bias : bool, default=False
        Whether it has bias terms.
    """

    def __init__(self, n_branches: int, inputs: int, outputs: int, bias: bool = False) -> None:
        super().__init__()
        self.weight: nn.Parameter = nn.Parameter(torch.empty(n_branches, outputs, inputs))
        self.bias: nn.Parameter | None = (
            nn.Parameter(torch.empty(n_branches * outputs)) if bias else None
        )
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(inputs), 1 / math.sqrt(inputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, n_branches * inputs) to (n, n_branches * outputs)."""
        n_branches, outputs, inputs = self.weight.shape
        branches = x.view(-1, n_branches, inputs).transpose(0, 1)  # (n_branches, n, inputs)
        mapped = torch.bmm(branches, self.weight.transpose(1, 2))
        mapped = mapped.transpose(0, 1).reshape(-1, n_branches * outputs)
        return mapped if self.bias is None else mapped + self.bias


class MLP(nn.Sequential):
    r"""Linear-BatchNorm-LeakyReLU blocks and a linear output layer.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of one row; it is flattened.
    hidden_layer_sizes : tuple of int, default=(32, 16, 8)
        Units of each layer; the last is the size of the code.
    bias : bool, default=False
        Whether layers have bias terms and BatchNorm its affine ones. Hypersphere methods must not
        have them: with a bias, a network of zero weights maps all rows to the centre.
    n_branches : int, default=1
        Number of MLPs of these sizes beside each other, M. Their codes are put one behind the other
        and divided by :math:`\sqrt{M}`: a squared distance in the code is the mean of the
        branches' squared distances, and varies less than that of one.
    squash : float, default=None
        Limit beyond which features grow by their logarithm only; see
        :class:`~skdeepad.networks.Squash`. None leaves them as they are.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.networks import MLP
    >>> encoder = MLP((21,), hidden_layer_sizes=(32, 16, 8))
    >>> encoder(torch.zeros(5, 21)).shape
    torch.Size([5, 8])
    >>> encoder.decoder()(encoder(torch.zeros(5, 21))).shape
    torch.Size([5, 21])
    >>> MLP((21,), hidden_layer_sizes=(32, 16, 8), n_branches=4)(torch.zeros(5, 21)).shape
    torch.Size([5, 32])
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        hidden_layer_sizes: Sequence[int] = (32, 16, 8),
        bias: bool = False,
        n_branches: int = 1,
        squash: float | None = None,
    ) -> None:
        layers: list[nn.Module] = [nn.Flatten()]
        if squash is not None:
            layers.append(Squash(squash))
        first, *others = hidden_layer_sizes
        # All branches see all features, so their first layers are one.
        layers.append(nn.Linear(math.prod(input_shape), n_branches * first, bias=bias))
        for inputs, outputs in pairwise((first, *others)):
            layers += activation(n_branches * inputs, bias)
            layers.append(
                nn.Linear(inputs, outputs, bias=bias)
                if n_branches == 1
                else BranchLinear(n_branches, inputs, outputs, bias)
            )
        if n_branches > 1:
            layers.append(Scale(1 / math.sqrt(n_branches)))
        super().__init__(*layers)
        self.input_shape: tuple[int, ...] = tuple(input_shape)
        self.hidden_layer_sizes: tuple[int, ...] = tuple(hidden_layer_sizes)
        self.n_branches = n_branches

    def decoder(self) -> nn.Module:
        """Return the mirror image of one branch, from all codes to rows. Its layers have biases."""
        *hidden, code = self.hidden_layer_sizes
        sizes = (self.n_branches * code, *hidden[::-1], math.prod(self.input_shape))
        return nn.Sequential(*dense_blocks(sizes, bias=True), nn.Unflatten(1, self.input_shape))


class Scale(nn.Module):
    """Multiply by a constant.

    Parameters
    ----------
    factor : float
        The constant.
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Multiply each value of x."""
        return self.factor * x


def activation(units: int, bias: bool) -> list[nn.Module]:
    """BatchNorm and LeakyReLU behind a layer of that many units."""
    return [nn.BatchNorm1d(units, affine=bias), nn.LeakyReLU(0.1)]


def dense_blocks(sizes: Sequence[int], bias: bool) -> list[nn.Module]:
    """Linear-BatchNorm-LeakyReLU blocks; the last layer is linear alone."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes[:-1]):
        layers += [nn.Linear(inputs, outputs, bias=bias), *activation(outputs, bias)]
    return [*layers, nn.Linear(sizes[-2], sizes[-1], bias=bias)]
