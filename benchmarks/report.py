"""Tables and plots of all results, for the pages in ``docs/evidence``.

Run as ``python -m benchmarks report``: reads ``benchmarks/results`` and writes
``docs/evidence/tables/*.rst`` and ``docs/evidence/*.png``. ``--heat-maps METHOD`` also trains that
method of :mod:`benchmarks.defects` once more and draws its best and worst heat maps.
"""

from __future__ import annotations

import argparse
from itertools import groupby
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from benchmarks import (
    agad,
    defects,
    explain,
    explain_mnistc,
    exposure,
    paper,
    scenarios,
    standins,
    table6,
    text,
)
from benchmarks.corruptions import CORRUPTIONS
from benchmarks.images import CLASSES
from benchmarks.layout import (
    NOTABLE,
    beside_paper,
    first_against_second,
    mean_and_deviation,
    table_rst,
)
from benchmarks.peers import PEERS
from benchmarks.running import RESULTS, load

EVIDENCE = Path(__file__).parents[1] / "docs" / "evidence"
LEGEND = (
    f"In brackets the paper's figure; ▲ and ▼ where ours is {NOTABLE:.0f} points or more above or "
    "below it."
)


def chosen(results, **wanted):
    return [r for r in results if all(r[name] == value for name, value in wanted.items())]


def values(results, field="auc", **wanted):
    return [r[field] for r in chosen(results, **wanted) if field in r]


def methods_of(results):
    """Return the methods, ours first."""
    names = dict.fromkeys(result["method"] for result in results)
    return sorted(names, key=lambda name: name in PEERS)


def titled(title, *parts):
    return "\n\n".join([f"{title}\n{'^' * len(title)}", *parts])


def figures(header, rows):
    """Lay out a table whose cells are not wrapped."""
    return f".. rst-class:: figures\n\n{table_rst(header, rows)}"


def made_from(results, command):
    """Say what made a table: command, seeds, devices, commits and versions."""
    seeds = sorted({result["seed"] for result in results})
    commits = sorted({result["commit"] for result in results})
    devices = sorted({result["device"] for result in results})
    torch = sorted({v for r in results if (v := r["versions"].get("torch"))})
    return (
        f"``{command}``: {len(results)} runs, {len(seeds)} seeds at most, "
        f"on {' and '.join(devices)}, PyTorch {', '.join(torch)}, at {', '.join(commits)}."
    )


def told_p(p):
    """Lay out a p-value, or nothing where there is none."""
    return "" if np.isnan(p) else f"{p:.3f}{' ★' * (p < 0.05)}"


def write(name, *parts):
    path = EVIDENCE / "tables" / f"{name}.rst"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(part for part in parts if part) + "\n")


def save(figure, name):
    figure.savefig(EVIDENCE / f"{name}.png", dpi=110)
    plt.close(figure)


# Table 6

# Rows of the paper's table, and our methods of which the better one is taken for each data set.
IN_PAPER = {
    "OC-SVM raw": ["OC-SVM raw, test"],
    "OC-SVM hybrid": ["OC-SVM hybrid, test"],
    "AutoEncoder": ["AutoEncoder"],
    "DeepSVDD": ["DeepSVDD one-class", "DeepSVDD soft-boundary 0.01", "DeepSVDD soft-boundary 0.1"],
    "SSAD raw": ["SSAD raw, test"],
    "SSAD hybrid": ["SSAD hybrid, test"],
    "SSDGM": ["SSDGM M2", "SSDGM M1+M2"],
    "DeepSAD": ["DeepSAD"],
    "DeepClassifier": ["DeepClassifier"],
}


def better(results, methods, table):
    """Return the runs of the method that is best on a table, by mean AUC, as {seed: AUC}."""
    found = [
        {r["seed"]: r["auc"] for r in chosen(results, method=method, data=table)}
        for method in methods
    ]
    return max(found, key=lambda runs: np.mean(list(runs.values())) if runs else -1.0)


def with_mean(name, cells, of_tables):
    """Return a row with the mean of the means, if no table is missing."""
    mean = f"{np.mean([np.mean(v) for v in of_tables]):.1f}" if all(map(len, of_tables)) else ""
    return [name, *cells, mean]


