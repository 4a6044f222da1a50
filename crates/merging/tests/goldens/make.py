"""Makes reference.json and peft.json, what the tests of this crate compare with.

    pip install "adapters==1.3.0" peft torch
    python make.py

`reference.json`: tiny adapters and heads of the Python library `adapters`, and what its `average_adapter` and
`average_head` make of them. `peft.json`: three tiny LoRAs, what peft's `add_weighted_adapter` makes of them, and the
random masks that it drew.
"""

import json
import pathlib
import tempfile

import torch

HERE = pathlib.Path(__file__).parent
WEIGHTS = [[0.3, 0.7], [2.0, 1.0], [1.0, -0.4]]
METHODS = {
    "lora": "lora[r=2,alpha=4]",
    "dora": "dora[r=2,attn_matrices=['q']]",
    "ia3": "ia3",
    "seq_bn": "seq_bn[reduction_factor=4]",
    "prefix": "prefix_tuning_flat[prefix_length=2]",
    "prompt": "prompt_tuning[prompt_length=2]",
    "compacter": "compacter[phm_dim=2,reduction_factor=2,non_linearity='relu']",
    "invertible": "seq_bn_inv[reduction_factor=4,leave_out=[0]]",
    "noreft": "noreft[r=2]",
    "mtl": "mtl_lora[r=2,n_up_projection=2,attn_matrices=['v']]",
}


def numbers(tensor):
    # The shortest decimal that gives the same f32.
    values = [float(str(value)) for value in tensor.detach().float().contiguous().view(-1).numpy()]
    return {"shape": list(tensor.shape), "values": values}


def write(name, value):
    (HERE / name).write_text(json.dumps(value, separators=(",", ":"), sort_keys=True) + "\n")


def folder(save, config_name, weights_name):
    with tempfile.TemporaryDirectory() as at:
        save(at)
        config = json.loads((pathlib.Path(at) / config_name).read_text())
        tensors = torch.load(pathlib.Path(at) / weights_name)
    return {"config": config, "tensors": {name: numbers(tensor) for name, tensor in tensors.items()}}


def reference():
    import adapters
    from adapters import BertAdapterModel
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=16,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=16,
    )

    def adapter(model, name):
        save = lambda at: model.save_adapter(at, name)
        return folder(save, "adapter_config.json", "pytorch_adapter.bin")

    def head(model, name):
        save = lambda at: model.save_head(at, name)
        return folder(save, "head_config.json", "pytorch_model_head.bin")

    cases = []
    for method, text in METHODS.items():
        if method == "invertible":
            # Averaged in a class with heads, an adapter loses its invertible part without a word.
            model = BertModel(config)
            adapters.init(model)
        else:
            model = BertAdapterModel(config)
        for name in "ab":
            model.add_adapter(name, config=text)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if any(f".{own}." in f"{name}." for own in "ab"):
                    parameter.copy_(torch.round(torch.randn_like(parameter) * 64) / 128)
        inputs = [adapter(model, name) for name in "ab"]
        runs = []

        def average(weights, strategy, normalize, rank=None):
            merged = f"m{len(runs)}"
            model.average_adapter(
                merged,
                ["a", "b"],
                weights=weights,
                combine_strategy=strategy,
                normalize_weights=normalize,
                svd_rank=rank,
            )
            result = adapter(model, merged)
            runs.append(
                {
                    "weights": weights,
                    "strategy": strategy,
                    "normalize": normalize,
                    "rank": rank,
                    "name": merged,
                    "output": result["tensors"],
                }
            )

        for weights in WEIGHTS if method == "lora" else [[2.0, 1.0]]:
            average(weights, "linear", True)
        average([1.0, -0.4], "linear", False)
        if method == "lora":
            average([1.0, -0.4], "lora_linear_only_negate_b", False)
            average([2.0, 1.0], "lora_linear_only_negate_b", True)
            for rank in [1, 2, 4, 6]:
                average([0.6, -0.5], "lora_delta_w_svd", False, rank)
            average([3.0, 1.0], "lora_delta_w_svd", True, 2)
        cases.append({"method": method, "inputs": inputs, "runs": runs})

    model = BertAdapterModel(config)
    for name in "ab":
        model.add_classification_head(name, num_labels=3, layers=2, id2label={0: "bad", 1: "fair", 2: "good"})
    with torch.no_grad():
        for parameter in model.heads.parameters():
            parameter.copy_(torch.round(torch.randn_like(parameter) * 64) / 128)
    model.average_head("m", ["a", "b"], weights=[2.0, 1.0])
    inputs = [head(model, name) for name in "ab"]
    heads = {"inputs": inputs, "weights": [2.0, 1.0], "output": head(model, "m")["tensors"]}
    write("reference.json", {"adapters": cases, "heads": heads})


