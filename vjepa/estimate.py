"""What a training takes, found before anything is spent: one pass of its real objective on tensors without numbers.

torch's fake tensors have shapes, types and lifetimes and no memory, so a pass of a billion weights runs on any machine
and every tensor that it makes is counted while it lives. (torch has a tracker of its own, but it refuses frozen
weights, as the teacher has; its FlopCounterMode keeps what is computed again for the backward pass alive.)
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from vjepa.checkpoints.encoder import build_encoder
from vjepa.config import EncoderConfig, EngineConfig, PosttrainConfig, PretrainConfig
from vjepa.nn.blocks import Block, BlockStack
from vjepa.posttraining.posttrain import ActionObjective
from vjepa.posttraining.world_model import WorldModel
from vjepa.pretraining.masks import sample_masks
from vjepa.pretraining.phases import Phase, phases_of
from vjepa.pretraining.pretrain import new_objective, new_predictor
from vjepa.training.parallel import Share, World

BYTES = 4  # weights, gradients and the optimizer's moments are float32 in any precision
MOMENTS = 2  # of AdamW, for each weight
COPIES = 2  # of what learns, in the steps that are logged (`Run._step_with_norms`)
DRAWS = 16
"""Draws of masks, of which the one with most context counts."""
HAND = 7
"""Width of states and actions where no data say another."""

aten = torch.ops.aten
CPU_ATTENTION: dict[Any, Callable[..., int]] = {  # torch has no formula for those of the CPU
    aten._scaled_dot_product_flash_attention_for_cpu: lambda *given, **_: sdpa_flop_count(
        *(x.shape for x in given[:3])
    ),
    aten._scaled_dot_product_flash_attention_for_cpu_backward: lambda *given, **_: sdpa_backward_flop_count(
        *(x.shape for x in given[:4])
    ),
}


class Meter(TorchDispatchMode):
    """Counts what is computed while it is entered, and the bytes of the tensors that are made and still live.

    Attributes:
        now: bytes at the moment.
        peak: the most that they were.
        flops: floating-point operations of products, convolutions and attention.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = self.flops = 0
        self._alive: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count."""
        out = func(*args, **(kwargs or {}))
        kind = func._overloadpacket
        if kind in CPU_ATTENTION:
            self.flops += CPU_ATTENTION[kind](*args)
        elif kind in flop_registry:
            self.flops += flop_registry[kind](*args, **(kwargs or {}), out_val=out)
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._note(leaf.untyped_storage())
        return out

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._alive:
            self.now += size
            self.peak = max(self.peak, self.now)
            self._alive[key] = weakref.ref(storage, lambda _: self._gone(key, size))

    def _gone(self, key: int, size: int) -> None:
        del self._alive[key]
        self.now -= size


@dataclass(frozen=True)
class Pass:
    """What one pass of a process measures.

    Attributes:
        activations: bytes at most of clips and activations, and of gradients on their way to where they are kept.
        flops: floating-point operations, backward pass included.
    """

    activations: int
    flops: int


def measured_pass(objective: nn.Module, inputs: Callable[[], tuple[Any, ...]], engine: EngineConfig) -> Pass:
    """One forward and backward pass, beside gradients that are there already, as those of earlier passes are.

    Args:
        objective: on torch's meta device; its forward pass gives the loss, or terms of it first.
        inputs: makes what it takes, without numbers.
        engine: precision and recomputation.
    """
    for module in objective.modules():
        if isinstance(module, BlockStack):
            module.recompute = engine.recompute
    with FakeTensorMode(allow_non_fake_inputs=True), Meter() as meter:
        objective.to_empty(device="cpu")
        for parameter in objective.parameters():
            parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
        held = meter.now
        given = inputs()
        with torch.autocast("cpu", torch.bfloat16, enabled=engine.precision == "bf16"):
            terms = objective(*given)
        loss = sum(term for term in terms if term is not None and term.ndim == 0)
        loss.backward()
    return Pass(meter.peak - held, meter.flops)


@dataclass(frozen=True)
class Estimate:
    """What a training, or a phase of one, takes of each process.

    Attributes:
        name: of the training.
        parameters: of each network.
        learned: parameters with a gradient.
        frozen: parameters without, as the teacher's, that are parted like those.
        tokens: of a clip.
        steps: of the phase.
        batch: clips of a step, over all processes.
        share: of a process.
        shards: processes that share the weights between them (FSDP); 1: each has all.
        whole: parameters that each process holds whole nevertheless.
        measured: one pass.
    """

    name: str
    parameters: dict[str, int]
    learned: int
    frozen: int
    tokens: int
    steps: int
    batch: int
    share: Share
    shards: int
    whole: int
    measured: Pass

    @property
    def weights(self) -> int:
        """Bytes of all weights."""
        return BYTES * (self.learned + self.frozen) // self.shards + BYTES * self.whole

    @property
    def moments(self) -> int:
        """Bytes of the optimizer's moments."""
        return MOMENTS * BYTES * self.learned // self.shards

    @property
    def gradients(self) -> int:
        """Bytes of the gradients at the end of the backward pass."""
        return BYTES * self.learned // self.shards

    @property
    def logging(self) -> int:
        """Bytes that a step that is logged takes for copies, when the activations are gone."""
        return COPIES * BYTES * self.learned // self.shards

    @property
    def memory(self) -> int:
        """Bytes of a process at the peak of a step."""
        return self.weights + self.moments + self.gradients + max(self.measured.activations, self.logging)

    @property
    def flops(self) -> int:
        """Floating-point operations of all steps, over all processes."""
        return self.measured.flops * self.batch // self.share.micro_batch * self.steps


