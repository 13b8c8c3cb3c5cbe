//! Lines.

use plotters::{
    coord::cartesian::Cartesian2d,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::{Axis, Drawn, GRID, INK, Legend, Ruler, WIDTH, colour, finish, mark};

/// Without the legend.
const HEIGHT: u32 = 390;

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Ruler, Ruler>>;

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
        let legend = Legend::new(self.series.iter().map(|series| series.name.as_str()));
        let height = HEIGHT + legend.height;
        let mut svg = String::new();
        self.draw(&mut svg, height, &legend, &xs, &ys).ok()?;
        Some(finish(&svg, height, alt))
    }

    fn draw(&self, svg: &mut String, height: u32, legend: &Legend, xs: &[f64], ys: &[f64]) -> Drawn {
        let (x_range, x_ticks) = self.x.scale(xs);
        let (y_range, y_ticks) = self.y.scale(ys);
        let root = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
        let (top, area) = root.split_vertically(legend.height);
        legend.draw(&top, true)?;
        let mut chart = ChartBuilder::on(&area)
            .margin_right(28)
            .margin_top(8)
            .margin_left(14)
            .margin_bottom(6)
            .x_label_area_size(48)
            .y_label_area_size(72)
            .build_cartesian_2d(Ruler(x_range, x_ticks), Ruler(y_range, y_ticks))?;
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
            let place = |(x, y): &(f64, f64)| Some((self.x.place(*x)?, self.y.place(*y)?));
            let points: Vec<_> = series.points.iter().filter_map(place).collect();
            chart.draw_series(LineSeries::new(points.iter().copied(), colour(index).stroke_width(2)))?;
            // Hundreds of marks on a line are a smear.
            if points.len() <= 60 {
                chart.draw_series(points.iter().map(|point| mark!(index, *point)))?;
            }
        }
        self.draw_marks(&mut chart)?;
        root.present()?;
        Ok(())
    }

    /// Dashed lines, with what is there beside them.
    fn draw_marks<'a>(&self, chart: &mut Chart<'a, '_>) -> Drawn {
        let (x_range, y_range) = (chart.x_range(), chart.y_range());
        for (x, text) in &self.marks {
            let Some(x) = self.x.place(*x) else { continue };
            let ends = [(x, y_range.start), (x, y_range.end)];
            chart.draw_series(DashedLineSeries::new(ends, 5, 4, INK.stroke_width(1)))?;
            let is_right = x > (x_range.start + x_range.end) / 2.0;
            let anchor = Pos::new(if is_right { HPos::Right } else { HPos::Left }, VPos::Top);
            let style = ("sans-serif", 13, &INK).into_text_style(chart.plotting_area()).pos(anchor);
            // Beside the line, and not on it.
            let text = if is_right { format!("{text}\u{a0}\u{a0}") } else { format!("\u{a0}\u{a0}{text}") };
            let height = y_range.end - (y_range.end - y_range.start) * 0.01;
            chart.draw_series([Text::new(text, (x, height), style)])?;
        }
        Ok(())
    }
}
