//! A device that talks to a Go server: the real adapter and the real transport, step by step; between two steps anything
//! may happen.

use super::device::Device;
use super::go_cloud::{Ask, Asked, Post};
use super::laws::Law;
use super::wire::Luck;
use super::world::{What, World};
use engramd::config::cloud::CloudConfig;
use engramd::peers::Remote;
use engramd::secret::Secret;
use engramd::store::{Job, Store, StoreHandle, StoreQueue};
use engramd::transport::{Carried, Transport};
use engramd_core::{Effect, Event};
use rand::RngExt as _;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The server's host, as devices name it.
pub(super) const HOST: &str = "go.example";

thread_local! {
    /// To make one costs more than a run.
    static TRANSPORT: Transport = transport();
}

fn transport() -> Transport {
    let config = CloudConfig {
        url: format!("https://{HOST}").parse().expect("a URL"),
        url_origin: "file",
        token: Secret::new("a token".to_owned()),
        token_origin: "file",
        allow_http: false,
    };
    Transport::new(config).expect("a transport")
}

/// A request of the machine's that is under way.
struct Task {
    is_pull: bool,
    future: Pin<Box<dyn Future<Output = Event>>>,
}

/// What a process says to a Go server.
pub(super) struct Talk {
    remote: Remote,
    posts: UnboundedReceiver<Carried>,
    queue: StoreQueue,
    tasks: Vec<Task>,
}

impl Talk {
    /// Begins as a process does.
    pub(super) fn new() -> Self {
        let (carrier, posts) = unbounded_channel();
        let (handle, queue) = StoreHandle::queued();
        let remote = Remote::over(TRANSPORT.with(|one| one.carried_by(carrier)), handle);
        Self { remote, posts, queue, tasks: Vec::new() }
    }

    /// Tells whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.tasks.is_empty()
    }

    fn begin(&mut self, effect: Effect) {
        let (remote, is_pull) = (self.remote.clone(), matches!(effect, Effect::Pull(_)));
        let future: Pin<Box<dyn Future<Output = Event>>> = match effect {
            Effect::Send { project, rows } => Box::pin(async move { Event::Sent(remote.push(&project, &rows).await) }),
            Effect::Pull(request) => Box::pin(async move { Event::Pulled(remote.pull(&request).await) }),
            _ => Box::pin(async move { Event::Probed(remote.probe().await) }),
        };
        self.tasks.push(Task { is_pull, future });
    }

    /// Goes on as far as it can: returns what ended, and what it asks of server and store.
    fn step(&mut self) -> (Vec<Event>, Vec<Carried>, Vec<Job<Store>>) {
        let (mut context, mut ended) = (Context::from_waker(Waker::noop()), Vec::new());
        self.tasks.retain_mut(|task| match task.future.as_mut().poll(&mut context) {
            Poll::Ready(event) => {
                ended.push(event);
                false
            }
            Poll::Pending => true,
        });
        let posts = std::iter::from_fn(|| self.posts.try_recv().ok()).collect();
        let jobs = std::iter::from_fn(|| self.queue.take()).collect();
        (ended, posts, jobs)
    }
}

impl World {
    /// Lets a device say something to the Go server.
    pub(super) fn talk(&mut self, at: usize, effect: Effect) {
        if let Some(talk) = &mut self.devices[at].talk {
            talk.begin(effect);
            self.go_on(at);
        }
    }

    /// Lets what a device says go on.
    pub(super) fn go_on(&mut self, at: usize) {
        let Some(talk) = &mut self.devices[at].talk else { return };
        let (ended, posts, jobs) = talk.step();
        for event in ended {
            let due_ms = self.now_ms + self.rng.random_range(0..=2);
            self.push(due_ms, at, What::Answer(0, event));
        }
        for job in jobs {
            let due_ms = self.devices[at].store_free_ms.max(self.now_ms) + self.rng.random_range(1..=5);
            self.devices[at].store_free_ms = due_ms;
            self.push(due_ms, at, What::Job(job));
        }
        for carried in posts {
            let ask = Ask::of(&carried.request);
            // What takes one request to our server takes several to this one.
            let trouble = if self.calm { 0 } else { self.climate.trouble.div_ceil(4) };
            let luck = Luck::draw(&mut self.rng, ask.asked, trouble);
            let draw = self.rng.random_range(0..100);
            if luck == Luck::Twice && ask.asked == Asked::Push {
                let repetition = Post { ask: ask.clone(), carried: None, luck: Luck::Fine, draw };
                let due_ms = self.now_ms + self.delay_ms() * 4;
                self.push(due_ms, at, What::Post(repetition));
            }
            let due_ms = self.now_ms + self.delay_ms();
            self.push(due_ms, at, What::Post(Post { ask, carried: Some(carried), luck, draw }));
        }
    }

    /// Lets a request of a device reach the Go server.
    pub(super) fn post(&mut self, at: usize, post: Post) {
        let Some(go) = &mut self.go else { return };
        let Post { ask, carried, luck, draw } = post;
        let answer = go.answer((&self.server, self.now_ms, at), &ask, (luck, draw));
        if luck != Luck::Fine {
            self.say(at, &format!("{luck:?} {:?}", ask.asked));
        }
        if let Some(Carried { answer: waits, .. }) = carried.filter(|carried| !carried.answer.is_closed()) {
            let due_ms = self.now_ms + answer.takes_ms + self.delay_ms();
            self.push(due_ms, at, What::Bring(waits, answer.told));
        }
    }

    /// Runs what the adapter wants of the store; the process may die in it.
    pub(super) fn job(&mut self, at: usize, job: Job<Store>) -> Result<(), Law> {
        let dies = self.draws_death();
        if dies {
            let commits = self.draws_commits();
            self.devices[at].fuse.burn(commits);
        }
        let device = &mut self.devices[at];
        job(&mut device.store);
        if dies || device.fuse.is_blown() {
            return self.crash(at);
        }
        self.go_on(at);
        Ok(())
    }

    /// Gives up the pull of a device that talks to the Go server, unless it ended already.
    pub(super) fn drop_pull(&mut self, at: usize) {
        let Some(talk) = &mut self.devices[at].talk else { return };
        let before = talk.tasks.len();
        talk.tasks.retain(|task| !task.is_pull);
        if talk.tasks.len() < before {
            self.push(self.now_ms, at, What::Answer(0, Event::PullCancelled));
        }
    }

    /// Tells whether nothing of a device is on its way to the Go server, or suspect there.
    pub(super) fn is_at_rest_there(&self, at: usize) -> bool {
        let Device { talk: Some(talk), store, .. } = &self.devices[at] else { return true };
        if !talk.is_idle() || self.coming.iter().any(|coming| coming.at == at) {
            return false;
        }
        let suspects = "SELECT NOT EXISTS (SELECT 1 FROM engramd_look WHERE cloud_id = ?1)";
        let cloud_id = self.cloud_id(at);
        let clear = store.read(|conn| Ok(conn.prepare_cached(suspects)?.query_row([cloud_id], |row| row.get(0))?));
        clear.expect("a look")
    }

    /// Returns the name by which a device knows its cloud now.
    pub(super) fn cloud_id(&self, at: usize) -> String {
        match &self.go {
            None => self.server.journal.disk().cloud_id.clone(),
            Some(_) => {
                let store = &self.devices[at].store;
                let generation = store.meta(&format!("go_generation:{HOST}")).expect("a look").unwrap_or_default();
                if generation.is_empty() { format!("go:{HOST}") } else { format!("go:{HOST}#{generation}") }
            }
        }
    }
}
