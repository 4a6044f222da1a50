//! Requests and answers. `tests/python/bench_reference.py` has the same protocol.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One line of input.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Identify yourself.
    Hello,
    /// Return the paths of the small model and the rated sentences; fetch them if they are not in the cache.
    Fetch,
    /// Return the path of the language model, a GGUF file; fetch it if it is not in the cache.
    FetchLanguageModel,
    /// Write a model with random weights, the same for both sides.
    MakeModel(MakeModel),
    /// Write an adapter and its head, the same for both sides.
    MakeAdapter(MakeAdapter),
    /// Write a LoRA of a language model as PEFT holds it, the same for both sides.
    MakePeftAdapter(MakeAdapter),
    /// Load the data of a job, and return its results.
    Prepare(Box<Prepare>),
    /// Run units of the prepared job, each timed.
    Run(Run),
    /// Return the number of multiplications and additions per second in a matrix product.
    Matmul(Matmul),
    /// Return the peak memory of the process.
    Peak,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MakeModel {
    pub(crate) dir: PathBuf,
    /// The folder to take `tokenizer.json` from.
    pub(crate) tokenizer: PathBuf,
    pub(crate) vocabulary: usize,
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) intermediate: usize,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MakeAdapter {
    pub(crate) dir: PathBuf,
    pub(crate) model: PathBuf,
    pub(crate) config: String,
    /// Add noise to every parameter, so that an adapter that starts as the identity makes a difference.
    #[serde(default)]
    pub(crate) noise: f64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Prepare {
    pub(crate) kind: Kind,
    pub(crate) model: PathBuf,
    /// The folder of the adapter and its head; for `full` and `burn_lora` only of the head.
    #[serde(default)]
    pub(crate) adapter: Option<PathBuf>,
    /// The configuration, for jobs that create their own adapters.
    #[serde(default)]
    pub(crate) config: Option<String>,
    /// The rated sentences: number, rating and text, separated by tabs. Batches of tokens do not need them.
    #[serde(default)]
    pub(crate) data: PathBuf,
    pub(crate) batches: Vec<BatchSpec>,
    /// The number of adapters: one after another (`infer`), in the bank (`add`, `switch`) or in the batch (`routed`).
    #[serde(default = "one")]
    pub(crate) adapters: usize,
    /// Whether the weights of the model's linear layers are bf16.
    #[serde(default)]
    pub(crate) bf16: bool,
    /// The number of lower layers whose weights are bf16.
    #[serde(default)]
    pub(crate) bf16_below: usize,
    /// Whether the blocks of a GGUF file stay as they are.
    #[serde(default)]
    pub(crate) stored: bool,
    /// Whether the backward pass computes layers again instead of keeping what they computed.
    #[serde(default)]
    pub(crate) checkpoints: bool,
    /// The number of tokens to generate, for `lm_generate`.
    #[serde(default)]
    pub(crate) new_tokens: usize,
}

fn one() -> usize {
    1
}

/// The measured operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// A training step of the adapter and its head.
    Step,
    /// A training step of the whole model.
    Full,
    /// A training step of Burn's own LoRA on the query and value weights of a model of Burn's own modules.
    BurnLora,
    /// The same on our model.
    BurnLoraHere,
    /// Logits of a batch.
    Infer,
    /// The same with the adapter merged into the weights.
    InferMerged,
    /// Logits of a batch whose rows use different adapters.
    Routed,
    /// The same rows, as one batch per adapter.
    Separate,
    /// Adding another adapter.
    Add,
    /// Adding another adapter, and the first pass through it.
    AddAndUse,
    /// A pass through another adapter than the one before.
    Switch,
    /// A training step of a language model's adapter, which predicts all next tokens.
    LmStep,
    /// A pass of a language model over prompts, to the logits of the last token.
    LmPrompt,
    /// Generation of tokens after prompts, the most probable ones, each row with the adapter of its turn.
    LmGenerate,
}

/// A batch: rows of the data file (from 0), or tokens.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BatchSpec {
    Rows(Vec<usize>),
    Tokens(Vec<Vec<u32>>),
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Run {
    /// The number of timed units; each uses the next batch.
    pub(crate) units: usize,
    /// The number of warm-up units.
    #[serde(default)]
    pub(crate) warmup: usize,
    /// The number of threads, if the side can change it; ours always uses all.
    #[serde(default)]
    #[allow(dead_code)]
    pub(crate) threads: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Matmul {
    pub(crate) size: usize,
    pub(crate) repetitions: usize,
    #[serde(default)]
    #[allow(dead_code)]
    pub(crate) threads: Option<usize>,
}

/// The results of a prepared job before training, with dropout off: the two sides must agree on them.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Check {
    /// The number of parameters of the adapter (without an adapter, of everything that is trained).
    pub(crate) parameters: usize,
    /// The number of non-padding tokens of the first batch.
    pub(crate) tokens: usize,
    /// A checksum: the sum over the tokens of the first batch, each times its position.
    pub(crate) checksum: u64,
    /// The rows and positions of each batch.
    pub(crate) lengths: Vec<Vec<usize>>,
    /// The logits of the first batch.
    pub(crate) logits: Vec<Vec<f32>>,
    /// The loss of the first batch, for jobs that train.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) loss: Option<f64>,
    /// The norm of all gradients of the first batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gradient_norm: Option<f64>,
    /// The new tokens of each row, for jobs that generate.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) generated: Vec<Vec<u32>>,
}

/// One line of output.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    Hello { side: &'static str, version: &'static str, backend: String, threads: usize },
    Fetched { model: PathBuf, data: PathBuf },
    FetchedLanguageModel { model: PathBuf },
    Done { done: bool },
    Prepared { check: Check },
    Ran { seconds: Vec<f64> },
    Rate { flops_per_second: f64 },
    Peak { peak_memory_bytes: Option<u64> },
    Error { error: String },
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_read_with_what_it_leaves_out() {
        let line = r#"{"op":"prepare","kind":"step","model":"m","adapter":"a","data":"d",
                       "batches":[{"rows":[3,1]},{"tokens":[[101,102]]}]}"#;
        let Request::Prepare(job) = serde_json::from_str(line).unwrap() else { panic!("not a job") };
        assert_eq!((job.kind, job.adapters), (Kind::Step, 1));
        assert_eq!(job.batches, [BatchSpec::Rows(vec![3, 1]), BatchSpec::Tokens(vec![vec![101, 102]])]);
        assert_eq!(serde_json::from_str::<Request>(r#"{"op":"peak"}"#).unwrap(), Request::Peak);
    }

    #[test]
    fn a_misspelled_field_is_an_error() {
        assert!(serde_json::from_str::<Request>(r#"{"op":"run","unit":3}"#).is_err());
        assert!(serde_json::from_str::<Request>(r#"{"op":"walk"}"#).is_err());
    }
}
