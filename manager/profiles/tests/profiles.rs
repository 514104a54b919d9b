//! Sets of profiles: loading, reloading, writing through the API, watching,
//! and personal profiles; with real files.

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use lakekeep_egress_rules::EgressDoc;
    use lakekeep_profiles::{
        Ceilings, CeilingsDoc, Etag, LoadError, PersonalError, PersonalProfile, ProfileWatcher,
        ProfileWriteError, Profiles, Writer,
    };
    use proptest::prelude::*;

    const CEILINGS: &str = r#"
images = ["/srv/images/**"]
presets = ["udf", "notebook"]
volume_roots = ["/srv/projects"]
users_may_create = true
profiles_per_user = 2
[quotas]
sandboxes = 10
[quotas.per_user]
sandboxes = 5
[limits]
memory = "4GiB"
"#;

    struct Host {
        _folder: tempfile::TempDir,
        declared: PathBuf,
        owned: PathBuf,
    }

    impl Host {
        fn new() -> Host {
            let folder = tempfile::tempdir().unwrap();
            let (declared, owned) = (folder.path().join("declared"), folder.path().join("owned"));
            fs::create_dir(&declared).unwrap();
            fs::create_dir(&owned).unwrap();
            Host {
                _folder: folder,
                declared,
                owned,
            }
        }

        fn declare(&self, file: &str, text: &str) {
            fs::write(self.declared.join(file), text).unwrap();
        }

        fn open(&self) -> Result<Profiles, Vec<LoadError>> {
            let doc = CeilingsDoc::from_toml("ceilings", CEILINGS).unwrap();
            Profiles::open(
                &self.declared,
                Some(&self.owned),
                Ceilings::check(doc).unwrap(),
            )
        }
    }

    fn text(name: &str, owner: &str, more: &str) -> String {
        format!(
            "version = 1\nname = \"{name}\"\nowner = \"{owner}\"\n\
             images = [\"/srv/images/py\"]\npresets = [\"udf\"]\n{more}"
        )
    }

    fn writer(user: &str) -> Writer {
        Writer {
            user: user.to_owned(),
            administrator: user == "root",
        }
    }

    fn names(profiles: &Profiles) -> Vec<String> {
        profiles
            .current()
            .iter()
            .map(|stored| stored.profile().name().to_string())
            .collect()
    }

    fn shown(errors: Vec<LoadError>) -> String {
        errors.iter().map(|error| format!("{error}\n")).collect()
    }

    #[test]
    fn files_are_read_in_order_and_others_passed_over() {
        let host = Host::new();
        host.declare("b.toml", &text("bee", "ann", ""));
        host.declare("a.toml", &text("ant", "ann", ""));
        host.declare("notes.txt", "not a profile");
        host.declare(".hidden.toml", "not a profile");
        fs::write(host.owned.join("cat.toml"), text("cat", "ann", "")).unwrap();
        let profiles = host.open().unwrap();
        assert_eq!(names(&profiles), ["ant", "bee", "cat"]);
        let set = profiles.current();
        assert!(set.get("ant").unwrap().declared() && !set.get("cat").unwrap().declared());
        assert_eq!(set.len(), 3);
    }

    #[test]
    fn files_that_are_no_plain_files_are_refused_together() {
        let host = Host::new();
        host.declare("real.txt", &text("real", "ann", ""));
        symlink(
            host.declared.join("real.txt"),
            host.declared.join("link.toml"),
        )
        .unwrap();
        fs::create_dir(host.declared.join("folder.toml")).unwrap();
        host.declare("long.toml", &"#".repeat(300_000));
        fs::write(host.declared.join("binary.toml"), b"\xff\xfe").unwrap();
        host.declare("open.toml", &text("open", "ann", ""));
        let open = fs::Permissions::from_mode(0o666);
        fs::set_permissions(host.declared.join("open.toml"), open).unwrap();
        host.declare("broken.toml", "version = 1\nnme = 3\n");
        host.declare("x.toml", &text("twin", "ann", ""));
        host.declare("y.toml", &text("twin", "ann", ""));
        fs::write(host.owned.join("other.toml"), text("misnamed", "ann", "")).unwrap();
        let errors = shown(host.open().unwrap_err());
        for expected in [
            "link.toml: a symbolic link",
            "folder.toml: not a regular file",
            "long.toml: longer",
            "binary.toml: not UTF-8",
            "open.toml: every user",
            "broken.toml:2:1: nme: unknown field",
            "y.toml: profile \"twin\" is in",
            "other.toml: holds profile \"misnamed\"",
        ] {
            assert!(errors.contains(expected), "{expected} in {errors}");
        }
        assert!(Profiles::open(&host.declared.join("none"), None, Ceilings::default()).is_err());
    }

    #[test]
    fn a_reload_is_whole_or_nothing() {
        let host = Host::new();
        host.declare("a.toml", &text("ant", "ann", ""));
        host.declare("b.toml", &text("bee", "ann", ""));
        let profiles = host.open().unwrap();
        assert!(profiles.reload().unwrap().is_empty());
        let before = profiles.current();
        host.declare("a.toml", &text("ant", "bob", ""));
        host.declare("c.toml", "version = 1\nnonsense = 1\n");
        let errors = shown(profiles.reload().unwrap_err());
        assert!(
            errors.contains("c.toml:2:1: nonsense: unknown field"),
            "{errors}"
        );
        assert!(Arc::ptr_eq(&before, &profiles.current()));
        host.declare("c.toml", &text("cat", "ann", ""));
        fs::remove_file(host.declared.join("b.toml")).unwrap();
        let diff = profiles.reload().unwrap();
        assert_eq!(diff.to_string(), "added: cat; changed: ant; removed: bee");
        assert_eq!(before.get("ant").unwrap().profile().owner(), "ann");
        assert_eq!(
            profiles.current().get("ant").unwrap().profile().owner(),
            "bob"
        );
    }

    #[test]
    fn another_bound_of_egress_holds_at_once_whatever_is_in_the_folder() {
        let host = Host::new();
        let egress = "[egress]\nrules = [\"allow tcp *.example\"]\n";
        host.declare("a.toml", &text("ant", "ann", egress));
        let profiles = host.open().unwrap();
        let levels = || {
            let set = profiles.current();
            let bounds = set.get("ant").unwrap().profile().egress().unwrap();
            bounds.levels(None).documents().count()
        };
        assert_eq!(levels(), 1);
        host.declare("b.toml", "nonsense");
        let bound = EgressDoc::from_lines("", vec!["allow tcp a.example".to_owned()]);
        let diff = profiles.bound_egress(Some(bound.clone())).unwrap();
        assert_eq!(diff.to_string(), "added: none; changed: ant; removed: none");
        assert_eq!(levels(), 2);
        assert!(profiles.bound_egress(Some(bound)).unwrap().is_empty());
        // What is read from now on is bounded too.
        fs::remove_file(host.declared.join("b.toml")).unwrap();
        assert!(profiles.reload().unwrap().is_empty());
        assert_eq!(levels(), 2);
        profiles.bound_egress(None).unwrap();
        assert_eq!(levels(), 1);
    }

    #[test]
    fn changes_are_seen_without_being_told() {
        let host = Host::new();
        let profiles = Arc::new(host.open().unwrap());
        let (told, heard) = channel();
        let quiet = Duration::from_millis(1);
        let report =
            move |result: Result<_, Vec<LoadError>>| told.send(result.map_err(shown)).unwrap();
        let watcher = ProfileWatcher::start(profiles.clone(), quiet, report).unwrap();
        // Renamed into place: a half-written file would be an error of its own.
        let place = |name: &str, content: &str| {
            let unread = host.declared.join(".new");
            fs::write(&unread, content).unwrap();
            fs::rename(unread, host.declared.join(name)).unwrap();
        };
        place("a.toml", &text("ant", "ann", ""));
        assert_eq!(heard.recv().unwrap().unwrap().added.len(), 1);
        place("b.toml", "nonsense");
        assert!(heard.recv().unwrap().unwrap_err().contains("b.toml:1"));
        assert_eq!(names(&profiles), ["ant"]);
        drop(watcher);
        assert!(heard.iter().next().is_none());
    }

    #[test]
    fn owners_write_their_profiles_and_versions_prevent_lost_changes() {
        let host = Host::new();
        let profiles = host.open().unwrap();
        let ann = writer("ann");
        let (name, first) = profiles.put(&text("ant", "ann", ""), &ann, None).unwrap();
        assert_eq!(name.as_str(), "ant");
        let again = profiles.put(&text("ant", "ann", ""), &ann, None);
        assert!(matches!(again, Err(ProfileWriteError::Exists { .. })));
        let newer = text("ant", "ann", "[viewers]\nusers = [\"eve\"]\n");
        let (_, second) = profiles.put(&newer, &ann, Some(&first)).unwrap();
        let lost = profiles.put(&text("ant", "ann", ""), &ann, Some(&first));
        assert!(
            matches!(lost, Err(ProfileWriteError::Conflict { ref current, .. }) if *current == second)
        );
        // On disk, whole, alone, and the same after a restart.
        let files: Vec<_> = fs::read_dir(&host.owned)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(files, ["ant.toml"]);
        assert!(profiles.reload().unwrap().is_empty());
        assert_eq!(
            host.open().unwrap().current().get("ant").unwrap().etag(),
            &second
        );
        assert!(matches!(
            profiles.delete("ant", &writer("eve"), &second),
            Err(ProfileWriteError::NotOwner { .. })
        ));
        assert!(matches!(
            profiles.delete("ant", &ann, &first),
            Err(ProfileWriteError::Conflict { .. })
        ));
        profiles.delete("ant", &ann, &second).unwrap();
        assert!(names(&profiles).is_empty() && !host.owned.join("ant.toml").exists());
        assert!(matches!(
            profiles.delete("ant", &ann, &second),
            Err(ProfileWriteError::Unknown { .. })
        ));
    }

    #[test]
    fn declared_profiles_are_changed_in_their_files_only() {
        let host = Host::new();
        host.declare("a.toml", &text("ant", "ann", ""));
        let profiles = host.open().unwrap();
        let etag = profiles.current().get("ant").unwrap().etag().clone();
        for who in ["ann", "root"] {
            let put = profiles
                .put(&text("ant", "ann", ""), &writer(who), Some(&etag))
                .unwrap_err();
            assert!(put.to_string().contains("a.toml; change it there"), "{put}");
            let delete = profiles.delete("ant", &writer(who), &etag);
            assert!(matches!(delete, Err(ProfileWriteError::Declared { .. })));
        }
    }

    #[test]
    fn only_some_may_create() {
        let host = Host::new();
        let profiles = host.open().unwrap();
        let foreign = profiles.put(&text("x", "bob", ""), &writer("ann"), None);
        assert!(matches!(foreign, Err(ProfileWriteError::NotOwner { .. })));
        for name in ["one", "two"] {
            profiles
                .put(&text(name, "ann", ""), &writer("ann"), None)
                .unwrap();
        }
        let third = profiles.put(&text("three", "ann", ""), &writer("ann"), None);
        assert!(matches!(
            third,
            Err(ProfileWriteError::TooMany { limit: 2, .. })
        ));
        profiles
            .put(&text("three", "ann", ""), &writer("root"), None)
            .unwrap();
        let closed =
            Profiles::open(&host.declared, Some(&host.owned), Ceilings::default()).unwrap();
        let refused = closed.put(&text("four", "bob", ""), &writer("bob"), None);
        assert!(matches!(
            refused,
            Err(ProfileWriteError::MayNotCreate { .. })
        ));
        let none = Profiles::open(&host.declared, None, Ceilings::default()).unwrap();
        let refused = none.put(&text("four", "bob", ""), &writer("root"), None);
        assert!(matches!(refused, Err(ProfileWriteError::NoFolder)));
    }

    const BEYOND: &str = r#"
