//! From document to layer: one function for each thing that can be wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::{Layer, Level, PlacedRule};
use crate::document::{
    DocumentError, DocumentErrors, EgressDoc, MAX_RULES, MAX_SOCKETS, Place, SocketDoc,
};
use crate::index::Index;
use crate::limits::Outside;
use crate::rule::Rule;
use crate::service::Service;
use crate::show::quoted;

/// Longest name of a granted socket, in bytes: it is a label of a name (RFC 1035, 2.3.4).
const MAX_SOCKET_NAME: usize = 63;
/// Longest path of a Unix socket, in bytes (unix(7): 108 with the NUL).
const MAX_SOCKET_PATH: usize = 107;

pub(super) fn layer(level: Level, doc: &EgressDoc) -> Result<Layer, DocumentErrors> {
    let mut found = Vec::new();
    let rules = rules(doc, &mut found);
    limits(doc, &mut found);
    total(level, doc, &mut found);
    let sockets = sockets(doc, &mut found);
    let services = services(doc, &mut found);
    if !found.is_empty() {
        return Err(DocumentErrors(found));
    }
    Ok(Layer {
        level,
        mode: doc.mode,
        index: Index::new(rules.iter().map(|placed| &placed.rule)),
        rules,
        limits: doc.limits.limits(),
        total: doc.total.total(),
        sockets,
        services,
    })
}

fn error(place: Place, cause: String, remedy: &str) -> DocumentError {
    DocumentError {
        place,
        cause,
        remedy: remedy.to_owned(),
    }
}

fn rules(doc: &EgressDoc, found: &mut Vec<DocumentError>) -> Vec<PlacedRule> {
    if doc.rules.len() > MAX_RULES {
        let cause = format!("{} rules", doc.rules.len());
        found.push(error(
            doc.origin.rule(MAX_RULES),
            cause,
            "write at most 20000, or wildcards",
        ));
        return Vec::new();
    }
    let mut rules = Vec::with_capacity(doc.rules.len());
    for (number, text) in doc.rules.iter().enumerate() {
        let place = doc.origin.rule(number);
        match text.parse::<Rule>() {
            Ok(rule) => rules.push(PlacedRule { rule, place }),
            Err(refused) => {
                let cause = format!(
                    "column {}: {}: {}",
                    refused.column, refused.found, refused.cause
                );
                found.push(error(place, cause, &refused.remedy));
            }
        }
    }
    rules
}

fn limits(doc: &EgressDoc, found: &mut Vec<DocumentError>) {
    let outside = doc.limits.out_of_range();
    found.extend(
        outside
            .into_iter()
            .map(|one| out_of_range(doc, "limits", one)),
    );
}

fn total(level: Level, doc: &EgressDoc, found: &mut Vec<DocumentError>) {
    if level == Level::User {
        found.extend(doc.total.written().map(|field| of_one(doc, field)));
        return;
    }
    let outside = doc.total.out_of_range();
    found.extend(
        outside
            .into_iter()
            .map(|one| out_of_range(doc, "total", one)),
    );
}

fn out_of_range(
    doc: &EgressDoc,
    table: &str,
    (field, value, least, most): Outside,
) -> DocumentError {
    let place = doc.origin.field(format!("{table}.{field}"));
    let remedy = match most {
        u64::MAX => format!("write at least {least}"),
        most => format!("write {least} to {most}"),
    };
    error(place, format!("{value} is out of range"), &remedy)
}

/// Nobody else's sandbox is under a user's document.
fn of_one(doc: &EgressDoc, field: &str) -> DocumentError {
    let place = doc.origin.field(format!("total.{field}"));
    let cause = "a user's document is of one sandbox, which has no total with others".to_owned();
    let remedy = format!("write limits.{field}, or have the profile's owner write the total");
    error(place, cause, &remedy)
}

fn sockets(doc: &EgressDoc, found: &mut Vec<DocumentError>) -> BTreeMap<String, PathBuf> {
    let mut sockets = BTreeMap::new();
    let too_many = doc.sockets.get(MAX_SOCKETS).map(|_| doc.sockets.len());
    if let Some(count) = too_many {
        let place = doc.origin.field("sockets".to_owned());
        found.push(error(place, format!("{count} sockets"), "write at most 64"));
        return sockets;
    }
    for (number, socket) in doc.sockets.iter().enumerate() {
        let field = |name: &str| doc.origin.field(format!("sockets[{number}].{name}"));
        if let Some((name, cause, remedy)) = socket_fault(socket) {
            found.push(error(field(name), cause, remedy));
        } else if sockets
            .insert(socket.name.clone(), PathBuf::from(&socket.path))
            .is_some()
        {
            let cause = format!("{} is granted twice", quoted(&socket.name));
            found.push(error(field("name"), cause, "write each name once"));
        }
    }
    sockets
}

fn services(doc: &EgressDoc, found: &mut Vec<DocumentError>) -> BTreeSet<Service> {
    let mut services = BTreeSet::new();
    for (number, name) in doc.services.iter().enumerate() {
        let place = doc.origin.field(format!("services[{number}]"));
        match name.parse::<Service>() {
            Ok(service) if services.insert(service) => {}
            Ok(_) => {
                let cause = format!("{} is granted twice", quoted(name));
                found.push(error(place, cause, "write each name once"));
                return services;
            }
            Err(unknown) => {
                let cause = format!("{} is no service of a manager's", quoted(name));
                found.push(error(place, cause, &unknown.to_string()));
                return services;
            }
        }
    }
    services
}

/// The field that is wrong, why, and what to do.
fn socket_fault(socket: &SocketDoc) -> Option<(&'static str, String, &'static str)> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let name = &socket.name;
    let is_label = !name.starts_with('-') && !name.ends_with('-') && name.chars().all(plain);
    if name.is_empty() || name.len() > MAX_SOCKET_NAME || !is_label {
        let cause = format!("{} is no name of a socket", quoted(name));
        return Some((
            "name",
            cause,
            "write 1 to 63 of a-z, 0-9 and -, none of these at an end",
        ));
    }
    let path = &socket.path;
    let climbs = path.split('/').any(|part| matches!(part, "." | ".."));
    if !path.starts_with('/') || climbs || path.contains('\0') || path.len() > MAX_SOCKET_PATH {
        let cause = format!("{} is no path of a socket", quoted(path));
        return Some((
            "path",
            cause,
            "write an absolute path of at most 107 bytes without . and ..",
        ));
    }
    None
}
