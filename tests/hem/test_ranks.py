"""R ranks and one process: the mean over ranks of loss and gradient is what one process with the whole batch gets."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tests.hem.test_other_losses import all_losses

CLASSES, RANKS = 5, 2
WEIGHT = torch.linspace(0.5, 2.0, CLASSES)
# How many of 8 samples the first rank has, and what becomes of the samples of the last one.
SPLITS = {"even": (4, "as they are"), "uneven": (5, "as they are"), "separated": (6, "done"), "ignored": (3, "ignored")}


def batch(split, dense):
    """Logits and target of the whole batch, and the number of samples of the first rank."""
    generator = torch.Generator().manual_seed(1)
    first, last = SPLITS[split]
    shape = (8, 2, 3) if dense else (8,)
    logits = torch.randn(8, CLASSES, *shape[1:], generator=generator)
    target = torch.randint(0, CLASSES, shape, generator=generator)
    if dense:
        target[0, 0] = -100
    if last == "done":
        logits[first:].scatter_(1, target[first:].clamp_min(0).unsqueeze(1), 20.0)
    elif last == "ignored":
        target[first:] = -100
    return logits, target, first


def keys():
    return [
        (name, weighted, split, dense)
        for name in all_losses(CLASSES)
        for weighted in (False, True)
        for split in SPLITS
        for dense in (False, True)
    ]


def result(key, logits, target, group=None):
    name, weighted, _, _ = key
    leaf = logits.clone().requires_grad_()
    loss = all_losses(CLASSES)[name](leaf, target, weight=WEIGHT if weighted else None, process_group=group)
    loss.backward()
    return loss.detach(), leaf.grad


def rank_main(rank, folder):
    """What each rank does: its share of every batch."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=RANKS)
    results = {}
    for key in keys():
        logits, target, first = batch(*key[2:])
        own = slice(0, first) if rank == 0 else slice(first, None)
        results[key] = result(key, logits[own], target[own], dist.group.WORLD)
    torch.save(results, f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(rank_main, (str(folder),), nprocs=RANKS)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(RANKS)]


@pytest.mark.parametrize("key", keys(), ids=lambda key: "-".join(map(str, key)))
def test_the_mean_over_ranks_is_one_process(key, ranks):
    logits, target, _ = batch(*key[2:])
    expected, gradient = result(key, logits, target)
    values, gradients = zip(*(results[key] for results in ranks), strict=True)
    assert (sum(values) / RANKS).item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)
    assert torch.allclose(torch.cat(gradients) / RANKS, gradient, rtol=1e-5, atol=1e-7)


def test_a_rank_without_active_samples_was_among_them(ranks):
    loss, gradient = ranks[1]["hem", False, "separated", False]
    assert loss.item() == 0.0
    assert gradient.abs().sum().item() == 0.0
    assert ranks[0]["hem", False, "separated", False][0].item() > 0.0
