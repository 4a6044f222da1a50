"""The model families beside BERT: their tiny base models and the cases that show what is each one's own.

BERT has the full matrix of methods (`cases.py`). Here a family has one case for each place that an adapter acts at.
"""

from dataclasses import dataclass, field

import adapters
import torch
import transformers

from cases import Case
from common import generator

# It lists heads of language models alone, but every head works on its outputs.
adapters.BertGenerationAdapterModel.head_types = adapters.BertAdapterModel.head_types

#: One case for each place that an adapter acts at in an encoder.
ENCODER_CASES = (
    Case("double_seq_bn", "bottleneck", "double_seq_bn[reduction_factor=4]", flagship=True),
    Case("seq_bn", "bottleneck", "seq_bn[reduction_factor=4]", stepped=False),
    Case("par_bn", "bottleneck", "par_bn[reduction_factor=4]", stepped=False),
    Case("seq_bn_inv", "invertible", "seq_bn_inv[reduction_factor=8]"),
    Case("compacter", "compacter", "compacter[reduction_factor=4]", stepped=False),
    Case("prefix_tuning", "prefix_tuning", "prefix_tuning[prefix_length=5,bottleneck_size=6]"),
    Case("prefix_tuning_flat", "prefix_tuning", "prefix_tuning_flat[prefix_length=5]", stepped=False),
    Case(
        "lora_all",
        "lora",
        "lora[r=2,alpha=4,attn_matrices=['q','k','v'],intermediate_lora=True,output_lora=True]",
    ),
    Case("ia3", "ia3", "ia3[output_lora=True]", stepped=False),
    Case("dora", "dora", "dora[r=2]", stepped=False),
    Case("vera", "vera", "vera[r=4,leave_out=[0]]", stepped=False),
    Case("loreft", "reft", "loreft[r=2,dropout=0.0,layers=[1],prefix_positions=2,suffix_positions=1]"),
    Case("mam", "mam", "prefix_tuning[prefix_length=4,bottleneck_size=6]|par_bn[reduction_factor=8]", stepped=False),
    Case(
        "unipelt",
        "unipelt",
        "prefix_tuning[prefix_length=4,bottleneck_size=6,use_gating=True]|"
        "seq_bn[reduction_factor=8,use_gating=True]|lora[r=2,alpha=3,use_gating=True]",
        stepped=False,
    ),
    Case("head_multilabel", "head", "lora[r=2]", dict(multilabel=True, num_labels=4), stepped=False),
)

#: The configurations of which the names and shapes of the saved tensors are kept, for a model of `Family.wide`.
NAMED = (
    "seq_bn",
    "double_seq_bn[cross_adapter=True]",
    "seq_bn_inv",
    "compacter",
    "lora[attn_matrices=['q','k','v'],intermediate_lora=True,output_lora=True]",
    "lora",
    "ia3",
    "lora[r=4,use_gating=True]",
    "prefix_tuning[prefix_length=5,bottleneck_size=6]",
    "prefix_tuning_flat[prefix_length=5]",
    "prefix_tuning_flat[prefix_length=5,use_gating=True]",
    "prompt_tuning[prompt_length=4]",
    "vera",
    "loreft",
    "mtl_lora",
    # These for the numbers of their parameters.
    "par_bn",
    "compacter++",
    "prefix_tuning",
    "prefix_tuning_flat",
    "mam",
    "unipelt",
    "prompt_tuning",
    "dora",
)


#: A few of them, for families that name their modules as another.
FEW_NAMED = (
    "double_seq_bn[cross_adapter=True]",
    "seq_bn_inv",
    "compacter",
    "lora[attn_matrices=['q','k','v'],intermediate_lora=True,output_lora=True]",
    "prefix_tuning_flat[prefix_length=5,use_gating=True]",
    "prompt_tuning[prompt_length=4]",
    "loreft",
)


#: The same for decoders, in which the reference has no prompt tuning. With grouped heads it fails to run VeRA.
DECODER_CASES = tuple(case for case in ENCODER_CASES if case.method not in ("prompt_tuning", "vera"))

