"""The command line of `python -m study.tune`: one table of options, and from it a study and what it runs on."""

import argparse
import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from search_spaces.presets import CORE
from study.config import ATTACK_MODES, PRESET_NAMES, Resources, StudyConfig
from study.data.catalogue import CATALOGUE
from study.errors import InputError, unknown
from study.models import MODELS
from study.radii import radius
from study.tasks import ALL, TASKS, get_task
from study.tasks.common import kind_of_images
from study.tasks.types import Task

USAGE = """\
examples:
  python -m study.tune --task imbalanced
  python -m study.tune --task imbalanced --preset smoke --losses ce hem+ my_package.losses:MyLoss
  python -m study.tune --task imbalanced --dataset cifar10 --model resnet32 --preset paper --address auto
  python -m study.tune --resume results/imbalanced-mnist5k-20260102-030405

exit code: 0 every cell asked for is complete; 1 some failed (they are named); 2 bad input; 130 interrupted
"""


class Parser(argparse.ArgumentParser):
    """Says what was wrong as an InputError instead of printing its whole usage."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # noqa: ANN401
        """Refuse names that are no text: no record, no terminal and not Ray can hold the bytes that are none."""
        for word in sys.argv[1:] if args is None else args:
            try:
                word.encode()
            except UnicodeEncodeError as error:
                raise InputError(
                    f"expected arguments that are text in UTF-8, got {word!a}\nrename what has it"
                ) from error
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise what argparse found."""
        raise InputError(f"{message}\nall options: {self.prog} --help")


class _Format(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=118)


DATA_NAMES = (
    "digits, mnist5k or a name that `python -m study.data` lists; folder:PATH (class folders), masks:PATH (images/ and "
    "masks/), npz:PATH or package.module:function"
)


def parser() -> argparse.ArgumentParser:
    """Return the parser of `study.tune`, its options in groups, with defaults and units."""
    top = Parser(
        prog="python -m study.tune",
        usage="python -m study.tune --task TASK [options] | --resume RUN [--add-losses LOSS ...] [options]",
        description="Search every loss's hyperparameters under equal conditions, retrain the winners,\n"
        "measure and compare them, and write one page.",
        epilog=USAGE,
        formatter_class=_Format,
        allow_abbrev=False,
    )
    preset = "default: the preset's"

    what = top.add_argument_group("what")
    what.add_argument("--task", metavar="TASK", help=f"one of: {', '.join(TASKS)}, {ALL}")
    what.add_argument("--dataset", metavar="NAME", help=f"{DATA_NAMES} ({preset})")
    what.add_argument(
        "--image-size",
        metavar="N",
        type=int,
        help="height and width in pixels (default: the data's own; images of mixed sizes, or above 256 pixels: 64, "
        "with label maps 128)",
    )
    what.add_argument(
        "--resplit",
        action="store_const",
        const=True,
        help="every replicate cuts its own test part",
    )
    what.add_argument("--model", metavar="NAME", help=f"{', '.join(MODELS)} ({preset})")
    what.add_argument("--weights", metavar="PATH", help="weights that every training begins with (default: new ones)")
    what.add_argument("--freeze-body", action="store_true", default=None, help="with --weights: train the head alone")
    what.add_argument("--losses", metavar="LOSS", nargs="+", help=f"registry names or package.module:Name ({preset})")
    what.add_argument(
        "--methods",
        metavar="METHOD",
        nargs="+",
        help="of the task, the one that decides among them (default: that one)",
    )
    what.add_argument(
        "--imbalance-ratio", metavar="ρ", type=float, help="n_max / n_min of the tail (default: the data's)"
    )
    what.add_argument(
        "--held-out",
        metavar="N",
        type=int,
        help="task rejection: classes that are never learnt (default: four tenths of them; paper: none of CIFAR's)",
    )
    what.add_argument(
        "--ood-sets",
        metavar="SET",
        nargs="+",
        help="further outside sets: names as for --dataset, or npz:PATH (near:npz:PATH, far:npz:PATH: of that group)",
    )

    much = top.add_argument_group("how much")
    much.add_argument("--preset", metavar="NAME", help=f"{', '.join(PRESET_NAMES)} (default: quick)")
    much.add_argument("--trials", metavar="N", type=int, help=f"trials per loss, over all replicates ({preset})")
    much.add_argument(
        "--replicates", metavar="R", type=int, help=f"independent searches and splits per loss ({preset})"
    )
    much.add_argument("--seeds", metavar="K", type=int, help=f"retrainings of each winner ({preset})")
    much.add_argument("--epochs", metavar="E", type=int, help=f"of every training ({preset})")
    much.add_argument("--objective", metavar="METRIC", help="validation metric of the search (default: the task's)")
    much.add_argument("--attacks", metavar="MODE", help=f"{', '.join(ATTACK_MODES)} ({preset})")
    much.add_argument(
        "--eps", metavar="ε", type=radius, nargs="+", help=f"Linf radii, pixel range [0, 1], as 0.1 or 8/255 ({preset})"
    )
    much.add_argument("--attack-points", metavar="N", help=f"test images under attack, or all ({preset})")

    where = top.add_argument_group("where")
    where.add_argument("--output", metavar="DIR", help="the run directory itself (default: results/TASK-DATASET-TIME)")
    where.add_argument("--data-dir", metavar="DIR", help="downloaded data (default: ~/.cache/hem-study)")
    where.add_argument("--resume", metavar="RUN", help="finish a run: do what is missing, and nothing twice")
    where.add_argument("--add-losses", metavar="LOSS", nargs="+", help="with --resume: more losses, the same budget")
    where.add_argument("--seed", metavar="S", type=int, help="of everything (default: 0)")

    on = top.add_argument_group("on what")
    on.add_argument("--address", metavar="ADDR", help="Ray cluster, or auto (default: RAY_ADDRESS, else a local one)")
    on.add_argument("--max-concurrent", metavar="N", type=int, help="trainings at a time (default: all that fit)")
    on.add_argument("--cpus-per-trial", metavar="N", type=float, help="default: 1")
    on.add_argument("--gpus-per-trial", metavar="N", type=float, help="1, or a part of one (default: 0)")
    on.add_argument("--workers-per-trial", metavar="N", type=int, help="data-parallel ranks of a training (default: 1)")
    on.add_argument("--cpus-per-worker", metavar="N", type=float, help="with several workers (default: 1)")
    on.add_argument("--gpus-per-worker", metavar="N", type=float, help="0 or 1, with several workers (default: 0)")
    on.add_argument("--trial-timeout", metavar="S", type=float, help="seconds a training may take (default: no limit)")
    on.add_argument("--node-timeout", metavar="S", type=float, help="seconds to wait for a node if none is left (600)")

    show = top.add_argument_group("show")
    show.add_argument("--dry-run", action="store_true", help="print cells, resources, time and disk; start nothing")
    show.add_argument("--verbose", action="store_true", help="Ray's own output too")
    show.add_argument("--no-dashboard", action="store_true", help="do not write dashboard.html")
    return top


