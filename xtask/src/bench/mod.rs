//! `cargo xtask bench`: our crates and the Python reference in turn, on the same weights, sentences and machine.
//!
//! Two or more processes with the same protocol run a job (`crates/bench`, `tests/python/bench_reference.py`). First
//! they compute the same batch without dropout: if the results differ, the comparison is invalid. Then they run in
//! turn, so that a slow minute of the machine affects all of them. Whole programs are started and awaited.

mod agreement;
mod first_token;
mod floor;
mod job;
mod jobs;
mod language;
mod language_table;
mod load;
mod measure;
mod place;
mod report;
mod side;
mod statistics;
mod usage;
mod whole;

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use self::jobs::{Family, Wanted};
use self::load::Load;
use self::measure::{Measured, candidates};
use self::place::{Place, program};
use crate::process;
use crate::process::{Done, cargo, root, run};

/// Measures our crates and the reference in turn.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The family of jobs to measure; all by default. Can be given several times.
    #[arg(long, value_name = "NAME")]
    job: Vec<Family>,

    /// The number of repetitions per side.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: u32,

    /// Measure these configurations instead of a job's own.
    #[arg(long, value_name = "STRING")]
    config: Vec<String>,

    /// The number of threads of the jobs of language models; by default 1, and 2 if there are as many cores. Can be given
    /// several times.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Vec<u16>,

    /// A quick check that everything works: no large model, one epoch of the quickstart, at most two repetitions.
    #[arg(long)]
    quick: bool,

    /// Write the results to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Draw charts into this folder.
    #[arg(long, value_name = "DIR")]
    charts: Option<PathBuf>,

    /// Measure only our side.
    #[arg(long)]
    no_python: bool,

    /// Measure another build of our programs instead of the reference: the folder that has them, such as the
    /// target/release of an earlier commit.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["no_python", "python"])]
    against: Option<PathBuf>,

    /// A Python with the reference, instead of a virtual environment in the cache.
    #[arg(long, value_name = "PATH", conflicts_with = "no_python")]
    python: Option<PathBuf>,

    /// Use the existing release build.
    #[arg(long)]
    no_build: bool,
}

pub(crate) fn bench(arguments: &Arguments) -> Done {
    // Before the build, which is load too.
    let load = Load::now();
    warn(&load);
    if !arguments.no_build {
        build()?;
    }
    let cache = place::cache().ok_or("no folder for the cache: set BURN_ADAPTERS_CACHE")?;
    let python = match (&arguments.python, arguments.no_python || arguments.against.is_some()) {
        (_, true) => None,
        (Some(python), _) => Some(python.clone()),
        (None, false) => Some(process::reference(&cache.join("bench-venv"))?),
    };
    let place = Place::new(python, arguments.against.clone(), &cache)?;
    let machine = machine(&place)?;
    let rate = machine["matmul"]["operations_per_second"].as_f64();

    let repetitions = arguments.repetitions.min(if arguments.quick { 2 } else { u32::MAX }) as usize;
    let families = if arguments.job.is_empty() { Family::value_variants().to_vec() } else { arguments.job.clone() };
    let wanted = Wanted {
        configs: arguments.config.clone(),
        quick: arguments.quick,
        threads: match arguments.threads.as_slice() {
            [] => (1..=std::thread::available_parallelism().map_or(1, usize::from).min(2)).collect(),
            own => own.iter().map(|threads| usize::from(*threads)).collect(),
        },
    };
    let (mut measured, mut problems) = (Vec::new(), Vec::new());
    for family in families {
        for (name, job) in work(family, &wanted, &place, repetitions) {
            eprintln!("xtask: {}: {name} …", family.name());
            match job() {
                Ok(done) => {
                    let table = report::tables(std::slice::from_ref(&done), rate);
                    table.lines().skip(2).for_each(|line| eprintln!("{line}"));
                    measured.push(done);
                }
                Err(problem) => {
                    eprintln!("xtask: {name}: {problem}");
                    problems.push(json!({"family": family.name(), "name": name, "problem": problem}));
                }
            }
        }
    }
    let after = Load::now();
    finish(arguments, &measured, &problems, rate, json!({"before": load.json(), "after": after.json()}), machine)?;
    warn(&load);
    match problems.len() {
        0 => Ok(()),
        count => Err(format!("{count} jobs could not be compared")),
    }
}

type Work<'a> = (String, Box<dyn FnOnce() -> Result<Measured, String> + 'a>);

