"""One case run with the reference: build, randomize, save, evaluate, one step of SGD.

`classes` names the classes of a family that the reference supports through its interface (`interface.py`).
"""

import copy
import logging
import os
import warnings

import torch
from safetensors.torch import load_file
from torch import nn
from transformers.utils import logging as transformers_logging

from adapters import AdapterConfig, AutoAdapterModel
from adapters.heads import ClassificationHead
from adapters.loading import AdapterLoader, PredictionHeadLoader

from common import generator, normal, orthogonal, seed, sums, write_golden, write_json
from models import inputs
from static import logits_of
import interface

transformers_logging.set_verbosity_error()
warnings.filterwarnings("ignore")
logging.getLogger("adapters").setLevel(logging.ERROR)

NAME = "task"
LEARNING_RATE = 0.1
#: Logits beyond this, or gradients beyond the next, ask for smaller weights.
LARGEST_LOGIT = 20.0
LARGEST_GRADIENT = 30.0
#: How far float32 may be from float64 before a case counts as badly conditioned.
PRECISION = 2e-5


def build(model, case, attention, classes=None):
    """The reference's model with the case's adapter and head, in its own initialization."""
    if classes:
        return interface.build(classes, f"models/{model}", case, attention)
    # A relative path: it is written into the saved configurations as `model_name`.
    bert = AutoAdapterModel.from_pretrained(f"models/{model}", attn_implementation=attention).eval()
    bert.add_adapter(NAME, AdapterConfig.load(case.config))
    arguments = dict(case.head)
    if not case.head.get("multiple_choice"):
        arguments.setdefault("num_labels", 3)
    if not case.flagship and case.method != "head":
        arguments.setdefault("layers", 1)
    if language := arguments.pop("language", None):
        getattr(bert, f"add_{language}_head")(NAME, layers=arguments["layers"])
        arguments["num_labels"] = bert.config.vocab_size
    elif arguments.pop("tagging", False):
        bert.add_tagging_head(NAME, **arguments)
    elif arguments.pop("question_answering", False):
        bert.add_qa_head(NAME, **arguments)
    elif arguments.pop("multiple_choice", False):
        bert.add_multiple_choice_head(NAME, **arguments)
    elif "bias" in arguments:
        bert.add_prediction_head(ClassificationHead(bert, NAME, **arguments))
    else:
        bert.add_classification_head(NAME, **arguments)
    bert.set_active_adapters(NAME)
    return bert.eval(), arguments


def reads_tokens(case):
    """Whether the head has logits for every position."""
    return bool(case.head.get("tagging") or case.head.get("question_answering"))


def is_adapter_or_head(bert):
    """Which names of the state dict belong to the adapter or the head."""
    if not hasattr(bert, "heads"):
        return interface.belongs(bert)
    adapter = AdapterLoader(bert).filter_func(NAME)
    head = PredictionHeadLoader(bert).filter_func(NAME)
    return lambda name: adapter(name) or head(name)


def _randomize_orthogonal(unit, salt, std):
    """The orthogonal projection of LoReFT: a random orthonormal basis, turned by a random Householder product."""
    base = unit.projection.parametrizations.weight[0].base
    base.copy_(orthogonal(len(base), *salt, "basis"))
    original = unit.projection.parametrizations.weight.original
    # Only what is strictly below the diagonal is free; the diagonal holds signs.
    wide = original.shape[-2] < original.shape[-1]
    lower = original.T if wide else original
    lower.copy_(lower.tril().triu() + normal(lower.shape, *salt, "original", std=std).tril(-1))


@torch.no_grad()
def randomize(bert, salt, std):
    """Fills every parameter of adapter and head with wide random numbers."""
    belongs = is_adapter_or_head(bert)
    scales = {
        f"{prefix}.weight" for prefix, module in bert.named_modules() if isinstance(module, nn.LayerNorm)
    }
    for name, parameter in bert.named_parameters():
        if not belongs(name):
            continue
        draw = lambda mean=0.0, std=std: normal(parameter.shape, *salt, name, mean=mean, std=std)
        leaf = name.rsplit(".", 1)[-1]
        scale_vector = leaf == "lora_B" and parameter.dim() == 2 and parameter.shape[1] == 1 and "ia3" in salt
        if name in scales or leaf == "scaling" or scale_vector:
            parameter.copy_(draw(1.0, 0.25))
        elif name.endswith(".m.weight"):
            parameter.mul_(draw(1.0, 0.25))
        elif leaf in ("W_left", "W_right", "W") or leaf.startswith(("phm_rule", "W_down", "W_up")):
            parameter.copy_(draw(std=2 * std))
        elif ".parametrizations." not in name:
            parameter.copy_(draw())
    for name, module in bert.named_modules():
        if hasattr(module, "orthogonal") and module.orthogonal:
            _randomize_orthogonal(module, (*salt, name), std)


