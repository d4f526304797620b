//! Where a backup is restored to be proved: a throw-away server, or one that a person names. Never
//! a database that exists, and never the server that was dumped.

use anyhow::{Context, Result};

use crate::backup::facts::{self, Facts};
use crate::backup::place;
use crate::cutover::event::Story;
use crate::cutover::header::Identity;
use crate::failure::{Failure, tolerate};
use crate::pg::endpoint::{Endpoint, Session, identifier};
use crate::pg::state;
use crate::servers::throwaway::Throwaway;

/// The maintenance database of a throw-away server.
const MAINTENANCE: &str = "postgres";
/// What the databases begin with that are made to prove a backup.
const PREFIX: &str = "xtask_backup_";

/// A server to restore on.
pub struct Scratch {
    maintenance: Endpoint,
    session: Session,
    identity: Identity,
    own: Option<Throwaway>,
    story: Story,
}

/// A database that was made for one proof.
pub struct Room {
    /// The database.
    pub endpoint: Endpoint,
    name: String,
}

impl Scratch {
    /// Reaches the named server, or starts one of at least this major version.
    ///
    /// # Errors
    /// It cannot be reached or started.
    pub async fn open(named: Option<&Endpoint>, major: i32, story: &Story) -> Result<Scratch> {
        let (maintenance, own) = match named {
            Some(named) => (named.clone(), None),
            None => {
                let own = Throwaway::start(major, None, story).await?;
                (own.server.endpoint(MAINTENANCE), Some(own))
            }
        };
        let session = maintenance.connect("scratch").await?;
        let identity = state::identity(&session).await?;
        Ok(Scratch { maintenance, session, identity, own, story: story.clone() })
    }

    /// How it is called in a proof.
    pub fn title(&self) -> String {
        let major = self.session.major();
        match self.own {
            Some(_) => format!("a throw-away PostgreSQL {major}"),
            None => format!("PostgreSQL {major} at {}", self.maintenance),
        }
    }

    /// Refuses where a database cannot or must not be restored here.
    ///
    /// # Errors
    /// It is the server that was dumped, too old, lacks an extension, or has no room.
    pub async fn assert_fits(&self, source: &Facts) -> Result<()> {
        let instead = "leave --scratch out: a throw-away server is started";
        if self.identity.system == source.identity.system {
            let message = "the scratch server is the one that was dumped (or its standby): its \
                           disk and its clients are not for rehearsals";
            return Err(Failure::refused(message).hint(instead).into());
        }
        if self.session.major() < source.major() {
            let message = format!(
                "the scratch server runs PostgreSQL {}, older than the {} that was dumped",
                self.session.major(),
                source.major()
            );
            return Err(Failure::refused(message).hint(instead).into());
        }
        let missing = facts::missing_extensions(&self.session, &source.extensions).await?;
        if !missing.is_empty() {
            let message = format!("{} lacks {}", self.title(), missing.join(", "));
            let hint = "name a server that has it: --scratch URL, or its programs: \
                        XTASK_TARGET_BINDIR";
            return Err(Failure::refused(message).hint(hint).into());
        }
        match &self.own {
            Some(own) => place::assert_room(own.folder(), source.database_bytes),
            None => Ok(()),
        }
    }

    /// A new and empty database that is as near to the dumped one as this server can. Databases
    /// that a dead process left here are dropped first.
    ///
    /// # Errors
    /// The role may not make databases, or no locale fits.
    pub async fn make_room(&self, source: &Facts) -> Result<Room> {
        self.sweep().await?;
        if self.own.is_some() {
            // Nobody logs in as these; owners and grants want them to exist.
            for role in facts::missing_roles(&self.session, &source.roles).await? {
                let sql = format!("CREATE ROLE {} NOLOGIN", identifier(&role));
                self.session.batch_execute(&sql).await.context("make a role for owners")?;
            }
        }
        let random: u64 = rand::random();
        let name = format!("{PREFIX}{random:016x}");
        // Held until the session ends, so that a sweep knows the living from the dead.
        self.session
            .execute("SELECT pg_advisory_lock(hashtextextended($1, 0))", &[&name])
            .await
            .context("lock the name of a database")?;
        let mut last = None;
        for (number, creation) in source.creations(&name).iter().enumerate() {
            match self.session.batch_execute(creation).await {
                Ok(()) => {
                    if number > 0 {
                        let locale = &source.collate;
                        self.story.note(format!("the scratch server has no locale {locale}"));
                    }
                    let endpoint = self.maintenance.with_database(&name);
                    return Ok(Room { endpoint, name });
                }
                Err(error) => last = Some(error),
            }
        }
        let error = last.map_or_else(|| anyhow::anyhow!("nothing was tried"), Into::into);
        Err(error.context("make a database to restore into"))
    }

    /// Whether every role of the dumped database exists here, so that owners and grants can be
    /// restored as well.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn has_roles(&self, source: &Facts) -> Result<bool> {
        Ok(facts::missing_roles(&self.session, &source.roles).await?.is_empty())
    }

    /// Drops the database that was made.
    ///
    /// # Errors
    /// The connection is lost; then the next proof here drops it.
    pub async fn clear(&self, room: Room) -> Result<()> {
        self.drop_database(&room.name, " WITH (FORCE)").await?;
        self.session
            .execute("SELECT pg_advisory_unlock(hashtextextended($1, 0))", &[&room.name])
            .await
            .context("unlock the name of a database")?;
        Ok(())
    }

    /// Ends a throw-away server, and waits until nothing of it is left.
    ///
    /// # Errors
    /// Something is left.
    pub async fn close(self) -> Result<()> {
        drop(self.session);
        match self.own {
            Some(own) => own.down().await,
            None => Ok(()),
        }
    }

    async fn sweep(&self) -> Result<()> {
        let pattern = format!("{}%", PREFIX.replace('_', "\\_"));
        let rows = self
            .session
            .query(
                "SELECT datname::text FROM pg_database WHERE datname LIKE $1
                   AND pg_try_advisory_lock(hashtextextended(datname::text, 0))",
                &[&pattern],
            )
            .await
            .context("look for databases of dead proofs")?;
        for row in rows {
            let name: String = row.get(0);
            // Without force: a session there means that somebody is at work after all.
            let dropped = self.drop_database(&name, "").await;
            match &dropped {
                Ok(()) => self.story.note(format!("dropped {name}, which a dead proof left")),
                Err(error) => self.story.warning(format!("{error:#}")),
            }
            tolerate(dropped, "it is told, and does not stand in the way");
        }
        Ok(())
    }

    async fn drop_database(&self, name: &str, how: &str) -> Result<()> {
        let sql = format!("DROP DATABASE IF EXISTS {}{how}", identifier(name));
        self.session.batch_execute(&sql).await.with_context(|| format!("drop database {name}"))
    }
}
