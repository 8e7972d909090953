# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The page of text: what comes next after a prompt, iteration by iteration, and the text that a model writes at some depth."""

import html

import torch

from hyperset_lab.demo.descent import descend
from hyperset_lab.demo.pictures import count, energy_chart, energy_words, share_chart


SHOWN = 10  # of the next tokens
LENGTH = 120  # of what is written, in tokens
VISIBLE = {"\n": "↵", "\t": "→", " ": "␣", "\r": "←"}
EXAMPLE = "MENENIUS:\nWhat "


class Texts:
    """What the page of text does, apart from Gradio. What is watched is a `dict` of the `descent` and its tokens' `labels`."""

    def __init__(self, model, tokenizer):
        self.model, self.tokenizer = model, tokenizer

    def ids(self, prompt: str, room: int = 0) -> torch.Tensor:
        """The last tokens of a prompt that the model has positions for, beside `room` more."""
        ids = self.tokenizer(prompt, return_tensors="pt")["input_ids"]
        if self.model.config.position_embedding_type != "rotary":
            ids = ids[:, -max(1, self.model.config.max_position_embeddings - room) :]
        return ids

    def read(self, prompt: str) -> dict | None:
        """A prompt, watched: the likeliest next tokens at every depth; nothing where there is no prompt."""
        if not prompt:
            return None
        ids = self.ids(prompt)
        if not ids.shape[1]:
            raise ValueError("The tokenizer of this model knows nothing of the prompt.")
        descent = descend(self.model, input_ids=ids)
        descent.probabilities = descent.probabilities[:, -1]  # of the next token
        order = descent.probabilities.max(axis=0).argsort()[::-1][:SHOWN]
        descent.probabilities = descent.probabilities[:, order]
        return {"descent": descent, "labels": [visible(self.tokenizer.decode([int(index)])) for index in order]}

    def write(self, prompt: str, num_iterations: int) -> str:
        """The prompt and what the model writes after it with so many iterations. The same prompt gives the same text."""
        config, length = self.model.config, LENGTH
        if config.position_embedding_type != "rotary":
            length = min(LENGTH, max(1, config.max_position_embeddings // 2))
        ids = self.ids(prompt or EXAMPLE, room=length)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            written = self.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                num_iterations=int(num_iterations),
                max_new_tokens=length,
                do_sample=True,
                top_k=20,
                pad_token_id=self.tokenizer.pad_token_id or 0,
            )
        return (prompt or EXAMPLE) + self.tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True)

    def show(self, watched: dict | None, iteration: int) -> str:
        """The view at one iteration."""
        if watched is None:
            return '<p class="empty">Type the beginning of a text, and see what may come next.</p>'
        descent, labels = watched["descent"], watched["labels"]
        shares = descent.probabilities[iteration - 1]
        best = int(shares.argmax())
        bars = "".join(
            f'<div class="{"top" if index == best else ""}" title="{share:.1%}">'
            f'<span style="height:{max(share, 0) * 68:.0f}px"></span>{html.escape(labels[index])}</div>'
            for index, share in enumerate(shares)
        )
        big = html.escape(labels[best])
        words = f"next, {shares[best]:.0%} sure after {count(iteration)}<br>{energy_words(descent, iteration)}"
        return (
            f'<div class="answer"><span class="big" data-answer="{big}">{big}</span>'
            f'<span class="note">{words}</span></div><div class="bars">{bars}</div>'
            + share_chart(descent, iteration, labels, "Probability of the next token", "")
            + energy_chart(descent, iteration)
        )


def visible(token: str) -> str:
    """A token as a label: white space has a sign, and what is empty too."""
    return "".join(VISIBLE.get(character, character) for character in token) or "∅"
