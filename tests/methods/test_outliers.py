import numpy as np
import pytest
import torch

from study.data.embedded import digits
from study.data.outside import outside_sets
from study.data.photographs import outlier_pool
from study.data.types import Images
from study.methods import get_method
from study.methods.outliers import exposed_to, outlier_judge, uniform_cross_entropy
from study.options import study_config
from study.tasks import get_task
from study.tasks.types import Judging
from study.training.batches import to_unit_range
from tests.methods.jobs import job


def test_cross_entropy_against_the_uniform_distribution_by_hand():
    logits = torch.tensor([[0.0, torch.log(torch.tensor(3.0))]])
    expected = -0.5 * (np.log(1 / 4) + np.log(3 / 4))
    assert uniform_cross_entropy(logits).item() == pytest.approx(expected, rel=1e-6)
    assert uniform_cross_entropy(torch.zeros(3, 10)).item() == pytest.approx(np.log(10), rel=1e-6)


def test_a_step_sees_as_many_outliers_as_images():
    begun = job()
    outliers = torch.randint(0, 256, (5, 8, 8, 1), dtype=torch.uint8)
    images = torch.rand(4, 1, 8, 8)
    torch.manual_seed(3)
    logits, extra = exposed_to(outliers)(begun.model, torch.nn.CrossEntropyLoss(), images, torch.zeros(4))
    torch.manual_seed(3)
    drawn = torch.randint(5, (4,))
    torch.testing.assert_close(logits, begun.model(images))
    expected = 0.5 * uniform_cross_entropy(begun.model(to_unit_range(outliers[drawn])))
    torch.testing.assert_close(extra, expected)


def test_exposure_makes_unsure_of_outliers():
    shares = {}
    rng = np.random.default_rng(0)
    far = rng.integers(0, 256, (100, 8, 8, 1), dtype=np.uint8)
    for method in ("plain", "outlier_exposure"):
        begun = job(epochs=8)
        for _ in get_method(method)(begun).epochs:
            pass
        with torch.no_grad():
            known = begun.model(to_unit_range(torch.tensor(begun.data.test.images))).amax(1)
            outside = begun.model(to_unit_range(torch.tensor(far))).amax(1)
        shares[method] = (known[:, None] > outside[None]).float().mean().item()
    assert shares["outlier_exposure"] > shares["plain"]


def test_the_judge_is_the_share_of_pairs_in_the_right_order():
    begun = job()
    known = Images(begun.data.validation.images[:30], begun.data.validation.labels[:30])
    outliers = np.random.default_rng(1).integers(0, 256, (20, 8, 8, 1), dtype=np.uint8)
    judge = outlier_judge(known, outliers, device="cpu", every=lambda epoch: epoch == 2)
    assert judge(begun.model, 1) == {}
    begun.model.eval()
    with torch.no_grad():
        inside, outside = (begun.model(to_unit_range(torch.tensor(part))).amax(1) for part in (known.images, outliers))
    pairs = (inside[:, None] > outside[None]).double() + 0.5 * (inside[:, None] == outside[None])
    assert judge(begun.model, 2)["outlier_auroc"] == pytest.approx(pairs.mean().item())


def test_every_use_of_outliers_has_its_own_photograph(monkeypatch):
    """Learning, choosing and testing each ask for the pool of their own role; `test_outside` shows them disjoint."""
    asked = []

    def pool(role, shape, n, seed):
        asked.append(role)
        return outlier_pool(role, shape, n, seed)

    for module in ("study.methods.outliers", "study.data.photographs", "study.data.outside"):
        monkeypatch.setattr(f"{module}.outlier_pool", pool)
    begun = job()
    get_method("outlier_exposure")(begun)
    assert asked == ["train"]
    config = study_config({"task": "rejection", "preset": "smoke"})
    judging = Judging(config, begun.data, "plain", seed=0, device="cpu", every_epoch=True)
    get_task("rejection").judge(judging)
    assert asked == ["train", "validation"]
    outside_sets(digits(), begun.data, seed=0, n=5)
    assert asked == ["train", "validation", "test"]


def test_the_outliers_to_learn_from_are_those_of_the_replicate(monkeypatch):
    seeds = []
    pool = lambda role, shape, n, seed: seeds.append(seed) or outlier_pool(role, shape, n, seed)  # noqa: E731
    monkeypatch.setattr("study.methods.outliers.outlier_pool", pool)
    get_method("outlier_exposure")(job(data_seed=7))
    assert seeds == [7]
