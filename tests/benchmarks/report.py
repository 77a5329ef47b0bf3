"""Tables as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from benchmarks.measure import Race
from benchmarks.table import Table, Target

VERDICTS = {True: "yes", False: "**no**", None: "not measured"}


def markdown(table: Table) -> str:
    """Return one table: what was done, a line for each row, a line for each target."""
    title = f"## {table.number}. {table.title}"
    rows = [_row(table, name) for name in table.race.names]
    share = [f"`{table.ours}` takes"] if table.ours else []
    head = ["", "median", *share, "from .. to", "CPU", "memory", *(["rate"] if table.megabytes else [])]
    parts = [title, table.words, grid(head, rows)]
    if table.targets:
        parts.append(grid(["target", "bound", "measured", "met"], map(_target, table.targets)))
    return "\n\n".join([*parts, *table.notes])


def grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; its first column is text, the others are figures."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def summary(tables: Iterable[Table]) -> str:
    """Return all targets in one table."""
    rows = [[f"{it.number}. {it.title}", *_target(target)] for it in tables for target in it.targets]
    return grid(["table", "target", "bound", "measured", "met"], rows)


def unavailable(number: int, reason: str) -> str:
    """Return the text in place of a table that could not be made here."""
    return f"## {number}.\n\nNot measured here: {reason}."


def seconds(value: float) -> str:
    """Return a time with three digits."""
    if value < 0.0995:
        return f"{value * 1000:.3g} ms"
    return f"{value:.3f} s" if value < 0.9995 else f"{value:.2f} s" if value < 9.995 else f"{value:.1f} s"


def _row(table: Table, name: str) -> list[str]:
    race = table.race
    if name in race.absent:
        return [name, f"- ({race.absent[name]})", *[""] * (3 + bool(table.ours) + bool(table.megabytes))]
    walls = [run.wall for run in race.runs[name]]
    wall = statistics.median(walls)
    cells = [
        name,
        seconds(wall),
        *([_share(race, table.ours, name)] if table.ours else []),
        f"{seconds(min(walls))} .. {seconds(max(walls))}",
        seconds(statistics.median(run.cpu for run in race.runs[name])),
        f"{race.peak(name):.0f} MB",
    ]
    moved = table.megabytes[name] if isinstance(table.megabytes, Mapping) else table.megabytes
    return [*cells, f"{moved / wall:,.0f} MB/s"] if moved else cells


def _share(race: Race, ours: str, name: str) -> str:
    ratio = race.ratio(ours, name)
    return "" if ratio is None or name == ours else f"{ratio:.3g} x"


def _target(target: Target) -> list[str]:
    measured = "" if target.value is None else f"{target.value:.3g}{target.unit}"
    why = f": {target.reason}" if target.met is False and target.reason else ""
    return [target.words, target.bound, measured, VERDICTS[target.met] + why]
