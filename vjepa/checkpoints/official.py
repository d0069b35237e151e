"""Weights in the form of the official repository: one `.pt` file with the state of each network, in and out.

Such a file has no configuration: sizes are read off the tensors, the family (2, 2.1 or 2-AC) off their names. Heads and
image size can't be: heads follow from the width where it is one of the released sizes (`vjepa.nn.sizes`), the image
size must be said where it is not the family's (256, and 384 in 2.1). The position encoding goes with the family: tiled
angles in 2 and 2-AC, each angle twice on a stretched grid in 2.1; what no family has can't be written.
"""

from __future__ import annotations

import math
import re
import zipfile
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
from vjepa.nn.rope import require_heads
from vjepa.nn.sizes import (
    AC_HEADS,
    AC_WIDTH,
    PREDICTOR_HEADS,
    PREDICTOR_WIDTH,
    RELEASED_MASK_TOKENS,
    ROPE_SIDE,
    SIZES,
    supervised_levels,
)

ENCODERS = ("ema_encoder", "target_encoder", "encoder")
"""Entries that hold an encoder, the one to be preferred first: a distillate's average, the teacher, the student."""
PREDICTOR = "predictor"
PREFIXES = ("module.", "backbone.")
NO_LONGER_USED = ("pos_embed", "predictor_pos_embed")
"""Tables that the released 2.0 files still hold; with RoPE nothing reads them."""


