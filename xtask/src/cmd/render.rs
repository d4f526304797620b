//! `render`: manifests that cannot eat the data.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use crate::failure::Failure;
use crate::process;
use crate::render::change::{self, Change};
use crate::render::cluster::Cluster;
use crate::render::files::{self, Difference};
use crate::render::{self, File, Rendered, docs, history, values};
use crate::ui::{Format, Ui};

/// Arguments of `render`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Write nothing: fail on any difference, left-over file or broken rule, and print it
    #[arg(long, conflicts_with_all = ["stdout", "explain"])]
    check: bool,
    /// Only this environment
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    /// Print the files instead of writing them
    #[arg(long)]
    stdout: bool,
    /// Print every value that can be written, with meaning, unit and default
    #[arg(long)]
    explain: bool,
    /// Compare with the living cluster, and say what each change would do
    #[arg(long)]
    diff_live: bool,
    /// Compare with the manifests of a Git revision, and say what each change would do
    #[arg(long, value_name = "REVISION")]
    against: Option<String>,
    /// Let the living cluster judge every object without changing anything
    #[arg(long)]
    cluster: bool,
    /// The context of kubectl for --diff-live and --cluster
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Refuse images without a digest
    #[arg(long)]
    require_pinned: bool,
    /// Allow a change that loses or recreates this object, as pvc/NAME; once for each
    #[arg(long, value_name = "OBJECT")]
    accept_data_loss: Vec<String>,
}

/// Renders, checks or compares.
///
/// # Errors
/// Values or templates are wrong, a rule is broken, files are stale, or a change is refused.
pub async fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    if arguments.explain {
        return explain(ui);
    }
    let folder = std::env::current_dir().context("read the working folder")?;
    let root = render::workspace(&folder)?;
    let mut rendered = render::all(&root)?;
    if let Some(name) = &arguments.env {
        choose(&mut rendered, name)?;
    }
    judge(&rendered, ui)?;
    report_open_digests(&rendered, arguments.require_pinned, ui)?;
    if arguments.stdout {
        for file in rendered.iter().flat_map(|one| &one.files) {
            ui.data(&format!("---\n# {}\n{}", file.path, file.text));
        }
        return Ok(());
    }
    let disk = files::on_disk(&root)?;
    if let Some(revision) = &arguments.against {
        let old = history::at(&root, revision).await?;
        let whole = render::all(&root)?;
        let changes = change::between(&old, &history::afterwards(&disk, &whole));
        return weigh(&changes, arguments, ui);
    }
    if arguments.diff_live || arguments.cluster {
        return ask_cluster(&rendered, arguments, ui).await;
    }
    settle(&root, &rendered, &disk, arguments, ui)
}

/// Keeps one environment.
fn choose(rendered: &mut Vec<Rendered>, name: &str) -> Result<()> {
    let known: Vec<String> = rendered.iter().map(|one| one.environment.name.clone()).collect();
    rendered.retain(|one| one.environment.name == name);
    if rendered.is_empty() {
        let names: Vec<&str> = known.iter().map(String::as_str).collect();
        let near =
            values::nearest::nearest(name, &names).map(|near| format!("did you mean {near}?"));
        let hint = near.unwrap_or_else(|| format!("there are: {}", known.join(", ")));
        return Err(Failure::usage(format!("there is no environment `{name}`")).hint(hint).into());
    }
    Ok(())
}

/// Shows every broken rule, and fails where there is one.
fn judge(rendered: &[Rendered], ui: &Ui) -> Result<()> {
    let mut count = 0;
    for one in rendered {
        for finding in &one.findings {
            count += 1;
            match ui.format() {
                Format::Json => ui.json(finding)?,
                Format::Text => ui.data(&format!("{}: {finding}", one.environment.name)),
            }
        }
    }
    if count == 0 {
        return Ok(());
    }
    let hint = "docs/manifests.md explains each rule";
    Err(Failure::refused(format!("{count} broken rules; nothing was written")).hint(hint).into())
}

/// Names the images whose digest nobody has looked up yet.
fn report_open_digests(rendered: &[Rendered], require: bool, ui: &Ui) -> Result<()> {
    let mut open: BTreeMap<&str, &str> = BTreeMap::new();
    for one in rendered {
        for (_, image) in one.objects.iter().flat_map(render::rules::images) {
            if !image.contains('@') {
                open.insert(image, &one.environment.name);
            }
        }
    }
    for (image, environment) in &open {
        let command = format!("docker buildx imagetools inspect {image}");
        ui.line(&format!("{environment}: digest: open for {image}; `{command}` prints it"));
    }
    if require && !open.is_empty() {
        let message = format!("{} images are not pinned by digest", open.len());
        let hint = "write each digest into infra/values, as digest: sha256:…";
        return Err(Failure::refused(message).hint(hint).into());
    }
    Ok(())
}

