//! The cost of LoRA on weights and on activations: forward and backward pass of a stack of square layers.
//!
//! `cargo run -p burn-adapters-reparameterize --features flex --example cost [-- --quick]`

#![allow(clippy::unwrap_used)]

use std::time::Instant;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Distribution, Tensor};
use burn_adapters_config::LoraConfig;
use burn_adapters_core::{Init, Mode};
use burn_adapters_lora::Lora;
use burn_adapters_reparameterize::{Targets, WeightAdapters};

const ROUNDS: usize = 7;

#[derive(Module, Debug)]
struct Stack {
    layers: Vec<Linear>,
}

impl Stack {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.layers.iter().fold(x, |x, layer| layer.forward(x))
    }
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (sizes, rounds) =
        if quick { (vec![(2, 64, 8)], 1) } else { (vec![(12, 768, 64), (12, 768, 2048), (4, 4096, 64)], ROUNDS) };
    let device = Device::default().autodiff();
    println!("| layers × width, tokens | full fine-tuning | weight side | activation side |");
    println!("| --- | --- | --- | --- |");
    for (layers, width, tokens) in sizes {
        let stack = || Stack { layers: (0..layers).map(|_| LinearConfig::new(width, width).init(&device)).collect() };
        let (full, base) = (stack(), stack().no_grad());
        let mut adapted = base.clone();
        adapted.add_adapter("a", &Targets::regex(r"weight$").unwrap(), &LoraConfig::new(8)).unwrap();
        adapted.activate_adapter("a").unwrap();
        let init = &mut Init::from_seed(1);
        let loras: Vec<Lora> =
            (0..layers).map(|_| Lora::new(&LoraConfig::new(8), [width, width], init, &device).unwrap()).collect();

        let x = Tensor::<3>::random([1, tokens, width], Distribution::Default, &device);
        let variants: [&dyn Fn() -> Tensor<3>; 3] =
            [&|| full.forward(x.clone()), &|| adapted.forward(x.clone()), &|| {
                base.layers.iter().zip(&loras).fold(x.clone(), |x, (layer, lora)| {
                    layer.forward(x.clone()) + lora.forward(x, Mode::Training).update
                })
            }];
        // In turn, so that other load on the machine affects all of them; the fastest run of each is the least
        // disturbed.
        let mut best = [f64::INFINITY; 3];
        for _ in 0..rounds {
            for (best, forward) in best.iter_mut().zip(variants) {
                let start = Instant::now();
                let gradients = forward().mean().backward();
                *best = best.min(start.elapsed().as_secs_f64() * 1e3);
                drop(gradients);
            }
        }
        let [full, weight, activation] = best;
        println!("| {layers} × {width}, {tokens} | {full:.0} ms | {weight:.0} ms | {activation:.0} ms |");
    }
}
