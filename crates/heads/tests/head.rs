//! Heads, from outside.
#![allow(clippy::unwrap_used)]

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use burn_adapters_config::Activation;
use burn_adapters_core::{Fill, Init, Mode, Output, Reads, TokenSpan};
use burn_adapters_heads::{
    Head, HeadConfig, HeadError, HeadType, Logits, TASKS, Targets, Transform, binary_cross_entropy, reference_names,
    task_named,
};
use serde_json::json;

fn head(config: &HeadConfig) -> Head {
    Head::new(config, 4, &mut Init::from_seed(1), &Device::default()).unwrap()
}

fn tensor<const D: usize, const N: usize>(values: [f32; N], shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), &Device::default())
}

fn random(seed: u64) -> Tensor<3> {
    Init::from_seed(seed).param([2, 3, 4], Fill::Normal { std: 1.0 }, &Device::default()).val()
}

fn loss(config: HeadConfig, logits: Tensor<2>, labels: Targets) -> f32 {
    head(&config).loss(&Logits::of_rows(logits), &labels).unwrap().into_scalar::<f32>()
}

/// Hidden states of rows without padding.
fn output(hidden: Tensor<3>, pooled: Option<Tensor<2>>) -> Output {
    let [rows, positions, _] = hidden.dims();
    Output::new(hidden, vec![positions; rows]).with_pooled(pooled)
}

fn run(head: &Head, hidden: Tensor<3>, mode: Mode) -> Tensor<2> {
    head.forward(&output(hidden, None), mode).unwrap().into_values()
}

#[test]
fn the_default_head_has_the_layers_of_the_reference() {
    let head = head(&HeadConfig::classification(3));
    assert_eq!(Module::num_params(&head), 4 * 4 + 4 + 4 * 3 + 3);
    let names: Vec<String> = head.reference_names("x").into_iter().map(|name| name.reference).collect();
    assert_eq!(names, ["heads.x.1.weight", "heads.x.1.bias", "heads.x.4.weight", "heads.x.4.bias"]);
}

#[test]
fn without_an_activation_the_layers_move_up() {
    let config = HeadConfig::regression().with_layers(3).with_activation_function(None).with_bias(false);
    let names: Vec<String> = reference_names(&config, "x").into_iter().map(|name| name.reference).collect();
    assert_eq!(names, ["heads.x.1.weight", "heads.x.1.bias", "heads.x.3.weight", "heads.x.3.bias", "heads.x.5.weight"]);
}

#[test]
fn a_new_head_is_drawn_as_bert_is() {
    let head = Head::new(&HeadConfig::classification(200), 300, &mut Init::from_seed(1), &Device::default()).unwrap();
    let weight = head.output.weight.val();
    let std = (weight.clone() * weight).mean().sqrt().into_scalar::<f32>();
    assert!((std - 0.02).abs() < 3e-4, "{std}");
    assert_eq!(head.output.bias.unwrap().val().abs().max().into_scalar::<f32>(), 0.0);
}

#[test]
fn the_first_token_is_read_unless_the_pooler_is_asked_for() {
    let hidden = random(2);
    let first = hidden.clone().slice([0..2, 0..1, 0..4]).reshape([2, 4]);
    let plain = head(&HeadConfig::classification(3));
    let from_hidden = run(&plain, hidden.clone(), Mode::Inference);
    let from_first = plain.forward_vector(first.clone(), Mode::Inference).unwrap();
    assert_eq!(from_hidden.into_data(), from_first.clone().into_data());

    let pooled = head(&HeadConfig::classification(3).with_use_pooler(true));
    let logits = pooled.forward(&output(hidden.clone(), Some(first)), Mode::Inference).unwrap().into_values();
    assert_eq!(logits.into_data(), from_first.into_data());
    assert_eq!(pooled.forward(&output(hidden, None), Mode::Inference).unwrap_err(), HeadError::NoPooledOutput);
}

#[test]
fn dropout_acts_in_training_only_and_comes_from_the_model_where_the_head_has_none() {
    let own = HeadConfig::classification(3).with_dropout_prob(Some(0.25));
    assert_eq!(head(&own).with_model_dropout(0.5).dropout, 0.25);
    let left = head(&HeadConfig::classification(3)).with_model_dropout(1.0);
    let hidden = random(2);
    let at_rest = run(&left, hidden.clone(), Mode::Inference);
    assert!(at_rest.abs().max().into_scalar::<f32>() > 0.0);
    let trained = run(&left, hidden, Mode::Training);
    assert_eq!(trained.abs().max().into_scalar::<f32>(), 0.0);
}

