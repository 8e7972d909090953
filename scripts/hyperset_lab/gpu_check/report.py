# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Checks that run one after the other within a budget of time, and the table of what they found."""

import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Found:
    """What a check measured, and the most that some of it may be."""

    measured: dict[str, float] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)

    def is_good(self) -> bool:
        return all(self.measured[name] <= limit for name, limit in self.limits.items())  # NaN is not


@dataclass
class Check:
    """One check: `seconds` is what it may take, so it is left out if less is left."""

    part: str
    name: str
    seconds: float
    call: Callable[[], Found]


@dataclass
class Row:
    """A line of the report. `result` is `passed`, `FAILED` or `left out`."""

    part: str
    name: str
    result: str
    seconds: float = 0.0
    measured: dict[str, float] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    error: str | None = None


def run(check: Check) -> Row:
    """The line of one check. An error of the check is in the line, and the checks after it go on."""
    start = time.monotonic()
    try:
        found, error = check.call(), None
    except Exception as raised:
        found, error = Found(), "".join(traceback.format_exception(raised)[-3:])[-2000:]
    result = "passed" if error is None and found.is_good() else "FAILED"
    return Row(check.part, check.name, result, time.monotonic() - start, found.measured, found.limits, error)


def run_all(checks: Iterable[Check], budget_seconds: float, say: Callable[[str], Any] = print) -> list[Row]:
    """The lines of all checks, in their order. What may not end within the budget is left out, and its line says so."""
    start, rows = time.monotonic(), []
    for check in checks:
        left = budget_seconds - (time.monotonic() - start)
        row = run(check) if left >= check.seconds else Row(check.part, check.name, "left out")
        rows.append(row)
        say(f"{row.result:8} {row.seconds:6.1f} s  {row.part}: {row.name}" + (f"\n{row.error}" if row.error else ""))
    return rows


def figure(value: float) -> str:
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e9 else f"{value:.3g}"


def cell(row: Row) -> str:
    """What was measured, and its limits."""
    if row.error is not None:
        return row.error.strip().splitlines()[-1].replace("|", "/")[:150]
    parts = []
    for name, value in row.measured.items():
        text = figure(value) if value == value and abs(value) != float("inf") else str(value)
        parts.append(f"{name} {text}" + (f" (≤ {figure(row.limits[name])})" if name in row.limits else ""))
    return ", ".join(parts)


def table_of(rows: list[Row]) -> str:
    """The rows as a Markdown table, and a line that sums up."""
    lines = [("part", "check", "result", "measured (limit)"), ("---",) * 4]
    lines += [(row.part, row.name, row.result, cell(row)) for row in rows]
    count = {result: sum(row.result == result for row in rows) for result in ("passed", "FAILED", "left out")}
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    summary = f"{count['passed']} passed, {count['FAILED']} failed, {count['left out']} left out for want of time"
    return f"{text}\n\n{summary}, {sum(row.seconds for row in rows):.0f} s"


def as_json(rows: list[Row]) -> list[dict[str, Any]]:
    """Numbers that JSON does not know (NaN, infinity) become text."""

    def finite(numbers: dict[str, float]) -> dict[str, Any]:
        return {name: value if abs(value) < float("inf") else str(value) for name, value in numbers.items()}

    return [asdict(row) | {"measured": finite(row.measured), "limits": finite(row.limits)} for row in rows]
