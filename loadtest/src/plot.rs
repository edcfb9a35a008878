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
        chart.configure_mesh().x_desc(x).y_desc(y).light_line_style(WHITE).draw()?;
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
