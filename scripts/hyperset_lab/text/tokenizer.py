# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Tokenizers for the scripts: one that `AutoTokenizer` loads, or one trained on the training texts."""

from collections.abc import Iterable
from dataclasses import dataclass

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from hyperset_lab.arguments import ModelArguments, option
from hyperset_lab.tokenizers import check_vocabulary, named_tokenizer
from transformers import PreTrainedConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast


SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}


@dataclass
class TextModelArguments(ModelArguments):
    """Which model to train, and its tokenizer."""

    tokenizer_name: str | None = option(
        None, "Tokenizer, if not the checkpoint's: a folder or a name on the Hub, as `bert-base-uncased`."
    )
    train_tokenizer: int | None = option(
        None, "Train a new tokenizer on the training texts, with at most so many tokens."
    )

    def __post_init__(self):
        super().__post_init__()
        if self.train_tokenizer is None:
            return
        if self.tokenizer_name is not None or self.model_name_or_path is not None:
            raise ValueError(
                "`--train_tokenizer` makes a new tokenizer. Leave it out with `--tokenizer_name`, and with "
                "`--model_name_or_path`: that model has learned the tokens of its own tokenizer."
            )
        smallest = len(SPECIAL_TOKENS) + len(pre_tokenizers.ByteLevel.alphabet())
        if self.train_tokenizer < smallest:
            raise ValueError(f"`--train_tokenizer` must be at least {smallest}, got {self.train_tokenizer}.")


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """
    A byte-level BPE tokenizer of at most `vocab_size` tokens for lower-cased text between [CLS] and [SEP]. The same texts give
    the same tokenizer (the WordPiece trainer of `tokenizers` gives another in every run), and no text has an unknown token.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, handle_chinese_chars=False)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_input_names=["input_ids", "attention_mask"], **SPECIAL_TOKENS
    )


def load_tokenizer(arguments: TextModelArguments, texts: Iterable[str] | None) -> PreTrainedTokenizerBase:
    """The tokenizer that the arguments name, the checkpoint's, or one trained on `texts`, always with a padding token."""
    if arguments.train_tokenizer is not None:
        if texts is None:
            raise ValueError("`--train_tokenizer` needs texts to train on: pass `--do_train`.")
        return train_tokenizer(texts, arguments.train_tokenizer)
    new = "`--train_tokenizer` with a number of tokens, to train one on the training texts"
    tokenizer = named_tokenizer(arguments, arguments.tokenizer_name, "the paper's is bert-base-uncased", new)
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise ValueError(
                f"The tokenizer of {tokenizer.name_or_path!r} has no padding token and no end token: pass another tokenizer."
            )
        tokenizer.pad_token = tokenizer.eos_token  # the attention mask tells them apart
    return tokenizer


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """The fields of a config for the special tokens of its tokenizer. Trainer would set those that differ, and warn."""
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    return {name: token_id for name, token_id in ids.items() if token_id is not None}


def fit_tokenizer(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, max_seq_length: int) -> None:
    """Refuse more tokens or positions than the model has, and have the tokenizer cut texts where the model ends."""
    check_vocabulary(tokenizer, config)
    longest = getattr(config, "max_position_embeddings", max_seq_length)
    if max_seq_length > min(longest, tokenizer.model_max_length):
        raise ValueError(
            f"`--max_seq_length` must not exceed the model's max_position_embeddings={longest} (from scratch, "
            f"`--config_overrides` sets it) and the tokenizer's model_max_length={tokenizer.model_max_length}, got "
            f"{max_seq_length}."
        )
    tokenizer.model_max_length = min(longest, tokenizer.model_max_length)
