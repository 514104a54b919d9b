//! Says to the code inside in whose sandbox it runs: nothing that it could not be told when it
//! was started, for programs that are started by others.

use std::net::IpAddr;
use std::sync::Arc;

use ::http::header::{ALLOW, HeaderValue};
use ::http::{Method, Request, StatusCode};
use lakekeep_egress_rules::Service;
use serde::Serialize;
use tokio::net::UnixStream;

use super::http::{self, Answer, Names};
use super::{Answering, LocalService};
use crate::egress::Whose;
use crate::places::Full;

/// The only path.
const PATH: &str = "/v1/identity";

/// The service.
#[derive(Debug)]
pub struct Identity {
    addresses: Vec<IpAddr>,
}

impl Identity {
    /// At its name, and at these addresses.
    pub fn at(addresses: Vec<IpAddr>) -> Self {
        Self { addresses }
    }
}

/// What it says.
#[derive(Debug, Serialize)]
struct Told<'a> {
    sandbox: &'a str,
    user: &'a str,
    identity: &'a str,
    profile: &'a str,
    /// Where one runs; of several nobody can tell which of them asks.
    task: Option<u32>,
    /// The engine's name for that task's query, where it gave one.
    query: Option<String>,
}

impl LocalService for Identity {
    fn service(&self) -> Service {
        Service::Identity
    }

    fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    fn handle(&self, stream: UnixStream, whose: Arc<Whose>) -> Answering {
        let names = Names::new(self.service(), self.addresses());
        Box::pin(http::serve(stream, names, move |request| {
            answer(request, &whose)
        }))
    }

    fn refuse(&self, stream: UnixStream, why: Full) -> Answering {
        let names = Names::new(self.service(), self.addresses());
        Box::pin(http::serve(stream, names, move |_| http::busy(why)))
    }
}

/// The answer to one request.
pub(super) fn answer(request: &Request<()>, whose: &Whose) -> Answer {
    if request.uri().path() != PATH {
        return http::words(StatusCode::NOT_FOUND, "only /v1/identity is here\n");
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut answer = http::words(StatusCode::METHOD_NOT_ALLOWED, "GET /v1/identity\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        answer.headers_mut().insert(ALLOW, allowed);
        return answer;
    }
    let (task, query) = whose.task().unzip();
    let told = Told {
        sandbox: &whose.sandbox,
        user: &whose.owner,
        identity: &whose.identity,
        profile: &whose.profile,
        task,
        query: query.filter(|query| !query.is_empty()),
    };
    match serde_json::to_vec(&told) {
        Ok(json) => {
            let kind = HeaderValue::from_static("application/json");
            http::of(StatusCode::OK, kind, json.into())
        }
        Err(_) => http::words(StatusCode::INTERNAL_SERVER_ERROR, "cannot be written\n"),
    }
}
