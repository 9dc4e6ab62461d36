"""What is tried before training: what would be wrong in silence is refused, nothing is changed.

And what torch cannot compute for several models at once is trained one by one.
"""

import copy
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from conftest import WithDropout, table
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from torch import nn

from skdeepad import DeepSVDD
from skdeepad.deep import DeepDetector
from skdeepad.engine import (
    Batch,
    Objective,
    Rows,
    Sampler,
    Stage,
    Training,
    Turn,
    borrowed_global_rng,
    private_generator,
    train,
    train_together,
)
from skdeepad.engine.runtime import threads_for
from skdeepad.engine.trial import try_objective
from skdeepad.stacking import Fit, fit_together, why_not_stacked

CPU = torch.device("cpu")
X, Y = table(40)
ROWS = Rows.place(X.astype(np.float32), Y.astype(np.int8), (4,), CPU)


def global_states():
    return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()


@pytest.fixture(autouse=True)
def _generators_are_left_alone():
    before = global_states()
    yield
    assert global_states() == before


class Squares(Objective):
    """Loss and score: the squared norm of the code, and a number that is no tensor."""

    def __init__(self, network, number=1.0):
        super().__init__()
        self.network, self.number = network, number
        self.register_buffer("center", torch.zeros(4))

    def score(self, x):
        return (self.network(x) - self.center).square().sum(1)

    def loss(self, batch):
        return self.number * self.score(batch.x)


class Own(DeepDetector):
    """A detector from outside; what it minimises is a parameter.

    Parameters
    ----------
    {parameters}
    """

    kind: type = Squares
    number: float = 1.0
    augment: Callable | None = None

    def _stages(self, seeds, y):
        network = self._encoder(seeds, bias=False)
        return [self._stage("train", self.kind(network, self.number))]


def detector(kind=Squares, **params):
    numbers = {"hidden_layer_sizes": (8, 4), "n_epochs": 3, "batch_size": 16, "lr": 1e-2}
    return Own(kind=kind, **{**numbers, "device": "cpu", "random_state": 0, **params})


def objective_of(kind, *args):
    with borrowed_global_rng(0):
        network = nn.Sequential(nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8), nn.Linear(8, 4))
    return kind(network, *args)


def refused(kind, message):
    """Assert that training is refused, by the engine and by a detector, before it begins."""
    objective = objective_of(kind)
    before = copy.deepcopy(objective.state_dict())
    with pytest.raises(ValueError, match=message):
        train(Stage("a stage", objective, n_epochs=1), ROWS, seed=0)
    after = objective.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    with pytest.raises(ValueError, match=message):
        detector(kind).fit(X, Y)
    fits = [Fit(detector(kind, random_state=seed), X, Y) for seed in range(2)]
    fit_together(fits)
    for fit in fits:
        with pytest.raises(ValueError, match=message):
            raise fit.error


# Shapes

SHAPES = {
    "a column": (lambda values: values[:, None], r"\(3, 1\)"),
    "a matrix": (lambda values: values[:, None] - values, r"\(3, 3\)"),
    "one for all": (lambda values: values.mean(), r"\(\)"),
    "one for some": (lambda values: values[:1], r"\(1,\)"),
    "no tensor": (lambda values: [values], "list"),
}


@pytest.mark.parametrize("method", ["loss", "score"])
@pytest.mark.parametrize(("change", "came"), SHAPES.values(), ids=SHAPES)
def test_losses_and_scores_are_one_number_a_row(method, change, came):
    class Misshapen(Squares):
        pass

    def misshapen(self, given):
        # The other one goes on with what is right.
        return change(Squares.score(self, given if method == "score" else given.x))

    if method == "score":
        Misshapen.loss = lambda self, batch: Squares.score(self, batch.x)
    setattr(Misshapen, method, misshapen)
    refused(
        Misshapen,
        rf"Misshapen\.{method}\((batch|x)\) must return one number for each row, so a tensor of "
        rf"shape \(3,\) for 3 rows; got {came}\.",
    )


@pytest.mark.parametrize("n", [2, 3, 40])
def test_few_rows_are_tried_too(n):
    try_objective(objective_of(Squares), ROWS.select(torch.arange(n)))


def test_what_is_only_pretrained_need_not_score():
    class Pretrained(Squares):
        score = Objective.score

        def loss(self, batch):
            return self.network(batch.x).square().sum(1)

    record = train(Stage("a stage", objective_of(Pretrained), n_epochs=1), ROWS, seed=0)
    assert record.n_epochs == 1


