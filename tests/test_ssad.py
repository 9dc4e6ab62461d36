"""Kernel SSAD against the convex problem it is to solve, and against other solvers of it."""

import itertools
import pickle

import numpy as np
import pytest
from conftest import table
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import linprog, minimize
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import pairwise_kernels, rbf_kernel
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from skdeepad import SSAD, CollapseWarning
from skdeepad.datasets import load_breast_cancer_anomaly, make_partial_labels
from skdeepad.model_selection import LabeledStratifiedKFold, labeled_roc_auc
from skdeepad.solvers import Kernel, largest_kappa, solve_ssad

X, Y = table()
KERNELS = {
    "rbf": {},
    "rbf gamma": {"gamma": 0.3},
    "linear": {"kernel": "linear"},
    "poly": {"kernel": "poly", "coef0": 1.0, "degree": 2},
    "sigmoid": {"kernel": "sigmoid", "gamma": 0.01},
    "callable": {"kernel": lambda A, B: (A @ B.T + 1) ** 2},
}


def primal(K, y, costs, kappa, beta, rho, gamma):
    """Return the objective of the convex problem, written out row by row."""
    f = K @ beta
    slack = np.empty(len(y))
    for i, label in enumerate(y):
        if label == 0:
            slack[i] = rho - f[i]
        elif label > 0:
            slack[i] = rho + gamma - f[i]
        else:
            slack[i] = f[i] - rho + gamma
    return beta @ K @ beta / 2 - rho - kappa * gamma + costs @ np.maximum(slack, 0)


def costs_of(detector, y):
    """Return the costs that the documentation promises."""
    costs = np.empty(len(y))
    for name, label in (("unlabeled", 0), ("normal", 1), ("anomaly", -1)):
        cost = getattr(detector, f"{name}_cost")
        rows = y == label
        costs[rows] = 1 / (detector.nu * max(rows.sum(), 1)) if cost is None else cost
    return costs


def coefficients(detector, n):
    beta = np.zeros(n)
    beta[detector.support_] = detector.dual_coef_[0]
    return beta


# Against other solvers


@pytest.mark.parametrize("nu", [0.051, 0.303, 0.803])
@pytest.mark.parametrize("setting", KERNELS)
def test_without_labels_it_is_the_one_class_svm(setting, nu):
    rows = np.random.default_rng(0).normal(size=(150, 3)) + [1, 2, 3]
    ours = SSAD(nu=nu, tol=1e-10, **KERNELS[setting]).fit(rows)
    theirs = OneClassSVM(nu=nu, tol=1e-10, **KERNELS[setting]).fit(rows)
    new = np.random.default_rng(1).normal(size=(200, 3)) * 2 + [1, 2, 3]
    decisions = ours.decision_function(new), theirs.decision_function(new)
    assert np.corrcoef(*decisions)[0, 1] > 1 - 1e-6
    assert_allclose(decisions[0] * nu * len(rows), decisions[1], rtol=1e-5, atol=1e-5)
    assert_array_equal(np.sign(ours.dual_coef_), 1)


def general_solution(K, y, costs, kappa):
    """Solve the dual in alpha by SciPy's general solver."""

    signs = np.where(y < 0, -1.0, 1.0)
    labeled = (y != 0).astype(float)
    signed = K * np.outer(signs, signs)
    constraints = [{"type": "eq", "fun": lambda a: signs @ a - 1, "jac": lambda a: signs}]
    if (y <= 0).any() and labeled.any():  # otherwise one constraint implies the other
        constraints.append(
            {"type": "ineq", "fun": lambda a: labeled @ a - kappa, "jac": lambda a: labeled}
        )
    solution = minimize(
        lambda a: 50 * a @ signed @ a,
        np.minimum(costs, 1 / len(y)),
        jac=lambda a: 100 * signed @ a,
        bounds=[(0, cost) for cost in costs],
        constraints=constraints,
        method="SLSQP",
        options={"maxiter": 1000, "ftol": 1e-15},
    )
    return solution.x * signs


MIXES = [(60, 0, 0), (40, 20, 0), (50, 0, 10), (40, 10, 10), (0, 40, 20), (0, 60, 0), (58, 1, 1)]


