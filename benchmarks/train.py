"""Steps a second of pretraining and post-training as the stages run them, beside bare loops and `transformers`' model.

    python -m benchmarks.train

The default profile's networks, batches, losses and settings (conf/profile/cpu.yaml), a quarter of its steps on a
quarter as many episodes, which are written, curated and read from shards. Ours is the stages' own training with all
that belongs to it: loader, light and masks, log with its monitors and read-out, checkpoints, in the same proportion.

- ceiling: a bare loop over our networks and loss, with the same optimizer and teacher, on batches that lie in memory
  ready to use: pixels normalised, masks drawn. What ours has less than this is what its comforts and its data cost.
- transformers: the same loop over `VJEPA2Model`, with the same weights, batches and masks and a teacher. Its encoder
  has no way to leave tokens out, so it sees all of them and its predictor the visible ones. It has no dense context
  loss either: this side and ours beside it (`ours_v2`) go without (`pretrain.context_weight: 0`).
- transformers_visible: the same, its layers called one by one on the visible tokens, as somebody might who knows them.
- Post-training: ours, and a bare loop on windows that were cut from the same latents before.

A side whose losses are not ours stops the benchmark: those of the ceilings at every step that is logged, those of
`transformers_visible` at the first ones, that of `transformers` at the first (where our networks see all tokens, too).
Data: the share of our time that the loader takes, and with it the light, the masks and the normalisation.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from benchmarks import _bare_loops as bare
from benchmarks._recordings import STATE, curated, data_set, scene
from benchmarks._result import Comparison, in_turn, rounded
from benchmarks._training_sides import Posttrained, Pretrained, Took
from scripts.compose import compose
from stages.runner import read_params
from vjepa.errors import UserError

SHARE = 4  # of the profile's steps, one in so many
EPISODES, FRAMES, RAW_SIZE = 360, 16, 128
REPEATS = 2
NEAR = 1e-5  # how far a loss may be off, as a share of it
EARLY = 20  # steps after which other kernels' rounding may have led elsewhere


def shorter(config: Any) -> Any:
    """A training's settings with a share of its steps."""
    return replace(config, **{name: getattr(config, name) // SHARE for name in ("steps", "warmup", "cooldown")})


def require_same(found: dict[str, Took], reference: float) -> None:
    """Stop where a side's losses are not what ours are, or what `reference` is where the encoder sees all tokens."""
    losses = {name: took.trained.losses for name, took in found.items()}
    early = {step: loss for step, loss in losses["ours_v2"].items() if step <= EARLY}
    wanted = {
        "ceiling": losses["ours"],
        "transformers": {0: reference},
        "transformers_visible": early,
        "post_ceiling": losses["post"],
    }
    for name, steps in wanted.items():
        for step, loss in steps.items():
            if not abs(losses[name][step] - loss) <= NEAR * loss:
                raise SystemExit(f"train: the loss of {name} at step {step} is {losses[name][step]}, not {loss}")


def main() -> None:
    """Print one line of JSON."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            compose(folder / "params.yaml", ["profile=cpu"])
            params = read_params(folder / "params.yaml")
        except UserError as error:
            raise SystemExit(f"train: {error}") from error
        fps, encoder = params["curate"].fps, params["encoder"]
        recorded = data_set(folder / "raw", fps, RAW_SIZE)
        for seed in track(range(EPISODES), "episodes", console=Console(stderr=True)):
            frames, states = scene(seed, RAW_SIZE, FRAMES, fps)
            recorded.add_episode(frames, {STATE: states}, "move")
        recorded.finalize()
        curated(folder / "raw", folder / "shards", fps, encoder.image_size, folder / "journal")
        profile = shorter(params["pretrain"])
        # what features these simple scenes give is not judged
        profile = replace(profile, collapse=replace(profile.collapse, after=profile.steps))
        whole = Pretrained(folder / "shards", encoder, profile)
        plain = Pretrained(folder / "shards", encoder, replace(profile, context_weight=0.0))
        plain.batches = whole.prepare()
        post = Posttrained(folder / "shards", encoder, shorter(params["posttrain"]))
        sides: dict[str, Callable[[], Took]] = {
            "ours": whole.ours,
            "ceiling": whole.ceiling,
            "ours_v2": plain.ours,
            "transformers": partial(plain.transformers, visible_only=False),
            "transformers_visible": partial(plain.transformers, visible_only=True),
            "post": post.ours,
            "post_ceiling": post.ceiling,
        }
        runs = in_turn(sides, REPEATS, lambda took: f"{took.trained.rate:.1f} steps/s")
        reference = bare.loss_of_all_tokens(plain.objective, plain.batches[0])
    require_same({name: found[0] for name, found in runs.items()}, reference)
    print(json.dumps(result(runs)))


def result(runs: dict[str, list[Took]]) -> dict[str, object]:
    """What is recorded of the runs of all sides."""
    rates = {name: [took.trained.rate for took in found] for name, found in runs.items()}
    pairs = {
        "ceiling": Comparison(rates["ours"], rates["ceiling"], "steps/s"),
        "transformers": Comparison(rates["ours_v2"], rates["transformers"], "steps/s"),
        "transformers_visible": Comparison(rates["ours_v2"], rates["transformers_visible"], "steps/s"),
        "post_ceiling": Comparison(rates["post"], rates["post_ceiling"], "steps/s"),
    }
    shares = {
        name: {
            what: rounded(statistics.median(getattr(took, what) for took in runs[name]))
            for what in ("loading", "batches")
        }
        for name in ("ours", "post")
    }
    figures = {name: rounded(statistics.median(values)) for name, values in rates.items()}
    summary = (
        f"The default profile's pretraining, from shards, with log and checkpoints: {figures['ours']} steps/s; a bare "
        f"loop over batches in memory {figures['ceiling']}, ours is {pairs['ceiling']} as fast; of its time "
        f"{shares['ours']['loading']:.1%} went to the loader, with light and masks {shares['ours']['batches']:.1%}. "
        f"With V-JEPA 2's own loss {figures['ours_v2']}; a bare loop over `transformers`' model "
        f"{figures['transformers']}, ours is {pairs['transformers']} as fast; its layers on visible tokens alone "
        f"{figures['transformers_visible']}, ours is {pairs['transformers_visible']} as fast. Post-training: "
        f"{figures['post']}; a bare loop {figures['post_ceiling']}, ours is {pairs['post_ceiling']} as fast; "
        f"{shares['post']['loading']:.1%} went to cutting windows. {REPEATS} runs a side, in turn."
    )
    peer_is = "a bare loop over transformers' VJEPA2Model, all tokens encoded, batches in memory, V-JEPA 2's loss"
    others = {name: both.figures() for name, both in pairs.items() if name != "transformers"}
    return pairs["transformers"].record(
        "train", peer_is, summary, steps_per_second=figures, others=others, data_share=shares
    )


if __name__ == "__main__":
    main()
