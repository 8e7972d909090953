# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
What the Hub checks in the metadata of a model card, as far as its documentation says: the annotated `modelcard.md` and the
lists of licenses and tasks. The Hub itself answers `POST /api/validate-yaml`; its stand-in answers with this.
"""

import re
from typing import Any

import yaml


YAML_BLOCK = re.compile(r"\A\s*---\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", flags=re.DOTALL)
REPOSITORY = re.compile(r"(?:[\w-][\w.-]*/)?[\w-][\w.-]*", flags=re.ASCII)
LICENSES = set(
    """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
    afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl
    lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0 odc-by odbl openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib
    pddl lgpl-lr deepfloyd-if-license llama2 gemma unknown other
    """.split()
)
# The tasks of the Hub for images, tokens and text; a model of this family has no other.
TASKS = set(
    """
    feature-extraction fill-mask image-classification image-feature-extraction image-segmentation image-to-image
    object-detection text-classification text-generation token-classification unconditional-image-generation
    zero-shot-classification zero-shot-image-classification other
    """.split()
)


def check_card(content: str) -> tuple[list[str], list[str]]:
    """The errors, for which the Hub refuses a card, and the warnings, for which it does not."""
    match = YAML_BLOCK.match(content)
    if match is None:
        return [], ["empty or missing yaml metadata in repo card"]
    try:
        metadata = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        return [f"the metadata is no YAML: {error}"], []
    if not isinstance(metadata, dict):
        return ["the metadata must be a mapping"], []
    errors, warnings = [], []
    for name in ("library_name", "pipeline_tag", "license_name", "license_link"):
        if name in metadata and not is_text(metadata[name]):
            errors.append(f'"{name}" must be a string')
    for name in ("tags", "datasets", "metrics"):
        if name in metadata and not (isinstance(metadata[name], list) and all(map(is_text, metadata[name]))):
            errors.append(f'"{name}" must be an array of strings')
    for name in ("datasets", "base_model"):
        for value in as_list(metadata.get(name)):
            if not (isinstance(value, str) and REPOSITORY.fullmatch(value)):
                errors.append(f'"{name}" with value {value!r} is not valid: it must be an id on the Hub')
    for value in as_list(metadata.get("license")):
        if value not in LICENSES:
            errors.append(f'"license" must be one of the licenses of the Hub, got {value!r}')
        elif value == "other" and not metadata.get("license_name"):
            errors.append('"license_name" is required with "license: other"')
    for value in as_list(metadata.get("language")):
        if not (isinstance(value, str) and re.fullmatch(r"[a-z]{2,3}|code|multilingual", value)):
            errors.append(f'"language" must be an ISO 639 code, got {value!r}')
    if is_text(metadata.get("pipeline_tag")) and metadata["pipeline_tag"] not in TASKS:
        warnings.append(f'the pipeline tag "{metadata["pipeline_tag"]}" is not in the official list')
    if "model-index" in metadata:
        errors += check_model_index(metadata["model-index"])
    return errors, warnings


def check_model_index(index: Any) -> list[str]:
    """The errors in `model-index`."""
    if not isinstance(index, list) or not index:
        return ['"model-index" must be an array']
    errors = []
    for number, model in enumerate(index):
        place = f"model-index[{number}]"
        if not isinstance(model, dict) or not is_text(model.get("name")):
            errors.append(f'"{place}.name" is required')
            continue
        if not isinstance(model.get("results"), list):
            errors.append(f'"{place}.results" must be an array')
            continue
        for position, result in enumerate(model["results"]):
            errors += check_result(f"{place}.results[{position}]", result)
    return errors


def check_result(place: str, result: Any) -> list[str]:
    """The errors in one of its results."""
    errors = []
    if not isinstance(result, dict):
        return [f'"{place}" must be an object']
    for part, names in (("task", ("type",)), ("dataset", ("type", "name"))):
        for name in names:
            if not isinstance(result.get(part), dict) or not is_text(result[part].get(name)):
                errors.append(f'"{place}.{part}.{name}" is required')
    kind = result["dataset"].get("type") if isinstance(result.get("dataset"), dict) else None
    if is_text(kind) and not REPOSITORY.fullmatch(kind):
        errors.append(f'"{place}.dataset.type" with value {kind!r} is not valid')
    metrics = result.get("metrics")
    if not isinstance(metrics, list) or not metrics:
        return [*errors, f'"{place}.metrics" must be an array']
    for number, metric in enumerate(metrics):
        metric = metric if isinstance(metric, dict) else {}
        if not is_text(metric.get("type")):
            errors.append(f'"{place}.metrics[{number}].type" is required')
        if metric.get("value") is None:
            errors.append(f'"{place}.metrics[{number}].value" is required')
    return errors


def is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def as_list(value: Any) -> list:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
