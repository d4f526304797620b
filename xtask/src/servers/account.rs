//! Whom servers run as: PostgreSQL refuses root.

use anyhow::{Context, Result};

use crate::failure::Failure;

/// Where the system lists its users.
const USERS: &str = "/etc/passwd";
/// The users that root's servers may run as; the first that exists does.
const CANDIDATES: [&str; 2] = ["postgres", "nobody"];

/// The user and group that servers run as; `None` means as the tool itself.
///
/// # Errors
/// The tool runs as root, and no suitable user exists.
pub fn server_account() -> Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = std::fs::read_to_string(USERS).with_context(|| format!("read {USERS}"))?;
    let found = CANDIDATES.iter().find_map(|name| user_and_group(&users, name));
    let account = found.ok_or_else(|| {
        Failure::usage("PostgreSQL refuses root, and there is neither a user postgres nor nobody")
            .hint("useradd --system postgres, or run the tool as an ordinary user")
    })?;
    Ok(Some(account))
}

/// The number of the user that servers run as.
///
/// # Errors
/// As [`server_account`].
pub fn server_user() -> Result<u32> {
    let own = rustix::process::geteuid().as_raw();
    Ok(server_account()?.map_or(own, |(user, _)| user))
}

/// Looks a user up in the text of the user list.
fn user_and_group(users: &str, name: &str) -> Option<(u32, u32)> {
    users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields.as_slice() {
            [user, _, number, group, ..] if *user == name => {
                Some((number.parse().ok()?, group.parse().ok()?))
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let users = "root:x:0:0::/root:/bin/sh\npostgresql:x:7:8::/:\npostgres:x:101:104:,,,:/:";
        assert_eq!(user_and_group(users, "postgres"), Some((101, 104)));
        assert_eq!(user_and_group(users, "nobody"), None);
    }
}
