//! What the watcher makes while the server gets ready: the init's program and a
//! network namespace. Neither needs anything of the server's, both take long
//! (a copy of the program; the network about a millisecond), and the watcher
//! would only wait.

use std::os::fd::{AsFd, OwnedFd};

use lakekeep_sys::error::Context;
use lakekeep_sys::{Error, memfd, net, socket};

use crate::INIT;
use crate::error::StartError;

/// Made beside the server, for it.
#[derive(Debug)]
pub struct Provisions {
    /// The init, in a sealed memory file.
    pub program: OwnedFd,
    /// A network namespace that nobody is in: the first sandbox's. None without
    /// root, where the watcher could not return to the host's.
    pub network: Option<OwnedFd>,
}

impl Provisions {
    fn make(privileged: bool) -> Result<Self, Error> {
        let network = privileged.then(net::make).transpose();
        let network = network.context("unshare", "network namespace")?;
        let program = memfd::sealed("lakekeep-init", INIT, true).context("memfd_create", "init")?;
        Ok(Self { program, network })
    }

    /// Makes them and hands them over; no copy stays here, or the network would
    /// outlive its sandbox.
    pub fn send(to: &OwnedFd, privileged: bool) -> Result<(), Error> {
        let made = Self::make(privileged)?;
        let mut all = vec![made.program.as_fd()];
        all.extend(made.network.as_ref().map(AsFd::as_fd));
        socket::send(to, b"p", &all).context("sendmsg", "provisions")
    }

    /// Waits for them.
    ///
    /// # Errors
    /// `NoWatcher` when it ended or could not make them, which it says itself.
    pub fn receive(from: &OwnedFd) -> Result<Self, StartError> {
        let received = socket::receive(from, &mut [0]).context("recvmsg", "provisions")?;
        let mut descriptors = received.descriptors.into_iter();
        let program = descriptors.next().ok_or(StartError::NoWatcher)?;
        Ok(Self {
            program,
            network: descriptors.next(),
        })
    }
}
