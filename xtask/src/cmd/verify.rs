//! `verify`: compares two databases, row by row, while they are in use.

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};

use crate::cmd::environment::Chosen;
use crate::config;
use crate::cutover::event::Side;
use crate::cutover::verify::{Certificate, Mode, Request, TableCertificate, verify};
use crate::django::Tests;
use crate::failure::Failure;
use crate::pg::sequences::SequenceRule;
use crate::ui::{self, Format, Ui};

mod django;

/// How many characters of a digest the table shows; the certificate in JSON has all of it.
const SHOWN_DIGEST: usize = 12;

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The database that clients write to
    #[arg(long, env = config::XTASK_SOURCE, hide_env_values = true, value_name = "URL")]
    source: Option<String>,
    /// The database that should hold the same
    #[arg(long, env = config::XTASK_TARGET, hide_env_values = true, value_name = "URL")]
    target: Option<String>,
    /// Take both from the values of this environment, infra/values/NAME.yaml
    #[arg(long = "env", value_name = "NAME")]
    environment: Option<String>,
    /// Sessions per side that read at once
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// Only this table, as schema.name, and neither schema nor sequences; may be repeated
    #[arg(long, value_name = "TABLE", conflicts_with = "django")]
    table: Vec<String>,
    /// Run the same tests with Django on both sides instead, and compare what became of each
    #[arg(long)]
    django: bool,
    /// With --django: the tests are those that this command runs, by a shell in this folder
    /// [default: a small project that comes with the tool]
    #[arg(long, requires = "django", conflicts_with = "suite", value_name = "COMMAND")]
    command: Option<String>,
    /// With --django: Django's own tests, by the labels of its test-suite
    #[arg(long, requires = "django", value_name = "LABELS")]
    suite: Option<String>,
}

/// Compares and prints what was found.
///
/// # Errors
/// A refusal where something differs; a failure where we could not look.
pub async fn run(arguments: Arguments, ui: &Ui) -> Result<()> {
    let mut chosen = Chosen::read(arguments.environment.as_deref())?;
    let (source, target) = (arguments.source.as_deref(), arguments.target.as_deref());
    let source = chosen.side("source", source, |cutover| cutover.source.as_ref()).await?;
    let target = chosen.side("target", target, |cutover| cutover.target.as_ref()).await?;
    if arguments.django {
        let tests = match (arguments.command, arguments.suite) {
            (Some(command), _) => Tests::Command(command),
            (None, Some(labels)) => {
                Tests::Suite(labels.split_whitespace().map(str::to_string).collect())
            }
            (None, None) => Tests::Bundled,
        };
        return django::run(source, target, tests, ui).await;
    }
    let everything = arguments.table.is_empty();
    let request = Request {
        source,
        target,
        serving: Side::Source,
        mode: Mode::Live { barrier: None },
        jobs: arguments.jobs.into(),
        only: arguments.table,
        outside: Vec::new(),
        search: true,
        schema: everything,
        sequences: if everything { SequenceRule::Equal } else { SequenceRule::Outside },
    };
    let certificate = verify(request, &ui.story()).await?;
    match ui.format() {
        Format::Json => ui.json(&certificate)?,
        Format::Text => ui.data(&text(&certificate)),
    }
    if certificate.passes() {
        return Ok(());
    }
    let count = certificate.difference_count();
    let noun = if count == 1 { "difference" } else { "differences" };
    Err(Failure::refused(format!("{} {noun}", ui::count(count))).hint(hint(&certificate)).into())
}

fn hint(certificate: &Certificate) -> &'static str {
    if certificate.tables.iter().all(|table| table.equal) {
        "every row is equal; bring the schema or the sequences named above into line, then run \
         verify again"
    } else {
        "if the target still follows the source, wait until it has caught up and run verify again; \
         if not, somebody wrote on one side only: the keys are above"
    }
}

/// The certificate for people.
pub fn text(certificate: &Certificate) -> String {
    let mut sections = vec![tables(certificate)];
    let mut lines = Vec::new();
    for table in &certificate.tables {
        for row in &table.differences {
            let column = row.column.as_ref().map_or(String::new(), |column| format!(" {column}"));
            let (source, target) = (value(row.source.as_deref()), value(row.target.as_deref()));
            let title = table.title();
            lines.push(format!("{title} [{}]{column}: source {source}, target {target}", row.key));
        }
        let shown = table.differences.len() as u64;
        if table.difference_count > shown && shown > 0 {
            let count = ui::count(table.difference_count);
            lines.push(format!("{}: {count} rows differ in all", table.title()));
        }
    }
    for difference in &certificate.schema {
        let (source, target) = (difference.source.as_deref(), difference.target.as_deref());
        lines.push(format!("{} {}", difference.kind, difference.object));
        lines.push(format!("    source: {}", source.unwrap_or("missing")));
        lines.push(format!("    target: {}", target.unwrap_or("missing")));
    }
    for difference in &certificate.sequences {
        let (source, target) = (difference.source.as_deref(), difference.target.as_deref());
        lines.push(format!(
            "sequence {}: source {}, target {}",
            difference.sequence,
            source.unwrap_or("missing"),
            target.unwrap_or("missing")
        ));
    }
    if !lines.is_empty() {
        sections.push(lines.join("\n"));
    }
    if !certificate.outside.is_empty() {
        let outside = certificate.outside.iter();
        let outside = outside.map(|one| format!("outside: {} ({})", one.object, one.reason));
        sections.push(outside.collect::<Vec<_>>().join("\n"));
    }
    sections.push(verdict(certificate));
    sections.join("\n\n")
}

fn tables(certificate: &Certificate) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["table", "rows", "time", "digest", "verdict"]);
    for certificate in &certificate.tables {
        table.add_row([
            certificate.title(),
            ui::count(certificate.source_rows),
            ui::duration(certificate.milliseconds as f64),
            certificate.source_digest.chars().take(SHOWN_DIGEST).collect(),
            table_verdict(certificate),
        ]);
    }
    for column in [1, 2] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

fn table_verdict(table: &TableCertificate) -> String {
    let mut words = match (table.equal, table.difference_count) {
        (true, _) => vec!["equal".to_string()],
        (false, 1) => vec!["1 row differs".to_string()],
        (false, count) => vec![format!("{} rows differ", ui::count(count))],
    };
    if table.unsettled > 0 {
        words.push(format!("{} never settled", ui::count(table.unsettled)));
    }
    words.extend(table.note.clone());
    words.join(", ")
}

fn verdict(certificate: &Certificate) -> String {
    let schema = match (certificate.schema_compared, certificate.schema.len()) {
        (false, _) => "schema not compared".to_string(),
        (true, 0) => "schema equal".to_string(),
        (true, count) => format!("schema {count} differences"),
    };
    let sequences = match (certificate.sequences_compared, certificate.sequences.len()) {
        (0, 0) => "no sequences compared".to_string(),
        (count, 0) => format!("{count} sequences equal"),
        (_, count) => format!("sequences {count} differences"),
    };
    format!(
        "{}: {} rows in {} tables, {schema}, {sequences}",
        if certificate.passes() { "EQUAL" } else { "DIFFERENT" },
        ui::count(certificate.rows),
        certificate.tables.len(),
    )
}

fn value(text: Option<&str>) -> String {
    text.map_or_else(|| "nothing".to_string(), |text| format!("{text:?}"))
}