@pytest.mark.parametrize(("size", "spread"), [(0.05, False), (0.2, True), (1.0, True)])
@pytest.mark.parametrize("kappa", [0.0, 0.4, 1.0, 1.7])
@pytest.mark.parametrize("mix", MIXES, ids=str)
def test_solution_is_that_of_a_general_solver(mix, kappa, size, spread):
    rng = np.random.default_rng(sum(mix) + int(10 * kappa))
    y = np.repeat([0, 1, -1], mix)
    rows = rng.normal(size=(60, 3)) + np.where(y < 0, 0.8, 0)[:, None]
    costs = size * (rng.uniform(0.5, 1.5, size=60) if spread else np.ones(60))
    K = pairwise_kernels(rows, metric="rbf", gamma=1.0)

    def solve():
        return solve_ssad(lambda i: K[i], K.diagonal(), y, costs, kappa, tol=1e-10)

    if y.any() and kappa > largest_kappa(y, costs):
        with pytest.raises(ValueError, match="larger than the costs allow"):
            solve()
        return
    dual, beta = solve(), general_solution(K, y, costs, kappa)
    assert dual.converged
    assert_allclose(dual.beta, beta, atol=1e-5)
    assert_allclose(dual.beta @ K @ dual.beta, beta @ K @ beta, atol=1e-5)
    assert_allclose(dual.f, K @ dual.beta, atol=1e-12)
    check_feasible(dual.beta, y, costs, kappa)
    # A primal objective equal to the dual proves both, and rho and gamma with them.
    kappa = kappa if y.any() else 0.0
    objective = primal(K, y, costs, kappa, dual.beta, dual.rho, dual.gamma)
    assert_allclose(objective, -dual.beta @ K @ dual.beta / 2, atol=1e-8)
    assert_allclose(dual.gap, objective + dual.beta @ K @ dual.beta / 2, atol=1e-12)


def check_feasible(beta, y, costs, kappa):
    assert_allclose(beta.sum(), 1, atol=1e-13)
    assert y @ beta >= kappa - 1e-13 or not y.any()
    alpha = np.where(y < 0, -beta, beta)
    assert (alpha >= 0).all()
    assert (alpha <= costs).all()


@pytest.mark.parametrize("mix", [(3, 1, 1), (2, 2, 2), (4, 0, 2), (1, 3, 2)], ids=str)
@pytest.mark.parametrize("kappa", [0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
def test_largest_kappa_is_the_largest(mix, kappa):
    y = np.repeat([0, 1, -1], mix)
    rng = np.random.default_rng(int(10 * kappa))
    for _ in range(20):
        costs = rng.uniform(0.05, 1.0, size=len(y))
        signs = np.where(y < 0, -1.0, 1.0)
        found = linprog(
            -np.abs(y), A_eq=signs[None], b_eq=[1], bounds=[(0, cost) for cost in costs]
        )
        if found.success:
            assert_allclose(largest_kappa(y, costs), -found.fun, atol=1e-9)
        else:
            with pytest.raises(ValueError, match="must sum to at least 1"):
                solve_ssad(lambda i: np.eye(len(y))[i], np.ones(len(y)), y, costs, 0.0)


# The optimality conditions on real data


def real_task(share_normal=0.02):
    rows, truth = load_breast_cancer_anomaly(return_X_y=True)
    _, y = make_partial_labels(
        truth, labeled_anomalies=0.02, labeled_normals=share_normal, random_state=0
    )
    return StandardScaler().fit_transform(rows), y, truth


@pytest.mark.parametrize("share_normal", [0.0, 0.02])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"nu": 0.3, "kappa": 1.0},
        {"kernel": "poly", "coef0": 1.0},
        {"unlabeled_cost": 1.0, "normal_cost": 1.0, "anomaly_cost": 1.0, "kappa": 1.0},
        {"unlabeled_cost": 0.02, "anomaly_cost": 0.3, "kappa": 0.5},
    ],
    ids=str,
)
def test_optimality_conditions_hold_on_real_data(params, share_normal):
    rows, y, _ = real_task(share_normal)
    detector = SSAD(**params).fit(rows, y)
    beta, f = coefficients(detector, len(y)), detector.score_samples(rows)
    kappa = detector.kappa
    if kappa == "auto":
        kappa = 2.0 if (y > 0).any() else 1.0
    costs = costs_of(detector, y)
    check_feasible(beta, y, costs, kappa)
    tolerance = 1e-8 * np.ptp(f)
    alpha = np.abs(beta)
    # y f - y rho - gamma of labeled, f - rho of unlabeled rows: the margin they keep
    kept = np.where(y < 0, -1, 1) * (f - detector.offset_) - np.where(y, detector.margin_, 0)
    assert (kept[alpha < costs] >= -tolerance).all()
    assert (kept[alpha > 0] <= tolerance).all()
    assert detector.margin_ >= 0
    assert abs(y @ beta - kappa) < 1e-12 or detector.margin_ <= tolerance
    assert 0 <= detector.dual_gap_ + 1e-12 < 1e-6 * (beta @ f)
    assert 0 < len(detector.support_) < len(y)


