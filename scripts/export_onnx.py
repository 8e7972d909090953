# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Write a checkpoint as an ONNX file for any batch size; a model of text takes any length. The number of iterations is fixed: the
file has no adaptive depth, even if the config asks for it.

    python scripts/export_onnx.py --model_name_or_path FOLDER_OR_NAME --output model.onnx [--num_iterations N]

The file is run with onnxruntime and compared with the model before it is moved into place. Needs `pip install
"modeling_hyperset[onnx]"`.
"""

import argparse
from pathlib import Path

from hyperset_lab.exporting import export_onnx, load_checkpoint


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", required=True, help="a folder, or a name on the Hub")
    parser.add_argument("--output", required=True, help="file to write, ending in .onnx")
    parser.add_argument("--num_iterations", type=int, help="iterations of each layer, if not those of the config")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="largest difference from the model")
    parser.add_argument("--revision", default="main", help="branch, tag or commit of a checkpoint on the Hub")
    parsed = parser.parse_args(arguments)
    model = load_checkpoint(parsed.model_name_or_path, revision=parsed.revision)
    difference = export_onnx(model, parsed.output, parsed.num_iterations, parsed.tolerance)
    iterations = parsed.num_iterations or model.config.num_iterations
    print(
        f"{type(model).__name__} of {iterations} iterations written to {parsed.output}, "
        f"{Path(parsed.output).stat().st_size:,} bytes; onnxruntime differs from the model by {difference:.1e} at most"
    )


if __name__ == "__main__":
    main()
