"""llama.cpp through its C interface: the library of the npm package `@node-llama-cpp/linux-x64`.

`npm pack` fetches the package into the user's cache, once. It needs npm, and Linux on x86-64.
"""

import ctypes
import glob
import os
import platform
import shutil
import subprocess
import sys
import tarfile

PACKAGE = "@node-llama-cpp/linux-x64@3.21.1"


class Settings(ctypes.Structure):
    """A struct that is passed by value, as the library fills it. It is larger than any of the library's, whose own are the first
    bytes: such structs are on the stack, so that the rest is not read."""

    _fields_ = [("bytes", ctypes.c_ubyte * 1024)]


class ContextSettings(ctypes.Structure):
    """As `Settings`, with the names of the first fields of a context's."""

    _fields_ = [(name, ctypes.c_uint32) for name in ("length", "batch", "part", "sequences")]
    _fields_ += [("bytes", ctypes.c_ubyte * 1008)]


class Batch(ctypes.Structure):
    _fields_ = [("count", ctypes.c_int32)]
    _fields_ += [(name, ctypes.c_void_p) for name in ("ids", "states", "positions", "counts", "rows", "wanted")]


def cache():
    """The folder of llama.cpp in the user's cache."""
    user = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(os.environ.get("BURN_ADAPTERS_CACHE") or os.path.join(user, "burn-adapters"), "llama.cpp")


def fetch():
    """The folder of the libraries, which are fetched once."""
    folder = cache()
    if not glob.glob(f"{folder}/package/bins/*/libllama*.so"):
        if not (sys.platform == "linux" and platform.machine() == "x86_64"):
            raise RuntimeError("the package of llama.cpp is for Linux on x86-64")
        if not shutil.which("npm"):
            raise RuntimeError("npm, which fetches llama.cpp, is not installed")
        os.makedirs(folder, exist_ok=True)
        command = ["npm", "pack", "--silent", PACKAGE]
        archive = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        with tarfile.open(os.path.join(folder, archive.stdout.split()[-1])) as packed:
            packed.extractall(folder, filter="data")
    (found,) = glob.glob(f"{folder}/package/bins/linux-x64")
    return found


def library():
    """The library, with the variant for this processor."""
    folder = fetch()
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
        lib.llama_context_default_params.restype = ContextSettings
        ids = ctypes.POINTER(ctypes.c_int32)
        for name, arguments, result in [
            ("llama_model_load_from_file", [ctypes.c_char_p, Settings], ctypes.c_void_p),
            ("llama_model_free", [ctypes.c_void_p], None),
            ("llama_init_from_model", [ctypes.c_void_p, ContextSettings], ctypes.c_void_p),
            ("llama_free", [ctypes.c_void_p], None),
            ("llama_set_n_threads", [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32], None),
            ("llama_get_memory", [ctypes.c_void_p], ctypes.c_void_p),
            ("llama_memory_clear", [ctypes.c_void_p, ctypes.c_bool], None),
            ("llama_adapter_lora_init", [ctypes.c_void_p, ctypes.c_char_p], ctypes.c_void_p),
            ("llama_model_get_vocab", [ctypes.c_void_p], ctypes.c_void_p),
            ("llama_vocab_n_tokens", [ctypes.c_void_p], ctypes.c_int32),
            ("llama_batch_get_one", [ctypes.c_void_p, ctypes.c_int32], Batch),
            ("llama_decode", [ctypes.c_void_p, Batch], ctypes.c_int32),
            ("llama_get_logits_ith", [ctypes.c_void_p, ctypes.c_int32], ctypes.POINTER(ctypes.c_float)),
            ("llama_set_adapters_lora", [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p], ctypes.c_int32),
            (
                "llama_tokenize",
                [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ids, ctypes.c_int32, ctypes.c_bool, ctypes.c_bool],
                ctypes.c_int32,
            ),
        ]:
            function = getattr(lib, name)
            function.argtypes, function.restype = arguments, result
        lib.llama_backend_init()

    def last_logits(self, path, ids, adapter=None):
        """The logits after the last token."""
        model = Model(self, path, length=max(512, len(ids)), adapter=adapter)
        model.read(ids)
        found = model.logits()
        model.close()
        return found


class Model:
    """A model and a context, which holds the keys and values of at most `length` tokens."""

    def __init__(self, llama_cpp, path, length, threads=None, adapter=None):
        # Kept, because the library calls it.
        self.llama_cpp = llama_cpp
        self.lib = lib = llama_cpp.lib
        self.model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
        if not self.model:
            raise RuntimeError(f"llama.cpp does not load {os.path.basename(path)}")
        self.vocabulary = lib.llama_model_get_vocab(self.model)
        self.tokens = lib.llama_vocab_n_tokens(self.vocabulary)
        settings = lib.llama_context_default_params()
        if [settings.length, settings.batch, settings.sequences] != [512, 2048, 1]:
            raise RuntimeError(f"{PACKAGE} has other settings of a context than expected")
        # A prompt is one call; the library divides it into parts.
        settings.length = settings.batch = length
        self.context = lib.llama_init_from_model(self.model, settings)
        if not self.context:
            raise RuntimeError("llama.cpp makes no context")
        if threads:
            self.set_threads(threads)
        if adapter:
            lora = lib.llama_adapter_lora_init(self.model, adapter.encode())
            if not lora:
                raise RuntimeError("llama.cpp does not load the adapter")
            adapters, scales = (ctypes.c_void_p * 1)(lora), (ctypes.c_float * 1)(1.0)
            if lib.llama_set_adapters_lora(self.context, adapters, 1, scales) != 0:
                raise RuntimeError("llama.cpp does not set the adapter")

    def set_threads(self, threads):
        self.lib.llama_set_n_threads(self.context, threads, threads)

    def tokenize(self, text):
        """The tokens of a text, without special ones."""
        data = text.encode()
        ids = (ctypes.c_int32 * (len(data) + 1))()
        count = self.lib.llama_tokenize(self.vocabulary, data, len(data), ids, len(ids), False, False)
        if count < 0:
            raise RuntimeError("llama.cpp does not tokenize the text")
        return list(ids[:count])

    def clear(self):
        """Forgets all tokens."""
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)

    def read(self, ids):
        """Reads tokens after those that it has read."""
        tokens = (ctypes.c_int32 * len(ids))(*ids)
        if self.lib.llama_decode(self.context, self.lib.llama_batch_get_one(tokens, len(ids))) != 0:
            raise RuntimeError("llama.cpp does not decode")

    def pointer(self):
        """The logits after the last token, in the library's memory."""
        return self.lib.llama_get_logits_ith(self.context, -1)

    def logits(self):
        """The logits after the last token."""
        return list(self.pointer()[: self.tokens])

    def close(self):
        self.lib.llama_free(self.context)
        self.lib.llama_model_free(self.model)
