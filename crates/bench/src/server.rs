//! Answering requests.

use std::io::{BufRead, Write};
use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use burn_adapters_fetch::{Cache, Kind};

use crate::data::Batch;
use crate::job::Job;
use crate::protocol::{Answer, Matmul, Request, Run};
use crate::{Failed, jobs, make};

/// Answers every line until the input ends. If a line cannot be answered, the answer is an error.
pub(crate) fn serve(input: impl BufRead, mut output: impl Write) -> Result<(), Failed> {
    let mut server = Server { device: Device::default(), job: None };
    for line in input.lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let answer = server.answer(&line).unwrap_or_else(|error| Answer::Error { error: error.to_string() });
        serde_json::to_writer(&mut output, &answer)?;
        writeln!(output)?;
        output.flush()?;
    }
    Ok(())
}

struct Server {
    device: Device,
    job: Option<Box<dyn Job>>,
}

impl Server {
    fn answer(&mut self, line: &str) -> Result<Answer, Failed> {
        let request: Request = serde_json::from_str(line).map_err(|error| format!("not a request: {error}"))?;
        match request {
            Request::Hello => Ok(Answer::Hello {
                side: "burn-adapters",
                version: env!("CARGO_PKG_VERSION"),
                backend: format!("{:?}", self.device),
                threads: threads(),
            }),
            Request::Fetch => fetch(),
            Request::FetchLanguageModel => {
                let model = burn_adapters_fetch::chat_model(&Cache::from_env()?, &mut ())?;
                Ok(Answer::FetchedLanguageModel { model })
            }
            Request::MakeModel(make) => make::model(&make).map(|()| Answer::Done { done: true }),
            Request::MakeAdapter(make) => make::adapter(&make, &self.device).map(|()| Answer::Done { done: true }),
            Request::MakePeftAdapter(make) => {
                make::peft_adapter(&make, &self.device).map(|()| Answer::Done { done: true })
            }
            Request::Prepare(prepare) => {
                // Dropped first, so that two jobs are never in memory together.
                self.job = None;
                let (job, mut check) = jobs::prepare(&prepare, &self.device)?;
                check.lengths = job.batches().iter().map(Batch::lengths).collect();
                self.job = Some(job);
                Ok(Answer::Prepared { check })
            }
            Request::Run(run) => self.run(&run),
            Request::Matmul(matmul) => Ok(Answer::Rate { flops_per_second: self.rate(&matmul)? }),
            Request::Peak => Ok(Answer::Peak { peak_memory_bytes: peak() }),
        }
    }

    fn run(&mut self, run: &Run) -> Result<Answer, Failed> {
        let job = self.job.as_mut().ok_or("no job has been prepared")?;
        for unit in 0..run.warmup {
            job.unit(unit)?;
        }
        let seconds = (0..run.units).map(|unit| Ok(job.unit(unit)?.as_secs_f64())).collect::<Result<_, Failed>>()?;
        Ok(Answer::Ran { seconds })
    }

    /// The fastest of several products of square matrices.
    fn rate(&self, matmul: &Matmul) -> Result<f64, Failed> {
        let size = matmul.size;
        let random = || Tensor::<2>::random([size, size], Distribution::Default, &self.device);
        let (a, b) = (random(), random());
        let mut best = f64::INFINITY;
        for _ in 0..=matmul.repetitions {
            let start = Instant::now();
            let product = a.clone().matmul(b.clone());
            self.device.sync()?;
            best = best.min(start.elapsed().as_secs_f64());
            drop(product);
        }
        Ok(2.0 * (size as f64).powi(3) / best)
    }
}

fn fetch() -> Result<Answer, Failed> {
    let cache = Cache::from_env()?;
    let model = burn_adapters_fetch::model(&cache, &mut ())?;
    let [data] = burn_adapters_fetch::sentences(&cache, [Kind::MovieReviews], &mut ())?;
    Ok(Answer::Fetched { model, data })
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The peak memory of the process, in bytes; `None` if the system does not report it.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn answers(input: &str) -> Vec<serde_json::Value> {
        let mut output = Vec::new();
        serve(input.as_bytes(), &mut output).unwrap();
        let text = String::from_utf8(output).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_bad_line_gets_an_error_and_the_next_is_answered() {
        let answers = answers("{\"op\":\n[]\n{\"op\":\"run\",\"units\":1}\n\n{\"op\":\"hello\"}\n");
        assert_eq!(answers.len(), 4);
        assert!(answers[..3].iter().all(|answer| answer["error"].is_string()), "{answers:?}");
        assert_eq!(answers[2]["error"], "no job has been prepared");
        assert_eq!(answers[3]["side"], "burn-adapters");
    }

    #[test]
    fn a_job_on_files_that_are_not_there_is_an_error() {
        let job =
            r#"{"op":"prepare","kind":"step","model":"nowhere","adapter":"a","data":"d","batches":[{"rows":[0]}]}"#;
        assert!(answers(job)[0]["error"].is_string());
    }

    #[test]
    fn a_rate_is_measured() {
        let answers = answers("{\"op\":\"matmul\",\"size\":16,\"repetitions\":1}");
        assert!(answers[0]["flops_per_second"].as_f64().unwrap() > 0.0);
    }
}
