"""Search, retrain, measure and compare losses on a task: `python -m study.tune --task imbalanced`."""

import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from study.environment import leave
from study.errors import CannotGoOn, InputError, of_file
from study.options import Request, parse

if TYPE_CHECKING:
    from study.config import Resources, StudyConfig
    from study.data.types import Source
    from study.run import RunDirectory
    from study.stages import Context

COMPLETE, INCOMPLETE, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    try:
        return run(parse(argv))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except CannotGoOn as error:
        print(f"error: {error}", file=sys.stderr)
        return INCOMPLETE
    except OSError as error:
        print(f"error: {of_file(error)}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("\ninterrupted before anything began", file=sys.stderr)
        return INTERRUPTED


def run(request: Request) -> int:
    """Do what a command line asks for.

    Raises:
        InputError: something the user can mend; nothing was trained, or everything trained so far is kept.
    """
    from study import preflight, record
    from study.run import RunDirectory, locked
    from study.several import is_several

    if request.tasks or (request.resume is not None and is_several(request.resume)):
        return run_all(request)
    if request.resume is not None:
        directory = RunDirectory(request.resume)
        directory.refuse_copy(directory.read_study())
        with locked(directory):
            # Read again: the process that held the run until now may have written its last word.
            return _go_on(request, directory, directory.read_study())
    config = request.config
    if config is None:
        raise InputError("neither --task nor --resume was given")
    config = preflight.with_present_sets(config, request.data_dir)
    source = _checked(config, request)
    directory = RunDirectory(request.output or record.default_output(config.task, config.dataset))
    preflight.free(directory)
    if request.dry_run:
        preflight.dry_run(config, request.resources, source, directory)
        return COMPLETE
    with locked(directory):
        return _train(request, directory, config, source, record.new(config, source, directory, command()), again=())


def run_all(request: Request) -> int:
    """Do, or finish, one study of every task, and write the scoreboard.

    Raises:
        InputError: something the user can mend; nothing was trained, or everything trained so far is kept.
    """
    from study import preflight, report, several
    from study.cluster import connect
    from study.environment import prepare
    from study.run import RunDirectory

    folder = (request.resume or request.output or several.default_folder()).resolve()
    if request.resume is None:
        preflight.free(RunDirectory(folder))
        configs = [preflight.with_present_sets(config, request.data_dir) for config in request.tasks]
        line = command()
    else:
        studies, line = several.asked(folder)
        configs = [preflight.with_losses(config, request.add_losses) for config in studies]
    for config in configs:  # all of them, before the first one trains
        _checked(config, request)
    prepare(request.resources.verbose)
    import ray

    joined = ray.is_initialized()
    if not request.dry_run:
        several.begin(folder, configs, line)
        connect(request.resources)
    request = replace(request, tasks=(), resume=None, output=None, whole=folder)
    try:
        code = several.work(folder, configs, lambda config, path: _one_of_all(request, config, path))
        if request.dashboard and not request.dry_run and code <= INCOMPLETE:
            runs = several.run_directories(folder)
            print(f"\n{report.write_scoreboard(runs, folder / 'scoreboard.html', line)}")
        return code
    except KeyboardInterrupt:
        again = resume_command(folder, request.resources, request.data_dir)
        print(f"\ninterrupted; everything finished is kept. Go on with:\n  {again}")
        return INTERRUPTED
    finally:
        if not joined:
            ray.shutdown()


def _one_of_all(request: Request, config: "StudyConfig", path: Path) -> int:
    """Begin or finish the study of one task."""
    from study.run import RunDirectory

    directory = RunDirectory(path)
    if not directory.study_file.is_file():
        return run(replace(request, config=config, output=path, add_losses=()))
    had = directory.read_study()["config"]["losses"]
    return run(replace(request, resume=path, add_losses=tuple(loss for loss in config.losses if loss not in had)))


def _go_on(request: Request, directory: "RunDirectory", study: dict[str, Any]) -> int:
    """Finish a run that is locked for this process."""
    from study import preflight, record, search
    from study.run import STAGES

    config = preflight.resumed_config(study, request)
    preflight.tell_code(config)
    directory.tell_damage()
    source = _checked(config, request)
    preflight.same_data(study, source)
    trials = (study["budget"]["trials"] or config.trials) // config.replicates
    search.refuse_other_space(config, directory, trials, study.get("own_ranges"))
    if request.dry_run:
        preflight.dry_run(config, request.resources, source, directory)
        return COMPLETE
    return _train(request, directory, config, source, record.describe(study, config, source), again=STAGES)


def _checked(config: "StudyConfig", request: Request) -> "Source":
    """Return the data, once everything that will be done with them was tried."""
    from study import preflight

    source = preflight.study_source(config, request.data_dir)
    preflight.check(config, source)
    return source


def _train(
    request: Request,
    directory: "RunDirectory",
    config: "StudyConfig",
    source: "Source",
    study: dict[str, Any],
    again: "Sequence[str]",
) -> int:
    from study.environment import prepare

    prepare(request.resources.verbose)
    from study import preflight, stages

    preflight.tell_published(source)
    context = stages.Context(
        config, request.resources, directory, source, study, whole=request.whole, data_dir=request.data_dir
    )
    return on_ray(context, stages.run_all, line=command(), again=again, dashboard=request.dashboard)


def on_ray(
    context: "Context",
    work: "Callable[[Context], None]",
    *,
    line: str,
    again: "Sequence[str]" = (),
    dashboard: bool = True,
) -> int:
    """Start or join Ray, do the work, report, and clean up however it ends.

    Args:
        context: of the stages.
        work: which stages.
        line: the command that asked for it.
        again: stages whose failed cells are to be tried again.
        dashboard: whether to write the page.

    Raises:
        CannotGoOn: with the command that goes on later; everything finished is kept.
    """
    import ray

    from study import ledger, record
    from study.cluster import connect
    from study.host import PeakMemory
    from study.nodes import concurrency

    config, directory, study = context.config, context.run, context.study
    joined, started = ray.is_initialized(), time.monotonic()
    with _interruptible(), PeakMemory(study["peak_memory_bytes"]) as memory:
        try:
            losses = ", ".join(config.losses)
            print(f"{config.task} on {study['dataset']}, {config.model}, preset {config.preset}: {losses}")
            print(f"run directory: {directory.path}")
            print(connect(context.resources))
            print(f"{concurrency(context.resources)} trainings at a time", flush=True)
            record.session(study, context.resources, line)
            study["status"] = "running"
            directory.write_study(study)
            ledger.forget_failures(directory, again)
            work(context)
            study["peak_memory_bytes"] = memory.peak
            return _report(context, started, dashboard)
        except KeyboardInterrupt:
            study.update(status="interrupted", peak_memory_bytes=memory.peak)
            directory.write_study(study)
            print(f"\ninterrupted; everything finished is kept. Go on with:\n  {_go_on_with(context)}")
            return INTERRUPTED
        except CannotGoOn as error:
            raise CannotGoOn(f"{error}\neverything finished is kept. Go on with:\n  {_go_on_with(context)}") from error
        finally:
            if not joined:
                ray.shutdown()


def _report(context: "Context", started: float, dashboard: bool) -> int:
    """Write tables, verdict and page, and tell the user."""
    from study import ledger
    from study.report import finish_run, print_summary

    asked, failed = ledger.asked(context.config, context.run), ledger.failures(context.config, context.run)
    verdict = finish_run(context.run, context.config, context.study, asked=len(asked), failed=failed)
    print_summary(context.run, verdict)
    if dashboard:
        import dashboards

        print(f"\n{dashboards.build(context.run.path)}")
    minutes = (time.monotonic() - started) / 60
    print(f"took {minutes:.1f} min, peak memory of its processes {context.study['peak_memory_bytes'] / 1e9:.1f} GB")
    if failed:
        again = ledger.tried_again(context.config, context.run, failed)
        which = "them" if again == len(failed) else f"{again} of them"
        what = f"; try {which} again with: {_go_on_with(context)}" if again else ""
        rest = "" if again == len(failed) else "\nwhat diverged is not tried again: it would diverge again"
        print(f"\n{len(failed)} cells failed{what}{rest}", file=sys.stderr)
        for key, error in sorted(failed.items())[:10]:
            print(f"  {key}: {error.splitlines()[0]}", file=sys.stderr)
        return INCOMPLETE
    return COMPLETE


def command(module: str = "study.tune") -> str:
    """Return the command line as it could be typed again."""
    return shlex.join(["python", "-m", module, *sys.argv[1:]])


def _go_on_with(context: "Context") -> str:
    return resume_command(context.whole or context.run.path, context.resources, context.data_dir)


def resume_command(path: Path, resources: "Resources", data_dir: Path | None = None) -> str:
    """Return the command that goes on with a run, on what it ran on and with the data it had."""
    near = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    words = ["python", "-m", "study.tune", "--resume", str(near)]
    for field in fields(resources):
        value = getattr(resources, field.name)
        if value != field.default and field.name != "verbose":
            words += [f"--{field.name.replace('_', '-')}", value if isinstance(value, str) else f"{value:.12g}"]
    if data_dir is not None:
        words += ["--data-dir", str(data_dir)]
    return shlex.join(words)


class _interruptible:
    """Makes Ctrl-C and SIGTERM stop cleanly the first time, and at once the second."""

    def __enter__(self) -> None:
        self.before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self.asked = False
        for number in self.before:
            signal.signal(number, self._stop)

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            os._exit(INTERRUPTED)
        self.asked = True
        print("\nstopping; once more stops at once", flush=True)
        raise KeyboardInterrupt


if __name__ == "__main__":
    leave(main)
