//! Whole programs: the quickstart, and the cold start of a prediction.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::agreement::agree;
use super::floor::{Sizes, Work, operations};
use super::jobs::{Agreement, Family, Input, Model, OTHER_BUILD, SENTENCES};
use super::measure::{Measured, Times, best_threads, lengths_of};
use super::place::{PROGRAM, Place, program, program_in};
use super::usage::{cpu_seconds, high_water_mark};
use crate::process::root;

/// The result of a program.
pub(super) struct Ran {
    pub(super) seconds: f64,
    pub(super) peak: Option<u64>,
    /// CPU seconds until about its end.
    pub(super) cpu: Option<f64>,
    pub(super) output: String,
}

/// Runs a program to its end, and watches its memory.
pub(super) fn run(name: &str, command: &mut Command) -> Result<Ran, String> {
    let start = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.map_err(|error| format!("{name}: cannot start {command:?}: {error}"))?;
    let process = child.id();
    let ended = AtomicBool::new(false);
    let (finished, (peak, cpu), output) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let (mut peak, mut cpu) = (None, None);
            while !ended.load(Ordering::Relaxed) {
                peak = peak.max(high_water_mark(process));
                cpu = cpu_seconds(process).or(cpu);
                std::thread::sleep(Duration::from_millis(5));
            }
            (peak, cpu)
        });
        let mut output = String::new();
        let read = child.stdout.take().map(|mut pipe| pipe.read_to_string(&mut output)).transpose();
        let finished = child.wait().map(|status| (status, start.elapsed()));
        ended.store(true, Ordering::Relaxed);
        let watched = watch.join().unwrap_or_default();
        (read.and(finished), watched, output)
    });
    let (status, taken) = finished.map_err(|error| format!("{name}: {error}"))?;
    if !status.success() {
        return Err(format!("{name} failed ({status}): {command:?}"));
    }
    Ok(Ran { seconds: taken.as_secs_f64(), peak, cpu, output })
}

/// One of several programs with the same task.
struct Contestant<'a> {
    label: &'a str,
    command: Box<dyn Fn() -> Command + 'a>,
    /// The part of its output to keep.
    told: fn(&Value) -> Value,
    threads: Option<usize>,
}

fn measure(family: Family, name: &str, contestants: &[Contestant], repetitions: usize) -> Result<Measured, String> {
    let mut times: Vec<Times> = contestants
        .iter()
        .map(|one| Times { label: one.label.to_owned(), threads: one.threads, ..Times::default() })
        .collect();
    for repetition in 0..repetitions {
        let mut order: Vec<usize> = (0..contestants.len()).collect();
        if repetition % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let (one, times) = (&contestants[index], &mut times[index]);
            let ran = run(one.label, &mut (one.command)())?;
            times.seconds.push(ran.seconds);
            times.peak = times.peak.max(ran.peak);
            times.cpu.extend(ran.cpu);
            let told = told(&ran.output).ok_or_else(|| format!("{}: it printed no JSON", one.label))?;
            times.extra = (one.told)(&told);
        }
    }
    let (family, name) = (family.name(), name.to_owned());
    Ok(Measured { family, name, times, ..Measured::default() })
}

/// The JSON value that a program printed: over several lines, or in the last line that has one.
pub(super) fn told(output: &str) -> Option<Value> {
    let line = || output.lines().rev().find_map(|line| serde_json::from_str(line).ok());
    serde_json::from_str(output).ok().or_else(line)
}

/// The threads with which the reference trains fastest.
fn training_threads(place: &Place, config: &str) -> Result<usize, String> {
    let mut side = place.start_python("adapters", None)?;
    let adapter = place.adapter(Model::MiniLm, config, 0.02)?;
    side.ask(&json!({
        "op": "prepare", "kind": "step", "model": place.minilm()?, "adapter": adapter, "data": place.data()?,
        "batches": Input::Sentences { batches: 2, size: 32 }.batches(),
    }))?;
    best_threads(&mut side, 2)
}

