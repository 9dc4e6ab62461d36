"""The benchmarks' own arithmetic: runs, resuming, peers, layout."""

import json
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import wilcoxon
from sklearn.svm import OneClassSVM

from benchmarks import __main__ as entry
from benchmarks import (
    corruptions,
    defaults,
    explain_mnistc,
    layout,
    paper,
    peers,
    running,
    scenarios,
    shallow,
    table6,
)
from benchmarks.running import Benchmark, Options, Run, fit_and_measure, run_missing
from skdeepad import DeepSAD, Pretraining

CPU = Options("cpu")


def counting(ran, error=None):
    """Return a benchmark that notes what it has run, and fails at seed 2 if there is an error."""

    def run(tasks, options):
        ran.append([task["seed"] for task in tasks])
        if error is not None and 2 in ran[-1]:
            raise error
        return [{"auc": 50.0 + task["seed"], "seconds": 0.1, "device": "cpu"} for task in tasks]

    def tasks(arguments):
        return [{"data": "d", "method": "m", "seed": seed} for seed in arguments.seeds]

    return Benchmark(tasks, run, ("d",), ("m",), 4, together=lambda task: task["seed"] // 2)


def run_seeds(benchmark, seeds, path):
    tasks = benchmark.tasks(SimpleNamespace(seeds=seeds))
    run_missing(benchmark, tasks, CPU, path, n_jobs=1)
    return running.load(path)


def test_runs_that_go_together_are_handed_over_together(tmp_path):
    ran = []
    results = run_seeds(counting(ran), range(5), tmp_path / "r.jsonl")
    assert ran == [[0, 1], [2, 3], [4]]
    assert [result["auc"] for result in results] == [50, 51, 52, 53, 54]


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path, capsys):
    path, ran = tmp_path / "r.jsonl", []
    with pytest.raises(KeyboardInterrupt):
        run_seeds(counting(ran, KeyboardInterrupt), range(4), path)
    assert [result["seed"] for result in running.load(path)] == [0, 1]
    ran.clear()
    run_seeds(counting(ran), range(4), path)
    assert ran == [[2, 3]]
    run_seeds(counting(ran), range(4), path)
    assert ran == [[2, 3]]
    assert "2/2 d m 3: 53.0 (0.1 s); 0 min left" in capsys.readouterr().out


def test_a_run_that_fails_does_not_end_the_others(tmp_path, capsys):
    path, ran = tmp_path / "r.jsonl", []
    benchmark = counting(ran, ValueError("no good"))
    tasks = benchmark.tasks(SimpleNamespace(seeds=range(6)))
    assert run_missing(benchmark, tasks, CPU, path, n_jobs=1) == tasks[2:4]
    assert [result["seed"] for result in running.load(path)] == [0, 1, 4, 5]
    assert "ValueError: no good" in capsys.readouterr().out


def test_missing_data_end_the_run_with_a_message(tmp_path):
    with pytest.raises(FileNotFoundError):
        run_seeds(counting([], FileNotFoundError("shuttle")), range(6), tmp_path / "r.jsonl")


def test_a_line_that_was_cut_off_is_dropped_before_others_are_appended(tmp_path):
    path, whole = tmp_path / "r.jsonl", '{"data": "d", "method": "m", "seed": 1}\n'
    path.write_text(whole + '{"se')
    assert running.load(path) == [{"data": "d", "method": "m", "seed": 1}]
    assert path.read_text() == whole + '{"se'  # somebody may be writing it
    results = run_seeds(counting([]), range(3), path)
    assert [result["seed"] for result in results] == [1, 0, 2]
    path.write_text('{"se')
    assert [result["seed"] for result in run_seeds(counting([]), range(1), path)] == [0]


def test_runs_have_one_thread_and_leave_the_others(tmp_path):
    threads = []
    benchmark = Benchmark(
        lambda arguments: [{"data": "d", "method": "m", "seed": 0}],
        lambda tasks, options: threads.append(torch.get_num_threads()) or [{"seconds": 0.0}],
        ("d",),
        ("m",),
        1,
    )
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        run_missing(benchmark, benchmark.tasks(None), CPU, tmp_path / "r.jsonl", n_jobs=1)
        assert threads == [1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("changed", "mark"), [("", ""), (" M skdeepad/base.py", "+")])
