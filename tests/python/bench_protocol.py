"""A server of `cargo xtask bench`: one JSON request a line, one line for each answer (see crates/bench/src/protocol.rs)."""

import json
import resource
import sys


def serve(server):
    """Answers the requests on standard input by `server.answer(request)`."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # What the libraries print is no answer.
    for line in sys.stdin:
        if not line.strip():
            continue
        try:
            answer = server.answer(json.loads(line))
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is the answer to this line
            answer = {"error": " ".join(f"{type(error).__name__}: {error}".split())}
        print(json.dumps(answer), file=answers, flush=True)


def peak():
    """The peak memory of the process in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def read_rows(job):
    """The rows of tokens of each batch of a language model's job."""
    return [spec["tokens"] for spec in job["batches"]]


def checked(rows, parameters=0, **results):
    """The part of a check that every job of a language model has."""
    tokens = [token for row in rows for token in row]
    checksum = sum(token * (place + 1) for place, token in enumerate(tokens)) % 2**31
    return {"parameters": parameters, "tokens": len(tokens), "checksum": checksum, **results}
