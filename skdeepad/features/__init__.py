"""Features for detectors: what turns raw data into rows of numbers."""

from skdeepad.features.patches import PatchFeatures
from skdeepad.features.series import make_windows, point_scores
from skdeepad.features.text import WordVectors

__all__ = ["PatchFeatures", "WordVectors", "make_windows", "point_scores"]
