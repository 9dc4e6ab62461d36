"""What DeepSVDD, DeepSAD and HSC share: pretraining, and watching for a collapsed hypersphere."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from skdeepad import networks
from skdeepad.deep import RUFF_NOTE, RUFF_SETTINGS, RUFF_SOURCE, DecoderParameter, DeepDetector
from skdeepad.engine import Objective, Stage
from skdeepad.notices import CollapseWarning, warn
from skdeepad.objectives import DistanceObjective, ReconstructionObjective
from skdeepad.parameters import parameter
from skdeepad.preparation import BranchParameters


class HypersphereDetector(BranchParameters, DecoderParameter, DeepDetector):
    """Base class of the detectors that draw normal rows to a fixed centre."""

    pretrain: bool | Literal["auto"] = parameter(
        default="auto",
        constraint=["boolean", StrOptions({"auto"})],
        doc="""Whether the network starts from the encoder of an autoencoder trained on all rows but
            the labeled anomalies. "auto": {pretrained}.""",
    )
    pretrain_n_epochs: int | Literal["auto"] = parameter(
        default="auto",
        constraint=[Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        doc='Epochs of pretraining; "auto" as for `n_epochs`.',
    )
    pretrain_lr: float = parameter(
        default=1e-3,
        constraint=[Interval(Real, 0, None, closed="neither")],
        doc="Learning rate of pretraining.",
    )
    lr_schedule = "cosine"

    _pretrained = (
        "if there is a decoder, that is for the default networks and wherever `decoder` is given"
    )
    _auto_steps = 100
    _collapse = (
        "the hypersphere has collapsed; usual causes are bias terms or bounded activations in the "
        "network, constant features, or training for too long: use a network without them, scale "
        "the features, or lower n_epochs or lr"
    )
    _paper_settings = {
        **RUFF_SETTINGS,
        "n_branches": 1,
        "squash": None,
        "input_noise": 0.0,
        "pretrain": True,
        "pretrain_n_epochs": 150,
        "pretrain_lr": 1e-4,
    }
    _paper_source, _paper_note = RUFF_SOURCE, RUFF_NOTE

    def _objective(self, encoder: nn.Module, y: NDArray[np.int8]) -> Objective:
        """Return the objective over an encoder for rows with labels y."""
        raise NotImplementedError(f"{type(self).__name__} must define _objective(encoder, y).")

    def _needs_center(self, y: NDArray[np.int8]) -> bool:
        """Tell whether normal rows are drawn to a fixed centre, by a network without biases."""
        return True

    def _wants_pretraining(self) -> bool:
        """Tell whether there is pretraining, if there is a decoder."""
        return bool(self.pretrain)

    def _stages(self, seeds: dict[str, int], y: NDArray[np.int8]) -> list[Stage]:
        bias = not self._needs_center(y)
        encoder = self._encoder(seeds, bias=bias, n_branches=self.n_branches, squash=self.squash)
        if not bias:
            self._warn_of_collapse_risks(encoder)
        stages = [self._stage("train", self._objective(encoder, y), **self._training_numbers())]
        decoder = self._decoder(encoder, seeds) if self._wants_pretraining() else None
        if decoder is not None:
            pretraining = self._stage(
                "pretrain",
                ReconstructionObjective(encoder, decoder),
                labeled_anomalies=False,
                lr=self.pretrain_lr,
                n_epochs=None if self.pretrain_n_epochs == "auto" else self.pretrain_n_epochs,
            )
            stages.insert(0, pretraining)
        elif self.pretrain is True:
            raise ValueError(
                "pretrain=True needs an autoencoder, and there is no decoder for the network that "
                "was passed. Pass decoder=, or pretrain=False."
            )
        return stages

    def _training_numbers(self) -> dict[str, Any]:
        """Return what differs from the shared numbers in the main stage."""
        return {}

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
        # Around a centre at least 0.1 from 0 in each coordinate, a network that still tells rows
        # apart leaves distances far above rounding, and unlike each other.
        size = float(cast(DistanceObjective, self._objective_).center.square().sum())
        constant = np.ptp(scores) <= 1e-3 * np.abs(scores).max()
        return len(scores) > 1 and bool(constant or scores.max() <= 1e-6 * size)
