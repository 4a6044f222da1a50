//! Prediction heads: from a model's hidden states to logits, and from logits to a loss.
//!
//! Like an adapter, a head is a separate Burn module beside the model. Its layers, names and losses are those of the
//! reference's heads; [`HeadConfig`] is the reference's dictionary, key for key. What a head reads, computes and learns
//! from is its [`Task`]: classification, multilabel classification, regression, tagging, question answering, or multiple
//! choice.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use burn_adapters_core::{Init, Mode, Output};
//! use burn_adapters_heads::{Head, HeadConfig, Targets};
//!
//! let device = Device::default();
//! let config = HeadConfig::classification(2).with_labels(["negative", "positive"]);
//! let head = Head::new(&config, 8, &mut Init::from_seed(1), &device)?;
//!
//! let output = Output::new(Tensor::ones([4, 5, 8], &device), [5, 5, 5, 5]); // four texts of five tokens
//! let logits = head.forward(&output, Mode::Inference)?;
//! assert_eq!(logits.values().dims(), [4, 2]);
//! let loss = head.loss(&logits, &Targets::Classes(vec![0, 1, 1, 0]))?;
//! assert_eq!(loss.dims(), [1]);
//! assert_eq!(head.config().label_of(1), "positive");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod dictionary;
mod error;
mod head;
mod head_type;
mod logits;
mod loss;
mod names;
mod targets;
mod tasks;

pub use config::{HeadConfig, Transform};
pub use error::HeadError;
pub use head::Head;
pub use head_type::HeadType;
pub use logits::Logits;
pub use loss::{binary_cross_entropy, cross_entropy, mean_squared_error};
pub use names::{HeadParameter, reference_names};
pub use targets::{AnswerRules, ChoiceTarget, PreferenceTarget, Question, SpanTarget, Targets, TreeTarget};
pub use tasks::{
    Biaffine, CAUSAL_LM, Classification, ComparedAnswers, DependencyParsing, LanguageModeling, MASKED_LM, Multilabel,
    MultipleChoice, Preference, QuestionAnswering, Regression, SEQ2SEQ_LM, TASKS, Tagging, Task, task_named,
    token_states,
};
