"""The columns of a LeRobot data file, whatever way their rows are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vjepa.data.raw import EpisodeError

TASK = "task_index"


@dataclass
class DataTable:
    """Columns of a data file: `episodes` int64 [R], `times` float64 [R] (s), and others `[R, W]` by name.

    `tasks` `int64 [R]` are the numbers of the rows' tasks, -1 for none; None where the file does not have them.
    """

    episodes: np.ndarray
    times: np.ndarray
    tasks: np.ndarray | None
    columns: dict[str, np.ndarray]


def read_table(file: Path, columns: Sequence[str]) -> DataTable:
    """Read the columns that episodes are made of.

    Raises:
        EpisodeError: the file is missing or damaged, lacks a column, or the rows of one differ in width.
    """
    try:
        tasks = [TASK] if TASK in pq.read_schema(file).names else []
        names = dict.fromkeys(["episode_index", "timestamp", *tasks, *columns])
        table = pq.read_table(file, columns=list(names), partitioning=None)
        episodes = table.column("episode_index").to_numpy().astype(np.int64)
        times = table.column("timestamp").to_numpy().astype(np.float64)
        return DataTable(
            episodes, times, numbers_in(table, TASK), {name: matrix(table.column(name)) for name in columns}
        )
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise EpisodeError("unreadable", file, " ".join(str(error).split())) from error


def numbers_in(table: pa.Table, name: str) -> np.ndarray | None:
    """A column of whole numbers, -1 where one is missing; None where there is no such column."""
    if name not in table.column_names or not pa.types.is_integer(table.column(name).type):
        return None
    return np.asarray(table.column(name).fill_null(-1).to_numpy(), np.int64)


def matrix(column: pa.ChunkedArray) -> np.ndarray:
    """A column of numbers or of lists of them: `[R, W]`; missing ones are NaN.

    Raises:
        ValueError: the rows differ in width, or hold no numbers.
    """
    whole = column.combine_chunks()
    while pa.types.is_nested(whole.type):
        if not (pa.types.is_list(whole.type) or pa.types.is_large_list(whole.type) or is_fixed_list(whole.type)):
            raise ValueError(f"a column of {whole.type} holds no rows of numbers")
        widths = pc.unique(pc.list_value_length(whole)).to_pylist()
        if len(widths) > 1 or whole.null_count:
            raise ValueError(f"rows of one column differ in width: {', '.join(map(str, widths))}")
        whole = whole.flatten()
    return np.asarray(whole.to_numpy(zero_copy_only=False), np.float64).reshape(len(column), -1)


def is_fixed_list(kind: pa.DataType) -> bool:
    """Whether a type is that of lists of one length."""
    return bool(pa.types.is_fixed_size_list(kind))
