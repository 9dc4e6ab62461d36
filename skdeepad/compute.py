"""How training is computed, and its parts: parameters that come as objects of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, Literal

from sklearn.utils._param_validation import Interval, StrOptions

from skdeepad.parameters import Parametrized, parameter

SCHEDULES: list[Any] = [
    StrOptions({"constant", "two-phase", "cosine"}),
    tuple,
    list,
    callable,
]
"""What lr_schedule may be."""
SCHEDULES_IN_WORDS = '{"constant", "two-phase", "cosine"}, tuple of int or callable'
Schedule = Literal["constant", "two-phase", "cosine"] | Sequence[int] | Callable[[float], float]


class Compute(Parametrized):
    """How training is computed: parameter `compute` of the deep detectors.

    Parameters
    ----------
    {parameters}

    Examples
    --------
    >>> from skdeepad import Compute, DeepSAD
    >>> DeepSAD(compute=Compute(precision="bfloat16"))
    DeepSAD(compute=Compute(precision='bfloat16'))
    >>> DeepSAD().set_params(compute__stream=True)  # as in a grid
    DeepSAD(compute=Compute(stream=True))
    """

    precision: Literal["float32", "tf32", "bfloat16"] = parameter(
        default="float32",
        constraint=[StrOptions({"float32", "tf32", "bfloat16"})],
        doc="""What training computes in. "tf32": as float32, but for matrix products on CUDA, in
            all of the process meanwhile; "bfloat16": where torch deems it safe. Scores are always
            float32.""",
    )
    cuda_graph: bool = parameter(
        default=False,
        constraint=["boolean"],
        doc="""Whether a training step is recorded on CUDA once and replayed, as small networks
            spend most of their time on launching it. Not with `compile`; a network of your own must
            not draw random numbers or decide by what it sees.""",
    )
    compile: bool = parameter(
        default=False,
        constraint=["boolean"],
        doc="""Whether to train through ``torch.compile``: worth its start-up time for large
            networks.""",
    )
    one_thread: bool = parameter(
        default=False,
        constraint=["boolean"],
        doc="""Whether to keep to one thread on a CPU. Small networks do in any case. Sums of large
            ones depend in their last digits on the number of threads: with this the same
            `random_state` gives the same model whatever their number, and in every process.""",
    )
    stream: bool | Literal["auto"] = parameter(
        default="auto",
        constraint=["boolean", StrOptions({"auto"})],
        doc="""Whether batches are copied from the host's memory in chunks instead of keeping all
            data on the device. "auto": where they take over 60% of a GPU's free memory. Results are
            the same.""",
    )


class EarlyStopping(Parametrized):
    """When training stops: parameter `early_stopping` of the deep detectors.

    Rows are held out. A stage ends when their loss stops falling, and the weights of its best epoch
    are restored.

    Parameters
    ----------
    {parameters}

    Examples
    --------
    >>> from skdeepad import DeepSAD, EarlyStopping
    >>> DeepSAD(early_stopping=EarlyStopping(n_iter_no_change=5))
    DeepSAD(early_stopping=EarlyStopping(n_iter_no_change=5))
    >>> DeepSAD(early_stopping=True).set_params(early_stopping__tol=1e-3)
    DeepSAD(early_stopping=EarlyStopping(tol=0.001))
    """

    validation_fraction: float = parameter(
        default=0.1,
        constraint=[Interval(Real, 0, 1, closed="neither")],
        doc="Share of the rows to hold out, of each kind of label alike.",
    )
    n_iter_no_change: int = parameter(
        default=10,
        constraint=[Interval(Integral, 1, None, closed="left")],
        doc="Epochs without a fall that end a stage.",
    )
    tol: float = parameter(
        default=0.0,
        constraint=[Interval(Real, 0, None, closed="left")],
        doc="Least fall that counts.",
    )


class Pretraining(Parametrized):
    """How an autoencoder is trained first: parameter `pretraining` of DeepSVDD, DeepSAD and HSC.

    All else is as in training.

    Parameters
    ----------
    {parameters}

    Examples
    --------
    >>> from skdeepad import DeepSVDD, Pretraining
    >>> DeepSVDD(pretraining=Pretraining(n_epochs=350, lr=1e-4, lr_schedule=(250,)))
    DeepSVDD(pretraining=Pretraining(lr=0.0001, lr_schedule=(250,), n_epochs=350))
    >>> DeepSVDD().set_params(pretraining__n_epochs=20)  # as in a grid
    DeepSVDD(pretraining=Pretraining(n_epochs=20))
    """

    n_epochs: int | Literal["auto"] = parameter(
        default="auto",
        constraint=[Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        doc='Passes over the data; "auto" as for training.',
    )
    lr: float = parameter(
        default=1e-3,
        constraint=[Interval(Real, 0, None, closed="neither")],
        doc="Learning rate of Adam.",
    )
    lr_schedule: Schedule | None = parameter(
        default=None,
        constraint=[*SCHEDULES, None],
        kind=SCHEDULES_IN_WORDS,
        doc="Factor on the rate. None: as in training.",
    )
