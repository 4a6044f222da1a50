"""Prints the goldens of span metrics: random sequences of tags, broken ones among them, and what seqeval makes of them."""

import json
import random
import warnings

from seqeval.metrics import accuracy_score, classification_report
from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

warnings.filterwarnings("ignore")
random.seed(20240711)

IOB2 = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-a-b", "I-a-b"]
IOBES = ["O", "B-PER", "I-PER", "E-PER", "S-PER", "B-LOC", "I-LOC", "E-LOC", "S-LOC"]


def valid(scheme, length):
    """A sequence of the scheme."""
    tags = []
    while len(tags) < length:
        kind = random.choice(["PER", "LOC"] if scheme is IOBES else ["PER", "LOC", "a-b"])
        size = min(random.randint(1, 3), length - len(tags))
        if random.random() < 0.5:
            tags += ["O"] * size
        elif scheme is IOB2:
            tags += [f"B-{kind}"] + [f"I-{kind}"] * (size - 1)
        else:
            tags += [f"S-{kind}"] if size == 1 else [f"B-{kind}"] + [f"I-{kind}"] * (size - 2) + [f"E-{kind}"]
    return tags


def noisy(scheme, tags, rate):
    """The sequence with some tags replaced by any of the scheme."""
    return [random.choice(scheme) if random.random() < rate else tag for tag in tags]


def case(truth, found):
    average = lambda kind: precision_recall_fscore_support(truth, found, average=kind)[:3]
    any_span = any(tag != "O" for row in truth + found for tag in row)
    report = classification_report(truth, found, output_dict=True) if any_span else {}
    classes = {
        name: [row["precision"], row["recall"], row["f1-score"], int(row["support"])]
        for name, row in report.items()
        if not name.endswith(" avg")
    }
    return {
        "truth": [" ".join(row) for row in truth],
        "found": [" ".join(row) for row in found],
        "micro": [float(value) for value in average("micro")],
        "macro": [float(value) for value in average("macro")] if any_span else [0.0, 0.0, 0.0],
        "weighted": [float(value) for value in average("weighted")] if any_span else [0.0, 0.0, 0.0],
        "accuracy": accuracy_score(truth, found),
        "classes": classes,
    }


def rounded(value):
    if isinstance(value, float):
        return round(value, 9)
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


def main():
    cases = [case([["O", "O"]], [["O", "O"]]), case([["B-PER", "I-PER"]], [["O", "O"]]), case([["O", "I-PER"]], [["I-PER", "O"]])]
    for index in range(48):
        scheme = IOB2 if index % 2 == 0 else IOBES
        rows = [valid(scheme, random.randint(1, 10)) for _ in range(random.randint(1, 4))]
        # Every third has broken sequences for the truth, too.
        truth = [noisy(scheme, row, 0.3) for row in rows] if index % 3 == 0 else rows
        cases.append(case(truth, [noisy(scheme, row, random.choice([0.0, 0.2, 0.6])) for row in truth]))
    print("[")
    print(",\n".join(json.dumps(rounded(one), sort_keys=True) for one in cases))
    print("]")


if __name__ == "__main__":
    main()
