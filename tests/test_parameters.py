"""Every parameter of every detector does something, or is shown to change nothing."""

import copy
import dataclasses
import inspect
import shutil

import numpy as np
import pytest
import torch
from conftest import CLASSES, SMALL, PlainDecoder, WithDropout
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM
from sklearn.utils._param_validation import Interval, InvalidParameterError
from torch import nn

import skdeepad
from skdeepad import (
    AGAD,
    SSAD,
    SSDGM,
    AutoEncoder,
    Compute,
    DeepClassifier,
    DeepSAD,
    EarlyStopping,
    Pretraining,
)
from skdeepad.engine import Stage
from skdeepad.networks import MLP

pytestmark = [
    pytest.mark.filterwarnings("ignore:X is a table, and CVDD takes"),
    pytest.mark.filterwarnings("ignore:.*does not learn from labels:skdeepad.LabelWarning"),
    pytest.mark.filterwarnings("ignore:.*learns from labeled anomalies:skdeepad.LabelWarning"),
    pytest.mark.filterwarnings("ignore:SSAD stopped after"),  # as max_iter and tol are to do
    pytest.mark.filterwarnings("ignore:The generator of AGAD makes nearly"),  # in two epochs
]

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 16)) + np.arange(16) % 3
Y = np.r_[np.ones(20), np.zeros(48), -np.ones(12)]


def wide(input_shape):
    return MLP(input_shape, (16, 4))


def linear(input_shape):
    return nn.Linear(16, 4, bias=False)


def to_maps(input_shape):
    return nn.Conv2d(input_shape[0], 4, 3, padding=1, bias=False)


# The loss of a linear network falls from the first epoch on, on held-out rows too.
EARLY = {
    "n_epochs": 10,
    "lr": 1e-2,
    "network": linear,
    "decoder": PlainDecoder,
    "input_noise": 0.0,
    "anomaly_fraction": None,
    "eta": 0.01,
}


EARLY_MAPS = {**EARLY, "network": to_maps}
# Each differs from the one before in one parameter.
STOPPING = [
    EarlyStopping(n_iter_no_change=1, tol=1e3),
    EarlyStopping(n_iter_no_change=3, tol=1e3),
    EarlyStopping(n_iter_no_change=3),
    EarlyStopping(n_iter_no_change=3, validation_fraction=0.4),
]


# Likewise, after one epoch at a constant rate.
PRETRAININGS = [
    Pretraining(n_epochs=3),
    Pretraining(n_epochs=3, lr=1e-2),
    Pretraining(n_epochs=3, lr=1e-2, lr_schedule="cosine"),
    Pretraining(n_epochs=3, lr=1e-2, lr_schedule=(1,)),
    Pretraining(lr=1e-2, lr_schedule=(1,)),
]


def to_itself(input_shape):
    return nn.Sequential(nn.Linear(16, 8), nn.Linear(8, 16))


def mirrored(images):
    return images.flip(-1)