/// The jobs of a family, ready to run.
fn work<'a>(family: Family, wanted: &Wanted, place: &'a Place, repetitions: usize) -> Vec<Work<'a>> {
    let configs = if wanted.configs.is_empty() { vec!["seq_bn".to_owned()] } else { wanted.configs.clone() };
    let epochs = if wanted.quick { 1 } else { 2 };
    match family {
        Family::Quickstart => configs
            .into_iter()
            .map(|config| -> Work<'a> {
                let name = format!("quickstart {config}");
                (name, Box::new(move || whole::quickstart(place, &config, epochs, repetitions)))
            })
            .collect(),
        Family::Cold => configs
            .into_iter()
            .map(|config| -> Work<'a> {
                let name = format!("predict {config}");
                (name, Box::new(move || whole::cold_start(place, &config, repetitions)))
            })
            .collect(),
        Family::LmLoad => wanted
            .threads
            .iter()
            .map(|threads| -> Work<'a> {
                let threads = *threads;
                let name = with_threads("the first token", Some(threads));
                (name, Box::new(move || first_token::first_token(place, threads, repetitions)))
            })
            .collect(),
        family => jobs::jobs(family, wanted)
            .into_iter()
            .map(|job| -> Work<'a> {
                let name = with_threads(&job.name, job.threads);
                (name, Box::new(move || measure::measure(&job, place, repetitions)))
            })
            .collect(),
    }
}

/// A job's name with its number of threads.
fn with_threads(name: &str, threads: Option<usize>) -> String {
    match threads {
        None => name.to_owned(),
        Some(1) => format!("{name}, 1 thread"),
        Some(threads) => format!("{name}, {threads} threads"),
    }
}

fn build() -> Done {
    let packages = ["-p", "burn-adapters-bench", "-p", "burn-adapters-cli"];
    run("the release build", cargo().args(["build", "--release"]).args(packages))
}

fn warn(load: &Load) {
    if load.is_quiet() {
        eprintln!("xtask: {}", load.text());
    } else {
        let line = "!".repeat(100);
        eprintln!("{line}\nxtask: {}\nxtask: what follows proves nothing\n{line}", load.text());
    }
}

/// The machine, its load, and its rate of matrix products: PyTorch's, or ours without Python.
fn machine(place: &Place) -> Result<Value, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let ours = place.ask(&json!({"op": "hello"}))?;
    let matmul = |threads: Option<usize>| json!({"op": "matmul", "size": 1536, "repetitions": 40, "threads": threads});
    let ours_rate = place.ask(&matmul(None))?["flops_per_second"].as_f64();
    let (mut reference, mut rate, mut best_threads) = (Value::Null, None, None);
    if place.python.is_some() {
        let mut side = place.start_python("adapters", None)?;
        reference = side.ask(&json!({"op": "hello"}))?;
        for threads in candidates(cores) {
            let found = side.ask(&matmul(Some(threads)))?["flops_per_second"].as_f64();
            if found > rate {
                (rate, best_threads) = (found, Some(threads));
            }
        }
    }
    let by = if rate.is_some() { "PyTorch" } else { "burn-adapters" };
    let rate = rate.or(ours_rate);
    eprintln!("xtask: matrix products: {:.0} Gflop/s by {by}", rate.unwrap_or_default() / 1e9);
    Ok(json!({
        "processor": processor(), "cores": cores, "ours": ours, "reference": reference,
        "matmul": {
            "operations_per_second": rate, "by": by, "threads": best_threads, "ours_operations_per_second": ours_rate,
        },
    }))
}

fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn finish(
    arguments: &Arguments,
    measured: &[Measured],
    problems: &[Value],
    rate: Option<f64>,
    load: Value,
    machine: Value,
) -> Done {
    println!("{}", report::tables(measured, rate));
    if let Some(methods) = report::methods(measured) {
        println!("{methods}");
    }
    for problem in problems {
        println!("not compared: {}: {}", problem["name"], problem["problem"]);
    }
    let results = json!({
        "load": load, "machine": machine, "jobs": measured.iter().map(|job| job.json(rate)).collect::<Vec<_>>(),
        "not_compared": problems,
    });
    let text = format!("{results:#}\n");
    let kept = root().join("target/bench/results.json");
    write(&kept, &text)?;
    if let Some(path) = &arguments.json {
        write(path, &text)?;
    }
    if let Some(dir) = &arguments.charts {
        run("charts", Command::new(program("burn-adapters-bench")).arg("charts").arg(&kept).arg(dir))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Done {
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(path, text)).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
