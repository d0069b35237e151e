"""Episodes in shards, of which clips are read when they are asked for: what is in memory is bounded by a setting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from vjepa.data.shards import npy_array, read_episode_members, read_split
from vjepa.data.share import first_by_hash
from vjepa.data.video import VideoFile


class EpisodeStore:
    """The episodes of a split as a source of clips; see `vjepa.data.clips.ClipSource`.

    Each episode is read alone and checked against the manifest. Those that come first are decoded whole and kept until
    `kept_bytes` are used; of the others nothing is kept, and only the frames of the clip are decoded. (With clips drawn
    by chance nothing that would replace the kept ones by later ones could hit more often.)

    Args:
        shards: their folder.
        split: `train` or `test`.
        kept_bytes: bound of the decoded frames in memory; each process that reads has its own.
        share: of the episodes that are there, the first by a hash of their keys.

    Raises:
        DataError: the manifest can't be used or the split is empty.
    """

    def __init__(self, shards: Path, split: str, kept_bytes: int, share: float = 1.0) -> None:
        manifest = read_split(shards, split)
        manifest = manifest.iloc[first_by_hash(manifest["key"].tolist(), share)]
        self.folder, self.kept_bytes = shards, kept_bytes
        self.lengths = manifest["frames"].to_numpy(np.int64)
        self.shards: np.ndarray = pd.factorize(manifest["shard"])[0].astype(np.int64)
        self.rows = manifest[["key", "shard", "offset", "bytes", "content_sha256", "fps"]]
        self._kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._used = 0

    def clip(self, episode: int, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Frames `uint8 [T, H, W, 3]` and states `float32 [T, S]` of an episode at the places `at`, ascending.

        Raises:
            DataError: its shard is missing, or the episode is damaged or not what the manifest says.
        """
        if episode not in self._kept:
            row = self.rows.iloc[episode]
            members = read_episode_members(self.folder, row)
            states = npy_array(members["state.npy"])
            with VideoFile(members["video.mp4"]) as video:
                size = int(self.lengths[episode]) * video.frame_bytes
                if self._used + size > self.kept_bytes:
                    return video.frames_at(at / row["fps"])[0], states[at]
                whole, _ = video.frames_at(np.arange(self.lengths[episode]) / row["fps"])
            self._kept[episode] = whole, states
            self._used += size
        frames, states = self._kept[episode]
        return frames[at], states[at]
