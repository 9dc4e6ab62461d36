"""Parameters are declared once, as typed fields: what a class makes of its declarations."""

import copy
import inspect
import pickle
import warnings
from dataclasses import MISSING, dataclass
from numbers import Integral, Real
from typing import ClassVar, Literal

import numpy as np
import pytest
from conftest import CLASSES, quick, table
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils._param_validation import Interval, InvalidParameterError, StrOptions

import skdeepad
from skdeepad import (
    AGAD,
    HSC,
    Compute,
    DeepEnsemble,
    DeepSAD,
    DeepSVDD,
    EarlyStopping,
    HybridDetector,
    Pretraining,
)
from skdeepad.base import BaseDetector
from skdeepad.parameters import Parametrized, in_words, parameter

X, Y = table()


def names(cls):
    return list(inspect.signature(cls).parameters)


def by_position(cls):
    """Return the parameters that need no keyword."""
    kinds = inspect.signature(cls).parameters.items()
    return [name for name, each in kinds if each.kind is not each.KEYWORD_ONLY]


class Shape(Parametrized):
    """A shape.

    Parameters
    ----------
    {parameters}
    """

    color: str = parameter(default="red", constraint=[StrOptions({"red", "blue"})], doc="Hue.")
    n_sides: int = parameter(default=3, constraint=[Integral], doc="Number of {what}.")
    _what = "sides"


class Square(Shape):
    """A square.

    Parameters
    ----------
    {parameters}
    """

    side: float = parameter(
        default=1.0, constraint=[Interval(Real, 0, None, closed="neither")], kw_only=False, doc="a"
    )
    rounded: bool = False
    n_sides = 4
    _what = "equal sides"


# Signatures


def test_a_class_s_own_parameters_come_first_and_then_those_above():
    assert names(Shape) == ["color", "n_sides"]
    assert names(Square) == ["side", "rounded", "color", "n_sides"]
    assert list(Square().get_params()) == sorted(names(Square))


@pytest.mark.parametrize("cls", CLASSES)
def test_the_parameter_of_all_detectors_comes_last(cls):
    assert names(cls)[-1] == "contamination"


def test_what_a_detector_is_about_comes_first():
    assert names(DeepSAD)[:2] == ["eta", "anomaly_fraction"]
    assert names(HSC)[:2] == ["radial", "eta"]
    # The longest list that a user has to read.
    assert max(len(names(cls)) for cls in CLASSES) == len(names(HSC)) == 25


def test_only_what_is_said_to_may_be_passed_by_position():
    assert by_position(Shape) == []
    assert by_position(Square) == ["side"]
    assert Square(2.0).side == 2.0
    assert DeepSAD(3.0).eta == 3.0
    with pytest.raises(TypeError, match="positional"):
        Square(2.0, True)


def test_positions_of_a_base_class_stay_what_they_are():
    class Rectangle(Square):
        other: float = parameter(default=5.0, kw_only=False)

    assert by_position(Rectangle) == ["side", "other"]
    made = Rectangle(2.0, 3.0)
    assert (made.side, made.other) == (2.0, 3.0)


@pytest.mark.parametrize("cls", [*CLASSES, Square, Compute, EarlyStopping, Pretraining])
def test_the_signature_tells_what_init_does(cls):
    marks = {name: object() for name in by_position(cls)}
    made = cls(*marks.values())
    assert all(getattr(made, name) is mark for name, mark in marks.items())
    for name, each in inspect.signature(cls).parameters.items():
        assert getattr(cls(), name) is each.default


# Defaults


def test_a_plain_assignment_gives_an_inherited_parameter_another_default():
    assert Square().n_sides == 4
    assert inspect.signature(Square).parameters["n_sides"].default == 4
    assert Shape().n_sides == 3  # the one above is left alone
    assert repr(Square()) == "Square()"
    assert repr(Square(n_sides=3)) == "Square(n_sides=3)"
    assert Square._parameter_constraints["n_sides"] == [Integral]

    class Tilted(Square):
        pass

    assert Tilted().n_sides == 4


