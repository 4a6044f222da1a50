//! X-MOD (Pfeiffer et al., 2022, <https://arxiv.org/abs/2205.06266>): RoBERTa, pre-trained with a module for each language.
//!
//! The modules are bottleneck adapters, and adapters they are here: a base model has none. `AutoModel::add_languages`
//! reads them.

use burn_adapters_config::{BottleneckConfig, ResidualBeforeLn};
use burn_adapters_core::{Activation, SiteNames};
use burn_adapters_model::Limits;

use super::Family;
use super::bert::{self, BertLayers, ROBERTA_HEAD, check_supported};
use crate::ModelConfigError;
use crate::fields::Fields;
use crate::plan::{Counting, EmbeddingsPlan, LanguagesPlan, LinearPlan, ModelPlan, Order, TablePlan};
use crate::tokenizer::Class;

pub(super) const XMOD: Family = Family { model_types: &["xmod"], tokenizer: |_| Class::XlmRoberta, plan };

const NAMES: SiteNames = SiteNames { model_class: Some("XmodAdapterModel"), prefix: Some("roberta"), ..bert::NAMES };

fn plan(fields: &Fields<'_>) -> Result<ModelPlan, ModelConfigError> {
    check_supported(fields)?;
    let vocabulary = fields.optional_size("vocab_size")?.unwrap_or(30_522);
    let positions = fields.optional_size("max_position_embeddings")?.unwrap_or(512);
    let token_types = fields.optional_size("type_vocab_size")?.unwrap_or(2);
    let pad_id = fields.index("pad_token_id", 1)?;
    fields.check_padding(pad_id, vocabulary)?;
    let Some(sequence) = positions.checked_sub(pad_id + 1).filter(|sequence| *sequence > 0) else {
        let reason = format!("max_position_embeddings ({positions}) leaves no position beside padding's, {pad_id}");
        return Err(fields.inconsistent(reason));
    };
    let layers = BertLayers::from_fields(fields, [768, 12, 12, 3072], 1e-12)?;
    let hidden = layers.hidden;
    let (own_norm, reuses) = (fields.flag("adapter_layer_norm")?, fields.flag_or("adapter_reuse_layer_norm", true)?);
    if !own_norm && !reuses {
        return Err(fields.unsupported("adapter_reuse_layer_norm", "false".into(), "true, or adapter_layer_norm"));
    }
    let pre_norm = fields.flag("pre_norm")?;
    let languages = LanguagesPlan {
        names: fields.strings("languages")?.unwrap_or_else(|| vec!["en_XX".to_owned()]),
        module: "output.adapter_modules",
        projections: ["dense1", "dense2"],
        config: BottleneckConfig::seq_bn()
            .with_reduction_factor(fields.positive("adapter_reduction_factor", 2.0)?)
            .with_non_linearity(layers.activation)
            .with_original_ln_before(true)
            .with_original_ln_after(false)
            .with_residual_before_ln(match fields.flag_or("ln_before_adapter", true)? {
                true => ResidualBeforeLn::False,
                false => ResidualBeforeLn::PostAdd,
            }),
    };

    let embedding = |name, rows| TablePlan::new(name, rows, hidden);
    let counting = Counting::FromPadding(pad_id as u32);
    let embeddings = EmbeddingsPlan {
        positions: Some((embedding("embeddings.position_embeddings", positions), counting)),
        token_types: Some(embedding("embeddings.token_type_embeddings", token_types)),
        norm: Some(layers.norm("embeddings.LayerNorm")),
        dropout: layers.dropout,
        ..EmbeddingsPlan::new(embedding("embeddings.word_embeddings", vocabulary))
    };
    let limits = Limits { vocabulary, token_types, sequence, pad_id: pad_id as u32 };
    let mut stack = layers.stack();
    stack.layer.order = if pre_norm { Order::PreNormLanguages } else { Order::PostNormLanguages };
    stack.layer.language_norm = own_norm.then(|| layers.norm("output.adapter_layer_norm"));
    let is_tied = fields.flag_or("tie_word_embeddings", true)?;
    let output = ROBERTA_HEAD.plan([vocabulary, hidden, hidden], Activation::Gelu, layers.epsilon, is_tied);
    Ok(ModelPlan {
        output: Some(output),
        prefix: "roberta.",
        names: NAMES,
        norm: pre_norm.then(|| layers.norm("encoder.LayerNorm")),
        pooler: Some(LinearPlan::new("pooler.dense", hidden, hidden)),
        initializer_range: fields.positive("initializer_range", 0.02)?,
        head_epsilon: layers.epsilon,
        head_dropout: fields.optional_probability("classifier_dropout")?.unwrap_or(layers.dropout),
        languages: Some(languages),
        ..ModelPlan::new("xmod", limits, embeddings, stack)
    })
}
