"""Which of the sentences that a LeRobot episode lists is its task.

Data sets list annotations among the tasks, e.g. `valid`. The rows' `task_index`, a number in the table of sentences,
names the task alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa


def numbers_of_tasks(path: Path) -> dict[str, int]:
    """The number of each sentence, as `meta/tasks.jsonl` (v2) or `meta/tasks.parquet` (v3) has it.

    A table that is missing or damaged has none: episodes that list one sentence do without it.
    """
    lines, table = path / "meta/tasks.jsonl", path / "meta/tasks.parquet"
    try:
        if lines.exists():
            rows = [json.loads(line) for line in lines.read_text(encoding="utf-8").split("\n") if line.strip()]
            return {str(row["task"]): int(row["task_index"]) for row in rows}
        sentences = pd.read_parquet(table)["task_index"]  # the sentences are its index
        return {str(sentence): int(number) for sentence, number in sentences.items()}
    except (OSError, KeyError, TypeError, ValueError, RecursionError, pa.ArrowException):
        return {}


def sentences(tasks: Any) -> list[str]:
    """What an episode lists as its `tasks`.

    Raises:
        TypeError: they are no texts.
    """
    listed = [tasks] if isinstance(tasks, str) else tasks or []
    if not isinstance(listed, list) or not all(isinstance(task, str) for task in listed):
        raise TypeError(f"its tasks are {tasks!r}, no sentences")
    return listed


def numbered(listed: list[str], numbers: Mapping[str, int]) -> dict[int, str]:
    """The sentences that an episode lists by their numbers, where it lists more than one and each has a number."""
    known = len(listed) > 1 and all(sentence in numbers for sentence in listed)
    return {numbers[sentence]: sentence for sentence in listed} if known else {}


def named_by_rows(said: str, numbered: Mapping[int, str], rows: np.ndarray | None) -> str:
    """The task of an episode: of the sentences that it lists, those that its rows name.

    Args:
        said: all of them.
        numbered: each by its number; empty where that is not known.
        rows: `int64 [R]`, the number that each row gives; None where there is no such column.

    Returns:
        The sentences in the order of the rows; all of them where the rows name another one, or nothing is known.
    """
    if not numbered or rows is None or not set(rows.tolist()) <= numbered.keys():
        return said
    return "; ".join(numbered[number] for number in dict.fromkeys(rows.tolist()))
