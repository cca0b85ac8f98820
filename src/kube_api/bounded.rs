//! Answers of the API server, bounded: in size, and in the time that nothing comes.
//!
//! ```text
//!           size                                 pause
//! list      the whole answer                     bounded; the list is asked for again
//! watch     one line, which is an event          the watcher's own, with the end of the watch
//! ```

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use tower::BoxError;

/// What an answer is bounded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bounds {
    /// All of it.
    Whole {
        /// Largest answer.
        bytes_max: usize,
        /// Longest pause within it.
        idle_max: Duration,
    },
    /// Each line.
    Watch {
        /// Longest line.
        bytes_max: usize,
    },
}

/// The body of an answer, see the module's documentation.
pub(super) struct Bounded<B> {
    body: B,
    bounds: Bounds,
    /// Bytes that count against the bound.
    bytes: usize,
    /// Ends when the pause has become too long.
    idle: Pin<Box<Sleep>>,
}

/// An answer that goes beyond its bounds.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Unbounded {
    #[error("the API server's answer has more than {0} bytes")]
    List(usize),
    #[error("an event of the API server has more than {0} bytes")]
    Event(usize),
    #[error("the API server's answer stopped coming for {} s", .0.as_secs())]
    Idle(Duration),
}

impl<B> Bounded<B> {
    pub(super) fn new(body: B, bounds: Bounds) -> Self {
        let idle = match bounds {
            Bounds::Whole { idle_max, .. } => idle_max,
            Bounds::Watch { .. } => Duration::ZERO,
        };
        Self { body, bounds, bytes: 0, idle: Box::pin(sleep(idle)) }
    }

    fn count(&mut self, data: &[u8]) -> Result<(), Unbounded> {
        match self.bounds {
            Bounds::Whole { bytes_max, idle_max } => {
                self.idle.as_mut().reset(Instant::now() + idle_max);
                self.bytes += data.len();
                if self.bytes > bytes_max { Err(Unbounded::List(bytes_max)) } else { Ok(()) }
            }
            Bounds::Watch { bytes_max } => {
                let mut lines = data.split(|&byte| byte == b'\n');
                self.bytes += lines.next().map_or(0, <[u8]>::len);
                let mut longest = self.bytes;
                for line in lines {
                    self.bytes = line.len();
                    longest = longest.max(line.len());
                }
                if longest > bytes_max { Err(Unbounded::Event(bytes_max)) } else { Ok(()) }
            }
        }
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> Body for Bounded<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            let Bounds::Whole { idle_max, .. } = self.bounds else { return Poll::Pending };
            ready!(self.idle.as_mut().poll(context));
            return Poll::Ready(Some(Err(Unbounded::Idle(idle_max).into())));
        };
        Poll::Ready(frame.map(|frame| {
            let frame = frame.map_err(Into::into)?;
            if let Some(data) = frame.data_ref() {
                self.count(data)?;
            }
            Ok(frame)
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    type Frames = Vec<Result<Frame<Bytes>, std::convert::Infallible>>;

    async fn read(parts: Vec<Vec<u8>>, bounds: Bounds) -> Result<usize, String> {
        let frames: Frames =
            parts.into_iter().map(|part| Ok(Frame::data(Bytes::from(part)))).collect();
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let read = Bounded::new(body, bounds).collect().await;
        read.map(|read| read.to_bytes().len()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_list_is_bounded_as_a_whole_and_a_watch_by_its_events() {
        const BYTES_MAX: usize = 1 << 10;
        let whole = Bounds::Whole { bytes_max: BYTES_MAX, idle_max: Duration::from_secs(9) };
        let watch = Bounds::Watch { bytes_max: BYTES_MAX };
        let half = || vec![b'x'; BYTES_MAX / 2];
        assert_eq!(read(vec![half(), half()], whole).await, Ok(BYTES_MAX));
        let error = read(vec![half(), half(), vec![b'x']], whole).await.unwrap_err();
        assert_eq!(error, "the API server's answer has more than 1024 bytes");

        let event = |end: &[u8]| [&half(), end].concat();
        let many = (0..8).flat_map(|_| [event(b""), event(b"\n")]).collect::<Vec<_>>();
        assert!(read(many, watch).await.is_ok(), "each event is within the bound");
        let long = vec![event(b"\n"), event(b""), event(b""), b"x\n".to_vec()];
        let error = read(long, watch).await.unwrap_err();
        assert_eq!(error, "an event of the API server has more than 1024 bytes");
        let inside = [b"{}\n".to_vec(), event(b""), event(b""), b"x\n{}\n".to_vec()].concat();
        assert!(read(vec![inside], watch).await.is_err(), "in the middle of a part");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_stops_coming_ends() {
        let idle_max = Duration::from_secs(30);
        let body = || {
            let first: Result<_, std::convert::Infallible> = Ok(Frame::data(Bytes::from("{")));
            let forever = futures_util::stream::pending();
            StreamBody::new(futures_util::StreamExt::chain(
                futures_util::stream::iter([first]),
                forever,
            ))
        };
        let began = Instant::now();
        let whole = Bounds::Whole { bytes_max: 1 << 10, idle_max };
        let read = Bounded::new(body(), whole).collect().await;
        let error = read.unwrap_err().to_string();
        assert_eq!(error, "the API server's answer stopped coming for 30 s");
        assert_eq!(began.elapsed(), idle_max);
        let watch = Bounded::new(body(), Bounds::Watch { bytes_max: 1 << 10 }).collect();
        let patience = Duration::from_secs(3600);
        assert!(tokio::time::timeout(patience, watch).await.is_err(), "a watch may be quiet");
    }
}
