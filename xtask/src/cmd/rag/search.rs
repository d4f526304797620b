//! `rag search`: asks the store a question and shows what answers it.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::config;
use crate::failure::Failure;
use crate::pg::endpoint::Endpoint;
use crate::rag::search::{Filter, Hit, Question, explain, open, search};
use crate::ui::{Format, Ui};

/// How wide the table is, in characters.
const WIDTH: u16 = 110;
/// What stands around a match in the SQL's snippet.
const MARK: [&str; 2] = ["<mark>", "</mark>"];
/// The same while the table is laid out: characters without a width, so that columns stay straight.
const WIDTHLESS: [&str; 2] = ["\u{2063}", "\u{2064}"];

/// Arguments of `rag search`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Keywords and meaning are asked separately, and joined by reciprocal rank \
    fusion: a chunk's score is the sum of 1 / (60 + rank). Without --embedding only keywords \
    count, without TEXT only meaning does. This tool calls no model: take the embedding from the \
    one that the chunks were embedded with.\n\n\
    Examples:\n  cargo xtask rag search \"how do I roll back\" --type github.doc\n  \
    embed 'roll back' | cargo xtask rag search 'roll back' --embedding -")]
pub struct Arguments {
    /// Words to search for
    #[arg(required_unless_present = "embedding")]
    text: Option<String>,
    /// The database with the store
    #[arg(long, env = config::XTASK_TARGET, hide_env_values = true, value_name = "URL")]
    target: String,
    /// The question as a vector: a JSON array, a file with one, or - for standard input
    #[arg(long, value_name = "FILE|-|JSON")]
    embedding: Option<String>,
    /// How many chunks, from 1 to 1000
    #[arg(long, default_value_t = 10)]
    k: i32,
    /// Only of this repository; may be repeated, any of them counts
    #[arg(long, value_name = "NAME")]
    repo: Vec<String>,
    /// Only of this source type; may be repeated, any of them counts
    #[arg(long = "type", value_name = "TYPE")]
    source_type: Vec<String>,
    /// Only with this label; may be repeated, all of them are needed
    #[arg(long, value_name = "LABEL")]
    label: Vec<String>,
    /// Only by this author
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// Only what changed at its source then or later
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only what changed at its source before
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Print how the server answers, with its times, in place of the answer
    #[arg(long)]
    explain: bool,
}

/// Asks and prints.
///
/// # Errors
/// The database has no store, or refuses the question.
pub async fn run(arguments: Arguments, ui: &Ui) -> Result<()> {
    let embedding = arguments.embedding.as_deref().map(embedding).transpose()?;
    let question = Question {
        text: arguments.text,
        embedding,
        k: arguments.k,
        filter: Filter {
            repos: arguments.repo,
            source_types: arguments.source_type,
            labels: arguments.label,
            author: arguments.author,
            since: arguments.since,
            until: arguments.until,
        },
    };
    let store = open(&Endpoint::parse(&arguments.target)?).await?;
    if arguments.explain {
        let plan = explain(&store, &question).await?;
        match ui.format() {
            Format::Json => ui.json(&serde_json::json!({ "plan": plan }))?,
            Format::Text => ui.data(&plan.join("\n")),
        }
        return Ok(());
    }
    let hits = search(&store, &question).await?;
    if ui.format() == Format::Json {
        return hits.iter().try_for_each(|hit| ui.json(hit));
    }
    match hits.is_empty() {
        true => ui.line("nothing found"),
        false => ui.data(&table(&hits)),
    }
    Ok(())
}

/// Reads a vector from where the command line says.
fn embedding(given: &str) -> Result<Vec<f32>> {
    let text = if given.trim_start().starts_with('[') {
        given.to_string()
    } else if given == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("read the embedding")?;
        text
    } else {
        std::fs::read_to_string(Path::new(given)).map_err(|error| {
            Failure::usage(format!("the embedding {given} cannot be read: {error}"))
                .hint("name a file, - for standard input, or write a JSON array")
        })?
    };
    let vector: Vec<f32> = serde_json::from_str(text.trim()).map_err(|error| {
        Failure::usage(format!("the embedding is not a JSON array of numbers: {error}"))
    })?;
    match vector.iter().all(|number| number.is_finite()) {
        true => Ok(vector),
        false => Err(Failure::usage("the embedding has a number that is out of range").into()),
    }
}

/// What `rag_search` and pg_search escape, and what it stands for.
const ESCAPED: [(&str, &str); 6] = [
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&quot;", "\""),
    ("&#x27;", "'"),
    ("&#39;", "'"),
    ("&amp;", "&"),
];

