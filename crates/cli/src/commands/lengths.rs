//! The maximum length of rows of tokens, and the windows of longer contexts in question answering.

use burn_adapters_heads::AnswerRules;
use burn_adapters_train::Lengths;
use clap::Args;

use super::model::{Model, max_length};
use crate::error::{CliError, CliResult};

/// Lengths in tokens.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct LengthArguments {
    /// Truncate texts to this many tokens [default: the model's limit]. In question answering, longer contexts are
    /// divided into windows of this length, each with the question, instead of truncated; in masked and causal language
    /// modeling, longer texts are divided into parts (conversations, completions and answers are cut).
    #[arg(long, value_name = "TOKENS")]
    max_length: Option<usize>,

    /// Question answering: the number of tokens of the context that neighboring windows share, at most half of --max-length
    /// [default: 128, or half a window].
    #[arg(long, value_name = "TOKENS")]
    doc_stride: Option<usize>,

    /// Sequence-to-sequence: truncate target texts to this many tokens.
    #[arg(long, value_name = "TOKENS", default_value_t = 128)]
    max_target_length: usize,

    /// Question answering: the maximum number of tokens of an answer.
    #[arg(long, value_name = "TOKENS", default_value_t = 30)]
    max_answer_length: usize,
}

impl LengthArguments {
    /// The lengths, checked against the model. `none` is whether a question may have no answer even if all questions of
    /// the labeled data have one.
    pub(super) fn lengths(&self, model: &Model, none: bool) -> CliResult<Lengths> {
        let lengths = Lengths::from(max_length(model, self.max_length)?);
        if let Some(stride) = self.doc_stride.filter(|stride| *stride > lengths.max_length / 2) {
            let message = format!("--doc-stride is {stride}, more than half of --max-length ({})", lengths.max_length);
            return Err(CliError::mistake(message).with_help(
                "it is the number of tokens that neighboring windows share: lower it, or raise --max-length",
            ));
        }
        if self.max_answer_length == 0 {
            return Err(CliError::mistake("--max-answer-length must be at least 1, found 0"));
        }
        let answers = AnswerRules { max_tokens: self.max_answer_length, none };
        let max_target_length = max_length(model, Some(self.max_target_length.min(model.tokenizer.model_limit())))?;
        Ok(Lengths { overlap: self.doc_stride.unwrap_or(lengths.overlap), answers, max_target_length, ..lengths })
    }
}
