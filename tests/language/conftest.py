"""A language model of two tiny layers with a vocabulary of its own: the real kind, no download."""

import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from vjepa.config import AlignConfig
from vjepa.language.language_model import FrozenLanguageModel
from vjepa.language.questions import QUESTIONS
from vjepa.nn.encoder import VisionTransformer

ANSWERS = "redden darken left right back forward down up and before after"


@pytest.fixture
def model():
    text = f"Video: {' '.join(QUESTIONS.values())} {ANSWERS}"
    split = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Punctuation()]
    )
    words = dict.fromkeys(["<end>", "<unknown>", "\n", *(word for word, _ in split.pre_tokenize_str(text))])
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = split
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unknown>")
    torch.manual_seed(0)
    llama = LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.2, eos_token_id=0,
    )  # fmt: skip
    return FrozenLanguageModel(LlamaForCausalLM(llama), fast, end=0)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    encoder = VisionTransformer(image_size=16, patch=4, tubelet=2, width=24, depth=1, heads=2, mlp_ratio=2.0)
    return encoder.eval().requires_grad_(False)


@pytest.fixture
def config():
    return AlignConfig(
        language_model="none", frames=4, stride=1, visual_tokens=3, batch_size=8, steps=40, learning_rate=3e-3,
        warmup=4, min_move=0.05, questions_per_kind=12,
    )  # fmt: skip
