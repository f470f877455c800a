"""The method note: every definition that the page uses, for a reader who has nothing but the page."""

from typing import Any

from dashboards.blocks import Block, Facts, Note, Section
from dashboards.style import percent, points
from dashboards.summary import View

#: Probe ("" for none: always shown) → (term, definition).
DEFINITIONS: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    (
        "",
        "Comparison",
        (
            (
                "replicate",
                "an independent search on another split with another order of classes; the unit of every test",
            ),
            ("arm default", "the data set's literature recipe with the loss's literature parameters"),
            (
                "arm dropin",
                "cross-entropy's tuned training hyperparameters, the loss swapped in with its literature ones",
            ),
            (
                "arm tuned",
                "the loss's own search: chosen on validation images, retrained with fresh seeds, tested once",
            ),
            (
                "difference, interval, p",
                "paired t on the replicates' means, n − 1 degrees of freedom, standard error s·√(1/n + n_test/n_other) "
                "(Nadeau and Bengio 2003: training sets overlap); n/a below 3 replicates or without variance",
            ),
            ("Holm", "p-values of HEM against cross-entropy, adjusted over all tasks decided together; 5 %"),
            ("equality", "two one-sided tests at ±δ, the margin declared beforehand; said of clean accuracy alone"),
            (
                "smallest detectable",
                "the true difference that this many replicates with this spread find 4 times in 5; the spread is this "
                "run's own, and of few replicates it is known roughly",
            ),
            (
                "no information",
                "cross-entropy is at 99 % or more, or all losses lie within 2 points of chance: no verdict for anybody",
            ),
            ("exploratory", "an interval without adjustment and without a verdict; all but the primary endpoint"),
        ),
    ),
    (
        "",
        "Losses",
        (
            (
                "hem",
                "e_j = max(0, z_j − z_y + μ), e_y = 0; mean of the e_j that are at least the mean over all C of them; "
                "averaged over samples still in error; μ = √(M/S), S training samples",
            ),
            ("hem+", "the same with μ_i = √(M/(C·n_i)) at the target class i; where all n_i are equal, hem's"),
            ("mm", "(1/C) Σ_{j≠y} max(0, μ − z_y + z_j)"),
            ("logitnorm", "cross-entropy of z / (τ‖z‖); z itself at test"),
            ("logit_adjusted", "cross-entropy of z + τ log π with the class shares π; z itself at test"),
            ("dice", "mean over classes of 1 − (2 Σ p y + s) / (Σ p + Σ y + s), sums over the batch"),
        ),
    ),
    (
        "accuracy",
        "Accuracy",
        (
            ("balanced accuracy", "mean over classes of the share classified rightly"),
            (
                "many, medium, few",
                "classes with more than 100, 20 to 100, fewer than 20 training images; else terciles",
            ),
        ),
    ),
    (
        "posthoc",
        "Post-hoc adjustment",
        (
            (
                "adjusted logits",
                "z − τ T log π, T fitted (1 where none is stated), τ chosen on validation; needs no training",
            ),
        ),
    ),
    (
        "rejection",
        "Rejection",
        (
            ("AUROC", "P(s_in > s_out) + ½ P(s_in = s_out): 50 % is guessing"),
            (
                "FPR95",
                "share of unknown samples accepted at the largest threshold that accepts ≥ 95 % of the known ones",
            ),
            ("FPR95 (out as positive)", "share of known samples rejected where ≥ 95 % of the unknown ones are"),
            ("AUPR", "area under precision against recall, trapezoids"),
            ("OSCR", "area under accepted-and-right against accepted unknown samples"),
            ("AURC, AUGRC", "mean over k of the errors among the k most confident samples, divided by k or by all n"),
            (
                "near, far, unrecognisable",
                "held-out classes, letters, or other data that are like these; photographs or other data; noise, blobs "
                "and scrambled images",
            ),
            (
                "adversarial:…",
                "AUROC and FPR95 of clean test images against those that broke the model; non-adaptive: the attack did "
                "not know of the rejector",
            ),
            ("corrupt", "AURC and AUGRC on corrupted test images, mean over kinds and severities"),
            (
                "DAR",
                "share of samples accepted and right, or rejected and (unknown or wrong); adversarial ones under an "
                "attack that maximises min(max_{j≠y} z_j − z_y, score of the best wrong class − threshold)",
            ),
        ),
    ),
    (
        "attack",
        "Attacks",
        (
            ("robust accuracy", "share of the attacked test images that stay right under every attack of the given ε"),
            (
                "quick",
                "APGD on cross-entropy and targeted APGD: an upper bound without a verdict. standard: AutoAttack, and "
                "APGD on the margin, on HEM's own loss and on rescaled logits for every model, and the images that "
                "broke the other losses' models",
            ),
            ("between radii", "what a smaller ball of the same norm broke is broken, whenever it was attacked"),
        ),
    ),
    (
        "corruption",
        "Corruptions",
        (
            (
                "accuracy",
                "on common corruptions at severity 1 to 5 (Hendrycks and Dietterich 2019); each kind counts alike",
            ),
        ),
    ),
    (
        "continual",
        "Continual learning",
        (
            ("R[i, j]", "accuracy on experience j after learning experience i, T of them"),
            ("ACC", "mean over j of R[T, j]"),
            ("forgetting", "mean over j < T of max over j ≤ i < T of R[i, j] − R[T, j]"),
            ("BWT", "mean over j < T of R[T, j] − R[j, j]"),
            ("FWT", "mean over j > 1 of R[j − 1, j] − R[untrained, j], task-incremental"),
        ),
    ),
    (
        "segmentation",
        "Segmentation",
        (
            (
                "IoU, mIoU",
                "TP / (TP + FP + FN) of one confusion matrix over all test pixels; mean over classes that occur",
            ),
        ),
    ),
    (
        "calibration",
        "Calibration",
        (
            ("ECE", "Σ over 15 equal bins of confidence of share × |accuracy − confidence|"),
            ("NLL, Brier", "−log p_y, and Σ_j (p_j − [j = y])²; means over test images"),
            ("after scaling", "logits divided by a temperature T fitted on validation images"),
        ),
    ),
)


def definitions_section(view: View) -> Section:
    """Show the definitions of what the run's task can be measured by, and how the test itself was tested."""
    shown: list[Block] = [
        Facts(title, items, folded=True) for probe, title, items in DEFINITIONS if not probe or view.applies(probe)
    ]
    return Section("definitions", "Method note", [*_calibration(view), *shown])


def _calibration(view: View) -> list[Block]:
    """Say how often the verdict is wrong where there is nothing to find, and right where there is."""
    measured = dict(view.study.get("calibration") or {})
    if not measured:
        return []
    parts = [
        f"{found['replicates']} replicates: {found['false_alarms']} of {found['comparisons']} comparisons of "
        f"cross-entropy with itself gave a verdict, {_share(found, '', 'rate')}; a planted difference of "
        f"{points(found['planted'])} points was found in {_share(found, 'power_', 'power')}"
        for found in (measured, *measured.get("others", ()))
    ]
    return [
        Note(
            f"The verdict was tested on whole comparisons, from search to p-value, on digits ({measured['date']}, "
            f"{measured['command']}). With {'; with '.join(parts)}. The level is 5 %; where equal losses share no "
            "difference through common images, the correction for overlap makes the test stricter than that."
        )
    ]


def _share(found: dict[str, Any], prefix: str, name: str) -> str:
    low, high = percent(found[f"{prefix}low"]), percent(found[f"{prefix}high"])
    return f"{percent(found[name])} % [{low}, {high}]"
