# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""sentence-transformers around the text model: embed, fine-tune, save and load."""

import importlib

import pytest
import torch
from datasets import Dataset

from modeling_hyperset import HyperSETModel
from support.builders import make_model
from transformers import BertTokenizer


pytestmark = pytest.mark.slow

sentence_transformers = pytest.importorskip("sentence_transformers")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "fine", "bad", "poor", "film", "book"]
TEXTS = ["good film", "bad", "poor book film"]


@pytest.fixture
def folder(tmp_path) -> str:
    make_model("tokens", vocab_size=len(WORDS)).save_pretrained(tmp_path / "model")
    BertTokenizer(vocab={word: index for index, word in enumerate(WORDS)}).save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_embeddings_are_the_pooled_tokens(folder, pooling):
    """Of a padded batch; sentence-transformers means by itself, and knows nothing of iterations."""
    modules = importlib.import_module("sentence_transformers.sentence_transformer.modules")
    layers = [modules.Transformer(folder), modules.Pooling(32, pooling_mode=pooling)]
    embedder = sentence_transformers.SentenceTransformer(modules=layers, device="cpu")
    embeddings = embedder.encode(TEXTS, batch_size=3, convert_to_tensor=True)
    model, tokenizer = HyperSETModel.from_pretrained(folder), BertTokenizer.from_pretrained(folder)
    for text, embedding in zip(TEXTS, embeddings, strict=True):
        with torch.no_grad():
            tokens = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        torch.testing.assert_close(embedding, tokens.mean(dim=0) if pooling == "mean" else tokens[0])


def test_fine_tuning(folder, tmp_path):
    """Contrastive training brings a pair together, and a folder that was saved embeds as the model did."""
    embedder = sentence_transformers.SentenceTransformer(folder, device="cpu")
    pairs = {"anchor": ["good film", "bad book"] * 4, "positive": ["fine film", "poor book"] * 4}

    def similarity() -> torch.Tensor:
        anchors, positives = (embedder.encode(pairs[name][:2], convert_to_tensor=True) for name in pairs)
        return embedder.similarity(anchors, positives)

    before = similarity()
    arguments = sentence_transformers.SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path / "out"), max_steps=20, learning_rate=1e-2, per_device_train_batch_size=2, use_cpu=True,
        report_to="none", save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    losses = importlib.import_module("sentence_transformers.sentence_transformer.losses")
    sentence_transformers.SentenceTransformerTrainer(
        model=embedder,
        args=arguments,
        train_dataset=Dataset.from_dict(pairs),
        loss=losses.MultipleNegativesRankingLoss(embedder),
    ).train()
    after = similarity()
    margin = [scores.diag().mean() - (scores.sum() - scores.trace()) / 2 for scores in (before, after)]
    assert margin[1] > margin[0] + 0.2
    embedder.save_pretrained(str(tmp_path / "saved"))
    again = sentence_transformers.SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    torch.testing.assert_close(
        again.encode(TEXTS, convert_to_tensor=True), embedder.encode(TEXTS, convert_to_tensor=True)
    )
