"""Events as people see them: headings, notes, live bars on a terminal, plain periodic lines anywhere else."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from tunesmith.cli.failures import clean
from tunesmith.core import events

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

_TRAINING = "training"
_LINE_EVERY = 10.0
"""Seconds between two lines of one task where there is no terminal."""
_WIDE = 100
"""Columns from which a bar is long and all figures are shown."""
_METRICS = 3
"""Task metrics shown at a validation; the run's folder has all of them."""
_RECENT = 20
"""Optimiser steps over which loss and speed are averaged for display."""


class Progress:
    """Shows events on one rich console. Bars stop at every heading and start again when needed."""

    def __init__(self, console: RichConsole) -> None:
        self._console = console
        self._bars: Bars | None = None
        self._tasks: dict[str, _Task] = {}
        self._recent: deque[events.Step] = deque(maxlen=_RECENT)
        self._validation = ""

    def show(self, event: events.AnyEvent) -> None:
        """Show one event."""
        match event:
            case events.Stage():
                self.stop()
                self._recent.clear()
                self._validation = ""
                heading = Text(f"\n{clean(event.title)}", style="bold")
                self._line(heading.append(f"  {clean(event.detail)}" if event.detail else "", style="not bold dim"))
            case events.Note():
                warn = event.level == "warning"
                self._line(Text(f"  {'warning: ' if warn else ''}{clean(event.text)}", style="yellow" if warn else ""))
            case events.Tick():
                self._advance(event.task, event.done, event.total, "")
            case events.Step():
                self._recent.append(event)
                self._advance(_TRAINING, event.step, event.total_steps, self._training_figures())
            case events.Validated():
                best = " (best so far)" if event.best else ""
                self._validation = f"val {event.loss:.4f}"
                answers = "".join(f", {name} {value:.3g}" for name, value in list(event.metrics.items())[:_METRICS])
                self._line(Text(f"  step {event.step}: validation loss {event.loss:.4f}{best}{answers}"))
            case events.Noticed():
                self._line(Text(f"  warning: {clean(event.text)}", style="yellow"))
            case events.Saved(what="checkpoint"):
                pass  # every few steps, and of interest only when something breaks: events.jsonl has them
            case events.Saved():
                self._line(Text(f"  saved {event.what} of step {event.step}: {clean(event.path)}", style="dim"))

    def stop(self) -> None:
        """Leave the bars as they stand; the next tick begins new ones."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
        self._tasks.clear()

    def _line(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)

    def _advance(self, name: str, done: int, total: int, figures: str) -> None:
        task = self._tasks.get(name)
        if task is None or done < task.done:
            task = self._tasks[name] = _Task(clean(name), done)
        task.done = done
        if self._console.is_terminal:
            self._draw(task, done, total, figures)
        elif task.line_is_due(done >= total):
            share = f" ({100 * done // total} %)" if total else ""
            parts = [f"  {task.title}: {done}/{total}{share}", figures, task.left(done, total)]
            self._line(Text("  ".join(p for p in parts if p)))

    def _draw(self, task: _Task, done: int, total: int, figures: str) -> None:
        left = task.left(done, total)
        if self._bars is None:
            texts = ("  {task.description}", "{task.completed:.0f}/{task.total:.0f}", "{task.fields[figures]}")
            title, count, shown = (TextColumn(text, markup=False) for text in texts)
            time_left = TextColumn("{task.fields[left]}", markup=False, style="dim")
            bar = BarColumn(bar_width=24 if self._console.width >= _WIDE else 8)
            self._bars = Bars(title, bar, count, shown, time_left, console=self._console)
            self._bars.start()
        if task.bar is None:
            task.bar = self._bars.add_task(task.title, total=total, completed=done, figures=figures, left=left)
        self._bars.update(task.bar, completed=done, total=total, figures=figures, left=left)

    def _training_figures(self) -> str:
        last = self._recent[-1]
        seconds = sum(s.seconds for s in self._recent)
        targets = sum(s.target_tokens for s in self._recent)
        loss = sum(s.loss * s.target_tokens for s in self._recent) / targets if targets else last.loss
        speed = f"{sum(s.tokens for s in self._recent) / seconds:,.0f} tok/s" if seconds > 0 else ""
        share = sum(s.utilisation * s.seconds for s in self._recent) / seconds if seconds > 0 else 0.0
        parts = [f"loss {loss:.4f}", self._validation, speed]
        if self._console.width >= _WIDE:
            parts.append(f"{100 * share:.0f} % of matrix speed" if share else "")
            parts.append(f"{last.memory_bytes / 1024**3:.1f} GiB" if last.memory_bytes else "")
        return "  ".join(part for part in parts if part)


class _Task:
    """What is known of one running task: when it began and how far it is."""

    def __init__(self, title: str, done: int) -> None:
        self.title, self.done = title, done
        self.bar: TaskID | None = None
        self._began, self._began_at = time.monotonic(), done
        self._last_line = -_LINE_EVERY

    def left(self, done: int, total: int) -> str:
        """Time used when done, else an estimate of the time left from the pace so far."""
        used = time.monotonic() - self._began
        if done >= total:
            return duration(used)
        advanced = done - self._began_at
        return f"{duration(used * (total - done) / advanced)} left" if advanced > 0 else ""

    def line_is_due(self, finished: bool) -> bool:
        """Whether a plain line should be printed now (and remember that it was)."""
        now = time.monotonic()
        if not finished and now - self._last_line < _LINE_EVERY:
            return False
        self._last_line = now
        return True


def duration(seconds: float) -> str:
    """A time for people: ``7 s``, ``3:05``, ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{rest:02d}"
    return f"{minutes}:{rest:02d}" if minutes else f"{rest} s"
