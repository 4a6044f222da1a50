"""Merged adapters (`average_adapter`), averaged heads, and the tensors of TIES and DARE (as `peft` computes them)."""

import os

import torch
from peft import LoraConfig, get_peft_model
from peft.utils import merge_utils
from torch import nn
from torch.nn import functional

import composition_pool as pool
from common import normal, seed, write_golden, write_json, write_tensors
from models import inputs

MODEL = "tiny-a"


def _spec(name, kind, weights, *, strategy="linear", normalize=True, rank=None, crash=False, heads=False, count=None):
    letters = "abcd"[: count or (len(weights) if weights else 2)]
    return dict(
        name=name,
        inputs=[f"{kind}_{letter}" for letter in letters],
        weights=weights,
        strategy=strategy,
        normalize_weights=normalize,
        svd_rank=rank,
        crash=crash,
        heads=heads,
    )


def _specs():
    for kind in (
        "seq double par compacter prefix flat prompt lora lora_all ia3 dora vera mtl_lora mam unipelt inv noreft"
    ).split():
        yield _spec(f"linear_{kind}", kind, [0.3, 0.9])
    # What is averaged are the base and the reflections of an orthogonal matrix.
    yield _spec("linear_loreft", "loreft", [0.3, 0.9])
    for kind in ["seq", "lora", "flat", "ia3"]:
        yield _spec(f"equal_{kind}", kind, None)
        yield _spec(f"negative_{kind}", kind, [1.5, -0.5])
        yield _spec(f"not_normalized_{kind}", kind, [0.8, -0.6], normalize=False)
    yield _spec("three_seq", "seq", [1.0, 2.0, 1.0])
    yield _spec("one_seq", "seq", [2.0])
    yield _spec("one_seq_scaled", "seq", [2.0], normalize=False)
    for kind in ["lora", "lora_all"]:
        yield _spec(f"negate_b_{kind}", kind, [1.0, -0.4], strategy="lora_linear_only_negate_b", normalize=False)
        yield _spec(
            f"svd_{kind}",
            kind,
            [0.7, -0.4],
            strategy="lora_delta_w_svd",
            normalize=False,
            rank=1 if kind == "lora_all" else 2,
        )
    yield _spec("negate_b_normalized_lora", "lora", [0.3, 0.9], strategy="lora_linear_only_negate_b")
    yield _spec("negate_b_ia3", "ia3", [1.0, -0.4], strategy="lora_linear_only_negate_b", normalize=False)
    yield _spec("svd_lora_rank4", "lora", [0.3, 0.9], strategy="lora_delta_w_svd", rank=4)
    yield _spec("svd_lora_three", "lora", None, strategy="lora_delta_w_svd", rank=3, count=3)
    yield _spec("svd_lora_no_rank", "lora", [0.3, 0.9], strategy="lora_delta_w_svd", crash=True)
    yield _spec("svd_lora_wide", "lora", [0.3, 0.9], strategy="lora_delta_w_svd", rank=40, crash=True)
    for kind in ["ia3", "dora", "vera", "mtl_lora", "unipelt", "seq", "flat"]:
        yield _spec(f"svd_{kind}", kind, [0.3, 0.9], strategy="lora_delta_w_svd", rank=2, crash=True)
    for kind in ["dora", "vera", "mtl_lora", "unipelt", "seq", "flat"]:
        yield _spec(f"negate_b_{kind}", kind, [0.3, 0.9], strategy="lora_linear_only_negate_b", crash=True)
    yield dict(_spec("different_ranks", "lora", [0.3, 0.9], crash=True), inputs=["lora_a", "lora_r4"])
    yield _spec("weights_sum_to_zero", "seq", [1.0, -1.0], crash=True)
    yield _spec("heads", "seq", [0.3, 0.9], heads=True)
    yield _spec("heads_deep", "deep", [1.4, -0.6], normalize=False, heads=True)
    yield dict(_spec("heads_different", "seq", [0.3, 0.9], heads=True, crash=True), inputs=["seq_a", "deep_a"])


