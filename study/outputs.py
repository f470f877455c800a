"""What a trained model says of every set, and every number as a function of that.

`collect` needs the network; `from_scores` needs only the arrays that it gave, so that every metric can be computed
again without it. One function of each kind a probe; the task says which of them apply.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from study import examples
from study.config import StudyConfig
from study.errors import InputError
from study.ledger import kept_weights
from study.measure import load_network, outside
from study.run import Key, RunDirectory
from study.seeds import derive
from study.tasks import PROBES, get_task
from study.trial import splits_of

if TYPE_CHECKING:
    import torch

    from study.data.types import Images, Source, Splits

SHIFTED = "shifted-known"
PROBED = 16
"""Test images that tell whether a network's features are what its logits follow from."""
Arrays = Mapping[str, np.ndarray]
About = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """A trained model, and what it can be asked with."""

    key: Key
    config: StudyConfig
    source: "Source"
    run: RunDirectory
    device: str
    given: "torch.nn.Module | None" = None
    """A network from outside, in the place of the run's own."""

    @property
    def data(self) -> "Splits":
        """The model's images."""
        return splits_of(self.key, self.config, self.source)

    def network(self, kept: str = "") -> "torch.nn.Module":
        """Return the network, or an earlier state of it."""
        if self.given is not None:
            return self.given
        return load_network(self.config, self.source, self.run, self.key, kept)

    def kept(self) -> list[str]:
        """Return the names of its earlier states."""
        return [] if self.given is not None else kept_weights(self.run, self.key)

    def logits(self, model: "torch.nn.Module", images: np.ndarray) -> np.ndarray:
        """Return logits, float32, of uint8 images."""
        import torch

        from study.training import predict

        return predict(model, images, device=torch.device(self.device))

    def maps(self, model: "torch.nn.Module", images: np.ndarray) -> np.ndarray:
        """Return the class of every pixel (N, H, W) of uint8 images.

        Raises:
            InputError: logits that are not finite.
        """
        import torch

        from study.training.batches import as_bytes
        from study.training.prediction import outputs

        found = outputs(model, as_bytes(images), torch.device(self.device), maps_as_classes=True)[0].numpy()
        wrong = int((found < 0).any((1, 2)).sum())
        if wrong:
            raise InputError(f"logits: expected finite numbers, {wrong} of {len(found)} images have others")
        return found

    def features(self, model: "torch.nn.Module", images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return logits and features, float32, of uint8 images."""
        from study.training.prediction import predict_with_features

        return predict_with_features(model, images, device=self.device)


def collect(subject: Subject) -> dict[str, np.ndarray]:
    """Return what a model says of every set that its task's probes ask for, with what the metrics need besides."""
    task, data = get_task(subject.config.task), subject.data
    about: About = {
        "class_counts": data.class_counts,
        "classes": data.classes,
        "experiences": data.experiences,
        "outside": [],
        "probes": [name for name in PROBES if task.applies(name)],
    }
    arrays: dict[str, np.ndarray] = {}
    model = subject.network()
    for ask in dict.fromkeys(ASKED[probe] for probe in about["probes"] if probe in ASKED):
        arrays |= ask(subject, model, about)
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    return arrays


def _clean(subject: Subject, model: "torch.nn.Module", about: About) -> dict[str, np.ndarray]:
    parts: dict[str, Images] = {"validation": subject.data.validation, "test": subject.data.test}
    arrays = {}
    for name, part in parts.items():
        arrays[f"{name}/logits"], arrays[f"{name}/labels"] = subject.logits(model, part.images), part.labels
    return arrays


def _outside(subject: Subject, model: "torch.nn.Module", about: About) -> dict[str, np.ndarray]:
    from study.probes.feature_scores import knn, mahalanobis
    from study.training.prediction import has_features

    train, sets = subject.data.train, outside(subject.config, subject.source, subject.key.replicate)
    arrays, features = {}, {}
    with_features = has_features(model, subject.data.test.images[:PROBED], device=subject.device)
    for index, out in enumerate(sets):
        about["outside"].append({"name": out.name, "group": out.group})
        if with_features:
            arrays[f"outside{index}/logits"], features[f"outside{index}"] = subject.features(model, out.images)
        else:
            arrays[f"outside{index}/logits"] = subject.logits(model, out.images)
        if out.group == SHIFTED and out.labels is not None:
            arrays[f"outside{index}/labels"] = out.labels
    if not with_features:
        return arrays
    _, kept = subject.features(model, train.images)
    features["test"] = subject.features(model, subject.data.test.images)[1]
    together = np.concatenate(list(features.values()))
    ends = np.cumsum([len(part) for part in features.values()])[:-1]
    for score, values in (("knn", knn(kept, together)), ("mahalanobis", mahalanobis(kept, train.labels, together))):
        arrays |= {f"{place}/{score}": part for place, part in zip(features, np.split(values, ends), strict=True)}
    return arrays


def write_examples(subject: Subject, arrays: Arrays) -> list[examples.Example]:
    """Write the pictures that show what the figures count, for the models that are shown; return what they are."""
    key, config, run = subject.key, subject.config, subject.run
    if not examples.is_shown(key, config):
        return []
    found = []
    sets = [out for out in outside(config, subject.source, key.replicate) if out.group != SHIFTED]
    if sets and len(arrays["validation/labels"]):
        about = json.loads(arrays["about"].tobytes())["outside"]
        places = [index for index, entry in enumerate(about) if entry["group"] != SHIFTED]
        from study.probes import dar

        limit = dar.threshold(arrays["validation/logits"].max(1))
        scores = [arrays[f"outside{index}/logits"].max(1) for index in places]
        found += examples.rejected(run, key, sets, scores, limit)
    if key.loss == config.losses[0] and get_task(config.task).applies("corruption"):
        found += examples.corruptions(run, _one_image_corrupted(subject))
    if get_task(config.task).dense:
        test = subject.data.test.take(range(min(examples.COLUMNS - 3, len(subject.data.test))))
        predicted = subject.logits(subject.network(), test.images).argmax(1)
        found += examples.maps(run, key, test.images, test.labels, predicted, subject.data.classes)
    return found


def _one_image_corrupted(subject: Subject) -> dict[str, list[np.ndarray]]:
    from study.data.corruption import SEVERITIES, TEST_KINDS, applicable, corrupt

    test = subject.data.test.images[:1]
    reasons = applicable(test.shape[1:])
    seed = derive(subject.config.seed, "corruption", subject.key.replicate)
    return {
        kind: [corrupt(test, kind, severity, seed)[0] for severity in SEVERITIES]
        for kind in TEST_KINDS
        if not reasons[kind]
    }


def _corrupted(subject: Subject, model: "torch.nn.Module", about: About) -> dict[str, np.ndarray]:
    """Return classes and scores on corrupted test images: the same images for every model of a replicate."""
    from study.data.corruption import SEVERITIES, TEST_KINDS, applicable, corrupted, official
    from study.probes.dar import SCORES as DAR_SCORES
    from study.probes.rejection import scores

    config, test = subject.config, subject.data.test
    reasons = applicable(test.images.shape[1:])
    kinds = [kind for kind in TEST_KINDS if not reasons[kind]]
    about["corruption"] = {"kinds": kinds, "not_available": [kind for kind in TEST_KINDS if reasons[kind]]}
    seed = derive(config.seed, "corruption", subject.key.replicate)
    order = np.random.default_rng(seed).permutation(len(test))
    points = np.sort(order[: config.corruption_points or len(test)])
    images, folder = test.images[points], subject.run.path / "corruptions"

    def under(kind: str, severity: int) -> np.ndarray:
        published = official(subject.source, test, points, kind, severity)
        return corrupted(images, kind, severity, seed, folder) if published is None else published

    shape = (len(kinds), len(SEVERITIES), len(points))
    predictions = np.empty(shape, dtype=np.int32)
    # Rounded to float32 a softmax probability just below a threshold of nearly 1 would be 1, and accepted.
    found = {score: np.empty(shape) for score in DAR_SCORES}
    for i, kind in enumerate(kinds):
        for j, severity in enumerate(SEVERITIES):
            logits = subject.logits(model, under(kind, severity))
            predictions[i, j] = logits.argmax(1)
            of_logits = scores(logits)
            for score, values in found.items():
                values[i, j] = of_logits[score]
    arrays = {"corruption/points": points, "corruption/predictions": predictions}
    return arrays | {f"corruption/{score}": values for score, values in found.items()}


def _stages(subject: Subject, model: "torch.nn.Module", about: About) -> dict[str, np.ndarray]:
    """Return the test logits of the network before training and after each experience but the last, if it was kept."""
    test = subject.data.test
    return {f"stage/{name}": subject.logits(subject.network(name), test.images) for name in subject.kept()}


def _maps(subject: Subject, model: "torch.nn.Module", about: About) -> dict[str, np.ndarray]:
    """Return one confusion matrix for each validation and test image."""
    from study.probes.segmentation import confusions

    arrays = {}
    for name, part in (("validation", subject.data.validation), ("test", subject.data.test)):
        predicted = subject.maps(model, part.images)
        arrays[f"{name}/confusions"] = confusions(predicted, part.labels, len(about["classes"])).astype(np.int32)
    return arrays


ASKED: dict[str, Callable[[Subject, "torch.nn.Module", About], dict[str, np.ndarray]]] = {
    "accuracy": _clean,
    "posthoc": _clean,
    "calibration": _clean,
    "rejection": _outside,
    "corruption": _corrupted,
    "continual": _stages,
    "segmentation": _maps,
}
"""Probe → what the model is asked for it."""


def from_scores(arrays: Arrays) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of evaluation.parquet and of curves.parquet that follow from a model's stored outputs."""
    about = json.loads(arrays["about"].tobytes())
    rows: list[Any] = []
    lines: list[Any] = []
    for probe in about["probes"]:
        if probe in ROWS:
            more_rows, more_lines = ROWS[probe](arrays, about)
            rows += more_rows
            lines += more_lines
    return {"rows": [dict(row) for row in rows], "curves": [dict(line) for line in lines]}


Found = tuple[Iterable[Any], Iterable[Any]]


def _held(arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    return arrays["validation/logits"], arrays["validation/labels"]


def _test(arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    return arrays["test/logits"], arrays["test/labels"]


def _accuracy(arrays: Arrays, about: About) -> Found:
    from study.probes import accuracy

    counts, classes = about["class_counts"], about["classes"]
    rows = accuracy.rows(*_test(arrays), counts, classes)
    if len(arrays["validation/labels"]):
        rows = [*rows, *accuracy.rows(*_held(arrays), counts, classes, dataset="validation")]
    return rows, ()


def _posthoc(arrays: Arrays, about: About) -> Found:
    from study.probes import accuracy

    if not len(arrays["validation/labels"]):
        return (), ()
    return accuracy.posthoc_rows(*_test(arrays), *_held(arrays), about["class_counts"], about["classes"]), ()


def _rejection(arrays: Arrays, about: About) -> Found:
    from study.probes import accuracy, curves, rejection
    from study.probes.feature_scores import FEATURE_SCORES

    logits, labels = _test(arrays)
    places = {"test": "test", **{entry["name"]: f"outside{index}" for index, entry in enumerate(about["outside"])}}
    further = {
        name: {score: arrays[f"{place}/{score}"] for score in FEATURE_SCORES if f"{place}/{score}" in arrays}
        for name, place in places.items()
    }
    out, rows = {}, []
    for index, entry in enumerate(about["outside"]):
        theirs = arrays[f"outside{index}/logits"]
        if entry["group"] == SHIFTED:
            rows += accuracy.shifted_rows(entry["name"], theirs, arrays[f"outside{index}/labels"])
        else:
            out[entry["name"]] = (entry["group"], theirs)
    rows = [*rejection.rows(logits, labels, out, more_scores=further), *rows]
    roc = curves.roc(logits, {name: value for name, (_, value) in out.items()})
    return [*rows, *_dar(arrays, out)], [*roc, *curves.risk_coverage(logits, labels)]


def _dar(arrays: Arrays, out: Mapping[str, tuple[str, np.ndarray]]) -> list[Any]:
    """Return DAR on every kind but the adversarial one, and selective classification on corrupted images."""
    from study.probes import dar, rejection

    rows: list[Any] = []
    kinds = {
        "clean": [dar.known(*_test(arrays))],
        "novel": [dar.unknown(logits) for group, logits in out.values() if group in dar.NOVEL],
        "unrecognisable": [dar.unknown(logits) for group, logits in out.values() if group == "unrecognisable"],
    }
    if "corruption/mls" in arrays:
        labels = arrays["test/labels"][arrays["corruption/points"]]
        right = (arrays["corruption/predictions"] == labels).reshape(-1, len(labels))
        found = {score: arrays[f"corruption/{score}"].reshape(-1, len(labels)) for score in dar.SCORES}
        kinds["corrupt"] = [
            ({s: v[i].astype(np.float64) for s, v in found.items()}, right[i]) for i in range(len(right))
        ]
        rows += rejection.corrupt_rows({s: list(zip(v, right, strict=True)) for s, v in found.items()})
    if len(arrays["validation/labels"]):
        rows += dar.rows(kinds, dar.thresholds(*_held(arrays)))
    return rows


def _calibration(arrays: Arrays, about: About) -> Found:
    from study.probes import calibration, curves

    if not len(arrays["validation/labels"]):
        return (), ()
    temperature = calibration.fit_temperature(*_held(arrays))
    rows = calibration.rows(*_test(arrays), *_held(arrays))
    return rows, curves.reliability(*_test(arrays), temperature)


def _corruption(arrays: Arrays, about: About) -> Found:
    from study.data.corruption import SEVERITIES
    from study.probes import corruption

    points = arrays["corruption/points"]
    logits, labels = _test(arrays)
    predicted = {
        (kind, severity): arrays["corruption/predictions"][i, j].astype(np.int64)
        for i, kind in enumerate(about["corruption"]["kinds"])
        for j, severity in enumerate(SEVERITIES)
    }
    clean = logits[points].argmax(1)
    left_out = about["corruption"]["not_available"]
    return corruption.rows(predicted, labels[points], clean, len(about["classes"]), not_available=left_out), ()


def _continual(arrays: Arrays, about: About) -> Found:
    from study.probes import continual

    logits, labels = _test(arrays)
    count = len(about["experiences"])
    between = [arrays[f"stage/experience{k}"] for k in range(count - 1) if f"stage/experience{k}" in arrays]
    return continual.rows([*between, logits], labels, about["experiences"], arrays.get("stage/initial")), ()


def _segmentation(arrays: Arrays, about: About) -> Found:
    from study.probes import segmentation

    parts = ("test", "validation")
    found = [segmentation.rows(arrays[f"{part}/confusions"], about["classes"], dataset=part) for part in parts]
    return [line for rows in found for line in rows], ()


ROWS: dict[str, Callable[[Arrays, About], Found]] = {
    "accuracy": _accuracy,
    "posthoc": _posthoc,
    "rejection": _rejection,
    "calibration": _calibration,
    "corruption": _corruption,
    "continual": _continual,
    "segmentation": _segmentation,
}
"""Probe → (rows, curve points) from stored outputs."""
