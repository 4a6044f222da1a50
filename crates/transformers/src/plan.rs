//! The plan of a model: everything that its blocks are built from.
//!
//! A family turns its `config.json` into a plan. The specification for adapters, the number of parameters and the model
//! itself all follow from the plan.

use std::collections::BTreeMap;

use burn::tensor::Device;
use burn_adapters_config::BottleneckConfig;
use burn_adapters_core::{Activation, ModelSpec, Place, RowPosition, SiteNames, StackKind, StackSpec, SublayerEnd};
use burn_adapters_model::{DecoderStart, Limits, Rotary};

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
    /// The prefixes of the family's own heads in checkpoints of task models, beside the usual ones.
    pub(crate) heads: &'static [&'static str],
    /// The modules for languages that files hold beside the base model.
    pub(crate) languages: Option<LanguagesPlan>,
    /// The layer of the pooler over the first position, `tanh` after it.
    pub(crate) pooler: Option<LinearPlan>,
    /// The standard deviation of new weights.
    pub(crate) initializer_range: f64,
    /// The dropout of a prediction head that leaves it to the model.
    pub(crate) head_dropout: f64,
    /// The position that stands for a row, for heads that read only one.
    pub(crate) row_position: RowPosition,
}

/// The decoder of an encoder-decoder model. Its word embeddings are the encoder's.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DecoderPlan {
    /// How its input begins, where it is the encoder's shifted to the right.
    pub(crate) start: DecoderStart,
    pub(crate) embeddings: EmbeddingsPlan,
    pub(crate) stack: StackPlan,
    /// The norm after the last layer.
    pub(crate) norm: Option<NormPlan>,
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
    pub(crate) projection: Option<LinearPlan>,
    pub(crate) dropout: f64,
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

/// A table of embeddings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TablePlan {
    pub(crate) name: &'static str,
    /// `[rows, width]`.
    pub(crate) shape: [usize; 2],
}

/// A stack of layers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StackPlan {
    pub(crate) kind: StackKind,
    /// The layers' name: layer 0 is `NAME.0`.
    pub(crate) name: &'static str,
    pub(crate) layers: usize,
    pub(crate) layer: LayerPlan,
    /// The layers that differ from it: in what their attention sees, in their norms, never in sizes.
    pub(crate) different: BTreeMap<usize, LayerPlan>,
    /// Where layers are computed more than once.
    pub(crate) sharing: Option<Sharing>,
    /// A bias on the scores of self-attention, shared by the layers.
    pub(crate) relative: Option<RelativePlan>,
    /// Dropout after the norm that follows the last layer.
    pub(crate) dropout: f64,
}

/// Layers in groups, which a pass repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sharing {
    /// The number of layers in a group: in the layers' name, `{}` stands for the number of the group.
    pub(crate) layers_per_group: usize,
    /// The layer of each step of a pass.
    pub(crate) steps: Vec<usize>,
}

/// Biases of attention scores by the distance of two positions (Raffel et al., 2020).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RelativePlan {
    /// Its table: `[buckets, heads]`.
    pub(crate) table: TablePlan,
    /// The distance from which on there is one bucket.
    pub(crate) max_distance: usize,
    /// Whether keys before and after a query have buckets of their own; otherwise all keys after it have that of
    /// distance 0.
    pub(crate) both_sides: bool,
}

/// A layer: self-attention, in some decoders cross-attention, and a feed-forward block.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LayerPlan {
    pub(crate) hidden: usize,
    pub(crate) order: Order,
    pub(crate) attention: AttentionPlan,
    pub(crate) attention_norm: Option<NormPlan>,
    /// Attention over the encoder's states, and its norm.
    pub(crate) cross: Option<(AttentionPlan, NormPlan)>,
    pub(crate) feed_forward: FeedForwardPlan,
    pub(crate) feed_forward_norm: Option<NormPlan>,
    /// The norms of the outputs of attention and the feed-forward block ([`Order::Sandwich`]).
    pub(crate) output_norms: Option<[NormPlan; 2]>,
    /// The norm of adapters for languages after the feed-forward block, if it is not the block's own.
    pub(crate) language_norm: Option<NormPlan>,
}

