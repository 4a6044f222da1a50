//! Training, from the outside.

use crate::support::*;
use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use burn_adapters_core::{ModelSpec, Place, Site, StackKind, StackSpec};
use burn_adapters_heads::{HeadConfig, Targets};
use burn_adapters_model::{AdapterBank, BaseError, BaseModel, Limits, Matrices, Pass, Setup};
use burn_adapters_train::tasks::regression::PEARSON;
use burn_adapters_train::*;

#[test]
fn a_training_learns_and_the_history_tells() {
    let _alone = alone();
    let before = evaluate(&bert(), &bank("seq_bn", &head(), 1), &setup(), &data(30, 1), 8).unwrap();
    let config = config().with_epochs(12).with_evaluate_at_start(true);
    let trained = train(config, bank("seq_bn", &head(), 1), &mut ()).unwrap();
    let after = evaluate(&bert(), &trained.bank, &setup(), &data(30, 1), 8).unwrap();
    assert!(after.loss < 0.3 && after.accuracy() > Some(0.9), "{} {:?}", after.loss, after.accuracy());

    let History { steps, evaluations, best } = &trained.history;
    assert_eq!((steps.len(), evaluations.len(), *best), (12 * 8, 13, None));
    assert!((evaluations[0].metric(Metric::LOSS).unwrap() - before.loss).abs() < 1e-6);
    assert!((evaluations[12].metric(Metric::LOSS).unwrap() - after.loss).abs() < 1e-6);
    assert_eq!((steps[0].step, steps[0].epoch, steps[95].step, steps[95].epoch), (1, 1, 96, 12));
    let first_epoch = &steps[..8];
    assert_eq!(first_epoch.iter().map(|step| step.examples).sum::<usize>(), 60);
    let tokens: usize = rows(60, 0).iter().map(|row| row.ids.len()).sum();
    assert_eq!(first_epoch.iter().map(|step| step.tokens).sum::<usize>(), tokens);
    assert!(first_epoch.iter().map(|step| step.positions).sum::<usize>() >= tokens);
    assert_eq!(
        serde_json::from_str::<History>(&serde_json::to_string(&trained.history).unwrap()).unwrap(),
        trained.history
    );
}

#[test]
fn learning_rates_follow_the_schedule() {
    let _alone = alone();
    let config = config().with_epochs(1).with_warmup(Warmup::Steps(2));
    let trained = train(config, bank("seq_bn", &head(), 1), &mut ()).unwrap();
    let rates: Vec<f64> = trained.history.steps.iter().map(|step| step.learning_rate).collect();
    let expected = [0.0, 0.5, 1.0, 5.0 / 6.0, 4.0 / 6.0, 3.0 / 6.0, 2.0 / 6.0, 1.0 / 6.0];
    rates.iter().zip(expected).for_each(|(rate, factor)| assert!((rate - factor * 1e-2).abs() < 1e-9, "{rates:?}"));
}

#[test]
fn only_the_adapter_and_the_head_of_the_setup_change() {
    let _alone = alone();
    let mut bank = bank("seq_bn", &head(), 1);
    bank.add_seeded("other", "lora".parse().unwrap(), 2).unwrap();
    bank.add_head_seeded("other", &head(), 3).unwrap();
    let bert = bert();
    let outputs = |bank: &AdapterBank, name: &str| predict(&bert, bank, &Setup::adapter(name), &data(4, 3), 4).unwrap();
    let before = (outputs(&bank, "task"), outputs(&bank, "other"));
    let (train, config) = (data(60, 0), config().with_epochs(1));
    let trained = Trainer::new(config).train(&bert, bank, &setup(), &train, None, &mut ()).unwrap();
    assert_ne!(outputs(&trained.bank, "task"), before.0);
    assert_eq!(outputs(&trained.bank, "other"), before.1);
}

#[test]
fn accumulated_batches_are_one_large_batch() {
    let _alone = alone();
    let head = head().with_dropout_prob(Some(0.0));
    let run = |batch_size, accumulation| {
        let config = config()
            .with_epochs(1)
            .with_base_dropout(false)
            .with_group_by_length(false)
            .with_batch_size(batch_size)
            .with_accumulation(accumulation);
        train(config, bank("seq_bn", &head, 1), &mut ()).unwrap().history.steps
    };
    let (large, small) = (run(16, 1), run(4, 4));
    assert_eq!((large.len(), small.len()), (4, 4));
    for (large, small) in large.iter().zip(&small) {
        assert!((large.loss - small.loss).abs() < 1e-5, "{} {}", large.loss, small.loss);
        assert!((large.gradient_norm - small.gradient_norm).abs() < 1e-4 * large.gradient_norm);
        assert_eq!(large.examples, small.examples);
    }
}

