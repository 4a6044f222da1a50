//! Measuring a job: its contestants are checked against each other, then run in turn.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::floor::operations;
use super::jobs::{Contestant, Job};
use super::place::Place;
use super::side::Side;
use super::statistics::{mean, median, ratio};

/// The allowed difference of logits and losses between two sides.
const TOLERANCE: f64 = 1e-3;

/// The allowed relative difference of gradient norms between two sides.
const NORM_TOLERANCE: f64 = 1e-2;

/// The pause between two sides: threads of the first may spin for a while.
const SETTLE: Duration = Duration::from_millis(300);

/// The result of a contestant.
#[derive(Debug, Clone, Default)]
pub(crate) struct Times {
    pub(crate) label: String,
    /// Seconds per unit, for each repetition.
    pub(crate) seconds: Vec<f64>,
    pub(crate) peak: Option<u64>,
    /// The number of threads, if it was selected.
    pub(crate) threads: Option<usize>,
    pub(crate) parameters: Option<u64>,
    /// Other output.
    pub(crate) extra: Value,
}

/// The result of a job.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) family: String,
    pub(crate) name: String,
    pub(crate) config: Option<String>,
    /// The unavoidable operations of a unit.
    pub(crate) operations: Option<f64>,
    pub(crate) times: Vec<Times>,
    pub(crate) growth: Option<(&'static str, usize)>,
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
                "peak_memory_bytes": times.peak, "threads": times.threads, "parameters": times.parameters,
                "ratio_of_first": ratio.map(|ratio| json!({
                    "of_medians": ratio.medians, "lowest": ratio.lowest, "highest": ratio.highest,
                })),
                "told": times.extra,
            })
        };
        json!({
            "family": self.family, "name": self.name, "config": self.config, "operations": self.operations,
            "floor_seconds": self.floor(rate),
            "growth": self.growth.map(|(what, value)| json!({"of": what, "value": value})),
            "sides": self.times.iter().enumerate().map(side).collect::<Vec<_>>(),
        })
    }
}

/// Runs a job.
pub(crate) fn measure(job: &Job, place: &Place, repetitions: usize) -> Result<Measured, String> {
    let model = place.model(job.model)?;
    let own = job.contestants.iter().filter(|one| !one.python || place.python.is_some()).cloned();
    let contestants: Vec<Contestant> = match place.against {
        Some(_) => own.take(1).flat_map(|first| [first.clone(), first.against()]).collect(),
        None => own.collect(),
    };
    let mut sides = Vec::with_capacity(contestants.len());
    let mut times = Vec::with_capacity(contestants.len());
    let mut first: Option<Value> = None;
    let mut batches = Vec::new();
    for contestant in &contestants {
        let mut side = place.start(contestant)?;
        let check = prepare(&mut side, job, contestant, &model, place)?;
        match &first {
            None => {
                batches = lengths_of(&check);
                first = Some(check.clone());
            }
            Some(first) if contestant.agrees => agree(first, &check).map_err(|what| {
                format!("{} does not compute what {} does: {what}", contestant.label, times_label(&times))
            })?,
            Some(_) => {}
        }
        let rounds = job.contestants.iter().any(|one| one.bf16);
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
        times.threads = if *python { Some(best_threads(side, job.units)?) } else { None };
    }
    for repetition in 0..repetitions {
        let mut order: Vec<usize> = (0..sides.len()).collect();
        if repetition % 2 == 1 {
            order.reverse();
        }
        for index in order {
            std::thread::sleep(SETTLE);
            let seconds = sides[index].0.run(job.units, times[index].threads)?;
            times[index].seconds.extend(mean(&seconds));
        }
    }
    for ((side, _), times) in sides.iter_mut().zip(&mut times) {
        times.peak = side.peak();
    }
    let sizes = place.sizes(job.model)?;
    let all: Vec<f64> = batches.iter().map(|lengths| operations(sizes, lengths, job.work)).collect();
    Ok(Measured {
        family: job.family.name(),
        name: job.name.clone(),
        config: job.contestants.first().map(|one| one.config.clone()),
        operations: mean(&all),
        times,
        growth: job.growth,
    })
}

