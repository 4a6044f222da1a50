"""What the tasks of `tasks_table.py` share."""

import torch


class Task:
    """A task: its data, its head in the reference, and its scores under the names that the program prints."""

    config, epochs, batch_size, max_length, sizes, suffix = "seq_bn", 2, 8, 128, (1000, 500), "jsonl"
    columns = []  # further arguments of the program
    own_head = None  # the class of a model whose own output layer is the head: it has scores before training, too

    def rows(self, sources, shuffle):
        """The examples to train on and those to test on; by default, all are shuffled together."""
        rows = shuffle(self.examples(sources))
        return rows[: self.sizes[0]], rows[self.sizes[0] : sum(self.sizes)]

    def tokens(self, *texts, **options):
        options |= {"padding": True, "truncation": True, "max_length": self.max_length, "return_tensors": "pt"}
        return self.tokenizer(*texts, **options)

    def label(self, row):
        return row["label"]

    def batch(self, rows):
        labels = torch.tensor([self.label(row) for row in rows])
        return {**self.tokens([row["text"] for row in rows]), "labels": labels}

    def loss(self, model, batch):
        return model(**batch).loss

    def outputs(self, model, rows):
        """The rows of each batch of the test, what the model read and what it computed."""
        model.eval()
        for start in range(0, len(rows), 64):
            part = rows[start : start + 64]
            batch = self.batch(part)
            with torch.no_grad():
                yield part, batch, model(**batch)
