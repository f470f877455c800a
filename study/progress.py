"""What a person sees while it runs: a bar per loss on a terminal, a line per finished cell elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from study.run import Key

Counts = Mapping[str, int]

DRAWN_A_SECOND = 2
"""Drawing costs what trainings could use: at rich's own ten a second, near 2 % of a core."""


def clock(seconds: float) -> str:
    """Return a duration as h:mm:ss or m:ss."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class StageProgress:
    """Counts the cells of one stage and shows them; also tells the study's Ray metrics."""

    def __init__(
        self,
        stage: str,
        totals: Counts,
        *,
        metric: str = "",
        done: Counts | None = None,
        gauges: Callable[[str, Mapping[str, float]], None] | None = None,
        console: Console | None = None,
    ) -> None:
        """Begin to show a stage.

        Args:
            stage: its name.
            totals: loss → cells asked for.
            metric: what `objective` of a cell is called; "" where there is none.
            done: loss → cells that were finished before.
            gauges: told (loss, values) whenever something changes.
            console: where to write; the terminal's standard output by default.
        """
        self.stage, self.metric, self.gauges = stage, metric, gauges
        self.console = console or Console(file=sys.stdout)
        self.totals = dict(totals)
        self.count = {loss: (done or {}).get(loss, 0) for loss in totals}
        self.first_count = sum(self.count.values())
        self.best: dict[str, float] = {}
        self.failed = dict.fromkeys(totals, 0)
        self.running: dict[Key, int] = {}
        self.images = dict.fromkeys(totals, 0)
        self.begun = time.monotonic()
        self.bars: Progress | None = None
        if self.console.is_terminal:
            self.bars = Progress(
                TextColumn("{task.description:<16}"),
                BarColumn(bar_width=28),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                console=self.console,
                refresh_per_second=DRAWN_A_SECOND,
            )
            self.rows = {
                loss: self.bars.add_task(loss, total=total, completed=self.count[loss], note="")
                for loss, total in self.totals.items()
            }

    def __enter__(self) -> "StageProgress":
        for loss in self.totals:
            self._tell(loss)
        if self.bars is not None:
            self.console.print(f"[bold]{self.stage}[/bold]")
            self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bars is not None:
            self.bars.stop()

    def lower(self, totals: Counts) -> None:
        """Take new totals."""
        self.totals = dict(totals)
        if self.bars is not None:
            for loss, total in totals.items():
                self.bars.update(self.rows[loss], total=total)

    def started(self, key: Key) -> None:
        """Note that a cell is being made."""
        self.running[key] = 0
        self._show(key.loss)
        self._tell(key.loss)

    def epoch(self, key: Key, epoch: int) -> None:
        """Note how far a training is."""
        self.running[key] = epoch
        self._show(key.loss)

    def done(self, key: Key, cell: Mapping[str, Any]) -> None:
        """Note a finished cell."""
        loss = key.loss
        self.running.pop(key, None)
        self.count[loss] += 1
        self.images[loss] += int(cell.get("images", 0))
        if cell["state"] != "complete":
            self.failed[loss] += 1
        elif self.metric and cell.get("objective") is not None:
            self.best[loss] = max(self.best.get(loss, float("-inf")), cell["objective"])
        self._show(loss)
        if self.bars is None:
            self._line(key, cell)
        self._tell(loss)

    def _tell(self, loss: str) -> None:
        """Tell the metrics how a loss stands."""
        if self.gauges is None:
            return
        values: dict[str, float] = {
            "cells_done": self.count[loss],
            "cells_failed": self.failed[loss],
            "cells_running": sum(key.loss == loss for key in self.running),
        }
        if loss in self.best:
            values["best_value"] = self.best[loss]
        if self.images[loss]:
            values["images_per_second"] = self.images[loss] / max(time.monotonic() - self.begun, 1e-9)
        self.gauges(loss, values)

    def time_left(self) -> float | None:
        """Return seconds to the end of this stage, from the rate so far; None before the first cell."""
        done = sum(self.count.values()) - self.first_count
        left = sum(self.totals.values()) - sum(self.count.values())
        return None if done == 0 else left * (time.monotonic() - self.begun) / done

    def _note(self, loss: str) -> str:
        parts = []
        if loss in self.best:
            parts.append(f"best {self.best[loss]:.3f}")
        running = [epoch for key, epoch in self.running.items() if key.loss == loss]
        if running:
            parts.append(f"{len(running)} running" + (f" (epoch {max(running)})" if max(running) else ""))
        if self.failed[loss]:
            parts.append(f"{self.failed[loss]} failed")
        left = self.time_left()
        if left is not None and running:
            parts.append(f"{clock(left)} left")
        return "  ".join(parts)

    def _show(self, loss: str) -> None:
        if self.bars is not None:
            self.bars.update(self.rows[loss], completed=self.count[loss], note=self._note(loss))

    def _line(self, key: Key, cell: Mapping[str, Any]) -> None:
        left = self.time_left()
        if cell["state"] != "complete":
            what = f"failed: {str(cell['error']).splitlines()[0]}"
        elif self.metric and cell.get("objective") is not None:
            what = f"{self.metric.replace('_', ' ')} {cell['objective']:.3f}"
        else:
            what = "done"
        total, count = sum(self.totals.values()), sum(self.count.values())
        seconds = cell.get("seconds")
        took = f"{seconds:.1f} s" if isinstance(seconds, float) and seconds == seconds else ""
        rest = "" if left is None else f"{clock(left)} left"
        print(f"{self.stage} {count}/{total}  {key.name:<36} {what:<30} {took:>7}  {rest}", flush=True)


def totals_by_loss(keys: Iterable[Key]) -> dict[str, int]:
    """Return loss → number of cells."""
    counts: dict[str, int] = {}
    for key in keys:
        counts[key.loss] = counts.get(key.loss, 0) + 1
    return counts
