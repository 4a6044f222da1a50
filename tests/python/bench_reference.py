"""The Python side of `cargo xtask bench`: the jobs of crates/bench, done with `adapters` (or `peft`) and PyTorch.

    python tests/python/bench_reference.py

reads one JSON request a line on standard input and answers each with one line, as `burn-adapters-bench serve` does; the
requests are described in crates/bench/src/protocol.rs. Nothing is timed but the units of a job. The jobs of language models
are in bench_language.py, llama.cpp's in bench_llama_cpp.py.
"""

import logging
import os
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import bench_language  # noqa: E402
import torch  # noqa: E402
from bench_protocol import peak, serve  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

logging.getLogger("adapters").setLevel(logging.ERROR)

NAME = "bench"
LEARNING_RATE = 1e-4
MAX_NORM = 1.0
MAX_LENGTH = 512


def read_sentences(path):
    with open(path, encoding="utf-8") as file:
        columns = [line.rstrip("\n").split("\t", 2) for line in file]
    return [(text, int(float(rating) > 0)) for _, rating, text in columns]


class Batch:
    """Rows of tokens, padded to the longest, and their labels."""

    def __init__(self, rows, labels):
        length = max(map(len, rows))
        self.rows = rows
        self.labels = torch.tensor(labels)
        self.inputs = {
            "input_ids": torch.tensor([row + [0] * (length - len(row)) for row in rows]),
            "attention_mask": torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows]),
        }

    def count(self):
        return sum(map(len, self.rows))

    def checksum(self):
        tokens = [token for row in self.rows for token in row]
        return sum(token * (place + 1) for place, token in enumerate(tokens)) % 2**31


def read_batches(job):
    sentences = tokenizer = None
    batches = []
    for spec in job["batches"]:
        if "tokens" in spec:
            batches.append(Batch(spec["tokens"], [row % 2 for row in range(len(spec["tokens"]))]))
            continue
        if sentences is None:
            sentences = read_sentences(job["data"])
            tokenizer = Tokenizer.from_file(os.path.join(job["model"], "tokenizer.json"))
            tokenizer.no_padding()
            tokenizer.enable_truncation(MAX_LENGTH)
        chosen = [sentences[row] for row in spec["rows"]]
        rows = [encoding.ids for encoding in tokenizer.encode_batch([text for text, _ in chosen])]
        batches.append(Batch(rows, [label for _, label in chosen]))
    return batches


def load_model(job):
    from adapters import AutoAdapterModel

    # With the attention that it takes by default, prompts attend to padding, which is not what ours computes.
    eager = str(job.get("config", "")).startswith("prompt_tuning")
    return AutoAdapterModel.from_pretrained(job["model"], **({"attn_implementation": "eager"} if eager else {}))


