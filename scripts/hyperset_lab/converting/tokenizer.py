# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""A VQGAN of taming-transformers as a folder of diffusers' `VQModel`."""

from typing import Any

from hyperset_lab.converting.files import beside, find_file
from hyperset_lab.converting.folder import check_output, new_folder
from hyperset_lab.converting.sources import read_mapping
from hyperset_lab.masked_images.tokenizer import import_vq_model
from modeling_hyperset.conversion import convert_vqgan
from modeling_hyperset.conversion.weights import check_fit, load_original_state_dict


CONFIG = "model.yaml"


def convert_tokenizer(checkpoint: str, config: str | None, output_dir: str, revision: str | None = None) -> Any:
    """
    Convert a VQGAN into `output_dir`, which appears whole or not at all, and return the `VQModel`.

    Args:
        checkpoint: A Lightning checkpoint or a bare state dict: a file, or `owner/name:path` on the Hub.
        config: Its config; if `None`, the `model.yaml` beside it.
        output_dir: The new folder.
        revision: Of the repository on the Hub.

    Raises:
        `ValueError`: a file that is not there or does not fit, or an output folder that is not empty.
    """
    check_output(output_dir)
    model_class = import_vq_model()
    weights = find_file(checkpoint, "CHECKPOINT", revision)
    found = [find_file(config, "--config")] if config else beside(weights, [CONFIG])
    if not found:
        raise ValueError(f"There is no {CONFIG} beside {weights.name}: name the config of the VQGAN by `--config`.")
    arguments, tensors = convert_vqgan(load_original_state_dict(weights.path), read_mapping(found[0], "--config"))
    try:
        model = model_class(**arguments)
    except ValueError as error:  # such as widths that do not divide into the groups of a norm
        raise ValueError(f"No `VQModel` can be made of {found[0].name}: {error}") from error
    check_fit(model.state_dict(), tensors)
    model.load_state_dict(tensors)
    with new_folder(output_dir) as folder:
        model.eval().save_pretrained(folder)
    return model
