"""Models that are trained as one: each becomes what it becomes by itself."""

import pickle
import time
from collections import defaultdict
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import DEEP, DETECTORS, PlainDecoder, WithDropout, quick, table
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectKBest
from sklearn.pipeline import make_pipeline
from torch import nn
from torch.nn.utils import clip_grad_norm_

from skdeepad import CVDD, Compute, EarlyStopping, Pretraining, engine, networks
from skdeepad.callbacks import FitObserver
from skdeepad.deep import _SEEDS, DeepDetector, draw_seeds
from skdeepad.engine import (
    Objective,
    Observer,
    Rows,
    Stage,
    Training,
    Turn,
    batches,
    memory,
    stack,
    train_together,
)
from skdeepad.engine.alike import architecture, differences
from skdeepad.engine.loop import Member
from skdeepad.engine.single import Single
from skdeepad.engine.stack import Stack
from skdeepad.networks import MLP
from skdeepad.stacking import Fit, fit_together, why_not_stacked

pytestmark = [
    pytest.mark.filterwarnings("ignore:X is a table, and CVDD takes"),
    pytest.mark.filterwarnings("ignore:.*does not learn from labels:skdeepad.LabelWarning"),
    pytest.mark.filterwarnings("ignore:.*learns from labeled anomalies:skdeepad.LabelWarning"),
    pytest.mark.filterwarnings("ignore:.*read as verified normals:skdeepad.LabelWarning"),
    pytest.mark.filterwarnings("ignore:The generator of AGAD makes nearly"),
    pytest.mark.filterwarnings("ignore:The discriminator of AGAD has won"),
]

CPU = torch.device("cpu")
X, Y = table(40)
X_NEW = np.random.default_rng(1).normal(size=(30, 4))

# All that models of one stack may differ in: what the first, the second and the third have. A
# detector takes those that it knows.
DIFFERENT = {
    "random_state": (0, 1, 2),
    "lr": (0.004, 0.001, 0.002),
    "pretraining": tuple(Pretraining(n_epochs=5, lr=lr) for lr in (0.001, 0.004, 0.003)),
    "weight_decay": (0.0, 0.1, 0.01),
    "clip_grad_norm": (None, 0.2, 3.0),
    "input_noise": (0.5, 0.2, 0.1),
    "contamination": (0.1, 0.2, 0.3),
    "eta": (1.0, 2.0, 0.5),
    "nu": (0.1, 0.2, 0.3),
    "gamma": (2.0, 1.0, 3.0),
    "alpha": (0.5, 0.3, 0.7),
    "prior": (0.1, 0.2, 0.3),
    "sigma": (0.5, 1.0, 2.0),
    "adversarial": (1.0, 2.0, 0.5),
    "contextual": (50.0, 20.0, 5.0),
    "contextual_adversarial": (15.0, 5.0, 1.0),
    "latent": (5.0, 1.0, 2.0),
    "reset_threshold": (0.0, 1e9, 0.05),
}

SHARED = {"lr_schedule": "cosine", "anomaly_fraction": 0.25}
WITHOUT_BIASES = [name for name in DEEP if name.startswith(("DeepSAD", "DeepSVDD"))]


def different(name, **params):
    """Return three detectors that differ in all that models of one stack may differ in."""
    _, setting = DETECTORS[name]
    apart = [{key: values[k] for key, values in DIFFERENT.items()} for k in range(3)]
    return [clone(quick(name, **{**each, **params, **setting})) for each in apart]


def together(detectors, X=X, y=None, **options):
    """Fit detectors as one; an error is raised."""
    fits = [Fit(detector, X, y) for detector in detectors]
    fit_together(fits, **options)
    for fit in fits:
        if fit.error is not None:
            raise fit.error
    return detectors


def by_themselves(detectors, X=X, y=None):
    """Fit copies of detectors, each by itself."""
    return [clone(detector).fit(X, y) for detector in detectors]


def state_of(detector):
    return detector._objective_.state_dict()


def assert_same_model(detector, own, X_new=X_NEW, rtol=1e-6):
    """Assert that a detector is the one that was fitted by itself, but for rounding."""
    assert_allclose(detector.score_samples(X_new), own.score_samples(X_new), rtol=rtol)
    numbers = {key: value for key, value in vars(own).items() if key.endswith("_")}
    numbers = {key: value for key, value in numbers.items() if isinstance(value, int | float)}
    assert {"offset_", "n_epochs_"} <= numbers.keys()
    for key, value in numbers.items():
        assert_allclose(getattr(detector, key), value, rtol=rtol, err_msg=key)
    assert list(detector.history_) == list(own.history_)
    for stage, losses in own.history_.items():
        assert list(detector.history_[stage]) == list(losses)
        for key, values in losses.items():  # of single precision at most
            assert_allclose(detector.history_[stage][key], values, rtol=max(rtol, 1e-6))
    state, expected = state_of(detector), state_of(own)
    assert state.keys() == expected.keys()
    for key, tensor in expected.items():
        assert_allclose(state[key], tensor, rtol=rtol, atol=rtol, err_msg=key)


def assert_unlike(*detectors, X_new=X_NEW):
    """Assert that detectors are models of their own, so that a mix-up would show."""
    scores = [detector.score_samples(X_new) for detector in detectors]
    for k, one in enumerate(scores):
        for other in scores[k + 1 :]:
            assert np.abs(one - other).max() > 1e-3 * np.abs(one).max()


@pytest.fixture
def models(monkeypatch):
    """Collect what is trained."""
    made = []
    for kind in (Single, Stack):

        def note(model, members, init=kind.__init__):
            init(model, members)
            made.append(model)

        monkeypatch.setattr(kind, "__init__", note)
    return made


def sizes(models):
    """Return the numbers of members; 1 is one that is trained by itself."""
    for model in models:
        assert isinstance(model, Single if len(model.members) == 1 else Stack)
    return [len(model.members) for model in models]


@pytest.fixture
def double(monkeypatch):
    """Compute in double precision.

    In single precision the models drift apart: a bias before BatchNorm has a gradient of rounding
    errors alone, which Adam scales up to whole steps, and a small change in one of two networks
    that learn against each other soon is a large one.
    """
    monkeypatch.setattr(DeepDetector, "_dtype", np.float64)
    monkeypatch.setattr(engine, "refuse_other_types", lambda: None)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def fitted_attributes(detector):
    return {key: value for key, value in vars(detector).items() if key.endswith("_")}


