//! The base model, as seen by banks, training and generation.

use burn::tensor::{Device, FloatDType, Tensor};
use burn_adapters_core::{ModelSpec, Output, Reads, row_indices};

use crate::{BaseError, DecoderStart, Hooks, KvCache, Matrices, Pass, TokenBatch};

/// The inputs that a base model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The number of tokens in the vocabulary.
    pub vocabulary: usize,
    /// The number of token types (segments).
    pub token_types: usize,
    /// The longest sequence, in tokens.
    pub sequence: usize,
    /// The token that pads shorter rows.
    pub pad_id: u32,
}

/// A base model: frozen, shared, and without adapters.
///
/// An implementation writes [`run`](Self::run) against a [`Pass`]; models are run through [`Forward`], which every base
/// model has. The model can stay on a plain device while adapters on an autodiff device are trained.
///
/// ```
/// use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
/// use burn::tensor::activation::relu;
/// use burn::tensor::{Device, Tensor};
/// use burn_adapters_core::{ModelSpec, Place, Site, StackKind, StackSpec};
/// use burn_adapters_model::{
///     AdapterBank, BaseError, BaseModel, Forward, Limits, Matrices, Pass, Setup, TokenBatch,
/// };
///
/// /// One feed-forward layer over embeddings.
/// struct Tiny {
///     spec: ModelSpec,
///     embeddings: Embedding,
///     up: Linear,
///     down: Linear,
///     norm: LayerNorm,
/// }
///
/// impl BaseModel for Tiny {
///     fn spec(&self) -> &ModelSpec {
///         &self.spec
///     }
///     fn limits(&self) -> Limits {
///         Limits { vocabulary: 50, token_types: 1, sequence: 16, pad_id: 0 }
///     }
///     fn device(&self) -> Device {
///         self.up.weight.lazy_device()
///     }
///     fn run(&self, pass: &mut Pass<'_>) -> Result<(), BaseError> {
///         pass.embeddings(self.embeddings.forward(pass.ids()));
///         pass.layers(StackKind::Encoder, 0..1, |layer, hidden| {
///             let up = relu(layer.linear(Place::FeedForwardUp, &self.up, hidden.clone()));
///             let down = layer.linear(Place::FeedForwardDown, &self.down, up);
///             layer.sublayer(Place::FeedForward, down, hidden, Some(&self.norm))
///         });
///         Ok(())
///     }
/// }
///
/// impl Matrices for Tiny {
///     fn linear(&self, site: Site) -> Option<&Linear> {
///         match site.place {
///             Place::FeedForwardUp => Some(&self.up),
///             Place::FeedForwardDown => Some(&self.down),
///             _ => None,
///         }
///     }
/// }
///
/// let device = Device::default();
/// let model = Tiny {
///     spec: ModelSpec::new("tiny", 8).with_stack(StackSpec::encoder(1, 8, 1, 16)),
///     embeddings: EmbeddingConfig::new(50, 8).init(&device),
///     up: LinearConfig::new(8, 16).init(&device),
///     down: LinearConfig::new(16, 8).init(&device),
///     norm: LayerNormConfig::new(8).init(&device),
/// };
/// let mut bank = AdapterBank::new(model.spec.clone(), &device.clone().autodiff());
/// bank.add("reviews", "seq_bn[reduction_factor=2]".parse()?)?;
/// let batch = TokenBatch::new([[3, 4, 5].as_slice(), &[6, 7]]);
/// let output = model.forward(&batch, &bank.hooks(&Setup::adapter("reviews"))?)?;
/// assert_eq!(output.hidden.dims(), [2, 3, 8]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait BaseModel: Matrices + Send + Sync {
    /// The specification that adapters are built by.
    fn spec(&self) -> &ModelSpec;

    /// The inputs that the model takes.
    fn limits(&self) -> Limits;

    /// The inputs that the decoder of an encoder-decoder model takes, and the vocabulary of its output.
    fn decoder_limits(&self) -> Limits {
        self.limits()
    }

    /// The device that the model is on.
    fn device(&self) -> Device;

    /// Computes the pass: its embeddings, its layers, and what follows them.
    ///
    /// # Errors
    /// If the model cannot compute it.
    fn run(&self, pass: &mut Pass<'_>) -> Result<(), BaseError>;

    /// The states that the matrix of the model's language-model head reads, from hidden states after the last layer:
    /// `[positions, hidden]` to `[positions, embedding]`. By default they are the same. The heads of masked language models
    /// have further layers before that matrix.
    fn output_states(&self, hidden: Tensor<2>) -> Tensor<2> {
        hidden
    }

    /// The logits of the model's language-model head, before any softmax: `[positions, vocabulary]`, from its
    /// [`output_states`](Self::output_states). `None` for models without such a head. Callers use
    /// [`Forward::token_logits`].
    fn output_embeddings(&self, _states: Tensor<2>) -> Option<Tensor<2>> {
        None
    }

    /// How the decoder's input begins, in an encoder-decoder model.
    fn decoder_start(&self) -> Option<DecoderStart> {
        None
    }

    /// The table of word embeddings, without position, type or norm: `[vocabulary, embedding]`, in f32 or bf16. `None` for
    /// models without one. A prompt can start from its rows: see [`Forward::word_embeddings`]. In some models it is the matrix of
    /// language-model heads, too: see [`AdapterBank::tie_heads`](crate::AdapterBank::tie_heads).
    fn word_table(&self) -> Option<Tensor<2>> {
        None
    }
}