def table6_paper(results):
    """Ours beside the paper's, and the test between the two best."""
    results = chosen(results, setting="paper")
    by_method, rows = {}, []
    for name, methods in IN_PAPER.items():
        by_method[name] = [better(results, methods, table) for table in table6.TABLES]
        of_tables = [list(runs.values()) for runs in by_method[name]]
        cells = [
            beside_paper(v, published, full=10)
            for v, published in zip(of_tables, paper.TABLE6[name], strict=True)
        ]
        row = with_mean(name, cells, of_tables)
        row[-1] += f" ({np.mean(paper.TABLE6[name]):.1f})" if row[-1] else ""
        rows.append(row)
    rows.append(["DeepSAD, authors' code", *paper.AUTHORS_CODE, ""])
    tests = []
    for position, table in enumerate(table6.TABLES):
        runs = {name: of[position] for name, of in by_method.items()}
        first, second, p = first_against_second(runs)
        tests.append([table, first, second, told_p(p)])
    return titled(
        "The paper's settings",
        "Mean ROC AUC in % ± standard deviation over 10 seeds, or as many as stand in square "
        f"brackets. {LEGEND} As in the paper, DeepSVDD and SSDGM are the better of their variants "
        "on each table, and the shallow and hybrid methods' parameters are chosen on 10% of the "
        "test rows.",
        figures(["", *table6.TABLES, "mean"], rows),
        "The best against the second best, Wilcoxon's signed-rank test over the seeds that both "
        "have (★: p < 0.05):",
        figures(["", "first", "second", "p"], tests),
    )


def table6_setting(results, setting, title, field, meaning):
    """One field of one setting by table, in the order of the means."""
    results = [r for r in chosen(results, setting=setting) if field in r]
    most = len({r["seed"] for r in results})
    rows = []
    for method in methods_of(results):
        of_tables = [values(results, field, method=method, data=t) for t in table6.TABLES]
        cells = [mean_and_deviation(v, full=most) for v in of_tables]
        rows.append(with_mean(method, cells, of_tables))
    rows.sort(key=lambda row: float(row[-1] or 0), reverse=field in ("auc", "ap", "detected"))
    table = figures(["", *table6.TABLES, "mean"], rows)
    over = f"mean ± standard deviation over {most} seeds, or as many as stand in brackets"
    return titled(title, f"{meaning}, {over}.", table)


def report_table6():
    results = load(RESULTS / "table6.jsonl")
    meaning = {
        "auc": "ROC AUC in %",
        "ap": "Average precision in %",
        "false_alarms": "Share of new normal rows beyond the default threshold, in %",
        "detected": "Share of new anomalies beyond the default threshold, in %",
        "seconds": "Seconds to fit in one thread of a shared machine; of our deep detectors, whose "
        "seeds are trained as one, a seed's share",
    }
    write("table6_made", made_from(results, "python -m benchmarks table6"))
    write("table6_paper", table6_paper(results))
    write(
        "table6_defaults",
        table6_setting(results, "defaults", "Everyone's defaults", "auc", meaning["auc"]),
        table6_setting(results, "tenth", "A tenth of the authors' steps", "auc", meaning["auc"]),
    )
    write(
        "table6_user",
        *(
            table6_setting(results, "user", f"A user's setting: {text}", field, meaning[field])
            for field, text in (
                ("auc", "ROC AUC"),
                ("ap", "average precision"),
                ("false_alarms", "false alarms"),
                ("detected", "anomalies found"),
                ("seconds", "seconds"),
            )
        ),
    )
    shallow = [r for r in chosen(results, setting="paper") if ", " in r["method"]]
    write(
        "table6_shallow",
        table6_setting(
            shallow, "paper", "Shallow detectors, tuned in two ways", "auc", meaning["auc"]
        ),
    )


# Scenarios

SCENARIOS = {
    "i": (scenarios.SHARES, "share of labeled anomalies"),
    "ii": (scenarios.SHARES, "share of unlabeled anomalies"),
    "iii": (scenarios.KNOWN_CLASSES, "known classes of anomalies"),
}
PAPER_NAMES = {"SSAD": "SSAD raw", "OneClassSVM": "OC-SVM raw", "IsolationForest": "IF raw"}


