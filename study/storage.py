"""optuna.db: opened, and written, so that what a file or a disk does ends in a sentence and not in a traceback."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import optuna

from study.errors import CannotGoOn, InputError
from study.run import RunDirectory

P = ParamSpec("P")
T = TypeVar("T")
ODD = (ValueError, LookupError, TypeError, AssertionError)
"""What Optuna raises of rows that it did not write."""


def writing(function: Callable[P, T]) -> Callable[P, T]:
    """Return the same function, for which a database that cannot be written is a machine that cannot go on.

    Raises:
        CannotGoOn: its disk is full, or something else has held it for longer than it is waited for.
    """

    @wraps(function)
    def written(*args: P.args, **kwargs: P.kwargs) -> T:
        import sqlalchemy.exc

        try:
            return function(*args, **kwargs)
        except (optuna.exceptions.StorageInternalError, sqlalchemy.exc.OperationalError) as error:
            cause = error if isinstance(error, sqlalchemy.exc.OperationalError) else error.__cause__
            raise CannotGoOn(f"optuna.db cannot be written: {getattr(cause, 'orig', cause)}") from error

    return written


def open_storage(run: RunDirectory) -> optuna.storages.BaseStorage:
    """Open optuna.db; one that was damaged is set aside, and the cells fill a new one."""
    import sqlalchemy.exc

    try:
        storage = _sqlite(run)
        for summary in optuna.study.get_all_study_summaries(storage):
            optuna.load_study(study_name=summary.study_name, storage=storage).get_trials(deepcopy=False)
    except sqlalchemy.exc.OperationalError as error:
        raise InputError(
            f"{run.storage} cannot be used now: {error.orig}\nclose what else has it open; is the disk full?"
        ) from error
    except RuntimeError as error:
        raise InputError(
            f"{run.storage} is of another Optuna: {error}\n"
            "allowed: what that asks for; or move the file away: a new one is filled from the cells"
        ) from error
    except (*ODD, sqlalchemy.exc.DatabaseError, optuna.exceptions.StorageInternalError) as error:
        aside = run.storage.with_suffix(".db.damaged")
        run.storage.replace(aside)
        run.storage.with_name(f"{run.storage.name}-journal").unlink(missing_ok=True)
        print(
            f"{run.storage.name} is damaged ({type(error).__name__}): set aside as {aside.name}, rebuilt from the cells"
        )
        storage = _sqlite(run)
    return storage


def _sqlite(run: RunDirectory) -> optuna.storages.RDBStorage:
    """Open the database without waiting for the disk at every commit.

    A killed process loses nothing by that. After a power failure the cells, which do wait for the disk, fill it again.
    """
    from sqlalchemy import event

    url = f"sqlite:///{run.storage}"
    storage = optuna.storages.RDBStorage(url)
    event.listen(storage.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
    storage.engine.dispose()
    return storage
