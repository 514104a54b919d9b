//! Layers: large, gone on with where they were left, proven whole.

use http::Method;
use http::header::CONTENT_RANGE;
use lakekeep_content::{ContentError, Partial};
use lakekeep_oci::Descriptor;

use crate::client::Answer;
use crate::documents::length;
use crate::error::RequestError;
use crate::mirrors::Site;
use crate::retry::Attempts;
use crate::session::{Session, Wanted};
use crate::wire::{ContentRange, shown};

/// Bytes of one attempt that are progress: of less, attempts are counted.
const PROGRESS: u64 = 1 << 20;

/// One layer on its way.
pub struct Download<'s, 'p> {
    pub session: &'s Session<'p>,
    pub wanted: &'s Descriptor,
}

impl Download<'_, '_> {
    /// Fetches from one registry what is not there yet, in one request.
    ///
    /// # Errors
    /// [`RequestError`]; what came stays.
    pub fn attempt(
        &self,
        site: &Site,
        partial: &mut Partial<'_>,
        attempts: &mut Attempts,
    ) -> Result<(), RequestError> {
        if partial.is_complete() {
            return Ok(());
        }
        let before = partial.bytes();
        let read = self
            .answer(site, partial)
            .and_then(|answer| self.read(answer, partial));
        if partial.bytes().saturating_sub(before) >= PROGRESS {
            attempts.progressed();
        }
        read
    }

    /// The head of an answer that goes on where the partial file ends, or begins anew, and the file with it.
    fn answer(&self, site: &Site, partial: &mut Partial<'_>) -> Result<Answer<'_>, RequestError> {
        let path = format!("blobs/{}", self.wanted.digest);
        let wanted = |from| Wanted {
            method: &Method::GET,
            path: &path,
            accept: "",
            from,
        };
        let from = partial.bytes();
        let asked = match self.session.ask(site, wanted(from)) {
            // It has fewer bytes than there are here.
            Err(RequestError::Status { code: 416, .. }) if from > 0 => {
                partial.restart()?;
                self.session.ask(site, wanted(0))
            }
            asked => asked,
        };
        let answer = asked?;
        let rest = match answer.status() {
            206 if from > 0 => {
                self.check_range(&answer, partial.bytes())?;
                self.wanted.size - partial.bytes()
            }
            206 => {
                return Err(RequestError::protocol(
                    "it is a part, and all was asked for",
                ));
            }
            // It knows no ranges, and sends everything.
            _ => {
                partial.restart()?;
                self.wanted.size
            }
        };
        match length(&answer)? {
            // A part may end before the whole does; then the next is asked for.
            Some(length) if length > rest || (length != rest && answer.status() == 200) => {
                Err(self.size(length.to_string()))
            }
            _ => Ok(answer),
        }
    }

    fn check_range(&self, answer: &Answer<'_>, from: u64) -> Result<(), RequestError> {
        let text = answer.header(CONTENT_RANGE).unwrap_or_default();
        let size = self.wanted.size;
        let fits = |range: &ContentRange| {
            range.first == from
                && range.last < size
                && range.total.is_none_or(|total| total == size)
        };
        if ContentRange::read(text).filter(fits).is_some() {
            return Ok(());
        }
        let text = shown(text);
        let why = format!("bytes {from} to {size} were asked for, and it sends {text:?}");
        Err(RequestError::protocol(why))
    }

    /// All of the answer's body, to the file's end.
    fn read(&self, mut answer: Answer<'_>, partial: &mut Partial<'_>) -> Result<(), RequestError> {
        let shared = self.session.shared;
        while let Some(piece) = answer.piece()? {
            shared.check()?;
            match partial.append(&piece) {
                Err(ContentError::TooLarge { .. }) => return Err(self.size("more".to_owned())),
                appended => appended?,
            }
            shared.progress.at(&self.wanted.digest, partial.bytes());
        }
        if partial.is_complete() {
            return Ok(());
        }
        Err(RequestError::Transport(
            crate::error::TransportError::Broken {
                cause: format!("{} of {} bytes came", partial.bytes(), self.wanted.size),
            },
        ))
    }

    fn size(&self, found: String) -> RequestError {
        RequestError::Size {
            found,
            wanted: self.wanted.size,
        }
    }
}
