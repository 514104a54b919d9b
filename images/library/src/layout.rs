//! An OCI layout: a folder with `oci-layout`, `index.json` and `blobs/sha256/…` (image-layout).

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use lakekeep_content::{Expected, Store};
use lakekeep_oci::{Descriptor, Index, MAX_DOCUMENT};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use serde::Deserialize;

use crate::error::ImageError;
use crate::load::Source;

/// A folder that holds images.
pub struct Layout {
    path: String,
    folder: OwnedFd,
    index: Index,
}

#[derive(Deserialize)]
struct Marker {
    #[serde(rename = "imageLayoutVersion")]
    version: String,
}

/// Whether this is the content of an `oci-layout` file of a version that is known.
pub fn is_marker(content: &[u8]) -> bool {
    serde_json::from_slice::<Marker>(content).is_ok_and(|marker| marker.version == "1.0.0")
}

impl Layout {
    pub fn open(path: &Path, folder: OwnedFd) -> Result<Layout, ImageError> {
        let path = path.display().to_string();
        let marker = read(&folder, &path, "oci-layout")?;
        if !is_marker(&marker) {
            return Err(ImageError::NotImages {
                path,
                why: "is no OCI layout of version 1.0.0".to_owned(),
            });
        }
        let index = Index::read(&read(&folder, &path, "index.json")?)?;
        Ok(Layout {
            path,
            folder,
            index,
        })
    }
}

impl Source for Layout {
    fn index(&self) -> &Index {
        &self.index
    }

    fn fetch(&self, store: &Store, wanted: &Descriptor, most: u64) -> Result<(), ImageError> {
        let name = format!("blobs/sha256/{}", wanted.digest.hex());
        let mut file = open(&self.folder, &self.path, &name)?;
        let expected = Expected::Digest(wanted.digest);
        store.put(&mut file, expected, wanted.size.min(most))?;
        Ok(())
    }
}

/// A file below the folder, through no link: it may be a stranger's.
fn open(folder: &OwnedFd, path: &str, name: &str) -> Result<File, ImageError> {
    let failed = |errno| ImageError::Open {
        path: format!("{path}/{name}"),
        errno,
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let file = rustix::fs::openat2(folder, name, flags, Mode::empty(), resolve).map_err(failed)?;
    let stat = rustix::fs::fstat(&file).map_err(failed)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(File::from(file)),
        _ => Err(failed(Errno::INVAL)),
    }
}

fn read(folder: &OwnedFd, path: &str, name: &str) -> Result<Vec<u8>, ImageError> {
    let mut content = Vec::new();
    let file = open(folder, path, name)?;
    // One byte more than a document may have: its reader then refuses it.
    let read = file.take(MAX_DOCUMENT + 1).read_to_end(&mut content);
    read.map_err(|error| ImageError::Open {
        path: format!("{path}/{name}"),
        errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
    })?;
    Ok(content)
}
