//! Families that the reference supports through its plug-in interface: the names of that interface, which it saves with
//! each adapter (`adapter_interface.json`).

use burn_adapters_core::SiteNames;

use super::llama;

/// The interface of Llama's names, by which x is the input of the norm of that name before the feed-forward block.
macro_rules! of_llama {
    ($pre_ffn:literal $(, $more:expr)*) => {
        &[
            ("attn_k_proj", "k_proj"),
            ("attn_o_proj", "o_proj"),
            ("attn_q_proj", "q_proj"),
            ("attn_v_proj", "v_proj"),
            ("layer_intermediate_proj", "mlp.up_proj"),
            ("layer_output_proj", "mlp.down_proj"),
            ("layer_pre_ffn", $pre_ffn),
            ("layer_pre_self_attn", "input_layernorm"),
            ("layer_self_attn", "self_attn"),
            ("model_embeddings", "embed_tokens"),
            ("model_layers", "layers"),
            $($more,)*
        ]
    };
}

/// The names of Qwen's modules.
pub(super) const fn qwen(model_class: &'static str) -> SiteNames {
    SiteNames { interface: of_llama!("post_attention_layernorm"), ..llama::names(model_class) }
}

/// The names of Gemma 2's modules.
pub(super) const fn gemma2(model_class: &'static str) -> SiteNames {
    SiteNames {
        interface: of_llama!(
            "pre_feedforward_layernorm",
            ("layer_ln_1", "post_attention_layernorm"),
            ("layer_ln_2", "post_feedforward_layernorm")
        ),
        ..llama::names(model_class)
    }
}

/// The names of Gemma 3's modules.
pub(super) const fn gemma3(model_class: &'static str) -> SiteNames {
    SiteNames {
        interface: of_llama!(
            "pre_feedforward_layernorm",
            ("layer_ln_1", "post_attention_layernorm"),
            ("layer_ln_2", "post_feedforward_layernorm"),
            ("base_model", "model")
        ),
        ..llama::names(model_class)
    }
}
