"""The modules: they hold arguments, and return what the functions return."""

import copy
import pickle

import pytest
import torch

from hem import (
    CELoss,
    DICELoss,
    FocalLoss,
    HEMLoss,
    LDAMLoss,
    LogitAdjustedLoss,
    LogitNormLoss,
    MMLoss,
    ce_loss,
    class_margins,
    dice_loss,
    focal_loss,
    hem_loss,
    hem_margin,
    ldam_loss,
    ldam_margins,
    log_prior,
    logit_adjusted_loss,
    logitnorm_loss,
    mm_loss,
)
from tests.hem.test_hem_loss import draw

COUNTS = (40, 20, 10, 5)
WEIGHT = torch.linspace(0.5, 2.0, 4)
PAIRS = {
    "hem": (lambda **kw: HEMLoss(0.5, **kw), hem_loss, (0.5,)),
    "hem+": (lambda **kw: HEMLoss(class_counts=COUNTS, **kw), hem_loss, (class_margins(COUNTS),)),
    "mm": (lambda **kw: MMLoss(0.7, **kw), mm_loss, (0.7,)),
    "ce": (lambda **kw: CELoss(0.1, **kw), ce_loss, (0.1,)),
    "logitnorm": (lambda **kw: LogitNormLoss(0.3, **kw), logitnorm_loss, (0.3,)),
    "logit_adjusted": (
        lambda **kw: LogitAdjustedLoss(COUNTS, 0.8, **kw),
        logit_adjusted_loss,
        (log_prior(COUNTS), 0.8),
    ),
    "ldam": (lambda **kw: LDAMLoss(COUNTS, 0.4, 5.0, **kw), ldam_loss, (ldam_margins(COUNTS, 0.4), 5.0)),
    "focal": (lambda **kw: FocalLoss(1.5, **kw), focal_loss, (1.5,)),
    "dice": (lambda **kw: DICELoss(0.5, **kw), dice_loss, (0.5,)),
}


@pytest.mark.parametrize(
    ("module", "function", "needed", "literature"),
    [
        (HEMLoss(), hem_loss, (), (0.2,)),
        (MMLoss(), mm_loss, (), (1.0,)),
        (CELoss(), ce_loss, (), (0.0,)),
        (LogitNormLoss(), logitnorm_loss, (), (0.04,)),
        (LogitAdjustedLoss(COUNTS), logit_adjusted_loss, (log_prior(COUNTS),), (1.0,)),
        (LDAMLoss(COUNTS), ldam_loss, (ldam_margins(COUNTS, 0.5),), (30.0,)),
        (FocalLoss(), focal_loss, (), (2.0,)),
        (DICELoss(), dice_loss, (), (1.0,)),
    ],
    ids=lambda value: type(value).__name__ if callable(value) else "",
)
def test_what_is_not_given_is_as_in_the_literature(module, function, needed, literature):
    logits, target = draw(6, classes=4)
    expected = function(logits, target, *needed, *literature)
    assert module(logits, target) == expected
    assert function(logits, target, *needed) == expected


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(
    "shared",
    [{}, {"weight": WEIGHT}, {"reduction": "sum"}, {"reduction": "none", "weight": WEIGHT}, {"ignore_index": 1}],
    ids=["plain", "weight", "sum", "none", "ignore"],
)
def test_a_module_is_its_function(name, shared):
    make, function, arguments = PAIRS[name]
    for shape in ((6,), (2, 3, 4)):
        logits, target = draw(*shape, classes=4)
        assert torch.equal(make(**shared)(logits, target), function(logits, target, *arguments, **shared))


@pytest.mark.parametrize("name", PAIRS)
def test_class_weights_may_come_and_go(name):
    make, function, arguments = PAIRS[name]
    logits, target = draw(6, classes=4)
    loss = make()
    plain = loss(logits, target)
    loss.set_class_weight(WEIGHT)
    assert torch.equal(loss(logits, target), function(logits, target, *arguments, weight=WEIGHT))
    loss.set_class_weight(None)
    assert torch.equal(loss(logits, target), plain)
    with pytest.raises(ValueError, match="weight: expected a floating tensor"):
        loss.set_class_weight(torch.ones(4, dtype=torch.int64))


@pytest.mark.parametrize("name", PAIRS)
def test_buffers_follow_the_module_and_copies_are_whole(name):
    loss = PAIRS[name][0](weight=WEIGHT)
    assert {buffer.device.type for buffer in copy.deepcopy(loss).to("meta").buffers()} == {"meta"}
    assert loss.state_dict() == {}
    logits, target = draw(6, classes=4)
    assert torch.equal(pickle.loads(pickle.dumps(loss))(logits, target), loss(logits, target))


def test_where_the_margin_comes_from():
    assert HEMLoss().margin == 0.2
    assert HEMLoss(0.7, num_samples=5, class_counts=COUNTS).margin == 0.7
    assert HEMLoss(num_samples=50_000).margin == pytest.approx(0.2)
    assert HEMLoss(num_samples=500, M=5).margin == hem_margin(500, 5)
    by_class = HEMLoss(num_samples=5, class_counts=COUNTS, M=30)
    assert torch.equal(by_class.margin, class_margins(COUNTS, 30))
    assert torch.equal(HEMLoss(torch.ones(3)).margin, torch.ones(3))


def test_margins_that_are_none():
    with pytest.raises(ValueError, match="margin: expected a finite number >= 0"):
        HEMLoss(-0.1)
    for margin in (torch.tensor([0.5, -0.1]), torch.tensor([0.5, torch.nan]), torch.ones(2, 2), torch.ones(2).long()):
        with pytest.raises(ValueError, match="margin: expected finite numbers >= 0, floating, one a class"):
            HEMLoss(margin)
    with pytest.raises(ValueError, match="class_counts: expected a finite number > 0"):
        HEMLoss(class_counts=[3, 0])
    with pytest.raises(ValueError, match="num_samples: expected a finite number > 0"):
        HEMLoss(num_samples=0)


def test_a_module_says_what_it_holds():
    assert "margin=0.2" in repr(HEMLoss())
    assert "gamma=1.5" in repr(FocalLoss(1.5))


def test_a_network_learns():
    torch.manual_seed(0)
    inputs, target = torch.randn(60, 5), torch.arange(60) % 3
    inputs[torch.arange(60), target] += 3.0
    for loss in (HEMLoss(num_samples=60), HEMLoss(class_counts=[20, 20, 20], M=5)):
        model = torch.nn.Linear(5, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(100):
            optimizer.zero_grad()
            loss(model(inputs), target).backward()
            optimizer.step()
        assert (model(inputs).argmax(1) == target).float().mean() > 0.9
