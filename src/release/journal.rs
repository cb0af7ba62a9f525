//! What a deploy was about to change, as it was before: enough to put it back after a crash at any moment.
//!
//! A journal is stored in parts; the header is stored last and names their number and hash, so that a journal without a
//! header does not exist.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{Digest, ObjectKey};

/// A Secret holds a mebibyte; this leaves room for everything around it.
const PART: usize = 768 << 10;
const VERSION: u32 = 1;
/// No journal unpacks to more than this: a million objects would not.
const LARGEST: u64 = 1 << 30;

/// Objects as they were before a deploy changed them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    /// Name of the release that was being deployed.
    pub release: String,
    /// One for each object that was to change, in the order in which they were to be written.
    pub entries: Vec<Entry>,
}

/// An object before the deploy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Which.
    pub object: ObjectKey,
    /// How it was; `None` when it did not exist.
    pub before: Option<Before>,
    /// The deploy deletes it.
    #[serde(default)]
    pub deleted: bool,
}

/// An object that existed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Before {
    /// Its uid: an object that was made anew meanwhile is somebody else's.
    pub uid: String,
    /// The fields that were owned, or were to be, with their values: what has to be applied to get them back.
    pub body: Value,
}

/// What makes a journal of its parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    version: u32,
    /// Name of the release.
    pub release: String,
    /// How many parts there are.
    pub parts: usize,
    /// Of all parts, one behind the other.
    pub hash: Digest,
}

/// Why stored parts are no journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damaged {
    /// Written by a newer program.
    Version,
    /// Parts are missing or changed.
    Content,
}

impl Header {
    /// Reads a stored header.
    ///
    /// # Errors
    /// When it was written by a newer program, or is none.
    pub fn read(text: &[u8]) -> Result<Self, Damaged> {
        let value: Value = serde_json::from_slice(text).map_err(|_| Damaged::Content)?;
        match value["version"].as_u64() {
            Some(version) if version > u64::from(VERSION) => Err(Damaged::Version),
            _ => serde_json::from_value(value).map_err(|_| Damaged::Content),
        }
    }
}

impl Journal {
    /// The header, and the parts to store before it.
    pub fn pack(&self) -> (Header, Vec<Vec<u8>>) {
        let text = serde_json::to_vec(self).expect("a journal is JSON");
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        packer.write_all(&text).expect("memory takes it");
        let packed = packer.finish().expect("memory takes it");
        let parts: Vec<Vec<u8>> = packed.chunks(PART).map(<[u8]>::to_vec).collect();
        let hash = Digest::of(&packed);
        (Header { version: VERSION, release: self.release.clone(), parts: parts.len(), hash }, parts)
    }

    /// The journal that `header` and `parts` were made from.
    ///
    /// # Errors
    /// When they do not belong together.
    pub fn unpack(header: &Header, parts: &[Vec<u8>]) -> Result<Self, Damaged> {
        let packed = parts.concat();
        if parts.len() != header.parts || Digest::of(&packed) != header.hash {
            return Err(Damaged::Content);
        }
        let mut text = Vec::new();
        let read = GzDecoder::new(packed.as_slice()).take(LARGEST).read_to_end(&mut text);
        read.ok().and_then(|_| serde_json::from_slice(&text).ok()).ok_or(Damaged::Content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn journal(objects: usize) -> Journal {
        let entry = |number: usize| {
            // What looks random does not shrink.
            let mut state = number as u64 * 2 + 1;
            let mut next = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                char::from(b' ' + (state % 90) as u8)
            };
            let text: String = (0..8000).map(|_| next()).collect();
            Entry {
                object: ObjectKey {
                    api_version: "v1".into(),
                    kind: "ConfigMap".into(),
                    namespace: Some("shop".into()),
                    name: number.to_string(),
                },
                before: number
                    .is_multiple_of(2)
                    .then(|| Before { uid: "u".into(), body: json!({"data": {"a": text}}) }),
                deleted: false,
            }
        };
        Journal { release: "d3708e6".into(), entries: (0..objects).map(entry).collect() }
    }

    #[test]
    fn a_journal_survives_its_parts_and_no_part_is_too_large() {
        for objects in [0, 1, 300] {
            let (header, parts) = journal(objects).pack();
            assert_eq!(header.parts, parts.len());
            assert!(parts.iter().all(|part| part.len() <= PART));
            assert_eq!(Journal::unpack(&header, &parts), Ok(journal(objects)));
        }
        assert!(journal(300).pack().1.len() > 1);
    }

    #[test]
    fn what_is_not_whole_is_no_journal() {
        let (header, mut parts) = journal(3).pack();
        assert_eq!(Journal::unpack(&header, &[]), Err(Damaged::Content));
        assert_eq!(Header::read(&serde_json::to_vec(&header).expect("JSON")), Ok(header.clone()));
        assert_eq!(Header::read(br#"{"version": 2, "other": []}"#), Err(Damaged::Version));
        assert_eq!(Header::read(b"nonsense"), Err(Damaged::Content));
        parts[0][10] ^= 1;
        assert_eq!(Journal::unpack(&header, &parts), Err(Damaged::Content));
    }
}
