"""Types are true: what is documented checks, what is wrong does not, and nearly all is typed."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import documented_calls
import pytest

import skdeepad
from skdeepad import CollapseWarning, LabelWarning

ROOT = Path(skdeepad.__file__).parents[1]
# Classes whose base classes are scikit-learn's, which have no types, count as incomplete, and so
# do inherited parameters with another default. 94% is what is left.
LEAST_COMPLETE = 0.9


def pyright(*arguments, folder):
    """Run the checker and return what it says, as a dict."""
    pytest.importorskip("basedpyright", reason="basedpyright, of the extra 'test', is missing")
    # It asks the first Python on the path where packages are.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--outputjson", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return json.loads(done.stdout)


def errors(told):
    return [
        f"{each['range']['start']['line'] + 1}: {each['message']}"
        for each in told["generalDiagnostics"]
        if each["severity"] == "error"
    ]


@pytest.mark.slow
def test_documented_calls_run():
    with warnings.catch_warnings():
        for category in (LabelWarning, CollapseWarning):
            warnings.simplefilter("ignore", category)
        documented_calls.main()


@pytest.mark.slow
def test_documented_calls_are_no_errors():
    """With the settings of pyproject.toml; mypy checks the same file, as README has it."""
    told = pyright(folder=Path(__file__).parents[1])
    assert told["summary"]["filesAnalyzed"] == 1
    assert errors(told) == []


@pytest.mark.slow
def test_wrong_calls_are_errors(tmp_path):
    """mypy overlooks some of these: to it scikit-learn's base classes may be anything."""
    wrong = {
        "DeepSAD(n_epoch=5)": "n_epoch",
        "DeepSVDD('hard-boundary')": "hard-boundary",
        "DeepSVDD(augment='standard')": "augment",
        "AGAD(network=nn.Linear(1, 1))": "network",
        "DeepSAD().fit([[1.0]]).predicts([[1.0]])": "predicts",
        "DeepSAD().fit([[1.0]]).score([[1.0]], [1]).mean()": "mean",
    }
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "standard"}')
    imports = ["from torch import nn", "from skdeepad import AGAD, DeepSAD, DeepSVDD"]
    source = "\n".join([*imports, *wrong])
    (tmp_path / "calls.py").write_text(source + "\n")
    found = errors(pyright("calls.py", folder=tmp_path))
    assert len(found) == len(wrong)
    for number, (told, said) in enumerate(zip(found, wrong.values(), strict=True)):
        assert told.startswith(f"{number + 3}: ") and said in told


@pytest.mark.slow
def test_nearly_all_public_names_have_types(tmp_path):
    told = pyright("--verifytypes", "skdeepad", "--ignoreexternal", folder=tmp_path)
    completeness = told["typeCompleteness"]
    assert completeness["packageRootDirectory"] == str(ROOT / "skdeepad")
    assert len(completeness["symbols"]) > 800
    assert completeness["completenessScore"] >= LEAST_COMPLETE