# Parameter (with its class, where a name has two meanings): settings both fits share, then one or
# more values it is changed to.
CHANGES = {
    "network": ({}, [wide]),
    "hidden_layer_sizes": ({}, [(8, 5), (6,), (4, 8, 4)]),
    "decoder": ({"pretrain": True}, [PlainDecoder]),
    "input_shape": ({"hidden_layer_sizes": None}, [(1, 4, 4)]),
    "pretrain": ({"pretrain": True}, [False]),
    "pretraining": ({"pretrain": True}, PRETRAININGS),
    "n_epochs": ({}, [3, "auto"]),
    "lr": ({}, [1e-2]),
    "lr_schedule": (
        {"n_epochs": 3, "lr_schedule": "constant"},
        ["two-phase", (2,), [1, 2], "cosine", lambda progress: 0.5],
    ),
    "batch_size": ({}, [16, 80]),
    "anomaly_fraction": ({"anomaly_fraction": 0.25}, [0.5, None]),
    "weight_decay": ({}, [1.0]),
    "clip_grad_norm": ({}, [1e-9]),
    "early_stopping": (EARLY, STOPPING),
    "compute": ({}, [Compute(precision="bfloat16")]),
    "contamination": ({}, [0.3]),
    "random_state": ({}, [1]),
    "eta": ({}, [4.0]),
    "n_branches": ({"n_branches": 2}, [1, 3]),
    "squash": ({"squash": 2.0}, [None, 0.5]),
    "input_noise": ({"input_noise": 0.3}, [0.0, 1.0, "auto"]),
    "augment": (
        {"input_shape": (1, 4, 4), "hidden_layer_sizes": None},
        ["standard", ["flip"], ("crop",), ["color"], ["noise"], ["noise", "flip"], mirrored],
    ),
    "FCDD.network": ({}, [to_maps]),
    "FCDD.augment": (
        {"input_shape": (1, 2, 8), "hidden_layer_sizes": None},
        ["standard", ["flip"], ("crop",), ["color"], ["noise"], ["noise", "flip"], mirrored],
    ),
    "FCDD.early_stopping": (EARLY_MAPS, STOPPING),
    "AGAD.input_shape": ({}, [(1, 4, 4)]),
    "AGAD.augment": (
        {"input_shape": (1, 4, 4)},
        ["standard", ["flip"], ("crop",), ["color"], ["noise"], ["noise", "flip"], mirrored],
    ),
    "AGAD.early_stopping": None,  # refused, which is shown in test_agad.py
    "adversarial": ({}, [0.0, 5.0]),
    "contextual": ({}, [0.0, 5.0]),
    "contextual_adversarial": ({}, [0.0, 5.0]),
    "latent": ({}, [0.0, 1.0]),
    "reset_threshold": ({}, [100.0]),
    "generator": ({}, [to_itself]),
    "batch_norm": ({}, ["auxiliary", "frozen", "both"]),
    "average": ({}, [False]),
    "model": ({}, ["M1+M2"]),
    "SSDGM.alpha": ({}, [0.0, 10.0]),
    "prior": ({}, [0.5]),
    "radial": ({"radial": "pseudo-huber"}, ["squared-norm", "norm", "l1"]),
    "objective": ({}, ["soft-boundary"]),
    "DeepClassifier.objective": ({}, ["focal"]),
    "DeepClassifier.gamma": ({"objective": "focal"}, [0.0, 1.0]),
    "alpha": ({"objective": "focal"}, [0.1, 0.9]),
    "nu": ({"objective": "soft-boundary", "n_epochs": 3}, [0.5]),
    "radius_every": ({"objective": "soft-boundary", "n_epochs": 3}, [2, "batch"]),
    "kernel": ({}, ["linear", "poly", "sigmoid", lambda A, B: A @ B.T + 1]),
    "gamma": ({}, ["auto", 1.0]),
    "degree": ({"kernel": "poly", "coef0": 1.0}, [2]),
    "coef0": ({"kernel": "poly"}, [1.0]),
    "kappa": ({}, [0.0, 0.5]),
    "unlabeled_cost": ({}, [0.05]),
    "normal_cost": ({}, [0.05]),
    "anomaly_cost": ({}, [0.1]),
    "tol": ({}, [1e3]),
    "max_iter": ({}, [3]),
    "detector": ({}, [SSAD(), IsolationForest(n_estimators=10)]),
    "autoencoder": ({}, [AutoEncoder(n_epochs=2, hidden_layer_sizes=(3,)), PCA(2)]),
    "standardize": ({}, [False]),
    "estimator": ({}, [AutoEncoder(n_epochs=2, hidden_layer_sizes=(3,)), IsolationForest()]),
    "n_estimators": ({}, [1, 4]),
    "bootstrap": ({}, [True]),
    "combination": ({}, ["max", "rank-mean"]),
    "CVDD.combination": ({}, ["min", 0, 2]),
    "CVDD.input_shape": ({}, [(4, 4), (2, 8)]),
    "n_contexts": ({}, [1, 5]),
    "attention_size": ({"input_shape": (4, 4)}, [10]),
    "orthogonality": ({}, [0.0, 10.0]),
    "alphas": ({}, [(1.0,), (0.0, 1.0)]),
    "CVDD.n_epochs": ({}, [3]),
}

