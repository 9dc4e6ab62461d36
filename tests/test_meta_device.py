"""A GPU without one: training on PyTorch's meta device, which computes shapes and no numbers.

It cannot be copied to the host, so that each copy within an epoch fails, as a wait for a GPU would
be slow; and no step may take a tensor from elsewhere.
"""

import math

import numpy as np
import pytest
import torch
from conftest import DEEP, quick, table
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from skdeepad import Compute, Pretraining, engine
from skdeepad.callbacks import FitObserver
from skdeepad.detectors.agad import AdversarialObjective
from skdeepad.detectors.cvdd import ContextObjective
from skdeepad.detectors.deep_svdd import SoftBoundaryObjective
from skdeepad.engine import Objective, Rows, Stage, Training, loop
from skdeepad.engine.loop import TurnOptimizer
from skdeepad.engine.objective import tensors_of
from skdeepad.engine.single import Single
from skdeepad.engine.stack import Stack

pytestmark = [
    pytest.mark.filterwarnings("ignore::skdeepad.LabelWarning"),
    pytest.mark.filterwarnings("ignore:X is a table, and CVDD takes"),
]

META = torch.device("meta")
X, Y = table(40)
SERIES = np.random.default_rng(1).normal(size=(20, 2, 16))
IMAGES = np.random.default_rng(0).normal(size=(20, 1, 8, 8))


