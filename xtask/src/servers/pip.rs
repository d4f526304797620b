//! pip, which fetches what is pinned by hash in the source.

use std::time::Duration;

use anyhow::Result;

use crate::failure::Failure;
use crate::process::Invocation;

/// How long pip may take to tell that it is there.
const CHECK_LIMIT: Duration = Duration::from_secs(30);

/// pip, with nothing of the user's that would make it install elsewhere. The mask keeps what root
/// unpacks readable; indexes and mirrors that are configured stay in force.
pub fn pip(limit: Duration) -> Invocation {
    Invocation::new("sh")
        .arguments(["-c", "umask 022 && exec python3 -m pip \"$@\"", "pip"])
        .variable("PIP_USER", "0")
        .variable("PIP_REQUIRE_VIRTUALENV", "0")
        .variable("PIP_NO_INPUT", "1")
        .variable("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .variable("PIP_ROOT_USER_ACTION", "ignore")
        .deadline(limit)
}

/// Makes sure that there is one; `otherwise` is what one does without.
///
/// # Errors
/// There is none.
pub async fn check(otherwise: &str) -> Result<()> {
    let said = pip(CHECK_LIMIT).argument("--version").output().await?;
    if said.code == Some(0) {
        return Ok(());
    }
    Err(Failure::usage("there is no `python3 -m pip`")
        .hint(format!("apt-get install python3-pip{otherwise}"))
        .into())
}