# The same, for values that must not change the model.
KEEPS = {
    "device": ({}, ["auto", torch.device("cpu")] if not torch.cuda.is_available() else ["cpu"]),
    "verbose": ({}, [1, True]),
    "compute": (
        {},
        [Compute(), Compute(stream=True), Compute(stream=False), Compute(cuda_graph=True)]
        + ([Compute(precision="tf32")] if not torch.cuda.is_available() else []),
    ),
    "early_stopping": ({"early_stopping": True, "n_epochs": 3}, [EarlyStopping(), np.True_]),
    "AGAD.early_stopping": None,
    "pretrain": ({"pretrain": "auto"}, [True]),
    "DeepSAD.pretrain": ({"pretrain": "auto"}, [False]),
    "pretraining": ({"pretrain": False}, PRETRAININGS),
    "decoder": ({"pretrain": False}, [PlainDecoder]),
    "clip_grad_norm": ({}, [1e9]),
    "CVDD.clip_grad_norm": ({"clip_grad_norm": None}, [1e9]),
    "lr_schedule": ({"lr_schedule": "constant"}, [lambda progress: 1.0, (), (9,)]),
    "nu": ({"objective": "one-class"}, [0.5]),
    "radius_every": ({"objective": "one-class"}, [2, "batch"]),
    "DeepClassifier.gamma": ({"objective": "cross-entropy"}, [0.0]),
    "alpha": ({"objective": "cross-entropy"}, [0.1]),
    "augment": (
        {"input_shape": (1, 4, 4), "hidden_layer_sizes": None, "augment": ["flip", "noise"]},
        [("noise", "flip"), ["flip", "noise", "flip"]],
    ),
    "AGAD.augment": (
        {"input_shape": (1, 4, 4), "augment": ["flip", "noise"]},
        [("noise", "flip"), ["flip", "noise", "flip"]],
    ),
    "sigma": ({}, [0.5, 3.0]),  # that of heat maps is shown in test_fcdd.py
    "n_branches": ({"network": wide, "n_branches": 2}, [1, 3]),
    "squash": ({"network": wide, "squash": 2.0}, [None, 0.5]),
    "hidden_layer_sizes": ({}, [[8, 4], np.array([8, 4])]),
    "input_shape": ({"input_shape": (1, 4, 4), "hidden_layer_sizes": None}, [[1, 4, 4]]),
    "AGAD.input_shape": ({"input_shape": (1, 4, 4)}, [[1, 4, 4]]),
}

# Shown elsewhere, here or in a detector's own file.
APART = {"cache_size", "likelihood", "max_models", "random_texts", "vectors"}

INVALID = {
    "n_epochs": [0, -1, 1.5, "many", None],
    "lr": [0, -1e-3, np.nan, "fast", None],
    "batch_size": [1, 0, 32.0, None],
    "anomaly_fraction": [0, 1, -0.1, 1.5, np.nan],
    "weight_decay": [-1e-6, np.nan, None],
    "clip_grad_norm": [0, -1, np.nan],
    "tol": [-1e-9, np.nan, None],
    "contamination": [0, -0.1, 0.51, np.nan, "own", None],
    "eta": [0, -1, np.nan, None],
    "n_branches": [0, -1, 1.5, None],
    "squash": [0, -1.0, np.nan],
    "input_noise": [-0.1, np.nan, "some", None],
    "nu": [0, -0.1, 1.1, np.nan, None],
    "radius_every": [0, -1, 1.5, "epoch", None],
    "gamma": [0, -1, np.nan, "wide", None],
    "DeepClassifier.gamma": [-0.1, np.nan, "scale", None],
    "alpha": [0, 1, -0.1, np.nan, None],
    "sigma": [0, -1.0, np.nan, "wide", None],
    "SSDGM.alpha": [-1, np.nan, None],
    "prior": [0, 1, -0.1, np.nan, None],
    "adversarial": [-1, np.nan, None],
    "contextual": [-1, np.nan, None],
    "contextual_adversarial": [-1, np.nan, None],
    "latent": [-1, np.nan, None],
    "reset_threshold": [-1, np.nan, None],
    "degree": [0, 1.5, None],
    "coef0": [np.nan, "one", None],
    "kappa": [-1, np.nan, "own", None],
    "unlabeled_cost": [0, -1, np.nan, "auto"],
    "normal_cost": [0, -1, np.nan, "auto"],
    "anomaly_cost": [0, -1, np.nan, "auto"],
    "cache_size": [0, -1, np.nan, None],
    "max_iter": [-2, 1.5, None],
    "n_estimators": [0, 2.5, None],
    "max_models": [0, 2.5, "auto"],
    "n_contexts": [0, 2.5, None],
    "CVDD.combination": [-1, 0.5, "max", None],
    "attention_size": [0, 2.5, None],
    "orthogonality": [-1, np.nan, None],
}
INVALID_OTHERS = {
    "network": [3, "MLP", [8, 4]],
    "decoder": [3, "MLP"],
    "hidden_layer_sizes": [8, "8, 4"],
    "input_shape": [16, "1, 4, 4"],
    "pretrain": ["yes", 2, None],
    "pretraining": ["auto", True, 3, Compute()],
    "lr_schedule": ["linear", 0.1, None, {50}],
    "early_stopping": ["auto", 3, None, Compute()],
    "compute": ["bfloat16", True, {"stream": True}, EarlyStopping()],
    "device": [0, None],
    "random_state": [-1, 0.5, "seed"],
    "verbose": [-1, "yes"],
    "objective": ["svdd", None],
    "DeepClassifier.objective": ["one-class", None],
    "radial": ["l2", 2, None],
    "augment": ["flip", {"flip"}, 3, True],
    "kernel": [3, "gauss", None],
    "detector": [3, StandardScaler()],
    "autoencoder": [3, OneClassSVM()],
    "standardize": ["yes", None],
    "estimator": [3, StandardScaler()],
    "bootstrap": ["yes", None],
    "combination": ["median", None],
    "generator": [3, "vgg", None],
    "batch_norm": ["none", True, None],
    "average": ["yes", 3, None],
    "model": ["M1", 2, None],
    "likelihood": ["poisson", None],
    "alphas": [0.1, "auto", None],
    "random_texts": ["yes", None],
    "vectors": [3, "glove.txt", StandardScaler()],
}


