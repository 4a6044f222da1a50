//! What does not fit the model or the batch is an error from the pass, never a panic, and never silently bare.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::common::{Model, WIDTH, input, values};
use burn::nn::LinearConfig;
use burn::tensor::{Device, Tensor};
use burn_adapters_core::{ModelSpec, Place, Site, StackSpec, SublayerEnd};
use burn_adapters_model::{
    ActiveHooks, AdapterBank, AroundProjection, BankError, Hooks, MergedModel, Setup, TokenSpan,
};

fn bank_for(spec: ModelSpec, config: &str) -> AdapterBank {
    let mut bank = AdapterBank::new(spec, &Device::default());
    for (name, seed) in [("a", 1), ("b", 2)] {
        bank.add_seeded(name, config.parse().unwrap(), seed).unwrap();
    }
    bank
}

/// The error of a pass of a batch of `rows` sequences of five positions.
fn fails(bank: &AdapterBank, setup: &str, rows: usize) -> BankError {
    let model = Model::new(2, &Device::default());
    let hooks = bank.hooks(&Setup::compose(setup.parse().unwrap())).unwrap();
    model.try_forward(input(1, rows), &hooks).expect_err(setup)
}

const LORA: &str = "lora[init_weights='bert',r=2]";

#[test]
fn blocks_that_do_not_fit_the_batch_are_errors() {
    let spec = Model::new(2, &Device::default()).spec();
    for config in [LORA, "seq_bn[reduction_factor=2]"] {
        let bank = bank_for(spec.clone(), config);
        for rows in [1, 3, 4] {
            for setup in ["Route([a, b])", "Stack(a, Route([a, b]))"] {
                let error = fails(&bank, setup, rows);
                assert_eq!(error, BankError::Rows { block: "Route", expected: 2, found: rows }, "{setup}");
            }
            let error = fails(&bank, "BatchSplit(a, b, batch_sizes=[1, 1])", rows);
            assert_eq!(error, BankError::Rows { block: "BatchSplit", expected: 2, found: rows });
            // The toy model never repeats a batch.
            assert_eq!(fails(&bank, "Parallel(a, b)", rows), BankError::NotRepeated);
        }
    }
    let bank = bank_for(spec, "seq_bn[reduction_factor=2]");
    let error = fails(&bank, "Split(a, b, splits=[2, 2])", 2);
    assert_eq!(error, BankError::Positions { expected: 4, found: 5 });
}

#[test]
fn a_hook_at_another_end_of_a_sublayer_is_an_error() {
    let model = Model::new(2, &Device::default());
    let mut spec = model.spec();
    spec.stacks[0].sublayer_end = SublayerEnd::AtProjection;
    let site = Site::encoder(0, Place::FeedForward);
    let around = || AroundProjection::new(input(2, 2));
    let (called, expected) = ("sublayer", "projected");
    let bank = bank_for(spec, "seq_bn[reduction_factor=2]");
    let hooks = bank.hooks(&Setup::adapter("a")).unwrap();
    assert!(hooks.run(|hooks| hooks.projected(site, input(1, 2), around())).is_ok());
    let error = hooks.run(|hooks| hooks.sublayer(site, input(1, 2), input(2, 2), None)).unwrap_err();
    assert_eq!(error, BankError::OtherEnd { site, called, expected });
    let bank = bank_for(model.spec(), "seq_bn[reduction_factor=2]");
    let hooks = bank.hooks(&Setup::adapter("a")).unwrap();
    let error = hooks.run(|hooks| hooks.projected(site, input(1, 2), around())).unwrap_err();
    assert_eq!(error, BankError::OtherEnd { site, called: expected, expected: called });
}

#[test]
fn a_layer_or_a_matrix_outside_the_specification_is_an_error() {
    let model = Model::new(2, &Device::default());
    let shallow = ModelSpec::new("toy", WIDTH).with_stack(StackSpec::encoder(1, WIDTH, 2, 2 * WIDTH));
    let bank = bank_for(shallow, LORA);
    let hooks = bank.hooks(&Setup::adapter("a")).unwrap();
    let site = Site::encoder(1, Place::Query);
    let error = model.try_forward(input(1, 2), &hooks).unwrap_err();
    assert_eq!(error, BankError::UnknownSite { site, layers: 1 });

    let bank = bank_for(model.spec(), LORA);
    let hooks = bank.hooks(&Setup::adapter("a")).unwrap();
    let linear = LinearConfig::new(WIDTH, WIDTH).init(&Device::default());
    let output = Site::encoder(0, Place::AttentionOutput);
    let message = hooks.run(|hooks| hooks.linear(output, &linear, input(1, 2))).unwrap_err().to_string();
    assert!(message.contains("encoder.0.attention_output"), "{message}");

    // Without adapters a site means nothing.
    let hooks = bank.hooks(&Setup::base()).unwrap();
    hooks.run(|hooks| hooks.linear(Site::encoder(7, Place::Query), &linear, input(1, 2))).unwrap();
}

