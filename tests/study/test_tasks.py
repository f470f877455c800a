import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from hem import LDAMLoss
from search_spaces.losses import LOSS_SPACES
from search_spaces.presets import CORE
from study import record
from study.config import StudyConfig
from study.data.embedded import digits
from study.data.registry import load_source
from study.data.types import IGNORED, Images, Source
from study.errors import InputError
from study.methods import METHODS
from study.models.registry import MODELS
from study.options import all_tasks, study_config
from study.preflight import check_loss
from study.run import RunDirectory
from study.shape import STUDY, mismatch
from study.tasks import PROBES, TASKS, get_task
from study.tasks.types import Applies
from study.trial import splits
from tests.data.helpers import toy_source


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
class TestEveryTask:
    def test_methods_and_objective_are_known(self, task):
        assert set(task.methods) <= set(METHODS)
        assert task.endpoint.method in task.methods
        assert task.objective in task.objectives

    @pytest.mark.parametrize("preset", ["smoke", "quick", "full", "paper"])
    def test_presets_are_whole_studies(self, task, preset):
        config = study_config({"task": task.name, "preset": preset})
        assert isinstance(config, StudyConfig)
        assert MODELS[config.model].dense == task.dense
        assert set(config.losses) <= set(LOSS_SPACES)

    def test_the_core_losses_run_from_quick_on(self, task):
        config = study_config({"task": task.name, "preset": "full"})
        assert set(CORE) <= set(config.losses)

    def test_the_table_of_probes_is_whole(self, task):
        assert set(task.probes) == set(PROBES)
        assert all(applies.note for applies in task.probes.values() if applies.answer != "yes")
        assert {applies.answer for applies in task.probes.values()} <= {"yes", "restricted", "no"}

    def test_the_endpoint_is_among_the_probes(self, task):
        assert task.applies(task.endpoint.probe)

    def test_an_unusable_loss_is_refused_with_the_reason(self, task):
        for loss, reason in task.unusable.items():
            with pytest.raises(InputError, match="cannot use") as error:
                study_config({"task": task.name, "losses": ["ce", loss]})
            assert reason in str(error.value)


@pytest.mark.parametrize("loss", ["hem+", "logit_adjusted", "ce_balanced", "ldam"])
def test_a_class_of_two_percent_of_the_pixels_of_forty_images_has_less_than_one_sample_and_is_no_error(loss):
    labels = np.full((40, 16, 16), IGNORED)
    labels.reshape(40, -1)[:, :50] = [0] * 24 + [1] * 25 + [2]
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 1), np.uint8)
    source = Source("thin", Images(images, labels), None, ("ground", "sky", "crack"), "none")
    config = study_config({"task": "segmentation", "preset": "smoke", "losses": ("ce", "hem", loss)})
    data = splits(config, source, 0, final=False)
    assert (len(data.train), data.class_counts) == (27, pytest.approx((27 * 0.48, 27 * 0.5, 27 * 0.02)))
    check_loss(config, source, "plain", loss)


class Deferred(LDAMLoss):
    """Somebody's own loss that asks for class weights late in a training."""

    head = "cosine"
    weight_schedule = "drw"


class Resampled(torch.nn.CrossEntropyLoss):
    """Somebody's own loss that asks for batches in which every class is equally likely."""

    sampler = "balanced"

    def __init__(self, class_counts, ignore_index=-100):
        super().__init__(ignore_index=ignore_index)


@pytest.mark.parametrize("task", ["continual", "segmentation"])
def test_an_own_loss_with_a_sampler_is_refused_where_there_is_none(task):
    loss = f"{__name__}:Resampled"
    config = study_config({"task": task, "preset": "smoke", "losses": ["ce", loss]})
    with pytest.raises(InputError, match=f"declares sampler 'balanced', which task {task} cannot follow"):
        check_loss(config, load_source(config.dataset, None), config.methods[0], loss)
    config = study_config({"task": "imbalanced", "preset": "smoke", "losses": ["ce", loss]})
    check_loss(config, digits(), "plain", loss)


def test_an_own_loss_with_a_schedule_of_weights_is_refused_where_every_experience_is_a_training_of_its_own():
    loss = f"{__name__}:Deferred"
    config = study_config({"task": "continual", "preset": "smoke", "losses": ["ce", loss]})
    for method in get_task("continual").methods:
        with pytest.raises(InputError, match=r"declares weight_schedule 'drw', which task continual cannot follow"):
            check_loss(config, digits(), method, loss)
    config = study_config({"task": "rejection", "preset": "smoke", "losses": ["ce", loss]})
    check_loss(config, digits(), "outlier_exposure", loss)


class Returning(torch.nn.Module):
    """Somebody's own loss that returns what it should not."""

    def __init__(self, class_counts):
        super().__init__()


class Detached(Returning):
    """No gradient."""

    def forward(self, logits, target):
        return torch.full_like(logits.detach().sum(), 0.5)