# Of what is passed as a parameter and has parameters itself.
INVALID_PARTS = {
    "early_stopping": (
        EarlyStopping,
        {
            "validation_fraction": [0, 1, -0.1, np.nan, None],
            "n_iter_no_change": [0, -1, 2.5, None],
            "tol": [-1e-9, np.nan, None],
        },
    ),
    "pretraining": (
        Pretraining,
        {
            "n_epochs": [0, -1, 1.5, "many", None],
            "lr": [0, -1e-3, np.nan, "fast", None],
            "lr_schedule": ["linear", 0.1, {50}],
        },
    ),
    "compute": (
        Compute,
        {
            "precision": ["float16", torch.bfloat16, None],
            "cuda_graph": ["auto", 3],
            "compile": ["auto", 3],
            "one_thread": ["auto", 3],
            "stream": ["no", 3],
        },
    ),
}


@pytest.mark.parametrize("cls", [Compute, EarlyStopping])
def test_what_training_takes_by_default_is_what_a_stage_does(cls):
    of_stage = {each.name: each.default for each in dataclasses.fields(Stage)}
    params = cls().get_params()
    shared = params.keys() & of_stage.keys()
    assert len(shared) >= 2
    assert {name: params[name] for name in shared} == {name: of_stage[name] for name in shared}


def parameters(cls):
    return list(inspect.signature(cls).parameters)


def small(cls, **params):
    return cls(**{**known(cls, SMALL), **params})


def outcome(detector):
    detector.fit(X, Y)
    return [*detector.score_samples(X), detector.offset_]


def known(cls, settings):
    """Return those settings that the detector has."""
    return {key: value for key, value in settings.items() if key in parameters(cls)}


def case(cases, cls, parameter):
    """Return the case of a parameter or None; the class's own goes before the shared one."""
    return cases.get(f"{cls.__name__}.{parameter}", cases.get(parameter))


def pairs(cases):
    """Return each detector with each of its parameters that has a case."""
    return [
        pytest.param(cls, parameter, id=f"{cls.__name__}-{parameter}")
        for cls in CLASSES
        for parameter in parameters(cls)
        if case(cases, cls, parameter) is not None
    ]


