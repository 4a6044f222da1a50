//! The plan of a model: everything that its blocks are built from.
//!
//! A family turns its `config.json` into a plan. The specification for adapters, the number of parameters and the model
//! itself all follow from the plan.

mod layer;
mod output;
mod stack;
mod weights;

use std::collections::BTreeSet;

use burn::tensor::Device;
use burn_adapters_config::BottleneckConfig;
use burn_adapters_core::{LlamaCpp, ModelSpec, RowPosition, SiteNames};
use burn_adapters_model::{DecoderStart, Limits};

pub(crate) use self::layer::{AttentionPlan, FeedForwardPlan, LayerPlan, Order, PositionsPlan, ProjectionPlan};
pub(crate) use self::output::{BiasPlan, OutputPlan, TransformPlan};
pub(crate) use self::stack::{ConvolutionPlan, DistancesPlan, RelativePlan, Sharing, StackPlan};
pub(crate) use self::weights::{LinearPlan, NormKind, NormPlan, Part, Storage, TablePlan};
use crate::families::ARCHITECTURES;
use crate::skeleton::Skeleton;
use crate::weights::Listed;

/// A model. Parts of plans have a constructor with the usual values, and families state what differs:
/// `AttentionPlan { causal: true, ..AttentionPlan::new(…) }`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ModelPlan {
    /// The `model_type` of `config.json`.
    pub(crate) model_type: &'static str,
    /// The prefix of the base model's weights in the checkpoint of a task model: `bert.`.
    pub(crate) prefix: &'static str,
    /// That in the checkpoint of a language model, where it is another.
    pub(crate) language_prefix: Option<&'static str>,
    /// The path of the weights of embeddings and layers, with a dot after it, where an encoder and a decoder are models of
    /// their own: `encoder.`.
    pub(crate) scope: String,
    /// AdapterHub's names of its modules.
    pub(crate) names: SiteNames,
    /// The inputs that it takes.
    pub(crate) limits: Limits,
    pub(crate) embeddings: EmbeddingsPlan,
    pub(crate) stack: StackPlan,
    /// The norm after the last layer.
    pub(crate) norm: Option<NormPlan>,
    /// The decoder, if `stack` is the encoder of an encoder-decoder model.
    pub(crate) decoder: Option<DecoderPlan>,
    /// Other names under which files hold the table of word embeddings, alone or beside its own.
    pub(crate) word_copies: &'static [&'static str],
    /// Weights of a pair's encoder that are its decoder's: both names in files.
    pub(crate) tied: Vec<TiedWeight>,
    /// The prefixes of the family's own heads in checkpoints of task models, beside the usual ones.
    pub(crate) heads: &'static [&'static str],
    /// The modules for languages that files hold beside the base model.
    pub(crate) languages: Option<LanguagesPlan>,
    /// The layer of the pooler over the first position, `tanh` after it.
    pub(crate) pooler: Option<LinearPlan>,
    /// The output layer of the family's language models, where it is in files or the table of word embeddings.
    pub(crate) output: Option<OutputPlan>,
    /// The standard deviation of new weights.
    pub(crate) initializer_range: f64,
    /// The epsilon of norms in prediction heads: that of the key `layer_norm_eps`, in families that have it.
    pub(crate) head_epsilon: f64,
    /// The dropout of a prediction head that leaves it to the model.
    pub(crate) head_dropout: f64,
    /// The position that stands for a row, for heads that read only one.
    pub(crate) row_position: RowPosition,
}

/// A weight that an encoder and a decoder have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TiedWeight {
    /// Its name in the encoder. Files may lack it.
    pub(crate) encoder: String,
    /// Its name in the decoder.
    pub(crate) decoder: String,
}

/// The decoder of an encoder-decoder model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DecoderPlan {
    /// How its input begins, where it is the encoder's shifted to the right.
    pub(crate) start: DecoderStart,
    pub(crate) embeddings: EmbeddingsPlan,
    pub(crate) stack: StackPlan,
    /// The norm after the last layer.
    pub(crate) norm: Option<NormPlan>,
    /// What it has as a model of its own; otherwise its word embeddings are the encoder's.
    pub(crate) own: Option<OwnDecoder>,
}

/// A decoder that is a model of its own.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OwnDecoder {
    /// The path of its weights, with a dot after it: `decoder.bert.`.
    pub(crate) scope: String,
    /// The inputs that it takes.
    pub(crate) limits: Limits,
    /// The layer over the encoder's states, if their width is another.
    pub(crate) bridge: Option<LinearPlan>,
}

/// Adapters for languages that a model's files hold in each layer: `LAYER.MODULE.LANGUAGE.PROJECTION`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LanguagesPlan {
    /// The languages.
    pub(crate) names: Vec<String>,
    /// The module of a layer that holds those of the languages.
    pub(crate) module: &'static str,
    /// The down- and the up-projection.
    pub(crate) projections: [&'static str; 2],
    pub(crate) config: BottleneckConfig,
}

/// Word, position and token-type embeddings, their norm, and a projection to the hidden size.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EmbeddingsPlan {
    pub(crate) words: TablePlan,
    /// The factor on word embeddings.
    pub(crate) scale: Option<f64>,
    /// The factor on embeddings after the adapters that act on them.
    pub(crate) late_scale: Option<f64>,
    pub(crate) positions: Option<(TablePlan, Counting)>,
    pub(crate) token_types: Option<TablePlan>,
    pub(crate) norm: Option<NormPlan>,
    /// Whether the embeddings of padding are zero.
    pub(crate) zeroes_padding: bool,
    pub(crate) projection: Option<LinearPlan>,
    pub(crate) dropout: f64,
    /// Dropout after the adapters that act on embeddings.
    pub(crate) late_dropout: f64,
}