class NotANumber(Returning):
    """0 · inf."""

    def forward(self, logits, target):
        return logits.sum() * float("nan")


class PerSample(Returning):
    """Not reduced."""

    def forward(self, logits, target):
        return logits.sum(1)


class Plain(Returning):
    """No tensor."""

    def forward(self, logits, target):
        return 0.5


@pytest.mark.parametrize(
    ("loss", "got"),
    [
        ("Detached", "0.5 without a gradient"),
        ("NotANumber", "nan"),
        ("PerSample", r"a tensor of shape \(8,\)"),
        ("Plain", "float"),
    ],
)
def test_an_own_loss_that_returns_no_number_with_a_gradient_is_told_what_it_returned(loss, got):
    config = study_config({"task": "imbalanced", "preset": "smoke", "losses": ["ce", f"{__name__}:{loss}"]})
    with pytest.raises(InputError, match=f"{loss}: expected one finite number with a gradient, got {got}$"):
        check_loss(config, digits(), "plain", f"{__name__}:{loss}")


def test_all_runs_the_core_losses_everywhere_from_quick_on():
    assert [config.task for config in all_tasks({})] == list(TASKS)
    assert {config.losses for config in all_tasks({})} == {CORE}
    assert {config.losses for config in all_tasks({"preset": "smoke"})} == {("ce", "hem", "hem+")}


def test_all_refuses_what_belongs_to_one_task():
    with pytest.raises(InputError, match="--methods belongs to one task"):
        all_tasks({"methods": ["drw"]})


def test_radii_follow_the_kind_of_images():
    assert study_config({"task": "adversarial"}).eps == (0.1,)
    natural = study_config({"task": "adversarial", "dataset": "npz:photos.npz"})
    assert natural.eps == (1 / 255,)
    assert TASKS["adversarial"].endpoint_on("npz:photos.npz").slice == f"Linf-{1 / 255:g}"
    assert TASKS["adversarial"].endpoint_on("mnist5k").slice == "Linf-0.1"


def test_a_probe_that_is_not_named_does_not_apply():
    assert not Applies("no")
    assert Applies("restricted", "some")


def test_paper_retrains_on_the_fields_own_long_tailed_cifar():
    labels = np.repeat(np.arange(10), 5000)
    source = Source(
        "cifar10",
        Images(np.zeros((50_000, 8, 8, 1), np.uint8), labels),
        Images(np.zeros((10, 8, 8, 1), np.uint8), np.arange(10)),
        tuple("abcdefghij"),
        "",
    )
    config = study_config({"task": "imbalanced", "preset": "paper"})
    search, final = (splits(config, source, 0, final=final) for final in (False, True))
    assert sum(final.class_counts) == 12_406
    assert final.class_counts[0] == 5000
    assert final.class_counts == tuple(sorted(final.class_counts, reverse=True))
    assert len(final.validation) == 0
    assert len(search.validation) == 1000
    recorded = record._split(config, source, 0)
    assert (recorded["n_train"], recorded["n_validation"]) == (12_406, 0)
    assert recorded["search"]["n_validation"] == 1000
    assert recorded["search"]["class_counts"] == list(search.class_counts)
    other = replace(config, preset="full")
    assert "search" not in record._split(other, source, 0)
    assert splits(other, source, 0, final=True).class_counts == search.class_counts


def test_the_record_of_a_continual_study_has_both_orders_of_its_classes(tmp_path):
    config, source = study_config({"task": "continual", "preset": "smoke"}), digits()
    study = json.loads(json.dumps(record.new(config, source, RunDirectory(tmp_path / "run"), "command")))
    assert mismatch(study, STUDY) == ""
    for replicate, recorded in enumerate(study["data"]["splits"]):
        search, final = (splits(config, source, replicate, final=final).experiences for final in (False, True))
        assert recorded["experiences"] == [list(part) for part in final]
        assert recorded["search"]["experiences"] == [list(part) for part in search]
        assert search != final
        del recorded["search"]
    assert mismatch(study, STUDY) == "", "a record from before has none"


def test_classes_that_cannot_be_dealt_out_are_a_matter_of_the_data():
    config = study_config({"task": "continual", "preset": "smoke"})
    with pytest.raises(
        InputError, match="4 classes cannot be dealt out equally to 5\nallowed: data with a multiple of 5"
    ):
        splits(config, replace(toy_source([20] * 4), name="npz:toy"), 0, final=True)


def test_an_official_test_set_without_an_experience_is_refused_before_anything_is_trained():
    config = study_config({"task": "continual", "preset": "smoke"})
    source = replace(toy_source([20] * 5, [4, 4, 4, 0, 4]), name="npz:toy")
    assert len(splits(config, source, 0, final=False).experiences) == 5
    with pytest.raises(InputError, match=r"an experience needs test images .*, got none of: kind 3\nwith --resplit"):
        splits(config, source, 0, final=True)
    assert len(splits(config, source.joined(), 0, final=True).experiences) == 5
