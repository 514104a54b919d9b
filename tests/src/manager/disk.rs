//! Folders of the host that sandboxes of a profile may have as volumes.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use super::{ALICE, BOB, CAROL, Manager, Setup, account, shared_profile};
use crate::{Privilege, fail};

/// The folders of a project and of two users, and a manager that has them as volumes.
///
/// `None`: a skip was reported. The folders are `disk/project`, `disk/reference` and
/// `disk/homes/…` of the place, for which `tables` gives more of the configuration.
///
/// # Panics
/// When it does not start.
#[must_use]
#[track_caller]
pub fn with_volumes(test: &str, tables: impl Fn(&Path) -> String) -> Option<Manager> {
    let setup = Setup::new();
    let tables = tables(setup.place().path());
    let setup = setup.tables(&tables);
    let root = setup.place().dir("disk", Privilege::Root);
    for name in ["project", "reference", "homes/lkt-alice", "homes/lkt-bob"] {
        let made = setup.place().dir(&format!("disk/{name}"), Privilege::Root);
        permit(&made, 0o700);
    }
    // Who comes down to them is let through; each one is its owner's alone.
    permit(&root.join("homes"), 0o755);
    let volumes = format!(
        "project = \"apollo\"\n\
         [[volume]]\nname = \"work\"\nsource = {work:?}\ntarget = \"/work\"\nmode = \"rw\"\nowner = \"project\"\n\
         [[volume]]\nname = \"reference\"\nsource = {reference:?}\ntarget = \"/reference\"\nmode = \"ro\"\nowner = \"project\"\n\
         [[volume]]\nname = \"home\"\nhome = true\nsource = {home:?}\ntarget = \"/mnt/home\"\nmode = \"rw\"\n",
        work = root.join("project"),
        reference = root.join("reference"),
        home = format!("{}/homes/{{account}}", root.display()),
    );
    let identity = "[[identity.rule]]\nname = \"project\"\nproject = \"apollo\"\naccount = \"lkt-carol\"\n\
                    [[identity.rule]]\nname = \"own\"\nuser = \"*\"\naccount = \"$1\"\n";
    let manager = setup
        .identity(identity)
        .profile("apollo", &shared_profile("apollo", &volumes))
        .start(test)?;
    give(&root.join("project"), CAROL);
    give(&root.join("reference"), CAROL);
    give(&root.join("homes/lkt-alice"), ALICE);
    give(&root.join("homes/lkt-bob"), BOB);
    let book = root.join("reference/book");
    done(&book, fs::write(&book, "to be read"));
    give(&book, CAROL);
    Some(manager)
}

#[track_caller]
fn permit(path: &Path, mode: u32) {
    done(
        path,
        fs::set_permissions(path, Permissions::from_mode(mode)),
    );
}

#[track_caller]
fn give(path: &Path, name: &str) {
    let to = account(name);
    done(path, chown(path, Some(to.uid), Some(to.gid)));
}

#[track_caller]
fn done(path: &Path, result: std::io::Result<()>) {
    result.unwrap_or_else(|e| fail(format_args!("{}: {e}", path.display())));
}
