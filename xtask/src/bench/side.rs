//! A side of a comparison: a process that answers one JSON line with another.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::usage::cpu_seconds;

/// Timed units.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ran {
    /// The seconds of each.
    pub(crate) seconds: Vec<f64>,
    /// The CPU seconds of all of them; `None` if the system does not report them.
    pub(crate) cpu: Option<f64>,
}

/// A running server.
pub(crate) struct Side {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Side {
    /// Starts a server; `name` is its name in messages.
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self, String> {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| format!("{name}: cannot start {command:?}: {error}"))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(format!("{name}: no pipes"));
        };
        Ok(Self { name: name.to_owned(), child, input: Some(input), output: BufReader::new(output) })
    }

    /// Sends a request and waits for the answer; an error in the answer is returned as an error.
    pub(crate) fn ask(&mut self, request: &Value) -> Result<Value, String> {
        let Some(input) = &mut self.input else { return Err(format!("{}: it has ended", self.name)) };
        let sent = writeln!(input, "{request}").and_then(|()| input.flush());
        sent.map_err(|error| format!("{}: it cannot be asked any more: {error}", self.name))?;
        let mut line = String::new();
        let read = self.output.read_line(&mut line);
        match read {
            Ok(0) => Err(format!("{}: it ended without an answer", self.name)),
            Ok(_) => self.read(&line),
            Err(error) => Err(format!("{}: its answer cannot be read: {error}", self.name)),
        }
    }

    fn read(&self, line: &str) -> Result<Value, String> {
        let answer: Value = serde_json::from_str(line)
            .map_err(|error| format!("{}: expected JSON, found {:?}: {error}", self.name, line.trim()))?;
        match answer.get("error").and_then(Value::as_str) {
            Some(error) => Err(format!("{}: {error}", self.name)),
            None => Ok(answer),
        }
    }

    /// Times this many units, after one that is not timed.
    pub(crate) fn run(&mut self, units: usize, threads: Option<usize>) -> Result<Ran, String> {
        let request = |units: usize, warmup: usize| match threads {
            Some(threads) => json!({"op": "run", "units": units, "warmup": warmup, "threads": threads}),
            None => json!({"op": "run", "units": units, "warmup": warmup}),
        };
        self.ask(&request(0, 1))?;
        let before = cpu_seconds(self.child.id());
        let answer = self.ask(&request(units, 0))?;
        let cpu = before.and_then(|before| Some(cpu_seconds(self.child.id())? - before));
        let seconds: Option<Vec<f64>> =
            answer.get("seconds").and_then(Value::as_array).and_then(|list| list.iter().map(Value::as_f64).collect());
        let seconds = seconds.filter(|list| list.len() == units);
        Ok(Ran { seconds: seconds.ok_or_else(|| format!("{}: expected {units} times", self.name))?, cpu })
    }

    /// The peak memory of the process, in bytes.
    pub(crate) fn peak(&mut self) -> Option<u64> {
        self.ask(&json!({"op": "peak"})).ok()?.get("peak_memory_bytes")?.as_u64()
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // It exits when its input ends; if this fails, it has exited already.
        self.input = None;
        let _ = self.child.wait();
    }
}

#[cfg(test)]
#[cfg(unix)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn echo(answer: &str) -> Side {
        let script = format!("while read line; do echo '{answer}'; done");
        Side::start("echo", Command::new("sh").args(["-c", &script])).unwrap()
    }

    #[test]
    fn an_answer_is_read_and_an_error_is_one() {
        assert_eq!(echo(r#"{"a":1}"#).ask(&json!({"op": "hello"})).unwrap(), json!({"a": 1}));
        assert_eq!(echo(r#"{"error":"no"}"#).ask(&json!({})).unwrap_err(), "echo: no");
        assert!(echo("nonsense").ask(&json!({})).unwrap_err().contains("expected JSON"));
    }

    #[test]
    fn as_many_times_as_units_are_expected() {
        let mut side = echo(r#"{"seconds":[0.5,0.25]}"#);
        assert_eq!(side.run(2, Some(1)).unwrap().seconds, [0.5, 0.25]);
        assert!(side.run(3, None).is_err());
    }

    #[test]
    fn a_server_that_ends_is_an_error() {
        let mut side = Side::start("end", &mut Command::new("true")).unwrap();
        assert!(side.ask(&json!({"op": "hello"})).is_err());
    }
}