def at(results, method, point):
    """Return the runs of a method at a point; those without labels are the same at several."""
    labeled, polluted, classes = point
    if method in scenarios.WITHOUT_LABELS:
        labeled, classes = 0.0, 0
    runs = chosen(results, method=method, labeled=labeled, polluted=polluted, classes=classes)
    return {(r["normal"], r["seed"]): r["auc"] for r in runs}


def scenario(results, data, name):
    """One scenario's table: methods by share or by number of classes."""
    marks, meaning = SCENARIOS[name]
    points = scenarios.points([name])
    rows, by_point = [], [{} for _ in points]
    most = max(len(at(results, method, points[-1])) for method in methods_of(results))
    for method in methods_of(results):
        runs = [at(results, method, point) for point in points]
        published = paper.SCENARIOS[name][data].get(PAPER_NAMES.get(method, method), [None] * 5)
        cells = [
            beside_paper(list(r.values()), p, full=most)
            for r, p in zip(runs, published, strict=True)
        ]
        for here, r in zip(by_point, runs, strict=True):
            here[method] = r
        rows.append([method, *cells])
    best = ["the best"]
    for here in by_point:
        first, _, p = first_against_second(here)
        best.append(", p = ".join(filter(None, [first, told_p(p)])))
    header = [meaning, *(f"{mark:g}" if name == "iii" else f"{mark:.2f}" for mark in marks)]
    return titled(f"Scenario ({name}): {meaning}", figures(header, [*rows, best]))


