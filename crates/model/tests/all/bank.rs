//! The bank: what is added, found, trained; and what is refused.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Tensor};
use burn_adapters_config::AdapterConfig;
use burn_adapters_core::{Place, Site};
use burn_adapters_model::{AdapterBank, BankError, BuildError, Hooks, MergedModel, Setup};

use crate::common::{Model, WIDTH, input, values};

fn config(text: &str) -> AdapterConfig {
    text.parse().unwrap()
}

fn bank() -> (Model, AdapterBank) {
    let device = Device::default();
    let model = Model::new(2, &device);
    let bank = AdapterBank::new(model.spec(), &device.autodiff());
    (model, bank)
}

#[test]
fn adding_reports_every_site_and_parameter() {
    let (_, mut bank) = bank();
    let report = bank.add("a", config("double_seq_bn[reduction_factor=4]|lora[r=2]")).unwrap();
    assert_eq!(report.entries.len(), 4 + 4);
    let bottleneck = WIDTH * 2 + 2 + 2 * WIDTH + WIDTH;
    let lora = WIDTH * 2 + 2 * WIDTH;
    assert_eq!(report.parameters(), 4 * bottleneck + 4 * lora);
    assert_eq!(report.parameters(), bank.adapter("a").unwrap().parameters());
    let printed = report.to_string();
    assert!(printed.contains("encoder.1.feed_forward"), "{printed}");
}

#[test]
fn with_nothing_active_a_pass_is_the_plain_model() {
    let (model, mut bank) = bank();
    bank.add("a", config("double_seq_bn")).unwrap();
    let plain = values(model.forward(input(1, 2), &Hooks::none()));
    assert_eq!(plain, values(model.forward(input(1, 2), &bank.hooks(&Setup::base()).unwrap())));
}

#[test]
fn a_configuration_that_would_train_nothing_is_an_error() {
    let (_, mut bank) = bank();
    let mut error = |text: &str| bank.add("a", config(text)).unwrap_err();
    assert!(
        matches!(error("lora[attn_matrices=['qq']]"), BankError::Build(BuildError::UnknownMatrix { name, .. }) if name == "qq")
    );
    assert!(matches!(error("lora[attn_matrices=['q', 'qq']]"), BankError::Build(BuildError::UnknownMatrix { .. })));
    assert!(matches!(error("lora[gate_lora=True]"), BankError::Build(BuildError::NoGate { .. })));
    let mut spec = Model::new(2, &Device::default()).spec();
    spec.stacks[0].biases.clear();
    let unbiased = AdapterBank::new(spec, &Device::default()).add("a", config("lora[bias='base']")).unwrap_err();
    assert!(matches!(unbiased, BankError::Build(BuildError::NoBias { .. })));
    assert!(matches!(error("seq_bn[leave_out=[0, 1]]"), BankError::Config(_)));
    assert!(matches!(
        error("seq_bn[output_adapter=False,cross_adapter=True]"),
        BankError::Build(BuildError::NothingToTrain { .. })
    ));
    // What trains nothing on any model is refused before a model is in sight.
    for text in ["lora[attn_matrices=[]]", "lora[selfattn_lora=False]", "seq_bn[output_adapter=False]"] {
        assert!(text.parse::<AdapterConfig>().is_err(), "{text}");
    }
    let unknown = error("seq_bn[leave_out=[2]]").to_string();
    assert!(unknown.contains("layer 2") && unknown.contains("2 layers"), "{unknown}");
    assert!(matches!(error("seq_bn[reduction_factor={'0': 2}]"), BankError::Config(_)));
    assert_eq!(bank.names().count(), 0);
}

#[test]
fn a_place_that_the_model_lacks_beside_others_is_noted() {
    let (_, mut bank) = bank();
    let report = bank.add("a", config("seq_bn[cross_adapter=True]")).unwrap();
    assert!(report.notes[0].contains("cross_adapter"), "{:?}", report.notes);
    let report = bank.add("b", config("seq_bn[reduction_factor={'5': 2, 'default': 4}]")).unwrap();
    assert!(report.notes[0].contains("layer 5"), "{:?}", report.notes);
}

#[test]
fn names_are_checked() {
    let (_, mut bank) = bank();
    bank.add("a", config("seq_bn")).unwrap();
    assert_eq!(bank.add("a", config("lora")).unwrap_err(), BankError::Duplicate { name: "a".into() });
    for name in ["", "a.b", "a\nb"] {
        assert_eq!(bank.add(name, config("lora")).unwrap_err(), BankError::BadName { name: name.into() });
    }
    let error = bank.hooks(&Setup::adapter("b")).unwrap_err();
    assert_eq!(error, BankError::UnknownAdapter { name: "b".into(), known: vec!["a".into()] });
    assert!(bank.hooks(&Setup::adapter("a").skip_layers([7])).is_err());
    bank.remove("a").unwrap();
    assert!(bank.remove("a").is_err());
}

