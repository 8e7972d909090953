# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Train or fine-tune a text classifier with Trainer: classes, several labels per text, or numbers.

    python scripts/run_text_classification.py scripts/recipes/yelp.yaml
    python scripts/run_text_classification.py --config_name yelp-small --train_tokenizer 8000 --train_file reviews.csv \
        --do_train --do_eval --output_dir outputs/mine

A recipe (YAML) takes the place of flags, and flags behind it win over it. Files have the columns `text` and `label`.
"""

import numpy as np
import torch
from common import load_config, parse_arguments, write_whole
from metrics import MULTI_LABEL, REGRESSION, decide, make_compute_metrics
from text_data import LabelSpace, TextDataArguments, encode_labels, hold_out, load_texts, tokenize
from text_tokenizer import TextModelArguments, fit_tokenizer, load_tokenizer
from training import ScriptTrainingArguments, check_splits, run
from transformers import AutoConfig, AutoModelForSequenceClassification, DataCollatorWithPadding, Trainer, set_seed


def build_model(arguments: TextModelArguments, config):
    """The checkpoint's model, or a new one."""
    if arguments.model_name_or_path is None:
        return AutoModelForSequenceClassification.from_config(config, trust_remote_code=arguments.trust_remote_code)
    return AutoModelForSequenceClassification.from_pretrained(
        arguments.model_name_or_path,
        config=config,
        ignore_mismatched_sizes=arguments.ignore_mismatched_sizes,
        **arguments.hub_options,
    )


def predict(trainer: Trainer, split, labels: LabelSpace) -> None:
    """Write the label of every text of `split` to `predict_results.txt`, and the metrics if it has labels."""
    output = trainer.predict(split, metric_key_prefix="predict")
    trainer.log_metrics("predict", output.metrics)
    trainer.save_metrics("predict", output.metrics)
    logits = output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions
    rows = ["index\tprediction"]
    for index, row in enumerate(decide(logits, labels.problem_type)):
        if labels.problem_type == REGRESSION:
            text = f"{row.item():.6g}"
        elif labels.problem_type == MULTI_LABEL:
            text = str([labels.names[position] for position in np.flatnonzero(row)])
        else:
            text = labels.names[row]
        rows.append(f"{index}\t{text}")
    if trainer.is_world_process_zero():
        path = f"{trainer.args.output_dir}/predict_results.txt"
        write_whole(path, lambda temporary: open(temporary, "w", encoding="utf-8").write("\n".join(rows) + "\n"))


def main(arguments: list[str] | None = None) -> None:
    model_arguments, data_arguments, training_arguments = parse_arguments(
        (TextModelArguments, TextDataArguments, ScriptTrainingArguments), arguments
    )
    set_seed(training_arguments.seed)
    do_train, do_eval, do_predict = (
        getattr(training_arguments, f"do_{what}") for what in ("train", "eval", "predict")
    )
    if not (do_train or do_eval or do_predict):
        raise ValueError("Nothing to do: pass `--do_train`, `--do_eval`, `--do_predict`, or several of them.")

    checkpoint = None
    if model_arguments.model_name_or_path is not None:
        load_config(model_arguments)
        checkpoint = AutoConfig.from_pretrained(model_arguments.model_name_or_path, **model_arguments.hub_options)
    with training_arguments.main_process_first(desc="reading the texts"):
        splits = load_texts(data_arguments, model_arguments.hub_options, do_train, do_eval, do_predict)
        splits, labels = encode_labels(
            splits, data_arguments, checkpoint, do_train, model_arguments.ignore_mismatched_sizes
        )
        splits = hold_out(splits, data_arguments, training_arguments.seed, do_eval)
    if do_train or do_eval:
        check_splits(training_arguments, splits)
    compute_metrics = make_compute_metrics(labels.problem_type, data_arguments.metric_name, len(labels.names))

    tokenizer = load_tokenizer(model_arguments, splits["train"]["text"] if do_train else None)
    fields = labels.config_fields | ({} if checkpoint is not None else {"vocab_size": len(tokenizer)})
    config = load_config(model_arguments, **fields)
    fit_tokenizer(tokenizer, config, data_arguments.max_seq_length)
    with training_arguments.main_process_first(desc="tokenizing"):
        splits = {name: tokenize(name, split, tokenizer, data_arguments) for name, split in splits.items()}
    model = build_model(model_arguments, config)
    counts = ", ".join(f"{len(split):,} texts ({name})" for name, split in splits.items())
    print(
        f"{type(model).__name__} with {model.num_parameters():,} parameters, {len(tokenizer):,} tokens, "
        f"{labels.problem_type} with {len(labels.names)} labels, {counts}"
    )

    collator = DataCollatorWithPadding(
        tokenizer, pad_to_multiple_of=8 if training_arguments.fp16 or training_arguments.bf16 else None
    )
    # A batch that the model cannot take is an error here, not in the first step of a run that was queued for hours.
    model.eval()
    with torch.no_grad():
        model(**collator([next(iter(splits.values()))[0]]))

    trainer = Trainer(
        model=model,
        args=training_arguments,
        train_dataset=splits["train"] if do_train else None,
        eval_dataset=splits["eval"] if do_eval else None,
        compute_metrics=compute_metrics,
        processing_class=tokenizer,
        data_collator=collator,
    )
    card = {"tasks": "text-classification", "tags": ["text-classification", "hyperset"]}
    if data_arguments.dataset_name is not None:
        card["dataset"] = data_arguments.dataset_name
    if model_arguments.model_name_or_path is not None:
        card["finetuned_from"] = model_arguments.model_name_or_path
    if do_train or do_eval:
        run(trainer, card)
    if do_predict:
        predict(trainer, splits["predict"], labels)


if __name__ == "__main__":
    main()
