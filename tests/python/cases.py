"""The list of cases: one adapter configuration and one head each."""

from dataclasses import dataclass, field
from typing import Optional

#: Every name of an activation that the reference takes; `leakyrelu` is its own, the others are those of Transformers.
#: `xielu` is left out: it computes with bfloat16 parameters, too coarse for a golden.
ACTIVATIONS = [
    "gelu",
    "gelu_10",
    "gelu_accurate",
    "gelu_fast",
    "gelu_new",
    "gelu_python",
    "gelu_python_tanh",
    "gelu_pytorch_tanh",
    "laplace",
    "leaky_relu",
    "leakyrelu",
    "linear",
    "mish",
    "prelu",
    "quick_gelu",
    "relu",
    "relu2",
    "relu6",
    "sigmoid",
    "silu",
    "swish",
    "tanh",
]

BOTH = ("tiny-a", "tiny-b")


#: Stands for the list of all layers of a model but the first.
UPPER_LAYERS = "UPPER_LAYERS"


@dataclass
class Case:
    """A configuration that the reference runs, or (with `crash`) one on which it is known to fail."""

    name: str
    method: str
    config: str
    head: dict = field(default_factory=dict)
    #: What the reference's documentation or the paper say of a configuration on which the reference fails.
    crash: Optional[str] = None
    #: The models it runs on; all by default.
    models: tuple = BOTH
    #: Cases that stand for their method carry the default head; the others have one of a single layer, to keep the
    #: goldens small.
    flagship: bool = False
    #: The implementation of attention, where the reference fails with `eager`.
    attention: str = "eager"
    #: Whether the parameters after a step of SGD are kept.
    stepped: bool = True
    #: The folder of the base model, in families with several.
    variant: str = "tiny"
    #: Whether the batch has padding, where the reference is right without alone.
    padding: bool = True


def _bottleneck():
    for name in ["seq_bn", "double_seq_bn", "par_bn"]:
        yield Case(name, "bottleneck", name, flagship=True)
    yield Case("scaled_par_bn", "bottleneck", "scaled_par_bn", flagship=True, models=("tiny-a",))
    yield Case("seq_bn_rf2", "bottleneck", "seq_bn[reduction_factor=2]")
    yield Case("seq_bn_rf3", "bottleneck", "seq_bn[reduction_factor=3]", models=("tiny-a",))
    yield Case("seq_bn_rf_half", "bottleneck", "seq_bn[reduction_factor=0.5]")
    yield Case("seq_bn_rf_huge", "bottleneck", "seq_bn[reduction_factor=1000]")
    yield Case("seq_bn_rf_map", "bottleneck", "seq_bn[reduction_factor={'0':2,'default':16}]")
    yield Case("seq_bn_rf_map_full", "bottleneck", "seq_bn[reduction_factor={'0':4,'1':8,'2':16}]")
    for act in ACTIVATIONS:
        models = BOTH if act in ("gelu", "leakyrelu", "relu", "silu", "tanh") else ("tiny-a",)
        yield Case(f"seq_bn_act_{act}", "bottleneck", f"seq_bn[non_linearity='{act}']", models=models)
    for kind in ["seq_bn", "par_bn"]:
        base = f"{kind}[reduction_factor=16"
        yield Case(f"{kind}_ln_before", "bottleneck", f"{base},ln_before=True]")
        yield Case(f"{kind}_ln_after", "bottleneck", f"{base},ln_after=True]")
        yield Case(f"{kind}_ln_both", "bottleneck", f"{base},ln_before=True,ln_after=True]")
        yield Case(
            f"{kind}_adapter_residual_before_ln",
            "bottleneck",
            f"{base},ln_after=True,adapter_residual_before_ln=True]",
        )
        yield Case(f"{kind}_scaling_half", "bottleneck", f"{base},scaling=0.5]")
        yield Case(f"{kind}_scaling_learned", "bottleneck", f"{base},scaling='learned']")
        yield Case(f"{kind}_scaling_channel", "bottleneck", f"{base},scaling='channel']")
        yield Case(f"{kind}_gating", "bottleneck", f"{base},use_gating=True]")
        yield Case(f"{kind}_leave_out", "bottleneck", f"{base},leave_out=[0]]")
    yield Case("double_seq_bn_gating", "bottleneck", "double_seq_bn[use_gating=True]")
    for before in [False, True]:
        for after in [False, True]:
            for residual in [True, False, "post_add"]:
                name = f"ln_{before:d}{after:d}_residual_{str(residual).lower()}"
                crash = None
                if residual == "post_add" and not before:
                    crash = "`post_add` is only applicable with `original_ln_before=True`: to be refused, or ignored"
                # Without the layer norm after it a tiny model's numbers run away over several layers.
                layers = "" if after else f",leave_out={UPPER_LAYERS}"
                yield Case(
                    f"double_seq_bn_{name}",
                    "bottleneck",
                    f"double_seq_bn[original_ln_before={before},original_ln_after={after},"
                    f"residual_before_ln={residual!r}{layers}]",
                    crash=crash,
                )
    yield Case("par_bn_mh", "bottleneck", "par_bn[reduction_factor=16,mh_adapter=True]")
    yield Case("par_bn_mh_only", "bottleneck", "par_bn[reduction_factor=16,mh_adapter=True,output_adapter=False]")
    yield Case("par_bn_no_ln_after", "bottleneck", "par_bn[reduction_factor=16,original_ln_after=False]")
    yield Case("seq_bn_cross_adapter", "bottleneck", "seq_bn[cross_adapter=True]")
    yield Case(
        "adapter_plus",
        "bottleneck",
        "seq_bn[original_ln_after=False,original_ln_before=True,residual_before_ln=False,stochastic_depth=0.0,"
        "init_weights='houlsby',scaling='channel',reduction_factor=16,non_linearity='gelu']",
        flagship=True,
    )
    yield Case(
        "seq_bn_scaling_int", "bottleneck", "seq_bn[scaling=1]", crash="a number: to be taken as the constant 1.0"
    )