class Step:
    """A training step: forward, loss, backward, clipping, AdamW. In bf16 by autocast, under which weights stay f32."""

    def __init__(self, job):
        self.batches = read_batches(job)
        self.bf16 = job.get("bf16", False)
        if job.get("library") == "peft":
            self.model = PeftModel(job)
        else:
            self.model = load_model(job)
            if job["kind"] == "full":
                self.model.load_head(job["adapter"], load_as=NAME, use_safetensors=True)
                self.model.active_head = NAME
            else:
                self.model.load_adapter(job["adapter"], load_as=NAME, use_safetensors=True)
                self.model.train_adapter(NAME)
                self.model.active_head = NAME
        named = [(name, value) for name, value in self.model.named_parameters() if value.requires_grad]
        self.parameters = sum(value.numel() for name, value in named if not name.startswith("heads."))
        self.trained = [value for _, value in named]
        self.optimizer = torch.optim.AdamW(self.trained, lr=LEARNING_RATE, weight_decay=0.0)

    def forward(self, batch):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            return self.model(**batch.inputs, labels=batch.labels)

    def check(self):
        self.model.eval()
        batch = self.batches[0]
        output = self.forward(batch)
        output.loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.trained, float("inf"))
        self.optimizer.zero_grad()
        self.model.train()
        return {
            "parameters": self.parameters,
            "tokens": batch.count(),
            "checksum": batch.checksum(),
            "logits": output.logits.float().tolist(),
            "loss": output.loss.item(),
            "gradient_norm": norm.item(),
        }

    def unit(self, index):
        batch = self.batches[index % len(self.batches)]
        start = time.perf_counter()
        self.forward(batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, MAX_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.perf_counter() - start


class PeftModel(torch.nn.Module):
    """LoRA by `peft` on the same model, with the head of `adapters` and the adapter's weights from the same files."""

    def __init__(self, job):
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModel

        super().__init__()
        weights = load_file(os.path.join(job["adapter"], "adapter.safetensors"))
        some = next(value for name, value in weights.items() if name.endswith("lora_A"))
        config = LoraConfig(r=some.shape[0], lora_alpha=8, lora_dropout=0.0, target_modules=["query", "value"])
        self.bert = get_peft_model(AutoModel.from_pretrained(job["model"]), config)
        own = dict(self.bert.named_parameters())
        with torch.no_grad():
            for name, value in weights.items():
                name = name.removeprefix("bert.").replace(f"loras.{NAME}.lora_A", "lora_A.default.weight")
                name = name.replace(f"loras.{NAME}.lora_B", "lora_B.default.weight")
                own["base_model.model." + name].copy_(value)
        head = load_file(os.path.join(job["adapter"], "model_head.safetensors"))
        wide = head[f"heads.{NAME}.1.weight"]
        labels = head[f"heads.{NAME}.4.weight"]
        self.heads = torch.nn.Sequential(
            torch.nn.Dropout(self.bert.config.hidden_dropout_prob),
            torch.nn.Linear(wide.shape[1], wide.shape[0]),
            torch.nn.Tanh(),
            torch.nn.Dropout(self.bert.config.hidden_dropout_prob),
            torch.nn.Linear(labels.shape[1], labels.shape[0]),
        )
        self.heads.load_state_dict({name.removeprefix(f"heads.{NAME}."): value for name, value in head.items()})

    def forward(self, labels, **inputs):
        from types import SimpleNamespace

        logits = self.heads(self.bert(**inputs).last_hidden_state[:, 0])
        return SimpleNamespace(logits=logits, loss=torch.nn.functional.cross_entropy(logits, labels))


def answer_of(check, batch, logits):
    return {**check, "tokens": batch.count(), "checksum": batch.checksum(), "logits": logits.float().tolist()}


class Infer:
    """Logits of a batch. In bf16 all of the model is."""

    def __init__(self, job):
        from adapters.composition import Stack

        self.batches = read_batches(job)
        self.model = load_model(job)
        merged = job["kind"] == "infer_merged"
        names = [NAME] if merged else [f"{NAME}{index}" for index in range(job.get("adapters", 1))]
        for name in names:
            self.model.load_adapter(job["adapter"], load_as=name, with_head=False, use_safetensors=True)
        self.model.load_head(job["adapter"], load_as=NAME, use_safetensors=True)
        self.parameters = sum(
            value.numel()
            for name in names
            for layer in self.model.get_adapter(name).values()
            for module in layer.values()
            for value in module.parameters()
        )
        if merged:
            # It stays active: switched off, it would be taken out of the weights again.
            self.model.set_active_adapters(NAME)
            self.model.merge_adapter(NAME)
        elif names:
            self.model.set_active_adapters(Stack(*names) if len(names) > 1 else names[0])
        self.model.active_head = NAME
        self.model.eval()
        if job.get("bf16"):
            self.model.to(torch.bfloat16)

    def check(self):
        with torch.inference_mode():
            logits = self.model(**self.batches[0].inputs).logits
        return answer_of({"parameters": self.parameters}, self.batches[0], logits)

    def unit(self, index):
        batch = self.batches[index % len(self.batches)]
        start = time.perf_counter()
        with torch.inference_mode():
            self.model(**batch.inputs).logits.tolist()
        return time.perf_counter() - start


class Adding:
    """Many adapters: adding one more, and going from one to another."""

    def __init__(self, job):
        self.batches = read_batches(job)
        self.model = load_model(job)
        self.kind, self.config, self.adapters = job["kind"], job["config"], job["adapters"]
        for index in range(self.adapters if self.kind == "switch" else self.adapters - 1):
            self.model.add_adapter(f"tenant-{index}", config=self.config)
        self.model.load_head(job["adapter"], load_as=NAME, use_safetensors=True)
        self.model.eval()
        self.next = 0

    def check(self):
        self.model.add_adapter("planned", config=self.config)
        parameters = sum(value.numel() for name, value in self.model.named_parameters() if ".planned." in name)
        self.model.delete_adapter("planned")
        with torch.inference_mode():
            self.model.active_head = NAME
            logits = self.model(**self.batches[0].inputs).logits
        # Heads are drawn by each side for itself.
        return {**answer_of({"parameters": parameters}, self.batches[0], logits), "logits": []}

    def use(self, name, batch):
        self.model.set_active_adapters(name)
        self.model.active_head = NAME
        with torch.inference_mode():
            self.model(**batch.inputs).logits.tolist()

    def unit(self, index):
        batch = self.batches[index % len(self.batches)]
        start = time.perf_counter()
        if self.kind == "switch":
            self.next = (self.next + 37) % self.adapters
            self.use(f"tenant-{self.next}", batch)
            return time.perf_counter() - start
        self.model.add_adapter("last", config=self.config)
        if self.kind == "add_and_use":
            self.model.eval()
            self.use("last", batch)
        taken = time.perf_counter() - start
        self.model.set_active_adapters(None)
        self.model.delete_adapter("last")
        return taken


JOBS = {
    "step": Step,
    "full": Step,
    "infer": Infer,
    "infer_merged": Infer,
    "add": Adding,
    "add_and_use": Adding,
    "switch": Adding,
    **bench_language.JOBS,
}


class Server:
    def __init__(self):
        self.job = None

    def answer(self, request):
        op = request["op"]
        if request.get("threads"):
            torch.set_num_threads(request["threads"])
        if op == "hello":
            import adapters
            import peft

            versions = {"adapters": adapters.__version__, "peft": peft.__version__, "torch": torch.__version__}
            return {"side": "python", "versions": versions, "threads": torch.get_num_threads()}
        if op == "prepare":
            self.job = None
            if request["kind"] not in JOBS:
                raise ValueError(f"the reference has no {request['kind']}")
            self.job = JOBS[request["kind"]](request)
            return {"check": self.job.check()}
        if op == "run":
            if self.job is None:
                raise ValueError("no job is prepared")
            for unit in range(request.get("warmup", 0)):
                self.job.unit(unit)
            return {"seconds": [self.job.unit(unit) for unit in range(request["units"])]}
        if op == "matmul":
            return {"flops_per_second": rate(request["size"], request["repetitions"])}
        if op == "make_language_model":
            bench_language.make_model(request["model"], request["dir"], request["bf16"], request.get("layers"))
            return {"done": True}
        if op == "peak":
            return {"peak_memory_bytes": peak()}
        raise ValueError(f"not a request: {op}")


def rate(size, repetitions):
    """Operations a second of the best of several products of square matrices."""
    a, b = torch.rand(size, size), torch.rand(size, size)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(repetitions + 1):
            start = time.perf_counter()
            a @ b
            best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best


def main():
    torch.manual_seed(7)
    serve(Server())


if __name__ == "__main__":
    main()