/// How positions are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counting {
    /// From 0.
    FromZero,
    /// From this number.
    From(usize),
    /// Padding tokens are all at their own number; the others are counted from there.
    FromPadding(u32),
}

impl ModelPlan {
    /// A model of one stack without a final norm and a pooler, whose heads read the first position.
    pub(crate) fn new(model_type: &'static str, limits: Limits, embeddings: EmbeddingsPlan, stack: StackPlan) -> Self {
        Self {
            model_type,
            prefix: "",
            language_prefix: None,
            scope: String::new(),
            names: SiteNames::OWN,
            limits,
            embeddings,
            stack,
            norm: None,
            decoder: None,
            word_copies: &[],
            tied: Vec::new(),
            heads: &[],
            languages: None,
            pooler: None,
            output: None,
            initializer_range: 0.02,
            head_epsilon: 1e-12,
            head_dropout: 0.0,
            row_position: RowPosition::First,
        }
    }
}

impl EmbeddingsPlan {
    /// Word embeddings alone.
    pub(crate) fn new(words: TablePlan) -> Self {
        Self {
            words,
            scale: None,
            late_scale: None,
            positions: None,
            token_types: None,
            norm: None,
            zeroes_padding: false,
            projection: None,
            dropout: 0.0,
            late_dropout: 0.0,
        }
    }
}

impl ModelPlan {
    /// The inputs that the decoder of an encoder-decoder model takes.
    pub(crate) fn decoder_limits(&self) -> Limits {
        self.own_decoder().map_or(self.limits, |own| own.limits)
    }

    /// Whether the table of word embeddings is the matrix of a language model's output layer. Models for masked language
    /// modeling, which have layers before that matrix, mostly do something else.
    pub(crate) fn outputs_words(&self) -> bool {
        let reads = |output: &OutputPlan| output.matrix.is_none() && output.transform.is_none();
        self.own_decoder().is_none() && self.output.as_ref().is_some_and(reads)
    }

    fn own_decoder(&self) -> Option<&OwnDecoder> {
        self.decoder.as_ref()?.own.as_ref()
    }

    /// The specification that adapters are built by. Its parameters are those of the base model with its pooler.
    pub(crate) fn spec(&self) -> ModelSpec {
        let last = self.decoder.as_ref().map_or(&self.stack, |decoder| &decoder.stack);
        let hidden = last.layer.hidden;
        let mut spec = ModelSpec::new(self.model_type, hidden)
            .with_stack(self.stack.spec())
            .with_names(self.names)
            .with_parameters(self.parameters())
            .with_head_dropout(self.head_dropout)
            .with_row_position(self.row_position)
            .with_attention_dropout(self.stack.layer.attention.dropout);
        if let Some(decoder) = &self.decoder {
            spec = spec.with_stack(decoder.stack.spec());
            spec.is_pair = decoder.own.is_some();
        }
        if let Some(output) = &self.output {
            spec.output_layer.is_tied = output.matrix.is_none();
            spec.output_layer.scale = output.scale.unwrap_or(1.0);
            spec.output_layer.inverts = output.inverts;
            spec.output_layer.activation = output.transform.as_ref().map(|transform| transform.activation);
        }
        spec.hub_prefix = self.language_prefix.unwrap_or(self.prefix).trim_end_matches('.').to_owned();
        let architecture = ARCHITECTURES
            .iter()
            .find(|known| known.model_type == self.model_type || known.also == Some(self.model_type));
        spec.llama_cpp =
            architecture.map(|known| LlamaCpp { architecture: known.name, is_interleaved: known.is_interleaved });
        let is_counted = |embeddings: &EmbeddingsPlan| embeddings.positions.is_some();
        spec.has_position_table = is_counted(&self.embeddings)
            || self.decoder.as_ref().is_some_and(|decoder| is_counted(&decoder.embeddings));
        spec.output_layer.norm_epsilon = self.head_epsilon;
        spec.initializer_range = self.initializer_range;
        spec.embedding_size = self.embeddings.words.shape[1];
        spec
    }

    /// The names of the copies of the table of word embeddings in files.
    pub(crate) fn word_copies(&self) -> impl Iterator<Item = String> {
        self.word_copies.iter().map(|name| format!("{name}.weight"))
    }

    /// The number of parameters: of everything that building the model asks for, but for the output layer. Those that an
    /// encoder and a decoder have in common count once.
    fn parameters(&self) -> usize {
        let tied: BTreeSet<&str> = self.tied.iter().map(|weight| weight.encoder.as_str()).collect();
        let once = |(name, _, elements): (String, _, usize)| if tied.contains(name.as_str()) { 0 } else { elements };
        self.weights().map(once).fold(0, usize::saturating_add)
    }

    /// The name in files, the shape there and the number of elements of every parameter, but for the output layer.
    pub(crate) fn weights(&self) -> impl Iterator<Item = (String, Vec<usize>, usize)> {
        let device = Device::default();
        let mut listed = Listed::new(&device);
        // Listing reads no file.
        drop(Skeleton::build(&Self { output: None, ..self.clone() }, &mut listed));
        listed.parameters.into_iter().map(|parameter| {
            let (shape, elements) = (parameter.stored_shape(), parameter.elements());
            (parameter.name, shape, elements)
        })
    }
}
