//! A policy document in TOML, to the checked policy and back.
#![no_main]

use lakekeep_policy::PolicyDoc;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    lakekeep_fuzz::policy::outcome(text, PolicyDoc::from_toml("fuzz", text));
});
