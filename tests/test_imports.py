"""Imports point one way: what each module may know of, read from the source."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import skdeepad

ROOT = Path(skdeepad.__file__).parent

# The part of the package a module belongs to, and the parts it may import. Notices know
# of nothing, inputs and parameters of notices alone; the engine knows no method and no network;
# losses are pure functions; nothing below the detectors knows of them.
MAY_IMPORT = {
    "__init__": {"compute", "detectors", "features", "inspection", "notices"},
    "detectors": {
        "base",
        "compute",
        "deep",
        "engine",
        "inputs",
        "losses",
        "networks",
        "notices",
        "objectives",
        "occlusion",
        "parameters",
        "preparation",
        "relevance",
        "solvers",
        "stacking",
        "synthetic",
    },
    "preparation": {"augmentation", "deep", "notices", "objectives", "parameters", "synthetic"},
    "features": {"engine", "inputs", "notices", "parameters"},
    "inspection": {"base", "inputs", "occlusion"},
    "deep": {
        "base",
        "callbacks",
        "compute",
        "engine",
        "inputs",
        "networks",
        "notices",
        "parameters",
        "relevance",
    },
    "stacking": {"base", "callbacks", "engine"},
    "model_selection": {"inputs", "notices", "stacking"},
    "testing": {"base", "deep", "stacking"},
    "base": {"inputs", "notices", "occlusion", "parameters"},
    "callbacks": {"engine"},
    "compute": {"parameters"},
    "inputs": {"notices"},
    "parameters": {"notices"},
    "objectives": {"augmentation", "engine", "losses", "relevance", "synthetic"},
    "relevance": {"engine", "networks", "notices"},
    "networks": {"engine"},
    "engine": {"notices"},
    "augmentation": set(),
    "datasets": set(),
    "losses": set(),
    "notices": set(),
    "occlusion": set(),
    "solvers": set(),
    "synthetic": set(),
}
# Packages that a part must do without, wherever in its code.
MUST_NOT_IMPORT = {
    "engine": {"sklearn", "scipy", "joblib"},
    "losses": {"sklearn", "numpy"},
    "objectives": {"sklearn", "numpy"},
    "occlusion": {"torch", "sklearn"},
    "relevance": {"sklearn"},
    "networks": {"sklearn", "numpy"},
    "base": {"torch"},
    "inputs": {"torch", "sklearn"},
    "notices": {"torch", "sklearn", "numpy"},
    "parameters": {"torch"},
    "compute": {"torch", "numpy"},
    "augmentation": {"sklearn", "numpy"},
    "solvers": {"torch"},
    "datasets": {"torch"},
    "model_selection": {"torch"},
}
# Packages of extras, or too slow to import for all.
NEVER_AT_IMPORT = {
    "matplotlib",
    "pandas",
    "polars",
    "torchvision",
    "captum",
    "onnx",
    "safetensors",
    "sklearn.model_selection",
    "sklearn.metrics",
    "sklearn.datasets",
    "skdeepad.datasets",
    "skdeepad.model_selection",
    "torch._dynamo",
    "torch._inductor",
}


def name_of(path):
    """Return a module's dotted name."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py")) if "tests" not in path.parts}


def is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def nodes(tree, at_run_time):
    """Yield the nodes of a module; at run time means outside functions and TYPE_CHECKING."""
    for node in ast.iter_child_nodes(tree):
        if at_run_time and (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            or is_type_checking(node)
        ):
            continue
        yield node
        yield from nodes(node, at_run_time)


def imported(name, *, source=None, at_run_time=False):
    """Return the dotted names that a module imports; a name from a package may be its module."""
    path = MODULES.get(name)
    package = name if path is not None and path.stem == "__init__" else name.rpartition(".")[0]
    found = set()
    for node in nodes(ast.parse(source or path.read_text()), at_run_time):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                parents = parents[: len(parents) - node.level + 1]
                base = ".".join([*parents, *base.split(".")] if base else parents)
            submodules = {f"{base}.{alias.name}" for alias in node.names} & MODULES.keys()
            # The package itself is imported too, unless only modules of its are taken from it.
            found |= submodules if len(submodules) == len(node.names) else submodules | {base}
    return found


def part_of(name):
    """Return the part that a module of ours belongs to."""
    return name.split(".")[1] if "." in name else "__init__"


