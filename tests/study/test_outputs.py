"""What is stored of a model: outputs beside their own labels, of the same images for every loss."""

import json
import math

import numpy as np
import pytest
import torch

from study.attack_block import under_attack
from study.data.corruption import TEST_KINDS, applicable, corrupt
from study.data.embedded import mnist5k
from study.errors import InputError
from study.measure import outside
from study.outputs import Subject, _corrupted, collect, from_scores
from study.probes import dar
from study.probes.calibration import fit_temperature
from study.probes.curves import reliability
from study.run import Key, RunDirectory
from study.search import training_of
from study.seeds import derive
from study.training import predict
from study.trial import run_training, splits_of
from tests.study.test_search import RECIPE, config

LOSSES = ("ce", "logit_adjusted")
STUDY = config(
    losses=LOSSES,
    epochs=3,
    corruption_points=60,
    attacks="quick",
    eps=(0.1,),
    attack_points=50,
    attack_replicates=1,
)


NOVEL = ("letters", "photographs")


def key_of(loss):
    return Key("confirm", "plain", loss, "tuned", 0, 0)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A run with one model a loss, and what each of them says of every set."""
    run = RunDirectory(tmp_path_factory.mktemp("stored"))
    for loss in LOSSES:
        cell = run_training(training_of(RECIPE, key_of(loss), {}, 0, keep_weights=True), STUDY, mnist5k(), run)
        assert cell["state"] == "complete", cell
    return run, {loss: collect(Subject(key_of(loss).at("evaluate"), STUDY, mnist5k(), run, "cpu")) for loss in LOSSES}


def value(arrays, **wanted):
    [row] = [row for row in from_scores(arrays)["rows"] if wanted.items() <= row.items()]
    return row["value"]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("part", ["validation", "test"])
def test_logits_stand_beside_the_labels_of_their_images(stored, loss, part):
    run, arrays = stored
    images = getattr(splits_of(key_of(loss), STUDY, mnist5k()), part)
    assert np.array_equal(arrays[loss][f"{part}/labels"], images.labels)
    network = under_attack(key_of(loss), STUDY, mnist5k(), run, "cpu")[1]["model"]
    logits = predict(network, images.images)
    np.testing.assert_array_equal(arrays[loss][f"{part}/logits"], logits)
    share = (logits.argmax(1) == images.labels).mean()
    assert share > 0.5
    found = value(arrays[loss], probe="accuracy", dataset=part, slice="all", metric="accuracy")
    assert found == pytest.approx(share)


def test_every_loss_is_asked_about_the_same_corrupted_images(stored):
    run, arrays = stored
    points = arrays["ce"]["corruption/points"]
    assert len(points) == 60
    test = splits_of(key_of("ce"), STUDY, mnist5k()).test
    seed = derive(STUDY.seed, "corruption", 0)
    kinds = [kind for kind, reason in applicable(test.images.shape[1:]).items() if kind in TEST_KINDS and not reason]
    assert len(kinds) == 6
    for loss in LOSSES:
        np.testing.assert_array_equal(arrays[loss]["corruption/points"], points)
        network = under_attack(key_of(loss), STUDY, mnist5k(), run, "cpu")[1]["model"]
        for k, kind in enumerate(kinds):
            predicted = predict(network, corrupt(test.images[points], kind, 2, seed)).argmax(1)
            np.testing.assert_array_equal(arrays[loss]["corruption/predictions"][k, 1], predicted, err_msg=kind)
            share = (predicted == test.labels[points]).mean()
            found = value(arrays[loss], probe="corruption", slice=f"{kind}-2", metric="accuracy")
            assert found == pytest.approx(share)


def test_every_loss_is_attacked_on_the_same_images_with_their_labels(stored):
    run, _ = stored
    test = splits_of(key_of("ce"), STUDY, mnist5k()).test
    (points, first), (others, second) = (under_attack(key_of(loss), STUDY, mnist5k(), run, "cpu") for loss in LOSSES)
    assert len(points) == 50
    np.testing.assert_array_equal(points, others)
    assert torch.equal(first["images"], second["images"])
    assert torch.equal(first["images"], torch.tensor(test.images[points]).permute(0, 3, 1, 2) / 255)
    assert first["labels"].tolist() == second["labels"].tolist() == test.labels[points].tolist()


def test_outside_sets_keep_their_groups_and_scores_their_sets(stored):
    run, arrays = stored
    network = under_attack(key_of("ce"), STUDY, mnist5k(), run, "cpu")[1]["model"]
    known = arrays["ce"]["test/logits"].max(1)
    for out in outside(STUDY, mnist5k(), 0):
        if out.group == "shifted-known":
            continue
        score = predict(network, out.images).max(1)
        expected = (known[:, None] > score).mean() + 0.5 * (known[:, None] == score).mean()
        found = value(arrays["ce"], probe="rejection", dataset=out.name, slice="mls", metric="auroc")
        assert found == pytest.approx(expected), out.name


def fitted(arrays):
    """Whatever is chosen and not measured; a share that is accepted of other images tells a threshold."""
    return {
        (row["probe"], row["dataset"], row["slice"], row["metric"]): row["value"]
        for row in from_scores(arrays)["rows"]
        if row["metric"] in ("tau", "temperature")
        or (row["metric"].startswith("accepted") and row["dataset"] in ("novel", "unrecognisable"))
    }


def test_what_is_fitted_is_fitted_on_validation_images_alone(stored):
    arrays = stored[1]["ce"]

    def changed(part):
        """Other logits, of another scale, and wrong labels."""
        turned = -3 * arrays[f"{part}/logits"]
        return {**arrays, f"{part}/logits": turned, f"{part}/labels": turned.argmax(1)[::-1].copy()}

    before, after_test, after_validation = fitted(arrays), fitted(changed("test")), fitted(changed("validation"))
    assert {probe for probe, *_ in before} == {"posthoc", "calibration", "dar"}
    assert after_test == before
    assert after_validation["posthoc", "test", "all", "temperature"] != before["posthoc", "test", "all", "temperature"]
    assert after_validation["dar", "novel", "mls", "accepted_all"] != before["dar", "novel", "mls", "accepted_all"]
    temperature = fit_temperature(arrays["validation/logits"], arrays["validation/labels"])
    drawn = [line for line in from_scores(arrays)["curves"] if line["kind"] == "reliability"]
    assert drawn == reliability(arrays["test/logits"], arrays["test/labels"], temperature)
    assert fit_temperature(arrays["test/logits"], arrays["test/labels"]) != temperature


def test_stages_of_a_continual_learner_follow_each_other():
    """Of three experiences of a class each the network knows the first k after the k-th."""
    labels = np.arange(3)
    known = {"stage/initial": [2], "stage/experience0": [0], "stage/experience1": [0, 1], "test": [0, 1, 2]}
    arrays = {"test/labels": labels}
    for name, classes in known.items():
        place = "test/logits" if name == "test" else name
        arrays[place] = np.where(np.isin(labels, classes)[:, None], np.eye(3), -np.eye(3))
    about = {"probes": ["continual"], "experiences": [[0], [1], [2]]}
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    kind = "class-incremental"
    assert value(arrays, slice=f"{kind} after 1 on 1", metric="accuracy") == 1
    assert value(arrays, slice=f"{kind} after 2 on 2", metric="accuracy") == 1
    assert value(arrays, slice=f"{kind} after 3 on 3", metric="accuracy") == 1
    assert value(arrays, slice=kind, metric="forgetting") == 0


def test_a_rejector_keeps_the_threshold_of_the_validation_images_and_a_users_images_are_novel(stored):
    """A clean image counts if it is accepted and right, or neither; one from outside if it is rejected."""
    arrays = dict(stored[1]["ce"])
    about = json.loads(arrays["about"].tobytes())
    places = {entry["name"]: index for index, entry in enumerate(about["outside"])}
    about["outside"][places["photographs"]]["group"] = "user"
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    held = np.sort(arrays["validation/logits"].max(1))[::-1]
    limit = held[math.ceil(0.95 * len(held)) - 1]
    logits = arrays["test/logits"]
    right = logits.argmax(1) == arrays["test/labels"]
    expected = {
        "clean": ((logits.max(1) >= limit) == right).mean(),
        "novel": np.mean([(arrays[f"outside{places[name]}/logits"].max(1) < limit).mean() for name in NOVEL]),
    }
    for kind, share in expected.items():
        found = value(arrays, probe="dar", dataset=kind, slice="mls", metric="dar_all")
        assert found == pytest.approx(share, rel=1e-12), kind


class Sure(torch.nn.Module):
    """Says class 0 of every image, with 1 − p = 2.9e-8: 9 classes of e^−19.553 each."""

    def forward(self, images):
        return torch.tensor([[19.553, *[0.0] * 9]]).repeat(len(images), 1)


def test_a_corrupted_image_just_below_a_threshold_of_nearly_one_is_rejected(tmp_path):
    """1 − 2.9e-8 is 1 in float32; the validation images' threshold may be 1 − 1e-9."""
    subject = Subject(key_of("ce"), STUDY, mnist5k(), RunDirectory(tmp_path), "cpu", given=Sure())
    msp = _corrupted(subject, Sure(), {})["corruption/msp"]
    np.testing.assert_allclose(1 - msp, 2.9e-8, rtol=1e-3)
    assert not dar.counted(msp.ravel(), np.ones(msp.size, dtype=bool), 1 - 1e-9).any()


