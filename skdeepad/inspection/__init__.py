"""Look at what detectors give, next to the rows that it is about."""

from skdeepad.inspection._explanations import ExplanationDisplay
from skdeepad.inspection._heatmaps import HeatmapDisplay
from skdeepad.inspection._texts import TextDisplay

__all__ = ["ExplanationDisplay", "HeatmapDisplay", "TextDisplay"]