KEEPING = [
    pair
    for pair in pairs(KEEPS)
    if set(case(KEEPS, *pair.values)[0]) <= set(parameters(pair.values[0]))
]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_parameter_has_a_case(cls):
    shown = [pair.values[1] for pair in KEEPING if pair.values[0] is cls]
    for parameter in parameters(cls):
        changes = case(CHANGES, cls, parameter) is not None
        refused = f"{cls.__name__}.{parameter}" in CHANGES and parameter == "early_stopping"
        known = changes or refused or parameter in {*shown, *APART}
        assert known, "say in this file what it changes"
        numeric = any(isinstance(rule, Interval) for rule in cls._parameter_constraints[parameter])
        invalid = case(INVALID if numeric else INVALID_OTHERS, cls, parameter)
        assert invalid, "say here what is invalid"


@pytest.mark.parametrize(("cls", "parameter"), pairs(CHANGES))
def test_parameter_changes_the_model(cls, parameter):
    base, values = case(CHANGES, cls, parameter)
    settings = [base, *({**base, parameter: value} for value in values)]
    outcomes = [outcome(small(cls, **known(cls, setting))) for setting in settings]
    for i, one in enumerate(outcomes):
        assert np.isfinite(one).all()
        for other in outcomes[:i]:
            assert one != other


@pytest.mark.parametrize(("cls", "parameter"), KEEPING)
def test_parameter_does_not_change_the_model(cls, parameter):
    base, values = case(KEEPS, cls, parameter)
    expected = outcome(small(cls, **base))
    for value in values:
        assert_array_equal(outcome(small(cls, **{**base, parameter: value})), expected)


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if "input_noise" in parameters(cls)])
@pytest.mark.parametrize(("shape", "noise"), [(None, 0.5), ((1, 4, 4), 0.0)])
def test_auto_noise_is_for_tables_alone(cls, shape, noise):
    settings = {"input_shape": shape, "hidden_layer_sizes": None}
    expected = outcome(small(cls, input_noise=noise, **settings))
    assert_array_equal(outcome(small(cls, input_noise="auto", **settings)), expected)


@pytest.mark.parametrize(
    ("cls", "parameter"),
    [
        (cls, parameter)
        for parameter in ("eta", "anomaly_fraction")
        for cls in CLASSES
        # FCDD's eta weighs the anomalies it makes itself.
        if parameter in parameters(cls) and (parameter, cls) != ("eta", skdeepad.FCDD)
    ],
)
def test_what_weighs_labels_does_nothing_without_them(cls, parameter):
    (_, values) = CHANGES[parameter]
    expected = small(cls).fit(X).score_samples(X)
    for value in values:
        assert_array_equal(small(cls, **{parameter: value}).fit(X).score_samples(X), expected)


def compiled(cls, monkeypatch, torch_compile):
    """Return outcomes without and with Compute(compile=True), which must reach torch.compile."""
    calls = []

    def spy(model, *args, **kwargs):
        calls.append(model)
        return torch_compile(model, *args, **kwargs)

    monkeypatch.setattr(torch, "compile", spy)
    base = {"pretrain": False} if "pretrain" in parameters(cls) else {}
    expected = outcome(small(cls, **base))
    assert not calls
    actual = outcome(small(cls, compute=Compute(compile=True), **base))
    assert len(calls) == 1
    return expected, actual


DEEP = [cls for cls in CLASSES if "compute" in parameters(cls)]


@pytest.mark.parametrize("cls", DEEP)
def test_compile_is_asked_of_torch(cls, monkeypatch):
    expected, actual = compiled(cls, monkeypatch, lambda model: model)
    assert actual == expected


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None,
    reason="torch.compile needs a C++ compiler",
)
@pytest.mark.filterwarnings("default")  # of torch's own code
@pytest.mark.parametrize("cls", [DeepSAD, DeepClassifier, AGAD, SSDGM])  # a kind of objective each
def test_compile_changes_nothing_but_rounding(cls, monkeypatch, tmp_path):
    # Kernels that were compiled for another processor, or under another ATEN_CPU_CAPABILITY, would
    # be found in a common folder.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    expected, actual = compiled(cls, monkeypatch, torch.compile)
    # In training alone rounding is let through: Adam makes steps of full size of it.
    assert_allclose(actual, expected, rtol=1e-2)


@pytest.mark.parametrize(("cls", "parameter"), pairs({**INVALID, **INVALID_OTHERS}))
def test_invalid_values_are_refused_by_fit_alone(cls, parameter):
    for value in case({**INVALID, **INVALID_OTHERS}, cls, parameter):
        detector = small(cls, **{parameter: value})
        small(cls).set_params(**{parameter: value})
        with pytest.raises(InvalidParameterError, match=f"The '{parameter}' parameter of") as error:
            detector.fit(X, Y)
        assert "must be" in str(error.value)
        assert "Got" in str(error.value)


