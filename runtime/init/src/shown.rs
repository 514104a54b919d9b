//! Trees that are mounted in a sandbox that runs: a client's environment, when it is claimed.
//!
//! A task has a copy of the init's mount table, made when it was cloned. One that is ready was
//! cloned before; its process waits, sealed, and has run no code of a user's. So the init
//! enters its table for as long as it takes to mount the trees there too, which is some
//! hundredth of what another task would cost. (Shared propagation, the kernel's own way, would
//! be a channel between the tables of all tasks for as long as they live.)

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use lakekeep_sys::Errno;
use lakekeep_sys::mount;

/// Trees that are mounted nowhere yet, and their places.
#[derive(Debug)]
pub struct Shown<'a>(Vec<(&'a Path, OwnedFd)>);

impl<'a> Shown<'a> {
    /// # Errors
    /// `EINVAL` for a place that is not absolute, and for more or fewer of them than trees.
    pub fn new(targets: &'a [String], trees: Vec<OwnedFd>) -> Result<Self, Errno> {
        if targets.len() != trees.len() {
            return Err(Errno::INVAL);
        }
        let relative = |target: &'a String| target.strip_prefix('/').ok_or(Errno::INVAL);
        let places = targets.iter().map(|target| relative(target).map(Path::new));
        let places = places.collect::<Result<Vec<_>, _>>()?;
        Ok(Self(places.into_iter().zip(trees).collect()))
    }

    /// Mounts them in the table that the caller is in, each beneath its root and through no
    /// link, and answers with copies for another table.
    ///
    /// # Errors
    /// Of the first that fails; those before it are mounted.
    pub fn attach(self) -> Result<Self, Errno> {
        let root = mount::host_place(Path::new("/"))?;
        let attach = |(target, tree): (&'a Path, OwnedFd)| {
            let place = mount::beneath(&root, target)?;
            mount::attach(&tree, &place)?;
            // The place is what is below the mount; the tree's descriptor is its root.
            Ok((target, mount::clone_tree(&tree, Path::new(""))?))
        };
        self.0
            .into_iter()
            .map(attach)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Mounts them in the table of the process behind `pidfd`, and comes back.
    ///
    /// # Errors
    /// Outer: the caller is not where it was, and must end. Inner: of the first that fails.
    pub fn attach_in(&self, pidfd: &OwnedFd) -> Result<Result<(), Errno>, Errno> {
        let own = mount::own_table()?;
        if let Err(errno) = mount::enter_table_of(pidfd) {
            return Ok(Err(errno));
        }
        let attached = self.attach_all();
        mount::enter(own.as_fd())?;
        Ok(attached)
    }

    fn attach_all(&self) -> Result<(), Errno> {
        let root = mount::host_place(Path::new("/"))?;
        for (target, tree) in &self.0 {
            mount::attach(tree, mount::beneath(&root, target)?)?;
        }
        Ok(())
    }
}