#[test]
fn losses_equal_those_of_pytorch() {
    // Values of torch 2: CrossEntropyLoss, BCEWithLogitsLoss and MSELoss on these logits.
    let logits = || tensor([1.0, -2.0, 0.5, 30.0, -40.0, 0.0], [2, 3]);
    let near = |found: f32, expected: f32| assert!((found - expected).abs() < 1e-5 * expected.abs(), "{found}");
    near(loss(HeadConfig::classification(3), logits(), Targets::Classes(vec![2, 1])), 35.5023);
    let sets = Targets::Sets(vec![vec![1.0, 0.0, 1.0], vec![0.0, 1.0, 0.0]]);
    near(loss(HeadConfig::multilabel_classification(3), logits(), sets), 11.9346);
    let values = Targets::Values(vec![0.25, -3.0]);
    near(loss(HeadConfig::regression(), tensor([1.5, -2.0], [2, 1]), values), 1.28125);
}

#[test]
fn a_label_out_of_range_or_of_another_kind_is_an_error() {
    let classifier = head(&HeadConfig::classification(3));
    let logits = Logits::of_rows(tensor([0.0; 6], [2, 3]));
    assert_eq!(
        classifier.loss(&logits, &Targets::Classes(vec![0, 3])).unwrap_err(),
        HeadError::LabelOutOfRange { row: 1, label: 3, labels: 3 }
    );
    let count = classifier.loss(&logits, &Targets::Classes(vec![0])).unwrap_err();
    assert_eq!(count, HeadError::LabelCount { rows: 2, labels: 1 });
    let kind = classifier.loss(&logits, &Targets::Values(vec![0.0, 1.0])).unwrap_err();
    assert!(kind.to_string().contains("a classification head"), "{kind}");
    assert!(matches!(
        classifier.forward_vector(Tensor::zeros([2, 5], &Device::default()), Mode::Inference),
        Err(HeadError::Shape { .. })
    ));
}

#[test]
fn one_label_is_a_number() {
    assert_eq!(HeadConfig::classification(1).task().name(), "regression");
    assert_eq!(HeadConfig::multilabel_classification(1).task().name(), "multilabel");
    assert_eq!(HeadConfig::classification(2).task().name(), "classification");
}

#[test]
fn labels_have_names() {
    let config = HeadConfig::classification(2).with_labels(["neg", "pos"]);
    assert_eq!(config.label_of(1), "pos");
    assert_eq!(config.id_of("neg"), Some(0));
    assert_eq!(config.id_of("LABEL_0"), None);
    let unnamed = HeadConfig { label2id: None, ..config };
    assert_eq!(unnamed.labels(), ["LABEL_0", "LABEL_1"]);
}

#[test]
fn the_dictionary_is_the_references_key_for_key() {
    let config = HeadConfig::classification(2);
    let value = json!({
        "head_type": "classification", "num_labels": 2, "layers": 2, "activation_function": "tanh",
        "label2id": {"LABEL_0": 0, "LABEL_1": 1}, "use_pooler": false, "bias": true, "dropout_prob": null,
    });
    assert_eq!(config.to_json_value(), value);
    assert_eq!(serde_json::from_value::<HeadConfig>(value).unwrap(), config);
}

#[test]
fn what_old_files_leave_out_gets_the_references_defaults() {
    let value = json!({"head_type": "multilabel_classification", "num_labels": 3, "activation_function": null,
                       "label2id": {"a": "0", "b": 1, "c": 2}});
    let config = HeadConfig::from_json_value(&value).unwrap();
    let expected = HeadConfig::multilabel_classification(3)
        .with_labels(["a", "b", "c"])
        .with_activation_function(None::<Activation>);
    assert_eq!(config, expected);
}

#[test]
fn a_wrong_dictionary_is_an_error_that_names_the_key() {
    let base = HeadConfig::classification(2).to_json_value();
    let cases = [
        ("num_labels", json!(0)),
        ("num_labels", json!("2")),
        ("num_labels", json!(u64::MAX)),
        ("layers", json!(0)),
        ("layers", json!(-1)),
        ("dropout_prob", json!(1.5)),
        ("activation_function", json!("tanhh")),
        ("head_type", json!("image_classification")),
        ("use_pooler", json!(1)),
        ("color", json!(1)),
        ("label2id", json!({"a": 0, "b": 2})),
        ("label2id", json!({"a": 0, "b": 0})),
    ];
    for (key, wrong) in cases {
        let mut value = base.clone();
        value.as_object_mut().unwrap().insert(key.into(), wrong.clone());
        let error = HeadConfig::from_json_value(&value).unwrap_err().to_string();
        let named = error.contains(key) || error.contains("label `") || error.contains("head type");
        assert!(named, "{key}={wrong}: {error}");
    }
    assert!(HeadConfig::from_json_value(&json!([])).is_err());
}

