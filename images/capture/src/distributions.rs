//! Installed distributions, by their metadata folders; nothing is imported.

use std::io::Read;
use std::path::Path;

use lakekeep_environment::Distribution;

/// Most of a metadata file that is read: its headers come first.
const MAX_HEADERS: u64 = 1 << 16;
/// Longest `direct_url.json`.
const MAX_DIRECT_URL: u64 = 1 << 16;

/// Those whose metadata lie directly in `folder`, an entry of `sys.path`. What has no name or
/// version is none.
pub(crate) fn of(folder: &Path) -> Vec<Distribution> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| one(&entry.path())).collect()
}

fn one(path: &Path) -> Option<Distribution> {
    let name = path.file_name()?.to_str()?;
    let metadata = match name.rsplit_once('.')?.1 {
        "dist-info" => path.join("METADATA"),
        "egg-info" if path.is_dir() => path.join("PKG-INFO"),
        "egg-info" => path.to_owned(),
        _ => return None,
    };
    let text = head(&metadata, MAX_HEADERS)?;
    let header = |name: &str| {
        // Headers end at the first empty line.
        let lines = text.lines().take_while(|line| !line.is_empty());
        let mut values = lines.filter_map(|line| line.split_once(':'));
        let (_, value) = values.find(|(found, _)| found.eq_ignore_ascii_case(name))?;
        Some(value.trim().to_owned())
    };
    Some(Distribution {
        name: normal(&header("Name")?),
        version: header("Version").filter(|version| !version.is_empty())?,
        editable: is_editable(path),
    })
}

fn head(path: &Path, most: u64) -> Option<String> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(most).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// PEP 610: `{"dir_info": {"editable": true}, …}`.
fn is_editable(folder: &Path) -> bool {
    let text = head(&folder.join("direct_url.json"), MAX_DIRECT_URL);
    let json: Option<serde_json::Value> = text.and_then(|text| serde_json::from_str(&text).ok());
    json.and_then(|json| json.pointer("/dir_info/editable")?.as_bool()) == Some(true)
}

/// PEP 503: lower case, and each run of `-`, `_` and `.` is one `-`.
fn normal(name: &str) -> String {
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let info = folder.path().join("My_Pkg-1.0.dist-info");
        std::fs::create_dir(&info).unwrap();
        let text = "Metadata-Version: 2.1\nName: My_.Pkg\nVersion: 1.0\n\nVersion: 9\n";
        std::fs::write(info.join("METADATA"), text).unwrap();
        std::fs::write(folder.path().join("nothing.dist-info"), "").unwrap();
        let expected = Distribution {
            name: "my-pkg".to_owned(),
            version: "1.0".to_owned(),
            editable: false,
        };
        assert_eq!(of(folder.path()), [expected]);
        let url = r#"{"url": "file:///src", "dir_info": {"editable": true}}"#;
        std::fs::write(info.join("direct_url.json"), url).unwrap();
        assert!(of(folder.path())[0].editable);
    }
}
