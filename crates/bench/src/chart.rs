//! The charts of a results file: bars of ours, the reference and the floor, and lines of growth.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Once;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontDesc, FontFamily, FontStyle, register_font};
use serde_json::Value;

use crate::Failed;

const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(0x26, 0x2b, 0x33);
const GRID: RGBColor = RGBColor(0xe3, 0xe6, 0xea);
const OURS: RGBColor = RGBColor(0x1f, 0x6f, 0xb4);
const THEIRS: RGBColor = RGBColor(0xd1, 0x5b, 0x0f);
const FLOOR: RGBColor = RGBColor(0x6b, 0x72, 0x7b);

/// Width of a chart.
const WIDTH: u32 = 1100;

/// The families that are drawn as bars, with their files and titles.
const BARS: [(&str, &str, &str); 3] = [
    ("methods", "bench-methods.svg", "A training step of each method: MiniLM-L6, 32 sentences"),
    ("step", "bench-steps.svg", "A training step"),
    ("infer", "bench-inference.svg", "Inference"),
];

/// A job as a chart shows it.
#[derive(Debug, Clone, PartialEq)]
struct Bar {
    name: String,
    ours: f64,
    theirs: Option<f64>,
    floor: Option<f64>,
}

/// Draws the charts of a results file into a folder; families that were not measured have no chart.
pub(crate) fn draw_all(results: &Path, dir: &Path) -> Result<(), Failed> {
    let text =
        std::fs::read_to_string(results).map_err(|error| format!("cannot read {}: {error}", results.display()))?;
    let results: Value = serde_json::from_str(&text)?;
    let jobs = results.get("jobs").and_then(Value::as_array).ok_or("the results hold no list of jobs")?;
    std::fs::create_dir_all(dir)?;
    register_fonts();
    for (family, file, title) in BARS {
        let bars: Vec<Bar> = of(jobs, family).filter_map(|job| bar(job, family)).collect();
        if !bars.is_empty() {
            draw_bars(&bars, title, &dir.join(file))?;
        }
    }
    let lines = growth(jobs);
    if !lines.is_empty() {
        draw_growth(&lines, &dir.join("bench-growth.svg"))?;
    }
    Ok(())
}

fn of<'a>(jobs: &'a [Value], family: &'a str) -> impl Iterator<Item = &'a Value> {
    jobs.iter().filter(move |job| job["family"] == family)
}

fn bar(job: &Value, family: &str) -> Option<Bar> {
    let median = |index: usize| job["sides"].get(index)?["median_seconds"].as_f64();
    let name = if family == "methods" { &job["config"] } else { &job["name"] };
    Some(Bar {
        name: name.as_str()?.to_owned(),
        ours: median(0)?,
        theirs: median(1),
        floor: job["floor_seconds"].as_f64(),
    })
}

/// For each growing quantity: its values, with our times and the reference's.
type Lines = BTreeMap<String, Vec<(f64, f64, Option<f64>)>>;

fn growth(jobs: &[Value]) -> Lines {
    let mut lines = Lines::new();
    for job in of(jobs, "growth") {
        let (Some(of), Some(value)) = (job["growth"]["of"].as_str(), job["growth"]["value"].as_f64()) else { continue };
        let Some(bar) = bar(job, "growth") else { continue };
        lines.entry(of.to_owned()).or_default().push((value, bar.ours, bar.theirs));
    }
    lines.values_mut().for_each(|points| points.sort_by(|left, right| left.0.total_cmp(&right.0)));
    lines
}

fn register_fonts() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // It fails only if the font is damaged; drawing then reports it.
        let _ = register_font(FONT, FontStyle::Normal, dejavu::sans::regular());
        let _ = register_font(FONT, FontStyle::Bold, dejavu::sans::bold());
    });
}

fn font(size: i32, style: FontStyle, color: RGBColor) -> TextStyle<'static> {
    FontDesc::new(FontFamily::Name(FONT), f64::from(size), style).color(&color)
}