def test_scores_of_corrupted_images_that_were_stored_in_float32_are_read_as_they_are(stored):
    _, arrays = stored
    narrow = {name: a.astype(np.float32) if name == "corruption/msp" else a for name, a in arrays["ce"].items()}
    rows, others = (from_scores(each)["rows"] for each in (arrays["ce"], narrow))
    assert len(rows) == len(others)
    assert all(
        row == other or row["value"] == pytest.approx(other["value"], abs=0.01, nan_ok=True)
        for row, other in zip(rows, others, strict=True)
    )


class Maps(torch.nn.Module):
    """Sees 1 in the bright pixels and 0 in the others; its logits of black images are nan, if it is asked to."""

    def __init__(self, fails):
        super().__init__()
        self.fails = fails

    def forward(self, images):
        bright = images.amax(1) - 0.5
        logits = torch.stack((-bright, bright), 1)
        black = (images.flatten(1).amax(1) == 0) & self.fails
        return torch.where(black[:, None, None, None], torch.nan, logits)


def test_maps_are_the_classes_of_all_pixels_and_refused_where_logits_are_not_finite(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (300, 5, 4, 3), dtype=np.uint8)
    images[[7, 299]] = 0
    subject = Subject(key_of("ce"), STUDY, mnist5k(), RunDirectory(tmp_path), "cpu")
    np.testing.assert_array_equal(subject.maps(Maps(False), images), images.max(3) > 127)
    with pytest.raises(InputError, match="logits: expected finite numbers, 2 of 300 images have others"):
        subject.maps(Maps(True), images)
