//! Worlds with another cloud, in which servers lose what they hold: whose user said what should be mirrored where, and
//! that nothing goes anywhere else (CUR-3).

use super::device::{Device, Job};
use super::excuses::{self, LostRows};
use super::laws::Law;
use super::server::{self, Mood, Server};
use super::world::{Coming, What, World};
use engram_proto::id::ProjectName;
use engramd::store::Store;
use engramd_core::classify::Fault;
use engramd_core::{Effect, Event};
use rand::RngExt as _;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Events in which everybody hears who answers.
const GREETING_EVENTS: usize = 200;

/// What devices were told, by their place.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// The cloud with which a device believes to speak, and the server at which it answered.
    heard: BTreeMap<usize, (String, &'static str)>,
    /// Where a project may be spoken of, of those that were there when another cloud greeted.
    places: BTreeMap<(usize, ProjectName), BTreeSet<String>>,
    /// Where somebody said that a project is to be mirrored to, as long as that is not done.
    said: BTreeMap<(usize, ProjectName), Meant>,
}

/// The server at which somebody said something, and the cloud that answered there.
#[derive(Debug)]
struct Meant {
    server: &'static str,
    cloud: Option<String>,
}

/// What a store says of clouds.
pub(super) struct Said {
    cloud_id: Option<String>,
    due: Vec<ProjectName>,
    not_begun: Vec<ProjectName>,
    /// Those that belong to another cloud than the one that answered last, or did so before.
    elsewhere: Vec<ProjectName>,
}

impl Said {
    /// Reads it.
    pub(super) fn by(store: &Store) -> Self {
        let not_begun = names(store, "engramd_remirror WHERE stage = 0 AND after = ''");
        let (due, elsewhere) = (names(store, "engramd_remirror"), names(store, "engramd_home"));
        Self { cloud_id: store.cloud_id().expect("a cloud"), due, not_begun, elsewhere }
    }

    /// Tells whether a project is to be mirrored already.
    pub(super) fn holds(&self, project: &ProjectName) -> bool {
        self.due.contains(project)
    }
}

impl Device {
    /// Returns what its store says of clouds; only our own commits change that.
    pub(super) fn said(&mut self) -> Rc<Said> {
        let commits = self.store.commits();
        match &self.said {
            Some((then, said)) if *then == commits => Rc::clone(said),
            _ => {
                let said = Rc::new(Said::by(&self.store));
                self.said = Some((commits, Rc::clone(&said)));
                said
            }
        }
    }
}

impl Words {
    /// Returns the cloud with which a device believes to speak.
    #[must_use]
    pub(super) fn heard(&self, at: usize) -> Option<&String> {
        self.heard.get(&at).map(|(cloud_id, _)| cloud_id)
    }

    /// CUR-3: nothing of a project is said to a cloud that it does not belong to.
    pub(super) fn cur_3(&self, at: usize, project: &ProjectName) -> Result<(), Law> {
        let (heard, place) = (self.heard(at), self.places.get(&(at, project.clone())));
        if place.is_none_or(|place| heard.is_some_and(|heard| place.contains(heard))) {
            return Ok(());
        }
        let what = format!("device {at} speaks to {heard:?} of {project}, which belongs to {place:?}");
        Err(Law::new("CUR-3", what))
    }

    /// Hears with which cloud a device believes to speak: what was said at its server, and is not begun, is meant for it.
    pub(super) fn believes(&mut self, at: usize, (cloud_id, server): (&str, &'static str), said: &Said) {
        self.heard.insert(at, (cloud_id.to_owned(), server));
        for project in &said.not_begun {
            let key = (at, project.clone());
            let Some(meant) = self.said.get_mut(&key).filter(|meant| meant.server == server) else { continue };
            meant.cloud = Some(cloud_id.to_owned());
            if let Some(place) = self.places.get_mut(&key) {
                place.insert(cloud_id.to_owned());
            }
        }
    }

    /// Compares what a store says after work on it with what it said before: something was mirrored, or another cloud answered.
    pub(super) fn hears(&mut self, at: usize, before: &Said, after: &Said, store: &Store) {
        let (Some(former), Some(cloud_id)) = (&before.cloud_id, &after.cloud_id) else { return };
        let is_over = |device: usize, project: &ProjectName| device == at && !after.due.contains(project);
        let over: Vec<_> = self.said.extract_if(.., |(device, project), _| is_over(*device, project)).collect();
        // What was begun for one that is left, or was meant for another server, was forgotten, and stays where it was.
        if former == cloud_id {
            for (key, _) in over.iter().filter(|((_, project), _)| !after.elsewhere.contains(project)) {
                self.places.entry(key.clone()).and_modify(|place| *place = [cloud_id.clone()].into());
            }
            return;
        }
        let named = "engramd_version UNION SELECT project FROM engramd_cursor UNION SELECT project FROM engramd_held";
        for project in store.enrolled().expect("enrolled").into_iter().chain(names(store, named)) {
            let key = (at, project);
            let is_meant = self.said.get(&key).is_some_and(|meant| meant.cloud.as_ref() == Some(cloud_id));
            let place = self.places.entry(key).or_insert_with(|| [former.clone()].into());
            place.extend(is_meant.then(|| cloud_id.clone()));
        }
    }

    fn says(&mut self, at: usize, project: &ProjectName, server: &'static str) {
        let key = (at, project.clone());
        let cloud = self.heard.get(&at).filter(|(_, answered)| *answered == server).map(|(cloud, _)| cloud.clone());
        if let (Some(cloud), Some(place)) = (&cloud, self.places.get_mut(&key)) {
            place.insert(cloud.clone());
        }
        self.said.insert(key, Meant { server, cloud });
    }
}

/// Lists projects by what tables name them.
fn names(store: &Store, whose: &str) -> Vec<ProjectName> {
    let names = store.read(|conn| {
        let mut statement = conn.prepare_cached(&format!("SELECT project FROM {whose}"))?;
        Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?)
    });
    names.expect("names").iter().filter_map(|name| ProjectName::parse(name).ok()).collect()
}

