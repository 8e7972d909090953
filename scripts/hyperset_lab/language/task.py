# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Train or fine-tune a model of text. Those that write text are here; `masked_language` has those that fill it in."""

from typing import Any

import torch

from hyperset_lab.language.data import LanguageDataArguments, cut_into_blocks, hold_out, load_texts
from hyperset_lab.language.examples import MakeTransform, label_all, readable
from hyperset_lab.language.tokenizer import (
    LanguageModelArguments,
    fitting_block_size,
    is_of_characters,
    load_tokenizer,
    unknown_characters,
)
from hyperset_lab.language.trainer import LanguageTrainer, SampleArguments
from hyperset_lab.models import load_config, load_model
from hyperset_lab.run import check_splits
from hyperset_lab.tasks import Score, Task, card_of
from hyperset_lab.trainer import ScriptTrainingArguments
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase, default_data_collator, set_seed


def warn_of_unknown(tokenizer: PreTrainedTokenizerBase, name: str, split: Any) -> None:
    """Print which characters of a split have no token."""
    if unknown := unknown_characters(tokenizer, split["text"]):
        print(
            f"{len(unknown)} characters of the split {name!r} have no token, and become {tokenizer.unk_token}: "
            f"{''.join(unknown[:50])!r}"
        )


def build_language_trainer(
    auto_class: Any,
    model_arguments: LanguageModelArguments,
    data_arguments: LanguageDataArguments,
    training_arguments: ScriptTrainingArguments,
    make_transform: MakeTransform,
    sample: SampleArguments | None,
) -> LanguageTrainer:
    """The trainer of a model of `auto_class`, with examples of `make_transform`. Nothing is trained or written yet."""
    set_seed(training_arguments.seed)
    training_arguments.prediction_loss_only = True  # the logits of a vocabulary would not fit into memory
    streams = data_arguments.streaming
    with training_arguments.main_process_first(desc="reading the text"):
        texts = load_texts(data_arguments, training_arguments, model_arguments.hub_options)
        # From all the training text: so the vocabulary is the same whatever is held out.
        is_read = training_arguments.do_train and "train" in texts and not streams
        tokenizer = load_tokenizer(model_arguments, texts["train"]["text"] if is_read else None)
        texts = hold_out(texts, data_arguments, training_arguments)
    check_splits(training_arguments, texts)
    transform = make_transform(tokenizer)

    fields = {"vocab_size": len(tokenizer)} if model_arguments.model_name_or_path is None else {}
    config = load_config(model_arguments, **fields)
    block_size = fitting_block_size(tokenizer, config, data_arguments.block_size)
    model = load_model(auto_class, model_arguments, config)

    of_characters, blocks = is_of_characters(tokenizer), {}
    for name, split in texts.items():
        if not getattr(training_arguments, f"do_{name}"):
            continue
        if of_characters and not streams and training_arguments.process_index == 0:
            warn_of_unknown(tokenizer, name, split)
        with training_arguments.main_process_first(desc="tokenizing"):
            blocks[name] = cut_into_blocks(name, split, tokenizer, block_size, data_arguments)
    if training_arguments.process_index == 0:
        counts = {name: "a stream" if streams else f"{len(split):,}" for name, split in blocks.items()}
        print(
            f"{type(model).__name__} with {model.num_parameters():,} parameters, {len(tokenizer):,} tokens, blocks of "
            f"{block_size} tokens: {', '.join(f'{count} ({name})' for name, count in counts.items())}"
        )
    data = {
        name: readable(name, split, transform, data_arguments, training_arguments.seed)
        for name, split in blocks.items()
    }
    # A batch that the model cannot take is an error now, not hours later in the first step of a run that waited.
    model.eval()
    with torch.no_grad():
        example = next(iter(next(iter(data.values()))), None)
        if example is None:
            raise ValueError(
                f"The stream is shorter than one block of {block_size} tokens: pass a smaller `--block_size`."
            )
        model(**default_data_collator([example]))
    return LanguageTrainer(
        model=model,
        args=training_arguments,
        train_dataset=data.get("train"),
        eval_dataset=data.get("eval"),
        processing_class=tokenizer,
        data_collator=default_data_collator,
        sample=sample,
        in_bits=of_characters and sample is not None,
        block_size=block_size,
    )


def build_trainer(
    model_arguments: LanguageModelArguments,
    data_arguments: LanguageDataArguments,
    sample: SampleArguments,
    training_arguments: ScriptTrainingArguments,
) -> tuple[LanguageTrainer, dict[str, Any]]:
    """The trainer of a model that writes text, and what its model card says."""
    if training_arguments.label_smoothing_factor:
        raise ValueError(
            "`--label_smoothing_factor` is not for this task, whose labels the model shifts: leave it out."
        )
    trainer = build_language_trainer(
        AutoModelForCausalLM, model_arguments, data_arguments, training_arguments, lambda tokenizer: label_all, sample
    )
    tags = ("text-generation", "hyperset")
    return trainer, card_of(tags[0], tags, data_arguments.dataset_name, model_arguments)


def print_sample(trainer: LanguageTrainer, metrics: dict[str, float], *arguments: Any) -> None:
    """Print what the model writes."""
    if trainer.is_world_process_zero() and (text := trainer.write_sample()):
        print(f"\n{text}")


TASK = Task(
    script="scripts/run_clm.py",
    arguments=(LanguageModelArguments, LanguageDataArguments, SampleArguments, ScriptTrainingArguments),
    build_trainer=build_trainer,
    score=lambda trainer: Score("loss", higher_is_better=False, is_share=False),
    after=print_sample,
    head="CausalLM",
)
main = TASK.main