# Stacked training is separate training

IMAGES = np.random.default_rng(2).normal(size=(16, 64))
LABELS = {"labeled": Y, "unlabeled": None}
LABELS_OF_IMAGES = {"labeled": np.repeat([1, 0, 0, -1], 4), "unlabeled": None}


def assert_a_stack_is_no_other(detectors, models, X, y, X_new, least_steps, rtol):
    together(detectors, X, y)
    assert sizes(models) == [len(detectors)] * len(detectors[0].history_)  # one stack a stage
    for model in models:
        first = model.members[0]
        assert first.n_epochs * first.sampler.steps >= least_steps
    own = by_themselves(detectors, X, y)
    for detector, expected in zip(detectors, own, strict=True):
        assert_same_model(detector, expected, X_new, rtol)
    assert_unlike(*own, X_new=X_new)
    if not isinstance(own[0], CVDD):
        assert any(key.endswith("running_var") for key in state_of(own[0]))  # BatchNorm


@pytest.mark.parametrize(
    ("name", "labels", "precision"),
    [
        *((name, "labeled", "double") for name in DEEP),
        # They make anomalies where none are labeled, or lose a term.
        *((name, "unlabeled", "double") for name in ("AGAD", "DeepClassifier", "HSC", "SSDGM")),
        *((name, "labeled", "single") for name in WITHOUT_BIASES),
    ],
)
def test_a_stack_of_any_detector_gives_what_each_gives_by_itself(
    name, labels, precision, models, request
):
    rtol = 1e-4
    if precision == "double":
        request.getfixturevalue("double")
        rtol = 1e-10 if name in WITHOUT_BIASES else 1e-6
    numbers = {"n_epochs": 5, "pretrain": True, "batch_size": 4}
    detectors = different(name, **numbers, **SHARED)[:2]
    assert_a_stack_is_no_other(detectors, models, X, LABELS[labels], X_NEW, 50, rtol)


@pytest.mark.usefixtures("double")
def test_radii_of_batches_are_each_model_s_own(models):
    settings = {"n_epochs": 5, "batch_size": 16, "pretrain": False, **SHARED}
    detectors = different("DeepSVDD-soft-boundary", radius_every="batch", **settings)
    assert_a_stack_is_no_other(detectors, models, X, None, X_NEW, 15, 1e-10)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("AGAD", "labeled"),
        ("DeepClassifier", "unlabeled"),
        ("DeepSAD", "labeled"),
        ("FCDD", "unlabeled"),
        ("SSDGM", "unlabeled"),
    ],
)
def test_a_stack_for_images_gives_what_each_gives_by_itself(name, labels, models):
    """Convolutions, augmented images, and synthetic anomalies where none are labeled."""
    shape = {"input_shape": (1, 8, 8), "augment": "standard"}
    detectors = different(name, batch_size=8, **shape, **SHARED)[:2]
    y = LABELS_OF_IMAGES[labels]
    assert_a_stack_is_no_other(detectors, models, IMAGES, y, IMAGES[:5] + 1, 4, 1e-6)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("name", ["AutoEncoder", "DeepSAD", "DeepSVDD", "HSC"])
def test_a_stack_for_series_gives_what_each_gives_by_itself(name, models):
    numbers = {"pretrain": True, "batch_size": 8, "input_shape": (2, 32)}
    detectors = different(name, **numbers, **SHARED)[:2]
    y = LABELS_OF_IMAGES["labeled"]
    assert_a_stack_is_no_other(detectors, models, IMAGES, y, IMAGES[:5] + 1, 4, 1e-6)


def sequential(*norms):
    """Return a network of one's own with layers between the linear ones."""
    layers = [nn.Linear(4, 8, bias=False), *norms, nn.LeakyReLU(0.1), nn.Linear(8, 4, bias=False)]
    return nn.Sequential(*layers)


# Made where numbers are double.
PLAIN = [
    ("DeepSAD", "network", lambda: MLP((4,), (8, 4))),
    ("DeepSAD", "network", lambda: partial(MLP, hidden_layer_sizes=(8, 4))),
    ("DeepSAD", "network", sequential),
    ("DeepSAD", "network", lambda: sequential(nn.BatchNorm1d(8, affine=False), nn.BatchNorm1d(8))),
    ("DeepSAD", "network", lambda: sequential(nn.BatchNorm1d(8, track_running_stats=False))),
    ("DeepSAD", "network", lambda: sequential(nn.LayerNorm(8), nn.GroupNorm(2, 8), nn.Softmax(1))),
    ("DeepSAD", "network", lambda: sequential(nn.PReLU(), nn.Unflatten(1, (2, 4)), nn.Flatten())),
    ("AGAD", "generator", lambda: nn.Linear(4, 4)),
]


@pytest.mark.usefixtures("double")
@pytest.mark.filterwarnings("ignore::skdeepad.CollapseWarning")
@pytest.mark.parametrize(("name", "place", "make"), PLAIN)
def test_plain_networks_of_ones_own_are_stacked(name, place, make, models):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        params = {place: make()}
    detectors = different(name, n_epochs=5, **params, **SHARED)
    together(detectors, y=Y)
    own = by_themselves(detectors, y=Y)
    assert sizes(models)[:1] == [3]
    for detector, expected in zip(detectors, own, strict=True):
        assert_same_model(detector, expected)
    assert_unlike(*own)


@pytest.mark.parametrize("given", ["all rows", "some rows", "a frame"])
def test_what_is_no_deep_detector_is_fitted_by_itself(given, models):
    detector = quick("HybridDetector-SSAD")
    assert "deep" in why_not_stacked(detector)
    rows = None if given == "all rows" else np.arange(5, 40)
    table = pd.DataFrame(X, columns=list("abcd")) if given == "a frame" else X
    fit = Fit(detector, table, Y if rows is None else Y[rows], rows)
    fit_together([fit, Fit(quick("AutoEncoder"), X, None)])
    assert fit.error is None and sizes(models) == [1, 1]  # its autoencoder, and the other
    table = table if rows is None else table[5:]
    own = clone(detector).fit(table, Y if rows is None else Y[rows])
    assert_array_equal(fit.detector.score_samples(table), own.score_samples(table))
    assert fit.detector.offset_ == own.offset_


# What is each one's own