@pytest.mark.parametrize(
    ("cls", "part"),
    [(cls, part) for cls in DEEP for part in INVALID_PARTS if part in parameters(cls)],
)
def test_invalid_values_of_parts_are_refused_by_fit_alone(cls, part):
    of_part, invalid = INVALID_PARTS[part]
    assert invalid.keys() == set(parameters(of_part))
    for parameter, values in invalid.items():
        for value in values:
            detector = small(cls, **{part: of_part(**{parameter: value})})
            with pytest.raises(
                InvalidParameterError, match=f"The '{parameter}' parameter of {of_part.__name__}"
            ):
                detector.fit(X, Y)


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if "hidden_layer_sizes" in parameters(cls)])
@pytest.mark.parametrize("sizes", [(), (0,), (8, 0), (-4,), (8, 2.5), ("a",), ((8, 4),)], ids=str)
def test_hidden_layer_sizes_must_be_positive_whole_numbers(cls, sizes):
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        small(cls, hidden_layer_sizes=sizes).fit(X, Y)


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if "device" in parameters(cls)])
@pytest.mark.parametrize("device", ["toaster", "cuda:99", "meta:x"])
def test_device_must_exist(cls, device):
    with pytest.raises(ValueError, match=rf"device='{device}' is not available here"):
        small(cls, device=device).fit(X, Y)


# The scikit-learn object


def shown(detector):
    """Return all parameters; the parts of a detector have no equality of their own."""
    return {name: repr(value) for name, value in detector.get_params().items()}


def changed(cls):
    """Return a detector none of whose parameters is at its default, and these parameters."""
    values = {}
    for parameter, default in inspect.signature(cls).parameters.items():
        (_, one), (_, other) = (
            case(cases, cls, parameter) or ({}, []) for cases in (CHANGES, KEEPS)
        )
        candidates = [
            value for value in (*one, *other, True, False) if repr(value) != repr(default.default)
        ]
        values[parameter] = candidates[0]
    return cls(**values), values


@pytest.mark.parametrize("cls", CLASSES)
def test_init_stores_what_it_is_given(cls):
    detector, values = changed(cls)
    for parameter, value in values.items():
        assert getattr(detector, parameter) is value
        assert detector.get_params(deep=False)[parameter] is value
    assert set(vars(detector)) == set(values)


@pytest.mark.parametrize("cls", CLASSES)
def test_clone_and_set_params(cls):
    detector, values = changed(cls)
    for other in (clone(detector), cls().set_params(**values)):
        assert shown(other) == shown(detector)
    assert shown(clone(detector).set_params(**cls().get_params())) == shown(cls())


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if "network" in parameters(cls)])
def test_clone_copies_a_network_and_leaves_the_fitted_state(cls):
    state = torch.get_rng_state()
    network, decoder = nn.Linear(16, 3, bias=False), nn.Linear(3, 16)
    if cls is skdeepad.FCDD:
        network = to_maps((1, 1, 16))
    torch.set_rng_state(state)
    given = known(cls, {"network": network, "decoder": decoder})
    detector = small(cls, **given).fit(X, Y)
    before = copy.deepcopy(network.state_dict())
    other = clone(detector)
    assert other.network is not network
    assert torch.equal(other.network.weight, network.weight)
    assert not [key for key in vars(other) if key.endswith("_")]
    assert_array_equal(other.fit(X, Y).score_samples(X), detector.score_samples(X))
    assert torch.equal(before["weight"], network.weight)


@pytest.mark.parametrize("cls", CLASSES)
def test_repr_is_the_call_that_makes_it(cls):
    detector = small(cls, contamination=0.25)
    text = repr(detector)
    assert text.startswith(f"{cls.__name__}(")
    assert "contamination=0.25" in text
    assert shown(eval(text, vars(skdeepad).copy())) == shown(detector)
    assert repr(detector.fit(X, Y)) == text
    assert repr(cls()) == f"{cls.__name__}()"
    with_network = cls(network=WithDropout((16,))) if "network" in parameters(cls) else cls()
    assert repr(with_network)