def test_a_commit_is_marked_where_the_code_was_changed_since(monkeypatch, changed, mark):
    answers = {"status": changed, "rev-parse": "0123abcde"}
    monkeypatch.setattr(
        running.subprocess,
        "run",
        lambda command, **kwargs: SimpleNamespace(stdout=answers[command[3]] + "\n"),
    )
    assert running.made_with.__wrapped__()["commit"] == "0123abcde" + mark


def test_done_is_what_agrees_in_everything_that_tells_a_task():
    task = {"data": "a", "method": "m", "size": "small", "seed": 0}
    assert running.missing([task], [task | {"auc": 1.0}]) == []
    for name in task:
        assert running.missing([task], [task | {name: "other", "auc": 1.0}]) == [task]


def test_results_say_what_made_them(tmp_path):
    (result,) = run_seeds(counting([]), [7], tmp_path / "r.jsonl")
    assert result["versions"]["torch"]
    assert len(result["commit"].rstrip("+")) == 9
    assert (result["device"], result["seed"]) == ("cpu", 7)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(size=(120, 3)), rng.normal(6, 0.3, size=(30, 3))])
    return X, np.where(np.arange(150) < 120, 0, -1)


def test_seeds_are_fitted_as_one_and_come_out_as_if_alone(rows):
    X, y = rows

    def measure(detector):
        return {"scores": detector.anomaly_score(X)}

    def made():
        return DeepSAD(n_epochs=2, pretrain=True, pretraining=Pretraining(n_epochs=1), n_branches=1)

    together = fit_and_measure([Run(made(), seed, X, y, measure) for seed in (0, 1)], CPU)
    assert [result["stacked"] for result in together] == [2, 2]
    for seed, result in enumerate(together):
        alone = made().set_params(random_state=seed, device="cpu").fit(X, y)
        assert_allclose(result["scores"], alone.anomaly_score(X), rtol=1e-3)
        assert result["seconds"] > 0
        assert result["device"] == "cpu"
    assert not np.allclose(together[0]["scores"], together[1]["scores"], rtol=1e-2)


def test_errors_of_a_run_are_raised(rows):
    X, y = rows
    with pytest.raises(ValueError, match="n_epochs"):
        fit_and_measure([Run(DeepSAD(n_epochs=-1), 0, X, y, lambda detector: {})], CPU)


def test_quick_runs_are_short(rows):
    X, y = rows
    detector = DeepSAD(n_branches=1, pretrain=True)
    fit_and_measure([Run(detector, 0, X, y, lambda detector: {})], Options("cpu", quick=True))
    assert {name: len(of["loss"]) for name, of in detector.history_.items()} == {
        "pretrain": 1,
        "train": 2,
    }


def test_parts_of_a_detector_are_made_ready_too():
    detector = table6.DEFAULTS["HybridDetector"]()
    running.prepare(detector, 7, Options("cpu", quick=True))
    parameters = detector.get_params()
    assert parameters["random_state"] == parameters["autoencoder__random_state"] == 7
    assert parameters["autoencoder__device"] == "cpu"
    assert parameters["autoencoder__n_epochs"] == 2


@pytest.mark.parametrize("name", [name for name in peers.PEERS if peers.is_installed(name)])
@pytest.mark.filterwarnings("ignore")
def test_peers_score_anomalies_higher_and_are_not_shown_the_labeled(name, rows):
    X, y = rows
    images = X.reshape(150, 1, 1, 3)  # images are flattened for them
    peer = peers.Peer(name, quick=True, random_state=0).fit(images, y)
    scores = peer.anomaly_score(images)
    assert scores[y < 0].mean() > np.median(scores[y == 0])
    predicted = peer.predict(images)
    assert set(predicted) <= {-1, 1}
    if name == "RandomForest":
        assert_array_equal(predicted, np.where(y < 0, -1, 1))
    else:  # the same as without the labeled anomalies
        other = peers.Peer(name, quick=True, random_state=0).fit(X[y == 0])
        assert_allclose(scores, other.anomaly_score(X), rtol=1e-5)
        assert (predicted[y < 0] == -1).mean() > (predicted[y == 0] == -1).mean()


