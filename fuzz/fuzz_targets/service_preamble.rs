//! What a manager reads first on a connection at its socket for services.
#![no_main]

use lakekeep_fuzz::identity::printable;
use lakekeep_protocol::Preamble;
use lakekeep_protocol::preamble::{HEADER, MAX_WORD};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((header, rest)) = data.split_first_chunk::<HEADER>() else {
        return;
    };
    let read = Preamble::read(*header, rest);
    match Preamble::rest(*header) {
        Ok(length) => assert!((2..=2 * MAX_WORD).contains(&length)),
        Err(error) => assert_eq!(read, Err(error)),
    }
    match read {
        Ok(said) => {
            assert_eq!(said.to_bytes(), data, "it has one form");
            assert_eq!(Preamble::new(said.sandbox(), said.service()), Ok(said));
        }
        Err(error) => printable(&error.to_string()),
    }
});