/// The ratio to the reference is beside the names, because the bars hide it if jobs differ in size.
fn draw_bars(bars: &[Bar], title: &str, path: &Path) -> Result<(), Failed> {
    const ROW: i32 = 46;
    const TOP: i32 = 92;
    const LEFT: i32 = 400;
    const RIGHT: i32 = 110;
    let height = TOP + ROW * bars.len() as i32 + 16;
    let area = SVGBackend::new(path, (WIDTH, height.unsigned_abs())).into_drawing_area();
    let cannot =
        |error: &dyn std::fmt::Display| -> Failed { format!("cannot draw {}: {error}", path.display()).into() };
    area.fill(&WHITE).map_err(|error| cannot(&error))?;
    let text = |text: &str, at: (i32, i32), style: TextStyle| area.draw_text(text, &style, at);
    text(title, (24, 18), font(24, FontStyle::Bold, INK)).map_err(|error| cannot(&error))?;
    let signs = [("ours", OURS), ("adapters (PyTorch)", THEIRS), ("floor", FLOOR)];
    legend(&signs, &area).map_err(|error| cannot(&error))?;
    let greatest = bars.iter().flat_map(|bar| [bar.ours, bar.theirs.unwrap_or(0.0)]).fold(0.0, f64::max);
    let scale = f64::from(WIDTH as i32 - LEFT - RIGHT) / greatest.max(1e-12);
    for (index, bar) in bars.iter().enumerate() {
        let y = TOP + ROW * index as i32;
        let right = font(15, FontStyle::Normal, INK).pos(Pos::new(HPos::Right, VPos::Center));
        let ratio = bar.theirs.filter(|theirs| *theirs > 0.0).map(|theirs| format!("{:.2}×", bar.ours / theirs));
        text(&bar.name, (LEFT - 74, y + 17), right.clone()).map_err(|error| cannot(&error))?;
        let bold = font(15, FontStyle::Bold, OURS).pos(Pos::new(HPos::Right, VPos::Center));
        text(&ratio.unwrap_or_default(), (LEFT - 14, y + 17), bold).map_err(|error| cannot(&error))?;
        for (line, (value, color)) in [(Some(bar.ours), OURS), (bar.theirs, THEIRS)].into_iter().enumerate() {
            let Some(value) = value else { continue };
            let (top, end) = (y + 2 + 17 * line as i32, LEFT + (value * scale) as i32);
            let shape = Rectangle::new([(LEFT, top), (end.max(LEFT + 1), top + 14)], color.filled());
            area.draw(&shape).map_err(|error| cannot(&error))?;
            let label = font(13, FontStyle::Normal, INK).pos(Pos::new(HPos::Left, VPos::Center));
            text(&milliseconds(value), (end + 6, top + 8), label).map_err(|error| cannot(&error))?;
        }
        if let Some(floor) = bar.floor {
            let x = LEFT + (floor * scale) as i32;
            let line = PathElement::new([(x, y - 1), (x, y + 36)], FLOOR.stroke_width(2));
            area.draw(&line).map_err(|error| cannot(&error))?;
        }
    }
    area.present().map_err(|error| cannot(&error))?;
    Ok(())
}

fn milliseconds(seconds: f64) -> String {
    if seconds >= 0.1 { format!("{:.0} ms", seconds * 1e3) } else { format!("{:.1} ms", seconds * 1e3) }
}

fn draw_growth(lines: &Lines, path: &Path) -> Result<(), Failed> {
    let rows = lines.len().div_ceil(2);
    let area = SVGBackend::new(path, (WIDTH, 90 + 340 * rows as u32)).into_drawing_area();
    let cannot =
        |error: &dyn std::fmt::Display| -> Failed { format!("cannot draw {}: {error}", path.display()).into() };
    area.fill(&WHITE).map_err(|error| cannot(&error))?;
    area.draw_text("How time grows, in ms", &font(24, FontStyle::Bold, INK), (24, 16))
        .map_err(|error| cannot(&error))?;
    legend(&[("ours", OURS), ("adapters (PyTorch)", THEIRS)], &area).map_err(|error| cannot(&error))?;
    let (_, charts) = area.split_vertically(90);
    for ((of, points), part) in lines.iter().zip(charts.split_evenly((rows, 2))) {
        draw_one(of, points, &part).map_err(|error| cannot(&error))?;
    }
    area.present().map_err(|error| cannot(&error))?;
    Ok(())
}

