# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Train or fine-tune a text classifier: classes, several labels per text, or numbers."""

from typing import Any

import torch
from datasets import Dataset

from hyperset_lab.classes import checkpoint_with_head
from hyperset_lab.metrics import REGRESSION, SINGLE_LABEL, make_compute_metrics
from hyperset_lab.models import load_config, load_model
from hyperset_lab.run import check_splits
from hyperset_lab.tasks import Score, Task, card_of
from hyperset_lab.text.data import TextDataArguments, hold_out_texts, load_texts, tokenize
from hyperset_lab.text.labels import LabelSpace, encode_labels
from hyperset_lab.text.tokenizer import TextModelArguments, fit_tokenizer, load_tokenizer, special_tokens
from hyperset_lab.text.trainer import TextCollator, TextTrainer
from hyperset_lab.trainer import ScriptTrainingArguments
from transformers import AutoModelForSequenceClassification, set_seed


def read_data(
    model_arguments: TextModelArguments, data_arguments: TextDataArguments, training_arguments: ScriptTrainingArguments
) -> tuple[dict[str, Dataset], LabelSpace]:
    """The splits that are asked for, with labels as the model takes them, and what these mean."""
    do_train, do_eval = training_arguments.do_train, training_arguments.do_eval
    do_predict = training_arguments.do_predict
    if not (do_train or do_eval or do_predict):
        raise ValueError("Nothing to do: pass `--do_train`, `--do_eval`, `--do_predict`, or several of them.")
    if model_arguments.model_name_or_path is not None:
        load_config(model_arguments)  # for its errors
    checkpoint = checkpoint_with_head(model_arguments, TASK.head)
    with training_arguments.main_process_first(desc="reading the texts"):
        splits = load_texts(data_arguments, model_arguments.hub_options, do_train, do_eval, do_predict)
        new_head = model_arguments.ignore_mismatched_sizes
        splits, labels = encode_labels(splits, data_arguments, checkpoint, do_train, new_head)
        splits = hold_out_texts(splits, data_arguments, training_arguments.seed, do_eval)
    if do_train or do_eval:
        check_splits(training_arguments, splits, predicts=True)
    return splits, labels


def build_trainer(
    model_arguments: TextModelArguments, data_arguments: TextDataArguments, training_arguments: ScriptTrainingArguments
) -> tuple[TextTrainer, dict[str, Any]]:
    """The trainer that the arguments ask for, and what its model card says. Nothing is trained or written yet."""
    set_seed(training_arguments.seed)
    splits, labels = read_data(model_arguments, data_arguments, training_arguments)
    if training_arguments.label_smoothing_factor and labels.problem_type != SINGLE_LABEL:
        raise ValueError(
            f"`--label_smoothing_factor` is for one class per text, the labels are for {labels.problem_type}, got "
            f"{training_arguments.label_smoothing_factor}."
        )
    compute_metrics = make_compute_metrics(labels.problem_type, data_arguments.metric_name, len(labels.names))

    tokenizer = load_tokenizer(model_arguments, splits["train"]["text"] if training_arguments.do_train else None)
    fields = labels.config_fields | special_tokens(tokenizer)
    if model_arguments.model_name_or_path is None:
        fields["vocab_size"] = len(tokenizer)
    config = load_config(model_arguments, **fields)
    fit_tokenizer(tokenizer, config, data_arguments.max_seq_length)
    with training_arguments.main_process_first(desc="tokenizing"):
        splits = {name: tokenize(name, split, tokenizer, data_arguments) for name, split in splits.items()}
    model = load_model(AutoModelForSequenceClassification, model_arguments, config)
    if training_arguments.process_index == 0:
        counts = ", ".join(f"{len(split):,} texts ({name})" for name, split in splits.items())
        print(
            f"{type(model).__name__} with {model.num_parameters():,} parameters, {len(tokenizer):,} tokens, "
            f"{labels.problem_type} with {len(labels.names)} labels, {counts}"
        )

    eights = training_arguments.fp16 or training_arguments.bf16
    longest = getattr(config, "max_position_embeddings", None)
    collator = TextCollator(tokenizer, pad_to_multiple_of=8 if eights else None, longest=longest)
    # A batch that the model cannot take is an error now, not hours later in the first step of a run that waited.
    model.eval()
    with torch.no_grad():
        model(**collator([next(iter(splits.values()))[0]]))

    trainer = TextTrainer(
        model=model,
        args=training_arguments,
        train_dataset=splits["train"] if training_arguments.do_train else None,
        eval_dataset=splits["eval"] if training_arguments.do_eval else None,
        compute_metrics=compute_metrics,
        processing_class=tokenizer,
        data_collator=collator,
        labels=labels,
        predict_dataset=splits.get("predict"),
        metric_name=data_arguments.metric_name,
    )
    tags = ("text-classification", "hyperset")
    return trainer, card_of(tags[0], tags, data_arguments.dataset_name, model_arguments)


def text_score(trainer: TextTrainer) -> Score:
    """The accuracy of labels, the error of numbers."""
    if trainer.metric_name is not None:
        raise ValueError(f"A comparison cannot use `--metric_name`: leave it out, got {trainer.metric_name!r}.")
    if trainer.labels.problem_type == REGRESSION:
        return Score("mse", higher_is_better=False, is_share=False)
    return Score("accuracy")


def write_predictions(trainer: TextTrainer, metrics: dict[str, float], *arguments: Any) -> None:
    """Predict the labels of texts if that is asked for."""
    if trainer.predict_dataset is not None:
        trainer.write_predictions()


TASK = Task(
    script="scripts/run_text_classification.py",
    arguments=(TextModelArguments, TextDataArguments, ScriptTrainingArguments),
    build_trainer=build_trainer,
    score=text_score,
    after=write_predictions,
    head="ForSequenceClassification",
)
main = TASK.main
