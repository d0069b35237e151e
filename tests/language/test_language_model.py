"""The cached prompt changes nothing but the time, and the language model never learns."""

import pytest
import torch

PROMPT = "Question : Does the robot ' s hand move left or right ?"


@pytest.fixture
def visual():
    return torch.randn(3, 4, 32, generator=torch.Generator().manual_seed(1))


def reference_loss(model, prompt, visual, answers):
    """Prompt, visual tokens and answer of one sample after another, read as one text without any cache."""
    embed = model.model.get_input_embeddings()
    losses = []
    for tokens, answer in zip(visual, answers, strict=True):
        prompt_ids = torch.tensor(model.tokenizer(prompt).input_ids)
        answer_ids = torch.tensor([*model.tokenizer(answer).input_ids, model.end])
        text = torch.cat([embed(prompt_ids), tokens, embed(answer_ids)]).unsqueeze(0)
        chances = model.model(inputs_embeds=text).logits[0].log_softmax(-1)
        begin = len(prompt_ids) + len(tokens)
        for i, word in enumerate(answer_ids):
            losses.append(-chances[begin + i - 1, word])
    return torch.stack(losses).mean()


def test_the_loss_with_a_cached_prompt_is_that_of_the_whole_text(model, visual):
    answers = ["left", "darken", "right and up"]  # of different lengths
    mine, theirs = visual.clone().requires_grad_(), visual.clone().requires_grad_()
    expected = reference_loss(model, PROMPT, theirs, answers)
    for _ in range(2):  # the second time from the cache
        loss = model.loss(PROMPT, mine, answers)
        torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(mine.grad, theirs.grad)


def test_prompts_are_not_mixed_up(model, visual):
    answers = ["left", "right", "left"]
    first = model.loss(PROMPT, visual, answers)
    other = model.loss("Question : the robot ' s task ?", visual, answers)
    torch.testing.assert_close(model.loss(PROMPT, visual, answers), first)
    assert not torch.allclose(first, other)


def test_answers_are_the_likeliest_words_of_the_whole_text(model, visual):
    embed = model.model.get_input_embeddings()
    answers = model.answer(PROMPT, visual, max_tokens=5)
    for tokens, answer in zip(visual, answers, strict=True):
        text = torch.cat([embed(torch.tensor(model.tokenizer(PROMPT).input_ids)), tokens])
        words = []
        for _ in range(5):
            word = model.model(inputs_embeds=text.unsqueeze(0)).logits[0, -1].argmax()
            if word == model.end:
                break
            words.append(int(word))
            text = torch.cat([text, embed(word).unsqueeze(0)])
        assert answer == model.tokenizer.decode(words, skip_special_tokens=True).strip()


class Script(torch.nn.Module):
    """In place of the read-out: the word of each sample at each call, whatever the input."""

    def __init__(self, words):
        super().__init__()
        self.words = iter(words)

    def forward(self, hidden):
        return torch.nn.functional.one_hot(torch.tensor(next(self.words)), 99)


def test_nothing_follows_the_end_of_an_answer(model, visual):
    left, up, end = model.tokenizer.convert_tokens_to_ids(["left", "up", "<end>"])
    model.model.set_output_embeddings(Script([[left, up, end], [end, up, left], [up, end, left]]))
    assert model.answer(PROMPT, visual, max_tokens=3) == ["left", "up up", ""]


def test_every_weight_is_frozen(model, visual):
    visual.requires_grad_()
    model.loss(PROMPT, visual, ["left"] * 3).backward()
    assert visual.grad.abs().sum() > 0
    assert not any(p.requires_grad or p.grad is not None for p in model.model.parameters())


def test_word_embeddings_hold_each_word_once(model):
    words = model.word_embeddings(["left and up", "right and up"])
    assert words.shape == (4, 32)
