//! What was stamped by a clock that was days ahead is stamped again before it travels (merging.md, "Writing on a
//! device"; CONV-3).
#![expect(clippy::unwrap_used, reason = "tests")]

use engram_proto::id::ProjectName;
use engram_proto::ipc::request::{SaveRequest, UpdateRequest};
use engram_proto::merge::Version;
use engram_proto::mutation::Entity;
use engram_proto::time::RowTime;
use engramd::memory::{self, Now};
use engramd::store::{Store, versions};
use engramd_core::rows::LeaseOutcome;

const CLOUD_NOW: i64 = 1_795_435_200;
const WEEK: i64 = 7 * 86_400;

fn at(second: i64) -> RowTime {
    RowTime::from_unix_s(second).unwrap()
}

#[test]
fn conv_3_a_clock_that_was_a_week_ahead_wins_for_no_week() {
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

    assert_eq!(store.restamp(&fence, at(CLOUD_NOW)).unwrap(), 3, "the session, the memory and its edit");
    let row = |store: &Store| {
        let found = store.read(|conn| versions::row_version(conn, &project, Entity::Observation, &id));
        let Some(Version::Observation(version)) = found.unwrap() else { panic!("an observation") };
        version
    };
    let version = row(&store);
    assert_eq!((version.key.time, version.key.revision), (Some(at(CLOUD_NOW)), 2));
    assert_eq!(version.body.0.unwrap().title, "u", "the text is what it was");
    assert_eq!(version.created_at, Some(at(CLOUD_NOW)));
    let again = store.restamp(&fence, at(CLOUD_NOW)).unwrap();
    assert_eq!((again, row(&store).key.time), (0, Some(at(CLOUD_NOW))), "once is enough");
}