def test_a_discriminator_that_starts_anew_is_the_only_one(models):
    thresholds = [0.0, 1e9, 0.0]
    detectors = different("AGAD", n_epochs=3, **SHARED)
    for detector, threshold in zip(detectors, thresholds, strict=True):
        detector.set_params(reset_threshold=threshold)
    together(detectors, y=Y)
    [stack] = models
    of_generator, of_discriminator = stack.turns
    n_steps = 3 * stack.members[0].sampler.steps
    assert of_generator.steps.flatten().tolist() == [n_steps] * 3
    assert of_discriminator.steps.flatten().tolist() == [n_steps, 0, n_steps]
    for turn, cleared in ((of_generator, [False] * 3), (of_discriminator, [False, True, False])):
        for moments in (turn.mean, turn.square):
            assert (moments == 0).all(1).tolist() == cleared
    for detector, threshold in zip(detectors, thresholds, strict=True):
        assert detector.history_["train"]["reset"] == [float(threshold > 0)] * 3
        seed = draw_seeds(detector.random_state, _SEEDS)["head"]
        first = networks.build_discriminator((4,), seed)
        anew = [
            torch.equal(one, other)
            for one, other in zip(
                detector.discriminator_.parameters(), first.parameters(), strict=True
            )
        ]
        assert all(anew) if threshold else not any(anew)


@pytest.mark.usefixtures("double")
def test_each_has_its_own_soft_boundary(models):
    detectors = different("DeepSVDD-soft-boundary", n_epochs=4, pretrain=False)
    shares = [0.1, 0.3, 0.5]
    for detector, nu in zip(detectors, shares, strict=True):
        detector.set_params(nu=nu, contamination="auto")
    together(detectors)
    assert sizes(models) == [3]
    for detector, nu in zip(detectors, shares, strict=True):
        assert (detector.predict(X) == -1).mean() == nu
        assert_allclose(detector.offset_, -(detector.radius_**2), rtol=1e-12)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("name", ["AutoEncoder", "DeepSAD", "DeepSVDD-soft-boundary"])
def test_each_stops_at_its_own_epoch_with_its_own_best_weights(name, models):
    x, y = table(48)
    n_epochs = 12
    numbers = {"n_epochs": n_epochs, "pretrain": True}
    numbers["pretraining"] = Pretraining(n_epochs=n_epochs, lr=0.05)
    numbers |= {"batch_size": 16, "anomaly_fraction": None}  # three steps with held-out rows, too
    detectors = [quick(name, random_state=k, lr=0.05, **numbers) for k in range(4)]
    for patience, detector in enumerate(detectors[:3], 1):
        stopping = EarlyStopping(validation_fraction=0.2, n_iter_no_change=patience)
        detector.set_params(early_stopping=stopping)
    # The last is not stopped, and has no held-out rows.
    together(detectors, x, y)
    assert sizes(models) == [4] * len(detectors[0].history_)
    for detector, own in zip(detectors, by_themselves(detectors, x, y), strict=True):
        assert_same_model(detector, own)
        for losses in detector.history_.values():
            assert {len(values) for values in losses.values()} == {len(losses["loss"])}
    # They do stop, at epochs of their own.
    stopped = [
        len(losses["loss"]) for detector in detectors[:3] for losses in detector.history_.values()
    ]
    assert min(stopped) < n_epochs and len(set(stopped)) > 1
    assert detectors[3].n_epochs_ == n_epochs


class Told(Objective):
    """Loss: a weight times a slope, which becomes infinite, or the end, after an epoch told."""

    def __init__(self, breaks_after):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.register_buffer("breaks_after", torch.tensor(breaks_after))
        self.register_buffer("slope", torch.ones(()))

    def loss(self, batch):
        return (self.slope * self.weight).expand(len(batch.x))

    def after_epoch(self, epoch, rows, losses):
        losses["slope"] = 1.0
        if epoch == int(self.breaks_after):
            self.slope.fill_(torch.inf)


class StopsAfter(Observer):
    """An observer that ends training after so many epochs, and notes what it is told."""

    def __init__(self, n_epochs):
        self.n_epochs, self.notes = n_epochs, []

    def begins(self, n_epochs):
        self.notes.append(n_epochs)
        return n_epochs

    def epoch_begins(self):
        self.notes.append("begins")

    def epoch_ends(self, record):
        self.notes.append({key: len(values) for key, values in record.losses.items()})
        return record.n_epochs == self.n_epochs

    def ends(self, completed):
        self.notes.append(completed)


def test_records_and_observers_end_where_the_training_does(models):
    rows = Rows.place(np.zeros((10, 2), dtype=np.float32), None, (2,), CPU)

    def trainings():
        return [
            Training(
                Stage("a stage", Told(breaks_after), n_epochs=5, lr=0.01 * (k + 1), batch_size=4),
                rows,
                seed=k,
                observer=StopsAfter(stop),
            )
            for k, (breaks_after, stop) in enumerate([(-1, 9), (0, 9), (2, 9), (-1, 2), (1, 2)])
        ]

    stacked, apart = trainings(), trainings()
    train_together(stacked)
    assert sizes(models) == [5]
    for training in apart:
        train_together([training])
    assert [training.record.n_epochs for training in stacked] == [5, 2, 4, 2, 2]
    assert [k for k, training in enumerate(stacked) if training.record.error] == [1, 2]
    for one, other in zip(stacked, apart, strict=True):
        assert str(one.record.error) == str(other.record.error)
        assert one.observer.notes == other.observer.notes
        assert one.record.losses.keys() == other.record.losses.keys()
        for key, values in other.record.losses.items():
            assert_allclose(one.record.losses[key], values, rtol=1e-6)
        if one.record.error is None:
            ours, theirs = one.stage.objective.weight, other.stage.objective.weight
            assert_allclose(ours.item(), theirs.item(), rtol=1e-6)


class Sum(Objective):
    """Loss: the sum of a parameter of some shape, times another number in each model."""

    def __init__(self, shape, slope):
        super().__init__()
        self.weights = nn.Parameter(torch.ones(shape))
        self.unused = nn.Parameter(torch.ones(2))
        self.register_buffer("slope", torch.tensor(slope))

    def turns(self):
        return (Turn(parameters=("weights",)),)

    def loss(self, batch):
        return (self.slope * self.weights.sum()).expand(len(batch.x))


class WithUnused(Sum):
    def turns(self):
        return (Turn(),)


