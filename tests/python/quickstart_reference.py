"""The quickstart's job, done by the Python reference: the number to compare ours with.

    python tests/python/quickstart_reference.py --model DIR --data movieReviewSnippets_GroundTruth.txt [--config seq_bn]

prints one JSON object: held-out accuracy before and after, seconds of training, peak memory.
"""

import argparse
import json
import random
import resource
import time

import torch
from adapters import AutoAdapterModel
from transformers import AutoTokenizer, get_linear_schedule_with_warmup


def read(path):
    rows = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            _, rating, text = line.rstrip("\n").split("\t", 2)
            rows.append((text, int(float(rating) > 0)))
    held_out = [row for i, row in enumerate(rows) if i % 10 == 0]
    train = [row for i, row in enumerate(rows) if i % 10 != 0]
    return train, held_out


def accuracy(model, tokenizer, rows, max_length):
    model.eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(rows), 64):
            part = rows[start : start + 64]
            batch = tokenizer(
                [text for text, _ in part], padding=True, truncation=True, max_length=max_length, return_tensors="pt"
            )
            logits = model(**batch).logits
            right += int((logits.argmax(-1) == torch.tensor([label for _, label in part])).sum())
    return right / len(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--config", default="seq_bn")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--grouped", action="store_true", help="group batches by length")
    parser.add_argument("--seed", type=int, default=42)
    arguments = parser.parse_args()

    start = time.time()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    random.seed(arguments.seed)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    model = AutoAdapterModel.from_pretrained(arguments.model)
    model.add_adapter("reviews", config=arguments.config)
    model.add_classification_head("reviews", num_labels=2)
    model.train_adapter("reviews")
    train, held_out = read(arguments.data)
    before = accuracy(model, tokenizer, held_out, arguments.max_length)

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=arguments.learning_rate, weight_decay=0.0)
    steps = arguments.epochs * ((len(train) + arguments.batch_size - 1) // arguments.batch_size)
    schedule = get_linear_schedule_with_warmup(optimizer, 0, steps)
    training = time.time()
    for _ in range(arguments.epochs):
        model.train()
        random.shuffle(train)
        batches = [train[i : i + arguments.batch_size] for i in range(0, len(train), arguments.batch_size)]
        if arguments.grouped:
            # As our program does it: sorted by length within windows of 50 batches.
            window = 50 * arguments.batch_size
            parts = [train[i : i + window] for i in range(0, len(train), window)]
            ordered = [row for part in parts for row in sorted(part, key=lambda row: len(row[0]))]
            batches = [ordered[i : i + arguments.batch_size] for i in range(0, len(train), arguments.batch_size)]
            random.shuffle(batches)
        for part in batches:
            batch = tokenizer(
                [text for text, _ in part],
                padding=True,
                truncation=True,
                max_length=arguments.max_length,
                return_tensors="pt",
            )
            loss = model(**batch, labels=torch.tensor([label for _, label in part])).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    training = time.time() - training
    after = accuracy(model, tokenizer, held_out, arguments.max_length)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        json.dumps(
            {
                "config": arguments.config,
                "grouped": arguments.grouped,
                "trained_parameters": sum(parameter.numel() for parameter in trained),
                "accuracy_before": before,
                "accuracy": after,
                "training_seconds": training,
                "seconds": time.time() - start,
                "peak_memory_mb": peak / 1024,
                "threads": torch.get_num_threads(),
            }
        )
    )


if __name__ == "__main__":
    main()
