"""The load test of `burn-adapters serve`: many adapters and clients on one model, over loopback.

Makes adapters of five methods, measures the memory of each, asks for texts one after the other, and then with many clients
at once. Every text must be the same as alone. Of an encoder, requests are spread over the adapters as 1 / rank.

    cargo build --release && cargo build --release -p burn-adapters-serve --example random_adapters
    python tests/python/serve_load.py --model SmolLM2-135M-Instruct.Q4_1.gguf --adapters 64 --clients 32 --seconds 60
"""

import argparse
import http.client
import json
import os
import random
import re
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path


PROMPTS = [
    "The lighthouse keeper",
    "Once upon a time, in a small village by the sea, there lived",
    "The three most important things about gardening are",
    "Question: What is the capital of France?\nAnswer:",
    "A recipe for bread:",
    "In the beginning of the year, the committee decided that",
]


class Server:
    """A running server."""

    def __init__(self, process, port):
        self.process, self.port = process, port

    def connection(self, timeout=600):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(self, method, path, body=None, connection=None):
        """The status and the JSON of an answer."""
        connection = connection or self.connection()
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text.decode(errors="replace")

    def memory(self):
        """The resident memory in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(re.search(r"VmRSS:\s+(\d+)", status)[1])

    def is_alive(self):
        return self.process.poll() is None


@contextmanager
def serving(program, *arguments):
    """Runs the program until the block ends; it must then end by itself, and must not have panicked."""
    command = [program, "serve", "--port", "0", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    said = []
    try:
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        if not found:
            raise RuntimeError(f"the server does not start: {line}{process.stderr.read()}")
        server = Server(process, int(found[1]))
        # The pipe must not fill up.
        reader = threading.Thread(target=lambda: said.extend(process.stderr), daemon=True)
        reader.start()
        yield server
        process.send_signal(signal.SIGINT)
        code = process.wait(120)
        reader.join(5)
        assert code == 0, (code, said)
        assert not any("panicked" in line for line in said), said
    finally:
        if process.poll() is None:
            process.kill()


def stream(server, body, connection):
    """The text of a streamed answer, the seconds to its first token, and its number of tokens."""
    start = time.perf_counter()
    body = dict(body, stream=True, stream_options={"include_usage": True})
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    if answer.status != 200:
        raise RuntimeError(f"status {answer.status}: {answer.read()[:500]}")
    text, first, tokens = "", None, 0
    for line in answer:
        line = line.decode().strip()
        if not line.startswith("data: ") or line == "data: [DONE]":
            continue
        event = json.loads(line[6:])
        if "error" in event:
            raise RuntimeError(event["error"]["message"])
        first = first or time.perf_counter() - start
        text += "".join(choice["text"] for choice in event["choices"])
        tokens = event.get("usage", {}).get("completion_tokens", tokens)
    return text, first, tokens


def percentile(values, part):
    values = sorted(values)
    return values[min(len(values) - 1, int(part * len(values)))]


def size(folder):
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))


def memory_of_adapters(server, folders, ask):
    """The bytes of memory that the last three quarters of the adapters take, beside the bytes of their files."""
    quarter = len(folders) // 4
    for folder in folders[:quarter]:
        ask(folder.name)
    before = server.memory()
    for folder in folders[quarter:]:
        ask(folder.name)
    return server.memory() - before, sum(map(size, folders[quarter:]))


def run_clients(count, seconds, work):
    """Lets clients work until the time is over; the results of each, and the errors."""
    results, errors, lock = [], [], threading.Lock()
    end = time.perf_counter() + seconds

    def client(number):
        draw = random.Random(number)
        step = work(number)
        while time.perf_counter() < end:
            try:
                result = step(draw)
            except Exception as error:  # every error counts
                with lock:
                    errors.append(repr(error))
                return
            with lock:
                results.append(result)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(count)]
    start = time.perf_counter()
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return results, errors, time.perf_counter() - start


def texts(arguments, server, folders):
    body = lambda name, prompt: {
        "model": name, "prompt": prompt, "max_tokens": arguments.tokens, "temperature": 0, "ignore_eos": True
    }
    def ask(name):
        status, answer = server.request("POST", "/v1/completions", dict(body(name, "The"), max_tokens=1))
        assert status == 200, answer
    memory, files = memory_of_adapters(server, folders, ask)
    plans = [(folder.name, prompt) for index, folder in enumerate(folders) for prompt in PROMPTS[index % 3 :: 3]]
    random.Random(5).shuffle(plans)
    # One after the other: the texts to compare with.
    connection, alone, tokens = server.connection(), {}, 0
    start = time.perf_counter()
    for plan in plans:
        alone[plan], _, count = stream(server, body(*plan), connection)
        tokens += count
    one_by_one = tokens / (time.perf_counter() - start)

    def work(number):
        connection = server.connection()

        def step(draw):
            plan = draw.choice(plans)
            text, first, count = stream(server, body(*plan), connection)
            return text == alone[plan], first, count

        return step

    results, errors, seconds = run_clients(arguments.clients, arguments.seconds, work)
    together = sum(count for _, _, count in results) / seconds
    first = [first for _, first, _ in results]
    report = {
        "requests": len(results), "errors": errors[:5], "different": sum(not same for same, _, _ in results),
        "tokens_per_second": together, "one_after_the_other": one_by_one, "ratio": together / one_by_one,
        "first_token_p50": percentile(first, 0.5), "first_token_p99": percentile(first, 0.99),
        "adapter_memory": memory, "adapter_files": files, "memory_ratio": memory / files,
        "distinct_texts": len(set(alone.values())),
    }
    return report, not errors and not report["different"] and report["ratio"] >= 2 and report["memory_ratio"] <= 1.1


def classes(arguments, server, folders):
    sentences = [f"A {word} film about {thing}." for word in ("fine", "dull", "quiet") for thing in ("the sea", "war", "love")]
    def ask(name, sentence="A film.", connection=None):
        status, answer = server.request("POST", "/v1/classify", {"model": name, "input": sentence}, connection)
        assert status == 200, answer
        return answer["data"][0]["logits"]
    memory, files = memory_of_adapters(server, folders, ask)
    weights = [1 / rank for rank in range(1, len(folders) + 1)]
    draw = random.Random(5)
    plans = [(folder.name, draw.choice(sentences)) for folder in draw.choices(folders, weights, k=400)]
    connection, start = server.connection(), time.perf_counter()
    alone = {plan: ask(*plan, connection) for plan in plans}
    one_by_one = len(plans) / (time.perf_counter() - start)

    def work(number):
        connection = server.connection()

        def step(draw):
            plan, start = draw.choice(plans), time.perf_counter()
            found = ask(*plan, connection)
            return max(abs(a - b) for a, b in zip(found, alone[plan])), time.perf_counter() - start

        return step

    results, errors, seconds = run_clients(arguments.clients, arguments.seconds, work)
    report = {
        "requests": len(results), "errors": errors[:5], "largest_difference": max(result[0] for result in results),
        "requests_per_second": len(results) / seconds, "one_after_the_other": one_by_one,
        "ratio": len(results) / seconds / one_by_one,
        "answer_p50": percentile([result[1] for result in results], 0.5),
        "answer_p99": percentile([result[1] for result in results], 0.99),
        "adapter_memory": memory, "adapter_files": files, "memory_ratio": memory / files,
    }
    return report, not errors and report["largest_difference"] < 1e-4


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="target/release/burn-adapters")
    parser.add_argument("--make", default="target/release/examples/random_adapters")
    parser.add_argument("--model", required=True)
    parser.add_argument("--encoder", action="store_true", help="the model is an encoder: classes instead of texts")
    parser.add_argument("--adapters", type=int, default=64)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--max-resident", type=int, default=2000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([arguments.make, arguments.model, folder, str(arguments.adapters)], check=True)
        folders = sorted(Path(folder).iterdir())
        random.Random(1).shuffle(folders)
        options = ["--model", arguments.model, "--adapters-root", folder, "--max-resident", arguments.max_resident, "--quiet"]
        with serving(arguments.program, *options) as server:
            report, holds = (classes if arguments.encoder else texts)(arguments, server, folders)
    print(json.dumps(report, indent=1))
    if not holds:
        raise SystemExit("the load test fails")


if __name__ == "__main__":
    main()
