"""The objective is the paper's: L1 on masked tokens, to a teacher that no gradient reaches and that follows slowly."""

import copy
import math
import multiprocessing

import numpy as np
import pytest
import torch

from tests.training.engines import ENGINE
from tests.training.killed import train_until_killed
from vjepa.config import CollapseConfig, EncoderConfig, MaskConfig, PretrainConfig
from vjepa.data.clips import LoadedEpisodes
from vjepa.data.episode import Episode
from vjepa.errors import UserError
from vjepa.nn.encoder import VisionTransformer
from vjepa.nn.predictor import Predictor
from vjepa.nn.rope import grid_positions, rope_tables
from vjepa.pretraining.loss import jepa_loss, target_features
from vjepa.pretraining.pretrain import Pretraining

SHAPE = dict(image_size=16, patch=4, tubelet=2, width=24, depth=2, heads=2, mlp_ratio=2.0)
V_JEPA_2 = dict(tiled_rope=True, levels=[], image_patches=False)
V_JEPA_2_1 = dict(tiled_rope=False, levels=[0, 1], image_patches=True)


@pytest.fixture
def parts():
    torch.manual_seed(0)
    encoder = VisionTransformer(**SHAPE)
    target = VisionTransformer(**SHAPE).requires_grad_(False)
    video = torch.randn(2, 3, 4, 16, 16)
    ids = torch.stack([torch.randperm(32) for _ in range(2)])
    return encoder, target, Predictor(24, 16, 1, 2), video, [(ids[:, :10], ids[:, 10:25]), (ids[:, 20:], ids[:, :5])]


def test_loss_equals_a_token_by_token_reference(parts):
    encoder, target, predictor, video, masks = parts
    loss, _ = jepa_loss(encoder, target, predictor, video, masks)
    per_mask = []
    for context, targets in masks:
        errors = []
        for clip in range(2):
            features = target(video[clip : clip + 1])[0]
            one = slice(clip, clip + 1)
            seen = encoder(video[one], context[one])
            guess = predictor(seen, context[one], targets[one], grid_positions(2, 4, 4))[0]
            for place, token in enumerate(targets[clip]):
                scale = (features[token].var(unbiased=False) + 1e-5).sqrt()
                wanted = (features[token] - features[token].mean()) / scale
                errors.append((guess[place] - wanted).abs().mean())
        per_mask.append(torch.stack(errors).mean())
    assert torch.allclose(loss, torch.stack(per_mask).mean(), atol=1e-5)


def test_the_context_loss_weighs_visible_tokens_by_their_distance_from_the_mask(parts):
    encoder, target, predictor, video, masks = parts
    (context, targets), *_ = masks
    plain, features = jepa_loss(encoder, target, predictor, video, [(context, targets)])
    dense, _ = jepa_loss(encoder, target, predictor, video, [(context, targets)], context_weight=0.5)
    places = grid_positions(2, 4, 4).float()
    guesses = predictor.predict_all(encoder(video, context), context, targets, grid_positions(2, 4, 4))
    errors = []
    for clip in range(2):
        for i, token in enumerate(context[clip]):
            nearest = min(float((places[token] - places[other]).norm()) for other in targets[clip])
            errors.append((guesses[clip, i] - features[clip, token]).abs().mean() / nearest**0.5)
    assert torch.allclose(dense, plain + 0.5 * torch.stack(errors).mean(), atol=1e-5)
    assert dense > plain


def test_deep_supervision_normalises_each_level_for_itself_and_predicts_all_of_them():
    torch.manual_seed(0)
    encoder, target = (VisionTransformer(**SHAPE, levels=[0, 1], tiled_rope=False) for _ in range(2))
    predictor = Predictor(48, 16, 1, 2, levels=2, context_head=True, tiled_rope=False)
    video, ids = torch.randn(2, 3, 4, 16, 16), torch.stack([torch.randperm(32) for _ in range(2)])
    context, targets = ids[:, :10], ids[:, 10:25]
    loss, monitored = jepa_loss(encoder, target, predictor, video, [(context, targets)])

    first, last = (norm(x) for norm, x in zip(target.norms_block, target._run(video, None, (0, 1)), strict=True))
    wanted = torch.cat([torch.nn.functional.layer_norm(x, [24]) for x in (first, last)], dim=-1)
    guess = predictor(encoder.forward_levels(video, context), context, targets, grid_positions(2, 4, 4))
    hidden = torch.stack([clip[i] for clip, i in zip(wanted, targets, strict=True)])
    assert torch.allclose(loss, (guess - hidden).abs().mean(), atol=1e-6)
    assert torch.allclose(monitored, wanted[..., 24:], atol=1e-6), "the monitors watch what the encoder gives"


