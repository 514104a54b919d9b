//! A filter's bytes, after the 64 bytes of the call that it is run on.
#![no_main]

use lakekeep_seccomp::{MAX_INSTRUCTIONS, Program, SeccompData};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((call, filter)) = data.split_first_chunk::<64>() else {
        return;
    };
    let Ok(program) = Program::from_bytes(filter) else {
        return;
    };
    assert_eq!(program.to_bytes(), filter);
    assert!((1..=MAX_INSTRUCTIONS).contains(&program.len()));
    assert_eq!(
        Program::from_instructions(program.instructions().to_vec()),
        Ok(program.clone())
    );
    let call = seccomp_data(call);
    let (action, steps) = program.run(&call);
    assert!(
        (1..=program.len()).contains(&steps),
        "jumps go forward and end inside"
    );
    assert_eq!(program.evaluate(&call), action);
    // Only what some return says, never what the interpreter says for want of one.
    let returns = program.instructions().iter().filter(|one| one.code == 0x06);
    assert!(
        returns.into_iter().any(|one| one.k == action.to_raw()),
        "{action:?}"
    );
});

/// The kernel's `struct seccomp_data`.
fn seccomp_data(bytes: &[u8; 64]) -> SeccompData {
    let word = |at: usize| {
        let bytes = bytes[at..].first_chunk().expect("64 bytes");
        u64::from_le_bytes(*bytes)
    };
    SeccompData {
        nr: (word(0) as u32).cast_signed(),
        arch: (word(0) >> 32) as u32,
        instruction_pointer: word(8),
        args: [16, 24, 32, 40, 48, 56].map(word),
    }
}