@pytest.mark.parametrize("kind", [Sum, WithUnused])
@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_parameters_have_any_shape_and_need_not_be_used(shape, kind):
    rows = Rows.place(np.zeros((10, 2), dtype=np.float32), None, (2,), CPU)
    objectives = [kind(shape, slope) for slope in (1.0, -1.0)]
    train_together(
        [
            Training(Stage("", objective, n_epochs=3, lr=0.25, weight_decay=0.0), rows, 0)
            for objective in objectives
        ]
    )
    for objective, expected in zip(objectives, (0.25, 1.75), strict=True):
        assert objective.weights.shape == shape
        assert_allclose(objective.weights.detach(), np.full(shape, expected), rtol=1e-6)
        assert objective.unused.tolist() == [1, 1]


# Adam


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("clips", [False, True])
@pytest.mark.parametrize("decays", [False, True])
def test_the_stacked_adam_is_torch_s(clips, decays):
    rng = np.random.default_rng(0)
    shapes = {"a": (3,), "b": (2, 4), "c": ()}
    own, tensors, members = [], [], []
    for lr, weight_decay, longest in ((0.1, 0.0, None), (0.01, 0.3, 5.0), (0.001, 0.01, 0.5)):
        stage = Stage("", None, lr=lr)
        stage.weight_decay = weight_decay if decays else 0.0
        stage.clip_grad_norm = longest if clips else None
        members.append(SimpleNamespace(stage=stage, rows=SimpleNamespace(device=CPU)))
        tensors.append({k: nn.Parameter(torch.tensor(rng.normal(size=shapes[k]))) for k in shapes})
        copies = [parameter.detach().clone() for parameter in tensors[-1].values()]
        own.append(torch.optim.Adam(copies, lr=lr, weight_decay=stage.weight_decay))
    turn = stack._StackedTurn(Turn(), tensors, members)
    for step in range(300):
        gradients = rng.normal(size=(3, 12)) * 10.0 ** rng.uniform(-3, 2, size=(3, 1))
        gradients[:, :3] *= step % 7 > 0  # now and then none
        if step == 120:
            turn.clear(1)
            own[1].state.clear()
        factor = 1 - step / 300
        turn.gradients.copy_(torch.tensor(gradients))
        turn.set_rate(factor)
        turn.descend()
        for adam, gradient, member, mine in zip(own, gradients, members, tensors, strict=True):
            [group] = adam.param_groups
            parts = torch.tensor(gradient).split([3, 8, 1])
            for copy, part in zip(group["params"], parts, strict=True):
                copy.grad = part.view_as(copy)
            if member.stage.clip_grad_norm is not None:
                clip_grad_norm_(group["params"], member.stage.clip_grad_norm)
            group["lr"] = member.stage.lr * factor
            adam.step()
            if step % 20 in (0, 1):
                for parameter, copy in zip(mine.values(), group["params"], strict=True):
                    assert_allclose(parameter.detach(), copy, rtol=1e-10, atol=1e-12)


def test_a_gradient_too_long_to_be_measured_moves_no_other_way_in_a_stack():
    """Its square overflows, and another member's gradients are to be shortened."""
    detectors = different("DeepSAD", pretrain=False)
    detectors[0].set_params(eta=1e25)
    assert detectors[0].clip_grad_norm is None
    together(detectors, y=Y)
    for detector, own in zip(detectors, by_themselves(detectors, y=Y), strict=True):
        assert_same_model(detector, own, rtol=1e-4)


# Errors


def bad(detectors, place, trouble):
    """Give the detector at a place trouble; return the rows for each."""
    rows = [X] * len(detectors)
    if trouble == "values":
        rows[place] = X * 1e200
    else:
        detectors[place].set_params(**{trouble: 1e200})
    return rows


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("trouble", ["lr", "pretraining__lr", "values"])
def test_a_loss_that_is_not_finite_ends_its_own_training_alone(trouble, place, models):
    detectors = different("DeepSAD", squash=None, pretrain=True)
    before = clone(detectors[place])
    detectors[place].fit(X, Y)
    kept, scores = fitted_attributes(detectors[place]), detectors[place].score_samples(X_NEW)
    rows = bad(detectors, place, trouble)
    models.clear()
    fits = [Fit(detector, x, Y) for detector, x in zip(detectors, rows, strict=True)]
    fit_together(fits)
    assert sizes(models) == ([3, 3] if trouble == "lr" else [3, 2])
    for number, (fit, x) in enumerate(zip(fits, rows, strict=True)):
        if number != place:
            assert fit.error is None
            assert_same_model(fit.detector, clone(fit.detector).fit(x, Y))
            continue
        with pytest.raises(ValueError, match="became (inf|nan) in epoch 1; expected") as own:
            clone(fit.detector).fit(x, Y)
        assert type(fit.error) is ValueError and str(fit.error) == str(own.value)
        # What was fitted before is there, and the detector can be fitted again.
        now = fitted_attributes(fit.detector)
        assert now.keys() == kept.keys() and all(now[key] is kept[key] for key in kept)
        assert_array_equal(fit.detector.score_samples(X_NEW), scores)
        again = fit.detector.set_params(**before.get_params())
        assert_array_equal(together([again], y=Y)[0].score_samples(X_NEW), scores)