@pytest.mark.parametrize(
    ("shape", "tokens"), [((3, 16, 24), (2, 4, 6)), ((1, 16, 16), (1, 4, 4)), ((5, 8, 16), (3, 2, 4))]
)
def test_the_loss_takes_clips_of_any_length_and_sides(shape, tokens):
    torch.manual_seed(0)
    encoder, target = (VisionTransformer(**SHAPE) for _ in range(2))
    predictor = Predictor(24, 16, 1, 2)
    video = torch.randn(1, 3, *shape)
    ids = torch.randperm(math.prod(tokens)).unsqueeze(0)
    context, targets = ids[:, :5], ids[:, 5:]
    loss, features = jepa_loss(encoder, target, predictor, video, [(context, targets)])
    guess = predictor(encoder(video, context), context, targets, grid_positions(*tokens))
    assert torch.allclose(loss, (guess - features[:, targets[0]]).abs().mean(), atol=1e-6)


def test_no_gradient_reaches_the_targets_even_of_a_trainable_encoder(parts):
    encoder, _, _, video, _ = parts
    assert all(p.requires_grad for p in encoder.parameters())
    assert not target_features(encoder, video).requires_grad


def test_targets_are_layer_normalised(parts):
    features = target_features(parts[1], parts[3])
    assert torch.allclose(features.mean(-1), torch.zeros(2, 32), atol=1e-5)
    assert torch.allclose(features.std(-1, unbiased=False), torch.ones(2, 32), atol=1e-2)


@pytest.fixture
def training(tmp_path):
    return make_training(tmp_path)


def make_training(folder, switches=V_JEPA_2, workers=0, steps=6):
    rng = np.random.default_rng(0)
    episodes = [
        Episode(
            f"t-{i}",
            "t",
            rng.integers(0, 256, (9, 16, 16, 3), np.uint8),
            np.arange(9) / 8,
            np.zeros((9, 7), "f4"),
            np.zeros((8, 7), "f4"),
        )
        for i in range(4)
    ]
    config = PretrainConfig(
        start=None, predict="latents", episodes_share=1.0,
        frames=4, image_size=16, cooldown_frames=4, stride=2, still_share=0.5,
        dimmest=1.0,
        crop_scale=[0.3, 1.0], crop_aspect=[0.75, 1.35], flip=True, shard_window=1, workers=workers, kept_mb=0,
        batch_size=4, mask_batch=4, cooldown_mask_batch=4, cooldown_micro_batch=0, steps=steps, warmup=1, cooldown=2,
        start_learning_rate=0.0, learning_rate=1e-2, final_learning_rate=1e-4, weight_decay=0.04, ema=[0.8, 0.9],
        predictor_width=16, predictor_depth=1, predictor_heads=2, predictor_mlp_ratio=2.0,
        masks=[MaskConfig(2, 0.3, [0.75, 1.5])], context_weight=0.5, context_head=switches["image_patches"],
        collapse=CollapseConfig(10_000, 0.0, 0.0, 1.0), readout_every=4, log_every=1, checkpoint_every=3,
        keep="last", engine=ENGINE,
    )  # fmt: skip
    return Pretraining(LoadedEpisodes(episodes), EncoderConfig(**SHAPE, **switches), config, 0, folder, "data")


def test_the_target_encoder_is_the_moving_average_of_the_context_encoder(training):
    before = copy.deepcopy(training.target_encoder)
    training.run.advance(training)
    pairs = zip(before.parameters(), training.context_encoder.parameters(), strict=True)
    expected = [0.8 * old + 0.2 * new for old, new in pairs]
    for found, wanted in zip(training.target_encoder.parameters(), expected, strict=True):
        assert torch.allclose(found, wanted, atol=1e-6)
    moved = zip(before.parameters(), training.context_encoder.parameters(), strict=True)
    assert any(not torch.equal(old, new) for old, new in moved)


@pytest.mark.parametrize("switches", [V_JEPA_2, V_JEPA_2_1])
def test_a_killed_pretraining_ends_with_the_networks_of_a_straight_one(switches, tmp_path):
    straight, killed, resumed = (make_training(tmp_path / name, switches) for name in ("straight", "killed", "killed"))
    straight.train()
    train_until_killed(killed.run, killed, at=4)
    for parameter in resumed.target_encoder.parameters():  # what a resumed run must not keep
        parameter.data.zero_()
    resumed.train()
    assert_same_networks(resumed, straight)


def assert_same_networks(first, second):
    for name in ("context_encoder", "target_encoder", "predictor"):
        mine, theirs = getattr(first, name).state_dict(), getattr(second, name).state_dict()
        assert [key for key in mine if not torch.equal(mine[key], theirs[key])] == [], name


