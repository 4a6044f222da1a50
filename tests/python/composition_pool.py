"""The pool: the adapters and fusions of which the compositions are made, as the reference saves them."""

import copy
import os

import torch
from adapters import AdapterConfig, BertAdapterModel
from adapters.composition import Average, BatchSplit, Fuse, Parallel, Split, Stack
from adapters.configuration import AdapterFusionConfig

import reference
from common import normal, seed
from models import inputs

_SMALL_PREFIX = "prefix_tuning[prefix_length=4,bottleneck_size=4"
_UNIPELT = (
    "prefix_tuning[prefix_length=2,bottleneck_size=4,use_gating=True]|"
    "seq_bn[reduction_factor=16,use_gating=True]|lora[r=2,alpha=3,use_gating=True]"
)

#: Name of an adapter, its configuration. Names that differ in the last letter alone have one configuration.
ADAPTERS = {
    **{f"seq_{letter}": "seq_bn[reduction_factor=8]" for letter in "abcd"},
    "seq_wide": "seq_bn[reduction_factor=4]",
    "seq_upper": "seq_bn[reduction_factor=8,leave_out=[0]]",
    **{f"double_{letter}": "double_seq_bn[reduction_factor=16]" for letter in "ab"},
    **{f"par_{letter}": "par_bn[reduction_factor=16]" for letter in "abc"},
    **{f"compacter_{letter}": "compacter[reduction_factor=4]" for letter in "ab"},
    **{f"prefix_{letter}": f"{_SMALL_PREFIX}]" for letter in "abc"},
    "prefix_long": "prefix_tuning_flat[prefix_length=6]",
    "prefix_upper": f"{_SMALL_PREFIX},leave_out=[0]]",
    **{f"flat_{letter}": "prefix_tuning_flat[prefix_length=3]" for letter in "ab"},
    **{f"lora_{letter}": "lora[r=2,alpha=4]" for letter in "abcd"},
    "lora_r4": "lora[r=4,alpha=4]",
    "lora_upper": "lora[r=2,alpha=4,leave_out=[0]]",
    **{f"lora_all_{letter}": "lora[r=1,intermediate_lora=True,output_lora=True]" for letter in "ab"},
    **{f"ia3_{letter}": "ia3" for letter in "abc"},
    **{f"dora_{letter}": "dora[r=2]" for letter in "ab"},
    **{f"vera_{letter}": "vera[r=2,attn_matrices=['v'],leave_out=[0]]" for letter in "ab"},
    **{f"mam_{letter}": f"{_SMALL_PREFIX}]|par_bn[reduction_factor=16]" for letter in "ab"},
    **{f"unipelt_{letter}": _UNIPELT for letter in "ab"},
    **{f"inv_{letter}": "seq_bn_inv[reduction_factor=16,inv_adapter_reduction_factor=4]" for letter in "ab"},
    **{f"prompt_{letter}": "prompt_tuning[prompt_length=3]" for letter in "ab"},
    **{f"noreft_{letter}": "noreft[r=2,dropout=0.0,layers=[0]]" for letter in "ab"},
    **{f"loreft_{letter}": "loreft[r=1,dropout=0.0,layers=[1],tied_weights=True]" for letter in "ab"},
    **{f"mtl_lora_{letter}": "mtl_lora[r=2,attn_matrices=['v']]" for letter in "ab"},
    # Heads of two layers.
    **{f"deep_{letter}": "seq_bn[reduction_factor=16,leave_out=[0]]" for letter in "ab"},
}

#: Folder of a fusion: what is fused, the name it is given (else it is made of the children's), the configuration's
#: base and changes, and how wide its queries and keys are drawn.
FUSIONS = {
    "seq_dynamic": dict(setup="Fuse(seq_a, seq_b)", base="dynamic"),
    "seq_static": dict(setup="Fuse(seq_a, seq_b)", base="static"),
    "seq_three": dict(setup="Fuse(seq_a, seq_wide, seq_c)", base="static"),
    "seq_value_after": dict(setup="Fuse(seq_a, seq_b)", base="dynamic", value_before_softmax=False),
    "seq_temperature": dict(setup="Fuse(seq_a, seq_b)", base="static", temperature=True, spread=0.4),
    "seq_query_before_ln": dict(setup="Fuse(seq_a, seq_b)", base="static", query_before_ln=True),
    "seq_residual_before": dict(setup="Fuse(seq_a, seq_b)", base="dynamic", residual_before=True),
    "seq_no_query": dict(setup="Fuse(seq_a, seq_b)", base="static", query=False),
    "seq_no_key": dict(setup="Fuse(seq_a, seq_b)", base="static", key=False),
    "seq_value_alone": dict(setup="Fuse(seq_a, seq_b)", base="dynamic", key=False, query=False),
    "seq_nothing": dict(setup="Fuse(seq_a, seq_b)", base="static", key=False, query=False),
    "seq_named": dict(setup='Fuse(seq_a, seq_b, name="mixture")', base="static", query=False),
    "seq_b_c": dict(setup="Fuse(seq_b, seq_c)", base="static"),
    "seq_b_d": dict(setup="Fuse(seq_b, seq_d)", base="static", key=False),
    "seq_c_d": dict(setup="Fuse(seq_c, seq_d)", base="static", key=False),
    "double": dict(setup="Fuse(double_a, double_b)", base="static", query=False),
    "par": dict(setup="Fuse(par_a, par_b)", base="static"),
    "compacter": dict(setup="Fuse(compacter_a, compacter_b)", base="static", key=False),
}
#: Those that exist for the larger model, too.
FUSIONS_OF_BOTH = ("seq_dynamic", "seq_b_c", "par")
#: Adapters of the smaller model alone: large files, or there to be merged.
SMALL_ALONE = ("mam_", "unipelt_", "vera_", "prefix_c", "inv_", "prompt_", "noreft_", "loreft_", "mtl_", "deep_")

