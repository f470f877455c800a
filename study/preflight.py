"""Everything that can be found wrong before a single training: data, losses, network, directory; and the dry run."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.config import Resources, StudyConfig
from study.errors import InputError, unknown
from study.host import machine
from study.radii import named
from study.run import RunDirectory
from study.several import is_several

if TYPE_CHECKING:
    from study.data.types import Source
    from study.options import Request


def free(run: RunDirectory) -> None:
    """Refuse a directory that holds something.

    Raises:
        InputError: it is a run (resume it) or something else.
    """
    if run.study_file.is_file() or is_several(run.path):
        raise InputError(
            f"--output {run.path} already holds a run\n"
            f"allowed: --resume {run.path} to go on with it, or a new directory"
        )
    if not run.new():
        raise InputError(f"--output {run.path} holds something else\nallowed: a new or an empty directory")
    if "?" in str(run.path):
        raise InputError(f"--output {run.path}: a database cannot lie under a name with a question mark")
    at = run.path
    while not at.exists():
        at = at.parent
    if not at.is_dir():
        raise InputError(f"--output {run.path}: {at} is a file\nallowed: a new or an empty directory")


def resumed_config(study: dict[str, Any], request: "Request") -> StudyConfig:
    """Return a run's own config, with losses that are added now.

    Raises:
        InputError: a loss that the run has already.
    """
    return with_losses(StudyConfig.from_dict(study["config"]), request.add_losses)


def tell_code(config: StudyConfig) -> None:
    """Say which code the record of a run makes this process import: losses and data of somebody's own, by name."""
    from study.data.own_code import is_own
    from study.data.registry import SOURCES

    data = (
        name for name in (config.dataset, *config.ood_sets) if is_own(name) and name.partition(":")[0] not in SOURCES
    )
    own = [*(loss for loss in config.losses if ":" in loss), *data]
    if own:
        print(f"the run's record names code, which is imported from your Python path: {', '.join(own)}", flush=True)


def with_losses(config: StudyConfig, more: Sequence[str]) -> StudyConfig:
    """Return a study with more losses.

    Raises:
        InputError: a loss that it has already.
    """
    again = [loss for loss in more if loss in config.losses]
    if again:
        raise InputError(f"--add-losses: the run has {', '.join(again)} already\nit has: {', '.join(config.losses)}")
    return replace(config, losses=(*config.losses, *more))


def same_data(study: dict[str, Any], source: "Source") -> None:
    """Refuse to go on with other data, or other outside sets from files, than the run began with."""
    from study.data.companions import fingerprints

    before, now = study["data"]["fingerprint"], source.fingerprint()
    if before != now:
        raise InputError(
            f"the data of {source.name} are not those this run began with\n"
            f"expected the fingerprint {before[:16]}…, got {now[:16]}…\nrestore the data, or start a new run"
        )
    then, sets = study["data"].get("companions", {}), fingerprints(source)
    for name in (name for name in sets if name in then and sets[name] != then[name]):
        raise InputError(
            f"the images of {name} are not those this run began with\n"
            f"expected the fingerprint {then[name][:16]}…, got {sets[name][:16]}…\nrestore the file, or start a new run"
        )


def study_source(config: StudyConfig, data_dir: Path | None) -> "Source":
    """Return a study's data, and with them the outside sets that it names.

    Raises:
        InputError: data that cannot be used, or are not there and cannot be fetched.
    """
    from study.data.companions import with_companions
    from study.data.registry import load_source, resolved

    source = load_source(config.dataset, data_dir, config.image_size)
    if config.resplit:
        source = source.joined()
    return with_companions(source, config.ood_sets, resolved(data_dir))


def tell_published(source: "Source") -> None:
    """Say if a named data set is not as it was published."""
    told = unlike_published(source)
    if told:
        print(told)


def unlike_published(source: "Source") -> str:
    """Return a line if a named data set has other numbers of images or classes than were published; "" if not.

    Files that somebody else unpacked may lack some, and nothing else would show it.
    """
    from study.data.catalogue import CATALOGUE

    entry = CATALOGUE.get(source.name)
    if entry is None:
        return ""
    found = (len(source.train), 0 if source.test is None else len(source.test), len(source.classes))
    published = (entry.n_train, entry.n_test, entry.num_classes)
    if found == published:
        return ""
    here, there = ("{:,} training and {:,} test images of {} classes".format(*counts) for counts in (found, published))
    return f"{source.name}: {here} are there, {there} were published: are the files whole?"


