"""llama.cpp's side of `cargo xtask bench`: prompts and generation with a GGUF file as it is.

    python tests/python/bench_llama_cpp.py

answers requests as bench_reference.py does. llama.cpp comes from an npm package (see llama_cpp_library.py).
"""

import time

import numpy
from bench_protocol import checked, peak, read_rows, serve
from llama_cpp_library import PACKAGE, LlamaCpp, Model


class Job:
    """One prompt, and so many tokens after it, the most probable ones. No token ends a text."""

    def __init__(self, llama_cpp, job):
        if job["kind"] not in ("lm_prompt", "lm_generate"):
            raise ValueError(f"llama.cpp has no {job['kind']}")
        self.batches = read_rows(job)
        if any(len(rows) != 1 for rows in self.batches):
            raise ValueError("llama.cpp's side has one row")
        self.new = job.get("new_tokens", 0)
        length = max(len(rows[0]) for rows in self.batches) + self.new
        # A context is a multiple of 256 tokens long.
        self.model = Model(llama_cpp, job["model"], -(-length // 256) * 256, job.get("threads"))

    def run(self, ids):
        """The logits after the prompt, and the new tokens."""
        self.model.clear()
        self.model.read(ids)
        last, new = self.logits().copy(), []
        for index in range(self.new):
            if index > 0:
                self.model.read(new[-1:])
            new.append(int(self.logits().argmax()))
        return last, new

    def logits(self):
        return numpy.ctypeslib.as_array(self.model.pointer(), (self.model.tokens,))

    def check(self):
        last, new = self.run(self.batches[0][0])
        found = checked(self.batches[0], logits=[last.tolist()])
        return {**found, "generated": [new]} if self.new else found

    def unit(self, index):
        ids = self.batches[index % len(self.batches)][0]
        start = time.perf_counter()
        self.run(ids)
        return time.perf_counter() - start


class Server:
    def __init__(self):
        self.llama_cpp = self.job = None

    def answer(self, request):
        op = request["op"]
        if self.llama_cpp is None:
            self.llama_cpp = LlamaCpp()
        if op == "hello":
            return {"side": "llama.cpp", "versions": {"package": PACKAGE}}
        if op == "prepare":
            self.job = None
            self.job = Job(self.llama_cpp, request)
            return {"check": self.job.check()}
        if op == "run":
            if self.job is None:
                raise ValueError("no job is prepared")
            if request.get("threads"):
                self.job.model.set_threads(request["threads"])
            for unit in range(request.get("warmup", 0)):
                self.job.unit(unit)
            return {"seconds": [self.job.unit(unit) for unit in range(request["units"])]}
        if op == "peak":
            return {"peak_memory_bytes": peak()}
        raise ValueError(f"not a request: {op}")


if __name__ == "__main__":
    serve(Server())
