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
import notes
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
    notes.write(".", crashes, facts)
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
