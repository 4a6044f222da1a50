"""Packs the goldens: each folder into one archive that the tests unpack.

    python tests/python/pack.py target/goldens tests/goldens
    python tests/python/pack.py target/goldens tests/goldens distilbert     # this family or folder alone
    python tests/python/pack.py --file goldens.json     # becomes goldens.json.xz

Two runs over the same files write the same bytes.
"""

import io
import lzma
import os
import shutil
import sys
import tarfile

#: 32-bit numbers: of four bytes in a row, each is like the one four bytes before.
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "lp": 2, "pb": 2}]

FOLDERS = ("models", "cases", "compositions", "folders", "heads", "matrix", "outputs")

#: The folder of the families beside BERT, each of which is an archive.
FAMILIES = "families"

#: What the reference does not do, which is for people to read.
NOTES = {"REFERENCE_NOTES.md": "REFERENCE_NOTES.md", "compositions/REFERENCE_NOTES.md": "COMPOSITION_NOTES.md"}


def pack(source, folder):
    """The bytes of an archive of a folder: sorted, without times or owners."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for directory, folders, names in os.walk(os.path.join(source, folder)):
            folders.sort()
            for name in sorted(names):
                path = os.path.join(directory, name)
                entry = tarfile.TarInfo(os.path.relpath(path, source).replace(os.sep, "/"))
                entry.size = os.path.getsize(path)
                with open(path, "rb") as file:
                    archive.addfile(entry, file)
    return lzma.compress(buffer.getvalue(), check=lzma.CHECK_CRC32, filters=FILTERS)


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
    names = only or [*FOLDERS, *sorted(os.listdir(os.path.join(source, FAMILIES)))]
    for folder in (name if name in FOLDERS else f"{FAMILIES}/{name}" for name in names):
        data = pack(source, folder)
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
