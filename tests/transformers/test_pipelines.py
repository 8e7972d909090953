# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""transformers' pipelines, from folders, answer what the models in them compute."""

import pytest
import torch
from PIL import Image

from support.builders import make_model
from transformers import BertTokenizer, ViTImageProcessorPil, pipeline


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "anna", "smith", "lives", "here"]
TAGS = ["O", "B-PER", "I-PER"]
TEXTS = ["good film", "bad", "anna smith lives here"]


@pytest.fixture(scope="module")
def tokenizer() -> BertTokenizer:
    return BertTokenizer(vocab={word: index for index, word in enumerate(WORDS)})


@pytest.fixture
def text(request, tokenizer, tmp_path):
    """A model of the case that the test names, and a folder with it and the tokenizer."""
    fields = {"num_labels": 3, "id2label": dict(enumerate(TAGS)), "label2id": {tag: i for i, tag in enumerate(TAGS)}}
    model = make_model(request.param, vocab_size=len(WORDS), **fields)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return model, str(tmp_path)


@pytest.fixture
def images(request, tmp_path):
    """The same for images; and a picture, and what the processor makes of it."""
    model, processor = make_model(request.param), ViTImageProcessorPil(size={"height": 12, "width": 12})
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    picture = Image.fromarray(torch.randint(0, 255, (30, 20, 3), dtype=torch.uint8).numpy())
    return model, str(tmp_path), picture, processor(picture, return_tensors="pt")


@torch.no_grad()
def outputs_of(model, inputs):
    return model(**inputs)


@pytest.mark.parametrize("text", ["sequence-classification"], indirect=True)
def test_text_classification(text, tokenizer):
    """Each text of a padded batch gets what it gets alone."""
    model, folder = text
    classify = pipeline("text-classification", folder)
    batch = classify(TEXTS, top_k=None, batch_size=3)
    for words, answers in zip(TEXTS, batch, strict=True):
        wanted = outputs_of(model, tokenizer(words, return_tensors="pt")).logits.softmax(-1)[0]
        scores = {answer["label"]: answer["score"] for answer in answers}
        assert scores == pytest.approx(dict(zip(TAGS, wanted.tolist(), strict=True)), abs=1e-5)
        assert answers[0]["score"] == max(scores.values())
    (best,) = classify("bad")
    assert best == classify("bad", top_k=1)[0] and best["label"] in TAGS


@pytest.mark.parametrize("text", ["masked-lm"], indirect=True)
def test_fill_mask(text, tokenizer):
    model, folder = text
    fill = pipeline("fill-mask", folder)
    answers = fill("good [MASK] lives", top_k=len(WORDS))
    wanted = outputs_of(model, tokenizer("good [MASK] lives", return_tensors="pt")).logits[0, 2].softmax(-1)
    assert [answer["score"] for answer in answers] == pytest.approx(
        wanted.sort(descending=True).values.tolist(), abs=1e-5
    )
    assert answers[0]["token_str"] == WORDS[wanted.argmax()]
    assert sum(answer["score"] for answer in answers) == pytest.approx(1, abs=1e-4)
    of_two = fill(["[MASK] film", "anna [MASK] lives here"], targets=["smith", "bad"], batch_size=2)
    assert [{answer["token_str"] for answer in answers} for answers in of_two] == [{"smith", "bad"}] * 2


@pytest.mark.parametrize("text", ["token-classification"], indirect=True)
def test_token_classification(text, tokenizer):
    """A tag per word, with the place of the word; and names put together from their parts."""
    model, folder = text
    tag = pipeline("token-classification", folder, ignore_labels=[])
    answers = tag(TEXTS, batch_size=2)
    for words, tagged in zip(TEXTS, answers, strict=True):
        wanted = outputs_of(model, tokenizer(words, return_tensors="pt")).logits[0, 1:-1].softmax(-1)
        assert [answer["entity"] for answer in tagged] == [TAGS[index] for index in wanted.argmax(-1)]
        assert [answer["score"] for answer in tagged] == pytest.approx(wanted.amax(-1).tolist(), abs=1e-5)
        assert [words[answer["start"] : answer["end"]] for answer in tagged] == words.split()
    with torch.no_grad():  # every token begins a name
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([0.0, 1.0, 3.0]))
    model.save_pretrained(folder)
    (name,) = pipeline("token-classification", folder, aggregation_strategy="simple")(TEXTS[2])
    assert name["entity_group"] == "PER" and name["word"] == TEXTS[2] and (name["start"], name["end"]) == (0, 21)


@pytest.mark.parametrize("text", ["tokens", "sequence-classification"], indirect=True)
def test_feature_extraction(text, tokenizer):
    """Also from the folder of a head, whose base it loads."""
    model, folder = text
    extract = pipeline("feature-extraction", folder)
    for words, features in zip(TEXTS, extract(TEXTS, return_tensors=True), strict=True):
        wanted = outputs_of(model.base_model, tokenizer(words, return_tensors="pt")).last_hidden_state
        torch.testing.assert_close(features, wanted)


@pytest.mark.parametrize("images", ["image-classification"], indirect=True)
def test_image_classification(images):
    model, folder, picture, inputs = images
    answers = pipeline("image-classification", folder)([picture, picture], top_k=5, batch_size=2)
    wanted = outputs_of(model, inputs).logits.softmax(-1)[0].sort(descending=True)
    for of_one in answers:
        assert [answer["score"] for answer in of_one] == pytest.approx(wanted.values.tolist(), abs=1e-5)
        assert [answer["label"] for answer in of_one] == [f"LABEL_{index}" for index in wanted.indices]


@pytest.mark.parametrize("images", ["images", "image-classification"], indirect=True)
def test_image_feature_extraction(images):
    model, folder, picture, inputs = images
    extract = pipeline("image-feature-extraction", folder)
    wanted = outputs_of(model.base_model, inputs)
    torch.testing.assert_close(torch.tensor(extract(picture)), wanted.last_hidden_state)
    torch.testing.assert_close(extract(picture, pool=True, return_tensors=True), wanted.pooler_output)
