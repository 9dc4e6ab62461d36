"""The training engine: which rows make a batch, the loop, its turns and hooks, scoring."""

import contextlib
import copy
import math
import os
import random
import shutil
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from skdeepad import losses, networks
from skdeepad.engine import (
    Objective,
    Observer,
    Rows,
    Sampler,
    Stage,
    Turn,
    batches,
    borrowed_global_rng,
    private_generator,
    resolve_device,
    score,
    train,
)
from skdeepad.engine.runtime import learning_rate_factor, threads_for
from skdeepad.objectives import DistanceObjective, ReconstructionObjective

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _process_is_left_alone():
    """Fail a test that moves a global generator; put back the number of threads."""
    before, numpy_before = torch.get_rng_state(), np.random.get_state()
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), before)
    for now, then in zip(np.random.get_state(), numpy_before, strict=True):
        assert np.array_equal(now, then)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def place(x, y=None, stream=False):
    x = np.asarray(x, dtype=np.float32)
    y = None if y is None else np.asarray(y, dtype=np.int8)
    return Rows.place(x.reshape(len(x), -1), y, x.shape[1:], CPU, stream)


def state_of(objective):
    return {name: tensor.clone() for name, tensor in objective.state_dict().items()}


def same(state, other):
    return state.keys() == other.keys() and all(torch.equal(state[k], other[k]) for k in state)


def deep_sad(n_features=4, seed=0, eta=1.0):
    network = networks.build_encoder(None, (n_features,), (8, 3), False, seed)
    return DistanceObjective(network, (n_features,), 3, losses.deep_sad, eta=eta)


# Sampler


@st.composite
def labels_and_batch(draw):
    n = draw(st.integers(2, 60))
    n_anomalies = draw(st.integers(0, n))
    y = torch.zeros(n, dtype=torch.int8)
    y[torch.randperm(n, generator=private_generator(draw(st.integers(0, 9))))[:n_anomalies]] = -1
    return y, draw(st.integers(2, 70))


def counts(positions, among):
    return torch.bincount(positions.flatten(), minlength=len(among))[among]


@settings(deadline=None)
@given(case=labels_and_batch(), seed=st.integers(0, 3))
def test_without_a_fraction_all_rows_are_drawn_alike(case, seed):
    y, batch_size = case
    sampler = Sampler(y, batch_size)
    order = sampler.epoch(private_generator(seed))
    size = min(batch_size, len(y))
    assert order.shape == (math.ceil(len(y) / size), size) == (sampler.steps, sampler.batch_size)
    passes = counts(order, torch.full((len(y),), True))
    assert passes.min() >= 1 and passes.max() - passes.min() <= 1
    # What fills the last batch up is the epoch's beginning.
    flat = order.flatten()
    assert torch.equal(flat[len(y) :], flat[: len(flat) - len(y)])


@settings(deadline=None)
@given(case=labels_and_batch(), seed=st.integers(0, 3), data=st.data())
def test_anomalies_have_their_exact_number_of_places_the_last_ones(case, seed, data):
    y, batch_size = case
    size = min(batch_size, len(y))
    places = data.draw(st.integers(1, size - 1))
    order = Sampler(y, batch_size, anomaly_fraction=places / size).epoch(private_generator(seed))
    assert order.shape[1] == size
    anomalous = y < 0
    if not anomalous.any() or anomalous.all():  # nothing to tell apart
        assert counts(order, torch.full((len(y),), True)).min() >= 1
        return
    assert not anomalous[order[:, : size - places]].any()
    assert anomalous[order[:, size - places :]].all()
    for among in (anomalous, ~anomalous):
        passes = counts(order, among)
        assert passes.max() - passes.min() <= 1
    assert counts(order, ~anomalous).min() >= 1
    # The rest passes once: one more batch than needed would be one too many.
    assert len(order) == math.ceil(int((~anomalous).sum()) / (size - places))


@pytest.mark.parametrize(("fraction", "places"), [(0.25, 2), (0.01, 1), (0.99, 7)])
def test_both_kinds_of_rows_always_have_a_place(fraction, places):
    y = torch.tensor([-1, -1] + [0] * 30)
    order = Sampler(y, 8, fraction).epoch(private_generator(0))
    assert (y[order] < 0).sum(1).tolist() == [places] * len(order)


def test_anomalies_are_used_up_before_any_comes_again():
    """Each round over them is a new shuffle."""
    y = torch.tensor([-1] * 5 + [0] * 60)
    drawn = Sampler(y, 8, 0.25).epoch(private_generator(0))[:, -2:].flatten()
    rounds = drawn.view(-1, 5)
    assert torch.equal(rounds.sort(1).values, torch.arange(5).expand_as(rounds))
    assert len({tuple(order.tolist()) for order in rounds}) > 1


@pytest.mark.parametrize("fraction", [None, 0.3])
def test_the_generator_alone_determines_the_batches(fraction):
    y = torch.tensor([-1, 0, 0, 1] * 10)
    sampler = Sampler(y, 8, fraction)
    generator = private_generator(0)
    first, second = sampler.epoch(generator), sampler.epoch(generator)
    again = sampler.epoch(private_generator(0))
    other = sampler.epoch(private_generator(1))
    assert torch.equal(first, again)
    assert not torch.equal(first, second) and not torch.equal(first, other)


