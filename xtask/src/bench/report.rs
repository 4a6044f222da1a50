//! Tables of results.

use std::collections::BTreeSet;

use super::jobs::Family;
use super::language_table;
use super::measure::{Measured, Times};
use super::statistics::{median, ratio};

/// The tables of all jobs, and what could not be compared with.
pub(crate) fn tables(measured: &[Measured], rate: Option<f64>) -> String {
    let language = |job: &&Measured| job.threads.is_some();
    let others: Vec<Measured> = measured.iter().filter(|job| !language(job)).cloned().collect();
    let (loading, running): (Vec<&Measured>, Vec<&Measured>) =
        measured.iter().filter(language).partition(|job| job.file.is_some());
    let mut parts = Vec::new();
    if !others.is_empty() {
        parts.push(table(&others, rate));
    }
    parts.extend([running, loading].iter().filter_map(|jobs| language_table::table(jobs)));
    let skipped: BTreeSet<&String> = measured.iter().flat_map(|job| &job.skipped).collect();
    parts.extend(skipped.into_iter().map(|reason| format!("{reason}\n")));
    parts.join("\n")
}

/// Jobs, one row per comparison.
fn table(measured: &[Measured], rate: Option<f64>) -> String {
    let mut rows =
        vec![["job", "ours", "floor", "against", "theirs", "ours / theirs", "memory"].map(str::to_owned).to_vec()];
    for job in measured {
        let Some((first, others)) = job.times.split_first() else { continue };
        let name = if first.label == "ours" { job.name.clone() } else { format!("{}: {}", job.name, first.label) };
        let head = [name, seconds(median(&first.seconds)), seconds(job.floor(rate))];
        if others.is_empty() {
            rows.push([head.to_vec(), vec!["–".into(), "–".into(), "–".into(), bytes(first.peak)]].concat());
        }
        for (index, other) in others.iter().enumerate() {
            let head = if index == 0 { head.clone() } else { Default::default() };
            rows.push([head.to_vec(), against(first, other)].concat());
        }
    }
    align(&rows)
}

fn against(first: &Times, other: &Times) -> Vec<String> {
    let ratio = ratio_with_range(&first.seconds, &other.seconds);
    let threads = other.threads.map(|count| format!(" ({count} threads)").replace("(1 threads)", "(1 thread)"));
    let apart = other.extra["logits_apart"].as_f64().map(|apart| format!(", logits {apart:.1e} apart"));
    let label = format!("{}{}{}", other.label, threads.unwrap_or_default(), apart.unwrap_or_default());
    let memory = match (first.peak, other.peak) {
        (Some(ours), Some(theirs)) if theirs > 0 => {
            format!("{} / {} = {:.2}", bytes(Some(ours)), bytes(Some(theirs)), ours as f64 / theirs as f64)
        }
        _ => bytes(first.peak),
    };
    vec![label, seconds(median(&other.seconds)), ratio, memory]
}

/// The ratio of the medians, with the smallest and the largest one of a repetition.
pub(super) fn ratio_with_range(ours: &[f64], theirs: &[f64]) -> String {
    ratio(ours, theirs).map_or("–".into(), |one| {
        // For a tenth and less, two digits would not be enough.
        let digits = if one.medians < 0.1 { 4 } else { 2 };
        format!("{:.digits$} ({:.digits$}–{:.digits$})", one.medians, one.lowest, one.highest)
    })
}

