"""Two ranks with half a batch each train what one process with the whole batch trains."""

import warnings

import pytest
import torch
import torch.distributed as dist
from torch import nn

from hem.registry import LOSSES, get_loss
from study.errors import InputError
from study.training import Recipe, fit
from study.training.parallel import average_running_statistics, same_over_ranks
from tests.study.training_helpers import LearnedTemperature, accuracy, network, random_data

RECIPE = Recipe(learning_rate=0.05, weight_decay=1e-3, batch_size=16, epochs=2, augmentation="shift")
COUNTS = (37, 33)
"""Training images: the last batch of 16 has 5 (3 and 2 a rank), or 1 (the second rank has none)."""
OWN = {"torch": nn.CrossEntropyLoss, "learned": LearnedTemperature}
CASES = [(name, count) for name in (*LOSSES, *OWN) for count in COUNTS]


OTHERS = {"attention": ("vit_mini", False), "layer norm": ("convnext_mini", False), "frozen": ("small_cnn", True)}
"""Networks that see no more of a batch than an image at a time: (network, whether its body is frozen)."""


def train(name, count, rank=0, world_size=1, model="mlp", state=None, frozen=False):
    """Train with a loss; return the last state's weights, the loss's own, all metrics, and the first state."""
    data = random_data(count=count)
    class_counts = torch.bincount(data.labels, minlength=4).tolist()
    spec = LOSSES.get(name)
    loss = OWN[name]() if spec is None else get_loss(name).build(class_counts)
    network_ = network(model, head="linear" if spec is None else spec.head)
    if frozen:
        network_.freeze_body()
    deferred = spec is not None and spec.weight_schedule == "drw"
    epochs = fit(
        network_,
        loss,
        data,
        random_data(count=25, seed=1),
        RECIPE,
        sampler="shuffle" if spec is None else spec.sampler,
        class_weights_after=(0.5, torch.tensor([0.25, 0.5, 1.0, 2.25])) if deferred else None,
        seed=0,
        state=state,
        rank=rank,
        world_size=world_size,
        score=accuracy,
    )
    metrics, states = [], []
    for values, get_state in epochs:
        metrics.append({key: value for key, value in values.items() if key != "seconds"})
        states.append(get_state())
    assert getattr(loss, "process_group", None) is None
    return {"model": states[-1]["model"], "loss": states[-1]["loss"], "metrics": metrics, "first": states[0]}


def one_rank(rank, world_size, folder):
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world_size)
    results = {case: train(*case, rank, world_size) for case in CASES}
    results["resumed"] = train("hem", COUNTS[0], rank, world_size, state=results["hem", COUNTS[0]]["first"])
    results["batch norm"] = train("torch", 35, rank, world_size, model="small_cnn")
    for case, (model, frozen) in OTHERS.items():
        results[case] = train("torch", COUNTS[0], rank, world_size, model=model, frozen=frozen)
    here = torch.device("cpu")
    results["same"] = [same_over_ranks(3, here, world_size), same_over_ranks(rank, here, world_size)]
    norms = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    for index, statistic in enumerate(norms.buffers()):
        statistic.add_(index + 10 * rank)
    average_running_statistics(norms, world_size)
    results["averaged"] = {name: values.clone() for name, values in norms.named_buffers()}
    with pytest.raises(InputError, match="at least one image a rank, 2, given 1"):
        list(
            fit(
                *(network(), nn.CrossEntropyLoss(), random_data(), None),
                Recipe(learning_rate=0.1, weight_decay=0.0, batch_size=1),
                **{"seed": 0, "rank": rank, "world_size": world_size, "score": accuracy},
            )
        )
    torch.save(results, f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def of_ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(one_rank, args=(2, str(folder)), nprocs=2)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize(("name", "count"), CASES)
def test_two_ranks_train_what_one_process_trains(of_ranks, name, count):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = train(name, count)
    torch.set_num_threads(threads)
    for together in (results[name, count] for results in of_ranks):
        for part in ("model", "loss"):
            for key, value in alone[part].items():
                torch.testing.assert_close(
                    together[part][key], value, rtol=0.0, atol=1e-5, msg=lambda m, k=key: f"{k}: {m}"
                )
        for own, other in zip(together["metrics"], alone["metrics"], strict=True):
            assert own == pytest.approx(other, rel=1e-4, abs=1e-5)
    assert of_ranks[0][name, count]["metrics"] == of_ranks[1][name, count]["metrics"]


@pytest.mark.parametrize("case", OTHERS)
def test_two_ranks_train_other_networks_as_one_process_does(of_ranks, case):
    model, frozen = OTHERS[case]
    alone = train("torch", COUNTS[0], model=model, frozen=frozen)
    for together in of_ranks:
        for key, value in alone["model"].items():
            torch.testing.assert_close(together[case]["model"][key], value, rtol=0.0, atol=2e-5, msg=f"{case}: {key}")
    before = network(model).state_dict()
    same = [torch.equal(before[key], value) for key, value in alone["model"].items() if key.startswith("body.")]
    assert all(same) == frozen


def test_ranks_with_batch_norm_end_with_the_same_model(of_ranks):
    first, second = (results["batch norm"] for results in of_ranks)
    for key, value in first["model"].items():
        assert torch.equal(value, second["model"][key]), key
        assert value.isfinite().all()
    assert first["metrics"] == second["metrics"]


def test_running_statistics_become_their_means_over_the_ranks(of_ranks):
    for results in of_ranks:
        averaged = results["averaged"]
        assert averaged["0.running_mean"].tolist() == [5.0] * 3
        assert averaged["0.running_var"].tolist() == [1 + 1 + 5.0] * 3
        assert averaged["2.running_mean"].tolist() == [3 + 5.0] * 2
        assert averaged["2.running_var"].tolist() == [1 + 4 + 5.0] * 2


def test_ranks_see_whether_they_have_the_same_number(of_ranks):
    assert [results["same"] for results in of_ranks] == [[True, False]] * 2


def test_ranks_resume_with_the_same_bits(of_ranks):
    for results in of_ranks:
        straight, resumed = results["hem", COUNTS[0]], results["resumed"]
        for key, value in straight["model"].items():
            assert torch.equal(value, resumed["model"][key]), key
        assert resumed["metrics"] == straight["metrics"][1:]
