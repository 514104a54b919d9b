//! Documents and names of images. The first byte chooses which.
#![no_main]

use lakekeep_oci::{Config, Index, Manifest, MediaType, Platform, Reference};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else {
        return;
    };
    match choice % 4 {
        0 => index(rest),
        1 => manifest(rest),
        2 => config(rest),
        _ => reference(rest),
    }
});

fn index(bytes: &[u8]) {
    let Ok(index) = Index::read(bytes) else {
        return;
    };
    assert!(
        Manifest::read(bytes).is_err(),
        "one document that is two things"
    );
    assert!(index.manifests.len() <= 1024);
    assert!(index.for_platform(&Platform::here()).len() <= index.manifests.len());
}

fn manifest(bytes: &[u8]) {
    let Ok(manifest) = Manifest::read(bytes) else {
        return;
    };
    assert!(
        Index::read(bytes).is_err(),
        "one document that is two things"
    );
    assert!(manifest.layers.len() <= 127);
    assert!(
        manifest
            .layers
            .iter()
            .all(|layer| layer.media_type == MediaType::Layer)
    );
}

fn config(bytes: &[u8]) {
    let Ok(config) = Config::read(bytes) else {
        return;
    };
    let settings = &config.settings;
    let texts = settings
        .variables
        .iter()
        .flat_map(|(name, value)| [name, value]);
    let words = settings.startup.entrypoint.iter().chain(&settings.startup.command);
    for text in texts.chain(words) {
        assert!(!text.contains('\0') && text.len() <= 64 << 10);
    }
    assert!(
        settings
            .variables
            .keys()
            .all(|name| !name.is_empty() && !name.contains('='))
    );
}

/// A name reads back as itself, and holds nothing that steers a path or a terminal.
fn reference(bytes: &[u8]) {
    let Some(reference) = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.parse::<Reference>().ok())
    else {
        return;
    };
    let text = reference.to_string();
    assert_eq!(text.parse::<Reference>().as_ref(), Ok(&reference));
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
    // A tag may have dots within (OCI distribution-spec, "Pulling manifests"); no part is all dots.
    assert!(
        text.split(['/', ':', '@'])
            .all(|part| part != "." && part != "..")
    );
}