def draw_scenarios(results, data, size):
    """Draw AUC by share, pollution and number of classes, the paper's DeepSAD dashed."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.6), sharey=True, layout="constrained")
    for axis, (name, (marks, meaning)) in zip(axes, SCENARIOS.items(), strict=True):
        points = scenarios.points([name])
        for number, method in enumerate(methods_of(results)):
            runs = [list(at(results, method, point).values()) for point in points]
            there = [i for i, r in enumerate(runs) if r]
            means = [np.mean(runs[i]) for i in there]
            label = method if name == "i" else None
            style = "-" if method not in scenarios.WITHOUT_LABELS else ":"
            width = 3 if method == "DeepSAD" else 1.2
            color = "black" if method == "DeepSAD" else plt.cm.tab20(number)
            axis.plot(there, means, style, marker=".", linewidth=width, color=color, label=label)
        published = paper.SCENARIOS[name][data]["DeepSAD"]
        label = "DeepSAD, paper" if name == "i" else None
        axis.plot(published, "--", color="black", linewidth=1.5, label=label)
        axis.set(xlabel=meaning, xticks=range(len(marks)), xticklabels=[f"{m:g}" for m in marks])
        axis.grid(alpha=0.3)
    axes[0].set(ylabel="ROC AUC, %")
    figure.legend(loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    save(figure, f"scenarios_{data}_{size}")


def report_scenarios():
    for data in scenarios.NETWORKS:
        for size in ("small", "full"):
            results = chosen(load(RESULTS / f"{data}.jsonl"), size=size)
            if not results:
                continue
            normal = sorted({r["normal"] for r in results})
            told = ", ".join(CLASSES[data][label] for label in normal)
            write(
                f"{data}_{size}",
                f"Size {size}, normal classes {told}. Mean ROC AUC in % ± standard deviation over "
                f"normal classes and seeds. {LEGEND} The paper chose the parameters of OC-SVM "
                "and SSAD on 10% of the test images and reports the better of two variants of "
                "DeepSVDD; here all have their defaults. p is that of the best against the second.",
                *(scenario(results, data, name) for name in SCENARIOS),
                made_from(results, f"python -m benchmarks {data}"),
            )
            draw_scenarios(results, data, size)


# Outlier exposure, AGAD, defects


def exposure_section(results, size, data):
    normal = sorted({result["normal"] for result in results})
    rows = []
    for method in methods_of(results):
        published = paper.EXPOSURE[data].get(method)
        of_classes = [values(results, method=method, normal=label) for label in normal]
        cells = [
            beside_paper(v, published and published[label])
            for v, label in zip(of_classes, normal, strict=True)
        ]
        mean = [np.mean(v) for v in of_classes]
        expected = published and float(np.mean([published[label] for label in normal]))
        seconds = np.median(values(results, "seconds", method=method))
        rows.append([method, *cells, beside_paper([np.mean(mean)], expected), f"{seconds:.0f}"])
    header = ["", *(CLASSES[data][label] for label in normal), "mean", "seconds"]
    return titled(f"{data}, {size}", figures(header, rows))


def report_exposure():
    results = load(RESULTS / "oe.jsonl")
    parts = [
        exposure_section(of, size, data)
        for size in exposure.ROWS
        for data in CLASSES
        if (of := chosen(results, size=size, data=data))
    ]
    write(
        "oe",
        f"ROC AUC in %, mean ± standard deviation over the seeds. {LEGEND}",
        *parts,
        made_from(results, "python -m benchmarks oe"),
    )


def agad_row(result):
    curve, share, normal = result["curve"], result["share"], result["normal"]
    published = paper.AGAD_LABELED if share else {d: f[normal] for d, f in paper.AGAD.items()}
    half = curve[len(curve) // 2 :]
    best = int(np.argmax(curve))
    return [
        f"{result['data']} {CLASSES[result['data']][normal]}",
        result["schedule"],
        f"{100 * share:.0f}%",
        f"{beside_paper([result['auc']], published[result['data']])}",
        f"{curve[best]:.1f} ({best + 1})",
        f"{min(half):.1f} to {max(half):.1f}",
        int(sum(result["history"]["reset"])),
        f"{result['seconds']:.0f}",
    ]


def draw_agad(results):
    figure, axis = plt.subplots(figsize=(6.4, 4), layout="constrained")
    for result in results:
        share, normal = result["share"], CLASSES[result["data"]][result["normal"]]
        axis.plot(
            range(1, len(result["curve"]) + 1),
            result["curve"],
            linestyle="-" if share else "--",
            linewidth=1 if result["schedule"] == "constant" else 2.5,
            label=f"{result['data']} {normal}, {100 * share:.0f}% labeled, {result['schedule']}",
        )
    axis.set(xlabel="epoch", ylabel="ROC AUC on test images, %", title="AGAD")
    axis.legend()
    save(figure, "agad")


def report_agad():
    results = load(RESULTS / "agad.jsonl")
    parts = []
    for size in agad.EPOCHS:
        header = ["normal class", "rate", "labeled", "last epoch", "best epoch", "second half"]
        header += ["resets", "seconds"]
        of_size = chosen(results, size=size)
        parts += [titled(f"Size {size}", figures(header, map(agad_row, of_size)))] * bool(of_size)
    write(
        "agad",
        "ROC AUC in %: after the last epoch, which is the result; of the best epoch, which one "
        "would have to know, its number in brackets; least and greatest in the second half of "
        f"training. {LEGEND} With labels it is the paper's mean over the classes.",
        *parts,
        made_from(results, "python -m benchmarks agad"),
    )
    draw_agad(chosen(results, size="small"))


def report_defects():
    results = load(RESULTS / "defects.jsonl")
    fields = {"auc": "image", "pixel_auc": "pixels", "tile_auc": "tile", "seconds": "seconds"}
    parts = []
    for side in defects.FILTERS:
        rows = [
            [method, *(mean_and_deviation(values(of, field)) for field in fields)]
            for method in defects.METHODS
            if (of := chosen(results, side=side, method=method))
        ]
        table = figures(["", *fields.values()], rows)
        parts += [titled(f"{side} x {side} pixels", table)] * bool(rows)
    write(
        "defects",
        "AUC in % over images, over the pixels of all test images together, and over those of each "
        "anomalous tile; mean ± standard deviation over 5 splits by tile.",
        *parts,
        made_from(results, "python -m benchmarks defects"),
    )


# Relevance maps


def over_corruptions(results, method, field):
    """Return the mean over the corruptions of each seed that has them all."""
    of_seeds = {}
    for result in chosen(results, method=method):
        of_seeds.setdefault(result["seed"], []).append(result[field])
    return [np.mean(of_seed) for of_seed in of_seeds.values() if len(of_seed) == len(CORRUPTIONS)]


def mnistc_by_method(results):
    fields = {"auc": "ROC AUC", "cosine": "cosine", "clever_hans": "Clever Hans"}
    rows = []
    for method in methods_of(results):
        cells = [mean_and_deviation(over_corruptions(results, method, field)) for field in fields]
        rows.append([method, *cells, f"{np.median(values(results, 'seconds', method=method)):.0f}"])
    flat = over_corruptions(results, rows[0][0], "flat_cosine")
    rows.append(["flat map", "", mean_and_deviation(flat), "", ""])
    return titled("Means over the 15 corruptions", figures(["", *fields.values(), "seconds"], rows))


def mnistc_by_corruption(results):
    rows = [
        [
            name,
            *(
                beside_paper(values(results, method=method, data=name), published)
                for method, published in paper.MNISTC[name].items()
            ),
        ]
        for name in CORRUPTIONS
    ]
    return titled("ROC AUC by corruption", figures(["", *paper.CLEVER_HANS], rows))


def cosines_by_corruption(results):
    methods = methods_of(results)
    rows = [
        [
            name,
            *(mean_and_deviation(values(results, "cosine", method=m, data=name)) for m in methods),
            mean_and_deviation(values(results, "flat_cosine", method=methods[0], data=name)),
        ]
        for name in CORRUPTIONS
    ]
    return titled("Cosine by corruption", figures(["", *methods, "flat map"], rows))


def highest_clever_hans(results):
    """Lay out the three corruptions of the highest scores, ours and the thesis's."""
    columns = {}
    for method, published in paper.CLEVER_HANS.items():
        found = {
            name: np.mean(of_name)
            for name in CORRUPTIONS
            if (of_name := values(results, "clever_hans", method=method, data=name))
        }
        ours = sorted(found.items(), key=lambda item: -item[1])[:3]
        columns[method] = [f"{name} {score:.1f}" for name, score in ours] + [""] * (3 - len(ours))
        columns[f"{method}, thesis"] = [f"{n} {score:.1f}" for n, score in published.items()]
    rows = [[f"{place}.", *row] for place, row in enumerate(zip(*columns.values(), strict=True), 1)]
    return titled("The highest Clever Hans scores", figures(["", *columns], rows))


