//! Charts, as SVG that is legible in print, in dark mode, and without seeing all colours.
//!
//! plotters draws them. It knows fixed colours only, so what it draws in black is given the reader's own text colour
//! afterwards. Series have colours of Okabe and Ito ("Color universal design", 2008), which people tell apart whatever
//! kind of colour vision they have, and lines have marks of different shapes besides.

mod axis;

use std::ops::Range;

use plotters::{
    coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged},
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

pub(crate) use self::axis::Axis;

/// Of Okabe and Ito's eight, those that show on white and on black.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(128, 128, 128),
];
const INK: RGBColor = RGBColor(0, 0, 0);
/// Stands for the colour of the grid until the end.
const GRID: RGBColor = RGBColor(1, 2, 3);
const WIDTH: u32 = 900;

/// A shape and a colour for each series.
macro_rules! mark {
    ($index:expr, $at:expr) => {{
        let colour = COLOURS[$index % COLOURS.len()];
        match $index % 4 {
            0 => Circle::new($at, 4, colour.filled()).into_dyn(),
            1 => TriangleMarker::new($at, 6, colour.filled()).into_dyn(),
            2 => Cross::new($at, 4, colour.stroke_width(2)).into_dyn(),
            _ => Circle::new($at, 4, colour.stroke_width(2)).into_dyn(),
        }
    }};
}
/// A line.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Series {
    pub(crate) fn line(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points }
    }
}

/// Lines over an axis.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
    /// Places on the x axis, with what is there.
    pub(crate) marks: Vec<(f64, String)>,
}

impl Lines {
    /// None without anything to show.
    pub(crate) fn svg(&self, alt: &str) -> Option<String> {
        let shown = |axis: &Axis, value: f64| axis.place(value).is_some();
        let all: Vec<_> = self.series.iter().flat_map(|series| &series.points).copied().collect();
        let all: Vec<_> = all.into_iter().filter(|(x, y)| shown(&self.x, *x) && shown(&self.y, *y)).collect();
        if all.is_empty() {
            return None;
        }
        let marks = self.marks.iter().map(|(x, _)| *x);
        let xs: Vec<_> = all.iter().map(|(x, _)| *x).chain(marks).collect();
        let ys: Vec<_> = all.iter().map(|(_, y)| *y).collect();
        let mut svg = String::new();
        self.draw(&mut svg, &xs, &ys).ok()?;
        Some(finish(&svg, alt))
    }

    fn draw(&self, svg: &mut String, xs: &[f64], ys: &[f64]) -> Result<(), Box<dyn std::error::Error>> {
        let (x_range, x_ticks) = self.x.scale(xs);
        let (y_range, y_ticks) = self.y.scale(ys);
        let root = SVGBackend::with_string(svg, (WIDTH, 420)).into_drawing_area();
        let (legend, area) = root.split_vertically(if self.series.len() > 1 { 34 } else { 10 });
        let mut chart = ChartBuilder::on(&area)
            .margin_right(28)
            .margin_top(8)
            .margin_left(14)
            .margin_bottom(6)
            .x_label_area_size(48)
            .y_label_area_size(72)
            .build_cartesian_2d(Ruler(x_range.clone(), x_ticks), Ruler(y_range.clone(), y_ticks))?;
        let (x_text, y_text) = (|x: &f64| self.x.label(*x), |y: &f64| self.y.label(*y));
        chart
            .configure_mesh()
            .max_light_lines(0)
            .bold_line_style(GRID)
            .axis_style(INK)
            .label_style(("sans-serif", 14, &INK))
            .x_desc(self.x.name.as_str())
            .y_desc(self.y.name.as_str())
            .x_label_formatter(&x_text)
            .y_label_formatter(&y_text)
            .draw()?;
        for (index, series) in self.series.iter().enumerate() {
            let style = COLOURS[index % COLOURS.len()].stroke_width(2);
            let place = |(x, y): &(f64, f64)| Some((self.x.place(*x)?, self.y.place(*y)?));
            let points: Vec<_> = series.points.iter().filter_map(place).collect();
            chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
            // Hundreds of marks on a line are a smear.
            if points.len() <= 60 {
                chart.draw_series(points.iter().map(|point| mark!(index, *point)))?;
            }
        }
        for (index, (x, text)) in self.marks.iter().enumerate() {
            let Some(x) = self.x.place(*x) else { continue };
            let ends = [(x, y_range.start), (x, y_range.end)];
            chart.draw_series(DashedLineSeries::new(ends, 5, 4, INK.stroke_width(1)))?;
            let height = y_range.end - (y_range.end - y_range.start) * (0.01 + 0.06 * (index % 3) as f64);
            let right = x > (x_range.start + x_range.end) / 2.0;
            let anchor = Pos::new(if right { HPos::Right } else { HPos::Left }, VPos::Top);
            let style = ("sans-serif", 13, &INK).into_text_style(&area).pos(anchor);
            let text = if right { format!("{text} ") } else { format!(" {text}") };
            chart.draw_series([Text::new(text, (x, height), style)])?;
        }
        if self.series.len() > 1 {
            draw_legend(&legend, self.series.iter().map(|series| series.name.as_str()), true)?;
        }
        root.present()?;
        Ok(())
    }
}

/// Groups of bars, one bar for each series.
#[derive(Clone, Debug)]
pub(crate) struct Bars {
    pub(crate) y: Axis,
    pub(crate) groups: Vec<String>,
    /// A name, and a value for each group: with the ends of its interval, if there is one.
    pub(crate) series: Vec<(String, Vec<Option<Estimate>>)>,
}