SCIENCE = (
    "dataset",
    "image_size",
    "resplit",
    "model",
    "weights",
    "freeze_body",
    "losses",
    "methods",
    "imbalance_ratio",
    "held_out",
    "ood_sets",
    "trials",
    "replicates",
    "seeds",
    "epochs",
    "objective",
    "attacks",
    "eps",
    "attack_points",
    "seed",
)
"""Options that are recorded with the run, so that a resumed run has them already."""
RESOURCES = (
    "address",
    "max_concurrent",
    "cpus_per_trial",
    "gpus_per_trial",
    "workers_per_trial",
    "cpus_per_worker",
    "gpus_per_worker",
    "trial_timeout",
    "node_timeout",
)


@dataclass(frozen=True)
class Request:
    """What a command line asks for."""

    config: StudyConfig | None
    """None with `resume`, where it is in the run, and with `tasks`."""
    resources: Resources
    output: Path | None = None
    data_dir: Path | None = None
    resume: Path | None = None
    add_losses: tuple[str, ...] = ()
    dry_run: bool = False
    dashboard: bool = True
    tasks: tuple[StudyConfig, ...] = ()
    """One study for each task, under `--task all`."""
    whole: Path | None = None
    """The directory of several runs that this one is part of: what to resume."""


def parse(argv: Sequence[str] | None) -> Request:
    """Return what a command line asks for.

    Raises:
        InputError: an unknown option or a value that is not allowed.
    """
    top = parser()
    values, rest = top.parse_known_args(argv)
    if rest:
        known = [name for action in top._actions for name in action.option_strings]
        raise (
            unknown("option", rest[0], known)
            if rest[0].startswith("-")
            else InputError(f"did not expect {rest[0]!r}\nall options: {top.prog} --help")
        )
    given = {name: value for name, value in vars(values).items() if value is not None}
    if "attack_points" in given:
        given["attack_points"] = attack_points(given["attack_points"])
    resources = Resources(**{name: given[name] for name in RESOURCES if name in given}, verbose=values.verbose)
    if resources.address is None and os.environ.get("RAY_ADDRESS"):
        resources = Resources(**{**vars(resources), "address": os.environ["RAY_ADDRESS"]})
    more: dict[str, Any] = {
        "resources": resources,
        "data_dir": Path(values.data_dir) if values.data_dir else None,
        "dry_run": values.dry_run,
        "dashboard": not values.no_dashboard,
    }
    if values.resume:
        fixed = [name for name in ("task", "preset", *SCIENCE) if name in given]
        if fixed or values.output:
            name = (fixed or ["output"])[0].replace("_", "-")
            raise InputError(
                f"--{name} cannot be given with --resume: the run has its own\nallowed: --add-losses, and where to run"
            )
        return Request(None, resume=Path(values.resume), add_losses=tuple(values.add_losses or ()), **more)
    if values.add_losses:
        raise InputError("--add-losses adds to a finished or interrupted run: give --resume RUN too, or use --losses")
    more["output"] = Path(values.output) if values.output else None
    if given.get("task") == ALL:
        return Request(None, tasks=all_tasks(given), **more)
    return Request(study_config(given), **more)