#[test]
fn layers_can_be_computed_again_in_the_backward_pass() {
    let _alone = alone();
    let head = head().with_dropout_prob(Some(0.0));
    let run = |checkpoint_layers| {
        let config = config().with_epochs(1).with_base_dropout(false).with_checkpoint_layers(checkpoint_layers);
        train(config, bank("seq_bn", &head, 1), &mut ()).unwrap().history.steps
    };
    for (ordinary, again) in run(false).iter().zip(run(true)) {
        assert!((ordinary.loss - again.loss).abs() < 1e-5, "{} {}", ordinary.loss, again.loss);
        assert!((ordinary.gradient_norm - again.gradient_norm).abs() < 1e-4 * ordinary.gradient_norm);
    }
}

#[test]
fn the_base_models_dropout_is_on_and_can_be_turned_off() {
    let _alone = alone();
    let head = head().with_dropout_prob(Some(0.0));
    let first_loss = |base_dropout| {
        let config = config().with_epochs(1).with_base_dropout(base_dropout).with_batch_size(60);
        train(config, bank("seq_bn", &head, 1), &mut ()).unwrap().history.steps[0].loss
    };
    let untrained = evaluate(&bert(), &bank("seq_bn", &head, 1), &setup(), &data(60, 0), 60).unwrap().loss;
    assert!((first_loss(false) - untrained).abs() < 1e-6);
    assert!((first_loss(true) - untrained).abs() > 1e-6);
}

#[test]
fn the_best_epoch_is_given_back() {
    let _alone = alone();
    // Evaluated with each label turned round: the more is learned, the worse.
    let right = data(30, 1);
    let turned = right.rows().iter().map(|row| 1 - row.ids[0] as usize % 2).collect();
    let turned = TokenData::new("turned", right.rows().to_vec(), Some(Targets::Classes(turned))).unwrap();
    let trainer = Trainer::new(config().with_best(Metric::LOSS));
    let bank = bank("seq_bn", &head(), 1);
    let trained = trainer.train(&bert(), bank, &setup(), &data(60, 0), Some(&turned), &mut ()).unwrap();
    let best = trained.history.best.unwrap();
    let losses: Vec<f64> = trained.history.evaluations.iter().map(|e| e.metric(Metric::LOSS).unwrap()).collect();
    let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(best.value, least);
    assert_eq!(losses[best.epoch - 1], least);
    assert!(losses[3] > least, "the last epoch was to be worse: {losses:?}");
    let again = evaluate(&bert(), &trained.bank, &setup(), &turned, 64).unwrap();
    assert!((again.loss - best.value).abs() < 1e-6);
}

#[test]
fn the_start_is_never_the_best_epoch_and_no_gain_over_it_is_told() {
    let _alone = alone();
    // Evaluated with each label turned round: no epoch is as good as the start.
    let right = data(30, 1);
    let turned = right.rows().iter().map(|row| 1 - row.ids[0] as usize % 2).collect();
    let turned = TokenData::new("turned", right.rows().to_vec(), Some(Targets::Classes(turned))).unwrap();
    let config = config().with_best(Metric::LOSS).with_evaluate_at_start(true).with_patience(4);
    let run = |config: TrainConfig, held_out: &TokenData| {
        let bank = bank("seq_bn", &head(), 1);
        Trainer::new(config).train(&bert(), bank, &setup(), &data(60, 0), Some(held_out), &mut ()).unwrap()
    };
    let trained = run(config.clone(), &turned);
    let losses: Vec<f64> = trained.history.evaluations.iter().map(|e| e.metric(Metric::LOSS).unwrap()).collect();
    assert!(losses[1..].iter().all(|loss| *loss > losses[0]), "{losses:?}");
    let best = trained.history.best.unwrap();
    assert!(best.epoch > 0);
    let no_gain = trained.history.no_gain(Metric::LOSS).unwrap();
    assert_eq!((no_gain.start, no_gain.best), (losses[0], Some((best.epoch, best.value))));
    let untrained = evaluate(&bert(), &bank("seq_bn", &head(), 1), &setup(), &turned, 64).unwrap();
    let given = evaluate(&bert(), &trained.bank, &setup(), &turned, 64).unwrap();
    assert!((given.loss - best.value).abs() < 1e-6 && (given.loss - untrained.loss).abs() > 1e-4);
    // The start does not use up patience, either: each epoch here is worse than the one before.
    assert_eq!(trained.history.evaluations.len(), 5);

    assert!(run(config.clone(), &right).history.no_gain(Metric::LOSS).is_none());
    assert!(run(config.with_evaluate_at_start(false), &turned).history.no_gain(Metric::LOSS).is_none());
}