project = "payroll"
[quotas]
sandboxes = 11
[limits.maximum]
memory = "5GiB"
[[volume]]
name = "etc"
source = "/etc"
target = "/data/etc"
[[volume]]
name = "root"
source = "/srv/projects"
target = "/data/root"
[[volume]]
name = "home"
home = true
target = "/home/user"
[admin]
expose_host_image = true
owner_reads_output = true
"#;

    #[test]
    fn owners_stay_below_the_ceilings_and_administrators_need_not() {
        let host = Host::new();
        let profiles = host.open().unwrap();
        let beyond = text("ant", "ann", BEYOND)
            .replace(
                "\"/srv/images/py\"",
                "\"/srv/images/py\", \"host\", \"/opt/i\"",
            )
            .replace("\"udf\"", "\"udf\", \"general\"");
        let error = profiles.put(&beyond, &writer("ann"), None).unwrap_err();
        let ProfileWriteError::Refused(errors) = error else {
            panic!("{error}")
        };
        let fields: Vec<&str> = errors.faults().iter().map(|fault| fault.field()).collect();
        assert_eq!(
            fields,
            [
                "images[1]",
                "images[2]",
                "presets[1]",
                "project",
                "quotas.sandboxes",
                "limits.maximum.memory",
                "volume[0].source",
                "volume[1].source",
                "volume[2].source",
                "admin",
            ],
            "{errors}"
        );
        assert!(errors.faults().iter().all(|fault| fault.place().is_some()));
        let (_, etag) = profiles.put(&beyond, &writer("root"), None).unwrap();
        // What the administrator wrote may stay, and be narrowed.
        let (_, etag) = profiles
            .put(
                &beyond.replace("sandboxes = 11", "sandboxes = 10"),
                &writer("ann"),
                Some(&etag),
            )
            .unwrap();
        // But once lowered it cannot be raised again, nor [admin] be changed.
        for (from, to) in [
            ("sandboxes = 11", "sandboxes = 12"),
            ("owner_reads_output = true", "owner_reads_files = true"),
            ("project = \"payroll\"", "project = \"other\""),
            (
                "target = \"/data/etc\"",
                "target = \"/data/etc\"\nmode = \"rw\"",
            ),
            ("source = \"/etc\"", "source = \"/var\""),
        ] {
            let wider = beyond
                .replace("sandboxes = 11", "sandboxes = 10")
                .replace(from, to);
            let wider = if from == "sandboxes = 11" {
                beyond.replace(from, to)
            } else {
                wider
            };
            let result = profiles.put(&wider, &writer("ann"), Some(&etag));
            assert!(
                matches!(result, Err(ProfileWriteError::Refused(_))),
                "{from} -> {to}"
            );
        }
        // A volume below a root is the owner's to make.
        let own = "[[volume]]\nname = \"p\"\nsource = \"/srv/projects/x\"\ntarget = \"/p\"\nmode = \"rw\"\n";
        profiles
            .put(&text("bee", "ann", own), &writer("ann"), None)
            .unwrap();
    }

    #[test]
    fn ceilings_fill_what_a_profile_leaves_out() {
        let host = Host::new();
        let profiles = host.open().unwrap();
        profiles
            .put(&text("ant", "ann", ""), &writer("ann"), None)
            .unwrap();
        let set = profiles.current();
        let quotas = set.get("ant").unwrap().profile().quotas();
        let resource = lakekeep_profiles::QuotaResource::Sandboxes;
        assert_eq!(
            (quotas.of_profile(resource), quotas.of_user(resource)),
            (Some(10), Some(5))
        );
    }

    const TEMPLATE: &str = r#"
