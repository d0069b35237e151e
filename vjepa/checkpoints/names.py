"""Our tensors under the names of other code, and back: rules that rename, and cut what ours holds as one.

Below, the names of `transformers`' V-JEPA 2; what only V-JEPA 2.1 has, and `transformers` has not, gets names in the
same manner. `vjepa.checkpoints.classifier` holds the probes'.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Rules = Sequence[tuple[str, str]]
"""Our name as a pattern -> theirs; the first that fits holds. With `{q,k,v}` ours is these tensors in one, by rows."""

ENCODER, PREDICTOR = "encoder.", "predictor."


def network_rules(network: str, ours: str) -> list[tuple[str, str]]:
    """What both networks have; `ours` stands before the names of the predictor's parts here."""
    return [
        (r"^(img|video)_mod_embed$", rf"{network}embeddings.\1_mod_embed"),
        (rf"^{ours}blocks\.(\d+)\.attn\.qkv\.", rf"{network}layer.\1.attention.{{query,key,value}}."),
        (rf"^{ours}blocks\.(\d+)\.attn\.", rf"{network}layer.\1.attention."),
        (rf"^{ours}blocks\.(\d+)\.", rf"{network}layer.\1."),
        (rf"^{ours}norm\.", rf"{network}layernorm."),
    ]


ENCODER_RULES: Rules = [
    (r"^patch_embed(_img)?\.", rf"{ENCODER}embeddings.patch_embeddings\1."),
    (r"^norms_block\.(\d+)\.", rf"{ENCODER}layernorms.\1."),
    *network_rules(ENCODER, ""),
]
PREDICTOR_RULES: Rules = [
    (r"^mask_tokens$", f"{PREDICTOR}embeddings.mask_tokens"),
    (r"^predictor_embed\.", f"{PREDICTOR}embeddings.predictor_embeddings."),
    (r"^predictor_proj(_context)?\.", rf"{PREDICTOR}proj\1."),
    *network_rules(PREDICTOR, "predictor_"),
]


def their_names(ours: str, rules: Rules) -> list[str]:
    """The names of the tensors that one of ours is elsewhere, in the order of their rows."""
    for pattern, replacement in rules:
        if re.search(pattern, ours):
            name = re.sub(pattern, replacement, ours, count=1)
            head, _, rest = name.partition("{")
            parts, _, tail = rest.partition("}")
            return [head + part + tail for part in parts.split(",")]
    raise KeyError(ours)


def to_theirs(state: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Our tensors under their names."""
    theirs: dict[str, Tensor] = {}
    for ours, tensor in state.items():
        names = their_names(ours, rules)
        theirs |= {name: part.contiguous() for name, part in zip(names, tensor.chunk(len(names)), strict=True)}
    return theirs


def from_theirs(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """The tensors named as in `ours`, out of theirs, all of which must be there."""
    return {name: torch.cat([theirs[part] for part in their_names(name, rules)]) for name in ours}