@dataclass(frozen=True)
class Unwritten:
    """What no tensor says.

    Attributes:
        image_size: pixels on each side that the encoder is meant for; None: 256, and 384 in 2.1.
        frames: length of the clips that it was trained on.
        heads: attention heads of the encoder; None: those of the released size of its width.
        predictor_heads: likewise.
        mask_tokens: of the predictor; None: as many as are released, 10, and 8 in 2.1.
    """

    image_size: int | None = None
    frames: int = 64
    heads: int | None = None
    predictor_heads: int | None = None
    mask_tokens: int | None = None


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
    content = load_plain(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, not the entries of a checkpoint")
    networks, others = {}, {}
    for name, value in content.items():
        if name in (*ENCODERS, PREDICTOR) and isinstance(value, dict):
            networks[name] = without_prefixes(value, f"{path}: {name}")
        else:
            others[name] = value
    if not networks:
        raise UserError(f"{path} holds {', '.join(map(str, content)) or 'nothing'}; none of them is a network")
    return OfficialFile(path, networks, others)


def load_plain(path: Path) -> Any:
    """What a `.pt` file holds, if that is tensors and plain values.

    Raises:
        UserError: it holds anything else, or can't be read.
    """
    try:
        zipped = zipfile.is_zipfile(path)  # older files are not, and can't be mapped into memory
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except UnpicklingError as error:
        if zipped:
            raise UserError(
                f"{path} is refused: it holds more than tensors and plain values, which could run code "
                f"({first_line(error)})"
            ) from error
        raise UserError(f"{path} is no checkpoint, or holds more than tensors and plain values") from error
    except Exception as error:  # a damaged file may raise anything: nothing of ours runs in here
        raise UserError(f"{path} can't be read as a checkpoint: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its kind where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def without_prefixes(state: Mapping[Any, Any], where: str) -> dict[str, Tensor]:
    """A network's tensors without what wrappers put before their names, `module.backbone.`.

    Raises:
        UserError: something is no named tensor, or two names are then the same.
    """
    tensors: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor):
            raise UserError(f"{where}: {key!r} is a {type(tensor).__name__}, no named tensor")
        name = key
        for prefix in PREFIXES:
            name = name.removeprefix(prefix)
        if name in tensors:
            raise UserError(f"{where}: two tensors are named {name}, with and without a prefix")
        tensors[name] = tensor
    return tensors


def read_official(
    path: Path, unwritten: Unwritten = Unwritten(), entry: str | None = None, ignore: Sequence[str] = ()
) -> PretrainedEncoder:
    """The encoder and the pretraining predictor of an official file.

    Args:
        path: the file.
        unwritten: what the file can't say.
        entry: which encoder, one of `ENCODERS`; None: see `chosen_entry`.
        ignore: entries (`opt`, `predictor`) and tensors (`target_encoder.extra.*`) to go without, `*` for anything.

    Raises:
        UserError: as `open_official`; or tensors or entries are missing, unexpected or of another shape, which names
            all of them; or heads must be said; or the predictor is that of V-JEPA 2-AC (`read_action_predictor`).
    """
    file = open_official(path)
    require_no_others(file, ignore)
    name = chosen_entry(file, entry)
    encoder = load_exactly(encoder_like(file.networks[name], unwritten, path), file, name, ignore)
    predictor = None
    if PREDICTOR in file.networks and not ignored(PREDICTOR, ignore):
        if is_action_predictor(file.networks[PREDICTOR]):
            raise UserError(
                f"{path} holds the predictor of V-JEPA 2-AC, which belongs to no pretraining: "
                "read_action_predictor reads it; name predictor as ignored to go without"
            )
        predictor = load_exactly(
            predictor_like(file.networks[PREDICTOR], encoder, unwritten, path), file, PREDICTOR, ignore
        )
    return PretrainedEncoder(freeze(encoder), predictor, unwritten.frames, name)


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


def chosen_entry(file: OfficialFile, entry: str | None) -> str:
    """The entry of the encoder: the one asked for, else that which the released files of the family are read by.

    Raises:
        UserError: it is not there.
    """
    action = is_action_predictor(file.networks.get(PREDICTOR, {}))
    name = entry or next((name for name in (ENCODERS[::-1] if action else ENCODERS) if name in file.networks), None)
    if name not in file.networks:
        raise UserError(f"{file.path} has no {name or 'encoder'}, only {', '.join(file.networks)}")
    return name


def require_no_others(file: OfficialFile, ignore: Sequence[str]) -> None:
    """Refuse entries that are more than a number or a text, such as an optimizer's state, unless they are ignored."""
    plain = (int, float, str, type(None))
    left = [str(k) for k, v in file.others.items() if not isinstance(v, plain) and not ignored(str(k), ignore)]
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
    """Write a file that the official loaders take, whichever entry they look for; 2-AC's predictor is such an entry.

    Raises:
        UserError: the file can't be written, or would come back as another network, since nothing in it says otherwise.
    """
    require_family(encoder, predictor)
    state = wrapped(encoder)
    content: dict[str, Any] = {name: state for name in ENCODERS}  # one storage: the file holds it once
    if predictor is not None:
        content[PREDICTOR] = wrapped(predictor)
    try:
        write_with(path, lambda temporary: torch.save(content, temporary))
    except RuntimeError as error:  # how torch reports a disk that is full
        raise UserError(f"can't write {path}: disk full? ({first_line(error)})") from error


def require_family(encoder: VisionTransformer, predictor: Predictor | ActionPredictor | None) -> None:
    """Refuse networks that are of no family: official files can't say how they differ.

    Raises:
        UserError: naming the difference.
    """
    later = bool(encoder.levels)
    wanted = {
        "tiled_rope": not later,
        "rope_side": ROPE_SIDE if later else None,
        "levels": supervised_levels(encoder.depth, len(encoder.levels)) if later else (),
        "image_patches": later,
    }
    wrong = [
        f"the encoder's {k} is {getattr(encoder, k)}, not {v}" for k, v in wanted.items() if getattr(encoder, k) != v
    ]
    if isinstance(predictor, Predictor) and predictor.tiled_rope != encoder.tiled_rope:
        wrong.append(f"the predictor's tiled_rope is {predictor.tiled_rope} and the encoder's is not")
    if isinstance(predictor, ActionPredictor) and predictor.shortcuts:
        wrong.append("the predictor has shortcuts")
    if wrong:
        raise UserError(f"an official file can't hold this model: {'; '.join(wrong)}")


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
    if kernel is None:
        raise UserError(f"{where}: patch_embed.proj.weight is missing")
    shape = list(kernel.shape)
    if len(shape) != 5 or shape[:2] != [width, 3] or shape[3] != shape[4] or min(shape) < 1:
        raise UserError(f"{where}: patch_embed.proj.weight has shape {shape}, not [{width}, 3, tubelet, patch, patch]")
    later = any(name.startswith(("norms_block.", "patch_embed_img.")) for name in tensors)
    depth = block_count(tensors, "blocks")
    levels = block_count(tensors, "norms_block")
    heads = heads_of({size.width: size.heads for size in SIZES.values()}, unwritten.heads, width, "heads", where)
    image_size = unwritten.image_size or (384 if later else 256)
    if image_size % shape[4]:
        raise UserError(f"{where}: an image size of {image_size} is no multiple of its patches' {shape[4]}")
    return VisionTransformer(
        image_size,
        shape[4],
        shape[2],
        width,
        depth,
        heads,
        ratio(common_size(tensors, r"blocks\.\d+\.mlp\.fc1\.(weight|bias)", 0, where), width),
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
        heads_of({PREDICTOR_WIDTH: PREDICTOR_HEADS}, unwritten.predictor_heads, width, "predictor heads", where),
        ratio(common_size(tensors, r"predictor_blocks\.\d+\.mlp\.fc1\.(weight|bias)", 0, where), width),
        unwritten.mask_tokens or RELEASED_MASK_TOKENS["2" if encoder.tiled_rope else "2.1"],
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
        heads_of({AC_WIDTH: AC_HEADS}, heads, width, "predictor heads", where),
        ratio(common_size(tensors, r"predictor_blocks\.\d+\.mlp\.fc1\.(weight|bias)", 0, where), width),
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
    """How many numbers follow `name.`: one that is out of the row is named later."""
    found = (re.match(rf"{name}\.(\d+)(\.|$)", key) for key in tensors)
    return len({match[1] for match in found if match})


def ratio(hidden: int, width: int) -> float:
    """The `mlp_ratio` that gives just this hidden width, which is cut to a whole number there."""
    return hidden / width if int(width * (hidden / width)) == hidden else math.nextafter(hidden / width, math.inf)


def heads_of(known: Mapping[int, int], said: int | None, width: int, what: str, where: str) -> int:
    """The heads that were said, else those of the released size of this width.

    Raises:
        UserError: there is none, or the width can't be shared among so many heads.
    """
    if said is None and width not in known:
        raise UserError(f"{where}: no released size has the width {width}, so its {what} must be said")
    heads = known[width] if said is None else said
    try:
        require_heads(width, heads)
    except ValueError as error:
        raise UserError(f"{where}: {what}: {error}") from error
    return heads
