"""scikit-learn's checks on every detector with its true defaults.

Run as ``python -m benchmarks check_estimators``. The tests run the same checks on instances that
train for a few epochs. Writes ``benchmarks/results/check_estimators.json``.
"""

from __future__ import annotations

import os

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # read when SciPy is imported

import json
import time
import warnings
from collections import Counter
from pathlib import Path

import sklearn
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils.estimator_checks import check_estimator

import skdeepad
from skdeepad import LabelWarning
from skdeepad.base import BaseDetector

RESULTS = Path(__file__).parent / "results" / "check_estimators.json"


def main():
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", LabelWarning)
    warnings.simplefilter("ignore", UndefinedMetricWarning)
    report = {"scikit-learn": sklearn.__version__, "skdeepad": skdeepad.__version__}
    for name in skdeepad.__all__:
        detector = getattr(skdeepad, name)
        if not issubclass(detector, BaseDetector):
            continue
        start = time.perf_counter()
        checks = check_estimator(detector(), on_fail=None)
        report[name] = {
            **Counter(check["status"] for check in checks),
            "not passed": [check["check_name"] for check in checks if check["status"] != "passed"],
            "seconds": round(time.perf_counter() - start),
        }
        print(name, report[name], flush=True)
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
