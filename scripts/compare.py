# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Train several models of one task on the same data with the same budget and seeds, and write one table.

    python scripts/compare.py scripts/recipes/compare_digits.yaml

Every model is trained with every learning rate of one list on a part of the training data. Its best rate is chosen on the
rest: by the mean score over seeds, each with its own held-out part; by the lower loss if two are equal. With that rate
the model is trained on all training data. It is evaluated on the split for evaluation, which was not used before, at the
trained number of iterations and at twice as many. Parameters, operations and the memory of a step are counted. For the time per
step, all models make training steps in turns. The curves of training, as mean and band over the seeds, are drawn beside the
table; `eval_every_epoch` adds those of the score.

Finished runs are stored in `output_dir`, each under a hash of its settings, and not trained again: a comparison that was
stopped goes on. The code is no part of the hash; after a change to it, choose another `output_dir`.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hyperset_lab.arguments import parse_arguments
from hyperset_lab.comparison.choice import compare, stored_result
from hyperset_lab.comparison.costs import measure_times, step_memory
from hyperset_lab.comparison.curves import write_curves
from hyperset_lab.comparison.plan import Comparison, ComparisonArguments, base_recipe_path
from hyperset_lab.comparison.table import markdown
from hyperset_lab.origin import began, hardware
from hyperset_lab.recipes import read_recipe
from modeling_hyperset.files import write_json, write_text
from transformers import set_seed


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run or finish a comparison, write `comparison.json` and `comparison.md`, print the table, and return what was written."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    (parsed,) = parse_arguments((ComparisonArguments,), words)
    start = began(parsed.command)
    comparison = Comparison(parsed, read_recipe(base_recipe_path(parsed.base_recipe, words)))
    path = comparison.root / "comparison.json"
    with tempfile.TemporaryDirectory() as folder:
        # All models are built before the first is trained: an error in the last one does not come after hours.
        trainers = comparison.build(Path(folder))
        result = stored_result(path, comparison) if parsed.time_only else compare(comparison, trainers)
        if not parsed.time_only:
            result["origin"] = start | {"hardware": hardware(trainers[parsed.reference].args)}
        set_seed(parsed.seeds[0])
        result["memory"] = {name: step_memory(trainer) for name, trainer in trainers.items()}
        print(f"\ntime per step: {parsed.timing_turns} turns")
        result["timing"] = measure_times(trainers, parsed.reference, parsed.timing_turns)
    text = markdown(result)
    write_json(path, result)
    write_text(path.with_suffix(".md"), text)
    curves = write_curves(comparison, result)
    print(f"\n{text}\nWritten to {', '.join(map(str, (path, path.with_suffix('.md'), *curves)))}")
    return result


if __name__ == "__main__":
    main()
