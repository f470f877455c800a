import pytest
import torch
from torch import nn

from hem import (
    LOSSES,
    CEDICELoss,
    CELoss,
    DICELoss,
    FocalLoss,
    HEMLoss,
    LDAMLoss,
    LogitAdjustedLoss,
    LogitNormLoss,
    MMLoss,
    class_balanced_weights,
    class_margins,
    get_loss,
    hem_margin,
    ldam_margins,
    log_prior,
)
from hem.registry import logitnorm_tau
from tests.hem.test_hem_loss import draw

COUNTS = (40, 20, 10, 5)
HERE = "tests.hem.test_registry"


def test_the_names():
    assert set(LOSSES) == {
        "ce", "ce_balanced", "ce_resampled", "focal", "ldam", "ldam_drw", "logit_adjusted", "logitnorm", "dice", "mm",
        "hem", "hem+", "ce_dice",
    }  # fmt: skip
    assert all(get_loss(name) is spec and spec.name == name for name, spec in LOSSES.items())
    assert all(spec.defaults is None and spec.ranges is None for spec in LOSSES.values())


@pytest.mark.parametrize(
    ("name", "cls", "parameters"),
    [
        ("ce", CELoss, {"label_smoothing": 0.1}),
        ("ce_balanced", CELoss, {"label_smoothing": 0.1, "N": 100.0}),
        ("ce_resampled", CELoss, {"label_smoothing": 0.1}),
        ("focal", FocalLoss, {"gamma": 1.0}),
        ("ldam", LDAMLoss, {"max_margin": 0.3}),
        ("ldam_drw", LDAMLoss, {"max_margin": 0.3}),
        ("logit_adjusted", LogitAdjustedLoss, {"tau": 0.5}),
        ("logitnorm", LogitNormLoss, {"tau": 0.1}),
        ("dice", DICELoss, {"smooth": 2.0}),
        ("ce_dice", CEDICELoss, {"smooth": 2.0}),
        ("mm", MMLoss, {"margin": 0.5}),
        ("hem", HEMLoss, {"M": 20.0}),
        ("hem+", HEMLoss, {"M": 20.0}),
    ],
)
def test_every_loss_is_built_with_its_parameters_and_without(name, cls, parameters):
    spec = get_loss(name)
    assert set(spec.parameters) == set(parameters)
    for given in ({}, parameters):
        loss = spec.build(COUNTS, ignore_index=255, **given)
        assert type(loss) is cls
        assert loss.ignore_index == 255
        assert all(getattr(loss, key) == value for key, value in given.items() if hasattr(loss, key))
        logits, target = draw(6, classes=4)
        loss(logits, target.masked_fill(target == 0, 255)).backward()
        assert logits.grad.isfinite().all()


def test_what_the_losses_take_from_the_class_counts():
    assert get_loss("hem").build(COUNTS).margin == hem_margin(75)
    assert get_loss("hem").build(COUNTS, num_samples=500, M=5).margin == hem_margin(500, 5)
    assert torch.equal(get_loss("hem+").build(COUNTS, M=5).margin, class_margins(COUNTS, 5))
    assert torch.equal(get_loss("ldam").build(COUNTS).class_margins, ldam_margins(COUNTS))
    assert torch.equal(get_loss("logit_adjusted").build(COUNTS).log_prior, log_prior(COUNTS))
    assert torch.equal(get_loss("ce_balanced").build(COUNTS).weight, class_balanced_weights(COUNTS))
    assert torch.equal(get_loss("ce_balanced").build(COUNTS, N=10).weight, class_balanced_weights(COUNTS, 0.9))
    with pytest.raises(ValueError, match="N: expected a finite number >= 1, got 0"):
        get_loss("ce_balanced").build(COUNTS, N=0)
    assert get_loss("ce").build(COUNTS).weight is None


def test_the_sum_of_narrow_class_counts():
    for counts in (torch.tensor([200, 100], dtype=torch.uint8), torch.tensor([3000.0, 5.0]).half()):
        loss = get_loss("hem").build(counts)
        assert loss.margin == get_loss("hem").build(counts.tolist()).margin


def test_what_a_loss_needs_besides():
    needs = {name: (spec.head, spec.sampler, spec.weight_schedule) for name, spec in LOSSES.items()}
    assert needs.pop("ldam") == ("cosine", "shuffle", None)
    assert needs.pop("ldam_drw") == ("cosine", "shuffle", "drw")
    assert needs.pop("ce_resampled") == ("linear", "balanced", None)
    assert set(needs.values()) == {("linear", "shuffle", None)}


