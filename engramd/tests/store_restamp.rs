//! What was stamped by a clock that was days ahead is stamped again before it travels or meets another version
//! (merging.md, "Writing on a device"; CONV-3).
#![expect(clippy::unwrap_used, reason = "tests")]

mod store_support;

use engram_proto::id::ProjectName;
use engram_proto::ipc::request::{SaveRequest, UpdateRequest};
use engram_proto::merge::{ObservationVersion, Version};
use engram_proto::mutation::Entity;
use engram_proto::time::RowTime;
use engramd::memory::{self, Now};
use engramd::store::{Store, versions};
use engramd_core::rows::{BatchLimits, Clocks, Fence, LeaseOutcome, PendingRow};
use std::collections::BTreeMap;

const CLOUD_NOW: i64 = 1_795_435_200;
const WEEK: i64 = 7 * 86_400;

fn at(second: i64) -> RowTime {
    RowTime::from_unix_s(second).unwrap()
}

/// A device whose clock is a week ahead wrote a memory and edited it.
struct Ahead {
    store: Store,
    fence: Fence,
    project: ProjectName,
    id: String,
}

impl Ahead {
    fn new() -> Self {
        let mut store = Store::open_in_memory(at(CLOUD_NOW)).unwrap();
        let project = ProjectName::parse("p").unwrap();
        store.enroll(&project, at(CLOUD_NOW)).unwrap();
        let LeaseOutcome::Granted { fence, .. } = store.acquire_lease("me", CLOUD_NOW * 1_000, 60_000).unwrap() else {
            panic!("granted")
        };
        let request = SaveRequest {
            title: "t".to_owned(),
            project: "p".to_owned(),
            content: "c".to_owned(),
            directory: "/d".to_owned(),
            ..SaveRequest::default()
        };
        let ahead = Now { at: at(CLOUD_NOW + WEEK), random: [1; 8] };
        let id = memory::save(&mut store, &request, &ahead).unwrap().sync_id;
        let update = UpdateRequest { id: id.clone(), title: Some("u".to_owned()), ..UpdateRequest::default() };
        memory::update(&mut store, &update, &ahead).unwrap();
        Self { store, fence, project, id }
    }

    fn clocks() -> Clocks {
        Clocks { own: at(CLOUD_NOW + WEEK), cloud: Some(at(CLOUD_NOW)) }
    }

    fn batch(&mut self) -> Vec<PendingRow> {
        let limits = BatchLimits { rows_max: 10, body_bytes_max: 1 << 20 };
        self.store.pending_batch(&self.fence, &self.project, limits, Self::clocks()).unwrap().rows
    }

    fn row(&self) -> ObservationVersion {
        let found = |conn: &_| versions::row_version(conn, &self.project, Entity::Observation, &self.id);
        let Some(Version::Observation(version)) = self.store.read(found).unwrap() else { panic!("an observation") };
        version
    }
}

#[test]
fn conv_3_a_clock_that_was_a_week_ahead_wins_for_no_week() {
    let mut device = Ahead::new();
    let sent = device.batch();
    let times: Vec<_> = sent.iter().map(|row| (row.entity.as_str(), row.payload["project"].clone())).collect();
    assert_eq!(times.len(), 3, "the session, the memory and its edit");
    for row in &sent {
        let late = row.payload.values().filter_map(|value| RowTime::parse(value.as_str()?)).max();
        assert_eq!(late, Some(at(CLOUD_NOW)), "{row:?}");
    }
    let version = device.row();
    assert_eq!((version.key.time, version.key.revision), (Some(at(CLOUD_NOW)), 2));
    assert_eq!(version.body.0.clone().unwrap().title, "u", "the text is what it was");
    assert_eq!(version.created_at, Some(at(CLOUD_NOW)));
    assert_eq!((device.batch(), device.row()), (sent, version), "once is enough");
}

#[test]
fn conv_3_it_wins_over_nothing_that_comes_in_before_it_was_sent() {
    let mut device = Ahead::new();
    let mut payload = store_support::observation(&device.id, "s", "theirs", 0);
    payload["updated_at"] = at(CLOUD_NOW + 60).to_string().into();
    let rows = vec![
        store_support::row(1, "p", "session", "upsert", store_support::session("s", "/a", 0)),
        store_support::row(2, "p", "observation", "upsert", payload),
    ];
    let page = store_support::page(rows);
    device.store.apply_page(&device.fence, "c", &BTreeMap::new(), &page, Ahead::clocks()).unwrap();
    assert_eq!(device.row().body.0.unwrap().title, "theirs", "a minute by the cloud's clock is later");
}

#[test]
fn conv_3_what_autosync_pushed_of_it_comes_back_as_itself() {
    let mut device = Ahead::new();
    // The server stamped both at their receipt, and nobody read its answer; the first is no row of its own any more.
    let sql = "SELECT payload FROM sync_mutations WHERE entity = 'observation' ORDER BY seq DESC LIMIT 1";
    let edit = device.store.read(|conn| Ok(conn.query_row(sql, [], |row| row.get::<_, String>(0))?)).unwrap();
    let mut edit: serde_json::Value = serde_json::from_str(&edit).unwrap();
    for field in ["updated_at", "created_at", "last_seen_at"] {
        edit[field] = at(CLOUD_NOW - 5).to_string().into();
    }
    let session = edit["session_id"].as_str().unwrap().to_owned();
    let rows = vec![
        store_support::row(1, "p", "session", "upsert", store_support::session(&session, "/d", 0)),
        store_support::row(2, "p", "observation", "upsert", edit),
    ];
    device.store.apply_page(&device.fence, "c", &BTreeMap::new(), &store_support::page(rows), Ahead::clocks()).unwrap();
    let version = device.row();
    assert_eq!((version.key.time, version.key.revision), (Some(at(CLOUD_NOW - 5)), 2));
    assert!(
        device.batch().iter().all(|row| row.entity != "observation"),
        "what was written over it has nothing to say"
    );
}