@pytest.mark.parametrize("nu", [0.05, 0.1, 0.37])
def test_nu_bounds_the_share_below_the_threshold(nu):
    rows, y, _ = real_task(0.0)
    outside = SSAD(nu=nu).fit(rows).predict(rows) == -1
    assert nu - 0.05 < outside.mean() <= nu
    outside = SSAD(nu=nu).fit(rows, y).predict(rows)[y == 0] == -1
    assert outside.mean() <= 2 * nu


def test_labels_help_on_real_data():
    rows, _, truth = real_task()
    aucs = []
    for seed in range(5):
        train, test = train_test_split(
            np.arange(len(rows)), test_size=0.4, stratify=truth, random_state=seed
        )
        y = truth[train] * (np.random.default_rng(seed).random(len(train)) < 0.05)
        labels = [None, np.minimum(y, 0), y]
        aucs.append(
            [
                roc_auc_score(
                    truth[test] > 0, SSAD().fit(rows[train], given).score_samples(rows[test])
                )
                for given in labels
            ]
        )
    without, anomalies, both = np.mean(aucs, axis=0)
    assert anomalies > without + 0.03
    assert both > without + 0.03


# Kernels


@pytest.mark.parametrize("kind", ["rbf", "linear", "poly", "sigmoid"])
def test_kernels_are_those_of_scikit_learn(kind):
    A, B = np.random.default_rng(0).normal(size=(2, 90, 5))
    numbers = {"gamma": 0.3, "degree": 3, "coef0": 0.7}
    expected = pairwise_kernels(A, B, metric=kind, filter_params=True, **numbers)
    kernel = Kernel(kind, **numbers)
    assert_allclose(kernel(A, B), expected, rtol=1e-10, atol=1e-12)
    assert_allclose(kernel(A, B, (B**2).sum(axis=1)), expected, rtol=1e-10, atol=1e-12)
    assert_allclose(kernel.diagonal(A), kernel(A, A).diagonal(), rtol=1e-12)


@pytest.mark.parametrize("gamma", ["scale", "auto"])
def test_gamma_is_that_of_scikit_learn(gamma):
    rows = X * [1, 2, 3, 4]
    number = {"scale": 1 / (4 * rows.var()), "auto": 1 / 4}[gamma]
    assert_allclose(
        SSAD(gamma=gamma).fit(rows, Y).score_samples(rows),
        SSAD(gamma=number).fit(rows, Y).score_samples(rows),
        rtol=1e-7,
    )


def test_precomputed_kernel():
    K = pairwise_kernels(X, metric="rbf", gamma=0.5)
    new = np.random.default_rng(1).normal(size=(10, 4))
    ours = SSAD("precomputed").fit(K, Y)
    named = SSAD(gamma=0.5).fit(X, Y)
    assert_allclose(
        ours.decision_function(pairwise_kernels(new, X, metric="rbf", gamma=0.5)),
        named.decision_function(new),
        atol=1e-8,
    )
    assert_array_equal(ours.support_, named.support_)
    assert len(ours.support_vectors_) == 0
    assert ours.__sklearn_tags__().input_tags.pairwise
    assert not named.__sklearn_tags__().input_tags.pairwise
    for wrong in (X, K[:, :-1], K + np.triu(K)):
        with pytest.raises(ValueError, match="symmetric matrix"):
            ours.fit(wrong, Y)


def test_grid_search_slices_a_precomputed_kernel_both_ways():
    rows, y, _ = real_task()
    K = pairwise_kernels(rows, metric="rbf", gamma=0.03)
    cv = LabeledStratifiedKFold(2)
    grid = {"nu": [0.05, 0.2]}
    scores = [
        GridSearchCV(detector, grid, cv=cv, scoring=labeled_roc_auc, refit=False)
        .fit(given, y)
        .cv_results_["mean_test_score"]
        for detector, given in ((SSAD("precomputed"), K), (SSAD(gamma=0.03), rows))
    ]
    assert_allclose(*scores, atol=1e-6)


