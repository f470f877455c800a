"""A synthetic run directory with every table of the contract, for the tests and for looking at the page.

    python -m tests.dashboards.fake_run DIRECTORY

Nothing in it was trained: all values are drawn from one seeded generator around made-up truths.
"""

import json
import math
import struct
import sys
import zlib
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
from scipy import stats

from tests.dashboards.fake_json import CLASSES, EPS, OUTSIDE, PRIMARY, study_json, verdict_json

LOSSES = ("ce", "logit_adjusted", "logitnorm", "hem", "hem+")
ARMS = ("default", "dropin", "tuned")
SCORES = ("msp", "mls", "energy", "entropy")
ATTACKS = ("apgd_ce", "apgd_dlr", "fab", "square", "margin")
#: Made-up strength of a loss: what it adds to accuracy, robustness and rejection.
STRENGTH = {"ce": 0.0, "logit_adjusted": 0.035, "logitnorm": 0.004, "hem": 0.012, "hem+": 0.028}
T_975 = {2: 12.7062, 3: 4.30265, 4: 3.18245, 5: 2.77645}


class FakeRun:
    """Draws all the tables of a run; every table is a method that returns its frame."""

    def __init__(
        self,
        losses: Sequence[str] = LOSSES,
        arms: Sequence[str] = ARMS,
        methods: Sequence[str] = ("plain",),
        replicates: int = 3,
        seeds: int = 2,
        trials: int = 12,
        epochs: int = 20,
        mode: str = "standard",
    ) -> None:
        self.losses, self.arms, self.methods = tuple(losses), tuple(arms), tuple(methods)
        self.replicates, self.seeds, self.n_trials, self.n_epochs, self.mode = replicates, seeds, trials, epochs, mode
        self.rng = np.random.default_rng(7)
        self.shift = self.rng.normal(0, 0.012, replicates)
        self.orders = [self.rng.permutation(10).tolist() for _ in range(replicates)]
        self.tail = [max(5, math.floor(350 * 50 ** (-rank / 9))) for rank in range(10)]

    def strength(self, loss: str, arm: str, method: str = "plain") -> float:
        base = STRENGTH.get(loss, 0.01 + 0.002 * (len(loss) % 7))
        return base * {"default": 0.4, "dropin": 0.6, "tuned": 1.0}[arm] + (0.0 if method == "plain" else 0.015)

    def cells(self) -> Iterator[tuple[dict[str, object], float]]:
        for method in self.methods:
            for loss in self.losses:
                for arm in self.arms:
                    for replicate in range(self.replicates):
                        for seed in range(self.seeds):
                            level = self.strength(loss, arm, method) + self.shift[replicate]
                            level += {"default": -0.03, "dropin": -0.006, "tuned": 0.0}[arm]
                            level += float(self.rng.normal(0, 0.006))
                            key = dict(method=method, loss=loss, arm=arm, replicate=replicate, seed=seed)
                            yield key, level

    def evaluation(self) -> pd.DataFrame:
        rows: list[dict[str, object]] = []
        for key, level in self.cells():
            rows += [{**key, **row} for row in self._accuracy(key, level)]
            rows += [{**key, **row} for row in self._attack(key, level)]
            rows += [{**key, **row} for row in self._rejection(key, level)]
            rows += [{**key, **row} for row in self._calibration(key)]
            rows += [{**key, **row} for row in self._dar(level)]
        return pd.DataFrame(rows)

    def _accuracy(self, key: dict[str, object], level: float) -> list[dict[str, object]]:
        order, rows = self.orders[int(str(key["replicate"]))], []
        helped = 4.0 * self.strength(str(key["loss"]), str(key["arm"]))
        per_class = {}
        for rank, index in enumerate(order):
            per_class[rank] = min(0.995, 0.97 + level - 0.035 * rank + helped * rank / 9 + self.rng.normal(0, 0.012))
            rows.append(_row("accuracy", "test", f"class:{CLASSES[index]}", "accuracy", per_class[rank], 100))
        mean = float(np.mean(list(per_class.values())))
        rows.append(_row("accuracy", "test", "all", "accuracy", mean, 1000))
        rows.append(_row("accuracy", "test", "all", "balanced_accuracy", mean, 1000))
        groups = {"many": range(4), "medium": range(4, 8), "few": range(8, 10)}
        for name, ranks in groups.items():
            value = float(np.mean([per_class[rank] for rank in ranks]))
            rows.append(_row("accuracy", "test", name, "accuracy", value, 100 * len(ranks)))
        gain = 0.03 * math.exp(-30 * self.strength(str(key["loss"]), str(key["arm"])))
        rows.append(_row("posthoc", "test", "all", "balanced_accuracy", mean + gain, 1000))
        rows.append(_row("posthoc", "test", "all", "accuracy", mean + gain, 1000))
        rows.append(_row("posthoc", "test", "all", "tau", float(self.rng.choice([0.5, 0.75, 1.0])), 1000))
        return rows

    def _attack(self, key: dict[str, object], level: float) -> list[dict[str, object]]:
        rows, points = [], 200
        for norm, strengths in EPS.items():
            for eps in strengths[1:2] if self.mode == "quick" and norm == "Linf" else strengths:
                scaled = eps * (6.5 if norm == "Linf" else 1.1)
                worst = float(np.clip((0.9 + 2 * level) * math.exp(-(scaled**1.6)) + self.rng.normal(0, 0.01), 0, 1))
                low, high = _wilson(worst, points)
                where = f"{norm}-{eps:g}"
                rows.append(_row("attack", "test", where, "clean_accuracy", 0.9 + level, points))
                rows.append(_row("attack", "test", where, "robust_accuracy", worst, points))
                rows.append(_row("attack", "test", where, "robust_accuracy_low", low, points))
                rows.append(_row("attack", "test", where, "robust_accuracy_high", high, points))
                for place, attack in enumerate(ATTACKS):
                    value = min(0.9 + level, worst + 0.015 * place + abs(self.rng.normal(0, 0.004)))
                    rows.append(_row("attack", "test", where, f"robust_accuracy.{attack}", value, points))
        return rows

    def _rejection(self, key: dict[str, object], level: float) -> list[dict[str, object]]:
        rows, mean = [], {}
        for score in SCORES:
            for name, group in OUTSIDE.items():
                base = {"near": 0.86, "far": 0.93, "unrecognisable": 0.955}[group] + 1.5 * level
                auroc = float(np.clip(base - (0.03 if score == "msp" else 0) + self.rng.normal(0, 0.008), 0, 0.999))
                values = {"auroc": auroc, "fpr95": min(1.0, 3.2 * (1 - auroc)), "aupr_in": auroc - 0.01}
                values |= {"aupr_out": auroc - 0.03, "oscr": auroc - 0.06}
                for metric, value in values.items():
                    rows.append(_row("rejection", name, score, metric, value, 1500))
                    mean.setdefault((group, score, metric), []).append(value)
            for metric, value in (("aurc", 0.02 - 0.1 * level), ("augrc", 0.014 - 0.1 * level)):
                rows.append(_row("rejection", "test", score, metric, max(0.001, value), 1000))
        for (group, score, metric), values in mean.items():
            rows.append(_row("rejection", f"group:{group}", score, metric, float(np.mean(values)), 1500))
        rows.append(_row("shifted", "digits", "all", "accuracy", 0.62 + 2 * level, 500))
        return rows

    def _dar(self, level: float) -> list[dict[str, object]]:
        values = {"clean": 0.9, "corrupt": 0.7, "adversarial": 0.3, "novel": 0.5, "unrecognisable": 0.6, "all": 0.6}
        rows = [
            _row("dar", kind, score, f"dar_{rule}", value + level, 500)
            for kind, value in values.items()
            for score in ("mls", "msp")
            for rule in ("all", "correct")
        ]
        rows += [_row("dar", "clean", "mls", "accepted_all", 0.94, 500)]
        lines = (("accept all", 0.0), ("reject all", 1.0))
        return rows + [_row("dar", "novel", name, "dar_all", value, 500) for name, value in lines]

    def _calibration(self, key: dict[str, object]) -> list[dict[str, object]]:
        rows, bad = [], 0.05 if str(key["loss"]).startswith("hem") else 0.03
        for name, factor in (("raw", 1.0), ("scaled", 0.35)):
            rows.append(_row("calibration", "test", name, "ece", bad * factor + abs(self.rng.normal(0, 0.004)), 1000))
            rows.append(_row("calibration", "test", name, "nll", 0.45 - 0.1 * (name == "scaled"), 1000))
            rows.append(_row("calibration", "test", name, "brier", 0.17 - 0.02 * (name == "scaled"), 1000))
        rows.append(_row("calibration", "test", "scaled", "temperature", 1.4, 1000))
        return rows

    def comparison(self, evaluation: pd.DataFrame) -> pd.DataFrame:
        keys = ["method", "loss", "arm", "probe", "dataset", "slice", "metric"]
        means = evaluation.groupby([*keys, "replicate"], sort=False)["value"].mean().unstack("replicate")
        rows = []
        for key, values in zip(means.index, means.to_numpy(), strict=True):
            row = dict(zip(keys, key, strict=True))
            reference = (
                means.loc[(row["method"], "ce", *key[2:])].to_numpy() if "ce" in self.losses else values * np.nan
            )
            primary = all(row[name] == PRIMARY[name] for name in keys if name != "loss")
            rows.append({**row, **self._statistics(values, reference, row["loss"] == "ce", primary)})
        return pd.DataFrame(rows)

    def _statistics(self, values: np.ndarray, reference: np.ndarray, is_ce: bool, primary: bool) -> dict[str, object]:
        n, nan = len(values), math.nan
        half = T_975.get(n, 2.2) * values.std(ddof=1) / math.sqrt(n) if n > 1 else nan
        paired = values - reference
        spread = paired.std(ddof=1) if n > 1 else nan
        reach = T_975.get(n, 2.2) * spread / math.sqrt(n) if n > 1 else nan
        known = not is_ce and n > 2 and spread > 0
        p = float(2 * stats.t.sf(abs(paired.mean()) / (spread / math.sqrt(n)), n - 1)) if known and primary else nan
        verdict = "reference" if is_ce else ("win" if paired.mean() > 0 else "loss") if p < 0.05 else "undecided"
        return {
            "higher_is_better": True,
            "mean": values.mean(),
            "sd": values.std(ddof=1) if n > 1 else nan,
            "n": n,
            "low": values.mean() - half,
            "high": values.mean() + half,
            "difference": nan if is_ce else paired.mean(),
            "difference_sd": nan if is_ce else spread,
            "difference_low": paired.mean() - reach if known else nan,
            "difference_high": paired.mean() + reach if known else nan,
            "p": p,
            "p_holm": min(1.0, 2 * p) if p == p else nan,
            "role": "primary" if primary else "exploratory",
            "verdict": verdict if primary and (known or is_ce) else "",
            "smallest_detectable": 1.3 * reach if known else nan,
            "reason": "",
        }

    def curves(self) -> pd.DataFrame:
        rows: list[tuple[object, ...]] = []
        for key, level in self.cells():
            if key["arm"] != self.arms[-1]:
                continue
            head = tuple(key.values())
            for name, group in OUTSIDE.items():
                power = {"near": 5.0, "far": 9.0, "unrecognisable": 14.0}[group] * (1 + 6 * level)
                x = np.linspace(0, 1, 40) ** 2
                rows += [(*head, "roc", name, "mls", a, b, 1500) for a, b in zip(x, x ** (1 / power), strict=True)]
            x = np.linspace(0.025, 1, 40)
            y = np.clip((0.10 - level) * x**2.5, 0, 1)
            rows += [(*head, "risk_coverage", "test", "mls", a, b, 1000) for a, b in zip(x, y, strict=True)]
            for name, push in (("raw", 0.08), ("scaled", 0.015)):
                centre = (np.arange(15) + 0.5) / 15
                y = np.clip(centre - push * np.sin(np.pi * centre) + self.rng.normal(0, 0.02, 15), 0, 1)
                counts = np.round(20 + 300 * centre**4)
                rows += [
                    (*head, "reliability", "test", name, a, b, c) for a, b, c in zip(centre, y, counts, strict=True)
                ]
        columns = ["method", "loss", "arm", "replicate", "seed", "kind", "dataset", "slice", "x", "y", "n"]
        return pd.DataFrame(rows, columns=columns)

    def trials(self) -> pd.DataFrame:
        rows = []
        rates = 10 ** self.rng.uniform(-3.3, 0.2, self.n_trials)
        for method in self.methods:
            for loss in self.losses:
                for replicate in range(self.replicates):
                    own = [self._trial(method, loss, replicate, number, rates) for number in range(self.n_trials)]
                    done = [row for row in own if row["state"] == "complete"]
                    best = sorted(done, key=lambda row: -float(str(row["objective"])))[:3]
                    for row in best:
                        row["rescore"] = float(str(row["objective"])) - 0.01
                    best[0]["selected"] = True
                    rows += own
        return pd.DataFrame(rows)

    def _trial(self, method: str, loss: str, replicate: int, number: int, rates: np.ndarray) -> dict[str, object]:
        half = self.n_trials // 2
        rate = float(rates[number]) if number < half else float(10 ** self.rng.normal(-1.1, 0.4))
        best_rate = -1.4 if loss == "ce" else -0.9
        objective = 0.84 + self.strength(loss, "tuned") + self.shift[replicate]
        objective -= 0.09 * (math.log10(rate) - best_rate) ** 2 - self.rng.normal(0, 0.006)
        failed = rate > 1.3
        return {
            "method": method,
            "loss": loss,
            "replicate": replicate,
            "number": number,
            "state": "failed" if failed else "complete",
            "source": "literature" if number == 0 else "shared" if number < half else "tpe",
            "objective": math.nan if failed else max(0.1, objective),
            "rescore": math.nan,
            "selected": False,
            "epochs": self.n_epochs,
            "seconds": 4.0 + 0.4 * len(loss) + abs(self.rng.normal(0, 0.3)),
            "error": "NonFiniteLoss: epoch 2, learning rate 1.41" if failed else "",
            "param.learning_rate": rate,
            "param.weight_decay": float(10 ** self.rng.uniform(-5, -2)),
            "param.schedule": "cosine" if number % 2 else "step",
            "param.M": float(10 ** self.rng.uniform(0.3, 6.3)) if loss.startswith("hem") else math.nan,
            "param.tau": float(self.rng.uniform(0.01, 1)) if loss.startswith("logit") else math.nan,
        }

    def epochs(self) -> pd.DataFrame:
        rows = []
        for key, level in self.cells():
            if key["arm"] == "default":
                continue
            rate = 10 ** self.rng.normal(-1.2, 0.25)
            margin = str(key["loss"]).startswith("hem")
            for epoch in range(1, self.n_epochs + 1):
                part = epoch / self.n_epochs
                reached = (0.82 + level) * (1 - math.exp(-6 * part)) + self.rng.normal(0, 0.006)
                rows.append(
                    {
                        **{name: key[name] for name in ("method", "loss", "arm", "replicate")},
                        "number": key["seed"],
                        "epoch": epoch,
                        "learning_rate": rate * 0.5 * (1 + math.cos(math.pi * part)) + 1e-5,
                        "train_loss": 2.2 * math.exp(-4 * part),
                        "active_share": math.exp(-3.5 * part) if margin else 1.0,
                        "gradient_norm": (1.4 if margin else 2.0) * math.exp(-2 * part) + abs(self.rng.normal(0, 0.05)),
                        "logit_scale": 1 + (2 if margin else 9) * part,
                        "seconds": 0.4 + 0.03 * len(str(key["loss"])),
                        "validation_accuracy": reached,
                        "validation_balanced_accuracy": reached,
                    }
                )
        return pd.DataFrame(rows)

    def health(self) -> pd.DataFrame:
        rows = []
        for key, _ in self.cells():
            for check in ("zero_gradients", "square_beats_gradients", "random_outputs", "rises_with_eps"):
                flag = check == "zero_gradients" and key["loss"] == "logitnorm" and key["replicate"] == 1
                message = "7.5 % of the attacked images have a gradient of exactly zero" if flag else ""
                value = 0.075 if flag else 0.0
                rows.append({**key, "norm": "Linf", "eps": 0.1, "check": check, "value": value, "flag": flag,
                             "message": message})  # fmt: skip
        return pd.DataFrame(rows)

    def sensitivity(self) -> pd.DataFrame:
        rows = []
        for method in self.methods:
            for loss in [name for name in self.losses if name.startswith("hem")]:
                for replicate in range(self.replicates):
                    for first, second in product((0.01, 0.1, 1.0, 10.0, 100.0), (0.1, 0.316, 1.0, 3.16, 10.0)):
                        off = math.log10(second) + 0.5 * math.log10(first)
                        failed = second == 10.0 and first == 100.0 and replicate == 0
                        objective = 0.86 + self.shift[replicate] - 0.05 * off**2 - 0.01 * math.log10(first) ** 2
                        values = (2000 * first, first, 0.1 * second, second, math.sqrt(2000 * first / 1111))
                        end = (math.nan, "failed", "NonFiniteLoss") if failed else (objective, "complete", "")
                        rows.append((method, loss, replicate, "M", *values, *end))
        columns = ["method", "loss", "replicate", "parameter", "parameter_value", "parameter_factor"]
        columns += ["learning_rate", "learning_rate_factor", "margin", "objective", "state", "error"]
        return pd.DataFrame(rows, columns=columns)

    def timing(self, trials: pd.DataFrame) -> pd.DataFrame:
        rows = [
            ("search", row.method, row.loss, "search", row.replicate, row.number, row.seconds, row.epochs, 1111 * 20)
            for row in trials.itertuples()
        ]
        for key, _ in self.cells():
            head = (key["method"], key["loss"], key["arm"], key["replicate"], key["seed"])
            seconds = 4.2 + 0.4 * len(str(key["loss"])) + abs(self.rng.normal(0, 0.3))
            rows.append(("confirm", *head, seconds, self.n_epochs, 1111 * 20))
            rows.append(("evaluate", *head, 1.3, 0, 4000))
            rows.append(("attack", *head, 9.5, 0, 200))
        columns = ["stage", "method", "loss", "arm", "replicate", "number", "seconds", "epochs", "images"]
        return pd.DataFrame(rows, columns=columns)

    def foreign(self, evaluation: pd.DataFrame) -> pd.DataFrame:
        """A model from elsewhere: the first model's figures, a little better, under another name."""
        first = evaluation.drop_duplicates(["probe", "dataset", "slice", "metric"])
        names = {"method": "foreign", "loss": "their <b>net", "arm": "foreign", "replicate": 0, "seed": 0}
        return first.assign(**names, value=first["value"] + 0.01)

    def examples(self, directory: Path) -> None:
        """Mosaics of 3 × 8 pictures of 8 × 8 grey pixels for each loss, in the format of the run directory."""
        (directory / "examples").mkdir()
        entries = []
        for index, loss in enumerate(self.losses):
            for kind in ("attacked-Linf", "rejected"):
                file = f"examples/{kind}~{index}.png"
                (directory / file).write_bytes(grey_png(78, 28, 40 * index % 256))
                rows = ["test image", "attacked image", "difference × 10"]
                size = {"width": 78, "height": 28}
                entry = {"kind": kind, "loss": loss, "file": file, "rows": rows, "columns": [], "about": "ε = 0.1."}
                entries.append({**entry, **size})
        content = {"version": 1, "examples": entries}
        (directory / "examples.json").write_text(json.dumps(content), encoding="utf-8")

    def write(self, directory: Path, only: Sequence[str] | None = None) -> Path:
        """Write study.json and the tables (all, or those named in `only`; "verdict" is verdict.json)."""
        directory.mkdir(parents=True, exist_ok=True)
        evaluation, trials = self.evaluation(), self.trials()
        comparison = self.comparison(evaluation)
        frames = {
            "trials": trials,
            "epochs": self.epochs(),
            "evaluation": evaluation,
            "foreign": self.foreign(evaluation),
            "comparison": comparison,
            "curves": self.curves(),
            "health": self.health(),
            "sensitivity": self.sensitivity(),
            "timing": self.timing(trials),
        }
        for name, frame in frames.items():
            if only is None or name in only:
                write_table(directory / f"{name}.parquet", frame)
        if only is None or "verdict" in only:
            (directory / "verdict.json").write_text(json.dumps(verdict_json(self, comparison)), encoding="utf-8")
        if only is None or "examples" in only:
            self.examples(directory)
        (directory / "study.json").write_text(json.dumps(study_json(self)), encoding="utf-8")
        return directory


def grey_png(width: int, height: int, level: int) -> bytes:
    """Return a PNG of one grey."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = b"".join(b"\0" + bytes([level]) * width for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def write_table(path: Path, frame: pd.DataFrame, version: bytes | None = b"1") -> None:
    """Write a frame as parquet with the schema version, or without one for None."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    if version is not None:
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), b"hem_study_version": version})
    parquet.write_table(table, path)


def _row(probe: str, dataset: str, part: str, metric: str, value: float, n: int) -> dict[str, object]:
    return {"probe": probe, "dataset": dataset, "slice": part, "metric": metric, "value": float(value), "n": n}


def _wilson(share: float, n: int) -> tuple[float, float]:
    z = 1.959964
    centre, room = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (centre - room) / (1 + z * z / n), (centre + room) / (1 + z * z / n)


if __name__ == "__main__":
    from dashboards import build

    print(build(FakeRun().write(Path(sys.argv[1]))))