#[test]
fn conv_3_what_is_stamped_again_beats_a_deletion_in_the_same_second() {
    let mut device = Ahead::new();
    let ahead = Now { at: at(CLOUD_NOW + WEEK), random: [1; 8] };
    memory::delete(&mut device.store, &device.id, false, &ahead).unwrap();
    let edit = "INSERT INTO sync_mutations (target_key, entity, entity_key, op, payload, source, project, occurred_at)
        SELECT target_key, entity, entity_key, op, json_set(payload, '$.revision_count', 3, '$.title', 'again'), source,
            project, occurred_at FROM sync_mutations WHERE entity = 'observation' AND op = 'upsert' ORDER BY seq DESC LIMIT 1";
    device.store.write(|tx| Ok(tx.execute(edit, [])?)).unwrap();
    let sent = device.batch();
    let version = |row: &PendingRow| Version::read(Entity::Observation, &row.entity_key, row.op, &row.payload).unwrap();
    let sent: Vec<_> = sent.iter().filter(|row| row.entity.as_str() == "observation").map(version).collect();
    assert_eq!(sent.len(), 4);
    assert!(sent.windows(2).all(|pair| pair[1].leads(&pair[0])), "{sent:?}");
}

#[test]
fn conv_3_a_cloud_whose_clock_was_set_back_lets_nothing_be_stamped_below_what_it_wrote_itself() {
    let mut device = Ahead::new();
    device.store.belonging(&device.fence, "c", at(CLOUD_NOW)).unwrap();
    let before = device.row().key.time;
    // Its clock is set back by a week between the first row and the second one.
    for (seq, wrote) in [(8, CLOUD_NOW + WEEK), (16, CLOUD_NOW)] {
        let session = store_support::session(&format!("s-{seq}"), "/a", 0);
        let mut row = store_support::row(seq, "p", "session", "upsert", session);
        row.occurred_at = at(wrote).rfc3339();
        let page = store_support::page(vec![row]);
        device.store.apply_page(&device.fence, "c", &BTreeMap::new(), &page, Ahead::clocks()).unwrap();
    }
    device.batch();
    assert_eq!(device.row().key.time, before, "the cloud may have it already, as it was");
}

/// Nor one whose clock is behind that of the cloud of before, which may have it too.
#[test]
fn conv_3_another_cloud_lets_nothing_be_stamped_below_what_the_one_before_wrote() {
    let mut device = Ahead::new();
    device.store.belonging(&device.fence, "c", at(CLOUD_NOW)).unwrap();
    let before = device.row().key.time;
    let mut row = store_support::row(8, "p", "session", "upsert", store_support::session("s", "/a", 0));
    row.occurred_at = at(CLOUD_NOW + WEEK).rfc3339();
    let page = store_support::page(vec![row]);
    device.store.apply_page(&device.fence, "c", &BTreeMap::new(), &page, Ahead::clocks()).unwrap();
    device.store.belonging(&device.fence, "d", at(CLOUD_NOW)).unwrap();
    device.batch();
    assert_eq!(device.row().key.time, before, "the cloud of before may have it already, as it was");
}

#[test]
fn conv_1_what_is_stamped_again_is_no_younger_than_it_was() {
    let mut device = Ahead::new();
    // A memory whose author's clock was two weeks ahead, and that is edited here.
    let mut theirs = store_support::observation("obs-theirs", "s", "theirs", 0);
    theirs["created_at"] = at(CLOUD_NOW + WEEK).to_string().into();
    theirs["updated_at"] = at(CLOUD_NOW + 2 * WEEK).to_string().into();
    let rows = vec![
        store_support::row(1, "p", "session", "upsert", store_support::session("s", "/a", 0)),
        store_support::row(2, "p", "observation", "upsert", theirs),
    ];
    device.store.apply_page(&device.fence, "c", &BTreeMap::new(), &store_support::page(rows), Ahead::clocks()).unwrap();
    let update = UpdateRequest { id: "obs-theirs".to_owned(), title: Some("v".to_owned()), ..UpdateRequest::default() };
    memory::update(&mut device.store, &update, &Now { at: at(CLOUD_NOW + WEEK), random: [2; 8] }).unwrap();
    let sent = device.batch();
    let edit = sent.iter().find(|row| row.entity_key == "obs-theirs").unwrap();
    let said = |field: &str| edit.payload[field].as_str().and_then(RowTime::parse);
    assert_eq!(said("updated_at"), Some(at(CLOUD_NOW + 2 * WEEK)), "it beats what it was made over");
    assert_eq!(said("created_at"), Some(at(CLOUD_NOW + WEEK)));
}
