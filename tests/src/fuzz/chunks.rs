//! What is read of a shared repository: its manifest and its chunks (chunks.md 4 and 6).

use super::store::{self, at, project};
use engram_proto::canonical::Hash;
use engram_proto::chunk::{ChunkId, Manifest};
use engram_proto::ipc::chunks::{ChunkName, ChunkPart, ChunkRow, ChunkRows};
use engramctl::chunks::listing::Listing;
use engramctl::chunks::read::{self, Damage};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write as _;

/// How a file in the form of gzip begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Three manifests with a NUL between them, as the merge driver gets them: what both sides began with, and the sides.
pub(super) fn manifest(input: &[u8]) {
    let mut sides = input.split(|&byte| byte == 0).map(Listing::read);
    let [before, ours, theirs] = [(); 3].map(|()| sides.next().unwrap_or_default());
    for side in [&before, &ours, &theirs] {
        whole(side);
    }
    let united = Listing::unite(&before, &ours, &theirs);
    whole(&united);
    assert_eq!(united, Listing::unite(&before, &theirs, &ours), "whoever merges");
    for id in united.entries.ids() {
        assert!(ours.entries.has(id) || theirs.entries.has(id), "{id} is nobody's");
    }
    for id in ours.entries.ids().filter(|id| theirs.entries.has(id)) {
        assert!(united.entries.has(id), "{id} is on both sides");
    }
}

/// What was read is written so that it is read as the same, by us and by any reader of JSON.
fn whole(listing: &Listing) {
    let written = listing.entries.write();
    let again = Listing::read(written.as_bytes());
    assert_eq!((&again.broken, again.refused.len()), (&None, 0), "{written}");
    assert_eq!((again.entries.write(), &again.entries), (written.clone(), &listing.entries), "it is its own form");
    let manifest: Manifest = serde_json::from_str(&written).expect("a manifest");
    assert_eq!(manifest.chunks.len(), listing.entries.ids().count());
    for entry in manifest.chunks {
        assert!(ChunkId::is_one(&entry.id), "{:?} may be a path", entry.id);
        assert_eq!(listing.entries.get(&entry.id), Some(entry));
    }
}

/// A chunk's file where it begins like one, otherwise what is in it: refused, or taken row by row (ISO-3); twice is as
/// once.
pub(super) fn chunk(input: &[u8]) {
    let is_file = input.starts_with(&GZIP);
    let packed = if is_file { input.to_vec() } else { pack(input) };
    let mut rows = Vec::new();
    let read = read::rows(&packed, &ChunkPart::ALL, &mut |part, json| {
        rows.push(ChunkRow { part, json: json.to_owned() });
    });
    let id = ChunkId::of_bytes(input);
    let hash = match read::check(&id, &packed) {
        Ok(checked) => {
            let counted = checked.rows.iter().sum::<u64>();
            assert_eq!((read.is_ok(), rows.len() as u64), (true, counted), "both readings are one");
            checked.hash
        }
        Err(Damage::Hash(hash)) => {
            assert!(is_file && read.is_ok(), "what was packed has the hash of its name");
            hash
        }
        Err(Damage::Content(_)) => return assert!(read.is_err(), "both readings are one"),
    };
    let plain = Hash::from_hex(&hash).expect("a hash");
    assert!(is_file || id.names(&plain));
    let of = ChunkName { id: id.to_string(), hash };
    let parts = [ChunkRows { of, rows, last: true }];
    store::with_desk(|desk| {
        let mut take = |place| {
            let read = engramd::chunks::read_rows(place, &parts).expect("the hash is one");
            let taken = engramd::chunks::take(&mut desk.store, (place, true), &read, at());
            let taken = taken.expect("a row that cannot apply is that row's own fault");
            assert_eq!(taken.rows, parts[0].rows.len() as u64, "{taken:?}");
            desk.store.canonical_dump(&project()).expect("a dump")
        };
        let once = take("/here/.engram");
        assert_eq!(take("/there/.engram"), once, "IDEM-1");
        desk.books();
    });
}

fn pack(plain: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(plain).expect("into memory");
    packer.finish().expect("into memory")
}
