//! `servers`: a pair of PostgreSQL servers for hand work.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;
use crate::servers::cluster::Cluster;
use crate::servers::kept;
use crate::servers::pair::{self, PairOptions};
use crate::ui::{Format, Ui};

/// The database that the printed connection strings name.
const DATABASE: &str = "postgres";

/// Arguments of `servers`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start a source and a target, or find those that are up, and print how to connect
    Up(UpArguments),
    /// Stop the pair and remove all that belongs to it, its data too
    Down,
    /// Tell whether the pair is up, and how to connect; exit code 1 when it is not
    Status,
}

#[derive(Debug, Args)]
struct UpArguments {
    /// Folder with the source's postgres, initdb and pg_ctl [default: PostgreSQL 16 from PyPI]
    #[arg(long, value_name = "FOLDER")]
    source_bindir: Option<PathBuf>,
    /// Folder with the target's postgres, initdb and pg_ctl [default: PostgreSQL 18 from PyPI]
    #[arg(long, value_name = "FOLDER")]
    target_bindir: Option<PathBuf>,
    /// Keep a pair of its own until Ctrl-C, instead of one that outlives the command
    #[arg(long)]
    foreground: bool,
}

/// One server, as it is printed. The address holds the password: it was asked for.
#[derive(Serialize)]
struct Shown {
    running: bool,
    major: i32,
    port: u16,
    url: String,
    bindir: PathBuf,
    data: PathBuf,
    log: PathBuf,
}

/// Both servers, as they are printed.
#[derive(Serialize)]
struct ShownPair {
    source: Shown,
    target: Shown,
}

/// Starts, stops or shows the pair.
///
/// # Errors
/// A server does not start or stop; for `status`, the pair is not up.
pub async fn run(arguments: Arguments, ui: &Ui) -> Result<()> {
    match arguments.verb {
        Verb::Up(arguments) => up(arguments, ui).await,
        Verb::Down => down(ui).await,
        Verb::Status => status(ui).await,
    }
}

async fn up(arguments: UpArguments, ui: &Ui) -> Result<()> {
    let options = PairOptions {
        source_bindir: arguments.source_bindir,
        target_bindir: arguments.target_bindir,
        ..PairOptions::default()
    };
    if arguments.foreground {
        return foreground(&options, ui).await;
    }
    let kept = kept::up(&options, &ui.story()).await?;
    print(&shown_pair(&kept.source, &kept.target).await?, ui)?;
    ui.line("stop and remove them with: cargo xtask servers down");
    Ok(())
}

async fn foreground(options: &PairOptions, ui: &Ui) -> Result<()> {
    let mut stop = std::pin::pin!(asked_to_stop()?);
    let story = ui.story();
    let pair = tokio::select! {
        pair = pair::up(options, &story) => pair?,
        () = &mut stop => return Err(Failure::interrupted("asked to stop").into()),
    };
    print(&shown_pair(&pair.source, &pair.target).await?, ui)?;
    ui.line("running until Ctrl-C");
    stop.await;
    pair.down().await
}

async fn down(ui: &Ui) -> Result<()> {
    let found = kept::down().await?;
    ui.line(if found { "stopped and removed" } else { "nothing was up" });
    Ok(())
}

async fn status(ui: &Ui) -> Result<()> {
    let hint = "cargo xtask servers up";
    let Some(kept) = kept::find()? else {
        return Err(Failure::refused("no pair is up").hint(hint).into());
    };
    let shown = shown_pair(&kept.source, &kept.target).await?;
    let running = shown.source.running && shown.target.running;
    print(&shown, ui)?;
    if !running {
        return Err(Failure::refused("a server is stopped").hint(hint).into());
    }
    Ok(())
}

async fn shown_pair(source: &Cluster, target: &Cluster) -> Result<ShownPair> {
    Ok(ShownPair { source: shown(source).await?, target: shown(target).await? })
}

async fn shown(cluster: &Cluster) -> Result<Shown> {
    Ok(Shown {
        running: cluster.is_running().await?,
        major: cluster.major(),
        port: cluster.port(),
        url: cluster.secret_url(DATABASE),
        bindir: cluster.bindir().to_path_buf(),
        data: cluster.data(),
        log: cluster.log(),
    })
}

fn print(pair: &ShownPair, ui: &Ui) -> Result<()> {
    if ui.format() == Format::Json {
        return ui.json(pair);
    }
    for (name, server) in [("source", &pair.source), ("target", &pair.target)] {
        let state = if server.running { "running" } else { "stopped" };
        ui.line(&format!(
            "{name}: PostgreSQL {} {state} on 127.0.0.1:{}, log {}",
            server.major,
            server.port,
            server.log.display()
        ));
    }
    ui.data(&format!("--source {}\n--target {}", pair.source.url, pair.target.url));
    Ok(())
}

/// Ends when a person, a service manager or a closed terminal asks the tool to stop. From the call
/// on, such a request is not lost.
fn asked_to_stop() -> Result<impl Future<Output = ()>> {
    let listen = |kind| signal(kind).context("listen for signals");
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hang_up = listen(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    })
}
