"""The world model behind two ONNX graphs: encode a frame, predict the next latents, roll out, measure the energy."""

from __future__ import annotations

import numpy as np

from vjepa.imaging import square_resize
from vjepa.planning.bundle import Bundle


def energy(predicted: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Mean absolute difference of predicted and goal latents: `[..., N, D]`, `[N, D]` -> `[...]`; 0 at the goal."""
    return np.abs(predicted - goal).mean(axis=(-2, -1))


class WorldModel:
    """The encoder and the action-conditioned predictor of a bundle.

    Attributes:
        planned: `int64 [P]`, columns of the action that are searched.
        center, reach: `float64 [P]`; a planned value is center + reach x what a planner proposes. Displacements in m
            are proposed as they are (0 and 1); of other actions, -1 to 1 spans the range that the data have.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.planned = np.array(bundle.planned)
        low, high = bundle.action_low[self.planned], bundle.action_high[self.planned]
        self.center = np.zeros(len(self.planned)) if bundle.in_metres else (low.astype(float) + high) / 2
        self.reach = np.ones(len(self.planned)) if bundle.in_metres else (high.astype(float) - low) / 2

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Latents of frames, each encoded alone: `uint8 [B, H, W, 3]` of any size -> `float32 [B, N, D]`."""
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
            raise ValueError(f"expected RGB frames uint8 [B, H, W, 3], not {frames.dtype} {frames.shape}")
        return self.bundle.encoder.run(["latents"], {"frames": square_resize(frames, self.bundle.image_size)})[0]

    def step(self, latents: np.ndarray, actions: np.ndarray, states: np.ndarray) -> np.ndarray:
        """Latents after the last action.

        Args:
            latents: `float32 [B, T, N, D]`, oldest first; the last `max_context` steps of it are used.
            actions: `float32 [B, T, A]`, the action taken at each of these steps.
            states: `float32 [B, T, S]`.

        Returns:
            `float32 [B, N, D]`.
        """
        inputs = {"latents": latents, "actions": actions, "states": states}
        recent = {name: value[:, -self.bundle.max_context :].astype(np.float32) for name, value in inputs.items()}
        return self.bundle.predictor.run(["next_latents"], recent)[0]

    def rollout(self, latents: np.ndarray, state: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Latents after every action of each sequence, predicted from predictions.

        Args:
            latents: `float32 [N, D]`, of the frame in view.
            state: `float32 [S]`, the robot's state in that frame.
            actions: `float32 [B, H, A]`, B sequences of H actions.

        Returns:
            `float32 [B, H, N, D]`.
        """
        names = self.bundle.state_names
        if state.shape != (len(names),):
            raise ValueError(f"expected a state of {', '.join(names)}, not of shape {state.shape}")
        batch, horizon = actions.shape[:2]
        seen = np.broadcast_to(latents, (batch, 1, *latents.shape))
        states = np.broadcast_to(state, (batch, 1, *state.shape))
        for step in range(1, horizon + 1):
            if step > 1:
                states = np.concatenate([states, self.move(states[:, -1], actions[:, step - 2])[:, None]], axis=1)
            seen = np.concatenate([seen, self.step(seen, actions[:, :step], states)[:, None]], axis=1)
        return seen[:, 1:]

    def repeat(self, latents: np.ndarray, state: np.ndarray, actions: np.ndarray, times: int) -> np.ndarray:
        """Latents after the same action several times: in one step where the predictor has learned steps so long.

        Args:
            latents: `float32 [N, D]`, of the frame in view.
            state: `float32 [S]`, the robot's state in that frame.
            actions: `float32 [B, A]`.
            times: how often each is done.

        Returns:
            `float32 [B, N, D]`.
        """
        if times <= self.bundle.max_stride:
            return self.rollout(latents, state, times * actions[:, None])[:, 0]
        return self.rollout(latents, state, np.repeat(actions[:, None], times, axis=1))[:, -1]

    def move(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """States after planned actions, `[B, S]`, `[B, A]` -> `[B, S]`: displacements add, the gripper ends in 0..1.

        What a recorded command does to the state is not known: there the state stays as it is.
        """
        if not self.bundle.derived:
            return states
        moved = states + actions
        if "gripper" in self.bundle.state_names:
            gripper = self.bundle.state_names.index("gripper")
            moved[:, gripper] = moved[:, gripper].clip(0, 1)
        return moved

    def actions_of(self, moves: np.ndarray) -> np.ndarray:
        """Whole actions from proposals for their planned columns: `[..., P] -> float32 [..., A]`, all others zero."""
        actions = np.zeros((*moves.shape[:-1], len(self.bundle.action_names)), np.float32)
        actions[..., self.planned] = self.center + self.reach * moves
        return actions

    def proposal_of(self, action: np.ndarray) -> np.ndarray:
        """What a planner would propose for an action, `float32 [A] -> float64 [P]`: the other way of `actions_of`."""
        return (action[self.planned].astype(np.float64) - self.center) / self.reach