#[test]
fn a_layer_of_another_width_is_an_error_that_names_the_site() {
    let device = Device::default();
    let model = Model::new(1, &device);
    let bank = bank_for(model.spec(), "lora[r=2,intermediate_lora=True]|seq_bn[reduction_factor=2]|loreft");
    let check = |run: &dyn Fn(&ActiveHooks<'_>)| {
        let hooks = bank.hooks(&Setup::adapter("a")).unwrap();
        hooks.run(|hooks| run(hooks)).unwrap_err().to_string()
    };
    let wide = || Tensor::<3>::ones([2, 5, WIDTH + 1], &device);
    let at = |place| Site::encoder(0, place);
    let tokens = || vec![TokenSpan::new(5); 2];

    let found = check(&|hooks| drop(hooks.linear(at(Place::Query), &model.layers[0].query, wide())));
    assert_eq!(
        found,
        "at encoder.0.query: expected an input of 8, found 9: the model's layers and its specification must agree"
    );
    let other = LinearConfig::new(WIDTH, 3).init(&device);
    let found = check(&|hooks| drop(hooks.linear(at(Place::FeedForwardUp), &other, input(1, 2))));
    assert!(found.contains("encoder.0.feed_forward_up") && found.contains("8 x 16, found 8 x 3"), "{found}");
    let norm = &model.layers[0].norm;
    for (hidden, residual) in [(wide(), wide()), (input(1, 2), wide()), (input(1, 2), input(1, 3))] {
        let found = check(&|hooks| {
            drop(hooks.sublayer(at(Place::FeedForward), hidden.clone(), residual.clone(), Some(norm)));
        });
        assert!(found.contains("encoder.0.feed_forward"), "{found}");
    }
    let found = check(&|hooks| drop(hooks.layer(at(Place::Layer), wide(), &tokens())));
    assert!(found.contains("encoder.0.layer"), "{found}");
    let found = check(&|hooks| drop(hooks.embeddings(wide(), tokens())));
    assert!(found.contains("the embeddings"), "{found}");
}

#[test]
fn an_adapter_that_is_merged_already_cannot_be_run_too() {
    let model = Model::new(2, &Device::default());
    let spec = model.spec();
    for config in [LORA, "ia3[init_weights='bert',output_lora=False,attn_matrices=['v']]", "mtl_lora[r=2]"] {
        let bank = bank_for(spec.clone(), config);
        let merged = MergedModel::merge(model.clone(), bank.adapter("a").unwrap()).unwrap();
        let pass = |model: &Model, name: &str| {
            let hooks = bank.hooks(&Setup::adapter(name)).unwrap();
            model.try_forward(input(1, 2), &hooks)
        };
        assert!(matches!(pass(&merged, "a"), Err(BankError::AlreadyMerged { name, .. }) if name == "a"), "{config}");
        assert!(matches!(pass(&(*merged).clone(), "a"), Err(BankError::AlreadyMerged { .. })));
        // Another adapter on top is what one may want.
        pass(&merged, "b").unwrap();
        let again = MergedModel::merge((*merged).clone(), bank.adapter("a").unwrap()).unwrap_err();
        assert!(matches!(again.error, BankError::AlreadyMerged { .. }));
        let before = values(model.forward(input(1, 2), &Hooks::none()));
        let model = merged.unmerge();
        assert_eq!(values(model.forward(input(1, 2), &Hooks::none())), before);
        pass(&model, "a").unwrap();
    }
}

#[test]
fn what_cannot_learn_is_not_trained() {
    let spec = Model::new(2, &Device::default()).spec();
    let device = Device::default().autodiff();
    for config in ["lora[alpha=0]", "seq_bn[reduction_factor=2,scaling=0.0]", "ia3[alpha=0.0]"] {
        let mut bank = AdapterBank::new(spec.clone(), &device);
        bank.add("a", config.parse().unwrap()).unwrap();
        let error = bank.train_only(&Setup::adapter("a")).unwrap_err();
        assert!(matches!(&error, BankError::CannotLearn { name, .. } if name == "a"), "{config}: {error}");
    }
    let mut bank = AdapterBank::new(spec.clone(), &device);
    bank.add("a", "seq_bn[reduction_factor=2]".parse().unwrap()).unwrap();
    assert!(bank.train_only(&Setup::adapter("a").skip_layers([0])).is_ok());
    let error = bank.train_only(&Setup::adapter("a").skip_layers([0, 1])).unwrap_err();
    assert!(error.to_string().contains("skip_layers"), "{error}");

    let mut bank = AdapterBank::new(spec, &Device::default());
    bank.add("a", "seq_bn[reduction_factor=2]".parse().unwrap()).unwrap();
    let error = bank.train_only(&Setup::adapter("a")).unwrap_err();
    assert_eq!(error, BankError::NotAutodiff);
    assert!(error.to_string().contains("autodiff()"));
}
