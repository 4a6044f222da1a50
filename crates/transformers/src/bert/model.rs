//! The model: embeddings, layers, pooler.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use burn_adapters_core::{
    Bf16Error, Init, ModelSpec, Output, Place, Site, StackKind, has_own_kernels, linear_weights_in_bf16, project,
};
use burn_adapters_model::{Hooks, Matrices, Mergeable};

use super::embeddings::Embeddings;
use super::layer::Layer;
use super::packing::Packing;
use crate::weights::{Fresh, Source};
use crate::{BertConfig, BertInput, ForwardError, LoadError};

/// A BERT-shaped encoder (Devlin et al., 2019, <https://arxiv.org/abs/1810.04805>).
///
/// Put it on a plain device where adapters are to be trained: adapters on an autodiff device mix with it freely, and
/// nothing of the base is then kept for the backward pass. On an autodiff device all of it is trained.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_adapters_model::Hooks;
/// use burn_adapters_transformers::{Bert, BertConfig, BertInput};
///
/// let device = Device::default();
/// let bert = Bert::new(&BertConfig::new(100, 32, 2, 4, 64), &device);
/// let input_ids = Tensor::<2, Int>::from_data([[2, 17, 5, 3]], &device);
/// let output = bert.forward(BertInput::new(input_ids), &Hooks::none())?;
/// assert_eq!(output.hidden.dims(), [1, 4, 32]);
/// # Ok::<(), burn_adapters_transformers::ForwardError>(())
/// ```
#[derive(Module, Debug)]
pub struct Bert {
    embeddings: Embeddings,
    layers: Vec<Layer>,
    pub(super) pooler: Option<Linear>,
    #[module(skip)]
    pub(super) config: BertConfig,
}

/// What a BERT gives.
#[derive(Debug, Clone)]
pub struct BertOutput {
    /// The hidden states of the last layer: `[batch, sequence, hidden]`. The sequence is longer than the input's where
    /// an adapter put a prompt before it.
    pub hidden: Tensor<3>,
    /// The pooler's output, `tanh` of a linear layer on the first position: `[batch, hidden]`. None for models without
    /// a pooler.
    pub pooled: Option<Tensor<2>>,
}

impl From<BertOutput> for Output {
    /// Every position of a row counts as one of its tokens.
    fn from(BertOutput { hidden, pooled }: BertOutput) -> Self {
        let [rows, positions, _] = hidden.dims();
        Output::new(hidden, vec![positions; rows]).with_pooled(pooled)
    }
}

impl Bert {
    /// A model with freshly drawn weights (drawn when they are first read).
    pub fn new(config: &BertConfig, device: &Device) -> Self {
        Self::fresh(config, Init::from_entropy(), device)
    }

    /// As [`new`](Self::new), with weights that depend on `seed` alone.
    pub fn new_seeded(config: &BertConfig, seed: u64, device: &Device) -> Self {
        Self::fresh(config, Init::from_seed(seed), device)
    }

    fn fresh(config: &BertConfig, init: Init, device: &Device) -> Self {
        let pooler = config.family.has_pooler();
        match Self::build(config, pooler, &mut Fresh { init, device }) {
            Ok(bert) => bert,
            Err(error) => unreachable!("drawing weights reads no file, yet failed: {error}"),
        }
    }

    /// The model with the weights of its linear layers in bf16: half the memory for them, twice the rate on CPUs with
    /// AVX-512 BF16, and results that differ by the rounding. Adapters stay f32. See [`linear_weights_in_bf16`].
    ///
    /// # Errors
    /// If the model is on an autodiff device, or on one that has no bf16.
    pub fn in_bf16(self) -> Result<Self, Bf16Error> {
        linear_weights_in_bf16(self)
    }

    /// The model from any source of weights. The names are those of Hugging Face's files.
    pub(super) fn build(config: &BertConfig, pooler: bool, source: &mut impl Source) -> Result<Self, LoadError> {
        let pooler = pooler
            .then(|| source.linear("pooler.dense", [config.hidden_size; 2], config.initializer_range))
            .transpose()?;
        Ok(Self {
            embeddings: Embeddings::build(config, source)?,
            layers: (0..config.num_hidden_layers)
                .map(|layer| Layer::build(config, &format!("encoder.layer.{layer}"), source))
                .collect::<Result<_, _>>()?,
            pooler,
            config: config.clone(),
        })
    }

    /// The model's configuration.
    pub fn config(&self) -> &BertConfig {
        &self.config
    }

    /// What adapters need to know of the model.
    pub fn spec(&self) -> ModelSpec {
        self.config.spec()
    }

    /// Where the model is.
    pub fn device(&self) -> Device {
        self.embeddings.device()
    }

    /// The plain word embeddings of some tokens, without position, type or norm: what prompt tuning starts from where it
    /// starts from a text. The result is `[tokens, embedding]`.
    ///
    /// # Errors
    /// If there is no token, or one is not in the vocabulary.
    pub fn word_embeddings(&self, ids: &[u32]) -> Result<Tensor<2>, ForwardError> {
        if ids.is_empty() {
            return Err(ForwardError::Empty { shape: [1, 0] });
        }
        let vocab_size = self.config.vocab_size;
        match ids.iter().find(|id| **id as usize >= vocab_size) {
            Some(&id) => Err(ForwardError::UnknownToken { id, vocab_size }),
            None => Ok(self.embeddings.of_words(ids)),
        }
    }

