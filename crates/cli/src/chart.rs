//! The learning curve, as `curve.svg` and `curve.png`.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::sync::Once;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::element::{DynElement, IntoDynElement};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontDesc, FontFamily, FontStyle, register_font};

/// Width and height of the vector drawing.
const SIZE: (u32, u32) = (1100, 760);

/// Pixels of the bitmap per unit of the vector drawing: the bitmap's letters are set to whole pixels, so that a finer
/// grid spaces them better.
const BITMAP_SCALE: i32 = 2;

const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(0x26, 0x2b, 0x33);
const GRID: RGBColor = RGBColor(0xe3, 0xe6, 0xea);
const LOSS: RGBColor = RGBColor(0x1f, 0x6f, 0xb4);
const ACCURACY: RGBColor = RGBColor(0xd1, 0x5b, 0x0f);
const START: RGBColor = RGBColor(0x8a, 0x90, 0x99);

/// The data of the charts.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Curve {
    /// The line above the charts.
    pub(crate) title: String,
    /// The loss of each optimizer step, from step 1.
    pub(crate) losses: Vec<f32>,
    /// The name of the metric.
    pub(crate) metric: &'static str,
    /// The held-out value after each number of steps; step 0 is before training.
    pub(crate) scores: Vec<(usize, f64)>,
}

impl Curve {
    /// The exponential moving average of the losses, with the bias of its start corrected as in Adam.
    fn smoothed(&self) -> Vec<f64> {
        // A twentieth of the run, within bounds that suit very short and very long ones.
        let window = (self.losses.len() as f64 / 20.0).clamp(1.0, 50.0);
        let decay = 1.0 - 1.0 / window;
        let mut mean = 0.0;
        let mut weight = 0.0;
        self.losses
            .iter()
            .map(|loss| {
                mean = decay * mean + (1.0 - decay) * f64::from(*loss);
                weight = decay * weight + (1.0 - decay);
                mean / weight
            })
            .collect()
    }

    fn steps(&self) -> usize {
        let evaluated = self.scores.iter().map(|(step, _)| *step).max().unwrap_or(0);
        self.losses.len().max(evaluated).max(1)
    }
}

/// Draws the curve into an SVG file.
pub(crate) fn draw_svg(curve: &Curve, path: &Path) -> Result<(), String> {
    register_fonts();
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    Drawing { curve, scale: 1 }.draw(&area)
}

/// Draws the curve into a PNG file; the path must end with `.png`.
pub(crate) fn draw_png(curve: &Curve, path: &Path) -> Result<(), String> {
    register_fonts();
    let size = (SIZE.0 * BITMAP_SCALE.unsigned_abs(), SIZE.1 * BITMAP_SCALE.unsigned_abs());
    let area = BitMapBackend::new(path, size).into_drawing_area();
    Drawing { curve, scale: BITMAP_SCALE }.draw(&area)
}

/// The font is compiled into the program, because servers often have none.
fn register_fonts() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // It would fail for a damaged font only, and then drawing says so.
        let _ = register_font(FONT, FontStyle::Normal, dejavu::sans::regular());
        let _ = register_font(FONT, FontStyle::Bold, dejavu::sans::bold());
    });
}

type Drawn<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;
type Axes = Cartesian2d<RangedCoordf64, RangedCoordf64>;

/// The metric, if there is one, above the losses, with a common axis of steps.
struct Drawing<'c> {
    curve: &'c Curve,
    /// Pixels per unit.
    scale: i32,
}

