//! The model families: each is data, in a folder of its own.

mod albert;
mod architectures;
mod bart;
mod bert;
mod bert_generation;
mod deberta;
mod distilbert;
mod encoder_decoder;
mod gemma;
mod gpt2;
mod gptj;
mod interface;
mod llama;
mod modernbert;
mod phi;
mod qwen;
mod t5;
mod xmod;

pub(crate) use architectures::{
    ARCHITECTURES, Architecture, BYTE_LEVEL, SENTENCEPIECE, UNIGRAM, WORD_PIECES, WORDS, Words,
};
pub use bert::{BertConfig, BertFamily};

use crate::ModelConfigError;
use crate::fields::Fields;
use crate::plan::ModelPlan;
use crate::tokenizer::Class;

/// A family: how the `config.json` of its models becomes a plan.
pub(crate) struct Family {
    /// The values of `model_type` in `config.json`.
    pub(crate) model_types: &'static [&'static str],
    /// The class of the tokenizer, where a folder names none.
    pub(crate) tokenizer: fn(&str) -> Class,
    /// The plan that a `config.json` describes.
    pub(crate) plan: fn(&Fields<'_>) -> Result<ModelPlan, ModelConfigError>,
}

/// Every family.
pub(crate) const FAMILIES: &[Family] = &[
    albert::ALBERT,
    bart::BART,
    bart::MBART,
    bart::PLBART,
    bert::BERT,
    bert_generation::BERT_GENERATION,
    deberta::DEBERTA,
    deberta::DEBERTA_V2,
    distilbert::DISTILBERT,
    encoder_decoder::ENCODER_DECODER,
    gemma::GEMMA2,
    gemma::GEMMA3,
    gpt2::GPT2,
    gptj::GPTJ,
    llama::LLAMA,
    llama::MISTRAL,
    modernbert::MODERNBERT,
    phi::PHI,
    qwen::QWEN2,
    qwen::QWEN3,
    t5::T5,
    t5::MT5,
    xmod::XMOD,
];

/// The family of a `model_type`.
pub(crate) fn family(model_type: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.model_types.contains(&model_type))
}