def _lora():
    yield Case("lora", "lora", "lora", flagship=True)
    for rank in [1, 4]:
        yield Case(f"lora_r{rank}", "lora", f"lora[r={rank}]")
    yield Case("lora_alpha16", "lora", "lora[r=4,alpha=16]")
    for matrices in ["q", "k", "v", "qkv", "kv"]:
        yield Case(f"lora_{matrices}", "lora", f"lora[r=2,alpha=4,attn_matrices={list(matrices)!r}]")
    for attention in [False, True]:
        name = "attn_" if attention else ""
        yield Case(
            f"lora_{name}intermediate", "lora", f"lora[r=2,selfattn_lora={attention},intermediate_lora=True]"
        )
        yield Case(f"lora_{name}output", "lora", f"lora[r=2,selfattn_lora={attention},output_lora=True]")
        yield Case(
            f"lora_{name}intermediate_output",
            "lora",
            f"lora[r=2,selfattn_lora={attention},intermediate_lora=True,output_lora=True]",
        )
    yield Case("lora_gating", "lora", "lora[r=2,alpha=6,use_gating=True]")
    yield Case(
        "lora_gating_all", "lora", "lora[r=1,use_gating=True,intermediate_lora=True,output_lora=True]"
    )
    yield Case("lora_init_bert", "lora", "lora[r=2,init_weights='bert']")
    yield Case("lora_leave_out", "lora", "lora[r=2,leave_out=[1]]")


def _heads():
    lora = "lora[r=2,attn_matrices=['v'],leave_out=[0]]"
    for layers in [1, 2, 3]:
        yield Case(f"head_layers{layers}", "head", lora, dict(layers=layers))
    yield Case("head_relu", "head", lora, dict(layers=3, activation_function="relu"))
    yield Case("head_no_activation", "head", lora, dict(layers=2, activation_function=None))
    yield Case("head_gelu", "head", lora, dict(layers=2, activation_function="gelu"))
    yield Case("head_multilabel", "head", lora, dict(multilabel=True, num_labels=4))
    yield Case("head_regression", "head", lora, dict(num_labels=1))
    yield Case("head_two_labels", "head", lora, dict(num_labels=2))
    yield Case("head_pooler", "head", lora, dict(use_pooler=True))
    yield Case("head_pooler_layers1", "head", lora, dict(use_pooler=True, layers=1))
    yield Case("head_no_bias", "head", lora, dict(bias=False))
    yield Case("head_labels", "head", lora, dict(id2label={0: "negative", 1: "neutral", 2: "positive"}))


