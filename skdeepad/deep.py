"""What deep detectors have in common: arrays become tensors, stages are trained, rows scored."""

from __future__ import annotations

import copy
import inspect
import math
import re
from contextlib import nullcontext
from functools import partial
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_random_state
from torch import nn

from skdeepad import engine, networks
from skdeepad.base import BaseDetector, kept_on_failure, on_host
from skdeepad.callbacks import CallbackSupportMixin, FitObserver
from skdeepad.engine import Rows, Stage, Training

_SEEDS = ("network", "decoder", "split", "training", "head")

# Parameters that may hold a user's modules and functions.
_FOREIGN = ("network", "decoder", "generator", "augment")

_SHARED_PARAMETERS = {
    "network_parameters": """\
network : torch.nn.Module, class or callable, default=None
    Network that maps rows to codes. An instance is copied, its weights included, and never
    trained in place; a class or a function is called, with ``input_shape=`` if it takes a
    parameter of that name. None chooses by the shape of a row: an MLP for tables, the papers'
    LeNet for images (:mod:`skdeepad.networks`).
hidden_layer_sizes : tuple of int, default=None
    Units of each layer of the default network (of its dense layers, for images); the last is the
    size of the code. None: (128, 64, 32) for tables, the papers' sizes for images.
decoder : torch.nn.Module, class or callable, default=None
    Network that maps codes back to rows; as `network`, and it may take ``code_size=`` too. None
    mirrors the default network.
input_shape : tuple of int, default=None
    (channels, height, width) if the rows of X are flattened images.""",
    "hypersphere_parameters": """\
n_branches : int, default={n_branches}
    Number of networks of these sizes beside each other in the default network for tables; a
    distance is the mean of theirs. More vary less from seed to seed and cost more time.
squash : float or None, default={squash}
    Limit beyond which features grow by their logarithm only, in the default network for tables:
    heavy tails would otherwise rule the distances. None leaves features as they are.
input_noise : float or "auto", default="{input_noise}"
    Standard deviation of the normal noise added to features in training, in units of each
    feature's own standard deviation. 0 adds none. "auto": 0.5 for tables, 0 for images.""",
    "label_parameters": """\
anomaly_fraction : float or None, default={anomaly_fraction}
    Share of places in each batch that cycle through the labeled anomalies, if there are any:
    they are few, and would seldom be drawn. It multiplies their weight. None draws all rows
    alike.
augment : {{"standard"}}, list of str, callable or None, default=None
    Random changes of images that leave them what they are, in training but not in pretraining:
    of "flip" (left to right), "crop" (shifts by up to an eighth of a side, or a pixel), "color"
    (brightness and contrast) and "noise" (on pixels); "standard" is all four. A callable takes a
    batch of shape (n, channels, height, width), or (n, features), on the device and returns one of
    that shape, as torchvision's transforms do; the global generators are seeded for it. None
    changes nothing.""",
    "pretraining_parameters": """\
pretrain : bool or "auto", default="auto"
    Whether the network starts from the encoder of an autoencoder trained on all rows but the
    labeled anomalies. "auto": if there is a decoder, that is for the default networks and
    wherever `decoder` is given.
pretrain_n_epochs : int or "auto", default="auto"
    Epochs of pretraining; "auto" as for `n_epochs`.
pretrain_lr : float, default={pretrain_lr}
    Learning rate of pretraining.""",
    "training_parameters": """\
n_epochs : int or "auto", default="auto"
    Passes over the data. "auto" takes as many as come closest to {auto_steps} steps, and at
    least one.
lr : float, default={lr}
    Learning rate of Adam.
lr_schedule : {{"constant", "two-phase", "cosine"}} or callable, default="{lr_schedule}"
    Factor on the rate. "two-phase": 1, then 0.1 after a third of the epochs; "cosine": from 1 to 0
    along half a cosine; a callable maps progress in [0, 1) to the factor. It holds in every stage.
batch_size : int, default={batch_size}
    Rows in a batch; all rows if there are fewer.
weight_decay : float, default={weight_decay}
    Factor of half the squared norm of all weights, added to the loss.
clip_grad_norm : float, default=None
    Longest gradient, in the Euclidean norm over all weights; longer ones are shortened.
early_stopping : bool, default=False
    Whether to hold out rows, end a stage when their loss stops falling, and restore the weights
    of its best epoch.
validation_fraction : float, default=0.1
    Share of the rows to hold out, of each kind of label alike. Only with `early_stopping`.
n_iter_no_change : int, default=10
    Epochs without a fall that end a stage. Only with `early_stopping`.
tol : float, default=0.0
    Least fall that counts. Only with `early_stopping`.
precision : {{"float32", "tf32", "bfloat16"}}, default="float32"
    What training computes in. "tf32": as float32, but for matrix products on CUDA, in all of the
    process meanwhile; "bfloat16": where torch deems it safe. Scores are always float32.
cuda_graph : bool, default=False
    Whether a training step is recorded on CUDA once and replayed, as small networks spend most of
    their time on launching it. Not with `compile`; a network of your own must not draw random
    numbers or decide by what it sees.
compile : bool, default=False
    Whether to train through ``torch.compile``: worth its start-up time for large networks.
stream : bool or "auto", default="auto"
    Whether batches are copied from the host's memory in chunks instead of keeping all data on the
    device. "auto": where they take over 60% of a GPU's free memory. Results are the same.""",
    "common_parameters": """\
contamination : float or "auto", default=0.1
    Share, in (0, 0.5], of the training rows without labeled anomalies that lies below the
    threshold. "auto": the method's own boundary, the radius of a soft boundary; a ValueError
    where it has none.
device : str or torch.device, default="auto"
    "auto": CUDA if there is one, else MPS, else the CPU.
random_state : int, RandomState instance or None, default=None
    Determines weights and order of the rows. The same number gives the same model on one
    machine; None draws a fresh one. The global generators of NumPy and torch are left alone.
verbose : int, default=0
    Whether to show progress.""",
    "attributes": """\
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
n_features_in_ : int
    Number of features; channels x height x width for images.
feature_names_in_ : ndarray of shape (n_features,)
    Names of the features, if X had any.""",
}


