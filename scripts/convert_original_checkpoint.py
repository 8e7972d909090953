# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Convert a checkpoint of the authors' program to a folder that the Auto classes load.

    python scripts/convert_original_checkpoint.py checkpoint.pth --options knobs.json --output_dir OUT [--push_to_hub REPO]

`knobs.json` holds the authors' option names and values, and `task`: "image-classification", "sudoku" or
"masked-image-modeling". Options that follow from the shapes of the weights may be left out; they must not contradict the
shapes. Only tensors and plain containers are unpickled.
"""

import argparse

from huggingface_hub import HfApi

from hyperset_lab.converting import convert
from hyperset_lab.hub import check_login, pushing


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="bare, native (model_state_dict) or Lightning")
    parser.add_argument("--options", required=True, help="JSON with the authors' option names and values")
    parser.add_argument("--output_dir", required=True, help="new folder for the model")
    parser.add_argument("--push_to_hub", metavar="REPO", help="also upload the folder to this repository")
    parser.add_argument("--private", action="store_true", help="make that repository private if it is new")
    parsed = parser.parse_args(arguments)
    if parsed.private and not parsed.push_to_hub:
        parser.error("--private needs --push_to_hub: pass both, or leave --private out")
    if parsed.push_to_hub:
        check_login()
    model = convert(parsed.checkpoint, parsed.options, parsed.output_dir)
    print(f"{type(model).__name__} with {model.num_parameters():,} parameters saved in {parsed.output_dir}")
    if parsed.push_to_hub:
        api = HfApi()
        with pushing(parsed.output_dir, parsed.push_to_hub):
            repository = api.create_repo(parsed.push_to_hub, private=parsed.private, exist_ok=True).repo_id
            commit = api.upload_folder(repo_id=repository, folder_path=parsed.output_dir, commit_message="Add model")
        print(f"Uploaded: {commit.commit_url}")


if __name__ == "__main__":
    main()