/// Logits, of which PyTorch gave the losses and gradients below.
const LOGITS: [f32; 12] = [0.5, -1.25, 2.0, 1.5, 0.25, -0.75, -0.5, 0.0, 0.75, 2.0, 1.0, -1.0];

fn weighted(config: HeadConfig, labels: Targets) -> (f32, Vec<f32>) {
    let device = Device::default().autodiff();
    let logits = Tensor::<2>::from_data(TensorData::new(LOGITS.to_vec(), [4, 3]), &device).require_grad();
    let loss = head(&config).weighted_loss(&Logits::of_rows(logits.clone()), &labels, &[0.5, 2.0, 4.0]).unwrap();
    let value = loss.clone().into_scalar::<f32>();
    let gradients = loss.backward();
    (value, logits.grad(&gradients).unwrap().into_data().iter::<f32>().collect())
}

fn assert_close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).for_each(|(a, b)| assert!((a - b).abs() < 1e-6, "{found:?} is not {expected:?}"));
}

#[test]
fn weighted_classes_have_the_loss_and_gradients_of_pytorch() {
    // torch.nn.CrossEntropyLoss(weight=[0.5, 2, 4])
    let (loss, gradients) = weighted(HeadConfig::classification(3), Targets::Classes(vec![2, 0, 1, 0]));
    assert_close(&[loss], &[0.557_096_4]);
    let expected = [
        0.101_040_1,
        0.017_558_14,
        -0.118_598_26,
        -0.020_111_404,
        0.014_702_615,
        0.005_408_79,
        0.046_540_372,
        -0.208_982_2,
        0.162_441_83,
        -0.021_043_962,
        0.018_535_463,
        0.002_508_502,
    ];
    assert_close(&gradients, &expected);
}

#[test]
fn weighted_labels_have_the_loss_and_gradients_of_pytorch() {
    // torch.nn.BCEWithLogitsLoss(pos_weight=[0.5, 2, 4])
    let sets = vec![vec![1.0, 0.0, 1.0], vec![0.0, 0.0, 1.0], vec![1.0, 1.0, 0.0], vec![0.0; 3]];
    let (loss, gradients) = weighted(HeadConfig::multilabel_classification(3), Targets::Sets(sets));
    assert_close(&[loss], &[1.236_264_3]);
    let expected = [
        -0.015_730_86,
        0.018_558_344,
        -0.039_734_323,
        0.068_131_2,
        0.046_848_044,
        -0.226_392_9,
        -0.025_935_804,
        -0.083_333_336,
        0.056_598_227,
        0.073_399_75,
        0.060_921_55,
        0.022_411_786,
    ];
    assert_close(&gradients, &expected);
}

#[test]
fn weights_must_be_numbers_above_0_one_for_each_label() {
    let logits = || Logits::of_rows(tensor([0.0; 6], [2, 3]));
    let classifier = head(&HeadConfig::classification(3));
    let labels = Targets::Classes(vec![0, 1]);
    for weights in [&[1.0, 1.0][..], &[1.0, 0.0, 1.0], &[1.0, f32::NAN, 1.0], &[1.0, f32::INFINITY, 1.0]] {
        assert!(matches!(classifier.weighted_loss(&logits(), &labels, weights), Err(HeadError::BadValue { .. })));
    }
    let regression = head(&HeadConfig::regression());
    assert!(
        regression
            .weighted_loss(&Logits::of_rows(tensor([0.0; 2], [2, 1])), &Targets::Values(vec![0.0, 1.0]), &[1.0])
            .is_err()
    );
}

#[test]
fn labels_are_found_by_name_and_number_in_time_linear_in_their_number() {
    let names: Vec<String> = (0..60_000).map(|id| format!("name {id}")).collect();
    let config = HeadConfig::classification(names.len()).with_labels(names.clone());
    assert_eq!(config.labels(), names);
    assert_eq!((config.id_of("name 59999"), config.id_of("LABEL_1"), config.id_of("x")), (Some(59_999), None, None));
    let mut partly = HeadConfig::classification(3);
    partly.label2id = Some([("b".to_owned(), 1)].into_iter().collect());
    assert_eq!(partly.labels(), ["LABEL_0", "b", "LABEL_2"]);
    assert_eq!((partly.id_of("LABEL_2"), partly.id_of("LABEL_1"), partly.id_of("b")), (Some(2), None, Some(1)));
}