#[test]
fn training_changes_exactly_the_active_adapter() {
    let (model, mut bank) = bank();
    bank.add_seeded("a", config("double_seq_bn"), 1).unwrap();
    bank.add_seeded("b", config("lora[init_weights='bert']|seq_bn"), 2).unwrap();
    let setup = Setup::adapter("b").training();
    let trained = bank.train_only(&setup).unwrap();
    assert_eq!(trained, bank.adapter("b").unwrap().parameters());
    let summary = bank.summary();
    assert_eq!(summary.adapters.iter().map(|row| row.trained).collect::<Vec<_>>(), [false, true]);

    let output = model.forward(input(1, 2), &bank.hooks(&setup).unwrap());
    let gradients = GradientsParams::from_grads(output.powi_scalar(2).mean().backward(), &bank);
    let before = bank.clone();
    let bank = SgdConfig::new().init().step(0.1, bank, gradients);
    let changed = |name: &str| {
        let (old, new) = (tensors(before.adapter(name).unwrap()), tensors(bank.adapter(name).unwrap()));
        old.iter().zip(&new).map(|(old, new)| old != new).collect::<Vec<_>>()
    };
    assert!(changed("a").iter().all(|changed| !changed));
    assert!(changed("b").iter().all(|changed| *changed), "{:?}", changed("b"));
}

#[test]
fn a_bias_of_the_model_starts_as_it_is_and_is_trained_and_merged() {
    for kind in ["base", "update"] {
        let (model, mut bank) = bank();
        let text = format!("lora[bias='{kind}',intermediate_lora=True,alpha=16]");
        if kind == "base" {
            let error = bank.add("a", config(&text)).unwrap_err().to_string();
            assert!(error.contains("a bias of the model at encoder.0.query"), "{error}");
        }
        bank.add_for(&model, "a", config(&text), 1).unwrap();
        let plain = values(model.forward(input(1, 2), &Hooks::none()));
        let run = |bank: &AdapterBank, setup: &Setup| model.forward(input(1, 2), &bank.hooks(setup).unwrap());
        let largest = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert_eq!(values(run(&bank, &Setup::adapter("a"))), plain);
        let setup = Setup::adapter("a").training();
        bank.train_only(&setup).unwrap();
        let loss = run(&bank, &setup).powi_scalar(4).mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &bank);
        let bank = SgdConfig::new().init().step(0.1, bank, gradients);
        let lora = bank.adapter("a").unwrap().lora.get(&Site::encoder(0, Place::Query)).unwrap();
        let bias: Vec<f32> = lora.bias.as_ref().unwrap().vector.val().into_data().try_to_vec().unwrap();
        let own: Vec<f32> = model.layers[0].query.bias.as_ref().unwrap().val().into_data().try_to_vec().unwrap();
        let zeros = vec![0.0; own.len()];
        assert!(largest(&bias, if kind == "base" { &own } else { &zeros }) > 1e-4);
        let trained = values(run(&bank, &Setup::adapter("a")));
        assert!(largest(&trained, &plain) > 1e-3);
        let merged = MergedModel::merge(model, bank.adapter("a").unwrap()).unwrap();
        assert!(largest(&values(merged.forward(input(1, 2), &Hooks::none())), &trained) < 1e-5);
        assert_eq!(values(merged.unmerge().forward(input(1, 2), &Hooks::none())), plain);
    }
}

#[test]
fn no_gradient_is_computed_below_the_lowest_trained_site() {
    let (model, mut bank) = bank();
    bank.add("upper", config("seq_bn[leave_out=[0]]")).unwrap();
    let setup = Setup::adapter("upper").training();
    bank.train_only(&setup).unwrap();
    let x = input(1, 2);
    let hooks = bank.hooks(&setup).unwrap();
    let lower = Model { layers: model.layers[..1].to_vec() }.forward(x, &hooks);
    assert!(!lower.is_autodiff(), "the frozen lower part must stay outside of the graph");
}

#[test]
fn skipped_layers_run_without_the_adapter() {
    let (model, mut bank) = bank();
    bank.add_seeded("a", config("seq_bn[reduction_factor=2]"), 1).unwrap();
    let run = |setup: Setup| values(model.forward(input(1, 2), &bank.hooks(&setup).unwrap()));
    assert_eq!(run(Setup::adapter("a").skip_layers([0, 1])), run(Setup::base()));
    assert_ne!(run(Setup::adapter("a").skip_layers([0])), run(Setup::base()));
}