def test_seeds_are_a_number_or_a_list():
    assert entry.seeds("3") == [0, 1, 2]
    assert entry.seeds("3,5") == [3, 5]
    assert entry.seeds("4,") == [4]


@pytest.mark.parametrize("name", entry.MODULES)
def test_quick_runs_are_a_part_of_the_whole(name):
    pytest.importorskip("matplotlib")
    module = __import__(f"benchmarks.{entry.MODULES[name]}", fromlist=["BENCHMARKS"])
    benchmark = module.BENCHMARKS[name]
    assert set(benchmark.quick.get("data", benchmark.data)) <= set(benchmark.data)
    assert set(benchmark.quick.get("methods", benchmark.methods)) <= set(benchmark.methods)
    arguments = entry.parse(name, benchmark, ["--quick", "--device", "cpu"])
    assert arguments.results.parent == running.QUICK
    assert 0 < len(benchmark.tasks(arguments)) < 40


def test_an_unknown_benchmark_is_an_error(monkeypatch):
    monkeypatch.setattr("sys.argv", ["benchmarks", "table7"])
    with pytest.raises(SystemExit, match="no benchmark 'table7'"):
        entry.main()


def test_scenarios_are_the_papers():
    assert scenarios.points(["i"]) == [
        (0.0, 0.0, 0),
        (0.01, 0.0, 1),
        (0.05, 0.0, 1),
        (0.1, 0.0, 1),
        (0.2, 0.0, 1),
    ]
    assert scenarios.points(["ii"])[3] == scenarios.points(["iii"])[1] == (0.05, 0.1, 1)
    assert scenarios.points(["iii"])[0] == (0.0, 0.1, 0)
    assert len(scenarios.points(["i", "ii", "iii"])) == 13


@pytest.fixture
def ten_classes(monkeypatch):
    """Images of two pixels, their class and their number, in place of a data set's."""
    labels = np.repeat(np.arange(10), 500)
    images = np.stack([labels, np.arange(5000)], axis=1).astype(np.uint16)[:, None, None]
    monkeypatch.setattr(scenarios, "read", lambda data: (images, labels, images, labels))


@pytest.mark.parametrize(
    ("labeled", "polluted", "classes"), [(0, 0.1, 0), (0.2, 0, 1), (0.1, 0.2, 3)]
)
def test_a_scenario_is_made_as_it_says(ten_classes, labeled, polluted, classes):
    task = {"size": "full", "data": "any", "normal": 4, "seed": 7}
    task |= {"labeled": labeled, "polluted": polluted, "classes": classes}
    X, y, X_test, anomalous = scenarios.make_task(task)
    kind = np.rint(255 * X[:, 0, 0, 0]).astype(int)
    assert (y < 0).mean() == pytest.approx(labeled, abs=2e-3)
    assert (kind[y == 0] != 4).mean() == pytest.approx(polluted, abs=2e-3)
    assert (kind[y == 0] == 4).sum() == 500
    assert len(set(kind[y < 0])) == classes
    assert len(np.unique(X[:, 0, 0, 1])) == len(X)  # no row is there twice
    assert_array_equal(anomalous, np.rint(255 * X_test[:, 0, 0, 0]) != 4)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("normal", [0, 4, 9])
def test_the_normal_class_is_never_a_labeled_anomaly(ten_classes, normal, seed):
    kinds = []
    for classes in scenarios.KNOWN_CLASSES[1:]:
        task = {"size": "full", "data": "any", "normal": normal, "seed": seed}
        task |= {"labeled": 0.1, "polluted": 0.1, "classes": classes}
        X, y, _, _ = scenarios.make_task(task)
        kinds.append(set(np.rint(255 * X[y < 0, 0, 0, 0]).astype(int)))
        assert len(kinds[-1]) == classes
        assert normal not in kinds[-1]
    assert all(fewer < more for fewer, more in pairwise(kinds))