def all_tasks(given: Mapping[str, Any]) -> tuple[StudyConfig, ...]:
    """Return a study for every task: the same losses on all of them, each task's own budget.

    Raises:
        InputError: an option that only a single task can have, or a value that is not allowed.
    """
    for name in ("methods", "objective", "weights", "freeze_body"):
        if name in given:
            raise InputError(
                f"--{name.replace('_', '-')} belongs to one task, got --task {ALL}\nallowed: one of {', '.join(TASKS)}"
            )
    values = dict(given) if given.get("preset") == "smoke" else {"losses": CORE, **given}

    def of_task(task: Task) -> StudyConfig:
        foreign = {"model"} if task.dense else set()
        foreign |= set() if task.name == "rejection" else {"held_out"}
        foreign |= set() if task.name == "imbalanced" else {"imbalance_ratio"}
        return study_config({**{k: v for k, v in values.items() if k not in foreign}, "task": task.name})

    return tuple(of_task(task) for task in TASKS.values())


def attack_points(text: str) -> int:
    """Return how many points a user asks for; 0 stands for all.

    Raises:
        InputError: neither a whole number ≥ 1 nor "all".
    """
    if text == "all":
        return 0
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"--attack-points: expected a whole number ≥ 1 or all, got {text!r}")
    return int(text)


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file of weights.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"--weights: no file that can be read: {path} ({error.strerror})") from error


def study_config(given: Mapping[str, Any]) -> StudyConfig:
    """Return the study for the options that were given; the preset of the task fills in the rest.

    Raises:
        InputError: an unknown name, or a value that is not allowed.
    """
    if "task" not in given:
        raise InputError(f"--task is missing\nallowed: {', '.join(TASKS)}, {ALL}; or --resume RUN")
    if given["task"] not in TASKS:
        raise unknown("task", given["task"], (*TASKS, ALL))
    task = get_task(given["task"])
    if "imbalance_ratio" in given and task.name != "imbalanced":
        raise InputError(f"--imbalance-ratio belongs to task imbalanced, got task {task.name}")
    preset = given.get("preset", "quick")
    if preset not in task.presets:
        raise unknown("preset", preset, task.presets)
    defaults: dict[str, Any] = {
        "methods": (task.endpoint.method,),
        "objective": task.objective,
        "imbalance_ratio": None,
        "ood_sets": (),
        "l2_eps": (),
        "seed": 0,
        **task.presets[preset],
    }
    values = {**defaults, **{k: tuple(v) if isinstance(v, list) else v for k, v in given.items() if k in SCIENCE}}
    if "weights" in values:
        path = Path(values["weights"]).resolve()
        values.update(weights=str(path), weights_sha256=fingerprint(path))
    for name in ("eps", "training_eps"):
        if isinstance(values.get(name), Mapping):
            values[name] = values[name][kind_of_images(values["dataset"])]
    if isinstance(values.get("held_out"), Mapping):
        entry = CATALOGUE.get(values["dataset"])
        values["held_out"] = values["held_out"]["near sets" if entry is not None and entry.near else "no near sets"]
    if {"trials", "epochs", "model", "dataset", "image_size"} & set(given):
        values["planned_seconds"] = None
    if "replicates" in given and "trials" not in given:
        values["trials"] = defaults["trials"] // defaults["replicates"] * given["replicates"]
    if values["replicates"] < 1:
        raise InputError(f"--replicates: expected a number ≥ 1, got {values['replicates']}")
    values["attack_replicates"] = min(values["attack_replicates"], values["replicates"])
    values["rescored"] = min(values["rescored"], values["trials"] // values["replicates"]) or 1
    values["eps"] = tuple(dict.fromkeys(values["eps"]))
    for method in values["methods"]:
        if method not in task.methods:
            raise unknown(f"method of task {task.name}", method, task.methods)
    primary = task.endpoint.method
    if primary not in values["methods"]:
        raise InputError(f"--methods: task {task.name} is decided by method {primary}, which has to be one of them")
    values["methods"] = (primary, *(method for method in values["methods"] if method != primary))
    if values["objective"] not in task.objectives:
        raise unknown(f"objective of task {task.name}", values["objective"], task.objectives)
    return StudyConfig(task=task.name, preset=preset, **values)
