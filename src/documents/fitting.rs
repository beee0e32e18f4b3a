//! Checks whether the Documents of a stream fit a schema, before any of them is sent.

use std::fmt;
use std::path::PathBuf;

use rayon::prelude::*;

use super::{DocumentError, Documents, is_captured, text_bytes};
use crate::wire::{Misfit, Schema};

/// The most Documents of a data set that are checked: a second or two of work.
const ENTRIES_MAX: u64 = 1_000_000;

/// The most Documents of a generator that are checked; usually either the first is wrong or none.
const GENERATED_MAX: u64 = 10_000;

/// The most bytes of Documents that are checked.
const BYTES_MAX: u64 = 1 << 30;

/// Documents that are checked together, on all cores, and their maximum size in bytes.
const CHUNK: u64 = 4096;
const CHUNK_BYTES: u64 = 32 << 20;

/// The first Document of a stream that does not fit a schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Unfit {
    /// Which Document, from 0.
    pub index: u64,
    /// The entry of the data set that it was made from, if there is one.
    pub entry: Option<EntryPlace>,
    /// What does not fit.
    pub misfit: Misfit,
}

/// The position of an entry of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryPlace {
    /// The file.
    pub path: PathBuf,
    /// Which of its entries.
    pub at: EntryAt,
}

/// How an entry of a file is identified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryAt {
    /// By the line on which it begins, from 1.
    Line(u64),
    /// By its number, from 1.
    Number(u64),
    /// The whole file.
    Whole,
}

impl fmt::Display for EntryPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.path.display())?;
        match self.at {
            EntryAt::Line(line) => write!(f, " line {line}"),
            EntryAt::Number(number) => write!(f, " Document {number}"),
            EntryAt::Whole => Ok(()),
        }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.entry, self.index) {
            (Some(entry), _) => write!(f, "{entry}: ")?,
            // The first Document tells nothing about the others.
            (None, 0) => (),
            (None, index) => write!(f, "Document {index}: ")?,
        }
        self.misfit.fmt(f)
    }
}

impl Documents {
    /// The first Document that does not fit a schema. `sent`: how many will be sent, if known. Of a large
    /// number only the first are checked; those that depend on captured values cannot be.
    pub(crate) fn first_unfit(&self, schema: &Schema, sent: Option<u64>) -> Option<Unfit> {
        if schema.is_default() || self.paths().into_iter().any(is_captured) {
            return None;
        }
        let most = if self.inner.data.is_some() { ENTRIES_MAX } else { GENERATED_MAX };
        let most = if self.is_constant() { 1 } else { most };
        let end = [sent, self.inner.count].into_iter().flatten().fold(most, u64::min);
        let arrays = self.inner.fields.largest().0 as u64;
        let fit = |index: u64| -> Result<(u64, Option<Unfit>), DocumentError> {
            let mut document = self.get(index, None)?;
            let bytes = arrays + text_bytes(&document);
            let misfit = schema.fit(&mut document).err();
            let unfit = misfit.map(|misfit| Unfit { index, entry: self.entry(index), misfit });
            Ok((bytes, unfit))
        };
        let (mut next, mut chunk, mut looked_at) = (0, 1, 0u64);
        while next < end && looked_at < BYTES_MAX {
            let upto = end.min(next + chunk);
            let found: Vec<_> = (next..upto).into_par_iter().map(fit).collect();
            let mut longest = 1;
            for found in found {
                // One that cannot be generated is reported when it is needed.
                let Ok((bytes, unfit)) = found else { continue };
                if unfit.is_some() {
                    return unfit;
                }
                longest = bytes.max(longest);
                looked_at = looked_at.saturating_add(bytes);
            }
            next = upto;
            chunk = (CHUNK_BYTES / longest).clamp(1, CHUNK);
        }
        None
    }

    /// The position of the entry that a Document is made from.
    fn entry(&self, index: u64) -> Option<EntryPlace> {
        let data = self.inner.data.as_ref()?;
        Some(data.place(index, self.inner.count.unwrap_or(data.len())))
    }
}
