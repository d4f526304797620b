//! The names of the rules, each with what is so where it finds nothing.

use super::NOT_SUPERUSER;

/// A rule of the plan, for a table that shows also what is well.
pub struct Rule {
    /// The name of its refusals.
    pub name: &'static str,
    /// Whether it is asked only where rows will be copied.
    pub copies: bool,
    /// What is so where it finds nothing.
    pub well: &'static str,
}

const fn always(name: &'static str, well: &'static str) -> Rule {
    Rule { name, copies: false, well }
}

const fn copying(name: &'static str, well: &'static str) -> Rule {
    Rule { name, copies: true, well }
}

/// Every rule that is asked of any two servers.
pub const RULES: [Rule; 34] = [
    always("same-database", "source and target are two databases"),
    always("version", "both servers are recent enough"),
    copying("target-older", "the target is of the same major or a later one"),
    always(NOT_SUPERUSER, "both roles are superusers, or both servers let owners follow"),
    always("privilege", "no role lacks a privilege that the run needs"),
    copying("needs-superuser", "nothing is there that only a superuser can move"),
    copying("not-owner", "every object to be moved belongs to the tool's role, or to one it is in"),
    always("wal-level", "wal_level is logical on both sides"),
    always("slots", "enough slots, senders, workers and origins are free"),
    always("wal-retention", "kept WAL has a limit on both sides"),
    always("prepared-transaction", "no prepared transaction is open"),
    always("encoding", "both databases have the same encoding"),
    always("collation", "text sorts alike on both sides"),
    copying("extension", "the target has every extension"),
    copying("role", "the target has every role"),
    copying("role-rights", "roles may do the same on both sides"),
    copying("default-privileges", "default privileges are alike"),
    always("role-setting", "roles and databases have the same settings"),
    always("database-rights", "owner and grants of the databases are alike"),
    always("foreign-subscription", "no other subscription writes here"),
    always("foreign-slot", "no other subscriber reads here"),
    copying("target-not-empty", "the target is empty"),
    copying("backup", "a backup is made or accepted as the policy says"),
    copying("migrations", "the migrations of search fit the target"),
    always("peer", "each server reaches the other"),
    always("client-login", "the application can log in on the target"),
    always("replica-identity", "every table can be followed"),
    always("identity-type", "every row can be told from the others"),
    always("unlogged-table", "no table is unlogged"),
    always("foreign-table", "no table lives elsewhere"),
    always("large-objects", "there are no large objects"),
    always("always-trigger", "no trigger fires for replicated rows"),
    always("invalid-index", "every index is valid"),
    always("role-read-only", "no role sets the fence's own setting"),
];