def test_a_parameter_may_be_declared_anew():
    class Polygon(Shape):
        n_sides: str = parameter(default="many", constraint=[str], doc="A word.")

    assert names(Polygon) == ["color", "n_sides"]
    assert Polygon().n_sides == "many"
    assert Polygon._parameter_constraints["n_sides"] == [str]
    assert Shape._parameter_constraints["n_sides"] == [Integral]


def test_mutable_defaults_are_refused():
    with pytest.raises(ValueError, match="mutable default"):

        class Wrong(Shape):
            sides: dict = {}


def test_a_class_variable_takes_a_parameter_away():
    class Circle(Shape):
        n_sides: ClassVar[None] = None

    assert names(Circle) == ["color"]
    assert list(Circle().get_params()) == ["color"]
    assert Circle().n_sides is None
    assert list(Circle._parameter_constraints) == ["color"]
    with pytest.raises(TypeError, match="n_sides"):
        Circle(n_sides=3)
    with pytest.raises(ValueError, match="Invalid parameter 'n_sides'"):
        Circle().set_params(n_sides=3)
    assert "network" not in names(AGAD)

    class Disc(Circle):
        thick: bool = False

    assert names(Disc) == ["thick", "color"]
    assert "network" not in names(type("Below", (AGAD,), {}))


def test_annotations_may_be_strings():
    """As they are in modules with ``from __future__ import annotations``."""
    kinds = {"more": "int | None", "n_sides": "ClassVar[None]", "_side": "ClassVar[int]"}
    values = {"more": None, "n_sides": None, "_side": 3, "__module__": __name__}
    made = type("Made", (Shape,), {**values, "__annotations__": kinds})
    assert names(made) == ["more", "color"]
    assert repr(made(more=2)) == "Made(more=2)"


@pytest.mark.parametrize("name", ["_side", "side_"])
def test_what_is_annotated_has_a_parameter_s_name(name):
    with pytest.raises(TypeError, match=rf"Wrong.{name} is annotated.*Leave out the annotation"):
        type("Wrong", (Shape,), {"__annotations__": {name: int}, name: 1})
    # Without an annotation, or as ClassVar, it is a setting of the class.
    made = type("Right", (Shape,), {"__annotations__": {name: ClassVar[int]}, name: 1})
    assert names(made) == names(Shape)
    assert names(type("Right", (Shape,), {name: 1})) == names(Shape)


def test_annotated_constraints_are_refused():
    """As in some of scikit-learn's classes, where they are no parameter."""
    with pytest.raises(TypeError, match="_parameter_constraints is annotated"):

        class Wrong(Shape):
            _parameter_constraints: dict = {**Shape._parameter_constraints}


# Several base classes


class Top(Parametrized):
    one: int = parameter(default=1, constraint=[Integral], doc="of Top")
    two: int = 2


class Inherits(Top):
    """Has a parameter of its own, and those of Top by inheritance alone."""

    three: int = 3


class Restates(Top):
    one: str = parameter(default="one", constraint=[str], doc="of Restates")
    two = 22


@pytest.mark.parametrize("bases", [(Inherits, Restates), (Restates, Inherits)], ids=str)
def test_what_a_class_has_by_inheritance_alone_does_not_win(bases):
    """Python's own order of classes: Top comes last."""
    both = type("Both", bases, {})
    assert (both.one, both.two, both.three) == ("one", 22, 3)
    assert both().get_params() == {"one": "one", "two": 22, "three": 3}
    assert both._parameter_constraints["one"] == [str]
    told = type("Told", (both,), {"__doc__": "    {parameters}"})
    assert "of Restates" in told.__doc__
    assert "of Top" not in told.__doc__


class Drops(Top):
    one: ClassVar[None] = None


@pytest.mark.parametrize("bases", [(Inherits, Drops), (Drops, Inherits)], ids=str)
def test_what_one_base_takes_away_stays_away(bases):
    both = type("Both", bases, {})
    assert both.one is None
    assert both().get_params() == {"two": 2, "three": 3}
    assert "one" not in names(type("Below", (both,), {}))
    assert type("Back", (both,), {"__annotations__": {"one": int}, "one": 7})(one=8).one == 8


