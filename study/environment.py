"""How the process of a command begins and ends: what Ray reads from the environment, and the way out."""

import gc
import os
import sys
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


def leave(code: int) -> NoReturn:
    """End this process with an exit code, and without a search for garbage among all that was imported (a second)."""
    gc.freeze()
    sys.exit(code)
