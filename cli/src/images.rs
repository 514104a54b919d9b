//! `lakekeep image` and `lakekeep store`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use lakekeep_content::ContentError;
use lakekeep_images::{Collected, Image, ImageError, Keep, Library, Listed};
use lakekeep_sandbox::chain;
use lakekeep_tree::TreeError;
use lakekeep_unpack::Limits;
use rustix::io::Errno;
use serde_json::{Value, json};

use crate::args::Format;
use crate::args::images::{
    ImageVerb, ListArgs, LoadArgs, RemoveArgs, StoreArgs, StoreGcArgs, StoreVerb,
};
use crate::beside;
use crate::environment::show;
use crate::remote::clean::clean;
use crate::report::Messages;
use crate::run::OWN_FAILURE;

/// Why there is no answer about images.
#[derive(Debug, thiserror::Error)]
pub enum ImagesError {
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error("there is no place for the image store: HOME is not set; name one with --store DIR")]
    NoPlace,
    #[error("this process cannot give up its rights before it reads an image")]
    Rights(#[source] Errno),
    #[error("standard output cannot be written to")]
    Output(#[source] std::io::Error),
}

/// `lakekeep image …`
pub fn image(verb: &ImageVerb) -> ExitCode {
    answer(match verb {
        ImageVerb::Load(arguments) => load(arguments),
        ImageVerb::Pull { arguments } => return beside::pull(arguments),
        ImageVerb::Ls(arguments) => list(arguments),
        ImageVerb::Inspect(arguments) => library(&arguments.store)
            .and_then(|library| Ok(library.find(&arguments.image)?))
            .and_then(|image| print(&format!("{:#}\n", shown(&image)))),
        ImageVerb::Rm(arguments) => remove(arguments),
        ImageVerb::Prune(arguments) => {
            let keep = Keep {
                used_within: Some(arguments.unused_for),
                bytes: None,
            };
            collect(&arguments.store, keep)
        }
        ImageVerb::Gc(arguments) => {
            let keep = Keep {
                used_within: None,
                bytes: arguments.keep.map(|bytes| bytes.get()),
            };
            collect(&arguments.store, keep)
        }
    })
}

/// `lakekeep store …`
pub fn store(verb: &StoreVerb) -> ExitCode {
    let arguments = match verb {
        StoreVerb::Fsck(arguments) => arguments,
        StoreVerb::Gc(arguments) => return answer(collect_all(arguments)),
    };
    match fsck(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => answer(Err(error)),
    }
}

fn answer(answer: Result<(), ImagesError>) -> ExitCode {
    match answer {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            Messages { json: false }.say("error", &chain(&error));
            ExitCode::from(OWN_FAILURE)
        }
    }
}

/// The library of the store that is named, or of the caller's own.
pub fn library(arguments: &StoreArgs) -> Result<Library, ImagesError> {
    let place = place(arguments.store.as_deref())?;
    Ok(Library::open(&place, Limits::default())?)
}

/// Where the store that is named is, or the caller's own would be.
pub fn place(named: Option<&Path>) -> Result<PathBuf, ImagesError> {
    lakekeep_images::store_place(named).ok_or(ImagesError::NoPlace)
}

fn load(arguments: &LoadArgs) -> Result<(), ImagesError> {
    lakekeep_images::give_up_rights().map_err(ImagesError::Rights)?;
    let library = library(&arguments.store)?;
    let loaded = library.load(&arguments.path, arguments.name.as_deref())?;
    let lines = loaded
        .iter()
        .map(|image| format!("{}\t{}\n", image.name, image.digest));
    print(&lines.collect::<String>())
}

fn list(arguments: &ListArgs) -> Result<(), ImagesError> {
    let images = library(&arguments.store)?.list()?;
    let text = match arguments.format {
        Format::Json => format!("{:#}\n", Value::from_iter(images.iter().map(listed))),
        Format::Text => images.iter().map(line).collect(),
    };
    print(&text)
}

fn line(image: &Listed) -> String {
    let used = humantime::format_rfc3339_seconds(image.used);
    format!(
        "{}\t{}\t{}\t{used}\n",
        image.name, image.digest, image.bytes
    )
}

fn listed(image: &Listed) -> Value {
    json!({
        "name": image.name,
        "digest": image.digest.to_string(),
        "bytes": image.bytes,
        "used": humantime::format_rfc3339_seconds(image.used).to_string(),
    })
}

fn shown(image: &Image) -> Value {
    let layer = |(index, layer): (usize, &lakekeep_oci::Descriptor)| {
        json!({
            "digest": layer.digest.to_string(),
            "bytes": layer.size,
            "diff_id": image.config.diff_ids.get(index).map(ToString::to_string),
        })
    };
    let settings = &image.config.settings;
    json!({
        "name": image.name,
        "digest": image.digest.to_string(),
        "platform": format!("{}/{}", image.config.platform.os, image.config.platform.architecture),
        "layers": image.manifest.layers.iter().enumerate().map(layer).collect::<Vec<_>>(),
        "user": settings.user,
        "env": settings.variables,
        "entrypoint": settings.startup.entrypoint,
        "cmd": settings.startup.command,
        "workdir": settings.working_folder,
    })
}

fn remove(arguments: &RemoveArgs) -> Result<(), ImagesError> {
    let library = library(&arguments.store)?;
    for image in &arguments.images {
        print(&format!("{}\n", library.remove(image)?))?;
    }
    Ok(())
}

fn collect(arguments: &StoreArgs, keep: Keep) -> Result<(), ImagesError> {
    let collected = library(arguments)?.collect(keep, SystemTime::now())?;
    let Collected {
        images,
        in_use,
        removed,
        bytes,
    } = collected;
    for name in in_use {
        let kept = format!("{name} is in use, and stays");
        Messages { json: false }.say("warning", &kept);
    }
    let names: String = images.iter().map(|name| format!("{name}\n")).collect();
    print(&format!(
        "{names}{removed} files and trees removed, {bytes} bytes\n"
    ))
}

/// Images, then environments.
fn collect_all(arguments: &StoreGcArgs) -> Result<(), ImagesError> {
    let keep = Keep {
        used_within: None,
        bytes: arguments.images.map(|bytes| bytes.get()),
    };
    collect(&arguments.store, keep)?;
    let Some(keep) = arguments.environments else {
        return Ok(());
    };
    let library = library(&arguments.store)?;
    let done = lakekeep_tree::collect(library.store(), keep.get())?;
    let names = |digests: Vec<lakekeep_environment::Digest>| {
        digests.iter().map(ToString::to_string).collect()
    };
    print(&show::collected(
        names(done.removed),
        names(done.in_use),
        done.bytes,
    ))
}

/// `false`: something was damaged.
fn fsck(arguments: &StoreArgs) -> Result<bool, ImagesError> {
    let report = library(arguments)?.store().fsck()?;
    let lines: String = report
        .damage
        .iter()
        .map(|damage| format!("{damage}\n"))
        .collect();
    let (blobs, folders, names) = (report.blobs, report.folders, report.names);
    print(&format!(
        "{lines}{blobs} files, {folders} trees, {names} names, {} bytes read; {} damaged\n",
        report.bytes,
        report.damage.len()
    ))?;
    Ok(report.damage.is_empty())
}

/// Names in images are anybody's.
fn print(text: &str) -> Result<(), ImagesError> {
    let text: String = text.lines().map(|line| clean_line(line) + "\n").collect();
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(ImagesError::Output)
}

/// Tabs between columns stay.
fn clean_line(line: &str) -> String {
    let columns: Vec<String> = line.split('\t').map(clean).collect();
    columns.join("\t")
}
