//! Charts, as SVG that is legible in print, in dark mode, and without seeing all colours.
//!
//! plotters draws them. It knows fixed colours only, so what it draws in black is given the reader's own text colour
//! afterwards. Series have colours of Okabe and Ito ("Color universal design", 2008), which people tell apart whatever
//! kind of colour vision they have, and lines have marks of different shapes besides.

mod axis;
mod bars;
mod lines;

use std::ops::Range;

use plotters::{
    coord::{
        Shift,
        ranged1d::{DefaultFormatting, KeyPointHint, Ranged},
    },
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

pub(crate) use self::{
    axis::Axis,
    bars::Bars,
    lines::{Lines, Series},
};

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

type Drawn = Result<(), Box<dyn std::error::Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

/// A shape and a colour for each series: 28 pairs, before one is there again.
macro_rules! mark {
    ($index:expr, $at:expr) => {{
        let colour = $crate::chart::colour($index);
        match $index % 4 {
            0 => Circle::new($at, 4, colour.filled()).into_dyn(),
            1 => TriangleMarker::new($at, 6, colour.filled()).into_dyn(),
            2 => Cross::new($at, 4, colour.stroke_width(2)).into_dyn(),
            _ => Circle::new($at, 4, colour.stroke_width(2)).into_dyn(),
        }
    }};
}
use mark;

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

/// In rows above the chart, so that it covers nothing.
struct Legend {
    /// Each name with its place.
    names: Vec<(i32, i32, String)>,
    height: u32,
}

impl Legend {
    /// A single series needs none.
    fn new<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> Self {
        if names.len() < 2 {
            return Self { names: Vec::new(), height: 10 };
        }
        let (mut x, mut y) = (40, 16);
        let mut placed = Vec::new();
        for name in names {
            let width = 28 + 20 + name.chars().count() as i32 * 8;
            if x + width > WIDTH as i32 && x > 40 {
                (x, y) = (40, y + 22);
            }
            placed.push((x, y, name.to_owned()));
            x += width;
        }
        Self { names: placed, height: y as u32 + 18 }
    }

    fn draw(&self, area: &Area<'_>, are_lines: bool) -> Drawn {
        let style = ("sans-serif", 14, &INK).into_text_style(area).pos(Pos::new(HPos::Left, VPos::Center));
        for (index, (x, y, name)) in self.names.iter().enumerate() {
            let (x, y) = (*x, *y);
            if are_lines {
                area.draw(&PathElement::new(vec![(x, y), (x + 22, y)], colour(index).stroke_width(2)))?;
                area.draw(&mark!(index, (x + 11, y)))?;
            } else {
                area.draw(&Rectangle::new([(x + 6, y - 7), (x + 20, y + 7)], colour(index).filled()))?;
            }
            area.draw(&Text::new(name.clone(), (x + 28, y), style.clone()))?;
        }
        Ok(())
    }
}

/// A chart by itself: some who show it take the reader's colours for it, and others for what is behind it.
pub(crate) fn on_paper(svg: &str) -> String {
    const PAPER: &str = ".paper{fill:#fff}@media (prefers-color-scheme:dark){.paper{fill:#16181c}}</style>\
                         <rect class=\"paper\" width=\"100%\" height=\"100%\"/>";
    svg.replacen("</style>", PAPER, 1)
}

/// The reader's colours instead of black, and words for who cannot see.
fn finish(svg: &str, height: u32, alt: &str) -> String {
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
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {height}\" xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" \
         aria-label=\"{alt}\">\n<title>{alt}</title>\n<style>{STYLE}</style>\n{body}"
    )
}
