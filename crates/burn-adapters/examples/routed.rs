//! A mixed batch with `Route`, compared with the same rows as one batch per adapter, and with a single adapter for all.
//!
//! Eight adapters get the same number of rows each; the batch is in random order. The variants run in turn; the table
//! shows medians, with the fastest and slowest run.
//!
//! ```text
//! cargo run --release --example routed -- [--json] [--runs N] [--quick] [FOLDER OF A BERT MODEL]
//! ```

use std::error::Error;
use std::time::Instant;

use burn::tensor::{Device, Tensor};
use burn_adapters::prelude::*;
use burn_adapters::transformers::{AutoModel, BertConfig, Row};

const ADAPTERS: usize = 8;
const LENGTH: usize = 32;
/// The methods of the adapters in each table, used in turn.
const METHODS: [(&str, &[&str]); 3] = [
    ("seq_bn", &["seq_bn"]),
    ("lora", &["lora[init_weights='bert']"]),
    ("four methods", &["seq_bn", "lora[init_weights='bert']", "ia3", "prefix_tuning_flat[prefix_length=8]"]),
];

struct Arguments {
    json: bool,
    /// A tiny model, to check that everything works.
    quick: bool,
    runs: usize,
    folder: Option<String>,
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut found = Arguments { json: false, quick: false, runs: 15, folder: None };
    let mut rest = std::env::args().skip(1);
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--json" => found.json = true,
            "--quick" => found.quick = true,
            "--runs" => found.runs = rest.next().ok_or("--runs takes a number")?.parse::<usize>()?.max(1),
            _ => found.folder = Some(argument),
        }
    }
    Ok(found)
}

/// Seconds of each run, in order.
struct Times(Vec<f64>);

impl Times {
    fn median(&self) -> f64 {
        let count = self.0.len();
        (self.0[(count - 1) / 2] + self.0[count / 2]) / 2.0
    }

    fn milliseconds(&self) -> String {
        let [median, least, most] = [self.median(), self.0[0], self.0[self.0.len() - 1]].map(|seconds| seconds * 1e3);
        format!("{median:.1} ({least:.1} to {most:.1})")
    }

    fn json(&self) -> String {
        format!("{{\"median\": {:.6}, \"runs\": {:.6?}}}", self.median(), self.0)
    }
}

/// One pass, until its results are available.
fn pass(model: &AutoModel, hooks: &Hooks<'_>, batch: &TokenBatch) -> Result<Tensor<3>, BaseError> {
    let hidden = model.forward(batch, hooks)?.hidden;
    // Reading an element waits for asynchronous devices.
    let _ = hidden.clone().slice([0..1, 0..1, 0..1]).into_data();
    Ok(hidden)
}

fn main() -> Result<(), Box<dyn Error>> {
    burn_adapters::ops::keep_freed_memory();
    let arguments = arguments()?;
    let device = Device::default();
    let model = match &arguments.folder {
        Some(folder) => AutoModel::from_dir(std::path::Path::new(folder), &device)?.0,
        // The size of MiniLM, with random weights, which cost as much as trained ones.
        None if arguments.quick => AutoModel::new_seeded(&BertConfig::new(30_522, 48, 2, 12, 192), 1, &device),
        None => AutoModel::new_seeded(&BertConfig::new(30_522, 384, 6, 12, 1536), 1, &device),
    };
    let mut lines = Vec::new();
    if !arguments.json {
        println!("milliseconds a batch, {ADAPTERS} adapters; median (fastest to slowest) of {} runs\n", arguments.runs);
        println!(
            "{:13} {:>4}  {:15}  {:>24}  {:>24}  {:>24}",
            "adapters", "rows", "tokens a row", "routed", "a batch an adapter", "one adapter for all"
        );
    }
    for (label, methods) in METHODS {
        let mut bank = AdapterBank::new(model.spec(), &device);
        let names: Vec<String> = (0..ADAPTERS).map(|index| format!("adapter-{index}")).collect();
        for (index, name) in names.iter().enumerate() {
            bank.add_seeded(name, methods[index % methods.len()].parse()?, index as u64)?;
        }
        for rows in [32, 64] {
            for mixed in [false, true] {
                let [routed, apart, one] = measure(&model, &bank, &names, rows, mixed, arguments.runs)?;
                let tokens = if mixed { format!("{} to {LENGTH}", LENGTH / 4) } else { LENGTH.to_string() };
                if arguments.json {
                    lines.push(format!(
                        "  {{\"adapters\": \"{label}\", \"rows\": {rows}, \"tokens\": \"{tokens}\", \"routed\": {}, \
                         \"batch_an_adapter\": {}, \"one_adapter\": {}}}",
                        routed.json(),
                        apart.json(),
                        one.json()
                    ));
                } else {
                    println!(
                        "{label:13} {rows:>4}  {tokens:15}  {:>24}  {:>24}  {:>24}",
                        routed.milliseconds(),
                        apart.milliseconds(),
                        one.milliseconds()
                    );
                }
            }
        }
    }
    if arguments.json {
        println!("[\n{}\n]", lines.join(",\n"));
    }
    Ok(())
}

