"""What Python's package `gguf` makes of random blocks: JSON on standard output.

For each type the bytes of some blocks, as hexadecimal digits, and the bits of the elements that it gives for them; then
the blocks that it makes of some values.
"""

import json

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize, quantize

#: Where a block has its factors in half precision.
HALVES = {
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q8_0": [0],
    "Q2_K": [80, 82],
    "Q3_K": [108],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
    "IQ4_NL": [0],
    "MXFP4": [],
}


def bits(values):
    return [f"{value:08x}" for value in np.asarray(values, dtype=np.float32).view(np.uint32).flatten().tolist()]


def main():
    random = np.random.default_rng(20240711)
    golden = {}
    for name, halves in HALVES.items():
        kind = Type[name]
        _, size = GGML_QUANT_SIZES[kind]
        blocks = random.integers(0, 256, size=(2, size), dtype=np.uint8)
        for at in halves:
            factors = (random.standard_normal(2) / 16).astype(np.float16)
            blocks[:, at : at + 2] = factors.view(np.uint8).reshape(2, 2)
        if name == "MXFP4":
            # Exponents near those of weights, and the two smallest.
            blocks[:, 0] = [1, 120]
        golden[name] = {"bytes": blocks.tobytes().hex(), "bits": "".join(bits(dequantize(blocks, kind)))}
    values = random.standard_normal((8, 32)).astype(np.float32)
    values[1] *= 1e-3
    # Nothing but zeros, nothing but one value, a value far from the others, equal distances from zero, halves, whole steps.
    values[2] = 0.0
    values[3] = -0.75
    values[4, 7] = 40.0
    values[5, [3, 20]] = [5.0, -5.0]
    values[6] = np.arange(-16, 16, dtype=np.float32) / 2
    values[7] = np.arange(32, dtype=np.float32) - 8
    golden["quantized"] = {"values": "".join(bits(values))}
    for name in ["Q8_0", "Q4_0", "Q4_1"]:
        golden["quantized"][name] = quantize(values, Type[name]).tobytes().hex()
    print(json.dumps(golden, indent=1))


if __name__ == "__main__":
    main()
