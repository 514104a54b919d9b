//! Where connections come in. A client who says nothing, who has too many connections, or,
//! over TCP, whose certificate is not the authority's comes to no request, and is noted
//! here.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Resource;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;

use crate::connection::Connection;
use crate::places::{Bounds, Full, Places};
use crate::refusals::{Refusals, Source};

/// How long a client may take to agree on TLS and to begin HTTP/2.
const BEGINNING: Duration = Duration::from_secs(10);

/// Clients that may be about it at once: of one peer no more, or it would keep the others
/// out. Beyond them all, clients wait in the kernel's queue.
const SILENT: Bounds = Bounds {
    all: 2048,
    one: 1024,
};

/// Most connections at once, where descriptors are not scarce.
const MOST_OPEN: usize = 16_384;

/// Pause after the kernel gave no connection, for want of descriptors most likely.
const PAUSE: Duration = Duration::from_millis(100);

/// Why a connection came to no request.
#[derive(Debug, thiserror::Error)]
pub enum Unheard {
    #[error(transparent)]
    Full(#[from] Full),
    #[error("TCP: {0}")]
    Tcp(io::Error),
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error("HTTP/2: {0}")]
    Http(io::Error),
    #[error("it did not agree on TLS and begin HTTP/2 within {BEGINNING:?}")]
    Late,
}

/// A socket on which clients arrive.
pub trait Entrance: Send + Sync + 'static {
    /// A connection as the kernel gives it.
    type Raw: Send;
    /// One that HTTP/2 can be spoken on.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send;

    /// Who leaves without a word has only looked whether somebody is there: that is
    /// refused nothing, and not noted.
    const MAY_LOOK: bool;

    /// The next one, and whose it is.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Raw, Source)>> + Send;

    /// Agrees with the client on how to speak.
    fn agree(&self, raw: Self::Raw) -> impl Future<Output = Result<Self::Stream, Unheard>> + Send;
}

impl Entrance for UnixListener {
    type Raw = UnixStream;
    type Stream = UnixStream;

    const MAY_LOOK: bool = true;

    async fn accept(&self) -> io::Result<(UnixStream, Source)> {
        let (stream, _) = Self::accept(self).await?;
        let peer = stream.peer_cred()?;
        Ok((stream, Source::Uid(peer.uid())))
    }

    async fn agree(&self, raw: UnixStream) -> Result<UnixStream, Unheard> {
        Ok(raw)
    }
}

/// Over TCP nothing is served before TLS is agreed upon.
pub struct OverTls {
    /// Where clients arrive.
    pub listener: TcpListener,
    /// What is agreed upon.
    pub acceptor: TlsAcceptor,
}

impl Entrance for OverTls {
    type Raw = TcpStream;
    type Stream = TlsStream<TcpStream>;

    const MAY_LOOK: bool = false;

    async fn accept(&self) -> io::Result<(TcpStream, Source)> {
        let (stream, address) = self.listener.accept().await?;
        Ok((stream, Source::network(address.ip())))
    }

    async fn agree(&self, raw: TcpStream) -> Result<TlsStream<TcpStream>, Unheard> {
        // Small answers are not kept back to be sent together.
        raw.set_nodelay(true).map_err(Unheard::Tcp)?;
        self.acceptor.accept(raw).await.map_err(Unheard::Tls)
    }
}

/// Connections on which the client has begun to speak.
pub type Begun<S> = ReceiverStream<io::Result<Connection<S>>>;

/// Takes connections in until the stream of those that have begun is dropped.
pub fn begun<E: Entrance>(entrance: E, refusals: Refusals) -> Begun<E::Stream> {
    let (to, begun) = mpsc::channel(1);
    let door = Arc::new(Door {
        entrance,
        refusals,
        silent: Places::new(SILENT),
        open: Places::new(open()),
    });
    tokio::spawn(async move {
        let turns = Arc::new(Semaphore::new(SILENT.all));
        while let Ok(turn) = Arc::clone(&turns).acquire_owned().await {
            let accepted = tokio::select! {
                accepted = door.entrance.accept() => accepted,
                () = to.closed() => return,
            };
            let Ok((raw, peer)) = accepted else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let (door, to) = (Arc::clone(&door), to.clone());
            tokio::spawn(async move {
                let admitted = door.admit(raw, peer).await;
                drop(turn);
                if let Some(connection) = admitted {
                    // The server has ended: so has the connection.
                    drop(to.send(Ok(connection)).await);
                }
            });
        }
    });
    ReceiverStream::new(begun)
}

/// How many connections may be open: every sandbox and task needs descriptors too.
fn open() -> Bounds {
    let limit = rustix::process::getrlimit(Resource::Nofile).current;
    let share = limit.map_or(MOST_OPEN, |limit| {
        usize::try_from(limit / 4).unwrap_or(MOST_OPEN)
    });
    let all = share.min(MOST_OPEN);
    Bounds { all, one: all / 2 }
}

struct Door<E> {
    entrance: E,
    refusals: Refusals,
    /// Places of those that have not spoken.
    silent: Places,
    /// Places of all.
    open: Places,
}

impl<E: Entrance> Door<E> {
    /// A connection that has begun to speak in time; `None`: it is closed, and noted.
    async fn admit(&self, raw: E::Raw, peer: Source) -> Option<Connection<E::Stream>> {
        let why = match self.begin(raw, &peer).await {
            Ok(connection) => return Some(connection),
            Err(Unheard::Http(error))
                if E::MAY_LOOK && error.kind() == io::ErrorKind::NotConnected =>
            {
                return None;
            }
            Err(why) => why.to_string(),
        };
        if self.refusals.connection(peer, &why).await.is_err() {
            // The log says itself that it has stopped, to everybody who acts next.
        }
        None
    }

    async fn begin(&self, raw: E::Raw, peer: &Source) -> Result<Connection<E::Stream>, Unheard> {
        let _silent = self.silent.take(peer.clone())?;
        let place = self.open.take(peer.clone())?;
        let spoken = async {
            let agreed = self.entrance.agree(raw).await?;
            let begun = Connection::begin(agreed, place).await;
            begun.map_err(Unheard::Http)
        };
        let spoken = tokio::time::timeout(BEGINNING, spoken).await;
        spoken.unwrap_or(Err(Unheard::Late))
    }
}
