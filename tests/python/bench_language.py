"""The jobs of language models of `cargo xtask bench`, done with PyTorch, Transformers and PEFT."""

import copy
import os
import shutil
import time
from pathlib import Path

import torch
from bench_protocol import checked, read_rows

LEARNING_RATE = 1e-4
MAX_NORM = 1.0


def make_model(path, folder, bf16, layers=None):
    """A GGUF file as a Hugging Face folder with dequantized weights; its layers in turn until there are `layers`."""
    import smollm2

    partial = Path(f"{folder}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    smollm2.make_model(path, partial)
    if bf16:
        load({"model": partial}, torch.bfloat16).save_pretrained(partial)
    if layers:
        model = load({"model": partial}, torch.float32)
        own = list(model.model.layers)
        model.model.layers = torch.nn.ModuleList([copy.deepcopy(own[at % len(own)]) for at in range(layers)])
        model.config.num_hidden_layers = layers
        model.save_pretrained(partial)
    os.replace(partial, folder)


def load(job, dtype):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(job["model"], dtype=dtype)


class Step:
    """A training step of LoRA: forward, loss over all next tokens, backward, clipping, AdamW. In bf16 by autocast, under
    which weights stay f32."""

    def __init__(self, job):
        from peft import PeftModel

        self.rows = read_rows(job)
        self.batches = [torch.tensor(rows) for rows in self.rows]
        self.bf16 = job.get("bf16", False)
        self.model = PeftModel.from_pretrained(load(job, torch.float32), job["adapter"], is_trainable=True).train()
        self.trained = [value for value in self.model.parameters() if value.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=LEARNING_RATE, weight_decay=0.0)

    def loss(self, batch):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            return self.model(input_ids=batch, labels=batch, use_cache=False).loss

    def check(self):
        loss = self.loss(self.batches[0])
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.trained, float("inf"))
        self.optimizer.zero_grad()
        parameters = sum(value.numel() for value in self.trained)
        return checked(self.rows[0], parameters, logits=[], loss=loss.item(), gradient_norm=norm.item())

    def unit(self, index):
        batch = self.batches[index % len(self.batches)]
        start = time.perf_counter()
        self.loss(batch).backward()
        torch.nn.utils.clip_grad_norm_(self.trained, MAX_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.perf_counter() - start


class Prompt:
    """A pass over prompts; the logits of the last token. In bf16 all of the model is."""

    def __init__(self, job):
        self.rows = read_rows(job)
        self.batches = [torch.tensor(rows) for rows in self.rows]
        self.model = load(job, torch.bfloat16 if job.get("bf16") else torch.float32).eval()

    def logits(self, batch):
        with torch.inference_mode():
            return self.model(input_ids=batch, use_cache=False, logits_to_keep=1).logits[:, -1].float()

    def check(self):
        return checked(self.rows[0], logits=self.logits(self.batches[0]).tolist())

    def unit(self, index):
        start = time.perf_counter()
        self.logits(self.batches[index % len(self.batches)]).tolist()
        return time.perf_counter() - start


class Generate(Prompt):
    """So many tokens after prompts, the most probable ones, with a cache. No token ends a text."""

    def __init__(self, job):
        from transformers import GenerationConfig

        super().__init__(job)
        self.new = job["new_tokens"]
        self.model.generation_config = GenerationConfig(pad_token_id=0, eos_token_id=None)

    def generate(self, batch):
        with torch.inference_mode():
            options = {"max_new_tokens": self.new, "do_sample": False, "use_cache": True}
            found = self.model.generate(batch, attention_mask=torch.ones_like(batch), **options)
        return found[:, batch.shape[1] :].tolist()

    def check(self):
        return {**super().check(), "generated": self.generate(self.batches[0])}

    def unit(self, index):
        start = time.perf_counter()
        self.generate(self.batches[index % len(self.batches)])
        return time.perf_counter() - start


JOBS = {"lm_step": Step, "lm_prompt": Prompt, "lm_generate": Generate}