impl Drawing<'_> {
    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>) -> Result<(), String> {
        let text = |error: DrawingAreaErrorKind<DB::ErrorType>| error.to_string();
        area.fill(&WHITE).map_err(text)?;
        let title = fitting(&self.curve.title);
        area.draw_text(&title, &self.font(24, FontStyle::Bold, INK), (self.px(28), self.px(22))).map_err(text)?;
        let (_, charts) = area.split_vertically(self.px(64));
        if self.curve.scores.is_empty() {
            self.loss(&charts).map_err(text)?;
        } else {
            let (top, bottom) = charts.split_vertically(self.px(336));
            self.accuracy(&top).map_err(text)?;
            self.loss(&bottom).map_err(text)?;
        }
        area.present().map_err(text)
    }

    fn accuracy<'a, DB: DrawingBackend + 'a>(&self, area: &DrawingArea<DB, Shift>) -> Drawn<DB> {
        let points: Vec<(f64, f64)> = self.curve.scores.iter().map(|(step, value)| (*step as f64, *value)).collect();
        let lowest = points.iter().map(|(_, value)| *value).fold(1.0, f64::min);
        let highest = points.iter().map(|(_, value)| *value).fold(0.0, f64::max);
        let low = ((lowest - 0.04).max(0.0) * 20.0).floor() / 20.0;
        let high = (((highest + 0.06) * 20.0).ceil() / 20.0).min(1.0).max(low + 0.05);
        let last_step = self.last_step();
        let mut chart = self.axes(area, low..high, false)?;
        if let Some((_, start)) = points.first().filter(|(step, _)| *step == 0.0) {
            let ends = [(0.0, *start), (last_step, *start)];
            let line = self.stroke(START, 2);
            chart
                .draw_series(DashedLineSeries::new(ends, self.px(6), self.px(5), line))?
                .label("before training")
                .legend(self.key(line));
        }
        let line = self.stroke(ACCURACY, 3);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), line))?
            .label(format!("held-out {}", self.curve.metric))
            .legend(self.key(line));
        chart.draw_series(points.iter().map(|point| Circle::new(*point, self.px(5), ACCURACY.filled())))?;
        if let Some((step, value)) = points.last() {
            let style = self.font(16, FontStyle::Bold, ACCURACY).pos(Pos::new(HPos::Right, VPos::Bottom));
            chart.draw_series([Text::new(format!("{value:.4}"), (*step, *value + (high - low) * 0.04), style)])?;
        }
        self.legend(&mut chart, SeriesLabelPosition::MiddleRight)
    }

    fn loss<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>) -> Drawn<DB> {
        let highest = self.curve.losses.iter().copied().filter(|loss| loss.is_finite()).fold(0.0_f32, f32::max);
        let mut chart = self.axes(area, 0.0..(f64::from(highest) * 1.05).max(0.1), true)?;
        let numbered = |losses: Vec<f64>| {
            losses
                .into_iter()
                .enumerate()
                .map(|(index, loss)| ((index + 1) as f64, loss))
                .filter(|(_, loss)| loss.is_finite())
        };
        let raw = self.curve.losses.iter().map(|loss| f64::from(*loss)).collect();
        let thin = self.stroke(LOSS.mix(0.3), 1);
        chart.draw_series(LineSeries::new(numbered(raw), thin))?.label("each batch").legend(self.key(thin));
        let thick = self.stroke(LOSS, 3);
        let smoothed = numbered(self.curve.smoothed());
        chart.draw_series(LineSeries::new(smoothed, thick))?.label("smoothed").legend(self.key(thick));
        self.legend(&mut chart, SeriesLabelPosition::UpperRight)
    }

    /// Axes, grid and labels; only the lower chart names the steps.
    fn axes<'a, DB: DrawingBackend + 'a>(
        &self,
        area: &DrawingArea<DB, Shift>,
        values: Range<f64>,
        lower: bool,
    ) -> Result<ChartContext<'a, DB, Axes>, DrawingAreaErrorKind<DB::ErrorType>> {
        let mut chart = ChartBuilder::on(area)
            .margin_left(self.px(16))
            .margin_right(self.px(28))
            .margin_bottom(self.px(if lower { 12 } else { 0 }))
            .margin_top(self.px(4))
            .x_label_area_size(self.px(if lower { 52 } else { 30 }))
            .y_label_area_size(self.px(74))
            .build_cartesian_2d(0.0..self.last_step(), values)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(self.stroke(GRID, 1))
            .axis_style(self.stroke(START, 1))
            .set_all_tick_mark_size(self.px(5))
            .label_style(self.font(16, FontStyle::Normal, INK))
            .axis_desc_style(self.font(16, FontStyle::Normal, INK))
            .x_label_formatter(&|step| format!("{step:.0}"))
            .y_label_formatter(&|value| format!("{value:.2}"))
            .y_labels(6)
            .x_desc(if lower { "optimizer step" } else { "" })
            .y_desc(if lower { "training loss".to_owned() } else { format!("held-out {}", self.curve.metric) })
            .draw()?;
        Ok(chart)
    }

    fn legend<'a, DB: DrawingBackend + 'a>(
        &self,
        chart: &mut ChartContext<'a, DB, Axes>,
        position: SeriesLabelPosition,
    ) -> Drawn<DB> {
        chart
            .configure_series_labels()
            .position(position)
            .legend_area_size(self.px(34))
            .margin(self.px(10))
            .background_style(WHITE.mix(0.85))
            .border_style(self.stroke(GRID, 1))
            .label_font(self.font(16, FontStyle::Normal, INK))
            .draw()
    }

    fn key<DB: DrawingBackend>(
        &self,
        style: ShapeStyle,
    ) -> impl Fn((i32, i32)) -> DynElement<'static, DB, (i32, i32)> + 'static {
        let length = self.px(24);
        move |(x, y)| PathElement::new([(x, y), (x + length, y)], style).into_dyn()
    }

    /// A little room to the right of the last point.
    fn last_step(&self) -> f64 {
        self.curve.steps() as f64 * 1.02
    }

    fn px(&self, units: i32) -> i32 {
        units * self.scale
    }

    fn stroke(&self, color: impl Color, width: i32) -> ShapeStyle {
        color.stroke_width(self.px(width).unsigned_abs())
    }

    fn font(&self, size: i32, style: FontStyle, color: RGBColor) -> TextStyle<'static> {
        FontDesc::new(FontFamily::Name(FONT), f64::from(self.px(size)), style).color(&color)
    }
}