def test_a_loss_that_is_not_finite_is_told_of_by_training():
    class Endless(Squares):
        def loss(self, batch):
            return super().loss(batch) * torch.nan

    refused_at = r"The loss of stage 'train' became nan in epoch 1;"
    with pytest.raises(ValueError, match=refused_at):
        detector(Endless).fit(X, Y)
    try_objective(objective_of(Endless), ROWS)  # its shape is right


# Gradients


class Detached(Squares):
    def loss(self, batch):
        return super().loss(batch).detach()


class WithoutGradients(Squares):
    def loss(self, batch):
        with torch.no_grad():
            return super().loss(batch)


class Unreached(Squares):
    """Its second turn trains what its loss does not read."""

    def __init__(self, network, number=1.0):
        super().__init__(network, number)
        self.head = nn.ParameterList([torch.ones(1)])

    def turns(self):
        return Turn("loss", ("network.",)), Turn("head_loss", ("head.",))

    def head_loss(self, batch):
        return self.network(batch.x).sum(1)


@pytest.mark.parametrize(
    ("kind", "loss"), [(Detached, "loss"), (WithoutGradients, "loss"), (Unreached, "head_loss")]
)
def test_each_turn_has_a_gradient(kind, loss):
    refused(kind, rf"{kind.__name__}\.{loss}\(batch\) does not depend on the parameters that its")


def test_not_all_parameters_need_be_reached():
    class WithUnused(Squares):
        def __init__(self, network, number=1.0):
            super().__init__(network, number)
            self.unused = nn.Parameter(torch.ones(2))

    fitted = detector(WithUnused).fit(X, Y)
    assert fitted._objective_.unused.tolist() == [1, 1]


# Devices


@pytest.mark.parametrize("at", ["scale", "network.scale", "network.0.scale"])
@pytest.mark.parametrize("registered", [False, True])
def test_tensors_lie_where_the_rows_do(at, registered):
    objective = objective_of(Squares)
    path, _, name = at.rpartition(".")
    module = objective.get_submodule(path)
    elsewhere = torch.ones(4, device="meta")
    if registered:
        module.register_buffer(name, elsewhere)
    else:
        setattr(module, name, elsewhere)
    message = rf"Squares\.{at} is a tensor on 'meta', and the rows are on 'cpu': expected one"
    with pytest.raises(ValueError, match=message + r".*register_buffer\('scale', "):
        train(Stage("a stage", objective, n_epochs=1), ROWS, seed=0)


# Draws


class Drawing(Squares):
    def draw(self, x):
        return torch.randn(len(x))

    def loss(self, batch):
        return super().loss(batch) + self.draw(batch.x)


class DrawingLike(Drawing):
    def draw(self, x):
        return torch.rand_like(x).sum(1)


class DrawingInPlace(Drawing):
    def draw(self, x):
        return torch.zeros(len(x)).uniform_()


class DrawingWhole(Drawing):
    def draw(self, x):
        return torch.randint(5, (len(x),))


class DrawingOrders(Drawing):
    def draw(self, x):
        return x[torch.randperm(len(x)), 0]


class DroppingOut(Drawing):
    def draw(self, x):
        return nn.functional.dropout(x).sum(1)


class DrawingScores(Squares):
    def loss(self, batch):
        return self.network(batch.x).square().sum(1)

    def score(self, x):
        return super().score(x) + torch.rand(len(x))


@pytest.mark.parametrize(
    "kind",
    [
        Drawing,
        DrawingLike,
        DrawingInPlace,
        DrawingWhole,
        DrawingOrders,
        DroppingOut,
        DrawingScores,
    ],
)
def test_draws_from_the_global_generator_are_refused(kind):
    name = kind.__name__
    refused(kind, rf"{name} draws random numbers from torch's global generator.*noise_shapes")


def test_a_generator_of_ones_own_is_no_global_one():
    class WithGenerator(Squares):
        def loss(self, batch):
            noise = torch.randn(len(batch.x), generator=private_generator(0))
            return super().loss(batch) + noise

    detector(WithGenerator).fit(X, Y)


def changes(x):
    return x + 0.1 * torch.randn_like(x) + 0.1 * np.random.rand() + 0.1 * random.random()


class Augmented(Squares):
    """Changes its batches by foreign code, which draws from global generators."""

    def prepare(self, batch):
        return batch._replace(x=changes(batch.x))


