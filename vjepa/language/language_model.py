"""A frozen language model that reads a constant prompt once, then visual tokens, and is asked for an answer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicCache

IGNORED = -100
KeysAndValues = list[tuple[Tensor, Tensor]]


class FrozenLanguageModel:
    """Loss and greedy answers for `prompt + visual tokens`; gradients reach the visual tokens, no weight of the model.

    The answer begins right after the last visual token, so a sample costs V + A - 1 tokens; keys and values of a prompt
    are computed once and shared by every sample that follows it.

    Args:
        model: a causal language model of `transformers`; it is frozen in place.
        tokenizer: its tokenizer.
        end: id of the token that ends an answer.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, end: int) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer, self.end = tokenizer, end
        self._prompts: dict[str, KeysAndValues] = {}

    @property
    def width(self) -> int:
        """Features of a token."""
        return self.model.config.hidden_size

    def word_embeddings(self, texts: Sequence[str]) -> Tensor:
        """The embeddings of every different token of the texts, `float [K, W]`."""
        words = sorted({word for row in self.tokenizer([" " + text for text in texts]).input_ids for word in row})
        return self.model.get_input_embeddings().weight[torch.tensor(words)]

    def encode_answers(self, answers: Sequence[str]) -> Tensor:
        """Token ids with the end token, padded on the right with -100: `int64 [B, A]`."""
        ids = [[*self.tokenizer(" " + answer).input_ids, self.end] for answer in answers]
        return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in ids], True, IGNORED)

    def loss(self, prompt: str, visual: Tensor, answers: Sequence[str]) -> Tensor:
        """Mean cross-entropy of the answers' tokens.

        Args:
            prompt: text that every sample of the batch begins with.
            visual: `float [B, V, W]`.
            answers: B texts.
        """
        labels = self.encode_answers(answers)
        words = self.model.get_input_embeddings()(labels[:, :-1].clamp_min(0))
        hidden = self._hidden(torch.cat([visual, words], 1), self._cache(prompt, len(visual)))
        asked = labels != IGNORED  # logits over the whole vocabulary are costly: only where an answer's token is due
        logits = self.model.get_output_embeddings()(hidden[:, visual.shape[1] - 1 :][asked])
        return F.cross_entropy(logits, labels[asked])

    @torch.inference_mode()
    def answer(self, prompt: str, visual: Tensor, max_tokens: int) -> list[str]:
        """Greedy answers of at most `max_tokens` tokens, to the end token: B texts without surrounding blanks."""
        cache = self._cache(prompt, len(visual))
        inputs, words = visual, []
        finished = torch.zeros(len(visual), dtype=torch.bool)
        for _ in range(max_tokens):
            hidden = self._hidden(inputs, cache)
            word = self.model.get_output_embeddings()(hidden[:, -1]).argmax(-1)
            finished |= word == self.end
            words.append(word.masked_fill(finished, self.end))
            if finished.all():
                break
            inputs = self.model.get_input_embeddings()(word).unsqueeze(1)
        texts = self.tokenizer.batch_decode(torch.stack(words, 1), skip_special_tokens=True)
        return [text.strip() for text in texts]

    def _hidden(self, inputs: Tensor, cache: DynamicCache) -> Tensor:
        return self.model.base_model(inputs_embeds=inputs, past_key_values=cache, use_cache=True).last_hidden_state

    def _cache(self, prompt: str, batch: int) -> DynamicCache:
        """The prompt's keys and values, repeated for a batch. Nothing in them learns: no gradient is lost."""
        if prompt not in self._prompts:
            ids = torch.tensor([self.tokenizer(prompt).input_ids])
            with torch.no_grad():
                read = self.model.base_model(input_ids=ids, use_cache=True).past_key_values
            self._prompts[prompt] = [(layer.keys, layer.values) for layer in read.layers]
        cache = DynamicCache()
        for number, (keys, values) in enumerate(self._prompts[prompt]):
            cache.update(keys.expand(batch, -1, -1, -1), values.expand(batch, -1, -1, -1), number)
        return cache