#[test]
fn gates_are_observed_when_asked_for() {
    let (model, mut bank) = bank();
    bank.add("a", config("seq_bn[use_gating=True]|lora[use_gating=True]")).unwrap();
    let hooks = bank.hooks(&Setup::adapter("a").observe_gates()).unwrap();
    model.forward(input(1, 3), &hooks);
    let gates = &hooks.observed().gates["a"];
    // Two layers, with a bottleneck and two matrices each.
    assert_eq!(gates.len(), 6);
    for gate in gates.values() {
        assert_eq!(gate.dims(), [3, 1, 1]);
        assert!(values(gate.clone()).iter().all(|value| (0.0..1.0).contains(value)));
    }
    let hooks = bank.hooks(&Setup::adapter("a")).unwrap();
    model.forward(input(1, 3), &hooks);
    assert!(hooks.observed().gates.is_empty());
}

#[test]
fn merged_equals_unmerged_and_unmerging_is_exact() {
    let (model, mut bank) = bank();
    let text = "lora[init_weights='bert',intermediate_lora=True,output_lora=True,alpha=40,attn_matrices=['q','v']]";
    bank.add_seeded("a", config(text), 1).unwrap();
    bank.add_seeded("b", config("seq_bn"), 1).unwrap();
    let before = values(model.forward(input(1, 2), &Hooks::none()));
    let unmerged = values(model.forward(input(1, 2), &bank.hooks(&Setup::adapter("a")).unwrap()));
    let merged = MergedModel::merge(model, bank.adapter("a").unwrap()).unwrap();
    let output = values(merged.forward(input(1, 2), &Hooks::none()));
    let difference = output.iter().zip(&unmerged).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(difference < 1e-4, "{difference}");
    assert!(output.iter().zip(&before).any(|(a, b)| (a - b).abs() > 1e-3));
    let model = merged.unmerge();
    assert_eq!(values(model.forward(input(1, 2), &Hooks::none())), before);

    let failure = MergedModel::merge(model, bank.adapter("b").unwrap()).unwrap_err();
    assert!(matches!(failure.error, BankError::NotMergeable { .. }));
    assert_eq!(values(failure.model.forward(input(1, 2), &Hooks::none())), before);
}

#[test]
fn every_method_of_matrices_merges_with_its_scaling() {
    // DoRA's norm is without `alpha / r`, its update is not.
    for text in [
        "dora[r=2,alpha=6,init_weights='bert',intermediate_lora=True,attn_matrices=['q','v']]",
        "vera[r=4,alpha=12,vera_b=0.5,intermediate_lora=True]",
        "dvora[r=4,alpha=12,vera_b=0.5,intermediate_lora=True]",
        "mtl_lora[r=2,alpha=6,n_up_projection=2,init_weights='bert',intermediate_lora=True]",
        "ia3[alpha=1.5,attn_matrices=['q','v']]",
    ] {
        let (model, mut bank) = bank();
        bank.add_for(&model, "a", config(text), 1).unwrap();
        let before = values(model.forward(input(1, 2), &Hooks::none()));
        let unmerged = values(model.forward(input(1, 2), &bank.hooks(&Setup::adapter("a")).unwrap()));
        let merged = MergedModel::merge(model, bank.adapter("a").unwrap()).unwrap();
        let output = values(merged.forward(input(1, 2), &Hooks::none()));
        let largest = |other: &[f32]| output.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest(&unmerged) < 1e-4, "{text}: {}", largest(&unmerged));
        assert!(largest(&before) > 1e-3, "{text}");
        assert_eq!(values(merged.unmerge().forward(input(1, 2), &Hooks::none())), before, "{text}");
    }
}

fn tensors(module: &impl Module) -> Vec<Vec<f32>> {
    struct All(Vec<Vec<f32>>);
    impl ModuleVisitor for All {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(param.val().into_data().try_to_vec().unwrap());
        }
    }
    let mut all = All(Vec::new());
    module.visit(&mut all);
    all.0
}

// One base and one bank, used by many threads at once.

#[test]
fn eight_threads_with_four_adapters_compute_what_each_computes_alone() {
    let device = Device::default();
    let model = Model::new(2, &device);
    let mut bank = AdapterBank::new(model.spec(), &device);
    let configs = ["seq_bn", "double_seq_bn", "lora[init_weights='bert']", "par_bn[init_weights='bert']"];
    for (i, config) in configs.iter().enumerate() {
        bank.add_seeded(&format!("adapter {i}"), config.parse().unwrap(), i as u64).unwrap();
    }
    let run = |thread: usize| {
        let hooks = bank.hooks(&Setup::adapter(format!("adapter {}", thread % 4))).unwrap();
        values(model.forward(input(thread as u64, 2), &hooks))
    };
    let alone: Vec<_> = (0..8).map(run).collect();
    let together: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                scope.spawn(move || std::iter::repeat_with(|| run(thread)).take(5).fold(Vec::new(), |_, last| last))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(alone, together);
}
