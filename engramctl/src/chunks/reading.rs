//! Reading chunks' files, each checked before it is used; one that was refused is named again without being read again,
//! as long as it is the same file.

use super::content::Found;
use super::place::{Contents, Place};
use super::read;
use crate::clock;
use crate::exit::CtlError;
use engram_proto::chunk::ChunkId;
use engram_proto::ipc::chunks::RefusedFile;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A place whose chunks are read.
#[derive(Debug)]
pub(crate) struct Reading {
    place: Place,
    refused: Mutex<BTreeMap<String, RefusedFile>>,
}

impl Reading {
    /// Prepares to read the files of a place, of which nothing is known.
    pub(crate) fn at(place: &Place) -> Result<Self, CtlError> {
        Ok(Self { place: place.again()?, refused: Mutex::default() })
    }

    /// Learns which of the files that lie there were refused before.
    pub(crate) fn know(&self, refused: &[RefusedFile], contents: &Contents) {
        let there = refused.iter().filter(|file| contents.files.has(&file.id));
        self.refused().extend(there.map(|file| (file.id.clone(), file.clone())));
    }

    /// Reads a chunk into memory and checks it.
    pub(crate) fn checked(&self, id: &ChunkId) -> Result<Found, String> {
        self.checked_aloud(id, &mut |_| {})
    }

    /// Does the same, and calls a closure with how many of its rows were read, from time to time.
    pub(crate) fn checked_aloud(&self, id: &ChunkId, hears: &mut dyn FnMut(u64)) -> Result<Found, String> {
        let before = self.place.state(id, clock::unix_ns());
        if let Some(reason) = self.known(id, before.as_ref().map(|state| state.stamp.as_str())) {
            return Err(reason);
        }
        let packed = self.place.read(id).map_err(|fault| {
            self.refused().remove(id.as_str());
            fault.to_string()
        })?;
        match read::check_aloud(id, &packed, hears) {
            Ok(checked) => {
                self.refused().remove(id.as_str());
                Ok(Found { id: id.clone(), packed, checked })
            }
            Err(damage) => {
                let reason = damage.to_string();
                // What was read is what is there only where nothing changed meanwhile, nor just before.
                let same = before.filter(|state| {
                    state.has_rested && self.place.state(id, 0).is_some_and(|after| after.stamp == state.stamp)
                });
                let file =
                    same.map(|state| RefusedFile { id: id.to_string(), stamp: state.stamp, reason: reason.clone() });
                let mut refused = self.refused();
                refused.remove(id.as_str());
                // There may be as many as a directory has names; what is not kept is not gathered either.
                if let Some(file) = file.filter(|_| refused.len() < RefusedFile::KEPT_MAX) {
                    refused.insert(file.id.clone(), file);
                }
                Err(reason)
            }
        }
    }

    /// Says why a file was refused, if it is still the same.
    pub(crate) fn still_refused(&self, id: &ChunkId) -> Option<String> {
        self.known(id, self.place.state(id, 0).as_ref().map(|state| state.stamp.as_str()))
    }

    /// Lists what is to be kept as refused, where that is something else than what was.
    pub(crate) fn news(&self, before: &[RefusedFile]) -> Option<Vec<RefusedFile>> {
        let now: Vec<RefusedFile> = self.refused().values().cloned().collect();
        (now != before).then_some(now)
    }

    fn known(&self, id: &ChunkId, stamp: Option<&str>) -> Option<String> {
        let refused = self.refused();
        let file = refused.get(id.as_str()).filter(|file| Some(file.stamp.as_str()) == stamp);
        file.map(|file| file.reason.clone())
    }

    fn refused(&self) -> MutexGuard<'_, BTreeMap<String, RefusedFile>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