#[test]
fn of_equal_epochs_the_latest_is_given_back() {
    let _alone = alone();
    let config = config().with_learning_rate(1e-12).with_best(Metric::ACCURACY).with_evaluate_at_start(true);
    let trained = train(config, bank("seq_bn", &head(), 1), &mut ()).unwrap();
    let values: Vec<_> = trained.history.evaluations.iter().map(|record| record.metric(Metric::ACCURACY)).collect();
    assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
    assert_eq!(trained.history.best.unwrap().epoch, 4);
    let no_gain = trained.history.no_gain(Metric::ACCURACY).unwrap().to_string();
    assert!(no_gain.starts_with("no epoch was better than the start: accuracy is"), "{no_gain}");
}

#[test]
fn a_training_that_gets_no_better_ends_early() {
    let _alone = alone();
    let config = config().with_epochs(9).with_learning_rate(1e-12).with_best(Metric::ACCURACY).with_patience(2);
    let trained = train(config, bank("seq_bn", &head(), 1), &mut ()).unwrap();
    assert_eq!(trained.stopped, Stopped::Early);
    assert_eq!(trained.history.evaluations.len(), 3);
    // Of equal epochs the latest is the best, but no gain that patience would wait for.
    assert_eq!(trained.history.best.unwrap().epoch, 3);
}

