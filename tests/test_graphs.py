"""Recorded steps: what is replayed is what was taken, also where there is no GPU to record on."""

import contextlib

import pytest
import torch
from conftest import DEEP, quick, table
from torch.testing import assert_close

from skdeepad import Compute
from skdeepad.engine import Stage, graphs, loop, single
from skdeepad.engine.graphs import WARM_UP, ReplayedSteps

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="records on CUDA only")


class Rerun:
    """Stands in for the recorder: what is recorded is run again, on the tensors it held."""

    def __init__(self, device=None, fails=False):
        self.fails, self.replayed = fails, 0

    def aside(self):
        return contextlib.nullcontext()

    def record(self, function):
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing\nand more")

        def replay():
            self.replayed += 1
            function()

        return replay


def add_to(total):
    def take(batch, due):
        total[due] += batch["x"].sum()

    return take


def test_each_step_is_taken_once_and_on_its_own_batch():
    recorder, totals = Rerun(), [torch.zeros(()), torch.zeros(())]
    steps = ReplayedSteps(add_to(totals), recorder)
    batches = [{"x": torch.full((3,), float(number))} for number in range(20)]
    for number, batch in enumerate(batches):
        steps(batch, int(number % 4 == 0))  # two kinds of steps, each recorded by itself
    assert [float(total) for total in totals] == [3 * 150.0, 3 * 40.0]
    assert recorder.replayed == (15 - WARM_UP) + (5 - WARM_UP)
    for number, batch in enumerate(batches):
        assert (batch["x"] == number).all()  # copies are held, not what was given


def test_a_step_that_cannot_be_recorded_is_taken_as_it_is():
    total = [torch.zeros(()), torch.zeros(())]
    steps = ReplayedSteps(add_to(total), Rerun(fails=True))
    batch = {"x": torch.ones(2)}
    for _ in range(WARM_UP - 1):
        steps(batch, 0)
    with pytest.warns(RuntimeWarning, match="not permitted when stream is capturing Pass"):
        steps(batch, 0)
    for _ in range(7):
        steps(batch, 0)  # tells of it once
        steps(batch, 1)  # and tries no other kind of step
    assert total == [2 * (WARM_UP + 7), 2 * 7]


@pytest.fixture
def recorders(monkeypatch):
    """Record steps on the CPU by the stand-in; return the stand-ins that were made."""
    made = []

    def recorder(device):
        made.append(Rerun())
        return made[-1]

    monkeypatch.setattr(loop, "CudaRecorder", recorder)
    for module in (loop, single):  # both decide by it
        monkeypatch.setattr(module, "is_recorded", lambda member: member.stage.cuda_graph)
    return made


@pytest.mark.parametrize("name", DEEP)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_recorded_training_is_that_of_steps_as_they_are(name, recorders):
    X, y = table(100)
    params = {"n_epochs": 4, "lr_schedule": "cosine", "clip_grad_norm": 1.0, "weight_decay": 1e-3}
    plain = quick(name, **params).fit(X, y)
    assert not recorders
    recorded = quick(name, compute=Compute(cuda_graph=True), **params).fit(X, y)
    assert recorders and all(recorder.replayed for recorder in recorders[-1:])
    assert_close(recorded.score_samples(X), plain.score_samples(X), rtol=1e-4, atol=1e-4)
    for stage, losses in plain.history_.items():
        for loss, values in losses.items():
            assert_close(recorded.history_[stage][loss], values, rtol=1e-4, atol=1e-5)


def test_nothing_is_recorded_without_cuda_or_with_compile():
    stage = Stage("train", torch.nn.Identity(), cuda_graph=True)
    for device, compiled, expected in (("cpu", False, False), ("cuda", False, True)):
        member = _Member(stage, device)
        stage.compile = compiled
        assert loop.is_recorded(member) is expected
    stage.compile = True
    assert not loop.is_recorded(member)


class _Member:
    def __init__(self, stage, device):
        self.stage = stage
        self.rows = type("Rows", (), {"device": torch.device(device)})


@needs_cuda
@pytest.mark.parametrize("name", DEEP)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_graphs_give_the_same_model_on_cuda(name, monkeypatch):
    X, y = table(200)
    params = {"n_epochs": 10, "device": "cuda"}
    plain = quick(name, **params).fit(X, y)
    monkeypatch.setattr(graphs, "warn", lambda *args, **kwargs: pytest.fail(args[0]))
    recorded = quick(name, compute=Compute(cuda_graph=True), **params).fit(X, y)
    assert_close(recorded.score_samples(X), plain.score_samples(X), rtol=1e-2, atol=1e-2)


@needs_cuda
def test_tf32_is_put_back():
    X, y = table()
    before = torch.backends.cuda.matmul.allow_tf32
    quick("DeepSAD", device="cuda", compute=Compute(precision="tf32")).fit(X, y)
    assert torch.backends.cuda.matmul.allow_tf32 is before
