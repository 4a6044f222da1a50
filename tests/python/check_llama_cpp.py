"""Runs what the Rust program wrote for llama.cpp in llama.cpp, and compares logits.

    python tests/python/check_llama_cpp.py DIRECTORY

Every subfolder holds `base.gguf` (f32), `adapter.gguf` (LoRA), `merged.gguf`, and `case.json` with ids of tokens and the logits of
our program without and with the adapter. llama.cpp comes from the package `@node-llama-cpp/linux-x64`, which `npm pack` fetches
into the user's cache; it needs npm, and Linux on x86-64. Prints a table; exits with 1 if a case fails, or if there is none.
"""

import argparse
import ctypes
import glob
import json
import os
import subprocess
import sys
import tarfile

PACKAGE = "@node-llama-cpp/linux-x64@3.21.1"
#: llama.cpp's keys and values are f16.
TOLERANCE = 0.05


class Settings(ctypes.Structure):
    """A struct that is passed by value, as the library fills it. It is larger than any of the library's, whose own are the first
    bytes: such structs are on the stack, so that the rest is not read."""

    _fields_ = [("bytes", ctypes.c_ubyte * 1024)]


class Batch(ctypes.Structure):
    _fields_ = [("count", ctypes.c_int32)] + [(name, ctypes.c_void_p) for name in ("ids", "states", "positions", "counts", "rows", "wanted")]


def library():
    """The libraries of the package, which is fetched once."""
    cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "burn-adapters", "llama.cpp")
    os.makedirs(cache, exist_ok=True)
    if not glob.glob(f"{cache}/package/bins/*/libllama*.so"):
        archive = subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=cache, check=True, capture_output=True, text=True)
        with tarfile.open(os.path.join(cache, archive.stdout.split()[-1])) as packed:
            packed.extractall(cache, filter="data")
    (folder,) = glob.glob(f"{cache}/package/bins/linux-x64")
    for name in ("libggml-base*", "libggml.*"):
        ctypes.CDLL(glob.glob(f"{folder}/{name}")[0], ctypes.RTLD_GLOBAL)
    ggml = ctypes.CDLL(glob.glob(f"{folder}/libggml.*")[0], ctypes.RTLD_GLOBAL)
    ggml.ggml_backend_load_all_from_path(folder.encode())
    return ctypes.CDLL(glob.glob(f"{folder}/libllama.*")[0])


class LlamaCpp:
    def __init__(self):
        self.lib = lib = library()
        silent = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
        self.silent = silent(lambda *_: None)
        lib.llama_log_set(self.silent, None)
        lib.llama_model_default_params.restype = Settings
        lib.llama_context_default_params.restype = Settings
        for name, arguments, result in [
            ("llama_model_load_from_file", [ctypes.c_char_p, Settings], ctypes.c_void_p),
            ("llama_init_from_model", [ctypes.c_void_p, Settings], ctypes.c_void_p),
            ("llama_adapter_lora_init", [ctypes.c_void_p, ctypes.c_char_p], ctypes.c_void_p),
            ("llama_model_get_vocab", [ctypes.c_void_p], ctypes.c_void_p),
            ("llama_vocab_n_tokens", [ctypes.c_void_p], ctypes.c_int32),
            ("llama_batch_get_one", [ctypes.c_void_p, ctypes.c_int32], Batch),
            ("llama_decode", [ctypes.c_void_p, Batch], ctypes.c_int32),
            ("llama_get_logits_ith", [ctypes.c_void_p, ctypes.c_int32], ctypes.POINTER(ctypes.c_float)),
            ("llama_set_adapters_lora", [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p], ctypes.c_int32),
        ]:
            function = getattr(lib, name)
            function.argtypes, function.restype = arguments, result
        lib.llama_backend_init()

    def last_logits(self, path, ids, adapter=None):
        """The logits after the last token."""
        lib = self.lib
        model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
        if not model:
            raise RuntimeError(f"llama.cpp does not load {os.path.basename(path)}")
        context = lib.llama_init_from_model(model, lib.llama_context_default_params())
        if not context:
            raise RuntimeError("llama.cpp makes no context")
        if adapter:
            lora = lib.llama_adapter_lora_init(model, adapter.encode())
            if not lora:
                raise RuntimeError("llama.cpp does not load the adapter")
            adapters, scales = (ctypes.c_void_p * 1)(lora), (ctypes.c_float * 1)(1.0)
            if lib.llama_set_adapters_lora(context, adapters, 1, scales) != 0:
                raise RuntimeError("llama.cpp does not set the adapter")
        tokens = (ctypes.c_int32 * len(ids))(*ids)
        if lib.llama_decode(context, lib.llama_batch_get_one(tokens, len(ids))) != 0:
            raise RuntimeError("llama.cpp does not decode")
        count = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
        return list(lib.llama_get_logits_ith(context, -1)[:count])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", help="the folder whose subfolders are the cases")
    directory = parser.parse_args().directory
    llama_cpp = LlamaCpp()
    failures = total = 0
    for folder in sorted(entry.path for entry in os.scandir(directory) if entry.is_dir()):
        with open(f"{folder}/case.json", encoding="utf-8") as file:
            case = json.load(file)
        for what, model, adapter in [("plain", "base", None), ("adapted", "base", "adapter"), ("adapted", "merged", None)]:
            total += 1
            name = f"{os.path.basename(folder)}: {model}{' + ' + adapter if adapter else ''}"
            try:
                adapter = adapter and f"{folder}/{adapter}.gguf"
                found = llama_cpp.last_logits(f"{folder}/{model}.gguf", case["ids"], adapter)
                expected = case[what][-len(found) :]
                difference = max(abs(a - b) for a, b in zip(found, expected, strict=True))
                failures += not difference <= TOLERANCE
                print(f"{name:<24} {'ok' if difference <= TOLERANCE else 'FAILED':<6} {difference:.1e}")
            except Exception as error:  # noqa: BLE001 - whatever goes wrong fails this case and not the others
                failures += 1
                print(f"{name:<24} FAILED {type(error).__name__}: {error}")
    print(f"{total - failures} of {total} agree to {TOLERANCE}")
    return 1 if failures or not total else 0


if __name__ == "__main__":
    sys.exit(main())
