//! Words of a sandbox or a stranger on the reader's terminal: names, programs, labels.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../cli/src/remote/clean.rs"]
mod clean;

fuzz_target!(|text: &str| {
    let shown = clean::clean(text);
    assert!(!shown.contains(char::is_control), "{shown:?}");
    // Nor is the text's direction turned around; what is harmless stays as it is.
    let turning = |letter: char| matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!shown.contains(turning), "{shown:?}");
    assert_eq!(clean::clean(&shown), shown);
    let lines = clean::clean_lines(text);
    assert!(!lines.contains(|letter: char| letter.is_control() && letter != '\n'));
    assert!(lines.lines().count() <= text.lines().count());
    if text.is_ascii() && !text.contains(char::is_control) {
        assert_eq!(shown, text);
    }
});