/// Where the norms of a layer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code)]
pub(crate) enum Order {
    /// After each residual: `norm(sublayer(x) + x)`.
    PostNorm,
    /// As [`PostNorm`](Self::PostNorm), but an adapter after the attention takes the attention's input for its output, and
    /// the output for the residual.
    PostNormSwapped,
    /// Before each sublayer: `sublayer(norm(x)) + x`.
    PreNorm,
    /// As [`PostNorm`](Self::PostNorm), but adapters after the attention are before the norm; and the feed-forward block
    /// has a norm for adapters, after which its own follows.
    PostNormLanguages,
    /// As [`PreNorm`](Self::PreNorm), but the feed-forward block ends with the norm for adapters.
    PreNormLanguages,
    /// Before both sublayers, which read the same states: `attention(norm(x)) + feed_forward(norm(x)) + x`.
    Parallel,
    /// As [`Parallel`](Self::Parallel), with bottlenecks at the projections ([`SublayerEnd::AtProjection`]). That of the
    /// feed-forward block has no residual.
    ParallelProjected,
    /// As [`PreNorm`](Self::PreNorm), with bottlenecks at the projections. Their residual is the normed state.
    PreNormProjected,
    /// Before and after each sublayer: `norm(sublayer(norm(x))) + x`, with bottlenecks at the projections.
    Sandwich,
}

impl Order {
    fn sublayer_end(self) -> SublayerEnd {
        match self {
            Self::PostNorm
            | Self::PostNormSwapped
            | Self::PreNorm
            | Self::Parallel
            | Self::PostNormLanguages
            | Self::PreNormLanguages => SublayerEnd::AfterResidual,
            Self::ParallelProjected | Self::PreNormProjected | Self::Sandwich => SublayerEnd::AtProjection,
        }
    }
}

/// Self-attention with its output projection.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AttentionPlan {
    pub(crate) query: LinearPlan,
    pub(crate) key: LinearPlan,
    pub(crate) value: LinearPlan,
    pub(crate) output: LinearPlan,
    pub(crate) heads: usize,
    pub(crate) key_value_heads: usize,
    /// Whether each position sees only itself and those before it.
    pub(crate) causal: bool,
    /// How many positions, its own included, each position sees at most.
    pub(crate) window: Option<usize>,
    /// The greatest distance to positions that each position sees.
    pub(crate) reach: Option<usize>,
    pub(crate) rotary: Option<Rotary>,
    /// The norms of each head's queries and keys, before they are rotated.
    pub(crate) head_norms: Option<[NormPlan; 2]>,
    /// The factor on scores; `None` is `1 / √head`.
    pub(crate) scale: Option<f64>,
    /// The bound that scores are kept within.
    pub(crate) softcap: Option<f64>,
    /// Dropout on the probabilities.
    pub(crate) dropout: f64,
    /// Dropout after the output projection.
    pub(crate) output_dropout: f64,
}

/// Two linear layers with a non-linearity between them, `down(activation(up(x)))`, or
/// `down(activation(gate(x)) · up(x))`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FeedForwardPlan {
    pub(crate) gate: Option<LinearPlan>,
    pub(crate) up: LinearPlan,
    pub(crate) down: LinearPlan,
    /// Whether `up` gives the gate as well, as the first half of its outputs.
    pub(crate) is_up_gated: bool,
    pub(crate) activation: Activation,
    /// The matrices that `intermediate_lora` and `output_lora` adapt.
    pub(crate) adapted: [Place; 2],
    /// Dropout before the second layer.
    pub(crate) inner_dropout: f64,
    /// Dropout after the second layer.
    pub(crate) dropout: f64,
}

/// A linear layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinearPlan {
    pub(crate) name: &'static str,
    /// `[d_input, d_output]`.
    pub(crate) size: [usize; 2],
    pub(crate) bias: bool,
    pub(crate) storage: Storage,
}

/// How files store a linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Storage {
    /// Whether the weight is `[input, output]` there; usually it is `[output, input]`.
    pub(crate) input_first: bool,
    /// The part of the outputs of a fused layer.
    pub(crate) part: Option<Part>,
}

/// One of several linear layers of equal size that files store as one, by their outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) index: usize,
    pub(crate) of: usize,
}