def peft():
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    names = {
        f"layers.{layer}.{ours}": f"encoder.layer.{layer}.attention.self.{theirs}"
        for layer in range(2)
        for ours, theirs in [("q", "query"), ("v", "value")]
    }

    class Layer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.v = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleList([Layer(), Layer()])

        def forward(self, x):
            return x

    sizes = {"a": (2, 2), "b": (2, 2), "c": (2, 8)}  # rank and alpha
    lora = lambda name: LoraConfig(r=sizes[name][0], lora_alpha=sizes[name][1], target_modules=["q", "v"])
    model = get_peft_model(Model(), lora("a"), adapter_name="a")
    model.add_adapter("b", lora("b"))
    model.add_adapter("c", lora("c"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                # Not rounded: which of two equal values TIES keeps is arbitrary.
                parameter.copy_(torch.randn_like(parameter) / 2)

    def tensors(adapter):
        found = {}
        for module, name in names.items():
            layer = model.base_model.model.get_submodule(module)
            for letter in "AB":
                weight = getattr(layer, f"lora_{letter}")[adapter].weight
                found[f"{name}.loras.{adapter}.lora_{letter}"] = numbers(weight)
        return found

    masks = []
    bernoulli = torch.bernoulli

    def recorded(*args, **kwargs):
        mask = bernoulli(*args, **kwargs)
        masks.append("".join(str(int(value)) for value in mask.view(-1)))
        return mask

    torch.bernoulli = recorded
    # peft goes over modules, in each over A and B, and in each over the adapters.
    order = [f"{name}.loras.lora_{letter}" for name in names.values() for letter in "AB"]
    runs = []
    for strategy, adapters, weights, density, sign in [
        ("ties", "ab", [1.0, 0.5], 0.5, "total"),
        ("ties", "abc", [1.0, -0.5, 0.25], 0.5, "total"),
        ("ties", "abc", [0.7, 0.2, 0.4], 0.7, "frequency"),
        ("dare_linear", "ab", [1.0, 0.5], 0.5, "total"),
        ("dare_linear", "ac", [0.8, -0.3], 0.8, "total"),
        ("dare_ties", "ab", [1.0, 0.5], 0.6, "total"),
        ("dare_ties", "abc", [1.0, 0.5, -0.4], 0.8, "frequency"),
        ("svd", "ac", [0.6, -0.5], None, "total"),
    ]:
        masks.clear()
        merged = f"m{len(runs)}"
        model.add_weighted_adapter(
            list(adapters),
            weights,
            merged,
            combination_type=strategy,
            svd_rank=3 if strategy == "svd" else None,
            density=density,
            majority_sign_method=sign,
        )
        drawn = {}
        if masks:
            for index, name in enumerate(order):
                drawn[name] = masks[index * len(adapters) : (index + 1) * len(adapters)]
        runs.append(
            {
                "strategy": strategy,
                "adapters": list(adapters),
                "weights": weights,
                "density": density,
                "sign": sign,
                "masks": drawn,
                "name": merged,
                "output": tensors(merged),
            }
        )
    inputs = {name: {"r": r, "alpha": alpha, "tensors": tensors(name)} for name, (r, alpha) in sizes.items()}
    write("peft.json", {"inputs": inputs, "runs": runs})


if __name__ == "__main__":
    reference()
    peft()
