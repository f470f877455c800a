"""False alarms and power of the page's verdict, over whole comparisons: search, second score, retraining, test.

    python -m benchmarks.calibration [--comparisons 500] [--workers 2] [--quick]

Every comparison is one of cross-entropy with itself. The first name is run as `study.tune` runs it. The second has the
same images in every replicate, and the seeds of another study for everything else: the points of its search, TPE,
initial weights and orders of all trainings. So there is no difference to be found, and every win or loss is a false
alarm. The second name's figures enter `study.compare.compare` under the name of the lead variant, because it is the one
that gets a verdict. (A class of one's own with cross-entropy's formula would not do: its search opens at other points.)

Power: the same figures with a constant added to the second name's, the difference that `smallest_detectable` promises
to find in 80 % of all comparisons, from the pooled standard deviation of the differences.

The search is the quick preset's (trials, second scores, retrainings); data and network are the smoke preset's. Fifteen
replicates are run at a time and read twice: as five comparisons of three and as three of five. All of their seeds
differ, so that, given the data set, they are independent draws. Their images overlap, as in every study.

Writes benchmarks/results/DATE-calibration.md, and study/comparison/calibration.json, which every page quotes; --quick
only prints.
"""

import argparse
import multiprocessing
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from math import isnan, nan, sqrt
from pathlib import Path
from typing import Any

import torch
from scipy import special

import study.comparison as compared
from benchmarks.page import machine, markdown
from study.compare import compare
from study.comparison.primary import ALPHA
from study.comparison.replicates import REFERENCE, overlap_ratio
from study.config import StudyConfig
from study.confirm import confirm_trainings, rescore_trainings
from study.data.registry import load_source
from study.data.types import Source
from study.ledger import evaluation_keys
from study.measure import load_network
from study.options import study_config
from study.probes import accuracy
from study.run import RunDirectory, write_json
from study.search import SearchFeed, starting_counts
from study.seeds import derive
from study.statistics import smallest_detectable, wilson
from study.tables import frame
from study.tasks import get_task
from study.training import predict
from study.trial import run_training, splits, splits_of

SECOND = "hem+"
"""The name under which cross-entropy is compared with itself: the lead variant's where classes differ in size."""
REPLICATES = (3, 5)
BATCH = 15
"""Replicates that are run at a time; a multiple of each of `REPLICATES`."""
TRIALS, EPOCHS, POWER = 6, 6, 0.8
RESULTS = Path(__file__).parent / "results"
QUOTED = Path(compared.__file__).parent / "calibration.json"


@dataclass(frozen=True)
class Batch:
    """What fifteen replicates gave: evaluation rows, what `compare` reads of study.json, seconds of each training."""

    rows: list[dict[str, Any]]
    study: dict[str, Any]
    seconds: list[float]


@dataclass(frozen=True)
class Finding:
    """What all comparisons of so many replicates say together; differences are fractions.

    uncorrected: false alarms of the same test without the correction for overlap. unknown: comparisons without a
    p-value, which count as no alarm and as not found. expected: share of false alarms for normal differences that the
    overlap does not correlate. sd: pooled standard deviation of the differences.
    """

    replicates: int
    comparisons: int
    false_alarms: int
    uncorrected: int
    unknown: int
    expected: float
    mean: float
    sd: float
    planted: float
    found: int


def study_of(seed: int) -> StudyConfig:
    """Return a study of cross-entropy alone."""
    given = {"task": "imbalanced", "dataset": "digits", "model": "mlp", "losses": [REFERENCE], "attacks": "none"}
    spent = {"replicates": BATCH, "trials": TRIALS * BATCH, "seeds": 1, "epochs": EPOCHS}
    return study_config({**given, **spent, "seed": seed})


def run_stages(asked: StudyConfig, images: StudyConfig, source: Source, run: RunDirectory) -> None:
    """Search, score again and retrain the primary arm, as the stages of a study do, one training after the other.

    The seed of `asked` decides what is trained and how, that of `images` cuts the data.
    """
    recipe, arm = get_task(images.task).recipe(source), get_task(images.task).endpoint.arm
    feed = SearchFeed(asked, run, recipe, starting_counts(images, source))
    while (training := feed.next()) is not None:
        feed.done(training, run_training(training, images, source, run))
    for training in rescore_trainings(asked, run, recipe):
        run_training(training, images, source, run)
    for training in confirm_trainings(asked, run, recipe, source.num_classes):
        if training.key.arm == arm:
            run_training(training, images, source, run)


