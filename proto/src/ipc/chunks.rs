//! Chunk files, as client and daemon speak of them: the client reads and writes the files, with its caller's
//! permissions; the daemon says what is in them and what goes into one (chunks.md).

use serde::{Deserialize, Serialize};

/// Which list of a chunk a row stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ChunkPart {
    /// `sessions`
    Session,
    /// `observations`
    Observation,
    /// `prompts`
    Prompt,
    /// `mutations`
    Mutation,
}

impl ChunkPart {
    /// All of them, parents before children; the order in which they stand in a chunk.
    pub const ALL: [Self; 4] = [Self::Session, Self::Observation, Self::Prompt, Self::Mutation];

    /// Returns the name of the list.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "sessions",
            Self::Observation => "observations",
            Self::Prompt => "prompts",
            Self::Mutation => "mutations",
        }
    }
}

/// One row of a chunk, as its JSON text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRow {
    /// Where it stands.
    pub part: ChunkPart,
    /// What stands there.
    pub json: String,
}

/// What a client may ask about chunk files. A place is the absolute path of the directory with the manifest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ChunksRequest {
    /// Ask whether a place is as it was when everything there was known and in; see `Settle`.
    Settled {
        /// Where.
        place: String,
        /// What tells one state of the directory from another.
        stamp: String,
    },
    /// Keep that every chunk of a place in this state was applied, and is listed.
    Settle {
        /// Where.
        place: String,
        /// What tells one state of the directory from another.
        stamp: String,
    },
    /// Compare the files that lie at a place with what is known.
    Meet {
        /// Where.
        place: String,
        /// The ids of all files there, with a space between them: there may be many thousands.
        ids: String,
    },
    /// Keep which files of a place were read and refused, instead of what was kept of that before.
    Refuse {
        /// Where.
        place: String,
        /// Which.
        files: Vec<RefusedFile>,
    },
    /// Ask of which chunks the rows are wanted.
    Found {
        /// Where they were found.
        place: String,
        /// Which.
        chunks: Vec<ChunkName>,
        /// Whether their rows are to be applied, or only written down as being there.
        apply: bool,
    },
    /// Take rows of chunks; a large chunk comes in several parts, and many small ones at once.
    Rows {
        /// Where they were found.
        place: String,
        /// The rows.
        parts: Vec<ChunkRows>,
        /// Whether they are to be applied, or only written down as being there.
        apply: bool,
        /// Whether these are all rows of their chunks, of which it was not asked whether they are wanted.
        unasked: bool,
    },
    /// End an import: what still misses its session is applied under a stand-in, if every chunk was read.
    Imported {
        /// Where the chunks were found.
        place: String,
        /// Projects of which something was brought.
        projects: Vec<String>,
        /// Whether no chunk was missing, damaged or passed over.
        complete: bool,
        /// Where it is given, and nothing is held, the place is settled in this state; see `Settle`.
        stamp: Option<String>,
    },
    /// Say what is in no chunk at a place.
    Export {
        /// Where.
        place: String,
        /// One project; all where there is none.
        project: Option<String>,
        /// Where it is given, nothing is said unless the place is settled in this state; see `Settle`.
        stamp: Option<String>,
        /// Whether only to count.
        count_only: bool,
    },
    /// Keep the marks of an export whose files are written; where there are none, this needs not be said.
    Exported {
        /// Where.
        place: String,
        /// What came at its end.
        marks: Vec<ExportMark>,
    },
}

/// A chunk that was found at a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkName {
    /// Its file's id.
    pub id: String,
    /// The SHA-256 of its uncompressed bytes, 64 hex digits.
    pub hash: String,
}

/// Rows of a chunk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChunkRows {
    /// Which.
    pub of: ChunkName,
    /// Some of its rows.
    pub rows: Vec<ChunkRow>,
    /// Whether no more follow.
    pub last: bool,
}

/// Up to where an export read a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportMark {
    /// Of which project.
    pub project: String,
    /// Which list.
    pub list: String,
    /// Its last row.
    pub through: i64,
}

/// What the daemon answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ChunksReply {
    /// Which files are news.
    Met(ChunksMet),
    /// Whether a place is as it was.
    Settled(bool),
    /// Whether the rows are wanted, of each chunk in its order.
    Wanted(Vec<bool>),
    /// What became of rows.
    Taken(ChunkTaken),
    /// How an import ended.
    Imported(ChunksHeld),
    /// Rows for a chunk; an answer longer than a frame comes in several.
    Rows(Vec<ChunkRow>),
    /// The end of an export's rows.
    End(ExportEnd),
}

/// Which files at a place are news.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunksMet {
    /// Nothing is known of what is in them.
    pub unknown: Vec<String>,
    /// What is in them is known, but was not applied.
    pub unread: Vec<String>,
    /// What was kept as refused.
    pub refused: Vec<RefusedFile>,
    /// Whether a row of the chunks there is held; then `Imported` tells which.
    pub is_any_held: bool,
}

/// A file that was read to where it cannot be used, so that nobody has to do that again before it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedFile {
    /// The id that its name has.
    pub id: String,
    /// What the client tells one state of it from any other by.
    pub stamp: String,
    /// Why, in words.
    pub reason: String,
}

impl RefusedFile {
    /// So many of one place are kept, by their ids; whoever lays more of them has them read again.
    pub const KEPT_MAX: usize = 1_000;
}

/// What became of some rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkTaken {
    /// Rows read.
    pub rows: u64,
    /// Rows that changed what this device has.
    pub changed: u64,
    /// Rows queued for the cloud.
    pub queued: u64,
    /// The projects they belong to.
    pub projects: Vec<String>,
    /// Whether a row of the chunks at the place is held now; then `Imported` tells which.
    pub is_any_held: bool,
}

/// What of the chunks at a place is not in, after an import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunksHeld {
    /// How many of their rows are held, since this import or an earlier one.
    pub held: u64,
    /// The first of them, in words.
    pub named: Vec<String>,
}

/// What an export's rows were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportEnd {
    /// Whether nothing here is of the project that was named; then there is nothing else either.
    pub is_unknown: bool,
    /// To give back when the files are written.
    pub marks: Vec<ExportMark>,
    /// How many rows there were, in the order of [`ChunkPart::ALL`].
    pub rows: [u64; 4],
}