def document(cls):
    """Fill the parts that detectors share, marked ``{name}``, into a class's docstring.

    Of parameters, those that the class has; numbers are the defaults of its own signature.
    """
    facts = {name: each.default for name, each in inspect.signature(cls).parameters.items()}
    for name, text in _SHARED_PARAMETERS.items():
        place = "{" + name + "}"
        if place in cls.__doc__:
            entries = re.split(r"\n(?=\w)", text)  # one begins where a line is not indented
            if name.endswith("parameters"):
                entries = [entry for entry in entries if entry.partition(" :")[0] in facts]
            text = "\n".join(entries).format(auto_steps=cls._auto_steps, **facts)
            cls.__doc__ = cls.__doc__.replace(place, text.replace("\n", "\n    "))
    return cls


class DeepDetector(CallbackSupportMixin, BaseDetector):
    """Base class of the detectors that train networks.

    A subclass defines ``_stages(seeds, y)``: the objectives to train, one after the other. The
    last one scores.
    """

    _parameter_constraints: dict = {
        **BaseDetector._parameter_constraints,
        "network": [nn.Module, callable, None],
        "hidden_layer_sizes": ["array-like", None],
        "input_shape": ["array-like", None],
        "n_epochs": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "lr_schedule": [StrOptions({"constant", "two-phase", "cosine"}), callable],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "clip_grad_norm": [Interval(Real, 0, None, closed="neither"), None],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "precision": [StrOptions({"float32", "tf32", "bfloat16"})],
        "cuda_graph": ["boolean"],
        "compile": ["boolean"],
        "stream": ["boolean", StrOptions({"auto"})],
        "device": [str, torch.device],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }
    _dtype = np.float32
    _paper_settings: dict = {
        "n_epochs": 150,
        "lr": 1e-4,
        "lr_schedule": "two-phase",
        "batch_size": 200,
        "weight_decay": 1e-6,
    }
    # Steps that n_epochs="auto" amounts to.
    _auto_steps = 500

    @classmethod
    def with_paper_settings(cls, *args, **parameters):
        """Return a detector with the training of the paper's experiments instead of the defaults.

        Adam at 1e-4 for 50 epochs, then at 1e-5 for 100, in pretraining and training alike;
        batches of 200 rows drawn all alike; weight decay 1e-6. The paper's layers for images are
        the defaults; for tables pass ``hidden_layer_sizes=(32, 16, 8)``, or what the paper has.

        Parameters
        ----------
        *args, **parameters : object
            Parameters of the detector, which go before the paper's.

        Returns
        -------
        DeepDetector
            Not fitted.

        References
        ----------
        Ruff et al., "Deep Semi-Supervised Anomaly Detection", ICLR 2020, appendices D and E.
        """
        return cls(*args, **{**cls._paper_settings, **parameters})

    def _stages(self, seeds, y):
        """Return the stages to train on rows with labels y, their networks built from ``seeds``."""
        raise NotImplementedError(f"{type(self).__name__} must define _stages(seeds, y).")

    def _stage(self, name, objective, **numbers):
        """Return a stage with this detector's training parameters, but for ``numbers``."""
        shared = ("lr", "lr_schedule", "batch_size", "weight_decay", "clip_grad_norm")
        shared += ("n_iter_no_change", "tol", "precision", "cuda_graph", "compile")
        settings = {parameter: getattr(self, parameter) for parameter in shared}
        settings["n_epochs"] = None if self.n_epochs == "auto" else self.n_epochs
        settings["n_steps"] = self._auto_steps
        return Stage(name, objective, **{**settings, **numbers})

    def _encoder(self, seeds, *, bias, **branching):
        return networks.build_encoder(
            self.network,
            self.input_shape_,
            self._layer_sizes(),
            bias,
            seeds["network"],
            **branching,
        )

    def _layer_sizes(self):
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

    def _decoder(self, encoder, seeds):
        return networks.build_decoder(self.decoder, encoder, self.input_shape_, seeds["decoder"])

    def _required_decoder(self, encoder, seeds):
        """Return the decoder of an encoder, without which the method cannot be."""
        decoder = self._decoder(encoder, seeds)
        if decoder is None:
            raise ValueError(
                f"{type(self).__name__} with a network of your own needs its decoder: expected "
                "decoder= a module, class or function that maps its codes back to rows, got None."
            )
        return decoder

    def _fit(self, X, y, given, **more):
        for training in self._trainings(X, y, given, **more):
            engine.train_together([training])

    def _fit_in_steps(self, X, y, rows, share, place):
        """Fit as :meth:`fit` does, but let the caller do the trainings, which are yielded.

        Parameters
        ----------
        X, y : object
            As in :meth:`fit`, but for y: labels of the rows that are meant.
        rows : array of int or None
            Positions in X of the rows that are meant; None: all.
        share : callable
            Returns features that are equal to those given, for detectors to have in common.
        place : callable
            Puts features and labels on the device, as :meth:`engine.Rows.place`.
        """
        self._validate_params()
        with kept_on_failure(self):
            features, labels = self._checked(X, y, rows)
            if rows is not None and len(rows) < 2:
                raise ValueError(f"Expected at least two rows to learn from, got {len(rows)}.")
            features = share(features)
            yield from self._trainings(features, labels, (X, y), place=place)
            self._finish(features if rows is None else features[rows], labels)

    def _trainings(self, X, y, given, row_shape=None, place=Rows.place):
        """Yield what is to be trained, stage by stage, and keep what comes of it."""
        self.device_ = engine.resolve_device(self.device)
        seeds = draw_seeds(self.random_state, _SEEDS)
        stages = self._stages(seeds, y)
        training, held_out = self._split(stages, y, seeds["split"])
        rows = place(X, y, row_shape or self.input_shape_, self.device_, self.stream)
        observer = FitObserver(self, n_stages=len(stages), given=given)
        self.history_ = {}
        with self._foreign_randomness(seeds["training"]):
            for stage in stages:
                if observer.stopped:
                    stage.n_epochs = 0  # the model is made usable, no more
                stage.objective.to(self.device_)
                rows_in = _of_stage(stage, rows, y, training)
                validation = None if held_out is None else _of_stage(stage, rows, y, held_out)
                fitted_now = None
                if stage is stages[-1]:
                    fitted_now = partial(self._fitted_now, stage, rows_in, rows)
                with observer.stage(stage.name, fitted_now) as stage_observer:
                    made = Training(stage, rows_in, seeds["training"], validation, stage_observer)
                    yield made
                    if made.record.error is not None:
                        raise made.record.error
                self.history_[stage.name] = made.record.losses
                self.n_epochs_ = made.record.n_epochs
        observer.ends()
        self._keep(stages[-1].objective)

    def _why_not_stacked(self):
        """Say why this detector cannot be trained as one with others, or return None."""
        for name in self._foreign_parts():
            return f"{name} is code that may draw random numbers or decide by what it sees"
        if self.compile:
            return "compile=True makes a graph of one model"
        if self.precision == "bfloat16":
            return "not all layers of a stack take bfloat16"
        if type(self)._fit is not DeepDetector._fit or not _is_ours(type(self).fit):
            return "it has a way of its own to be fitted"
        return None

    def _keep(self, objective):
        """Make a trained objective the fitted state."""
        self._objective_ = objective
        self.network_ = objective.network

    def _fitted_now(self, stage, rows_in, rows, record):
        """Return what makes a copy of this detector usable as if training ended here."""
        snapshot = copy.copy(self)
        objective = copy.deepcopy(stage.objective)
        with torch.no_grad():
            objective.eval().finish(rows_in)
        snapshot._keep(objective)
        scores = -self._score_of(engine.score(objective, rows).double().numpy())
        snapshot.offset_ = snapshot._threshold(scores, rows.labels().numpy())
        snapshot.history_ = {**self.history_, stage.name: copy.deepcopy(record.losses)}
        snapshot.n_epochs_ = record.n_epochs
        return {name: value for name, value in vars(snapshot).items() if name.endswith("_")}

    def _split(self, stages, y, seed):
        """Return positions to train on and to hold out; None means all, and none."""
        if not self.early_stopping:
            return None, None
        for refusal in (stage.objective.early_stopping_refusal for stage in stages):
            if refusal is not None:
                raise ValueError(
                    f"early_stopping=True is not possible with {type(self).__name__}: {refusal}"
                )
        rng = np.random.default_rng(seed)
        held_out = []
        for label in (-1, 0, 1):
            positions = rng.permutation(np.flatnonzero(y == label))
            # One labeled anomaly alone is worth more in training than held out.
            held_out.append(positions[: round(self.validation_fraction * len(positions))])
        held_out = np.sort(np.concatenate(held_out))
        training = np.setdiff1d(np.arange(len(y)), held_out)
        if not (y[held_out] >= 0).any() or not (y[training] >= 0).any():
            raise ValueError(
                f"validation_fraction={self.validation_fraction} of {len(y)} rows leaves no row "
                "with y >= 0 to hold out or to train on. Pass more rows, another fraction, or "
                "early_stopping=False."
            )
        return torch.from_numpy(training), torch.from_numpy(held_out)

    def _foreign_randomness(self, seed):
        """Give a user's network or augmentation, which may draw from global generators, a seed."""
        if self._foreign_parts():
            return engine.borrowed_global_rng(seed, self.device_)
        return nullcontext()

    def _foreign_parts(self):
        """Return the parameters that hold a user's code that may draw random numbers."""
        given = {name: getattr(self, name, None) for name in _FOREIGN}
        return [
            name
            for name, part in given.items()
            if callable(part) and (name == "augment" or not networks.draws_nothing(part))
        ]

    def _validate(self, X, *, reset):
        """Check features; images become flat rows."""
        X = on_host(X)
        shape = tuple(X.shape[1:]) if getattr(X, "ndim", 2) == 4 else None
        expected = self._image_shape() if reset else self.input_shape_
        if shape is not None:
            if expected is not None and len(expected) == 3 and shape != expected:
                raise ValueError(
                    f"X holds images of shape {shape}; expected {expected}, as "
                    f"{'input_shape says' if reset else 'in fit'}."
                )
            X = X.reshape(len(X), math.prod(shape))
        X = super()._validate(X, reset=reset)
        if reset:
            self.input_shape_ = shape or self._image_shape() or (X.shape[1],)
            if math.prod(self.input_shape_) != X.shape[1]:
                raise ValueError(
                    f"input_shape={tuple(self.input_shape_)} has {math.prod(self.input_shape_)} "
                    f"numbers; the rows of X have {X.shape[1]}. They must be the same."
                )
        return X

    def _image_shape(self):
        """Return the parameter input_shape as a tuple, or None."""
        if self.input_shape is None:
            return None
        shape = tuple(int(side) for side in self.input_shape)
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(
                "input_shape must be three positive numbers (channels, height, width) or None; "
                f"got {self.input_shape!r}."
            )
        return shape

    def _anomaly_score(self, X):
        return self._score_of(self._by_row(X, "score"))

    def _score_of(self, values):
        """Return the anomaly score, given what the objective's score gives for each row."""
        return values

    def _by_row(self, X, method):
        """Return what a method of the objective gives for each row, as float64."""
        rows = Rows.place(X, None, self.input_shape_, self.device_, self.stream)
        return engine.score(self._objective_, rows, method).double().numpy()

    def __getstate__(self):
        state = super().__getstate__()
        if "_objective_" not in state or self.device_.type == "cpu":
            return state
        # On a CPU the file loads everywhere. Copied together, so that shared weights stay shared.
        modules = {name: value for name, value in state.items() if isinstance(value, nn.Module)}
        copies = {name: value.cpu() for name, value in copy.deepcopy(modules).items()}
        return {**state, **copies}

    def __setstate__(self, state):
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


def _is_ours(function):
    return function.__module__.partition(".")[0] == "skdeepad"


def draw_seeds(random_state, uses):
    """Return one seed for each use; without a ``random_state``, from the system's entropy."""
    entropy = None
    if random_state is not None:
        entropy = int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
    words = np.random.SeedSequence(entropy).generate_state(len(uses))
    return {use: int(word) for use, word in zip(uses, words, strict=True)}


def reseed(estimator, seed):
    """Set each random_state of an estimator and its parts to a number that ``seed`` determines."""
    seeded = [
        key for key in sorted(estimator.get_params()) if key.split("__")[-1] == "random_state"
    ]
    return estimator.set_params(**draw_seeds(seed, seeded))


def _of_stage(stage, rows, y, positions):
    """Return the rows at ``positions`` (None: all) that take part in a stage."""
    if not stage.labeled_anomalies and (y < 0).any():
        wanted = np.flatnonzero(y >= 0)
        if positions is not None:
            wanted = np.intersect1d(wanted, positions.numpy())
        positions = torch.from_numpy(wanted)
    return rows if positions is None else rows.select(positions)
