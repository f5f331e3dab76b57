//! The plots of a load run, as inline SVG: no script, no other file. Coordinates are those of a fixed drawing of
//! [`WIDTH`] by [`HEIGHT`] that the page scales; colours come from its classes.

use std::fmt::Write as _;

use maud::{Markup, html};

/// Width of a drawing.
const WIDTH: f64 = 720.0;
/// Its height.
const HEIGHT: f64 = 240.0;
/// Room for the words at the left, the right, the top and the bottom.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 34.0;
/// Points that a line has at most: more seconds are averaged.
const POINTS: usize = 360;

/// A line: what it is called, its class, its points.
pub struct Line<'a> {
    /// In the key.
    pub name: &'a str,
    /// Its colour.
    pub class: &'a str,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
}

/// A mark at a place: its class and what it says when pointed at.
pub struct Mark {
    /// Where.
    pub at: (f64, f64),
    /// Its colour.
    pub class: &'static str,
    /// In words.
    pub title: String,
}

/// Lines and marks over a common ground, from zero. `axes` names what runs to the right and what upwards.
pub fn lines(caption: &str, axes: (&str, &str), lines: &[Line<'_>], marks: &[Mark]) -> Markup {
    let all = || lines.iter().flat_map(|l| l.points.iter()).copied().chain(marks.iter().map(|m| m.at));
    let most = |of: fn((f64, f64)) -> f64| all().map(of).filter(|v| v.is_finite()).fold(0.0, f64::max);
    let (x_ticks, y_ticks) = (ticks(most(|p| p.0)), ticks(most(|p| p.1)));
    let (x_top, y_top) = (last(&x_ticks), last(&y_ticks));
    let x = |v: f64| LEFT + v / x_top * (WIDTH - LEFT - RIGHT);
    let y = |v: f64| HEIGHT - BOTTOM - v / y_top * (HEIGHT - TOP - BOTTOM);
    html! {
        figure {
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(caption) {
                @for &tick in &y_ticks {
                    line.grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(at(y(tick))) y2=(at(y(tick))) {}
                    text x=(LEFT - 6.0) y=(at(y(tick) + 4.0)) text-anchor="end" { (number(tick)) }
                }
                @for &tick in &x_ticks {
                    text x=(at(x(tick))) y=(HEIGHT - BOTTOM + 15.0) text-anchor="middle" { (number(tick)) }
                }
                text x=(WIDTH - RIGHT) y=(HEIGHT - 5.0) text-anchor="end" { (axes.0) }
                text x=(LEFT + 4.0) y=(TOP + 8.0) { (axes.1) }
                @for line in lines {
                    polyline class=(line.class) points=(path(&line.points, x, y)) {}
                }
                @for mark in marks {
                    circle class=(mark.class) cx=(at(x(mark.at.0))) cy=(at(y(mark.at.1))) r="4" { title { (mark.title) } }
                }
            }
            figcaption {
                (caption)
                @for line in lines { span class=(format!("key {}", line.class)) {} (line.name) }
            }
        }
    }
}

/// One row of [`spans`]: a name, the quantiles in order (the first three make the body), and the largest.
pub struct Span<'a> {
    /// At its left.
    pub name: &'a str,
    /// p50, p90, p99, p99.9, largest; microseconds.
    pub at: [f64; 5],
}