@pytest.mark.parametrize(
    ("kind", "params"),
    [(Squares, {"network": WithDropout}), (Augmented, {"augment": changes})],
    ids=["a network", "augmentation"],
)
def test_foreign_code_may_draw_for_it_is_seeded(kind, params):
    fits = [Fit(detector(kind, **params), X, Y) for _ in range(2)]
    [part] = params
    assert why_not_stacked(fits[0].detector, X, Y).startswith(f"{part} is code that may draw")
    fit_together(fits)
    own = detector(kind, **params).fit(X, Y)
    plain = detector().fit(X, Y)
    for fit in fits:
        assert fit.error is None
        assert_array_equal(fit.detector.score_samples(X), own.score_samples(X))
        assert (fit.detector.score_samples(X) != plain.score_samples(X)).any()


# Nothing is changed


class WithNoise(Squares):
    def noise_shapes(self, x_shape):
        return {"x": x_shape}

    def prepare(self, batch):
        return batch._replace(x=batch.x + 0.3 * batch.noise["x"])


@pytest.mark.parametrize("kind", [WithNoise, Augmented])
def test_training_with_a_trial_is_a_loop_without_one_bit_for_bit(kind):
    """BatchNorm's statistics, the engine's noise and global generators among what could differ."""
    objective, by_hand = objective_of(kind), objective_of(kind)
    with borrowed_global_rng(5):
        record = train(Stage("", objective, n_epochs=4, lr=3e-3, batch_size=16), ROWS, seed=7)

    sampler, order, noise = Sampler(ROWS.y, 16), private_generator(7), private_generator(8)
    adam = torch.optim.Adam(by_hand.parameters(), lr=3e-3, fused=True)
    by_hand.train()
    means = []
    with borrowed_global_rng(5), threads_for(1, CPU):
        for _ in range(4):
            total, shape = torch.zeros(1), (sampler.steps, 16, 4)
            drawn = torch.randn(shape, generator=noise) if kind is WithNoise else torch.zeros(shape)
            for positions, values in zip(sampler.epoch(order), drawn, strict=True):
                batch = Batch(ROWS.x[positions], ROWS.y[positions], {"x": values})
                loss = by_hand.loss(by_hand.prepare(batch)).mean()
                adam.zero_grad()
                loss.backward()
                adam.step()
                total += loss.detach()
            means.append((total / sampler.steps).item())
    assert record.losses["loss"] == means
    expected = by_hand.state_dict()
    assert any("running_var" in name for name in expected)
    for name, value in objective.state_dict().items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("training", [False, True])
def test_a_trial_leaves_state_gradients_and_mode_as_they_are(training):
    objective = objective_of(WithNoise).train(training)
    before = copy.deepcopy(objective.state_dict())
    try_objective(objective, ROWS)
    after = objective.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert all(parameter.grad is None for parameter in objective.parameters())
    assert {module.training for module in objective.modules()} == {training}


# Hooks change what is fitted in place


def rebinds(self):
    self.center = self.center + 1


def rebinds_data(self):
    self.center.data = self.center + 1


def rebinds_a_weight(self):
    self.network[0].weight = nn.Parameter(2 * self.network[0].weight)


def takes_away(self):
    del self.center


def copies(self):
    self.center.copy_(self.center + 1)


def hooked(hook, change):
    """Return an objective whose hook does that."""

    class Hooked(Squares):
        pass

    setattr(Hooked, hook, lambda self, *given: change(self))
    return Hooked


HOOKS = ["start", "after_epoch", "finish"]


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize(
    ("change", "name"),
    [
        (rebinds, "center"),
        (rebinds_data, "center"),
        (takes_away, "center"),
        (rebinds_a_weight, r"network\.0\.weight"),
    ],
)
def test_hooks_must_not_put_another_tensor_in_the_place_of_a_fitted_one(hook, change, name):
    message = rf"Hooked\.{hook} put another tensor in the place of '{name}'.*self\.{name}\.copy_"
    with pytest.raises(ValueError, match=message):
        train(Stage("", objective_of(hooked(hook, change)), n_epochs=2), ROWS, seed=0)


@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_may_copy_into_it_and_in_a_stack_too(hook):
    kind = hooked(hook, copies)
    fits = [Fit(detector(kind, random_state=seed), X, Y) for seed in range(2)]
    fit_together(fits)
    for fit in fits:
        assert (fit.error, fit.why_alone) == (None, None)
        n_times = 3 if hook == "after_epoch" else 1
        assert fit.detector._objective_.center.tolist() == [n_times] * 4
    rebinding = [Fit(detector(hooked(hook, rebinds), random_state=seed), X, Y) for seed in range(2)]
    fit_together(rebinding)
    for fit in rebinding:
        assert f"Hooked.{hook} put another tensor in the place of 'center'" in str(fit.error)