def report_mnistc():
    results = load(RESULTS / "mnistc.jsonl")
    for size in explain_mnistc.N_EPOCHS:
        of_size = chosen(results, size=size)
        if not of_size:
            continue
        write(
            f"mnistc_{size}",
            "In %: ROC AUC of clean against corrupted test images, cosine similarity between the "
            "positive part of the relevance maps and how much each pixel was changed, and the "
            "former less the latter, the Clever Hans score; mean ± standard deviation over the "
            "seeds. A flat map gives all pixels the same relevance. Seconds are the median to fit. "
            f"{LEGEND}",
            mnistc_by_method(of_size),
            mnistc_by_corruption(of_size),
            cosines_by_corruption(of_size),
            highest_clever_hans(of_size),
            made_from(of_size, "python -m benchmarks mnistc"),
        )


# Texts


def text_row(results, name, method, field="auc"):
    published = paper.TEXT.get(name, (None,) * len(text.GROUPS))
    of_groups = [values(results, field, method=method, data=group) for group in text.GROUPS]
    cells = [
        beside_paper(found, figure) for found, figure in zip(of_groups, published, strict=True)
    ]
    return with_mean(name, cells, of_groups)


def report_text():
    results = load(RESULTS / "text.jsonl")
    rows = []
    for method in (*text.POOLED, *text.CONTEXTS):
        rows.append(text_row(results, method, method))
        if method in text.CONTEXTS:
            best = f"{method}, best context"
            rows.append(text_row(results, best, method, "best_context_auc"))
    write(
        "text",
        "ROC AUC in % on all test texts by the group that is normal, mean ± standard deviation "
        f"over seeds, if there are several; a one-class SVM has none. {LEGEND}",
        figures(["", *text.GROUPS, "mean"], rows),
        made_from(results, "python -m benchmarks text"),
    )


