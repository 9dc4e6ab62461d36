"""Detection by an autoencoder's reconstruction error."""

from __future__ import annotations

from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from skdeepad.deep import DeepDetector, document
from skdeepad.networks import code_size
from skdeepad.objectives import ReconstructionObjective


@document
class AutoEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DeepDetector):
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
    {network_parameters}
    {training_parameters}
    {common_parameters}

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

    _parameter_constraints: dict = {
        **DeepDetector._parameter_constraints,
        "decoder": [nn.Module, callable, None],
    }
    _learns_from_labels = False

    def __init__(
        self,
        *,
        network=None,
        hidden_layer_sizes=None,
        decoder=None,
        input_shape=None,
        n_epochs="auto",
        lr=1e-3,
        lr_schedule="constant",
        batch_size=128,
        weight_decay=1e-6,
        clip_grad_norm=None,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        tol=0.0,
        precision="float32",
        cuda_graph=False,
        compile=False,
        stream="auto",
        contamination=0.1,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.network = network
        self.hidden_layer_sizes = hidden_layer_sizes
        self.decoder = decoder
        self.input_shape = input_shape
        self.n_epochs = n_epochs
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.clip_grad_norm = clip_grad_norm
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.precision = precision
        self.cuda_graph = cuda_graph
        self.compile = compile
        self.stream = stream
        self.contamination = contamination
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def transform(self, X):
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
        return self._by_row(self._validate(X, reset=False), "encode")

    def _stages(self, seeds, y):
        encoder = self._encoder(seeds, bias=True)
        decoder = self._required_decoder(encoder, seeds)
        objective = ReconstructionObjective(encoder, decoder)
        return [self._stage("train", objective, labeled_anomalies=False)]

    def _keep(self, objective):
        self._objective_ = objective
        self.network_, self.decoder_ = objective.encoder, objective.decoder

    @property
    def _n_features_out(self):
        return code_size(self.network_, self.input_shape_)