@pytest.mark.parametrize(
    "kernel", [lambda A, B: np.ones(len(B)), lambda A, B: np.full((len(A), len(B)), np.nan)]
)
def test_a_callable_kernel_must_give_a_matrix_of_numbers(kernel):
    with pytest.raises(ValueError, match="callable kernel must give finite numbers"):
        SSAD(kernel).fit(X, Y)


@pytest.mark.parametrize("cache_size", [1e-9, 0.005, 1000])
@pytest.mark.parametrize("y", [None, Y])
def test_size_of_the_cache_does_not_matter(cache_size, y):
    expected = SSAD().fit(X, y)
    detector = SSAD(cache_size=cache_size).fit(X, y)
    assert_allclose(detector.score_samples(X), expected.score_samples(X), rtol=1e-7)
    assert_allclose(detector.offset_, expected.offset_, rtol=1e-7)


def test_a_small_cache_holds_few_columns():
    asked = []

    def kernel(A, B):
        asked.append(len(A))
        return rbf_kernel(A, B)

    SSAD(kernel, cache_size=6 * 60 * 8 / 1e6).fit(X, Y)
    small = sum(asked)
    asked.clear()
    SSAD(kernel).fit(X, Y)
    assert small > sum(asked)


# Weights


def test_weights_are_numbers_of_rows():
    weights = np.random.default_rng(0).integers(0, 4, size=len(X))
    weighted = SSAD().fit(X, Y, sample_weight=weights)
    repeated = SSAD().fit(np.repeat(X, weights, axis=0), np.repeat(Y, weights))
    assert_allclose(weighted.score_samples(X), repeated.score_samples(X), atol=1e-8)
    assert_allclose(weighted.offset_, repeated.offset_, atol=1e-8)


def test_weights_scale_costs():
    costs = {"unlabeled_cost": 0.1, "normal_cost": 0.2, "anomaly_cost": 0.5, "gamma": 0.1}
    weighted = SSAD(**costs).fit(X, Y, sample_weight=np.full(len(X), 0.5))
    halved = {name: cost / 2 if name != "gamma" else cost for name, cost in costs.items()}
    assert_array_equal(weighted.dual_coef_, SSAD(**halved).fit(X, Y).dual_coef_)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (-np.ones(len(X)), "[Nn]egative"),
        (np.ones(3), "shape"),
        (np.full(len(X), np.nan), "NaN"),
        ((Y < 0).astype(float), "weight of 0"),
    ],
)
def test_bad_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        SSAD().fit(X, Y, sample_weight=weights)


# Limits


def test_kappa_that_the_costs_do_not_allow():
    detector = SSAD(kappa=1.0, anomaly_cost=0.01).fit(X)
    with pytest.raises(ValueError, match=r"kappa=1 .*can be .* at most"):
        detector.fit(X, np.minimum(Y, 0))
    assert len(detector.score_samples(X)) == len(X)
    fitted = SSAD(kappa="auto", anomaly_cost=0.01).fit(X, np.minimum(Y, 0))
    alpha = np.abs(coefficients(fitted, len(X)))
    assert_allclose(alpha[Y < 0], 0.01, rtol=1e-10)


def test_costs_that_cannot_sum_to_one():
    with pytest.raises(ValueError, match="must sum to at least 1"):
        SSAD(unlabeled_cost=1e-3, normal_cost=1e-3, gamma=1.0).fit(X, Y)


@pytest.mark.filterwarnings("ignore:y holds:skdeepad.LabelWarning")
@pytest.mark.parametrize(
    ("label", "kappa"), [((0,), 0.0), ((0, 1), 0.5), ((0, -1), 1.0), ((0, 1, -1), 2.0)]
)
def test_auto_kappa_counts_kinds_of_labels(label, kappa):
    y = np.where(np.isin(Y, label), Y, 0)
    auto = SSAD().fit(X, y)
    assert_array_equal(auto.score_samples(X), SSAD(kappa=kappa).fit(X, y).score_samples(X))
    assert np.abs(coefficients(auto, len(X)))[y != 0].sum() >= kappa - 1e-12


def test_labels_without_unlabeled_rows():
    y = np.where(Y < 0, -1, 1)
    detector = SSAD().fit(X, y)
    assert detector.margin_ > 0
    assert detector.score(X, y) > 0.95
    only_normal = SSAD().fit(X, np.ones(len(X)))
    assert_allclose(only_normal.score_samples(X), SSAD().fit(X).score_samples(X), atol=1e-8)


