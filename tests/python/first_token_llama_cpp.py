"""llama.cpp from the load of its libraries to the first token: what `burn-adapters generate --max-new-tokens 1` does.

    python tests/python/first_token_llama_cpp.py --model MODEL.gguf --text 'The capital of France is'

prints one JSON object: the token, the seconds, CPU seconds and bytes of memory without those of Python.
"""

import argparse
import json
import time

from bench_protocol import peak
from llama_cpp_library import LlamaCpp, Model, fetch


def resident():
    """The memory of the process in bytes."""
    with open("/proc/self/status", encoding="ascii") as file:
        (line,) = [line for line in file if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    fetch()
    before, start, cpu = resident(), time.perf_counter(), time.process_time()
    model = Model(LlamaCpp(), arguments.model, 512, arguments.threads)
    model.read(model.tokenize(arguments.text))
    logits = model.logits()
    token = logits.index(max(logits))
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(json.dumps({"ids": [token], "seconds": seconds, "cpu_seconds": cpu, "memory": peak() - before}))


if __name__ == "__main__":
    main()