#[test]
fn predictions_come_in_order_and_do_not_depend_on_their_batch() {
    let bank = bank("seq_bn", &head(), 1);
    let data = data(23, 4);
    let together = predict(&bert(), &bank, &setup(), &data, 8).unwrap();
    assert_eq!(together.len(), 23);
    for (index, row) in data.rows().iter().enumerate() {
        let one = TokenData::new("one", vec![row.clone()], None).unwrap();
        let alone = predict(&bert(), &bank, &setup(), &one, 1).unwrap();
        let logits = alone[0].logits.iter().zip(&together[index].logits);
        logits.for_each(|(a, b)| assert!((a - b).abs() < 1e-5, "row {index}: {a} {b}"));
        assert!((alone[0].probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }
}

#[test]
fn several_labels_and_numbers_are_learned_too() {
    let _alone = alone();
    let rows = || rows(60, 0);
    let first = |row: &Row| row.ids[0] as usize;
    let sets = rows().iter().map(|row| vec![(first(row) % 2) as f32, 1.0 - (first(row) % 2) as f32]).collect();
    let numbers = rows().iter().map(|row| first(row) as f32 % 2.0).collect();
    let cases = [
        (HeadConfig::multilabel_classification(2), Targets::Sets(sets), Metric::MACRO_F1, 0.9),
        (HeadConfig::regression(), Targets::Values(numbers), PEARSON, 0.8),
    ];
    for (head, labels, metric, expected) in cases {
        let data = TokenData::new("d", rows(), Some(labels)).unwrap();
        let config = config().with_epochs(15).with_best(metric);
        let bank = bank("seq_bn", &head, 1);
        let trained = Trainer::new(config).train(&bert(), bank, &setup(), &data, Some(&data), &mut ()).unwrap();
        assert!(trained.history.best.unwrap().value > expected, "{metric}: {:?}", trained.history.best);
        let predictions = predict(&bert(), &trained.bank, &setup(), &data, 16).unwrap();
        assert_eq!(predictions[0].probabilities.len(), if metric == PEARSON { 0 } else { 2 });
    }
}

#[test]
fn a_diverged_training_says_at_which_step_and_what_to_do() {
    let _alone = alone();
    let config = config().with_learning_rate(1e30).with_max_gradient_norm(None).with_schedule(Schedule::Constant);
    let error = train(config, bank("seq_bn", &head(), 1), &mut ()).unwrap_err();
    assert!(matches!(error, TrainError::Diverged { step: 2.., .. }), "{error}");
    assert!(error.to_string().contains("try a lower learning rate"), "{error}");
}

#[test]
fn cut_texts_are_told_once_for_each_data_set() {
    let _alone = alone();
    #[derive(Default)]
    struct Count(Vec<Truncation>);
    impl Observer for Count {
        fn truncated(&mut self, truncation: &Truncation) {
            self.0.push(truncation.clone());
        }
    }
    let texts = Dataset::from_classes("texts.csv", [("ab", "even"), ("abcdef", "odd"), ("abcd", "odd")]);
    let bytes = |text: &str, max_length: usize| {
        let row = Row::new(text.bytes().take(max_length).map(|byte| u32::from(byte % 40)).collect());
        Tokenized::new(row, text.len() > max_length)
    };
    let tokens = TokenData::tokenize(&texts, &head(), &bytes, 3).unwrap();
    let mut count = Count::default();
    let config = config().with_epochs(2);
    Trainer::new(config).train(&bert(), bank("seq_bn", &head(), 1), &setup(), &tokens, None, &mut count).unwrap();
    assert_eq!(count.0.len(), 1);
    let message = count.0[0].to_string();
    assert_eq!(message, "texts.csv: 2 of 3 texts are longer than 3 tokens and were cut (the first on line 2)");
}

#[test]
fn what_cannot_be_trained_is_an_error_before_the_first_step() {
    let fails =
        |config: TrainConfig, bank: AdapterBank, setup: &Setup, train: &TokenData, held_out: Option<&TokenData>| {
            Trainer::new(config).train(&bert(), bank, setup, train, held_out, &mut ()).map(|_| ()).unwrap_err()
        };
    let good = || bank("seq_bn", &head(), 1);
    let (set, train) = (setup(), data(10, 0));
    let unlabeled = TokenData::new("plain", rows(3, 0), None).unwrap();

    assert!(matches!(fails(config().with_epochs(0), good(), &set, &train, None), TrainError::BadConfig { .. }));
    assert!(matches!(fails(config(), good(), &set, &unlabeled, None), TrainError::NoLabels { .. }));
    assert!(matches!(fails(config(), good(), &set, &train, Some(&unlabeled)), TrainError::NoLabels { .. }));
    assert!(matches!(fails(config(), good(), &Setup::adapter("none"), &train, None), TrainError::Bank(_)));
    assert!(matches!(fails(config(), good(), &setup().training(), &train, None), TrainError::BadConfig { .. }));
    let best = config().with_best(Metric::LOSS);
    assert!(matches!(fails(best, good(), &set, &train, None), TrainError::NoEvaluationData { .. }));
    let pearson = config().with_best(PEARSON);
    let error = fails(pearson, good(), &set, &train, Some(&train));
    assert_eq!(error.to_string(), "a classification head has no pearson; it has loss, accuracy, macro_f1, micro_f1");
    assert!(matches!(fails(config(), good().valid(), &set, &train, None), TrainError::NotAutodiff));
    let numbers = TokenData::new("d", rows(2, 0), Some(Targets::Values(vec![0.0, 1.0]))).unwrap();
    assert!(matches!(fails(config(), good(), &set, &numbers, None), TrainError::Head(_)));
    let too_long = TokenData::new("d", vec![Row::new(vec![1; 600])], Some(Targets::Classes(vec![0]))).unwrap();
    assert!(matches!(fails(config(), good(), &set, &too_long, None), TrainError::Base(_)));
}

/// A custom model: each token's hidden state is its number, everywhere.
struct Toy(Device, ModelSpec);

impl Toy {
    fn new() -> Self {
        Self(device(), ModelSpec::new("toy", 4).with_stack(StackSpec::encoder(1, 4, 1, 4)))
    }
}

impl Matrices for Toy {
    fn linear(&self, _: Site) -> Option<&Linear> {
        None
    }
}

impl BaseModel for Toy {
    fn spec(&self) -> &ModelSpec {
        &self.1
    }

    fn limits(&self) -> Limits {
        Limits { vocabulary: 50, token_types: 1, sequence: 100, pad_id: 0 }
    }

    fn device(&self) -> Device {
        self.0.clone()
    }

    fn run(&self, pass: &mut Pass<'_>) -> Result<(), BaseError> {
        let ids = pass.ids();
        let [rows, length] = ids.dims();
        pass.embeddings(ids.float().reshape([rows, length, 1]).repeat_dim(2, 4) / 40.0);
        pass.layers(StackKind::Encoder, 0..1, |layer, hidden| {
            let nothing = Tensor::zeros_like(&hidden);
            layer.sublayer(Place::FeedForward, hidden, nothing, None)
        });
        Ok(())
    }
}

#[test]
fn a_model_of_ones_own_takes_a_few_lines() {
    let _alone = alone();
    let mut bank = AdapterBank::new(Toy::new().spec(), &device().autodiff());
    bank.add_seeded("task", "seq_bn[reduction_factor=1]".parse().unwrap(), 1).unwrap();
    bank.add_head_seeded("task", &head(), 1).unwrap();
    let rows = rows(60, 0);
    let labels = rows.iter().map(|row| usize::from(row.ids[0] > 20)).collect();
    let data = TokenData::new("d", rows, Some(Targets::Classes(labels))).unwrap();
    let config = config().with_epochs(20).with_learning_rate(3e-2);
    let trained = Trainer::new(config).train(&Toy::new(), bank, &setup(), &data, None, &mut ()).unwrap();
    let evaluation = evaluate(&Toy::new(), &trained.bank, &setup(), &data, 64).unwrap();
    assert!(evaluation.accuracy() > Some(0.9), "{:?}", evaluation.scores);
}

#[test]
fn class_weights_are_those_of_the_whole_step_however_it_is_cut() {
    let _alone = alone();
    let head = head().with_dropout_prob(Some(0.0));
    let run = |weights: Option<&str>, batch_size, accumulation| {
        let mut config = config()
            .with_epochs(1)
            .with_base_dropout(false)
            .with_group_by_length(false)
            .with_batch_size(batch_size)
            .with_accumulation(accumulation);
        config.class_weights = weights.map(|weights| weights.parse().unwrap());
        train(config, bank("seq_bn", &head, 1), &mut ()).unwrap().history.steps
    };
    let (large, small) = (run(Some("even=5"), 16, 1), run(Some("even=5"), 4, 4));
    for (large, small) in large.iter().zip(&small) {
        assert!((large.loss - small.loss).abs() < 1e-5, "{} {}", large.loss, small.loss);
    }
    assert!((large[0].loss - run(None, 16, 1)[0].loss).abs() > 1e-6);
    let unknown = config().with_class_weights("odd=2,prime=3".parse().unwrap());
    let error = train(unknown, bank("seq_bn", &head, 1), &mut ()).unwrap_err().to_string();
    assert!(error.contains("`prime`") && error.contains("`even`, `odd`"), "{error}");
}

#[test]
fn an_adapter_that_no_gradient_reaches_is_an_error_also_beside_a_head_that_learns() {
    let _alone = alone();
    let train = data(10, 0);
    for bad in ["lora[alpha=0]", "seq_bn[scaling=0.0]"] {
        let result = Trainer::new(config()).train(&bert(), bank(bad, &head(), 1), &setup(), &train, None, &mut ());
        assert!(result.unwrap_err().to_string().contains("cannot learn"), "{bad}");
    }
    let skipped = setup().skip_layers(0..bert().spec().layers());
    let result = Trainer::new(config()).train(&bert(), bank("seq_bn", &head(), 1), &skipped, &train, None, &mut ());
    assert!(result.unwrap_err().to_string().contains("skip_layers"));

    struct Missing(Vec<String>);
    impl Observer for Missing {
        fn without_gradient(&mut self, tensors: &[String]) {
            self.0.extend_from_slice(tensors);
        }
    }
    let mut missing = Missing(Vec::new());
    let partly = setup().skip_layers([0]);
    Trainer::new(config()).train(&bert(), bank("seq_bn", &head(), 1), &partly, &train, None, &mut missing).unwrap();
    assert!(!missing.0.is_empty() && missing.0.iter().all(|path| path.contains("encoder-0-")), "{:?}", missing.0);
    let mut missing = Missing(Vec::new());
    for good in ["seq_bn", "lora", "prefix_tuning", "loreft", "unipelt", "mtl_lora"] {
        Trainer::new(config()).train(&bert(), bank(good, &head(), 1), &setup(), &train, None, &mut missing).unwrap();
        assert!(missing.0.is_empty(), "{good}: {:?}", missing.0);
    }
}
