"""The predictor of V-JEPA 2-AC: from past latents, actions and states to the latents of the next frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vjepa.nn.blocks import LAYER_NORM_EPS, Block, BlockStack, initialise
from vjepa.nn.rope import grid_positions, rope_tables


def block_causal_mask(steps: int, tokens: int, device: torch.device | None = None) -> Tensor:
    """Bool `[steps * tokens, steps * tokens]`: every token of a step sees all tokens of that and of earlier steps."""
    step = torch.arange(steps * tokens, device=device) // tokens
    return step.unsqueeze(1) >= step.unsqueeze(0)


class ActionPredictor(BlockStack):
    """A block-causal transformer over [action, state, patches] of each time step (paper, sec. 3.1).

    Beyond the paper, for predictors far below its 300 M parameters (`shortcuts`): the action and the state are also
    added to every patch token, and the output is a change of the input latents that starts at none.

    Args:
        latent_width: features of a latent token, D.
        grid: rows and columns of latent tokens of a frame.
        actions: width of an action, A.
        states: width of a state, S.
        width: features inside the predictor.
        depth: blocks.
        heads: attention heads.
        mlp_ratio: hidden over input width of a block's MLP.
        shortcuts: see above; False: as in the paper and its released weights.
        extrinsics: width of a camera pose whose embedding the released weights hold and never use; 0: none.
    """

    def __init__(
        self,
        latent_width: int,
        grid: tuple[int, int],
        actions: int,
        states: int,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float = 4.0,
        shortcuts: bool = True,
        extrinsics: int = 0,
    ) -> None:
        super().__init__()
        self.shortcuts, self.extrinsics = shortcuts, extrinsics
        self.latent_width, self.grid, self.actions, self.states = latent_width, grid, actions, states
        self.width, self.depth, self.heads, self.mlp_ratio = width, depth, heads, mlp_ratio
        self.predictor_embed = nn.Linear(latent_width, width)
        self.action_encoder = nn.Linear(actions, width)
        self.state_encoder = nn.Linear(states, width)
        if extrinsics:
            self.extrinsics_encoder = nn.Linear(extrinsics, width)
        self.predictor_blocks = nn.ModuleList(Block(width, heads, mlp_ratio) for _ in range(depth))
        self.predictor_norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.predictor_proj = nn.Linear(width, latent_width)
        initialise(self, self.predictor_blocks)
        if shortcuts:
            nn.init.zeros_(self.predictor_proj.weight)

    def forward(self, latents: Tensor, actions: Tensor, states: Tensor) -> Tensor:
        """Predict the next latents at every step.

        Args:
            latents: `[B, T, N, D]`, N = rows * columns.
            actions: `[B, T, A]`, the action taken at each step.
            states: `[B, T, S]`, the state at each step.

        Returns:
            `[B, T, N, D]`: at step t the latents of step t + 1, from steps 0 to t alone.
        """
        _, steps, tokens, _ = latents.shape
        action = self.action_encoder(actions).unsqueeze(2)
        state = self.state_encoder(states).unsqueeze(2)
        patches = self.predictor_embed(latents)
        if self.shortcuts:
            patches = patches + action + state
        x = torch.cat([action, state, patches], dim=2).flatten(1, 2)
        rope = rope_tables(self.positions(steps, latents.device), self.width // self.heads)
        mask = block_causal_mask(steps, tokens + 2, latents.device)
        for block in self.predictor_blocks:
            x = self.run_block(block, x, rope, mask)
        x = x.unflatten(1, (steps, tokens + 2))[:, :, 2:]
        predicted = self.predictor_proj(self.predictor_norm(x))
        return latents + predicted if self.shortcuts else predicted

    def positions(self, steps: int, device: torch.device) -> Tensor:
        """`[steps * (2 + N), 3]`; action and state stand at row and column 0, so that only time rotates them."""
        rows, columns = self.grid
        patches = grid_positions(steps, rows, columns, device).reshape(steps, rows * columns, 3)
        conditioning = patches[:, :1] * torch.tensor([1, 0, 0], device=device)
        return torch.cat([conditioning, conditioning, patches], dim=1).flatten(0, 1)
