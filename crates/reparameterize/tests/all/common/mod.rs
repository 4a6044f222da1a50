//! A model of linear layers without any support for adapters, and the same computation with hooks.

#![allow(clippy::unwrap_used, clippy::expect_used, dead_code, missing_docs, unreachable_pub)]

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::nn::{Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::tensor::activation::tanh;
use burn::tensor::{Device, Tensor, TensorData, Tolerance};
use burn_adapters_config::{AdapterConfig, LoraConfig, MethodConfig};
use burn_adapters_core::{Fill, Init, ModelSpec, Place, Site, StackSpec};
use burn_adapters_model::{ActiveHooks, Matrices};
use burn_adapters_reparameterize::{Targets, Update, WeightAdapters};

pub const WIDTH: usize = 8;
/// One of each method, on queries, values and the first feed-forward matrix.
pub const METHODS: [&str; 5] = [
    "lora[r=3,alpha=6,intermediate_lora=True]",
    "dora[r=3,alpha=6,intermediate_lora=True]",
    "vera[r=3,alpha=6,intermediate_lora=True]",
    "dvora[r=3,alpha=6,intermediate_lora=True]",
    "ia3[attn_matrices=['q','v'],alpha=2]",
];

#[derive(Module, Debug)]
pub struct Layer {
    pub query: Linear,
    pub value: Linear,
    pub up: Linear,
    pub down: Linear,
}

#[derive(Module, Debug)]
pub struct Model {
    pub layers: Vec<Layer>,
}

impl Model {
    pub fn new(device: &Device) -> Self {
        let mut init = Init::from_seed(11);
        let mut linear = |d_input, d_output| {
            let mut linear = LinearConfig::new(d_input, d_output).init(device);
            linear.weight = init.param([d_input, d_output], Fill::Normal { std: 0.3 }, device);
            linear.bias = Some(init.param([d_output], Fill::Normal { std: 0.3 }, device));
            linear
        };
        let mut layer = |_| Layer {
            query: linear(WIDTH, WIDTH),
            value: linear(WIDTH, WIDTH),
            up: linear(WIDTH, 2 * WIDTH),
            down: linear(2 * WIDTH, WIDTH),
        };
        Self { layers: (0..2).map(&mut layer).collect() }
    }

    pub fn forward(&self, mut x: Tensor<3>) -> Tensor<3> {
        for layer in &self.layers {
            let mixed = tanh(layer.query.forward(x.clone())) * layer.value.forward(x.clone());
            x = x + layer.down.forward(tanh(layer.up.forward(mixed)));
        }
        x
    }

    pub fn hooked(&self, mut x: Tensor<3>, hooks: &ActiveHooks) -> Tensor<3> {
        for (i, layer) in self.layers.iter().enumerate() {
            let linear = |place, linear: &Linear, x: Tensor<3>| hooks.linear(Site::encoder(i, place), linear, x);
            let mixed =
                tanh(linear(Place::Query, &layer.query, x.clone())) * linear(Place::Value, &layer.value, x.clone());
            let hidden = tanh(linear(Place::FeedForwardUp, &layer.up, mixed));
            x = x + linear(Place::FeedForwardDown, &layer.down, hidden);
        }
        x
    }

    pub fn spec(&self) -> ModelSpec {
        ModelSpec::new("toy", WIDTH).with_stack(StackSpec::encoder(self.layers.len(), WIDTH, 2, 2 * WIDTH))
    }

    pub fn at(&self, site: Site) -> Option<&Linear> {
        let layer = self.layers.get(site.layer)?;
        match site.place {
            Place::Query => Some(&layer.query),
            Place::Value => Some(&layer.value),
            Place::FeedForwardUp => Some(&layer.up),
            Place::FeedForwardDown => Some(&layer.down),
            _ => None,
        }
    }

    /// The update of an adapter at a matrix.
    pub fn update(&self, site: Site, name: &str) -> Option<Update> {
        adapters(self.at(site)?).update(name).cloned()
    }
}

impl Matrices for Model {
    fn linear(&self, site: Site) -> Option<&Linear> {
        self.at(site)
    }
}

pub fn adapters(linear: &Linear) -> &burn_adapters_reparameterize::ParamAdapters {
    linear.weight.reparameterization().unwrap()
}

pub fn lora_config(text: &str) -> LoraConfig {
    let config: AdapterConfig = text.parse().unwrap();
    match config.methods() {
        [MethodConfig::Lora(config)] => config.clone(),
        other => panic!("{other:?}"),
    }
}

pub fn targets() -> Targets {
    Targets::regex(r"\.(query|value|up)\.weight$").unwrap()
}

/// Values that depend on the seed alone: `[2, 5, WIDTH]`.
pub fn input(seed: u64, device: &Device) -> Tensor<3> {
    Init::from_seed(seed).param([2, 5, WIDTH], Fill::Normal { std: 1.0 }, device).val().detach()
}

/// The current values of a tensor. On the CubeCL backends (wgpu, CUDA, …), `into_data` copies only when the bytes are
/// first read, and would then include later changes in place, such as an optimizer's step.
pub fn data<const D: usize>(tensor: Tensor<D>) -> TensorData {
    let data = tensor.into_data();
    let _ = data.as_bytes();
    data
}

pub fn assert_close<const D: usize>(a: Tensor<D>, b: Tensor<D>, tolerance: f64) {
    a.into_data().assert_approx_eq::<f32>(&b.into_data(), Tolerance::absolute(tolerance));
}

pub fn difference<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    (a - b).abs().max().into_scalar::<f32>()
}

