//! A model of any family.

use std::path::Path;

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use burn_adapters_core::{Bf16Error, Init, ModelSpec, Place, Site, StackSpec, linear_weights_in_bf16};
use burn_adapters_model::{BaseError, BaseModel, DecoderStart, Limits, Matrices, Mergeable, Pass};

use crate::skeleton::Skeleton;
use crate::weights::{Fresh, ModelLoadReport};
use crate::{LoadError, ModelConfig, WeightFormat, load};

/// A model of any supported family, read from a Hugging Face folder.
///
/// To train adapters, keep the model on a plain device: it works with adapters on an autodiff device, and the graph
/// holds nothing of the base. A model on an autodiff device is itself trained.
///
/// ```
/// use burn::tensor::Device;
/// use burn_adapters_model::{Forward, Hooks, TokenBatch};
/// use burn_adapters_transformers::{AutoModel, BertConfig};
///
/// let model = AutoModel::new(&BertConfig::new(100, 32, 2, 4, 64), &Device::default());
/// let output = model.forward(&TokenBatch::new([[2, 17, 5, 3].as_slice()]), &Hooks::none())?;
/// assert_eq!(output.hidden.dims(), [1, 4, 32]);
/// # Ok::<(), burn_adapters_model::BaseError>(())
/// ```
#[derive(Module, Debug)]
pub struct AutoModel {
    pub(crate) skeleton: Skeleton,
    #[module(skip)]
    pub(crate) config: ModelConfig,
}

impl AutoModel {
    /// A model with random weights, which are drawn when they are first read.
    pub fn new(config: impl Into<ModelConfig>, device: &Device) -> Self {
        Self::fresh(config.into(), Init::from_entropy(), device)
    }

    /// As [`new`](Self::new), with weights that depend on `seed` alone.
    pub fn new_seeded(config: impl Into<ModelConfig>, seed: u64, device: &Device) -> Self {
        Self::fresh(config.into(), Init::from_seed(seed), device)
    }

    fn fresh(config: ModelConfig, init: Init, device: &Device) -> Self {
        let mut plan = config.plan.clone();
        plan.output = plan.output.and_then(|output| output.in_files(|_| false));
        match Skeleton::build(&plan, &mut Fresh { init, device }) {
            Ok(skeleton) => Self { skeleton, config },
            Err(error) => unreachable!("drawing weights reads no file, yet failed: {error}"),
        }
    }

    /// Loads a Hugging Face folder: `config.json`, and `model.safetensors` or `pytorch_model.bin`, either also in
    /// several files with an index. All weights are converted to f32. Reading a `.bin` never executes anything in it.
    ///
    /// Checkpoints of task models can be read too: their heads are left out and listed in the report. So can
    /// checkpoints without a pooler.
    ///
    /// # Errors
    /// If the configuration is not supported, a file is missing or damaged, or the weights are not exactly those that
    /// the configuration describes.
    pub fn from_dir(dir: &Path, device: &Device) -> Result<(Self, ModelLoadReport), LoadError> {
        Self::from_dir_as(dir, WeightFormat::F32, device)
    }

    /// As [`from_dir`](Self::from_dir), with the weights of linear layers in the given number format. Each weight is
    /// converted as it is read, so that the whole model is never in memory in another format.
    ///
    /// # Errors
    /// As [`from_dir`](Self::from_dir); if the device does not have the format, or trains weights.
    pub fn from_dir_as(
        dir: &Path,
        format: WeightFormat,
        device: &Device,
    ) -> Result<(Self, ModelLoadReport), LoadError> {
        load::from_dir(dir, format, device)
    }

