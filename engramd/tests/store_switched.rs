//! Another cloud answers while a project is being mirrored to one, or told again what one lost: nobody said that it is to
//! go to the next (CUR-3).
#![expect(clippy::unwrap_used, reason = "tests")]

mod store_support;

use engramd_core::rows::Belonging;
use store_support::{CLOUD, Lab, at, observation, session, up};

const OTHER: &str = "cloud-2";

/// A store that pulled two rows and knows its cloud.
fn synced() -> Lab {
    let mut lab = Lab::new();
    lab.store.belonging(&lab.fence, CLOUD, at(0)).unwrap();
    lab.apply(vec![up(8, "session", session("s1", "/a", 0)), up(16, "observation", observation("o1", "s1", "one", 1))]);
    lab
}

impl Lab {
    fn greeted(&mut self, cloud: &str) -> Belonging {
        self.store.belonging(&self.fence, cloud, at(10)).unwrap()
    }

    fn slice(&mut self, cloud: &str) -> Belonging {
        let alpha = self.alpha.clone();
        self.store.remirror_slice(&self.fence, cloud, Some(&alpha), at(10), 1).unwrap()
    }
}

#[test]
fn cur_3_what_was_begun_for_one_cloud_does_not_go_on_for_another() {
    let mut lab = synced();
    let alpha = lab.alpha.clone();
    lab.store.remirror(&alpha).unwrap();
    assert!(lab.slice(CLOUD).due.contains(&alpha), "one of two rows is queued");
    let belonging = lab.greeted(OTHER);
    assert!(belonging.due.is_empty() && belonging.elsewhere.contains_key(&alpha), "{belonging:?}");
    // What is said before anybody answers there counts there.
    lab.greeted(CLOUD);
    lab.store.remirror(&alpha).unwrap();
    assert!(lab.greeted(OTHER).due.contains(&alpha));
}

/// A mirroring that was said for a server that did not answer does not happen at the next one that is logged in to.
#[test]
fn cur_3_what_was_said_for_one_server_does_not_count_at_another() {
    let mut lab = synced();
    let alpha = lab.alpha.clone();
    lab.store.asks("first").unwrap();
    lab.store.remirror(&alpha).unwrap();
    lab.store.asks("second").unwrap();
    let belonging = lab.greeted(OTHER);
    assert!(belonging.due.is_empty() && belonging.elsewhere.contains_key(&alpha), "{belonging:?}");
    // Back at the first, said again, and begun: what is said for the second then is what counts there.
    lab.store.asks("first").unwrap();
    lab.greeted(CLOUD);
    lab.store.remirror(&alpha).unwrap();
    assert!(lab.slice(CLOUD).due.contains(&alpha), "one of two rows is queued");
    lab.store.asks("second").unwrap();
    lab.store.remirror(&alpha).unwrap();
    assert!(lab.greeted(OTHER).due.contains(&alpha));
    while lab.slice(OTHER).due.contains(&alpha) {}
    assert!(!lab.greeted(OTHER).elsewhere.contains_key(&alpha), "it belongs there now");
    // The same cloud at another address is the one that was meant.
    lab.store.remirror(&alpha).unwrap();
    lab.store.asks("third").unwrap();
    assert!(lab.greeted(OTHER).due.contains(&alpha));
}

/// Nor does it at the server of before, where the one that it was said for never answered; and there it stands still.
#[test]
fn cur_3_what_was_said_for_a_server_that_never_answered_does_not_count_at_the_one_before() {
    let mut lab = synced();
    let alpha = lab.alpha.clone();
    lab.store.asks("second").unwrap();
    assert!(lab.greeted(OTHER).elsewhere.contains_key(&alpha));
    lab.store.asks("first").unwrap();
    lab.store.remirror(&alpha).unwrap();
    lab.store.asks("second").unwrap();
    let belonging = lab.greeted(OTHER);
    assert!(belonging.due.is_empty() && belonging.elsewhere.contains_key(&alpha), "{belonging:?}");
    // Said there, it counts there.
    lab.store.remirror(&alpha).unwrap();
    assert!(lab.greeted(OTHER).due.contains(&alpha));
}

#[test]
fn cur_3_a_cloud_that_lost_rows_is_not_followed_to_another_one_and_is_found_out_again() {
    let mut lab = synced();
    let alpha = lab.alpha.clone();
    assert!(lab.store.cloud_restored(&lab.fence, CLOUD).unwrap().restored);
    let belonging = lab.greeted(OTHER);
    assert!(belonging.due.is_empty() && !belonging.restored, "{belonging:?}");
    assert!(belonging.elsewhere.contains_key(&alpha));
    let again = lab.greeted(CLOUD);
    assert!(again.due.is_empty() && !again.restored && again.elsewhere.is_empty(), "{again:?}");
    assert!(lab.store.witness(CLOUD).unwrap().is_some(), "the next request names the lost row");
}
