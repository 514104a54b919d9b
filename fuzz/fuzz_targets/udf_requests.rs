//! What an engine asks of its broker of user functions.
#![no_main]

use lakekeep_policy::Policy;
use lakekeep_udf_packets::Request;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| packet_of(packet));

/// What is a request asks for no more than a policy may grant, and what is none says why.
fn packet_of(packet: &[u8]) {
    let open = match Request::parse(packet) {
        Ok(Request::Open(open)) => open,
        Ok(_) => return,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let Ok(doc) = lakekeep_udf_broker::policy(&open.limits) else {
        return;
    };
    match Policy::check(doc) {
        Ok(policy) => {
            let limits = policy.limits();
            assert!(limits.scratch_size() <= limits.memory());
            assert_eq!(
                open.limits.memory,
                open.limits.memory.map(|_| limits.memory().get())
            );
            assert!(limits.wall_time().is_some());
        }
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
}