@pytest.mark.parametrize(
    ("params", "x", "y", "message"),
    [
        ({"contamination": 0.9}, X, Y, "contamination"),
        ({}, X[:, :0], Y, "0 feature"),
        ({}, X, Y[:-1], "one label for each"),
        ({"hidden_layer_sizes": ()}, X, Y, "hidden_layer_sizes must"),
        ({}, X[-4:-2], np.array([0, -1]), "1 row to train on"),
    ],
)
def test_what_is_wrong_with_one_is_noted_and_the_others_are_fitted(params, x, y, message):
    wrong = [Fit(quick("DeepSVDD", random_state=k, **params), x, y) for k in range(2)]
    right = [Fit(quick("DeepSVDD", random_state=k), X, Y) for k in range(2)]
    fit_together([wrong[0], *right, wrong[1]])
    for fit in wrong:
        with pytest.raises(ValueError, match=message) as own:
            clone(fit.detector).fit(x, y)
        assert str(fit.error) == str(own.value)
        with pytest.raises(NotFittedError):
            fit.detector.predict(X)
    for fit in right:
        assert fit.error is None
        assert_same_model(fit.detector, clone(fit.detector).fit(X, Y), rtol=1e-4)


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_an_interrupt_leaves_the_earlier_models(share, monkeypatch):
    steps = []
    descend = stack._StackedTurn.descend

    def interrupts(turn):
        if len(steps) == last:
            raise KeyboardInterrupt
        steps.append(turn)
        descend(turn)

    last = None
    monkeypatch.setattr(stack._StackedTurn, "descend", interrupts)
    together(different("DeepSAD", pretrain=True), y=Y)
    last = int(share * (len(steps) - 1))
    steps.clear()
    fitted, unfitted = (different("DeepSAD", pretrain=True)[:2] for _ in range(2))
    kept = [fitted_attributes(detector.fit(X, Y)) for detector in fitted]
    scores = [detector.score_samples(X_NEW) for detector in fitted]
    fits = [Fit(detector, X + 1, Y) for detector in (*fitted, *unfitted)]
    with pytest.raises(KeyboardInterrupt):
        fit_together(fits)
    for detector, attributes, expected in zip(fitted, kept, scores, strict=True):
        now = fitted_attributes(detector)
        assert now.keys() == attributes.keys()
        assert all(now[key] is attributes[key] for key in attributes)
        assert_array_equal(detector.score_samples(X_NEW), expected)
    for detector in unfitted:
        with pytest.raises(NotFittedError):
            detector.predict(X)
    last = None
    for detector, expected in zip(together(fitted, y=Y), scores, strict=True):
        assert_allclose(detector.score_samples(X_NEW), expected, rtol=1e-4)


# What is alike


def halved(progress):
    return 0.5


def halved_too(progress):
    return 0.5


SWAPPED = Y.copy()
SWAPPED[[0, -1]] = Y[[-1, 0]]


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("DeepSAD", {"random_state": 0}, {"random_state": 1}),
        ("DeepSAD", {"lr": 0.1}, {"lr": 0.2}),
        ("DeepSAD", {"eta": 0.5}, {"eta": 2}),
        ("DeepSAD", {"weight_decay": 0.0}, {"weight_decay": 0.1}),
        ("DeepSAD", {"clip_grad_norm": None}, {"clip_grad_norm": 1.0}),
        ("DeepSAD", {"input_noise": 0.1}, {"input_noise": 0.2}),
        ("DeepSAD", {"contamination": 0.1}, {"contamination": 0.2}),
        ("DeepSAD", {"early_stopping": True}, {"early_stopping": EarlyStopping(tol=1.0)}),
        ("DeepSAD", {"early_stopping": False}, {"early_stopping": True}),
        ("DeepSAD", {"lr_schedule": halved}, {"lr_schedule": halved}),
        ("DeepSAD", {"lr_schedule": (1,)}, {"lr_schedule": [1]}),
        ("DeepSAD", {"y": Y}, {"y": SWAPPED}),
        ("DeepSAD", {"anomaly_fraction": None}, {"anomaly_fraction": None, "y": np.abs(Y)}),
        ("DeepSAD", {"X": X}, {"X": X + 1}),
        ("DeepSVDD", {"rows": np.arange(30)}, {"rows": np.arange(30) + 5}),
        ("DeepSVDD-soft-boundary", {"nu": 0.1}, {"nu": 0.2}),
        ("DeepSVDD-soft-boundary", {"radius_every": 1}, {"radius_every": 2}),
        ("DeepClassifier-focal", {"gamma": 1.0, "alpha": 0.1}, {"gamma": 2.0, "alpha": 0.2}),
        ("AGAD", {"contextual_adversarial": 1.0}, {"contextual_adversarial": 2.0}),
        ("AGAD", {"reset_threshold": 0}, {"reset_threshold": 1.0}),
        ("FCDD", {"sigma": 1.0}, {"sigma": 2.0}),
        ("SSDGM", {"alpha": 0.1, "prior": 0.1}, {"alpha": 0.2, "prior": 0.2}),
    ],
)
def test_these_may_differ_in_one_stack(name, one, other, models):
    fit_pair(name, one, other)
    assert sizes(models) == [2]


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("DeepSAD", {"batch_size": 16}, {"batch_size": 32}),
        ("DeepSAD", {"batch_size": 14}, {"batch_size": 15}),  # three steps each
        ("DeepSAD", {"hidden_layer_sizes": (8, 4)}, {"hidden_layer_sizes": (8, 5)}),
        ("DeepSAD", {"hidden_layer_sizes": (8, 4)}, {"hidden_layer_sizes": (8, 8, 4)}),
        ("DeepSAD", {"n_branches": 1}, {"n_branches": 2}),
        ("DeepSAD", {"squash": None}, {"squash": 2.0}),
        ("DeepSAD", {"squash": 1.0}, {"squash": 2.0}),
        ("DeepSAD", {"input_noise": 0.0}, {"input_noise": 0.1}),
        ("DeepSAD", {"n_epochs": 1}, {"n_epochs": 2}),
        ("DeepSAD", {"lr_schedule": "constant"}, {"lr_schedule": "cosine"}),
        ("DeepSAD", {"lr_schedule": halved}, {"lr_schedule": halved_too}),
        ("DeepSAD", {"lr_schedule": (1,)}, {"lr_schedule": (2,)}),
        ("DeepSAD", {"lr_schedule": partial(halved)}, {"lr_schedule": partial(halved)}),
        ("DeepSAD", {"compute": None}, {"compute": Compute(precision="tf32")}),
        ("DeepSAD", {"compute": None}, {"compute": Compute(cuda_graph=True)}),
        ("DeepSAD", {"compute": None}, {"compute": Compute(stream=True)}),
        ("DeepSAD", {"X": X}, {"X": X[:, :3]}),
        # Steps: four and three.
        ("DeepSVDD", {"batch_size": 12}, {"batch_size": 12, "rows": np.arange(34)}),
        # Places: none and some, with as many steps.
        ("DeepSAD", {"y": Y}, {"y": np.abs(Y)}),
        ("DeepSAD", {"anomaly_fraction": None}, {"anomaly_fraction": 0.01}),
        ("DeepSVDD", {}, {"objective": "soft-boundary"}),
        ("DeepSVDD-soft-boundary", {"radius_every": 1}, {"radius_every": "batch"}),
        ("HSC", {"radial": "l1"}, {"radial": "norm"}),
        ("HSC", {"y": Y}, {"y": np.abs(Y)}),
        ("DeepClassifier", {}, {"objective": "focal"}),
        ("AGAD", {"contextual_adversarial": 0.0}, {"contextual_adversarial": 1.0}),
        ("SSDGM", {"y": Y}, {"y": np.minimum(Y, 0)}),  # unlabeled rows count as normal
        (
            "DeepClassifier",
            {"X": IMAGES, "y": None, "input_shape": (1, 8, 8)},
            {"X": IMAGES, "y": None, "input_shape": (1, 8, 8), "augment": ["flip"]},
        ),
        (
            "DeepClassifier",
            {"X": IMAGES, "y": None, "input_shape": (1, 8, 8), "augment": ["color"]},
            {"X": IMAGES, "y": None, "input_shape": (1, 8, 8), "augment": ["flip"]},
        ),
        (
            "DeepClassifier",
            {"X": IMAGES, "y": None, "input_shape": (1, 8, 8)},
            {"X": IMAGES, "y": None, "input_shape": (1, 4, 16)},
        ),
    ],
)
def test_these_are_not_for_one_stack(name, one, other, models):
    fits = fit_pair(name, one, other)
    assert sizes(models) == [1, 1]
    for fit in fits:
        own = clone(fit.detector).fit(fit.X if fit.rows is None else fit.X[fit.rows], fit.y)
        assert_array_equal(fit.detector.score_samples(fit.X), own.score_samples(fit.X))


