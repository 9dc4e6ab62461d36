"""Deep support vector data description."""

from __future__ import annotations

from numbers import Real

import torch
from sklearn.utils._param_validation import Interval, StrOptions

from skdeepad import losses, networks
from skdeepad.deep import document
from skdeepad.detectors._hypersphere import HypersphereDetector
from skdeepad.detectors._preparation import preparation
from skdeepad.objectives import UNCHANGED, DistanceObjective


class SoftBoundaryObjective(DistanceObjective):
    r"""Distance beyond a radius that is solved exactly after each epoch.

    :math:`R^2` stays 0 for the first epoch, whose loss is the one-class loss over nu: a radius
    around an untrained network's codes says nothing.
    """

    def __init__(self, network, input_shape, code_size, nu, preparation=UNCHANGED):
        numbers = {"radius_squared": 0.0, "nu": nu}
        super().__init__(
            network, input_shape, code_size, losses.soft_boundary, preparation, **numbers
        )

    def after_epoch(self, epoch, rows, losses):
        """Solve the radius for the weights as they are."""
        self.finish(rows)

    def finish(self, rows):
        r"""Set :math:`R^2` to the :math:`(\lfloor \nu n \rfloor + 1)`-th largest distance.

        Among the n rows with y >= 0, never interpolated: then at most a share nu lies strictly
        outside (thesis, proposition 4).
        """
        distance = torch.cat(
            [self.distance(x)[:count][y[:count] >= 0] for x, y, count in rows.slices()]
        )
        # In exact arithmetic: the buffer holds 7 digits of nu, and 0.57 * 300 is not quite 171.
        outside = int(round(float(f"{float(self.nu):.7g}") * len(distance), 6))
        self.radius_squared.copy_(distance.kthvalue(max(len(distance) - outside, 1)).values)


@document
class DeepSVDD(HypersphereDetector):
    r"""Deep SVDD: the smallest sphere around the codes of the training rows.

    With a network :math:`\phi`, a centre :math:`c` and :math:`d(x) = \lVert \phi(x) - c
    \rVert^2`, objective "one-class" minimises the mean of

    .. math:: \ell(x) = d(x)

    and "soft-boundary" the mean of

    .. math:: \ell(x) = R^2 + \frac{1}{\nu} \max(0, d(x) - R^2),

    plus half of `weight_decay` times the squared norm of the weights. The network and
    :math:`R` are fitted in turn: after each epoch, and at the end, :math:`R^2` is the
    :math:`(\lfloor \nu n \rfloor + 1)`-th largest distance, so that at most a share :math:`\nu`
    of the training rows is outside; in the first epoch it is 0. The anomaly score is
    :math:`d(x)`. The centre is the mean code before training, no coordinate nearer to 0 than 0.1,
    and is not trained. The network has no bias terms, so that it cannot map all rows to the centre.

    Labels are not learned from: labeled anomalies are left out, labeled normals count as
    unlabeled, and a warning says so. :class:`DeepSAD` learns from them.

    Features are used as they are: standardize tables first, for example with
    :class:`~sklearn.preprocessing.StandardScaler` in a pipeline.

    Parameters
    ----------
    objective : {"one-class", "soft-boundary"}, default="one-class"
        What is minimised.
    nu : float, default=0.1
        Upper bound, in (0, 1], on the share of training rows outside the sphere. Only for the
        soft boundary.
    {network_parameters}
    {hypersphere_parameters}
    {pretraining_parameters}
    {training_parameters}
    {common_parameters}

    Attributes
    ----------
    radius_ : float
        R, for the soft boundary.
    {attributes}

    See Also
    --------
    DeepSAD : The same with labels.

    References
    ----------
    Ruff et al., "Deep One-Class Classification", ICML 2018; Ruff, "Deep One-Class Learning",
    thesis, section 2.2.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import DeepSVDD
    >>> X = np.random.default_rng(0).normal(size=(300, 4))
    >>> detector = DeepSVDD("soft-boundary", nu=0.1, contamination="auto", random_state=0).fit(X)
    >>> float((detector.predict(X) == -1).mean())  # nu, rounded down to whole rows
    0.1
    """

    _parameter_constraints: dict = {
        **HypersphereDetector._parameter_constraints,
        "objective": [StrOptions({"one-class", "soft-boundary"})],
        "nu": [Interval(Real, 0, 1, closed="right")],
    }
    _learns_from_labels = False

    def __init__(
        self,
        objective="one-class",
        nu=0.1,
        *,
        network=None,
        hidden_layer_sizes=None,
        decoder=None,
        input_shape=None,
        n_branches=8,
        squash=2.0,
        input_noise="auto",
        pretrain="auto",
        pretrain_n_epochs="auto",
        pretrain_lr=1e-3,
        n_epochs="auto",
        lr=1e-3,
        lr_schedule="cosine",
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
        self.objective = objective
        self.nu = nu
        self.network = network
        self.hidden_layer_sizes = hidden_layer_sizes
        self.decoder = decoder
        self.input_shape = input_shape
        self.n_branches = n_branches
        self.squash = squash
        self.input_noise = input_noise
        self.pretrain = pretrain
        self.pretrain_n_epochs = pretrain_n_epochs
        self.pretrain_lr = pretrain_lr
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

    def _objective(self, encoder, y):
        shape = self.input_shape_
        size = networks.code_size(encoder, shape)
        if self.objective == "soft-boundary":
            return SoftBoundaryObjective(encoder, shape, size, self.nu, preparation(self))
        return DistanceObjective(encoder, shape, size, losses.one_class, preparation(self))

    def _keep(self, objective):
        super()._keep(objective)
        if self._has_own_boundary():
            self.radius_ = float(objective.radius_squared.sqrt())

    def _has_own_boundary(self):
        return self.objective == "soft-boundary"

    def _own_offset(self):
        return -float(self._objective_.radius_squared)

    def _name_with_setting(self):
        return f"DeepSVDD(objective={self.objective!r})"