def _merge(spec):
    """Merges adapters of the pool, saves the result and what it computes with the first one's head."""
    bert = pool.with_adapters(MODEL, spec["inputs"])
    arguments = dict(weights=spec["weights"], normalize_weights=spec["normalize_weights"])
    if spec["heads"]:
        bert.average_head("merged", spec["inputs"], **arguments)
    if not (spec["heads"] and spec["crash"]):
        # Called on a model with heads, it forgets the invertible adapters, which are the base model's.
        target = bert.base_model if spec["inputs"][0].startswith("inv_") else bert
        target.average_adapter(
            "merged", spec["inputs"], combine_strategy=spec["strategy"], svd_rank=spec["svd_rank"], **arguments
        )
    folder = f"compositions/merged/{MODEL}__{spec['name']}"
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    pool.save(bert, folder, "merged")
    if spec["heads"]:
        bert.save_head(folder, "merged", use_safetensors=True)
    bert.set_active_adapters("merged")
    bert.active_head = head = "merged" if spec["heads"] else spec["inputs"][0]
    batch = inputs(MODEL)
    with torch.no_grad():
        logits = bert.eval()(**batch).logits
    write_golden(os.path.join(folder, "golden.safetensors"), dict(batch, logits=logits))
    description = {key: spec[key] for key in ("inputs", "weights", "strategy", "normalize_weights", "svd_rank")}
    description.update(model=MODEL, name="merged", head=head, average_head=spec["heads"])
    write_json(os.path.join(folder, "merge.json"), description)
    wide = pool.in_double(bert, batch)[1].logits
    return {"noise": (wide - logits).abs().max().item(), "largest_logit": logits.abs().max().item()}


def _tensor_cases():
    weights = [0.7, 1.0, -0.4]
    for count in (2, 3):
        for density in (0.2, 0.5, 1.0):
            if count == 2 and density != 0.5:
                continue
            for sign in ("total", "frequency"):
                yield dict(function="ties", count=count, density=density, majority_sign=sign, weights=weights[:count])
                yield dict(
                    function="dare_ties", count=count, density=density, majority_sign=sign, weights=weights[:count]
                )
            yield dict(function="dare_linear", count=count, density=density, weights=weights[:count])
            yield dict(function="magnitude_prune", count=count, density=density, weights=weights[:count])
        yield dict(function="task_arithmetic", count=count, weights=weights[:count])
    # Nothing is kept: `int(density * numel)` is 0.
    yield dict(function="ties", count=3, density=0.01, majority_sign="total", weights=weights)
    yield dict(function="ties", count=3, density=0.0, majority_sign="frequency", weights=weights)


def _tensors():
    """`merge_tensors.safetensors`: `input.<i>`, and for each case `<case>.output` and `<case>.mask.<i>`."""
    inputs_ = [normal((6, 5), "merge", index) for index in range(3)]
    # A zero, and an element whose signs cancel in `frequency`.
    inputs_[1][0, 0] = 0.0
    tensors = {f"input.{index}": value for index, value in enumerate(inputs_)}
    index = []
    for number, case in enumerate(_tensor_cases()):
        name = f"{case['function']}_{number}"
        arguments = {} if case["function"] == "task_arithmetic" else {"density": case["density"]}
        if "majority_sign" in case:
            arguments["majority_sign_method"] = case["majority_sign"]
        chosen = [value.clone() for value in inputs_[: case["count"]]]
        torch.manual_seed(seed("merge", name))
        weights = torch.tensor(case["weights"])
        output = getattr(merge_utils, case["function"])(chosen, weights, **arguments)
        if case["function"].startswith("dare") and case["density"] < 1:
            torch.manual_seed(seed("merge", name))
            masks = [torch.bernoulli(torch.full_like(value, case["density"])) for value in chosen]
            tensors.update({f"{name}.mask.{i}": mask for i, mask in enumerate(masks)})
            if case["function"] == "dare_linear":
                expected = sum(w * m * v / case["density"] for w, m, v in zip(weights, masks, chosen))
                assert functional.l1_loss(expected, output) < 1e-6, "the masks are not those that were used"
        tensors[f"{name}.output"] = output
        index.append(dict(case, name=name))
    write_tensors("compositions/merge_tensors.safetensors", tensors)
    write_json("compositions/merge_tensors.json", index)
    return {}


