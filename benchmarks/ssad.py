"""Time to solve SSAD against OneClassSVM and a dense interior-point solver, in one run.

Run as ``python -m benchmarks ssad`` with ODDS's shuttle in ``SKDEEPAD_DATA`` and matplotlib and
cvxopt installed (``pip install cvxopt``; it is not used by the package). Writes
``benchmarks/results/ssad.json`` and a plot of growth with the number of rows,
``docs/evidence/ssad.png``.

Rows are standardized normal rows of shuttle, without labels, so that all solve the same problem:
OneClassSVM with its default tolerance, SSAD with the coarsest of a few tolerances that misses the
optimality conditions by no more than OneClassSVM's solution does, and SSAD with its default. SSAD
is also fitted with 1% labeled anomalies. Fits alternate; medians of their times are compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import sklearn
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from benchmarks.overhead import alternate, paired_ratio
from skdeepad import SSAD
from skdeepad.datasets import load_odds

RESULTS = Path(__file__).parent / "results"
TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)


def rows_of_shuttle(n, share_anomalies=0.0):
    """Return n standardized rows and labels, a share of them labeled anomalies."""
    X, truth = load_odds("shuttle", return_X_y=True)
    rng = np.random.default_rng(0)
    n_anomalies = round(share_anomalies * n)
    anomalies = rng.permutation(np.flatnonzero(truth < 0))[:n_anomalies]
    normal = rng.permutation(np.flatnonzero(truth > 0))[: n - n_anomalies]
    X = StandardScaler().fit(X[normal]).transform(X[np.r_[normal, anomalies]])
    return X, np.where(np.arange(n) < len(normal), 0, -1)


def violation(X, nu, support, coefficients):
    """Return by how much a one-class SVM's coefficients (sum 1) miss the optimality conditions."""
    f = rbf_kernel(X, X[support], gamma=1 / X.shape[1]) @ coefficients
    alpha = np.zeros(len(X))
    alpha[support] = coefficients
    highest = 1 / (nu * len(X)) * (1 - 1e-9)
    return max(0.0, f[alpha > 0].max() - f[alpha < highest].min())


def compare(n, nu, blocks):
    """Return times of fits and their ratios to OneClassSVM's."""
    X, _ = rows_of_shuttle(n)
    X_labeled, y = rows_of_shuttle(n, 0.01)
    settings = {"nu": nu, "gamma": 1 / X.shape[1]}
    svm = OneClassSVM(**settings).fit(X)
    missed = {"OneClassSVM": violation(X, nu, svm.support_, svm.dual_coef_[0] / (nu * n))}
    for tol in TOLERANCES:
        ours = SSAD(tol=tol, **settings).fit(X)
        missed["SSAD"] = violation(X, nu, ours.support_, ours.dual_coef_[0])
        if missed["SSAD"] <= missed["OneClassSVM"]:
            break
    contenders = {
        "OneClassSVM": lambda: OneClassSVM(**settings).fit(X),
        "SSAD": lambda: SSAD(tol=tol, **settings).fit(X),
        "SSAD, default tol": lambda: SSAD(**settings).fit(X),
        "SSAD, 1% labeled anomalies": lambda: SSAD(tol=tol, **settings).fit(X_labeled, y),
    }
    seconds = alternate(contenders, blocks)
    return {
        "n": n,
        "nu": nu,
        "tol": tol,
        "missed": missed,
        "seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "over OneClassSVM": {
            name: paired_ratio(seconds, name, "OneClassSVM") for name in contenders
        },
    }


def interior_point(X, y, costs, kappa, gamma):
    """Solve the same dual with cvxopt's dense interior-point solver."""
    from cvxopt import matrix, solvers

    signs = np.where(y < 0, -1.0, 1.0)
    n = len(y)
    bounds = np.r_[-np.eye(n), np.eye(n), -(y != 0).astype(float)[None]]
    solution = solvers.qp(
        matrix(rbf_kernel(X, gamma=gamma) * np.outer(signs, signs)),
        matrix(np.zeros(n)),
        matrix(bounds),
        matrix(np.r_[np.zeros(n), costs, -kappa]),
        matrix(signs[None]),
        matrix(1.0),
        options={"show_progress": False},
    )
    return np.ravel(solution["x"]) * signs


def against_interior_point(n, nu=0.1):
    """Return times of one fit each with 1% labeled anomalies, and the objectives reached."""
    X, y = rows_of_shuttle(n, 0.01)
    gamma = 1 / X.shape[1]
    costs = np.where(y == 0, 1 / (nu * (y == 0).sum()), 1 / (nu * (y < 0).sum()))
    K = rbf_kernel(X, gamma=gamma)
    times, objectives = {}, {}
    start = time.perf_counter()
    beta = interior_point(X, y, costs, 1.0, gamma)
    times["cvxopt"] = time.perf_counter() - start
    objectives["cvxopt"] = float(beta @ K @ beta / 2)
    fits = alternate({"SSAD": lambda: SSAD(gamma=gamma, nu=nu).fit(X, y)}, 5)
    times["SSAD"] = statistics.median(fits["SSAD"])
    ours = SSAD(gamma=gamma, nu=nu).fit(X, y)
    beta, support = ours.dual_coef_[0], ours.support_
    objectives["SSAD"] = float(beta @ K[np.ix_(support, support)] @ beta / 2)
    return {
        "n": n,
        "seconds": times,
        "dual objective": objectives,
        "cvxopt over SSAD": times["cvxopt"] / times["SSAD"],
    }


def plot(results, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, nu in zip(axes, (0.1, 0.5), strict=True):
        chosen = [result for result in results["one-class"] if result["nu"] == nu]
        for name in chosen[0]["seconds"]:
            ax.plot(
                [r["n"] for r in chosen], [r["seconds"][name] for r in chosen], "o-", label=name
            )
        if nu == 0.1:
            quadratic = results["interior point"]
            ax.plot(quadratic["n"], quadratic["seconds"]["cvxopt"], "k*", label="cvxopt (dense QP)")
        ax.set(xscale="log", yscale="log", title=f"nu = {nu}", xlabel="rows")
    axes[0].set_ylabel("seconds to fit")
    axes[0].legend(loc="lower right", fontsize="small")
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 2000, 5000, 10000])
    arguments = parser.parse_args()
    results = {
        "scikit-learn": sklearn.__version__,
        "one-class": [
            compare(n, nu, arguments.blocks) for nu in (0.1, 0.5) for n in arguments.rows
        ],
        "interior point": against_interior_point(2000),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "ssad.json").write_text(json.dumps(results, indent=1) + "\n")
    plot(results, RESULTS.parents[1] / "docs" / "evidence" / "ssad.png")
    for result in results["one-class"]:
        print(result["n"], result["nu"], result["over OneClassSVM"])
    print(results["interior point"])


if __name__ == "__main__":
    main()