def _invertible():
    for name in ["seq_bn_inv", "double_seq_bn_inv"]:
        yield Case(name, "invertible", name, flagship=name == "seq_bn_inv")
    yield Case("seq_bn_inv_rf4", "invertible", "seq_bn_inv[inv_adapter_reduction_factor=4]")
    yield Case(
        "seq_bn_inv_glow",
        "invertible",
        "seq_bn_inv[inv_adapter='glow']",
        crash="a GLOW coupling block, the halves taken along the hidden axis",
    )


def _compacter():
    yield Case("compacter", "compacter", "compacter[reduction_factor=4]", flagship=True)
    yield Case("compacter_plus_plus", "compacter", "compacter++[reduction_factor=4]", flagship=True)
    for name, change in {
        "phm_dim2": "phm_dim=2",
        "full_w": "factorized_phm_W=False",
        "shared_w": "shared_W_phm=True",
        "own_rule": "shared_phm_rule=False",
        "factorized_rule": "factorized_phm_rule=True",
        "own_factorized_rule": "shared_phm_rule=False,factorized_phm_rule=True",
        "fixed_rule": "learn_phm=False",
        "rank2": "phm_rank=2",
        "no_bias": "phm_bias=False",
        "gating": "use_gating=True",
        "ln_before": "ln_before=True",
    }.items():
        yield Case(f"compacter_{name}", "compacter", f"compacter++[reduction_factor=4,{change}]")
    yield Case(
        "par_compacter",
        "compacter",
        "par_bn[reduction_factor=4,phm_layer=True,init_weights='bert']",
    )
    yield Case(
        "compacter_shared_full_w",
        "compacter",
        "compacter++[reduction_factor=4,shared_W_phm=True,factorized_phm_W=False]",
        crash="one unfactorized W for all layers",
    )
    yield Case(
        "compacter_mam_init",
        "compacter",
        "par_bn[reduction_factor=4,phm_layer=True]",
        crash="a parallel compacter: the MAM initialization is for linear layers, a PHM layer has its own",
    )
    yield Case(
        "compacter_odd_width",
        "compacter",
        "compacter",
        crash="with the default reduction factor 32 the width (1) is no multiple of phm_dim: an error is right",
    )


def _prefix_tuning():
    small = "prefix_length=5,bottleneck_size=6"
    yield Case("prefix_tuning", "prefix_tuning", "prefix_tuning[prefix_length=5,bottleneck_size=12]", flagship=True)
    yield Case("prefix_tuning_flat", "prefix_tuning", "prefix_tuning_flat[prefix_length=5]", flagship=True)
    yield Case(
        "prefix_tuning_relu", "prefix_tuning", f"prefix_tuning[{small},non_linearity='relu']", models=("tiny-a",)
    )
    yield Case("prefix_tuning_gating", "prefix_tuning", f"prefix_tuning[{small},use_gating=True]")
    yield Case(
        "prefix_tuning_gating_own",
        "prefix_tuning",
        f"prefix_tuning[{small},use_gating=True,shared_gating=False]",
    )
    yield Case("prefix_tuning_leave_out", "prefix_tuning", f"prefix_tuning[{small},leave_out=[0]]")


def _prompt_tuning():
    yield Case("prompt_tuning", "prompt_tuning", "prompt_tuning[prompt_length=4]", flagship=True)
    yield Case(
        "prompt_tuning_after_bos", "prompt_tuning", "prompt_tuning[prompt_length=4,combine='prefix_after_bos']"
    )
    yield Case(
        "prompt_tuning_pooler", "prompt_tuning", "prompt_tuning[prompt_length=4]", dict(use_pooler=True)
    )


def _ia3():
    yield Case("ia3", "ia3", "ia3", flagship=True)
    yield Case("ia3_output", "ia3", "ia3[output_lora=True]")
    yield Case("ia3_gating", "ia3", "ia3[use_gating=True]")
    yield Case("ia3_alpha2", "ia3", "ia3[alpha=2]")
    yield Case("ia3_leave_out", "ia3", "ia3[leave_out=[0]]")
    yield Case("ia3_r2", "ia3", "ia3[r=2]", crash="`scale` can only be used with r=1: an error is right")


