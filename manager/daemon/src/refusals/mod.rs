//! Refused requests, in the audit log: the one place where an answer that says no
//! becomes an event.
//!
//! A layer around the whole interface. An answer passes it with its status, and with the
//! [`Fault`] that the status was made of; the checks before have told [`Seen`] who
//! called, as far as that is known. So whatever refuses is noted, also what refuses
//! before any code of ours is reached: a message that is none, one that is too large, a
//! method that there is not. Who was refused is never read from what the request claims.
//!
//! An answer waits until its event is on the disk. Not so many of one source at once, or
//! of strangers together ([`Budget`]): these are counted, and an event tells the count.

mod budget;

use std::convert::Infallible;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use lakekeep_api::Reason;
use lakekeep_identity::Principal;
use lakekeep_store::Timestamp;
use lakekeep_store::audit::Event;
use tonic::body::Body;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo, UdsConnectInfo};
use tonic::{Code, Extensions, Status};
use tower::{Layer, Service};

use crate::fault::Fault;
use crate::gate::{Gate, attributed, now};
use crate::sandbox::lock;
use budget::{Budget, Counted, Kind};

pub use budget::Source;

/// Who was refused, where nobody is known: no user's name holds this.
const UNKNOWN: &str = "?";

/// What was asked for, where it is nothing that there is.
const NO_METHOD: &str = "unknown_method";

/// Longest name of a method that is written as it came, bytes.
const LONGEST_METHOD: usize = 64;

/// What the checks of one call have found out of who calls. Travels with the request.
#[derive(Debug, Clone, Default)]
pub struct Seen(Arc<Mutex<Option<Principal>>>);

impl Seen {
    /// It is this one, verified.
    pub fn is(&self, principal: &Principal) {
        *lock(&self.0) = Some(principal.clone());
    }

    fn who(&self) -> Option<Principal> {
        lock(&self.0).clone()
    }
}

/// Notes refusals.
#[derive(Debug, Clone)]
pub struct Refusals {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    gate: Arc<Gate>,
    start: Instant,
    budget: Mutex<Budget<Event>>,
}

impl Refusals {
    /// None yet.
    pub fn new(gate: Arc<Gate>) -> Self {
        let shared = Shared {
            gate,
            start: Instant::now(),
            budget: Mutex::new(Budget::new(Duration::ZERO)),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Notes what refused a request.
    async fn note(&self, call: &Call, seen: &Seen, status: &Status) -> Result<(), Fault> {
        let principal = seen.who();
        let source = match &principal {
            Some(principal) => {
                let user = principal.actor().unwrap_or(principal.user());
                Source::User(user.to_string())
            }
            None => call.from.clone(),
        };
        let code = code(status);
        let event = refused(call, principal.as_ref(), status)
            .with_extra("code", &code)
            .with_extra("from", &call.from.to_string());
        self.spend(source, code, event).await
    }

    /// Notes what refused something that was not asked for over the interface.
    ///
    /// # Errors
    /// `Internal`: the log cannot be written.
    pub async fn fault(
        &self,
        action: &str,
        from: Source,
        seen: &Seen,
        fault: &Fault,
    ) -> Result<(), Fault> {
        let action = action.to_owned();
        let call = Call { action, from };
        self.note(&call, seen, &Status::from(fault.clone())).await
    }

    /// Notes a connection that came to no request.
    ///
    /// # Errors
    /// `Internal`: the log cannot be written.
    pub async fn connection(&self, from: Source, why: &str) -> Result<(), Fault> {
        let code = Reason::Unauthenticated.name();
        let event = Event::denied(now(), UNKNOWN, "connect", why)
            .with_extra("code", code)
            .with_extra("from", &from.to_string());
        self.spend(from, code.to_owned(), event).await
    }

    async fn spend(&self, source: Source, code: String, event: Event) -> Result<(), Fault> {
        let kind = Kind {
            who: event.who().to_owned(),
            action: event.action().to_owned(),
            code,
        };
        let time = self.shared.start.elapsed();
        let written = lock(&self.shared.budget).spend(time, source, kind, event);
        match written {
            Some(event) => self.shared.gate.write(event).await,
            None => Ok(()),
        }
    }

    /// Tells of what was counted, as far as it is time.
    ///
    /// # Errors
    /// `Internal`: the log cannot be written.
    pub async fn tell(&self) -> Result<(), Fault> {
        let due = lock(&self.shared.budget).due(self.shared.start.elapsed());
        self.write(due).await
    }

    /// Tells of all that was counted, at the end.
    ///
    /// # Errors
    /// `Internal`: the log cannot be written.
    pub async fn tell_all(&self) -> Result<(), Fault> {
        let rest = lock(&self.shared.budget).rest();
        self.write(rest).await
    }

    async fn write(&self, counted: Vec<(Source, Counted<Event>)>) -> Result<(), Fault> {
        for (source, some) in counted {
            let ago = self.shared.start.elapsed().saturating_sub(some.since);
            let ago = u64::try_from(ago.as_micros()).unwrap_or(u64::MAX);
            let since = Timestamp::from_micros(now().as_micros().saturating_sub(ago));
            let mut event = some
                .last
                .with_extra("count", &some.count.to_string())
                .with_extra("since", &since.to_string())
                .with_extra("from", &source.to_string());
            if some.various {
                event = event.with_extra("various", "true");
            }
            self.shared.gate.write(event).await?;
        }
        Ok(())
    }
}

/// The word for why: one of ours, or gRPC's own.
fn code(status: &Status) -> String {
    Reason::of(status).unwrap_or_else(|| format!("{:?}", status.code()))
}

fn refused(call: &Call, principal: Option<&Principal>, status: &Status) -> Event {
    let fault = std::error::Error::source(status).and_then(|source| source.downcast_ref::<Fault>());
    let event = match fault.and_then(Fault::event) {
        Some(event) => event.clone(),
        None => {
            let who = principal.map_or(UNKNOWN, |principal| principal.user().as_str());
            let failed = fault.is_some_and(|fault| is_failure(fault.reason()));
            let make = if failed { Event::error } else { Event::denied };
            make(now(), who, &call.action, status.message())
        }
    };
    match principal {
        Some(principal) => attributed(event, principal),
        None => event,
    }
}

/// Whether it was allowed, and failed.
fn is_failure(reason: Reason) -> bool {
    match reason {
        Reason::Conflict
        | Reason::Ended
        | Reason::Frozen
        | Reason::OutputGone
        | Reason::NotEnforced
        | Reason::Unavailable
        | Reason::Internal => true,
        // Whatever comes to be refused later is a refusal.
        _ => false,
    }
}

/// A call, as its connection and its path tell.
#[derive(Debug)]
struct Call {
    action: String,
    from: Source,
}

impl Call {
    fn of<B>(request: &http::Request<B>) -> Self {
        Self {
            action: action(request.uri().path()),
            from: from(request.extensions()),
        }
    }
}

fn from(extensions: &Extensions) -> Source {
    let peer = extensions
        .get::<UdsConnectInfo>()
        .and_then(|info| info.peer_cred);
    if let Some(peer) = peer {
        return Source::Uid(peer.uid());
    }
    let address = extensions
        .get::<TlsConnectInfo<TcpConnectInfo>>()
        .and_then(|info| info.get_ref().remote_addr());
    match address {
        Some(address) => Source::network(address.ip()),
        None => Source::Others,
    }
}

/// The word that events of a method's success have; of a method that is none, none.
fn action(path: &str) -> String {
    let method = path
        .strip_prefix("/lakekeep.v1.")
        .and_then(|rest| rest.split_once('/'))
        .map(|(_, method)| method)
        .filter(|method| method.len() <= LONGEST_METHOD)
        .filter(|method| method.bytes().all(|byte| byte.is_ascii_alphabetic()));
    let word = match method {
        None => NO_METHOD,
        Some("Create" | "Claim") => "create_sandbox",
        Some("ReadFile" | "ListFiles") => "read_files",
        Some("WriteFile") => "write_files",
        Some("Get" | "Stats" | "Verdict") => "inspect",
        Some("Receipt") => "read_receipt",
        Some("AttachVolume") => "use_volume",
        Some("RevokeDelegation") => "revoke",
        Some("GetProfile" | "ListProfiles") => "view_profile",
        Some("PutProfile") => "edit_profile",
        Some("QueryAudit" | "VerifyAudit") => "read_audit",
        Some(other) => return snake_case(other),
    };
    word.to_owned()
}

fn snake_case(name: &str) -> String {
    let mut word = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(letter.to_ascii_lowercase());
    }
    word
}

impl<S> Layer<S> for Refusals {
    type Service = Noting<S>;

