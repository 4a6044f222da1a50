//! Measuring a job: its contestants are checked against each other, then run in turn.

use std::time::Duration;

use serde_json::{Value, json};

use super::agreement::{agree, apart};
use super::floor::{Work, operations};
use super::jobs::{Agreement, Contestant, Job, LLAMA_CPP};
use super::place::Place;
use super::side::Side;
use super::statistics::{mean, median, ratio};

/// The pause between two sides: threads of the first may spin for a while.
const SETTLE: Duration = Duration::from_millis(300);

/// The result of a contestant.
#[derive(Debug, Clone, Default)]
pub(crate) struct Times {
    pub(crate) label: String,
    /// Seconds per unit, for each repetition.
    pub(crate) seconds: Vec<f64>,
    pub(crate) peak: Option<u64>,
    /// CPU seconds per unit, for each repetition; fewer if the system does not report them.
    pub(crate) cpu: Vec<f64>,
    /// The number of threads, if it was selected.
    pub(crate) threads: Option<usize>,
    pub(crate) parameters: Option<u64>,
    /// Other output.
    pub(crate) extra: Value,
}

/// The result of a job.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measured {
    pub(crate) family: String,
    pub(crate) name: String,
    pub(crate) config: Option<String>,
    /// The unavoidable operations of a unit.
    pub(crate) operations: Option<f64>,
    pub(crate) times: Vec<Times>,
    pub(crate) growth: Option<(&'static str, usize)>,
    /// The number of threads, if it was the same for all.
    pub(crate) threads: Option<usize>,
    /// The number of tokens that a unit processes, if it is known.
    pub(crate) tokens: Option<usize>,
    /// The size of the model's file in bytes, if it is compared with the memory.
    pub(crate) file: Option<u64>,
    /// Those that could not be compared with, and why.
    pub(crate) skipped: Vec<String>,
}

impl Measured {
    /// The seconds that the operations take at a given rate.
    pub(crate) fn floor(&self, rate: Option<f64>) -> Option<f64> {
        Some(self.operations.filter(|count| *count > 0.0)? / rate.filter(|rate| *rate > 0.0)?)
    }

    pub(crate) fn json(&self, rate: Option<f64>) -> Value {
        let first = self.times.first().map(|times| times.seconds.as_slice()).unwrap_or_default();
        let side = |(index, times): (usize, &Times)| {
            let ratio = (index > 0).then(|| ratio(first, &times.seconds)).flatten();
            json!({
                "label": times.label, "seconds": times.seconds, "median_seconds": median(&times.seconds),
                "cpu_seconds": times.cpu, "peak_memory_bytes": times.peak, "threads": times.threads, "parameters": times.parameters,
                "ratio_of_first": ratio.map(|ratio| json!({
                    "of_medians": ratio.medians, "lowest": ratio.lowest, "highest": ratio.highest,
                })),
                "told": times.extra,
            })
        };
        json!({
            "family": self.family, "name": self.name, "config": self.config, "operations": self.operations,
            "floor_seconds": self.floor(rate), "threads": self.threads, "tokens": self.tokens,
            "file_bytes": self.file, "skipped": self.skipped,
            "growth": self.growth.map(|(what, value)| json!({"of": what, "value": value})),
            "sides": self.times.iter().enumerate().map(side).collect::<Vec<_>>(),
        })
    }
}

/// Runs a job.
pub(crate) fn measure(job: &Job, place: &Place, repetitions: usize) -> Result<Measured, String> {
    let own = job.contestants.iter().filter(|one| !one.python || place.python.is_some()).cloned();
    let contestants: Vec<Contestant> = match place.against {
        Some(_) => own.take(1).flat_map(|first| [first.clone(), first.against()]).collect(),
        None => own.collect(),
    };
    let (contestants, skipped) = available(contestants, place);
    let mut sides = Vec::with_capacity(contestants.len());
    let mut times = Vec::with_capacity(contestants.len());
    let mut first: Option<Value> = None;
    let mut batches = Vec::new();
    for contestant in &contestants {
        let mut side = place.start(contestant, job.threads)?;
        let check = prepare(&mut side, job, contestant, place)?;
        match &first {
            None => {
                batches = lengths_of(&check);
                first = Some(check.clone());
            }
            Some(first) => agree(first, &check, contestant.agreement).map_err(|what| {
                format!("{} does not compute what {} does: {what}", contestant.label, times_label(&times))
            })?,
        }
        let rounds =
            job.contestants.iter().any(|one| one.bf16 || one.bf16_below > 0 || one.agreement == Agreement::BestToken);
        let apart = first.as_ref().filter(|_| rounds).and_then(|first| apart(&first["logits"], &check["logits"]));
        times.push(Times {
            label: contestant.label.clone(),
            parameters: check.get("parameters").and_then(Value::as_u64),
            extra: apart.map_or(Value::Null, |apart| json!({"logits_apart": apart})),
            ..Times::default()
        });
        sides.push((side, contestant.python));
    }
    for ((side, python), times) in sides.iter_mut().zip(&mut times) {
        times.threads = match job.threads {
            None if *python => Some(best_threads(side, job.units)?),
            threads => threads,
        };
    }
    for repetition in 0..repetitions {
        let mut order: Vec<usize> = (0..sides.len()).collect();
        if repetition % 2 == 1 {
            order.reverse();
        }
        for index in order {
            std::thread::sleep(SETTLE);
            let ran = sides[index].0.run(job.units, times[index].threads)?;
            times[index].seconds.extend(mean(&ran.seconds));
            times[index].cpu.extend(ran.cpu.map(|cpu| cpu / job.units as f64));
        }
    }
    for ((side, _), times) in sides.iter_mut().zip(&mut times) {
        times.peak = side.peak();
    }
    let all: Vec<f64> = match job.work {
        Work::Nothing => Vec::new(),
        work => {
            let sizes = place.sizes(job.model)?;
            batches.iter().map(|lengths| operations(sizes, lengths, work)).collect()
        }
    };
    Ok(Measured {
        family: job.family.name(),
        name: job.name.clone(),
        config: job.contestants.first().map(|one| one.config.clone()),
        operations: mean(&all),
        times,
        growth: job.growth,
        threads: job.threads,
        tokens: job.tokens().filter(|_| job.family.is_language()),
        file: None,
        skipped,
    })
}

