"""What the golden scripts share: where things are, how numbers are drawn, how files are written."""

import atexit
import hashlib
import json
import os
import sys
import zlib

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

#: The seed of everything. A tensor's own seed is derived from it and the tensor's name, so that adding a case changes
#: no other.
SEED = 20240711


#: What `normal` drew: the digest of the values → the name, the number of values, their mean and their deviation.
DRAWN = {}
#: Fewer values are as short as a note of how they were drawn.
FEWEST_NOTED = 8


def make_deterministic(output=None):
    """One thread and deterministic kernels: the same machine writes the same bytes each time.

    With the folder of goldens, `drawn/SCRIPT.json` there will say which tensors were drawn, and how, so that the archives
    can do without them (`pack.py`).
    """
    if output is not None:
        folder = os.path.join(os.path.abspath(output), "drawn")
        script = os.path.splitext(os.path.basename(sys.argv[0]))[0]
        os.makedirs(folder, exist_ok=True)
        atexit.register(lambda: write_json(os.path.join(folder, f"{script}.json"), DRAWN))
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
    """A float32 tensor of nearly normal numbers, drawn for these names and rounded to multiples of 1/1024.

    The values follow from the names by a formula that `crates/goldens` knows, too: four numbers of 16 bits are added up.
    """
    name = "/".join(map(str, names))
    count = int(np.prod(shape, dtype=np.int64))
    bits = mixed(name, count, SEED)
    total = sum((bits >> np.uint64(shift)) & np.uint64(0xFFFF) for shift in (0, 16, 32, 48)).astype(np.float64)
    # Their mean is 2 · 65,535, their variance (65,536² − 1) / 3.
    scaled = (total - 131070.0) * (std * 1024.0 / 37837.2) + mean * 1024.0
    values = (np.round(scaled) / 1024.0).astype(np.float32)
    if count >= FEWEST_NOTED:
        DRAWN[digest(values.tobytes())] = [name, count, mean, std]
    return torch.from_numpy(values).reshape(tuple(shape))


def digest(data):
    return hashlib.sha256(data).hexdigest()[:32]


def mixed(name, count, salt):
    """`count` numbers of 64 bits for a name: SplitMix64 from the name's FNV-1a."""
    hashed = 0xCBF29CE484222325
    for byte in name.encode():
        hashed = (hashed ^ byte) * 0x100000001B3 % 2**64
    start = np.uint64((hashed + (salt << 32)) % 2**64)
    with np.errstate(over="ignore"):
        value = (start + np.arange(1, count + 1, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def sums(name, values):
    """Two sums over all values, with random signs: what a golden keeps of a parameter after a step of training."""
    values = values.detach().double().flatten().numpy()
    signs = lambda salt: 1.0 - 2.0 * (mixed(name, len(values), salt) >> np.uint64(63)).astype(np.float64)
    return [float((signs(salt) * values).sum()) for salt in (101, 102)]


def row_sums(name, tensor):
    """Two sums over each row of a tensor, with random signs: what a golden keeps of the logits of many tokens."""
    signs = np.stack([1.0 - 2.0 * (mixed(name, tensor.shape[-1], salt) >> np.uint64(63)).astype(np.float64) for salt in (101, 102)])
    return tensor.detach().double() @ torch.from_numpy(signs.T)


def hadamard(size):
    """A matrix of 1 and -1 with orthogonal rows: Sylvester's doubling, and Paley's construction from a prime of 4k + 3."""
    prime = size - 1
    if size > 4 and prime % 4 == 3 and all(prime % divisor for divisor in range(2, prime)):
        squares = {number * number % prime for number in range(1, prime)}
        residues = np.array([0] + [1 if number in squares else -1 for number in range(1, prime)])
        matrix = np.ones((size, size))
        matrix[1:, 1:] = residues[(np.arange(prime)[None] - np.arange(prime)[:, None]) % prime] - np.eye(prime)
        return matrix
    if size == 1:
        return np.ones((1, 1))
    if size % 2:
        raise ValueError(f"there is no Hadamard matrix of {size} rows; choose a width that is a multiple of 4")
    return np.kron(np.array([[1.0, 1.0], [1.0, -1.0]]), hadamard(size // 2))


def orthogonal(size, *names):
    """A dense orthogonal matrix, drawn for these names: a Hadamard matrix whose rows and columns have random signs.

    All its elements are of one size, so that it takes a bit for each in an archive.
    """
    bits = mixed("/".join(map(str, names)), 2 * size, SEED) >> np.uint64(63)
    signs = 1.0 - 2.0 * bits.astype(np.float64)
    matrix = signs[:size, None] * hadamard(size) * signs[None, size:] / np.sqrt(size)
    return torch.from_numpy(matrix.astype(np.float32))


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, sort_keys=True)
        file.write("\n")


def write_tensors(path, tensors):
    """Writes safetensors; clones, because the format refuses tensors that share memory."""
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, path)


def write_golden(path, tensors):
    """Writes what the reference computed, rounded to multiples of 2^-19 (less than 1e-6 away), which packs well.

    Of `after.NAME`, the parameter `NAME` after a step, it writes two sums.
    """

    def rounded(tensor):
        return torch.round(tensor.detach().double() * 2**19).div(2**19).float() if tensor.is_floating_point() else tensor

    def kept(name, tensor):
        return torch.tensor(sums(name.removeprefix("after."), tensor)) if name.startswith("after.") else tensor

    write_tensors(path, {name: rounded(kept(name, tensor)) for name, tensor in tensors.items()})


def folder_size(path):
    """The bytes in a folder, counted file by file."""
    return sum(
        os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(path) for name in names
    )
