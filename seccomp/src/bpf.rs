//! Filters as the kernel takes them, and an interpreter that answers as the kernel does.

use crate::{Action, Arch, ProgramError};

/// The kernel's BPF_MAXINSNS.
pub const MAX_INSTRUCTIONS: usize = 4096;

pub(crate) const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
pub(crate) const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
pub(crate) const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
pub(crate) const JUMP_EQ: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
pub(crate) const JUMP_GT: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
pub(crate) const JUMP_GE: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
pub(crate) const JUMP_SET: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
pub(crate) const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// Words of `struct seccomp_data`, by index: number, architecture, then from `ARGS` on the low
/// and high halves of each argument (both architectures are little-endian).
pub(crate) const NUMBER: u8 = 0;
pub(crate) const ARCH: u8 = 1;
pub(crate) const ARGS: u8 = 4;
const WORDS: usize = 16;

/// One instruction; the kernel's `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SockFilter {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when the test holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// What a filter sees of a call; the kernel's `struct seccomp_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeccompData {
    /// Number of the call.
    pub nr: i32,
    /// AUDIT_ARCH of the ABI it was made through.
    pub arch: u32,
    /// Where it was made from.
    pub instruction_pointer: u64,
    /// Its arguments.
    pub args: [u64; 6],
}

impl SeccompData {
    /// A native call.
    pub fn call(arch: Arch, nr: i32, args: [u64; 6]) -> Self {
        Self {
            nr,
            arch: arch.audit(),
            instruction_pointer: 0,
            args,
        }
    }

    fn words(&self) -> [u32; WORDS] {
        let mut words = [0; WORDS];
        words[0] = self.nr.cast_unsigned();
        words[1] = self.arch;
        let wide = std::iter::once(self.instruction_pointer).chain(self.args);
        for (pair, value) in words[2..].chunks_exact_mut(2).zip(wide) {
            pair[0] = (value & 0xffff_ffff) as u32;
            pair[1] = (value >> 32) as u32;
        }
        words
    }
}

/// A filter that the kernel accepts: checked when it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    instructions: Vec<SockFilter>,
}

impl Program {
    /// Checks instructions as the kernel does, and more narrowly: only what filters need, and
    /// only the returns of [`Action`].
    pub fn from_instructions(instructions: Vec<SockFilter>) -> Result<Self, ProgramError> {
        let count = instructions.len();
        if count > MAX_INSTRUCTIONS {
            return Err(ProgramError::Length {
                instructions: count,
            });
        }
        match instructions.last() {
            None => return Err(ProgramError::Length { instructions: 0 }),
            Some(last) if last.code != RETURN => return Err(ProgramError::NoReturn),
            Some(_) => {}
        }
        for (at, instruction) in instructions.iter().enumerate() {
            check(at, count, *instruction)?;
        }
        Ok(Self { instructions })
    }

    /// Reads what [`Self::to_bytes`] wrote, with the checks of [`Self::from_instructions`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProgramError> {
        let (chunks, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(ProgramError::Truncated { bytes: bytes.len() });
        }
        let read = |&[c0, c1, jt, jf, k0, k1, k2, k3]: &[u8; 8]| SockFilter {
            code: u16::from_le_bytes([c0, c1]),
            jt,
            jf,
            k: u32::from_le_bytes([k0, k1, k2, k3]),
        };
        Self::from_instructions(chunks.iter().map(read).collect())
    }

    /// The instructions, for installing.
    pub fn instructions(&self) -> &[SockFilter] {
        &self.instructions
    }

    /// How many instructions there are; at least one.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a checked program is never empty"
    )]
    pub fn len(&self) -> usize {
        self.instructions.len()
    }

    /// Little-endian, 8 bytes each.
    pub fn to_bytes(&self) -> Vec<u8> {
        let write = |instruction: &SockFilter| {
            let [c0, c1] = instruction.code.to_le_bytes();
            let [k0, k1, k2, k3] = instruction.k.to_le_bytes();
            [c0, c1, instruction.jt, instruction.jf, k0, k1, k2, k3]
        };
        self.instructions.iter().flat_map(write).collect()
    }

    /// BLAKE3 of [`Self::to_bytes`], in hexadecimal: what a receipt names the filter by.
    pub fn digest(&self) -> String {
        blake3::hash(&self.to_bytes()).to_hex().to_string()
    }

    /// What the kernel would answer to this call.
    pub fn evaluate(&self, data: &SeccompData) -> Action {
        self.run(data).0
    }

    /// The answer, and how many instructions it took: the cost that the kernel pays once per
    /// known number at installation, and per call for calls whose arguments are examined.
    pub fn run(&self, data: &SeccompData) -> (Action, usize) {
        let words = data.words();
        let mut accumulator = 0;
        let mut at = 0;
        let mut steps = 0;
        // Jumps only go forward, so this ends; the check at construction keeps it inside. Were
        // that wrong, the answer is the strictest one.
        while let Some(instruction) = self.instructions.get(at) {
            at += 1;
            steps += 1;
            let k = instruction.k;
            match instruction.code {
                LOAD => accumulator = words.get(k as usize / 4).copied().unwrap_or_default(),
                AND => accumulator &= k,
                JUMP => at += k as usize,
                RETURN => return (Action::from_raw(k).unwrap_or(Action::KillProcess), steps),
                code => {
                    let skip = if holds(code, accumulator, k) {
                        instruction.jt
                    } else {
                        instruction.jf
                    };
                    at += usize::from(skip);
                }
            }
        }
        (Action::KillProcess, steps)
    }
}