#: `combination_type` of `peft`'s `add_weighted_adapter`, and its arguments.
_PEFT = {
    "linear": {},
    "svd": dict(svd_rank=2),
    "magnitude_prune": dict(density=0.5),
    "ties": dict(density=0.5),
    "ties_frequency": dict(density=0.3, majority_sign_method="frequency"),
    "ties_svd": dict(density=0.5, svd_rank=2),
    "dare_linear": dict(density=0.5),
    "dare_ties": dict(density=0.5),
    "dare_ties_svd": dict(density=0.5, svd_rank=2),
}
_PEFT_WEIGHTS = [0.7, -0.4]


def _peft():
    """`merge_peft.safetensors`: how `peft` merges whole LoRAs, here `lora_a` and `lora_b` of the pool in layer 0."""
    names = ["lora_a", "lora_b"]
    source = pool.with_adapters(MODEL, names).bert.encoder.layer[0].attention.self
    base = nn.ModuleDict({site: nn.Linear(32, 32) for site in ("query", "value")})
    config = LoraConfig(r=2, lora_alpha=4, target_modules=["query", "value"])
    model = get_peft_model(base, config, adapter_name=names[0])
    model.add_adapter(names[1], config)
    sites = {site: base[site] for site in ("query", "value")}
    with torch.no_grad():
        for site, layer in sites.items():
            for name in names:
                lora = getattr(source, site).loras[name]
                layer.lora_A[name].weight.copy_(lora.lora_A)
                layer.lora_B[name].weight.copy_(lora.lora_B)
    original, masks, tensors = merge_utils.random_pruning, [], {}

    def recorded(tensor, density, rescale):
        mask = torch.bernoulli(torch.full_like(tensor, density))
        masks.append(mask)
        return tensor * mask / density if rescale else tensor * mask

    merge_utils.random_pruning = recorded
    try:
        for name, arguments in _PEFT.items():
            torch.manual_seed(seed("peft", name))
            masks.clear()
            kind = name.removesuffix("_frequency")
            model.base_model.add_weighted_adapter(names, _PEFT_WEIGHTS, name, combination_type=kind, **arguments)
            for site, layer in sites.items():
                tensors[f"{name}.{site}.lora_A"] = layer.lora_A[name].weight
                tensors[f"{name}.{site}.lora_B"] = layer.lora_B[name].weight
                assert layer.scaling[name] == 1.0
            for index, mask in enumerate(masks):
                tensors[f"{name}.mask.{index}"] = mask
    finally:
        merge_utils.random_pruning = original
    write_tensors("compositions/merge_peft.safetensors", tensors)
    write_json(
        "compositions/merge_peft.json",
        {"model": MODEL, "inputs": names, "weights": _PEFT_WEIGHTS, "layer": 0, "sites": list(sites), "cases": _PEFT},
    )
    return {}


def write(attempt, crashes, facts, problems):
    for spec in _specs():
        key = f"merge {spec['name']}"
        ran = attempt(key, spec["crash"], lambda: _merge(spec), crashes, facts, problems)
        if not ran:
            call = "average_head" if spec["heads"] else "average_adapter"
            rank = f", svd_rank={spec['svd_rank']}" if spec["svd_rank"] else ""
            crashes[key] = (
                f"`{call}({spec['inputs']}, weights={spec['weights']}, \"{spec['strategy']}\"{rank})`: {crashes[key]}"
            )
    attempt("merge tensors", False, _tensors, crashes, facts, problems)
    attempt("merge peft", False, _peft, crashes, facts, problems)
