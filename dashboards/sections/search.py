"""The search: its history, what it tried, who won, and how the margin trades against the learning rate."""

import pandas as pd

from dashboards.blocks import (
    Block,
    Cell,
    Column,
    Note,
    Panel,
    Picture,
    Section,
    Table,
    loss_cell,
    not_available,
    number_cell,
    text_cell,
)
from dashboards.figures import search as figures
from dashboards.sections.common import missing_table
from dashboards.style import percent, points, significant
from dashboards.summary import View, in_order, pick, plural, replicate_means

PARAMETER = "param."


def search_section(view: View) -> Section:
    """Show the best objective so far against the trial's number, and the fall from validation to test."""
    trials = pick(view.run.trials, method=view.method)
    if not len(trials):
        return Section("search", "Search history", [not_available(missing_table(view, "trials", "complete trials"))])
    blocks: list[Block] = []
    most = figures.trials_per_search(trials)
    if most < figures.RANDOM_BELOW:
        blocks.append(
            Note(
                f"Random search: {plural(most, 'trial')} a search are fewer than {figures.RANDOM_BELOW}, too few for "
                "the sampler to have learned from.",
                tone="warning",
            )
        )
    blocks += _history(view, trials)
    blocks.append(_fall_table(view, trials))
    if _is_own_measure(view):
        blocks.append(
            Note(
                f"Test and fall are n/a: {objective_name(view)} counts images that withstand two short attacks, "
                "which test images do not meet; they meet the longer ones of the attack probe."
            )
        )
    return Section("search", "Search history", blocks)


def _history(view: View, trials: pd.DataFrame) -> list[Block]:
    """Draw the losses that every replicate has a best of, and say which are missing and why."""
    data, missing = figures.history_data(trials), figures.without_history(trials)
    reasons = "; ".join(f"{loss}: {reason}" for loss, reason in missing.items())
    if not len(data):
        return [not_available(f"best so far is a mean over all replicates ({reasons})")]
    failed = int((trials["state"] != "complete").sum())
    picture = Picture(
        "history-figure",
        "Best so far",
        [Panel("", figures.history_figure(data, view.losses))],
        f"The best validation objective ({objective_name(view)}) that a search had found after so many trials: "
        "mean over the replicates, band from the worst to the best replicate. Lines that still rise at the right "
        "end would have gained from more trials. The scale is that of the trials after the first fifth; what lies "
        "lower is below the frame." + (f" Not drawn: {reasons}." if missing else ""),
        view.counts(trials, plural(len(trials), "trial") + (f" ({failed} failed)" if failed else "")),
        "Best validation objective so far against the number of trials, one line a loss",
        wide=True,
    )
    return [picture]


def objective_name(view: View) -> str:
    """Return what the search maximises, for a reader."""
    return str(view.study.get("objective") or "accuracy").removeprefix("validation_").replace("_", " ")


def _is_own_measure(view: View) -> bool:
    """Say whether the objective is made of the search's own attacks, so that nothing on test is the same measure."""
    return view.primary is not None and view.primary.probe == "attack" and objective_name(view).startswith("robust")


def fall_data(view: View, trials: pd.DataFrame) -> pd.DataFrame:
    """Return the winner's score in the search, rescored, and on test: loss, replicate, search, rescore, test, fall."""
    metric = objective_name(view).replace(" ", "_")
    winners = trials[trials["selected"]][["loss", "replicate", "objective", "rescore"]]
    rows = pick(view.run.evaluation, method=view.method, arm="tuned", dataset="test", metric=metric)
    test = pick(rows, probe="accuracy", slice="all")
    if view.primary and not _is_own_measure(view):
        at_primary = pick(rows, probe=view.primary.probe, slice=view.primary.slice)
        test = at_primary if len(at_primary) else test
    test = replicate_means(test)
    data = winners.rename(columns={"objective": "search"}).merge(
        test[["loss", "replicate", "value"]].rename(columns={"value": "test"}), on=["loss", "replicate"], how="left"
    )
    return data.assign(fall=data["test"] - data["search"]).reset_index(drop=True)


