import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from hem import hem_loss
from study.methods.outliers import exposed_to
from study.training.recording import BINS, QUANTILES, EpochRecord, margin_quantiles


def recorded(logits, labels, loss):
    """The totals of one step on these logits."""
    record = EpochRecord(-100)
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, labels)
    value.backward()
    record.add(value, leaf, labels, [torch.ones(1)])
    return record.totals()


def test_active_classes_by_hand():
    # margin 1: the first sample violates against class 1 alone, the second is cleared, the third against both.
    logits = torch.tensor([[2.0, 1.5, -9.0], [9.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    totals = recorded(logits, torch.tensor([0, 0, 0]), lambda z, y: hem_loss(z, y, margin=1.0))
    active, samples, share = totals[2].item(), totals[4].item(), totals[5].item()
    assert (active, samples) == (2, 3)
    assert share == pytest.approx(2 / 3 + 3 / 3)  # the target's own logit has a gradient too


def test_ignored_samples_have_no_margin():
    logits = torch.tensor([[3.0, 0.0], [0.0, 50.0], [3.0, 0.0]])
    totals = recorded(logits, torch.tensor([0, -100, 0]), F.cross_entropy)
    assert totals[-BINS:].sum() == 2
    assert all(value == pytest.approx(3.0, rel=0.04) for value in margin_quantiles(totals[-BINS:]).values())


def test_ignored_samples_do_not_count_for_the_logits_scale():
    logits = torch.tensor([[3.0, 0.0], [0.0, 50.0], [1.0, 0.0]])
    totals = recorded(logits, torch.tensor([0, -100, 0]), F.cross_entropy)
    assert totals[3] == pytest.approx(1.5 + 0.5)
    assert totals[4] == 2


def test_margin_quantiles_of_ranks_together_are_those_of_all_margins():
    margins = torch.randn(20_000, generator=torch.Generator().manual_seed(0)) * 5 - 2
    logits, labels = torch.stack((margins, torch.zeros_like(margins)), 1), torch.zeros(len(margins), dtype=torch.long)
    parts = [recorded(logits[at], labels[at], F.cross_entropy) for at in (slice(None, 6000), slice(6000, None))]
    found = margin_quantiles(sum(parts)[-BINS:])
    for share, value in zip(QUANTILES, found.values(), strict=True):
        assert value == pytest.approx(float(torch.quantile(margins, share)), rel=0.04, abs=0.04)


def test_margins_beyond_the_widest_bin_are_kept_at_its_end():
    logits = torch.tensor([[1e9, 0.0], [-1e9, 0.0]])
    found = margin_quantiles(recorded(logits, torch.tensor([0, 0]), lambda z, y: z.sum())[-BINS:])
    assert found["margin_q05"] < -9e3
    assert found["margin_q95"] > 9e3


class _Copies(TorchDispatchMode):
    """Notes whatever is copied from one device to another."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if func.overloadpacket is torch.ops.aten._to_copy and made.device != args[0].device:
            self.found.append((args[0].device, made.device))
        return made


def test_no_step_copies_to_the_device_it_trains_on():
    """A copy of what lies in pageable memory waits for the device; "meta" stands for any that is not the CPU."""
    images, labels = torch.rand(4, 1, 8, 8, device="meta"), torch.zeros(4, dtype=torch.long, device="meta")
    outliers = torch.zeros(5, 8, 8, 1, dtype=torch.uint8, device="meta")
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3, device="meta"))
    record = EpochRecord(-100)
    with _Copies() as copies:
        logits, extra = exposed_to(outliers)(network, torch.nn.CrossEntropyLoss(), images, labels)
        logits.retain_grad()
        value = F.cross_entropy(logits, labels) + extra
        value.backward()
        record.add(value, logits, labels, [torch.ones(1)])
        record._flush()
    assert copies.found == []
