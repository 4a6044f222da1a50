//! The keys of `config.json` that the versions share, and what follows from them.

use burn_adapters_model::Limits;

use crate::ModelConfigError;
use crate::families::bert::{BERT_HEAD, BertLayers, MaskedHead, check_supported};
use crate::fields::Fields;
use crate::plan::{Counting, EmbeddingsPlan, OutputPlan, TablePlan};

/// The prefixes of the heads in checkpoints, and of what files hold although the model has no use for it.
pub(super) const UNUSED: &[&str] =
    &["pooler.", "lm_predictions.", "mask_predictions.", "embeddings.position_embeddings.", "encoder.LayerNorm."];

/// The head for masked language modeling of the authors' own code; `transformers` writes that of BERT.
const MASKED_HEAD: MaskedHead = MaskedHead {
    dense: "lm_predictions.lm_head.dense",
    norm: "lm_predictions.lm_head.LayerNorm",
    decoder: "lm_predictions.lm_head.decoder",
    bias: &["lm_predictions.lm_head.bias"],
};

/// The keys.
pub(super) struct Keys {
    pub(super) layers: BertLayers,
    pub(super) embeddings: EmbeddingsPlan,
    pub(super) limits: Limits,
    pub(super) output: OutputPlan,
    pub(super) initializer_range: f64,
    pub(super) attention: Relative,
}

/// Which terms attention has.
pub(super) struct Relative {
    /// Whether there is a table of distances at all.
    pub(super) is_used: bool,
    /// The number of distances on each side of its middle.
    pub(super) positions: usize,
    /// Whether queries are compared with distances.
    pub(super) c2p: bool,
    /// Whether keys are compared with distances.
    pub(super) p2c: bool,
}

impl Relative {
    /// The factor on the scores of heads of this width.
    pub(super) fn scale(&self, head: usize) -> f64 {
        let terms = 1 + usize::from(self.c2p) + usize::from(self.p2c);
        1.0 / ((head * terms) as f64).sqrt()
    }

    /// The table of distances, of so many on each side.
    pub(super) fn table(&self, span: usize, hidden: usize) -> TablePlan {
        TablePlan::new("encoder.rel_embeddings", 2 * span, hidden)
    }
}

impl Keys {
    /// Reads them. The defaults are the size of the vocabulary and `[hidden, layers, heads, intermediate]`.
    pub(super) fn read(fields: &Fields<'_>, vocabulary: usize, sizes: [usize; 4]) -> Result<Self, ModelConfigError> {
        check_supported(fields)?;
        fields.absent("talking_head")?;
        let vocabulary = fields.optional_size("vocab_size")?.unwrap_or(vocabulary);
        let sequence = fields.optional_size("max_position_embeddings")?.unwrap_or(512);
        let token_types = fields.index("type_vocab_size", 0)?;
        let pad_id = fields.index("pad_token_id", 0)?;
        fields.check_padding(pad_id, vocabulary)?;
        let layers = BertLayers::from_fields(fields, sizes, 1e-7)?;
        let hidden = layers.hidden;
        if let Some(width) = fields.optional_size("embedding_size")?.filter(|width| *width != hidden) {
            return Err(fields.unsupported("embedding_size", width.to_string(), format!("{hidden}, the hidden_size")));
        }
        let table = |name, rows| TablePlan::new(name, rows, hidden);
        let positions = (table("embeddings.position_embeddings", sequence), Counting::FromZero);
        let has_positions = fields.flag_or("position_biased_input", true)?;
        let embeddings = EmbeddingsPlan {
            positions: has_positions.then_some(positions),
            token_types: (token_types > 0).then(|| table("embeddings.token_type_embeddings", token_types)),
            norm: Some(layers.norm("embeddings.LayerNorm")),
            zeroes_padding: true,
            dropout: layers.dropout,
            ..EmbeddingsPlan::new(table("embeddings.word_embeddings", vocabulary))
        };
        let (mut c2p, mut p2c) = (false, false);
        for kind in fields.alternatives("pos_att_type")? {
            match kind.as_str() {
                "c2p" => c2p = true,
                "p2c" => p2c = true,
                _ => return Err(fields.unsupported("pos_att_type", format!("\"{kind}\""), "\"c2p\", \"p2c\"")),
            }
        }
        let positions = match fields.bound("max_relative_positions")? {
            Some(positions) => positions,
            None => sequence,
        };
        let (head, is_tied) = match fields.flag_or("legacy", true)? {
            true => (BERT_HEAD, fields.flag_or("tie_word_embeddings", true)?),
            false => (MASKED_HEAD, true),
        };
        Ok(Self {
            output: head.plan([vocabulary, hidden, hidden], layers.activation, layers.epsilon, is_tied),
            layers,
            embeddings,
            limits: Limits { vocabulary, token_types: token_types.max(1), sequence, pad_id: pad_id as u32 },
            initializer_range: fields.positive("initializer_range", 0.02)?,
            attention: Relative { is_used: fields.flag("relative_attention")?, positions, c2p, p2c },
        })
    }
}