# What cannot be stacked


class Deciding(Squares):
    def loss(self, batch):
        loss = super().loss(batch)
        return loss if loss.mean() > 0 else 2 * loss


class Copying(Squares):
    def loss(self, batch):
        loss = super().loss(batch)
        return loss / loss.mean().item()


class Penalised(Squares):
    """The squared gradient of the score by the row, as autograd gives it."""

    def loss(self, batch):
        return super().loss(batch) + self.slopes(batch.x).square().sum(1)

    def slopes(self, x):
        x = x.detach().requires_grad_()
        [slopes] = torch.autograd.grad(self.score(x).sum(), x, create_graph=True)
        return slopes


class PenalisedByWeights(Penalised):
    """The same by the first weights, which do require a gradient."""

    def slopes(self, x):
        [weight, *_] = self.network.parameters()
        return torch.autograd.grad(self.score(x).sum(), weight, create_graph=True)[0].sum(0)[None]


class PenalisedAsAFunction(Penalised):
    def slopes(self, x):
        return torch.func.grad(lambda x: self.score(x).sum())(x)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Deciding, "they decide by data"),
        (Copying, ".item()"),
        (Penalised, "they use torch.autograd.grad"),
        (PenalisedByWeights, "does not require grad"),
    ],
)
def test_what_torch_cannot_compute_for_several_is_trained_one_by_one(kind, reason, capsys):
    told = why_not_stacked(detector(kind), X, Y)
    assert told.startswith("torch cannot compute its losses for several models at once: ")
    assert reason in told
    fits = [Fit(detector(kind, random_state=seed), X, Y) for seed in range(3)]
    fit_together(fits, verbose=1)
    assert capsys.readouterr().out == f"Each Own is trained by itself: {told}.\n"
    for fit in fits:
        assert (fit.error, fit.why_alone) == (None, told)
        own = clone(fit.detector).fit(X, Y)
        assert_array_equal(fit.detector.score_samples(X), own.score_samples(X))
        assert fit.detector.history_ == own.history_


def smooth():
    """Return a network without BatchNorm: torch's functions refuse a layer that notes something."""
    with borrowed_global_rng(0):
        layers = nn.Linear(4, 8, bias=False), nn.Tanh(), nn.Linear(8, 4, bias=False)
    return nn.Sequential(*layers)


def test_a_gradient_within_the_loss_is_stacked_as_a_function():
    params = {"network": smooth(), "kind": PenalisedAsAFunction}
    assert why_not_stacked(detector(**params), X, Y) is None
    fits = [Fit(detector(**params, random_state=seed), X, Y) for seed in range(2)]
    fit_together(fits)
    for fit in fits:
        assert (fit.error, fit.why_alone) == (None, None)
        own = clone(fit.detector).fit(X, Y)
        by_autograd = clone(fit.detector).set_params(kind=Penalised).fit(X, Y)
        for other in (own, by_autograd):
            assert_allclose(fit.detector.score_samples(X), other.score_samples(X), rtol=1e-5)
            for name, losses in other.history_["train"].items():
                assert_allclose(fit.detector.history_["train"][name], losses, rtol=1e-5)


def test_why_not_stacked_changes_nothing_and_raises_what_is_wrong():
    asked = detector()
    assert why_not_stacked(asked, X, Y) is None
    assert not [key for key in vars(asked) if key.endswith("_")]
    with pytest.raises(ValueError, match="one label for each"):
        why_not_stacked(asked, X, Y[:-1])


# What is unlike the others


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"number": 2.0}, "number"),
        ({"batch_size": 20}, "shape of a batch"),
        ({"n_epochs": 4}, "number of epochs"),
        ({"lr_schedule": "cosine"}, "lr_schedule"),
        ({"hidden_layer_sizes": (6, 4)}, "network.1.out_features"),
        ({"kind": WithNoise}, "class of the objective"),
    ],
)
def test_what_sets_one_apart_is_named(params, name, capsys):
    fits = [Fit(detector(random_state=seed), X, Y) for seed in range(2)]
    fits.append(Fit(detector(random_state=2, **params), X, Y))
    fit_together(fits, verbose=1)
    assert [fit.error for fit in fits] == [None] * 3
    *alike, apart = [fit.apart for fit in fits]
    assert alike == [None, None]
    assert apart.startswith("different from 2 others in ") and name in apart
    assert f"trained apart: {apart}." in capsys.readouterr().out
    own = clone(fits[2].detector).fit(X, Y)
    assert_array_equal(fits[2].detector.score_samples(X), own.score_samples(X))


