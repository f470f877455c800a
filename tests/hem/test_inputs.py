import pytest
import torch

from hem import hem_loss, ldam_loss, logit_adjusted_loss
from tests.hem.test_other_losses import all_losses

LOGITS, TARGET = torch.randn(4, 3), torch.tensor([0, 2, 1, 0])
NAMES = list(all_losses(3))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("logits", "target", "message"),
    [
        (LOGITS, TARGET.int(), "target: expected class indices of dtype torch.int64, got torch.int32"),
        (LOGITS, TARGET.float(), "target: expected class indices of dtype torch.int64, got torch.float32"),
        (LOGITS, TARGET.bool(), "got torch.bool"),
        (LOGITS.long(), TARGET, "logits: expected a floating dtype, got torch.int64"),
        (LOGITS[0], TARGET[0], r"logits: expected shape \(N, C\) or \(N, C, d1, ...\), got \(3,\)"),
        (LOGITS, TARGET[:3], r"target: expected shape \(4,\) for logits \(4, 3\), got \(3,\)"),
        (LOGITS, TARGET.unsqueeze(1), r"target: expected shape \(4,\) for logits \(4, 3\), got \(4, 1\)"),
        (LOGITS, LOGITS.softmax(1).long(), r"target: expected shape \(4,\)"),
        (torch.randn(2, 3, 5, 5), torch.zeros(2, 5, 4, dtype=torch.int64), r"expected shape \(2, 5, 5\)"),
        (LOGITS, torch.tensor([0, 3, 1, 0]), r"target: expected classes in \[0, 3\) .* got values from 0 to 3"),
        (LOGITS, torch.tensor([0, -1, 1, 0]), r"expected classes in \[0, 3\) or ignore_index -100, .* from -1 to 1"),
        (LOGITS, torch.tensor([0, -1, -100, 0]), "from -1 to 0"),
        (torch.randn(2, 3, 4), torch.full((2, 4), 255), "from 255 to 255"),
        (LOGITS.double(), torch.tensor([0, 7, 1, 0]), "from 0 to 7"),
    ],
)
def test_targets_and_logits_that_do_not_fit(name, logits, target, message):
    with pytest.raises(ValueError, match=message):
        all_losses(3)[name](logits, target)


@pytest.mark.parametrize("name", NAMES)
def test_reductions_and_weights_that_are_none(name):
    loss = all_losses(3)[name]
    with pytest.raises(ValueError, match="reduction: expected one of mean, sum, none, got 'avg'"):
        loss(LOGITS, TARGET, reduction="avg")
    for weight in (torch.ones(4), torch.ones(3, 1), torch.ones(3, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"weight: expected a floating tensor of shape \(3,\)"):
            loss(LOGITS, TARGET, weight=weight)


@pytest.mark.parametrize("name", NAMES)
def test_any_value_may_be_ignored(name):
    loss = all_losses(3)[name]
    expected = loss(LOGITS[[0, 2, 3]], TARGET[[0, 2, 3]])
    for ignored in (-100, -1, 255):
        target = TARGET.clone()
        target[1] = ignored
        assert loss(LOGITS, target, ignore_index=ignored).item() == pytest.approx(expected.item(), rel=1e-6)
    assert loss(LOGITS, TARGET, ignore_index=2).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("margin", [-0.1, float("nan"), float("inf")])
def test_margins_out_of_range(margin):
    with pytest.raises(ValueError, match="margin: expected a finite number >= 0"):
        hem_loss(LOGITS, TARGET, margin)


def test_class_margins_of_a_wrong_shape():
    with pytest.raises(ValueError, match=r"margin: expected a floating tensor of shape \(3,\), .* of shape \(4,\)"):
        hem_loss(LOGITS, TARGET, torch.ones(4))
    for logits in (LOGITS, LOGITS.double()):
        with pytest.raises(ValueError, match=r"margin: expected a floating tensor of shape \(3,\), .* got torch.int64"):
            hem_loss(logits, TARGET, torch.ones(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="class_margins: expected"):
        ldam_loss(LOGITS, TARGET, torch.ones(4))
    with pytest.raises(ValueError, match="log_prior: expected"):
        logit_adjusted_loss(LOGITS, TARGET, torch.ones(2))


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("mm_loss", {"margin": -1.0}, "margin: expected a finite number >= 0 or a tensor of one a class, got -1.0"),
        ("ce_loss", {"label_smoothing": 1.5}, "label_smoothing: expected a finite number >= 0 and <= 1, got 1.5"),
        ("logitnorm_loss", {"tau": 0.0}, "tau: expected a finite number > 0, got 0.0"),
        ("focal_loss", {"gamma": float("nan")}, "gamma: expected a finite number >= 0, got nan"),
        ("ce_loss", {"label_smoothing": torch.ones(3)}, r"label_smoothing: expected a finite number .*got tensor\(\["),
        ("focal_loss", {"gamma": None}, "gamma: expected a finite number >= 0, got None"),
        ("dice_loss", {"smooth": 0.0}, "smooth: expected a finite number > 0, got 0.0"),
    ],
)
def test_parameters_out_of_range(name, parameters, message):
    import hem

    with pytest.raises(ValueError, match=message):
        getattr(hem, name)(LOGITS, TARGET, **parameters)


@pytest.mark.parametrize("name", NAMES)
def test_two_devices(name):
    with pytest.raises(ValueError, match="target: expected the device of the logits, cpu, got meta"):
        all_losses(3)[name](LOGITS, TARGET.to("meta"))
