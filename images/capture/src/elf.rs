//! Which shared libraries a program or library needs.

use std::fs::File;

use object::Endianness;
use object::elf::{DT_NEEDED, DT_RPATH, DT_RUNPATH, FileHeader64};
use object::read::ReadCache;
use object::read::elf::FileHeader;
use serde::{Deserialize, Serialize};

/// First bytes of an ELF file.
pub(crate) const MAGIC: &[u8] = b"\x7fELF";

/// What the dynamic section says (ld.so(8)).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Needs {
    /// For which machine (`e_machine`): a loader passes over others'.
    pub(crate) machine: u16,
    /// Names of libraries.
    pub(crate) needed: Vec<String>,
    /// Where to look first; `$ORIGIN` is the file's own folder.
    pub(crate) search: Vec<String>,
}

/// `None`: not a 64-bit ELF file, or a damaged one.
pub(crate) fn needs(file: &mut File) -> Option<Needs> {
    let cache = ReadCache::new(file);
    let header = FileHeader64::<Endianness>::parse(&cache).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, &cache).ok()?;
    let table = sections.dynamic_table(endian, &cache).ok()?;
    let mut needs = Needs {
        machine: header.e_machine(endian),
        ..Needs::default()
    };
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for entry in &table {
        let list = match entry.tag {
            DT_NEEDED => &mut needs.needed,
            DT_RPATH => &mut old,
            DT_RUNPATH => &mut new,
            _ => continue,
        };
        let text = std::str::from_utf8(table.string(entry).ok()?).ok()?;
        list.push(text.to_owned());
    }
    // The older of the two is heeded only without the newer.
    let search = if new.is_empty() { old } else { new };
    let split = |text: &String| text.split(':').map(str::to_owned).collect::<Vec<_>>();
    needs.search = search.iter().flat_map(split).collect();
    Some(needs)
}