    fn layer(&self, inner: S) -> Noting<S> {
        Noting {
            inner,
            refusals: self.clone(),
        }
    }
}

/// The interface, with its refusals noted.
#[derive(Debug, Clone)]
pub struct Noting<S> {
    inner: S,
    refusals: Refusals,
}

type Answering =
    Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send + 'static>>;

impl<S> Service<http::Request<Body>> for Noting<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Answering {
        let (call, seen) = (Call::of(&request), Seen::default());
        request.extensions_mut().insert(seen.clone());
        let refusals = self.refusals.clone();
        // The one that is ready is used; a clone need not be.
        let ready = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, ready);
        Box::pin(async move {
            let answer = inner.call(request).await?;
            let status = answer.extensions().get::<Status>();
            let Some(status) = status.filter(|status| status.code() != Code::Ok).cloned() else {
                return Ok(answer);
            };
            match refusals.note(&call, &seen, &status).await {
                Ok(()) => Ok(answer),
                // As everywhere: what cannot be noted is not answered.
                Err(fault) => Ok(Status::from(fault).into_http()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_s_word_is_that_of_its_success() {
        for (path, word) in [
            ("/lakekeep.v1.Sandboxes/Claim", "create_sandbox"),
            ("/lakekeep.v1.Sandboxes/Exec", "exec"),
            ("/lakekeep.v1.Accounts/WhoAmI", "who_am_i"),
            ("/lakekeep.v1.Accounts/SetVariable", "set_variable"),
            ("/lakekeep.v1.Sandboxes/..%2f", NO_METHOD),
            ("/grpc.health.v1.Health/Check", NO_METHOD),
            ("*", NO_METHOD),
        ] {
            assert_eq!(action(path), word, "{path}");
        }
    }

    #[test]
    fn a_fault_comes_with_its_status() {
        let event = Event::denied(now(), "alice", "exec", "not to be seen");
        let fault = Fault::new(Reason::NotFound, "no sandbox of yours").noted_as(event.clone());
        let status = Status::from(fault);
        let call = Call {
            action: "kill".to_owned(),
            from: Source::Uid(1),
        };
        let told = refused(&call, None, &status);
        assert_eq!((told.who(), told.action()), ("alice", "exec"));
        assert_eq!(code(&status), "NOT_FOUND");
        let bare = Status::invalid_argument("no message");
        let told = refused(&call, None, &bare);
        assert_eq!((told.who(), told.action()), (UNKNOWN, "kill"));
        assert_eq!(code(&bare), "InvalidArgument");
    }
}