def test_of_two_that_state_it_the_first_wins():
    class Again(Top):
        two = 222

    class Both(Again, Restates):
        pass

    class Other(Restates, Again):
        pass

    assert (Both().two, Other().two) == (222, 22)
    assert (Both().one, Other().one) == ("one", "one")


def test_a_mixin_s_defaults_go_before_those_of_what_it_is_mixed_into():
    class Wide(DeepSAD):
        n_branches = 2

    class Slow(DeepSAD):
        lr = 1e-5

    class Both(Wide, Slow):
        eta = 7.0

    made = Both()
    assert (made.eta, made.n_branches, made.lr) == (7.0, 2, 1e-5)


# An __init__ that somebody has written


class Written(BaseDetector):
    """As scikit-learn's estimators are written."""

    _parameter_constraints = {"k": [Interval(Integral, 1, None, closed="left")]}

    def __init__(self, k=2):
        self.k = k

    def _fit(self, X, y):
        self.mean_ = X.mean(0)

    def _anomaly_score(self, X):
        return (np.abs(X - self.mean_) ** self.k).sum(1)


def test_an_init_that_is_written_is_kept():
    assert names(Written) == ["k"]
    assert Written(3).k == 3
    assert Written().get_params() == {"k": 2}
    assert Written().contamination == 0.1  # what it does not take has its default
    assert repr(clone(Written(5))) == "Written(k=5)"
    with pytest.raises(InvalidParameterError, match="'k' parameter of Written"):
        Written(0).fit(X)

    class Below(Written):
        pass

    assert names(Below) == ["k"]


def test_an_init_that_is_written_may_call_the_one_above():
    class Fixed(DeepSAD):
        def __init__(self, eta=2.0, random_state=None):
            super().__init__(eta, random_state=random_state, n_epochs=1)

    made = Fixed(3.0, random_state=0)
    assert (made.eta, made.n_epochs, made.lr) == (3.0, 1, DeepSAD().lr)
    assert clone(made).fit(X, Y).get_params() == {"eta": 3.0, "random_state": 0}


def test_an_init_and_declarations_are_one_too_many():
    with pytest.raises(TypeError, match="Wrong has an __init__ of its own.*declares margin"):

        class Wrong(BaseDetector):
            margin: float = 1.0

            def __init__(self, margin=1.0):
                self.margin = margin

    with pytest.raises(TypeError, match="or inherits one, and declares margin"):

        class AlsoWrong(Written):
            margin: float = 1.0


# A detector with fields and no more


class Distance(BaseDetector):
    """Distance to the mean, less a margin.

    Parameters
    ----------
    {parameters}
    """

    margin: float = 1.0
    power: int = parameter(default=2, constraint=[Interval(Integral, 1, None, closed="left")])

    def _fit(self, X, y):
        self.mean_ = X[y >= 0].mean(0)

    def _anomaly_score(self, X):
        return (np.abs(X - self.mean_) ** self.power).sum(1) - self.margin


def test_a_detector_needs_no_more_than_fields():
    detector = Distance(margin=3.0)
    assert names(Distance) == ["margin", "power", "contamination"]
    assert detector.get_params() == {"contamination": 0.1, "margin": 3.0, "power": 2}
    assert repr(detector) == "Distance(margin=3.0)"
    assert vars(detector) == {"contamination": 0.1, "margin": 3.0, "power": 2}
    other = clone(detector).set_params(power=3)
    assert (other.margin, other.power, detector.power) == (3.0, 3, 2)
    detector.fit(X, Y)
    assert repr(detector) == "Distance(margin=3.0)"
    assert not hasattr(clone(detector), "mean_")
    loaded = pickle.loads(pickle.dumps(detector))
    assert loaded.get_params() == detector.get_params()
    assert_array_equal(loaded.score_samples(X), detector.score_samples(X))
    with pytest.raises(InvalidParameterError, match="'power' parameter of Distance"):
        Distance(power=0).fit(X)
    assert Distance(margin="far").margin == "far"  # without a constraint nothing is checked


