"""Models from elsewhere beside the run's own: the same figures, one model each, and no test."""

import pandas as pd

from dashboards.blocks import Facts, Note, Section
from dashboards.sections.common import Measure, measures_table, metric_name
from dashboards.summary import View, ordered, summarise


def foreign_section(view: View) -> Section | None:
    """Show one table of all models; None without a foreign one."""
    foreign = view.run.foreign
    if not len(foreign):
        return None
    own = view.shown(view.run.evaluation)
    summary = summarise(pd.concat([foreign, own], ignore_index=True))
    measures: list[Measure] = [
        (metric_name(metric), {"probe": "accuracy", "dataset": "test", "slice": "all", "metric": metric})
        for metric in ("accuracy", "balanced_accuracy")
    ]
    measures += [
        (f"{group} {metric_name(metric)} (mls)", {"dataset": f"group:{group}", "slice": "mls", "metric": metric})
        for group in ("near", "far", "unrecognisable", "user")
        for metric in ("auroc", "fpr95")
    ]
    measures.append(("ECE raw", {"probe": "calibration", "slice": "raw", "metric": "ece"}))
    attacked = summary[(summary["probe"] == "attack") & (summary["metric"] == "robust_accuracy")]
    measures += [
        (f"robust {part}", {"probe": "attack", "slice": part, "metric": "robust_accuracy"})
        for part in sorted(attacked["slice"].unique())
    ]
    measures.append(("mIoU", {"probe": "segmentation", "slice": "all", "metric": "miou"}))
    measures.append(("corrupt accuracy", {"probe": "corruption", "slice": "all", "metric": "accuracy"}))
    names = ordered(foreign["loss"].unique(), view.losses)
    caption = f"Models from elsewhere, and the losses' own (arm {view.arm}, method {view.method})"
    table = measures_table("foreign-table", caption, summary, ["loss"], measures, {"loss": names})
    sources = dict(view.study.get("foreign") or {})
    facts = Facts("Where they come from", [(name, _origin(about)) for name, about in sources.items()])
    note = Note(
        "A model from elsewhere was not tuned here, its training is not known to this study, and there is one of it: "
        "its figures stand beside the others without an interval or a test. It saw the first replicate's test images; "
        "whether it was trained on some of them only its owner knows. Under the attacks standard and plus it "
        "never meets transfer, the images that broke other models, and apgd-hem takes HEM's literature margin."
    )
    return Section("foreign", "Models from elsewhere", [note, table, facts])


def _origin(about: object) -> str:
    values = dict(about) if isinstance(about, dict) else {}
    parts = [str(values.get("source") or "")]
    if values.get("network"):
        parts.append(f"weights of {values['network']}")
    if values.get("sha256"):
        parts.append(f"SHA-256 {str(values['sha256'])[:16]}…")
    return ", ".join(parts)
