//! Lists of packages as a stranger writes them, and as uv might say them after it has read a hostile
//! index.
#![no_main]

use lakekeep_build::{Index, Lock, includes};
use lakekeep_environment::Digest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Lock::parse("x", text) {
        Ok(lock) => {
            let key = Digest::of(data);
            let written = lock.to_text(text, &key);
            assert_eq!(Lock::key_of(&written), Some(key));
            let read = Lock::parse("x", &written).expect("what was written");
            assert_eq!(read, lock);
            // Nothing but comments, versions and hashes is handed on.
            for line in written.lines() {
                let known = line.starts_with("# ")
                    || line.contains("==")
                    || line.starts_with("    --hash=sha");
                assert!(known, "{line:?}");
                // A comment may say anything: uv does not read it.
                let options = line.replace("    --hash=", "").contains(" --");
                assert!(line.starts_with("# ") || !options, "{line:?}");
            }
        }
        Err(error) => assert!(error.to_string().starts_with("line ")),
    }
    for path in includes("deep/list.txt", text).unwrap_or_default() {
        assert!(
            !path.starts_with('/') && path.split('/').all(|part| part != ".."),
            "{path:?}"
        );
    }
    if let Ok(index) = Index::parse(text) {
        // Credentials stand before the host; feeds have the character in their paths.
        let shown = index.shown();
        let host = shown.split('/').nth(2).unwrap_or_default();
        assert!(!host.contains('@'), "{index:?}");
    }
});
