# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Convert a VQGAN of taming-transformers, as the authors' masked-image models use it, to a folder of diffusers' `VQModel`.

    python scripts/convert_vqgan.py llvictorll/Maskgit-pytorch:pretrained_maskgit/VQGAN/last.ckpt --output_dir vqgan
    python scripts/run_masked_image_modeling.py … --vq_model_name_or_path vqgan

The checkpoint is a file on this machine, or `owner/name:path` on the Hub. Its config is the `model.yaml` beside it. Only
tensors and plain containers are unpickled. The discriminator and the perceptual loss are left out.
"""

import argparse

from hyperset_lab.converting.tokenizer import convert_tokenizer


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    made.add_argument("checkpoint", metavar="CHECKPOINT", help="a Lightning checkpoint, or a bare state dict")
    made.add_argument("--config", help="the model.yaml, if it does not lie beside the checkpoint")
    made.add_argument("--revision", help="branch, tag or commit of the checkpoint's repository")
    made.add_argument("--output_dir", required=True, help="new folder for the VQ model")
    return made


def main(arguments: list[str] | None = None) -> None:
    parsed = parser().parse_args(arguments)
    model = convert_tokenizer(parsed.checkpoint, parsed.config, parsed.output_dir, parsed.revision)
    factor = 2 ** (len(model.config.block_out_channels) - 1)
    print(
        f"VQModel of {model.config.num_vq_embeddings:,} codes for {factor} × {factor} pixels saved in {parsed.output_dir}"
    )


if __name__ == "__main__":
    main()