def with_present_sets(config: StudyConfig, data_dir: Path | None) -> StudyConfig:
    """Return a study with those of its data set's outside sets that are in the data directory, and say which are not.

    They are recorded like those that a user names, so that a resumed run has the same ones.
    """
    from study.data.companions import missing, present
    from study.data.registry import resolved
    from study.tasks import get_task

    if not get_task(config.task).applies("rejection"):
        return config
    more = [name for name in present(config.dataset, resolved(data_dir)) if name not in config.ood_sets]
    config = replace(config, ood_sets=(*config.ood_sets, *more))
    left_out = missing(config.dataset, config.ood_sets)
    if left_out:
        print(left_out)
    return config


def check(config: StudyConfig, source: "Source") -> None:
    """Build everything once: splits, outside sets, the network, each loss on a batch of it.

    Raises:
        InputError: the first thing that would fail later.
    """
    from study import finetuning
    from study.measure import outside
    from study.models.registry import MODELS
    from study.tasks import get_task
    from study.trial import splits

    if config.model not in MODELS:
        raise unknown("model", config.model, MODELS)
    task = get_task(config.task)
    if MODELS[config.model].dense != task.dense:
        fitting = [spec.name for spec in MODELS.values() if spec.dense == task.dense]
        kind = "one class a pixel" if task.dense else "one class an image"
        raise InputError(
            f"--model: task {task.name} needs {kind}, {config.model} gives another\nallowed: {', '.join(fitting)}"
        )
    endpoint = task.endpoint_on(config.dataset)
    if task.radius is not None and config.attacks != "none" and task.radius(config.dataset) not in config.eps:
        raise InputError(
            f"--eps: the endpoint of task {task.name} on {config.dataset} is robust accuracy at {endpoint.slice}\n"
            f"expected {named(task.radius(config.dataset))} among the radii, got {', '.join(map(named, config.eps))}"
        )
    for replicate in range(config.replicates):
        splits(config, source, replicate, final=True)
        if len(splits(config, source, replicate, final=False).validation) == 0:
            raise InputError(f"{source.name}: no image is left for validation")
    # Which classes are known differs by replicate, and with that what is left of a set that a user brings.
    sets = [out for r in range(config.replicates if config.ood_sets else 1) for out in outside(config, source, r)]
    if endpoint.dataset == "group:near" and not any(out.group == "near" for out in sets):
        raise InputError(_without_near(config, source.num_classes))
    recipe = task.recipe(source)
    if recipe["warmup_epochs"] >= config.epochs:
        raise InputError(
            f"--epochs: {config.epochs} leaves nothing after the recipe's {recipe['warmup_epochs']} warm-up epochs\n"
            f"allowed: at least {recipe['warmup_epochs'] + 1}"
        )
    about = finetuning.describe(config, source)
    if about is not None:
        print(finetuning.said(about))
    for method, loss in config.pairs:
        check_loss(config, source, method, loss)


def _without_near(config: StudyConfig, num_classes: int) -> str:
    """Return what to say where every class is known and there is no near outside set to reject."""
    from study.data.catalogue import CATALOGUE
    from study.data.companions import groups

    named = [name for name in groups(config.dataset)["near"] if name in CATALOGUE]
    ways = [f"--held-out 1 to {num_classes - 2}"] if num_classes > 2 else []
    ways += [f"first: python -m study.data --fetch {named[0]} (with this --data-dir)"] if named else []
    ways.append("--ood-sets near:npz:PATH")
    return (
        f"task {config.task}: no class of {config.dataset} is held out, and no near outside set of it is here: "
        f"there is nothing to decide by\nallowed: {'; '.join(ways)}"
    )


def check_loss(config: StudyConfig, source: "Source", method: str, name: str) -> None:
    """Run a loss once on a small batch of the study's own network.

    Raises:
        InputError: it cannot be built, or it does not give one finite number with a gradient.
    """
    import torch

    from hem.registry import get_loss
    from study.data.types import IGNORED
    from study.spaces import distributions, loss_space
    from study.tasks import get_task
    from study.trial import pixels, splits, start_network

    data = splits(config, source, 0, final=False)
    shared = {"ignore_index": IGNORED} if get_task(config.task).dense else {}
    try:
        spec = get_loss(name)
        distributions(name)
        loss = spec.build(data.class_counts, **loss_space(name).literature(len(data.classes)), **shared)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(str(error)) from error
    except Exception as error:
        if ":" not in name:
            raise
        raise InputError(f"loss {name}: {type(error).__name__}: {error}") from error
    if data.experiences and spec.weight_schedule is not None:
        raise InputError(
            f"loss {name}: declares weight_schedule {spec.weight_schedule!r}, which task {config.task} cannot follow: "
            "weights change late in a training, and every experience is a training of its own\n"
            "allowed: a loss without weight_schedule"
        )
    if (data.experiences or get_task(config.task).dense) and spec.sampler != "shuffle":
        raise InputError(
            f"loss {name}: declares sampler {spec.sampler!r}, which task {config.task} cannot follow: "
            "images are drawn from a memory, or have many labels each\nallowed: a loss without sampler"
        )
    network = start_network(config, data, name, seed=0)
    images = pixels(data.train.images[:8])
    target = torch.tensor(data.train.labels[:8], dtype=torch.long)
    builtin = ":" not in name
    try:
        value = loss(network(images), target)
    except Exception as error:
        if builtin:
            raise
        raise InputError(
            f"loss {name}: raised {type(error).__name__}: {error}\nit is called with logits (N, C) and target (N,)"
        ) from error
    if not isinstance(value, torch.Tensor) or value.ndim != 0 or not value.requires_grad or not torch.isfinite(value):
        raise InputError(f"loss {name}: expected one finite number with a gradient, got {_returned(value)}")
    if (method == "drw" or spec.weight_schedule == "drw") and not hasattr(loss, "set_class_weight"):
        raise InputError(f"loss {name}: method drw needs its set_class_weight(weight), which it does not have")