version = 1
name = "home-{user}"
title = "{user}'s own"
images = ["/srv/images/py"]
presets = ["notebook"]
[[volume]]
name = "home"
home = true
target = "/home/user"
mode = "rw"
[[volume]]
name = "scratch"
source = "/srv/scratch/{user}"
target = "/scratch"
[env]
WHO = "{user}"
"#;

    fn template() -> PersonalProfile {
        PersonalProfile::from_toml("config.toml", TEMPLATE, &Ceilings::default()).unwrap()
    }

    #[test]
    fn a_personal_profile_is_made_once() {
        let host = Host::new();
        let profiles = host.open().unwrap();
        let name = profiles.personal(&template(), "ann").unwrap();
        assert_eq!(name.as_str(), "home-ann");
        assert_eq!(profiles.personal(&template(), "ann").unwrap(), name);
        let set = profiles.current();
        let stored = set.get("home-ann").unwrap();
        assert_eq!(stored.profile().owner(), "ann");
        assert_eq!(stored.profile().volumes()[1].source(), "/srv/scratch/ann");
        assert_eq!(stored.profile().env()["WHO"], "ann");
        let etag: &Etag = stored.etag();
        profiles
            .put(&text("home-ann", "ann", ""), &writer("ann"), Some(etag))
            .unwrap();
        assert_eq!(names(&host.open().unwrap()), ["home-ann"]);
    }

    #[test]
    fn names_that_look_alike_or_are_taken_do_not_collide() {
        let host = Host::new();
        let profiles = host.open().unwrap();
        let users = [
            "ann",
            "Ann",
            "ann@a",
            "ann@b",
            "a/../b",
            "äöü",
            "ääü",
            "x\"\n[admin]",
        ];
        let mut made = std::collections::BTreeSet::new();
        for user in &users[..7] {
            let name = profiles.personal(&template(), user).unwrap();
            assert!(made.insert(name.clone()), "{user} {name}");
            assert_eq!(
                profiles
                    .current()
                    .get(name.as_str())
                    .unwrap()
                    .profile()
                    .owner(),
                *user
            );
        }
        let error = profiles.personal(&template(), users[7]).unwrap_err();
        assert!(matches!(error, PersonalError::BadUser { .. }), "{error}");
        profiles
            .put(&text("home-bob", "eve", ""), &writer("root"), None)
            .unwrap();
        let name = profiles.personal(&template(), "bob").unwrap();
        assert!(name.as_str().starts_with("home-bob-"), "{name}");
        profiles
            .put(
                &text(&"home-x".replace('x', "dan"), "eve", ""),
                &writer("root"),
                None,
            )
            .unwrap();
        assert_eq!(profiles.personal(&template(), "bob").unwrap(), name);
    }

    #[test]
    fn a_broken_template_is_refused_before_anybody_logs_in() {
        for (from, to, why) in [
            ("home-{user}", "home", "every user would have the same"),
            ("home-{user}", "Home-{user}", "not a profile's name"),
            (
                "version = 1",
                "version = 1\nowner = \"root\"",
                "its user's own",
            ),
            ("presets", "preset", "unknown field"),
        ] {
            let text = TEMPLATE.replace(from, to);
            let result = PersonalProfile::from_toml("config.toml", &text, &Ceilings::default());
            let error = result.unwrap_err().to_string();
            assert!(
                error.contains(why) && error.contains("config.toml:"),
                "{error}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Whatever a user is called: a valid profile of that user and no
        /// other's, without privileges, or a refusal.
        #[test]
        fn any_user_gets_an_own_profile_or_a_refusal(user in "\\PC{0,40}", other in "\\PC{0,40}") {
            let host = Host::new();
            let profiles = host.open().unwrap();
            let first = profiles.personal(&template(), &user);
            let second = profiles.personal(&template(), &other);
            if let (Ok(first), Ok(second)) = (&first, &second) {
                prop_assert_eq!(first == second, user == other);
            }
            if let Ok(name) = first {
                let set = host.open().unwrap().current();
                let profile = set.get(name.as_str()).unwrap().profile();
                prop_assert_eq!(profile.owner(), &user);
                prop_assert!(!profile.admin().expose_host_image());
            }
        }
    }
}
