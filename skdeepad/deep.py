"""What deep detectors have in common: arrays become tensors, stages are trained, rows scored."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_random_state
from torch import nn

from skdeepad import engine, networks
from skdeepad.base import BaseDetector
from skdeepad.callbacks import CallbackSupportMixin, FitObserver
from skdeepad.compute import SCHEDULES, SCHEDULES_IN_WORDS, Compute, EarlyStopping, Schedule
from skdeepad.engine import Objective, Record, Rows, Stage, Training
from skdeepad.inputs import warn_of_other_readings
from skdeepad.notices import warn
from skdeepad.parameters import Parametrized, parameter
from skdeepad.relevance import explain

_SEEDS = ("network", "decoder", "split", "training", "head")

# Parameters that may hold a user's modules and functions.
_FOREIGN = ("network", "decoder", "generator", "augment")

# What makes a network: a module, or what returns one.
Network = nn.Module | Callable[..., nn.Module]
IS_NETWORK = [nn.Module, callable, None]
NETWORK_IN_WORDS = "torch.nn.Module, class or callable"


_ATTRIBUTES = """\
    offset_ : float
        Threshold on ``score_samples``.
    network_ : torch.nn.Module
        The trained network.
    history_ : dict of str to dict of str to list of float
        Mean losses by stage, name and epoch.
    n_epochs_ : int
        Epochs of the last stage.
    device_ : torch.device
        Where the model is.
    input_shape_ : tuple of int
        Shape of one row as the network sees it.
{reference}    n_features_in_ : int
        Number of features; channels x height x width for images.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, if X had any."""

_REFERENCE = """\
    reference_ : ndarray of shape (n_reference, n_features)
        Training rows that :meth:`explain` compares with, eight at most: of those without labels of
        anomalies, from the most normal one to the one in the middle.
"""


def _paper_constructor(cls: type[DeepDetector]) -> Any:
    """Return a class's ``with_paper_settings``, which says what it sets."""

    def with_paper_settings(cls: type[DeepDetector], *args: Any, **parameters: Any) -> DeepDetector:
        # Copied: parts among them belong to one detector each.
        return cls(*args, **{**copy.deepcopy(cls._paper_settings), **parameters})

    said = ", ".join(f"``{name}={value!r}``" for name, value in cls._paper_settings.items())
    with_paper_settings.__doc__ = f"""Return a detector with the settings of the paper.

        It sets {said}. {cls._paper_note}

        Parameters
        ----------
        *args, **parameters : object
            Parameters of the detector, which go before the paper's.

        Returns
        -------
        {cls.__name__}
            Not fitted.

        References
        ----------
        {cls._paper_source}
        """
    return classmethod(with_paper_settings)


# Of the experiments of Ruff et al., whatever the method.
RUFF_SETTINGS = {
    "n_epochs": 150,
    "lr": 1e-4,
    "lr_schedule": "two-phase",
    "batch_size": 200,
    "weight_decay": 1e-6,
}
RUFF_SOURCE = (
    'Ruff et al., "Deep Semi-Supervised Anomaly Detection", ICLR 2020, appendices D and E.'
)
RUFF_NOTE = (
    "The paper's layers for images are the defaults; for tables pass "
    "``hidden_layer_sizes=(32, 16, 8)``, or what the paper has."
)


