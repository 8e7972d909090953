# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The page of text: what comes next after a prompt, iteration by iteration, and the text that a model writes at some depth."""

import html

import torch

from hyperset_lab.demo.descent import descend
from hyperset_lab.demo.pictures import count, energy_chart, energy_words, share_chart


SHOWN = 10  # of the next tokens
LENGTH = 120  # of what is written, in tokens
VISIBLE = {"\n": "↵", "\t": "→", " ": "␣", "\r": "←"}
EXAMPLE = "ROMEO:\nWhat say you, my l"


class Texts:
    """What the page of text does, apart from Gradio. What is watched is a `dict` of the `descent` and its tokens' `labels`."""

    def __init__(self, model, tokenizer):
        self.model, self.tokenizer = model, tokenizer
        self.longest = model.config.max_position_embeddings  # in training

    def ids(self, prompt: str) -> torch.Tensor:
        """The tokens of a prompt, `(1, length)`."""
        ids = self.tokenizer(prompt, return_tensors="pt")["input_ids"]
        if not ids.shape[1]:
            raise ValueError("The tokenizer of this model knows nothing of the prompt.")
        return ids

    def read(self, prompt: str) -> dict | None:
        """A prompt, watched: the likeliest next tokens at every depth; nothing where there is no prompt."""
        if not prompt:
            return None
        ids = self.ids(prompt)[:, -self.longest :]
        descent = descend(self.model, input_ids=ids)
        descent.probabilities = descent.probabilities[:, -1]  # of the next token
        order = descent.probabilities.max(axis=0).argsort()[::-1][:SHOWN]
        descent.probabilities = descent.probabilities[:, order]
        return {"descent": descent, "labels": [visible(self.tokenizer.decode([int(index)])) for index in order]}

    def write(self, prompt: str, num_iterations: int) -> str:
        """
        The prompt and what the model writes after it with so many iterations. The same prompt gives the same text. A text that
        is longer than those of the training is written in parts: the model reads the end of the text before each.
        """
        ids = text = self.ids(prompt or EXAMPLE)
        part, end = max(1, self.longest // 2), ids.shape[1] + LENGTH
        with torch.random.fork_rng():
            torch.manual_seed(0)
            while text.shape[1] < end:
                seen = text[:, -max(1, self.longest - part) :]
                written = self.model.generate(
                    seen,
                    attention_mask=torch.ones_like(seen),
                    num_iterations=int(num_iterations),
                    max_new_tokens=min(part, end - text.shape[1]),
                    do_sample=True,
                    top_k=20,
                    pad_token_id=self.tokenizer.pad_token_id or 0,
                )[:, seen.shape[1] :]
                text = torch.cat((text, written), dim=1)
                if written.shape[1] < part:  # the model has ended the text, or all is written
                    break
        return (prompt or EXAMPLE) + self.tokenizer.decode(text[0, ids.shape[1] :], skip_special_tokens=True)

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
        words = f"comes next, {shares[best]:.0%} sure after {count(iteration)}<br>{energy_words(descent, iteration)}"
        return (
            f'<div class="answer"><span class="big" data-answer="{big}">{big}</span>'
            f'<span class="note">{words}</span></div><div class="bars">{bars}</div>'
            + share_chart(descent, iteration, labels, "Probability of the next token", "")
            + energy_chart(descent, iteration)
        )


def visible(token: str) -> str:
    """A token as a label: white space has a sign, and what is empty too."""
    return "".join(VISIBLE.get(character, character) for character in token) or "∅"