    /// As [`from_dir_as`](Self::from_dir_as), for a GGUF file, whose blocks stay in its pages where the model keeps them as they
    /// are: processes that map a file share one copy of it. Rows of query and key that the model has in another order than the
    /// file are copied.
    ///
    /// # Safety
    /// Nobody may change the file as long as the model or a clone of it is in use: its elements were checked before, and a
    /// process that reads a part which was cut off is killed (`SIGBUS`). A file that is replaced as a whole (renamed over) is no
    /// danger.
    ///
    /// # Errors
    /// As [`from_dir_as`](Self::from_dir_as); if the file cannot be mapped, or nothing of it stays as it is: that takes
    /// [`AsStored`](WeightFormat::AsStored), [`Int8`](WeightFormat::Int8) or [`Int4`](WeightFormat::Int4), and flex.
    pub unsafe fn from_mapped_gguf(
        path: &Path,
        format: WeightFormat,
        device: &Device,
    ) -> Result<(Self, ModelLoadReport), LoadError> {
        // SAFETY: the caller promises that the file does not change.
        unsafe { load::from_mapped_gguf(path, format, device) }
    }

    /// The model with the weights of its linear layers in bf16, and with them the table of word embeddings where it is the
    /// matrix of a language model's output layer. They take half the memory, and AMD CPUs with AVX-512 BF16 multiply them
    /// about twice as fast, those with AMX several times; results differ by rounding. Adapters stay in f32. See
    /// [`linear_weights_in_bf16`].
    ///
    /// # Errors
    /// If the model is on an autodiff device, or on one that has no bf16.
    pub fn in_bf16(self) -> Result<Self, Bf16Error> {
        let model = linear_weights_in_bf16(self)?;
        Ok(Self { skeleton: model.skeleton.with_output_in_bf16(), ..model })
    }

    /// The model with the matrices of its first `layers` layers in bf16, and the others unchanged. Where only layers above
    /// these have adapters, training runs the lower ones forward alone, and their rounding reaches no gradient directly.
    ///
    /// # Errors
    /// As [`in_bf16`](Self::in_bf16); if `layers` is 0.
    pub fn in_bf16_below(mut self, layers: usize) -> Result<Self, Bf16Error> {
        let spec = self.spec().clone();
        let of_stack = |stack: &StackSpec| {
            let kind = stack.kind;
            (0..stack.layers).flat_map(move |layer| Place::ALL.map(|place| Site::new(kind, layer, place)))
        };
        let mut found = false;
        for site in spec.stacks.iter().flat_map(of_stack).filter(|site| spec.layer_number(*site) < layers) {
            if let Some(linear) = self.linear_mut(site) {
                *linear = linear_weights_in_bf16(linear.clone())?;
                found = true;
            }
        }
        if found { Ok(self) } else { Err(Bf16Error::NoLinear) }
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }
}

impl BaseModel for AutoModel {
    fn spec(&self) -> &ModelSpec {
        self.config.spec()
    }

    fn limits(&self) -> Limits {
        self.config.limits()
    }

    fn decoder_limits(&self) -> Limits {
        self.config.plan.decoder_limits()
    }

    fn device(&self) -> Device {
        self.skeleton.device()
    }

    fn run(&self, pass: &mut Pass<'_>) -> Result<(), BaseError> {
        self.skeleton.run(pass);
        Ok(())
    }

    fn output_states(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.skeleton.output_states(hidden)
    }

    fn output_embeddings(&self, states: Tensor<2>) -> Option<Tensor<2>> {
        self.skeleton.logits(states)
    }

    fn decoder_start(&self) -> Option<DecoderStart> {
        self.config.plan.decoder.as_ref().map(|decoder| decoder.start)
    }

    fn word_table(&self) -> Option<Tensor<2>> {
        Some(self.skeleton.word_table())
    }
}

impl Matrices for AutoModel {
    fn linear(&self, site: Site) -> Option<&Linear> {
        self.skeleton.linear(site)
    }
}

impl Mergeable for AutoModel {
    fn linear_mut(&mut self, site: Site) -> Option<&mut Linear> {
        self.skeleton.linear_mut(site)
    }
}
