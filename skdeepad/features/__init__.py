"""Features for detectors: what turns raw data into rows of numbers."""

from skdeepad.features.text import WordVectors

__all__ = ["WordVectors"]
