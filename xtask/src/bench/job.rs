//! The description of a job: a model, its input, and the contestants.

use clap::ValueEnum;
use serde_json::{Value, json};

use super::floor::Work;

/// A group of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Family {
    /// The quickstart as a whole program, from start to saved adapter.
    Quickstart,
    /// `predict` of one sentence, from the start of the process.
    Cold,
    /// A training step of each of the fifteen methods.
    Methods,
    /// Training steps on two models, of random tokens and of sentences.
    Step,
    /// Inference at several batch sizes, LoRA unmerged and merged.
    Infer,
    /// A batch whose rows go through eight adapters.
    Routed,
    /// A bank of a hundred adapters: adding one, switching.
    Bank,
    /// Training with adapters in the upper half of the layers only.
    Upper,
    /// The frozen weights in bf16, against f32.
    Bf16,
    /// Full fine-tuning.
    Full,
    /// LoRA against Burn's own `apply_lora`.
    BurnLora,
    /// How time grows with length, batch, layers and adapters.
    Growth,
    /// A training step of LoRA on a language model.
    LmTrain,
    /// A pass of a language model over a prompt.
    LmPrompt,
    /// Generation of tokens after a prompt.
    LmGenerate,
    /// The first token of a language model, from the start of the process.
    LmLoad,
    /// How the time of a prompt grows with its length.
    LmGrowth,
}

impl Family {
    /// The name on the command line and in the results.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether its jobs are those of a language model.
    pub(crate) fn is_language(self) -> bool {
        matches!(self, Self::LmTrain | Self::LmPrompt | Self::LmGenerate | Self::LmLoad | Self::LmGrowth)
    }
}

/// A base model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Model {
    /// all-MiniLM-L6-v2, as the quickstart fetches it.
    MiniLm,
    /// Of the size of BERT-base, with random weights.
    Base,
    /// As wide as MiniLM and this deep, with random weights.
    Layers(usize),
    /// SmolLM2-135M-Instruct, as `quickstart --chat` fetches it: a GGUF file.
    SmolLm2,
    /// The layers of SmolLM2-135M in turn until there are so many, in f32: a folder.
    Decoder(usize),
}

impl Model {
    pub(crate) fn name(self) -> String {
        match self {
            Model::MiniLm => "MiniLM-L6".into(),
            Model::Base => "BERT-base size".into(),
            Model::Layers(layers) => format!("MiniLM's width, {layers} layers"),
            Model::SmolLm2 => "SmolLM2-135M".into(),
            Model::Decoder(layers) => format!("SmolLM2-135M's width, {layers} layers"),
        }
    }

    /// Whether it is a language model.
    pub(crate) fn is_decoder(self) -> bool {
        matches!(self, Model::SmolLm2 | Model::Decoder(_))
    }

    pub(crate) fn layers(self) -> usize {
        match self {
            Model::MiniLm => 6,
            Model::Base => 12,
            Model::Layers(layers) | Model::Decoder(layers) => layers,
            Model::SmolLm2 => 30,
        }
    }
}

/// What goes through the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// So many batches of so many sentences.
    Sentences { batches: usize, size: usize },
    /// One batch of random tokens, without padding.
    Tokens { rows: usize, length: usize },
}

/// How many sentences there are.
pub(crate) const SENTENCES: usize = 10_605;

impl Input {
    pub(crate) fn name(self) -> String {
        match self {
            Input::Sentences { size: 1, .. } => "1 sentence".into(),
            Input::Sentences { size, .. } => format!("{size} sentences"),
            Input::Tokens { rows, length } => format!("{rows}×{length} tokens"),
        }
    }

    /// The batches, as both sides read them.
    pub(crate) fn batches(self) -> Vec<Value> {
        match self {
            Input::Sentences { batches, size } => {
                // A stride that has no factor with the number of sentences: all are different, from the whole file.
                let row = |index: usize| (17 + index * 331) % SENTENCES;
                let batch = |batch: usize| (batch * size..(batch + 1) * size).map(row).collect::<Vec<_>>();
                (0..batches).map(|index| json!({"rows": batch(index)})).collect()
            }
            Input::Tokens { rows, length } => {
                let mut state = 42u64;
                let mut token = || {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    1000 + (state >> 33) % 20_000
                };
                let row = |_| (0..length).map(|_| token()).collect::<Vec<_>>();
                vec![json!({"tokens": (0..rows).map(row).collect::<Vec<_>>()})]
            }
        }
    }

