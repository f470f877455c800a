"""A class for every pixel: intersection over union."""

from dashboards.blocks import Panel, Picture, Section, not_available
from dashboards.figures import segmentation as figures
from dashboards.sections.common import measures_table, missing_table
from dashboards.summary import View, pick, summarise

_MEASURES = [("mIoU", "miou"), ("foreground IoU", "foreground_iou"), ("pixel accuracy", "pixel_accuracy")]


def segmentation_section(view: View) -> Section:
    """Show IoU by class, and mIoU, the foreground's IoU and pixel accuracy as a table."""
    title, rows = "Segmentation", pick(view.shown(view.run.evaluation), probe="segmentation", dataset="test")
    data = figures.iou_data(rows)
    if not len(data):
        return Section("segmentation", title, [not_available(missing_table(view, "evaluation", "probe segmentation"))])
    classes = [str(name) for name in view.data.get("classes") or ()]
    picture = Picture(
        "iou-figure",
        f"IoU by class, arm {view.arm}, method {view.method}",
        [Panel("", figures.iou_figure(data, view.losses, classes))],
        "IoU = TP / (TP + FP + FN) over the pixels of all test images; mark: mean over replicates, bar: standard "
        "deviation. A class that is neither there nor predicted is n/a; one that is predicted but not there counts 0.",
        view.counts(rows),
        "Intersection over union of each class, one mark a loss",
        wide=True,
    )
    measures = sorted(_MEASURES, key=lambda measure: measure[1] != "foreground_iou") if len(classes) == 2 else _MEASURES
    table = measures_table(
        "segmentation-table",
        f"Segmentation (arm {view.arm}, method {view.method})",
        pick(summarise(rows), slice="all"),
        ["loss"],
        [(name, {"metric": metric}) for name, metric in measures],
        {"loss": view.losses},
    )
    return Section("segmentation", title, [picture, table])
