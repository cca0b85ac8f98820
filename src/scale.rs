//! Of how many relays this one is, when that is a StatefulSet's to say: watches it, and tells the count.
//!
//! ```text
//!   Kubernetes API -- watch of one StatefulSet --> Replicas --> shard::count --> counts() --> the relay's targets
//! ```
//!
//! Only the StatefulSet itself is watched: two numbers of one object say all that is needed, to every relay alike, and the right to
//! read one object by its name is the least there is. Without the API the relay goes on with the number that it
//! knows; one that starts is not ready before it has heard of it, for it would scrape what others scrape.

use std::{
    pin::{Pin, pin},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{Stream, StreamExt as _};
use tokio::{sync::watch, time::sleep};
use tracing::{info, warn};

use crate::shard::{
    Member, Shard,
    count::{Count, Replicas},
};

pub mod statefulset;

/// What is known of the StatefulSet, and who wants to hear of it.
#[derive(Debug, Default)]
pub struct Scale {
    state: Mutex<State>,
    members: watch::Sender<Option<Member>>,
    counts: watch::Sender<Option<u32>>,
}

/// One word of whoever watches a StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// The StatefulSet as it is now.
    Replicas(Replicas),
    /// It cannot be watched, or is not there; it is tried again.
    Trouble(String),
}

/// How it is, for people and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaleState {
    /// The StatefulSet, and which of its pods this is.
    pub member: Member,
    /// What the StatefulSet said last.
    pub replicas: Option<Replicas>,
    /// The number of relays that this one goes by.
    pub count: Option<u32>,
    /// Why the StatefulSet cannot be watched now.
    pub trouble: Option<String>,
    /// How often it could not.
    pub failures: u64,
}

#[derive(Debug, Default)]
struct State {
    followed: Option<(Member, Count)>,
    replicas: Option<Replicas>,
    trouble: Option<String>,
    failures: u64,
}

impl Scale {
    /// Goes by this StatefulSet from now on, or by none. One that is followed already is followed on.
    pub fn follow(&self, member: Option<&Member>) {
        let mut state = self.state();
        if state.followed.as_ref().map(|(member, _)| member) == member {
            return;
        }
        let followed = member.map(|member| (member.clone(), Count::new(member.index)));
        *state = State { followed, failures: state.failures, ..State::default() };
        drop(state);
        self.counts.send_replace(None);
        self.members.send_replace(member.cloned());
    }

    /// The part of the targets that is this relay's, when the StatefulSet decides that.
    pub fn part(&self) -> Option<Shard> {
        self.state().followed.as_ref().map(|(member, count)| member.part(count.known()))
    }

    /// Told each time the count changes.
    pub fn counts(&self) -> watch::Receiver<Option<u32>> {
        self.counts.subscribe()
    }

    /// How it is; `None` when no StatefulSet decides anything.
    pub fn look(&self) -> Option<ScaleState> {
        let state = self.state();
        let (member, count) = state.followed.clone()?;
        Some(ScaleState {
            member,
            replicas: state.replicas,
            count: count.known(),
            trouble: state.trouble.clone(),
            failures: state.failures,
        })
    }