def _returned(value: object) -> str:
    """Write what a loss returned so that it can be told from one number with a gradient."""
    import torch

    if not isinstance(value, torch.Tensor):
        return type(value).__name__
    if value.ndim:
        return f"a tensor of shape {tuple(value.shape)}"
    return f"{value.item():g}" + ("" if value.requires_grad else " without a gradient")


def dry_run(config: StudyConfig, resources: Resources, source: "Source", run: RunDirectory) -> None:
    """Print what the study would do, need, take and write; a few batches are timed for that, and nothing starts."""
    from study.estimate import attacked_models, estimate, trainings

    print(f"{config.task} on {source.name}, {config.model}: would write {run.path}")
    print(f"losses: {', '.join(config.losses)}; methods: {', '.join(config.methods)}; replicates: {config.replicates}")
    counts, attacked = trainings(config), attacked_models(config)
    for name, count in counts.items():
        print(f"  {name:<8} {count:>6} trainings of {config.epochs} epochs")
    print(f"  evaluate {counts['confirm']:>6} models")
    print(f"  attack   {attacked:>6} models, {len(config.radii)} radii ({config.attacks})", flush=True)
    done = {
        stage: sum(cell["state"] == "complete" or cell.get("reason") == "diverged" for _, cell in run.cells(stage))
        for stage in (*counts, "evaluate")
    }
    if any(done.values()):
        texts = ", ".join(f"{stage} {count}" for stage, count in done.items() if count)
        print(f"of these are done already: {texts}; times and disk below are of the whole study")
    cost = estimate(config, source)
    need = resources.per_training
    print(f"one training holds {need['CPU']:g} CPU and {need['GPU']:g} GPU, and takes about {_long(cost.training)}")
    parts = (("search", cost.search), ("confirm", cost.confirm), ("evaluate", cost.evaluate), ("attack", cost.attack))
    for count, where in _rooms(resources):
        times = ", ".join(f"{name} {_long(seconds / count)}" for name, seconds in parts)
        total = _long(cost.seconds / count)
        print(f"{count} at a time ({where}): {times}; together about {total}")
    print(
        "timed on one core of this machine, attacks as if every point withstood"
        + ("; a GPU is not timed, and is usually faster" if need["GPU"] else "")
    )
    disk = (cost.weights, cost.scores, cost.cells)
    texts = [
        f"{name} {size / 1e6:.0f} MB" for name, size in zip(("weights", "scores", "cells and page"), disk, strict=True)
    ]
    print(f"disk: about {', '.join(texts)}; together {sum(disk) / 1e6:.0f} MB")


def _rooms(resources: Resources) -> list[tuple[int, str]]:
    """Return (trainings at a time, where): on this machine, or on clusters of several sizes that are not asked."""
    cap = resources.max_concurrent or 10**9
    need = resources.per_training
    if resources.address is None:
        cores, gpus = int(machine()["cores"]), _gpus()
        room = int(cores / need["CPU"])
        if need["GPU"]:
            room = min(room, int(gpus / need["GPU"]))
        if room >= 1:
            return [(min(room, cap), f"this machine, {cores} cores, {gpus} GPUs")]
        return [(1, f"this machine has too little: {cores} cores, {gpus} GPUs; it would be refused")]
    what = "GPU" if need["GPU"] else "CPU"
    sizes = (2, 8, 32) if need["GPU"] else (16, 64, 256)
    return [
        (min(room, cap), f"if the cluster has {size} {what}s")
        for size in sizes
        if (room := int(size / need[what])) >= 1
    ]


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _long(seconds: float) -> str:
    """Return a duration in words that fit its size."""
    from study.progress import clock

    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds / 86400:.1f} days" if seconds > 2 * 86400 else clock(seconds)