/// Draws every trained parameter again, so that none is zero.
pub fn randomize<M: Module>(module: &mut M, seed: u64) {
    *module = module.clone().map(&mut Randomize { init: Init::from_seed(seed), inside: 0 });
}

struct Randomize {
    init: Init,
    inside: usize,
}

impl ModuleMapper for Randomize {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.inside == 0 {
            return param;
        }
        let fill = Fill::Normal { std: 0.3 };
        let value = self.init.param(param.lazy_shape().dims(), fill, &param.lazy_device()).val().detach();
        let id = param.id;
        param.transform_for_load(value, id)
    }

    fn enter_module(&mut self, _: &str, container: &str) {
        self.inside += usize::from(container == "Reparameterization");
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.inside -= usize::from(container == "Reparameterization");
    }
}

/// A model with a new adapter `a` whose parameters are all drawn.
pub fn adapted(base: &Model, config: &str) -> Model {
    let mut model = base.clone();
    model.add_adapter_seeded("a", &targets(), &lora_config(config), 3).unwrap();
    model.activate_adapter("a").unwrap();
    randomize(&mut model, 5);
    model
}

/// Values by path.
pub type Values = Vec<(String, TensorData)>;

/// Every float parameter: the base's, and the adapters'.
pub fn parameters<M: Module>(module: &M) -> (Values, Values) {
    let mut reader = Reader::default();
    module.visit(&mut reader);
    (reader.base, reader.adapters)
}

#[derive(Default)]
struct Reader {
    path: Vec<String>,
    base: Values,
    adapters: Values,
}

impl ModuleVisitor for Reader {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let entry = (self.path.join("."), data(param.base()));
        if self.path.iter().any(|part| part == "adapters") { &mut self.adapters } else { &mut self.base }.push(entry);
    }

    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
}

/// The gradients of a module's parameters, in its order.
pub fn gradients<M: Module>(module: &M, grads: &GradientsParams) -> Vec<TensorData> {
    struct Read<'a>(&'a GradientsParams, Vec<TensorData>);
    impl ModuleVisitor for Read<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.1.push(data(self.0.get::<D>(param.id).expect("a gradient")));
        }
    }
    let mut read = Read(grads, Vec::new());
    module.visit(&mut read);
    read.1
}
