"""Data to try anomaly detectors on, and partial labels made from ground truth."""

from ._embedded import load_breast_cancer_anomaly, load_digits_anomaly
from ._odds import load_odds
from ._partial_labels import make_partial_labels

__all__ = [
    "load_breast_cancer_anomaly",
    "load_digits_anomaly",
    "load_odds",
    "make_partial_labels",
]
