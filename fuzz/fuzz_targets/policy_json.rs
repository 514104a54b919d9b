//! A policy document in JSON, to the checked policy and back.
#![no_main]

use lakekeep_policy::PolicyDoc;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    lakekeep_fuzz::policy::outcome(text, PolicyDoc::from_json("fuzz", text));
});