fn holds(code: u16, accumulator: u32, k: u32) -> bool {
    match code {
        JUMP_EQ => accumulator == k,
        JUMP_GT => accumulator > k,
        JUMP_GE => accumulator >= k,
        _ => accumulator & k != 0,
    }
}

fn check(at: usize, count: usize, instruction: SockFilter) -> Result<(), ProgramError> {
    let SockFilter { code, jt, jf, k } = instruction;
    let reach = match code {
        LOAD if k % 4 == 0 && (k as usize) < WORDS * 4 => 0,
        AND => 0,
        RETURN if Action::from_raw(k).is_some() => return Ok(()),
        JUMP => k as usize,
        JUMP_EQ | JUMP_GT | JUMP_GE | JUMP_SET => usize::from(jt.max(jf)),
        _ => {
            return Err(ProgramError::Instruction {
                at,
                code,
                operand: k,
            });
        }
    };
    if reach >= count - at - 1 {
        return Err(ProgramError::Jump { at });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: SockFilter = SockFilter {
        code: RETURN,
        jt: 0,
        jf: 0,
        k: 0x7fff_0000,
    };

    fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> SockFilter {
        SockFilter { code, jt, jf, k }
    }

    #[test]
    fn bytes_round_trip() {
        let program = Program::from_instructions(vec![
            instruction(LOAD, 0, 0, 4),
            instruction(JUMP_EQ, 0, 0, 9),
            ALLOW,
        ]);
        let program = program.unwrap();
        assert_eq!(
            Program::from_bytes(&program.to_bytes()),
            Ok(program.clone())
        );
        assert_eq!(program.to_bytes().len(), 24);
        assert_eq!(program.digest().len(), 64);
    }

    #[test]
    fn what_the_kernel_would_refuse_is_refused() {
        let refused = |list: &[SockFilter]| Program::from_instructions(list.to_vec()).unwrap_err();
        assert_eq!(refused(&[]), ProgramError::Length { instructions: 0 });
        assert_eq!(
            refused(&vec![ALLOW; 4097]),
            ProgramError::Length { instructions: 4097 }
        );
        assert_eq!(
            refused(&[instruction(LOAD, 0, 0, 0)]),
            ProgramError::NoReturn
        );
        assert_eq!(
            refused(&[instruction(JUMP, 0, 0, 1), ALLOW]),
            ProgramError::Jump { at: 0 }
        );
        assert_eq!(
            refused(&[instruction(JUMP, 0, 0, u32::MAX), ALLOW]),
            ProgramError::Jump { at: 0 }
        );
        assert_eq!(
            refused(&[instruction(JUMP_GE, 0, 1, 0), ALLOW]),
            ProgramError::Jump { at: 0 }
        );
        for (code, k) in [
            (LOAD, 64),
            (LOAD, 2),
            (0x61, 0),
            (RETURN, 0x7ff0_0000),
            (0x16, 0),
        ] {
            let expected = ProgramError::Instruction {
                at: 0,
                code,
                operand: k,
            };
            assert_eq!(refused(&[instruction(code, 0, 0, k), ALLOW]), expected);
        }
        assert_eq!(
            Program::from_bytes(&[0; 9]),
            Err(ProgramError::Truncated { bytes: 9 })
        );
    }

    #[test]
    fn arguments_are_seen_by_halves() {
        let program = Program::from_instructions(vec![
            instruction(LOAD, 0, 0, 16 + 5 * 8 + 4),
            instruction(AND, 0, 0, 0xff00),
            instruction(JUMP_EQ, 0, 1, 0x1200),
            ALLOW,
            instruction(RETURN, 0, 0, 0x8000_0000),
        ])
        .unwrap();
        let call = |sixth| SeccompData::call(Arch::X86_64, 0, [0, 0, 0, 0, 0, sixth]);
        assert_eq!(
            program.run(&call(0x0000_1234_0000_0000)),
            (Action::Allow, 4)
        );
        assert_eq!(program.evaluate(&call(0x1234)), Action::KillProcess);
    }
}
