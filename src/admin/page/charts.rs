//! Calls a minute, latency and errcodes of the last hour, as small charts.
//!
//! Shapes alone are SVG, stretched to their place; scales are text beside them, so that it stays readable at any
//! width. Each chart tells its gist to screen readers.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::words::{l, latency, number, prose};
use crate::admin::history::{MINUTES, Minute};
use crate::errcodes::{self, LABELS, Lang, Product};

/// Height of the drawing, in its own units; a minute is 10 wide.
const HEIGHT: f64 = 100.0;
const WIDE: f64 = 10.0;

pub(super) fn section(minutes: &[Minute], hour: &Minute, lang: Lang) -> Markup {
    html! {
        section #charts .charts data-live aria-labelledby="charts-title" {
            h2 #charts-title { (l(lang, "The last hour", "最近 1 小时")) }
            div .grid {
                (calls(minutes, hour, lang))
                (latencies(minutes, hour, lang))
                (errcode_rows(minutes, hour, lang))
            }
        }
    }
}

/// Where the drawing of a minute begins: the last one is at the right end.
fn x(minutes: &[Minute], at: usize) -> f64 {
    (MINUTES - minutes.len() + at) as f64 * WIDE
}

fn frame(title: &str, told: &str, legend: &Markup, top: &str, drawing: &Markup, lang: Lang) -> Markup {
    html! {
        figure .chart {
            figcaption { span { (title) } span .legend { (legend) } }
            div .plot {
                span .scale aria-hidden="true" { (top) }
                svg viewBox={ "0 0 " (MINUTES * 10) " 100" } preserveAspectRatio="none" role="img" aria-label=(told) {
                    line .grid x1="0" x2="600" y1="0.5" y2="0.5" {}
                    line .grid x1="0" x2="600" y1="50" y2="50" {}
                    (drawing)
                    line .base x1="0" x2="600" y1="100" y2="100" {}
                }
            }
            p .under.ends aria-hidden="true" {
                span { (l(lang, "60 min ago", "60 分钟前")) } span { (l(lang, "now", "现在")) }
            }
        }
    }
}

/// The next round number that is not smaller.
fn round_up(n: f64) -> f64 {
    let mut step = 1.0;
    loop {
        for factor in [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0] {
            if n <= step * factor {
                return step * factor;
            }
        }
        step *= 10.0;
    }
}

fn calls(minutes: &[Minute], hour: &Minute, lang: Lang) -> Markup {
    let most = minutes.iter().map(|minute| minute.requests).max().unwrap_or(0);
    let scale = round_up((most as f64).max(4.0));
    let told = match lang {
        Lang::En => format!(
            "Calls a minute over the last hour: {} in all, at most {} in a minute, {} failed",
            number(hour.requests),
            number(most),
            number(hour.failed)
        ),
        Lang::Zh => format!(
            "最近 1 小时每分钟调用数：共 {} 次，每分钟最多 {} 次，失败 {} 次",
            number(hour.requests),
            number(most),
            number(hour.failed)
        ),
    };
    let legend = html! {
        span .key.calls { (l(lang, "answered", "成功")) } span .key.failed { (l(lang, "failed", "失败")) }
    };
    let drawing = html! {
        @for (at, minute) in minutes.iter().enumerate() {
            @let all = minute.requests as f64 / scale * HEIGHT;
            @let bad = minute.failed as f64 / scale * HEIGHT;
            @if minute.requests > minute.failed {
                rect .calls x=(x(minutes, at) + 1.0) y=(format!("{:.1}", HEIGHT - all)) width="8"
                    height=(format!("{:.1}", all - bad)) {}
            }
            @if minute.failed > 0 {
                // One failed call among thousands is still seen.
                @let height = bad.max(2.0);
                rect .failed x=(x(minutes, at) + 1.0) y=(format!("{:.1}", HEIGHT - height)) width="8"
                    height=(format!("{height:.1}")) {}
            }
        }
    };
    frame(l(lang, "Calls a minute", "每分钟调用"), &told, &legend, &number(scale as u64), &drawing, lang)
}

