//! Single values of flags and documents: sizes, spans of time, CPUs, paths inside.
#![no_main]

use std::path::{Component, Path};

use lakekeep_policy::{Bytes, Cpus, GuestPath, format_duration, parse_duration};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // What is shown reads back as the same value.
    if let Ok(size) = text.parse::<Bytes>() {
        assert_eq!(size.to_string().parse(), Ok(size));
    }
    if let Ok(span) = parse_duration(text) {
        assert_eq!(parse_duration(&format_duration(span)), Ok(span));
    }
    if let Ok(cpus) = text.parse::<Cpus>() {
        assert_eq!(cpus.to_string().parse(), Ok(cpus));
    }
    numbers(text.as_bytes());
    if let Ok(path) = GuestPath::new(text) {
        guest_path(&path, text);
    }
});

/// Every number has a text, also those that no document could hold.
fn numbers(bytes: &[u8]) {
    let Some(first) = bytes.first_chunk::<8>() else {
        return;
    };
    let number = u64::from_le_bytes(*first);
    assert_eq!(Bytes(number).to_string().parse(), Ok(Bytes(number)));
    if let Ok(cpus) = Cpus::new(f64::from_bits(number)) {
        assert_eq!(Cpus::new(f64::from(cpus.millis()) / 1000.0), Ok(cpus));
    }
}

/// Of what was let through, the kernel must see the same components as we do.
fn guest_path(path: &GuestPath, text: &str) {
    assert_eq!(path.as_str(), text);
    assert!(text.starts_with('/') && text.len() < 4096 && !text.contains(char::is_control));
    let mut kernel = Path::new(text).components();
    assert_eq!(kernel.next(), Some(Component::RootDir));
    let names: Vec<_> = kernel
        .map(|part| Component::Normal(part.as_os_str()))
        .collect();
    let ours: Vec<_> = path
        .components()
        .map(|name| Component::Normal(name.as_ref()))
        .collect();
    assert_eq!(names, ours);
    assert!(
        path.components()
            .all(|name| name != ".." && name != "." && name.len() <= 255)
    );
    assert!(path.starts_with(&GuestPath::root()) && path.starts_with(path));
    assert_eq!(path.is_root(), ours.is_empty());
}
