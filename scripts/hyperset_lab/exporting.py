# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints as ONNX files, which are compared with the model before they are moved into place."""

from pathlib import Path
from typing import Any, cast

import onnxruntime
import torch
from torch import nn
from torch.export import Dim

from modeling_hyperset import HyperSETForCausalLM, HyperSETForMaskedImageModeling
from modeling_hyperset.files import write_whole
from modeling_hyperset.modeling_hyperset import AUTO_CLASSES
from transformers import AutoConfig, PreTrainedModel


LARGEST = 2**31  # bytes of a file of ONNX


class TensorsOnly(nn.Module):
    """A model as ONNX knows it: the tensors `names` in their order → the head's tensor called `output`."""

    def __init__(self, model: PreTrainedModel, num_iterations: int | None = None):
        super().__init__()
        self.model, self.num_iterations = model, num_iterations
        codes = isinstance(model, HyperSETForMaskedImageModeling)
        if model.config.takes_token_ids:
            self.names = ["input_ids"] if codes else ["input_ids", "attention_mask"]
        else:
            self.names = ["pixel_values", "bool_masked_pos"] if codes else ["pixel_values"]
        self.output = "logits"
        if not hasattr(model, "hyperset"):
            self.output = "last_hidden_state"
        elif codes and not model.config.takes_token_ids:
            self.output = "reconstruction"

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        inputs = dict(zip(self.names, tensors, strict=True))
        options: dict[str, Any] = {"use_cache": False} if isinstance(self.model, HyperSETForCausalLM) else {}
        options |= {"num_iterations": self.num_iterations, "energy_tolerance": False, "return_dict": True}
        outputs = self.model(**inputs, **options)
        return outputs[self.output]

    @property
    def any_length(self) -> bool:
        """Whether the sequence may be shorter than `max_position_embeddings`; a grid may not."""
        config = self.model.config
        return config.takes_token_ids and config.position_embedding_type != "sinusoidal_2d"

    def inputs(self, batch_size: int, length: int | None = None) -> tuple[torch.Tensor, ...]:
        """Random inputs, the last of several texts padded. `length` is in tokens, the longest if not given."""
        config = self.model.config
        if config.takes_token_ids:
            length = length or config.max_position_embeddings
            input_ids = torch.randint(config.vocab_size, (batch_size, length))
            mask = torch.ones_like(input_ids)
            mask[1:][-1:, (length + 1) // 2 :] = 0
            tensors = {"input_ids": input_ids, "attention_mask": mask}
        else:
            height, width = config.image_height_width
            tensors = {"pixel_values": torch.randn(batch_size, config.num_channels, height, width)}
            patches = (height // config.patch_size) * (width // config.patch_size)
            tensors["bool_masked_pos"] = torch.rand(batch_size, patches) < 0.5
        return tuple(tensors[name] for name in self.names)

    def sizes(self) -> list[dict[int, Dim]]:
        """The sizes of each input that may vary."""
        batch = {0: Dim("batch_size")}
        if self.any_length:
            batch[1] = Dim("seq_len", max=self.model.config.max_position_embeddings)
        return [batch] * len(self.names)


def load_checkpoint(name: str, **options) -> PreTrainedModel:
    """
    The model of a checkpoint, with the head it was saved with, in float32.

    Raises:
        `ValueError`: there is no checkpoint of this family there.
    """
    try:
        config = AutoConfig.from_pretrained(name, **options)
    except OSError as error:
        raise ValueError(
            f"`--model_name_or_path` {name!r} is no folder with a config and no model of the Hub: {error}"
        ) from error
    classes: dict[str, type[PreTrainedModel]] = {
        model_class.__name__: model_class for model_class in AUTO_CLASSES.values()
    }
    found = [classes[architecture] for architecture in config.architectures or () if architecture in classes]
    if not found:
        raise ValueError(
            f"`--model_name_or_path` {name!r} must hold one of {', '.join(classes)}, got {config.architectures}."
        )
    return found[0].from_pretrained(name, dtype=torch.float32, **options).eval()


@torch.no_grad()
def check(path: str, model: TensorsOnly, tolerance: float) -> float:
    """The largest difference between the file run by onnxruntime and the model, over several batch sizes and lengths."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    longest = model.model.config.max_position_embeddings if model.any_length else None
    largest = 0.0
    for batch_size, length in ((1, longest), (3, longest and (longest + 1) // 2), (2, longest and 1)):
        tensors = model.inputs(batch_size, length)
        given = {name: tensor.numpy() for name, tensor in zip(model.names, tensors, strict=True)}
        (found,) = session.run(None, given)
        wanted = model(*tensors)
        difference = (torch.from_numpy(found) - wanted).abs()
        if not bool((difference <= tolerance * (1 + wanted.abs())).all()):
            raise ValueError(
                f"The exported model differs from the model by {difference.max():.2e} for {batch_size} samples, more than "
                f"--tolerance {tolerance:g}. Nothing was written."
            )
        largest = max(largest, difference.max().item())
    return largest


def export_onnx(
    model: PreTrainedModel, output: str, num_iterations: int | None = None, tolerance: float = 1e-4
) -> float:
    """
    Write `model` to the file `output`, which appears whole and checked or not at all.

    Args:
        num_iterations (`int`, *optional*): Iterations of each layer; those of the config if not given.
        tolerance (`float`): How far onnxruntime may be from the model, absolute and relative.

    Returns:
        `float`: the largest difference that was found.

    Raises:
        `ValueError`: an argument that does not fit, a model too large for one file, or one that computes something else.
    """
    path = Path(output)
    if path.suffix != ".onnx" or path.is_dir():
        raise ValueError(f"`--output` must be a file that ends in .onnx, got {output!r}.")
    if tolerance < 0:
        raise ValueError(f"`--tolerance` must not be negative, got {tolerance}.")
    size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    if size >= LARGEST:
        raise ValueError(
            f"One file of ONNX holds less than {LARGEST:,} bytes, but the weights of this model are {size:,}."
        )
    whole = TensorsOnly(model, num_iterations).eval()
    tensors = whole.inputs(batch_size=2)
    with torch.no_grad():
        whole(*tensors)  # if something does not fit, the error of the model names it
    path.parent.mkdir(parents=True, exist_ok=True)
    differences = []

    def write(temporary: str) -> None:
        program = torch.onnx.export(
            whole,
            tensors,
            input_names=whole.names,
            output_names=[whole.output],
            dynamic_shapes=(tuple(whole.sizes()),),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        cast(torch.onnx.ONNXProgram, program).save(temporary, external_data=False)
        differences.append(check(temporary, whole, tolerance))

    write_whole(path, write)
    return differences[0]
