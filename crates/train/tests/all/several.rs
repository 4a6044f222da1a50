//! Training several adapters at once, each with its own head, and fusions over frozen adapters.

use crate::support::*;
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn_adapters_composition::HeadSetup;
use burn_adapters_fusion::FusionConfig;
use burn_adapters_heads::{HeadConfig, Targets};
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Setup, TokenBatch};
use burn_adapters_train::tasks::regression::PEARSON;
use burn_adapters_train::*;

/// The values of all parameters of a module.
fn parameters<M: Module>(module: &M) -> Vec<f32> {
    struct All(Vec<f32>);
    impl ModuleVisitor for All {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.extend(param.val().into_data().convert::<f32>().try_to_vec::<f32>().unwrap());
        }
    }
    let mut all = All(Vec::new());
    module.visit(&mut all);
    all.0
}

fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && !a.is_empty() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
}

fn still() -> HeadConfig {
    head().with_dropout_prob(Some(0.0))
}

/// A bank with adapters of different methods, which act from different layers on, each with its own head.
fn pair() -> AdapterBank {
    let mut bank = AdapterBank::new(bert().spec(), &device().autodiff());
    for (seed, (name, config)) in
        [("a", "seq_bn[reduction_factor=4,leave_out=[0]]"), ("b", "lora[r=2,init_weights='bert']")]
            .into_iter()
            .enumerate()
    {
        bank.add_seeded(name, config.parse().unwrap(), seed as u64 + 1).unwrap();
        bank.add_head_seeded(name, &still(), seed as u64 + 3).unwrap();
    }
    bank
}

fn compose(text: &str) -> Setup {
    Setup::compose(text.parse().unwrap())
}

/// Without dropout and clipping; with a large epsilon, so that rounding of small gradients does not matter in a step.
fn quiet() -> TrainConfig {
    config()
        .with_base_dropout(false)
        .with_max_gradient_norm(None)
        .with_adamw(AdamWOptions { epsilon: 1e-3, ..AdamWOptions::default() })
}

fn run(config: TrainConfig, bank: AdapterBank, setup: &Setup) -> Trained {
    Trainer::new(config).train(&bert(), bank, setup, &data(60, 0), Some(&data(30, 1)), &mut ()).unwrap()
}

#[test]
fn branches_in_parallel_are_trained_as_if_each_were_alone() {
    let _alone = alone();
    let together = run(quiet().with_epochs(1), pair(), &compose("Parallel(a, b)"));
    let mut losses = 0.0;
    for name in ["a", "b"] {
        let alone = run(quiet().with_epochs(1), pair(), &Setup::adapter(name));
        let (found, expected) = (together.bank.adapter(name).unwrap(), alone.bank.adapter(name).unwrap());
        assert!(close(&parameters(found), &parameters(expected)), "{name}");
        let (found, expected) = (together.bank.head(name).unwrap(), alone.bank.head(name).unwrap());
        assert!(close(&parameters(found), &parameters(expected)), "the head of {name}");
        assert!(!close(&parameters(expected), &parameters(pair().head(name).unwrap())), "{name} was to be trained");
        let (mine, both) = (&alone.history.evaluations[0], &together.history.evaluations[0]);
        for (metric, value) in &mine.metrics {
            assert!((both.heads[name][metric] - value).abs() < 1e-5, "{name}: {metric}");
        }
        losses += mine.metric(Metric::LOSS).unwrap();
    }
    let record = &together.history.evaluations[0];
    assert!((record.metric(Metric::LOSS).unwrap() - losses).abs() < 1e-5, "the loss is the sum");
    let mean = (record.heads["a"]["accuracy"] + record.heads["b"]["accuracy"]) / 2.0;
    assert!((record.metric(Metric::ACCURACY).unwrap() - mean).abs() < 1e-6, "the accuracy is the mean");
    let json = serde_json::to_string(&together.history).unwrap();
    assert_eq!(serde_json::from_str::<History>(&json).unwrap(), together.history);
}