fn times_label(times: &[Times]) -> &str {
    times.first().map_or("", |times| times.label.as_str())
}

fn prepare(
    side: &mut Side,
    job: &Job,
    contestant: &Contestant,
    model: &PathBuf,
    place: &Place,
) -> Result<Value, String> {
    let adapter = place.adapter(job.model, &contestant.config, contestant.noise)?;
    let mut request = json!({
        "op": "prepare", "kind": contestant.kind, "model": model, "adapter": adapter, "config": contestant.config,
        "data": place.data, "batches": job.input.batches(), "adapters": contestant.adapters,
    });
    if contestant.bf16 {
        request["bf16"] = true.into();
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
        let seconds = side.run(units.min(2), Some(threads))?;
        // Added up, because units have different batches.
        let sum: f64 = seconds.iter().sum();
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

/// Checks that two sides compute the same; returns the difference if not.
pub(crate) fn agree(ours: &Value, theirs: &Value) -> Result<(), String> {
    for name in ["tokens", "checksum", "parameters"] {
        if ours.get(name) != theirs.get(name) {
            return Err(format!("{name}: {} and {}", ours[name], theirs[name]));
        }
    }
    let (left, right) = (numbers(&ours["logits"]), numbers(&theirs["logits"]));
    // A side without gradients to compare reports none.
    if !left.is_empty() && !right.is_empty() {
        let Some(difference) = apart(&ours["logits"], &theirs["logits"]) else {
            return Err(format!("{} logits and {}", left.len(), right.len()));
        };
        if difference.is_nan() || difference > TOLERANCE {
            return Err(format!("logits differ by {difference:.1e}, at most {TOLERANCE:.0e} is rounding"));
        }
    }
    for (name, tolerance) in [("loss", TOLERANCE), ("gradient_norm", NORM_TOLERANCE)] {
        if let (Some(left), Some(right)) = (ours[name].as_f64(), theirs[name].as_f64()) {
            let scale = if name == "loss" { 1.0 } else { left.abs().max(right.abs()).max(1e-12) };
            let difference = (left - right).abs() / scale;
            if difference.is_nan() || difference > tolerance {
                return Err(format!("{name}: {left} and {right}"));
            }
        }
    }
    Ok(())
}

/// The largest difference between the logits of two sides; `None` if their numbers differ.
fn apart(ours: &Value, theirs: &Value) -> Option<f64> {
    let (left, right) = (numbers(ours), numbers(theirs));
    let differences = left.iter().zip(&right).map(|(left, right)| (left - right).abs());
    (left.len() == right.len()).then(|| differences.fold(0.0, worse))
}

/// The greater of two values; NaN is kept.
fn worse(left: f64, right: f64) -> f64 {
    if left.is_nan() || right.is_nan() { f64::NAN } else { left.max(right) }
}

/// All numbers in nested lists; other values become NaN.
fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(list) => list.iter().flat_map(numbers).collect(),
        value => vec![value.as_f64().unwrap_or(f64::NAN)],
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn check() -> Value {
        json!({"parameters": 5, "tokens": 9, "checksum": 77, "logits": [[0.5, -0.25]], "loss": 0.7, "gradient_norm": 2.0})
    }

    #[test]
    fn rounding_is_agreement_and_more_is_not() {
        let with = |name: &str, value: Value| {
            let mut other = check();
            other[name] = value;
            agree(&check(), &other)
        };
        assert!(with("logits", json!([[0.5004, -0.25]])).is_ok());
        assert!(with("gradient_norm", json!(2.01)).is_ok());
        for (name, value) in [
            ("logits", json!([[0.502, -0.25]])),
            ("logits", json!([[0.5]])),
            ("logits", json!([[null, -0.25]])),
            ("loss", json!(0.702)),
            ("gradient_norm", json!(2.1)),
            ("parameters", json!(6)),
            ("checksum", json!(78)),
        ] {
            assert!(with(name, value.clone()).is_err(), "{name} {value}");
        }
    }

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
            growth: None,
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