def fit_pair(name, one, other):
    """Fit two detectors, each with its parameters and, among them, its data."""
    fits = []
    for params in (one, other):
        data = {"X": X, "y": Y, "rows": None}
        data |= {key: value for key, value in params.items() if key in data}
        params = {key: value for key, value in params.items() if key not in data}
        if data["rows"] is not None:
            data["y"] = Y[data["rows"]]
        defaults = {"pretrain": False, "n_epochs": 1, "anomaly_fraction": 0.25}
        fits.append(Fit(quick(name, **{**defaults, **params}), **data))
    fit_together(fits)
    assert [fit.error for fit in fits] == [None, None]
    return fits


def with_hook():
    """Return a network of plain layers, one of which does more than its class says."""
    network = sequential()
    network[0].register_forward_hook(add_noise)
    return network


def add_noise(layer, given, output):
    return output + torch.randn_like(output) if layer.training else output


@pytest.mark.parametrize(
    ("name", "params", "reason"),
    [
        ("DeepSAD", {"compute": Compute(compile=True)}, "compile"),
        ("DeepSAD", {"compute": Compute(precision="bfloat16")}, "bfloat16"),
        ("DeepSAD", {"network": WithDropout}, "network"),
        ("DeepSAD", {"network": with_hook()}, "network"),
        # Its momentum is a number that it reads from a tensor.
        ("DeepSAD", {"network": sequential(nn.BatchNorm1d(8, momentum=None))}, "network"),
        ("DeepSAD", {"decoder": PlainDecoder}, "decoder"),
        ("DeepSAD", {"augment": lambda x: x + torch.randn_like(x)}, "augment"),
        ("AGAD", {"generator": nn.Sequential(nn.Linear(4, 4), nn.Dropout())}, "generator"),
    ],
)
@pytest.mark.filterwarnings("ignore::skdeepad.CollapseWarning")
def test_what_cannot_be_stacked_is_trained_by_itself(
    name, params, reason, models, monkeypatch, capsys
):
    monkeypatch.setattr(torch, "compile", lambda module: module)
    detectors = [quick(name, random_state=k, **params) for k in range(2)]
    assert why_not_stacked(quick(name)) is None
    for detector in detectors:
        assert reason in (why_not_stacked(detector) or "")
    together(detectors, y=Y, verbose=1)
    assert set(sizes(models)) == {1}
    assert f"Each {name} is trained by itself: {why_not_stacked(detectors[0])}." in (
        capsys.readouterr().out
    )
    for detector, own in zip(detectors, by_themselves(detectors, y=Y), strict=True):
        assert_array_equal(detector.score_samples(X_NEW), own.score_samples(X_NEW))


class Silent:
    """A callback that does nothing."""

    def setup(self, estimator, context):
        pass

    teardown = on_fit_task_begin = on_fit_task_end = setup


@pytest.mark.skipif(not hasattr(DeepDetector, "set_callbacks"), reason="scikit-learn < 1.9")
def test_models_with_callbacks_are_trained_by_themselves(models):
    detectors = [quick("DeepSVDD", random_state=k).set_callbacks(Silent()) for k in range(2)]
    assert "callbacks" in why_not_stacked(detectors[0])
    together(detectors)
    assert set(sizes(models)) == {1}


@pytest.mark.parametrize("setting", [{"compile": True}, {"precision": "bfloat16"}])
def test_the_engine_does_not_stack_them_either(setting, models, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda module: module)
    rows = Rows.place(np.zeros((10, 2), dtype=np.float32), None, (2,), CPU)
    train_together(
        [Training(Stage("", Told(9), n_epochs=1, **setting), rows, seed) for seed in range(2)]
    )
    assert sizes(models) == [1, 1]


class Value:
    """What is no more than its attributes."""

    def __init__(self, value):
        self.value = value


class Slotted:
    __slots__ = ("value",)


class PartlySlotted(Slotted):
    """Has a value that is not among the attributes in its dictionary."""

    def __init__(self, value):
        self.value = value


class Methods:
    def one(self):
        return 1

    def other(self):
        return 2


