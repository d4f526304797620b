//! One side of a run: its session and its lock, on the server that the run knows and on no other.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::config;
use crate::cutover::event::Side;
use crate::cutover::header::Identity;
use crate::failure::Failure;
use crate::pg::endpoint::{Endpoint, Session};
use crate::pg::state::{self, Lock};

/// How often a server that is away is called.
pub const RESTART_EVERY: Duration = Duration::from_millis(500);

/// One side of a run.
pub struct Server {
    /// Which.
    pub side: Side,
    /// How the tool reaches it.
    pub endpoint: Endpoint,
    /// How the other server reaches it.
    pub peer: Endpoint,
    /// Who it is; a connection to anybody else is refused.
    pub identity: Identity,
    /// The backends that write the journal's mirror here.
    pub mirror: Arc<Mutex<Vec<i32>>>,
    session: Option<Arc<Session>>,
    lock: Option<Lock>,
    /// Whether a lost session is not opened anew: within an act of the pause, another operator may
    /// have ended it after we were seen to own the run.
    is_bound: bool,
}

impl Server {
    /// A side that nobody has connected to yet.
    pub fn new(side: Side, endpoint: Endpoint, peer: Endpoint, identity: Identity) -> Server {
        Server {
            side,
            endpoint,
            peer,
            identity,
            mirror: Arc::default(),
            session: None,
            lock: None,
            is_bound: false,
        }
    }

    /// The tool's session here, opened anew where it was lost, on the server that the run knows.
    ///
    /// # Errors
    /// The server cannot be reached, or another one answers at its address; or the session was lost
    /// within an act of the pause.
    pub async fn session(&mut self) -> Result<Arc<Session>> {
        if let Some(session) = &self.session
            && !session.is_lost()
        {
            return Ok(session.clone());
        }
        if self.is_bound {
            bail!("the {} has ended our session in the pause", self.side.name());
        }
        let session = self.endpoint.connect(self.side.name()).await?;
        assert_identity(&session, &self.identity, self.side).await?;
        let session = Arc::new(session);
        self.session = Some(session.clone());
        Ok(session)
    }

    /// The tool's session here, where it is open.
    pub fn open_session(&self) -> Option<Arc<Session>> {
        self.session.clone().filter(|session| !session.is_lost())
    }

    /// A session for one purpose, on the server that the run knows.
    ///
    /// # Errors
    /// As [`Server::session`].
    pub async fn own_session(&self, purpose: &str) -> Result<Session> {
        let session = self.endpoint.connect(purpose).await?;
        assert_identity(&session, &self.identity, self.side).await?;
        Ok(session)
    }

    /// The tool's session here; a server that is being restarted is waited for.
    ///
    /// # Errors
    /// As [`Server::session`], after the limit; at once where another server answers.
    pub async fn session_within(&mut self, limit: Duration) -> Result<Arc<Session>> {
        let begun = Instant::now();
        loop {
            let error = match self.session().await {
                Ok(session) => return Ok(session),
                Err(error) => error,
            };
            if begun.elapsed() > limit || crate::failure::find(&error).is_some() {
                return Err(error);
            }
            tokio::time::sleep(RESTART_EVERY).await;
        }
    }

    /// From now on a lost session is not opened anew; or it is again.
    pub fn bind(&mut self, is_bound: bool) {
        self.is_bound = is_bound;
    }

    /// Takes the operator's lock here, where it is not held.
    ///
    /// # Errors
    /// Another operator holds it.
    pub async fn lock(&mut self) -> Result<()> {
        if self.lock.as_ref().is_none_or(Lock::is_lost) {
            let operator = format!("{}:{}", config::host(), std::process::id());
            self.lock = Some(Lock::take(&self.endpoint, &operator).await?);
        }
        Ok(())
    }

    /// Whether the operator's lock was lost, as with a restart of the server.
    pub fn has_lost_its_lock(&self) -> bool {
        self.lock.as_ref().is_some_and(Lock::is_lost)
    }

    /// Our own backends here, which our fence spares.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn backends(&self) -> Result<Vec<i32>> {
        let mut all = Vec::new();
        if let Some(session) = &self.session {
            all.push(session.backend().await?);
        }
        all.extend(self.lock.as_ref().map(|lock| lock.backend));
        all.extend(self.mirror.lock().unwrap_or_else(PoisonError::into_inner).iter());
        Ok(all)
    }
}

/// Refuses a server that is another one than the run began with.
///
/// # Errors
/// It is another one, or cannot be asked.
pub async fn assert_identity(session: &Session, wanted: &Identity, side: Side) -> Result<()> {
    let found = state::identity(session).await?;
    // A crash or a promotion may move the timeline of the same database; a switch of servers shows
    // in the system identifier and the database.
    if found.system == wanted.system && found.database_oid == wanted.database_oid {
        return Ok(());
    }
    let describe = |one: &Identity| {
        format!("{} (database {} with oid {})", one.system, one.database, one.database_oid)
    };
    let message = format!(
        "the {} is not the server that this run knows: it was {}, now {} answers",
        side.name(),
        describe(wanted),
        describe(&found)
    );
    Err(Failure::refused(message)
        .hint(
            "name the servers that `cutover status` shows; other servers have their journals \
             elsewhere: --journal-dir DIR",
        )
        .into())
}
