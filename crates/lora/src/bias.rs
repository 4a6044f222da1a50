//! Biases that are trained beside LoRA's matrices, as PEFT has them.

use burn::module::{Module, Param, ParamId};
use burn::nn::Linear;
use burn::tensor::{Device, Tensor, TensorData};
use burn_adapters_config::LoraBias;
use burn_adapters_core::{Fill, Init};

/// A trained bias of one matrix: that of the update, or one that replaces the matrix' own.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::Device;
/// use burn_adapters_config::{LoraBias, LoraConfig};
/// use burn_adapters_core::Init;
/// use burn_adapters_lora::Lora;
///
/// let device = Device::default();
/// let linear = LinearConfig::new(16, 24).init(&device);
/// let config = LoraConfig::new(4).with_bias(LoraBias::Base);
/// let mut lora = Lora::new(&config, [16, 24], &mut Init::from_seed(1), &device)?;
/// lora.bias.as_mut().unwrap().set_from(&linear);
/// // It starts as the layer's own, so nothing changes.
/// let change = lora.bias.unwrap().change(&linear).unwrap();
/// assert_eq!(change.abs().max().into_scalar::<f32>(), 0.0);
/// # Ok::<(), burn_adapters_lora::LoraError>(())
/// ```
#[derive(Module, Debug)]
pub struct Bias {
    /// `[d_output]`.
    pub vector: Param<Tensor<1>>,
    /// Whether it replaces the bias of the matrix.
    #[module(skip)]
    replaces: bool,
    /// Whether the vector was set from a layer or a file, if it needs to be.
    #[module(skip)]
    is_set: bool,
}

impl Bias {
    /// A bias of zeros, if there is one. One that replaces the matrix' own must still be set.
    pub fn new(kind: LoraBias, d_output: usize, init: &mut Init, device: &Device) -> Option<Self> {
        let replaces = kind == LoraBias::Base;
        (kind != LoraBias::None).then(|| {
            let vector = init.param([d_output], Fill::ZEROS, device);
            Self { vector, replaces, is_set: !replaces }
        })
    }

    /// Whether it replaces the bias of the matrix, instead of being a part of the update.
    pub fn replaces(&self) -> bool {
        self.replaces
    }

    /// Whether the vector was set from a layer, or read from a file, if it needs to be.
    pub fn is_set(&self) -> bool {
        self.is_set
    }

    /// Records that the vector was read from a file.
    pub fn mark_set(&mut self) {
        self.is_set = true;
    }

    /// Sets a bias that replaces the layer's to the layer's, so that the adapted layer computes the same.
    pub fn set_from(&mut self, linear: &Linear) {
        if !self.replaces {
            return;
        }
        let device = self.vector.lazy_device();
        let shape = self.vector.lazy_shape();
        let bias = linear.bias.as_ref().map(|bias| bias.val().without_autodiff());
        let bias = bias.map(|bias| bias.to_device(&device.clone().without_autodiff()));
        let zeros = shape.clone();
        // Lazy, so that the parameter is a leaf of its own device's graph.
        self.vector = Param::uninitialized(
            ParamId::new(),
            move |device: &Device, require_grad: bool| {
                let data = bias.map_or_else(|| TensorData::zeros::<f32, _>(zeros), Tensor::into_data);
                let vector = Tensor::from_data(data, device);
                if require_grad { vector.require_grad() } else { vector }
            },
            device,
            true,
            shape,
        );
        self.is_set = true;
    }

    /// What a bias that replaces the layer's adds to the layer's output: the difference of the two.
    ///
    /// # Shapes
    /// - output: `[1, 1, d_output]`
    pub fn change(&self, linear: &Linear) -> Option<Tensor<3>> {
        let vector = self.replaces.then(|| self.vector.val())?;
        let change = match &linear.bias {
            Some(bias) => vector - bias.val(),
            None => vector,
        };
        Some(change.unsqueeze())
    }

    /// The bias that is a part of the update: `[d_output]`.
    pub(crate) fn of_update(&self) -> Option<Tensor<1>> {
        (!self.replaces).then(|| self.vector.val())
    }
}