def test_all_are_judged_on_the_same_images(ten_classes):
    task = {"size": "small", "data": "any", "normal": 4, "seed": 3}
    made = [
        scenarios.make_task(task | {"labeled": labeled, "polluted": polluted, "classes": 1})
        for labeled, polluted in ((0.0, 0.0), (0.05, 0.0), (0.1, 0.2))
    ]
    for _, _, X_test, anomalous in made[1:]:
        assert_array_equal(X_test, made[0][2])
        assert_array_equal(anomalous, made[0][3])


def test_methods_without_labels_are_not_shown_the_labeled_anomalies(ten_classes, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        scenarios,
        "fit_and_measure",
        lambda runs, options: seen.update({runs[0].estimator.__class__.__name__: runs[0]}),
    )
    task = {"size": "small", "data": "mnist", "normal": 4, "labeled": 0.1, "polluted": 0.0}
    for method in ("DeepSVDD", "DeepSAD", "SSAD"):
        scenarios.run([task | {"method": method, "classes": 1, "seed": 0}], CPU)
    assert seen["DeepSVDD"].y is None
    assert set(np.rint(255 * seen["DeepSVDD"].X[:, 0, 0, 0])) == {4}
    assert (seen["DeepSAD"].y < 0).any()
    assert seen["SSAD"].X.ndim == 2


def test_methods_without_labels_have_no_runs_that_differ_by_labels_alone():
    arguments = SimpleNamespace(
        sizes=["small"],
        seeds=[0],
        methods=["DeepSVDD", "RandomForest", "DeepSAD"],
        scenarios=["i", "ii", "iii"],
        normal=["4"],
    )
    tasks = scenarios.tasks("mnist", arguments)
    assert {task["normal"] for task in tasks} == {4}
    by_method = {
        method: [task for task in tasks if task["method"] == method] for method in arguments.methods
    }
    assert [task["polluted"] for task in by_method["DeepSVDD"]] == list(scenarios.SHARES)
    assert all(task["labeled"] for task in by_method["RandomForest"])
    assert len(by_method["DeepSAD"]) == 13


def test_seeds_of_a_table_are_one_stack_but_for_peers_and_shallow_detectors():
    arguments = SimpleNamespace(
        settings=["paper", "user"],
        methods=["DeepSAD", "OneClassSVM", "SSAD raw, cv", "KDE raw, cv", "SSAD hybrid, cv"],
        data=["cardio"],
        seeds=[0, 1],
    )
    groups = {}
    for task in table6.tasks(arguments):
        groups.setdefault(table6.together(task), []).append((task["method"], task["seed"]))
    assert list(groups.values()) == [
        [("DeepSAD", 0), ("DeepSAD", 1)],
        [("SSAD raw, cv", 0), ("KDE raw, cv", 0)],
        [("SSAD raw, cv", 1), ("KDE raw, cv", 1)],
        [("SSAD hybrid, cv", 0)],
        [("SSAD hybrid, cv", 1)],
        [("DeepSAD", 0), ("DeepSAD", 1)],
        [("OneClassSVM", 0)],
        [("OneClassSVM", 1)],
    ]


@pytest.fixture
def one_table(monkeypatch):
    """A table of 1,000 rows, a tenth of them anomalies, in place of ODDS's."""
    rng = np.random.default_rng(0)
    truth = np.where(np.arange(1000) < 100, -1, 1)
    X = rng.normal(size=(1000, 3)) * [1, 10, 100] + 4 * (truth < 0)[:, None]
    monkeypatch.setattr(table6, "load_odds", lambda name, return_X_y: (X, truth))