def spread(networks: dict[str, nn.Module], engine: EngineConfig, world: World) -> tuple[int, int]:
    """Over how many processes the weights are parted, and how many parameters are gathered: the two largest blocks."""
    if engine.strategy != "fsdp" or world.size == 1:
        return 1, 0
    blocks = [count(part) for network in networks.values() for part in network.modules() if isinstance(part, Block)]
    return world.size, 2 * max(blocks)


def count(module: nn.Module) -> int:
    """How many parameters it has."""
    return sum(parameter.numel() for parameter in module.parameters())


def estimate_pretraining(encoder: EncoderConfig, config: PretrainConfig, world: World) -> list[Estimate]:
    """Of each phase, the longest first to come; none where there are no steps.

    Raises:
        UserError: a step's clips can't be shared by the processes.
    """
    return [
        _estimate_phase(encoder, config, phase, world) for phase in phases_of(encoder, config, world) if phase.steps
    ]


def _estimate_phase(encoder: EncoderConfig, config: PretrainConfig, phase: Phase, world: World) -> Estimate:
    with torch.device("meta"):
        student, teacher = build_encoder(encoder), build_encoder(encoder).requires_grad_(False)
        predictor = new_predictor(encoder, config)
    networks: dict[str, nn.Module] = {"encoder": student, "predictor": predictor}
    side = phase.image_size // encoder.patch
    grid = (phase.frames // encoder.tubelet, side, side)
    clips, tokens = phase.share.micro_batch, grid[0] * grid[1] * grid[2]
    rng = np.random.default_rng(0)
    drawn = [[sample_masks(grid, mask, phase.mask_batch, rng) for mask in config.masks] for _ in range(DRAWS)]
    largest = max(drawn, key=lambda masks: sum(context.shape[1] for context, _ in masks))

    def inputs() -> tuple[Any, ...]:
        video = [torch.empty(clips, 3, phase.frames, phase.image_size, phase.image_size) for _ in range(2)]
        ids = [[torch.zeros(clips, part.shape[1], dtype=torch.int64) for part in pair] for pair in largest]
        return (*video, ids)

    objective = new_objective(student, teacher, predictor, config)
    return Estimate(
        f"pretrain, {phase.name}: {phase.frames} frames, {phase.image_size} px",
        {name: count(network) for name, network in networks.items()},
        count(student) + count(predictor),
        count(teacher),
        tokens,
        phase.steps,
        config.batch_size,
        phase.share,
        *spread(networks, config.engine, world),
        measured_pass(objective, inputs, config.engine),
    )


def estimate_posttraining(
    encoder: EncoderConfig, config: PosttrainConfig, world: World, states: int = HAND, actions: int = HAND
) -> Estimate:
    """Of the world model, whose encoder lies beside it, frozen; the latents of the data are not in it.

    Raises:
        UserError: a step's windows can't be shared by the processes.
    """
    share = Share.of(config.batch_size, world, config.engine)
    with torch.device("meta"):
        frozen = build_encoder(encoder).requires_grad_(False)
        model = WorldModel(
            frozen, config.pool, actions, states, config.width, config.depth, config.heads, config.frames - 1
        )
    tokens = model.tokens[0] * model.tokens[1]

    def inputs() -> tuple[Any, ...]:
        clips, frames = share.micro_batch, config.frames
        scales = (torch.empty(width) for width in (actions, states, states))
        model.action_scale, model.state_mean, model.state_scale = scales
        latents = torch.empty(clips, frames, tokens, encoder.width)
        return latents, torch.empty(clips, frames - 1, actions), torch.empty(clips, frames, states)

    shards, gathered = spread({"predictor": model.predictor}, config.engine, world)
    return Estimate(
        f"posttrain: {config.frames} frames of {tokens} tokens",
        {"action-conditioned predictor": count(model.predictor)},
        count(model.predictor),
        0,
        config.frames * tokens,
        config.steps,
        config.batch_size,
        share,
        shards,
        count(frozen) + gathered,
        measured_pass(ActionObjective(model, config.rollout), inputs, config.engine),
    )
