//! One frozen base and many adapters that serve requests of many tenants at once.
//!
//! The base model is in memory once, with 64 adapters of four methods beside it. Request threads answer mixed batches,
//! each row through its tenant's adapter (`Route`), while another thread adds and removes adapters. A bank is a value
//! with shared tensors: a change creates a new one, and running requests continue with the one they have.
//!
//! ```text
//! cargo run --release --example serving -- [--quick] [FOLDER OF A BERT MODEL]
//! ```

#![allow(clippy::expect_used)]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use burn::tensor::Device;
use burn_adapters::prelude::*;
use burn_adapters::transformers::{AutoModel, BertConfig, Row};

const ADAPTERS: usize = 64;
const THREADS: usize = 4;
const ROWS: usize = 16;
const METHODS: [&str; 4] = ["seq_bn", "lora[init_weights='bert']", "ia3", "prefix_tuning_flat[prefix_length=8]"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    burn_adapters::ops::keep_freed_memory();
    let device = Device::default();
    // One second with a tiny model shows that everything works.
    let (quick, folder): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|word| word == "--quick");
    let (seconds, width, layers) = if quick.is_empty() { (10, 384, 6) } else { (1, 48, 2) };
    let model = match folder.first() {
        Some(folder) => AutoModel::from_dir(Path::new(folder), &device)?.0,
        // The size of MiniLM, with random weights: the results are noise, the cost is realistic.
        None => AutoModel::new_seeded(&BertConfig::new(30_522, width, layers, 12, 4 * width), 1, &device),
    };
    let tokens =
        |row: usize| Row::new((0..24).map(|position| 1000 + (row * 37 + position * 11) as u32 % 20_000).collect());
    let batch = |first: usize| {
        let rows: Vec<Row> = (first..first + ROWS).map(tokens).collect();
        TokenBatch::from_rows(&rows)
    };
    // One pass, so that the weights are drawn.
    model.forward(&batch(0), &Hooks::none())?;
    let base = peak_memory();

    let mut bank = AdapterBank::new(model.spec(), &device);
    for index in 0..ADAPTERS {
        bank.add_seeded(&name(index), METHODS[index % METHODS.len()].parse()?, index as u64)?;
    }
    // Each adapter once, so that their weights are drawn too.
    for index in 0..ADAPTERS {
        model.forward(&batch(index), &bank.hooks(&Setup::adapter(name(index)))?)?;
    }
    let parameters: usize = bank.names().map(|name| bank.adapter(name).map_or(0, Adapter::parameters)).sum();
    let weights = bank.spec().parameters;
    println!("{ADAPTERS} adapters of {} methods, {parameters} parameters, beside {weights}", METHODS.len());

    let shared = RwLock::new(Arc::new(bank));
    let current = || Arc::clone(&shared.read().unwrap_or_else(|poisoned| poisoned.into_inner()));
    let replace = |bank| *shared.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Arc::new(bank);
    let (done, answered, changes) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (model, current, done, answered, batch) = (&model, &current, &done, &answered, &batch);
            scope.spawn(move || {
                let mut first = thread * 1000;
                while !done.load(Ordering::Relaxed) {
                    // Tenants 0 to 31 always exist; every eighth row uses the base alone.
                    let rows = (0..ROWS).map(|row| (row % 8 != 7).then(|| name((first + row * 5) % 32)));
                    let setup = Setup::compose(Composition::route(rows));
                    let bank = current();
                    let answer = bank.hooks(&setup).map(|hooks| model.forward(&batch(first), &hooks));
                    match answer {
                        Ok(Ok(_)) => answered.fetch_add(ROWS, Ordering::Relaxed),
                        Ok(Err(error)) => panic!("{error}"),
                        Err(error) => panic!("{error}"),
                    };
                    first += ROWS;
                }
            });
        }
        let (current, replace, done, changes) = (&current, &replace, &done, &changes);
        scope.spawn(move || {
            let mut index = 32;
            while start.elapsed() < Duration::from_secs(seconds) {
                let mut bank = AdapterBank::clone(&current());
                let name = name(index);
                if bank.remove(&name).is_ok() {
                    let config = METHODS[index % METHODS.len()].parse().expect("a constant that parses");
                    bank.add_seeded(&name, config, index as u64).expect("a name that was just freed");
                    replace(bank);
                    changes.fetch_add(1, Ordering::Relaxed);
                }
                index = 32 + (index - 31) % 32;
                std::thread::sleep(Duration::from_millis(50));
            }
            done.store(true, Ordering::Relaxed);
        });
    });
    let seconds = start.elapsed().as_secs_f64();
    let answered = answered.load(Ordering::Relaxed);
    println!(
        "{answered} rows answered by {THREADS} threads in {seconds:.1} s ({:.0} a second), while {} adapters were replaced",
        answered as f64 / seconds,
        changes.load(Ordering::Relaxed)
    );
    if let (Some(base), Some(peak)) = (base, peak_memory()) {
        let megabytes = |parameters: usize| parameters as f64 * 4.0 / (1 << 20) as f64;
        println!(
            "peak memory: {base} MB with the base alone and one batch, {peak} MB in the end; the adapters are {:.0} MB, a copy \
             of the base would be {:.0} MB",
            megabytes(parameters),
            megabytes(weights)
        );
    }
    Ok(())
}

fn name(index: usize) -> String {
    format!("tenant-{index}")
}

/// The peak memory of the process, in MB; known on Linux only.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}