def test_tables_are_split_and_labeled_as_they_say(one_table):
    X, y, X_test, truth = table6.make_task("paper", "any", 0)
    assert (len(X_test), (truth < 0).sum()) == (400, 40)
    assert (y < 0).mean() == pytest.approx(0.01, abs=2e-3)
    assert len(X) == 540 + (y < 0).sum()  # normal rows and labeled anomalies
    assert_allclose(X.mean(axis=0), 0, atol=1e-9)
    assert_allclose(X.std(axis=0), 1)
    bounded, _, bounded_test, _ = table6.make_task("paper", "any", 0, "SSDGM M2")
    assert_allclose([bounded.min(axis=0), bounded.max(axis=0)], [[0] * 3, [1] * 3], atol=1e-9)
    assert bounded_test.min() >= 0 and bounded_test.max() <= 1
    X, y, X_test, truth = table6.make_task("user", "any", 0)
    assert (len(X), len(X_test)) == (700, 300)
    assert (y < 0).sum() == round(0.05 * 70)
    assert not (y > 0).any()


def test_detectors_are_judged_by_the_test_rows():
    truth = np.array([1, 1, 1, 1, -1, -1])
    detector = SimpleNamespace(
        anomaly_score=lambda X: np.array([0, 1, 2, 5, 4, 6]),
        predict=lambda X: np.array([1, 1, 1, -1, 1, -1]),
    )
    measured = table6.measure(None, truth)(detector)
    assert measured["auc"] == 100 * 7 / 8
    assert (measured["false_alarms"], measured["detected"]) == (25.0, 50.0)