def measured(name: str, images: StudyConfig, source: Source, run: RunDirectory) -> Iterator[dict[str, Any]]:
    """Yield each retrained model's row of the primary endpoint, with `name` for its loss."""
    metric = get_task(images.task).endpoint.metric
    for key in evaluation_keys(images, run):
        cut = splits_of(key, images, source)
        logits = predict(load_network(images, source, run, key), cut.test.images)
        about = {"method": key.method, "loss": name, "arm": key.arm, "replicate": key.replicate, "seed": key.number}
        for row in accuracy.rows(logits, cut.test.labels, cut.class_counts, cut.classes):
            if (row["slice"], row["metric"]) == ("all", metric):
                yield about | row


def run_batch(number: int) -> Batch:
    """Run fifteen replicates of both names in directories that are deleted afterwards."""
    images, source = study_of(derive(0, "calibration", number)), load_source("digits")
    names = {REFERENCE: images, SECOND: replace(images, seed=derive(0, "calibration", number, "second"))}
    batch = Batch([], recorded(images, source), [])
    for name, asked in names.items():
        with tempfile.TemporaryDirectory() as folder:
            run = RunDirectory(Path(folder))
            run_stages(asked, images, source, run)
            batch.rows.extend(measured(name, images, source, run))
            for stage in ("search", "rescore", "confirm"):
                batch.seconds.extend(cell["seconds"] for _, cell in run.cells(stage))
    return batch


def recorded(config: StudyConfig, source: Source) -> dict[str, Any]:
    """Return what `compare` reads of a study's record."""
    cuts = [splits(config, source, r, final=True) for r in range(config.replicates)]
    facts = ("classes", "class_counts", "test_train_ratio")
    about = {name: getattr(config, name) for name in ("task", "dataset", "methods", "arms", "replicates")}
    return about | {
        "primary": get_task(config.task).endpoint_on(config.dataset).to_dict(),
        "losses": [REFERENCE, SECOND],
        "data": {"classes": source.classes, "splits": [{fact: getattr(cut, fact) for fact in facts} for cut in cuts]},
    }


def judged(
    batches: Iterable[Batch], n: int, *, planted: float = 0.0, corrected: bool = True
) -> Iterator[dict[str, Any]]:
    """Yield the primary row of `compare` for every comparison of n replicates.

    `planted` is added to every figure of the second name; without `corrected` the test is not told of any overlap.
    """
    nothing = {"p": nan, "difference": nan, "difference_sd": nan, "verdict": ""}
    for batch in batches:
        table, data = frame("evaluation", batch.rows), batch.study["data"]
        table.loc[table["loss"] == SECOND, "value"] += planted
        for start in range(0, BATCH, n):
            cuts = data["splits"][start : start + n]
            cuts = cuts if corrected else [{**cut, "test_train_ratio": 0.0} for cut in cuts]
            study = {**batch.study, "replicates": n, "data": {**data, "splits": cuts}}
            rows = compare(table[table["replicate"].between(start, start + n - 1)], study=study)
            lead = rows[(rows["role"] == "primary") & (rows["loss"] == SECOND)]
            yield from lead.to_dict("records") or [nothing]


def finding(batches: list[Batch], n: int) -> Finding:
    """Return what the comparisons of n replicates show."""
    rows, ratio = list(judged(batches, n)), overlap_ratio(batches[0].study)
    sd = sqrt(statistics.fmean(row["difference_sd"] ** 2 for row in rows if not isnan(row["difference_sd"])))
    planted = smallest_detectable(sd, n, ratio=ratio, alpha=ALPHA, power=POWER)
    limit = special.stdtrit(n - 1, 1 - ALPHA / 2) * sqrt(1 + n * ratio)
    return Finding(
        replicates=n,
        comparisons=len(rows),
        false_alarms=alarms(rows),
        uncorrected=alarms(judged(batches, n, corrected=False)),
        unknown=sum(isnan(row["p"]) for row in rows),
        expected=float(2 * special.stdtr(n - 1, -limit)),
        mean=statistics.fmean(row["difference"] for row in rows if not isnan(row["difference"])),
        sd=sd,
        planted=planted,
        found=sum(row["verdict"] == "win" for row in judged(batches, n, planted=planted)),
    )


def alarms(rows: Iterable[dict[str, Any]]) -> int:
    return sum(row["verdict"] in ("win", "loss") for row in rows)


def share(count: int, of: int) -> str:
    low, high = wilson(count, of)
    return f"{100 * count / of:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


LINES: dict[str, Callable[[Finding], str]] = {
    "comparisons, false alarms": lambda f: f"{f.comparisons}, {f.false_alarms}",
    "**rate of false alarms** [95 %]": lambda f: share(f.false_alarms, f.comparisons),
    "the same, by theory": lambda f: f"{100 * f.expected:.1f} %",
    "rate without the correction for overlap [95 %]": lambda f: share(f.uncorrected, f.comparisons),
    "comparisons without a p-value (n/a)": lambda f: f"{f.unknown}",
    "mean difference, points": lambda f: f"{100 * f.mean:+.2f}",
    "standard deviation of a difference, pooled, points": lambda f: f"{100 * f.sd:.2f}",
    "planted difference, points": lambda f: f"{100 * f.planted:.1f}",
    "**power** [95 %]": lambda f: share(f.found, f.comparisons),
}


