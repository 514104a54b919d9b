//! What is to be built.

use std::collections::VecDeque;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use lakekeep_environment::Digest;

use crate::error::BuildError;
use crate::lines::{Line, extras, lines, name};

/// Longest file, in bytes: a `uv.lock` of some thousand packages has some MiB.
const MAX_BYTES: u64 = 16 << 20;
/// Most files that one requirements file leads to.
const MAX_INCLUDES: usize = 64;

/// Which kind of list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// pip's requirements file: resolved.
    Requirements,
    /// A project's metadata (PEP 621): its dependencies are resolved.
    Project,
    /// uv's lock: what it has is taken, nothing is resolved.
    UvLock,
}

/// A list of packages, with all files that belong to it.
#[derive(Clone, Debug)]
pub struct Spec {
    kind: Kind,
    path: PathBuf,
    /// By their paths beneath the list's folder; the list itself is the first.
    files: Vec<(String, String)>,
}

/// What of a list is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Extras of a project.
    pub extras: Vec<String>,
    /// Groups of a project (PEP 735).
    pub groups: Vec<String>,
    /// Whether source distributions may be built.
    pub sources: bool,
}

fn kind(path: &Path) -> Result<Kind, BuildError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.unwrap_or_default().to_ascii_lowercase();
    let why = match name.as_str() {
        "uv.lock" => return Ok(Kind::UvLock),
        "pyproject.toml" => return Ok(Kind::Project),
        name if name.ends_with(".txt") || name.ends_with(".in") => return Ok(Kind::Requirements),
        name if name.ends_with(".yml") || name.ends_with(".yaml") => {
            "conda's environments are not built; list the packages in a requirements.txt, or make the \
             environment with conda and take it up: lakekeep env capture --python PREFIX/bin/python"
        }
        "poetry.lock" | "pdm.lock" | "pipfile" | "pipfile.lock" | "pylock.toml" => {
            "export it to a requirements.txt with the tool that wrote it"
        }
        _ if path.is_dir() => {
            "it is a folder; name its uv.lock, pyproject.toml or requirements.txt"
        }
        _ => "name a requirements file (.txt or .in), a pyproject.toml or a uv.lock",
    };
    Err(BuildError::Kind {
        path: path.to_owned(),
        why,
    })
}

