"""The fault test of `burn-adapters serve`: hostile requests, while adapters come and go and others ask for texts.

Sends malformed JSON, huge bodies, wrong types, unknown adapters, paths in names, streams that are closed in the middle, slow
senders and very many connections. All the while well-behaved clients ask for texts: each of their requests must get the right
text within `--patience` seconds, by trying again where it is told to (503) or its connection is closed, as clients do. The server
must not panic or give a wrong answer, and its memory must afterwards be what it was, to 5 %.

    python tests/python/serve_hostile.py --model SmolLM2-135M-Instruct.Q4_1.gguf
"""

import argparse
import http.client
import json
import random
import resource
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from serve_load import percentile, serving

BODY = {"model": "", "prompt": "The lighthouse keeper", "max_tokens": 8, "temperature": 0, "ignore_eos": True}


def raw(port, data, wait=5.0):
    """Sends bytes; the status of the answer, if there is one."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as connection:
        try:
            connection.sendall(data)
            head = connection.recv(64).decode(errors="replace")
        except OSError:
            return None
        return int(head.split(" ")[1]) if head.startswith("HTTP/1.1 ") else None


def post(path, body, length=None):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length or len(body)}\r\n\r\n"
    return head.encode() + body


def hostile(draw, port, name):
    """One hostile request: what it was, and whether the server did what it should."""
    body = dict(BODY, model=name)
    path = draw.choice(["/v1/completions", "/v1/chat/completions", "/v1/embeddings", "/v1/classify", "/v1/load_lora_adapter"])
    kind = draw.randrange(12)
    refused = lambda data, wait=20.0: raw(port, data, wait) in (400, 403, 404, 405, 408, 409, 413, 422, 429, 431, 503, 504)
    if kind == 0:
        return "malformed", refused(post(path, draw.randbytes(draw.randrange(200))))
    if kind == 1:
        return "deep", refused(post(path, b"[" * 100_000))
    if kind == 2:
        huge = b'{"model": "' + b"x" * (8 << 20)
        return "huge", raw(port, post(path, huge), 20) in (413, None)
    if kind == 3:
        key = draw.choice(list(body))
        wrong = draw.choice([None, [], {}, -1, 1e400, "\u0000", [[[]]], True, "x" * 1000, -(2**63), 2**64])
        body[key] = wrong
        return "wrong type", raw(port, post("/v1/completions", body), 60) is not None
    if kind == 4:
        return "unknown adapter", raw(port, post("/v1/completions", dict(body, model=name + draw.choice("xyz"))), 20) == 404
    if kind == 5:
        path = draw.choice(["../../etc", "/etc/passwd", "..", "a/../../b", "\u0000", "C:\\", "%2e%2e/"])
        return "path", refused(post("/v1/load_lora_adapter", {"lora_name": draw.choice(["n", path]), "lora_path": path}))
    if kind == 6:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(post("/v1/completions", dict(body, stream=True, max_tokens=400)))
            connection.recv(draw.randrange(1, 400))
        return "closed stream", True
    if kind == 7:
        return "short body", raw(port, post("/v1/completions", b"{", 50), 0.2) is None or True
    if kind == 8:
        data = draw.choice([b"\x16\x03\x01" * 50, b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 1000, b"POST", b"X" * 200_000])
        raw(port, data, 2)
        return "not HTTP", True
    if kind == 9:
        many = "".join(f"X-{number}: {'y' * 100}\r\n" for number in range(2000))
        return "many headers", raw(port, f"GET /health HTTP/1.1\r\n{many}\r\n".encode(), 5) in (431, 400, None)
    if kind == 10:
        return "too many tokens", refused(post("/v1/completions", dict(body, prompt="word " * 50_000)), 60)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        for byte in post("/v1/completions", body)[: draw.randrange(60)]:
            connection.sendall(bytes([byte]))
            time.sleep(0.005)
    return "slow sender", True


def was_accepted(connection):
    """Whether a silent connection was made: it still is there, or the server has closed it."""
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        try:
            return bool(connection.getpeername())
        except OSError:
            return False
    except OSError:
        return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="target/release/burn-adapters")
    parser.add_argument("--make", default="target/release/examples/random_adapters")
    parser.add_argument("--model", required=True)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--patience", type=float, default=10, help="the most seconds of a well-behaved client's request")
    arguments = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([arguments.make, arguments.model, folder, "10"], check=True)
        names = sorted(path.name for path in Path(folder).iterdir())
        options = ["--model", arguments.model, "--adapters-root", folder, "--manage", "--quiet"]
        with serving(arguments.program, *options) as server:
            report = attack(arguments, server, names)
    print(json.dumps(report, indent=1))
    grown = report["memory_after"] / report["memory_before"]
    is_served = report["others"]["requests"] > 0 and report["others"]["slowest"] <= arguments.patience
    bad = [report[what] for what in ("errors", "wrong", "not_as_expected")]
    if any(bad) or not is_served or abs(grown - 1) > 0.05:
        raise SystemExit("the fault test fails")


def attack(arguments, server, names):
    retries = {"connection": 0, "queue": 0}

    def request(path, body):
        """The answer, tried again as clients do: where a connection is closed before an answer, and where the queue is full."""
        end = time.monotonic() + 2 * arguments.patience
        while True:
            try:
                status, answer = server.request("POST", path, body, server.connection(arguments.patience))
                why = "queue" if status == 503 else None
            except (ConnectionError, TimeoutError, http.client.HTTPException) as error:
                status, answer, why = 0, repr(error), "connection"
            if why is None or time.monotonic() > end:
                return status, answer
            retries[why] += 1
            time.sleep(0.2)

    def ask(name):
        status, answer = request("/v1/completions", dict(BODY, model=name))
        return status, answer["choices"][0]["text"] if status == 200 else answer

    alone = {name: ask(name)[1] for name in names}
    done, errors, wrong, times, lock = threading.Event(), [], [], [], threading.Lock()

    def guest(number):
        draw = random.Random(number)
        while not done.is_set():
            name, start = draw.choice(names), time.monotonic()
            status, text = ask(name)
            with lock:
                times.append(time.monotonic() - start)
                if status != 200:
                    errors.append((status, text))
                elif text != alone[name]:
                    wrong.append((name, text))

    def manager():
        draw = random.Random(99)
        while not done.is_set():
            change = {"lora_name": "moving", "lora_path": draw.choice(names), "load_inplace": True}
            status, answer = request("/v1/load_lora_adapter", change)
            if status != 200:
                errors.append((status, answer))
            if draw.random() < 0.3:
                request("/v1/unload_lora_adapter", {"lora_name": "moving"})
            time.sleep(0.05)

    def attacker(number, kinds, bad):
        draw = random.Random(number)
        for _ in range(arguments.requests // 10):
            try:
                kind, is_fine = hostile(draw, server.port, names[0])
            except OSError as error:
                kind, is_fine = "connection", isinstance(error, (ConnectionError, TimeoutError))
            with lock:
                kinds[kind] = kinds.get(kind, 0) + 1
                if not is_fine:
                    bad.append(kind)

    def round_of_attacks():
        kinds, bad = {}, []
        threads = [threading.Thread(target=attacker, args=(number, kinds, bad)) for number in range(10)]
        [thread.start() for thread in threads]
        # Very many connections that say nothing.
        silent = []
        for _ in range(arguments.connections):
            try:
                connection = socket.socket()
                connection.setblocking(False)
                connection.connect_ex(("127.0.0.1", server.port))
                silent.append(connection)
            except OSError:
                break
        [thread.join() for thread in threads]
        accepted = sum(map(was_accepted, silent))
        [connection.close() for connection in silent]
        return kinds, bad, accepted

    guests = [threading.Thread(target=guest, args=(number,)) for number in range(4)]
    guests.append(threading.Thread(target=manager))
    [thread.start() for thread in guests]
    # The first round fills the allocator's pools and caches.
    round_of_attacks()
    time.sleep(2)
    before = server.memory()
    start = time.monotonic()
    kinds, bad, silent = round_of_attacks()
    seconds = time.monotonic() - start
    done.set()
    [thread.join() for thread in guests]
    time.sleep(2)
    after = server.memory()
    final = {name: ask(name)[1] for name in names}
    wrong += [name for name in names if final[name] != alone[name]]
    assert server.is_alive()
    return {
        "kinds": kinds, "connections": silent, "seconds": seconds, "not_as_expected": bad,
        "others": {"requests": len(times), "median": percentile(times, 0.5), "slowest": max(times), "tried_again": retries},
        "errors": errors[:5], "wrong": wrong[:5], "memory_before": before, "memory_after": after,
    }


if __name__ == "__main__":
    main()