# Rows


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 700),
    shape=st.sampled_from([(1000,), (3, 20, 20), (600,)]),
    stream=st.booleans(),
    part=st.booleans(),
)
def test_slices_are_the_data_in_order_all_of_one_size(n, shape, stream, part):
    x, y = normal(n, *shape), np.arange(n) % 3 - 1
    rows = place(x, y, stream)
    if part:
        positions = np.random.default_rng(1).permutation(n)[: n // 2 + 1]
        rows, x, y = rows.select(torch.from_numpy(positions)), x[positions], y[positions]
    slices = list(rows.slices())
    assert {features.shape for features, _, _ in slices} == {(rows.slice_size, *shape)}
    assert {len(labels) for _, labels, _ in slices} == {rows.slice_size}
    got = torch.cat([features[:count] for features, _, count in slices])
    assert torch.equal(got, torch.from_numpy(x))
    assert torch.equal(torch.cat([labels[:count] for _, labels, count in slices]).int(), tensor(y))
    features, labels, count = slices[-1]
    assert not features[count:].any() and not labels[count:].any()


def tensor(labels):
    return torch.from_numpy(np.asarray(labels)).int()


@pytest.mark.parametrize(("width", "size"), [(1, 2048), (64, 1024), (1000, 64), (10**5, 64)])
def test_slice_size_depends_on_the_width_alone(width, size):
    for n in (1, 3):
        assert place(np.zeros((n, width))).slice_size == size


def test_select_shares_the_features():
    x, y = normal(20, 3), np.arange(20) % 3 - 1
    rows = place(x, y)
    assert rows.x.data_ptr() == x.ctypes.data  # placing does not copy either
    part = rows.select(torch.tensor([9, 3, 5, 1]))
    nested = part.select(torch.tensor([2, 0]))
    for selected in (part, nested):
        assert selected.x.data_ptr() == rows.x.data_ptr()
        assert selected.y.data_ptr() == rows.y.data_ptr()
    assert len(part) == 4 and len(nested) == 2
    assert torch.equal(nested.labels().int(), tensor(y[[5, 9]]))
    ((features, _, count),) = nested.slices()
    assert torch.equal(features[:count], torch.from_numpy(x[[5, 9]]))


@pytest.mark.parametrize("part", [False, True])
@pytest.mark.parametrize("shape", [(5,), (2, 3, 4)])
@pytest.mark.parametrize("chunk_rows", [1, 8, 20, 10**6])
def test_streamed_batches_equal_resident_ones(monkeypatch, chunk_rows, shape, part):
    """Bit for bit, and they stay so when later chunks have filled the buffers."""
    monkeypatch.setattr(batches, "_CHUNK_BYTES", chunk_rows * math.prod(shape) * 4)
    x, y = normal(67, *shape), np.arange(67) % 3 - 1
    resident, streamed = place(x, y), place(x, y, stream=True)
    if part:
        positions = torch.arange(66, 0, -2)
        resident, streamed = resident.select(positions), streamed.select(positions)
    order = Sampler(resident.labels(), 8).epoch(private_generator(0))
    expected, got = list(resident.batches(order)), list(streamed.batches(order))
    assert len(expected) == len(got) == len(order)
    for (features, labels), (streamed_features, streamed_labels) in zip(expected, got, strict=True):
        assert torch.equal(features, streamed_features)
        assert torch.equal(labels, streamed_labels)


@pytest.mark.parametrize(("chunk_rows", "copied"), [(1, 8), (8, 8), (20, 16), (40, 40)])
def test_streamed_batches_come_in_chunks_of_bounded_size(monkeypatch, chunk_rows, copied):
    select, sizes = torch.index_select, []

    def spy(x, axis, positions, **out):
        sizes.append(len(positions))
        return select(x, axis, positions, **out)

    monkeypatch.setattr(batches, "_CHUNK_BYTES", chunk_rows * 5 * 4)
    rows = place(normal(160, 5), np.zeros(160), stream=True)
    order = Sampler(rows.labels(), 8).epoch(private_generator(0))
    monkeypatch.setattr(torch, "index_select", spy)
    assert len(list(rows.batches(order))) == 20
    assert sizes == [copied] * (160 // copied)


@pytest.mark.parametrize("part", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_labels_stay_with_their_rows(stream, part):
    n = 50
    y = np.random.default_rng(0).integers(-1, 2, size=n)
    rows = place(np.arange(n).reshape(n, 1), y, stream)
    if part:
        rows = rows.select(torch.arange(n - 1, -1, -3))
    for features, labels in rows.batches(Sampler(rows.labels(), 8).epoch(private_generator(0))):
        assert torch.equal(labels.int(), tensor(y[features[:, 0].long().numpy()]))
    for features, labels, count in rows.slices():
        positions = features[:count, 0].long().numpy()
        assert torch.equal(labels[:count].int(), tensor(y[positions]))


def read_only_memmap(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, normal(30, 4))
    return np.load(path, mmap_mode="r")


def read_only_array(tmp_path):
    array = normal(30, 4)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("make", [read_only_memmap, read_only_array])
@pytest.mark.parametrize("stream", [False, True])
def test_read_only_memory_is_viewed_without_copy_or_warning(tmp_path, make, stream):
    array = make(tmp_path)
    rows = Rows.place(array, None, (4,), CPU, stream)  # a warning is an error here
    assert rows.x.data_ptr() == array.ctypes.data
    expected, alive = array.copy(), weakref.ref(array)
    del array
    assert alive() is not None  # the view keeps the memory alive
    assert torch.equal(rows.x, torch.from_numpy(expected))
    del rows
    assert alive() is None


@pytest.mark.parametrize(("stream", "streamed"), [("auto", False), (True, True), (False, False)])
def test_a_cpu_streams_only_when_told(stream, streamed):
    assert place(np.zeros((3, 2)), stream=stream).streamed is streamed


# A loop with known steps: the gradient of w is `slope` whatever the data, so that Adam's steps can
# be worked out by hand. While the slope stays the same, every step is one learning rate long.


class Slopes(Objective):
    """Loss: the sum of slope * w; the slopes of an epoch are given."""

    def __init__(self, *slopes_by_epoch, start=0.0):
        super().__init__()
        self.slopes_by_epoch = slopes_by_epoch
        for i in range(len(slopes_by_epoch[0])):
            self.register_parameter(f"w{i}", nn.Parameter(torch.tensor(start)))
        self.register_buffer("slopes", torch.tensor(slopes_by_epoch[0]))
        self.seen = [self.weights()]

    def weights(self):
        return [parameter.item() for parameter in self.parameters()]

    def loss(self, batch):
        value = (self.slopes * torch.stack([*self.parameters()])).sum()
        return value.expand(len(batch.x))

    def after_epoch(self, epoch, rows, losses):
        self.seen.append(self.weights())
        following = min(epoch + 1, len(self.slopes_by_epoch) - 1)
        self.slopes.copy_(torch.tensor(self.slopes_by_epoch[following]))

    def moves(self):
        """Return by how much each weight fell in each epoch: (epochs, weights)."""
        return -np.diff(np.array(self.seen), axis=0)


def run(objective, x=None, y=None, seed=0, validation=None, observer=None, **numbers):
    """Train on ten rows, one batch an epoch unless told otherwise."""
    rows = place(np.zeros((10, 2)) if x is None else x, y)
    stage = Stage("a stage", objective, **{"n_epochs": 1, "lr": 0.1, **numbers})
    return train(stage, rows, seed, validation, observer)


TWO_PHASE = [1.0] * 3 + [0.1] * 6
COSINE = [(1 + math.cos(math.pi * step / 9)) / 2 for step in range(9)]
LINEAR = [1 - step / 9 for step in range(9)]


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ("constant", [1.0] * 9),
        ("two-phase", TWO_PHASE),
        ("cosine", COSINE),
        ((3,), TWO_PHASE),
        ((2, 7), [1.0] * 2 + [0.1] * 5 + [0.01] * 2),
        ((9,), [1.0] * 9),
        ((), [1.0] * 9),
        (lambda progress: 1 - progress, LINEAR),
        (lambda progress: 0.0, [0.0] * 9),
    ],
)
def test_the_schedule_is_the_length_of_each_step(schedule, factors):
    objective = Slopes([2.0])
    run(objective, n_epochs=9, lr_schedule=schedule)
    np.testing.assert_allclose(objective.moves()[:, 0], 0.1 * np.array(factors), atol=1e-6)


@pytest.mark.parametrize("n_epochs", [7, 49, 350])
def test_milestones_are_whole_epochs(n_epochs):
    """Whatever a float makes of them: 49 times 1/49 is not 1."""
    for milestone in range(1, n_epochs):
        factor = learning_rate_factor((milestone,), n_epochs)
        last, first = (3 * milestone - 1) / (3 * n_epochs), (3 * milestone) / (3 * n_epochs)
        assert (factor(last), factor(first)) == (1.0, 0.1)


def test_progress_counts_steps_not_epochs():
    asked = []

    def schedule(progress):
        asked.append(progress)
        return 1.0

    run(Slopes([1.0]), n_epochs=2, batch_size=4, lr_schedule=schedule)  # 3 steps an epoch
    np.testing.assert_allclose(asked, np.arange(6) / 6)


@pytest.mark.parametrize(("decay", "moves_down"), [(0.0, False), (0.24, False), (0.26, True)])
def test_weight_decay_is_that_of_half_the_squared_norm(decay, moves_down):
    """Its gradient at w = 2 is 2 * decay, against a slope of -0.5: it wins from 0.25 on."""
    objective = Slopes([-0.5], start=2.0)
    run(objective, weight_decay=decay)
    assert_close(objective.w0.item(), 1.9 if moves_down else 2.1)


# Adam's second step where the slope fell from 10 to 1.
M = (0.9 * 0.1 * 10 + 0.1 * 1) / (1 - 0.9**2)
V = (0.999 * 0.001 * 10**2 + 0.001 * 1**2) / (1 - 0.999**2)
AFTER_A_FALL = M / math.sqrt(V)


@pytest.mark.parametrize(("clip", "second"), [(None, AFTER_A_FALL), (1.0, 1.0), (50, AFTER_A_FALL)])
def test_gradients_are_clipped_by_their_norm_over_all_weights(clip, second):
    """(6, 8) becomes (0.6, 0.8), which the next epoch's is: two steps of one length."""
    objective = Slopes([6.0, 8.0], [0.6, 0.8])
    run(objective, n_epochs=2, clip_grad_norm=clip)
    np.testing.assert_allclose(objective.moves(), [[0.1, 0.1], [0.1 * second] * 2], rtol=1e-5)


def test_frozen_parameters_stay_as_they_are():
    objective = Slopes([1.0, 1.0])
    objective.w1.requires_grad_(False)
    run(objective, weight_decay=0.5)
    assert objective.moves().tolist() == [[pytest.approx(0.1), 0.0]]


@pytest.mark.parametrize(
    ("n_epochs", "n_steps", "steps_per_epoch", "expected"),
    [(7, 500, 10, 7), (None, 500, 7, 71), (None, 500, 10, 50), (None, 500, 2000, 1)],
)
def test_number_of_epochs(n_epochs, n_steps, steps_per_epoch, expected):
    stage = Stage("a stage", Slopes([1.0]), n_epochs=n_epochs, n_steps=n_steps)
    assert stage.resolved_epochs(steps_per_epoch) == expected


def test_steps_become_epochs():
    assert run(Slopes([1.0]), n_epochs=None, n_steps=12, batch_size=4).n_epochs == 4


# Training as a whole


def blobs(n=200):
    """Two features that carry the rest, some labeled rows, and anomalies that are far away."""
    x = normal(n, 2) @ np.array([[1, 2, -1, 0.5], [0.3, -1, 1, 2]], dtype=np.float32)
    y = np.zeros(n, dtype=np.int8)
    y[: n // 10], y[n // 10 : n // 5] = -1, 1
    x[y < 0] += 3
    return x, y


@pytest.mark.parametrize(
    "make",
    [
        deep_sad,
        lambda: ReconstructionObjective(
            networks.MLP((4,), (8, 2), bias=True), networks.MLP((4,), (8, 2)).decoder()
        ),
    ],
    ids=["deep sad", "autoencoder"],
)
def test_the_loss_falls_and_every_weight_moves(make):
    with borrowed_global_rng(0):
        objective = make()
    before = state_of(objective)
    record = run(objective, *blobs(), n_epochs=20, lr=1e-2, batch_size=32)
    assert record.losses["loss"][-1] < 0.5 * record.losses["loss"][0]
    assert len(record.losses["loss"]) == record.n_epochs == 20
    for name, parameter in objective.named_parameters():
        assert not torch.equal(parameter, before[name]), name


@pytest.mark.parametrize("fraction", [None, 0.25])
def test_training_equals_a_loop_written_by_hand(fraction):
    """Deep SAD with torch's own Adam, in float64: the same losses and weights."""
    x, y = blobs()
    objective = deep_sad(eta=2.0).double()
    by_hand = copy.deepcopy(objective.network)
    rows = Rows(torch.from_numpy(x).double(), torch.from_numpy(y), CPU, streamed=False)
    numbers = {"lr": 3e-3, "weight_decay": 1e-2, "batch_size": 32, "anomaly_fraction": fraction}
    stage = Stage("a stage", objective, n_epochs=5, lr_schedule="cosine", **numbers)
    record = train(stage, rows, seed=7)

    features, labels = rows.x, rows.y
    with torch.no_grad():
        center = by_hand.eval()(features[labels >= 0]).mean(0)
        center = torch.where(center.abs() < 0.1, torch.where(center < 0, -0.1, 0.1), center)
    adam = torch.optim.Adam(by_hand.parameters(), lr=3e-3, weight_decay=1e-2, fused=False)
    sampler, generator = Sampler(rows.labels(), 32, fraction), private_generator(7)
    by_hand.train()
    step, means = 0, []
    for _ in range(5):
        epoch_losses = []
        for positions in sampler.epoch(generator):
            adam.param_groups[0]["lr"] = (
                3e-3 * (1 + math.cos(math.pi * step / (5 * sampler.steps))) / 2
            )
            distance = ((by_hand(features[positions]) - center) ** 2).sum(1)
            total = 0.0
            for d, label in zip(distance, labels[positions], strict=True):
                total = total + (d if label == 0 else 2 * d if label > 0 else 2 / (d + 1e-6))
            adam.zero_grad()
            (total / 32).backward()
            adam.step()
            epoch_losses.append(total.item() / 32)
            step += 1
        means.append(np.mean(epoch_losses))
    assert step >= 30
    np.testing.assert_allclose(record.losses["loss"], means, rtol=1e-6)
    expected = by_hand.state_dict()
    for name, got in objective.network.state_dict().items():
        assert_close(got, expected[name], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("stream", [False, True])
def test_the_seed_determines_training(stream):
    x, y = blobs()
    states = []
    for seed in (0, 0, 1):
        objective = deep_sad()
        train(Stage("a stage", objective, n_epochs=3, batch_size=32), place(x, y, stream), seed)
        states.append(state_of(objective))
    assert same(states[0], states[1])
    assert not same(states[0], states[2])


def test_streaming_changes_nothing():
    x, y = blobs()
    states = []
    for stream in (False, True):
        objective = deep_sad()
        train(Stage("a stage", objective, n_epochs=3, batch_size=32), place(x, y, stream), 0)
        states.append(state_of(objective))
    assert same(*states)


class Exploding(Slopes):
    """Loss that is not finite from the third epoch on."""

    def __init__(self, value):
        super().__init__([1.0], [1.0], [value])


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_loss_that_is_not_finite_is_an_error_that_says_where(value):
    with pytest.raises(ValueError, match=r"loss of stage 'a stage' became \S+ in epoch 3;"):
        run(Exploding(value), n_epochs=5, lr=0.1)


@pytest.mark.parametrize("n_epochs", [0, 2])
def test_hooks_run_in_eval_mode_without_gradients_and_losses_in_train_mode(n_epochs):
    calls = []

    class Spy(Slopes):
        def note(self, name):
            modes = {module.training for module in self.modules()}
            calls.append((name, modes, torch.is_grad_enabled(), torch.is_inference_mode_enabled()))

        def __init__(self):
            super().__init__([1.0])
            self.layer = nn.Dropout(0.5)

        def start(self, rows):
            self.note("start")

        def shared(self, batch):
            self.note("shared")

        def loss(self, batch):
            self.note("loss")
            return super().loss(batch)

        def after_epoch(self, epoch, rows, losses):
            self.note(f"after_epoch {epoch}")

        def validation_loss(self, batch):
            self.note("validation_loss")
            return torch.zeros(len(batch.x))

        def finish(self, rows):
            self.note("finish")

        def score(self, x):
            self.note("score")
            return x[:, 0]

    objective = Spy()
    run(objective.train(), n_epochs=n_epochs, validation=place(np.zeros((2, 2))))
    score(objective.train(), place(np.zeros((2, 2))))
    fitted, step = ({False}, False, False), ({True}, True, False)
    step_alone = [("shared", *step), ("loss", *step)]
    # It is tried once, on a few rows, before it is trained.
    expected = [("start", *fitted), *step_alone, ("score", *fitted)]
    for epoch in range(n_epochs):
        expected += [*step_alone, (f"after_epoch {epoch}", *fitted)]
        expected += [("validation_loss", *fitted)]
    expected += [("finish", *fitted), ("score", {False}, False, True)]
    assert calls == expected


# Early stopping


class Scripted(Slopes):
    """One whose loss on held-out rows is given; a buffer counts epochs."""

    def __init__(self, script):
        super().__init__([1.0])
        self.script = script
        self.register_buffer("epoch", torch.tensor(-1))
        self.finished_at = None

    def after_epoch(self, epoch, rows, losses):
        self.epoch.copy_(torch.tensor(epoch))

    def validation_loss(self, batch):
        return torch.full((len(batch.x),), self.script[int(self.epoch)])

    def finish(self, rows):
        self.finished_at = int(self.epoch)


@pytest.mark.parametrize(
    ("script", "tol", "patience", "epochs", "best"),
    [
        ([5.0, 3.0, 2.0, 4.0, 4.0, 1.0, 0.5], 0.0, 2, 5, 2),
        ([5.0, 3.0, 2.0, 4.0, 4.0, 1.0, 0.5], 0.0, 3, 7, 6),
        ([5.0, 3.0, 2.0, 4.0, 1.5, 1.5, 1.5], 0.0, 2, 7, 4),  # progress starts the count afresh
        (
            [5.0, 4.875, 4.75, 4.625, 1.0, 1.0, 1.0],
            0.5,
            2,
            3,
            2,
        ),  # too little, yet the best
        ([5.0, 4.875, 4.75, 4.625, 1.0, 0.875, 0.75], 0.0, 2, 7, 6),
        ([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0], 0.0, 1, 2, 0),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 0.0, 10, 7, 0),  # restored without a stop, too
    ],
)
def test_early_stopping_restores_the_best_epoch(script, tol, patience, epochs, best):
    objective = Scripted(script)
    pointers = [tensor.data_ptr() for tensor in objective.state_dict().values()]
    record = run(
        objective,
        n_epochs=7,
        tol=tol,
        n_iter_no_change=patience,
        validation=place(np.zeros((3, 2))),
    )
    assert record.n_epochs == epochs == len(record.losses["loss"])
    assert record.losses["validation_loss"] == script[:epochs]
    assert_close(objective.w0.item(), -0.1 * (best + 1))
    assert int(objective.epoch) == best == objective.finished_at
    assert [tensor.data_ptr() for tensor in objective.state_dict().values()] == pointers


def test_without_held_out_rows_the_last_epoch_stays():
    objective = Scripted([1.0, 2.0, 3.0, 4.0])
    record = run(objective, n_epochs=4, n_iter_no_change=1)
    assert record.n_epochs == 4 and "validation_loss" not in record.losses
    assert int(objective.epoch) == objective.finished_at == 3


def test_held_out_loss_is_the_mean_of_the_first_turns_loss():
    """Over the held-out rows alone: what fills up the last slice does not count."""

    class FirstFeature(Slopes):
        def loss(self, batch):
            return self.w0 * 0 + batch.x[:, 0] + 10.0

    held_out = place(normal(700, 100) + 1)
    assert 700 % held_out.slice_size
    record = run(FirstFeature([1.0]), validation=held_out)
    expected = 10.0 + held_out.x[:, 0].double().mean().item()
    np.testing.assert_allclose(record.losses["validation_loss"], [expected], rtol=1e-5)


# Observers


class Notes(Observer):
    """Notes what it is told; ends the stage after ``stop`` epochs."""

    def __init__(self, stop=None, at_most=None):
        self.stop, self.at_most, self.notes = stop, at_most, []

    def begins(self, n_epochs):
        self.notes.append(("begins", n_epochs))
        return n_epochs if self.at_most is None else min(n_epochs, self.at_most)

    def epoch_begins(self):
        self.notes.append("epoch_begins")

    def epoch_ends(self, record):
        self.notes.append(("epoch_ends", record.n_epochs, len(record.losses["loss"])))
        return record.n_epochs == self.stop

    def ends(self, completed):
        self.notes.append(("ends", completed))


@pytest.mark.parametrize(("stop", "epochs"), [(None, 3), (2, 2), (1, 1)])
def test_observers_follow_each_epoch_and_may_stop(stop, epochs):
    observer, objective = Notes(stop), Scripted([0.0] * 3)
    record = run(objective, n_epochs=3, observer=observer)
    expected = [("begins", 3)]
    for epoch in range(1, epochs + 1):
        expected += ["epoch_begins", ("epoch_ends", epoch, epoch)]
    assert observer.notes == [*expected, ("ends", True)]
    assert record.n_epochs == epochs
    assert objective.finished_at == epochs - 1  # a stopped model is finished, too


@pytest.mark.parametrize("at_most", [None, 0, 1])
def test_an_observer_says_how_many_epochs_are_run(at_most):
    observer, objective = Notes(at_most=at_most), Scripted([0.0] * 3)
    record = run(objective, n_epochs=2, observer=observer)
    assert record.n_epochs == (2 if at_most is None else at_most)
    assert observer.notes[0] == ("begins", 2) and observer.notes[-1] == ("ends", True)
    assert len(observer.notes) == 2 + 2 * record.n_epochs
    assert objective.finished_at == record.n_epochs - 1  # usable, however few


def test_an_observer_is_told_of_a_training_that_fails():
    observer = Notes()
    with pytest.raises(ValueError, match="became nan"):
        run(Exploding(math.nan), n_epochs=3, observer=observer)
    assert observer.notes[-1] == ("ends", False)


# Turns


class Rivals(Objective):
    """Two losses over one forward pass, each with large gradients on the other's parameter.

    With x = 1 and shared = g x: loss of g: shared d + 10 d, whose gradients are d = 3 (g) and
    g + 10 = 12 (d); loss of d: -2 shared d - 9 g, whose gradients are -2 d - 9 = -15 (g) and
    -2 g = -4 (d). Mixed up, they are -12 and 8: both move the wrong way.
    """

    def __init__(self):
        super().__init__()
        self.g, self.d = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(3.0))
        self.n_shared = 0

    def turns(self):
        return Turn("generator_loss", ("g",)), Turn("critic_loss", ("d",))

    def shared(self, batch):
        self.n_shared += 1
        return self.g * batch.x[:, 0]

    def generator_loss(self, batch):
        return batch.shared * self.d + 10 * self.d

    def critic_loss(self, batch):
        return -2 * batch.shared * self.d - 9 * self.g


def test_each_turn_steps_by_its_own_gradient_with_losses_formed_before():
    """The first step of Adam is the rate against the gradient's sign."""
    objective = Rivals()
    record = run(objective, np.ones((10, 2)), lr=0.5)
    assert_close(objective.g.item(), 2.0 - 0.5)
    assert_close(objective.d.item(), 3.0 + 0.5)
    assert objective.n_shared == 2  # for both turns once; and when it was tried
    assert record.losses["generator_loss"] == [2 * 3 + 10 * 3]
    assert record.losses["critic_loss"] == [-2 * 2 * 3 - 9 * 2]  # at g = 2: before any step


def test_alternating_turns_equal_a_loop_written_by_hand():
    objective = Rivals()
    record = run(objective, np.ones((10, 2)), n_epochs=4, lr=0.5)
    g, d = (torch.tensor(value, requires_grad=True) for value in (2.0, 3.0))
    adam_g, adam_d = torch.optim.Adam([g], lr=0.5), torch.optim.Adam([d], lr=0.5)
    for epoch in range(4):
        first, second = g * d + 10 * d, -2 * g * d - 9 * g
        assert_close(record.losses["generator_loss"][epoch], first.item())
        assert_close(record.losses["critic_loss"][epoch], second.item())
        g.grad, d.grad = (
            torch.autograd.grad(first, g, retain_graph=True)[0],
            torch.autograd.grad(second, d)[0],
        )
        adam_g.step()
        adam_d.step()
    assert_close(objective.g, g)
    assert_close(objective.d, d)


class Pair(Slopes):
    """Two turns with a weight each; the second may be rarer, or be cleared after each epoch."""

    def __init__(self, *slopes, every=1, cleared=None):
        super().__init__(*([slope, slope] for slope in slopes))
        self.every, self.cleared = every, cleared

    def turns(self):
        return Turn("first", ("w0",)), Turn("second", ("w1",), every=self.every)

    def first(self, batch):
        return (self.slopes[0] * self.w0).expand(len(batch.x))

    def second(self, batch):
        return (self.slopes[1] * self.w1).expand(len(batch.x))

    def after_epoch(self, epoch, rows, losses):
        super().after_epoch(epoch, rows, losses)
        return self.cleared


@pytest.mark.parametrize(
    ("batch_size", "n_epochs", "every", "steps"),
    [
        (10, 5, 2, [5, 3]),  # steps 0, 2, 4
        (4, 3, 2, [9, 5]),  # three steps an epoch: counted through, not afresh
        (4, 3, 3, [9, 3]),
        (4, 1, 5, [3, 1]),
    ],
)
def test_a_turn_is_taken_at_every_so_many_steps(batch_size, n_epochs, every, steps):
    objective = Pair(1.0, every=every)
    run(objective, batch_size=batch_size, n_epochs=n_epochs)
    np.testing.assert_allclose(objective.moves().sum(0), 0.1 * np.array(steps), rtol=1e-5)


def test_the_mean_loss_of_a_rare_turn_is_over_the_steps_it_took():
    """Weight 1: 0, -0.1, -0.2 and so on; weight 2 moves, and counts, at every second step."""
    record = run(Pair(1.0, every=2), batch_size=4, n_epochs=2)
    np.testing.assert_allclose(record.losses["first"], [-0.1, -0.4], atol=1e-6)
    np.testing.assert_allclose(record.losses["second"], [-0.05, -0.2], atol=1e-6)


@pytest.mark.parametrize(
    ("cleared", "factors"),
    [
        (None, [AFTER_A_FALL, AFTER_A_FALL]),
        ((), [AFTER_A_FALL, AFTER_A_FALL]),
        (("second",), [AFTER_A_FALL, 1.0]),
        (["first", "second"], [1.0, 1.0]),
    ],
)
def test_after_epoch_clears_the_optimisers_it_names(cleared, factors):
    """Without the memory of a slope of 10, the step at a slope of 1 is a first step."""
    objective = Pair(10.0, 1.0, cleared=cleared)
    run(objective, n_epochs=2)
    np.testing.assert_allclose(objective.moves(), [[0.1, 0.1], 0.1 * np.array(factors)], rtol=1e-5)


def test_turns_over_one_parameter_are_refused():
    """Their gradients would add up, and both would step by the sum."""

    class Overlapping(Slopes):
        def turns(self):
            return Turn("loss"), Turn("loss", ("w0",))

    with pytest.raises(ValueError, match="Turns of Overlapping share parameters"):
        run(Overlapping([1.0]))


@pytest.mark.parametrize("frozen", [False, True])
def test_a_turn_without_parameters_is_an_error(frozen):
    class Missing(Slopes):
        def turns(self):
            return (Turn("loss", ("w0",) if frozen else ("generator", "critic")),)

    objective = Missing([1.0])
    objective.w0.requires_grad_(not frozen)
    with pytest.raises(ValueError, match="Missing has nothing to train in (w0|generator)"):
        run(objective)


# Noise


class Noisy(Slopes):
    """Notes the noise it gets."""

    def __init__(self):
        super().__init__([1.0])
        self.noise = []

    def noise_shapes(self, x_shape):
        return {"z": (x_shape[0], 300), "mask": tuple(x_shape)}

    def loss(self, batch):
        self.noise.append({name: values.clone() for name, values in batch.noise.items()})
        return super().loss(batch)

    def validation_loss(self, batch):
        return batch.noise["z"].mean(-1)


def noise_of(seed, **numbers):
    objective = Noisy()
    run(objective, normal(40, 3), seed=seed, batch_size=20, **{"n_epochs": 3, **numbers})
    return objective.noise[1:]  # the first was that of the trial


def test_noise_is_standard_normal_of_the_declared_shapes_and_new_at_each_step():
    noise = noise_of(0)
    assert len(noise) == 6
    assert all(step["z"].shape == (20, 300) and step["mask"].shape == (20, 3) for step in noise)
    z = torch.stack([step["z"] for step in noise])
    assert abs(z.mean()) < 0.02 and abs(z.std() - 1) < 0.02
    assert abs((z**4).mean() - 3) < 0.15
    assert z.unique().numel() > 0.99 * z.numel()


def test_noise_is_determined_by_the_seed():
    first, again, other = noise_of(0), noise_of(0), noise_of(1)
    for step, step_again, step_other in zip(first, again, other, strict=True):
        for name in ("z", "mask"):
            assert torch.equal(step[name], step_again[name])
            assert not torch.equal(step[name], step_other[name])


def test_held_out_rows_meet_the_same_noise_in_every_epoch():
    record = run(Noisy(), n_epochs=4, validation=place(np.zeros((5, 2))))
    assert len(set(record.losses["validation_loss"])) == 1
    assert record.losses["validation_loss"][0] != 0


# Autocast, compilation


class Watched(DistanceObjective):
    """Notes the type that its network computes in."""

    def __init__(self):
        super().__init__(deep_sad().network, (4,), 3, losses.deep_sad, eta=1.0)
        self.types = set()
        last = self.network[-1]
        last.register_forward_hook(lambda module, inputs, output: self.types.add(output.dtype))


def test_precision_trains_in_bfloat16_and_scores_in_float32():
    x, y = blobs()
    records, weights = [], []
    for precision in ("float32", "bfloat16"):
        objective = Watched()
        numbers = {"n_epochs": 10, "batch_size": 50, "lr": 1e-3}
        records.append(run(objective, x, y, precision=precision, **numbers).losses["loss"])
        weights.append(state_of(objective))
        assert (torch.bfloat16 in objective.types) is (precision == "bfloat16")
        objective.types.clear()
        assert score(objective, place(x)).dtype == torch.float32
        assert objective.types == {torch.float32}
    np.testing.assert_allclose(*records, rtol=0.05)
    assert not same(*weights)
    for name, weight in weights[0].items():
        assert weights[1][name].dtype == weight.dtype


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # from torch's own imports
def test_compiled_training_gives_what_plain_training_gives():
    x, y = blobs(40)
    records, compiled = [], []
    for compile in (False, True):
        with borrowed_global_rng(0):
            objective = DistanceObjective(nn.Linear(4, 2, bias=False), (4,), 2, losses.one_class)

        def watched(batch, objective=objective):
            compiled.append(torch.compiler.is_compiling())
            return DistanceObjective.loss(objective, batch)

        objective.loss = watched
        numbers = {"n_epochs": 2, "batch_size": 20, "lr": 1e-2, "compile": compile}
        records.append((run(objective, x, y, **numbers).losses["loss"], state_of(objective)))
    np.testing.assert_allclose(records[0][0], records[1][0], rtol=1e-5)
    for name, weight in records[0][1].items():
        assert_close(records[1][1][name], weight, rtol=1e-4, atol=1e-6)
    assert set(compiled) == {False, True}


# Scoring

SCORED = {
    "narrow table": ((3,), (8, 3)),
    "wide table": ((300,), (128, 64, 32)),
    "image": ((1, 12, 12), None),
}


def scored_objective(name):
    shape, sizes = SCORED[name]
    network = networks.build_encoder(None, shape, sizes, True, 0)
    size = networks.code_size(network, shape)
    with torch.no_grad():
        network(torch.from_numpy(normal(64, *shape)))  # BatchNorm gets statistics of its own
    return DistanceObjective(network, shape, size, losses.one_class), shape


@pytest.mark.parametrize("name", SCORED)
def test_a_score_depends_on_its_row_alone(name):
    """Bit for bit in any company of one size, at any place, on one thread or two."""
    objective, shape = scored_objective(name)
    slice_size = place(np.zeros((1, *shape))).slice_size
    x = normal(2 * slice_size + 5, *shape)
    torch.set_num_threads(1)
    expected = score(objective, place(x))
    order = np.random.default_rng(0).permutation(len(x))
    for count in (1, 40, slice_size + 1):
        company = np.r_[order[: count - 1], slice_size + 3]
        first = score(objective, place(x[company]))
        # Other sizes take other kernels: the last bits of a number of single precision.
        assert_close(first, expected[company], rtol=1e-6, atol=0)
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            assert torch.equal(score(objective, place(x[company])), first), (count, n_threads)
            selected = place(x).select(torch.from_numpy(company))
            assert torch.equal(score(objective, selected), first)
            # The same row at another place, with other ones.
            others = np.r_[slice_size + 3, order[-(count - 1) :]][:count]
            assert score(objective, place(x[others]))[0] == first[-1]


@pytest.mark.parametrize(
    ("n", "least", "sizes"),
    [
        (1, 32, [32]),
        (32, 32, [32]),
        (33, 32, [128]),
        (130, 32, [512]),
        (513, 32, [1024]),  # never more than a whole slice
        (1025, 32, [1024, 32]),
        (5, 3, [12]),
        (5, None, [1024]),
    ],
)
def test_scored_slices_have_few_sizes(n, least, sizes):
    slices = list(place(normal(n, 64)).slices(least))
    assert [len(features) for features, _, _ in slices] == sizes
    assert [len(labels) for _, labels, _ in slices] == sizes
    assert sum(count for _, _, count in slices) == n


class FourthPower(Objective):
    """Overflows in single precision from about 4e9 on."""

    def score(self, x):
        return (x * x * x * x).sum(1)


def test_where_single_precision_overflows_a_row_is_computed_in_double():
    x = normal(200, 3)
    plain = score(FourthPower(), place(x))
    assert plain.dtype == torch.float32
    x[[7, 150]] *= 1e10
    got = score(FourthPower(), place(x))
    expected = (x.astype(np.float64) ** 4).sum(1)
    assert_close(got[[7, 150]].numpy(), expected[[7, 150]], rtol=1e-12, atol=0)
    others = np.setdiff1d(np.arange(200), [7, 150])
    assert torch.equal(got[others].float(), plain[others])


def test_what_takes_no_double_precision_stays_as_it_is():
    class Single(FourthPower):
        def score(self, x):
            if x.dtype != torch.float32:
                raise RuntimeError("expected scalar type Float but found Double")
            return super().score(x)

    got = score(Single(), place([[1e10, 0.0], [1.0, 0.0]]))
    assert got.tolist() == [math.inf, 1.0]


def test_score_takes_any_method_by_its_name():
    objective = ReconstructionObjective(nn.Identity(), nn.Identity())
    x = normal(3000, 50)
    assert torch.equal(score(objective, place(x), "codes"), torch.from_numpy(x))
    assert not score(objective, place(x)).any()


# Device, generators, threads


def test_devices_are_resolved_or_refused():
    assert resolve_device("cpu") == CPU == resolve_device(CPU)
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.mps.is_available() else "cpu"
    assert resolve_device("auto").type == best
    for device in ("toaster", "cuda:99", "xpu:99"):
        with pytest.raises(ValueError, match=f"device='{device}' is not available here: expected"):
            resolve_device(device)


def random_numbers(seed):
    generator = random.Random(seed)
    return generator.random(), generator.random()


@pytest.mark.parametrize("fails", [False, True])
def test_borrowed_global_rng_is_given_back(fails):
    before = torch.get_rng_state()
    others_before = random.getstate(), str(np.random.get_state())
    with contextlib.suppress(KeyError), borrowed_global_rng(5):
        others = random.random(), np.random.rand()
        drawn = torch.rand(3)
        with borrowed_global_rng(6):
            assert not torch.equal(torch.rand(3), drawn)
            assert random.random() != others[0] and np.random.rand() != others[1]
        assert random.random() == random_numbers(5)[1]
        then = torch.rand(3)
        if fails:
            raise KeyError
    assert torch.equal(torch.get_rng_state(), before)
    assert (random.getstate(), str(np.random.get_state())) == others_before
    assert others == (random_numbers(5)[0], np.random.RandomState(5).rand())
    generator = private_generator(5)
    assert torch.equal(drawn, torch.rand(3, generator=generator))
    assert torch.equal(then, torch.rand(3, generator=generator))


def test_threads_do_not_draw_between_each_other():
    """A second fit waits until the first one has given the generator back."""
    entered, drawn = threading.Event(), []

    def second():
        with borrowed_global_rng(6):
            entered.set()
            drawn.append(torch.rand(3))

    thread = threading.Thread(target=second)
    with borrowed_global_rng(5):
        first = torch.rand(3)
        thread.start()
        assert not entered.wait(timeout=0.2)
        first = torch.cat([first, torch.rand(3)])
    thread.join()
    generator = private_generator(5)
    assert torch.equal(first[:3], torch.rand(3, generator=generator))
    assert torch.equal(first[3:], torch.rand(3, generator=generator))
    assert torch.equal(drawn[0], torch.rand(3, generator=private_generator(6)))


@pytest.mark.parametrize("fails", [False, True])
def test_small_steps_take_one_thread_and_give_the_others_back(fails):
    torch.set_num_threads(2)
    with contextlib.suppress(KeyError), threads_for(1000, CPU):
        with threads_for(10, CPU):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
        if fails:
            raise KeyError
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("multiplications", "device"),
    [(2**30, CPU), (math.inf, CPU), (10, torch.device("cuda"))],
)
def test_large_steps_and_accelerators_keep_their_threads(multiplications, device):
    torch.set_num_threads(2)
    with threads_for(multiplications, device):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("leaves_first", ["first", "second"])
