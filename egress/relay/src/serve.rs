//! The two sockets of a sandbox: connections are accepted as fast as its limits allow.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::carriers::Carriers;
use crate::dns::Questions;
use crate::door::{Arrived, Door};
use crate::error::ServeError;
use crate::flow;
use crate::sandbox::Sandbox;

/// Until the next connection is asked for, after one that could not be had.
const PAUSE: Duration = Duration::from_millis(10);

/// Where everything arrives that the code inside sends.
#[derive(Debug)]
pub struct Sockets {
    tcp: TcpListener,
    udp: Questions,
}

impl Sockets {
    pub fn new(tcp: OwnedFd, udp: OwnedFd) -> Result<Self, ServeError> {
        let tcp = std::net::TcpListener::from(tcp);
        tcp.set_nonblocking(true)?;
        Ok(Self {
            tcp: TcpListener::from_std(tcp)?,
            udp: Questions::new(udp)?,
        })
    }
}

/// Serves the sandbox until `over`; then its flows end, and are told of.
pub async fn serve(
    sandbox: Arc<Sandbox>,
    sockets: Sockets,
    carriers: Arc<Carriers>,
    mut over: watch::Receiver<bool>,
) {
    let mut flows = JoinSet::new();
    let mut door = Door::new(Arc::clone(&sandbox), sockets.tcp);
    let answers = sockets.udp.answer_all(&sandbox);
    tokio::pin!(answers);
    loop {
        tokio::select! {
            _ = over.changed() => break,
            () = &mut answers => break,
            Some(_) = flows.join_next() => {}
            arrived = door.next() => match arrived {
                Ok(Arrived::Flow(inside, asked, permit)) => {
                    let (sandbox, over) = (Arc::clone(&sandbox), over.clone());
                    let (runtime, counted) = carriers.fewest();
                    let flow = async move {
                        flow::carry(sandbox, inside, asked, over).await;
                        drop((permit, counted));
                    };
                    flows.spawn_on(flow, runtime);
                }
                Ok(Arrived::Refused(None)) => {}
                Ok(Arrived::Refused(Some(receipt))) => {
                    let sandbox = Arc::clone(&sandbox);
                    flows.spawn(async move { sandbox.tell(receipt).await });
                }
                // Of the one connection, or of a moment without descriptors (accept(2)), in
                // which asking again at once would only burn the processor.
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
        }
    }
    while flows.join_next().await.is_some() {}
    if let Some(receipt) = door.untold() {
        sandbox.tell(receipt).await;
    }
}