impl Spec {
    /// Reads the list and what it leads to, and refuses what would be taken from elsewhere than
    /// an index.
    ///
    /// # Errors
    /// [`BuildError::Kind`], [`BuildError::Unreadable`], [`BuildError::TooLong`] and, with the line,
    /// [`BuildError::Line`].
    pub fn read(path: &Path) -> Result<Spec, BuildError> {
        let kind = kind(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let own = path.file_name().and_then(|name| name.to_str());
        let own = own.unwrap_or_default().to_owned();
        let files = match kind {
            Kind::Requirements => requirements(folder, own)?,
            Kind::Project => vec![(own, text(path)?)],
            Kind::UvLock => {
                let project = "pyproject.toml";
                vec![
                    (own, text(path)?),
                    (project.to_owned(), text(&folder.join(project))?),
                ]
            }
        };
        Ok(Spec {
            kind,
            path: path.to_owned(),
            files,
        })
    }

    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// By their paths beneath the list's folder; the list itself is the first.
    pub fn files(&self) -> &[(String, String)] {
        &self.files
    }

    /// Its name in its folder.
    pub fn name(&self) -> &str {
        self.files.first().map_or("", |(name, _)| name)
    }

    /// Where its lock is written if nobody says otherwise; `None`: it is one.
    pub fn lock_beside(&self) -> Option<PathBuf> {
        match self.kind {
            Kind::UvLock => None,
            Kind::Requirements | Kind::Project => {
                Some(self.path.with_file_name(format!("{}.lock", self.name())))
            }
        }
    }

    /// What a lock is made for: the same list, choice, interpreter and indexes.
    pub fn key(&self, choice: &Choice, python: &str, indexes: &crate::Indexes) -> Digest {
        let mut text = format!("{}\n{python}\n{choice:?}\n", self.files.len());
        for (name, content) in &self.files {
            text.push_str(&format!("{name:?} {}\n", Digest::of(content.as_bytes())));
        }
        for index in indexes.iter() {
            text.push_str(&format!("{:?}\n", index.shown()));
        }
        Digest::of(text.as_bytes())
    }
}

fn text(path: &Path) -> Result<String, BuildError> {
    let unreadable = BuildError::unreadable(path);
    let file = std::fs::File::open(path).map_err(&unreadable)?;
    if !file.metadata().map_err(&unreadable)?.is_file() {
        return Err(unreadable(std::io::ErrorKind::InvalidInput.into()));
    }
    let mut text = String::new();
    file.take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(&unreadable)?;
    match text.len() as u64 > MAX_BYTES {
        true => Err(BuildError::TooLong {
            path: path.to_owned(),
            most: MAX_BYTES,
        }),
        false => Ok(text),
    }
}

/// A requirements file and those that it includes, each once.
fn requirements(folder: &Path, own: String) -> Result<Vec<(String, String)>, BuildError> {
    let mut files: Vec<(String, String)> = Vec::new();
    let mut todo = VecDeque::from([own]);
    while let Some(name) = todo.pop_front() {
        if files.iter().any(|(known, _)| *known == name) {
            continue;
        }
        let path = folder.join(&name);
        let content = text(&path)?;
        let included = includes(&name, &content).map_err(|(line, why)| BuildError::Line {
            path: path.clone(),
            line,
            why,
        })?;
        todo.extend(included);
        files.push((name, content));
        if files.len() > MAX_INCLUDES {
            return Err(BuildError::Line {
                path,
                line: 1,
                why: format!("more than {MAX_INCLUDES} files include each other"),
            });
        }
    }
    Ok(files)
}

/// The files that a requirements file `name` includes, by their paths beneath the list's folder. All else in
/// it are packages by name.
///
/// # Errors
/// A line's number, counted from one, and what is wrong with it.
pub fn includes(name: &str, content: &str) -> Result<Vec<String>, (usize, String)> {
    let mut included = Vec::new();
    for line in lines(content) {
        let refused = |why| (line.number, why);
        if let Some(file) = checked(&line).map_err(refused)? {
            included.push(beneath(name, file).map_err(refused)?);
        }
    }
    Ok(included)
}

/// The file that a line includes, if it does; else it is a requirement by name.
fn checked(line: &Line) -> Result<Option<&str>, String> {
    let text = line.text.as_str();
    for flag in ["--requirement", "--constraint", "-r", "-c"] {
        if let Some(rest) = text.strip_prefix(flag) {
            return Ok(Some(rest.trim_start_matches(['=', ' ', '\t'])));
        }
    }
    if let Some(flag) = text.split([' ', '=', '\t']).next()
        && flag.starts_with('-')
    {
        return Err(format!(
            "{flag} is not taken from a file; indexes are named with --index and --extra-index, and \
             packages come from an index"
        ));
    }
    let by_name = name(text).and_then(|(_, rest)| {
        let rest = extras(rest.trim_start())?.trim_start();
        let follows = |character: char| "=<>!~;(-".contains(character);
        (rest.is_empty() || rest.starts_with(follows)).then_some(rest)
    });
    let Some(rest) = by_name else {
        return Err(format!(
            "{text:?} is no package by name, such as numpy>=2; files, folders, URLs and repositories are not \
             built from: put a wheel on an index"
        ));
    };
    let options = rest
        .split_whitespace()
        .filter(|word| word.starts_with("--"));
    match options
        .into_iter()
        .find(|word| !word.starts_with("--hash="))
    {
        Some(option) => Err(format!("{option} is not taken from a file")),
        None => Ok(None),
    }
}

/// An included file's path beneath the list's folder: relative to the file that includes it.
fn beneath(user: &str, included: &str) -> Result<String, String> {
    let mut parts: Vec<&str> = Path::new(user)
        .parent()
        .and_then(Path::to_str)
        .unwrap_or_default()
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    for part in Path::new(included).components() {
        match part {
            Component::CurDir => {}
            Component::Normal(part) => parts.push(part.to_str().unwrap_or_default()),
            Component::ParentDir if parts.pop().is_some() => {}
            _ => {
                return Err(format!(
                    "{included:?} is not beneath the folder of the list; only that is shown to what resolves it"
                ));
            }
        }
    }
    match parts.is_empty() {
        true => Err("the name of a file is missing".to_owned()),
        false => Ok(parts.join("/")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<Spec, BuildError> {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        Spec::read(&folder.path().join(files[0].0))
    }

    #[test]
    fn a_list_is_read_with_what_it_includes() {
        let spec = read(&[
            ("requirements.txt", "numpy>=2 # c\n-r more/base.txt\n"),
            (
                "more/base.txt",
                "--constraint ../limits.txt\nidna[x] ; python_version < '4'\n",
            ),
            ("limits.txt", "six==1 --hash=sha256:00\n"),
        ])
        .unwrap();
        let names: Vec<&str> = spec.files().iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["requirements.txt", "more/base.txt", "limits.txt"]);
        assert!(
            spec.lock_beside()
                .unwrap()
                .ends_with("requirements.txt.lock")
        );
    }

    #[test]
    fn what_does_not_come_from_an_index_is_refused_with_its_line() {
        for line in [
            "-e .",
            "./x",
            "/x",
            "x @ https://files.example/x.whl",
            "git+https://code.example/x",
            "https://files.example/x.whl",
            "--index-url https://index.example",
            "--extra-index-url=https://index.example",
            "--find-links /srv",
            "--no-binary :all:",
            "x==1 --config-settings=a=b",
            "-r ../up.txt",
            "-r /etc/passwd",
            "-r",
        ] {
            let refused = read(&[("r.txt", &format!("six\n{line}\n"))]).unwrap_err();
            let text = refused.to_string();
            assert!(text.contains("r.txt:2: "), "{line}: {text}");
        }
    }

    #[test]
    fn other_tools_files_are_refused_with_words() {
        for (name, word) in [
            ("environment.yml", "conda"),
            ("poetry.lock", "export"),
            ("setup.py", "requirements"),
        ] {
            let refused = read(&[(name, "")]).unwrap_err().to_string();
            assert!(refused.contains(word), "{refused}");
        }
        let lacking = read(&[("uv.lock", "")]).unwrap_err().to_string();
        assert!(lacking.contains("pyproject.toml"), "{lacking}");
    }

    #[test]
    fn a_key_is_for_one_list_choice_interpreter_and_order_of_indexes() {
        let pypi = crate::Indexes::new(None, &[]).unwrap();
        let other = crate::Indexes::new(Some("https://index.example/"), &[]).unwrap();
        let (a, b) = (
            read(&[("r.txt", "a")]).unwrap(),
            read(&[("r.txt", "b")]).unwrap(),
        );
        let plain = Choice::default();
        let sources = Choice {
            sources: true,
            ..Choice::default()
        };
        let keys = [
            a.key(&plain, "3.11", &pypi),
            b.key(&plain, "3.11", &pypi),
            a.key(&sources, "3.11", &pypi),
            a.key(&plain, "3.12", &pypi),
            a.key(&plain, "3.11", &other),
        ];
        let different: std::collections::BTreeSet<String> =
            keys.iter().map(ToString::to_string).collect();
        assert_eq!(different.len(), keys.len());
    }
}
