"""Look at what detectors give, next to the rows that it is about."""

from skdeepad.inspection._cases import NearestCases, nearest_cases
from skdeepad.inspection._explain import Explanation, explain
from skdeepad.inspection._explanations import ExplanationDisplay
from skdeepad.inspection._heatmaps import HeatmapDisplay
from skdeepad.inspection._texts import TextDisplay

__all__ = [
    "Explanation",
    "ExplanationDisplay",
    "HeatmapDisplay",
    "NearestCases",
    "TextDisplay",
    "explain",
    "nearest_cases",
]