/// The answer for people.
fn table(hits: &[Hit]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.set_header(["score", "words", "meaning", "source", "snippet"]);
    for hit in hits {
        let rank = |rank: Option<i32>| rank.map_or("—".to_string(), |rank| rank.to_string());
        let source =
            format!("{}\n{} {} #{}", hit.repo, hit.source_type, hit.source_id, hit.chunk_index);
        table.add_row([
            format!("{:.4}", hit.score),
            rank(hit.keyword_rank),
            rank(hit.vector_rank),
            source,
            laid_out(&hit.snippet),
        ]);
    }
    for column in table.column_iter_mut().take(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    highlighted(&table.to_string())
}

/// A snippet on one line, with matches between characters that have no width: each word by itself,
/// because the table breaks lines between words.
fn laid_out(snippet: &str) -> String {
    let one_line = snippet.split_whitespace().collect::<Vec<_>>().join(" ");
    let marked = one_line.replace(MARK[0], WIDTHLESS[0]).replace(MARK[1], WIDTHLESS[1]);
    // The ampersand comes last, so that what was escaped twice is unescaped once.
    let text =
        ESCAPED.iter().fold(marked, |text, (escaped, character)| text.replace(escaped, character));
    let mut is_open = false;
    let mut word_by_itself = |word: &str| {
        let before = if is_open { WIDTHLESS[0] } else { "" };
        is_open = match (word.rfind(WIDTHLESS[0]), word.rfind(WIDTHLESS[1])) {
            (None, None) => is_open,
            (opened, closed) => opened > closed,
        };
        let after = if is_open { WIDTHLESS[1] } else { "" };
        format!("{before}{word}{after}")
    };
    text.split(' ').map(&mut word_by_itself).collect::<Vec<_>>().join(" ")
}

/// Makes matches bold. A word that the table broke ends with its line.
fn highlighted(table: &str) -> String {
    let style = anstyle::AnsiColor::Yellow.on_default().bold();
    let (on, off) = (style.render().to_string(), style.render_reset().to_string());
    let line = |line: &str| {
        let opened = line.matches(WIDTHLESS[0]).count();
        let closed = line.matches(WIDTHLESS[1]).count();
        let end = if opened > closed { off.as_str() } else { "" };
        line.replace(WIDTHLESS[0], &on).replace(WIDTHLESS[1], &off) + end
    };
    table.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(snippet: &str) -> Hit {
        Hit {
            id: 1,
            score: 0.032_787,
            keyword_rank: Some(1),
            vector_rank: None,
            repo: "rbx/robson".into(),
            source_type: "github.doc".into(),
            source_id: "docs/a.md".into(),
            chunk_index: 3,
            snippet: snippet.into(),
        }
    }

    #[test]
    fn a_table_has_straight_columns_around_a_match() {
        assert_eq!(laid_out("a &lt;b&gt; &amp;lt;"), "a <b> &lt;");
        let shown = table(&[hit("the <mark>fence</mark>\n stands")]);
        let plain = anstream::adapter::strip_str(&shown).to_string();
        assert!(plain.contains("the fence stands"), "{plain}");
        let mut widths = plain.lines().map(|line| line.chars().count());
        let first = widths.next().unwrap();
        assert!(widths.all(|width| width == first), "{plain}");
        assert!(shown.contains("\u{1b}["), "{shown:?}");
    }

    #[test]
    fn a_long_snippet_is_broken_and_no_frame_is_bold() {
        let long = format!("{}<mark>the old fence</mark> stands", "word ".repeat(30));
        assert!(
            laid_out(&long)
                .ends_with("\u{2063}the\u{2064} \u{2063}old\u{2064} \u{2063}fence\u{2064} stands")
        );
        let shown = table(&[hit(&long)]);
        let plain = anstream::adapter::strip_str(&shown).to_string();
        assert!(plain.lines().all(|line| line.chars().count() <= usize::from(WIDTH)), "{plain}");
        assert!(plain.lines().count() > 5, "{plain}");
        for line in shown.lines() {
            let count = |style| line.matches(style).count();
            assert_eq!(count("\u{1b}[33m"), count("\u{1b}[0m"), "{line:?}");
        }
    }

    #[test]
    fn an_embedding_is_read_from_the_command_line_or_refused() {
        assert_eq!(embedding(" [1, 2.5]").unwrap(), [1.0, 2.5]);
        for bad in ["[1, \"a\"]", "[1e99]", "/does/not/exist"] {
            let error = embedding(bad).unwrap_err();
            assert_eq!(crate::failure::kind(&error).exit_code(), 2, "{bad}: {error:#}");
        }
    }
}