/// The methods only: parameters and times, as in the documentation. `None` if they were not measured.
pub(crate) fn methods(measured: &[Measured]) -> Option<String> {
    let jobs: Vec<&Measured> = measured.iter().filter(|job| job.family == Family::Methods.name()).collect();
    if jobs.is_empty() {
        return None;
    }
    let header = ["method", "parameters", "ours, ms a step", "`adapters`, ms a step", "ours / `adapters`"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for job in jobs {
        let Some(ours) = job.times.first() else { continue };
        let theirs = job.times.get(1);
        let milliseconds = |times: &Times| median(&times.seconds).map(|seconds| format!("{:.1}", seconds * 1e3));
        let ratio = theirs.and_then(|theirs| ratio(&ours.seconds, &theirs.seconds));
        rows.push(vec![
            format!("`{}`", job.config.as_deref().unwrap_or_default()),
            ours.parameters.map(thousands).unwrap_or_default(),
            milliseconds(ours).unwrap_or_default(),
            theirs.and_then(milliseconds).unwrap_or_else(|| "–".into()),
            ratio.map_or("–".into(), |ratio| format!("{:.2}", ratio.medians)),
        ]);
    }
    Some(align(&rows))
}

/// A Markdown table with aligned columns.
pub(super) fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(index, (cell, width))| {
            let gap = " ".repeat(width.saturating_sub(cell.chars().count()));
            if index == 0 { format!("{cell}{gap}") } else { format!("{gap}{cell}") }
        });
        format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        text.push_str(&line(row));
        if index == 0 {
            let rules = widths.iter().enumerate().map(|(index, width)| match index {
                0 => "-".repeat(*width),
                _ => format!("{}:", "-".repeat(width - 1)),
            });
            text.push_str(&format!("| {} |\n", rules.collect::<Vec<_>>().join(" | ")));
        }
    }
    text
}

pub(super) fn seconds(value: Option<f64>) -> String {
    match value {
        None => "–".into(),
        Some(value) if value >= 10.0 => format!("{value:.1} s"),
        Some(value) if value >= 0.1 => format!("{:.0} ms", value * 1e3),
        Some(value) if value >= 1e-4 => format!("{:.2} ms", value * 1e3),
        Some(value) => format!("{:.1} µs", value * 1e6),
    }
}

pub(super) fn bytes(value: Option<u64>) -> String {
    value.map_or("–".into(), |value| format!("{:.0} MB", value as f64 / 1e6))
}

fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(family: &str, others: &[(&str, f64)]) -> Measured {
        let times = |label: &str, seconds: f64, threads| Times {
            label: label.into(),
            seconds: vec![seconds; 3],
            peak: Some((seconds * 1e9) as u64),
            threads,
            parameters: Some(1_234_567),
            ..Times::default()
        };
        let mut all = vec![times("ours", 0.05, None)];
        all.extend(others.iter().map(|(label, seconds)| times(label, *seconds, Some(1))));
        Measured {
            family: family.into(),
            name: "step lora".into(),
            config: Some("lora".into()),
            operations: Some(1e9),
            times: all,
            ..Measured::default()
        }
    }

    #[test]
    fn a_comparison_is_a_row_with_ratio_floor_and_memory() {
        let table = table(&[job("step", &[("adapters", 0.1), ("peft", 0.2)])], Some(1e11));
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 4);
        for part in ["step lora", "50.00 ms", "10.00 ms", "adapters (1 thread)", "100 ms", "0.50 (0.50–0.50)"] {
            assert!(lines[2].contains(part), "{part} in {}", lines[2]);
        }
        assert!(lines[2].contains("50 MB / 100 MB = 0.50"));
        assert!(lines[3].starts_with("|  ") && lines[3].contains("peft") && lines[3].contains("0.25"));
    }

    #[test]
    fn without_the_reference_there_is_no_ratio() {
        let table = table(&[job("step", &[])], None);
        assert!(table.lines().nth(2).is_some_and(|line| line.contains("step lora") && line.contains('–')));
    }

    #[test]
    fn the_methods_have_a_table_of_their_own() {
        assert_eq!(methods(&[job("step", &[])]), None);
        let table = methods(&[job("methods", &[("adapters", 0.1)])]).unwrap_or_default();
        assert!(table.contains("| `lora` |  1,234,567 |            50.0 |"), "{table}");
    }

    #[test]
    fn every_line_of_a_table_is_as_wide() {
        let table = table(&[job("step", &[("adapters", 0.1)]), job("step", &[])], Some(1e11));
        let widths: Vec<usize> = table.lines().map(|line| line.chars().count()).collect();
        assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "{table}");
    }

    #[test]
    fn times_are_told_in_fitting_units() {
        let told = [12.34, 1.234, 0.01234, 0.000_012_3].map(|value| seconds(Some(value)));
        assert_eq!(told, ["12.3 s", "1234 ms", "12.34 ms", "12.3 µs"]);
    }
}
