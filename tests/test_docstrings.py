"""Every public name is documented: its parameters as they are, what it returns, an example."""

import doctest
import importlib
import inspect
import re
from pathlib import Path

import pytest
from numpydoc.docscrape import ClassDoc, FunctionDoc
from numpydoc.validate import validate
from sklearn.base import BaseEstimator

# All of what these export is public, and listed in the reference; of others, what is listed there.
MODULES = ["skdeepad", "skdeepad.datasets", "skdeepad.model_selection", "skdeepad.synthetic"]
REFERENCE = Path(__file__).parents[1] / "docs" / "api" / "index.rst"

# What numpydoc calls its findings: parameters that are missing, unknown, in another order, without
# a type or a description; returned values without any; no summary; no example.
FINDINGS = {"GL08", "SS01", "SS03", "PR01", "PR02", "PR03", "PR04", "PR07", "PR10"}
FINDINGS |= {"RT01", "RT03", "YD01", "EX01"}
FOR_METHODS = FINDINGS - {"EX01"}


def listed():
    """Return {module: names} of the reference."""
    found = {}
    for line in REFERENCE.read_text().splitlines():
        if line.startswith(".. currentmodule:: "):
            names = found.setdefault(line.split()[-1], [])
        elif re.fullmatch(r" +\w+", line):
            names.append(line.strip())
    return found


def public():
    """Return {full name: object} of the classes and functions in the reference."""
    found = {}
    for module_name, names in LISTED.items():
        for name in names:
            value = getattr(importlib.import_module(module_name), name)
            if inspect.isclass(value) or inspect.isroutine(value):
                found[f"{module_name}.{name}"] = value
    return found


def methods():
    """Return {full name: function} of public methods that this package defines.

    But for the parts of detectors: a sentence says what each of their methods does.
    """
    found = {}
    for full_name, cls in public().items():
        if not inspect.isclass(cls) or full_name.rpartition(".")[0] not in MODULES:
            continue
        for name, method in inspect.getmembers(cls, inspect.isroutine):
            function = inspect.unwrap(getattr(method, "__func__", method))
            ours = (getattr(function, "__module__", None) or "").startswith("skdeepad")
            if ours and not name.startswith("_"):
                found[f"{full_name}.{name}"] = method
    return found


LISTED = listed()
PUBLIC, METHODS = public(), methods()
# A warning category is not called by a user; its docstring says when it comes.
NOT_WARNINGS = [
    name
    for name, thing in PUBLIC.items()
    if not (inspect.isclass(thing) and issubclass(thing, Warning))
]
ESTIMATORS = [
    name
    for name, value in PUBLIC.items()
    if inspect.isclass(value) and issubclass(value, BaseEstimator)
]


def findings(full_name, wanted):
    return [f"{code}: {text}" for code, text in validate(full_name)["errors"] if code in wanted]


def test_the_lists_are_not_empty():
    assert {"skdeepad.DeepSAD", "skdeepad.datasets.load_odds"} <= set(PUBLIC)
    assert {"skdeepad.DeepSAD.fit", "skdeepad.AutoEncoder.transform"} <= set(METHODS)
    assert "skdeepad.model_selection.LabeledStratifiedKFold.split" in METHODS
    assert {"skdeepad.losses.deep_sad", "skdeepad.networks.MLP"} <= set(PUBLIC)
    assert {"skdeepad.parameters.parameter", "skdeepad.notices.warn"} <= set(PUBLIC)


@pytest.mark.parametrize("module_name", MODULES)
def test_what_a_module_exports_is_in_the_reference(module_name):
    assert sorted(LISTED[module_name]) == sorted(importlib.import_module(module_name).__all__)


@pytest.mark.parametrize("module_name", LISTED)
def test_modules_are_described(module_name):
    assert importlib.import_module(module_name).__doc__.strip()


@pytest.mark.parametrize("full_name", NOT_WARNINGS)
def test_public_names_are_documented(full_name):
    assert findings(full_name, FINDINGS) == []


@pytest.mark.parametrize("full_name", METHODS)
def test_public_methods_are_documented(full_name):
    assert findings(full_name, FOR_METHODS) == []


def described(section):
    """Return the names a section describes, in order, without the stars of *args."""
    return [
        name.strip().lstrip("*")
        for parameter in section
        for name in parameter.name.split(",")
        if name.strip()
    ]


def signature_names(function):
    return [name for name in inspect.signature(function).parameters if name not in {"self", "cls"}]


@pytest.mark.parametrize("full_name", [*PUBLIC, *METHODS])
def test_documented_parameters_are_those_of_the_signature(full_name):
    value = {**PUBLIC, **METHODS}[full_name]
    if inspect.isclass(value) and issubclass(value, Warning):
        return  # it takes whatever an exception takes
    doc = ClassDoc(value) if inspect.isclass(value) else FunctionDoc(value)
    assert described(doc["Parameters"]) == signature_names(value)
    assert described(doc["Other Parameters"]) == []


# They tell of places.
OF_PLACES = {"skdeepad.parameters.Parametrized", "skdeepad.parameters.parameter"}


@pytest.mark.parametrize(
    "full_name", [name for name in (*PUBLIC, *METHODS) if name not in OF_PLACES]
)
def test_no_place_is_left_unfilled(full_name):
    doc = inspect.getdoc({**PUBLIC, **METHODS}[full_name])
    # {name} alone or doubled braces; LaTeX has its braces behind a word, a sign or another brace.
    assert re.findall(r"(?<![\\\w^}])\{[a-z][a-z_]*\}", doc) == []
    assert re.findall(r"\{\{\"|\"\}\}", doc) == []


@pytest.mark.parametrize("full_name", NOT_WARNINGS)
def test_examples_use_what_they_are_of(full_name):
    doc = inspect.getdoc(PUBLIC[full_name])
    examples = doctest.DocTestParser().get_examples(doc)
    assert examples
    assert any(full_name.rpartition(".")[2] in example.source for example in examples)


@pytest.mark.parametrize("full_name", ESTIMATORS)
def test_fitted_attributes_are_documented_with_an_underscore(full_name):
    cls = PUBLIC[full_name]
    doc = ClassDoc(cls)
    # numpydoc takes a default of None for a property.
    names = [
        name for name in described(doc["Attributes"]) if name not in described(doc["Parameters"])
    ]
    properties = {name for name, _ in inspect.getmembers(cls, lambda v: isinstance(v, property))}
    assert all(name.endswith("_") or name in properties for name in names)
    assert len(names) == len(set(names))
    if hasattr(cls, "fit_predict"):
        assert {"offset_", "n_features_in_"} <= set(names)


@pytest.mark.filterwarnings("ignore:.*learns from labeled anomalies:skdeepad.LabelWarning")
@pytest.mark.filterwarnings("ignore:X is a table, and CVDD takes")
def test_attributes_of_a_fitted_detector_are_the_documented_ones():
    # Checked on each detector, with what it has only sometimes left out of the demand.
    from conftest import DETECTORS, quick, table

    X, _ = table()
    for name, (cls, _) in DETECTORS.items():
        fitted = {
            key for key in vars(quick(name).fit(X)) if key.endswith("_") and not key.startswith("_")
        }
        documented = set(described(ClassDoc(cls)["Attributes"]))
        assert fitted <= documented, name
        sometimes = {"feature_names_in_", "radius_", "reference_", "word_vectors_"}
        assert documented - fitted <= sometimes, name
