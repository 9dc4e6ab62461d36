"""Deep anomaly detection from partial labels, as scikit-learn estimators."""

from skdeepad.compute import Compute, EarlyStopping, Pretraining
from skdeepad.detectors.agad import AGAD
from skdeepad.detectors.autoencoder import AutoEncoder
from skdeepad.detectors.cvdd import CVDD
from skdeepad.detectors.deep_classifier import DeepClassifier
from skdeepad.detectors.deep_ensemble import DeepEnsemble
from skdeepad.detectors.deep_sad import DeepSAD
from skdeepad.detectors.deep_svdd import DeepSVDD
from skdeepad.detectors.fcdd import FCDD
from skdeepad.detectors.hsc import HSC
from skdeepad.detectors.hybrid import HybridDetector
from skdeepad.detectors.ssad import SSAD
from skdeepad.detectors.ssdgm import SSDGM
from skdeepad.features.text import WordVectors
from skdeepad.inspection import ExplanationDisplay, HeatmapDisplay, TextDisplay
from skdeepad.notices import CollapseWarning, LabelWarning

__version__ = "0.1.0.dev0"

__all__ = [
    "AGAD",
    "CVDD",
    "FCDD",
    "HSC",
    "SSAD",
    "SSDGM",
    "AutoEncoder",
    "CollapseWarning",
    "Compute",
    "DeepClassifier",
    "DeepEnsemble",
    "DeepSAD",
    "DeepSVDD",
    "EarlyStopping",
    "ExplanationDisplay",
    "HeatmapDisplay",
    "HybridDetector",
    "LabelWarning",
    "Pretraining",
    "TextDisplay",
    "WordVectors",
]
