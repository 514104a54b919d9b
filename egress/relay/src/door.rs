//! Where connections come in: as many as may live at a time.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use lakekeep_egress_rules::Limits;
use lakekeep_protocol::relay::{FlowReceipt, FlowVerdict};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::control::words;
use crate::flow::reset;
use crate::limits;
use crate::pace::Pace;
use crate::places::Place;
use crate::sandbox::Sandbox;

/// How long connections wait in the kernel's queue for another to end, before they are refused.
const GRACE: Duration = Duration::from_secs(1);

/// At most one receipt in it tells of those that were refused: their number is the code
/// inside's to choose.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Who came in.
#[derive(Debug)]
pub enum Arrived {
    /// A connection, not yet any thread's, where it wants to go, and its place.
    Flow(TcpStream, SocketAddr, Place),
    /// One that was refused; told with those that were before it.
    Refused(Option<FlowReceipt>),
}

/// The listener, and who was refused at it.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    sandbox: Arc<Sandbox>,
    limits: watch::Receiver<Limits>,
    /// Since when as many live as may.
    full: Option<Instant>,
    /// Refusals cost the relay something too: they come no faster than connections may.
    refusals: Pace,
    /// When the next one may come.
    due: Instant,
    /// How many were refused and not told of, and where the last of them wanted to go.
    refused: u64,
    last: Option<SocketAddr>,
    told: Option<Instant>,
}

impl Door {
    /// The door of a sandbox at which nobody was refused.
    pub fn new(sandbox: Arc<Sandbox>, listener: TcpListener) -> Self {
        Self {
            listener,
            full: None,
            refusals: Pace::new(Some(sandbox.limits().new_per_second.into())),
            limits: sandbox.changing_limits(),
            due: Instant::now(),
            refused: 0,
            last: None,
            told: None,
            sandbox,
        }
    }

    /// The next who comes in. Those above the limit wait in the kernel's queue, and those above
    /// the queue's are not answered; when no connection has ended for [`GRACE`], those that wait
    /// are refused. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// Of accept(2).
    pub async fn next(&mut self) -> io::Result<Arrived> {
        let places = Arc::clone(&self.sandbox.places);
        loop {
            if places.is_full() {
                let full = *self.full.get_or_insert_with(Instant::now);
                tokio::select! {
                    place = places.take() => drop(place),
                    refused = self.refuse((full + GRACE).max(self.due)) => return refused,
                }
            }
            self.full = None;
            let place = places.take().await;
            tokio::select! {
                arrived = accept(&self.listener) => {
                    let (inside, asked) = arrived?;
                    return Ok(Arrived::Flow(inside, asked, place));
                }
                // There may be fewer places now, and this one none of them.
                Ok(()) = self.limits.changed() => {
                    let arrivals = self.limits.borrow_and_update().new_per_second;
                    self.refusals.limit(Some(arrivals.into()));
                }
            }
        }
    }

    /// Refuses the next, but none before this moment.
    async fn refuse(&mut self, from: Instant) -> io::Result<Arrived> {
        sleep_until(from).await;
        let (inside, asked) = accept(&self.listener).await?;
        reset(&inside);
        drop(inside);
        self.refused += 1;
        self.last = Some(asked);
        self.due = self.refusals.due(1, Instant::now());
        let receipt = match self.told {
            Some(told) if told.elapsed() < TELL_EVERY => None,
            _ => self.untold(),
        };
        Ok(Arrived::Refused(receipt))
    }

    /// What was refused and not told of, if anything was.
    pub fn untold(&mut self) -> Option<FlowReceipt> {
        let asked = self.last.take()?;
        let more = self.refused.saturating_sub(1);
        self.refused = 0;
        self.told = Some(Instant::now());
        let to = self.sandbox.asked(asked);
        let mut receipt = self.sandbox.receipt(&to);
        receipt.verdict = FlowVerdict::Denied;
        let said = limits::connections(&to.to_string(), &self.sandbox.limits(), more);
        receipt.words = words(&said);
        Some(receipt)
    }
}

/// A connection and the address that it asked for. Small messages of the server's go on to it at
/// once (tcp(7), `TCP_NODELAY`): the second of two would else wait for the first's
/// acknowledgement, which the client delays by 40 ms.
async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (inside, _) = listener.accept().await?;
    inside.set_nodelay(true)?;
    let asked = inside.local_addr()?;
    let asked = SocketAddr::new(asked.ip().to_canonical(), asked.port());
    Ok((inside.into_std()?, asked))
}
