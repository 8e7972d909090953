# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Tokenizers for language models: one that `AutoTokenizer` loads, or the characters of the training text."""

from collections.abc import Iterable
from dataclasses import dataclass

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from hyperset_lab.arguments import ModelArguments, option
from hyperset_lab.tokenizers import check_vocabulary, named_tokenizer
from transformers import PreTrainedConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast


CHARACTERS = "characters"
SPECIAL_TOKENS = {"pad_token": "[PAD]", "unk_token": "[UNK]", "eos_token": "[EOS]", "mask_token": "[MASK]"}


@dataclass
class LanguageModelArguments(ModelArguments):
    """Which model to train, and its tokenizer."""

    tokenizer_name: str | None = option(
        None,
        f"Tokenizer, if not the checkpoint's: a folder or a name on the Hub, as `gpt2`, or `{CHARACTERS}`: a token for "
        "each character of the training text.",
    )

    def __post_init__(self):
        super().__post_init__()
        if self.tokenizer_name == CHARACTERS and self.model_name_or_path is not None:
            raise ValueError(
                f"`--tokenizer_name {CHARACTERS}` makes a new tokenizer. Leave it out with `--model_name_or_path`: that "
                "model has learned the tokens of its own tokenizer."
            )


def character_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """
    A tokenizer with a token for each character of the `texts`, after those of [`SPECIAL_TOKENS`]. Decoding joins them without
    spaces, so that every text of these characters comes back as it was. Any other character is [UNK]. `AutoTokenizer` loads
    it from its folder.
    """
    characters = sorted(set().union(*texts))
    vocabulary = {token: index for index, token in enumerate([*SPECIAL_TOKENS.values(), *characters])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL_TOKENS["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")  # a dot is no end of a line
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        split_special_tokens=True,  # "[PAD]" in a text is five characters
        **SPECIAL_TOKENS,
    )


def is_of_characters(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether each token is one character, so that a loss per token is one per character."""
    return all(len(token) == 1 for token in tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens))


def unknown_characters(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> list[str]:
    """The characters of `texts` for which a tokenizer of characters has no token."""
    return sorted(set().union(*texts) - tokenizer.get_vocab().keys())


def load_tokenizer(arguments: LanguageModelArguments, texts: Iterable[str] | None) -> PreTrainedTokenizerBase:
    """The tokenizer that the arguments name, the checkpoint's, or one of the characters of `texts`."""
    if arguments.tokenizer_name == CHARACTERS:
        if texts is None:
            raise ValueError(
                f"`--tokenizer_name {CHARACTERS}` reads all the training text first: pass `--do_train`, and leave "
                "`--streaming` out."
            )
        return character_tokenizer(texts)
    new = f"`--tokenizer_name {CHARACTERS}` for one of the characters of the training text"
    return named_tokenizer(arguments, arguments.tokenizer_name, "as gpt2", new)


def fitting_block_size(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, block_size: int | None) -> int:
    """
    The tokens of a block: `block_size`, or as many as the model takes, at most 1024. Refuses more tokens or positions than the
    model has. The tokenizer is told where the model ends.
    """
    check_vocabulary(tokenizer, config)
    longest = getattr(config, "max_position_embeddings", 1024)
    if block_size is not None and block_size > longest:
        raise ValueError(
            f"`--block_size` must not exceed the model's max_position_embeddings={longest} (from scratch, "
            f"`--config_overrides` sets it), got {block_size}."
        )
    tokenizer.model_max_length = longest
    return min(longest, 1024) if block_size is None else block_size
