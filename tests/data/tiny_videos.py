"""A folder of video files without states."""

from __future__ import annotations

from pathlib import Path

from tiny_lerobot import Recording

from vjepa.data.video import encode_mp4


def write_videos(path: Path, recordings: list[Recording], fps: float = 8.0) -> Path:
    """Write the frames of each episode into a file of its own, and the tasks into the list."""
    (path / "films").mkdir(parents=True)
    lines = ["path,task"]
    for number, episode in enumerate(recordings):
        (path / f"films/{number:02d}.mp4").write_bytes(encode_mp4(episode.frames, fps))
        lines.append(f"films/{number:02d}.mp4,{episode.task}")
    (path / "videos.csv").write_text("\n".join(lines) + "\n")
    return path
