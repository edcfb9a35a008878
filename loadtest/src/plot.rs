//! Plots as SVG.

use std::path::Path;

use anyhow::anyhow;
use plotters::prelude::*;

const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 92, 175), RGBColor(196, 78, 0), RGBColor(0, 128, 96), RGBColor(140, 60, 160)];

/// Lines through points, both axes from zero.
pub fn lines(path: &Path, title: &str, (x, y): (&str, &str), series: &[(&str, Vec<(f64, f64)>)]) -> anyhow::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let points = || series.iter().flat_map(|(_, points)| points);
    let most = |of: fn(&(f64, f64)) -> f64| {
        let most = points().map(of).fold(0.0, f64::max) * 1.05;
        // An axis needs a length, also where there is nothing to show.
        if most > 0.0 { most } else { 1.0 }
    };
    let draw = || -> Result<(), Box<dyn std::error::Error>> {
        let area = SVGBackend::new(path, (800, 480)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 20))
            .margin(16)
            .x_label_area_size(48)
            .y_label_area_size(72)
            .build_cartesian_2d(0.0..most(|point| point.0), 0.0..most(|point| point.1))?;
        chart
            .configure_mesh()
            .x_desc(x)
            .y_desc(y)
            .x_label_formatter(&|value| tick(*value))
            .y_label_formatter(&|value| tick(*value))
            .label_style(("sans-serif", 14))
            .light_line_style(WHITE)
            .draw()?;
        for ((name, points), colour) in series.iter().zip(COLOURS.iter().cycle()) {
            let style = colour.stroke_width(2);
            chart
                .draw_series(LineSeries::new(points.iter().copied(), style))?
                .label(*name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
            chart.draw_series(points.iter().map(|point| Circle::new(*point, 4, colour.filled())))?;
        }
        if series.len() > 1 {
            chart.configure_series_labels().border_style(BLACK).background_style(WHITE).draw()?;
        }
        area.present()?;
        Ok(())
    };
    draw().map_err(|error| anyhow!("drawing {}: {error}", path.display()))?;
    println!("drawn: {}", path.display());
    Ok(())
}

/// A number beside an axis: 250000 is 250k.
fn tick(value: f64) -> String {
    // Steps of an axis are added up: what is left of a rounding is not shown.
    let round = |value: f64| (value * 1000.0).round() / 1000.0;
    if value >= 1000.0 { format!("{}k", round(value / 1000.0)) } else { round(value).to_string() }
}

/// A bar for each, the first at the bottom.
pub fn bars(path: &Path, title: &str, x: &str, bars: &[(&str, f64)]) -> anyhow::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let most = bars.iter().map(|(_, length)| *length).fold(0.0, f64::max) * 1.15;
    let draw = || -> Result<(), Box<dyn std::error::Error>> {
        let area = SVGBackend::new(path, (800, 64 + 40 * bars.len() as u32)).into_drawing_area();
        area.fill(&WHITE)?;
        let (_, plot) = area.titled(title, ("sans-serif", 20))?.margin(0, 0, 16, 16).split_horizontally(220);
        let mut chart = ChartBuilder::on(&plot)
            .x_label_area_size(40)
            .build_cartesian_2d(0.0..most.max(f64::MIN_POSITIVE), 0.0..bars.len() as f64)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .x_desc(x)
            .x_label_formatter(&|value| tick(*value))
            .label_style(("sans-serif", 14))
            .light_line_style(WHITE)
            .draw()?;
        for (place, (name, length)) in bars.iter().enumerate() {
            let (bottom, top) = (place as f64 + 0.2, place as f64 + 0.8);
            chart.draw_series([Rectangle::new([(0.0, bottom), (*length, top)], COLOURS[0].filled())])?;
            let middle = chart.backend_coord(&(0.0, place as f64 + 0.5));
            let end = chart.backend_coord(&(*length, place as f64 + 0.5));
            let font = ("sans-serif", 14).into_font().color(&BLACK);
            area.draw(&Text::new(*name, (16, middle.1 - 7), font.clone()))?;
            area.draw(&Text::new(format!("{length:.1}"), (end.0 + 6, end.1 - 7), font))?;
        }
        area.present()?;
        Ok(())
    };
    draw().map_err(|error| anyhow!("drawing {}: {error}", path.display()))?;
    println!("drawn: {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::tick;

    #[test]
    fn numbers_beside_an_axis_are_short() {
        let told = [0.0, 0.5, 0.1 + 0.2, 12.0, 999.0, 1000.0, 2500.0, 600_000.0].map(tick);
        assert_eq!(told, ["0", "0.5", "0.3", "12", "999", "1k", "2.5k", "600k"]);
    }
}