def arrows(name, **options):
    """Return the parts of ours that a module imports, its own apart."""
    ours = {other for other in imported(name, **options) if other.split(".")[0] == "skdeepad"}
    return {part_of(other) for other in ours} - {part_of(name)}


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_one_way(name):
    """Within functions, too: an import put off is still an arrow."""
    part = part_of(name)
    assert part in MAY_IMPORT, f"say in MAY_IMPORT what {part} may import"
    assert arrows(name) <= MAY_IMPORT[part]


def test_every_arrow_is_there():
    """What a part may import but does not is a rule that nobody needs."""
    seen = {part: set() for part in MAY_IMPORT}
    for name in MODULES:
        seen[part_of(name)] |= arrows(name)
    assert seen == MAY_IMPORT


def test_the_arrows_have_no_circle():
    order = [*TopologicalSorter(MAY_IMPORT).static_order()]
    for chain in (
        ("notices", "parameters", "compute", "deep"),
        ("notices", "inputs", "base", "deep", "preparation", "detectors", "__init__"),
        ("losses", "objectives", "detectors"),
        ("engine", "networks", "deep"),
        ("engine", "callbacks", "stacking", "model_selection"),
    ):
        assert [*chain] == sorted(chain, key=order.index)


def test_no_name_of_a_module_occurs_twice():
    """Not even with an underscore: a traceback and an open file say which one it is."""
    names = [name.rpartition(".")[2].lstrip("_") for name in MODULES]
    assert sorted(names) == sorted(set(names))


def counted_calls(source):
    """Return where a source passes ``stacklevel``, by function."""
    found = []
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef):
            calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
            words = [keyword.arg for call in calls for keyword in call.keywords]
            found += [function.name] * words.count("stacklevel")
    return found


@pytest.mark.parametrize("name", MODULES)
def test_warnings_find_the_user_s_line_by_themselves(name):
    source = MODULES[name].read_text()
    expected = ["warn"] if name == "skdeepad.notices" else []
    assert counted_calls(source) == expected
    assert source.count("stacklevel=") == len(expected)
    assert source.count("warnings.warn(") == len(expected)


@pytest.mark.parametrize("name", [name for name in MODULES if part_of(name) in MUST_NOT_IMPORT])
def test_parts_do_without_what_is_not_theirs(name):
    packages = {other.split(".")[0] for other in imported(name)}
    assert packages.isdisjoint(MUST_NOT_IMPORT[part_of(name)])


def test_modules_do_not_import_each_other_in_a_circle():
    """At module level; the names a package collects come from its own modules."""
    ours = {name: imported(name, at_run_time=True) & MODULES.keys() for name in MODULES}
    assert any(ours.values())
    TopologicalSorter(ours).prepare()  # CycleError


def test_there_is_no_utils():
    parts = {part for name in MODULES for part in name.split(".")}
    assert parts.isdisjoint({"utils", "_utils", "util", "helpers", "common", "misc"})


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import skdeepad.losses", {"losses"}),
        ("import skdeepad.losses as l", {"losses"}),
        ("from skdeepad import losses, networks", {"losses", "networks"}),
        ("from skdeepad.networks import MLP", {"networks"}),
        ("from skdeepad.networks._mlp import MLP", {"networks"}),
        ("from skdeepad import DeepSAD", {"__init__"}),
        ("from .. import losses", {"losses"}),
        ("from ..networks import MLP", {"networks"}),
        ("from .batches import Rows", set()),
        ("from . import batches", set()),
        ("def f():\n    from skdeepad.deep import DeepDetector", {"deep"}),
        ("if TYPE_CHECKING:\n    from skdeepad import losses", {"losses"}),
        ("try:\n    import skdeepad.base\nexcept ImportError: pass", {"base"}),
    ],
)
def test_no_form_of_an_import_is_overlooked(source, found):
    assert arrows("skdeepad.engine.loop", source=source) == found


def test_importing_the_package_imports_nothing_heavy_or_optional():
    """Beyond what torch and scikit-learn import themselves."""
    code = (
        "import sys, torch, sklearn; before = set(sys.modules); import skdeepad; "
        "print(*set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    new = set(done.stdout.split())
    assert {"skdeepad.deep", "skdeepad.parameters"} <= new
    assert new.isdisjoint(NEVER_AT_IMPORT)
