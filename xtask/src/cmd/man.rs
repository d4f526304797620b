//! `man`: manual pages, made of the same words as `--help`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::failure::Failure;
use crate::ui::Ui;

/// How paragraphs begin that get a title of their own, and which.
const TITLES: [(&str, &str); 2] = [("Examples:", "EXAMPLES"), ("Exit codes:", "EXIT STATUS")];

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n\
    \x20 cargo xtask man cutover switch | man -l -\n\
    \x20 cargo xtask man --out ~/.local/share/man/man1   # then: man cargo-xtask-cutover-switch\n\n\
    Exit codes: 0 written, 2 there is no such verb, or the folder cannot be written.")]
pub struct Arguments {
    /// The verb whose page to print, such as `cutover switch`; without it the page of the tool
    verb: Vec<String>,
    /// Write the pages of all verbs into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "verb")]
    out: Option<PathBuf>,
}

/// Prints one page, or writes all.
///
/// # Errors
/// There is no such verb, or the folder cannot be written.
pub fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let root = root();
    let Some(folder) = &arguments.out else {
        ui.data(page(find(&root, &arguments.verb)?)?.trim_end());
        return Ok(());
    };
    let count = write_all(&root, folder)?;
    ui.data(&format!("{count} pages in {}", folder.display()));
    Ok(())
}

/// The command line with the names that pages have: `cargo-xtask-cutover-switch`.
fn root() -> Command {
    let named = super::Arguments::command().name("cargo-xtask").bin_name("cargo xtask");
    let mut root = named.disable_help_subcommand(true);
    root.build();
    root
}

fn find<'a>(root: &'a Command, verb: &[String]) -> Result<&'a Command> {
    let mut found = root;
    for word in verb {
        found = visible(found).find(|command| command.get_name() == word).ok_or_else(|| {
            let verb = verb.join(" ");
            Failure::usage(format!("there is no verb `{verb}`")).hint("cargo xtask --help")
        })?;
    }
    Ok(found)
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set())
}

/// What a page is called: the words of the verb, joined.
fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or(command.get_name())
}

/// Writes the page of a command and of all below it; says how many they are.
fn write_all(command: &Command, folder: &Path) -> Result<usize> {
    let file = folder.join(format!("{}.1", name(command)));
    let page = page(command)?;
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&file, page))
        .map_err(|error| Failure::usage(format!("write {}: {error}", file.display())))?;
    visible(command).try_fold(1, |count, below| Ok(count + write_all(below, folder)?))
}

/// One page.
fn page(command: &Command) -> Result<String> {
    let man = Man::new(command.clone()).date(" ").manual("paradedb-xtask");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if visible(command).next().is_some() {
        man.render_subcommands_section(&mut page)?;
    }
    page.extend(rest(command).into_bytes());
    String::from_utf8(page).context("a page is UTF-8")
}

/// What stands behind the options in `--help`: examples and exit codes under titles of their own.
fn rest(command: &Command) -> String {
    let mut page = Roff::new();
    let words = command.get_after_long_help().or_else(|| command.get_after_help());
    let words = words.map(ToString::to_string).unwrap_or_default();
    for (place, paragraph) in words.split("\n\n").filter(|text| !text.is_empty()).enumerate() {
        let titled = TITLES
            .into_iter()
            .find_map(|(start, title)| Some((title, paragraph.strip_prefix(start)?)));
        let (title, text) = titled.unwrap_or(("NOTES", paragraph));
        match (titled, place) {
            (Some(_), _) | (None, 0) => page.control("SH", [title]),
            (None, _) => page.control("PP", []),
        };
        add_lines(&mut page, text.strip_prefix('\n').unwrap_or(text.trim_start()));
    }
    // Without the head that the first section has written already.
    page.to_roff()
}

/// Lines that are indented stay as they are, the others are filled.
fn add_lines(page: &mut Roff, text: &str) {
    let mut is_verbatim = false;
    for line in text.lines() {
        if line.starts_with(' ') != is_verbatim {
            is_verbatim = !is_verbatim;
            page.control(if is_verbatim { "nf" } else { "fi" }, []);
        }
        page.text([roman(line)]);
    }
    if is_verbatim {
        page.control("fi", []);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(command: &Command) -> Vec<(String, String)> {
        let own = (name(command).to_string(), page(command).unwrap());
        std::iter::once(own).chain(visible(command).flat_map(pages)).collect()
    }

    #[test]
    fn every_verb_has_a_page_with_its_name_and_no_secret() {
        let all = pages(&root());
        let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        for wanted in ["cargo-xtask", "cargo-xtask-cutover-switch", "cargo-xtask-man"] {
            assert!(names.contains(&wanted), "{names:?}");
        }
        assert!(!names.iter().any(|name| name.contains("guardian")), "{names:?}");
        for (name, text) in &all {
            assert!(text.contains(".SH NAME\n"), "{name}: {text}");
            assert!(text.contains(&name.replace('-', "\\-")), "{name}: {text}");
        }
    }

    #[test]
    fn examples_and_exit_codes_have_titles() {
        let root = root();
        let text = page(find(&root, &["man".into()]).unwrap()).unwrap();
        assert!(text.contains(".SH EXAMPLES\n.nf\n  cargo xtask man cutover switch"), "{text}");
        assert!(text.contains(".SH \"EXIT STATUS\"\n0 written"), "{text}");
        assert!(find(&root, &["cutover".into(), "nonsense".into()]).is_err());
    }
}
