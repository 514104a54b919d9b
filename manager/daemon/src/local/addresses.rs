//! Addresses that an administrator gives a service, for clients that know no name: what asks a
//! cloud's metadata service at its fixed address is answered here, in sandboxes with the grant.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lakekeep_egress_rules::{FixedAddresses, Service, UnknownService};
use serde::Deserialize;

/// Most addresses of one service: all of them stand in one message to the relay.
const MOST: usize = 16;

/// `[services.NAME]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceDoc {
    /// Addresses inside that are the service's own, besides its name.
    pub addresses: Vec<IpAddr>,
}

/// Why services cannot have these addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no such service.
    #[error("there is no such service; {0}")]
    Unknown(UnknownService),
    /// What is sent there never comes to the relay, or is for nobody.
    #[error(
        "addresses: {0} cannot be a service's; write one that is no loopback's, no multicast \
         group's and not the unspecified one"
    )]
    Unfit(IpAddr),
    /// It would be another service's too.
    #[error("addresses: {0} stands twice; write each address once")]
    Twice(IpAddr),
    /// More than the relay is told of.
    #[error("addresses: there are {0}; write at most 16")]
    Many(usize),
}

/// Whose address is which.
///
/// # Errors
/// [`AddressError`], with the service that it is about.
pub fn check(
    services: &BTreeMap<String, ServiceDoc>,
) -> Result<FixedAddresses, (String, AddressError)> {
    let mut fixed = FixedAddresses::new();
    for (name, doc) in services {
        let wrong = |error| (name.clone(), error);
        let service: Service = name
            .parse()
            .map_err(|unknown| wrong(AddressError::Unknown(unknown)))?;
        if doc.addresses.len() > MOST {
            return Err(wrong(AddressError::Many(doc.addresses.len())));
        }
        for address in &doc.addresses {
            let address = address.to_canonical();
            if address.is_loopback() || address.is_multicast() || address.is_unspecified() {
                return Err(wrong(AddressError::Unfit(address)));
            }
            if fixed.insert(address, service).is_some() {
                return Err(wrong(AddressError::Twice(address)));
            }
        }
    }
    Ok(fixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(name: &str, addresses: &[&str]) -> Result<FixedAddresses, AddressError> {
        let addresses = addresses.iter().map(|one| one.parse().unwrap()).collect();
        let doc = ServiceDoc { addresses };
        check(&BTreeMap::from([(name.to_owned(), doc)])).map_err(|(_, error)| error)
    }

    #[test]
    fn a_service_has_the_addresses_that_it_is_given() {
        let fixed = checked("identity", &["169.254.169.254", "fd00:ec2::254"]).unwrap();
        let service = fixed.get(&"169.254.169.254".parse().unwrap());
        assert_eq!((service, fixed.len()), (Some(&Service::Identity), 2));
    }

    #[test]
    fn what_cannot_be_one_is_refused() {
        for address in [
            "127.0.0.1",
            "::1",
            "0.0.0.0",
            "224.0.0.1",
            "::ffff:127.0.0.1",
        ] {
            let refused = checked("identity", &[address]).unwrap_err();
            assert!(matches!(refused, AddressError::Unfit(_)), "{refused}");
        }
        let twice = checked("identity", &["192.0.2.1", "::ffff:192.0.2.1"]).unwrap_err();
        assert!(twice.to_string().contains("192.0.2.1 stands twice"));
        let unknown = checked("other", &[]).unwrap_err();
        assert!(unknown.to_string().contains("write one of: identity"));
        let many = vec!["192.0.2.1"; 17];
        assert_eq!(checked("identity", &many), Err(AddressError::Many(17)));
    }
}