def _unions():
    prefix = "prefix_tuning[prefix_length=4,bottleneck_size=6"
    yield Case("mam", "mam", f"{prefix}]|par_bn[reduction_factor=16]", flagship=True)
    yield Case(
        "unipelt",
        "unipelt",
        f"{prefix},use_gating=True]|seq_bn[reduction_factor=16,use_gating=True]|lora[r=2,alpha=3,use_gating=True]",
        flagship=True,
    )
    yield Case("union_lora_seq_bn", "union", "lora[r=2]|seq_bn[reduction_factor=16]")
    # Each other method beside another one.
    for name, config in {
        "ia3_double_seq_bn": "ia3|double_seq_bn[reduction_factor=16]",
        "compacter_lora": "compacter[phm_dim=2,reduction_factor=8]|lora[r=2]",
        "inv_flat": "seq_bn_inv[reduction_factor=16,inv_adapter_reduction_factor=4]|prefix_tuning_flat[prefix_length=4]",
        "prompt_scaled_par_bn": "prompt_tuning[prompt_length=4]|scaled_par_bn[reduction_factor=16]",
        "loreft_ia3": "loreft[r=1,dropout=0.0]|ia3",
        "dora_prefix": "dora[r=2]|prefix_tuning[prefix_length=4,bottleneck_size=6]",
        "vera_seq_bn": "vera[r=4,attn_matrices=['v']]|seq_bn[reduction_factor=16]",
    }.items():
        yield Case(f"union_{name}", "union", config, models=("tiny-b",))


def _lora_relatives():
    yield Case("dora", "dora", "dora[r=4]", flagship=True)
    yield Case("dora_alpha16", "dora", "dora[r=4,alpha=16]")
    yield Case("dora_all", "dora", "dora[r=1,intermediate_lora=True,output_lora=True]")
    # Its square matrices are large.
    yield Case("vera", "vera", "vera[r=4]", flagship=True, models=("tiny-a",))
    yield Case("vera_alpha16", "vera", "vera[r=4,alpha=16,attn_matrices=['v'],leave_out=[0]]")
    yield Case("vera_gating", "vera", "vera[r=4,use_gating=True,attn_matrices=['k'],leave_out=[1]]")
    yield Case("dvora", "dvora", "dvora[r=4,attn_matrices=['v']]", flagship=True)
    yield Case(
        "vera_intermediate",
        "vera",
        "vera[r=4,intermediate_lora=True]",
        crash="one pair of frozen matrices for all layers, so sliced to (or one pair for) each shape of layer",
    )
    yield Case("vera_only_b", "vera", "vera[r=4,vera_d=None]", crash="only b scaled")
    yield Case("dora_gating", "dora", "dora[r=4,use_gating=True]")
    yield Case("ia3_dora", "ia3", "ia3[use_dora=True]", crash="`use_dora` is for `add` alone: an error is right")
    yield Case("mtl_lora", "mtl_lora", "mtl_lora[r=4]", flagship=True)
    yield Case("mtl_lora_up2", "mtl_lora", "mtl_lora[r=4,n_up_projection=2,weights_sharpness=0.5]")
    yield Case(
        "mtl_lora_linear",
        "mtl_lora",
        "mtl_lora[r=4,task_specific_matrix_type='linear']",
        crash="a full r x r matrix for the task",
    )


def _reft():
    for name in ["loreft", "noreft", "direft"]:
        # Two bases of hidden x hidden a layer make LoReFT large.
        models = ("tiny-a",) if name == "loreft" else BOTH
        yield Case(name, "reft", f"{name}[r=2,dropout=0.0]", flagship=True, models=models)
        yield Case(
            f"{name}_suffix",
            "reft",
            f"{name}[r=2,dropout=0.0,layers=[0],prefix_positions=2,suffix_positions=3]",
        )
        yield Case(
            f"{name}_tied",
            "reft",
            f"{name}[r=1,dropout=0.0,layers=[1],prefix_positions=2,suffix_positions=2,tied_weights=True]",
        )
    yield Case("loreft_layers", "reft", "loreft[r=2,dropout=0.0,layers=[0]]")
    yield Case("noreft_relu", "reft", "noreft[r=2,dropout=0.0,non_linearity='relu']")


def all_cases():
    """Every case, in the order in which they are generated."""
    for group in [
        _bottleneck,
        _lora,
        _heads,
        _invertible,
        _compacter,
        _prefix_tuning,
        _prompt_tuning,
        _ia3,
        _unions,
        _lora_relatives,
        _reft,
    ]:
        yield from group()