#[test]
fn the_gradient_of_binary_cross_entropy_at_zero_is_half_minus_the_target() {
    let device = Device::default();
    let logits = Tensor::<2>::zeros([1, 2], &device.clone().autodiff()).require_grad();
    let loss = binary_cross_entropy(logits.clone(), Tensor::from_data([[0.0, 1.0]], &device));
    let gradient = logits.grad(&loss.backward()).unwrap().into_data().convert::<f32>().try_to_vec::<f32>().unwrap();
    assert_eq!(gradient, [0.25, -0.25], "the mean over two labels");
}

#[test]
fn every_task_stands_in_the_registry_under_its_own_name_and_head_type() {
    for task in TASKS {
        assert_eq!(task_named(task.name()), Some(task));
        assert_eq!(HeadType::named(task.head_type().name()), Some(task.head_type()));
    }
    let names = [
        "classification",
        "multilabel_classification",
        "tagging",
        "question_answering",
        "multiple_choice",
        "masked_lm",
        "causal_lm",
        "seq2seq_lm",
        "dependency_parsing",
        "dpo",
    ];
    assert_eq!(HeadType::names(), names);
}

#[test]
fn a_tagging_head_has_the_dictionary_and_the_layer_of_the_reference() {
    let config = HeadConfig::tagging(2);
    let value = json!({
        "head_type": "tagging", "num_labels": 2, "layers": 1, "activation_function": "tanh",
        "label2id": {"LABEL_0": 0, "LABEL_1": 1}, "dropout_prob": null,
    });
    assert_eq!(config.to_json_value(), value);
    assert_eq!(serde_json::from_value::<HeadConfig>(value.clone()).unwrap(), config);
    let names: Vec<String> = reference_names(&config, "x").into_iter().map(|name| name.reference).collect();
    assert_eq!(names, ["heads.x.1.weight", "heads.x.1.bias"]);
    assert_eq!((config.task().name(), head(&config).reads()), ("tagging", Reads::Tokens));
    assert_eq!(HeadConfig::tagging(1).task().name(), "tagging");

    let mut pooled = value;
    pooled["use_pooler"] = json!(true);
    assert!(HeadConfig::from_json_value(&pooled).unwrap_err().to_string().contains("use_pooler"));
    assert!(HeadConfig::tagging(2).with_use_pooler(true).check().unwrap_err().to_string().contains("use_pooler"));
    assert!(HeadConfig::tagging(2).with_bias(false).check().unwrap_err().to_string().contains("bias"));
}

#[test]
fn a_tagging_head_computes_the_tokens_alone_not_padding_and_not_prompts() {
    let head = head(&HeadConfig::tagging(3));
    let hidden = random(5); // [2, 3, 4]
    let all = run(&head, hidden.clone(), Mode::Inference);
    let logits = head.forward(&Output::new(hidden.clone(), [3, 1]), Mode::Inference).unwrap();
    assert_eq!(logits.lengths(), [3, 1]);
    assert_eq!(logits.values().clone().into_data(), all.clone().narrow(0, 0, 4).into_data());

    // A prompt of one position after the first token of the second row.
    let mut span = TokenSpan::new(2);
    span.insert(1, 1);
    let tokens = vec![TokenSpan::new(0), span];
    let output = Output { tokens, ..Output::new(hidden.clone(), []) };
    let logits = head.forward(&output, Mode::Inference).unwrap();
    let expected = Tensor::cat(vec![all.clone().narrow(0, 3, 1), all.narrow(0, 5, 1)], 0);
    assert_eq!((logits.lengths(), logits.values().clone().into_data()), (&[0, 2][..], expected.into_data()));

    let beyond = head.forward(&Output::new(hidden.clone(), [4, 1]), Mode::Inference);
    assert!(matches!(beyond, Err(HeadError::Shape { .. })));
    let missing = head.forward(&Output::new(hidden, [3]), Mode::Inference);
    assert!(matches!(missing, Err(HeadError::Shape { .. })));
}

