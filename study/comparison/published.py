"""Published figures of the field's baselines, this run's beside them, and the gate: what a verdict may stand for.

The rule: a run counts as a result of the field if cross-entropy, and every other loss of the run that figures are known
of, lies within the published spread on the run's endpoint: between the lowest and the highest published figure, widened
by `TOLERANCE`. What is held against them is the `default` arm, trained by the literature's recipe, as they were; the
`tuned` arm stands beside it. A loss without a published figure on the endpoint itself is held to the one nearest to it
(LogitNorm's near AUROC by MSP, not by maximum logit). Otherwise the run is one of the harness: losses are compared as
equals in it, but not where the field stands.

Figures are shares of 1. One that could not be looked up is not here, nor is one of another training than ours: naive
continual learning trains on all logits in Buzzega et al. 2020, here on those of the current experience's classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import pandas as pd

from study.comparison.replicates import REFERENCE

TOLERANCE = 0.01
"""How far beyond the published spread a baseline may lie: one point."""
GATE_ARM = "default"
FIELD, HARNESS, UNKNOWN = "field result", "harness result", "no published figure"

Where = Mapping[str, Any]


@dataclass(frozen=True)
class Figure:
    """One published figure, and what it is of."""

    task: str
    dataset: str
    model: str
    loss: str
    value: float
    source: str
    method: str = "plain"
    probe: str = "accuracy"
    on: str = "test"
    """The set that it was measured on."""
    slice: str = "all"
    metric: str = "accuracy"
    where: Where = field(default_factory=dict)
    """What must hold of the run besides: some of `_facts`."""
    gate: bool = False
    """Whether it decides without being of the endpoint: its source has none of that loss on the endpoint."""


def _clean(dataset: str, source: str, **percent: float) -> tuple[Figure, ...]:
    return tuple(
        Figure("classification", dataset, model, "ce", value / 100, source) for model, value in percent.items()
    )


def _tail(dataset: str, n_train: int, source: str, **percent: float) -> tuple[Figure, ...]:
    return tuple(
        Figure(
            "imbalanced", dataset, "resnet32", loss, value / 100, source, metric="balanced_accuracy",
            where={"n_train": n_train},
        )
        for loss, value in percent.items()
    )  # fmt: skip


def _continual(method: str, class_incremental: float, task_incremental: float, **where: Any) -> tuple[Figure, ...]:  # noqa: ANN401
    source = "Buzzega et al. 2020 (arXiv 2004.07211), S-CIFAR-10"
    return tuple(
        Figure(
            "continual", "cifar10", "resnet18", "ce", value / 100, source, method, "continual", "test", name, "acc",
            where={"experiences": 5, **where},
        )
        for name, value in (("class-incremental", class_incremental), ("task-incremental", task_incremental))
    )  # fmt: skip


def _robust(source: str, accuracy: float, robust: float) -> tuple[Figure, ...]:
    """Return what RobustBench lists of one-step adversarial training at 8/255; the networks are ResNet-18s."""
    where = ("adversarial", "cifar10", "preact_resnet18", "ce")
    return (
        Figure(*where, accuracy / 100, source, "fast"),
        Figure(*where, robust / 100, source, "fast", "attack", "test", f"Linf-{8 / 255:g}", "robust_accuracy"),
    )


def _near(
    dataset: str, other: str, loss: str, accuracy: float, gate: bool = False, **near: float
) -> tuple[Figure, ...]:
    """Return accuracy and near AUROC by score, of ResNet-18s that know all classes of a CIFAR.

    Far AUROC is not among them: OpenOOD's far group has Places365, which cannot be had by name.
    """
    place = ("rejection", dataset, "resnet18", loss)
    where = {"held_out": 0, "near": (other, "tiny_imagenet")}
    return (
        Figure(*place, accuracy / 100, _OPENOOD, where=where),
        *(
            Figure(
                *place, value / 100, _OPENOOD, probe="rejection", on="group:near", slice=score, metric="auroc",
                where=where, gate=gate,
            )
            for score, value in near.items()
        ),
    )  # fmt: skip


def _voc(source: str, percent: float) -> Figure:
    return Figure(
        "segmentation", "voc2012_aug", "deeplabv3_resnet50", "ce", percent / 100, source, probe="segmentation",
        metric="miou", where={"pretrained": True, "n_pool": 10_582, "image_size": 512},
    )  # fmt: skip


_HE = "He et al. 2016 (arXiv 1512.03385), table 6"
_AKAMASTER = "github.com/akamaster/pytorch_resnet_cifar10, README"
_KUANGLIU = "github.com/kuangliu/pytorch-cifar, README"
_CIFAR100 = "github.com/weiaicunzai/pytorch-cifar100, README"
_WRN = "Zagoruyko and Komodakis 2016 (arXiv 1605.07146), README of their code"
_CAO = "Cao et al. 2019 (arXiv 1906.07413), table 2"
_KINI = "Kini et al. 2021 (arXiv 2103.01574), CIFAR-LT at ρ = 100"
_MENON = "Menon et al. 2021 (arXiv 2007.07314), as listed by github.com/GZWQ/Awesome-Long-Tailed"
_ROBUSTBENCH = "RobustBench, model_info/cifar10/Linf"
_OPENOOD = "OpenOOD v1.5 (arXiv 2306.09301), github.com/Jingkang50/OpenOOD, results"
_MMSEG = "github.com/open-mmlab/mmsegmentation, configs/deeplabv3"

FIGURES: tuple[Figure, ...] = (
    *_clean("cifar10", _HE, resnet20=91.25, resnet32=92.49, resnet44=92.83, resnet56=93.03),
    *_clean("cifar10", _AKAMASTER, resnet20=91.73, resnet32=92.63, resnet44=93.10, resnet56=93.39),
    *_clean("cifar10", _KUANGLIU, resnet18=93.02, resnet50=93.62, preact_resnet18=95.11, vgg16_bn=92.64),
    *_clean("cifar10", _KUANGLIU, densenet121=95.04),
    *_clean("cifar10", _WRN, wrn_28_10=96.00),
    *_clean("cifar100", _CIFAR100, resnet18=75.61, resnet34=76.76, resnet50=77.39, preact_resnet18=72.92),
    *_clean("cifar100", _CIFAR100, densenet121=77.01),
    *_clean("cifar100", _WRN, wrn_28_10=80.75),
    *_tail("cifar10", 12_406, _CAO, ce=70.4, focal=70.4, ldam_drw=77.0),
    *_tail("cifar10", 12_406, _KINI, ce=71.94, logit_adjusted=80.81),
    *_tail("cifar10", 12_406, _MENON, logit_adjusted=80.92),
    *_tail("cifar100", 10_847, _CAO, ce=38.3, ldam_drw=42.0),
    *_tail("cifar100", 10_847, _KINI, ce=38.82, logit_adjusted=42.87),
    *_tail("cifar100", 10_847, _MENON, logit_adjusted=43.89),
    *_continual("joint", 92.20, 98.31),
    *_continual("replay", 44.79, 91.19, memory=200),
    *_robust(f"Wong et al. 2020 (arXiv 2001.03994), as listed by {_ROBUSTBENCH}", 83.34, 43.21),
    *_robust(f"Andriushchenko and Flammarion 2020 (arXiv 2007.02617), as listed by {_ROBUSTBENCH}", 79.84, 43.93),
    *_near("cifar10", "cifar100", "ce", 95.06, msp=88.03, mls=87.52, energy=87.58),
    *_near("cifar10", "cifar100", "logitnorm", 94.30, gate=True, msp=92.33),
    *_near("cifar100", "cifar10", "ce", 77.25, msp=80.27, mls=81.05, energy=80.91),
    *_near("cifar100", "cifar10", "logitnorm", 76.34, gate=True, msp=78.47),
    _voc(f"{_MMSEG}, 20,000 steps", 76.17),
    _voc(f"{_MMSEG}, 40,000 steps", 77.68),
    _voc("github.com/SegmentationBLWX/sssegmentation, docs/deeplabv3", 77.72),
)


def known(study: Mapping[str, Any], figures: Sequence[Figure] = FIGURES) -> list[Figure]:
    """Return the figures that were made on a run's task, data and network, in its setting."""
    facts = _facts(study)
    same = [f for f in figures if all(getattr(f, name) == study.get(name) for name in ("task", "dataset", "model"))]
    return [figure for figure in same if all(facts[name] == value for name, value in figure.where.items())]


