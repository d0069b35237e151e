"""Weights in the form of the official repository: one `.pt` file with the state of each network, in and out.

Such a file has no configuration: sizes are read off the tensors, the family (2, 2.1 or 2-AC) off their names. Heads and
image size can't be: heads follow from the width where it is one of the released sizes (`vjepa.nn.sizes`), the image
size must be said where it is not 256. The position encoding goes with the family: tiled angles in 2 and 2-AC, each
angle twice on a stretched grid in 2.1.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from vjepa.checkpoints.encoder import PretrainedEncoder, freeze
from vjepa.checkpoints.matching import ignored, require_match
from vjepa.errors import UserError
from vjepa.files import write_with
from vjepa.nn.action_predictor import ActionPredictor
from vjepa.nn.encoder import VisionTransformer
from vjepa.nn.predictor import Predictor
from vjepa.nn.sizes import AC_HEADS, AC_WIDTH, PREDICTOR_HEADS, PREDICTOR_WIDTH, ROPE_SIDE, SIZES, supervised_levels

ENCODERS = ("target_encoder", "ema_encoder", "encoder")
"""Entries that hold an encoder, the one to be preferred first: probes read the teacher."""
PREDICTOR = "predictor"
PREFIXES = ("module.", "backbone.")
NO_LONGER_USED = ("pos_embed", "predictor_pos_embed")
"""Tables that the released 2.0 files still hold; with RoPE nothing reads them."""


@dataclass(frozen=True)
class Unwritten:
    """What no tensor says.

    Attributes:
        image_size: pixels on each side that the encoder is meant for.
        frames: length of the clips that it was trained on.
        heads: attention heads of the encoder; None: those of the released size of its width.
        predictor_heads: likewise.
    """

    image_size: int = 256
    frames: int = 64
    heads: int | None = None
    predictor_heads: int | None = None


@dataclass
class OfficialFile:
    """The entries of a file.

    Attributes:
        path: where it lies.
        networks: the tensors of each network, by entry, without the prefixes of their names.
        others: everything else: `opt`, `scaler`, `epoch`, ...
    """

    path: Path
    networks: dict[str, dict[str, Tensor]]
    others: dict[str, Any]


def open_official(path: Path) -> OfficialFile:
    """Open a file without building anything from it; nothing but tensors and plain values is ever unpickled.

    Raises:
        UserError: it can't be read, holds anything else than tensors and plain values, or no network.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except UnpicklingError as error:
        raise UserError(
            f"{path} is refused: it holds more than tensors and plain values, which could run code "
            f"({str(error).strip().splitlines()[0]})"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise UserError(f"{path} can't be read as a checkpoint: {str(error).strip().splitlines()[0]}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, not the entries of a checkpoint")
    networks, others = {}, {}
    for name, value in content.items():
        if name in (*ENCODERS, PREDICTOR) and isinstance(value, dict):
            networks[name] = {without_prefix(key): tensor for key, tensor in value.items()}
        else:
            others[name] = value
    if not networks:
        raise UserError(f"{path} holds {', '.join(map(str, content)) or 'nothing'}; none of them is a network")
    return OfficialFile(path, networks, others)


def without_prefix(name: str) -> str:
    """A tensor's name without what wrappers put before it, `module.backbone.`."""
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def read_official(
    path: Path, unwritten: Unwritten = Unwritten(), entry: str | None = None, ignore: Sequence[str] = ()
) -> PretrainedEncoder:
    """The encoder and the pretraining predictor of an official file.

    Args:
        path: the file.
        unwritten: what the file can't say.
        entry: which encoder, one of `ENCODERS`; None: the first of them that is there.
        ignore: entries (`opt`) and tensors (`predictor.mask_tokens.*`) that may be left over, `*` for anything.

    Raises:
        UserError: as `open_official`; or tensors or entries are missing, unexpected or of another shape, which names
            all of them; or heads must be said.
    """
    file = open_official(path)
    require_no_others(file, ignore)
    name = entry or next((name for name in ENCODERS if name in file.networks), None)
    if name not in file.networks:
        raise UserError(f"{path} has no {name or 'encoder'}, only {', '.join(file.networks)}")
    encoder = load_exactly(encoder_like(file.networks[name], unwritten, path), file, name, ignore)
    predictor = None
    if PREDICTOR in file.networks and not is_action_predictor(file.networks[PREDICTOR]):
        predictor = load_exactly(
            predictor_like(file.networks[PREDICTOR], encoder, unwritten, path), file, PREDICTOR, ignore
        )
    return PretrainedEncoder(freeze(encoder), predictor, unwritten.frames)


def read_action_predictor(
    path: Path, grid: tuple[int, int] = (16, 16), heads: int | None = None, ignore: Sequence[str] = ()
) -> ActionPredictor:
    """The predictor of an official V-JEPA 2-AC file, for latents of a `grid`; errors as `read_official`."""
    file = open_official(path)
    require_no_others(file, ignore)
    tensors = file.networks.get(PREDICTOR, {})
    if not is_action_predictor(tensors):
        raise UserError(f"{path} has no action-conditioned predictor, only {', '.join(file.networks)}")
    return load_exactly(action_predictor_like(tensors, grid, heads, path), file, PREDICTOR, ignore)


def require_no_others(file: OfficialFile, ignore: Sequence[str]) -> None:
    """Refuse entries that hold tensors, such as an optimizer's state, unless they are named as ignored."""
    left = [name for name, value in file.others.items() if isinstance(value, dict) and not ignored(name, ignore)]
    if left:
        raise UserError(
            f"{file.path} also holds {', '.join(left)}, which no network takes: name them as ignored to go without"
        )


def load_exactly(network: Any, file: OfficialFile, entry: str, ignore: Sequence[str]) -> Any:
    """Give a network the tensors of an entry; every difference is named."""
    found = {name: tensor for name, tensor in file.networks[entry].items() if name not in NO_LONGER_USED}
    wanted = to_official(network.state_dict())
    own = [pattern.removeprefix(f"{entry}.") for pattern in ignore]
    fitting = require_match(found, wanted, f"{file.path}: {entry}", own)
    network.load_state_dict(from_official(fitting, network.state_dict()))
    return network


def to_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors under the official names, which differ in the mask tokens alone: one tensor each."""
    theirs: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name == "mask_tokens":
            theirs |= {f"mask_tokens.{i}": token for i, token in enumerate(tensor)}
        else:
            theirs[name] = tensor
    return theirs


def from_official(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors named as in `ours`, out of official ones, all of which must be there."""
    return {
        name: torch.stack([theirs[f"mask_tokens.{i}"] for i in range(len(tensor))])
        if name == "mask_tokens"
        else theirs[name]
        for name, tensor in ours.items()
    }


def save_official(path: Path, encoder: VisionTransformer, predictor: Predictor | ActionPredictor | None) -> None:
    """Write a file that the official loaders take, whichever entry they look for.

    Raises:
        UserError: the file can't be written.
    """
    state = wrapped(encoder)
    content: dict[str, Any] = {name: state for name in ENCODERS}  # one storage: the file holds it once
    if predictor is not None:
        content[PREDICTOR] = wrapped(predictor)
    write_with(path, lambda temporary: torch.save(content, temporary))


def wrapped(network: nn.Module) -> dict[str, Tensor]:
    """A network's tensors under the names that the official training loop gives them."""
    return {"".join(PREFIXES) + name: tensor.contiguous() for name, tensor in to_official(network.state_dict()).items()}


def is_action_predictor(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a predictor is that of V-JEPA 2-AC."""
    return any(name.startswith(("action_encoder.", "state_encoder.")) for name in tensors)


def encoder_like(tensors: Mapping[str, Tensor], unwritten: Unwritten, path: Path) -> VisionTransformer:
    """An encoder of the sizes of some tensors. What one tensor says against all others does not count."""
    where = f"{path}: encoder"
    width = common_size(tensors, r"blocks\.\d+\.norm\d\.weight", 0, where)
    kernel = tensors.get("patch_embed.proj.weight")
    if kernel is None or kernel.ndim != 5:
        raise UserError(
            f"{where}: patch_embed.proj.weight {'is missing' if kernel is None else 'has not 5 dimensions'}"
        )
    later = any(name.startswith(("norms_block.", "patch_embed_img.")) for name in tensors)
    depth = block_count(tensors, "blocks")
    levels = block_count(tensors, "norms_block")
    return VisionTransformer(
        unwritten.image_size,
        kernel.shape[-1],
        kernel.shape[2],
        width,
        depth,
        unwritten.heads or known_heads({size.width: size.heads for size in SIZES.values()}, width, "heads", where),
        common_size(tensors, r"blocks\.\d+\.mlp\.fc1\.(weight|bias)", 0, where) / width,
        tiled_rope=not later,
        rope_side=ROPE_SIDE if later else None,
        levels=supervised_levels(depth, levels) if levels else (),
        image_patches=later,
    )


def predictor_like(
    tensors: Mapping[str, Tensor], encoder: VisionTransformer, unwritten: Unwritten, path: Path
) -> Predictor:
    """A pretraining predictor of the sizes of some tensors."""
    where = f"{path}: predictor"
    width = common_size(tensors, r"predictor_blocks\.\d+\.norm\d\.weight", 0, where)
    levels = len(encoder.levels) if any(name.startswith("predictor_embed.0.") for name in tensors) else 1
    return Predictor(
        encoder.width * levels,
        width,
        block_count(tensors, "predictor_blocks"),
        unwritten.predictor_heads or known_heads({PREDICTOR_WIDTH: PREDICTOR_HEADS}, width, "predictor heads", where),
        common_size(tensors, r"predictor_blocks\.\d+\.mlp\.fc1\.(weight|bias)", 0, where) / width,
        block_count(tensors, "mask_tokens"),
        tiled_rope=encoder.tiled_rope,
        output_width=common_size(tensors, r"predictor_proj(_context)?\.(weight|bias)", 0, where),
        levels=levels,
        context_head=any(name.startswith("predictor_proj_context.") for name in tensors),
        modalities=any(name.endswith("_mod_embed") for name in tensors),
    )


def action_predictor_like(
    tensors: Mapping[str, Tensor], grid: tuple[int, int], heads: int | None, path: Path
) -> ActionPredictor:
    """A predictor of V-JEPA 2-AC of the sizes of some tensors."""
    where = f"{path}: predictor"
    width = common_size(tensors, r"predictor_blocks\.\d+\.norm\d\.weight", 0, where)
    extrinsics = "extrinsics_encoder.weight" in tensors
    return ActionPredictor(
        common_size(tensors, r"predictor_proj\.(weight|bias)", 0, where),
        grid,
        common_size(tensors, r"action_encoder\.weight", 1, where),
        common_size(tensors, r"state_encoder\.weight", 1, where),
        width,
        block_count(tensors, "predictor_blocks"),
        heads or known_heads({AC_WIDTH: AC_HEADS}, width, "predictor heads", where),
        common_size(tensors, r"predictor_blocks\.\d+\.mlp\.fc1\.(weight|bias)", 0, where) / width,
        shortcuts=False,
        extrinsics=common_size(tensors, r"extrinsics_encoder\.weight", 1, where) if extrinsics else 0,
    )


def common_size(tensors: Mapping[str, Tensor], pattern: str, dimension: int, where: str) -> int:
    """The length along a dimension that most of the tensors whose names fit have: a single odd one is named later."""
    lengths: Iterator[int] = (
        tensor.shape[dimension]
        for name, tensor in tensors.items()
        if re.fullmatch(pattern, name) and tensor.ndim > dimension
    )
    counted = Counter(lengths).most_common(1)
    if not counted:
        raise UserError(f"{where}: nothing is named like {pattern}")
    return counted[0][0]


def block_count(tensors: Mapping[str, Tensor], name: str) -> int:
    """One more than the highest number after `name.`; 0 where there is none."""
    found = (re.match(rf"{name}\.(\d+)(\.|$)", key) for key in tensors)
    return max((int(match[1]) + 1 for match in found if match), default=0)


def known_heads(known: Mapping[int, int], width: int, what: str, where: str) -> int:
    """Heads of a released size."""
    if width not in known:
        raise UserError(f"{where}: no released size has the width {width}, so its {what} must be said")
    return known[width]