def reading(f: Finding) -> str:
    """Return what a finding means, in plain words."""
    n, level = f.comparisons, f"{100 * ALPHA:.0f} %"
    low, high = wilson(f.false_alarms, n)
    side = "above" if low > ALPHA else "below" if high < ALPHA else "compatible with"
    enough = "at least" if f.found >= POWER * n else "less than"
    return (
        f"With {f.replicates} replicates the page calls {share(f.false_alarms, n)} of the comparisons of a loss with "
        f"itself a win or a loss: {side} the level of {level}. Fewer than {level} are to be expected "
        f"({100 * f.expected:.1f} %): equal losses have no difference that replicates could share through their common "
        f"images, which is what the correction for overlap is for; without it there are {share(f.uncorrected, n)}. So "
        "this measures the whole way from search to verdict where losses are equal, and not whether the correction is "
        f"large enough where they differ. A constant difference of {100 * f.planted:.1f} points, the smallest that "
        f"these comparisons are said to show, is found in {share(f.found, n)} of them: {enough} the promised "
        f"{100 * POWER:.0f} %, which is for normal differences. Where a few are far larger than the rest, the pooled "
        "standard deviation exceeds that of most comparisons, and the planted difference is easier to find."
    )


def report(batches: list[Batch], findings: list[Finding], command: str, took: float) -> str:
    seconds, study, config = [s for batch in batches for s in batch.seconds], batches[0].study, study_of(0)
    about = (
        f"Cross-entropy against itself: {config.task}, {config.dataset}, {config.model}, {EPOCHS} epochs on "
        f"{sum(study['data']['splits'][0]['class_counts'])} images; {TRIALS} trials a search, {config.rescored} scored "
        f"again, one retraining; test images / other images = {overlap_ratio(study):.3g}. {len(batches) * BATCH:,} "
        f"replicates, {len(seconds):,} trainings of {statistics.fmean(seconds):.3f} s each (95 % of them below "
        f"{statistics.quantiles(seconds, n=20)[-1]:.2f} s), {took / 60:.0f} minutes in all."
    )
    rows = [[name, *map(line, findings)] for name, line in LINES.items()]
    table = markdown(["", *(f"{f.replicates} replicates" for f in findings)], rows)
    parts = ["# Calibration: false alarms and power of the verdict", f"`{command}`", machine(), about, table]
    return "\n\n".join([*parts, reading(findings[0])]) + "\n"


def quoted(f: Finding) -> dict[str, Any]:
    """Return a finding as plain JSON values; shares and differences are fractions."""
    (low, high), (power_low, power_high) = wilson(f.false_alarms, f.comparisons), wilson(f.found, f.comparisons)
    same = {name: getattr(f, name) for name in ("comparisons", "replicates", "false_alarms", "planted", "expected")}
    rates = {"rate": f.false_alarms / f.comparisons, "low": low, "high": high}
    power = {"power": f.found / f.comparisons, "power_low": power_low, "power_high": power_high}
    return same | rates | power | {"uncorrected": f.uncorrected / f.comparisons, "without_p": f.unknown}


def run_batches(count: int, workers: int) -> list[Batch]:
    """Run all batches, and say on the way how many are done."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, torch.set_num_threads, (1,)) as pool:
        running = [pool.submit(run_batch, number) for number in range(count)]
        for done, future in enumerate(as_completed(running), 1):
            future.result()
            print(f"\r{done} of {count} batches", end="\n" if done == count else "", file=sys.stderr, flush=True)
    return [future.result() for future in running]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=500, help="of 3 replicates, at least (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="10 comparisons, printed and not written")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    count = 2 if arguments.quick else -(-arguments.comparisons * REPLICATES[0] // BATCH)
    batches = run_batches(count, arguments.workers)
    findings = [finding(batches, n) for n in REPLICATES]
    command = shlex.join(["python", "-m", "benchmarks.calibration", *sys.argv[1:]])
    text = report(batches, findings, command, time.perf_counter() - started)
    print(text)
    if not arguments.quick:
        date = time.strftime("%Y-%m-%d")
        first, *others = map(quoted, findings)
        (RESULTS / f"{date}-calibration.md").write_text(text)
        write_json(QUOTED, {**first, "others": others, "command": command, "date": date})


if __name__ == "__main__":
    main()
