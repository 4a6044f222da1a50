"""Writes reference_compositions.json: what the Python reference (`adapters` 1.3.0) makes of compositions.

Run with a Python that has it: python make.py

The expressions are Python and, names being quoted, texts of this crate too.
"""

import itertools
import json
import pathlib
import tempfile

from transformers import BertConfig

import adapters
from adapters import BertAdapterModel
from adapters.composition import (
    AdapterCompositionBlock,
    Average,
    BatchSplit,
    Fuse,
    Parallel,
    Split,
    Stack,
    parse_composition,
    parse_heads_from_composition,
)

HERE = pathlib.Path(__file__).parent
BLOCKS = {"Stack": Stack, "Fuse": Fuse, "Split": Split, "BatchSplit": BatchSplit, "Parallel": Parallel, "Average": Average}
NAMES = ["a", "b", "c", "d"]

EXPRESSIONS = """
"a"
Stack("a")
Stack("a", "b")
Stack("a", Fuse("b", "c"))
Fuse("a", "b", "c")
Fuse("a")
Fuse(Stack("a", "b"), "c")
Split("a", "b", splits=[48, 80])
Split("a", "b", splits=64)
Split("a", Stack("b", "c"), splits=[1, 2])
BatchSplit("a", "b", batch_sizes=[1, 3])
BatchSplit("a", "b", "c", batch_sizes=2)
BatchSplit(Stack("a", "b"), Split("c", "d", splits=[3, 4]), batch_sizes=[2, 1])
Stack("a", BatchSplit("b", Stack("c", "d"), batch_sizes=[1, 3]))
Parallel("a", "b")
Parallel(Stack("a", "b"), Stack("a", "c"), "d")
Stack("a", Parallel("b", "c", "d"))
Parallel("a", BatchSplit("b", "c", batch_sizes=[1, 1]))
Stack(Parallel("a", "b"), Parallel("c", "d"))
Stack("a", Split("b", "c", splits=[5, 6]), "d")
Average("a", "b")
Average("a", "b", "c")
Average("a", "b", weights=[1, 3])
Average("a", "b", weights=[0.3, 0.7])
Average("a", "b", "c", weights=[0.1, 0.2, -0.5])
Average(Stack("a", "b"), Split("c", "d", splits=[2, 2]), weights=[2, 3])
Stack("a", Average("b", "c", weights=[5, 2]))
Stack("a", "a", "b")
""".strip().splitlines()

# Setups that are saved by the model, with the heads that they are saved with.
HEADS = ["None", '"a"', '["a", "b"]', 'BatchSplit("a", "b", batch_sizes=[1, 3])', 'Parallel("a", "b")']

# What this crate writes and the reference does not, but reads.
EXTENDED = [
    'Fuse("a", "b", name="both")',
    'Average("a", "b", weights=[0.5, 3.0], normalize_weights=False)',
]


def make(text):
    return parse_composition(eval(text))


def heads(setup):
    found = parse_heads_from_composition(setup)
    return found.to_dict() if isinstance(found, AdapterCompositionBlock) else found


def fusion_names(setup):
    if isinstance(setup, str):
        return []
    own = [setup.name] if isinstance(setup, Fuse) else []
    return own + [name for child in setup for name in fusion_names(child)]


def described(text):
    setup = make(text)
    return {
        "text": text,
        "json": setup.to_dict(),
        "first": setup.first(),
        "last": setup.last(),
        "names": sorted(setup.flatten()),
        "length": len(setup),
        "parallel_channels": setup.parallel_channels,
        "fusions": fusion_names(setup),
        "heads": heads(setup),
    }


def nested(chain):
    arguments = {"Split": ", splits=1", "BatchSplit": ", batch_sizes=1"}
    text = '"a"'
    for name in reversed(chain):
        text = f"{name}({text}{arguments.get(name, '')})"
    return text


def valid_chains():
    """The chains of up to four blocks in each other that the reference lets pass."""
    for depth in range(1, 5):
        for chain in itertools.product(BLOCKS, repeat=depth):
            try:
                make(nested(chain))
            except ValueError:
                continue
            yield " ".join(chain)


def saved():
    """The files that a model saves."""
    config = BertConfig(
        vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=8,
    )
    model = BertAdapterModel(config)
    for name in NAMES:
        model.add_adapter(name, config="seq_bn")
        model.add_classification_head(name, num_labels=2)
    files = []
    for text in EXPRESSIONS:
        setup = make(text)
        for fusion in {fusion: None for fusion in fusion_names(setup)}:
            if model.adapters_config.get_fusion(fusion)[0] is None:
                model.add_adapter_fusion(fusion.split(","), name=fusion)
        for head_text in HEADS if text == EXPRESSIONS[2] else HEADS[:1]:
            with tempfile.TemporaryDirectory() as folder:
                model.save_adapter_setup(folder, eval(text), head_setup=eval(head_text))
                file = json.loads((pathlib.Path(folder) / "adapter_setup.json").read_text())
            files.append({"text": text, "heads": head_text, "file": file})
    return files


def extended(text):
    setup = make(text)
    data = setup.to_dict()
    if isinstance(setup, Fuse):
        data["kwargs"] = {"name": "both"}
    else:
        data["kwargs"]["normalize_weights"] = False
    read = AdapterCompositionBlock.from_dict(data)
    assert type(read) is type(setup)
    if isinstance(setup, Fuse):
        assert read.name == "both"
    else:
        assert read.weights == [0.5, 3.0]
    return {"text": text, "json": data}


golden = {
    "version": adapters.__version__,
    "compositions": [described(text) for text in EXPRESSIONS],
    "valid_chains": list(valid_chains()),
    "saved": saved(),
    "extended": [extended(text) for text in EXTENDED],
}


def write(value, file):
    """One item a line, so that differences can be read."""
    parts = []
    for key, part in value.items():
        if isinstance(part, list):
            lines = ",\n".join("  " + json.dumps(item) for item in part)
            parts.append(f" {json.dumps(key)}: [\n{lines}\n ]")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(part)}")
    file.write_text("{\n" + ",\n".join(parts) + "\n}\n")


write(golden, HERE / "reference_compositions.json")
