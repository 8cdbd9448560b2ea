//! What an ELF file says about itself: the proof that a build made what was asked for.

/// `e_machine` of 64-bit ARM.
pub const AARCH64: u16 = 183;
/// `e_machine` of 64-bit x86.
pub const X86_64: u16 = 62;

/// The two facts of a little-endian 64-bit ELF file that we check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// `e_machine`: the processor it runs on.
    pub machine: u16,
    /// Whether it names a dynamic loader; a static executable names none.
    pub dynamic: bool,
}

/// Program header type that names the dynamic loader.
const PT_INTERP: u32 = 3;

impl Header {
    /// Reads the header; `None` when this is no little-endian 64-bit ELF file or its program headers are cut off.
    ///
    /// ```text
    ///  0         4     5    6        18      20       32      40        54          56      58
    ///  | 7f ELF | 2=64 | 1=LE | ... | machine | ... | phoff u64 | ... | phentsize | phnum | ...
    ///  program header: | type u32 | ...
    /// ```
    #[must_use]
    pub fn read(file: &[u8]) -> Option<Header> {
        if file.get(..6)? != b"\x7fELF\x02\x01" {
            return None;
        }
        let table = usize::try_from(u64::from_le_bytes(array(file, 32)?)).ok()?;
        let entry_size = usize::from(u16::from_le_bytes(array(file, 54)?));
        let entries = usize::from(u16::from_le_bytes(array(file, 56)?));
        let mut dynamic = false;
        for entry in 0..entries {
            let at = table.checked_add(entry.checked_mul(entry_size)?)?;
            dynamic |= u32::from_le_bytes(array(file, at)?) == PT_INTERP;
        }
        Some(Header { machine: u16::from_le_bytes(array(file, 18)?), dynamic })
    }
}

fn array<const N: usize>(file: &[u8], at: usize) -> Option<[u8; N]> {
    file.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with `types` as its program headers.
    fn file(machine: u16, types: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32..40].copy_from_slice(&64u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&u16::try_from(types.len()).unwrap().to_le_bytes());
        for kind in types {
            bytes.extend(kind.to_le_bytes());
            bytes.extend([0; 52]);
        }
        bytes
    }

    #[test]
    fn machine_and_loader_are_read() {
        assert_eq!(
            Header::read(&file(AARCH64, &[6, 3, 1])),
            Some(Header { machine: AARCH64, dynamic: true })
        );
        assert_eq!(Header::read(&file(X86_64, &[6, 1, 1])), Some(Header { machine: X86_64, dynamic: false }));
    }

    #[test]
    fn the_test_itself_is_an_executable_of_this_machine() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let expected = match std::env::consts::ARCH {
            "x86_64" => X86_64,
            "aarch64" => AARCH64,
            other => panic!("no row for {other}"),
        };
        assert_eq!(Header::read(&bytes).unwrap().machine, expected);
    }

    #[test]
    fn what_is_cut_off_or_something_else_is_refused() {
        let whole = file(AARCH64, &[1, 3]);
        assert_eq!(Header::read(&whole[..whole.len() - 54]), None);
        assert_eq!(Header::read(b""), None);
        assert_eq!(Header::read(b"#!/bin/sh\nexit 0\n"), None);
        let mut far = whole;
        far[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(Header::read(&far), None);
    }
}