def labels_for(model, case, count):
    """Labels for the batch: classes, several classes at once, a number, or a class for some of the tokens."""
    random = generator(model, case.name, "labels")
    if case.head.get("tagging"):
        mask = inputs(model)["attention_mask"]
        learned = torch.from_numpy(random.integers(0, 3, size=mask.shape) > 0) & (mask == 1)
        # No special token is learned; where a prompt goes behind the first, the reference would take the one for the other.
        learned[:, 0] = False
        classes = torch.from_numpy(random.integers(0, count, size=mask.shape))
        return torch.where(learned, classes, -100)
    if case.head.get("question_answering"):
        # Where an answer begins and ends; the last row's lies outside, which the reference does not learn.
        starts = torch.from_numpy(random.integers(0, 3, size=4))
        return torch.stack([starts, starts + 1], dim=1) + torch.tensor([[0], [2], [3], [11]])
    if case.head.get("multilabel"):
        return torch.from_numpy(random.integers(0, 2, size=(4, count))).float()
    if count == 1:
        return normal((4,), model, case.name, "labels")
    rows = 4 // count if case.head.get("multiple_choice") else 4
    return torch.from_numpy(random.integers(0, count, size=rows))


def keywords(bert, labels):
    """The labels as the head's forward takes them."""
    if hasattr(bert, "heads") and bert.heads[NAME].config["head_type"] == "question_answering":
        # The head clamps its positions in place.
        return {"start_positions": labels[:, 0].clone(), "end_positions": labels[:, 1].clone()}
    return {"labels": labels}


def evaluate(bert, batch, labels):
    with torch.no_grad():
        result = bert(**batch, **keywords(bert, labels))
    return logits_of(result), result.loss


def train_step(bert, batch, labels):
    """One step of plain SGD. Returns the loss, the trained parameters' new values and the largest gradient."""
    bert.train_adapter(NAME)
    bert.train()
    parameters = {name: p for name, p in bert.named_parameters() if p.requires_grad}
    optimizer = torch.optim.SGD(parameters.values(), lr=LEARNING_RATE)
    loss = bert(**batch, **keywords(bert, labels)).loss
    loss.backward()
    largest = max(p.grad.abs().max().item() for p in parameters.values() if p.grad is not None)
    still = sorted(name for name, p in parameters.items() if p.grad is None or not p.grad.any())
    optimizer.step()
    belongs = is_adapter_or_head(bert)
    outside = [name for name in parameters if not belongs(name)]
    assert not outside, f"trained outside adapter and head: {outside}"
    frozen = sorted(name for name, p in bert.named_parameters() if name not in parameters and belongs(name))
    return loss.detach(), parameters, largest, still, frozen


def in_double_precision(double, batch, labels):
    """Logits and trained parameters as float64 gives them."""
    double = double.double()
    if labels.is_floating_point():
        labels = labels.double()
    # The reference makes some tensors in the default type.
    torch.set_default_dtype(torch.float64)
    try:
        logits, _ = evaluate(double, batch, labels)
        after = train_step(double, batch, labels)[1]
    finally:
        torch.set_default_dtype(torch.float32)
    return logits, after


def _attempt(model, case, batch, salt, std, strict, classes):
    """Runs the case with one draw of weights; `None` where the numbers would make a poor golden."""
    batch = dict(batch)
    # The reference draws, too (LoReFT completes its basis at random): that must not depend on the cases before.
    torch.manual_seed(seed(model, case.name, *salt))
    bert, head = build(model, case, case.attention, classes)
    randomize(bert, (model, case.method, case.name, *salt), std)
    # Those of language models come with the batch.
    labels = batch.pop("labels", None)
    if labels is None:
        labels = labels_for(model, case, head.get("num_labels", head.get("num_choices")))
    logits, loss = evaluate(bert, batch, labels)

    def another():
        return interface.duplicate(bert, classes, f"models/{model}", case) if classes else copy.deepcopy(bert)

    stepped = another()
    train_loss, after, largest, still, frozen = train_step(stepped, batch, labels)
    if logits.abs().max() > LARGEST_LOGIT or largest > LARGEST_GRADIENT or (strict and still):
        return None
    assert torch.equal(train_loss, loss), "training mode differs from evaluation mode"

    # The same in double precision: what differs would be noise in a golden.
    wide_logits, wide_after = in_double_precision(another(), batch, labels)
    noise = (wide_logits - logits).abs().max().item()
    noise = max([noise] + [(wide_after[n] - after[n]).abs().max().item() for n in after])
    # Of parameters, a golden keeps sums.
    noise = max([noise] + [abs(a - b) for n in after for a, b in zip(sums(n, wide_after[n]), sums(n, after[n]))])
    if noise > PRECISION:
        return None

    bert.set_active_adapters(None)
    bert.active_head = NAME
    plain, _ = evaluate(bert, batch, labels)
    bert.set_active_adapters(NAME)
    # A prompt makes the sequences longer.
    effect = (plain - logits).abs().max().item() if plain.shape == logits.shape else float("inf")
    if effect < 1e-2:
        return None

    fused = logits
    if bert._supports_sdpa:
        other, _ = build(model, case, "sdpa", classes)
        other.load_state_dict(bert.state_dict())
        fused, _ = evaluate(other, batch, labels)
    names = interface.head_names(bert) if classes else {}
    return {
        "bert": bert,
        "head": head,
        "golden": dict(
            batch,
            logits=logits,
            labels=labels,
            loss=loss,
            **({"logits_without_adapter": plain} if reads_tokens(case) else {}),
            **{f"after.{names.get(name, name)}": value for name, value in after.items() if case.stepped},
        ),
        "facts": {
            "largest_logit": logits.abs().max().item(),
            "largest_gradient": largest,
            "noise": noise,
            "effect": effect,
            "sdpa": (fused - logits).abs().max().item(),
            "still": still,
            "frozen": frozen,
        },
    }


