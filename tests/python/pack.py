"""Packs the goldens: each folder into one archive that the tests unpack.

    python tests/python/pack.py target/goldens tests/goldens
    python tests/python/pack.py target/goldens tests/goldens distilbert     # this family or folder alone
    python tests/python/pack.py --file goldens.json     # becomes goldens.json.xz

Tensors that `common.normal` drew are left out: in their place are zeros, and `drawn.json` in the archive says for each file
where which values belong. Two runs over the same files write the same bytes.
"""

import io
import json
import lzma
import os
import shutil
import sys
import tarfile

import torch
from gguf import GGUFReader
from safetensors.torch import load

from common import digest

#: 32-bit numbers: of four bytes in a row, each is like the one four bytes before.
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "lp": 2, "pb": 2}]

FOLDERS = (
    "models", "loading", "cases", "compositions", "folders", "heads", "matrix", "outputs", "pairs", "gguf", "peft", "preferences",
)

#: The folder of the families beside BERT, each of which is an archive.
FAMILIES = "families"

#: What the reference does not do, which is for people to read.
NOTES = {"REFERENCE_NOTES.md": "REFERENCE_NOTES.md", "compositions/REFERENCE_NOTES.md": "COMPOSITION_NOTES.md"}


def drawn_values(source):
    """What the scripts drew: the digest of the values → how they were drawn."""
    folder = os.path.join(source, "drawn")
    drawn = {}
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            drawn |= json.load(file)
    return drawn


def without_drawn(path, data, drawn):
    """The bytes of a file of tensors with zeros where values were drawn, and `[offset, name, count, mean, deviation]`."""
    if path.endswith(".safetensors"):
        tensors = load(data)
    elif path.endswith(".bin"):
        tensors = torch.load(io.BytesIO(data), weights_only=True)
    elif path.endswith(".gguf"):
        tensors = {tensor.name: torch.from_numpy(tensor.data.copy()) for tensor in GGUFReader(path).tensors}
    else:
        return data, []
    data, places = bytearray(data), []
    for _, tensor in sorted(tensors.items()):
        values = tensor.contiguous().numpy().tobytes() if tensor.dtype == torch.float32 else b""
        how = drawn.get(digest(values))
        offset = data.find(values) if how else -1
        if offset >= 0:
            data[offset : offset + len(values)] = bytes(len(values))
            places.append([offset, *how])
    return bytes(data), places


def pack(source, folder, drawn):
    """The bytes of an archive of a folder: sorted, without times or owners."""
    buffer = io.BytesIO()
    left_out = {}
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for directory, folders, names in os.walk(os.path.join(source, folder)):
            folders.sort()
            for name in sorted(names):
                path = os.path.join(directory, name)
                name = os.path.relpath(path, source).replace(os.sep, "/")
                if name in NOTES:
                    continue
                with open(path, "rb") as file:
                    data, places = without_drawn(path, file.read(), drawn)
                if places:
                    left_out[name] = places
                add(archive, name, data)
        add(archive, "drawn.json", json.dumps(left_out).encode())
    return lzma.compress(buffer.getvalue(), check=lzma.CHECK_CRC32, filters=FILTERS)


def add(archive, name, data):
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def pack_file(path):
    """Replaces a file by its compressed form."""
    with open(path, "rb") as file:
        data = file.read()
    with open(f"{path}.xz", "wb") as file:
        file.write(lzma.compress(data, check=lzma.CHECK_CRC32, preset=9 | lzma.PRESET_EXTREME))
    os.remove(path)


def main():
    source, target, *only = sys.argv[1:]
    if source == "--file":
        return pack_file(target)
    drawn = drawn_values(source)
    names = only or [*FOLDERS, *sorted(os.listdir(os.path.join(source, FAMILIES)))]
    for folder in (name if name in FOLDERS else f"{FAMILIES}/{name}" for name in names):
        data = pack(source, folder, drawn)
        name = f"{os.path.basename(folder)}.tar.xz"
        with open(os.path.join(target, name), "wb") as file:
            file.write(data)
        print(f"{name}: {len(data) / 1e6:.2f} MB")
    if only:
        return
    for name, copy in NOTES.items():
        shutil.copyfile(os.path.join(source, name), os.path.join(target, copy))


if __name__ == "__main__":
    main()
