"""The chain as DVC sees it: its stages in the order they run, what each has measured, what was changed by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import networkx
from dvc.repo import Repo

from vjepa.report.quantities import Quantity, quantities


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml.

    Attributes:
        name: as in dvc.yaml.
        description: one sentence.
        metrics: its JSON metrics files.
        judged: whether a stage marked as a gate (`meta: {gate: true}`) depends on it, directly or through others.
    """

    name: str
    description: str
    metrics: tuple[Path, ...]
    judged: bool

    def measured(self) -> list[Quantity]:
        """Every number in the metrics files that exist."""
        found = [path for path in self.metrics if path.exists()]
        return [quantity for path in found for quantity in quantities(path.stem, json.loads(path.read_text()))]


def stages(folder: Path, targets: Sequence[str] = ()) -> list[Stage]:
    """The stages of the DVC repository in `folder`, each after those it depends on.

    Args:
        folder: the repository's root.
        targets: stages to end with; only they and what they depend on are given. Empty: every stage.

    Raises:
        ValueError: a target is no stage.
    """
    with Repo(str(folder)) as repo:
        graph = repo.index.graph  # an edge points from a stage to one that it depends on
        named = {node.name: node for node in graph if node.cmd}  # what was added by hand (`dvc add`) runs nothing
        if unknown := [target for target in targets if target not in named]:
            raise ValueError(f"{unknown[0]!r} is no stage of dvc.yaml; known are {', '.join(sorted(named))}")
        ends = [named[target] for target in targets or named]
        wanted = {*ends, *(node for end in ends for node in networkx.descendants(graph, end))}
        gates = [node for node in graph if (node.meta or {}).get("gate")]
        judged = {node for gate in gates for node in networkx.descendants(graph, gate)}
        position = {node: place for place, node in enumerate(repo.index.stages)}
        order = networkx.lexicographical_topological_sort(graph.subgraph(wanted).reverse(), key=position.__getitem__)
        return [
            Stage(
                node.name,
                node.desc or "",
                tuple(Path(out.fs_path) for out in node.outs if out.metric and out.fs_path.endswith(".json")),
                node in judged,
            )
            for node in order
            if node.cmd
        ]


def altered_outputs(folder: Path, stage: str) -> list[str]:
    """The data and models of `stage` that someone changed on disk, if that is all that changed about it.

    `dvc repro` would rebuild them without a word. Metrics and plots don't count: git keeps them, and changes them too.

    Raises:
        LockError: another DVC process is at work on the stage.
    """
    with Repo(str(folder)) as repo, repo.lock:
        node = next(node for node in repo.index.stages if node.cmd and node.name == stage)
        if node.changed_stage() or node.changed_deps():
            return []
        changed = {out: state for out in node.outs for state in out.workspace_status().values()}
        if "deleted" in changed.values():
            return []
        return [str(out) for out, state in changed.items() if state == "modified" and out.use_cache]