/// Shows changes, the worst first, and fails where one is refused.
fn weigh(changes: &[Change], arguments: &Arguments, ui: &Ui) -> Result<()> {
    for change in changes {
        match ui.format() {
            Format::Json => ui.json(change)?,
            Format::Text => ui.data(&change.describe()),
        }
    }
    let refused = change::refused(changes, &arguments.accept_data_loss);
    if refused.is_empty() {
        return Ok(());
    }
    let mut accept: Vec<String> =
        refused.iter().map(|change| format!("--accept-data-loss {}", change.accept)).collect();
    accept.sort();
    accept.dedup();
    let message = format!("{} changes would lose or recreate data", refused.len());
    let hint = format!("undo them; or, if the loss is meant: {}", accept.join(" "));
    Err(Failure::refused(message).hint(hint).into())
}

async fn ask_cluster(rendered: &[Rendered], arguments: &Arguments, ui: &Ui) -> Result<()> {
    let program = process::find_program("kubectl").ok_or_else(|| {
        Failure::usage("kubectl is not installed").hint("install kubectl, or put it on PATH")
    })?;
    let cluster = Cluster::new(program, arguments.context.clone());
    let on_kubernetes = rendered.iter().filter(|one| !one.objects.is_empty());
    let mut changes = Vec::new();
    for one in on_kubernetes {
        if arguments.cluster {
            let count = cluster.dry_run(one).await?;
            ui.line(&format!("{}: the cluster accepts {count} objects", one.environment.name));
        }
        if arguments.diff_live {
            let live = cluster.diff(one).await?;
            if ui.format() == Format::Text && !live.lines.is_empty() {
                ui.data(&live.lines);
            }
            changes.extend(live.changes);
        }
    }
    weigh(&changes, arguments, ui)
}

/// Writes what differs, or says what does.
fn settle(
    root: &Path,
    rendered: &[Rendered],
    disk: &BTreeMap<String, String>,
    arguments: &Arguments,
    ui: &Ui,
) -> Result<()> {
    let files: Vec<&File> = rendered.iter().flat_map(|one| &one.files).collect();
    let differences = files::compare(disk, &files, arguments.env.is_none());
    let page = root.join(docs::PAGE);
    let old_page =
        std::fs::read_to_string(&page).with_context(|| format!("read {}", docs::PAGE))?;
    let new_page = docs::refreshed(&old_page)?;
    if arguments.check {
        for difference in &differences {
            ui.data(&difference.describe());
        }
        if old_page != new_page {
            ui.data(&format!(
                "{} is stale\n{}",
                docs::PAGE,
                files::lines_between(&old_page, &new_page)
            ));
        }
        if differences.is_empty() && old_page == new_page {
            ui.line(&format!("{} files are as rendered, no rule is broken", files.len()));
            return Ok(());
        }
        let message = format!("{} rendered files differ", differences.len());
        return Err(Failure::refused(message).hint("cargo xtask render").into());
    }
    let old = history::on_disk(disk);
    let whole = if arguments.env.is_some() { render::all(root)? } else { rendered.to_vec() };
    let changes = change::between(&old, &history::afterwards(disk, &whole));
    if !old.is_empty() {
        let serious: Vec<Change> =
            changes.into_iter().filter(|change| change.class != change::Class::Harmless).collect();
        weigh(&serious, arguments, ui)?;
    }
    files::write(root, &files, &differences)?;
    if old_page != new_page {
        files::replace(&page, &new_page)?;
    }
    for difference in &differences {
        let verb =
            if matches!(difference, Difference::Orphan { .. }) { "removed" } else { "wrote" };
        ui.line(&format!("{verb} {}", difference.path()));
    }
    ui.line(&format!("{} files rendered, {} changed", files.len(), differences.len()));
    Ok(())
}

/// Prints every value.
fn explain(ui: &Ui) -> Result<()> {
    let all = values::explained();
    if ui.format() == Format::Json {
        for field in &all {
            ui.json(&serde_json::json!({
                "value": field.path, "meaning": field.meaning, "unit": field.unit,
                "default": field.default,
            }))?;
        }
        return Ok(());
    }
    let mut table = comfy_table::Table::new();
    table.set_header(["value", "meaning", "unit", "default"]);
    for field in all {
        let default = field.default.unwrap_or_else(|| "must be written".into());
        let default = if field.unit == "group" { String::new() } else { default };
        table.add_row([field.path, field.meaning, field.unit.to_string(), default]);
    }
    ui.data(&table.to_string());
    Ok(())
}
