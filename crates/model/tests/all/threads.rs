//! One base and one bank, used by many threads at once.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::common::{Model, input, values};
use burn::tensor::Device;
use burn_adapters_model::{AdapterBank, Setup};

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
