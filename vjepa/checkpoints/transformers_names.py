"""Our tensors under the names of `transformers`' V-JEPA 2, and back; a fused qkv is three tensors there.

What only V-JEPA 2.1 has, and `transformers` has not, gets names in the same manner.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

ENCODER, PREDICTOR = "encoder.", "predictor."
PARTS = ("query", "key", "value")
# Ours -> theirs, first match wins.
RENAMES = {
    ENCODER: [
        (r"^patch_embed\.", "embeddings.patch_embeddings."),
        (r"^patch_embed_img\.", "embeddings.patch_embeddings_img."),
        (r"^(img|video)_mod_embed$", r"embeddings.\1_mod_embed"),
        (r"^blocks\.(\d+)\.attn\.", r"layer.\1.attention."),
        (r"^blocks\.(\d+)\.", r"layer.\1."),
        (r"^norm\.", "layernorm."),
        (r"^norms_block\.(\d+)\.", r"layernorms.\1."),
    ],
    PREDICTOR: [
        (r"^mask_tokens$", "embeddings.mask_tokens"),
        (r"^predictor_embed\.", "embeddings.predictor_embeddings."),
        (r"^(img|video)_mod_embed$", r"embeddings.\1_mod_embed"),
        (r"^predictor_blocks\.(\d+)\.attn\.", r"layer.\1.attention."),
        (r"^predictor_blocks\.(\d+)\.", r"layer.\1."),
        (r"^predictor_norm\.", "layernorm."),
        (r"^predictor_proj\.", "proj."),
        (r"^predictor_proj_context\.", "proj_context."),
    ],
}


def their_name(ours: str, network: str) -> str:
    """The name that `transformers` gives a tensor of ours; `network` is `ENCODER` or `PREDICTOR`."""
    for pattern, replacement in RENAMES[network]:
        if re.search(pattern, ours):
            return network + re.sub(pattern, replacement, ours)
    raise KeyError(ours)


def to_transformers(state: Mapping[str, Tensor], network: str) -> dict[str, Tensor]:
    """Our encoder's or predictor's tensors under `transformers`' names."""
    theirs: dict[str, Tensor] = {}
    for name, tensor in state.items():
        renamed = their_name(name, network)
        if ".qkv." in renamed:
            for part, third in zip(PARTS, tensor.chunk(3), strict=True):
                theirs[renamed.replace("qkv", part)] = third.contiguous()
        else:
            theirs[renamed] = tensor
    return theirs


def from_transformers(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor], network: str) -> dict[str, Tensor]:
    """The tensors named as in `ours`, out of `transformers`' tensors, all of which must be there."""
    found: dict[str, Tensor] = {}
    for name in ours:
        renamed = their_name(name, network)
        if ".qkv." in renamed:
            found[name] = torch.cat([theirs[renamed.replace("qkv", part)] for part in PARTS])
        else:
            found[name] = theirs[renamed]
    return found