def test_fits_at_the_same_time_give_each_threads_number_back(leaves_first):
    """Both enter, one leaves, then the other: each sees one thread inside, and two after."""
    torch.set_num_threads(2)
    entered = {"first": threading.Event(), "second": threading.Event()}
    left = {"first": threading.Event(), "second": threading.Event()}
    ready, seen = threading.Barrier(2), {}

    def fit(name, other):
        assert torch.get_num_threads() == 2
        ready.wait(timeout=60)
        if name == "second":
            assert entered["first"].wait(timeout=60)
        with threads_for(10, CPU):
            seen[name, "inside"] = torch.get_num_threads()
            entered[name].set()
            assert entered[other].wait(timeout=60)
            if name != leaves_first:
                assert left[other].wait(timeout=60)
            seen[name, "still inside"] = torch.get_num_threads()
        left[name].set()
        seen[name, "after"] = torch.get_num_threads()

    thread = threading.Thread(target=fit, args=("second", "first"))
    thread.start()
    fit("first", "second")
    thread.join()
    expected = {"inside": 1, "still inside": 1, "after": 2}
    assert seen == {(name, when): n for name in entered for when, n in expected.items()}


def in_a_new_thread(call):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def test_threads_that_start_meanwhile_have_the_users_number():
    torch.set_num_threads(2)
    with threads_for(10, CPU):
        assert in_a_new_thread(torch.get_num_threads) == 2
        assert torch.get_num_threads() == 1
        in_a_new_thread(lambda: torch.set_num_threads(3))
    assert torch.get_num_threads() == 2
    assert in_a_new_thread(torch.get_num_threads) == 3


