//! The network of a sweep: everything between the tool, the clients and the two servers goes
//! through here, so that it can be cut, slowed down or made silent.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::failure::tolerate;
use crate::pg::endpoint::Endpoint;

/// How much is passed on at once, in bytes.
const PORTION: usize = 64 << 10;

/// How a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Everything passes.
    Clear,
    /// Everything passes so much later.
    Slow(Duration),
    /// Connections stand, and nothing passes until it is over; nobody is told.
    Silent,
    /// Connections are cut, and new ones as well.
    Down,
}

/// The ways that connections take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Tool and clients to the plain server.
    Plain,
    /// Tool and clients to the ParadeDB server.
    Paradedb,
    /// The subscription that brings rows to ParadeDB.
    Forward,
    /// The subscription that brings rows back.
    Backward,
}

impl Way {
    /// Every way.
    pub const ALL: [Way; 4] = [Way::Plain, Way::Paradedb, Way::Forward, Way::Backward];

    /// What it is called in a line.
    pub fn name(self) -> &'static str {
        match self {
            Way::Plain => "to plain",
            Way::Paradedb => "to ParadeDB",
            Way::Forward => "replication forth",
            Way::Backward => "replication back",
        }
    }
}

/// A port of ours that leads to a port of a server. It ends with this.
pub struct Link {
    port: u16,
    weather: watch::Sender<Weather>,
    accepting: JoinHandle<()>,
}

impl Link {
    /// Opens a port that leads to a server on this machine.
    ///
    /// # Errors
    /// No port is free.
    pub async fn open(server: u16) -> Result<Link> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("open a link")?;
        let port = listener.local_addr().context("open a link")?.port();
        let weather = watch::Sender::new(Weather::Clear);
        let accepting = tokio::spawn(accept(listener, server, weather.subscribe()));
        Ok(Link { port, weather, accepting })
    }

    /// The same database, reached through this link.
    #[must_use]
    pub fn through(&self, endpoint: &Endpoint) -> Endpoint {
        let host = Ipv4Addr::LOCALHOST.to_string();
        endpoint.at_server_of(&Endpoint::new(&host, self.port, &endpoint.database, "", ""))
    }

    /// Changes how it is, for what is connected as well.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The four links of a sweep.
pub struct Links([Link; 4]);

impl Links {
    /// Opens all; the ports are those of the servers.
    ///
    /// # Errors
    /// As [`Link::open`].
    pub async fn open(plain: u16, paradedb: u16) -> Result<Links> {
        Ok(Links([
            Link::open(plain).await?,
            Link::open(paradedb).await?,
            Link::open(plain).await?,
            Link::open(paradedb).await?,
        ]))
    }

    /// One of them.
    pub fn on(&self, way: Way) -> &Link {
        &self.0[way as usize]
    }
}

async fn accept(listener: TcpListener, server: u16, weather: watch::Receiver<Weather>) {
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                connections.spawn(carry(client, server, weather.clone()));
            }
            Some(ended) = connections.join_next() => {
                tolerate(ended, "a connection that ends is no matter of the others");
            }
        }
    }
}

/// Carries one connection until a side ends it or the link goes down.
async fn carry(client: TcpStream, server: u16, weather: watch::Receiver<Weather>) {
    let mut watched = weather.clone();
    let work = async {
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let there = pass(from_client, to_server, weather.clone());
        let back = pass(from_server, to_client, weather);
        tokio::try_join!(there, back).map(drop)
    };
    tokio::select! {
        ended = work => tolerate(ended, "both ends see it for themselves"),
        cut = watched.wait_for(|now| *now == Weather::Down) => drop(cut),
    }
}

/// Passes one direction on, as late as the weather says.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut weather: watch::Receiver<Weather>,
) -> std::io::Result<()> {
    let mut portion = vec![0; PORTION];
    loop {
        let count = from.read(&mut portion).await?;
        let now = *weather.borrow();
        if let Weather::Slow(by) = now {
            tokio::time::sleep(by).await;
        }
        let passes = weather.wait_for(|now| *now != Weather::Silent).await;
        tolerate(passes, "without a weather there is no link any more");
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&portion[..count]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that says everything again.
    async fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tolerate(tokio::io::copy(&mut from, &mut to).await, "the client is gone");
                });
            }
        });
        port
    }

    async fn says(stream: &mut TcpStream) -> std::io::Result<u8> {
        stream.write_all(b"x").await?;
        stream.read_u8().await
    }

    #[tokio::test]
    async fn what_is_cut_ends_and_what_is_silent_waits() {
        let link = Link::open(echo().await).await.unwrap();
        let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, link.port));
        let mut stream = connect().await.unwrap();
        assert_eq!(says(&mut stream).await.unwrap(), b'x');
        link.set(Weather::Silent);
        let limit = Duration::from_millis(50);
        assert!(tokio::time::timeout(limit, says(&mut stream)).await.is_err());
        link.set(Weather::Clear);
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        link.set(Weather::Slow(limit));
        let begun = std::time::Instant::now();
        assert_eq!(says(&mut stream).await.unwrap(), b'x');
        assert!(begun.elapsed() >= 2 * limit);
        link.set(Weather::Down);
        assert!(says(&mut stream).await.is_err());
        assert!(says(&mut connect().await.unwrap()).await.is_err());
        link.set(Weather::Clear);
        assert_eq!(says(&mut connect().await.unwrap()).await.unwrap(), b'x');
    }
}