class DeepDetector(CallbackSupportMixin, BaseDetector):
    """Base class of the detectors that train networks.

    A subclass defines ``_stages(seeds, y)``: the objectives to train, one after the other. The
    last one scores.
    """

    network: Network | None = parameter(
        default=None,
        constraint=IS_NETWORK,
        kind=NETWORK_IN_WORDS,
        doc="""Network that maps rows to codes. An instance is copied, its weights included, and
            never trained in place; a class or a function is called, with ``input_shape=`` if it
            takes a parameter of that name. None chooses by the shape of a row: an MLP for tables,
            the papers' LeNet for images, one of 1-D convolutions for series (channels, time)
            (:mod:`skdeepad.networks`).""",
    )
    hidden_layer_sizes: Sequence[int] | None = parameter(
        default=None,
        constraint=["array-like", None],
        kind="tuple of int",
        doc="""Units of each layer of the default network (of its dense layers, for images and
            series); the last is the size of the code. None: (128, 64, 32) for tables, the papers'
            sizes for images, {series_sizes} for series.""",
    )
    input_shape: Sequence[int] | None = parameter(
        default=None,
        constraint=["array-like", None],
        kind="tuple of int",
        doc="Shape of a row, such as (channels, height, width), if the rows of X are flattened.",
    )
    n_epochs: int | Literal["auto"] = parameter(
        default="auto",
        constraint=[Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        doc="""Passes over the data. "auto" takes as many as come closest to {auto_steps} steps, and
            at least one.""",
    )
    lr: float = parameter(
        default=1e-3,
        constraint=[Interval(Real, 0, None, closed="neither")],
        doc="Learning rate of Adam.",
    )
    lr_schedule: Schedule = parameter(
        default="constant",
        constraint=SCHEDULES,
        kind=SCHEDULES_IN_WORDS,
        doc="""Factor on the rate. "two-phase": 1, then 0.1 after a third of the epochs; "cosine":
            from 1 to 0 along half a cosine; a tuple holds numbers of epochs after each of which the
            rate is a tenth of what it was, so that ``(50,)`` is two phases; a callable maps
            progress in [0, 1) to the factor. It holds in every stage.""",
    )
    batch_size: int = parameter(
        default=128,
        constraint=[Interval(Integral, 2, None, closed="left")],
        doc="Rows in a batch; all rows if there are fewer.",
    )
    weight_decay: float = parameter(
        default=1e-6,
        constraint=[Interval(Real, 0, None, closed="left")],
        doc="Factor of half the squared norm of all weights, added to the loss.",
    )
    clip_grad_norm: float | None = parameter(
        default=None,
        constraint=[Interval(Real, 0, None, closed="neither"), None],
        doc="""Longest gradient, in the Euclidean norm over all weights; longer ones are
            shortened.""",
    )
    early_stopping: bool | EarlyStopping = parameter(
        default=False,
        constraint=["boolean", EarlyStopping],
        stands_for={True: EarlyStopping},
        doc="""Whether to hold out rows, end a stage when their loss stops falling, and restore the
            weights of its best epoch. True: ``EarlyStopping()``, which says how.""",
    )
    compute: Compute | None = parameter(
        default=None,
        constraint=[Compute, None],
        stands_for={None: Compute},
        doc="""Precision, recording, compiling and streaming; ``compute__precision`` sets one. None:
            ``Compute()``.""",
    )
    device: str | torch.device = parameter(
        default="auto",
        constraint=[str, torch.device],
        kind="str or torch.device",
        doc='"auto": CUDA if there is one, else MPS, else the CPU.',
    )
    random_state: int | np.random.RandomState | None = parameter(
        default=None,
        constraint=["random_state"],
        kind="int, RandomState instance or None",
        doc="""Determines weights and order of the rows. The same number gives the same model on one
            machine, if large networks have as many threads (:class:`Compute`); None draws a fresh
            one. The global generators of NumPy and torch are left alone.""",
    )
    verbose: int = parameter(default=0, constraint=["verbose"], doc="Whether to show progress.")

    _dtype: ClassVar[Any] = np.float32
    # What `with_paper_settings` passes, where that is from, and what else there is to know.
    _paper_settings: ClassVar[dict[str, Any]] = {}
    _paper_source = ""
    _paper_note = ""
    _resolution = 1e-6
    _reads_series = True
    _series_sizes = "(128,)"
    _collapse = (
        "a collapsed network: usual causes are a learning rate too high, training for too long, or "
        "features of very different scale; lower lr or n_epochs, or standardize"
    )
    # Steps that n_epochs="auto" amounts to.
    _auto_steps = 500

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls._paper_settings and "with_paper_settings" not in vars(cls):
            cls.with_paper_settings = _paper_constructor(cls)  # type: ignore[method-assign]
        if cls.__doc__:
            attributes = _ATTRIBUTES.format(reference=_REFERENCE if cls._compares else "")
            cls.__doc__ = cls.__doc__.replace("    {attributes}", attributes)

    @classmethod
    def with_paper_settings(cls, *args: Any, **parameters: Any) -> Self:
        """Return a detector with the settings of the paper.

        Parameters
        ----------
        *args, **parameters : object
            Parameters of the detector, which go before the paper's.

        Returns
        -------
        DeepDetector
            Not fitted.

        Raises
        ------
        NotImplementedError
            If the class does not say what they are, in ``_paper_settings``.
        """
        raise NotImplementedError(
            f"{cls.__name__} knows no settings of a paper: expected a dict of parameters as its "
            "_paper_settings. Pass parameters to the class instead."
        )

    def _stages(self, seeds: dict[str, int], y: NDArray[np.int8]) -> list[Stage]:
        """Return the stages to train on rows with labels y, their networks built from ``seeds``."""
        raise NotImplementedError(f"{type(self).__name__} must define _stages(seeds, y).")

    def _stage(self, name: str, objective: Objective, **numbers: Any) -> Stage:
        """Return a stage with this detector's training parameters, but for ``numbers``."""
        shared = ("lr", "lr_schedule", "batch_size", "weight_decay", "clip_grad_norm")
        settings = {parameter: getattr(self, parameter) for parameter in shared}
        settings["n_epochs"] = self.n_epochs
        settings["n_steps"] = self._auto_steps
        settings["labeled_anomalies"] = self._learns_from_labels
        compute, stopping = self._part("compute"), self._part("early_stopping") or EarlyStopping()
        settings |= {
            each: getattr(compute, each)
            for each in ("precision", "cuda_graph", "compile", "one_thread")
        }
        settings |= {each: getattr(stopping, each) for each in ("n_iter_no_change", "tol")}
        settings |= numbers
        if settings["n_epochs"] == "auto":
            settings["n_epochs"] = None
        settings["lr_schedule"] = _checked_schedule(settings["lr_schedule"])
        return Stage(name, objective, **settings)

    def _validate(self, X: Any, *, reset: bool) -> NDArray[Any]:
        rows = super()._validate(X, reset=reset)
        # Whoever passes a network or a shape has said what the axes are.
        unsaid = self.network is None and self.input_shape is None and self._reads_series
        if reset and unsaid and networks.is_series(self.input_shape_):
            warn_of_other_readings(rows, self.input_shape_)
        return rows

    def _encoder(self, seeds: dict[str, int], *, bias: bool, **branching: Any) -> nn.Module:
        """Return the network from rows to codes."""
        return networks.build_encoder(
            self.network,
            self.input_shape_,
            self._layer_sizes(),
            bias,
            seeds["network"],
            **branching,
        )

    def _head(self, encoder: nn.Module, seeds: dict[str, int], outputs: int = 1) -> nn.Module:
        """Return what turns an encoder's codes into a few numbers each."""
        size = networks.code_size(encoder, self.input_shape_)
        return networks.build_head(size, seeds["head"], outputs)

    def _layer_sizes(self) -> tuple[int, ...] | None:
        """Return the parameter hidden_layer_sizes as a tuple of int, or None."""
        if self.hidden_layer_sizes is None:
            return None
        sizes = tuple(self.hidden_layer_sizes)
        if not sizes or not all(isinstance(size, Integral) and size >= 1 for size in sizes):
            raise ValueError(
                "hidden_layer_sizes must hold one or more whole numbers of at least 1, the last "
                f"one the size of the code, or be None; got {self.hidden_layer_sizes!r}."
            )
        return tuple(int(size) for size in sizes)

    def _fit_rows(self, X: Any, y: Any, **more: Any) -> Self:
        return super()._fit_rows(X, y, observer=FitObserver(self, X, y), **more)

    def _fit(  # type: ignore[override]  # _fit_rows passes the observer
        self, X: NDArray[Any], y: NDArray[np.int8], observer: FitObserver, **more: Any
    ) -> NDArray[np.float64]:
        """Place the rows, train one stage after the other, and score the rows where they lie."""
        with engine.undisturbed():
            rows = self._placed(X, y, **more)
            trainings = self._trainings(rows, observer)
            with self._foreign_randomness(trainings):
                for training in trainings:
                    engine.train_alone(training)
            return self._complete(trainings, rows, observer)

    def _placed(self, X: NDArray[Any], y: NDArray[np.int8], place: Any = Rows.place) -> Rows:
        """Put rows on the device."""
        self._validate_parts()
        engine.refuse_other_types()
        self.device_: torch.device = engine.resolve_device(self.device)
        return place(X, y, self.input_shape_, self.device_, self._part("compute").stream)

    def _validate_parts(self) -> None:
        for part in map(self._part, self._part_names()):
            if part:
                part._validate_params()

    def _trainings(self, rows: Rows, observer: FitObserver) -> list[Training]:
        """Return what is to be trained, one after the other."""
        seeds = draw_seeds(self.random_state, _SEEDS)
        y = rows.labels().numpy()
        what = f"The model of {type(self).__name__} for rows of shape {self.input_shape_}"
        with engine.told_of_memory(what, "use a smaller network"):
            stages = self._stages(seeds, y)
            for stage in stages:
                stage.objective.to(self.device_)
        _check_last(stages[-1].objective)
        training, held_out = self._split(stages, y, seeds["split"])
        observer.expects(len(stages))
        trainings: list[Training] = []
        for stage in stages:
            rows_in = _of_stage(stage, rows, training)
            if len(rows_in) < 2:
                raise ValueError(
                    f"Stage {stage.name!r} of {type(self).__name__} has {len(rows_in)} row to "
                    "train on, as labeled anomalies and rows held out are left out of it; expected "
                    "at least 2. Pass more rows with y >= 0."
                )
            validation = None if held_out is None else _of_stage(stage, rows, held_out)
            now = None
            if stage is stages[-1]:
                now = partial(self._fitted_now, trainings, rows_in, rows)
            watching = observer.stage(stage.name, now)
            trainings.append(Training(stage, rows_in, seeds["training"], validation, watching))
        return trainings

    def _complete(
        self, trainings: list[Training], rows: Rows, observer: FitObserver
    ) -> NDArray[np.float64]:
        """Keep what came of the trainings, and return the anomaly scores of the rows."""
        self._note(trainings)
        observer.ends()
        self._keep(trainings[-1].stage.objective)
        return self._scores(rows)

    def _note(self, trainings: list[Training]) -> None:
        self.history_: dict[str, dict[str, list[float]]] = {
            each.stage.name: copy.deepcopy(each.record.losses) for each in trainings
        }
        self.n_epochs_: int = trainings[-1].record.n_epochs

    def _why_not_stacked(self) -> str | None:
        """Say why this detector cannot be trained as one with others, or return None."""
        for name in self._foreign_parts():
            return f"{name} is code that may draw random numbers or decide by what it sees"
        compute = self._part("compute")
        if compute.compile:
            return "compile=True makes a graph of one model"
        if compute.precision == "bfloat16":
            return "not all layers of a stack take bfloat16"
        if type(self)._fit is not DeepDetector._fit or not _is_ours(type(self).fit):
            return "it has a way of its own to be fitted"
        return None

    def _keep(self, objective: Objective) -> None:
        """Make a trained objective the fitted state."""
        self._objective_: Objective = objective
        self.network_: nn.Module = objective.network

    def _fitted_now(
        self, trainings: list[Training], rows_in: Rows, rows: Rows, record: Record
    ) -> dict[str, Any]:
        """Return what makes a copy of this detector usable as if training ended here."""
        snapshot = copy.copy(self)
        objective = copy.deepcopy(trainings[-1].stage.objective)
        with torch.no_grad():
            objective.eval().finish(rows_in)
        snapshot._note(trainings)
        snapshot._keep(objective)
        scores, y = snapshot._scores(rows), rows.labels().numpy()
        snapshot.offset_ = -snapshot._threshold(scores, y)
        if self._compares:
            chosen = torch.from_numpy(self._reference_among(scores, y, None))
            (of_chosen,) = rows.features(rows.positions(chosen)[None])
            size = math.prod(self.input_shape_)  # a mask may lie behind
            snapshot.reference_ = of_chosen.flatten(1)[:, :size].cpu().numpy()
        return {name: value for name, value in vars(snapshot).items() if name.endswith("_")}

    def _split(
        self, stages: list[Stage], y: NDArray[np.int8], seed: int
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Return positions to train on and to hold out; None means all, and none."""
        stopping = self._part("early_stopping")
        if not stopping:
            return None, None
        for refusal in (stage.objective.early_stopping_refusal for stage in stages):
            if refusal is not None:
                raise ValueError(
                    f"early_stopping=True is not possible with {type(self).__name__}: {refusal}"
                )
        rng = np.random.default_rng(seed)
        parts = []
        for label in (-1, 0, 1):
            positions = rng.permutation(np.flatnonzero(y == label))
            # One labeled anomaly alone is worth more in training than held out.
            parts.append(positions[: round(stopping.validation_fraction * len(positions))])
        held_out = np.sort(np.concatenate(parts))
        training = np.setdiff1d(np.arange(len(y)), held_out)
        if not (y[held_out] >= 0).any() or not (y[training] >= 0).any():
            raise ValueError(
                f"validation_fraction={stopping.validation_fraction} of {len(y)} rows leaves no "
                "row with y >= 0 to hold out or to train on. Pass more rows, another fraction, or "
                "early_stopping=False."
            )
        return torch.from_numpy(training), torch.from_numpy(held_out)

    def _foreign_randomness(self, trainings: list[Training]) -> AbstractContextManager[None]:
        """Give a user's network or augmentation, which may draw from global generators, a seed."""
        if self._foreign_parts():
            return engine.borrowed_global_rng(trainings[0].seed, self.device_)
        return nullcontext()

    def _foreign_parts(self) -> list[str]:
        """Return the parameters that hold a user's code that may draw random numbers."""
        given = {name: getattr(self, name, None) for name in _FOREIGN}
        return [
            name
            for name, part in given.items()
            if callable(part) and (name == "augment" or not networks.draws_nothing(part))
        ]

    def _anomaly_score(self, X: NDArray[Any]) -> NDArray[np.float64]:
        return self._scores(self._rows(X))

    def _scores(self, rows: Rows) -> NDArray[np.float64]:
        """Return the anomaly scores of placed rows."""
        return self._score_of(self._of_rows(rows, "score"))

    def _score_of(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the anomaly score, given what the objective's score gives for each row."""
        return values

    def _rows(self, X: NDArray[Any]) -> Rows:
        stream = self._part("compute").stream
        return Rows.place(X, None, self.input_shape_, self.device_, stream)

    def _by_row(self, X: NDArray[Any], method: str) -> NDArray[np.float64]:
        """Return what a method of the objective gives for each row."""
        return self._of_rows(self._rows(X), method)

    def _of_rows(self, rows: Rows, method: str) -> NDArray[np.float64]:
        one_thread = self._part("compute").one_thread
        values = engine.score(self._objective_, rows, method, one_thread)
        return values.double().numpy()

    def _explained(
        self, X: NDArray[Any], reference: Any
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | float]:
        if not self._compares:
            return self._by_row(X, "relevance").reshape(len(X), -1), 0.0
        values, lost = self._propagated(self._objective_, X, reference)
        if lost.any():
            warn(
                f"Nor do gradients add up to the scores of {lost.sum()} of {len(X)} rows: their "
                "features are replaced by those of reference rows, one after the other."
            )
            values[lost], _ = super()._explained(X[lost], reference)
        return values, float(self._anomaly_score(reference).mean())

    def _codes(self, X: NDArray[Any]) -> NDArray[np.float64]:
        return self._by_row(X, "codes")

    def _propagated(
        self, objective: Objective, X: NDArray[Any], reference: NDArray[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the relevance of each number of each row, and of which rows some was lost."""
        what = f"Explaining rows of shape {self.input_shape_}"
        work = 0.0 if self._part("compute").one_thread else math.inf
        threads = engine.threads_for(work, self.device_)
        shaped = [rows.reshape(len(rows), *self.input_shape_) for rows in (X, reference)]
        # cuDNN's recurrent layers have no gradients in evaluation mode.
        recurrent = any(isinstance(module, nn.RNNBase) for module in objective.modules())
        cudnn = torch.backends.cudnn.flags(enabled=False) if recurrent else nullcontext()
        with engine.undisturbed(), threads, engine.told_of_memory(what), cudnn:
            objective = copy.deepcopy(objective).eval().requires_grad_(False)
            values, lost = explain(objective, *shaped)
            if not np.isfinite(values).all():  # float32 overflows where float64 does not
                values, lost = explain(objective.cpu().double(), *shaped)
        return values, lost

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if "_objective_" not in state or self.device_.type == "cpu":
            return state
        # On a CPU the file loads everywhere. Copied together, so that shared weights stay shared.
        modules = {name: value for name, value in state.items() if isinstance(value, nn.Module)}
        copies = {name: value.cpu() for name, value in copy.deepcopy(modules).items()}
        return {**state, **copies}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_objective_" not in state:
            return
        try:
            self.device_ = engine.resolve_device(self.device_)
        except ValueError:
            self.device_ = torch.device("cpu")
        given = self.get_params(deep=False)
        for name, value in vars(self).items():
            if isinstance(value, nn.Module) and name not in given:
                value.to(self.device_)


class DecoderParameter(Parametrized):
    """The parameter `decoder` of a :class:`DeepDetector`, and the network that it stands for."""

    input_shape_: ClassVar[tuple[int, ...]]
    decoder: Network | None = parameter(
        default=None,
        constraint=IS_NETWORK,
        kind=NETWORK_IN_WORDS,
        doc="""Network that maps codes back to rows; as `network`, and it may take ``code_size=``
            too. None mirrors the default network.""",
    )

    def _decoder(self, encoder: nn.Module, seeds: dict[str, int]) -> nn.Module | None:
        """Return the decoder of an encoder, or None if there is none to be had."""
        return networks.build_decoder(self.decoder, encoder, self.input_shape_, seeds["decoder"])

    def _required_decoder(self, encoder: nn.Module, seeds: dict[str, int]) -> nn.Module:
        """Return the decoder of an encoder, without which the method cannot be."""
        decoder = self._decoder(encoder, seeds)
        if decoder is None:
            raise ValueError(
                f"{type(self).__name__} with a network of your own needs its decoder: expected "
                "decoder= a module, class or function that maps its codes back to rows, got None."
            )
        return decoder


def _check_last(objective: Objective) -> None:
    """Refuse an objective that cannot become a fitted model."""
    name = type(objective).__name__
    if type(objective).score is Objective.score:
        raise TypeError(f"{name} is the last stage's, which scores: define score(x) -> (n,).")
    network = getattr(objective, "network", None)
    if not isinstance(network, nn.Module):
        raise TypeError(
            f"{name}.network must be the module that becomes network_; got "
            f"{type(network).__name__}. Set self.network in its __init__."
        )


def _checked_schedule(schedule: Any) -> Any:
    """Return a schedule of the learning rate, epochs as a tuple, or refuse them."""
    if not isinstance(schedule, tuple | list):
        return schedule
    if not all(isinstance(epoch, Integral) and int(epoch) >= 1 for epoch in schedule):
        raise ValueError(
            "lr_schedule as a tuple must hold whole numbers of epochs of at least 1, after each of "
            f"which the rate is a tenth of what it was; got {schedule!r}."
        )
    return tuple(int(epoch) for epoch in schedule)


def _is_ours(function: Any) -> bool:
    return function.__module__.partition(".")[0] == "skdeepad"


def draw_seeds(random_state: Any, uses: Sequence[Any]) -> dict[Any, int]:
    """Return one seed for each use; without a ``random_state``, from the system's entropy."""
    entropy = None
    if random_state is not None:
        entropy = int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
    words = np.random.SeedSequence(entropy).generate_state(len(uses))
    return {use: int(word) for use, word in zip(uses, words, strict=True)}


def reseed(estimator: Any, seed: int) -> Any:
    """Set each random_state of an estimator and its parts to a number that ``seed`` determines."""
    seeded = [
        key for key in sorted(estimator.get_params()) if key.split("__")[-1] == "random_state"
    ]
    if seeded:  # a frozen estimator takes none
        estimator.set_params(**draw_seeds(seed, seeded))
    return estimator


def _of_stage(stage: Stage, rows: Rows, positions: torch.Tensor | None) -> Rows:
    """Return the rows at ``positions`` (None: all) that take part in a stage."""
    y = rows.labels().numpy()
    if not stage.labeled_anomalies and (y < 0).any():
        wanted = np.flatnonzero(y >= 0)
        if positions is not None:
            wanted = np.intersect1d(wanted, positions.numpy())
        positions = torch.from_numpy(wanted)
    return rows if positions is None else rows.select(positions)
