"""Self-attention: a few weighted means of a text's word vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SelfAttention(nn.Module):
    r"""Multi-head self-attention: each head weighs the words of a text, and takes their mean.

    The weights of words :math:`h_1, \dots, h_l` are :math:`A = \operatorname{softmax}(\tanh(H^\top
    W_1) W_2)` over the words, without bias terms, and the means :math:`M = H A`. Rows of zeros are
    padding, and get no weight.

    Parameters
    ----------
    vector_size : int
        d, the size of a word vector.
    attention_size : int
        d_a, the units between.
    n_heads : int
        r.

    References
    ----------
    Ruff, "Deep One-Class Learning", thesis, section 3.2.1, equations 3.2 and 3.3.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.networks import SelfAttention
    >>> attention = SelfAttention(50, 150, 3)
    >>> attention(torch.ones(2, 7, 50)).shape  # two texts of seven words
    torch.Size([2, 3, 50])
    """

    def __init__(self, vector_size: int, attention_size: int, n_heads: int) -> None:
        super().__init__()
        self.vector_size, self.n_heads = vector_size, n_heads
        self.hidden = nn.Linear(vector_size, attention_size, bias=False)
        self.heads = nn.Linear(attention_size, n_heads, bias=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """Mean word vectors (n, r, d) of texts (n, l, d)."""
        return self.means(vectors, self.logits(vectors))

    def logits(self, vectors: Tensor) -> Tensor:
        """Say of each word vector (..., d) how much each head attends to it, padding least."""
        logits: Tensor = self.heads(torch.tanh(self.hidden(vectors)))
        return torch.where(vectors.any(-1, keepdim=True), logits, torch.finfo(logits.dtype).min)

    @staticmethod
    def means(vectors: Tensor, logits: Tensor) -> Tensor:
        """Weighted mean vectors (n, r, d) of texts (n, l, d), zero where there is no word."""
        return logits.softmax(1).transpose(1, 2) @ vectors

    @staticmethod
    def weights(logits: Tensor) -> Tensor:
        """Weights of words, and 0 of padding: (n, l, r)."""
        return logits.softmax(1) * (logits > torch.finfo(logits.dtype).min)