impl World {
    /// Returns a server by its place.
    #[must_use]
    pub(super) fn server_at(&self, cloud: usize) -> &Server {
        self.other.as_ref().filter(|_| cloud == 1).unwrap_or(&self.server)
    }

    /// The same, to change it.
    pub(super) fn server_at_mut(&mut self, cloud: usize) -> &mut Server {
        match &mut self.other {
            Some(other) if cloud == 1 => other,
            _ => &mut self.server,
        }
    }

    /// A user or an administrator moves something between clouds.
    pub(super) fn clouds_change(&mut self) -> Result<(), Law> {
        let at = self.rng.random_range(0..self.devices.len());
        let cloud = self.rng.random_range(0..2);
        let project = self.projects[self.rng.random_range(0..self.projects.len())].clone();
        match self.rng.random_range(0..10) {
            0..=3 => self.login(at, 1 - self.devices[at].cloud),
            4..=6 => self.remirror(at, &project),
            7..=9 if !self.may_lose_rows(cloud) => Ok(()),
            7 => {
                let lost = self.server_at_mut(cloud).empty();
                self.loses(at, cloud, "emptied", lost);
                Ok(())
            }
            8..=9 => {
                let (what, lost) = self.server_at_mut(cloud).back_up_or_restore();
                self.loses(at, cloud, what, lost);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Tells whether no page of what a server would lose is on its way where that would count as another one.
    pub(super) fn may_lose_rows(&self, cloud: usize) -> bool {
        let gives_numbers_again = self.go.is_none() && self.server_at(cloud).gives_numbers_again();
        !excuses::no_page_of_two_rows_with_one_number(gives_numbers_again, self.is_page_on_its_way(cloud))
    }

    /// Tells whether a page of a server is on its way to a device, or to its store.
    pub(super) fn is_page_on_its_way(&self, cloud: usize) -> bool {
        let is_page = |coming: &Coming| match &coming.what {
            What::Answer(of, Event::Pulled(Ok(_))) => *of == cloud,
            What::Work(Job::Effect(effect)) => matches!(**effect, Effect::Apply { .. }),
            _ => false,
        };
        self.coming.iter().any(is_page)
    }

    /// Writes down what a server lost.
    pub(super) fn loses(&mut self, at: usize, cloud: usize, what: &str, lost: LostRows) {
        self.say(at, &format!("sees server {cloud} {what}"));
        self.lost.extend(lost);
        self.is_restored |= what == "restored";
        // A server that ends takes the answers with it that are on their way.
        for coming in self.coming.iter_mut().filter(|_| what != "backed up") {
            if let What::Answer(of, event @ Event::Sent(Ok(_))) = &mut coming.what
                && *of == cloud
            {
                *event = Event::Sent(Err(server::lost(Fault::Answered)));
            }
        }
        // It takes time, in which its clock outruns every number that it gave.
        self.now_ms += 1;
        self.server_at(cloud).pass(self.now_ms);
        if self.may_not_be_behind(cloud) {
            let now_ms = self.now_ms;
            self.server_at_mut(cloud).catch_up(now_ms);
        }
    }

    fn login(&mut self, at: usize, cloud: usize) -> Result<(), Law> {
        self.devices[at].cloud = cloud;
        self.say(at, &format!("logs in to {}", self.server_at(cloud).host));
        self.reload(at)
    }

    pub(super) fn remirror(&mut self, at: usize, project: &ProjectName) -> Result<(), Law> {
        if !self.devices[at].store.enrolled().expect("enrolled").contains(project) {
            return Ok(());
        }
        self.say(at, &format!("mirrors {project}"));
        self.devices[at].store.remirror(project).expect("said");
        let server = self.server_at(self.devices[at].cloud).host;
        self.words.says(at, project, server);
        self.reload(at)
    }

    /// In the calm everybody comes to one cloud, and says that everything is to be mirrored there.
    pub(super) fn everybody_comes_to_one_cloud(&mut self) -> Result<(), Law> {
        let Some(other) = &mut self.other else { return Ok(()) };
        (other.mood, self.server.mood) = (Mood::Well, Mood::Well);
        other.ungranted.clear();
        self.projects.iter().for_each(|project| other.set_paused(project, false));
        // Go clients know the first one alone.
        if self.peers.is_empty() && self.rng.random_bool(0.5) {
            std::mem::swap(&mut self.server, other);
            self.devices.iter_mut().for_each(|device| device.cloud = 1 - device.cloud);
            self.swap_ways();
        }
        for at in 0..self.devices.len() {
            self.login(at, 0)?;
        }
        for _ in 0..GREETING_EVENTS {
            self.next()?;
            self.check()?;
        }
        for at in 0..self.devices.len() {
            for project in self.projects.clone() {
                self.remirror(at, &project)?;
            }
        }
        Ok(())
    }
}
