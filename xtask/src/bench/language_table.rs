//! The tables of language models: with tokens per second, CPU time and the number of threads.

use super::measure::{Measured, Times};
use super::report::{align, bytes, ratio_with_range, seconds};
use super::statistics::median;

/// The jobs of language models, one row per comparison; `None` if there are none.
pub(crate) fn table(measured: &[&Measured]) -> Option<String> {
    let header = [
        "job",
        "threads",
        "ours",
        "against",
        "theirs",
        "ours / theirs",
        "tokens/s",
        "CPU time",
        "memory",
        "memory / file",
    ];
    // The last column is that of jobs that compare the memory with the file.
    let columns = header.len() - usize::from(measured.iter().all(|job| job.file.is_none()));
    let mut rows = vec![header[..columns].iter().map(|name| (*name).to_owned()).collect()];
    for job in measured {
        let Some((first, others)) = job.times.split_first() else { continue };
        let name = if first.label == "ours" { job.name.clone() } else { format!("{}: {}", job.name, first.label) };
        let threads = job.threads.map_or("–".into(), |threads| threads.to_string());
        let head = vec![name, threads, seconds(median(&first.seconds))];
        let mut add = |head: Vec<String>, other: Option<&Times>| {
            let mut row = [head, against(job, first, other)].concat();
            row.truncate(columns);
            rows.push(row);
        };
        if others.is_empty() {
            add(head.clone(), None);
        }
        for (index, other) in others.iter().enumerate() {
            add(if index == 0 { head.clone() } else { vec![String::new(); head.len()] }, Some(other));
        }
    }
    (rows.len() > 1).then(|| align(&rows))
}

fn against(job: &Measured, first: &Times, other: Option<&Times>) -> Vec<String> {
    let label = other.map_or("–".into(), |other| {
        let apart = other.extra["logits_apart"].as_f64().map(|apart| format!(", logits {apart:.1e} apart"));
        format!("{}{}", other.label, apart.unwrap_or_default())
    });
    let rate = |times: &Times| Some(job.tokens? as f64 / median(&times.seconds)?);
    let of_file = |times: &Times| Some(times.peak? as f64 / job.file? as f64);
    let cpu = |times: &Times| median(&times.cpu);
    let size = |times: &Times| times.peak.map(|peak| peak as f64);
    vec![
        label,
        seconds(other.and_then(|other| median(&other.seconds))),
        ratio_with_range(&first.seconds, other.map_or(&[], |other| &other.seconds)),
        both(rate(first), other.map(rate), false, |rate| format!("{rate:.0}")),
        both(cpu(first), other.map(cpu), true, |cpu| seconds(Some(cpu))),
        both(size(first), other.map(size), true, |size| bytes(Some(size as u64))),
        both(of_file(first), other.map(of_file), false, |part| format!("{part:.2}")),
    ]
}

/// Ours and theirs, and their ratio if it is wanted.
fn both(ours: Option<f64>, theirs: Option<Option<f64>>, with_ratio: bool, show: impl Fn(f64) -> String) -> String {
    let shown = |value: Option<f64>| value.map_or("–".into(), &show);
    match (ours, theirs) {
        (None, _) => "–".into(),
        (_, None) => shown(ours),
        (Some(left), Some(Some(right))) if with_ratio && right > 0.0 => {
            format!("{} / {} = {:.2}", show(left), show(right), left / right)
        }
        (_, Some(theirs)) => format!("{} / {}", shown(ours), shown(theirs)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn job(others: &[&str]) -> Measured {
        let times = |label: &str, seconds: f64| Times {
            label: label.into(),
            seconds: vec![seconds; 3],
            cpu: vec![2.0 * seconds; 3],
            peak: Some(200_000_000),
            ..Times::default()
        };
        let mut all = vec![times("ours", 0.5)];
        all.extend(others.iter().map(|label| times(label, 1.0)));
        Measured { name: "prompt".into(), times: all, threads: Some(2), tokens: Some(100), ..Measured::default() }
    }

    #[test]
    fn a_row_has_tokens_per_second_and_cpu_time() {
        let table = table(&[&job(&["PyTorch", "llama.cpp"])]).unwrap();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 4);
        for part in ["| prompt |       2 | 500 ms |", "0.50 (0.50–0.50)", "200 / 100", "1000 ms / 2000 ms = 0.50"] {
            assert!(lines[2].contains(part), "{part} in {}", lines[2]);
        }
        assert!(lines[3].contains("llama.cpp") && lines[3].starts_with("|  "));
        assert!(!lines[0].contains("memory / file"));
    }

    #[test]
    fn a_job_that_knows_the_file_compares_the_memory_with_it() {
        let with_file = Measured { file: Some(100_000_000), tokens: None, ..job(&["llama.cpp"]) };
        let table = table(&[&with_file]).unwrap();
        assert!(table.lines().nth(2).unwrap().contains("2.00 / 2.00"), "{table}");
    }

    #[test]
    fn ours_alone_has_no_ratio_and_no_job_no_table() {
        assert!(table(&[&job(&[])]).unwrap().contains("200 |"));
        assert_eq!(table(&[]), None);
    }
}
