//! What is known about reloads, and who is asked for one.
//!
//! Reading the configuration is the command line's: it knows the file and the flags. The relay's
//! endpoints only ask it to, and tell what became of it.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use tokio::sync::{mpsc, oneshot};

use crate::config::TextHash;

/// A request to read the configuration again. The answer is what is wrong with it.
pub type ReloadRequest = oneshot::Sender<Result<(), String>>;

/// The reloads of a relay.
#[derive(Debug)]
pub struct Reloads {
    requests: mpsc::Sender<ReloadRequest>,
    asked: Mutex<Option<mpsc::Receiver<ReloadRequest>>>,
    state: Mutex<ReloadState>,
}

/// How the last reload went; the start counts as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReloadState {
    /// Whether the configuration that was read last is the one that is in use.
    pub successful: bool,
    /// When the one in use was taken.
    pub success_at: SystemTime,
    /// Its [`Config::hash`](crate::config::Config::hash).
    pub hash: TextHash,
}

/// Why a relay does not reload.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It has no configuration that could be read again.
    #[error("this relay's configuration cannot be read again")]
    Nobody,
    /// The configuration is refused; the old one goes on.
    #[error("{0}")]
    Refused(String),
}

/// What a reload has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Names of receivers that are new.
    pub receivers_added: Vec<String>,
    /// Names of receivers that are configured otherwise.
    pub receivers_changed: Vec<String>,
    /// Names of receivers that are gone.
    pub receivers_removed: Vec<String>,
    /// Names of scrape jobs that are new.
    pub jobs_added: Vec<String>,
    /// Names of scrape jobs that are gone.
    pub jobs_removed: Vec<String>,
}

/// For the log: what has changed, by name.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("receivers added", &self.receivers_added),
            ("receivers changed", &self.receivers_changed),
            ("receivers removed", &self.receivers_removed),
            ("jobs added", &self.jobs_added),
            ("jobs removed", &self.jobs_removed),
        ];
        let mut told = parts.iter().filter(|(_, names)| !names.is_empty()).peekable();
        if told.peek().is_none() {
            return f.write_str("the same receivers and jobs");
        }
        while let Some((what, names)) = told.next() {
            let end = if told.peek().is_some() { "; " } else { "" };
            write!(f, "{what}: {}{end}", names.join(", "))?;
        }
        Ok(())
    }
}

impl Reloads {
    /// For a relay that has just been built with a configuration of this hash.
    pub(super) fn new(hash: TextHash) -> Self {
        let (requests, asked) = mpsc::channel(REQUESTS_MAX);
        let state = ReloadState { successful: true, success_at: SystemTime::now(), hash };
        Self { requests, asked: Mutex::new(Some(asked)), state: Mutex::new(state) }
    }

    /// Asks for a reload and waits until it is done.
    ///
    /// # Errors
    /// What is wrong with the configuration, in words for people.
    pub async fn ask(&self) -> Result<(), AskError> {
        let (answer, answered) = oneshot::channel();
        // Nobody is there when nobody has taken the requests, or when the taker has ended.
        if self.asked.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Err(AskError::Nobody);
        }
        self.requests.send(answer).await.map_err(|_| AskError::Nobody)?;
        answered.await.map_err(|_| AskError::Nobody)?.map_err(AskError::Refused)
    }

    /// The requests, for the one who reads the configuration; `None` when they are taken.
    pub fn requests(&self) -> Option<mpsc::Receiver<ReloadRequest>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// How the last reload went.
    pub fn state(&self) -> ReloadState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a configuration that is in use from now on.
    pub(super) fn took(&self, hash: TextHash) {
        let state = ReloadState { successful: true, success_at: SystemTime::now(), hash };
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Records a configuration that was refused.
    pub fn refused(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).successful = false;
    }
}

/// Requests that wait while one is carried out; a further one waits to be taken.
const REQUESTS_MAX: usize = 4;
