"""Data to try anomaly detectors on, and partial labels made from ground truth."""

from skdeepad.datasets._embedded import load_breast_cancer_anomaly, load_digits_anomaly
from skdeepad.datasets._image_folder import load_image_folder
from skdeepad.datasets._odds import load_odds
from skdeepad.datasets._partial_labels import make_partial_labels

__all__ = [
    "load_breast_cancer_anomaly",
    "load_digits_anomaly",
    "load_image_folder",
    "load_odds",
    "make_partial_labels",
]
