# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""What a causal model does with each token of a text, and the pictures of it."""

import pytest
import torch
from torch.nn import functional as F

from modeling_hyperset.analysis import analyze, analyze_text, answers
from support.builders import make_model


ENERGIES = ["causal_softmax", "causal_linear"]
TOKENS = list("To be,\nor not to")


def text_model(**fields):
    options = {"vocab_size": 128, "position_embedding_type": "rotary", "num_iterations": 4, "initializer_range": 0.3}
    return make_model("causal-lm", **(options | fields))


def ids_of(tokens=TOKENS) -> torch.Tensor:
    return torch.tensor([[ord(token) for token in tokens]])


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("energy", ENERGIES)
def test_each_token_of_a_text(energy, layers):
    model, ids = text_model(attention_energy=energy, num_hidden_layers=layers), ids_of()
    found = analyze_text(model, {"input_ids": ids}, TOKENS, num_iterations=5, energy_tolerance=0.01)
    with torch.no_grad():
        outputs = model(ids, num_iterations=5, output_energies=True, labels=ids)
        used = model(ids, num_iterations=5, energy_tolerance=0.01).num_iterations_used
    for side, values in enumerate((found.attention_energy, found.feedforward_energy)):
        totals = torch.stack(outputs.energies)[:, 0, side]
        torch.testing.assert_close(torch.tensor(values).sum(dim=-1), totals, rtol=1e-4, atol=1e-3)
    assert found.iterations == used[0].tolist()
    assert found.surprise[0] is None
    assert sum(found.surprise[1:]) / (len(TOKENS) - 1) == pytest.approx(outputs.loss.item(), rel=1e-5)
    assert model.config.use_cache and not model.training


def test_the_general_analysis_reads_a_causal_model():
    """The energies are those of the outputs, the answers are of the next token, and no cache is filled."""
    model, ids = text_model(), ids_of()
    found = analyze(model, {"input_ids": ids, "labels": ids}, progress=False)
    with torch.no_grad():
        outputs = model(ids, output_energies=True)
    total = torch.stack(outputs.energies)[:, 0].sum(dim=-1)
    torch.testing.assert_close(found.mean("total_energy").float(), total, rtol=1e-4, atol=1e-3)
    right = (outputs.logits[0, :-1].argmax(dim=-1) == ids[0, 1:]).float().mean().item()
    assert found.mean("token_accuracy")[-1].item() == pytest.approx(right)
    torch.testing.assert_close(answers(model, {"input_ids": ids}).logits[-1], outputs.logits, rtol=1e-4, atol=1e-4)


def test_what_cannot_be_analysed():
    with pytest.raises(ValueError, match=r"`model` must be a HyperSETForCausalLM with energies"):
        analyze_text(text_model(layer_type="transformer"), {"input_ids": ids_of()}, TOKENS)
    with pytest.raises(ValueError, match=r"one text of 2 tokens, got `input_ids` of \(1, 16\)"):
        analyze_text(text_model(), {"input_ids": ids_of()}, ["T", "o"])
    with pytest.raises(ValueError, match=r"`energy_tolerance` must be a finite number"):
        analyze_text(text_model(), {"input_ids": ids_of()}, TOKENS, energy_tolerance=-1)


def test_pictures_of_a_text():
    figures = pytest.importorskip("modeling_hyperset.analysis.text_figures")
    model = text_model()
    for tolerance, label in ((0.01, "iterations (energy tolerance 0.01)"), (None, "surprise, nats")):
        found = analyze_text(model, {"input_ids": ids_of()}, TOKENS, energy_tolerance=tolerance)
        page, bar = figures.draw_text(found).axes
        assert [text.get_text() for text in page.texts] == [token.replace("\n", "↵") for token in TOKENS]
        assert len({text.get_position()[1] for text in page.texts}) == 2  # the text has two lines
        assert bar.get_ylabel() == label
    panels = figures.draw_token_energies(found, most_tokens=5).axes
    image = panels[2].images[0].get_array()
    assert image.shape == (4, 5)
    expected = found.attention_energy[1][2] + found.feedforward_energy[1][2]
    assert image[1, 2] == pytest.approx(expected)


def test_surprise_is_that_of_the_next_token():
    model, ids = text_model(), ids_of()
    found = analyze_text(model, {"input_ids": ids}, TOKENS)
    with torch.no_grad():
        logits = model(ids).logits[0]
    expected = F.cross_entropy(logits[4:5], ids[0, 5:6]).item()
    assert found.surprise[5] == pytest.approx(expected, rel=1e-4)