_LARGEST_LOGIT = 12.0
_PRECISION = 1e-5


def names(model):
    """The adapters of a model."""
    return [n for n in ADAPTERS if model == "tiny-a" or not n.startswith(SMALL_ALONE)]


def fusions(model):
    """The fusions of a model."""
    return [n for n in FUSIONS if model == "tiny-a" or n in FUSIONS_OF_BOTH]


def adapter_folder(model, name):
    return f"compositions/adapters/{model}__{name}"


def fusion_folder(model, name):
    return f"compositions/fusions/{model}__{name}"


def fresh(model, attention="eager"):
    """A new base model of the reference, without adapters."""
    return BertAdapterModel.from_pretrained(f"models/{model}", attn_implementation=attention).eval()


def with_adapters(model, adapters, fusion_names=(), attention="eager"):
    """A model with these adapters, their heads and these fusions, all loaded from the pool's folders."""
    bert = fresh(model, attention)
    for name in adapters:
        bert.load_adapter(adapter_folder(model, name), use_safetensors=True)
    for name in fusion_names:
        bert.load_adapter_fusion(fusion_folder(model, name), use_safetensors=True)
    return bert.eval()


def save(bert, folder, name):
    """What the reference saves: as safetensors, or in PyTorch's format where it cannot (`reference.save`)."""
    try:
        bert.save_adapter(folder, name, with_head=False, use_safetensors=True)
    except RuntimeError:
        leftover = os.path.join(folder, "adapter.safetensors")
        if os.path.exists(leftover):
            os.remove(leftover)
        bert.save_adapter(folder, name, with_head=False, use_safetensors=False)


def _draw(model, name, salt, std):
    """One draw of an adapter and its head, and whether its numbers are well-behaved."""
    torch.manual_seed(seed(model, "pool", name, salt))
    bert = fresh(model)
    bert.add_adapter(name, AdapterConfig.load(ADAPTERS[name]))
    bert.add_classification_head(name, num_labels=3, layers=2 if name.startswith("deep_") else 1)
    bert.set_active_adapters(name)
    original, reference.NAME = reference.NAME, name
    try:
        method = "ia3" if name.startswith("ia3") else "other"
        reference.randomize(bert, (model, method, name, salt), std)
    finally:
        reference.NAME = original
    batch = inputs(model)
    bert.eval()
    with torch.no_grad():
        logits = bert(**batch).logits
    _, wide = in_double(bert, batch)
    fine = logits.abs().max() < _LARGEST_LOGIT and (wide.logits - logits).abs().max() < _PRECISION
    return bert if fine else None


def in_double(bert, batch):
    """The model in float64 and what it answers."""
    double = copy.deepcopy(bert).double()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            return double, double(**batch)
    finally:
        torch.set_default_dtype(torch.float32)


def write_adapter(model, name):
    """Draws an adapter and its head, saves both, and checks that what is loaded is what was saved."""
    for salt in range(8):
        bert = _draw(model, name, salt, 0.25 if salt < 5 else 0.15)
        if bert is not None:
            break
    else:
        raise AssertionError(f"{model} {name}: no draw of weights gave well-behaved numbers")
    folder = adapter_folder(model, name)
    save(bert, folder, name)
    bert.save_head(folder, name, use_safetensors=True)
    loaded = with_adapters(model, [name])
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, bert.state_dict()[key]), f"{model} {name}: {key} does not survive saving"


@torch.no_grad()
def write_fusion(model, name):
    """Adds a fusion over adapters of the pool, fills it with random numbers and saves it."""
    spec = dict(FUSIONS[name])
    setup = parse(spec.pop("setup"))
    spread = spec.pop("spread", 0.1)
    bert = with_adapters(model, sorted(setup.flatten()))
    config = AdapterFusionConfig.load(spec.pop("base"), **spec)
    bert.add_adapter_fusion(setup, config if spec else config.to_dict())
    for key, parameter in bert.named_parameters():
        if ".adapter_fusion_layer." in key:
            std = 0.2 if ".value." in key else spread
            parameter.copy_(normal(parameter.shape, model, "fusion", name, key, std=std))
    bert.save_adapter_fusion(fusion_folder(model, name), setup, use_safetensors=True)


def parse(text):
    """Reads a composition. Its text happens to be Python, with the adapters' names as variables."""
    blocks = dict(Average=Average, BatchSplit=BatchSplit, Fuse=Fuse, Parallel=Parallel, Split=Split, Stack=Stack)
    return eval(text, {"__builtins__": {}}, {**{name: name for name in ADAPTERS}, **blocks})  # noqa: S307


def write(model):
    for name in names(model):
        write_adapter(model, name)
    for name in fusions(model):
        write_fusion(model, name)


def clear_folders():
    for folder in ("adapters", "fusions"):
        os.makedirs(f"compositions/{folder}", exist_ok=True)
