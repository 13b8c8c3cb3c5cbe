//! Bars, lying down, so that there is room for their names.

use plotters::prelude::*;

use super::{Axis, Drawn, GRID, INK, Legend, Ruler, WIDTH, colour, finish};

/// A value, and the ends of its interval.
type Estimate = (f64, f64, f64);

/// Groups of bars, one bar for each series.
#[derive(Clone, Debug)]
pub(crate) struct Bars {
    pub(crate) axis: Axis,
    pub(crate) groups: Vec<String>,
    /// A name, and a value for each group, if there is one.
    pub(crate) series: Vec<(String, Vec<Option<Estimate>>)>,
}

impl Bars {
    /// None without anything to show.
    pub(crate) fn svg(&self, alt: &str) -> Option<String> {
        let all = self.series.iter().flat_map(|(_, values)| values).flatten();
        let all = all.flat_map(|(value, _, high)| [*value, *high]);
        let mut all: Vec<_> = all.filter(|value| self.axis.place(*value).is_some()).collect();
        if all.is_empty() {
            return None;
        }
        // Bars begin at 0, or at a line below all of them.
        let least = all.iter().copied().fold(f64::INFINITY, f64::min);
        all.push(if self.axis.is_log() { least / 2.0 } else { 0.0 });
        let legend = Legend::new(self.series.iter().map(|(name, _)| name.as_str()));
        // A bar is never too thin to be seen.
        let of_group = (self.series.len() as u32 * 9).max(18) + 10;
        let height = legend.height + 64 + self.groups.len() as u32 * of_group;
        let mut svg = String::new();
        self.draw(&mut svg, height, &legend, &all).ok()?;
        Some(finish(&svg, height, alt))
    }

    fn draw(&self, svg: &mut String, height: u32, legend: &Legend, all: &[f64]) -> Drawn {
        let (range, ticks) = self.axis.scale(all);
        let start = range.start;
        let root = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
        let (top, area) = root.split_vertically(legend.height);
        legend.draw(&top, false)?;
        let names = self.groups.iter().map(|name| name.chars().count()).max().unwrap_or(0) as u32;
        let groups: Vec<_> = (0..self.groups.len()).map(|index| index as f64 + 0.5).collect();
        let mut chart = ChartBuilder::on(&area)
            .margin_right(34)
            .margin_top(6)
            .margin_left(6)
            .margin_bottom(6)
            .x_label_area_size(48)
            .y_label_area_size(24 + names * 8)
            // The first group is on top.
            .build_cartesian_2d(Ruler(range, ticks), Ruler(groups.len() as f64..0.0, groups))?;
        let name = |y: &f64| self.groups.get(y.floor() as usize).cloned().unwrap_or_default();
        let text = |x: &f64| self.axis.label(*x);
        chart
            .configure_mesh()
            .disable_y_mesh()
            .max_light_lines(0)
            .bold_line_style(GRID)
            .axis_style(INK)
            .label_style(("sans-serif", 14, &INK))
            .x_desc(self.axis.name.as_str())
            .x_label_formatter(&text)
            .y_label_formatter(&name)
            .draw()?;
        let width = 0.84 / self.series.len() as f64;
        for (index, (_, values)) in self.series.iter().enumerate() {
            for (group, value) in values.iter().enumerate() {
                let Some((value, low, high)) = *value else { continue };
                let Some(end) = self.axis.place(value) else { continue };
                let top = group as f64 + 0.08 + width * index as f64;
                let corners = [(start, top + width * 0.05), (end, top + width * 0.95)];
                chart.draw_series([Rectangle::new(corners, colour(index).filled())])?;
                if let (Some(low), Some(high)) = (self.axis.place(low), self.axis.place(high)) {
                    let line = vec![(low, top + width / 2.0), (high, top + width / 2.0)];
                    chart.draw_series([PathElement::new(line, INK.stroke_width(1))])?;
                }
            }
        }
        root.present()?;
        Ok(())
    }
}
