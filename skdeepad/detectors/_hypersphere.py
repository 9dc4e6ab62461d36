"""What DeepSVDD, DeepSAD and HSC share: pretraining, and watching for a collapsed hypersphere."""

from __future__ import annotations

import warnings
from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from skdeepad import networks
from skdeepad.base import CollapseWarning
from skdeepad.deep import DeepDetector
from skdeepad.detectors._preparation import TABLE_CONSTRAINTS
from skdeepad.objectives import ReconstructionObjective


class HypersphereDetector(DeepDetector):
    """Base class of the detectors that draw normal rows to a fixed centre."""

    _parameter_constraints: dict = {
        **DeepDetector._parameter_constraints,
        **TABLE_CONSTRAINTS,
        "decoder": [nn.Module, callable, None],
        "pretrain": ["boolean", StrOptions({"auto"})],
        "pretrain_n_epochs": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "pretrain_lr": [Interval(Real, 0, None, closed="neither")],
    }

    _auto_steps = 100
    _paper_settings: dict = {
        **DeepDetector._paper_settings,
        "n_branches": 1,
        "squash": None,
        "input_noise": 0.0,
        "pretrain_n_epochs": 150,
        "pretrain_lr": 1e-4,
    }

    def _objective(self, encoder, y):
        """Return the objective over an encoder for rows with labels y."""
        raise NotImplementedError(f"{type(self).__name__} must define _objective(encoder, y).")

    def _needs_center(self, y):
        """Tell whether normal rows are drawn to a fixed centre, by a network without biases."""
        return True

    def _stages(self, seeds, y):
        bias = not self._needs_center(y)
        encoder = self._encoder(seeds, bias=bias, n_branches=self.n_branches, squash=self.squash)
        if not bias:
            self._warn_of_collapse_risks(encoder)
        stages = [self._stage("train", self._objective(encoder, y), **self._training_numbers())]
        decoder = self._decoder(encoder, seeds) if self.pretrain else None
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

    def _training_numbers(self):
        """Return what differs from the shared numbers in the main stage."""
        return {"labeled_anomalies": self._learns_from_labels}

    def _warn_of_collapse_risks(self, encoder):
        risks = networks.collapse_risks(encoder) if self.network is not None else []
        if risks:
            warnings.warn(
                f"The network given to {type(self).__name__} has {'; '.join(risks)}. With these it "
                "can map all rows to the centre whatever they hold (hypersphere collapse). Remove "
                "bias terms (bias=False, BatchNorm with affine=False) and use unbounded "
                "activations such as LeakyReLU.",
                CollapseWarning,
                stacklevel=8,
            )

    def _warn_of_scores(self, scores):
        # Scores are -dist. Around a centre at least 0.1 from 0 in each coordinate, a network that
        # still tells rows apart leaves distances far above rounding, and unlike each other.
        distance = -scores
        size = float(self._objective_.center.square().sum())
        constant = np.ptp(distance) <= 1e-3 * np.abs(distance).max()
        if len(distance) > 1 and (constant or distance.max() <= 1e-6 * size):
            warnings.warn(
                f"{type(self).__name__}: the hypersphere has collapsed, all training rows have "
                f"nearly the same score ({distance.min():.3g} to {distance.max():.3g}). Usual "
                "causes: bias terms or bounded activations in the network, constant features, or "
                "training for too long. Use a network without them, scale the features, or lower "
                "n_epochs or lr.",
                CollapseWarning,
                stacklevel=6,
            )