def test_detectors_are_equal_only_to_themselves():
    """A dataclass would compare parameters, and could not be in a set."""
    assert Distance() != Distance()
    assert len({Distance(), Distance()}) == 2


@dataclass(eq=False, repr=False, kw_only=True)
class ByHand(BaseDetector):
    """Made a dataclass by hand as well."""

    margin: float = 1.0

    _fit = Distance._fit
    _anomaly_score = Distance._anomaly_score
    power = 2


def test_dataclass_by_hand_does_no_harm():
    detector = ByHand(margin=3.0)
    assert set(names(ByHand)) == {"margin", "contamination"}
    assert repr(clone(detector)) == "ByHand(margin=3.0)"
    detector.fit(X, Y)
    assert_array_equal(detector.score_samples(X), Distance(margin=3.0).fit(X, Y).score_samples(X))

    class Below(ByHand):
        other: int = 0
        margin = 9.0

    assert names(Below)[0] == "other"
    assert repr(Below(other=1)) == "Below(other=1)"
    assert Below().margin == 9.0


# Constraints


def test_constraints_may_be_stated_as_scikit_learn_does():
    class Stated(Distance):
        _parameter_constraints = {"margin": [Interval(Real, 0, 5, closed="both")]}

    class Below(Stated):
        other: int = 0

    for cls in (Stated, Below):
        cls(margin=5.0).fit(X)
        with pytest.raises(InvalidParameterError, match="'margin' parameter"):
            cls(margin=6.0).fit(X)
        with pytest.raises(InvalidParameterError, match="'power' parameter"):  # the field's
            cls(power=0).fit(X)
    Distance(margin=6.0).fit(X)


def test_stated_constraints_go_before_those_that_are_inherited():
    class Narrow(Distance):
        _parameter_constraints = {
            **Distance._parameter_constraints,
            "power": [Interval(Integral, 1, 2, closed="both")],
        }

    Narrow(power=2).fit(X)
    with pytest.raises(InvalidParameterError, match="'power' parameter"):
        Narrow(power=3).fit(X)
    Distance(power=3).fit(X)


def test_a_parameter_declared_anew_by_a_value_keeps_what_is_known_of_it():
    class Other(DeepSAD):
        eta: float = 3.0

    assert Other(2.0).eta == 2.0 and Other().eta == 3.0
    assert Other._parameter_constraints["eta"] == DeepSAD._parameter_constraints["eta"]
    with pytest.raises(ValueError, match="'eta' parameter of Other"):
        Other(-1.0).fit(X)


def test_a_parameter_declared_anew_in_full_is_another_one():
    class Free(Distance):
        power: float = parameter(default=2.0)

    Free(power=0.5).fit(X)
    assert "power" not in Free._parameter_constraints


def test_misleading_declarations_are_refused():
    class Plain:
        margin: int = 4

    with pytest.raises(TypeError, match=r"inherits margin from Plain.*Plain\(Parametrized\)"):

        class Mixed(Plain, DeepSAD):
            pass

    with pytest.raises(TypeError, match="eta = parameter.* has no type"):

        class Untyped(DeepSAD):
            eta = parameter(default=5.0)

    with pytest.raises(TypeError, match="there is a method of that name"):

        class Shadowing(DeepSAD):
            fit: int = 3

    with pytest.raises(ValueError, match="Pass early_stopping=True"):
        DeepSAD().set_params(early_stopping__tol=1.0)


# Docstrings


def test_documentation_is_generated():
    lines = [line.rstrip() for line in inspect.getdoc(Square).splitlines()]
    assert lines[3:] == [
        "----------",
        "side : float, default=1.0",
        "    a",
        "rounded : bool, default=False",
        "",
        'color : str, default="red"',
        "    Hue.",
        "n_sides : int, default=4",
        "    Number of equal sides.",
    ]


