//! Files that come in pieces: gone on with, proven whole, and nobody's content before.

#[cfg(test)]
mod tests {
    use lakekeep_content::{Algorithm, ContentError, Digest, Store};

    const WHOLE: &[u8] = b"all of a file";

    fn digest() -> Digest {
        Digest::of(Algorithm::Sha256, WHOLE)
    }

    fn store(place: &tempfile::TempDir) -> Store {
        Store::open(&place.path().join("store")).unwrap()
    }

    #[test]
    fn what_was_left_is_gone_on_with() {
        let place = tempfile::tempdir().unwrap();
        let size = WHOLE.len() as u64;
        let before = store(&place);
        let mut first = before.resume(&digest(), size).unwrap().unwrap();
        first.append(&WHOLE[..5]).unwrap();
        drop(first);
        // Another process would open it anew, too.
        let store = store(&place);
        assert!(!store.contains_blob(&digest()).unwrap());
        let mut second = store.resume(&digest(), size).unwrap().unwrap();
        assert_eq!(second.bytes(), 5);
        second.append(&WHOLE[5..]).unwrap();
        assert!(second.is_complete());
        second.finish().unwrap();
        assert_eq!(store.read_blob(&digest(), size).unwrap(), WHOLE);
        assert!(store.resume(&digest(), size).unwrap().is_none());
        assert_eq!(store.discard_partial().unwrap(), (0, 0));
        assert_eq!(store.fsck().unwrap().damage, []);
    }

    #[test]
    fn a_wrong_beginning_is_found_at_the_end_and_goes() {
        let place = tempfile::tempdir().unwrap();
        let store = store(&place);
        let size = WHOLE.len() as u64;
        let mut partial = store.resume(&digest(), size).unwrap().unwrap();
        partial.append(b"wrong").unwrap();
        drop(partial);
        let mut partial = store.resume(&digest(), size).unwrap().unwrap();
        partial.append(&WHOLE[5..]).unwrap();
        let finished = partial.finish();
        assert!(
            matches!(finished, Err(ContentError::Mismatch { .. })),
            "{finished:?}"
        );
        assert!(!store.contains_blob(&digest()).unwrap());
        let again = store.resume(&digest(), size).unwrap().unwrap();
        assert_eq!(again.bytes(), 0);
    }

    #[test]
    fn a_file_is_no_longer_and_no_shorter_than_was_said() {
        let place = tempfile::tempdir().unwrap();
        let store = store(&place);
        let mut partial = store.resume(&digest(), 5).unwrap().unwrap();
        let longer = partial.append(WHOLE);
        assert!(
            matches!(longer, Err(ContentError::TooLarge { most: 5 })),
            "{longer:?}"
        );
        partial.append(&WHOLE[..3]).unwrap();
        let early = partial.finish();
        assert!(matches!(early, Err(ContentError::Source(_))), "{early:?}");
        // It can still become whole; of one that is longer than it may be nothing is believed.
        let kept = store.resume(&digest(), 5).unwrap().unwrap();
        assert_eq!(kept.bytes(), 3);
        drop(kept);
        assert_eq!(store.resume(&digest(), 2).unwrap().unwrap().bytes(), 0);
    }

    #[test]
    fn a_beginning_is_removed_unless_somebody_goes_on_with_it() {
        let place = tempfile::tempdir().unwrap();
        let store = store(&place);
        let mut partial = store.resume(&digest(), 13).unwrap().unwrap();
        partial.append(&WHOLE[..5]).unwrap();
        assert_eq!(store.discard_partial().unwrap(), (0, 0));
        drop(partial);
        assert_eq!(store.discard_partial().unwrap(), (1, 5));
        assert_eq!(store.resume(&digest(), 13).unwrap().unwrap().bytes(), 0);
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let store = store(&place);
        let canary = place.path().join("canary");
        std::fs::write(&canary, "the host's own").unwrap();
        let name = format!("store/partial/sha256-{}", digest().hex());
        std::os::unix::fs::symlink(&canary, place.path().join(name)).unwrap();
        assert!(store.resume(&digest(), 13).is_err());
        assert_eq!(std::fs::read(&canary).unwrap(), b"the host's own");
        // Collecting takes the link away, and not what it leads to.
        assert_eq!(store.discard_partial().unwrap(), (1, 0));
        assert!(store.resume(&digest(), 13).unwrap().is_some());
        assert!(canary.exists());
    }
}
