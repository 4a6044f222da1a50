//! The layers of Llama, which other families have under the same names.

use burn_adapters_core::SiteName::Whole;
use burn_adapters_core::{Activation, AttentionNames, Place, SiteNames, StackKind, StackNames};
use burn_adapters_model::Limits;

use crate::ModelConfigError;
use crate::fields::Fields;
use crate::plan::{AttentionPlan, FeedForwardPlan, LinearPlan};

/// The keys that these families have in common.
pub(in crate::families) struct LlamaLayers {
    pub(in crate::families) limits: Limits,
    pub(in crate::families) layers: usize,
    pub(in crate::families) hidden: usize,
    pub(in crate::families) heads: usize,
    pub(in crate::families) key_value_heads: usize,
    pub(in crate::families) head_dim: usize,
    pub(in crate::families) intermediate: usize,
}

/// The values of keys that a `config.json` lacks.
#[derive(Default)]
pub(in crate::families) struct Defaults {
    /// `num_key_value_heads`; else that of the heads.
    pub(in crate::families) key_value_heads: Option<usize>,
    /// `head_dim`; else the heads' part of the hidden size.
    pub(in crate::families) head_dim: Option<usize>,
    /// `max_position_embeddings`.
    pub(in crate::families) sequence: usize,
}

impl LlamaLayers {
    pub(in crate::families) fn from_fields(fields: &Fields<'_>, defaults: &Defaults) -> Result<Self, ModelConfigError> {
        for key in ["pruned_heads", "quantization_config"] {
            fields.absent(key)?;
        }
        let vocabulary = fields.size("vocab_size")?;
        let hidden = fields.size("hidden_size")?;
        let layers = fields.size("num_hidden_layers")?;
        let heads = fields.size("num_attention_heads")?;
        let default = defaults.key_value_heads.unwrap_or(heads);
        let key_value_heads = fields.optional_size("num_key_value_heads")?.unwrap_or(default);
        let intermediate = fields.size("intermediate_size")?;
        let sequence = fields.optional_size("max_position_embeddings")?.unwrap_or(defaults.sequence);
        let pad_id = fields.index("pad_token_id", 0)?;
        fields.check_layers("num_hidden_layers", layers)?;
        fields.check_heads(("num_attention_heads", heads), ("num_key_value_heads", key_value_heads))?;
        let head_dim = match fields.optional_size("head_dim")?.or(defaults.head_dim) {
            Some(head_dim) => head_dim,
            None => {
                fields.check_heads(("hidden_size", hidden), ("num_attention_heads", heads))?;
                hidden / heads
            }
        };
        fields.check_padding(pad_id, vocabulary)?;
        let limits = Limits { vocabulary, token_types: 1, sequence, pad_id: pad_id as u32 };
        Ok(Self { limits, layers, hidden, heads, key_value_heads, head_dim, intermediate })
    }

    /// Causal attention, its projections with biases or without: those of queries, keys and values, and the output.
    pub(in crate::families) fn attention(&self, [input_bias, output_bias]: [bool; 2]) -> AttentionPlan {
        let (queries, keys) = (self.heads * self.head_dim, self.key_value_heads * self.head_dim);
        let input = |name, width| LinearPlan::new(name, self.hidden, width).with_bias(input_bias);
        let projections = [
            input("self_attn.q_proj", queries),
            input("self_attn.k_proj", keys),
            input("self_attn.v_proj", keys),
            LinearPlan::new("self_attn.o_proj", queries, self.hidden).with_bias(output_bias),
        ];
        let plan = AttentionPlan::new(projections, self.heads);
        AttentionPlan { key_value_heads: self.key_value_heads, causal: true, ..plan }
    }

    /// The shape of the table of word embeddings.
    pub(in crate::families) fn words(&self) -> [usize; 2] {
        [self.limits.vocabulary, self.hidden]
    }

    /// The gated feed-forward block.
    pub(in crate::families) fn feed_forward(&self, activation: Activation, bias: bool) -> FeedForwardPlan {
        let up = |name| LinearPlan::new(name, self.hidden, self.intermediate).with_bias(bias);
        let down = LinearPlan::new("mlp.down_proj", self.intermediate, self.hidden).with_bias(bias);
        FeedForwardPlan { gate: Some(up("mlp.gate_proj")), ..FeedForwardPlan::new(up("mlp.up_proj"), down, activation) }
    }
}

/// AdapterHub's names of the modules.
pub(in crate::families) const fn names(model_class: &'static str) -> SiteNames {
    SiteNames {
        model_class: Some(model_class),
        prefix: Some("model"),
        stacks: &[StackNames {
            kind: StackKind::Decoder,
            root: "",
            layer: "layers.{}",
            places: &[
                (Place::Query, Whole("self_attn.q_proj")),
                (Place::Key, Whole("self_attn.k_proj")),
                (Place::Value, Whole("self_attn.v_proj")),
                (Place::AttentionOutput, Whole("self_attn.o_proj")),
                (Place::FeedForwardGate, Whole("mlp.gate_proj")),
                (Place::FeedForwardUp, Whole("mlp.up_proj")),
                (Place::FeedForwardDown, Whole("mlp.down_proj")),
                (Place::Attention, Whole("attention_adapters")),
                (Place::FeedForward, Whole("output_adapters")),
                (Place::Layer, Whole("reft_layer")),
            ],
            attentions: &[AttentionNames { place: Place::Attention, module: "self_attn", prefix_key: None }],
        }],
        ..SiteNames::OWN
    }
}