#[test]
fn the_loss_of_tagging_is_that_of_the_tokens_with_a_target() {
    // torch.nn.CrossEntropyLoss over the rows 0, 2 and 3 of LOGITS, of the classes 2, 1 and 0.
    let head = head(&HeadConfig::tagging(3));
    let logits = Logits::new(tensor(LOGITS, [4, 3]), vec![3, 1]).unwrap();
    let targets = Targets::Tokens(vec![vec![Some(2), None, Some(1)], vec![Some(0)]]);
    let of = |rows: &[usize], classes: Vec<usize>| {
        let values: Vec<f32> = rows.iter().flat_map(|row| LOGITS[row * 3..row * 3 + 3].to_vec()).collect();
        let values = Tensor::from_data(TensorData::new(values, [rows.len(), 3]), &Device::default());
        loss(HeadConfig::classification(3), values, Targets::Classes(classes))
    };
    let found = head.loss(&logits, &targets).unwrap().into_scalar::<f32>();
    assert!((found - of(&[0, 2, 3], vec![2, 1, 0])).abs() < 1e-6);
    assert_eq!(head.config().task().mass(&targets, None), 3.0);
    assert_eq!(head.config().task().mass(&targets, Some(&[0.5, 2.0, 4.0])), 6.5);
    assert_eq!(head.config().task().balanced_weights(&targets, 3), Some(vec![1.0, 1.0, 1.0]));

    let none = Targets::Tokens(vec![vec![None; 3], vec![None]]);
    assert_eq!(head.loss(&logits, &none).unwrap().into_scalar::<f32>(), 0.0);
    for wrong in [
        Targets::Tokens(vec![vec![None; 2], vec![None]]),
        Targets::Tokens(vec![vec![None; 3]]),
        Targets::Tokens(vec![vec![Some(3), None, None], vec![None]]),
        Targets::Classes(vec![0, 1]),
    ] {
        assert!(head.loss(&logits, &wrong).is_err(), "{wrong:?}");
    }
}

/// A head that begins with a layer as in masked language models, without biases.
fn transformed() -> HeadConfig {
    let transform = Transform { bias: false, norm_bias: false };
    HeadConfig::classification(3).with_activation_function(Some(Activation::Gelu)).with_transform(Some(transform))
}

#[test]
fn a_transform_is_a_layer_with_a_norm_and_stands_in_the_dictionary() {
    let names = |config: &HeadConfig| -> Vec<String> {
        head(config).reference_names("x").into_iter().map(|name| name.reference).collect()
    };
    let config = transformed();
    assert_eq!(names(&config), ["heads.x.0.weight", "heads.x.2.weight", "heads.x.4.weight", "heads.x.4.bias"]);
    assert_eq!(Module::num_params(&head(&config)), 4 * 4 + 4 + 4 * 3 + 3);
    let with_biases =
        HeadConfig::tagging(3).with_layers(2).with_transform(Some(Transform { bias: true, norm_bias: true }));
    assert_eq!(names(&with_biases).len(), 6);
    for config in [config, with_biases] {
        assert_eq!(HeadConfig::from_json_value(&config.to_json_value()).unwrap(), config);
    }
    let states = run(&head(&transformed()), random(2), Mode::Inference);
    assert_eq!(states.dims(), [2, 3]);
}

#[test]
fn dropout_acts_after_a_transform_and_not_before_it() {
    let all = head(&transformed()).with_model_dropout(1.0);
    let hidden = random(2).narrow(1, 0, 1).squeeze_dim::<2>(1);
    let before = all.before_output(hidden.clone(), Mode::Training).unwrap();
    assert_eq!(before.into_data(), all.before_output(hidden.clone(), Mode::Inference).unwrap().into_data());
    let dropped = all.forward_vector(hidden, Mode::Training).unwrap();
    assert_eq!(dropped.abs().max().into_scalar::<f32>(), 0.0);
}

#[test]
fn a_transform_that_no_head_can_have_is_an_error() {
    let error = |config: HeadConfig| config.check().unwrap_err().to_string();
    assert!(error(transformed().with_layers(3)).contains("layers"));
    let of_language = HeadConfig::masked_lm(7).with_transform(transformed().transform);
    assert!(error(of_language).contains("transform"));
    for wrong in [
        json!(true),
        json!({"bias": true}),
        json!({"bias": 1, "norm_bias": true}),
        json!({"a": 1, "bias": true, "norm_bias": true}),
    ] {
        let mut value = transformed().to_json_value();
        value["transform"] = wrong;
        assert!(HeadConfig::from_json_value(&value).unwrap_err().to_string().contains("norm_bias"));
    }
}
