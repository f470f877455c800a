"""What a run says in one or two plain sentences, by rule."""

from collections.abc import Mapping
from math import isnan

from study.comparison.primary import ALPHA, Confirmatory, Primary
from study.comparison.replicates import REFERENCE, finite_means, what_is_missing
from study.comparison.wording import amount, difference, names, p_value, replicates, searches
from study.statistics import MIN_REPLICATES, smallest_detectable


def best_set(run: Primary) -> list[str]:
    """Return the losses that are not shown to be worse than the best, best mean first.

    The best is the best mean among the losses that have the most replicates. Another loss leaves the set only if the
    corrected 95 % interval of its paired difference to the best lies wholly on the worse side of 0. Exploratory: the
    intervals are adjusted neither for their number nor for the choice of the best.
    """
    means = finite_means(run.cell)
    sign = 1 if run.endpoint.higher_is_better else -1
    ranked = sorted(means, key=lambda loss: (-sign * means[loss], _place(run, loss)))
    most = max((len(run.cell.own(loss)) for loss in ranked), default=0)
    best = next((loss for loss in ranked if len(run.cell.own(loss)) == most), None)
    if best is None:
        return []
    return [best, *(loss for loss in ranked if loss != best and not _worse(run, loss, best))]


def status(run: Primary, best: list[str]) -> str:
    """Return "no information", "conditional", "lead" (one loss is left in the best set) or "undecided"."""
    means = finite_means(run.cell)
    if not means or run.no_information:
        return "no information"
    if run.searches < MIN_REPLICATES:
        return "conditional"
    return "lead" if len(means) > 1 and len(best) == 1 and not run.withheld else "undecided"


def headline(run: Primary, best: list[str], member: Confirmatory) -> str:
    """Return the sentences: who is not shown to be worse, then what the confirmatory test says."""
    label, means = run.endpoint.label, finite_means(run.cell)
    if not means:
        return f"No information on {label}: no training has a value on it."
    if run.no_information:
        return f"No information on {label}: {run.no_information}."
    return " ".join(sentence for sentence in (_of_all(run, best), _of_lead(run, member)) if sentence)


def notes(run: Primary, best: list[str]) -> list[str]:
    """Return what a reader of the headline has to know: stand-ins, missing cells, corrections, caveats."""
    found = [run.lead_note] if run.lead_note else []
    for loss in run.ran:
        missing = what_is_missing(run.cell, loss, None, run.replicates)
        found += [f"{loss}: {missing}."] if missing else []
    if run.withheld:
        found.append(f"{run.withheld[0].upper()}{run.withheld[1:]}.")
    if 0 < run.searches < MIN_REPLICATES:
        found.append(
            f"Conditional on {searches(run.searches)}: fewer than {MIN_REPLICATES} replicates give no interval, no "
            "p-value and no verdict."
        )
    elif run.searches:
        found.append(
            "Intervals are 95 % t intervals over replicates, corrected for training sets that overlap (Nadeau and "
            f"Bengio, ratio {run.ratio:.3g})."
        )
    if len(best) and len(finite_means(run.cell)) > 2 and run.searches >= MIN_REPLICATES:
        found.append(
            "Which losses are told apart from the best is exploratory: those intervals are adjusted neither for their "
            "number nor for the choice of the best."
        )
    return found


def _worse(run: Primary, loss: str, best: str) -> bool:
    test = run.cell.paired(loss, best, run.ratio)
    return test.high < 0 if run.endpoint.higher_is_better else test.low > 0


def _place(run: Primary, loss: str) -> int:
    return run.ran.index(loss)


def _of_all(run: Primary, best: list[str]) -> str:
    label, means = run.endpoint.label, finite_means(run.cell)
    value = amount(means[best[0]], run.endpoint.metric)
    top = f"{best[0]}, {value}"
    among = _among(run, best[0], means)
    first, apart = f"best mean{among}", "are not shown to be worse than" if among else "cannot be told apart from"
    if len(means) == 1:
        condition = f", conditional on {searches(run.searches)}" if run.searches < MIN_REPLICATES else ""
        return f"Only {best[0]} has a value on {label} ({value}{condition}): there is nothing to compare it with."
    if run.searches < MIN_REPLICATES:
        return (
            f"Conditional on {searches(run.searches)}: the {first} on {label} is that of {top}, which says nothing "
            "about other searches."
        )
    if run.withheld:
        return f"The {first} on {label} is that of {top}."
    worse = [loss for loss in means if loss not in best]
    if not worse:
        better = "" if among else "no loss is shown to be better: "
        return f"On {label} {better}{names(best)} {apart} the {first} ({top})."
    adjusted = "exploratory" if len(means) == 2 else "exploratory, not adjusted for the number of losses"
    if len(best) == 1:
        others = names(worse) if len(worse) == 1 else f"each of {names(worse)}"
        return f"On {label} {best[0]} leads ({value}): {others} is worse ({adjusted})."
    verb = "is" if len(worse) == 1 else "are"
    return f"On {label} {names(best)} {apart} the {first} ({top}); {names(worse)} {verb} worse ({adjusted})."


def _among(run: Primary, best: str, means: Mapping[str, float]) -> str:
    """Return among which losses the best mean is the best, where one of fewer replicates has a better one."""
    if not any(run.better(mean - means[best]) for mean in means.values()):
        return ""
    return f" of the losses with {replicates(len(run.cell.own(best)))}"


def _of_lead(run: Primary, member: Confirmatory) -> str:
    metric, test, lead = run.endpoint.metric, member.test, run.lead
    if REFERENCE not in run.cell.losses:
        state = "has no value on it" if REFERENCE in run.ran else "was not run"
        return f"{REFERENCE} {state}: no difference to cross-entropy can be shown."
    if lead not in run.cell.losses or not test.n or isnan(test.difference):
        return f"There is no difference {lead} − {REFERENCE}: {member.reason}."
    minus = f"{lead} − {REFERENCE} = {difference(test, metric)}"
    if not member.verdict or isnan(member.p):
        return f"{minus}, {replicates(test.n)} ({member.reason})."
    over = f"Holm over {member.family} {member.unit}s" if member.family > 1 else ""
    evidence = f"{difference(test, metric)}, {p_value(member.p_holm)}{over and f' ({over})'}, {replicates(test.n)}"
    if run.endpoint.kind == "equivalence":
        margin = amount(run.endpoint.delta, metric, points=True)
        words = {"equal": f"equals {REFERENCE} within {margin}", "win": f"wins against {REFERENCE}"}
        words |= {"loss": f"loses to {REFERENCE}", "undecided": f"is not shown to equal {REFERENCE} within {margin}"}
        reason = f"{member.reason}{over and f'; {over}'}"
        return f"{lead} {words[member.verdict]}: {minus}, {replicates(test.n)} ({reason})."
    if member.verdict != "undecided":
        return f"{lead} {'wins against' if member.verdict == 'win' else 'loses to'} {REFERENCE}: {evidence}."
    least = amount(smallest_detectable(test.sd, test.n, ratio=run.ratio, alpha=ALPHA), metric, points=True)
    return f"{lead} − {REFERENCE} = {evidence}; the smallest difference this run could have shown is {least}."