def test_the_record_says_so():
    trainings = [
        Training(Stage("", objective_of(Squares, number), n_epochs=1), ROWS, seed=0)
        for number in (1.0, 2.0)
    ]
    train_together(trainings)
    assert [training.record.error for training in trainings] == [None, None]
    first, second = (training.record.apart for training in trainings)
    assert first is None and second == "different from another one in number"


def test_tensors_that_are_no_buffers_are_each_ones_own():
    """Two models of one stack would share them."""

    class WithTensor(Squares):
        def __init__(self, network, number=1.0):
            super().__init__(network, number)
            self.plain = torch.full((4,), number)

        def loss(self, batch):
            return (self.plain * self.network(batch.x)).square().sum(1)

    numbers = [1.0, 3.0]
    fits = [Fit(detector(WithTensor, number=number), X, Y) for number in numbers]
    for fit in fits:
        fit.detector.set_params(number=fit.detector.number)
    fit_together(fits)
    assert "plain" in fits[1].apart
    for fit in fits:
        own = clone(fit.detector).fit(X, Y)
        assert_array_equal(fit.detector.score_samples(X), own.score_samples(X))


# What would be wrong in silence


class WritesToRows(Squares):
    def score(self, x):
        return self.network(x.add_(1)).square().sum(1)


class DrawsInStart(Squares):
    def start(self, rows):
        self.center.copy_(torch.rand(4))


class DrawsInAfterEpoch(Squares):
    def after_epoch(self, epoch, rows, losses):
        self.center.copy_(torch.rand(4))


class DrawsFromNumPy(Squares):
    def loss(self, batch):
        return super().loss(batch) * float(np.random.rand())


class DrawsFromPython(Squares):
    def score(self, x):
        return super().score(x) + random.random()


class Complex(Squares):
    def score(self, x):
        return super().score(x) + 1j


class Boolean(Squares):
    def score(self, x):
        return super().score(x) > 1

    def loss(self, batch):
        return super().score(batch.x)


class RebindsInLoss(Squares):
    def loss(self, batch):
        self.center = torch.ones(4)
        return super().loss(batch)


class NotANumberInEval(Squares):
    def score(self, x):
        return super().score(x) * (1.0 if self.training else float("nan"))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (WritesToRows, "writes to the rows that it is given"),
        (DrawsInStart, "torch's global generator"),
        (DrawsInAfterEpoch, "torch's global generator"),
        (DrawsFromNumPy, "global generator of NumPy or Python"),
        (DrawsFromPython, "global generator of NumPy or Python"),
        (Complex, "got \\(3,\\) of torch.complex64"),
        (Boolean, "got \\(3,\\) of torch.bool"),
        (RebindsInLoss, "loss put another tensor in the place of 'center'"),
        (NotANumberInEval, "anomaly scores are not finite, those of all rows"),
    ],
)
def test_nothing_is_wrong_in_silence(kind, message):
    with pytest.raises(ValueError, match=message):
        detector(kind).fit(X, Y)


def test_rows_of_the_user_are_never_written_to():
    """A whole slice would be the user's memory."""
    with torch.random.fork_rng():
        network = nn.Sequential(nn.LeakyReLU(0.1, inplace=True), nn.Linear(6, 4, bias=False))
    rows = np.random.default_rng(0).normal(size=(4096, 6)).astype(np.float32)
    kept = rows.copy()
    with pytest.raises(ValueError, match=r"inplace=True"):
        DeepSVDD(network=network, n_epochs=1, device="cpu").fit(rows)
    assert_array_equal(rows, kept)


@pytest.mark.filterwarnings("ignore:X is not scaled")
def test_what_is_not_finite_is_named():
    rows = X.copy()
    rows[7, 1] = 1e30
    with pytest.raises(ValueError, match=r"values go up to 1e\+30\)"):
        DeepSVDD(squash=None, n_epochs=3, device="cpu").fit(rows)


class NotANumber(nn.Linear):
    """In evaluation mode alone."""

    def __init__(self, input_shape):
        super().__init__(*input_shape, 4, bias=False)

    def forward(self, x):
        return super().forward(x) * (1.0 if self.training else float("nan"))


def test_a_network_that_gives_nan_in_evaluation_mode_is_named():
    with pytest.raises(ValueError, match="center was not finite: the network may give NaN"):
        DeepSVDD(network=NotANumber, n_epochs=3, device="cpu").fit(X)


def test_a_refused_objective_is_why_models_are_not_stacked():
    assert "it is refused: " in why_not_stacked(detector(Complex), X, Y)