def test_a_fit_in_a_thread_that_starts_meanwhile_leaves_the_users_number():
    """It begins within another fit, and ends after it."""
    torch.set_num_threads(2)
    begun, alone = threading.Event(), threading.Event()

    def fit():
        with threads_for(10, CPU):
            begun.set()
            assert alone.wait(timeout=60)

    with ThreadPoolExecutor(1) as pool:
        with threads_for(10, CPU):
            fitting = pool.submit(fit)
            assert begun.wait(timeout=60)
        alone.set()
        fitting.result()
    assert in_a_new_thread(torch.get_num_threads) == 2


def test_training_gives_the_threads_back_even_when_it_fails():
    torch.set_num_threads(2)
    with pytest.raises(ValueError, match="became nan"):
        run(Exploding(math.nan), n_epochs=3)
    assert torch.get_num_threads() == 2


# On a GPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="host syncs are seen on CUDA only")
def test_no_step_waits_for_the_gpu():
    """From the second step of an epoch to its last, a copy to the host is an error."""
    device = torch.device("cuda")
    x, y = blobs()
    rows = Rows.place(x, y, (4,), device)
    stage = Stage("a stage", deep_sad().to(device), n_epochs=3, batch_size=20)
    stage.anomaly_fraction, stage.clip_grad_norm, stage.weight_decay = 0.25, 1.0, 1e-3
    steps_per_epoch = Sampler(rows.labels(), 20, 0.25).steps
    assert steps_per_epoch > 5
    seen = []

    def schedule(progress):
        step = len(seen) % steps_per_epoch
        seen.append(step)
        last = step == steps_per_epoch - 1
        torch.cuda.set_sync_debug_mode("error" if step > 0 and not last else "default")
        return 1.0

    stage.lr_schedule = schedule
    try:
        record = train(stage, rows, 0)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(seen) == 3 * steps_per_epoch and record.n_epochs == 3


