"""The quickstart with each of the fifteen identifiers, ours beside the Python reference: a table of accuracies.

    cargo build --release
    python tests/python/quickstart_table.py --model DIR --data movieReviewSnippets_GroundTruth.txt --out DIR

runs both programs once for each identifier, each with the same settings (batches of 32 texts of like length, learning
rate 1e-3), and prints Markdown. What was run is kept in --out, and not run again. A run takes minutes:
the fifteen pairs take hours. Accuracy does not depend on what else the machine does, but time does: `cargo xtask bench
--job methods` measures it, both sides in turn.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

IDENTIFIERS = [
    "seq_bn", "double_seq_bn", "par_bn", "scaled_par_bn", "seq_bn_inv", "double_seq_bn_inv", "compacter", "compacter++",
    "prefix_tuning", "prefix_tuning_flat", "lora", "ia3", "mam", "unipelt", "prompt_tuning",
]  # fmt: skip


def run(command, path, threads):
    if not path.exists() or not path.read_text().strip():
        print(f"running {' '.join(map(str, command))}", file=sys.stderr)
        variables = {"RAYON_NUM_THREADS": threads, "OMP_NUM_THREADS": threads} if threads else {}
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | variables)
        beside = path.with_suffix(".part")
        beside.write_text(output.stdout)
        beside.rename(path)
    return json.loads(path.read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="target/release/burn-adapters")
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", default="2")
    parser.add_argument("--threads", default="", help="threads of each program; all cores if not given")
    parser.add_argument("--only", choices=["ours", "reference"], help="run one side, print nothing")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    files = ["--model", arguments.model, "--data", arguments.data]
    rows = []
    for name in IDENTIFIERS:
        ours = reference = None
        if arguments.only != "reference":
            folder = arguments.out / f"ours-{name}"
            command = [arguments.program, "-q", "quickstart", "--config", name, "--dir", folder, "--json", "--epochs"]
            command += [arguments.epochs, *files]
            ours = run(command, arguments.out / f"ours-{name}.json", arguments.threads)
        if arguments.only != "ours":
            script = Path(__file__).parent / "quickstart_reference.py"
            command = [sys.executable, script, "--config", name, "--grouped", "--epochs"]
            command += [arguments.epochs, *files]
            command += ["--threads", arguments.threads] if arguments.threads else []
            reference = run(command, arguments.out / f"ref-{name}.json", arguments.threads)
        rows.append((name, ours, reference))
    if not arguments.only:
        print(table(rows))


def table(rows):
    lines = [
        "| identifier | parameters, adapter and head | accuracy, ours | accuracy, reference | ours − reference |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, ours, reference in rows:
        trained = ours["trainable"] + ours["head_parameters"]
        if trained != reference["trained_parameters"]:
            raise SystemExit(f"{name}: ours trains {trained} parameters, the reference {reference['trained_parameters']}")
        found, expected = ours["accuracy"], reference["accuracy"]
        lines.append(f"| `{name}` | {trained:,} | {found:.4f} | {expected:.4f} | {found - expected:+.4f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