def test_documentation_is_wrapped_and_says_each_class_s_own():
    assert "Number of sides." in Shape.__doc__
    assert "default=3" in Shape.__doc__
    assert max(len(line) for line in HSC.__doc__.splitlines()) <= 100
    assert "Each has a loss of its own" in " ".join(HSC.__doc__.split())
    assert "Each has a loss of its own" not in " ".join(DeepSAD.__doc__.split())


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int, "int"),
        ("float | None", "float or None"),
        (float | None, "float or None"),
        (Literal["a", "b"], '{"a", "b"}'),
        ('bool | Literal["auto"]', 'bool or "auto"'),
        ("Sequence[int] | None", "Sequence of int or None"),
        ('int | Literal["a", "b"] | None', 'int or {"a", "b"} or None'),
        ("tuple[int, ...]", "tuple of int"),
    ],
)
def test_annotations_in_words(annotation, words):
    assert in_words(annotation) == words


# Parts


def test_a_parameter_of_a_part_makes_what_stands_for_it_a_part():
    detector = DeepSAD()
    detector.set_params(compute__precision="bfloat16", compute__stream=True)
    assert repr(detector.compute) == "Compute(precision='bfloat16', stream=True)"
    detector.set_params(compute__stream=False)
    assert repr(detector.compute) == "Compute(precision='bfloat16', stream=False)"
    assert DeepSAD().compute is None
    assert DeepSAD().set_params(compute=None, compute__stream=True).compute.stream is True
    given = Compute(cuda_graph=True)
    detector = DeepSAD().set_params(compute=given, compute__stream=True)
    assert detector.compute is given
    assert (given.cuda_graph, given.stream) == (True, True)


@pytest.mark.parametrize("value", [True, np.True_])
def test_early_stopping_that_is_true_has_parameters(value):
    detector = DeepSAD(early_stopping=value).set_params(early_stopping__tol=0.1)
    assert repr(detector.early_stopping) == "EarlyStopping(tol=0.1)"
    detector = DeepSAD().set_params(early_stopping=value, early_stopping__tol=0.1)
    assert repr(detector.early_stopping) == "EarlyStopping(tol=0.1)"


@pytest.mark.parametrize("value", [False, np.False_])
def test_early_stopping_that_is_false_has_none(value):
    for change in ({}, {"early_stopping": value}):
        detector = DeepSAD(early_stopping=value)
        message = "early_stopping__tol is a parameter of .* early_stopping is .*False"
        with pytest.raises(ValueError, match=message):
            detector.set_params(early_stopping__tol=0.1, lr=0.5, **change)
        assert detector.early_stopping is value
        assert detector.lr == DeepSAD().lr


def test_a_part_has_no_parameters_but_its_own():
    with pytest.raises(ValueError, match="Invalid parameter 'speed' for estimator Compute"):
        DeepSAD().set_params(compute__speed=9)


def test_parts_of_parts():
    ensemble = DeepEnsemble(DeepSAD()).set_params(estimator__compute__stream=True)
    assert ensemble.estimator.compute.stream is True
    hybrid = HybridDetector(autoencoder=skdeepad.AutoEncoder(early_stopping=True))
    hybrid.set_params(autoencoder__early_stopping__n_iter_no_change=3)
    assert hybrid.autoencoder.early_stopping.n_iter_no_change == 3


def test_parts_are_cloned():
    parts = {"compute": Compute(stream=True), "early_stopping": EarlyStopping(tol=0.1)}
    detector = DeepSAD(**parts, pretraining=Pretraining(lr=0.1))
    changes = {"compute__stream": False, "early_stopping__tol": 0.2, "pretraining__lr": 0.2}
    other = clone(detector).set_params(**changes)
    assert detector.compute.stream is True
    assert detector.early_stopping.tol == 0.1
    assert detector.pretraining.lr == 0.1
    assert other.compute.stream is False


