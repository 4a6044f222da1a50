//! Model specifications: the sites of a model and their widths.

use burn_adapters_ops::Rotary;

use crate::{Activation, Place, RowPosition, Site, SiteNames, StackKind};

/// Where bottlenecks act in a sublayer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SublayerEnd {
    /// At the residual: adapters take part in it, and in the norm that may follow.
    #[default]
    AfterResidual,
    /// At the output of the sublayer's last matrix. The model adds its residual itself, so an adapter cannot leave it out:
    /// configurations with `original_ln_after=False` are refused.
    AtProjection,
}

/// A stack of layers of the same sizes.
#[derive(Debug, Clone, PartialEq)]
pub struct StackSpec {
    /// Encoder or decoder.
    pub kind: StackKind,
    /// The number of layers.
    pub layers: usize,
    /// The width of the hidden states.
    pub hidden_size: usize,
    /// The number of key-value heads.
    pub key_value_heads: usize,
    /// The width of a head.
    pub head_dim: usize,
    /// The matrices of a layer, with `[d_input, d_output]`.
    pub matrices: Vec<(Place, [usize; 2])>,
    /// The matrices that have a bias.
    pub biases: Vec<Place>,
    /// The sublayers of a layer after which a bottleneck can act: [`Place::Attention`], [`Place::CrossAttention`],
    /// [`Place::FeedForward`].
    pub sublayers: Vec<Place>,
    /// Where bottlenecks act in a sublayer.
    pub sublayer_end: SublayerEnd,
    /// The attention blocks of a layer whose keys and values can be extended: [`Place::Attention`],
    /// [`Place::CrossAttention`].
    pub attentions: Vec<Place>,
    /// The rotary positions of each layer's attention; empty if positions come in otherwise.
    pub rotary: Vec<Rotary>,
    /// Whether attention of some layers sees only the positions near its own.
    pub has_windows: bool,
    /// The matrix that `intermediate_lora` adapts: the first of the feed-forward block, but in families where the
    /// reference swaps the two.
    pub intermediate: Place,
    /// The matrix that `output_lora` adapts: the second of the feed-forward block, with the same exception.
    pub output: Place,
}

impl StackSpec {
    /// A BERT-shaped encoder: self-attention and a feed-forward block, each followed by a residual and a norm.
    pub fn encoder(layers: usize, hidden_size: usize, heads: usize, intermediate_size: usize) -> Self {
        let square = [hidden_size, hidden_size];
        let matrices = vec![
            (Place::Query, square),
            (Place::Key, square),
            (Place::Value, square),
            (Place::FeedForwardUp, [hidden_size, intermediate_size]),
            (Place::FeedForwardDown, [intermediate_size, hidden_size]),
        ];
        Self {
            kind: StackKind::Encoder,
            layers,
            hidden_size,
            key_value_heads: heads,
            head_dim: hidden_size / heads.max(1),
            biases: matrices.iter().map(|(place, _)| *place).collect(),
            matrices,
            sublayers: vec![Place::Attention, Place::FeedForward],
            sublayer_end: SublayerEnd::AfterResidual,
            attentions: vec![Place::Attention],
            rotary: vec![],
            has_windows: false,
            intermediate: Place::FeedForwardUp,
            output: Place::FeedForwardDown,
        }
    }

    /// A decoder without cross-attention; `[heads, key-value heads]` of equal width.
    pub fn decoder(layers: usize, hidden_size: usize, heads: [usize; 2], intermediate_size: usize) -> Self {
        let [heads, key_value_heads] = heads;
        let head_dim = hidden_size / heads.max(1);
        let encoder = Self::encoder(layers, hidden_size, heads, intermediate_size);
        let narrow = [hidden_size, key_value_heads * head_dim];
        let matrices = encoder.matrices.into_iter().map(|(place, size)| match place {
            Place::Key | Place::Value => (place, narrow),
            place => (place, size),
        });
        Self {
            kind: StackKind::Decoder,
            key_value_heads,
            head_dim,
            matrices: matrices.collect(),
            biases: encoder.biases,
            sublayers: encoder.sublayers,
            sublayer_end: encoder.sublayer_end,
            attentions: encoder.attentions,
            rotary: encoder.rotary,
            has_windows: encoder.has_windows,
            intermediate: Place::FeedForwardUp,
            output: Place::FeedForwardDown,
            layers,
            hidden_size,
        }
    }
}