/// The contestants that can be measured, and why the others cannot.
fn available(contestants: Vec<Contestant>, place: &Place) -> (Vec<Contestant>, Vec<String>) {
    let missing = contestants.iter().any(Contestant::is_llama_cpp).then(|| place.without_llama_cpp()).flatten();
    match missing {
        Some(reason) => {
            let found = contestants.into_iter().filter(|one| !one.is_llama_cpp()).collect();
            (found, vec![format!("{LLAMA_CPP} is left out: {reason}")])
        }
        None => (contestants, Vec::new()),
    }
}

fn times_label(times: &[Times]) -> &str {
    times.first().map_or("", |times| times.label.as_str())
}

fn prepare(side: &mut Side, job: &Job, contestant: &Contestant, place: &Place) -> Result<Value, String> {
    let adapter = place.adapter(job.model, &contestant.config, contestant.noise)?;
    let model = place.model_of(job.model, contestant)?;
    let mut request = json!({
        "op": "prepare", "kind": contestant.kind, "model": model, "adapter": adapter, "config": contestant.config,
        "batches": job.input.batches(), "adapters": contestant.adapters,
    });
    if !job.model.is_decoder() {
        request["data"] = json!(place.data()?);
    }
    // Our side's threads are set when it starts.
    if let Some(threads) = job.threads.filter(|_| contestant.python) {
        request["threads"] = threads.into();
    }
    if contestant.bf16 {
        request["bf16"] = true.into();
    }
    if contestant.bf16_below > 0 {
        request["bf16_below"] = contestant.bf16_below.into();
    }
    if contestant.stored {
        request["stored"] = true.into();
    }
    if contestant.checkpoints {
        request["checkpoints"] = true.into();
    }
    if job.new_tokens > 0 {
        request["new_tokens"] = job.new_tokens.into();
    }
    if let Some(library) = contestant.library {
        request["library"] = library.into();
    }
    let answer = side.ask(&request)?;
    answer.get("check").cloned().ok_or_else(|| format!("{}: expected a check", contestant.label))
}

/// The number of threads at which a side is fastest, by a short trial.
pub(crate) fn best_threads(side: &mut Side, units: usize) -> Result<usize, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut best = (f64::INFINITY, cores);
    for threads in candidates(cores) {
        std::thread::sleep(SETTLE);
        // Added up, because units have different batches.
        let sum: f64 = side.run(units.min(2), Some(threads))?.seconds.iter().sum();
        if sum < best.0 {
            best = (sum, threads);
        }
    }
    Ok(best.1)
}

/// One thread, and doublings up to all cores.
pub(crate) fn candidates(cores: usize) -> Vec<usize> {
    let mut list: Vec<usize> =
        std::iter::successors(Some(1), |count| Some(count * 2)).take_while(|n| *n < cores).collect();
    list.push(cores.max(1));
    list
}

/// Of each batch, the number of tokens of each row.
pub(crate) fn lengths_of(check: &Value) -> Vec<Vec<usize>> {
    let array = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let batches = check.get("lengths").map(array).unwrap_or_default();
    let numbers = |batch: &Value| array(batch).iter().filter_map(|n| usize::try_from(n.as_u64()?).ok()).collect();
    batches.iter().map(numbers).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn threads_double_up_to_the_cores() {
        assert_eq!(candidates(1), [1]);
        assert_eq!(candidates(2), [1, 2]);
        assert_eq!(candidates(6), [1, 2, 4, 6]);
    }

    #[test]
    fn results_hold_medians_ratios_and_the_floor() {
        let times =
            |label: &str, seconds: &[f64]| Times { label: label.into(), seconds: seconds.to_vec(), ..Times::default() };
        let measured = Measured {
            family: "step".into(),
            name: "a job".into(),
            config: None,
            operations: Some(2e9),
            times: vec![times("ours", &[0.1, 0.3, 0.2]), times("adapters", &[0.4, 0.4, 0.4])],
            ..Measured::default()
        };
        let json = measured.json(Some(1e10));
        assert_eq!(json["floor_seconds"], 0.2);
        assert_eq!(json["sides"][0]["median_seconds"], 0.2);
        assert_eq!(json["sides"][1]["ratio_of_first"]["of_medians"], 0.5);
        assert!(measured.json(None)["floor_seconds"].is_null());
        let nothing = Measured { operations: Some(0.0), ..measured };
        assert_eq!(nothing.floor(Some(1e10)), None);
    }
}
