//! Adapters on weights compute the same as the hooks on activations.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::common::{METHODS, Model, adapted, adapters, assert_close, difference, gradients, input, lora_config};
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, Tolerance};
use burn_adapters_core::{Place, Site};
use burn_adapters_model::{AdapterBank, Setup};
use burn_adapters_reparameterize::Update;

/// A bank whose adapter `a` holds the very parameters of the model's.
fn bank_of(model: &Model, config: &str, device: &Device) -> AdapterBank {
    let mut bank = AdapterBank::new(model.spec(), device);
    let (mut adapter, report) = bank.plan("a", lora_config(config).into()).unwrap();
    assert_eq!(report.entries.iter().filter(|entry| entry.site.is_some()).count(), 6);
    for (site, lora) in adapter.lora.iter_mut() {
        let Some(Update::Lora(update)) = model.update(*site, "a") else { panic!("{site}") };
        *lora = update;
    }
    for (site, vera) in adapter.vera.iter_mut() {
        let Some(Update::Vera(update)) = model.update(*site, "a") else { panic!("{site}") };
        *vera = update;
    }
    for (site, ia3) in adapter.ia3.iter_mut() {
        let Some(Update::Ia3(update)) = model.update(*site, "a") else { panic!("{site}") };
        *ia3 = update;
    }
    adapter.vera_shared = adapters(&model.layers[0].query).shared("a");
    adapter.mark_loaded();
    bank.insert(adapter).unwrap();
    bank
}

fn sites() -> impl Iterator<Item = Site> {
    let places = [Place::Query, Place::Value, Place::FeedForwardUp];
    (0..2).flat_map(move |layer| places.map(|place| Site::encoder(layer, place)))
}

/// A loss with a different weight for every element.
fn loss(output: Tensor<3>) -> Tensor<1> {
    let weights = input(77, &output.device().without_autodiff());
    (output * weights).mean()
}

#[test]
fn every_method_gives_the_hook_paths_outputs_and_gradients() {
    let device = Device::default().autodiff();
    let base = Model::new(&device).no_grad();
    let x = input(1, &device);
    for method in METHODS {
        let model = adapted(&base, method);
        let bank = bank_of(&model, method, &device);

        let ours = model.forward(x.clone());
        let hooked =
            bank.hooks(&Setup::adapter("a").training()).unwrap().run(|hooks| base.hooked(x.clone(), hooks)).unwrap();
        assert_close(ours.clone(), hooked.clone(), 1e-5);
        assert!(difference(ours.clone(), base.forward(x.clone())) > 0.1, "{method}");

        let ours = GradientsParams::from_grads(loss(ours).backward(), &model);
        let hooked = GradientsParams::from_grads(loss(hooked).backward(), &bank);
        let trained: usize = sites().map(|site| gradients(&model.update(site, "a").unwrap(), &ours).len()).sum();
        assert_eq!(ours.len(), trained, "{method}: the base has no gradients");
        for site in sites() {
            let update = model.update(site, "a").unwrap();
            for (a, b) in gradients(&update, &ours).iter().zip(gradients(&update, &hooked)) {
                // Relative to the largest gradient of the tensor: gradients are small.
                let largest = a.iter::<f32>().fold(0f32, |largest, x| largest.max(x.abs()));
                assert!(largest > 1e-3, "{method}: a gradient of {largest} tests nothing");
                a.assert_approx_eq::<f32>(&b, Tolerance::absolute(1e-5 * f64::from(largest)));
            }
        }
    }
}

#[test]
fn a_new_dora_computes_what_the_base_does() {
    let device = Device::default();
    let base = Model::new(&device);
    for method in ["dora", "dvora"] {
        use burn_adapters_reparameterize::WeightAdapters;
        let mut model = base.clone();
        model.add_adapter_seeded("a", &crate::common::targets(), &lora_config(method), 3).unwrap();
        model.activate_adapter("a").unwrap();
        assert_close(model.forward(input(1, &device)), base.forward(input(1, &device)), 1e-5);
    }
}

#[test]
fn gradients_stand_beside_the_base_on_the_plain_device_too() {
    // The base stays without a graph; `train` creates one for the adapters, and leaves the base frozen.
    let base = Model::new(&Device::default());
    let model = adapted(&base, METHODS[1]).train();
    let output = model.forward(input(1, &Device::default()));
    let grads = GradientsParams::from_grads(loss(output).backward(), &model);
    let trained: usize = sites().map(|site| gradients(&model.update(site, "a").unwrap(), &grads).len()).sum();
    assert_eq!(grads.len(), trained);
}
