//! One watch: of the objects of one kind, in one namespace or in all.
//!
//! kube's watcher lists in pages, then watches from there, and goes on from where it was when a connection ends.
//! Here it gets its pauses after failures, and a new beginning where it would ask for the same again
//! and again: when the API server answers a watch with 410, because it no longer has what came since, or with
//! 504, because it is itself behind what was seen, as after a restore of its etcd.

use std::{fmt::Debug, pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _};
use kube::runtime::watcher::{self, watcher};
use serde::de::DeserializeOwned;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep},
};

use super::picture::{Change, Failure};
use crate::{
    config::Selector,
    kube_api::{Api, Watched},
    kubernetes::{
        known::{Event, Key},
        object::Object,
        refusal::{self, Asked},
    },
    remote_write::Backoff,
};

/// Time after which the API server ends a watch and it is begun anew, from where it was. A connection whose
/// other end has vanished is noticed a few seconds after that, at the latest.
const WATCH_S: u32 = 120;

/// Objects in one answer to a list, as other clients ask for them.
const PAGE_OBJECTS: u32 = 500;

/// Pauses after failures. What was found goes on meanwhile, and an API server that comes back with hundreds of
/// clients has enough to do.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Time without a failure after which the next one is the first again.
const CALM: Duration = Duration::from_secs(120);

/// How often files with credentials are looked at during a pause.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a watch tells.
#[derive(Debug)]
pub(super) struct Message {
    /// Which watch.
    pub(super) watch: usize,
    /// What.
    pub(super) news: News,
}

/// See [`Message`].
#[derive(Debug)]
pub(super) enum News {
    /// Something about its objects.
    Change(Change),
    /// It has begun, or goes on.
    Works,
    /// It cannot go on; it tries again.
    Failed(Failure),
}

/// A watch that is to be followed.
pub(super) struct Follower {
    api: Api,
    client: kube::Client,
    /// Told when the API server has agreed to a watch.
    begun: Arc<Notify>,
    watch: usize,
    namespace: Option<String>,
    config: watcher::Config,
    tell: mpsc::Sender<Message>,
}

type Events<T> = Pin<Box<dyn Stream<Item = watcher::Result<watcher::Event<Watched<T>>>> + Send>>;

/// What never comes: a watch has no end.
pub(super) enum Never {}

impl Follower {
    pub(super) fn new(
        api: &Api,
        watch: usize,
        namespace: Option<&str>,
        selector: &Selector,
        tell: mpsc::Sender<Message>,
    ) -> Self {
        let begun = Arc::new(Notify::new());
        let on_watch = Arc::clone(&begun);
        let config = watcher::Config {
            label_selector: selector.label.clone(),
            field_selector: selector.field.clone(),
            timeout: Some(WATCH_S),
            page_size: Some(PAGE_OBJECTS),
            ..watcher::Config::default()
        };
        Self {
            api: api.clone(),
            client: api.client(Some(Arc::new(move || on_watch.notify_one()))),
            begun,
            watch,
            namespace: namespace.map(str::to_owned),
            config,
            tell,
        }
    }

    /// Follows it for as long as it is polled. `value` makes of an object what is kept of it.
    pub(super) async fn follow<T, V>(
        self,
        value: impl Fn(T) -> V,
        change: impl Fn(Event<V>) -> Change,
    ) -> Never
    where
        T: Object + DeserializeOwned + Clone + Debug + Send + 'static,
    {
        let mut events = self.events::<T>();
        let mut pauses = Pauses::new();
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = self.begun.notified() => {
                    self.tell(News::Works).await;
                    continue;
                }
            };
            match event {
                Some(Ok(event)) => {
                    self.tell(News::Change(change(translated(event, &value)))).await;
                }
                Some(Err(error)) => {
                    let trouble = Trouble::of(&error);
                    if trouble == Trouble::Expired {
                        events = self.events();
                    }
                    if trouble == Trouble::Failed {
                        let failure = self.failure::<T>(&error);
                        self.tell(News::Failed(failure)).await;
                    }
                    self.pause(pauses.next(retry_after(&error))).await;
                }
                None => events = self.events(),
            }
        }
    }

    fn events<T>(&self) -> Events<T>
    where
        T: Object + DeserializeOwned + Clone + Debug + Send + 'static,
    {
        let client = self.client.clone();
        let api: kube::Api<Watched<T>> = match &self.namespace {
            Some(namespace) => kube::Api::namespaced(client, namespace),
            None => kube::Api::all(client),
        };
        watcher(api, self.config.clone()).boxed()
    }

    /// Waits, but no longer than until a token or certificate in a file is another.
    async fn pause(&self, pause: Duration) {
        let credentials = self.api.credentials();
        let end = Instant::now() + pause;
        while Instant::now() < end && self.api.credentials() == credentials {
            sleep(LOOK_EVERY.min(end - Instant::now())).await;
        }
    }

    async fn tell(&self, news: News) {
        // Who listens lives as long as this is polled.
        let _heard = self.tell.send(Message { watch: self.watch, news }).await;
    }

    fn failure<T: Object>(&self, error: &watcher::Error) -> Failure {
        let verb = match error {
            watcher::Error::InitialListFailed(_) => "list",
            _ => "watch",
        };
        let namespace = self.namespace.as_deref();
        let asked = Asked { verb, group: T::GROUP, resource: T::RESOURCE, namespace };
        match status(error) {
            Some((code, said)) => Failure {
                why: refusal::words(&asked, code, said),
                is_final: refusal::is_final(code),
            },
            None => Failure { why: format!("cannot {asked}: {}", chain(error)), is_final: false },
        }
    }
}

