//! Images in and out of a library, as OCI layouts and as archives.

#[cfg(test)]
#[path = "../../unpack/tests/common/mod.rs"]
#[allow(dead_code, reason = "the rest is for other tests")]
mod common;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, SystemTime};

    use super::common::{Tar, diff_id};
    use lakekeep_content::{Kind, Seal};
    use lakekeep_images::{ImageError, Keep, Library};
    use lakekeep_oci::Platform;
    use lakekeep_unpack::Limits;
    use serde_json::{Value, json};

    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

    struct Place {
        _folder: tempfile::TempDir,
        path: PathBuf,
    }

    impl Place {
        fn new() -> Place {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().to_owned();
            Place {
                _folder: folder,
                path,
            }
        }

        fn library(&self) -> Library {
            Library::open(&self.path.join("store"), Limits::default()).unwrap()
        }
    }

    /// An OCI layout that a test writes, right or wrong.
    struct Layout(PathBuf);

    impl Layout {
        fn new(place: &Place, name: &str) -> Layout {
            let path = place.path.join(name);
            fs::create_dir_all(path.join("blobs/sha256")).unwrap();
            fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
            Layout(path)
        }

        fn blob(&self, content: &[u8]) -> PathBuf {
            self.0.join("blobs/sha256").join(diff_id(content).hex())
        }

        fn put(&self, kind: &str, content: &[u8]) -> Value {
            fs::write(self.blob(content), content).unwrap();
            json!({ "mediaType": kind, "digest": diff_id(content).to_string(), "size": content.len() })
        }

        fn manifest(&self, layers: &[Vec<u8>], config: &Value) -> Value {
            let layers: Vec<Value> = layers.iter().map(|layer| self.put(LAYER, layer)).collect();
            let config = self.put(CONFIG, config.to_string().as_bytes());
            let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
            self.put(MANIFEST, manifest.to_string().as_bytes())
        }

        fn index(&self, manifests: &[Value]) -> &Path {
            let index = json!({ "schemaVersion": 2, "manifests": manifests });
            fs::write(self.0.join("index.json"), index.to_string()).unwrap();
            &self.0
        }
    }

    fn config(layers: &[Vec<u8>]) -> Value {
        json!({
            "architecture": Platform::here().architecture,
            "os": "linux",
            "rootfs": { "type": "layers", "diff_ids": ids(layers) },
            "config": { "Env": ["A=b"], "Cmd": ["/bin/tool"] },
        })
    }

    fn ids(layers: &[Vec<u8>]) -> Vec<String> {
        layers
            .iter()
            .map(|layer| diff_id(layer).to_string())
            .collect()
    }

    fn base() -> Vec<u8> {
        Tar::default()
            .folder("bin/")
            .file("bin/tool", "tool")
            .file("removed", "x")
            .end()
    }

    fn upper(content: &str) -> Vec<u8> {
        Tar::default()
            .file(".wh.removed", "")
            .file("added", content)
            .end()
    }

    fn image(place: &Place, name: &str, content: &str) -> PathBuf {
        let layers = [base(), upper(content)];
        let layout = Layout::new(place, name);
        let manifest = layout.manifest(&layers, &config(&layers));
        layout.index(&[manifest]).to_owned()
    }

    #[test]
    fn a_layout_is_loaded_and_its_tree_is_the_image() {
        let place = Place::new();
        let library = place.library();
        let loaded = library.load(&image(&place, "app", "one"), None).unwrap();
        assert_eq!(loaded[0].name, "docker.io/library/app:latest");
        let found = library.find("app").unwrap();
        assert_eq!(found.config.settings.variables["A"], "b");
        assert_eq!(library.find(&found.digest.to_string()).unwrap(), found);
        let root = library.root(&found).unwrap();
        assert_eq!(fs::read(root.path().join("added")).unwrap(), b"one");
        assert!(!root.path().join("removed").exists());
        assert_eq!(library.store().fsck().unwrap().damage, []);
        // Once more: nothing new is made.
        let before = library.store().list(Kind::Folder).unwrap().len();
        library
            .load(&place.path.join("app"), Some("other:1"))
            .unwrap();
        assert_eq!(library.store().list(Kind::Folder).unwrap().len(), before);
        let names: Vec<String> = library
            .list()
            .unwrap()
            .into_iter()
            .map(|one| one.name)
            .collect();
        assert_eq!(
            names,
            ["docker.io/library/app:latest", "docker.io/library/other:1"]
        );
    }

    #[test]
    fn of_several_platforms_the_machines_own_is_taken() {
        let place = Place::new();
        let layout = Layout::new(&place, "app");
        let mine = [base()];
        let theirs = [upper("theirs")];
        let mut foreign_config = config(&theirs);
        foreign_config["architecture"] = json!("riscv64");
        let with = |mut manifest: Value, architecture: &str| {
            manifest["platform"] = json!({ "os": "linux", "architecture": architecture });
            manifest
        };
        let foreign = with(layout.manifest(&theirs, &foreign_config), "riscv64");
        let own = with(
            layout.manifest(&mine, &config(&mine)),
            &Platform::here().architecture,
        );
        let all = json!({ "schemaVersion": 2, "manifests": [foreign, own] });
        let index = layout.put(INDEX, all.to_string().as_bytes());
        let library = place.library();
        library.load(layout.index(&[index]), None).unwrap();
        let found = library.find("app").unwrap();
        assert!(
            library
                .root(&found)
                .unwrap()
                .path()
                .join("bin/tool")
                .exists()
        );
        // Without it, the refusal says what there is.
        let only = json!({ "schemaVersion": 2, "manifests": [foreign] });
        let index = layout.put(INDEX, only.to_string().as_bytes());
        let error = library.load(layout.index(&[index]), None).unwrap_err();
        assert!(error.to_string().contains("linux/riscv64"), "{error}");
        // Nor does a manifest that claims nothing get its configuration past the check.
        let mut silent = foreign;
        silent.as_object_mut().unwrap().remove("platform");
        let error = library.load(layout.index(&[silent]), None).unwrap_err();
        assert!(matches!(error, ImageError::Platform { .. }), "{error}");
    }

    /// Each layout is wrong in one way.
    #[test]
    fn wrong_layouts_are_refused_and_get_no_name() {
        type Spoil = fn(&Layout, &[Vec<u8>]) -> Value;
        let cases: [(&str, Spoil); 9] = [
            ("has the digest", |layout, layers| {
                let manifest = layout.manifest(layers, &config(layers));
                fs::write(layout.blob(&layers[0]), vec![0; layers[0].len()]).unwrap();
                manifest
            }),
            ("longer than", |layout, layers| {
                let manifest = layout.manifest(layers, &config(layers));
                fs::write(layout.blob(&layers[0]), [&layers[0][..], b"more"].concat()).unwrap();
                manifest
            }),
            ("bytes, and", |layout, layers| {
                let mut manifest = layout.manifest(layers, &config(layers));
                manifest["size"] = json!(manifest["size"].as_u64().unwrap() + 1);
                manifest
            }),
            ("cannot open", |layout, layers| {
                let manifest = layout.manifest(layers, &config(layers));
                fs::remove_file(layout.blob(&layers[0])).unwrap();
                manifest
            }),
            ("cannot open", |layout, layers| {
                let manifest = layout.manifest(layers, &config(layers));
                let outside = layout.0.with_extension("outside");
                fs::rename(layout.blob(&layers[0]), &outside).unwrap();
                symlink(&outside, layout.blob(&layers[0])).unwrap();
                // Followed, it would be the layer.
                assert_eq!(fs::read(layout.blob(&layers[0])).unwrap(), layers[0]);
                manifest
            }),
            ("not unpacked", |layout, layers| {
                let other = [upper("other"), layers[1].clone()];
                layout.manifest(layers, &config(&other))
            }),
            ("names 1 layers", |layout, layers| {
                layout.manifest(layers, &config(&layers[..1]))
            }),
            ("not unpacked", |layout, _| {
                let evil = [Tar::default().file("../evil", "x").end()];
                layout.manifest(&evil, &config(&evil))
            }),
            ("artifact", |layout, layers| {
                let manifest = layout.manifest(layers, &config(layers));
                let text = json!({ "schemaVersion": 2, "layers": [], "config": manifest });
                layout.put(MANIFEST, text.to_string().as_bytes())
            }),
        ];
        for (number, (word, spoil)) in cases.iter().enumerate() {
            let place = Place::new();
            let layout = Layout::new(&place, "app");
            let manifest = spoil(&layout, &[base(), upper("x")]);
            let library = place.library();
            let error = library.load(layout.index(&[manifest]), None).unwrap_err();
            assert!(
                error.to_string().contains(word),
                "{number}: {word}: {error}"
            );
            assert_eq!(library.list().unwrap(), [], "{number}");
            assert!(matches!(
                library.find("app"),
                Err(ImageError::Unknown { .. })
            ));
        }
    }

    fn saved(layers: &[Vec<u8>], first: bool) -> Vec<u8> {
        let config = config(layers).to_string();
        let manifest = json!([{
            "Config": "abc.json",
            "RepoTags": ["app:saved", "registry.example:5000/team/app:v1"],
            "Layers": ["1/layer.tar", "2/layer.tar", "3/layer.tar"],
        }]);
        let list = |tar: Tar| tar.file("manifest.json", &manifest.to_string());
        let mut tar = Tar::default();
        if first {
            tar = list(tar);
        }
        tar = tar
            .folder("1/")
            .kind(b'0', "1/layer.tar", &layers[0])
            .folder("2/")
            .kind(b'0', "2/layer.tar", &layers[1])
            .folder("3/")
            .symlink("3/layer.tar", "../1/layer.tar")
            .file("abc.json", &config);
        if !first {
            tar = list(tar);
        }
        tar.end()
    }

    #[test]
    fn an_archive_of_docker_save_is_loaded() {
        for first in [true, false] {
            let place = Place::new();
            let layers = [base(), upper("saved"), base()];
            let path = place.path.join("saved.tar");
            fs::write(&path, saved(&layers, first)).unwrap();
            let library = place.library();
            let loaded = library.load(&path, None).unwrap();
            assert_eq!(loaded.len(), 2);
            let found = library.find("registry.example:5000/team/app:v1").unwrap();
            let root = library.root(&found).unwrap();
            assert_eq!(fs::read(root.path().join("added")).unwrap(), b"saved");
            // The third layer is the first once more.
            assert!(root.path().join("removed").exists());
        }
    }

    #[test]
    fn archives_that_are_none_are_refused() {
        let layers = [base(), upper("saved"), base()];
        let good = saved(&layers, true);
        let missing = Tar::default()
            .file(
                "manifest.json",
                r#"[{"Config":"c","Layers":["../../etc/passwd"]}]"#,
            )
            .end();
        for (what, bytes, word) in [
            ("empty", Vec::new(), "not read"),
            ("text", b"hello".to_vec(), "not read"),
            ("cut off", good[..good.len() - 2000].to_vec(), "not read"),
            ("no documents", base(), "neither"),
            ("what it names is missing", missing, "does not hold"),
            (
                "names upwards",
                Tar::default().file("../x", "x").end(),
                "not read",
            ),
        ] {
            let place = Place::new();
            let path = place.path.join("images.tar");
            fs::write(&path, bytes).unwrap();
            let error = place.library().load(&path, None).unwrap_err();
            assert!(error.to_string().contains(word), "{what}: {error}");
        }
        let place = Place::new();
        let error = place
            .library()
            .load(Path::new("/dev/null"), None)
            .unwrap_err();
        assert!(
            error.to_string().contains("neither a folder nor a file"),
            "{error}"
        );
    }

    #[test]
    fn what_is_in_use_stays_and_what_nothing_leads_to_goes() {
        let place = Place::new();
        let library = place.library();
        library.load(&image(&place, "one", "one"), None).unwrap();
        library.load(&image(&place, "two", "two"), None).unwrap();
        let one = library.find("one").unwrap();
        let in_use = library.root(&one).unwrap();
        assert!(matches!(
            library.remove("one"),
            Err(ImageError::InUse { .. })
        ));
        // A day later, of all images only the used one is left, whole.
        let later = SystemTime::now() + Duration::from_secs(86_400);
        let keep = Keep {
            used_within: Some(Duration::from_secs(3600)),
            bytes: None,
        };
        let collected = library.collect(keep, later).unwrap();
        assert_eq!(collected.images, ["docker.io/library/two:latest"]);
        assert_eq!(collected.in_use, ["docker.io/library/one:latest"]);
        assert_eq!(fs::read(in_use.path().join("added")).unwrap(), b"one");
        assert!(matches!(
            library.find("two"),
            Err(ImageError::Unknown { .. })
        ));
        assert_eq!(library.store().fsck().unwrap().damage, []);
        // Two shared a layer with it, which stays; its own are gone.
        let shared = diff_id(&base());
        assert!(library.store().folder(&shared).is_ok());
        assert!(library.store().folder(&diff_id(&upper("two"))).is_err());
        drop(in_use);
        library.remove("one").unwrap();
        library.collect(Keep::default(), later).unwrap();
        assert_eq!(library.store().list(Kind::Folder).unwrap(), []);
        assert_eq!(library.store().list(Kind::Blob).unwrap(), []);
    }

    #[test]
    fn a_quota_takes_the_longest_unused_first() {
        let place = Place::new();
        let library = place.library();
        for name in ["one", "two"] {
            let layers = [Tar::default().kind(b'0', name, &vec![b'x'; 100_000]).end()];
            let layout = Layout::new(&place, name);
            let manifest = layout.manifest(&layers, &config(&layers));
            library.load(layout.index(&[manifest]), None).unwrap();
        }
        // One was loaded first, in the store's own time.
        let first = library.list().unwrap();
        let old = SystemTime::now() - Duration::from_secs(1000);
        set_used(&place, &first[0].name, old);
        let keep = Keep {
            used_within: None,
            bytes: Some(250_000),
        };
        let collected = library.collect(keep, SystemTime::now()).unwrap();
        assert_eq!(collected.images, ["docker.io/library/one:latest"]);
        assert!(library.find("two").is_ok());
        let nothing = Keep {
            used_within: None,
            bytes: Some(0),
        };
        library.collect(nothing, SystemTime::now()).unwrap();
        assert_eq!(library.list().unwrap(), []);
    }

    /// As if it had last been used then.
    fn set_used(place: &Place, name: &str, used: SystemTime) {
        use lakekeep_content::{Algorithm, Digest};
        let file = Digest::of(Algorithm::Blake3, name.as_bytes()).hex();
        let file = fs::File::open(place.path.join("store/names/images").join(file)).unwrap();
        file.set_modified(used).unwrap();
    }

    #[test]
    fn a_tree_that_was_set_aside_is_made_again() {
        let place = Place::new();
        let library = place.library();
        library.load(&image(&place, "app", "one"), None).unwrap();
        let found = library.find("app").unwrap();
        let path = library.root(&found).unwrap().path().to_owned();
        fs::write(path.join("planted"), "x").unwrap();
        assert_eq!(library.store().fsck().unwrap().damage.len(), 1);
        let root = library.root(&found).unwrap();
        assert!(!root.path().join("planted").exists());
        assert_eq!(Seal::of(root.root()).unwrap().entries, 3);
    }
}
