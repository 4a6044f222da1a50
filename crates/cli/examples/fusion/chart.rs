//! The attention of the fusions as heat maps, in `fusion-attention.svg` and `fusion-attention.png`.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontDesc, FontFamily, FontStyle, register_font};

/// One heat map.
pub(crate) struct Panel {
    /// The fusion: panels of one group are in one row.
    pub(crate) group: &'static str,
    /// The kind of sentences.
    pub(crate) title: &'static str,
    /// Values of 0 to 1, by layer and adapter.
    pub(crate) layers: Vec<Vec<f64>>,
}

/// Pixels of the bitmap per unit of the vector drawing.
const BITMAP_SCALE: i32 = 2;

const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(0x26, 0x2b, 0x33);
const FAINT: RGBColor = RGBColor(0x6a, 0x70, 0x79);
const HOT: RGBColor = RGBColor(0x0b, 0x3d, 0x78);

/// Sizes in units of the vector drawing.
const CELL: (i32, i32) = (64, 36);
const LEFT: i32 = 92;
const GAP: i32 = 30;
const TOP: i32 = 66;
/// Above a row of panels, for the group's and the panels' names.
const NAMES: i32 = 66;
/// Below a row of panels, for the adapters' names.
const FOOT: i32 = 62;

/// Draws both files into a folder. `adapters` names the columns of every panel.
pub(crate) fn draw(panels: &[Panel], adapters: &[&str], dir: &Path) -> Result<(), String> {
    // It would fail for a damaged font only, and then drawing says so.
    let _ = register_font(FONT, FontStyle::Normal, dejavu::sans::regular());
    let _ = register_font(FONT, FontStyle::Bold, dejavu::sans::bold());
    let figure = Figure::new(panels, adapters, 1);
    let [svg, png] = ["svg", "png"].map(|extension| dir.join("fusion-attention").with_extension(extension));
    let cannot = |path: &Path, error: String| format!("cannot draw {}: {error}", path.display());
    let area = SVGBackend::new(&svg, figure.size()).into_drawing_area();
    figure.draw(&area).map_err(|error| cannot(&svg, error))?;
    drop(area);
    let figure = Figure::new(panels, adapters, BITMAP_SCALE);
    let area = BitMapBackend::new(&png, figure.size()).into_drawing_area();
    figure.draw(&area).map_err(|error| cannot(&png, error))?;
    Ok(())
}

struct Figure<'a> {
    /// The panels of each group.
    groups: Vec<&'a [Panel]>,
    adapters: &'a [&'a str],
    layers: i32,
    /// The largest value, or one half: the darkest color.
    most: f64,
    scale: i32,
}

