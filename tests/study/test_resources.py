"""What a training may use: parts of a GPU, and the precision it computes in there. No GPU is needed."""

import pytest
import torch
from torch import nn

from study import pool
from study.config import Resources
from study.errors import InputError
from study.training.parallel import Objective


@pytest.mark.parametrize(
    ("share", "cpus", "trainings"), [(0.25, 16, 8), (0.25, 3, 3), (0.5, 16, 4), (0.3, 16, 6), (1, 16, 2)]
)
def test_trainings_share_a_gpu_and_never_straddle_two_machines(monkeypatch, share, cpus, trainings):
    """Two nodes with one GPU each and half of the CPUs: floor(1 / share) trainings on each, if the CPUs last."""
    node = {"Alive": True, "Resources": {"CPU": cpus / 2 if cpus > 3 else cpus, "GPU": 1.0}}
    nodes = [node, node] if cpus > 3 else [node, {"Alive": False, "Resources": node["Resources"]}]
    monkeypatch.setattr(pool.ray, "nodes", lambda: nodes)
    assert pool.concurrency(Resources(gpus_per_trial=share)) == trainings


@pytest.mark.parametrize("option", [{"gpus_per_trial": 1.5}, {"gpus_per_worker": 2.0, "workers_per_trial": 2}])
def test_more_gpus_than_a_process_computes_on_are_refused(option):
    with pytest.raises(InputError, match="1, or a part of one GPU"):
        Resources(**option)


@pytest.mark.parametrize(("capability", "low"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_bfloat16_is_for_gpus_that_compute_in_it(monkeypatch, capability, low):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert Objective(nn.Linear(2, 2), nn.CrossEntropyLoss(), torch.device("cuda"), 1).low_precision is low
    assert not Objective(nn.Linear(2, 2), nn.CrossEntropyLoss(), torch.device("cpu"), 1).low_precision
