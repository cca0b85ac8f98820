//! A Flink process as a relay sees it: one port with a page, and everything that can go wrong there.

use std::{
    io::Write as _,
    sync::{Arc, Mutex},
};

use flate2::{Compression, write::GzEncoder};

use super::http::{Answer, Request, Server};

/// What Flink's reporter says of its pages.
pub(crate) const PAGE_TYPE: (&str, &str) =
    ("content-type", "text/plain; version=0.0.4; charset=utf-8");

type Script = Box<dyn FnMut(&Request) -> Answer + Send>;

/// A scripted Flink process.
pub(crate) struct FakeFlink {
    server: Server,
    state: Arc<Mutex<State>>,
}

struct State {
    script: Script,
    requests: Vec<Request>,
}

/// A whole answer with this page.
pub(crate) fn page(text: &str) -> Answer {
    Answer::new(200, &[PAGE_TYPE], text)
}

/// A whole answer with this page, compressed.
pub(crate) fn gzip_page(text: &str) -> Answer {
    Answer::new(200, &[PAGE_TYPE, ("content-encoding", "gzip")], gzip(text.as_bytes()))
}

/// Compressed bytes.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

/// The page as Flink's reporter limits it to the names in the query; all of it when there are none.
pub(crate) fn limited(text: &str, request: &Request) -> String {
    let names = request.names();
    if names.is_empty() {
        return text.to_owned();
    }
    let lines = text.lines().filter(|line| {
        let name = match line.strip_prefix("# ") {
            Some(comment) => comment.split(' ').nth(1).unwrap_or_default(),
            None => line.split(['{', ' ']).next().unwrap_or_default(),
        };
        names.iter().any(|wanted| wanted == name)
    });
    lines.flat_map(|line| [line, "\n"]).collect()
}

impl FakeFlink {
    /// Serves this page, limited by `name[]` as Flink does, on any port.
    pub(crate) async fn with_page(text: &str) -> Self {
        let flink = Self::with_script(|_| Answer::close()).await;
        flink.set_page(text);
        flink
    }

    /// As [`FakeFlink::with_page`], on this port.
    pub(crate) async fn on_port(port: u16, text: &str) -> Self {
        let flink = Self::start(port, |_| Answer::close()).await;
        flink.set_page(text);
        flink
    }

    /// Answers what the script says, on any port.
    pub(crate) async fn with_script(
        script: impl FnMut(&Request) -> Answer + Send + 'static,
    ) -> Self {
        Self::start(0, script).await
    }

    async fn start(port: u16, script: impl FnMut(&Request) -> Answer + Send + 'static) -> Self {
        let state = State { script: Box::new(script), requests: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let of_server = Arc::clone(&state);
        let server = Server::start(port, None, move |request| {
            let mut state = of_server.lock().unwrap();
            let answer = (state.script)(&request);
            state.requests.push(request);
            answer
        });
        Self { server: server.await, state }
    }

    /// Changes the answers from the next request on.
    pub(crate) fn set(&self, script: impl FnMut(&Request) -> Answer + Send + 'static) {
        self.state.lock().unwrap().script = Box::new(script);
    }

    /// Changes the page.
    pub(crate) fn set_page(&self, text: &str) {
        let text = text.to_owned();
        self.set(move |request| page(&limited(&text, request)));
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }

    /// Requests for the whole page.
    pub(crate) fn scrapes(&self) -> usize {
        self.state.lock().unwrap().requests.iter().filter(|r| r.names().is_empty()).count()
    }

    /// As a target, and as the `instance` of its series.
    pub(crate) fn address(&self) -> String {
        self.server.address.to_string()
    }

    /// The process dies.
    pub(crate) async fn kill(self) {
        self.server.stop().await;
    }
}