/// The quickstart, from start to saved adapter: ours, the reference's plain loop, and the reference grouped by length.
pub(crate) fn quickstart(place: &Place, config: &str, epochs: usize, repetitions: usize) -> Result<Measured, String> {
    let out = root().join("target/bench/quickstart");
    let (minilm, data) = (place.minilm()?, place.data()?);
    let threads = place.python.as_ref().map(|_| training_threads(place, config)).transpose()?;
    let accuracy = |told: &Value| json!({"accuracy": told["accuracy"]});
    let mut contestants = vec![Contestant {
        label: "ours",
        command: Box::new(|| {
            let mut command = Command::new(program(PROGRAM));
            command.args(["quickstart", "--json", "--quiet", "--config", config]);
            command.args(["--epochs", &epochs.to_string()]).arg("--dir").arg(&out);
            command
        }),
        told: accuracy,
        threads: None,
    }];
    for (label, grouped) in [("adapters", false), ("adapters, grouped by length", true)] {
        let Some(python) = &place.python else { break };
        contestants.push(Contestant {
            label,
            command: Box::new(move || {
                let mut command = Command::new(python);
                command.arg(root().join("tests/python/quickstart_reference.py"));
                command.args(["--config", config, "--epochs", &epochs.to_string()]);
                command.args(["--threads", &threads.unwrap_or_default().to_string()]);
                command.arg("--model").arg(minilm).arg("--data").arg(data);
                if grouped {
                    command.arg("--grouped");
                }
                command
            }),
            told: accuracy,
            threads,
        });
    }
    let name = format!("quickstart {config}, {epochs} epochs");
    let mut measured = measure(Family::Quickstart, &name, &contestants, repetitions)?;
    measured.config = Some(config.to_owned());
    measured.operations = Some(quickstart_operations(place, epochs)?);
    Ok(measured)
}

/// The operations of a quickstart without any padding: training, and an evaluation before, after each epoch, and at the
/// end.
fn quickstart_operations(place: &Place, epochs: usize) -> Result<f64, String> {
    let batches: Vec<Value> = (0..SENTENCES).map(|row| json!({"rows": [row]})).collect();
    let adapter = place.adapter(Model::MiniLm, "seq_bn", 0.0)?;
    // Prepared only: that counts the tokens of each sentence.
    let answer = place.start_ours("ours", None)?.ask(&json!({
        "op": "prepare", "kind": "infer", "model": place.minilm()?, "adapter": adapter, "data": place.data()?,
        "batches": batches,
    }))?;
    let sizes: Sizes = place.sizes(Model::MiniLm)?;
    let each = lengths_of(&answer["check"]).into_iter().enumerate().map(|(row, lengths)| {
        let of = |work| operations(sizes, &lengths, work);
        match row % 10 {
            0 => (epochs + 2) as f64 * of(Work::Infer),
            _ => epochs as f64 * of(Work::Step { lowest: 0 }),
        }
    });
    Ok(each.sum())
}

/// The prediction of one sentence, from the start of the process to its end.
pub(crate) fn cold_start(place: &Place, config: &str, repetitions: usize) -> Result<Measured, String> {
    let adapter = place.adapter(Model::MiniLm, config, 0.02)?;
    let minilm = place.minilm()?;
    let sentence = "A warm, funny and quietly wise film that I could watch again tomorrow.";
    let logits = |told: &Value| json!({"logits": told["logits"]});
    let ours = |label, program: PathBuf| {
        let adapter = &adapter;
        let command = move || {
            let mut command = Command::new(&program);
            command.args(["predict", "--json", "--quiet", "--text", sentence]);
            command.arg("--model").arg(minilm).arg("--adapter").arg(adapter);
            command
        };
        Contestant { label, command: Box::new(command), told: logits, threads: None }
    };
    let mut contestants = vec![ours("ours", program(PROGRAM))];
    contestants.extend(place.against.as_ref().map(|folder| ours(OTHER_BUILD, program_in(folder, PROGRAM))));
    if let Some(python) = &place.python {
        let adapter = &adapter;
        contestants.push(Contestant {
            label: "adapters",
            command: Box::new(move || {
                let mut command = Command::new(python);
                command.arg(root().join("tests/python/predict_reference.py")).args(["--text", sentence]);
                command.arg("--model").arg(minilm).arg("--adapter").arg(adapter);
                command
            }),
            told: logits,
            threads: None,
        });
    }
    let name = format!("predict one sentence, cold ({config})");
    let mut measured = measure(Family::Cold, &name, &contestants, repetitions)?;
    measured.config = Some(config.to_owned());
    if let [ours, theirs] = measured.times.as_slice() {
        agree(&ours.extra, &theirs.extra, Agreement::Rounding)
            .map_err(|what| format!("the two do not predict the same: {what}"))?;
    }
    Ok(measured)
}

#[cfg(test)]
#[cfg(unix)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_value_in_several_lines_is_not_taken_for_its_last_number() {
        assert_eq!(told("{\n\"logits\": [\n0.5\n]\n}\n"), Some(json!({"logits": [0.5]})));
        assert_eq!(told("loading\n{\"accuracy\": 0.8}\n"), Some(json!({"accuracy": 0.8})));
        assert_eq!(told("nothing"), None);
    }

    #[test]
    fn a_program_is_timed_and_its_failure_is_told() {
        let ran = run("echo", Command::new("sh").args(["-c", "echo hello; sleep 0.05"])).unwrap();
        assert_eq!(ran.output, "hello\n");
        assert!(ran.seconds >= 0.05);
        assert!(run("false", &mut Command::new("false")).is_err());
        assert!(run("nothing", &mut Command::new("/nowhere/nothing")).is_err());
    }
}