# Memory

FIT_A_MEMMAP = """
import sys
import threading

import numpy as np

from skdeepad import DeepSAD


def anonymous_bytes():
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("RssAnon"))


X = np.memmap(sys.argv[1], dtype=np.float32, mode="r", shape=({n}, {width}))
numbers = dict(hidden_layer_sizes=(4,), n_branches=1, squash=None, input_noise=0.0)
numbers.update(pretrain=False, n_epochs=1, random_state=0, device="cpu")
detector = DeepSAD(batch_size=1024, **numbers)
DeepSAD(batch_size=64, **numbers).fit(np.ascontiguousarray(X[:256]))  # what is loaded lazily
before = anonymous_bytes()
peak, done = [before], threading.Event()


def watch():
    while not done.wait(timeout=0.005):
        peak[0] = max(peak[0], anonymous_bytes())


watcher = threading.Thread(target=watch)
watcher.start()
detector.fit(X)
done.set()
watcher.join()
assert len(detector.history_["train"]["loss"]) == 1
print(max(*peak, anonymous_bytes()) - before)

"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_memmap_is_never_copied_as_a_whole(tmp_path):
    """Fitting 512 MiB on disk takes little memory beside the file's own pages."""
    n, width = 2**16, 2**11
    if shutil.disk_usage(tmp_path).free < 2**30:
        pytest.skip("needs 1 GiB of free disk space")
    path = tmp_path / "rows.bin"
    try:
        file = np.memmap(path, dtype=np.float32, mode="w+", shape=(n, width))
        file[::64] = normal(n // 64, width)  # the rest stays a hole in the file
        file.flush()
        del file
        script = FIT_A_MEMMAP.replace("{n}", str(n)).replace("{width}", str(width))
        done = subprocess.run(
            [sys.executable, "-c", script, str(path)],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) < 0.3 * path.stat().st_size
    finally:
        path.unlink(missing_ok=True)