#[test]
fn heads_may_learn_labels_of_their_own() {
    let _alone = alone();
    let mut bank = pair();
    bank.remove_head("b").unwrap();
    bank.add_head_seeded("b", &HeadConfig::regression().with_dropout_prob(Some(0.0)), 9).unwrap();
    let values = |data: &TokenData| Targets::Values(data.rows().iter().map(|row| f32::from(row.ids[0] > 20)).collect());
    let data = data(60, 0);
    let labeled = data.clone().with_head_labels("b", values(&data)).unwrap();
    let setup = compose("Parallel(a, b)");
    let config = config().with_epochs(25).with_best(Metric::LOSS);
    let trained = Trainer::new(config).train(&bert(), bank, &setup, &labeled, Some(&labeled), &mut ()).unwrap();
    let scores = evaluate_heads(&bert(), &trained.bank, &setup, &labeled, 16, &mut |_, _| {}).unwrap();
    assert_eq!(scores.iter().map(|score| score.head.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(scores[0].evaluation.accuracy() > Some(0.8), "{:?}", scores[0]);
    assert!(scores[1].evaluation.metric(PEARSON) > Some(0.7), "{:?}", scores[1]);
    // Metrics that not all heads have are not there for all together.
    let record = trained.history.evaluations.last().unwrap();
    assert!(record.metric(Metric::ACCURACY).is_none() && record.heads["a"].contains_key("accuracy"));
    // The logits alone tell the same.
    let head = trained.bank.head("b").unwrap();
    let again = Evaluation::new(head, scores[1].evaluation.logits.clone(), &values(&data)).unwrap();
    assert!((again.loss - scores[1].evaluation.loss).abs() < 1e-5 && again.scores == scores[1].evaluation.scores);
    let trainer = Trainer::new(self::config().with_best(Metric::ACCURACY));
    let error = trainer.train(&bert(), trained.bank, &setup, &labeled, Some(&labeled), &mut ()).unwrap_err();
    assert!(matches!(error, TrainError::NoSuchMetric { .. }), "{error}");
    assert!(data.with_head_labels("b", Targets::Values(vec![1.0])).is_err());
}

#[test]
fn dropped_layers_are_not_trained() {
    let _alone = alone();
    let setup = Setup::adapter("b").skip_layers([0]);
    let (before, after) = (pair(), run(quiet().with_epochs(1), pair(), &setup).bank);
    let lora = |bank: &AdapterBank, layer: usize| {
        let sites = bank.adapter("b").unwrap().lora.iter().filter(|(site, _)| site.layer == layer);
        sites.flat_map(|(_, lora)| parameters(lora)).collect::<Vec<_>>()
    };
    assert_eq!(lora(&before, 0), lora(&after, 0));
    assert_ne!(lora(&before, 1), lora(&after, 1));
}

#[test]
fn a_fusion_is_trained_over_frozen_adapters_and_resumes_with_its_temperature() {
    let _alone = alone();
    let bank = || {
        let mut bank = AdapterBank::new(bert().spec(), &device().autodiff());
        for (seed, name) in ["a", "b"].into_iter().enumerate() {
            bank.add_seeded(name, "seq_bn[reduction_factor=4]".parse().unwrap(), seed as u64).unwrap();
        }
        bank.add_head_seeded("joint", &head(), 5).unwrap();
        bank.add_fusion("a,b", &["a", "b"], &FusionConfig::dynamic().with_temperature(true), 6).unwrap();
        bank
    };
    let setup = compose("Fuse(a, b)").with_head("joint").train_fusions();
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let with = |folder: &std::path::Path| config().with_best(Metric::LOSS).with_checkpoints(folder);
    let trained = run(with(whole.path()), bank(), &setup);
    for name in ["a", "b"] {
        assert_eq!(parameters(trained.bank.adapter(name).unwrap()), parameters(bank().adapter(name).unwrap()));
    }
    assert_ne!(parameters(trained.bank.fusion("a,b").unwrap()), parameters(bank().fusion("a,b").unwrap()));
    assert_ne!(parameters(trained.bank.head("joint").unwrap()), parameters(bank().head("joint").unwrap()));

    let temperature = |bank: &AdapterBank| bank.fusion("a,b").unwrap().layers.values().next().unwrap().temperature;
    let best = trained.history.best.unwrap().step;
    assert!((temperature(&trained.bank) - (50.0 - 0.05 * best as f64)).abs() < 1e-9);
    let mut stop = StopAfter { evaluations: Some(2), ..StopAfter::default() };
    let (train, held_out) = (data(60, 0), data(30, 1));
    Trainer::new(with(parts.path())).train(&bert(), bank(), &setup, &train, Some(&held_out), &mut stop).unwrap();
    let rest = run(with(parts.path()).with_resume(true), bank(), &setup);
    assert_eq!(rest.history, trained.history);
    assert_eq!(parameters(rest.bank.fusion("a,b").unwrap()), parameters(trained.bank.fusion("a,b").unwrap()));
    assert_eq!(temperature(&rest.bank), temperature(&trained.bank));
}

#[test]
fn heads_that_do_not_fit_are_errors_that_say_what_to_do() {
    let fails = |setup: &Setup| {
        Trainer::new(config()).train(&bert(), pair(), setup, &data(10, 0), None, &mut ()).map(drop).unwrap_err()
    };
    let by_rows = compose("BatchSplit(a, b, batch_sizes=[4, 4])");
    assert!(matches!(fails(&by_rows), TrainError::HeadsOfRows));
    let one = compose("Parallel(a, b)").with_head("a");
    assert!(fails(&one).to_string().contains("name one for each branch"));
    let none = compose("Average(b, b)");
    assert!(fails(&none).to_string().contains("names no head"), "{}", fails(&none));
    let error = evaluate(&bert(), &pair(), &compose("Parallel(a, b)"), &data(4, 0), 4).unwrap_err();
    assert!(matches!(&error, TrainError::SeveralHeads { heads } if heads == &["a", "b"]), "{error}");
    assert!(error.to_string().contains("evaluate_heads"));
    // One head for two branches has the losses of both, and two names.
    let twice = compose("Parallel(Stack(b, a), a)").with_head(HeadSetup::several(["a", "a"]));
    let scores = evaluate_heads(&bert(), &pair(), &twice, &data(4, 0), 4, &mut |_, _| {}).unwrap();
    assert_eq!(scores.iter().map(|score| score.head.as_str()).collect::<Vec<_>>(), ["a", "a:2"]);
}

#[test]
fn what_lies_below_all_branches_runs_once_and_outside_of_the_graph() {
    let _alone = alone();
    let mut bank = AdapterBank::new(bert().spec(), &device().autodiff());
    for name in ["a", "b"] {
        bank.add_seeded(name, "seq_bn[leave_out=[0]]".parse().unwrap(), 1).unwrap();
    }
    let setup = compose("Parallel(a, b)").training();
    bank.train_only(&setup).unwrap();
    let rows = rows(3, 0);
    let batch = TokenBatch::from_rows(&rows);
    let states = bert().hidden_states(&batch, &bank.hooks(&setup).unwrap()).unwrap();
    // After the embeddings, the lower and the upper layer.
    assert_eq!(states.iter().map(|state| state.dims()[0]).collect::<Vec<_>>(), [3, 3, 6]);
    assert!(!states[0].is_autodiff() && !states[1].is_autodiff(), "the lower part must have no graph");
    assert!(states[2].is_tracked());
}
