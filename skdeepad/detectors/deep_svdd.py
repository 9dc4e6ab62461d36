"""Deep support vector data description."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn

from skdeepad import losses, networks
from skdeepad.deep import RUFF_NOTE
from skdeepad.detectors.hypersphere import HypersphereDetector
from skdeepad.engine import Batch, Objective, Rows
from skdeepad.objectives import UNCHANGED, DistanceObjective, Preparation
from skdeepad.parameters import parameter
from skdeepad.preparation import preparation


class SoftBoundaryObjective(DistanceObjective):
    r"""Distance beyond a radius that is solved exactly: between epochs, or for each batch.

    Between epochs, :math:`R^2` stays 0 until it is first solved, and the loss is the one-class loss
    over nu: a radius around an untrained network's codes says nothing.
    """

    apart_from_losses = ("every",)

    by_batch: bool
    every: int
    radius_squared: Tensor
    nu: Tensor

    def __init__(
        self,
        network: nn.Module,
        input_shape: Sequence[int],
        code_size: int,
        nu: float,
        every: int | Literal["batch"] = 1,
        preparation: Preparation = UNCHANGED,
    ) -> None:
        super().__init__(
            network,
            input_shape,
            code_size,
            losses.soft_boundary,
            preparation,
            radius_squared=0.0,
            nu=nu,
        )
        self.by_batch = every == "batch"
        self.every = 0 if every == "batch" else every

    def loss(self, batch: Batch) -> Tensor:
        """Loss of each row: (n,)."""
        if not self.by_batch:
            return super().loss(batch)
        distance = self.distances(batch.x)
        # float32 holds 7 digits of nu: times 300, its 0.57 must not fall short of 171.
        outside = (self.nu * len(distance) * (1 + 2**-22)).long().clamp(max=len(distance) - 1)
        largest_first = distance.detach().sort(descending=True).values
        radius_squared = largest_first.gather(0, outside[None])  # (1,)
        return losses.soft_boundary(distance, batch.y, radius_squared, self.nu)

    def after_epoch(self, epoch: int, rows: Rows, losses: dict[str, float]) -> None:
        """Solve the radius for the weights as they are, if it is due."""
        if not self.by_batch and (epoch + 1) % self.every == 0:
            self.finish(rows)

    def finish(self, rows: Rows) -> None:
        r"""Set :math:`R^2` to the :math:`(\lfloor \nu n \rfloor + 1)`-th largest distance.

        Among the n rows with y >= 0, never interpolated: then at most a share nu lies strictly
        outside (thesis, proposition 4).
        """
        distance = torch.cat(
            [self.distances(x)[:count][y[:count] >= 0] for x, y, count in rows.slices()]
        )
        # In exact arithmetic: the buffer holds 7 digits of nu, and 0.57 * 300 is not quite 171.
        outside = int(round(float(f"{float(self.nu):.7g}") * len(distance), 6))
        self.radius_squared.copy_(distance.kthvalue(max(len(distance) - outside, 1)).values)


class DeepSVDD(HypersphereDetector):
    r"""Deep SVDD: the smallest sphere around the codes of the training rows.

    With a network :math:`\phi`, a centre :math:`c` and :math:`d(x) = \lVert \phi(x) - c
    \rVert^2`, objective "one-class" minimises the mean of

    .. math:: \ell(x) = d(x)

    and "soft-boundary" the mean of

    .. math:: \ell(x) = R^2 + \frac{1}{\nu} \max(0, d(x) - R^2),

    plus half of `weight_decay` times the squared norm of the weights. The network and
    :math:`R` are fitted in turn: after each epoch (see `radius_every`), and at the end,
    :math:`R^2` is the :math:`(\lfloor \nu n \rfloor + 1)`-th largest distance, so that at most a
    share :math:`\nu` of the training rows is outside; before, it is 0. The anomaly score is
    :math:`d(x)`. The centre is the mean code before training, no coordinate nearer to 0 than 0.1,
    and is not trained. The network has no bias terms, so that it cannot map all rows to the centre.

    Labels are not learned from: labeled anomalies are left out, labeled normals count as
    unlabeled, and a warning says so. :class:`DeepSAD` learns from them.

    Features are used as they are: standardize tables first, for example with
    :class:`~sklearn.preprocessing.StandardScaler` in a pipeline.

    Parameters
    ----------
    {parameters}

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

    objective: Literal["one-class", "soft-boundary"] = parameter(
        default="one-class",
        constraint=[StrOptions({"one-class", "soft-boundary"})],
        kw_only=False,
        doc="What is minimised.",
    )
    nu: float = parameter(
        default=0.1,
        constraint=[Interval(Real, 0, 1, closed="right")],
        kw_only=False,
        doc="""Upper bound, in (0, 1], on the share of training rows outside the sphere. Only for
            the soft boundary.""",
    )
    radius_every: int | Literal["batch"] = parameter(
        default=1,
        constraint=[Interval(Integral, 1, None, closed="left"), StrOptions({"batch"})],
        doc="""Epochs after which the radius is solved anew. "batch": each batch has a radius of its
            own, solved for its rows, from the first on. Only for the soft boundary.""",
    )

    _own_boundary = "the radius of the soft boundary; a ValueError without one"
    _learns_from_labels = False
    _paper_settings = {**HypersphereDetector._paper_settings, "radius_every": "batch"}
    _paper_note = (
        f"{RUFF_NOTE} The thesis (section 2.2.4) trains for longer: ``n_epochs=250, "
        "lr_schedule=(150,), pretraining=Pretraining(n_epochs=350, lr=1e-4, lr_schedule=(250,))``."
    )

    def _objective(self, encoder: nn.Module, y: NDArray[np.int8]) -> Objective:
        shape = self.input_shape_
        size = networks.code_size(encoder, shape)
        if self.objective == "soft-boundary":
            prepared = preparation(self)
            return SoftBoundaryObjective(encoder, shape, size, self.nu, self.radius_every, prepared)
        return DistanceObjective(encoder, shape, size, losses.one_class, preparation(self))

    def _keep(self, objective: Objective) -> None:
        super()._keep(objective)
        if self._has_own_boundary():
            self.radius_: float = float(_with_radius(objective).radius_squared.sqrt())

    def _has_own_boundary(self) -> bool:
        return self.objective == "soft-boundary"

    def _own_threshold(self) -> float:
        return float(_with_radius(self._objective_).radius_squared)

    def _name_with_setting(self) -> str:
        return f"DeepSVDD(objective={self.objective!r})"


def _with_radius(objective: Objective) -> SoftBoundaryObjective:
    """Return the objective of a detector with a boundary of its own."""
    return cast(SoftBoundaryObjective, objective)
