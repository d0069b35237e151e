"""The projector: a clip's tokens to the few tokens that a language model reads."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Projector(nn.Module):
    """Each token to a few numbers, all of them joined in the grid's order, and a two-layer MLP to the visual tokens.

    Joining keeps time and place of every number, so that the MLP can subtract the beginning of the clip from its end:
    averaging over time would leave nothing of the direction in which something moved.

    Args:
        tokens: tokens of a clip, N.
        width: features of a token, D.
        reduced: numbers kept of each token.
        hidden: width inside the MLP.
        visual_tokens: tokens for the language model, V.
        output_width: width of the language model, W.
    """

    token_mean: Tensor
    token_scale: Tensor

    def __init__(
        self, tokens: int, width: int, reduced: int, hidden: int, visual_tokens: int, output_width: int
    ) -> None:
        super().__init__()
        self.visual_tokens = visual_tokens
        self.sizes = {
            "tokens": tokens,
            "width": width,
            "reduced": reduced,
            "hidden": hidden,
            "visual_tokens": visual_tokens,
            "output_width": output_width,
        }
        self.register_buffer("token_mean", torch.zeros(tokens, width))
        self.register_buffer("token_scale", torch.ones(width))
        self.reduce = nn.Linear(width, reduced)
        self.fc1 = nn.Linear(tokens * reduced, hidden)
        self.fc2 = nn.Linear(hidden, visual_tokens * output_width)
        self.norm = nn.LayerNorm(output_width)

    @torch.no_grad()
    def start_from_words(self, words: Tensor) -> None:
        """Begin with visual tokens that are mixtures of words, which the language model can tell apart at once.

        Each hidden unit starts as one of `words`, embeddings `float [K, W]`, in every visual token; their deviation
        becomes that of the output.
        """
        units = words[torch.arange(self.fc1.out_features) % len(words)]
        self.fc2.weight.copy_(units.T.repeat(self.visual_tokens, 1))
        self.fc2.bias.zero_()
        self.norm.weight.fill_(float(words.std()))

    @torch.no_grad()
    def fit_statistics(self, tokens: Tensor) -> None:
        """Take the normalisation from the tokens of training clips, `[M, N, D]`."""
        self.token_mean.copy_(tokens.mean(0))
        self.token_scale.copy_((tokens - self.token_mean).std((0, 1)).clamp_min(1e-4))

    def forward(self, tokens: Tensor) -> Tensor:
        """`[B, N, D] -> [B, V, W]`."""
        x = self.reduce((tokens - self.token_mean) / self.token_scale).flatten(1)
        x = self.fc2(F.gelu(self.fc1(x)))
        return self.norm(x.unflatten(1, (self.visual_tokens, -1)))