/// What language-model heads share with the model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutputLayer {
    /// Whether the matrix of their last layer is the model's table of word embeddings.
    pub is_tied: bool,
    /// The factor on the hidden states that they read, where it is.
    pub scale: f64,
    /// The epsilon of their norms.
    pub norm_epsilon: f64,
    /// Whether the inverse of an invertible adapter acts before the model's own output layer, too, as in the reference's
    /// models that are adapted by an interface.
    pub inverts: bool,
    /// The activation of the layer before the matrix, in masked language models.
    pub activation: Option<Activation>,
}

impl Default for OutputLayer {
    /// A matrix of their own.
    fn default() -> Self {
        Self { is_tied: false, scale: 1.0, norm_epsilon: 1e-12, inverts: false, activation: None }
    }
}

/// The architecture of llama.cpp that a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LlamaCpp {
    /// Its name: `llama`.
    pub architecture: &'static str,
    /// Whether the rows of query and key are those of neighboring rotated pairs.
    pub is_interleaved: bool,
}

/// Everything that is needed to build an adapter for a model and count its parameters, before any weight is read.
///
/// ```
/// use burn_adapters_core::{ModelSpec, Place, Site, StackSpec};
///
/// let spec = ModelSpec::new("bert", 32).with_stack(StackSpec::encoder(2, 32, 4, 64));
/// assert_eq!(spec.matrix(Site::encoder(1, Place::FeedForwardUp)), Some([32, 64]));
/// assert_eq!(spec.matrix(Site::encoder(2, Place::FeedForwardUp)), None); // two layers only
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSpec {
    /// The family, as Hugging Face names it (`bert`).
    pub model_type: String,
    /// The width of the hidden states.
    pub hidden_size: usize,
    /// The width of the embeddings, where a prompt or an invertible adapter acts.
    pub embedding_size: usize,
    /// The number of parameters of the whole base model.
    pub parameters: usize,
    /// The default dropout of prediction heads.
    pub head_dropout: f64,
    /// The dropout on attention probabilities, which AdapterFusion uses too.
    pub attention_dropout: f64,
    /// The standard deviation of a prediction head's initial weights.
    pub initializer_range: f64,
    /// What language-model heads share with the model.
    pub output_layer: OutputLayer,
    /// The position that stands for a row, for heads that read only one.
    pub row_position: RowPosition,
    /// The stacks, in the order in which layers are numbered.
    pub stacks: Vec<StackSpec>,
    /// Whether the encoder and the decoder are models of their own (`encoder-decoder`): configurations count the layers of
    /// each from 0, prefixes of the encoder are those of self-attention, and adapter files have no hidden size.
    pub is_pair: bool,
    /// The path of the base model within Hugging Face's class of its language model (`model`); empty for the class itself.
    pub hub_prefix: String,
    /// The architecture of llama.cpp, if it has one of the same matrices.
    pub llama_cpp: Option<LlamaCpp>,
    /// Whether the embeddings have a table of positions, or positions come in by attention alone.
    pub has_position_table: bool,
    /// The names of the model's modules in adapter files.
    pub names: SiteNames,
}

impl ModelSpec {
    /// A model without layers.
    pub fn new(model_type: impl Into<String>, hidden_size: usize) -> Self {
        Self {
            model_type: model_type.into(),
            hidden_size,
            embedding_size: hidden_size,
            parameters: 0,
            head_dropout: 0.0,
            attention_dropout: 0.0,
            initializer_range: 0.02,
            output_layer: OutputLayer::default(),
            row_position: RowPosition::First,
            stacks: Vec::new(),
            is_pair: false,
            hub_prefix: String::new(),
            llama_cpp: None,
            has_position_table: false,
            names: SiteNames::OWN,
        }
    }

    /// Adds a stack of layers.
    pub fn with_stack(mut self, stack: StackSpec) -> Self {
        self.stacks.push(stack);
        self
    }

    /// Sets the position that stands for a row.
    pub fn with_row_position(mut self, row_position: RowPosition) -> Self {
        self.row_position = row_position;
        self
    }

    /// Sets the number of parameters of the base model.
    pub fn with_parameters(mut self, parameters: usize) -> Self {
        self.parameters = parameters;
        self
    }

    /// Sets the default dropout of prediction heads.
    pub fn with_head_dropout(mut self, head_dropout: f64) -> Self {
        self.head_dropout = head_dropout;
        self
    }

    /// Sets the dropout on attention probabilities.
    pub fn with_attention_dropout(mut self, attention_dropout: f64) -> Self {
        self.attention_dropout = attention_dropout;
        self
    }

    /// Sets the names of the model's modules in adapter files; the default is [`SiteNames::OWN`].
    pub fn with_names(mut self, names: SiteNames) -> Self {
        self.names = names;
        self
    }

