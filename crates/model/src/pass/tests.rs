//! Tests of the shortcuts of a pass, of repetition, and of faulty models.

use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use burn_adapters_composition::Composition;
use burn_adapters_core::{ModelSpec, Place, Reads, Site, StackKind, StackSpec};

use super::*;
use crate::{AdapterBank, BaseModel, Forward, Matrices, Setup};

const WIDTH: usize = 8;
const LENGTHS: [usize; 3] = [9, 4, 7];

/// Feed-forward layers that may run several times.
struct Model {
    spec: ModelSpec,
    embeddings: Embedding,
    up: Linear,
    down: Linear,
    norm: LayerNorm,
    steps: Vec<usize>,
    fault: Option<Fault>,
}

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    NoEmbeddings,
    FewerPositions,
}

impl Model {
    fn new(layers: usize, steps: &[usize]) -> Self {
        let device = Device::default();
        device.seed(3);
        Self {
            spec: ModelSpec::new("shared", WIDTH).with_stack(StackSpec::encoder(layers, WIDTH, 2, 2 * WIDTH)),
            embeddings: EmbeddingConfig::new(100, WIDTH).init(&device),
            up: LinearConfig::new(WIDTH, 2 * WIDTH).init(&device),
            down: LinearConfig::new(2 * WIDTH, WIDTH).init(&device),
            norm: LayerNormConfig::new(WIDTH).init(&device),
            steps: steps.to_vec(),
            fault: None,
        }
    }
}

impl Matrices for Model {
    fn linear(&self, site: Site) -> Option<&Linear> {
        match site.place {
            Place::FeedForwardUp => Some(&self.up),
            Place::FeedForwardDown => Some(&self.down),
            _ => None,
        }
    }
}

impl BaseModel for Model {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn limits(&self) -> Limits {
        Limits { vocabulary: 100, token_types: 1, sequence: 20, pad_id: 0 }
    }

    fn device(&self) -> Device {
        self.up.weight.lazy_device()
    }

    fn run(&self, pass: &mut Pass<'_>) -> Result<(), BaseError> {
        if self.fault == Some(Fault::NoEmbeddings) {
            return Ok(());
        }
        pass.embeddings(self.embeddings.forward(pass.ids()));
        pass.layers(StackKind::Encoder, self.steps.iter().copied(), |layer, hidden| {
            let up = relu(layer.linear(Place::FeedForwardUp, &self.up, hidden.clone()));
            let down = layer.linear(Place::FeedForwardDown, &self.down, up);
            let hidden = layer.sublayer(Place::FeedForward, down, hidden, Some(&self.norm));
            if self.fault == Some(Fault::FewerPositions) { hidden.narrow(1, 0, 2) } else { hidden }
        });
        Ok(())
    }
}

fn bank(model: &Model, configs: &[(&str, &str)]) -> AdapterBank {
    let mut bank = AdapterBank::new(model.spec(), &Device::default());
    for (index, (name, config)) in configs.iter().enumerate() {
        bank.add_seeded(name, config.parse().unwrap(), index as u64).unwrap();
    }
    bank
}

fn batch() -> TokenBatch {
    let rows: Vec<Vec<u32>> =
        (0..3).map(|row| (0..LENGTHS[row]).map(|at| (row * 31 + at * 7) as u32 % 99).collect()).collect();
    TokenBatch::new(rows.iter().map(Vec::as_slice))
}

fn compose(text: &str) -> Setup {
    Setup::compose(text.parse().unwrap())
}

/// Whether the passes of a setup treat positions independently, and whether they run without padding.
fn shortcuts(bank: &AdapterBank, setup: &Setup, lengths: &[usize]) -> (bool, bool) {
    let hooks = bank.hooks(setup).unwrap().pass();
    (hooks.is_positionwise(), hooks.packed(lengths).is_some())
}

#[test]
fn only_adapters_that_treat_positions_independently_allow_shortcuts() {
    let model = Model::new(2, &[0, 1]);
    for (config, positionwise) in [
        ("seq_bn", true),
        ("double_seq_bn[reduction_factor=4]", true),
        ("scaled_par_bn", true),
        ("seq_bn_inv", true),
        ("compacter[reduction_factor=1,phm_dim=2]", true),
        ("prefix_tuning[prefix_length=3]", true),
        ("prefix_tuning_flat[prefix_length=3,use_gating=True]", true),
        ("lora[attn_matrices=['q','k','v']]", true),
        ("ia3", true),
        ("prompt_tuning[prompt_length=4]", true),
        ("unipelt", false),
        ("seq_bn[use_gating=True]", false),
        ("lora[use_gating=True]", false),
        ("ia3[use_gating=True]", false),
        ("loreft", false),
    ] {
        let bank = bank(&model, &[("a", config)]);
        // A gate of a prefix averages over the whole sequence.
        let packed = positionwise && !config.contains("use_gating");
        assert_eq!(shortcuts(&bank, &Setup::adapter("a"), &LENGTHS), (positionwise, packed), "{config}");
    }
    let bank = bank(&model, &[("a", "seq_bn")]);
    let positionwise = |setup: Setup| shortcuts(&bank, &setup, &LENGTHS).0;
    assert!(!positionwise(Setup::adapter("a").observe_fusions()) && !positionwise(Setup::adapter("a").observe_gates()));
}

