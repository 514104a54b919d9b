//! One document laid over another.

use std::collections::BTreeSet;

use lakekeep_egress_rules::{LimitsDoc as EgressLimits, Mode};

use super::{LimitsDoc, Origin, PolicyDoc};

/// Chooses between the values of two documents and keeps their places.
struct Overlay {
    places: Origin,
    over: Origin,
}

impl Overlay {
    /// The upper value if there is one.
    fn pick<T>(&mut self, field: &str, under: Option<T>, over: Option<T>) -> Option<T> {
        if over.is_some() {
            self.places.take(field, &self.over, field);
        }
        over.or(under)
    }

    fn limits(&mut self, under: LimitsDoc, over: LimitsDoc) -> LimitsDoc {
        macro_rules! pick {
            ($($name:ident),+) => {
                LimitsDoc { $( $name: self.pick(
                    concat!("limits.", stringify!($name)), under.$name, over.$name,
                ), )+ }
            };
        }
        pick!(
            memory,
            swap,
            cpus,
            pids,
            wall_time,
            cpu_time,
            open_files,
            file_size,
            scratch_size,
            scratch_inodes,
            output
        )
    }
}

/// Appends, and moves the places of the appended mounts along.
fn append_mounts(under: &mut PolicyDoc, over: &mut PolicyDoc, overlay: &mut Overlay) {
    for (number, mount) in over.mounts.drain(..).enumerate() {
        let (from, to) = (
            format!("mounts[{number}]"),
            format!("mounts[{}]", under.mounts.len()),
        );
        for part in ["", ".source", ".target", ".mode"] {
            let (from, to) = (format!("{from}{part}"), format!("{to}{part}"));
            overlay.places.take(&to, &overlay.over, &from);
        }
        under.mounts.push(mount);
    }
}

fn merge_env(under: &mut PolicyDoc, over: &mut PolicyDoc, overlay: &mut Overlay) {
    for (name, value) in std::mem::take(&mut over.env.0) {
        let field = format!("env.{name}");
        overlay.places.take(&field, &overlay.over, &field);
        under.env.0.insert(name, value);
    }
}

/// Rules, sockets and services are appended, which can widen them: a profile bounds its users'
/// documents elsewhere. What else an upper table says replaces what the lower one does.
fn append_rules(under: &mut PolicyDoc, over: &mut PolicyDoc) {
    let Some(upper) = over.egress.take() else {
        return;
    };
    let Some(lower) = under.egress.as_mut() else {
        under.egress = Some(upper);
        return;
    };
    lower.rules.extend(upper.rules);
    lower.sockets.extend(upper.sockets);
    for service in upper.services {
        if !lower.services.contains(&service) {
            lower.services.push(service);
        }
    }
    if upper.mode != Mode::default() {
        lower.mode = upper.mode;
    }
    if upper.limits != EgressLimits::default() {
        lower.limits = upper.limits;
    }
    // It is refused later, and not dropped without a word.
    if !upper.total.is_empty() {
        lower.total = upper.total;
    }
}

/// The union: what is laid over can raise the floor and never lower it.
fn raise_floor(under: &mut PolicyDoc, over: &mut PolicyDoc, overlay: &mut Overlay) {
    let mut known: BTreeSet<String> = under.floor.require.iter().cloned().collect();
    for (number, layer) in over.floor.require.drain(..).enumerate() {
        if !known.insert(layer.clone()) {
            continue;
        }
        let (from, to) = (
            format!("floor.require[{number}]"),
            format!("floor.require[{}]", under.floor.require.len()),
        );
        overlay.places.take(&to, &overlay.over, &from);
        under.floor.require.push(layer);
    }
}

impl PolicyDoc {
    /// Lays `over` (such as command-line flags) over this document: its single
    /// values win, its mounts and its rules of egress are appended, its variables are merged in and
    /// win, and its required layers are added to the floor.
    #[must_use]
    pub fn overlay(mut self, mut over: PolicyDoc) -> PolicyDoc {
        let mut overlay = Overlay {
            places: std::mem::take(&mut self.origin),
            over: std::mem::take(&mut over.origin),
        };
        append_mounts(&mut self, &mut over, &mut overlay);
        merge_env(&mut self, &mut over, &mut overlay);
        append_rules(&mut self, &mut over);
        raise_floor(&mut self, &mut over, &mut overlay);
        self.limits = overlay.limits(self.limits, over.limits);
        macro_rules! pick {
            ($($field:literal: $($name:ident).+;)+) => { $(
                self.$($name).+ = overlay.pick($field, self.$($name).+, over.$($name).+);
            )+ };
        }
        pick! {
            "version": version;
            "preset": preset;
            "image": image;
            "workdir": workdir;
            "network.mode": network.mode;
            "seccomp.profile": seccomp.profile;
            "proc.view": proc.view;
            "landlock.enabled": landlock.enabled;
        }
        self.origin = overlay.places;
        self
    }
}