/// The legend of the colors, below the title.
fn legend<DB: DrawingBackend>(
    signs: &[(&str, RGBColor)],
    area: &DrawingArea<DB, Shift>,
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
    for (index, (name, color)) in signs.iter().enumerate() {
        let x = 24 + 190 * index as i32;
        area.draw(&Rectangle::new([(x, 58), (x + 22, 72)], color.filled()))?;
        area.draw_text(name, &font(15, FontStyle::Normal, INK), (x + 30, 57))?;
    }
    Ok(())
}

fn draw_one<DB: DrawingBackend>(
    of: &str,
    points: &[(f64, f64, Option<f64>)],
    area: &DrawingArea<DB, Shift>,
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
    let most = points.iter().map(|point| point.0).fold(1.0, f64::max);
    let highest = points.iter().flat_map(|point| [point.1, point.2.unwrap_or(0.0)]).fold(1e-6, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(14)
        .x_label_area_size(46)
        .y_label_area_size(62)
        .build_cartesian_2d(0.0..most * 1.05, 0.0..highest * 1.1e3)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .label_style(font(14, FontStyle::Normal, INK))
        .axis_desc_style(font(15, FontStyle::Normal, INK))
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_label_formatter(&|value| format!("{value:.0}"))
        .x_desc(of)
        .draw()?;
    let ours: Vec<(f64, f64)> = points.iter().map(|point| (point.0, point.1 * 1e3)).collect();
    let theirs: Vec<(f64, f64)> = points.iter().filter_map(|point| Some((point.0, point.2? * 1e3))).collect();
    for (line, color) in [(theirs, THEIRS), (ours, OURS)] {
        chart.draw_series(LineSeries::new(line.iter().copied(), color.stroke_width(3)))?;
        chart.draw_series(line.iter().map(|point| Circle::new(*point, 4, color.filled())))?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(family: &str, name: &str, ours: f64, theirs: Option<f64>, growth: Value) -> Value {
        let mut sides = vec![json!({"median_seconds": ours})];
        sides.extend(theirs.map(|theirs| json!({"median_seconds": theirs})));
        json!({"family": family, "name": name, "config": name, "floor_seconds": 0.01, "sides": sides, "growth": growth})
    }

    fn drawn(results: &Value) -> (tempfile::TempDir, Result<(), Failed>) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("results.json");
        std::fs::write(&file, results.to_string()).unwrap();
        let done = draw_all(&file, &dir.path().join("charts"));
        (dir, done)
    }

    #[test]
    fn what_was_measured_is_drawn_with_and_without_the_reference() {
        let of = |value: usize| json!({"of": "layers", "value": value});
        let (dir, done) = drawn(&json!({"jobs": [
            job("methods", "lora", 0.1, Some(0.2), Value::Null),
            job("methods", "ia3", 0.1, None, Value::Null),
            job("growth", "a", 0.3, Some(0.4), of(6)),
            job("growth", "b", 0.1, None, of(3)),
        ]}));
        done.unwrap();
        let svg = |name: &str| std::fs::read_to_string(dir.path().join("charts").join(name));
        let methods = svg("bench-methods.svg").unwrap();
        assert!(methods.contains("lora") && methods.contains("0.50×") && methods.contains("ia3"));
        assert!(svg("bench-growth.svg").unwrap().contains("layers"));
        assert!(svg("bench-steps.svg").is_err());
    }

    #[test]
    fn points_of_growth_stand_in_order() {
        let of = |value: usize| json!({"of": "rows", "value": value});
        let jobs = [job("growth", "a", 0.3, None, of(6)), job("growth", "b", 0.1, Some(0.2), of(3))];
        assert_eq!(growth(&jobs)["rows"], [(3.0, 0.1, Some(0.2)), (6.0, 0.3, None)]);
    }

    #[test]
    fn results_without_jobs_are_an_error() {
        assert!(drawn(&json!({})).1.is_err());
    }
}
