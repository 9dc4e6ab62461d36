"""What the tests share: every detector of the package, small and quick, and data to fit it to."""

import inspect
import os

# scikit-learn leaves out a check without it, and SciPy reads it once, when it is imported.
os.environ["SCIPY_ARRAY_API"] = "1"
os.environ["MPLBACKEND"] = "Agg"  # no windows
if "PYTEST_XDIST_WORKER" in os.environ:  # one worker a core, so one thread a worker
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from sklearn.base import clone
from torch import nn

import skdeepad
from skdeepad import SSAD, AutoEncoder, DeepSAD, Pretraining
from skdeepad.base import BaseDetector
from skdeepad.deep import DeepDetector

# Settings of a detector that are methods of their own.
VARIANTS = {
    "DeepSVDD": {"soft-boundary": {"objective": "soft-boundary"}},
    "HSC": {"norm": {"radial": "norm"}},
    "DeepClassifier": {"focal": {"objective": "focal"}},
    "AGAD": {"GANomaly": {"contextual_adversarial": 0}, "norms": {"batch_norm": "both"}},
    "SSDGM": {"M1+M2": {"model": "M1+M2"}},
    "DeepEnsemble": {"rank-mean": {"combination": "rank-mean", "bootstrap": True}},
    "HybridDetector": {"SSAD": {"detector": SSAD()}},
}

SMALL = {
    "estimator": DeepSAD(
        eta=2.0,
        n_epochs=2,
        pretraining=Pretraining(n_epochs=1),
        hidden_layer_sizes=(8, 4),
        n_branches=2,
        batch_size=32,
        device="cpu",
    ),
    "n_estimators": 3,
    "autoencoder": AutoEncoder(
        n_epochs=2, hidden_layer_sizes=(8, 4), batch_size=32, device="cpu", random_state=0
    ),
    "n_epochs": 2,
    "pretraining": Pretraining(n_epochs=1),
    "hidden_layer_sizes": (8, 4),
    "lr_schedule": "constant",
    "n_branches": 2,
    "batch_size": 32,
    "device": "cpu",
    "random_state": 0,
}


def listed_detectors():
    """Return {test id: (class, setting)} of all detectors that the package makes public."""
    found = {}
    for name in skdeepad.__all__:
        cls = getattr(skdeepad, name)
        if issubclass(cls, BaseDetector):
            found[name] = (cls, {})
            for variant, setting in VARIANTS.get(name, {}).items():
                found[f"{name}-{variant}"] = (cls, setting)
    return found


DETECTORS = listed_detectors()
SETTINGS = [name for name in DETECTORS if name not in skdeepad.__all__]
# One of each kind: float32 and float64, learning from labels or not, with a fit of its own, made
# of others.
REPRESENTATIVES = ["DeepSAD", "FCDD", "SSAD", "HybridDetector", "DeepEnsemble"]
DEEP = [name for name, (cls, _) in DETECTORS.items() if issubclass(cls, DeepDetector)]
LEARNERS = [
    name for name, (cls, setting) in DETECTORS.items() if cls(**setting)._learns_from_labels
]
NON_LEARNERS = [name for name in DETECTORS if name not in LEARNERS]
# They say so where no anomaly is labeled.
WANT_ANOMALIES = [
    name for name in DETECTORS if name.startswith(("HSC", "DeepClassifier", "FCDD", "SSDGM"))
]
# Their networks are fully convolutional.
WANT_MAPS = [name for name in DETECTORS if name.startswith("FCDD")]
# Their rows are texts, and a table's have one word each, of which the direction alone counts:
# tests/test_cvdd.py does with texts what these do not do here.
TEXTS = [name for name in DETECTORS if name.startswith("CVDD")]
OF_ROWS = [name for name in DEEP if name not in TEXTS]
# They count unlabeled rows as normal.
UNLABELED_ARE_NORMAL = [name for name in DETECTORS if name.startswith(("DeepClassifier", "AGAD"))]
REFUSE_EARLY_STOPPING = [name for name in DETECTORS if name.startswith("AGAD")]
CLASSES = list(dict.fromkeys(cls for cls, _ in DETECTORS.values()))
KNOWN = {parameter for cls in CLASSES for parameter in inspect.signature(cls).parameters}


@pytest.hookimpl(tryfirst=True)  # before what -m leaves out
def pytest_collection_modifyitems(items):
    """Leave to the slow tests: settings, and all but representatives where a base class is tested.

    The name of the detector is the parameter "name".
    """
    for item in items:
        name = item.callspec.params.get("name") if hasattr(item, "callspec") else None
        of_base = item.get_closest_marker("of_the_base_class") is not None
        if name in SETTINGS or (of_base and name in DETECTORS and name not in REPRESENTATIVES):
            item.add_marker(pytest.mark.slow)


def quick(name, **params):
    """Return an unfitted detector that trains in milliseconds; it takes those params it has."""
    assert params.keys() <= KNOWN, "no detector has such a parameter: the test would test nothing"
    cls, setting = DETECTORS[name]
    known = inspect.signature(cls).parameters
    # A part may be changed through its detector.
    wanted = {**SMALL, "pretraining": clone(SMALL["pretraining"]), **setting, **params}
    if "estimator" in known and "estimator" not in params:
        names = (SMALL["estimator"].get_params().keys() & params.keys()) - known.keys()
        nested = {parameter: params[parameter] for parameter in names}
        wanted["estimator"] = clone(SMALL["estimator"]).set_params(**nested)
    return cls(**{parameter: value for parameter, value in wanted.items() if parameter in known})


def table(n=60, p=4, seed=0):
    """Return rows and labels of all three kinds; the last eighth of the rows are anomalies."""
    rng = np.random.default_rng(seed)
    n_anomalies = n // 8
    X = rng.normal(size=(n, p))
    X[n - n_anomalies :] += 4
    y = np.zeros(n, dtype=int)
    y[: n // 4] = 1
    y[n - n_anomalies // 2 - 1 :] = -1
    return X, y


class WithDropout(nn.Sequential):
    """A user's network that draws from torch's global generator in every training step."""

    def __init__(self, input_shape):
        size = int(np.prod(input_shape))
        super().__init__(
            nn.Flatten(),
            nn.Linear(size, 8, bias=False),
            nn.Dropout(0.5),
            nn.LeakyReLU(0.1),
            nn.Linear(8, 4, bias=False),
        )


class MapsWithDropout(nn.Sequential):
    """The same, for detectors that want maps."""

    def __init__(self, input_shape):
        super().__init__(
            nn.Conv2d(input_shape[0], 8, 3, padding=1, bias=False),
            nn.Dropout(0.5),
            nn.LeakyReLU(0.1),
            nn.Conv2d(8, 1, 1, bias=False),
        )


def with_dropout(name):
    """Return the class of a user's network for a detector."""
    return MapsWithDropout if name in WANT_MAPS else WithDropout


class PlainDecoder(nn.Sequential):
    """A user's decoder."""

    def __init__(self, code_size, input_shape):
        super().__init__(
            nn.Linear(code_size, int(np.prod(input_shape))), nn.Unflatten(1, tuple(input_shape))
        )


@pytest.fixture(params=DETECTORS)
def name(request):
    """Test id of each detector in turn."""
    return request.param