    /// Runs the model.
    ///
    /// # Errors
    /// If the input is empty or too long, its tensors disagree in shape, or they are not where the model is.
    pub fn forward(&self, input: BertInput, hooks: &Hooks) -> Result<BertOutput, ForwardError> {
        let hidden = self.run(input, hooks, false, &mut |_| {})?;
        Ok(self.pool(hidden))
    }

    /// As [`forward`](Self::forward), for those who read the first position alone, as classification heads do:
    /// `hidden` is `[batch, 1, hidden]`. Where the adapters treat each position by itself, all of the last layer but its
    /// keys and values is then computed for that position only.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_first(&self, input: BertInput, hooks: &Hooks) -> Result<BertOutput, ForwardError> {
        let hidden = self.run(input, hooks, true, &mut |_| {})?;
        Ok(self.pool(hidden))
    }

    fn pool(&self, hidden: Tensor<3>) -> BertOutput {
        let pooled = self.pooler.as_ref().map(|pooler| {
            let first = hidden.clone().narrow(1, 0, 1).squeeze_dim::<2>(1);
            project(pooler, first).tanh()
        });
        BertOutput { hidden, pooled }
    }

    /// Runs the model and gives the hidden states of every depth: after the embeddings, then after each layer.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn hidden_states(&self, input: BertInput, hooks: &Hooks) -> Result<Vec<Tensor<3>>, ForwardError> {
        let mut states = Vec::with_capacity(self.layers.len() + 1);
        self.run(input, hooks, false, &mut |state| states.push(state.clone()))?;
        Ok(states)
    }

    fn run(
        &self,
        input: BertInput,
        hooks: &Hooks,
        first_only: bool,
        observe: &mut dyn FnMut(&Tensor<3>),
    ) -> Result<Tensor<3>, ForwardError> {
        input.check(self.config.max_sequence_length(), &self.device())?;
        if let Some(gathered) = hooks.gathered().filter(|gathered| gathered.order.len() == input.input_ids.dims()[0]) {
            let device = input.input_ids.device();
            let restore = indices(&gathered.restore, &device);
            let back = |hidden: &Tensor<3>| hidden.clone().select(0, restore.clone());
            let input = input.select(&indices(&gathered.order, &device));
            let hidden =
                self.run(input, &gathered.hooks, first_only, &mut |state: &Tensor<3>| observe(&back(state)))?;
            return Ok(back(&hidden));
        }
        let is_padded = input.padding.is_some();
        let padding = input.padding.clone().unwrap_or_else(|| {
            let device = input.input_ids.device();
            Tensor::<2, Bool>::full(input.input_ids.dims(), false, &device)
        });
        let (embeddings, mut padding) = hooks.embeddings(self.embeddings.forward(&input, hooks), padding);
        let mut hidden = self.embeddings.project(embeddings);
        observe(&hidden);
        let mut mask = None;
        // A backend that compiles its kernels for shapes would have a new one for each batch.
        let packs = first_only && has_own_kernels(&self.device());
        if let Some(packing) = packs.then(|| Packing::new(&padding, hooks)).flatten() {
            let [batch, keys] = padding.dims();
            let mask = padding.reshape([batch, 1, 1, keys]);
            hidden = packing.pack(hidden);
            for (index, layer) in self.layers.iter().enumerate() {
                let last = index + 1 == self.layers.len();
                hidden = layer.forward_packed(index, hidden, Some(mask.clone()), hooks, &packing, last);
            }
            hooks.check()?;
            return Ok(if self.layers.is_empty() { packing.first(hidden) } else { hidden });
        }
        for (index, layer) in self.layers.iter().enumerate() {
            let rows = padding.dims();
            (hidden, padding) = hooks.enter_layer(Site::encoder(index, Place::Layer), hidden, padding);
            // A prompt beside rows without one, or shorter ones, brings padding of its own.
            let grown = padding.dims() != input.input_ids.dims();
            if index == 0 || padding.dims() != rows {
                mask = (is_padded || grown).then(|| {
                    let [batch, keys] = padding.dims();
                    padding.clone().reshape([batch, 1, 1, keys])
                });
            }
            let first_only = first_only && index + 1 == self.layers.len();
            hidden = layer.forward(index, hidden, &padding, mask.clone(), hooks, first_only);
            observe(&hidden);
        }
        hooks.check()?;
        if first_only {
            return Ok(hidden.narrow(1, 0, 1));
        }
        Ok(hidden)
    }
}

fn indices(rows: &[usize], device: &Device) -> Tensor<1, Int> {
    let rows: Vec<i32> = rows.iter().map(|row| *row as i32).collect();
    let count = rows.len();
    Tensor::from_data(TensorData::new(rows, [count]), device)
}

impl Matrices for Bert {
    fn linear(&self, site: Site) -> Option<&Linear> {
        match site.stack {
            StackKind::Encoder => self.layers.get(site.layer)?.linear(site.place),
            StackKind::Decoder => None,
        }
    }
}

impl Mergeable for Bert {
    fn linear_mut(&mut self, site: Site) -> Option<&mut Linear> {
        match site.stack {
            StackKind::Encoder => self.layers.get_mut(site.layer)?.linear_mut(site.place),
            StackKind::Decoder => None,
        }
    }
}