def test_a_tenth_of_the_steps_is_shared_by_both_stages(one_table):
    X, y, _, _ = table6.make_task("paper", "any", 0)
    authors_steps = 3000
    detector = table6.tenth_of(authors_steps, (8, 4), len(X)).set_params(device="cpu").fit(X, y)
    batches = {"pretrain": len(X) // 128 + 1, "train": len(X) // 64 + 1}
    steps = {name: batches[name] * len(of["loss"]) for name, of in detector.history_.items()}
    assert list(steps) == ["pretrain", "train"]
    assert 0.25 < steps["pretrain"] / sum(steps.values()) < 0.42
    assert 0.8 * authors_steps / 10 < sum(steps.values()) <= authors_steps / 10


def test_changed_defaults_are_no_defaults(rows):
    """What "auto" stands for, in tables, is left out as well."""
    X, y = rows
    told = DeepSAD(n_epochs=1, n_branches=1, random_state=0)
    expected = told.fit(X, y).score_samples(X)
    for name in ("pretrain", "input_noise"):
        changes = [change[name] for change in defaults.CHANGES.values() if name in change]
        assert changes
        for value in changes:
            params = {"n_epochs": 1, "n_branches": 1, "random_state": 0, name: value}
            changed = DeepSAD(**params).fit(X, y).score_samples(X)
            assert np.abs(changed - expected).max() > 1e-6


def test_shallow_detectors_choose_by_training_rows_or_a_tenth_of_the_test(one_table, monkeypatch):
    X, y, X_test, truth = table6.make_task("paper", "any", 0)
    fitted = []
    monkeypatch.setattr(
        shallow, "fit", lambda detector, X, y: fitted.append((X, y)) or detector.fit(X[y >= 0])
    )
    scores = shallow.cross_validated(OneClassSVM(gamma=0.1), X, y)
    assert 0.5 < scores <= 1
    assert all(len(rows) < len(X) for rows, _ in fitted)
    rows, labels = shallow.few_rows(X, y, np.random.default_rng(0))
    assert len(rows) == len(X)
    monkeypatch.setattr(shallow, "MOST_ROWS", 100)
    rows, labels = shallow.few_rows(X, y, np.random.default_rng(0))
    assert len(rows) == 100
    assert (labels < 0).sum() == (y < 0).sum()
    tasks = [{"method": method, "seed": 0} for method in ("OC-SVM raw, test", "IF raw, default")]
    results = shallow.run(tasks, X, y, X_test, truth, (4,), CPU)
    assert set(results[0]["chosen"]) == {"gamma", "nu"}
    assert results[1]["chosen"] == {}
    assert all(result["auc"] > 90 for result in results)


def test_differences_to_the_paper_are_marked():
    assert layout.beside_paper([90.0, 92.0], 91.0) == "91.0±1.4 (91.0)"
    assert layout.beside_paper([90.0], 92.0) == "90.0 ▼ (92.0)"
    assert layout.beside_paper([94.0], 92.0) == "94.0 ▲ (92.0)"
    assert layout.beside_paper([94.0], 92.1) == "94.0 (92.1)"
    assert layout.beside_paper([94.0], None, full=2) == "94.0 [1]"
    assert layout.beside_paper([], 92.0) == ""


def test_the_best_two_are_compared_by_the_runs_that_both_have():
    rng = np.random.default_rng(0)
    first = {seed: 90 + value for seed, value in enumerate(rng.normal(size=10))}
    second = {seed: 89 + value for seed, value in enumerate(rng.normal(size=10))}
    expected = wilcoxon(list(first.values()), list(second.values())).pvalue
    worse = dict.fromkeys(range(10), 50.0)
    assert layout.first_against_second({"c": worse, "b": second, "a": first, "d": {}}) == (
        "a",
        "b",
        expected,
    )
    of_some = {seed: first[seed] for seed in range(4, 10)}
    pairs = [(first[seed], second[seed]) for seed in range(4, 10)]
    *_, p = layout.first_against_second({"a": of_some, "b": second})
    assert p == wilcoxon(*zip(*pairs, strict=True)).pvalue
    few = dict(list(second.items())[:5])
    assert np.isnan(layout.first_against_second({"a": first, "b": few})[2])
    assert layout.first_against_second({"a": {0: 1.0}})[:2] == ("a", "")


def test_the_papers_figures_are_complete():
    for name, marks in (("i", 5), ("ii", 5), ("iii", 5)):
        for data in ("mnist", "fmnist", "cifar10"):
            figures = paper.SCENARIOS[name][data]
            assert all(len(of_method) == marks for of_method in figures.values())
            assert {"DeepSAD", "DeepSVDD", "SSAD raw", "DeepClassifier"} <= set(figures)
    # The paper's scenarios share runs: 5% labeled and 10% pollution, one class.
    for data, figures in paper.SCENARIOS["ii"].items():
        of_iii = paper.SCENARIOS["iii"][data]
        assert all(of_iii[method][1] == of[3] for method, of in figures.items())


def test_tables_are_laid_out_from_results(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    from benchmarks import report

    monkeypatch.setattr(report, "EVIDENCE", tmp_path)
    results = [
        {
            "setting": "paper",
            "data": table,
            "method": method,
            "seed": seed,
            "auc": auc + seed,
            "seconds": 1.0,
            "device": "cpu",
            "commit": "0" * 9,
            "versions": {"torch": "2"},
        }
        for table in table6.TABLES
        for seed in range(10)
        for method, auc in (("DeepSAD", 90.0), ("DeepSVDD one-class", 70.0))
    ]
    results += [r | {"method": "DeepSVDD soft-boundary 0.1", "auc": r["auc"] - 1} for r in results]
    text = report.table6_paper(results)
    row = next(line for line in text.splitlines() if line.startswith("DeepSAD"))
    assert "94.5±3.0 ▲ (75.9)" in row  # arrhythmia
    assert row.endswith("94.5 (93.2)")
    row = next(line for line in text.splitlines() if line.startswith("DeepSVDD"))
    assert "74.5±3.0 (74.6)" in row  # the better variant is the one above
    assert "cardio     DeepSAD DeepSVDD 0.002 ★" in text


@pytest.fixture(scope="module")
def digits():
    """Oval rings and bars, in place of MNIST's digits."""
    down, across = np.indices((28, 28)) - 13.5
    ring = np.clip(2 - np.abs(np.hypot(down / 1.5, across) - 5), 0, 1)
    bar = np.clip(2 - np.abs(across), 0, 1) * (np.abs(down) < 9)
    return np.stack([ring, bar, ring, bar])


@pytest.mark.parametrize("name", corruptions.CORRUPTIONS)
def test_corruptions_change_images_the_same_way_for_the_same_seed(digits, name):
    before = digits.copy()
    made = corruptions.corrupted(digits, name, seed=3)
    assert_array_equal(digits, before)
    assert made.shape == digits.shape
    assert made.min() >= 0 and made.max() <= 1
    changes = corruptions.truth(digits, made)
    assert (changes.max(axis=(1, 2)) > explain_mnistc.MARKED).all()
    assert_array_equal(made, corruptions.corrupted(digits, name, seed=3))
    # The strength of these is the same for all images and seeds.
    fixed = name in ("brightness", "canny edges", "stripe")
    assert fixed == np.array_equal(made, corruptions.corrupted(digits, name, seed=4))
    assert fixed == np.array_equal(made[0], made[2])


def test_corruptions_are_in_their_places(digits):
    def changed(name):
        made = corruptions.corrupted(digits, name, seed=0)
        return made, corruptions.truth(digits, made)

    _, changes = changed("stripe")
    assert_array_equal(changes[1, :, :7], 1)
    assert_array_equal(changes[1, :, 21:], 1)
    assert_array_equal(changes[:, :, 7:21], 0)
    for name in ("dotted line", "zigzag", "spatter"):  # they only add to the image
        assert (changed(name)[0] >= digits).all()
    edges, _ = changed("canny edges")
    assert edges[1, 13, 13] == edges[1, 13, 14] == 0  # within the bar
    assert edges[1, 13, :13].sum() == edges[1, 13, 14:].sum() == 1
    smaller, _ = changed("scale")
    assert (smaller.sum((1, 2)) < 0.6 * digits.sum((1, 2))).all()
    square = np.zeros((1, 28, 28))
    square[:, 12:16, 12:16] = 1
    down, across = np.argwhere(corruptions.corrupted(square, "translate", 0)[0]).min(axis=0) - 12
    assert 4 <= abs(down) <= 6 and 4 <= abs(across) <= 6


def test_relevance_is_compared_by_its_cosine():
    changes = np.zeros((2, 4, 4))
    changes[:, 1] = [0.2, 0.4, 0.6, 1.0]
    assert explain_mnistc.cosine(1e-9 * changes, changes) == pytest.approx(100)
    assert explain_mnistc.cosine(changes - 5 * (changes == 0), changes) == pytest.approx(100)
    assert explain_mnistc.cosine(-changes, changes) == 0
    assert explain_mnistc.cosine(np.roll(changes, 1, axis=1), changes) == 0
    assert explain_mnistc.cosine(changes * [[[1]], [[0]]], changes) == pytest.approx(50)
    one = np.zeros((1, 4, 4))
    one[0, 1, :] = [1, 0, 0, 0]
    assert explain_mnistc.cosine(one, one + np.roll(one, 1, axis=2)) == pytest.approx(100 / 2**0.5)


def test_a_fit_serves_the_corruptions_that_it_knows_no_labels_of(digits, monkeypatch):
    images = np.rint(255 * np.tile(digits, (20, 1, 1)))[:, None].astype(np.uint8)
    monkeypatch.setattr(explain_mnistc, "read", lambda data: (images, None, images, None))
    known, fits = [], []
    monkeypatch.setattr(
        explain_mnistc,
        "labeled_anomalies",
        lambda images, names, seed: known.append(names) or (images, images > 0),
    )

    class Changes:
        """A detector whose score is the brightness, and whose relevance is it as well."""

        def fit(self, X, y=None):
            fits.append((X, y))

        def get_params(self):
            return {}

        def set_params(self):
            pass

        def anomaly_score(self, X):
            return X.mean((1, 2, 3))

        def explain(self, X):
            return X[:, 0]

    monkeypatch.setattr(explain_mnistc, "make_detector", lambda size, method: Changes())
    options = {"sizes": ["small"], "seeds": [0], "data": list(corruptions.CORRUPTIONS)}
    groups = {}
    for task in explain_mnistc.tasks(
        SimpleNamespace(methods=["DeepSVDD", "DeepSAD, 10 labeled"], **options)
    ):
        groups.setdefault(explain_mnistc.together(task), []).append(task)
    assert [len(group) for group in groups.values()] == [15, 8, 7]
    for group in groups.values():
        results = explain_mnistc.run(group, Options("cpu", quick=True))
        for task, result in zip(group, results, strict=True):
            if "labeled" in task["method"]:
                assert task["data"] not in known[-1]
            assert result["clever_hans"] == result["auc"] - result["cosine"]
            if task["data"] == "brightness":
                assert result["auc"] == 100
            if task["data"] == "stripe":  # half of the pixels are changed
                assert result["flat_cosine"] == pytest.approx(100 / 2**0.5, abs=1)
    assert [None if y is None else (y < 0).sum() for _, y in fits] == [None, 10, 10]
    assert_allclose([fits[0][0].mean(), fits[0][0].std()], [0, 1], atol=1e-3)


def test_labeled_anomalies_are_annotated_by_what_changed(digits):
    made, masks = explain_mnistc.labeled_anomalies(digits, ("stripe", "zigzag"), seed=0)
    assert_array_equal(masks[[0, 2]], corruptions.truth(digits, made)[[0, 2]] > 0.25)
    assert masks[0, :, :7].all() and not masks[0, :, 7:21].any()
    assert (made[1::2] >= digits[1::2]).all()
    black = np.zeros((1, 28, 28))
    _, masks = explain_mnistc.labeled_anomalies(black, ("rotate",), seed=0)
    assert_array_equal(masks, -1)  # nothing has changed


def test_relevance_maps_are_laid_out_beside_the_thesis():
    pytest.importorskip("matplotlib")
    from benchmarks import report

    results = [
        {"data": name, "method": method, "seed": seed, "seconds": 1.0, "flat_cosine": 20.0 + place}
        | {"auc": 90.0 + seed, "cosine": 60.0 - place, "clever_hans": 30.0 + seed + place}
        for place, name in enumerate(corruptions.CORRUPTIONS)
        for method in ("KDE", "FCDD, masks")
        for seed in range(2)
    ]
    text = report.mnistc_by_method(results[:-1])  # not all that FCDD has been run on is there
    assert "KDE         90.5±0.7 53.0±0.0 37.5±0.7    1" in text
    assert "FCDD, masks 90.0     53.0     37.0        1" in text
    assert "flat map    \\        27.0±0.0" in text
    row = next(t for t in report.mnistc_by_corruption(results).splitlines() if "zigzag" in t)
    assert row.split()[1:4] == ["90.5±0.7", "▲", "(84.0)"]
    row = next(t for t in report.cosines_by_corruption(results).splitlines() if "zigzag" in t)
    assert row.split() == ["zigzag", "46.0±0.0", "46.0±0.0", "34.0±0.0"]
    first = report.highest_clever_hans(results).splitlines()[-4]
    assert first.split("  ")[0] == "1. zigzag 44.5"


def test_the_thesis_has_all_corruptions():
    assert list(paper.MNISTC) == list(corruptions.CORRUPTIONS)
    for published in paper.MNISTC.values():
        assert list(published) == list(paper.CLEVER_HANS)


def test_committed_results_are_lines_of_json_that_say_what_made_them():
    paths = sorted(running.RESULTS.glob("*.jsonl"))
    assert paths
    for path in paths:
        for line in path.read_text().splitlines():
            result = json.loads(line)
            assert {"data", "method", "seed", "seconds", "device", "commit"} <= set(result)
            assert "auc" in result or path.stem == "explain"


def test_the_pages_tables_are_those_of_the_results(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    from benchmarks import report

    published = report.EVIDENCE / "tables"
    monkeypatch.setattr(report, "EVIDENCE", tmp_path)
    monkeypatch.setattr("sys.argv", ["report"])
    report.main()
    made = {path.name: path.read_text() for path in (tmp_path / "tables").iterdir()}
    assert made == {path.name: path.read_text() for path in published.iterdir()}