def test_the_papers_costs_make_a_hard_margin():
    detector = SSAD(unlabeled_cost=1, normal_cost=1, anomaly_cost=1, kappa=1).fit(X)
    assert_array_equal(detector.predict(X), 1)


def test_duplicates_share_a_coefficient():
    twice = SSAD(nu=0.2).fit(np.r_[X, X], np.r_[Y, Y])
    assert_allclose(twice.score_samples(X), SSAD(nu=0.2).fit(X, Y).score_samples(X), atol=1e-8)


@pytest.mark.parametrize(
    ("rows", "kernel"),
    [
        (np.ones((20, 3)), "rbf"),
        (np.full((2000, 3), 0.3), "rbf"),
        (np.r_[X, -X], "linear"),
        (np.r_[X, -X], "poly"),
        (np.zeros((20, 3)), "linear"),
    ],
    ids=["constant rows", "many constant rows", "linear", "poly", "zeros"],
)
@pytest.mark.parametrize("labels", [False, True])
def test_degenerate_problems_end_with_a_warning(rows, kernel, labels):
    y = np.where(np.arange(len(rows)) < 3, -1, 0) if labels else None
    with pytest.warns(CollapseWarning, match="nearly the same score"):
        detector = SSAD(kernel, kappa=0.0 if labels else "auto").fit(rows, y)
    assert np.ptp(detector.score_samples(rows)) < 1e-4
    assert detector.dual_gap_ < 1e-4


def test_centred_features_do_not_collapse_with_rbf(recwarn):
    SSAD().fit(np.r_[X, -X])
    assert not recwarn


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_scale_of_the_features_does_not_matter(scale):
    for kernel in ("rbf", "linear"):
        shifted = X + 5
        expected = SSAD(kernel).fit(shifted).predict(shifted)
        assert_array_equal(SSAD(kernel).fit(shifted * scale).predict(shifted * scale), expected)


def test_stopping_early_warns_and_leaves_a_usable_model():
    with pytest.warns(ConvergenceWarning, match="stopped after 5 steps.*max_iter"):
        detector = SSAD(max_iter=5).fit(X, Y)
    assert detector.n_iter_ == 5
    check_feasible(coefficients(detector, len(X)), Y, costs_of(detector, Y), 2.0)
    assert detector.dual_gap_ > SSAD().fit(X, Y).dual_gap_


def test_a_lower_tolerance_leaves_a_smaller_gap():
    gaps = [SSAD(tol=tol).fit(X, Y).dual_gap_ for tol in (1e-1, 1e-3, 1e-6)]
    assert gaps[0] > gaps[1] > gaps[2] >= -1e-12


def test_coefficients_do_not_depend_on_the_order_of_rows():
    order = np.random.default_rng(0).permutation(len(X))
    expected, shuffled = SSAD().fit(X, Y), SSAD().fit(X[order], Y[order])
    assert_allclose(
        coefficients(shuffled, len(X)), coefficients(expected, len(X))[order], atol=1e-6
    )
    assert_array_equal(expected.support_vectors_, X[expected.support_])


def test_threshold_by_contamination():
    detector = SSAD(contamination=0.25).fit(X, Y)
    assert (detector.predict(X[Y >= 0]) == -1).mean() == pytest.approx(0.25, abs=0.02)
    assert_array_equal(detector.score_samples(X), SSAD().fit(X, Y).score_samples(X))


def test_pickle_keeps_the_model():
    detector = SSAD().fit(X, Y)
    assert_array_equal(
        pickle.loads(pickle.dumps(detector)).decision_function(X), detector.decision_function(X)
    )


def test_objective_cannot_be_lowered_by_another_threshold_or_margin():
    rows = load_breast_cancer().data[:120]
    rows = StandardScaler().fit_transform(rows)
    y = np.r_[np.zeros(80), np.ones(20), -np.ones(20)].astype(int)
    detector = SSAD(gamma=0.05).fit(rows, y)
    K = pairwise_kernels(rows, metric="rbf", gamma=0.05)
    beta, costs = coefficients(detector, len(y)), costs_of(detector, y)
    at = {
        (i, j): primal(K, y, costs, 2.0, beta, detector.offset_ + i, detector.margin_ + j)
        for i, j in itertools.product((-1e-3, 0, 1e-3), repeat=2)
    }
    assert min(at, key=at.get) == (0, 0)