def report_text_labels():
    """Lay out means over groups and seeds, by number of labels."""
    results = load(RESULTS / "text_labels.jsonl")
    parts = []
    for field, title in {
        "auc": "All other groups",
        "unseen_auc": "The four groups of which no text was labeled",
        "seconds": "Seconds to fit",
    }.items():
        numbers = sorted({result["labeled"] for result in results})
        rows = [
            [method, *(mean_and_deviation(means) for means in of_method)]
            for method in text.TRAINED_ON_LABELS
            if any(
                of_method := [
                    table_means(by_run(chosen(results, labeled=n), method, field)) for n in numbers
                ]
            )
        ]
        table = figures(["", *(f"{n} labels" for n in numbers)], rows)
        parts.append(titled(title, table))
    write(
        "text_labels",
        "ROC AUC in % on test texts, mean ± standard deviation over the six groups.",
        *parts,
        made_from(results, "python -m benchmarks text_labels"),
    )


# Explanations

EXPLAINED = {
    "1": "Found of one column that was moved, in %",
    "3": "Found of three columns that were moved, in %",
    "anomalies": "Deletion on anomalies, in % (smaller is better)",
}


def report_explain():
    """Lay out means over tables by detector, of each way to explain it."""
    results = load(RESULTS / "explain.jsonl")
    parts = []
    for case, title in EXPLAINED.items():
        keys = [f"{explainer}, {case}" for explainer in explain.EXPLAINERS]
        rows = []
        for method in explain.DETECTORS:
            # The same tables for all three.
            runs = [r for r in chosen(results, method=method) if all(key in r for key in keys)]
            if runs:
                means = [f"{np.mean([r[key] for r in runs]):.1f}" for key in keys]
                rows.append([method, len(runs), *means])
        parts.append(titled(title, figures(["", "tables", *explain.EXPLAINERS], rows)))
    keys = [f"{explainer}, seconds a row" for explainer in explain.EXPLAINERS]
    rows = []
    for method in explain.DETECTORS:
        runs = chosen(results, method=method)
        if runs:
            spent = np.array([[r[key] for key in keys] for r in runs])
            ratios = np.median(spent[:, 2:] / spent[:, :2], axis=0)
            rows.append([method, *(f"{ratio:.0f}" for ratio in ratios)])
    header = ["", "KernelSHAP / own", "KernelSHAP / in turn"]
    parts.append(titled("Time to explain a row, median of ratios", figures(header, rows)))
    write("explain", *parts, made_from(results, "python -m benchmarks explain"))


# Defaults and speed


def table_means(of_runs):
    """Return the mean over seeds for each table, given a value for each (table, seed)."""
    return [
        float(np.mean([of_runs[run] for run in runs]))
        for _, runs in groupby(sorted(of_runs), key=lambda run: run[0])
    ]


def by_run(results, method, field):
    return {(r["data"], r["seed"]): r[field] for r in chosen(results, method=method)}


def against_deep_sad(results, method, field):
    """Lay out the mean difference to DeepSAD over tables, paired by run, and its standard error."""
    theirs, ours = by_run(results, "DeepSAD", field), by_run(results, method, field)
    means = table_means({run: ours[run] - theirs[run] for run in ours.keys() & theirs.keys()})
    if method == "DeepSAD" or len(means) < 2:
        return ""
    return f"{np.mean(means):+.1f}±{np.std(means, ddof=1) / np.sqrt(len(means)):.1f}"


def defaults_row(results, method):
    means = {
        field: table_means(by_run(results, method, field))
        for field in ("auc", "ap", "false_alarms", "seconds")
    }
    figure = {field: f"{np.mean(of_tables):.1f}" for field, of_tables in means.items()}
    auc, ap = (against_deep_sad(results, method, field) for field in ("auc", "ap"))
    cells = [figure["auc"], auc, figure["ap"], ap, figure["false_alarms"], figure["seconds"]]
    return [method, len(means["auc"]), *cells]


def defaults_by_group(results, methods):
    groups = list(dict.fromkeys(map(standins.group, standins.names())))
    rows = []
    for method in methods:
        runs = by_run(results, method, "auc")
        of_groups = [
            table_means({run: auc for run, auc in runs.items() if standins.group(run[0]) == group})
            for group in groups
        ]
        rows.append([method, *(f"{np.mean(of):.1f}" if of else "" for of in of_groups)])
    return figures(["", *groups], rows)