    /// The number of layers in all stacks.
    pub fn layers(&self) -> usize {
        self.stacks.iter().map(|stack| stack.layers).sum()
    }

    /// The number of layer numbers in configurations: see [`layer_number`](Self::layer_number).
    pub fn layer_numbers(&self) -> usize {
        match self.is_pair {
            true => self.stacks.iter().map(|stack| stack.layers).max().unwrap_or(0),
            false => self.layers(),
        }
    }

    /// The stack of this site, if the model has it.
    pub fn stack(&self, kind: StackKind) -> Option<&StackSpec> {
        self.stacks.iter().find(|stack| stack.kind == kind)
    }

    /// The number of a site's layer in configurations (`leave_out`, `reduction_factor`), which count through all
    /// stacks unless the model [is a pair](Self::is_pair).
    pub fn layer_number(&self, site: Site) -> usize {
        if self.is_pair {
            return site.layer;
        }
        let before: usize =
            self.stacks.iter().take_while(|stack| stack.kind != site.stack).map(|stack| stack.layers).sum();
        before + site.layer
    }

    /// The stack of this site, if the model has the site's layer.
    pub fn stack_at(&self, site: Site) -> Option<&StackSpec> {
        self.stack_of(site)
    }

    fn stack_of(&self, site: Site) -> Option<&StackSpec> {
        self.stack(site.stack).filter(|stack| site.layer < stack.layers)
    }

    /// `[d_input, d_output]` of the matrix at a site, if the model has one there.
    pub fn matrix(&self, site: Site) -> Option<[usize; 2]> {
        let stack = self.stack_of(site)?;
        stack.matrices.iter().find(|(place, _)| *place == site.place).map(|(_, size)| *size)
    }

    /// Whether the matrix at a site has a bias.
    pub fn has_bias(&self, site: Site) -> bool {
        self.stack_of(site).is_some_and(|stack| stack.biases.contains(&site.place))
    }

    /// Every site with a matrix, with `[d_input, d_output]`.
    pub fn matrices(&self) -> impl Iterator<Item = (Site, [usize; 2])> + '_ {
        self.per_layer(|stack| &stack.matrices)
            .map(|(stack, layer, (place, size))| (Site::new(stack.kind, layer, *place), *size))
    }

    /// Every end of a sublayer, with the width of its hidden states.
    pub fn sublayers(&self) -> impl Iterator<Item = (Site, usize)> + '_ {
        self.per_layer(|stack| &stack.sublayers)
            .map(|(stack, layer, place)| (Site::new(stack.kind, layer, *place), stack.hidden_size))
    }

    /// Every attention block, with its stack.
    pub fn attentions(&self) -> impl Iterator<Item = (Site, &StackSpec)> + '_ {
        self.per_layer(|stack| &stack.attentions)
            .map(|(stack, layer, place)| (Site::new(stack.kind, layer, *place), stack))
    }

    /// Every layer as a whole, with the width of its hidden states.
    pub fn whole_layers(&self) -> impl Iterator<Item = (Site, usize)> + '_ {
        self.stacks.iter().flat_map(|stack| {
            (0..stack.layers).map(|layer| (Site::new(stack.kind, layer, Place::Layer), stack.hidden_size))
        })
    }

    fn per_layer<T: 'static>(
        &self,
        items: impl Fn(&StackSpec) -> &Vec<T> + Copy,
    ) -> impl Iterator<Item = (&StackSpec, usize, &T)> {
        self.stacks.iter().flat_map(move |stack| {
            (0..stack.layers).flat_map(move |layer| items(stack).iter().map(move |item| (stack, layer, item)))
        })
    }
}

impl From<&ModelSpec> for ModelSpec {
    fn from(spec: &ModelSpec) -> Self {
        spec.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_counted_through_all_stacks() {
        let mut decoder = StackSpec::encoder(2, 8, 2, 16);
        decoder.kind = StackKind::Decoder;
        let spec = ModelSpec::new("bart", 8).with_stack(StackSpec::encoder(3, 8, 2, 16)).with_stack(decoder);
        assert_eq!(spec.layer_number(Site::decoder(1, Place::Query)), 4);
        assert_eq!(spec.matrices().count(), 25);
        assert_eq!(spec.sublayers().count(), 10);
        let pair = ModelSpec { is_pair: true, ..spec };
        assert_eq!((pair.layer_number(Site::decoder(1, Place::Query)), pair.layer_numbers()), (1, 3));
    }
}
