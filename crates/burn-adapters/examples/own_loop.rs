//! Adapters in your own model and training loop.
//!
//! The model is a small residual network whose only support for adapters is its calls to [`ActiveHooks`]. First all of
//! its weights learn one task; then it is frozen, and an adapter learns a second task.
//!
//! ```text
//! cargo run --release --example own_loop
//! ```

use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Distribution, Tensor};
use burn_adapters::prelude::*;

const WIDTH: usize = 32;

/// One residual block and a read-out.
#[derive(Module, Debug)]
struct Network {
    up: Linear,
    down: Linear,
    norm: LayerNorm,
    read_out: Linear,
}

impl Network {
    fn new(device: &Device) -> Self {
        Self {
            up: LinearConfig::new(WIDTH, 4 * WIDTH).init(device),
            down: LinearConfig::new(4 * WIDTH, WIDTH).init(device),
            norm: LayerNormConfig::new(WIDTH).init(device),
            read_out: LinearConfig::new(WIDTH, 1).init(device),
        }
    }

    /// The sites of adapters, and the width of the model there.
    fn spec() -> ModelSpec {
        ModelSpec::new("network", WIDTH).with_stack(StackSpec::encoder(1, WIDTH, 1, 4 * WIDTH))
    }

    /// input: `[batch, positions, WIDTH]`, output: `[batch, positions, 1]`
    fn forward(&self, input: Tensor<3>, hooks: &ActiveHooks) -> Tensor<3> {
        let hidden = relu(hooks.linear(Site::encoder(0, Place::FeedForwardUp), &self.up, input.clone()));
        let hidden = hooks.linear(Site::encoder(0, Place::FeedForwardDown), &self.down, hidden);
        let hidden = hooks.sublayer(Site::encoder(0, Place::FeedForward), hidden, input, Some(&self.norm));
        self.read_out.forward(hidden)
    }
}

fn batch(device: &Device) -> Tensor<3> {
    Tensor::random([16, 4, WIDTH], Distribution::Normal(0.0, 1.0), device)
}

fn loss(output: Tensor<3>, target: Tensor<3>) -> Tensor<1> {
    (output - target).powi_scalar(2).mean()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::default();
    let autodiff = device.clone().autodiff();
    device.seed(7);

    // The whole network learns the first task: the mean of the inputs.
    let mut network = Network::new(&autodiff);
    let mut optimizer = AdamWConfig::new().init();
    for _ in 0..200 {
        let input = batch(&autodiff);
        let output = Hooks::none().run(|hooks| network.forward(input.clone(), hooks))?;
        let loss = loss(output, input.mean_dim(2));
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        network = optimizer.step(3e-3, network, gradients);
    }

    // From here on the network is frozen: on the plain device, it has no autodiff.
    let network = network.valid();
    let mut bank = AdapterBank::new(Network::spec(), &autodiff);
    let report = bank.add_seeded(
        "largest",
        "seq_bn[reduction_factor=2]|lora[intermediate_lora=True,selfattn_lora=False]".parse()?,
        1,
    )?;
    println!("{report}");
    let setup = Setup::adapter("largest").training();
    let trained = bank.train_only(&setup)?;
    println!("{trained} parameters to train");

    // The second task: the largest of the inputs.
    let mut optimizer = AdamWConfig::new().init();
    for step in 0..=300 {
        let input = batch(&device);
        let target = input.clone().max_dim(2);
        let hooks = bank.hooks(&setup)?;
        // An adapter that does not fit the model is an error here.
        let loss = loss(hooks.run(|hooks| network.forward(input, hooks))?, target);
        drop(hooks);
        if step % 50 == 0 {
            println!("step {step:>3}: loss {:.4}", loss.clone().into_scalar::<f32>());
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &bank);
        bank = optimizer.step(3e-3, bank, gradients);
    }

    // The first task is unchanged: the base alone.
    let input = batch(&device);
    let output = |setup: &Setup| bank.hooks(setup)?.run(|hooks| network.forward(input.clone(), hooks));
    let mean = loss(output(&Setup::base())?, input.clone().mean_dim(2));
    let max = loss(output(&Setup::adapter("largest"))?, input.clone().max_dim(2));
    println!("base on its own task: {:.4}", mean.into_scalar::<f32>());
    println!("adapter on the second: {:.4}", max.into_scalar::<f32>());
    Ok(())
}
