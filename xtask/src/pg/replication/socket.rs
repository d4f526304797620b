//! The socket of a replication session, which tokio-postgres cannot ask for by itself.

use std::io;
use std::pin::Pin;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

/// The version in a startup message: 3.0. (PostgreSQL documentation, 54.7 Message Formats.)
const PROTOCOL: [u8; 4] = [0, 3, 0, 0];
/// What stands in its place where TLS is asked for first (ibid., SSLRequest).
const TLS_REQUEST: [u8; 4] = 80_877_103_u32.to_be_bytes();

/// A socket that asks for a replication session: tokio-postgres cannot, so the startup message gets
/// `replication=database` appended and its length mended. What comes before it, the request for
/// TLS, passes as it is; so does everything where a handshake follows, and then [`ReplicationTls`]
/// mends the message inside.
pub struct ReplicationSocket<S> {
    socket: S,
    pending: Vec<u8>,
    begun: bool,
}

impl<S> ReplicationSocket<S> {
    /// Wraps a connected socket on which nothing was sent yet.
    pub fn new(socket: S) -> ReplicationSocket<S> {
        ReplicationSocket { socket, pending: Vec::new(), begun: false }
    }
}

/// The startup message with one more parameter.
fn with_replication(startup: &[u8]) -> Vec<u8> {
    let body = &startup[4..startup.len().saturating_sub(1)];
    let mut message = Vec::with_capacity(startup.len() + 21);
    let length = 4 + body.len() + b"replication\0database\0".len() + 1;
    message.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    message.extend_from_slice(body);
    message.extend_from_slice(b"replication\0database\0\0");
    message
}

impl<S: AsyncRead + Unpin> AsyncRead for ReplicationSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReplicationSocket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.get(4..8) != Some(&PROTOCOL) && bytes.get(4..8) != Some(&TLS_REQUEST) {
            self.begun = true;
        }
        if self.begun || bytes.get(4..8) == Some(&TLS_REQUEST) {
            return match self.as_mut().poll_pending(context) {
                Poll::Ready(Ok(())) => Pin::new(&mut self.socket).poll_write(context, bytes),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            };
        }
        self.begun = true;
        self.pending = with_replication(bytes);
        match self.as_mut().poll_pending(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> Poll<io::Result<()>> {
        match self.as_mut().poll_pending(context) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.socket).poll_flush(context),
            other => other,
        }
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

impl<S: AsyncWrite + Unpin> ReplicationSocket<S> {
    /// Sends what is left of the mended message.
    fn poll_pending(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let this = &mut *self;
            match Pin::new(&mut this.socket).poll_write(context, &this.pending) {
                Poll::Ready(Ok(written)) => {
                    this.pending.drain(..written);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: TlsStream + Unpin> TlsStream for ReplicationSocket<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.socket.channel_binding()
    }
}

/// Makes handshakes whose stream asks for a replication session.
pub struct ReplicationTls<T>(pub T);

impl<S, T> TlsConnect<S> for ReplicationTls<T>
where
    T: TlsConnect<S>,
    T::Stream: Unpin,
    T::Future: Send + 'static,
{
    type Stream = ReplicationSocket<T::Stream>;
    type Error = T::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, Self::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let handshake = self.0.connect(stream);
        Box::pin(async move { handshake.await.map(ReplicationSocket::new) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_startup_message_gets_one_parameter_and_a_true_length() {
        let mut startup = vec![0, 0, 0, 0, 0, 3, 0, 0];
        startup.extend_from_slice(b"user\0me\0\0");
        let length = u32::try_from(startup.len()).unwrap();
        startup[..4].copy_from_slice(&length.to_be_bytes());
        let message = with_replication(&startup);
        assert_eq!(message[..4], u32::try_from(message.len()).unwrap().to_be_bytes());
        assert!(message.ends_with(b"user\0me\0replication\0database\0\0"));
    }
}
