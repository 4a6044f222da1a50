//! Heads, from outside.
#![allow(clippy::unwrap_used)]

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use burn_adapters_config::Activation;
use burn_adapters_core::{Fill, Init, Mode};
use burn_adapters_heads::{Head, HeadConfig, HeadError, Labels, Task, binary_cross_entropy, reference_names};
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

fn loss(config: HeadConfig, logits: Tensor<2>, labels: Labels) -> f32 {
    head(&config).loss(logits, &labels).unwrap().into_scalar::<f32>()
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
    let from_hidden = plain.forward(hidden.clone(), None, Mode::Inference).unwrap();
    let from_first = plain.forward_vector(first.clone(), Mode::Inference).unwrap();
    assert_eq!(from_hidden.into_data(), from_first.clone().into_data());

    let pooled = head(&HeadConfig::classification(3).with_use_pooler(true));
    let logits = pooled.forward(hidden.clone(), Some(first), Mode::Inference).unwrap();
    assert_eq!(logits.into_data(), from_first.into_data());
    assert_eq!(pooled.forward(hidden, None, Mode::Inference).unwrap_err(), HeadError::NoPooledOutput);
}

#[test]
fn another_position_can_be_read() {
    let hidden = random(2);
    let third = hidden.clone().slice([0..2, 2..3, 0..4]).reshape([2, 4]);
    let head = head(&HeadConfig::classification(3));
    let logits = head.forward_at(2, hidden.clone(), None, Mode::Inference).unwrap();
    assert_eq!(logits.into_data(), head.forward_vector(third, Mode::Inference).unwrap().into_data());
    assert!(matches!(head.forward_at(3, hidden, None, Mode::Inference), Err(HeadError::Shape { .. })));
}

#[test]
fn dropout_acts_in_training_only_and_comes_from_the_model_where_the_head_has_none() {
    let own = HeadConfig::classification(3).with_dropout_prob(Some(0.25));
    assert_eq!(head(&own).with_model_dropout(0.5).dropout, 0.25);
    let left = head(&HeadConfig::classification(3)).with_model_dropout(1.0);
    let hidden = random(2);
    let at_rest = left.forward(hidden.clone(), None, Mode::Inference).unwrap();
    assert!(at_rest.abs().max().into_scalar::<f32>() > 0.0);
    let trained = left.forward(hidden, None, Mode::Training).unwrap();
    assert_eq!(trained.abs().max().into_scalar::<f32>(), 0.0);
}

#[test]
fn losses_equal_those_of_pytorch() {
    // Values of torch 2: CrossEntropyLoss, BCEWithLogitsLoss and MSELoss on these logits.
    let logits = || tensor([1.0, -2.0, 0.5, 30.0, -40.0, 0.0], [2, 3]);
    let near = |found: f32, expected: f32| assert!((found - expected).abs() < 1e-5 * expected.abs(), "{found}");
    near(loss(HeadConfig::classification(3), logits(), Labels::Classes(vec![2, 1])), 35.5023);
    let sets = Labels::Sets(vec![vec![1.0, 0.0, 1.0], vec![0.0, 1.0, 0.0]]);
    near(loss(HeadConfig::multilabel_classification(3), logits(), sets), 11.9346);
    let values = Labels::Values(vec![0.25, -3.0]);
    near(loss(HeadConfig::regression(), tensor([1.5, -2.0], [2, 1]), values), 1.28125);
}

#[test]
fn a_label_out_of_range_or_of_another_kind_is_an_error() {
    let classifier = head(&HeadConfig::classification(3));
    let logits = tensor([0.0; 6], [2, 3]);
    assert_eq!(
        classifier.loss(logits.clone(), &Labels::Classes(vec![0, 3])).unwrap_err(),
        HeadError::LabelOutOfRange { row: 1, label: 3, labels: 3 }
    );
    let count = classifier.loss(logits.clone(), &Labels::Classes(vec![0])).unwrap_err();
    assert_eq!(count, HeadError::LabelCount { rows: 2, labels: 1 });
    let kind = classifier.loss(logits, &Labels::Values(vec![0.0, 1.0])).unwrap_err();
    assert!(kind.to_string().contains("a classification head"), "{kind}");
    assert!(matches!(
        classifier.forward_vector(Tensor::zeros([2, 5], &Device::default()), Mode::Inference),
        Err(HeadError::Shape { .. })
    ));
}

#[test]
fn one_label_is_a_number() {
    assert_eq!(HeadConfig::classification(1).task(), Task::Regression);
    assert_eq!(HeadConfig::multilabel_classification(1).task(), Task::MultiLabel);
    assert_eq!(HeadConfig::classification(2).task(), Task::Classification);
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
        ("head_type", json!("tagging")),
        ("use_pooler", json!(1)),
        ("colour", json!(1)),
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

fn weighted(config: HeadConfig, labels: Labels) -> (f32, Vec<f32>) {
    let device = Device::default().autodiff();
    let logits = Tensor::<2>::from_data(TensorData::new(LOGITS.to_vec(), [4, 3]), &device).require_grad();
    let loss = head(&config).weighted_loss(logits.clone(), &labels, &[0.5, 2.0, 4.0]).unwrap();
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
    let (loss, gradients) = weighted(HeadConfig::classification(3), Labels::Classes(vec![2, 0, 1, 0]));
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
    let (loss, gradients) = weighted(HeadConfig::multilabel_classification(3), Labels::Sets(sets));
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
    let logits = || tensor([0.0; 6], [2, 3]);
    let classifier = head(&HeadConfig::classification(3));
    let labels = Labels::Classes(vec![0, 1]);
    for weights in [&[1.0, 1.0][..], &[1.0, 0.0, 1.0], &[1.0, f32::NAN, 1.0], &[1.0, f32::INFINITY, 1.0]] {
        assert!(matches!(classifier.weighted_loss(logits(), &labels, weights), Err(HeadError::BadValue { .. })));
    }
    let regression = head(&HeadConfig::regression());
    assert!(regression.weighted_loss(tensor([0.0; 2], [2, 1]), &Labels::Values(vec![0.0, 1.0]), &[1.0]).is_err());
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
