//! SIGINT, SIGTERM and SIGHUP are one request to stop safely; a second one kills.

use tokio::signal::unix::{SignalKind, signal};

use crate::cutover::engine::Interrupt;
use crate::failure::tolerate;
use crate::ui::Ui;

/// Listens from now on. The journal makes a kill safe, so the second signal is allowed to be one.
///
/// # Errors
/// The signals cannot be listened to.
pub fn listen(interrupt: &Interrupt, ui: &Ui) -> anyhow::Result<()> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let mut hangups = signal(SignalKind::hangup())?;
    let (interrupt, ui) = (interrupt.clone(), ui.clone());
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupts.recv() => {}
                _ = terminations.recv() => {}
                _ = hangups.recv() => {}
            }
            if interrupt.is_requested() {
                let own = rustix::process::getpid();
                let killed = rustix::process::kill_process(own, rustix::process::Signal::KILL);
                tolerate(killed, "nothing comes after this");
            }
            interrupt.request();
            ui.line("asked to stop: stopping at the next safe point; once more to stop at once");
        }
    });
    Ok(())
}
