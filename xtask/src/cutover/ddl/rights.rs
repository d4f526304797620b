//! What our role must be allowed to do so that a change can be brought to both sides.

use anyhow::{Context, Result};

use crate::failure::Failure;
use crate::pg::endpoint::{Session, identifier};

/// Refuses where our role could not let the follower's subscription read a table that is new: found
/// on the side that serves only after the follower has it, the change would stay half way.
///
/// # Errors
/// It may not; nothing was changed.
pub(super) async fn assert_may_let_read(serving: &Session) -> Result<()> {
    let row = serving
        .query_one(
            "SELECT rolname::text, rolbypassrls
                    AND pg_has_role('pg_read_all_data', 'MEMBER WITH ADMIN OPTION')
             FROM pg_roles WHERE rolname = current_user",
            &[],
        )
        .await
        .context("ask what our role may give")?;
    if row.get(1) {
        return Ok(());
    }
    let role = identifier(row.get(0));
    let fix = format!(
        "on the side that serves: GRANT pg_read_all_data TO {role} WITH ADMIN OPTION; ALTER ROLE \
         {role} BYPASSRLS"
    );
    Err(Failure::refused("our role may not let a subscription read a new table").hint(fix).into())
}