#: As `NAMED`, for decoders.
DECODER_NAMED = tuple(config for config in NAMED if not config.startswith(("prompt_tuning", "vera")))


def some(cases, *names):
    """The cases with these names."""
    return tuple(case for case in cases if case.name in names)


@dataclass
class Family:
    """A family: its tiny models and its cases."""

    #: The names of its classes in Transformers start with this.
    classes: str
    #: The configuration of the tiny model that the cases run on.
    tiny: dict
    #: That of the wider one whose tensors are named and counted.
    wide: dict
    cases: tuple
    #: Dropouts, to be zero.
    dropouts: tuple
    #: Further tiny models, by their folders, and what differs in their configurations.
    variants: dict = field(default_factory=dict)
    #: Whether the base model is that of the class with adapters: `Transformers` has language modules in it.
    languages: bool = False
    #: Adapters of the reference that have another form here.
    converted: tuple = ()
    #: The class of the base model, if it is not the usual one.
    base_class: str = ""
    #: Whether the reference supports it through its interface alone (`interface.py`).
    interface: bool = False
    #: The start of the names of its classes with heads for texts, if it is another.
    text_classes: str = ""
    #: The class with a head whose checkpoint is saved.
    with_head: str = "ForSequenceClassification"
    #: Whether an adapter is saved with the head of that class.
    static: bool = True
    #: Folders of adapters with the heads of further classes, the ends of these classes' names, and their base models.
    static_classes: tuple = ()
    #: The configurations of which the names and shapes of the saved tensors are kept.
    named: tuple = NAMED
    #: Whether compositions are run on it.
    composed: bool = False
    #: The token at the end of each row, which stands for the row in encoder-decoders.
    end: int | None = None
    #: The labels of the static head, with their numbers.
    labels: dict = field(default_factory=lambda: {"bad": 0, "fine": 1, "good": 2})

    def base(self):
        """The class of the base model."""
        return getattr(transformers, self.base_class or f"{self.classes}Model")

    def builder(self):
        """The classes that cases are built from, if the reference has no class with named heads."""
        return (self.text_classes or self.classes) if self.interface else None

    def config(self, **sizes):
        """A configuration without dropout."""
        config_class = getattr(transformers, f"{self.text_classes or self.classes}Config")
        return config_class(**dict.fromkeys(self.dropouts, 0.0), **sizes)

    def batch(self, padding=True):
        """Four sentences of at most eleven tokens, padded on the right; or all of them full."""
        pad = self.tiny.get("pad_token_id", 0)
        draw = generator(self.classes, "input_ids")
        ids = torch.from_numpy(draw.integers(pad + 1, self.tiny["vocab_size"], size=(4, 11)))
        mask = torch.tensor(
            [
                [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
                [1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0],
                [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0],
                [1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
            ]
        )
        mask = mask if padding else torch.ones_like(mask)
        if self.end is not None:
            # The reference asks for as many of them in each row.
            ids[ids == self.end] = self.end + 1
            ids[torch.arange(len(ids)), mask.sum(1) - 1] = self.end
            pad_id = self.config(**self.tiny).pad_token_id
            ids[ids == pad_id] = self.end + 1
            return {"input_ids": ids * mask + pad_id * (1 - mask), "attention_mask": mask}
        return {"input_ids": torch.where(mask == 1, ids, pad), "attention_mask": mask}


#: The reference finds the last token of a row by `pad_token_id`.
DECODER_SIZES = dict(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=80,
    max_position_embeddings=40,
    pad_token_id=0,
)
WIDE_DECODER_SIZES = dict(
    hidden_size=128,
    intermediate_size=192,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=97,
    max_position_embeddings=64,
    pad_token_id=0,
)

#: A few of them, for families whose code is another's: each for files that are easily confused.
FEW_CASES = some(ENCODER_CASES, "double_seq_bn", "seq_bn_inv", "prefix_tuning", "lora_all")

#: The sizes of encoders.
ENCODER_SIZES = dict(
    hidden_size=24,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    vocab_size=64,
    max_position_embeddings=24,
    pad_token_id=0,
)
WIDE_ENCODER_SIZES = dict(
    hidden_size=128,
    intermediate_size=192,
    num_hidden_layers=2,
    num_attention_heads=4,
    vocab_size=97,
    max_position_embeddings=64,
    pad_token_id=0,
)
HIDDEN_DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob")

ALBERT_CASES = some(ENCODER_CASES, "double_seq_bn", "seq_bn_inv", "prefix_tuning", "lora_all", "loreft")

#: The same for encoder-decoders, in which the reference has no prompt tuning.
TWO_STACK_CASES = (
    Case("double_seq_bn", "bottleneck", "double_seq_bn[reduction_factor=4,cross_adapter=True]", flagship=True),
    *(case for case in ENCODER_CASES if case.name not in ("double_seq_bn", "vera")),
    Case("vera", "vera", "vera[r=4]", stepped=False),
)

#: Those that differ between encoder-decoders of one kind.
FEW_TWO_STACK_CASES = some(TWO_STACK_CASES, "double_seq_bn", "seq_bn_inv", "prefix_tuning_flat", "lora_all")

#: As `NAMED`, for encoder-decoders.
TWO_STACK_NAMED = tuple(config for config in NAMED if not config.startswith("prompt_tuning"))

BART_SIZES = dict(
    d_model=16,
    encoder_layers=2,
    decoder_layers=2,
    encoder_attention_heads=4,
    decoder_attention_heads=4,
    encoder_ffn_dim=24,
    decoder_ffn_dim=24,
    vocab_size=60,
    max_position_embeddings=24,
)
WIDE_BART_SIZES = dict(
    d_model=128,
    encoder_layers=2,
    decoder_layers=3,
    encoder_attention_heads=4,
    decoder_attention_heads=4,
    encoder_ffn_dim=192,
    decoder_ffn_dim=192,
    vocab_size=97,
    max_position_embeddings=64,
)
T5_SIZES = dict(d_model=16, d_kv=6, d_ff=24, num_layers=2, num_decoder_layers=2, num_heads=4, vocab_size=60)
#: Few buckets, so that the longest rows have distances of all kinds.
T5_BUCKETS = dict(relative_attention_num_buckets=8, relative_attention_max_distance=8)
WIDE_T5_SIZES = dict(d_model=128, d_kv=24, d_ff=192, num_layers=2, num_decoder_layers=3, num_heads=4, vocab_size=97)
BART_DROPOUTS = ("dropout", "attention_dropout", "activation_dropout", "classifier_dropout")
T5_DROPOUTS = ("dropout_rate", "classifier_dropout")

#: The ends of its sublayers are not BERT's.
XMOD_CASES = some(ENCODER_CASES, "double_seq_bn", "seq_bn", "par_bn", "seq_bn_inv")

#: The sizes of further decoders.
SMALL_DECODER_SIZES = dict(
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=60,
    max_position_embeddings=24,
    pad_token_id=0,
)

#: One case for each hook of the reference's interface.
INTERFACE_CASES = some(
    ENCODER_CASES, "double_seq_bn", "seq_bn", "par_bn", "seq_bn_inv", "lora_all", "ia3", "loreft", "compacter"
)
FEW_INTERFACE_CASES = some(INTERFACE_CASES, "seq_bn", "double_seq_bn", "lora_all", "seq_bn_inv")

#: As `NAMED`, for those families. The reference refuses prefixes, prompts and MTL-LoRA there.
INTERFACE_NAMED = (
    "seq_bn",
    "double_seq_bn",
    "par_bn",
    "seq_bn_inv",
    "compacter",
    "compacter++",
    "lora",
    "lora[attn_matrices=['q','k','v'],intermediate_lora=True,output_lora=True]",
    "lora[r=4,use_gating=True]",
    "ia3",
    "loreft",
    "dora",
)

DEBERTA_CASES = some(ENCODER_CASES, "double_seq_bn", "seq_bn_inv", "prefix_tuning", "lora_all")
DEBERTA = dict(relative_attention=True, pos_att_type="p2c|c2p", position_biased_input=False, type_vocab_size=0)

#: What the BART families have in common.
BART = dict(
    tiny=BART_SIZES,
    wide=WIDE_BART_SIZES,
    dropouts=BART_DROPOUTS,
    with_head="ForConditionalGeneration",
    static=False,
    end=2,
)
#: What the T5 families have in common.
T5 = dict(dropouts=T5_DROPOUTS, with_head="ForConditionalGeneration", static=False, end=1)
#: What the decoders of the reference's interface have in common.
INTERFACE = dict(dropouts=("attention_dropout",), interface=True, with_head="ForCausalLM", named=INTERFACE_NAMED)



def yarn(**scaling):
    """Rotary positions stretched by YaRN. A low base lets every frequency rotate."""
    return dict(rope_theta=100.0, rope_scaling=dict(rope_type="yarn", **scaling))


FAMILIES = {
    "bart": Family(
        classes="Bart",
        cases=TWO_STACK_CASES,
        named=TWO_STACK_NAMED,
        composed=True,
        **BART,
    ),
    "plbart": Family(
        classes="PLBart",
        # It differs by the scale of the embeddings alone.
        cases=some(FEW_TWO_STACK_CASES, "double_seq_bn"),
        named=("seq_bn", "lora"),
        **BART,
    ),
    "mbart": Family(
        classes="MBart",
        cases=FEW_TWO_STACK_CASES,
        named=("seq_bn", "double_seq_bn[cross_adapter=True]", "lora"),
        **BART,
    ),
    "t5": Family(
        classes="T5",
        tiny=dict(**T5_SIZES, **T5_BUCKETS, decoder_start_token_id=0),
        wide=dict(**WIDE_T5_SIZES, decoder_start_token_id=0),
        cases=TWO_STACK_CASES,
        named=TWO_STACK_NAMED,
        composed=True,
        **T5,
    ),
    "mt5": Family(
        classes="MT5",
        tiny=dict(**T5_SIZES, **T5_BUCKETS, feed_forward_proj="gated-gelu", decoder_start_token_id=0),
        wide=dict(**WIDE_T5_SIZES, feed_forward_proj="gated-gelu", decoder_start_token_id=0),
        cases=FEW_TWO_STACK_CASES,
        named=("seq_bn", "ia3", "lora[attn_matrices=['q','k','v'],intermediate_lora=True,output_lora=True]"),
        **T5,
    ),
    "distilbert": Family(
        classes="DistilBert",
        tiny=dict(dim=16, n_layers=2, n_heads=4, hidden_dim=24, vocab_size=60, max_position_embeddings=24),
        wide=dict(dim=128, n_layers=2, n_heads=4, hidden_dim=192, vocab_size=97, max_position_embeddings=64),
        cases=(
            *ENCODER_CASES,
            # Eager attention fails with a prompt, and SDPA adds 1 to the scores of a prompt's positions beside padding.
            Case(
                "prompt_tuning", "prompt_tuning", "prompt_tuning[prompt_length=4]", attention="sdpa", padding=False
            ),
        ),
        dropouts=("dropout", "attention_dropout", "seq_classif_dropout", "qa_dropout"),
    ),
    "llama": Family(
        classes="Llama",
        tiny=dict(
            **DECODER_SIZES,
            attention_bias=True,
            rope_theta=100.0,
            rope_scaling=dict(
                rope_type="llama3",
                factor=4.0,
                low_freq_factor=1.0,
                high_freq_factor=4.0,
                original_max_position_embeddings=16,
            ),
        ),
        wide=WIDE_DECODER_SIZES,
        cases=DECODER_CASES,
        dropouts=("attention_dropout",),
        variants={
            "yarn": yarn(factor=4.0, beta_fast=2.0, beta_slow=0.2, mscale=1.2, mscale_all_dim=0.7, truncate=False),
            "yarn_by_one_scale": yarn(factor=4.0, mscale=1.2, original_max_position_embeddings=16),
        },
        with_head="ForCausalLM",
        static=False,
        named=DECODER_NAMED,
        composed=True,
    ),
    "gpt2": Family(
        classes="GPT2",
        tiny=dict(n_embd=16, n_inner=24, n_layer=2, n_head=4, vocab_size=60, n_positions=24, pad_token_id=0),
        wide=dict(n_embd=128, n_inner=192, n_layer=2, n_head=4, vocab_size=97, n_positions=64, pad_token_id=0),
        # The reference fails to add DoRA to a fused matrix.
        cases=tuple(case for case in DECODER_CASES if case.method != "dora"),
        dropouts=("attn_pdrop", "embd_pdrop", "resid_pdrop"),
        with_head="LMHeadModel",
        static=False,
        # It adds MTL-LoRA, but fails to run it.
        named=tuple(config for config in DECODER_NAMED if not config.startswith(("dora", "mtl_lora"))),
    ),
    "mistral": Family(
        classes="Mistral",
        tiny=dict(**SMALL_DECODER_SIZES, sliding_window=4),
        wide=WIDE_DECODER_SIZES,
        # What the others hold is Llama's.
        cases=some(DECODER_CASES, "double_seq_bn", "lora_all", "prefix_tuning", "loreft"),
        dropouts=("attention_dropout",),
        # Without `head_dim`, Transformers fails to stretch positions of Mistral.
        variants={"yarn": dict(yarn(factor=2.0, attention_factor=1.3, beta_fast=1.0, beta_slow=0.1), head_dim=4)},
        with_head="ForCausalLM",
        static=False,
        named=("seq_bn", "lora", "ia3"),
    ),
    "bert_generation": Family(
        classes="BertGeneration",
        tiny=ENCODER_SIZES,
        wide=WIDE_ENCODER_SIZES,
        cases=FEW_CASES,
        dropouts=HIDDEN_DROPOUTS,
        base_class="BertGenerationEncoder",
        with_head="Decoder",
        static=False,
        named=FEW_NAMED,
    ),
    "albert": Family(
        classes="Albert",
        # Four steps over the layers of two groups.
        tiny=dict(ENCODER_SIZES, embedding_size=16, num_hidden_layers=4, num_hidden_groups=2),
        wide=dict(WIDE_ENCODER_SIZES, embedding_size=64, num_hidden_layers=4, num_hidden_groups=2, inner_group_num=2),
        cases=(
            *ALBERT_CASES,
            Case("prompt_tuning", "prompt_tuning", "prompt_tuning[prompt_length=4]", stepped=False),
            Case("compacter", "compacter", "compacter[reduction_factor=6]", stepped=False),
            # The reference swaps the adapter's input and residual after the attention.
            Case("par_bn_mh", "bottleneck", "par_bn[reduction_factor=4,mh_adapter=True]", stepped=False),
        ),
        dropouts=(*HIDDEN_DROPOUTS, "classifier_dropout_prob"),
    ),
    "xmod": Family(
        classes="Xmod",
        tiny=dict(ENCODER_SIZES, pad_token_id=1, type_vocab_size=1, languages=["en_XX", "de_DE"]),
        variants={
            "pre_norm": dict(
                num_hidden_layers=1, pre_norm=True, adapter_layer_norm=True, ln_before_adapter=False, adapter_reduction_factor=3
            )
        },
        wide=WIDE_ENCODER_SIZES,
        cases=(
            *XMOD_CASES,
            # A module for a language is such an adapter.
            Case(
                "language",
                "bottleneck",
                "seq_bn[reduction_factor=3,non_linearity='gelu',original_ln_before=True,original_ln_after=False,"
                "residual_before_ln=False]",
            ),
        ),
        dropouts=HIDDEN_DROPOUTS,
        languages=True,
        named=FEW_NAMED,
    ),
    "gptj": Family(
        classes="GPTJ",
        tiny=dict(n_embd=16, n_inner=24, n_layer=2, n_head=2, vocab_size=60, n_positions=24, rotary_dim=4, pad_token_id=0),
        wide=dict(n_embd=128, n_inner=192, n_layer=2, n_head=4, vocab_size=97, n_positions=64, rotary_dim=16, pad_token_id=0),
        cases=some(
            DECODER_CASES, "double_seq_bn", "seq_bn", "par_bn", "seq_bn_inv", "lora_all", "prefix_tuning", "loreft"
        ),
        dropouts=("attn_pdrop", "embd_pdrop", "resid_pdrop"),
        with_head="ForCausalLM",
        static=False,
        named=DECODER_NAMED,
    ),
    "qwen2": Family(
        classes="Qwen2",
        # The second layer has a window.
        tiny=dict(**SMALL_DECODER_SIZES, rope_theta=100.0, use_sliding_window=True, sliding_window=4, max_window_layers=1),
        wide=WIDE_DECODER_SIZES,
        cases=INTERFACE_CASES,
        # As released configurations have it.
        variants={"yarn": dict(rope_scaling=dict(type="yarn", factor=4.0, original_max_position_embeddings=16))},
        **INTERFACE,
    ),
    "qwen3": Family(
        classes="Qwen3",
        tiny=dict(**SMALL_DECODER_SIZES, rope_theta=100.0, head_dim=6),
        wide=dict(**WIDE_DECODER_SIZES, head_dim=48),
        cases=FEW_INTERFACE_CASES,
        variants={"yarn": yarn(factor=8.0, beta_fast=0, beta_slow=None, truncate=None)},
        static=False,
        **INTERFACE,
    ),
    "phi": Family(
        classes="Phi",
        tiny=dict(SMALL_DECODER_SIZES, rope_theta=100.0, qk_layernorm=True, num_attention_heads=2, num_key_value_heads=1),
        wide=WIDE_DECODER_SIZES,
        variants={"yarn": yarn(factor=4.0, original_max_position_embeddings=16)},
        # The reference fails to run parallel adapters there.
        cases=(
            *(case for case in INTERFACE_CASES if case.name != "par_bn"),
            Case("seq_bn_mh", "bottleneck", "seq_bn[reduction_factor=4,mh_adapter=True]", stepped=False),
            Case("par_bn_mh", "bottleneck", "par_bn[reduction_factor=4,mh_adapter=True,output_adapter=False]", stepped=False),
        ),
        static=False,
        **{**INTERFACE, "dropouts": ("attention_dropout", "resid_pdrop", "embd_pdrop")},
    ),
    "gemma2": Family(
        classes="Gemma2",
        tiny=dict(
            **SMALL_DECODER_SIZES,
            rope_theta=100.0,
            head_dim=6,
            query_pre_attn_scalar=10,
            sliding_window=4,
            attn_logit_softcapping=5.0,
        ),
        wide=dict(**WIDE_DECODER_SIZES, head_dim=48),
        cases=INTERFACE_CASES,
        static=False,
        **INTERFACE,
    ),
    "gemma3_text": Family(
        classes="Gemma3",
        text_classes="Gemma3Text",
        base_class="Gemma3TextModel",
        tiny=dict(
            **SMALL_DECODER_SIZES,
            rope_theta=100.0,
            rope_local_base_freq=50.0,
            rope_scaling=dict(rope_type="linear", factor=8.0),
            head_dim=6,
            query_pre_attn_scalar=10,
            sliding_window=4,
            layer_types=["sliding_attention", "full_attention"],
        ),
        wide=dict(**WIDE_DECODER_SIZES, head_dim=48),
        cases=FEW_INTERFACE_CASES,
        static=False,
        **INTERFACE,
    ),
    "modernbert": Family(
        classes="ModernBert",
        # The second layer sees positions at a distance of two alone.
        tiny=dict(
            **dict(ENCODER_SIZES, hidden_size=16, intermediate_size=24, num_hidden_layers=3),
            global_attn_every_n_layers=2,
            local_attention=4,
            global_rope_theta=100.0,
            local_rope_theta=50.0,
            reference_compile=False,
        ),
        wide=dict(**WIDE_ENCODER_SIZES, reference_compile=False),
        cases=INTERFACE_CASES,
        dropouts=(),
        interface=True,
        with_head="ForMaskedLM",
        variants={
            "mean": dict(classifier_pooling="mean", classifier_activation="relu", classifier_bias=True, norm_bias=True)
        },
        static_classes=(
            ("static_mean", "SequenceClassification", "models/mean"),
            ("static_tokens", "TokenClassification", "models/tiny"),
            ("static_answers", "QuestionAnswering", "models/tiny"),
            ("static_choices", "MultipleChoice", "models/mean"),
        ),
        # It fails to add DoRA to a fused matrix.
        named=tuple(config for config in INTERFACE_NAMED if config != "dora"),
    ),
    "deberta_v2": Family(
        classes="DebertaV2",
        # Few buckets, so that the longest rows have distances of all kinds.
        tiny=dict(
            **ENCODER_SIZES,
            **DEBERTA,
            share_att_key=True,
            norm_rel_ebd="layer_norm",
            position_buckets=4,
            max_relative_positions=8,
        ),
        variants={
            "convolution": dict(
                share_att_key=False,
                norm_rel_ebd="none",
                position_buckets=-1,
                max_relative_positions=6,
                conv_kernel_size=3,
                conv_act="gelu",
            ),
            "absolute": dict(
                num_hidden_layers=1, relative_attention=False, position_biased_input=True, type_vocab_size=2
            ),
        },
        wide=dict(**WIDE_ENCODER_SIZES, **DEBERTA, share_att_key=True),
        cases=(
            *DEBERTA_CASES,
            # With padding, the positions of a prompt see it.
            Case("prompt_tuning", "prompt_tuning", "prompt_tuning[prompt_length=4]", stepped=False, padding=False),
            # An intervention comes before the convolution.
            Case(
                "loreft",
                "reft",
                "loreft[r=2,dropout=0.0,prefix_positions=2,suffix_positions=1]",
                variant="convolution",
                stepped=False,
            ),
            # Gates see what padding sees. They are computed for the table, too.
            Case("gates", "union", "seq_bn[reduction_factor=8,use_gating=True]|lora[r=2,use_gating=True]", stepped=False),
        ),
        dropouts=HIDDEN_DROPOUTS,
        named=FEW_NAMED,
    ),
    "deberta": Family(
        classes="Deberta",
        # Few distances, so that the longest rows have more.
        tiny=dict(**ENCODER_SIZES, **DEBERTA, max_relative_positions=6),
        wide=dict(**WIDE_ENCODER_SIZES, **DEBERTA),
        cases=(
            *some(ENCODER_CASES, "double_seq_bn", "seq_bn_inv", "prefix_tuning"),
            Case(
                "lora_feed_forward",
                "lora",
                "lora[r=2,alpha=4,selfattn_lora=False,intermediate_lora=True,output_lora=True]",
                stepped=False,
            ),
            Case("prompt_tuning", "prompt_tuning", "prompt_tuning[prompt_length=4]", stepped=False, padding=False),
        ),
        converted=(
            Case("lora", "lora", "lora[r=2,alpha=3]", stepped=False),
            Case(
                "lora_all",
                "lora",
                "lora[r=2,alpha=4,attn_matrices=['q','k','v'],intermediate_lora=True,output_lora=True]",
                stepped=False,
            ),
            Case("lora_gating", "lora", "lora[r=2,attn_matrices=['k'],use_gating=True]", stepped=False),
            Case("ia3", "ia3", "ia3", stepped=False),
        ),
        dropouts=HIDDEN_DROPOUTS,
        # Its names of LoRA on the fused matrix are not written.
        named=tuple(config for config in FEW_NAMED if not config.startswith("lora[")),
    ),
}
