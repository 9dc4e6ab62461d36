"""What detectors with a centre share: pretraining, and watching for a collapsed hypersphere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils._param_validation import StrOptions
from torch import nn

from skdeepad import networks
from skdeepad.compute import Pretraining
from skdeepad.deep import RUFF_NOTE, RUFF_SETTINGS, RUFF_SOURCE, DecoderParameter, DeepDetector
from skdeepad.engine import Objective, Stage
from skdeepad.notices import CollapseWarning, LabelWarning, warn
from skdeepad.objectives import ReconstructionObjective
from skdeepad.parameters import parameter
from skdeepad.preparation import BranchParameters


class CenteredDetector(BranchParameters, DeepDetector):
    """Base class of the detectors that draw normal rows to a fixed centre."""

    lr_schedule = "cosine"

    _auto_steps = 100
    _collapse = (
        "the hypersphere has collapsed; usual causes are bias terms or bounded activations in the "
        "network, constant features, or training for too long: use a network without them, scale "
        "the features, or lower n_epochs or lr"
    )

    def _needs_center(self, y: NDArray[np.int8]) -> bool:
        """Tell whether normal rows are drawn to a fixed centre, by a network without biases."""
        return True

    def _branched_encoder(self, seeds: dict[str, int], y: NDArray[np.int8]) -> nn.Module:
        """Return the network from rows to codes; around a centre it has no bias terms."""
        bias = not self._needs_center(y)
        encoder = self._encoder(seeds, bias=bias, n_branches=self.n_branches, squash=self.squash)
        if not bias:
            self._warn_of_collapse_risks(encoder)
        return encoder

    def _warn_of_collapse_risks(self, encoder: nn.Module) -> None:
        risks = networks.collapse_risks(encoder) if self.network is not None else []
        if risks:
            warn(
                f"The network given to {type(self).__name__} has {'; '.join(risks)}. With these it "
                "can map all rows to the centre whatever they hold (hypersphere collapse). Remove "
                "bias terms (bias=False, BatchNorm with affine=False) and use unbounded "
                "activations such as LeakyReLU.",
                CollapseWarning,
            )

    def _all_the_same(self, scores: NDArray[np.float64]) -> bool:
        center = getattr(self._objective_, "center", None)
        if center is None:
            return super()._all_the_same(scores)
        # Around a centre at least 0.1 from 0 in each coordinate, a network that still tells rows
        # apart leaves distances far above rounding, and unlike each other.
        constant = np.ptp(scores) <= 1e-3 * np.abs(scores).max()
        none = scores.max() <= 1e-6 * float(center.square().sum())
        return len(scores) > 1 and bool(constant or none)


class CenterWithoutAnomalies(CenteredDetector):
    """Base class of classifiers that have a centre only where no anomaly is labeled."""

    def _checked(
        self, X: Any, y: Any, rows: NDArray[Any] | None = None
    ) -> tuple[NDArray[Any], NDArray[np.int8]]:
        features, labels = super()._checked(X, y, rows)
        if self.contamination == "auto" and self._needs_center(labels):
            raise ValueError(
                "contamination='auto' is the boundary where a row is as probably anomalous as "
                f"normal, which {type(self).__name__} learns from labeled anomalies, and y has "
                "none. Label some with -1, or pass the share of training rows to be flagged, for "
                "example contamination=0.1."
            )
        return features, labels

    def _needs_center(self, y: NDArray[np.int8]) -> bool:
        return not (y < 0).any()

    def _branched_encoder(self, seeds: dict[str, int], y: NDArray[np.int8]) -> nn.Module:
        if self._needs_center(y):
            warn(
                f"{type(self).__name__} learns from labeled anomalies, and y has none: it draws "
                "all rows to a centre, as DeepSVDD does. Label some with -1; of images any that "
                "are not normal will do.",
                LabelWarning,
            )
        return super()._branched_encoder(seeds, y)

    def _likely(self, X: ArrayLike, probability: Callable[..., Any]) -> NDArray[np.float64]:
        """Return the probabilities that scores stand for; distances to a centre stand for none."""
        scores = self.anomaly_score(X)
        if getattr(self._objective_, "centered", False):
            raise ValueError(
                f"{type(self).__name__} was fitted without labeled anomalies: its scores are "
                "distances to a centre, and there are no probabilities. Fit it to rows of which "
                "some are labeled -1, or use anomaly_score."
            )
        return np.asarray(probability(scores))

    def _has_own_boundary(self) -> bool:
        return True


class HypersphereDetector(DecoderParameter, CenteredDetector):
    """Base class of the detectors that may start from the encoder of an autoencoder."""

    pretrain: bool | Literal["auto"] = parameter(
        default="auto",
        constraint=["boolean", StrOptions({"auto"})],
        doc="""Whether the network starts from the encoder of an autoencoder trained on all rows but
            the labeled anomalies. "auto": {pretrained}.""",
    )
    pretraining: Pretraining | None = parameter(
        default=None,
        constraint=[Pretraining, None],
        stands_for={None: Pretraining},
        doc="""Epochs and learning rate of that; ``pretraining__n_epochs`` sets one. None:
            ``Pretraining()``.""",
    )
    _pretrained = (
        "if there is a decoder, that is for the default networks of tables and images and wherever "
        "`decoder` is given"
    )
    _paper_settings = {
        **RUFF_SETTINGS,
        "n_branches": 1,
        "squash": None,
        "input_noise": 0.0,
        "pretrain": True,
        "pretraining": Pretraining(n_epochs=150, lr=1e-4),
    }
    _paper_source, _paper_note = RUFF_SOURCE, RUFF_NOTE

    def _objective(self, encoder: nn.Module, y: NDArray[np.int8]) -> Objective:
        """Return the objective over an encoder for rows with labels y."""
        raise NotImplementedError(f"{type(self).__name__} must define _objective(encoder, y).")

    def _wants_pretraining(self) -> bool:
        """Tell whether there is pretraining, if there is a decoder."""
        if self.pretrain == "auto":  # by measurement, series are better off without
            return self.decoder is not None or len(self.input_shape_) != 2
        return self.pretrain

    def _stages(self, seeds: dict[str, int], y: NDArray[np.int8]) -> list[Stage]:
        encoder = self._branched_encoder(seeds, y)
        stages = [self._stage("train", self._objective(encoder, y), **self._training_numbers())]
        decoder = self._decoder(encoder, seeds) if self._wants_pretraining() else None
        if decoder is not None:
            numbers = self._part("pretraining").get_params()
            numbers["lr_schedule"] = numbers["lr_schedule"] or self.lr_schedule
            autoencoder = ReconstructionObjective(encoder, decoder)
            stages.insert(
                0, self._stage("pretrain", autoencoder, labeled_anomalies=False, **numbers)
            )
        elif self.pretrain is True:
            raise ValueError(
                "pretrain=True needs an autoencoder, and there is no decoder for the network that "
                "was passed. Pass decoder=, or pretrain=False."
            )
        return stages

    def _training_numbers(self) -> dict[str, Any]:
        """Return what differs from the shared numbers in the main stage."""
        return {}
