# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Convert a checkpoint of the authors' program to a folder that the Auto classes load.

    python scripts/convert_original_checkpoint.py Yunzhe/Hyper-SET:path/in/repo.pth task=ic model.type=hyper-set-basic \\
        model.n_recur=12 data.dataset=c10 --output_dir OUT
    python scripts/convert_original_checkpoint.py checkpoint.pth --options knobs.json --output_dir OUT [--push_to_hub REPO]

The checkpoint is a file on this machine, or `owner/name:path` on the Hub. The program's options come from flags, from
name=value as the program takes them, from a JSON file, and from the `.hydra/config.yaml` or `config.yaml` beside the
checkpoint. They must not contradict each other or the weights. What the weights say need not be given; one error asks for all
that is missing. Only tensors and plain containers are unpickled. docs/guides/checkpoints.md lists the options.
"""

import argparse
import shlex
from pathlib import Path

from huggingface_hub import HfApi

from hyperset_lab.converting.files import find_file
from hyperset_lab.converting.folder import convert
from hyperset_lab.converting.sources import find_sources
from hyperset_lab.hub import check_login, pushing
from modeling_hyperset.conversion.given import HYDRA_OPTIONS, TASK_OPTIONS
from modeling_hyperset.conversion.options import NAMES


CONFIG_NAMES = (*TASK_OPTIONS["sudoku"], *HYDRA_OPTIONS)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    made.add_argument("checkpoint", metavar="CHECKPOINT", help="bare, native (model_state_dict) or Lightning")
    made.add_argument("words", nargs="*", metavar="NAME=VALUE", help="an option by its name in the program's configs")
    made.add_argument("--options", help="JSON with option names and values")
    made.add_argument("--config", help="the config of the run, if not the one beside the checkpoint; '' for none")
    made.add_argument("--revision", help="branch, tag or commit of the checkpoint's repository")
    made.add_argument("--output_dir", required=True, help="new folder for the model")
    made.add_argument("--push_to_hub", metavar="REPO", help="also upload the folder to this repository")
    made.add_argument("--private", action="store_true", help="make that repository private if it is new")
    group = made.add_argument_group("options of the model, by the names of the program's classes or of its configs")
    for name, text in NAMES.items():
        group.add_argument(f"--{name}", metavar="VALUE", help=text, default=argparse.SUPPRESS)
    for name in CONFIG_NAMES:
        group.add_argument(f"--{name}", dest=name, metavar="VALUE", default=argparse.SUPPRESS)
    return made


def main(arguments: list[str] | None = None) -> None:
    asked = parser()
    parsed = asked.parse_intermixed_args(arguments)
    if parsed.private and not parsed.push_to_hub:
        asked.error("--private needs --push_to_hub: pass both, or leave --private out")
    if parsed.push_to_hub:
        check_login()
    checkpoint = find_file(parsed.checkpoint, "CHECKPOINT", parsed.revision)
    flags = {name: value for name, value in vars(parsed).items() if name in NAMES or name in CONFIG_NAMES}
    sources = find_sources(checkpoint, flags, parsed.words, parsed.options, parsed.config)
    # As it is to be repeated on another machine: files by their names alone.
    given = [word for name, value in flags.items() for word in (f"--{name}", value)]
    given += [
        word
        for name in ("options", "config")
        if (path := vars(parsed)[name])
        for word in (f"--{name}", Path(path).name)
    ]
    name = checkpoint.name if checkpoint.repo else checkpoint.path.name
    command = shlex.join(["convert_original_checkpoint.py", name, *parsed.words, *given])
    model = convert(checkpoint, sources, parsed.output_dir, command)
    print(f"{type(model).__name__} with {model.num_parameters():,} parameters saved in {parsed.output_dir}")
    if parsed.push_to_hub:
        api = HfApi()
        with pushing(parsed.output_dir, parsed.push_to_hub):
            repository = api.create_repo(parsed.push_to_hub, private=parsed.private, exist_ok=True).repo_id
            commit = api.upload_folder(repo_id=repository, folder_path=parsed.output_dir, commit_message="Add model")
        print(f"Uploaded: {commit.commit_url}")


if __name__ == "__main__":
    main()