/// Distributions on a common logarithmic scale of microseconds.
pub fn spans(caption: &str, rows: &[Span<'_>], words: impl Fn(f64) -> String) -> Markup {
    const NAME: f64 = 110.0;
    const ROW: f64 = 26.0;
    let height = rows.len() as f64 * ROW + 36.0;
    let (low, high) = rows
        .iter()
        .flat_map(|r| r.at)
        .fold((f64::INFINITY, 1.0_f64), |(low, high), v| (low.min(v.max(1.0)), high.max(v.max(1.0))));
    let low = if low.is_finite() { low.log10().floor() } else { 0.0 };
    let high = high.log10().ceil().max(low + 1.0);
    let x = |micros: f64| NAME + (micros.max(1.0).log10() - low) / (high - low) * (WIDTH - NAME - 24.0);
    let decades = (low as i32)..=(high as i32);
    html! {
        figure {
            svg viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label=(caption) {
                @for decade in decades {
                    @let place = at(x(10_f64.powi(decade)));
                    line.grid x1=(place) x2=(place) y1="6" y2=(height - 22.0) {}
                    text x=(place) y=(height - 7.0) text-anchor="middle" { (words(10_f64.powi(decade))) }
                }
                @for (n, row) in rows.iter().enumerate() {
                    @let y = 10.0 + n as f64 * ROW;
                    @let [p50, p90, p99, p99_9, max] = row.at.map(x);
                    text.name x="6" y=(y + 13.0) { (row.name) }
                    line.tail x1=(at(p50)) x2=(at(max)) y1=(y + 9.0) y2=(y + 9.0) {}
                    rect.body x=(at(p50)) y=(y + 3.0) width=(at((p99 - p50).max(2.0))) height="12" opacity="0.35" {}
                    rect.body x=(at(p50)) y=(y + 3.0) width=(at((p90 - p50).max(2.0))) height="12" opacity="0.6" {}
                    rect.body x=(at(p99_9 - 1.0)) y=(y + 4.0) width="2" height="10" {}
                    circle.most cx=(at(max)) cy=(y + 9.0) r="4" {
                        title { (row.name) ": median " (words(row.at[0])) ", 99 % " (words(row.at[2])) ", largest " (words(row.at[4])) }
                    }
                }
            }
            figcaption { (caption) }
        }
    }
}

/// Counts by name, as bars.
pub fn bars(caption: &str, rows: &[(String, u64)]) -> Markup {
    const NAME: f64 = 240.0;
    const ROW: f64 = 22.0;
    let height = rows.len() as f64 * ROW + 12.0;
    let most = rows.iter().map(|(_, n)| *n).max().unwrap_or(1).max(1) as f64;
    html! {
        figure {
            svg viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label=(caption) {
                @for (n, (name, count)) in rows.iter().enumerate() {
                    @let y = 6.0 + n as f64 * ROW;
                    @let width = (*count as f64 / most * (WIDTH - NAME - 90.0)).max(2.0);
                    text.name x=(NAME - 8.0) y=(y + 14.0) text-anchor="end" { (name) }
                    rect.bar x=(NAME) y=(y + 3.0) width=(at(width)) height="14" {}
                    text x=(at(NAME + width + 6.0)) y=(y + 14.0) { (count) }
                }
            }
            figcaption { (caption) }
        }
    }
}

/// Seconds and values, averaged where there are too many.
pub fn series(values: impl ExactSizeIterator<Item = u64>) -> Vec<(f64, f64)> {
    let each = values.len().div_ceil(POINTS).max(1);
    let values: Vec<f64> = values.map(|v| v as f64).collect();
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    values.chunks(each).enumerate().map(|(n, part)| ((n * each) as f64, mean(part))).collect()
}

fn path(points: &[(f64, f64)], x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) -> String {
    let mut out = String::new();
    for (a, b) in points.iter().filter(|(a, b)| a.is_finite() && b.is_finite()) {
        let _ = write!(out, "{:.1},{:.1} ", x(*a), y(*b));
    }
    out
}

/// Round numbers from zero to the first that is no less than `most`.
fn ticks(most: f64) -> Vec<f64> {
    let most = if most > 0.0 { most } else { 1.0 };
    let raw = most / 5.0;
    let power = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= raw * 0.999).unwrap_or(raw);
    let count = (most / step * 0.999_999).ceil() as usize;
    (0..=count.max(1)).map(|n| n as f64 * step).collect()
}

fn last(ticks: &[f64]) -> f64 {
    ticks.last().copied().unwrap_or(1.0)
}

/// A coordinate.
fn at(value: f64) -> String {
    format!("{value:.1}")
}

/// A tick in words: `1500`, `2M`, `0.5`.
fn number(value: f64) -> String {
    let (value, unit) = match value {
        v if v >= 1e9 => (v / 1e9, "G"),
        v if v >= 1e6 => (v / 1e6, "M"),
        v if v >= 1e4 => (v / 1e3, "k"),
        v => (v, ""),
    };
    // At most two digits behind the point, and none that say nothing.
    format!("{}{unit}", (value * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_reach_the_largest_value() {
        assert_eq!(ticks(100.0), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(ticks(0.0).len(), 6);
        for most in [0.003, 1.0, 7.3, 99.9, 101.0, 84.2e6] {
            let ticks = ticks(most);
            assert!(last(&ticks) >= most * 0.999 && (3..=7).contains(&ticks.len()), "{most}: {ticks:?}");
        }
        assert_eq!(["0.5", "1500", "20k", "2.5M"], [0.5, 1500.0, 20e3, 2.5e6].map(number).each_ref().map(|s| &**s));
    }

    #[test]
    fn long_series_are_averaged_and_keep_their_mean() {
        let points = series((0..3600_u32).map(|n| u64::from(n % 2) * 100));
        assert!(points.len() <= POINTS && points.iter().all(|(_, v)| (*v - 50.0).abs() < 1e-9), "{}", points.len());
        assert_eq!(series([3, 4].into_iter()), [(0.0, 3.0), (1.0, 4.0)]);
        assert!(series(std::iter::empty::<u64>()).is_empty());
    }

    #[test]
    fn a_drawing_stays_within_its_frame() {
        let line = Line { name: "x", class: "done", points: vec![(0.0, 0.0), (10.0, 97.0), (f64::NAN, 1.0)] };
        let text = lines("c", ("s", "/s"), &[line], &[]).into_string();
        let points = text.split("points=\"").nth(1).and_then(|t| t.split('"').next()).expect("a line");
        let all: Vec<(f64, f64)> = points
            .split_whitespace()
            .map(|p| p.split_once(',').expect("a pair"))
            .map(|(x, y)| (x.parse().expect("a number"), y.parse().expect("a number")))
            .collect();
        assert_eq!(all.len(), 2, "what is no number is not drawn: {points}");
        assert!(all.iter().all(|(x, y)| (LEFT..=WIDTH).contains(x) && (TOP..=HEIGHT).contains(y)), "{all:?}");
        assert!(all[0].1 > all[1].1, "upwards is less");
    }
}