/// The most characters of a title that a drawing is wide enough for.
const LONGEST_TITLE: usize = 72;

/// A title, without what would be cut off.
fn fitting(title: &str) -> Cow<'_, str> {
    match title.char_indices().nth(LONGEST_TITLE) {
        Some((end, _)) => format!("{} …", title[..end].trim_end()).into(),
        None => title.into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_title_that_is_too_long_ends_with_an_ellipsis() {
        assert_eq!(fitting("a run"), "a run");
        let long = fitting(&"ü".repeat(100)).into_owned();
        assert_eq!((long.chars().count(), long.ends_with(" …")), (LONGEST_TITLE + 2, true));
    }

    #[test]
    fn both_files_are_drawn_even_of_a_run_of_one_step_or_none() {
        let dir = tempfile::tempdir().unwrap();
        for losses in [vec![], vec![0.5], vec![f32::NAN, 0.7]] {
            let losses_given = !losses.is_empty();
            let scores = if losses.is_empty() { vec![] } else { vec![(0, 0.5), (1, 1.0)] };
            let curve = Curve { title: "a run".into(), losses, metric: "accuracy", scores };
            draw_svg(&curve, &dir.path().join("curve.svg")).unwrap();
            draw_png(&curve, &dir.path().join("curve.png")).unwrap();
            let svg = std::fs::read_to_string(dir.path().join("curve.svg")).unwrap();
            assert_eq!(svg.contains("held-out accuracy"), losses_given);
            assert!(svg.contains("training loss") && svg.contains("a run"));
            assert!(std::fs::read(dir.path().join("curve.png")).unwrap().starts_with(b"\x89PNG"));
        }
    }

    #[test]
    fn the_smoothed_loss_of_a_constant_is_the_constant() {
        let curve = Curve { losses: vec![0.5; 100], ..Curve::default() };
        assert!(curve.smoothed().iter().all(|loss| (loss - 0.5).abs() < 1e-9));
    }
}
