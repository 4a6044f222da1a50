//! The first token of a language model: from the start of a process, which loads a GGUF file.
//!
//! Our time is that of the whole program. llama.cpp's is measured inside its process, from before its libraries are
//! loaded, so that Python's start is not part of it; nor is the memory that Python had before.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::jobs::{Family, LLAMA_CPP, OTHER_BUILD};
use super::measure::{Measured, Times};
use super::place::{PROGRAM, Place, program, program_in, with_threads};
use super::whole::{Ran, run, told};
use crate::process::root;

/// A text whose next token is clear.
const TEXT: &str = "The capital of France is";

/// Measures with this number of threads.
pub(crate) fn first_token(place: &Place, threads: usize, repetitions: usize) -> Result<Measured, String> {
    let model = place.smollm2()?;
    let mut programs = vec![("ours", ours(&program(PROGRAM), model))];
    let mut skipped = Vec::new();
    if let Some(folder) = &place.against {
        programs.push((OTHER_BUILD, ours(&program_in(folder, PROGRAM), model)));
    }
    match (&place.python, place.python.as_ref().and_then(|_| place.without_llama_cpp())) {
        (Some(python), None) => programs.push((LLAMA_CPP, llama_cpp(python, model, threads))),
        (Some(_), Some(reason)) => skipped.push(format!("{LLAMA_CPP} is left out: {reason}")),
        (None, _) => {}
    }
    let mut times: Vec<Times> = programs
        .iter()
        .map(|(label, _)| Times { label: (*label).to_owned(), threads: Some(threads), ..Times::default() })
        .collect();
    // Once for the files, which the system then has in memory.
    for repetition in 0..=repetitions {
        let mut order: Vec<usize> = (0..programs.len()).collect();
        if repetition % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let ((label, command), times) = (&mut programs[index], &mut times[index]);
            let ran = run(label, with_threads(command, Some(threads)))?;
            if repetition > 0 {
                add(times, &ran)?;
            }
        }
    }
    if let Some((first, others)) = times.split_first()
        && let Some(other) = others.iter().find(|other| other.extra != first.extra)
    {
        let (ours, theirs) = (&first.extra["ids"], &other.extra["ids"]);
        return Err(format!("the first token is {ours}, that of {} {theirs}", other.label));
    }
    let file = std::fs::metadata(model).map_err(|error| format!("{}: {error}", model.display()))?.len();
    let (family, name) = (Family::LmLoad.name(), "start to the first token, SmolLM2-135M, Q4_1".to_owned());
    Ok(Measured { family, name, times, threads: Some(threads), file: Some(file), skipped, ..Measured::default() })
}

fn ours(program: &Path, model: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["generate", "--json", "--quiet", "--greedy", "--max-new-tokens", "1", "--text", TEXT]);
    command.arg("--model").arg(model);
    command
}

fn llama_cpp(python: &PathBuf, model: &Path, threads: usize) -> Command {
    let mut command = Command::new(python);
    command.arg(root().join("tests/python/first_token_llama_cpp.py")).args(["--text", TEXT]);
    command.args(["--threads", &threads.to_string()]).arg("--model").arg(model);
    command
}

/// Adds a run; what the program reports of itself has precedence.
fn add(times: &mut Times, ran: &Ran) -> Result<(), String> {
    let told = told(&ran.output).ok_or_else(|| format!("{}: it printed no JSON", times.label))?;
    times.seconds.push(told["seconds"].as_f64().unwrap_or(ran.seconds));
    times.cpu.extend(told["cpu_seconds"].as_f64().or(ran.cpu));
    times.peak = times.peak.max(told["memory"].as_u64().or(ran.peak));
    let ids: &Value = &told["ids"];
    times.extra = json!({"ids": ids});
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_reports_of_itself_counts() {
        let ran = |output: &str| Ran { seconds: 2.0, peak: Some(9), cpu: Some(1.5), output: output.into() };
        let mut times = Times::default();
        add(&mut times, &ran(r#"{"ids":[7],"text":"…"}"#)).unwrap();
        add(&mut times, &ran(r#"{"ids":[7],"seconds":0.5,"cpu_seconds":0.25,"memory":20}"#)).unwrap();
        assert_eq!((times.seconds, times.cpu, times.peak), (vec![2.0, 0.5], vec![1.5, 0.25], Some(20)));
        assert_eq!(times.extra, json!({"ids": [7]}));
        assert!(add(&mut Times::default(), &ran("nothing")).is_err());
    }
}
