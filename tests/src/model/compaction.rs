//! Compaction of the model: the rules of the walks, without their places.

use super::ModelJournal;
use engram_cloud::journal::admit::{Admission, Facts, Name};
use engram_cloud::journal::compaction::{Again, Compacted, Passed, Retention, STEP_CONTENTS, Walk, due, shows_again};
use engram_proto::merge::Version;
use engram_proto::mutation::Entity;
use std::collections::{BTreeMap, BTreeSet};

impl ModelJournal {
    /// Takes all contents away that stayed long enough.
    pub fn compact_now(&self, retention: &Retention) -> Compacted {
        let now_us = self.now_us();
        let mut disk = self.disk();
        let mut gone = BTreeSet::new();
        for walk in Walk::ALL {
            let until_us = walk.until_us(retention, now_us);
            let passed = disk.rows.iter().filter(|row| row.occurred_at_us() <= until_us);
            let passed: Vec<Passed> = passed.map(|row| row.passed()).collect();
            for (name, before) in due(walk, &passed) {
                let Some(head) = disk.head_at(&name) else { continue };
                let before = disk.rows[head].seq.min(before.unsigned_abs());
                let is_older = |&at: &usize| {
                    let row = disk.rows[at].as_ref();
                    row.name == name && row.seq < before && row.is_upsert() && !row.is_compacted
                };
                gone.extend((0..disk.rows.len()).filter(is_older));
            }
        }
        let has_more = gone.len() > STEP_CONTENTS;
        let gone: Vec<usize> = gone.into_iter().take(STEP_CONTENTS).collect();
        let memories: BTreeSet<Name> = gone.iter().map(|&at| disk.rows[at].name.clone()).collect();
        gone.iter().for_each(|&at| disk.compact(at));
        let mut again = BTreeMap::new();
        for memory in memories.iter().filter(|name| name.entity == Entity::Observation.as_str()) {
            let first = disk.rows_of(memory).find(|row| row.is_upsert() && !row.is_compacted);
            let first = first.map(|row| row.seq.cast_signed());
            let names = |version: &Version| {
                matches!(version, Version::Relation(relation)
                if relation.source_id == memory.key || relation.target_id == memory.key)
            };
            let relations = disk.heads().filter(|row| row.version.as_ref().is_some_and(names));
            let relations: Vec<_> = relations.map(|row| (row.name.clone(), row.seq.cast_signed())).collect();
            for (relation, seq) in relations {
                match shows_again(seq, first) {
                    Some(Again::Now) => drop(again.insert(relation, None)),
                    Some(Again::WhenItComes) => disk.wait_for(&memory.key, relation),
                    None => {}
                }
            }
        }
        let names: Vec<Name> = again.keys().cloned().collect();
        let facts = disk.answer(Facts { heads: again, ..Facts::default() }, &[]);
        let mut admission = Admission::new(facts, now_us);
        names.iter().for_each(|name| admission.show_again(name));
        let changes = admission.changes();
        let touched = changes.touched();
        disk.write(changes);
        drop(disk);
        self.wake(&touched);
        Compacted { contents: gone.len(), has_more }
    }
}
