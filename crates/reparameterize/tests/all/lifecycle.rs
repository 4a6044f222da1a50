//! Adding, switching, training, merging, removing.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::common::{
    METHODS, Model, WIDTH, adapted, adapters, assert_close, data, difference, input, lora_config, parameters,
};
use crate::common::{randomize, targets};
use burn::module::{Module, Param, ParamGroup, Quantizer};
use burn::nn::transformer::{TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::quantization::{Calibration, QuantValue};
use burn::tensor::{DType, Device, Tensor};
use burn_adapters_core::{Fill, Init, Mode};
use burn_adapters_reparameterize::{SkipReason, Targets, Update, WeightAdapters};

fn encoder(device: &Device) -> TransformerEncoder {
    TransformerEncoderConfig::new(16, 32, 4, 2).with_dropout(0.0).init(device)
}

fn encode(encoder: &TransformerEncoder, device: &Device) -> Tensor<3> {
    let x = Init::from_seed(4).param([2, 5, 16], Fill::Normal { std: 1.0 }, device).val().detach();
    encoder.forward(TransformerEncoderInput::new(x))
}

fn step<M: Module>(model: M, loss: Tensor<1>) -> M {
    let grads = GradientsParams::from_grads(loss.backward(), &model);
    SgdConfig::new().init().step(0.1, model, grads)
}

#[test]
fn a_transformer_of_burn_is_adapted_merged_and_given_back() {
    let device = Device::default();
    for method in METHODS {
        let base = encoder(&device);
        let plain = encode(&base, &device);
        let mut model = base.clone();
        let choice = Targets::regex(r"mha\.(query|value)\.weight$|pwff\.linear_inner\.weight$").unwrap();
        let report = model.add_adapter("a", &choice, &lora_config(method)).unwrap();
        assert_eq!(report.adapted.len(), 6);
        assert_eq!(report.adapted[0].path, "layers.0.mha.query.weight");
        assert_eq!(report.parameters(), Module::num_params(&model) - Module::num_params(&base));
        assert_eq!(data(encode(&model, &device)), data(plain.clone()), "{method}: not active yet");

        model.activate_adapter("a").unwrap();
        randomize(&mut model, 5);
        let unmerged = encode(&model, &device);
        assert!(difference(unmerged.clone(), plain.clone()) > 0.1);

        let mut merged = model.merged_adapter("a").unwrap();
        assert_close(encode(&merged, &device), unmerged, 1e-4);
        assert_eq!(Module::num_params(&merged), Module::num_params(&base));
        assert!(merged.adapter_names().is_empty());
        assert!(merged.merged_adapter("a").is_err() && merged.activate_adapter("a").is_err());

        assert_eq!(parameters(&model.without_adapters().unwrap()), parameters(&base));
        model.remove_adapter("a").unwrap();
        assert_eq!(parameters(&model), parameters(&base));
        assert_eq!(data(encode(&model, &device)), data(plain), "{method}");
    }
}

#[test]
fn three_adapters_of_different_methods_are_switched() {
    let device = Device::default();
    let base = Model::new(&device);
    let x = input(1, &device);
    let mut model = base.clone();
    let mut add = |name: &str, pattern: &str, config: &str| {
        model.add_adapter(name, &Targets::regex(pattern).unwrap(), &lora_config(config)).unwrap();
    };
    add("a", r"query\.weight", "lora[r=2]");
    add("b", r"(query|value)\.weight", "ia3");
    add("c", r"(query|down)\.weight", "dvora[r=2]");
    randomize(&mut model, 6);
    assert_eq!(model.adapter_names(), ["a", "b", "c"]);

    let outputs: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .map(|name| {
            model.activate_adapter(name).unwrap();
            assert_eq!(model.active_adapter().as_deref(), Some(name));
            model.forward(x.clone())
        })
        .collect();
    for (i, output) in outputs.iter().enumerate() {
        assert!(outputs[..i].iter().all(|other| difference(other.clone(), output.clone()) > 1e-2));
    }
    // Switched back on a clone, which leaves the original unchanged.
    let mut clone = model.clone();
    clone.activate_adapter("a").unwrap();
    assert_eq!(data(clone.forward(x.clone())), data(outputs[0].clone()));
    assert_eq!(data(model.forward(x.clone())), data(outputs[2].clone()));

    model.deactivate_adapters();
    assert_eq!(data(model.forward(x.clone())), data(base.forward(x.clone())));

    model.remove_adapter("a").unwrap();
    model.activate_adapter("b").unwrap();
    assert_eq!(data(model.forward(x.clone())), data(outputs[1].clone()));
    model.remove_adapter("b").unwrap();
    assert_eq!((model.active_adapter(), model.adapter_names()), (None, vec!["c".to_owned()]));
    assert_eq!(data(model.forward(x.clone())), data(base.forward(x)));
}

#[test]
fn a_training_step_changes_every_parameter_of_the_active_adapter_and_nothing_else() {
    let device = Device::default().autodiff();
    for method in METHODS {
        let mut model = adapted(&Model::new(&device), method);
        model.add_adapter_seeded("other", &targets(), &lora_config("lora[init_weights='bert']"), 4).unwrap();
        let trained = model.train_only_adapter("a").unwrap();
        let (base, before) = parameters(&model);
        let loss = model.forward(input(1, &device)).powi_scalar(2).mean();
        let model = step(model, loss);
        let (base_after, after) = parameters(&model);
        assert_eq!(base, base_after);
        let mut changed = 0;
        for ((path, before), (_, after)) in before.iter().zip(&after) {
            assert_eq!(before == after, !path.contains(".adapters.a."), "{method}: {path}");
            changed += if before == after { 0 } else { before.num_elements() };
        }
        assert_eq!(changed, trained, "{method}");
    }
}

#[test]
fn freezing_the_base_leaves_its_clones_to_train() {
    let device = Device::default().autodiff();
    // Drawn when first read, which is after the clone was taken.
    let clone = encoder(&device);
    let mut model = clone.clone();
    model.add_adapter("a", &Targets::regex("query.weight").unwrap(), &lora_config("lora[r=2]")).unwrap();
    let grads = GradientsParams::from_grads(encode(&clone, &device).sum().backward(), &clone);
    assert_eq!(grads.len(), parameters(&clone).0.len());
    assert_eq!(parameters(&model).0, parameters(&clone).0);
}

#[test]
fn a_head_is_unfrozen_by_its_group_and_trains_beside_the_adapter() {
    let device = Device::default().autodiff();
    let model = adapted(&Model::new(&device), "lora[r=2,init_weights='bert']");
    let model = model.unfreeze_group(ParamGroup::from_regex(r"^layers\.1\.down\.").unwrap());
    let (base, _) = parameters(&model);
    let loss = model.forward(input(1, &device)).powi_scalar(2).mean();
    let (after, _) = parameters(&step(model, loss));
    for ((path, before), (_, after)) in base.iter().zip(&after) {
        assert_eq!(before != after, path.starts_with("layers.1.down."), "{path}");
    }
}

/// A layer whose bias comes before its weight.
#[derive(Module, Debug)]
struct Backwards {
    bias: Param<Tensor<1>>,
    weight: Param<Tensor<2>>,
}

#[test]
fn a_bias_follows_its_weights_parameters_wherever_the_module_goes() {
    let device = Device::default().autodiff();
    let layer = || {
        let mut init = Init::from_seed(8);
        let fill = Fill::Normal { std: 1.0 };
        Backwards { bias: init.param([4], fill, &device), weight: init.param([3, 4], fill, &device) }
    };
    for config in ["ia3[alpha=3]", "dora[r=2]", "dvora[r=2]"] {
        let base = layer();
        let mut model = base.clone();
        let report = model.add_adapter_seeded("a", &Targets::paths(["weight"]), &lora_config(config), 3).unwrap();
        assert_eq!(report.adapted[0].bias.as_deref(), Some("bias"));
        model.activate_adapter("a").unwrap();
        randomize(&mut model, 5);

        // A column of the weight is scaled by the factor of its bias; in DoRA this factor is not the whole change.
        let expected = |model: &Backwards| match adapters_at(model) {
            Update::Ia3(ia3) => ia3.vector.val() * 3.0,
            Update::Lora(lora) => {
                let weight = base.weight.base().without_autodiff();
                let magnitude = lora.magnitude.as_ref().unwrap();
                magnitude.factor(weight, lora.a.val(), lora.b.val()).flatten(0, 2)
            }
            Update::Vera(vera) => {
                let (a, b) = vera.factors(&model.weight.reparameterization::<Held>().unwrap().shared("a").unwrap());
                vera.magnitude.as_ref().unwrap().factor(base.weight.base(), a, b).flatten(0, 2)
            }
        };
        let check = |model: &Backwards| {
            let bias = base.bias.base().without_autodiff() * expected(model).without_autodiff();
            assert_close(model.bias.val().without_autodiff(), bias, 1e-5);
        };
        check(&model);
        let before = model.clone();
        let bias_before = data(model.bias.val());
        for _ in 0..3 {
            let loss = (model.weight.val() * 2.0).powi_scalar(2).sum() + model.bias.val().powi_scalar(2).sum();
            model = step(model, loss);
            check(&model);
        }
        // A clone from before the steps is unchanged.
        check(&before);
        assert_eq!(data(before.bias.val()), bias_before);
        assert_ne!(data(model.bias.val()), bias_before);

        let inference = model.valid();
        check(&inference);
        assert!(!inference.bias.val().is_autodiff() && !inference.weight.val().is_autodiff());
        check(&inference.train());
        check(&model.clone().to_device(&Device::default().autodiff()));
        check(&model.clone().fork(&device));
        check(&model.no_grad());
    }
}

type Held = burn_adapters_reparameterize::ParamAdapters;

fn adapters_at(layer: &Backwards) -> Update {
    layer.weight.reparameterization::<Held>().unwrap().update("a").unwrap().clone()
}

#[test]
fn clones_train_in_threads_of_their_own_without_seeing_each_other() {
    let device = Device::default().autodiff();
    let model = adapted(&Model::new(&device), METHODS[4]);
    let train = |model: &Model, steps: usize| {
        let mut model = model.clone();
        for _ in 0..steps {
            let loss = model.forward(input(1, &device)).powi_scalar(2).mean();
            model = step(model, loss);
        }
        data(model.forward(input(2, &device)))
    };
    let alone: Vec<_> = (1..5).map(|steps| train(&model, steps)).collect();
    let together: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..5)
            .map(|steps| {
                scope.spawn({
                    let (train, model) = (&train, &model);
                    move || train(model, steps)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(alone, together);
}

#[test]
fn dropout_drops_input_features_of_the_update_in_training_mode_alone() {
    let device = Device::default();
    let base = Model::new(&device);
    for method in ["lora[r=3,dropout=0.25]", "vera[r=3,dropout=0.25]"] {
        let mut model = base.clone();
        model.add_adapter_seeded("a", &targets(), &lora_config(method), 3).unwrap();
        model.activate_adapter("a").unwrap();
        randomize(&mut model, 5);
        let weight = |model: &Model| model.layers[0].query.weight.val() - base.layers[0].query.weight.val();
        let whole = weight(&model);
        let (mut dropped, draws) = (0, 400);
        model.set_adapter_mode(Mode::Training);
        for _ in 0..draws {
            let update = weight(&model);
            for row in 0..WIDTH {
                let [update, whole] = [&update, &whole].map(|update| update.clone().slice([row..row + 1, 0..WIDTH]));
                if update.clone().abs().max().into_scalar::<f32>() < 1e-6 {
                    dropped += 1;
                } else {
                    assert_close(update, whole / 0.75, 1e-5);
                }
            }
        }
        // 800 of 3,200 on average, with a standard deviation of 24.5.
        assert!((650..950).contains(&dropped), "{dropped} of {} rows dropped", draws * WIDTH);
        assert_close(weight(&model.valid()), whole.clone(), 1e-6);
        model.set_adapter_mode(Mode::Inference);
        assert_close(weight(&model), whole, 1e-6);
    }
}

#[test]
fn what_is_matched_but_is_no_matrix_is_left_out_with_a_note() {
    #[derive(Module, Debug)]
    struct WithEmbedding {
        embedding: burn::nn::Embedding,
        linear: burn::nn::Linear,
    }
    let device = Device::default();
    let mut model = WithEmbedding {
        embedding: burn::nn::EmbeddingConfig::new(10, 4).init(&device),
        linear: burn::nn::LinearConfig::new(4, 3).init(&device),
    };
    let report = model.add_adapter("a", &ParamGroup::all().into(), &lora_config("lora[r=2]")).unwrap();
    assert_eq!(report.adapted.len(), 1);
    assert_eq!(report.skipped[0].path, "embedding.weight");
    assert_eq!(report.skipped[0].reason, SkipReason::Embedding);
    assert_eq!(report.skipped[1].reason, SkipReason::Rank { shape: vec![3] });
    let printed = report.to_string();
    assert!(printed.contains("linear.weight [4, 3]: lora, 14 parameters"), "{printed}");
    assert!(printed.contains("skipped: `embedding.weight`, which is the table of an embedding"), "{printed}");
}

#[test]
fn a_quantized_base_is_adapted_without_being_unpacked_for_good() {
    let device = Device::default();
    // The backend's own store for the values: bytes on the CPU, packed into words on wgpu, which may not support bytes
    // (Burn then panics on `QuantStore::Native`).
    let scheme = device.settings().quantization.scheme.with_value(QuantValue::Q8S);
    let mut quantizer = Quantizer::new(Calibration::MinMax, scheme);
    let weights = ParamGroup::from_regex(r"weight$").unwrap();
    let base = Model::new(&device).quantize_weights_group(&mut quantizer, weights);
    let model = adapted(&base, METHODS[1]);
    let linear = &model.layers[0].query;
    let Some(Update::Lora(lora)) = adapters(linear).update("a").cloned() else { panic!() };
    let weight = base.layers[0].query.weight.base().dequantize();
    let factor = lora.magnitude.as_ref().unwrap().factor(weight.clone(), lora.a.val(), lora.b.val());
    let expected = (weight + lora.delta_weight()) * factor.flatten::<1>(0, 2).unsqueeze();
    assert_close(linear.weight.val(), expected, 1e-5);
    assert_eq!(linear.weight.base().dtype(), base.layers[0].query.weight.base().dtype());
    assert!(matches!(linear.weight.base().dtype(), DType::QFloat(scheme) if scheme.value == QuantValue::Q8S));
}