def report_defaults():
    results = load(RESULTS / "defaults.jsonl")
    methods = methods_of(results)
    changes = [method for method in methods if "=" in method and " " not in method]
    others = [method for method in methods if method not in changes]
    others.sort(key=lambda m: -np.mean(table_means(by_run(results, m, "auc"))))
    header = ["", "tables", "ROC AUC", "to DeepSAD", "average precision", "to DeepSAD"]
    header += ["normal rows flagged", "seconds"]
    write("defaults_methods", figures(header, [defaults_row(results, m) for m in others]))
    draw_auc_by_seconds(results, others)
    write(
        "defaults",
        titled("ROC AUC by group of tables", defaults_by_group(results, others)),
        titled(
            "DeepSAD with one default changed",
            figures(header, [defaults_row(results, m) for m in changes]),
        ),
        made_from(results, "python -m benchmarks defaults"),
    )


def draw_auc_by_seconds(results, methods):
    """Draw mean AUC by the geometric mean of seconds, a point for every method."""
    figure, axis = plt.subplots(figsize=(7, 4.6), layout="constrained")
    for method in methods:
        auc = np.mean(table_means(by_run(results, method, "auc")))
        seconds = np.exp(np.mean(np.log(table_means(by_run(results, method, "seconds")))))
        ours = method not in PEERS
        axis.scatter(seconds, auc, marker="o" if ours else "^", color="C0" if ours else "C7")
        axis.annotate(method, (seconds, auc), (5, 3), textcoords="offset points", fontsize=8)
    axis.set(
        xscale="log",
        xlabel="seconds to fit, geometric mean over the tables",
        ylabel="ROC AUC, %, mean over the tables",
        title="Everyone's defaults: ours ●, peers ▲",
    )
    axis.margins(x=0.2)
    save(figure, "auc_by_seconds")


def report_speed():
    results = load(RESULTS / "speed.jsonl")
    if not results:
        return
    sizes = sorted({result["n"] for result in results})
    figure, axis = plt.subplots(figsize=(7, 4.8), layout="constrained")
    rows = []
    for number, method in enumerate(methods_of(results)):
        of_sizes = [values(results, "seconds", method=method, n=n) for n in sizes]
        medians = [np.median(v) if v else np.nan for v in of_sizes]
        style = "--^" if method in PEERS else "-o"
        axis.plot(sizes, medians, style, markersize=4, color=plt.cm.tab20(number), label=method)
        score = np.median(values(results, "score_seconds", method=method, n=sizes[-2]))
        auc = np.mean(values(results, "auc", method=method, n=sizes[-2]))
        cells = ["" if np.isnan(m) else f"{m:.2f}" for m in medians]
        rows.append([method, *cells, f"{1e3 * score:.0f}", f"{auc:.1f}"])
    axis.set(xscale="log", yscale="log", xlabel="training rows", ylabel="seconds to fit")
    axis.grid(alpha=0.3, which="both")
    figure.legend(loc="outside right center", fontsize=8, frameon=False)
    save(figure, "seconds_by_rows")
    header = ["", *(f"n = {n:,}" for n in sizes), "ms to score 5,000", "ROC AUC"]
    write(
        "speed",
        f"Median seconds to fit n rows of shuttle (9 features); the last two columns are those of "
        f"n = {sizes[-2]:,}.",
        figures(header, rows),
        made_from(results, "python -m benchmarks speed"),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heat-maps", metavar="METHOD", choices=defects.METHODS)
    arguments = parser.parse_args()
    report_table6()
    report_scenarios()
    report_exposure()
    report_agad()
    report_defects()
    report_mnistc()
    report_text()
    report_text_labels()
    report_explain()
    report_defaults()
    report_speed()
    if arguments.heat_maps:
        paths = [EVIDENCE / f"defects_{which}.png" for which in ("best", "worst")]
        defects.draw(64, 0, arguments.heat_maps, paths)


if __name__ == "__main__":
    main()