impl Storage {
    /// The number of layers that the stored one consists of.
    pub(crate) fn parts(self) -> usize {
        self.part.map_or(1, |part| part.of)
    }

    /// The stored shape of a weight of `[input, output]`, or of a bias of `[output]`.
    pub(crate) fn shape(self, shape: &[usize]) -> Vec<usize> {
        let mut shape = shape.to_vec();
        if let Some(outputs) = shape.last_mut() {
            *outputs = outputs.saturating_mul(self.parts());
        }
        if !self.input_first {
            shape.reverse();
        }
        shape
    }
}

/// A norm.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NormPlan {
    pub(crate) kind: NormKind,
    pub(crate) name: &'static str,
    pub(crate) width: usize,
    pub(crate) epsilon: f64,
}

/// The kinds of norms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code)]
pub(crate) enum NormKind {
    /// Layer norm (Ba et al., 2016), with a bias.
    Layer,
    /// Layer norm without a bias.
    LayerWithoutBias,
    /// RMS norm (Zhang and Sennrich, 2019).
    Rms,
    /// RMS norm whose weights are added to 1.
    RmsFromOne,
}

impl ModelPlan {
    /// A model of one stack without a final norm and a pooler, whose heads read the first position.
    pub(crate) fn new(model_type: &'static str, limits: Limits, embeddings: EmbeddingsPlan, stack: StackPlan) -> Self {
        Self {
            model_type,
            prefix: "",
            names: SiteNames::OWN,
            limits,
            embeddings,
            stack,
            norm: None,
            decoder: None,
            word_copies: &[],
            heads: &[],
            languages: None,
            pooler: None,
            initializer_range: 0.02,
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
            projection: None,
            dropout: 0.0,
        }
    }
}

impl StackPlan {
    /// Layers `NAME.0`, `NAME.1`, ….
    pub(crate) fn new(kind: StackKind, name: &'static str, layers: usize, layer: LayerPlan) -> Self {
        Self { kind, name, layers, layer, different: BTreeMap::new(), sharing: None, relative: None, dropout: 0.0 }
    }
}

impl LayerPlan {
    /// Self-attention and a feed-forward block, each with its norm.
    pub(crate) fn new(
        order: Order,
        (attention, attention_norm): (AttentionPlan, NormPlan),
        (feed_forward, feed_forward_norm): (FeedForwardPlan, NormPlan),
    ) -> Self {
        let hidden = feed_forward.down.size[1];
        Self {
            hidden,
            order,
            attention,
            attention_norm: Some(attention_norm),
            cross: None,
            feed_forward,
            feed_forward_norm: Some(feed_forward_norm),
            output_norms: None,
            language_norm: None,
        }
    }
}

impl AttentionPlan {
    /// Attention over all positions, with as many key-value heads as heads, without dropout.
    pub(crate) fn new([query, key, value, output]: [LinearPlan; 4], heads: usize) -> Self {
        Self {
            query,
            key,
            value,
            output,
            heads,
            key_value_heads: heads,
            causal: false,
            window: None,
            reach: None,
            rotary: None,
            head_norms: None,
            scale: None,
            softcap: None,
            dropout: 0.0,
            output_dropout: 0.0,
        }
    }
}

impl FeedForwardPlan {
    /// Without a gate and dropout.
    pub(crate) fn new(up: LinearPlan, down: LinearPlan, activation: Activation) -> Self {
        let adapted = [Place::FeedForwardUp, Place::FeedForwardDown];
        Self { gate: None, up, down, is_up_gated: false, activation, adapted, inner_dropout: 0.0, dropout: 0.0 }
    }
}

impl TablePlan {
    pub(crate) fn new(name: &'static str, rows: usize, width: usize) -> Self {
        Self { name, shape: [rows, width] }
    }
}

impl LinearPlan {
    pub(crate) fn new(name: &'static str, d_input: usize, d_output: usize) -> Self {
        Self { name, size: [d_input, d_output], bias: true, storage: Storage::default() }
    }

    /// Sets how files store the layer.
    pub(crate) fn stored(self, storage: Storage) -> Self {
        Self { storage, ..self }
    }