def test_a_killed_data_worker_ends_pretraining_which_then_goes_on_as_if_nothing_had_been(tmp_path):
    straight, broken, resumed = (make_training(tmp_path / str(n), workers=n, steps=12) for n in (0, 1, 1))
    straight.train()
    take_step, torch_state = broken.take_step, torch.random.get_rng_state()

    def kill_at_four(step, part):  # what had been read ahead is still used
        if step == 4:
            multiprocessing.active_children()[0].kill()
        return take_step(step, part)

    broken.take_step = kill_at_four
    advice = r"a worker process was killed .*: set pretrain\.workers or pretrain\.kept_mb lower"
    with pytest.raises(UserError, match=advice):
        broken.train()
    assert broken.run.checkpoints.files()
    assert torch.equal(torch.random.get_rng_state(), torch_state), "the loader draws from a generator of its own"
    resumed.train()
    assert_same_networks(resumed, straight)


def test_with_modalities_still_steps_are_images(tmp_path):
    training = make_training(tmp_path, V_JEPA_2_1)
    training.config.still_share = 0.0
    clips = training.batches.of(0)[0]
    training.config.still_share = 1.0
    seen, target, [(context, hidden)] = training.batches.of(0)
    assert seen.shape == target.shape == (8, 3, 1, 16, 16) and len(context) == len(hidden) == 8
    assert torch.equal(seen[:, :, 0], clips[:, :, ::2].transpose(1, 2).flatten(0, 1)), "each tubelet's first frame"
    assert int(context.max()) < 16 and int(hidden.max()) < 16


def test_still_steps_show_every_tubelet_one_frame(training):
    training.config.still_share = 1.0
    for video in training.batches.of(0)[:2]:
        assert torch.equal(video[:, :, 0::2], video[:, :, 1::2])
    training.config.still_share = 0.0
    for video in training.batches.of(0)[:2]:
        assert not torch.equal(video[:, :, 0::2], video[:, :, 1::2])


def test_the_context_is_in_other_light_and_the_targets_are_not(training):
    seen, plain, _ = training.batches.of(0)
    assert torch.equal(seen, plain)
    training.config.dimmest = 0.3
    seen, target, _ = training.batches.of(0)
    assert torch.equal(target, plain)
    spread = seen.std((1, 2, 3, 4)) / target.std((1, 2, 3, 4))
    assert spread.max() < 1.02 and spread.min() < 0.9


def dense(block, x, cos, sin):
    """A block with attention written out over all of the tokens that are given."""
    heads = block.attn.heads
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in block.attn.qkv(block.norm1(x)).chunk(3, -1))
    swap = torch.arange(q.shape[-1]).reshape(-1, 2).flip(1).flatten()
    q, k = (part * cos.unsqueeze(1) + part[..., swap] * sin.unsqueeze(1) for part in (q, k))
    weights = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-1)
    x = x + block.attn.proj((weights @ v).transpose(1, 2).flatten(2))
    return x + block.mlp(block.norm2(x))


def test_a_steps_gradients_equal_those_of_dense_attention_over_the_kept_tokens(parts):
    encoder, target, predictor, video, masks = parts
    torch.nn.init.normal_(predictor.mask_tokens, std=0.5)
    learned = [*encoder.parameters(), *predictor.parameters()]
    fast = torch.autograd.grad(jepa_loss(encoder, target, predictor, video, masks)[0], learned)

    positions, losses = grid_positions(2, 4, 4), []
    for context, hidden in masks:
        every = encoder.patch_embed(video)
        x = torch.stack([tokens[ids] for tokens, ids in zip(every, context, strict=True)])
        for block in encoder.blocks:
            x = dense(block, x, *rope_tables(positions[context], 12))
        tokens = predictor.mask_tokens[0].expand(*hidden.shape, -1)
        x = torch.cat([predictor.predictor_embed(encoder.norm(x)), tokens], dim=1)
        for block in predictor.predictor_blocks:
            x = dense(block, x, *rope_tables(positions[torch.cat([context, hidden], 1)], 8))
        predicted = predictor.predictor_proj(predictor.predictor_norm(x))[:, context.shape[1] :]
        features = target_features(target, video)
        wanted = torch.stack([clip[ids] for clip, ids in zip(features, hidden, strict=True)])
        losses.append((predicted - wanted).abs().mean())
    slow = torch.autograd.grad(torch.stack(losses).mean(), learned)
    for mine, reference in zip(fast, slow, strict=True):
        torch.testing.assert_close(mine, reference, atol=1e-6, rtol=1e-3)


def test_targets_come_from_the_target_encoders_own_clips(parts):
    context, target, predictor, video, masks = parts
    other = torch.randn_like(video)
    _, targets = jepa_loss(context, target, predictor, video, masks, target_video=other)
    assert torch.equal(targets, target_features(target, other))
