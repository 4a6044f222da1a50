//! Adapters in your own model, trained by burn-train's `Learner`.
//!
//! The frozen base network is part of the trained module, beside the bank: its parameters get no gradient, so the
//! optimizer does not change them.
//!
//! ```text
//! cargo run --release --features learner --example learner
//! ```
//!
//! `--quick` trains for one epoch on fewer points. With the feature `cuda`, `--cuda N` trains on N CUDA devices by Burn's
//! distributed data parallelism (`ddp`): each device computes its share of the batches, and their gradients are averaged.

use burn::data::dataloader::DataLoaderBuilder;
use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::InMemDataset;
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::optim::AdamWConfig;
use burn::prelude::*;
use burn::tensor::activation::relu;
use burn::tensor::distributed::{DistributedConfig, ReduceOperation};
use burn::train::metric::{AccuracyMetric, LossMetric};
use burn::train::{
    ClassificationOutput, ExecutionStrategy, InferenceStep, Learner, SupervisedTraining, TrainOutput, TrainStep,
};
use burn_adapters::prelude::*;

const WIDTH: usize = 16;

/// Points, and the side of a plane that each is on.
#[derive(Clone, Debug)]
struct Item {
    point: [f32; WIDTH],
    side: i64,
}

#[derive(Clone, Debug)]
struct Batch {
    points: Tensor<3>,
    sides: Tensor<1, Int>,
}

#[derive(Clone)]
struct ToBatch;

impl Batcher<Item, Batch> for ToBatch {
    fn batch(&self, items: Vec<Item>, device: &Device) -> Batch {
        let rows = items.len();
        let points: Vec<f32> = items.iter().flat_map(|item| item.point).collect();
        let sides: Vec<i64> = items.iter().map(|item| item.side).collect();
        Batch {
            points: Tensor::from_data(TensorData::new(points, [rows, 1, WIDTH]), device),
            sides: Tensor::from_data(TensorData::new(sides, [rows]), device),
        }
    }
}

/// A frozen network, the adapters beside it, and the setup.
#[derive(Module, Debug)]
struct Adapted {
    layer: Linear,
    norm: LayerNorm,
    read_out: Linear,
    bank: AdapterBank,
    #[module(skip)]
    setup: Setup,
}

impl Adapted {
    fn hidden(&self, points: Tensor<3>, hooks: &ActiveHooks) -> Tensor<3> {
        let hidden = relu(hooks.linear(Site::encoder(0, Place::FeedForwardUp), &self.layer, points.clone()));
        hooks.sublayer(Site::encoder(0, Place::FeedForward), hidden, points, Some(&self.norm))
    }

    fn forward(&self, batch: Batch, setup: &Setup) -> ClassificationOutput {
        // Burn's steps cannot return errors: a setup or an adapter that does not fit the network ends the program.
        let hidden = self
            .bank
            .hooks(setup)
            .and_then(|hooks| hooks.run(|hooks| self.hidden(batch.points, hooks)))
            .unwrap_or_else(|error| panic!("{error}"));
        let logits = self.read_out.forward(hidden).squeeze_dim::<2>(1);
        let loss = CrossEntropyLossConfig::new().init(&logits.device()).forward(logits.clone(), batch.sides.clone());
        ClassificationOutput::new(loss, logits, batch.sides)
    }
}

impl TrainStep for Adapted {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> TrainOutput<ClassificationOutput> {
        let output = self.forward(batch, &self.setup.clone().training());
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl InferenceStep for Adapted {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> ClassificationOutput {
        self.forward(batch, &self.setup)
    }
}

fn items(count: usize, mut state: u64) -> Vec<Item> {
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as f32 / (1u64 << 31) as f32 * 2.0 - 1.0
    };
    let mut item = |_| {
        let point = std::array::from_fn(|_| random());
        Item { point, side: i64::from(point[0] * point[1] > 0.0) }
    };
    (0..count).map(&mut item).collect()
}

/// The CUDA devices that the command line asks for.
fn cuda_devices() -> Result<Vec<Device>, String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--cuda");
    let Some(_) = arguments.next() else { return Ok(Vec::new()) };
    let count = arguments.next().and_then(|count| count.parse().ok()).filter(|count| *count > 0);
    let count: usize = count.ok_or("--cuda needs a number of devices")?;
    #[cfg(feature = "cuda")]
    return Ok((0..count).map(|index| Device::cuda(index).autodiff()).collect());
    #[cfg(not(feature = "cuda"))]
    Err(format!("--cuda {count} needs the feature `cuda`: Burn averages gradients between devices on CUDA only"))
}

/// One device, or several with the gradients of all averaged.
fn strategy(device: Device, several: Vec<Device>) -> ExecutionStrategy {
    if several.is_empty() {
        return ExecutionStrategy::SingleDevice(device);
    }
    ExecutionStrategy::ddp(several, DistributedConfig { all_reduce_op: ReduceOperation::Mean })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (epochs, points) = if std::env::args().any(|argument| argument == "--quick") { (1, 512) } else { (5, 4096) };
    let several = cuda_devices()?;
    let device = several.first().cloned().unwrap_or_else(|| Device::default().autodiff());
    device.seed(3);
    let spec = ModelSpec::new("network", WIDTH).with_stack(StackSpec::encoder(1, WIDTH, 1, WIDTH));
    let mut bank = AdapterBank::new(spec, &device);
    println!("{}", bank.add_seeded("sides", "seq_bn[reduction_factor=0.5]".parse()?, 1)?);
    let setup = Setup::adapter("sides");
    bank.train_only(&setup)?;

    let model = Adapted {
        layer: LinearConfig::new(WIDTH, WIDTH).init(&device).no_grad(),
        norm: LayerNormConfig::new(WIDTH).init(&device).no_grad(),
        read_out: LinearConfig::new(WIDTH, 2).init(&device).no_grad(),
        bank,
        setup,
    };
    let loader = |items| DataLoaderBuilder::new(ToBatch).batch_size(64).shuffle(5).build(InMemDataset::new(items));
    let folder = std::env::temp_dir().join("burn-adapters-learner");
    let result = SupervisedTraining::new(&folder, loader(items(points, 1)), loader(items(512, 2)))
        .metrics((AccuracyMetric::new(), LossMetric::new()))
        .with_training_strategy(strategy(device, several).into())
        .num_epochs(epochs)
        .summary()
        .launch(Learner::new(model, AdamWConfig::new().init(), 3e-3));

    // The learner returns the model for inference, with the trained bank.
    println!("{}", result.model.bank.summary());
    Ok(())
}
