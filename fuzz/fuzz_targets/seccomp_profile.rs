//! A profile's JSON, and after a NUL byte the document that it includes.
#![no_main]

use lakekeep_seccomp::Profile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((text, included)) = lakekeep_fuzz::halves(data) else {
        return;
    };
    let resolve = |name: &str| (name != "missing").then(|| included.to_owned());
    match Profile::parse("fuzz", text, resolve) {
        Ok(profile) => lakekeep_fuzz::seccomp::agree(&profile, &[]),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
