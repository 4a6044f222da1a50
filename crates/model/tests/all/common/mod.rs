//! A model of two layers, each with three matrices and two sublayers, that calls the hooks.

#![allow(clippy::unwrap_used, clippy::expect_used, dead_code, missing_docs, unreachable_pub)]

use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use burn_adapters_core::{Fill, Init, ModelSpec, Place, Site, StackSpec};
use burn_adapters_model::{ActiveHooks, BankError, Hooks, Matrices, Mergeable};

pub const WIDTH: usize = 8;

#[derive(Module, Debug)]
pub struct Layer {
    pub query: Linear,
    pub value: Linear,
    pub attention_norm: LayerNorm,
    pub up: Linear,
    pub down: Linear,
    pub norm: LayerNorm,
}

#[derive(Module, Debug)]
pub struct Model {
    pub layers: Vec<Layer>,
}

impl Model {
    pub fn new(layers: usize, device: &Device) -> Self {
        device.seed(11);
        let layer = |_| Layer {
            query: LinearConfig::new(WIDTH, WIDTH).init(device),
            value: LinearConfig::new(WIDTH, WIDTH).init(device),
            attention_norm: LayerNormConfig::new(WIDTH).init(device),
            up: LinearConfig::new(WIDTH, 2 * WIDTH).init(device),
            down: LinearConfig::new(2 * WIDTH, WIDTH).init(device),
            norm: LayerNormConfig::new(WIDTH).init(device),
        };
        Self { layers: (0..layers).map(layer).collect() }
    }

    pub fn spec(&self) -> ModelSpec {
        ModelSpec::new("toy", WIDTH)
            .with_stack(StackSpec::encoder(self.layers.len(), WIDTH, 2, 2 * WIDTH))
            .with_parameters(Module::num_params(self))
    }

    pub fn forward(&self, x: Tensor<3>, hooks: &Hooks) -> Tensor<3> {
        self.try_forward(x, hooks).unwrap()
    }

    pub fn try_forward(&self, x: Tensor<3>, hooks: &Hooks) -> Result<Tensor<3>, BankError> {
        hooks.run(|hooks| self.layers(x, hooks))
    }

    fn layers(&self, mut x: Tensor<3>, hooks: &ActiveHooks) -> Tensor<3> {
        for (i, layer) in self.layers.iter().enumerate() {
            let at = |place| Site::encoder(i, place);
            let query = hooks.linear(at(Place::Query), &layer.query, x.clone());
            let value = hooks.linear(at(Place::Value), &layer.value, x.clone());
            let hidden = hooks.dropout(0.1, query * value);
            x = hooks.sublayer(at(Place::Attention), hidden, x, Some(&layer.attention_norm));
            let hidden = relu(hooks.linear(at(Place::FeedForwardUp), &layer.up, x.clone()));
            let hidden = hooks.linear(at(Place::FeedForwardDown), &layer.down, hidden);
            x = hooks.sublayer(at(Place::FeedForward), hidden, x, Some(&layer.norm));
        }
        x
    }
}

impl Matrices for Model {
    fn linear(&self, site: Site) -> Option<&Linear> {
        let layer = self.layers.get(site.layer)?;
        match site.place {
            Place::Query => Some(&layer.query),
            Place::Value => Some(&layer.value),
            Place::FeedForwardUp => Some(&layer.up),
            Place::FeedForwardDown => Some(&layer.down),
            _ => None,
        }
    }
}

impl Mergeable for Model {
    fn linear_mut(&mut self, site: Site) -> Option<&mut Linear> {
        let layer = self.layers.get_mut(site.layer)?;
        match site.place {
            Place::Query => Some(&mut layer.query),
            Place::Value => Some(&mut layer.value),
            Place::FeedForwardUp => Some(&mut layer.up),
            Place::FeedForwardDown => Some(&mut layer.down),
            _ => None,
        }
    }
}

/// Values that depend on the seed alone: `[batch, sequence, WIDTH]`.
pub fn input(seed: u64, batch: usize) -> Tensor<3> {
    let fill = Fill::Normal { std: 1.0 };
    Init::from_seed(seed).param([batch, 5, WIDTH], fill, &Device::default()).val().detach()
}

pub fn values(tensor: Tensor<3>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}
