"""What an encoder makes of an episode as a whole: one feature, remembered for the next run.

An encoder is shown a clip whose frames are spread evenly over the episode, as it stands in the shards. Each episode is
encoded by itself, so that its feature does not hang on what is encoded beside it.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from vjepa.checkpoints.encoder import load_pretrained
from vjepa.checkpoints.model_config import CONFIG
from vjepa.data.code_version import code_version
from vjepa.data.examination import Examined
from vjepa.data.records import read_payload, write_record
from vjepa.data.shards import checked_samples
from vjepa.data.video import VideoFile
from vjepa.errors import UserError
from vjepa.files import sha256_of
from vjepa.imaging import square_resize
from vjepa.nn.encoder import normalise_pixels

MOMENTS = 16
"""Frames of an episode that are looked at; as many as in the encoder's training clips where those have fewer."""


class Features:
    """The features of episodes under one encoder.

    Args:
        encoder: a folder that `vjepa.checkpoints` opens.
        folder: keeps features for the next run.

    Attributes:
        used: the files of all features that were asked for.

    Raises:
        UserError: there is no encoder in the folder, or it is damaged.
    """

    def __init__(self, encoder: Path, folder: Path) -> None:
        try:
            pretrained = load_pretrained(encoder, ["predictor.*"])
            files = {file.name: sha256_of(file) for file in sorted(encoder.glob("*.safetensors"))}
            self.basis = [sha256_of(encoder / CONFIG), files, code_version((__name__,), ("av", "numpy", "torch"))]
        except (OSError, UserError) as error:
            raise UserError(f"curate.encoder: {error}") from error
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.path, self.folder, self.network = encoder, folder, pretrained.encoder.to(self.device)
        self.moments = min(pretrained.frames, MOMENTS)
        self.used: set[Path] = set()

    def of(
        self, episodes: Sequence[Examined], blocks: Callable[[Examined], bytes], progress: Callable[[int, int], None]
    ) -> np.ndarray:
        """The features of episodes: `float32 [N, D]`, each of length 1.

        Args:
            episodes: any of them.
            blocks: gives an episode's tar blocks; it is asked for new ones alone.
            progress: told how many are done, and how many there are.

        Raises:
            UserError: the encoder's numbers can't be used.
        """
        features = []
        for number, episode in enumerate(episodes):
            progress(number, len(episodes))
            path = self.file_of(episode)
            self.used.add(path)
            kept = read_payload(path, 0)
            if kept is None:
                kept = self.encode(frames_of(episode, blocks(episode), self.moments)).tobytes()
                write_record(path, None, [kept])
            features.append(np.frombuffer(kept, np.float32))
        progress(len(episodes), len(episodes))
        return np.stack(features)

    def file_of(self, episode: Examined) -> Path:
        """Where an episode's feature is kept: the name stands for everything that it hangs on."""
        key = hashlib.sha256(json.dumps([*self.basis, episode.row["content_sha256"]]).encode()).hexdigest()
        return self.folder / key[:2] / key

    @torch.inference_mode()
    def encode(self, frames: np.ndarray) -> np.ndarray:
        """The mean of a clip's tokens, at length 1: `uint8 [T, H, W, 3]` to `float32 [D]`."""
        clip = torch.from_numpy(square_resize(frames, self.network.image_size)).to(self.device)
        mean = self.network(normalise_pixels(clip[None]))[0].float().mean(0)
        feature = (mean / mean.norm()).cpu().numpy()
        if not np.isfinite(feature).all():
            raise UserError(f"curate.encoder: {self.path} gives features that are no numbers")
        return feature


def frames_of(episode: Examined, blocks: bytes, count: int) -> np.ndarray:
    """Frames spread evenly over an episode, by its tar blocks: `uint8 [count, H, W, 3]`."""
    row = episode.row
    found = dict(checked_samples("the journal", io.BytesIO(blocks), {row["key"]: row["content_sha256"]}))
    at = np.linspace(0, row["frames"] - 1, count).round()
    with VideoFile(found[row["key"]]["video.mp4"]) as video:
        return video.frames_at(at / row["fps"])[0]