    /// Watches whatever is to be followed, for as long as it is polled. `open` begins to watch: a stream
    /// that never ends and goes on by itself after each [`Word::Trouble`].
    pub async fn run<S: Stream<Item = Word>>(&self, open: impl Fn(Member) -> S) {
        let mut members = self.members.subscribe();
        loop {
            let member = members.borrow_and_update().clone();
            let following = async {
                match member {
                    Some(member) => self.listen(pin!(open(member))).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Ok(()) = members.changed() => {}
                () = following => {}
            }
        }
    }

    async fn listen(&self, mut words: Pin<&mut impl Stream<Item = Word>>) {
        let early = async {
            while let Some(word) = words.next().await {
                self.hear(word, false);
            }
        };
        tokio::select! {
            () = early => return,
            () = sleep(PATIENCE) => {}
        }
        // Whoever waits for others that do not come goes by what there is.
        let last = self.state().replicas;
        if let Some(replicas) = last {
            self.hear(Word::Replicas(replicas), true);
        }
        while let Some(word) = words.next().await {
            self.hear(word, true);
        }
    }

    fn hear(&self, word: Word, is_patience_over: bool) {
        let mut state = self.state();
        let state = &mut *state;
        let Some((member, count)) = &mut state.followed else { return };
        let statefulset = &member.statefulset;
        let replicas = match word {
            Word::Replicas(replicas) => replicas,
            Word::Trouble(trouble) => {
                state.failures += 1;
                if state.trouble.as_ref() != Some(&trouble) {
                    let relays = count.known();
                    warn!(%statefulset, relays, %trouble,
                        "the StatefulSet of the relays cannot be watched; the number of relays stays as it is");
                }
                state.trouble = Some(trouble);
                return;
            }
        };
        if state.trouble.take().is_some() {
            info!(%statefulset, "the StatefulSet of the relays is watched again");
        }
        state.replicas = Some(replicas);
        let before = count.known();
        if count.observe(replicas, is_patience_over) {
            let (Replicas { wanted, ready }, relays) = (replicas, count.known());
            info!(%statefulset, wanted, ready, before, relays, "the number of relays has changed");
            self.counts.send_replace(relays);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a relay that starts waits for others to be ready, before it goes by those that are. A pod takes
/// some seconds to begin and five more until Kubernetes has noticed.
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use futures_util::stream;
    use tokio::{
        sync::mpsc::{self, channel},
        task::yield_now,
    };

    use super::*;

    fn member(index: u32) -> Member {
        Member { statefulset: "relay".to_owned(), index }
    }

    const fn replicas(wanted: u32, ready: u32) -> Word {
        Word::Replicas(Replicas { wanted, ready })
    }

    /// Runs `talk` beside a watch whose words it says.
    async fn with_watch(scale: &Scale, talk: impl AsyncFnOnce(&mpsc::Sender<Word>)) {
        let (say, heard) = channel(4);
        let heard: RefCell<Option<mpsc::Receiver<Word>>> = RefCell::new(Some(heard));
        let watching = scale.run(|_| {
            let heard = heard.borrow_mut().take();
            let words = stream::unfold(heard, async |heard| {
                let mut heard = heard?;
                Some((heard.recv().await?, Some(heard)))
            });
            words.chain(stream::pending())
        });
        tokio::select! {
            () = watching => unreachable!("it goes on for ever"),
            () = talk(&say) => {}
        }
    }

    async fn settle() {
        for _ in 0..20 {
            yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_count_follows_the_statefulset_and_trouble_changes_nothing() {
        let scale = Scale::default();
        assert_eq!((scale.part(), scale.look()), (None, None));
        scale.follow(Some(&member(1)));
        assert_eq!(scale.part(), Some(member(1).part(None)));
        let mut counts = scale.counts();
        with_watch(&scale, async |say| {
            let mut check = async |word: Word, expect: Option<u32>, is_new: bool| {
                say.try_send(word.clone()).unwrap();
                settle().await;
                assert_eq!(scale.part(), Some(member(1).part(expect)), "{word:?}");
                assert_eq!(counts.has_changed().unwrap(), is_new, "{word:?}");
                assert_eq!(*counts.borrow_and_update(), expect);
            };
            check(Word::Trouble("no answer".to_owned()), None, false).await;
            check(replicas(3, 2), Some(3), true).await;
            check(replicas(3, 3), Some(3), false).await;
            check(Word::Trouble("gone".to_owned()), Some(3), false).await;
            check(replicas(5, 3), Some(3), false).await;
            check(replicas(5, 5), Some(5), true).await;
            check(replicas(1, 5), Some(1), true).await;
        })
        .await;
        let look = scale.look().unwrap();
        assert_eq!((look.count, look.failures, look.trouble), (Some(1), 2, None));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_others_in_vain_goes_by_what_there_is() {
        let scale = Scale::default();
        scale.follow(Some(&member(0)));
        with_watch(&scale, async |say| {
            say.try_send(replicas(5, 0)).unwrap();
            say.try_send(replicas(5, 1)).unwrap();
            sleep(PATIENCE - Duration::from_millis(1)).await;
            assert_eq!(scale.part(), Some(member(0).part(None)));
            sleep(Duration::from_millis(2)).await;
            assert_eq!(scale.part(), Some(member(0).part(Some(1))));
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn another_statefulset_is_another_beginning_and_the_same_one_is_not() {
        let scale = Scale::default();
        scale.follow(Some(&member(0)));
        with_watch(&scale, async |say| {
            say.try_send(replicas(2, 1)).unwrap();
            settle().await;
            scale.follow(Some(&member(0)));
            assert_eq!(scale.part(), Some(member(0).part(Some(2))));
            let other = Member { statefulset: "other".to_owned(), index: 0 };
            scale.follow(Some(&other));
            settle().await;
            assert_eq!(scale.part(), Some(other.part(None)));
            scale.follow(None);
            assert_eq!(scale.part(), None);
        })
        .await;
    }
}
