"""Generates the goldens of composed and merged adapters: `compositions/` beside the other goldens.

    python tests/python/make_composition_goldens.py --output tests/goldens

Needs `models/`, which `make_goldens.py` writes. Everything is computed on the CPU in float32 with every dropout at
zero. Two runs write the same bytes.
"""

import argparse
import os
import shutil
import sys
import time

from common import folder_size, make_deterministic, write_json

import composition_cases
import composition_merge
import composition_pool
import composition_run
import composition_setups


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="the folder of goldens; its `compositions/` is replaced")
    parser.add_argument("--only", help="run only the cases whose name contains this (for trying things out)")
    parser.add_argument("--facts", help="write what was measured of each case to this JSON file")
    return parser.parse_args()


def _attempt(name, crash, work, crashes, facts, problems):
    """Runs one piece; a failure of the reference is a finding."""
    try:
        facts[name] = work()
    except Exception as error:  # noqa: BLE001 - whatever the reference raises is the fact of interest
        text = (str(error).strip().splitlines() or [""])[0]
        crashes[name] = f"{type(error).__name__}: {text}"
        if not crash:
            problems.append(f"{name}: {crashes[name]}")
        return False
    if crash:
        problems.append(f"{name}: expected to fail, but ran")
    return True


def main():
    arguments = parse_arguments()
    start = time.monotonic()
    facts_file = os.path.abspath(arguments.facts) if arguments.facts else None
    here = os.path.dirname(os.path.abspath(__file__))
    make_deterministic(arguments.output)
    # The reference writes the base model's path into its files: a relative one is the same everywhere.
    os.chdir(arguments.output)
    shutil.rmtree("compositions", ignore_errors=True)
    os.makedirs("compositions/cases")
    composition_pool.clear_folders()
    for model in composition_cases.BOTH:
        composition_pool.write(model)

    index, crashes, facts, problems = [], {}, {}, []
    for case in composition_cases.all_cases():
        if arguments.only and arguments.only not in case.name:
            continue
        for model in case.models:
            name = f"{model}__{case.name}"
            ran = _attempt(name, case.crash, lambda: composition_run.run(model, case), crashes, facts, problems)
            if ran:
                index.append({"folder": name, "model": model, "method": case.method, "setup": case.setup})
            elif model == case.models[0]:
                crashes[name] = f"`{case.setup}`: {crashes[name]}"
            else:
                crashes.pop(name)
    write_json("compositions/cases/index.json", index)
    if not arguments.only:
        composition_merge.write(_attempt, crashes, facts, problems)
        composition_setups.write(_attempt, crashes, facts, problems)
    with open(os.path.join(here, "composition_notes.md"), encoding="utf-8") as file:
        notes = file.read().rstrip()
    lines = [notes, "", "## What the reference crashes on, or refuses", ""]
    lines += [f"* {text}" for text in dict.fromkeys(crashes.values())]
    with open("compositions/REFERENCE_NOTES.md", "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    if facts_file:
        write_json(facts_file, facts)

    for name, fact in facts.items():
        if fact.get("noise", 0.0) > 2e-5 or fact.get("noise_after", 0.0) > 2e-5:
            problems.append(f"{name}: badly conditioned: {fact}")
    print(
        f"{len(index)} cases, {folder_size('compositions') / 1e6:.2f} MB, {time.monotonic() - start:.0f} s, "
        f"{len(crashes)} crashes of the reference"
    )
    for problem in problems:
        print(f"unexpected: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
