# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
Measure the forward pass: energies, effective rank, angles, step sizes and accuracy after every iteration.

    from modeling_hyperset.analysis import analyze

    analysis = analyze(model, dataloader)
    print(analysis.table())
    analysis.save("analysis.json")

`answers` gives a model's answer after every iteration. `trajectories` follows the tokens of one sample on the sphere.
`newton_domain` says for which tokens the light Newton step is valid.
`modeling_hyperset.analysis.callback.EnergyCallback` logs while Trainer trains. `modeling_hyperset.analysis.figures`,
`.comparison_figures`, `.sphere_figures` and `.text_figures` draw, and only they need matplotlib. Nothing of this is copied
into checkpoints.
"""

from .analysis import Analysis, analyze
from .answers import Answers, answers
from .depth import analyze_depths, by_depth
from .depth_tradeoff import DepthPoint, accuracy_at_depths
from .geometry import angle_of_mean_cosine, average_angles, effective_rank, mean_angle, ranks, subspace_tokens
from .measuring import QUANTITIES
from .newton import largest_eigenvalues, newton_domain
from .texts import TextAnalysis, analyze_text
from .trajectories import Trajectories, trajectories


__all__ = [
    "QUANTITIES",
    "Analysis",
    "Answers",
    "DepthPoint",
    "TextAnalysis",
    "Trajectories",
    "accuracy_at_depths",
    "analyze",
    "analyze_depths",
    "analyze_text",
    "answers",
    "angle_of_mean_cosine",
    "average_angles",
    "by_depth",
    "effective_rank",
    "largest_eigenvalues",
    "mean_angle",
    "newton_domain",
    "ranks",
    "subspace_tokens",
    "trajectories",
]
