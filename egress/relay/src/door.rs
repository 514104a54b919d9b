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

/// The places of a connection: its sandbox's own, and those in what it has with others.
pub type Held = (Place, [Place; 2]);

/// Who came in.
#[derive(Debug)]
pub enum Arrived {
    /// A connection, not yet any thread's, where it wants to go, and its places.
    Flow(TcpStream, SocketAddr, Held),
    /// One that was refused; told with those that were before it.
    Refused(Option<FlowReceipt>),
}

/// Who has a place of the sandbox's own, and waits for those in what it has with others.
#[derive(Debug)]
struct Waiting {
    inside: TcpStream,
    asked: SocketAddr,
    place: Place,
}

/// Who was refused last, and why.
#[derive(Debug)]
struct Refused {
    asked: SocketAddr,
    why: String,
}

/// The listener, and who was refused at it.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    sandbox: Arc<Sandbox>,
    limits: watch::Receiver<Limits>,
    /// At most one waits here: the next is accepted when it goes on.
    waiting: Option<Waiting>,
    /// Since when as many live as may.
    full: Option<Instant>,
    /// Since when there is no place in what the sandbox has with others.
    crowded: Option<Instant>,
    /// Refusals cost the relay something too: they come no faster than connections may.
    refusals: Pace,
    /// When the next one may come.
    due: Instant,
    /// How many were refused and not told of, and the last of them.
    refused: u64,
    last: Option<Refused>,
    told: Option<Instant>,
}

impl Door {
    /// The door of a sandbox at which nobody was refused.
    pub fn new(sandbox: Arc<Sandbox>, listener: TcpListener) -> Self {
        Self {
            listener,
            waiting: None,
            full: None,
            crowded: None,
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
        loop {
            let arrived = match self.waiting {
                None => self.come_in().await?,
                Some(_) => self.go_on().await,
            };
            if let Some(arrived) = arrived {
                return Ok(arrived);
            }
        }
    }

    /// Has one more wait that has a place of the sandbox's own, or refuses it.
    async fn come_in(&mut self) -> io::Result<Option<Arrived>> {
        let places = Arc::clone(&self.sandbox.places);
        loop {
            if places.is_full() {
                let full = *self.full.get_or_insert_with(Instant::now);
                tokio::select! {
                    place = places.take() => drop(place),
                    refused = self.refuse_next((full + GRACE).max(self.due)) => {
                        return refused.map(Some);
                    }
                }
            }
            self.full = None;
            let place = places.take().await;
            tokio::select! {
                arrived = accept(&self.listener) => {
                    let (inside, asked) = arrived?;
                    if self.due.elapsed() > GRACE {
                        // Nobody was refused lately: it waits like the first.
                        self.crowded = None;
                    }
                    self.waiting = Some(Waiting { inside, asked, place });
                    return Ok(None);
                }
                // There may be fewer places now, and this one none of them.
                Ok(()) = self.limits.changed() => {
                    let arrivals = self.limits.borrow_and_update().new_per_second;
                    self.refusals.limit(Some(arrivals.into()));
                }
            }
        }
    }

    /// Lets the one who waits go on when there is a place for it in all that the sandbox has with
    /// others, or refuses it when nobody there has ended for [`GRACE`]. It is accepted already: the
    /// place of one that may never come would be missing elsewhere. `None`: look again.
    async fn go_on(&mut self) -> Option<Arrived> {
        let sandbox = Arc::clone(&self.sandbox);
        let since = *self.crowded.get_or_insert_with(Instant::now);
        tokio::select! {
            biased;
            places = sandbox.together.places() => {
                self.crowded = None;
                let Waiting { inside, asked, place } = self.waiting.take()?;
                Some(Arrived::Flow(inside, asked, (place, places)))
            }
            () = sleep_until((since + GRACE).max(self.due)) => {
                let full = sandbox.together.full()?;
                let Waiting { inside, asked, .. } = self.waiting.take()?;
                Some(self.refuse(inside, asked, limits::total_connections(full)))
            }
        }
    }

    /// Refuses the next, but none before this moment.
    async fn refuse_next(&mut self, from: Instant) -> io::Result<Arrived> {
        sleep_until(from).await;
        let (inside, asked) = accept(&self.listener).await?;
        let why = limits::connections(&self.sandbox.limits());
        Ok(self.refuse(inside, asked, why))
    }

    fn refuse(&mut self, inside: TcpStream, asked: SocketAddr, why: String) -> Arrived {
        reset(&inside);
        drop(inside);
        self.refused += 1;
        self.last = Some(Refused { asked, why });
        self.due = self.refusals.due(1, Instant::now());
        let receipt = match self.told {
            Some(told) if told.elapsed() < TELL_EVERY => None,
            _ => self.untold(),
        };
        Arrived::Refused(receipt)
    }

    /// What was refused and not told of, if anything was.
    pub fn untold(&mut self) -> Option<FlowReceipt> {
        let Refused { asked, why } = self.last.take()?;
        let more = self.refused.saturating_sub(1);
        self.refused = 0;
        self.told = Some(Instant::now());
        let to = self.sandbox.asked(asked);
        let mut receipt = self.sandbox.receipt(&to);
        receipt.verdict = FlowVerdict::Denied;
        let said = limits::refused(&to.to_string(), more, &why);
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
