"""One composition run with the reference: load from the pool, evaluate, one step of SGD."""

import contextlib
import copy
import os

import torch
from adapters.composition import AdapterCompositionBlock, Average, BatchSplit
from adapters.methods.prefix_tuning import PrefixTuningLayer

import composition_pool as pool
from common import generator, write_golden, write_json
from models import inputs
from reference import LEARNING_RATE


def _heads(bert, case):
    """Sets the heads in use and returns them as text."""
    if case.heads is not None:
        text = case.heads
        if text.startswith("BatchSplit("):
            bert.active_head = pool.parse(text)
        elif text.startswith("["):
            bert.active_head = [name.strip() for name in text[1:-1].split(",")]
        else:
            bert.active_head = text
        return text
    heads = bert.active_head
    if heads is None:
        bert.active_head = heads = case.adapters[0]
    if isinstance(heads, BatchSplit):
        return f"BatchSplit({', '.join(heads)}, batch_sizes={heads.batch_sizes})"
    return heads if isinstance(heads, str) else f"[{', '.join(heads)}]"


def build(model, case):
    """The reference's model, ready to run. Returns it and the heads' text."""
    adapters = [*case.adapters, *case.extra.get("also", [])]
    bert = pool.with_adapters(model, adapters, case.fusions, case.attention)
    # Whatever loading switched on is of no interest.
    bert.active_head = None
    return bert, activate(bert, case)


def activate(bert, case):
    bert.set_active_adapters(pool.parse(case.setup), skip_layers=list(case.skip_layers) or None)
    return _heads(bert, case)


def _head_names(bert):
    heads = bert.active_head
    if isinstance(heads, str):
        return [heads]
    return list(heads.children if isinstance(heads, AdapterCompositionBlock) else heads)


def evaluate(bert, batch, labels=None, attentions=False):
    """A pass: logits by golden name, the loss and the fusions' attention."""
    arguments = dict(batch) if labels is None else dict(batch, labels=labels)
    if attentions:
        arguments["output_adapter_fusion_attentions"] = True
    result = bert(**arguments)
    if "head_outputs" in result:
        logits = {f"logits.{n}": o["logits"] for n, o in zip(_head_names(bert), result["head_outputs"])}
    else:
        logits = {"logits": result["logits"]}
    scores = {}
    for fusion, layers in (result["adapter_fusion_attentions"] if attentions else {}).items():
        for layer, locations in layers.items():
            for location, values in locations.items():
                scores[f"attentions.{fusion}.{layer}.{location}"] = torch.from_numpy(values.copy())
    return logits, result.get("loss"), scores


def train_step(bert, case, batch, labels):
    """One step of plain SGD on the loss and, for fusions, the regularization."""
    setup = pool.parse(case.setup)
    if case.train == "fusion":
        bert.train_adapter_fusion(setup)
    else:
        bert.train_adapter(setup)
    activate(bert, case)
    bert.train()
    parameters = {name: p for name, p in bert.named_parameters() if p.requires_grad}
    optimizer = torch.optim.SGD(parameters.values(), lr=LEARNING_RATE)
    loss = evaluate(bert, batch, labels)[1]
    regularization = bert.base_model.get_fusion_regularization_loss() if case.train == "fusion" else None
    total = loss if regularization is None else loss + regularization
    total.backward()
    largest = max(p.grad.abs().max().item() for p in parameters.values() if p.grad is not None)
    optimizer.step()
    after = {name: p.detach() for name, p in parameters.items() if p.grad is not None}
    return loss.detach(), None if regularization is None else regularization.detach(), after, largest


def _times_count(setup):
    """Multiplies the weights of each `Average` by the number of its children, which its mean divides by."""
    if isinstance(setup, Average):
        setup.weights = [weight * len(setup) for weight in setup.weights]
    for child in setup if isinstance(setup, AdapterCompositionBlock) else ():
        _times_count(child)
    return setup


@contextlib.contextmanager
def _masked_padding():
    """Masks what pads shorter prefixes: the mask is added to the scores, and the reference pads it with ones."""
    original = PrefixTuningLayer.pad_and_concat

    def masked(self, states):
        state = original(self, states)
        mask = state.attention_mask
        return state._replace(attention_mask=mask.masked_fill(mask == 1.0, torch.finfo(mask.dtype).min))

    PrefixTuningLayer.pad_and_concat = masked
    try:
        yield
    finally:
        PrefixTuningLayer.pad_and_concat = original


def intended(model, case):
    """The logits without the reference's division by n, and with its padding masked."""
    bert, _ = build(model, case)
    heads = bert.active_head
    bert.set_active_adapters(_times_count(pool.parse(case.setup)), skip_layers=list(case.skip_layers) or None)
    bert.active_head = heads
    with torch.no_grad(), _masked_padding():
        logits = evaluate(bert, inputs(model))[0]
    return {f"intended.{name}": value for name, value in logits.items()}


def run(model, case):
    """Generates one case's folder. Raises what the reference raises."""
    batch = inputs(model)
    bert, heads = build(model, case)
    with torch.no_grad():
        logits, _, scores = evaluate(bert, batch, attentions=bool(case.fusions))
        golden = dict(batch, **logits, **scores)
        for index in range(1, case.passes):
            again = evaluate(bert, batch)[0]
            golden.update({f"{name}.pass_{index}": value for name, value in again.items()})
    if case.intended:
        golden.update(intended(model, case))
    # The same in double precision: what differs would be noise in a golden.
    double = copy.deepcopy(build(model, case)[0]).double()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            wide = evaluate(double, batch)[0]
    finally:
        torch.set_default_dtype(torch.float32)
    facts = {
        "noise": max((wide[name] - value).abs().max().item() for name, value in logits.items()),
        "largest_logit": max(value.abs().max().item() for value in logits.values()),
    }
    if case.train:
        _trained(model, case, batch, golden, facts)

    folder = f"compositions/cases/{model}__{case.name}"
    os.makedirs(folder)
    write_golden(os.path.join(folder, "golden.safetensors"), golden)
    setup = pool.parse(case.setup)
    description = {
        "model": model,
        "method": case.method,
        "setup": case.setup,
        "setup_json": setup.to_dict(),
        "adapters": case.adapters + case.extra.get("also", []),
        "fusions": list(case.fusions),
        "heads": heads,
        "skip_layers": list(case.skip_layers),
    }
    if case.attention != "eager":
        description["attention"] = case.attention
    if case.train:
        description["train"] = case.train
        description["learning_rate"] = LEARNING_RATE
    for key, value in (("surprise", case.surprise), ("remark", case.extra.get("remark"))):
        if value:
            description[key] = value
    write_json(os.path.join(folder, "case.json"), description)
    return facts


def _trained(model, case, batch, golden, facts):
    labels = torch.from_numpy(generator(model, "compositions", "labels").integers(0, 3, size=4))
    bert, _ = build(model, case)
    loss, regularization, after, largest = train_step(bert, case, batch, labels)
    golden.update(labels=labels, loss=loss, **{f"after.{name}": value for name, value in after.items()})
    if regularization is not None:
        golden["regularization_loss"] = regularization
    double = build(model, case)[0].double()
    torch.set_default_dtype(torch.float64)
    try:
        wide = train_step(double, case, batch, labels)[2]
    finally:
        torch.set_default_dtype(torch.float32)
    facts["largest_gradient"] = largest
    facts["noise_after"] = max((wide[name] - value).abs().max().item() for name, value in after.items())