METHODS = Methods()


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (1.5, 1.5, True),
        (1.5, 2.5, False),
        (None, 0, False),
        ("flip", "crop", False),
        ([1, 2], [1, 2], True),
        ([1, 2], (1, 2), False),
        ({"a": [1]}, {"a": [1]}, True),
        ({"a": [1]}, {"a": [2]}, False),
        ({"a": 1}, {"b": 1}, False),
        ({}, defaultdict(int), False),
        ({1}, {2}, False),
        (halved, halved, True),
        (halved, halved_too, False),
        (lambda: 1, lambda: 1, False),
        (partial(halved, 1), partial(halved, 2), False),
        (METHODS.one, METHODS.one, True),
        (METHODS.one, METHODS.other, False),
        (METHODS.one, Methods().one, False),
        (Value, Methods, False),
        (Value(1), Value(1), True),
        (Value(1), Value(2), False),
        (Value([Value(1)]), Value([Value(1)]), True),
        (Value([Value(1)]), Value([Value(2)]), False),
        (Value(lambda: 1), Value(lambda: 1), False),
        (Value(partial(halved, 1)), Value(partial(halved, 2)), False),
        (Value(1), Methods(), False),
        (PartlySlotted(1), PartlySlotted(2), False),
        (np.zeros(2), np.ones(2), False),
        (Value(np.zeros(2)), Value(np.ones(2)), False),
        (np.random.default_rng(0), np.random.default_rng(1), False),
        ([torch.zeros(2)], [torch.ones(2)], False),  # no buffer, so no stack would hold both
        ([nn.Linear(2, 2)], [nn.Linear(2, 2)], False),
    ],
)
def test_an_architecture_is_all_but_the_values_of_tensors(one, other, alike):
    """Of the objective's own attributes, and of those of its modules."""
    for at in ("", "network"):
        objectives = [Told(1), Told(2)]
        for objective, value in zip(objectives, (one, other), strict=True):
            objective.network = nn.Linear(1, 1)
            objective.get_submodule(at).attribute = value
        found = [architecture(objective) for objective in objectives]
    assert (found[0] == found[1]) is alike
    assert (len({frozenset(each.items()) for each in found}) == 1) is alike  # as they are grouped
    assert differences(*found) == ([] if alike else [f"{at}.attribute".lstrip(".")])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (nn.LeakyReLU(0.1), nn.LeakyReLU(0.2)),
        (nn.BatchNorm1d(2), nn.BatchNorm1d(2, affine=False)),
        (nn.BatchNorm1d(2), nn.BatchNorm1d(2, momentum=0.2)),
        (nn.BatchNorm1d(2), nn.BatchNorm1d(2, eps=1e-3)),
        (nn.Linear(2, 2), nn.Linear(2, 3)),
        (nn.Linear(2, 2), nn.Linear(2, 2).double()),
        (nn.Linear(2, 2), nn.Linear(2, 2).requires_grad_(False)),
        (nn.Linear(2, 2), nn.Linear(2, 2, bias=False)),
        (nn.ReLU(), nn.SELU()),
        (nn.Sequential(nn.ReLU(), nn.SELU()), nn.Sequential(nn.SELU(), nn.ReLU())),
        (nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 3, padding=0)),
        (nn.Conv2d(1, 1, 3, stride=1), nn.Conv2d(1, 1, 3, stride=2)),
    ],
)
def test_layers_of_another_kind_are_another_architecture(one, other):
    def found(layer):
        objective = Told(1)
        objective.network = nn.Sequential(layer)
        return architecture(objective)

    assert found(one) != found(other)
    assert found(one) == found(one)


def test_attributes_apart_from_losses_may_differ():
    class Maker(Told):
        apart_from_losses = ("make",)

    objectives = [Maker(1), Maker(1)]
    for objective in objectives:
        objective.make = lambda: 1
    assert architecture(objectives[0]) == architecture(objectives[1])
    for objective in objectives:
        objective.other = lambda: 1
    assert architecture(objectives[0]) != architecture(objectives[1])


# Rows

FOLDS = [np.delete(np.arange(40), slice(10 * k, 10 * k + 6)) for k in range(3)]
BOOTSTRAPS = [np.random.default_rng(k).integers(0, 40, size=34) for k in range(3)]


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(
    ("parts", "tables", "stream", "early_stopping"),
    [
        # Each two of them meet.
        (FOLDS, "one", False, True),
        (FOLDS, "two", True, False),
        (FOLDS, "two", False, False),
        (BOOTSTRAPS, "one", True, False),
        (BOOTSTRAPS, "two", True, True),
        (BOOTSTRAPS, "one", False, False),
    ],
)
def test_rows_of_a_table_are_what_a_table_of_these_rows_is(
    parts, tables, stream, early_stopping, models, monkeypatch
):
    monkeypatch.setattr(batches, "_CHUNK_BYTES", 1)  # one step at once
    y = Y.copy()
    y[::9] = -1  # some are in each part, and no more than leave it as many steps as the others
    other = X if tables == "one" else 2 * X
    given = [X, other, X]
    numbers = {"batch_size": 16, "anomaly_fraction": None, "pretrain": True}
    detectors = [
        quick(
            "DeepSAD",
            random_state=k,
            compute=Compute(stream=stream),
            early_stopping=early_stopping,
            **numbers,
        )
        for k in range(3)
    ]
    fits = [
        Fit(detector, x, y[rows], rows)
        for detector, x, rows in zip(detectors, given, parts, strict=True)
    ]
    fit_together(fits)
    assert sizes(models) == [3, 3]
    own = []
    for fit in fits:
        assert fit.error is None
        own.append(clone(fit.detector).fit(fit.X[fit.rows], fit.y))
        assert_same_model(fit.detector, own[-1], rtol=1e-9)
    assert_unlike(*own)


def test_features_are_placed_once_and_never_copied(models, monkeypatch):
    placed = []
    place = Rows.place.__func__

    def note(cls, array, *others):
        placed.append(array)
        return place(cls, array, *others)

    monkeypatch.setattr(Rows, "place", classmethod(note))
    detectors = different("DeepSAD") + different("AutoEncoder", early_stopping=True)
    labels = [Y[rows] for rows in FOLDS] * 2
    fits = [
        Fit(detector, X, y, rows)
        for detector, y, rows in zip(detectors, labels, FOLDS * 2, strict=True)
    ]
    fit_together(fits)
    assert [fit.error for fit in fits] == [None] * 6
    assert len([array for array in placed if len(array) == len(X)]) == 1
    assert all(isinstance(model, Stack) for model in models)
    [shared] = {member.rows.x for model in models for member in model.members}
    for model in models:
        assert model.rows.x is shared
        assert not any(model.starts)


def test_transformers_learn_from_the_labels_that_are_meant():
    labels = [np.where(X[:, column] > 0, 1, -1) for column in (0, 3)]
    fits = [Fit(make_pipeline(SelectKBest(k=1), quick("AutoEncoder")), X, y) for y in labels]
    fit_together(fits)
    for fit, column in zip(fits, (0, 3), strict=True):
        assert fit.error is None
        assert fit.estimator[0].get_support(indices=True).tolist() == [column]