class OneDevice(TorchDispatchMode):
    """Refuses operations between devices, and those on the host.

    A number that is a tensor on the host may take part, as it may on a GPU: launching reads it.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = [each for each in tree_leaves((args, kwargs, result)) if torch.is_tensor(each)]
        host = [each for each in tensors if each.device.type == "cpu"]
        copies = func.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.copy_)
        if any(each.dim() for each in host) or (copies and 0 < len(host) < len(tensors)):
            raise AssertionError(f"{func} takes a tensor from the host to the device, or stays")
        return result


@pytest.fixture
def models(monkeypatch):
    """Allow what is copied to the host between epochs, and nothing else; collect what is trained.

    Copied are an epoch's losses, those of held-out rows, and what three detectors decide by, one of
    them before the first step.
    """
    made, taken = [], []
    for kind in (Single, Stack):

        def note(model, members, init=kind.__init__):
            init(model, members)
            made.append(model)

        monkeypatch.setattr(kind, "__init__", note)
    take = loop._take_step

    def on_one_device(*args):
        taken.append(args)
        with OneDevice():
            take(*args)

    monkeypatch.setattr(loop, "_take_step", on_one_device)
    monkeypatch.setattr(TurnOptimizer, "mean_losses", lambda turn: [0.0] * len(turn.totals))
    monkeypatch.setattr(loop, "held_out_loss", lambda objective, rows: 0.0)
    monkeypatch.setattr(AdversarialObjective, "after_epoch", lambda *args: ("discriminator_loss",))
    monkeypatch.setattr(SoftBoundaryObjective, "finish", lambda *args: None)
    monkeypatch.setattr(ContextObjective, "start", lambda *args: None)
    yield made
    assert taken  # these were the steps


def train_on_meta(detectors, X, y):
    """Train detectors, in a stack if there are several, as their fit does up to scoring.

    Returns the number of stages.
    """
    plans = []
    for detector in detectors:
        rows = detector._placed(*detector._checked(X, y))
        assert rows.x.device == META
        plans.append(detector._trainings(rows, FitObserver(detector, X, y)))
    for trainings in zip(*plans, strict=True):
        train(trainings)
    return len(plans[0])


def train(trainings):
    if len(trainings) == 1:
        engine.train_alone(*trainings)
        return
    engine.train_together(trainings, max_models=len(trainings))
    for training in trainings:
        if training.record.error is not None:
            raise training.record.error
        assert training.record.why_alone is None


def tensors_of_model(model):
    """Return by name all tensors that a training holds on to."""
    found = {}
    for number, member in enumerate(model.members):
        tensors = {**tensors_of(member.objective), **dict(enumerate(member.best.state))}
        found |= {(number, name): tensor for name, tensor in tensors.items()}
    for number, turn in enumerate(model.turns):
        held = {name: value for name, value in vars(turn).items() if torch.is_tensor(value)}
        if isinstance(model, Single):
            for states in turn.adam.state.values():
                # torch counts steps on the host, but for its fused Adam, which CUDA gets.
                held |= {(name, id(states)): states[name] for name in states if name != "step"}
        found |= {(f"turn {number}", name): tensor for name, tensor in held.items()}
    if isinstance(model, Stack):
        found |= model.state
    return found


def assert_all_on_meta(models, n_models, n_stages):
    assert [len(model.members) for model in models] == [n_models] * n_stages
    for model in models:
        assert isinstance(model, Single if n_models == 1 else Stack)
        tensors = tensors_of_model(model)
        moments = {"exp_avg", "exp_avg_sq"} if n_models == 1 else {"mean", "square"}
        names = {str(name) for name in tensors}
        assert all(any(f"'{moment}'" in name for name in names) for moment in moments)
        assert {tensor.device.type for tensor in tensors.values()} == {"meta"}
        assert all(member.record.n_epochs == 2 for member in model.members)


@pytest.mark.parametrize("n_models", [1, 2])
@pytest.mark.parametrize("name", DEEP)
def test_tables_are_trained_without_the_host(name, n_models, models):
    params = {
        "n_epochs": 2,
        "pretraining": Pretraining(n_epochs=2),
        "pretrain": True,
        "device": "meta",
    }
    params |= {"clip_grad_norm": 1.0, "weight_decay": 0.1, "input_noise": 0.1}
    if not name.startswith("AGAD"):
        params["early_stopping"] = True
    detectors = [quick(name, random_state=seed, **params) for seed in range(n_models)]
    n_stages = train_on_meta(detectors, X, Y)
    pretrained = "pretrain" in detectors[0].get_params() or name == "SSDGM-M1+M2"
    assert n_stages == 1 + pretrained
    assert_all_on_meta(models, n_models, n_stages)


@pytest.mark.parametrize("name", ["AGAD", "DeepClassifier", "DeepSAD", "FCDD", "HSC", "SSDGM"])
def test_augmented_images_and_synthetic_anomalies_are_too(name, models):
    params = {"n_epochs": 2, "augment": "standard", "batch_size": 8}
    params["pretraining"] = Pretraining(n_epochs=2)
    detectors = [quick(name, random_state=seed, device="meta", **params) for seed in range(2)]
    n_stages = train_on_meta(detectors, IMAGES, None)
    assert_all_on_meta(models, 2, n_stages)


def test_texts_of_ids_are_too(models):
    ids = np.random.default_rng(0).integers(0, 30, (40, 6))
    vectors = np.vstack([np.zeros(8), np.random.default_rng(1).normal(size=(29, 8))])
    params = {"n_epochs": 2, "device": "meta", "vectors": vectors}
    detectors = [quick("CVDD", random_state=seed, **params) for seed in range(2)]
    assert_all_on_meta(models, 2, train_on_meta(detectors, ids, None))


@pytest.mark.parametrize("name", ["AutoEncoder", "DeepSAD", "DeepSVDD", "HSC"])
def test_series_are_too(name, models):
    params = {"n_epochs": 2, "pretraining": Pretraining(n_epochs=2), "pretrain": True}
    params |= {"batch_size": 8, "device": "meta"}
    detectors = [quick(name, random_state=seed, **params) for seed in range(2)]
    n_stages = train_on_meta(detectors, SERIES, Y[:20])
    assert_all_on_meta(models, 2, n_stages)


def test_streamed_rows_are_too(models):
    compute = Compute(stream=True)
    detector = quick("DeepSAD", n_epochs=2, device="meta", compute=compute)
    rows = detector._placed(*detector._checked(X, Y))
    assert rows.x.device.type == "cpu"
    for training in detector._trainings(rows, FitObserver(detector, X, Y)):
        engine.train_alone(training)
    assert_all_on_meta(models, 1, 1)


# It can fail


class Squares(Objective):
    """Loss: the squared norm of the code."""

    def __init__(self):
        super().__init__()
        self.network = nn.Linear(4, 4, device=META)
        self.register_buffer("scale", torch.ones(4, device=META))

    def score(self, x):
        return self.network(x).square().sum(1)

    def loss(self, batch):
        return self.score(batch.x)


class Item(Squares):
    def loss(self, batch):
        return super().loss(batch) / self.scale.sum().item()


class Branch(Squares):
    def loss(self, batch):
        loss = super().loss(batch)
        return loss if loss.mean() > 0 else 2 * loss


class Masked(Squares):
    def loss(self, batch):
        loss = super().loss(batch)
        return loss + loss[batch.y >= 0].sum()


class Printed(Squares):
    def prepare(self, batch):
        batch.x.cpu()
        return batch


class Constant(Squares):
    def score(self, x):
        return self.network(x * torch.arange(4.0)).square().sum(1)


class ConstantMatrix(Squares):
    def score(self, x):
        return (self.network(x) @ torch.eye(4)).square().sum(1)


class MovedConstant(Squares):
    def score(self, x):
        return self.network(x * torch.arange(4.0).to(x.device)).square().sum(1)


class MovedNumber(Squares):
    def score(self, x):
        return self.network(x * torch.tensor(math.pi).to(x.device)).square().sum(1)


class Attribute(Squares):
    def __init__(self):
        super().__init__()
        self.plain = torch.ones(4)


class MadeThere(Squares):
    """What is allowed."""

    def score(self, x):
        numbers = torch.arange(4.0, device=x.device)
        return self.network(x * numbers * torch.tensor(math.pi)).square().sum(1)


def train_of(kind, n_models):
    rows = Rows.place(X.astype(np.float32), Y.astype(np.int8), (4,), META)
    train([Training(Stage("", kind(), n_epochs=2), rows, seed) for seed in range(n_models)])


@pytest.mark.parametrize("n_models", [1, 2])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Item, "item.. cannot be called on meta"),
        (Branch, "item.. cannot be called on meta"),
        (Masked, "nonzero"),
        (Printed, "Cannot copy out of meta"),
        (Constant, "is not on the expected device meta"),
        (ConstantMatrix, "eye.default takes a tensor from the host"),  # torch itself lets it pass
        (MovedConstant, "arange.default takes a tensor from the host"),
        (MovedNumber, "_to_copy.default takes a tensor from the host"),
        (Attribute, "Attribute.plain is a tensor on 'cpu'"),
    ],
)
def test_an_objective_that_needs_the_host_is_found_out(kind, message, n_models, models):
    with pytest.raises((RuntimeError, ValueError, AssertionError), match=message):
        train_of(kind, n_models)
    train_of(MadeThere, n_models)  # what needs none of it is not


def test_a_parameter_on_the_host_is_seen(models):
    train_of(Squares, 2)
    assert_all_on_meta(models, 2, 1)
    models[0].members[1].objective.register_buffer("late", torch.zeros(2))
    with pytest.raises(AssertionError, match="cpu"):
        assert_all_on_meta(models, 2, 1)