def test_tau_of_logitnorm_follows_the_number_of_classes():
    for classes, tau in ((2, 0.04), (10, 0.04), (100, 0.0085), (1000, 0.0085), (31.6227766, (0.04 * 0.0085) ** 0.5)):
        assert logitnorm_tau(classes) == pytest.approx(tau, rel=1e-6)
    assert get_loss("logitnorm").build((5,) * 100).tau == pytest.approx(0.0085)
    assert get_loss("logitnorm").build((5,) * 100, tau=0.04).tau == 0.04


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hemm", "unknown loss: 'hemm'\nknown: .*\ndid you mean 'hem'?"),
        ("logit-adjusted", "did you mean 'logit_adjusted'?"),
        ("zzz", "package.module:Name"),
        ("no_such_package.losses:Loss", "cannot import 'no_such_package.losses'"),
        (":Loss", "expected package.module:Name"),
        (f"{HERE}:Own", "did you mean 'OwnLoss'?"),
        (f"{HERE}:COUNTS", "expected a subclass of torch.nn.Module, got"),
        (f"{HERE}:draw", "expected a subclass of torch.nn.Module, got"),
        (f"{HERE}:BadHead", "head: expected one of 'linear', 'cosine', got 'round'"),
        (f"{HERE}:BadSampler", "sampler: expected one of 'shuffle', 'balanced', got 'random'"),
        (f"{HERE}:BadSchedule", "weight_schedule: expected one of None, 'drw', got 'late'"),
        (f"{HERE}:NoWeights", r"needs a method set_class_weight\(weight\)"),
        (f"{HERE}:NoDefault", "ranges has 'r', but defaults has not; it has: q"),
        (f"{HERE}:BadRange", r"range of q: expected \(low, high, scale\), got 3"),
        (".losses:Loss", "expected package.module:Name"),
        (f"{HERE}:NoDefaults", "defaults: expected a dict by parameter, got None"),
        (f"{HERE}:ListedDefaults", r"defaults: expected a dict by parameter, got \['q'\]"),
        (f"{HERE}:WordyDefault", r"range of q: expected finite numbers .*default 'high'"),
        (f"{HERE}:Endless", r"range of q: expected finite numbers .*got \(0.1, inf, 'linear'\)"),
        (f"{HERE}:BadScale", r"range of q: expected finite numbers low < high .*got \(0.1, 1.0, 'cubic'\)"),
        (f"{HERE}:BadLog", r"range of q: expected finite numbers low < high .*got \(0.0, 1.0, 'log'\)"),
        (f"{HERE}:Outside", r"around the default 0.7 .*got \(0.8, 1.0, 'linear'\)"),
    ],
)
def test_names_that_lead_nowhere(name, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        get_loss(name)


@pytest.mark.parametrize("name", ["ce", f"{HERE}:OwnLoss"])
def test_parameters_that_a_loss_has_not(name):
    with pytest.raises(ValueError, match=r"unknown parameter of .*: 'quality'"):
        get_loss(name).build(COUNTS, quality=1.0)


def test_a_loss_of_ones_own():
    spec = get_loss(f"{HERE}:OwnLoss")
    assert (spec.parameters, spec.defaults, spec.ranges) == (("q",), {"q": 0.7}, {"q": (0.1, 1.0, "linear")})
    assert (spec.head, spec.sampler, spec.weight_schedule) == ("cosine", "balanced", None)
    loss = spec.build(COUNTS)
    assert (loss.class_counts, loss.q) == (COUNTS, 0.7)
    assert spec.build(COUNTS, q=0.2).q == 0.2
    with pytest.raises(ValueError, match="targets of 255 are to be ignored, and the loss has no attribute"):
        spec.build(COUNTS, ignore_index=255)


def test_a_loss_of_ones_own_is_told_what_it_has_a_place_for():
    loss = get_loss(f"{HERE}:Told").build(COUNTS, ignore_index=255)
    assert loss.ignore_index == 255
    assert loss.process_group is None


def test_a_constructor_that_does_not_take_its_parameters():
    with pytest.raises(ValueError, match=r"NoConstructor: .*it is called with class_counts and its defaults' names"):
        get_loss(f"{HERE}:NoConstructor").build(COUNTS)


class OwnLoss(nn.Module):
    defaults = {"q": 0.7}  # noqa: RUF012
    ranges = {"q": (0.1, 1.0, "linear")}  # noqa: RUF012
    head = "cosine"
    sampler = "balanced"

    def __init__(self, class_counts, q):
        super().__init__()
        self.class_counts, self.q = class_counts, q


class Told(OwnLoss):
    ignore_index = -100
    process_group = "none yet"


class NoConstructor(nn.Module):
    defaults = {"q": 0.7}  # noqa: RUF012


class BadHead(OwnLoss):
    head = "round"


class BadSampler(OwnLoss):
    sampler = "random"


class BadSchedule(OwnLoss):
    weight_schedule = "late"


class NoWeights(OwnLoss):
    weight_schedule = "drw"


class NoDefault(OwnLoss):
    ranges = {"r": (0.1, 1.0, "linear")}  # noqa: RUF012


class BadRange(OwnLoss):
    ranges = {"q": 3}  # noqa: RUF012


class BadScale(OwnLoss):
    ranges = {"q": (0.1, 1.0, "cubic")}  # noqa: RUF012


class BadLog(OwnLoss):
    ranges = {"q": (0.0, 1.0, "log")}  # noqa: RUF012


class NoDefaults(OwnLoss):
    defaults = None


class ListedDefaults(OwnLoss):
    defaults = ["q"]  # noqa: RUF012


class WordyDefault(OwnLoss):
    defaults = {"q": "high"}  # noqa: RUF012


class Endless(OwnLoss):
    ranges = {"q": (0.1, float("inf"), "linear")}  # noqa: RUF012


class Outside(OwnLoss):
    ranges = {"q": (0.8, 1.0, "linear")}  # noqa: RUF012
