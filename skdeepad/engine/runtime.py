"""Where and how a model runs: device, private random numbers, precision."""

from __future__ import annotations

import math
import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from numbers import Real

import numpy as np
import torch

# Multiplications in a forward pass up to which a step runs on one thread.
_SMALL_STEP = 2**26
_CACHE_FOLDER = "TORCHINDUCTOR_CACHE_DIR"
# Re-entrant: a callback may fit another detector in the same thread.
_GLOBAL_RNG = threading.RLock()
_NUM_THREADS = threading.Lock()
_BORROWED = threading.local()
# Whether this process was forked from one whose torch had several threads. They are not here, and
# work that is handed to them would never come back.
_forked = False


def resolve_device(device: str | torch.device) -> torch.device:
    """Turn ``"auto"`` into the best device there is, and refuse one that is not.

    Raises
    ------
    ValueError
        If torch does not know the device, or it is not available on this machine.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        raise ValueError(
            f"device={device!r} is not available here: expected 'auto', 'cpu', or an accelerator "
            f"that this installation of torch can use. torch said: {str(error).splitlines()[0]}"
        ) from error
    return resolved


def private_generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Create a generator of this model's own; the global one is neither read nor moved."""
    device = torch.device(device)
    # PyTorch's meta device, which computes nothing but shapes, has none.
    return torch.Generator("cpu" if device.type == "meta" else device).manual_seed(seed)


@contextmanager
def borrowed_global_rng(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Seed the global generators of torch, NumPy and Python for foreign code, and put them back.

    Modules and estimators that we did not write draw from the global generators. The lock keeps
    fits in other threads from drawing between them.
    """
    on_cuda = device is not None and device.type == "cuda"
    with _GLOBAL_RNG, torch.random.fork_rng(devices=[device] if on_cuda else []):
        python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
        outside = global_rng_is_borrowed()
        _BORROWED.now = True
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        torch.default_generator.manual_seed(seed)
        if on_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        try:
            yield
        finally:
            _BORROWED.now = outside
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002


def global_rng_is_borrowed() -> bool:
    """Tell whether this thread is within :func:`borrowed_global_rng`."""
    return getattr(_BORROWED, "now", False)


class _OneThread(threading.local):
    """Limits torch to one thread in the Python thread that enters, and in no other.

    torch keeps its number of threads for each Python thread, so each has its own count and number
    to put back.
    """

    inside = 0
    before = 1

    def __enter__(self) -> None:
        if self.inside == 0:
            self.before = torch.get_num_threads()
            _set_num_threads_here(1, self.before)
        self.inside += 1

    def __exit__(self, *exception: object) -> None:
        self.inside -= 1
        if self.inside == 0:
            _set_num_threads_here(self.before, 1)


def _set_num_threads_here(number: int, now: int) -> None:
    """Change torch's number of threads in this Python thread alone.

    A Python thread begins with the number that any other was last given: so another one is given
    what it has begun with itself.
    """
    if number == now:
        return

    def keep() -> None:
        at_first = torch.get_num_threads()
        begun.release()
        changed.acquire()
        torch.set_num_threads(at_first)

    begun, changed = threading.Semaphore(0), threading.Semaphore(0)
    with _NUM_THREADS:
        other = threading.Thread(target=keep)
        other.start()
        begun.acquire()
        torch.set_num_threads(number)
        changed.release()
        other.join()


_ONE_THREAD = _OneThread()


def _after_fork() -> None:
    """In a forked child: another thread, which is not here, may hold a lock."""
    global _forked, _GLOBAL_RNG, _NUM_THREADS
    _forked = _forked or torch.get_num_threads() > 1
    _GLOBAL_RNG, _NUM_THREADS = threading.RLock(), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# On a CPU torch has no class of its own for a want of memory.
_WANT_OF_MEMORY = "out of memory", "not enough memory", "allocate", "size calculation overflowed"


@contextmanager
def told_of_memory(
    what: str, remedy: str = "use smaller batches, fewer models, or a smaller network"
) -> Iterator[None]:
    """Raise a MemoryError that says what needed the memory, in place of torch's errors."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if not any(part in text for part in _WANT_OF_MEMORY):
            raise
        raise MemoryError(
            f"{what} does not fit into memory: {remedy}. torch said: {text.splitlines()[0]}"
        ) from error


def refuse_other_types() -> None:
    """Refuse to train where torch makes tensors of another type than float32 by default.

    That is a setting of the whole process, other threads included, and so is left to the user.
    """
    if torch.get_default_dtype() != torch.float32:
        raise ValueError(
            f"torch's default type is {torch.get_default_dtype()}: expected torch.float32, which "
            "detectors are trained in. Call torch.set_default_dtype(torch.float32) before fit; a "
            "fitted detector scores whatever it is."
        )


@contextmanager
def undisturbed() -> Iterator[None]:
    """Compute as torch does by default, whatever modes and default device the caller has set.

    In a child that was forked from a process with several threads, keep to one.
    """
    with ExitStack() as stack:
        if _forked:
            stack.enter_context(_ONE_THREAD)
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


def threads_for(multiplications: float, device: torch.device) -> AbstractContextManager[None]:
    """Keep small steps on one CPU thread.

    There, handing work to other threads costs more than it saves, far more on a busy machine; and
    sums do not depend on how many threads a process has, so that a fit gives the same bits in a
    joblib worker. Larger steps take the threads that torch has.
    """
    small = device.type == "cpu" and (_forked or multiplications <= _SMALL_STEP)
    return _ONE_THREAD if small else nullcontext()


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Run the forward pass in bfloat16 where torch deems it safe; no loss scaling is needed."""
    if precision != "bfloat16":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


@contextmanager
def cache_folder_unset() -> Iterator[None]:
    """Take back what torch puts into the environment when it is first asked to optimize."""
    was_set = _CACHE_FOLDER in os.environ
    try:
        yield
    finally:
        if not was_set:
            os.environ.pop(_CACHE_FOLDER, None)


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """Let CUDA multiply matrices in TF32, if that is wanted; the setting is the process's."""
    before = torch.backends.cuda.matmul.allow_tf32
    if precision == "tf32":
        torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        if precision == "tf32":
            torch.backends.cuda.matmul.allow_tf32 = before


def learning_rate_factor(
    schedule: str | tuple[int, ...] | Callable[[float], float], n_epochs: int
) -> Callable[[float], float]:
    """Return the function that gives the factor on the rate at a progress in [0, 1).

    ``"two-phase"`` is the papers' search and fine-tuning: a tenth of the rate after the first third
    of the epochs. ``"cosine"`` falls to 0 along half a cosine. A tuple holds numbers of epochs
    after each of which the rate is a tenth of what it was.
    """
    if callable(schedule):
        return partial(_checked_factor, schedule)
    if isinstance(schedule, tuple):
        return partial(_tenths, [milestone / n_epochs for milestone in schedule])
    return _SCHEDULES[schedule]


def _tenths(milestones: Sequence[float], progress: float) -> float:
    passed: int = sum(progress > milestone - 1e-9 for milestone in milestones)
    return 0.1**passed


def _checked_factor(schedule: Callable[[float], float], progress: float) -> float:
    factor = schedule(progress)
    if not isinstance(factor, Real) or not 0 <= factor < math.inf:
        raise ValueError(
            f"lr_schedule must return a number of at least 0, the factor on the learning rate; it "
            f"returned {factor!r} at progress {progress:.3g}."
        )
    return float(factor)


def _cosine(progress: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress))


_SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "two-phase": lambda progress: 1.0 if progress < 1 / 3 else 0.1,
    "cosine": _cosine,
}