def test_features_of_several_tables_are_joined():
    tables = [torch.randn(n, 2) for n in (3, 4, 2)]
    parts = [Rows(tables[k], torch.zeros(0), CPU, False) for k in (0, 1, 0, 2)]
    joined, starts = stack._joined_rows(parts)
    assert len(joined.x) == 9  # none is there twice
    for part, start in zip(parts, starts, strict=True):
        assert torch.equal(joined.x[start : start + len(part.x)], part.x)


# How many at once


@pytest.mark.parametrize("n_models", [7, 6])
def test_as_many_as_wanted_in_stacks_of_nearly_one_size(n_models, models):
    detectors = [quick("DeepSAD", random_state=k, pretrain=True) for k in range(n_models)]
    together(detectors, y=Y, max_models=3)
    expected = [3, 2, 2] if n_models == 7 else [3, 3]
    assert sizes(models) == expected * 2  # of pretraining, and of training
    for detector, own in zip(detectors, by_themselves(detectors, y=Y), strict=True):
        assert_same_model(detector, own, rtol=1e-4)


def test_by_default_as_many_as_half_the_free_memory_holds(models, monkeypatch):
    found = []
    for free in 2.0 ** np.arange(16, 21, 0.5):
        monkeypatch.setattr(memory, "_free_bytes", lambda device, free=free: free)
        models.clear()
        together([quick("DeepSVDD", random_state=k, pretrain=False, n_epochs=1) for k in range(8)])
        found.append(sizes(models))
    most = [max(each) for each in found]
    assert most == sorted(most) and most[0] == 1 and most[-1] == 8 and len(set(most)) > 3
    for each in found:
        assert sum(each) == 8 and max(each) - min(each) <= 1


def member_of(name, **params):
    """Return what the training of a detector's first stage begins with."""
    detector = quick(name, **params)
    rows = detector._placed(*detector._checked(X, Y))
    return Member(detector._trainings(rows, FitObserver(detector, X, Y))[0])


@pytest.mark.parametrize("name", DEEP)
def test_measuring_what_a_step_keeps_leaves_no_trace(name):
    kept = []
    for batch_size in (8, 16, 32):
        member = member_of(name, batch_size=batch_size, anomaly_fraction=None)
        before = {key: tensor.clone() for key, tensor in member.objective.state_dict().items()}
        kept.append(memory._kept_bytes(member))
        after = member.objective.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)
        assert not any(parameter.grad is not None for parameter in member.objective.parameters())
        # It measures what a step keeps: more than the features that it is given.
        assert kept[-1] > 2 * member.rows.x[:batch_size].nbytes
    # What is kept of each row, beside the weights.
    assert 0 < kept[1] - kept[0] <= kept[2] - kept[1] <= 2.2 * (kept[1] - kept[0])


# Afterwards


@pytest.mark.parametrize("name", ["AGAD", "DeepSAD", "SSDGM-M1+M2"])
def test_fitted_models_are_apart(name):
    detectors = together(different(name, **SHARED), y=Y)
    for detector, own in zip(detectors, by_themselves(detectors, y=Y), strict=True):
        assert vars(detector).keys() == vars(own).keys()
        assert len(pickle.dumps(detector)) <= 1.02 * len(pickle.dumps(own))
    scores = [detector.score_samples(X_NEW) for detector in detectors]
    changed, *others = detectors
    with torch.no_grad():
        for tensor in state_of(changed).values():
            tensor.mul_(2)
    assert (changed.score_samples(X_NEW) != scores[0]).all()
    for detector, expected in zip(others, scores[1:], strict=True):
        assert_array_equal(detector.score_samples(X_NEW), expected)
    loaded = pickle.loads(pickle.dumps(others[0]))
    assert_array_equal(loaded.score_samples(X_NEW), scores[1])


def test_seconds_add_up_to_no_more_than_the_time_it_takes(monkeypatch):
    detectors = different("DeepSAD") + different("AutoEncoder")
    detectors += [quick("HybridDetector"), quick("DeepSAD", compute=Compute(compile=True))]
    monkeypatch.setattr(torch, "compile", lambda module: module)
    fits = [Fit(detector, X, Y) for detector in detectors]
    started = time.perf_counter()
    fit_together(fits)
    elapsed = time.perf_counter() - started
    assert all(fit.error is None and fit.seconds > 0 for fit in fits)
    assert 0.5 * elapsed < sum(fit.seconds for fit in fits) <= elapsed


@pytest.mark.parametrize("wrapped", [False, True], ids=["a detector", "a pipeline"])
def test_what_another_process_has_fitted_is_taken_over(wrapped):
    detector = quick("DeepSAD")
    estimator = make_pipeline(SelectKBest(k=3), detector) if wrapped else detector
    fit = Fit(clone(estimator), X, Y)
    fit.transform({})
    done = pickle.loads(pickle.dumps(fit))
    done.alone()
    fit.take(done)
    assert fit.seconds == done.seconds
    expected = clone(estimator).fit(X, Y).score_samples(X_NEW)
    assert_array_equal(fit.estimator.score_samples(X_NEW), expected)
    assert_array_equal(fit.detector.offset_, done.detector.offset_)


# Anything


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("seed", range(2))
def test_any_mixture_gives_what_each_gives_by_itself(seed, models):
    rng = np.random.default_rng(seed)
    tables = [X, 2 * X]
    fits = []
    for number in range(10):
        detector = quick(
            rng.choice(["DeepSAD", "DeepSVDD-soft-boundary"]),
            random_state=number,
            lr=10 ** rng.uniform(-4, -2),
            batch_size=int(rng.choice([16, 24])),
            anomaly_fraction=None,
            early_stopping=EarlyStopping(n_iter_no_change=1) if rng.integers(2) else False,
            pretrain=bool(rng.integers(2)),
        )
        rows = rng.integers(0, 40, size=40) if rng.integers(2) else None
        y = rng.permutation(Y)
        fits.append(Fit(detector, tables[rng.integers(2)], y if rows is None else y[rows], rows))
    generator, numpy_generator = torch.get_rng_state(), np.random.get_state()[1]
    fit_together(fits, max_models=int(rng.integers(2, 6)))
    assert torch.equal(torch.get_rng_state(), generator)
    assert_array_equal(np.random.get_state()[1], numpy_generator)
    assert any(isinstance(model, Stack) for model in models)
    for fit in fits:
        assert fit.error is None
        own = clone(fit.detector).fit(fit.X if fit.rows is None else fit.X[fit.rows], fit.y)
        assert_same_model(fit.detector, own)
