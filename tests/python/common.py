"""What the golden scripts share: where things are, how numbers are drawn, how files are written."""

import json
import os
import zlib

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

#: The seed of everything. A tensor's own seed is derived from it and the tensor's name, so that adding a case changes
#: no other.
SEED = 20240711


def make_deterministic():
    """One thread and deterministic kernels: the same machine writes the same bytes each time."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)


def seed(*names):
    """A seed that depends on `SEED` and the given names alone."""
    return SEED * 2**32 + zlib.crc32("/".join(map(str, names)).encode())


def generator(*names):
    """A NumPy generator seeded for these names."""
    return np.random.default_rng(seed(*names))


def normal(shape, *names, mean=0.0, std=1.0):
    """A float32 tensor of normal numbers, drawn for these names and rounded to multiples of 1/1024.

    What is drawn so compresses to a third, and the reference computes with just these numbers.
    """
    values = generator(*names).standard_normal(tuple(shape)) * std + mean
    return torch.from_numpy(np.asarray(np.round(values * 1024) / 1024, dtype=np.float32))


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, sort_keys=True)
        file.write("\n")


def write_tensors(path, tensors):
    """Writes safetensors; clones, because the format refuses tensors that share memory."""
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, path)


def write_golden(path, tensors):
    """Writes what the reference computed, rounded to multiples of 2^-19 (less than 1e-6 away), which packs well."""

    def rounded(tensor):
        return torch.round(tensor.detach().double() * 2**19).div(2**19).float() if tensor.is_floating_point() else tensor

    write_tensors(path, {name: rounded(tensor) for name, tensor in tensors.items()})


def folder_size(path):
    """The bytes in a folder, counted file by file."""
    return sum(
        os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(path) for name in names
    )
