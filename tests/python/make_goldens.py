"""Generates the goldens: numbers of the Python reference that the Rust implementation has to reproduce.

    python tests/python/make_goldens.py --output tests/goldens

Everything is computed on the CPU in float32 with every dropout at zero. Two runs write the same bytes.
"""

import argparse
from dataclasses import replace
import os
import shutil
import sys
import time

from common import folder_size, make_deterministic, write_json

import cases
import models
import reference


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="the folder to write to; its goldens are replaced")
    parser.add_argument("--only", help="generate only the cases whose name contains this (for trying things out)")
    parser.add_argument("--facts", help="write what was measured of each case to this JSON file")
    return parser.parse_args()


def clear(output):
    """Removes what this program writes, and nothing else."""
    os.makedirs(output, exist_ok=True)
    for folder in ("models", "cases"):
        shutil.rmtree(os.path.join(output, folder), ignore_errors=True)
    os.makedirs(os.path.join(output, "cases"))


def _cell(text):
    return str(text).strip().splitlines()[0].replace("|", "\\|")


def _crashes(crashes):
    yield "## Where the reference fails"
    yield ""
    yield "| configuration | exception | what its documentation or the paper say |"
    yield "| --- | --- | --- |"
    seen = set()
    for case, _, error in crashes:
        # The models differ in sizes that the message repeats: one line each configuration.
        if case.name not in seen:
            seen.add(case.name)
            yield (
                f"| `{_cell(case.config)}` | `{type(error).__name__}: {_cell(error)}` | "
                f"{_cell(case.crash or 'unexpected')} |"
            )


def _names(facts, wanted):
    names = sorted({name.split("__", 1)[1] for name, fact in facts.items() if wanted(fact)})
    return ", ".join(f"`{name}`" for name in names) or "none"


def _measured(facts):
    yield "## What generating these goldens showed"
    yield ""
    yield "* Saved as `pytorch_adapter.bin`, because `use_safetensors=True` raises `RuntimeError: Some tensors share"
    yield f"  memory`: {_names(facts, lambda fact: fact['format'] == 'bin')}."
    yield "* Logits differ by more than 1e-3 between the reference's default attention (`sdpa`) and `eager`, which the"
    yield f"  goldens are: {_names(facts, lambda fact: fact['sdpa'] > 1e-3)}."
    yield "* Saved and loaded again, the reference itself no longer computes the same logits:"
    yield f"  {_names(facts, lambda fact: fact['reload'] > 1e-3)}."
    yield "* Some trained parameter gets no gradient (its `after.` value is the saved one):"
    yield f"  {_names(facts, lambda fact: fact['still'])}."
    yield "* Parameters that are saved but stay frozen in training (`frozen` in `case.json`):"
    yield f"  {_names(facts, lambda fact: fact['frozen'])}."
    yield "* Weights drawn with a standard deviation below 0.25 (`std` in `case.json`):"
    yield f"  {_names(facts, lambda fact: fact['std'] < 0.25)}."
    worst = max((fact["noise"] for fact in facts.values()), default=0.0)
    yield f"* The largest difference of any logit or updated parameter from float64: {worst:.0e}."


def write_notes(output, crashes, facts):
    """Writes `REFERENCE_NOTES.md`: the facts of `reference_notes.md`, and the lists that this run found out itself."""
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "reference_notes.md"), encoding="utf-8") as file:
        text = file.read().rstrip()
    lines = [text, "", *_crashes(crashes), "", *_measured(facts), ""]
    with open(os.path.join(output, "REFERENCE_NOTES.md"), "w", encoding="utf-8") as file:
        file.write("\n".join(lines))


def main():
    arguments = parse_arguments()
    start = time.monotonic()
    facts_file = os.path.abspath(arguments.facts) if arguments.facts else None
    clear(arguments.output)
    make_deterministic(arguments.output)
    # The reference writes the base model's path into its files: a relative one is the same everywhere.
    os.chdir(arguments.output)
    for model in models.CONFIGS:
        models.write(".", model)

    index, crashes, facts, problems = [], [], {}, []
    for template in cases.all_cases():
        if arguments.only and arguments.only not in template.name:
            continue
        for model in template.models:
            upper = str(list(range(1, models.CONFIGS[model]["num_hidden_layers"]))).replace(" ", "")
            case = replace(template, config=template.config.replace(cases.UPPER_LAYERS, upper))
            name = f"{model}__{case.name}"
            folder = os.path.join("cases", name)
            try:
                facts[name] = reference.run(model, case, folder)
            except Exception as error:  # noqa: BLE001 - a crash of the reference is a finding
                shutil.rmtree(folder, ignore_errors=True)
                crashes.append((case, model, error))
                if case.crash is None:
                    problems.append(f"{name}: {type(error).__name__}: {error}")
                continue
            index.append({"folder": name, "model": model, "method": case.method, "config": case.config})
            if case.crash is not None:
                problems.append(f"{name}: expected to crash, but ran")
    write_json(os.path.join("cases", "index.json"), index)
    write_notes(".", crashes, facts)
    if facts_file:
        write_json(facts_file, facts)

    print(
        f"{len(index)} cases, {folder_size('.') / 1e6:.2f} MB, {time.monotonic() - start:.0f} s, "
        f"{len(crashes)} crashes of the reference"
    )
    for problem in problems:
        print(f"unexpected: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
