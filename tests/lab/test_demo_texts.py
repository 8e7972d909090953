# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""The demonstration's page of text, without a browser."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from support.builders import make_model
from transformers import PreTrainedTokenizerFast


@pytest.fixture(scope="module")
def page():
    texts = pytest.importorskip("hyperset_lab.demo.texts")
    characters = sorted(set(" \nabcdefgh<"))
    backend = Tokenizer(models.WordLevel({character: index for index, character in enumerate(characters)}, "a"))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Split("", "isolated"), decoders.Fuse()
    model = make_model("causal-lm", vocab_size=len(characters), max_position_embeddings=160, initializer_range=0.3)
    return texts.Texts(model, PreTrainedTokenizerFast(tokenizer_object=backend))


def test_the_next_token_at_every_depth(page):
    watched = page.read("abc ")
    ids = page.tokenizer("abc ", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        for depth in (1, 3, 12):
            shares = page.model(ids, num_iterations=depth).logits[0, -1].softmax(dim=-1)
            found = dict(zip(watched["labels"], watched["descent"].probabilities[depth - 1], strict=True))
            for label, share in found.items():
                token = {"␣": " ", "↵": "\n"}.get(label, label)
                assert share == pytest.approx(shares[page.tokenizer.convert_tokens_to_ids(token)].item(), abs=1e-5)
    view = page.show(watched, 3)
    assert "sure after 3 iterations" in view and 'data-chart="energy"' in view and 'data-chart="probability"' in view
    assert "<</div>" not in view  # a token that is a sign of HTML is escaped
    assert page.read("") is None and "Type the beginning" in page.show(None, 1)


def test_a_text_is_written_at_a_depth(page):
    first, again, other = page.write("abc", 2), page.write("abc", 2), page.write("abc", 9)
    assert first == again and first.startswith("abc") and len(first) == 3 + 120
    assert other != first


def test_a_long_prompt_is_cut_to_the_positions(page):
    assert page.read("ab" * 200)["descent"].depth == 12
    assert (page.read("ab" * 200)["descent"].energies == page.read("ab" * 80)["descent"].energies).all()
    assert len(page.write("ab" * 200, 1)) == 400 + 120
