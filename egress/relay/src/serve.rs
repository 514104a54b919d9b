//! The two sockets of a sandbox: connections are accepted as fast as its limits allow.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinSet;

use crate::dns::Questions;
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
pub async fn serve(sandbox: Arc<Sandbox>, sockets: Sockets, mut over: watch::Receiver<bool>) {
    let mut flows = JoinSet::new();
    let answers = sockets.udp.answer_all(&sandbox);
    tokio::pin!(answers);
    loop {
        tokio::select! {
            _ = over.changed() => break,
            () = &mut answers => break,
            Some(_) = flows.join_next() => {}
            arrived = accept(&sandbox, &sockets.tcp) => match arrived {
                Ok((inside, asked, permit)) => {
                    let (sandbox, over) = (Arc::clone(&sandbox), over.clone());
                    flows.spawn(async move {
                        flow::carry(sandbox, inside, asked, over).await;
                        drop(permit);
                    });
                }
                // Of the one connection, or of a moment without descriptors (accept(2)), in
                // which asking again at once would only burn the processor.
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
        }
    }
    while flows.join_next().await.is_some() {}
}

/// The next connection, and where it wants to go. Those above the sandbox's limits wait in
/// the kernel's queue, and those above the queue's are not answered.
async fn accept(
    sandbox: &Sandbox,
    listener: &TcpListener,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(&sandbox.connections).acquire_owned().await;
    let permit = permit.map_err(io::Error::other)?;
    let (inside, _) = listener.accept().await?;
    let asked = inside.local_addr()?;
    Ok((
        inside,
        SocketAddr::new(asked.ip().to_canonical(), asked.port()),
        permit,
    ))
}