    /// The number of batches.
    pub(crate) fn count(self) -> usize {
        match self {
            Input::Sentences { batches, .. } => batches,
            Input::Tokens { .. } => 1,
        }
    }
}

/// How close the results of a contestant must be to those of the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agreement {
    /// Both compute in f32.
    Rounding,
    /// Both round to bf16, but not at the same places.
    Bf16,
    /// The other one rounds activations to eight bits: only its most probable token is compared.
    BestToken,
    /// It computes something else.
    Nothing,
}

/// One of those who do a job.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Contestant {
    /// Its name in the table.
    pub(crate) label: String,
    /// Whether it is the Python side.
    pub(crate) python: bool,
    /// Whether it is another build of our side.
    pub(crate) against: bool,
    /// What it does, in the words of the protocol.
    pub(crate) kind: &'static str,
    /// The Python library, if not `adapters`.
    pub(crate) library: Option<&'static str>,
    pub(crate) config: String,
    pub(crate) adapters: usize,
    /// Noise on the adapter's new weights.
    pub(crate) noise: f64,
    /// Whether the frozen weights are bf16.
    pub(crate) bf16: bool,
    /// The number of lower layers whose frozen weights are bf16.
    pub(crate) bf16_below: usize,
    /// Whether the frozen weights are the blocks of the GGUF file.
    pub(crate) stored: bool,
    /// Whether the backward pass computes layers again.
    pub(crate) checkpoints: bool,
    pub(crate) agreement: Agreement,
}

/// The library that runs GGUF files.
pub(crate) const LLAMA_CPP: &str = "llama.cpp";

/// The label of another build of our programs.
pub(crate) const OTHER_BUILD: &str = "the other build";

impl Contestant {
    pub(super) fn ours(kind: &'static str, config: &str) -> Self {
        Self {
            label: "ours".into(),
            python: false,
            against: false,
            kind,
            library: None,
            config: config.into(),
            adapters: 1,
            noise: 0.02,
            bf16: false,
            bf16_below: 0,
            stored: false,
            checkpoints: false,
            agreement: Agreement::Rounding,
        }
    }

    pub(super) fn python(kind: &'static str, config: &str) -> Self {
        Self { label: "adapters".into(), python: true, ..Self::ours(kind, config) }
    }

    /// The same, done by another build.
    pub(super) fn against(self) -> Self {
        Self { label: OTHER_BUILD.into(), against: true, ..self }
    }

    pub(super) fn called(self, label: &str) -> Self {
        Self { label: label.into(), ..self }
    }

    pub(super) fn other(self) -> Self {
        self.agreeing(Agreement::Nothing)
    }

    pub(super) fn agreeing(self, agreement: Agreement) -> Self {
        Self { agreement, ..self }
    }

    /// Whether it is llama.cpp.
    pub(crate) fn is_llama_cpp(&self) -> bool {
        self.library == Some(LLAMA_CPP)
    }
}

/// A comparison: the first contestant against each of the others.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Job {
    pub(crate) family: Family,
    pub(crate) name: String,
    pub(crate) model: Model,
    pub(crate) input: Input,
    /// Timed units of a repetition, at least one for each batch.
    pub(crate) units: usize,
    pub(crate) work: Work,
    pub(crate) contestants: Vec<Contestant>,
    /// Where it stands on a chart of growth: what grows, and how much there is of it.
    pub(crate) growth: Option<(&'static str, usize)>,
    /// The number of threads of every contestant; otherwise the number at which each is fastest.
    pub(crate) threads: Option<usize>,
    /// The number of tokens to generate for each row.
    pub(crate) new_tokens: usize,
}

impl Job {
    pub(super) fn new(family: Family, name: &str, model: Model, input: Input, contestants: Vec<Contestant>) -> Self {
        Self {
            family,
            name: format!("{name}, {}, {}", model.name(), input.name()),
            model,
            input,
            units: input.count(),
            work: Work::Infer,
            contestants,
            growth: None,
            threads: None,
            new_tokens: 0,
        }
    }

    /// The number of tokens that a unit processes: those of the batch, or the new ones. `None` for sentences.
    pub(crate) fn tokens(&self) -> Option<usize> {
        match self.input {
            Input::Sentences { .. } => None,
            Input::Tokens { rows, .. } if self.new_tokens > 0 => Some(rows * self.new_tokens),
            Input::Tokens { rows, length } => Some(rows * length),
        }
    }

    pub(super) fn working(self, work: Work) -> Self {
        Self { work, ..self }
    }

    pub(super) fn units(self, units: usize) -> Self {
        Self { units, ..self }
    }
}