def _facts(study: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a figure may ask of a run besides task, data, network and loss."""
    config, data = dict(study.get("config") or {}), dict(study.get("data") or {})
    splits = data.get("splits") or [{}]
    return {
        "n_train": splits[0].get("n_train"),
        "n_pool": splits[0].get("n_pool"),
        "memory": config.get("memory"),
        "experiences": config.get("experiences"),
        "pretrained": bool(study.get("weights")),
        "image_size": config.get("image_size"),
        "held_out": config.get("held_out"),
        "near": tuple(sorted(out["name"] for out in data.get("outside") or () if out["group"] == "near")),
    }


def beside(
    comparison: pd.DataFrame, *, study: Mapping[str, Any], figures: Sequence[Figure] = FIGURES
) -> dict[str, Any]:
    """Return published figures beside the run's own, and what the gate says.

    Args:
        comparison: the rows of comparison.parquet.
        study: the dict of study.json.
        figures: what is known.

    Returns:
        status: "field result", "harness result" or "no published figure"; text: the same in plain words; tolerance;
        rows: for each method, loss and figure the published low and high, `ours` (arm default), `tuned`, the
        difference of ours to the nearer end of the published spread (0 within it), whether the gate looks at it and
        whether it lies within the tolerance, and the sources.
    """
    groups: dict[tuple[str, ...], list[Figure]] = {}
    for figure in known(study, figures):
        key = (figure.method, figure.loss, figure.probe, figure.on, figure.slice, figure.metric)
        groups.setdefault(key, []).append(figure)
    # A loss that was asked for and has no value, because its trainings failed, is no baseline that was reached.
    ran = set(zip(comparison["method"], comparison["loss"], strict=True))
    ran |= {(method, loss) for method in study["methods"] for loss in study["losses"]}
    ran |= {(str(dict(study["primary"])["method"]), REFERENCE)}
    rows = [_row(key, group, comparison, study) for key, group in groups.items() if key[:2] in ran]
    status, text = _gate(rows, study)
    return {"status": status, "text": text, "tolerance": TOLERANCE, "rows": rows}


def _row(
    key: tuple[str, ...], group: Sequence[Figure], comparison: pd.DataFrame, study: Mapping[str, Any]
) -> dict[str, Any]:
    names = ("method", "loss", "probe", "dataset", "slice", "metric")
    values = dict(zip(names, key, strict=True))
    low, high = (round(end(figure.value for figure in group), 6) for end in (min, max))
    ours, tuned = (_mean(comparison, {**values, "arm": arm}) for arm in (GATE_ARM, "tuned"))
    primary = dict(study["primary"])
    return {
        **values,
        "low": low,
        "high": high,
        "ours": ours,
        "tuned": tuned,
        "difference": None if ours is None else min(ours - low, 0.0) + max(ours - high, 0.0),
        "gate": all(values[name] == primary[name] for name in names if name != "loss") or any(f.gate for f in group),
        "within": ours is not None and low - TOLERANCE <= ours <= high + TOLERANCE,
        "sources": list(dict.fromkeys(figure.source for figure in group)),
    }


def _mean(comparison: pd.DataFrame, key: Mapping[str, str]) -> float | None:
    rows = comparison
    for name, value in key.items():
        rows = rows[rows[name] == value]
    return float(rows["mean"].iloc[0]) if len(rows) and isfinite(rows["mean"].iloc[0]) else None


def _gate(rows: Sequence[Mapping[str, Any]], study: Mapping[str, Any]) -> tuple[str, str]:
    """Return the gate's answer, and the sentence for it."""
    judged = [row for row in rows if row["gate"]]
    what = f"{study.get('task')} on {study.get('dataset')} with {study.get('model')}"
    if not any(row["loss"] == REFERENCE for row in judged):
        return UNKNOWN, (
            f"No published figure for {what}, as it is set up here: whether the field's baseline is reached cannot be "
            "said. The verdict is about this training."
        )
    outside = [row for row in judged if not row["within"]]
    if not outside:
        names = ", ".join(_named(row, study) for row in judged)
        return FIELD, f"Field result: the published baselines of {what} are reached ({names}, arm {GATE_ARM})."
    found = "; ".join(f"{_named(row, study)} {_ours(row, study)}, published {_spread(row)}" for row in outside)
    return HARNESS, (
        f"Harness result: the published baselines of {what} are not reproduced (arm {GATE_ARM}: {found}; allowed is "
        f"{100 * TOLERANCE:g} point beyond). The verdict is about this training, not about the field's."
    )


def _named(row: Mapping[str, Any], study: Mapping[str, Any]) -> str:
    """Return a row's loss, and the score where it is another one than the endpoint's."""
    other = row["slice"] != dict(study["primary"])["slice"]
    return f"{row['loss']} by {row['slice']}" if other else str(row["loss"])


def _ours(row: Mapping[str, Any], study: Mapping[str, Any]) -> str:
    if row["ours"] is None:
        return "has no value" if row["loss"] in study["losses"] else "was not run"
    return f"{100 * row['ours']:.1f} %"


def _spread(row: Mapping[str, Any]) -> str:
    low, high = f"{100 * row['low']:.1f}", f"{100 * row['high']:.1f}"
    return f"{low} %" if low == high else f"{low} to {high} %"