#[test]
fn blocks_of_rows_become_blocks_of_positions() {
    let model = Model::new(2, &[0, 1]);
    let bank = bank(&model, &[("a", "seq_bn"), ("b", "seq_bn"), ("deep", "seq_bn[stochastic_depth=0.1]")]);
    let packed = |setup: &Setup, lengths: &[usize]| shortcuts(&bank, setup, lengths).1;
    assert!(packed(&compose("BatchSplit(a, b, batch_sizes=[1, 2])"), &LENGTHS));
    assert!(packed(&compose("Stack(a, b)"), &LENGTHS) && packed(&Setup::base(), &LENGTHS));
    assert!(packed(&Setup::compose(Composition::route([Some("b"), None, Some("a")])), &LENGTHS));
    // Another number of rows, a repeated batch, a sequence that is cut.
    assert!(!packed(&compose("BatchSplit(a, b, batch_sizes=[1, 1])"), &LENGTHS));
    assert!(!packed(&Setup::compose(Composition::route([Some("b")])), &LENGTHS));
    assert!(!packed(&compose("Parallel(a, b)"), &LENGTHS));
    assert!(!packed(&compose("Split(a, b, splits=[5, 4])"), &LENGTHS));
    // Stochastic depth drops whole rows, in training only.
    assert!(packed(&Setup::adapter("deep"), &LENGTHS) && !packed(&Setup::adapter("deep").training(), &LENGTHS));
}

#[test]
fn a_layer_that_runs_several_times_repeats_the_batch_for_a_parallel_once() {
    for (layers, steps) in [(1, vec![0, 0, 0]), (2, vec![0, 0, 1, 1])] {
        let model = Model::new(layers, &steps);
        let bank = bank(&model, &[("a", "seq_bn[reduction_factor=2]"), ("b", "seq_bn[reduction_factor=4]")]);
        let hidden = |setup: &Setup| model.forward(&batch(), &bank.hooks(setup).unwrap()).unwrap().hidden;
        let both = hidden(&compose("Parallel(a, b)"));
        assert_eq!(both.dims(), [6, 9, WIDTH]);
        for (index, name) in ["a", "b"].into_iter().enumerate() {
            let branch = both.clone().narrow(0, 3 * index, 3);
            let far = (branch - hidden(&Setup::adapter(name))).abs().max().into_scalar::<f32>();
            assert!(far < 1e-6, "{name}: {far}");
        }
    }
}

#[test]
fn a_model_that_computes_nothing_or_loses_positions_gives_no_output() {
    let mut model = Model::new(2, &[0, 1]);
    let bank = bank(&model, &[("a", "seq_bn")]);
    let run = |model: &Model, reads| {
        let hooks = bank.hooks(&Setup::adapter("a")).unwrap();
        model.forward_reading(&batch(), &hooks, reads).map(|_| ()).unwrap_err()
    };
    model.fault = Some(Fault::NoEmbeddings);
    assert!(matches!(run(&model, Reads::All), BaseError::NothingComputed));
    model.fault = Some(Fault::FewerPositions);
    assert!(matches!(run(&model, Reads::All), BaseError::Adapter(BankError::Misfit { .. })));
}

#[test]
fn a_row_after_padding_is_the_row_alone() {
    let model = Model::new(1, &[0]);
    let bank = bank(&model, &[("a", "seq_bn[reduction_factor=2]"), ("p", "prompt_tuning[prompt_length=2]")]);
    for name in ["a", "p"] {
        let hooks = bank.hooks(&Setup::adapter(name)).unwrap();
        let row = [5, 9, 2];
        let alone = model.forward(&TokenBatch::new([row.as_slice()]), &hooks).unwrap();
        let after = TokenBatch::new([row.as_slice(), &[1, 2, 3, 4, 5]]).with_starts([2, 0]);
        for reads in [Reads::All, Reads::Tokens] {
            let padded = model.forward_reading(&after, &hooks, reads).unwrap();
            for (at, position) in padded.tokens[0].positions().enumerate() {
                let state =
                    |hidden: &Tensor<3>, position| hidden.clone().slice([0..1, position..position + 1, 0..WIDTH]);
                let found = state(&padded.hidden, position);
                let far = found - state(&alone.hidden, alone.tokens[0].position(at));
                assert!(far.abs().max().into_scalar::<f32>() < 1e-6, "{name} {reads:?}, token {at}");
            }
        }
    }
}
