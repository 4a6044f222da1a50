"""Writes texts.json: texts with their ROUGE and BLEU by the packages rouge_score and sacrebleu.

    pip install rouge_score sacrebleu
    python crates/train/tests/goldens/texts.py
"""

import json
import random
from pathlib import Path

import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

PAIRS = [
    ("The cat sat on the mat.", "The cat sat on the mat."),
    ("The cat sat on the mat.", "A cat was sitting on the mat, quietly."),
    ("", "A text."),
    ("A text.", "..."),
    ("one two three four five six", "six five four three two one"),
    ("It costs $3.50, or 1,000.25 in all-in 3-5 days (e.g. \"now\")!", "It costs 3.50 dollars, or 1,000 in 3-5 days."),
    ("&quot;Yes&quot; &amp; &lt;no&gt;", "\"Yes\" & <no>"),
    ("Über den Wölken, 5-mal.", "Über den Wolken, 5-mal."),
    ("don't stop -- can't won't", "do not stop; can't"),
    ("a a a a a b", "a a b b a"),
    ("the the the the the the the", "the cat is on the mat"),
    ("x.y.z 1.2.3 a,b,c 4,5 6.", "x. y. z 1.2.3 a, b, c 4,5 6 ."),
    ("line one\nline two-\nthree", "line one line twothree"),
    ("İstanbul ÇA Straße", "istanbul ca strasse"),
    ("[a]{b}`c`~d^e_f\\g|h", "a b c d e f g h"),
]


def main():
    drawn = random.Random(7)
    words = "the a cat dog sat ran on under mat , . 3.5 10-20 quickly".split()
    pairs = list(PAIRS)
    for _ in range(15):
        reference = [drawn.choice(words) for _ in range(drawn.randint(4, 14))]
        generated = [word if drawn.random() < 0.75 else drawn.choice(words) for word in reference]
        pairs.append((" ".join(generated[: drawn.randint(3, 14)]), " ".join(reference)))
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False)
    cases = []
    for index, (generated, reference) in enumerate(pairs):
        rouge = {name: score.fmeasure for name, score in scorer.score(reference, generated).items()}
        bleu = sacrebleu.corpus_bleu([generated], [[reference]]).score
        so_far = pairs[: index + 1]
        corpus = sacrebleu.corpus_bleu([pair[0] for pair in so_far], [[pair[1] for pair in so_far]]).score
        cases.append({"generated": generated, "reference": reference, **rouge, "bleu": bleu, "corpus_bleu": corpus})
    path = Path(__file__).with_name("texts.json")
    path.write_text(json.dumps(cases, indent=0, ensure_ascii=False) + "\n")


main()