def test_parts_of_paper_settings_belong_to_one_detector():
    one, other = DeepSVDD.with_paper_settings(), DeepSVDD.with_paper_settings()
    one.set_params(pretraining__n_epochs=350, pretraining__lr_schedule=(250,))
    assert other.get_params()["pretraining__n_epochs"] == 150
    assert repr(DeepSVDD.with_paper_settings().pretraining) == (
        "Pretraining(lr=0.0001, n_epochs=150)"
    )
    assert clone(one).get_params()["pretraining__lr_schedule"] == (250,)


def test_a_search_over_parameters_of_parts():
    grid = {"early_stopping__n_iter_no_change": [1, 2], "compute__stream": [True]}
    detector = quick("DeepSAD", early_stopping=True, n_epochs=1)
    search = GridSearchCV(detector, grid, cv=2, scoring=lambda *args: 0.0).fit(X)
    assert search.best_estimator_.early_stopping.n_iter_no_change == 1
    assert search.best_estimator_.compute.stream is True
    assert detector.compute is None
    assert detector.early_stopping is True


# Pickles


@pytest.mark.parametrize("name", ["DeepSAD", "HybridDetector", "SSAD", "DeepEnsemble"])
@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize(
    "again", [lambda made: pickle.loads(pickle.dumps(made)), copy.copy, copy.deepcopy, clone]
)
@pytest.mark.filterwarnings("ignore:.*does not learn from labels:skdeepad.LabelWarning")
def test_copies_are_not_warned_of(name, fitted, again):
    made = quick(name)
    if fitted:
        made.fit(X, Y)
    other = again(made)  # a warning is an error here
    assert repr(other.get_params()) == repr(made.get_params())
    if fitted and again is not clone:
        assert_array_equal(other.score_samples(X), made.score_samples(X))


@pytest.mark.parametrize("again", [lambda made: pickle.loads(pickle.dumps(made)), copy.copy])
def test_what_a_written_init_does_not_take_is_not_missed(again):
    made = Written(3).fit(X)
    other = again(made)  # a warning is an error here
    assert vars(other).keys() == vars(made).keys()


def edited(estimator, **changes):
    """Return an estimator from a state that is another one; MISSING leaves out an entry."""
    state = {**estimator.__getstate__(), **changes}
    made = object.__new__(type(estimator))
    made.__setstate__({key: value for key, value in state.items() if value is not MISSING})
    return made


def test_a_pickle_of_another_version_is_warned_of():
    with pytest.warns(UserWarning, match=r"was saved with skdeepad 9\.9, and this is") as told:
        other = edited(DeepSAD(eta=3.0), _versions={"skdeepad": "9.9"})
    assert other.eta == 3.0
    assert skdeepad.__version__ in str(told[0].message)
    assert "taken from the defaults" not in str(told[0].message)
    assert {each.filename for each in told} == {__file__}


def test_parameters_that_a_pickle_lacks_are_named_and_have_their_defaults():
    detector = DeepSAD(eta=3.0, weight_decay=0.5, anomaly_fraction=0.2)
    with pytest.warns(UserWarning, match=r"skdeepad 0\.0, .*: weight_decay=1e-06\. .*Fit it anew"):
        other = edited(detector, weight_decay=MISSING, _versions={"skdeepad": "0.0"})
    assert vars(other)["weight_decay"] == 1e-6
    assert (other.eta, other.anomaly_fraction) == (3.0, 0.2)
    with pytest.warns(UserWarning, match="weight_decay=1e-06"):
        edited(detector, weight_decay=MISSING)
    with pytest.warns(UserWarning, match="an unknown version"):
        edited(detector, _versions=MISSING)


def test_the_version_is_no_attribute():
    made = pickle.loads(pickle.dumps(DeepSAD()))
    assert "_versions" not in vars(made)
    assert vars(made) == vars(DeepSAD())


def test_a_part_tells_of_its_version_too():
    state = pickle.dumps(Compute(stream=True))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        pickle.loads(state.replace(skdeepad.__version__.encode(), b"9" * len(skdeepad.__version__)))
    assert "Compute was saved with skdeepad 9999" in str(told[0].message)