/// A value, and the ends of its interval.
pub(crate) type Estimate = (f64, f64, f64);

impl Bars {
    /// None without anything to show.
    pub(crate) fn svg(&self, alt: &str) -> Option<String> {
        let all = self.series.iter().flat_map(|(_, values)| values).flatten();
        let all: Vec<_> =
            all.flat_map(|(value, _, high)| [*value, *high]).filter(|y| self.y.place(*y).is_some()).collect();
        if all.is_empty() {
            return None;
        }
        let mut svg = String::new();
        self.draw(&mut svg, &all).ok()?;
        Some(finish(&svg, alt))
    }

    fn draw(&self, svg: &mut String, ys: &[f64]) -> Result<(), Box<dyn std::error::Error>> {
        // Bars begin at 0, or at a power of ten below all of them.
        let least = ys.iter().copied().fold(f64::INFINITY, f64::min);
        let from_zero: Vec<_> = ys.iter().copied().chain([if self.y.is_log() { least / 2.0 } else { 0.0 }]).collect();
        let (y_range, y_ticks) = self.y.scale(&from_zero);
        let groups = self.groups.len() as f64;
        let root = SVGBackend::with_string(svg, (WIDTH, 420)).into_drawing_area();
        let (legend, area) = root.split_vertically(if self.series.len() > 1 { 34 } else { 10 });
        let mut chart = ChartBuilder::on(&area)
            .margin_right(12)
            .margin_top(8)
            .margin_left(14)
            .margin_bottom(6)
            .x_label_area_size(34)
            .y_label_area_size(72)
            .build_cartesian_2d(
                Ruler(0.0..groups, (0..self.groups.len()).map(|index| index as f64 + 0.5).collect()),
                Ruler(y_range.clone(), y_ticks),
            )?;
        let name = |x: &f64| self.groups.get(x.floor() as usize).cloned().unwrap_or_default();
        let y_text = |y: &f64| self.y.label(*y);
        chart
            .configure_mesh()
            .disable_x_mesh()
            .max_light_lines(0)
            .bold_line_style(GRID)
            .axis_style(INK)
            .label_style(("sans-serif", 14, &INK))
            .y_desc(self.y.name.as_str())
            .x_label_formatter(&name)
            .y_label_formatter(&y_text)
            .draw()?;
        let width = 0.8 / self.series.len() as f64;
        for (index, (_, values)) in self.series.iter().enumerate() {
            for (group, value) in values.iter().enumerate() {
                let Some((value, low, high)) = *value else { continue };
                let Some(top) = self.y.place(value) else { continue };
                let left = group as f64 + 0.1 + width * index as f64;
                let corners = [(left + width * 0.06, y_range.start), (left + width * 0.94, top)];
                chart.draw_series([Rectangle::new(corners, COLOURS[index % COLOURS.len()].filled())])?;
                if let (Some(low), Some(high)) = (self.y.place(low), self.y.place(high)) {
                    let middle = left + width / 2.0;
                    let line = vec![(middle, low), (middle, high)];
                    chart.draw_series([PathElement::new(line, INK.stroke_width(1))])?;
                }
            }
        }
        if self.series.len() > 1 {
            draw_legend(&legend, self.series.iter().map(|(name, _)| name.as_str()), false)?;
        }
        root.present()?;
        Ok(())
    }
}

/// A range with lines of our choice.
struct Ruler(Range<f64>, Vec<f64>);

impl Ranged for Ruler {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.0.start) / (self.0.end - self.0.start);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.1.clone()
    }

    fn range(&self) -> Range<f64> {
        self.0.clone()
    }
}

type LegendArea<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// In a row above the chart, so that it covers nothing.
fn draw_legend<'a>(
    area: &LegendArea<'_>,
    names: impl Iterator<Item = &'a str>,
    lines: bool,
) -> Result<(), Box<dyn std::error::Error>> {
    let style = ("sans-serif", 14, &INK).into_text_style(area).pos(Pos::new(HPos::Left, VPos::Center));
    let mut x = 76;
    for (index, name) in names.enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        if lines {
            area.draw(&PathElement::new(vec![(x, 16), (x + 22, 16)], colour.stroke_width(2)))?;
        } else {
            area.draw(&Rectangle::new([(x + 6, 9), (x + 20, 23)], colour.filled()))?;
        }
        area.draw(&Text::new(name.to_owned(), (x + 28, 16), style.clone()))?;
        x += 28 + 20 + name.chars().count() as i32 * 8;
    }
    Ok(())
}

/// The reader's colours instead of black, and words for who cannot see.
fn finish(svg: &str, alt: &str) -> String {
    const STYLE: &str = ".chart{color:#1b1b1b;--grid:#d9d9d9;font-family:system-ui,sans-serif}\
                         @media (prefers-color-scheme:dark){.chart{color:#e8e6e3;--grid:#3a3d42}}\
                         @media print{.chart{color:#000;--grid:#bbb}}";
    let alt = crate::report::escape(alt);
    let svg = svg
        .replace("#000000", "currentColor")
        .replace("\"#010203\"", "\"var(--grid,#d9d9d9)\"")
        .replace("font-family=\"sans-serif\"", "font-family=\"system-ui,sans-serif\"");
    let body = svg.split_once('>').map_or(svg.as_str(), |(_, body)| body);
    let body = body.trim_start();
    format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} 420\" xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" \
         aria-label=\"{alt}\">\n<title>{alt}</title>\n<style>{STYLE}</style>\n{body}"
    )
}