/// The times of the routed batch, of one batch per adapter in turn, and of the batch through one adapter.
fn measure(
    model: &AutoModel,
    bank: &AdapterBank,
    names: &[String],
    rows: usize,
    mixed: bool,
    runs: usize,
) -> Result<[Times; 3], Box<dyn Error>> {
    let length = |row: usize| if mixed { LENGTH / 4 + (row * 7) % (LENGTH * 3 / 4 + 1) } else { LENGTH };
    let token = |row: usize, position: usize| 1000 + ((row * 37 + position * 11) % 20_000) as u32;
    let texts: Vec<Row> =
        (0..rows).map(|row| Row::new((0..length(row)).map(|position| token(row, position)).collect())).collect();
    // The rows of an adapter are spread over the batch.
    let asks = |row: usize| (row * 5) % names.len();
    let whole = TokenBatch::from_rows(&texts);
    let routed = Setup::compose(Composition::route((0..rows).map(|row| Some(names[asks(row)].clone()))));
    let parts: Vec<(Setup, Vec<usize>, TokenBatch)> = (0..names.len())
        .map(|index| {
            let own: Vec<usize> = (0..rows).filter(|row| asks(*row) == index).collect();
            let batch = TokenBatch::from_rows(own.iter().map(|row| &texts[*row]));
            (Setup::adapter(&names[index]), own, batch)
        })
        .collect();
    let one = Setup::adapter(&names[0]);

    // Both variants give the same results, apart from padding.
    let together = pass(model, &bank.hooks(&routed)?, &whole)?;
    for (setup, own, batch) in &parts {
        let apart = pass(model, &bank.hooks(setup)?, batch)?;
        for (index, row) in own.iter().enumerate() {
            let [_, _, hidden] = together.dims();
            let tokens = length(*row);
            let cut = |tensor: &Tensor<3>, at: usize| tensor.clone().slice([at..at + 1, 0..tokens, 0..hidden]);
            let difference = (cut(&together, *row) - cut(&apart, index)).abs().max().into_scalar::<f32>();
            if difference > 1e-4 {
                return Err(format!("row {row} differs by {difference} between the routed batch and its own").into());
            }
        }
    }

    let mut seconds: [Vec<f64>; 3] = Default::default();
    for run in 0..=runs {
        // Each variant goes first in turn; the first time is discarded.
        for turn in 0..3 {
            let which = (run + turn) % 3;
            let start = Instant::now();
            match which {
                0 => drop(pass(model, &bank.hooks(&routed)?, &whole)?),
                1 => {
                    for (setup, _, batch) in &parts {
                        pass(model, &bank.hooks(setup)?, batch)?;
                    }
                }
                _ => drop(pass(model, &bank.hooks(&one)?, &whole)?),
            }
            if run > 0 {
                seconds[which].push(start.elapsed().as_secs_f64());
            }
        }
    }
    Ok(seconds.map(|mut seconds| {
        seconds.sort_by(f64::total_cmp);
        Times(seconds)
    }))
}