/// The pauses between tries.
struct Pauses {
    backoff: Backoff,
    last: Option<Instant>,
}

impl Pauses {
    fn new() -> Self {
        let backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX).expect("a second is less than thirty");
        Self { backoff, last: None }
    }

    fn next(&mut self, retry_after: Option<Duration>) -> Duration {
        let now = Instant::now();
        if self.last.replace(now).is_some_and(|last| now - last > CALM) {
            self.backoff.reset();
        }
        self.backoff.next_delay(fastrand::f64(), retry_after.map(|after| after.min(PAUSE_MAX)))
    }
}

fn translated<T: Object, V>(
    event: watcher::Event<Watched<T>>,
    value: &impl Fn(T) -> V,
) -> Event<V> {
    let key = |object: &T| -> Key {
        let meta = object.meta();
        (meta.namespace.as_str().into(), meta.name.as_str().into())
    };
    match event {
        watcher::Event::Init => Event::Begin,
        watcher::Event::InitApply(Watched { object, .. }) => {
            Event::Listed(key(&object), value(object))
        }
        watcher::Event::InitDone => Event::Complete,
        watcher::Event::Apply(Watched { object, .. }) => {
            Event::Changed(key(&object), value(object))
        }
        watcher::Event::Delete(Watched { object, .. }) => Event::Gone(key(&object)),
    }
}

/// What the API server answered, if it did: HTTP status and words.
fn status(error: &watcher::Error) -> Option<(u16, &str)> {
    answer(error).map(|status| (status.code, &*status.message))
}

/// How long a busy API server wants to be left alone.
fn retry_after(error: &watcher::Error) -> Option<Duration> {
    let details = answer(error)?.details.as_ref()?;
    Some(Duration::from_secs(details.retry_after_seconds.into()))
}

fn answer(error: &watcher::Error) -> Option<&kube::core::Status> {
    match error {
        watcher::Error::WatchError(status)
        | watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => Some(status),
        _ => None,
    }
}

/// What an error of a watch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// The watch cannot go on where it was; everything is listed again, which happens.
    Expired,
    /// Its connection has ended, which happens when the API server or something in between is restarted.
    /// When it cannot be begun again, that is told.
    Broken,
    /// It cannot go on for now, and people should know.
    Failed,
}

impl Trouble {
    fn of(error: &watcher::Error) -> Self {
        let code = status(error).map(|(code, _)| code);
        match (error, code) {
            (_, Some(410)) => Self::Expired,
            (watcher::Error::WatchStartFailed(_) | watcher::Error::WatchError(_), Some(504)) => {
                Self::Expired
            }
            (watcher::Error::WatchFailed(kube::Error::SerdeError(_)), None) => Self::Failed,
            (watcher::Error::WatchFailed(_), None) => Self::Broken,
            _ => Self::Failed,
        }
    }
}

/// What lies below kube's own words, which only say that a request has failed.
fn chain(error: &watcher::Error) -> String {
    let below = match error {
        watcher::Error::InitialListFailed(below)
        | watcher::Error::WatchStartFailed(below)
        | watcher::Error::WatchFailed(below) => std::error::Error::source(below).unwrap_or(below),
        other => other,
    };
    let mut words = below.to_string().replace("ServiceError: ", "");
    let mut next = below.source();
    while let Some(error) = next {
        let more = error.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        next = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_error_of_a_watch_is() {
        use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
        let answered = |code: u16| {
            let status = serde_json::json!({"status": "Failure", "code": code, "message": "m"});
            Box::new(serde_json::from_value::<kube::core::Status>(status).unwrap())
        };
        let api = |code| kube::Error::Api(answered(code));
        let broken = || kube::Error::ReadEvents(std::io::ErrorKind::UnexpectedEof.into());
        let refused = || kube::Error::Service("refused".into());
        let no_json = || kube::Error::SerdeError(serde_json::from_str::<u8>("x").unwrap_err());
        for (error, expect) in [
            (WatchError(answered(410)), Trouble::Expired),
            (WatchStartFailed(api(410)), Trouble::Expired),
            (WatchStartFailed(api(504)), Trouble::Expired),
            (WatchError(answered(500)), Trouble::Failed),
            (WatchStartFailed(api(403)), Trouble::Failed),
            (InitialListFailed(api(410)), Trouble::Expired),
            (InitialListFailed(api(504)), Trouble::Failed),
            (WatchFailed(broken()), Trouble::Broken),
            (WatchFailed(no_json()), Trouble::Failed),
            (WatchStartFailed(refused()), Trouble::Failed),
        ] {
            assert_eq!(Trouble::of(&error), expect, "{error:?}");
        }
        assert_eq!(chain(&WatchStartFailed(refused())), "refused");
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_begin_anew_after_a_calm() {
        let mut pauses = Pauses::new();
        let longest = (0..20).map(|_| pauses.next(None)).max().unwrap();
        assert!(longest > PAUSE_MIN * 4 && longest <= PAUSE_MAX, "{longest:?}");
        tokio::time::advance(CALM).await;
        assert!(pauses.next(Some(PAUSE_MAX)) > PAUSE_MAX, "asked for by the server");
        tokio::time::advance(CALM * 2).await;
        assert!(pauses.next(None) <= PAUSE_MIN * 2, "the first again");
    }
}