impl<'a> Figure<'a> {
    fn new(panels: &'a [Panel], adapters: &'a [&'a str], scale: i32) -> Self {
        let values = panels.iter().flat_map(|panel| panel.layers.iter().flatten());
        Self {
            groups: panels.chunk_by(|a, b| a.group == b.group).collect(),
            adapters,
            layers: panels.iter().map(|panel| panel.layers.len()).max().unwrap_or(0) as i32,
            most: values.copied().fold(0.5, f64::max),
            scale,
        }
    }

    fn size(&self) -> (u32, u32) {
        let across = self.groups.iter().map(|group| group.len()).max().unwrap_or(0) as i32;
        let width = LEFT + across * (self.panel_width() + GAP);
        let height = TOP + self.groups.len() as i32 * self.group_height();
        (self.px(width).unsigned_abs(), self.px(height).unsigned_abs())
    }

    fn panel_width(&self) -> i32 {
        CELL.0 * self.adapters.len() as i32
    }

    fn group_height(&self) -> i32 {
        NAMES + self.layers * CELL.1 + FOOT
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>) -> Result<(), String> {
        let text = |error: DrawingAreaErrorKind<DB::ErrorType>| error.to_string();
        area.fill(&WHITE).map_err(text)?;
        let title = "AdapterFusion: mean attention by layer and adapter, over held-out sentences";
        let bold = |size, color| self.style(size, FontStyle::Bold, color, HPos::Left);
        self.text(area, title, (24, 34), &bold(22, INK)).map_err(text)?;
        for (row, group) in self.groups.iter().enumerate() {
            let top = TOP + row as i32 * self.group_height();
            if let Some(panel) = group.first() {
                self.text(area, panel.group, (24, top + 12), &bold(17, FAINT)).map_err(text)?;
            }
            let top = top + NAMES;
            let style = self.style(14, FontStyle::Normal, INK, HPos::Right);
            for layer in 0..self.layers {
                let at = (LEFT - 10, top + layer * CELL.1 + CELL.1 / 2);
                self.text(area, &format!("layer {}", layer + 1), at, &style).map_err(text)?;
            }
            let style = self.style(16, FontStyle::Normal, INK, HPos::Center);
            for (column, panel) in group.iter().enumerate() {
                let start = LEFT + column as i32 * (self.panel_width() + GAP);
                let at = (start + self.panel_width() / 2, top - 16);
                self.text(area, &format!("on {}", panel.title), at, &style).map_err(text)?;
                self.cells(area, panel, (start, top)).map_err(text)?;
                self.columns(area, (start, top + self.layers * CELL.1)).map_err(text)?;
            }
        }
        area.present().map_err(text)
    }

    fn cells<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, panel: &Panel, start: (i32, i32)) -> Drawn<DB> {
        for (layer, values) in panel.layers.iter().enumerate() {
            for (adapter, value) in values.iter().enumerate() {
                let (x, y) = (start.0 + adapter as i32 * CELL.0, start.1 + layer as i32 * CELL.1);
                let heat = (value / self.most).clamp(0.0, 1.0);
                let corners = [(x, y), (x + CELL.0 - 1, y + CELL.1 - 1)].map(|(x, y)| (self.px(x), self.px(y)));
                area.draw(&Rectangle::new(corners, blend(heat).filled()))?;
                let ink = if heat > 0.55 { WHITE } else { INK };
                let center = (x + CELL.0 / 2, y + CELL.1 / 2);
                let style = self.style(14, FontStyle::Normal, ink, HPos::Center);
                self.text(area, &format!("{value:.2}"), center, &style)?;
            }
        }
        Ok(())
    }

    /// The adapters' names below a panel, one word per line.
    fn columns<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, start: (i32, i32)) -> Drawn<DB> {
        let style = self.style(12, FontStyle::Normal, INK, HPos::Center);
        for (adapter, name) in self.adapters.iter().enumerate() {
            for (line, word) in name.split(' ').enumerate() {
                let at = (start.0 + adapter as i32 * CELL.0 + CELL.0 / 2, start.1 + 12 + 15 * line as i32);
                self.text(area, word, at, &style)?;
            }
        }
        Ok(())
    }

    fn text<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        text: &str,
        (x, y): (i32, i32),
        style: &TextStyle<'_>,
    ) -> Drawn<DB> {
        area.draw_text(text, style, (self.px(x), self.px(y)))
    }

    /// Text at a point: vertically centered on it, and beginning, centered or ending at it horizontally.
    fn style(&self, size: i32, weight: FontStyle, color: RGBColor, across: HPos) -> TextStyle<'static> {
        let font = FontDesc::new(FontFamily::Name(FONT), f64::from(self.px(size)), weight);
        font.color(&color).pos(Pos::new(across, VPos::Center))
    }

    fn px(&self, units: i32) -> i32 {
        units * self.scale
    }
}

type Drawn<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

/// From nearly white to dark blue.
fn blend(heat: f64) -> RGBColor {
    let mix = |cold: u8, hot: u8| (f64::from(cold) + heat * (f64::from(hot) - f64::from(cold))).round() as u8;
    RGBColor(mix(0xf4, HOT.0), mix(0xf7, HOT.1), mix(0xfb, HOT.2))
}