def _fall_table(view: View, trials: pd.DataFrame) -> Block:
    data = fall_data(view, trials)
    if not len(data):
        return Note("Winners: n/a — no trial was selected.", tone="missing")
    rows = []
    for loss in in_order(data, "loss", view.losses):
        winners = pick(data, loss=loss)
        paired = winners[winners["fall"].notna()]
        used = paired if len(paired) else winners
        row = used[["search", "rescore", "test", "fall"]].mean()
        rows.append(
            [
                loss_cell(loss),
                *(number_cell(percent(row[name]), row[name]) for name in ("search", "rescore", "test")),
                number_cell(points(row["fall"]), row["fall"]),
                number_cell(str(len(used)), len(used)),
            ]
        )
    columns = [
        Column("loss"),
        Column("search (%)", True, "the winner's validation objective in the search"),
        Column("rescored (%)", True, "the same parameters with a fresh seed, on validation"),
        Column("test (%)", True, "the retrained winner (arm tuned) on test"),
        Column("test − search (points)", True, "below 0: a fall"),
        Column("n", True, "replicates behind the row: those with a test figure, all winners' where there is none"),
    ]
    return Table("fall-table", f"From validation to test: {objective_name(view)} of the winners", columns, rows, data)


def parameters_section(view: View) -> Section:
    """Show the tried learning rates against the objective, and the winners' parameters."""
    trials = pick(view.run.trials, method=view.method)
    data = figures.tried_data(trials)
    flags = [str(flag) for flag in view.study.get("edge_flags") or ()]
    blocks: list[Block] = []
    if len(data):
        blocks.append(
            Picture(
                "tried-figure",
                "Learning rates tried",
                figures.tried_panels(data, view.losses),
                "Each mark is one trial; the ringed ones won their search. The trials of the other losses are grey "
                "behind: all losses are drawn from the same range. A loss whose marks stay high over a wide range "
                "needs less tuning.",
                view.counts(data, plural(len(data), "complete trial")),
                "Validation objective against learning rate, one panel a loss, winners ringed",
                keyed=False,
            )
        )
    for flag in flags:
        blocks.append(Note(f"At the edge of its range: {flag}", tone="warning"))
    winners = trials[trials["selected"]]
    if len(winners):
        blocks.append(_winners_table(view, winners))
    reason = missing_table(view, "trials", "complete trials with a learning rate")
    return Section("parameters", "Parameters", blocks or [not_available(reason)])


def _winners_table(view: View, winners: pd.DataFrame) -> Table:
    names = [name for name in winners.columns if name.startswith(PARAMETER) and winners[name].notna().any()]
    rows = []
    for loss in in_order(winners, "loss", view.losses):
        for _, row in pick(winners, loss=loss).sort_values("replicate").iterrows():
            cells = [loss_cell(loss), number_cell(str(row["replicate"]), row["replicate"])]
            cells.append(number_cell(percent(row["objective"]), row["objective"]))
            cells.append(text_cell(row["source"]))
            rows.append([*cells, *(_parameter(row[name]) for name in names)])
    columns = [Column("loss"), Column("replicate", True), Column("objective (%)", True), Column("found by")]
    for name in names:
        words = any(isinstance(value, str) for value in winners[name])
        columns.append(Column(name.removeprefix(PARAMETER).replace("_", " "), numeric=not words))
    frame = winners[["loss", "replicate", "number", "objective", "rescore", "source", *names]]
    return Table("winners-table", "Parameters of the winners", columns, rows, frame, folded=len(rows) > 30)


def _parameter(value: object) -> Cell:
    if isinstance(value, str):
        return text_cell(value)
    return number_cell(significant(value), value)


def sensitivity_section(view: View) -> Section:
    """Show the objective around the winners over the loss's parameter and the learning rate."""
    title, rows = "Margin × learning rate", pick(view.run.sensitivity, method=view.method)
    data = figures.sensitivity_data(rows)
    if not data["objective"].notna().any():
        return Section("sensitivity", title, [not_available(missing_table(view, "sensitivity", "complete trainings"))])
    picture = Picture(
        "sensitivity-figure",
        "",
        figures.sensitivity_panels(data, view.losses),
        f"Validation objective ({objective_name(view)}, %) around the winner (×1, ×1, outlined) of the search of "
        "replicate 0, one training a place; brighter is better, one scale for all maps. Margin and learning rate trade "
        "against each other: a bright diagonal means that only their ratio matters.",
        view.counts(rows, plural(len(rows), "training")),
        "Maps of the validation objective over margin parameter and learning rate, one a loss",
        keyed=False,
    )
    return Section("sensitivity", title, [picture])