/// Running a base model. This is the only way to its output, so that a misfit of adapter and model is always an error.
pub trait Forward: BaseModel {
    /// Runs the model.
    ///
    /// # Errors
    /// If the batch is empty, a row is too long or has tokens that the model does not have, an adapter does not fit the
    /// model or the batch, or the model fails.
    fn forward(&self, batch: &TokenBatch, hooks: &Hooks<'_>) -> Result<Output, BaseError> {
        self.forward_reading(batch, hooks, Reads::All)
    }

    /// Runs the model for callers that read only some positions of the last layer; the others may not be computed.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    fn forward_reading(&self, batch: &TokenBatch, hooks: &Hooks<'_>, reads: Reads) -> Result<Output, BaseError> {
        let mut pass = Pass::begin(batch, hooks, reads, self, None)?;
        self.run(&mut pass)?;
        pass.finish()
    }

    /// Runs a decoder on the tokens that follow those of a cache, and adds them to it. With an empty cache, this is
    /// [`forward_reading`](Self::forward_reading). The batch of an encoder-decoder model holds the encoder's rows each
    /// time, but only the first pass runs the encoder.
    ///
    /// Only the first pass inserts prompts and computes gates, which are means over a sequence, and only there does ReFT
    /// intervene.
    ///
    /// # Errors
    /// As [`forward`](Self::forward); if the model is not a decoder, the cache has another number of rows, or a pass
    /// with it failed.
    fn forward_cached(
        &self,
        batch: &TokenBatch,
        hooks: &Hooks<'_>,
        reads: Reads,
        cache: &mut KvCache,
    ) -> Result<Output, BaseError> {
        let mut pass = Pass::begin_cached(batch, hooks, reads, self, cache)?;
        let mut gates = pass.take_gates();
        gates.during(|| self.run(&mut pass))?;
        let (output, read) = pass.finish_cached()?;
        *cache = read.with_gates(gates);
        Ok(output)
    }

    /// [`forward_cached`](Self::forward_cached) of rows with caches of their own: one for each row, of one row each, filled
    /// by `forward_cached`. Rows can so join and leave a batch between passes, and nothing is computed or kept for the
    /// difference of their lengths. Each row's setup must be the one that filled its cache.
    ///
    /// ```
    /// # use burn_adapters_composition::Composition;
    /// # use burn_adapters_model::{AdapterBank, BaseModel, Forward, KvCache, Reads, Setup, TokenBatch};
    /// # fn run(model: &dyn BaseModel, bank: &AdapterBank) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut caches = [KvCache::new(), KvCache::new()];
    /// for ((name, prompt), cache) in [("a", [5, 6, 7].as_slice()), ("b", &[8])].into_iter().zip(&mut caches) {
    ///     let hooks = bank.hooks(&Setup::adapter(name))?;
    ///     model.forward_cached(&TokenBatch::new([prompt]), &hooks, Reads::First, cache)?;
    /// }
    /// let both = bank.hooks(&Setup::compose(Composition::route([Some("a"), Some("b")])))?;
    /// let next = TokenBatch::new([[9].as_slice(), &[4]]);
    /// let output = model.forward_rows(&next, &both, Reads::First, &mut caches)?;
    /// assert_eq!(output.hidden.dims()[..2], [2, 1]);
    /// assert_eq!((caches[0].tokens(0), caches[1].tokens(0)), (4, 2));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As `forward_cached`; if the model has an encoder, a cache is empty or has several rows, or the setup splits sequences
    /// or repeats rows.
    fn forward_rows(
        &self,
        batch: &TokenBatch,
        hooks: &Hooks<'_>,
        reads: Reads,
        caches: &mut [KvCache],
    ) -> Result<Output, BaseError> {
        let mut pass = Pass::begin_separate(batch, hooks, reads, self, caches)?;
        pass.joined_gates().during(|| self.run(&mut pass))?;
        let (output, read) = pass.finish_separate()?;
        caches.iter_mut().zip(read).for_each(|(cache, read)| *cache = read);
        Ok(output)
    }

    /// Runs the model and returns the hidden states at every depth: after the embeddings, and after each layer (after
    /// the last one with the final norm). Those of an encoder-decoder model are its encoder's, then its decoder's.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    fn hidden_states(&self, batch: &TokenBatch, hooks: &Hooks<'_>) -> Result<Vec<Tensor<3>>, BaseError> {
        let mut states = Vec::new();
        let mut pass = Pass::begin(batch, hooks, Reads::All, self, Some(&mut states))?;
        self.run(&mut pass)?;
        let output = pass.finish()?;
        if let Some(last) = states.last_mut() {
            *last = output.hidden;
        }
        Ok(states)
    }

    /// The logits of the model's own language-model head: `[positions, vocabulary]`, from hidden states after the last
    /// layer, `[positions, hidden]`. An encoder predicts the token at each position, a decoder the token after it.
    ///
    /// # Errors
    /// If the states have another width, or the model has no such head: it is in the checkpoint of a language model, and
    /// may be missing in that of a base model.
    fn token_logits(&self, hidden: Tensor<2>) -> Result<Tensor<2>, BaseError> {
        let ([_, found], expected) = (hidden.dims(), self.spec().hidden_size);
        if found != expected {
            return Err(BaseError::HiddenSize { expected, found });
        }
        self.output_embeddings(self.output_states(hidden)).ok_or(BaseError::NoOutputEmbeddings)
    }

    /// Whether the model has a language-model head of its own, so that there are [`token_logits`](Self::token_logits).
    fn has_token_logits(&self) -> bool {
        self.token_logits(Tensor::zeros([1, self.spec().hidden_size], &self.device())).is_ok()
    }

    /// The plain embeddings of tokens, from which a prompt can start: `[tokens, embedding]`.
    ///
    /// # Errors
    /// If there are no tokens, one is not in the vocabulary, or the model has no token embeddings.
    fn word_embeddings(&self, ids: &[u32]) -> Result<Tensor<2>, BaseError> {
        if ids.is_empty() {
            return Err(BaseError::Empty { rows: 1 });
        }
        let vocabulary = self.limits().vocabulary;
        if let Some(&id) = ids.iter().find(|id| **id as usize >= vocabulary) {
            return Err(BaseError::UnknownToken { id, vocabulary });
        }
        let table = self.word_table().ok_or(BaseError::NoTokenEmbeddings)?;
        let ids: Vec<usize> = ids.iter().map(|id| *id as usize).collect();
        let ids = row_indices(&ids, &table.device().without_autodiff());
        Ok(table.select(0, ids).cast(FloatDType::F32))
    }
}

impl<M: BaseModel + ?Sized> Forward for M {}