def save(bert, folder):
    """What the reference saves: as safetensors, or in PyTorch's format where it cannot. Says which and why."""
    try:
        bert.save_adapter(folder, NAME, with_head=False, use_safetensors=True)
        written = "safetensors", None
    except Exception as error:  # noqa: BLE001 - whatever the reference raises is the fact of interest
        leftover = os.path.join(folder, "adapter.safetensors")
        if os.path.exists(leftover):
            os.remove(leftover)
        bert.save_adapter(folder, NAME, with_head=False, use_safetensors=False)
        written = "bin", f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    if hasattr(bert, "heads"):
        bert.save_head(folder, NAME, use_safetensors=True)
    else:
        interface.save_head(bert, folder)
    return written


def reload(model, case, folder, batch, labels, classes=None):
    """Logits of the saved files loaded into a fresh model of the reference."""
    if classes:
        bert = interface.load(classes, f"models/{model}", case.attention)
        bert.load_adapter(folder, with_head=False, use_safetensors=True, set_active=True)
        interface.without_new_biases(bert)
        interface.load_head(bert, load_file(os.path.join(folder, "model_head.safetensors")))
        return evaluate(bert.eval(), batch, labels)[0]
    bert = AutoAdapterModel.from_pretrained(f"models/{model}", attn_implementation=case.attention).eval()
    bert.load_adapter(folder, use_safetensors=True, set_active=True)
    return evaluate(bert.eval(), batch, labels)[0]


def run(model, case, folder, batch=None, classes=None):
    """Generates one case's folder, with the model's batch or another. Raises what the reference raises."""
    batch = inputs(model) if batch is None else batch
    # At first every parameter has to get a gradient; some never do (see `still` in the facts).
    draws = [(0.25, True)] * 4 + [(0.25, False)] * 4 + [(0.125, False)] * 4
    for index, (std, strict) in enumerate(draws):
        result = _attempt(model, case, batch, (index % 4,), std, strict, classes)
        if result is not None:
            break
    else:
        raise AssertionError(f"{model} {case.name}: no draw of weights gave well-behaved numbers")
    os.makedirs(folder)
    bert, golden = result["bert"], result["golden"]
    golden["logits"] = golden["logits"].contiguous()
    file_format, reason = save(bert, folder)
    write_golden(os.path.join(folder, "golden.safetensors"), golden)
    head = {key: value for key, value in result["head"].items() if key != "id2label"}
    if "id2label" in result["head"]:
        head["id2label"] = {str(key): value for key, value in result["head"]["id2label"].items()}
    other_attention = {} if case.attention == "eager" else {"attention": case.attention}
    write_json(
        os.path.join(folder, "case.json"),
        {
            **other_attention,
            "model": model,
            "name": NAME,
            "method": case.method,
            "config": case.config,
            "config_json": AdapterConfig.load(case.config).to_dict(),
            "head": head,
            "num_labels": result["head"].get("num_labels", result["head"].get("num_choices")),
            "learning_rate": LEARNING_RATE,
            "std": std,
            "adapter_file": "adapter.safetensors" if file_format == "safetensors" else "pytorch_adapter.bin",
            "frozen": result["facts"]["frozen"],
        },
    )
    batch = {key: value for key, value in batch.items() if key != "labels"}
    loaded = reload(model, case, folder, batch, golden["labels"], classes)
    facts = dict(result["facts"], std=std, draw=index, format=file_format, reason=reason)
    facts["reload"] = (loaded - golden["logits"]).abs().max().item()
    return facts
