"""Detection by an autoencoder's reconstruction error."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted
from torch import nn

from skdeepad import networks
from skdeepad.deep import RUFF_NOTE, RUFF_SETTINGS, RUFF_SOURCE, DecoderParameter, DeepDetector
from skdeepad.engine import Objective, Rows, Stage, score
from skdeepad.inputs import on_host
from skdeepad.objectives import ReconstructionObjective


class AutoEncoder(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, DecoderParameter, DeepDetector
):
    r"""Autoencoder: rows that it cannot reconstruct are anomalous.

    An encoder :math:`\phi` and a decoder :math:`\psi` minimise the mean of

    .. math:: \ell(x) = \frac{1}{D} \lVert x - \psi(\phi(x)) \rVert^2

    over the rows, D being the number of features, plus half of `weight_decay` times the squared
    norm of the weights. The anomaly score is :math:`\ell(x)`. It is a transformer too:
    ``transform`` gives the codes :math:`\phi(x)`.

    Labels are not learned from: labeled anomalies are left out, labeled normals count as
    unlabeled, and a warning says so.

    Features are used as they are: standardize tables first, for example with
    :class:`~sklearn.preprocessing.StandardScaler` in a pipeline.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}
    decoder_ : torch.nn.Module
        The trained network from codes to rows.

    See Also
    --------
    DeepSVDD : Detection by the distance of codes to a centre.

    References
    ----------
    Ruff et al., "Deep Semi-Supervised Anomaly Detection", ICLR 2020, appendices D and E.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import AutoEncoder
    >>> X = np.random.default_rng(0).normal(size=(300, 2)) @ [[1, 2, 3, 4], [4, 3, 2, 1]]
    >>> detector = AutoEncoder(hidden_layer_sizes=(16, 2), random_state=0).fit(X)
    >>> detector.transform(X).shape
    (300, 2)
    >>> off_the_plane = [[5.0, -5.0, 5.0, -5.0]]
    >>> detector.predict(off_the_plane)
    array([-1])
    """

    _learns_from_labels = False
    _series_sizes = "(32,), or a quarter of the numbers in a row if these are fewer,"
    _paper_settings = RUFF_SETTINGS
    _paper_source, _paper_note = RUFF_SOURCE, RUFF_NOTE

    def fit_transform(self, X: ArrayLike, y: Any = None) -> NDArray[np.float64]:
        """Fit to rows and encode them, as a step of a pipeline: y is ignored, whatever it holds.

        In a pipeline y is the target of the last step. Labeled anomalies are then trained on as
        well; :class:`HybridDetector` leaves them out.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Rows.
        y : object, default=None
            Ignored.

        Returns
        -------
        ndarray of shape (n_samples, code_size), dtype float64
            Their codes.
        """
        return self.fit(X).transform(X)

    def inverse_transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Decode codes.

        Parameters
        ----------
        X : array-like of shape (n_samples, code_size)
            Codes, as :meth:`transform` gives them.

        Returns
        -------
        ndarray of shape (n_samples, n_features) or (n_samples, ...), dtype float64
            Rows, in the shape of those in ``fit``.
        """
        check_is_fitted(self)
        codes = check_array(on_host(X), dtype=np.float32, order="C")
        if codes.shape[1] != self._n_features_out:
            raise ValueError(
                f"X has {codes.shape[1]} numbers in a row, and codes have {self._n_features_out}. "
                "Pass what transform gives."
            )
        rows = Rows.place(codes, None, self._code_shape_, self.device_)
        return score(self._objective_, rows, "decode").double().numpy()

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Encode rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, or images of shape (n, channels, height, width).

        Returns
        -------
        ndarray of shape (n_samples, code_size), dtype float64
            Their codes.
        """
        check_is_fitted(self)
        return self._codes(self._validate(X, reset=False))

    @property
    def _compares(self) -> bool:  # type: ignore[override]  # by measurement
        return len(self.input_shape_) == 1

    def _stages(self, seeds: dict[str, int], y: NDArray[np.int8]) -> list[Stage]:
        encoder = self._encoder(seeds, bias=True)
        self._code_shape_ = networks.code_shape(encoder, self.input_shape_)
        decoder = self._required_decoder(encoder, seeds)
        objective = ReconstructionObjective(encoder, decoder)
        return [self._stage("train", objective)]

    def _layer_sizes(self) -> tuple[int, ...] | None:
        sizes = super()._layer_sizes()
        if sizes is None and networks.is_series(self.input_shape_):
            # Codes as wide as those around a centre would let anomalies through.
            return (min(32, math.prod(self.input_shape_) // 4),)
        return sizes

    def _keep(self, objective: Objective) -> None:
        super()._keep(objective)
        self.decoder_: nn.Module = cast(ReconstructionObjective, objective).decoder

    @property
    def _n_features_out(self) -> int:
        return math.prod(self._code_shape_)
