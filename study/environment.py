"""How the process of a command begins and ends: what Ray reads from the environment, and the way out."""

import gc
import os
import select
import sys
from collections.abc import Callable
from typing import NoReturn


def prepare(verbose: bool) -> None:
    """Set what Ray reads from the environment; before `import ray`. A user's own setting is left alone."""
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_GLOBAL_CHECKPOINT_S": "60",
        "TUNE_FUNCTION_THREAD_TIMEOUT_S": "20",  # so long a process may take to be ready for what is next
        "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a path on the command line is meant from where the command is given
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    if not verbose:
        settings["RAY_AIR_NEW_OUTPUT"] = "0"
    for name, value in settings.items():
        os.environ.setdefault(name, value)


def leave(main: Callable[[], int]) -> NoReturn:
    """Run a command and end this process with its exit code, without a search for garbage among all imports (a second).

    Where nobody reads the output any more, as after `| head`, the code is the shell's for that: 128 + SIGPIPE.
    """
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        output = select.poll()
        output.register(sys.stdout.fileno(), 0)
        if not output.poll(0):  # it was another pipe
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python itself writes the rest at the end
        code = 141
    gc.freeze()
    sys.exit(code)