fn latencies(minutes: &[Minute], hour: &Minute, lang: Lang) -> Markup {
    let of = |q: f64| minutes.iter().map(move |minute| minute.times.quantile(q)).collect::<Vec<_>>();
    let (half, most) = (of(0.5), of(0.95));
    let top = most.iter().flatten().copied().fold(0.0, f64::max);
    let scale = round_up((top * 1000.0).max(10.0)) / 1000.0;
    let shown = |q| hour.times.quantile(q).map_or_else(|| "–".to_owned(), latency);
    let told = match lang {
        Lang::En => {
            format!("Latency over the last hour: median {}, 95% within {}", shown(0.5), shown(0.95))
        }
        Lang::Zh => format!("最近 1 小时耗时：中位数 {}，95% 不超过 {}", shown(0.5), shown(0.95)),
    };
    let legend = html! {
        span .key.half { (l(lang, "median", "中位数")) } span .key.most { "95%" }
    };
    let line = |values: &[Option<f64>]| path(values, minutes, scale);
    let drawing = html! {
        path .most d=(line(&most)) {}
        path .half d=(line(&half)) {}
    };
    frame(l(lang, "Latency", "耗时"), &told, &legend, &latency(scale), &drawing, lang)
}

/// A line through the minutes that have a value; a minute alone is a short stroke.
fn path(values: &[Option<f64>], minutes: &[Minute], scale: f64) -> String {
    let mut d = String::new();
    let mut drawn = false;
    for (at, value) in values.iter().enumerate() {
        let Some(value) = value else {
            drawn = false;
            continue;
        };
        let (x, y) = (x(minutes, at), HEIGHT - value / scale * HEIGHT);
        // Writing to a String cannot fail.
        let _ = match drawn {
            true => write!(d, "L{:.0} {y:.1}", x + WIDE / 2.0),
            false => write!(d, "M{:.0} {y:.1}L{:.0} {y:.1}", x + 2.0, x + WIDE / 2.0),
        };
        drawn = true;
    }
    d
}

fn errcode_rows(minutes: &[Minute], hour: &Minute, lang: Lang) -> Markup {
    let shown = hour.errcodes.iter().take(6);
    html! {
        figure .chart.errcodes {
            figcaption { span { (l(lang, "WeChat’s errcodes", "微信错误码")) } }
            @if hour.errcodes.is_empty() {
                p .quiet { (l(lang, "None in the last hour.", "最近 1 小时没有错误码。")) }
            } @else {
                ul {
                    @for (at, count) in shown {
                        (errcode_row(minutes, *at, *count, lang))
                    }
                }
            }
        }
    }
}

fn errcode_row(minutes: &[Minute], at: usize, count: u64, lang: Lang) -> Markup {
    let number_of = |minute: &Minute| {
        minute.errcodes.iter().find(|(index, _)| *index == at).map_or(0, |(_, count)| *count)
    };
    let most = minutes.iter().map(number_of).max().unwrap_or(0).max(1) as f64;
    let errcode = LABELS.get(at);
    let name = errcode.map_or_else(|| l(lang, "other", "其他").to_owned(), ToString::to_string);
    let means = errcode
        .and_then(|number| {
            errcodes::errcode(Product::Weixin, *number).or_else(|| errcodes::errcode(Product::Wecom, *number))
        })
        .map_or("", |entry| entry.means.get(lang));
    html! {
        li {
            code { (name) }
            svg viewBox={ "0 0 " (MINUTES * 10) " 100" } preserveAspectRatio="none" aria-hidden="true" {
                @for (place, minute) in minutes.iter().enumerate() {
                    @let height = number_of(minute) as f64 / most * HEIGHT;
                    @if height > 0.0 {
                        rect .failed x=(x(minutes, place) + 1.0) y=(format!("{:.1}", HEIGHT - height)) width="8"
                            height=(format!("{height:.1}")) {}
                    }
                }
                line .base x1="0" x2="600" y1="100" y2="100" {}
            }
            strong { (number(count)) }
            span .means title=(means) { (prose(means)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_in_round_numbers() {
        for (n, right) in
            [(0.5, 1.0), (1.0, 1.0), (3.5, 4.0), (9.0, 10.0), (11.0, 15.0), (480.0, 500.0), (501.0, 600.0)]
        {
            assert_eq!(round_up(n), right);
        }
    }

    #[test]
    fn a_line_has_gaps_where_nothing_was_measured() {
        let minutes = vec![Minute::default(); 4];
        let d = path(&[Some(1.0), Some(0.5), None, Some(1.0)], &minutes, 1.0);
        assert_eq!(d, "M562 0.0L565 0.0L575 50.0M592 0.0L595 0.0");
    }
}