    /// Sets whether the layer has a bias.
    pub(crate) fn with_bias(self, bias: bool) -> Self {
        Self { bias, ..self }
    }
}

impl NormPlan {
    pub(crate) fn new(name: &'static str, width: usize, epsilon: f64) -> Self {
        Self { kind: NormKind::Layer, name, width, epsilon }
    }

    /// An RMS norm.
    pub(crate) fn rms(name: &'static str, width: usize, epsilon: f64) -> Self {
        Self { kind: NormKind::Rms, name, width, epsilon }
    }
}

impl StackPlan {
    /// The plan of a layer.
    pub(crate) fn layer(&self, layer: usize) -> &LayerPlan {
        self.different.get(&layer).unwrap_or(&self.layer)
    }

    /// The name of a layer, with a dot after it.
    pub(crate) fn scope(&self, layer: usize) -> String {
        match &self.sharing {
            None => format!("{}.{layer}.", self.name),
            Some(Sharing { layers_per_group, .. }) => {
                let group = layer / layers_per_group.max(&1);
                format!("{}.{}.", self.name.replace("{}", &group.to_string()), layer % layers_per_group.max(&1))
            }
        }
    }

    /// The layer of each step of a pass.
    pub(crate) fn steps(&self) -> Vec<usize> {
        match &self.sharing {
            None => (0..self.layers).collect(),
            Some(sharing) => sharing.steps.clone(),
        }
    }

    fn spec(&self) -> StackSpec {
        let LayerPlan { hidden, attention, cross, feed_forward, .. } = &self.layer;
        let heads = attention.key_value_heads.max(1);
        let [_, keys] = attention.key.size;
        let mut spec = StackSpec {
            kind: self.kind,
            layers: self.layers,
            hidden_size: *hidden,
            key_value_heads: heads,
            head_dim: keys / heads,
            // The reference adapts no output projection of attention: the specification has no such site.
            matrices: vec![
                (Place::Query, attention.query.size),
                (Place::Key, attention.key.size),
                (Place::Value, attention.value.size),
                (Place::FeedForwardUp, feed_forward.up.size),
                (Place::FeedForwardDown, feed_forward.down.size),
            ],
            sublayers: vec![Place::Attention, Place::FeedForward],
            sublayer_end: self.layer.order.sublayer_end(),
            attentions: vec![Place::Attention],
            intermediate: feed_forward.adapted[0],
            output: feed_forward.adapted[1],
        };
        if let Some((cross, _)) = cross {
            let matrices = [
                (Place::CrossQuery, cross.query.size),
                (Place::CrossKey, cross.key.size),
                (Place::CrossValue, cross.value.size),
            ];
            spec.matrices.splice(3..3, matrices);
            spec.sublayers.insert(1, Place::CrossAttention);
            spec.attentions.push(Place::CrossAttention);
        }
        spec
    }
}

impl ModelPlan {
    /// The specification that adapters are built by. Its parameters are those of the base model with its pooler.
    pub(crate) fn spec(&self) -> ModelSpec {
        let hidden = self.stack.layer.hidden;
        let mut spec = ModelSpec::new(self.model_type, hidden)
            .with_stack(self.stack.spec())
            .with_names(self.names)
            .with_parameters(self.parameters())
            .with_head_dropout(self.head_dropout)
            .with_row_position(self.row_position)
            .with_attention_dropout(self.stack.layer.attention.dropout);
        if let Some(decoder) = &self.decoder {
            spec = spec.with_stack(decoder.stack.spec());
        }
        spec.initializer_range = self.initializer_range;
        spec.embedding_size = self.embeddings.words.shape[1];
        spec
    }

    /// The names of the copies of the table of word embeddings in files.
    pub(crate) fn word_copies(&self) -> impl Iterator<Item = String> {
        self.word_copies.iter().map(|name| format!("{name}.weight"))
    }

    /// The number of parameters: of everything that building the model asks for.
    fn parameters(&self) -> usize {
        let device = Device::default();
        let mut listed = Listed::new(&device);
        // Listing reads no file.
        drop(Skeleton::build(self, &mut listed));
        listed.parameters.iter().fold(0, |sum, parameter| sum.saturating_add(parameter.elements()))
    }
}
