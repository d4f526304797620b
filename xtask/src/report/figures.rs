//! Figures of a measurement as one page of HTML in the style of the report: bars, nothing loaded.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use minijinja::context;
use minijinja::value::Serde;
use serde::Serialize;

use super::{page, write_private};
use crate::pg::folder::private_folder;

/// The least width of a bar, in percent: what is near nothing is seen all the same.
const LEAST_WIDTH: f64 = 0.5;

/// A page.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Page {
    /// What was measured.
    pub title: String,
    /// With what, in a sentence.
    pub lead: String,
    /// The figures, group by group.
    pub groups: Vec<Group>,
}

/// Bars that share one scale.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// What they show.
    pub title: String,
    /// What a reader should know of them.
    pub about: String,
    /// The bars, from the top.
    pub bars: Vec<Bar>,
}

/// A bar.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bar {
    /// What it stands for.
    pub label: String,
    /// The figure as people read it.
    pub text: String,
    /// Its class: `done`, `pause` or `failed`.
    pub class: &'static str,
    /// From where, in percent of the width.
    pub from: f64,
    /// How wide, in percent of the width.
    pub width: f64,
}

impl Group {
    /// Bars for figures: label, text, class and amount. The largest amount has the whole width.
    pub fn new(
        title: impl Into<String>,
        about: impl Into<String>,
        figures: Vec<(String, String, &'static str, f64)>,
    ) -> Group {
        let most = figures.iter().map(|figure| figure.3).fold(f64::MIN_POSITIVE, f64::max);
        let bar = |(label, text, class, amount): (String, String, &'static str, f64)| Bar {
            label,
            text,
            class,
            from: 0.0,
            width: (amount / most * 1000.0).round().max(LEAST_WIDTH * 10.0) / 10.0,
        };
        let bars = figures.into_iter().map(bar).collect();
        Group { title: title.into(), about: about.into(), bars }
    }
}

/// Writes a page, for its owner only; returns where it is.
///
/// # Errors
/// The folder cannot be written.
pub fn write(page: &Page, out: &Path, name: &str) -> Result<PathBuf> {
    private_folder(out)?;
    let path = out.join(format!("{name}.html"));
    write_private(&path, &html(page)?)?;
    Ok(path)
}

fn html(page: &Page) -> Result<String> {
    let context = context! {
        page => minijinja::Value::from(Serde(page)),
        style => page::style(),
    };
    let filled = page::engine()?.get_template(page::FIGURES).and_then(|one| one.render(context));
    filled.map_err(|error| anyhow::anyhow!("{error:#}")).context("fill the page of figures")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_has_the_whole_width_and_text_stays_text() {
        let figures = vec![
            ("a <b>".to_string(), "2 ms".to_string(), "done", 2.0),
            ("b".to_string(), "8 ms".to_string(), "pause", 8.0),
            ("c".to_string(), "0 ms".to_string(), "done", 0.0),
        ];
        let group = Group::new("Times", "of something", figures);
        let widths: Vec<f64> = group.bars.iter().map(|bar| bar.width).collect();
        assert_eq!(widths, [25.0, 100.0, 0.5]);
        let page = Page { title: "One".into(), lead: "Two.".into(), groups: vec![group] };
        let text = html(&page).unwrap();
        assert!(text.contains("a &lt;b&gt;") && !text.contains("a <b>"), "{text}");
        assert!(text.contains(r#"width="25.0%""#), "{text}");
        for loading in ["<script", "<link", "<img", "url(", "@import", "http"] {
            assert!(!text.contains(loading), "{loading}");
        }
    }
}
