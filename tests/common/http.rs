//! A scripted HTTP/1.1 server, byte by byte, so that an answer can be as wrong as a test needs it.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Which of the server's connections it came on, and the how manieth it is there.
    pub(crate) connection: usize,
    pub(crate) on_connection: usize,
}

/// An answer: what is done with the connection, in order. After the last step the connection waits
/// for the next request.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// `None` when the answer has none.
    pub(crate) status: Option<u16>,
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Send(Vec<u8>),
    Pause(Duration),
    Hang,
    Close,
}

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
    open: Arc<Open>,
}

/// Connections so far, and those that have not ended.
#[derive(Debug, Default)]
struct Open {
    accepted: AtomicUsize,
    open: AtomicUsize,
}

type Script = Arc<dyn Fn(Request) -> Answer + Send + Sync>;

// === impl Request ===

impl Request {
    /// A header that must not stand more than once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut of_name = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let value = of_name.next().map(|(_, value)| value.as_str());
        assert!(of_name.next().is_none(), "header {name} is there twice");
        value
    }

    /// The values of `name[]` in the query, as Flink's reporter reads them.
    pub(crate) fn names(&self) -> Vec<String> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        let decode = |text: &str| {
            percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
        };
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let pairs = pairs.map(|(name, value)| (decode(name), decode(value)));
        pairs.filter(|(name, _)| name == "name[]").map(|(_, value)| value).collect()
    }
}

// === impl Answer ===

impl Answer {
    /// A whole answer with a length.
    pub(crate) fn new(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let headers = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let mut bytes = format!(
            "HTTP/1.1 {status} Scripted\r\n{}content-length: {}\r\n\r\n",
            headers.collect::<String>(),
            body.len()
        )
        .into_bytes();
        bytes.extend(body);
        Self { status: Some(status), steps: vec![Step::Send(bytes)] }
    }

    /// As [`Answer::new`], in chunks instead of with a length.
    pub(crate) fn chunked(headers: &[(&str, &str)], chunks: &[&[u8]]) -> Self {
        let headers = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let mut bytes = format!(
            "HTTP/1.1 200 OK\r\n{}transfer-encoding: chunked\r\n\r\n",
            headers.collect::<String>()
        )
        .into_bytes();
        for chunk in chunks {
            bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            bytes.extend(*chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n\r\n");
        Self { status: Some(200), steps: vec![Step::Send(bytes)] }
    }

    /// A status and words, as receivers answer.
    pub(crate) fn words(status: u16, words: &str) -> Self {
        Self::new(status, &[("content-type", "text/plain")], words)
    }

    /// These bytes and no more, then the connection is closed.
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { status: None, steps: vec![Step::Send(bytes.into()), Step::Close] }
    }

    /// Closes the connection without a word.
    pub(crate) fn close() -> Self {
        Self { status: None, steps: vec![Step::Close] }
    }

    /// Never answers.
    pub(crate) fn hang() -> Self {
        Self { status: None, steps: vec![Step::Hang] }
    }

    /// With one more header, unless it has one of that name.
    pub(crate) fn with_header(mut self, name: &str, value: &str) -> Self {
        let Some(Step::Send(sent)) = self.steps.first_mut() else { return self };
        let text = String::from_utf8_lossy(sent).to_ascii_lowercase();
        let line_end = text.find("\r\n").map(|at| at + 2);
        if let Some(at) = line_end.filter(|_| !text.contains(&format!("\n{name}:"))) {
            sent.splice(at..at, format!("{name}: {value}\r\n").into_bytes());
        }
        self
    }

    /// Leaves out the last `bytes` of what is sent, and closes.
    pub(crate) fn cut(self, bytes: usize) -> Self {
        self.without_end(bytes, Step::Close)
    }

    /// Leaves out the last `bytes` of what is sent, and sends nothing more.
    pub(crate) fn stuck(self, bytes: usize) -> Self {
        self.without_end(bytes, Step::Hang)
    }

    /// Closes the connection after the answer, which does not say so.
    pub(crate) fn then_close(mut self) -> Self {
        self.steps.push(Step::Close);
        self
    }

    /// Sends in pieces of `bytes` with pauses between.
    pub(crate) fn trickle(self, bytes: usize, pause: Duration) -> Self {
        let pieces = |step: Step| match step {
            Step::Send(sent) => sent
                .chunks(bytes)
                .flat_map(|piece| [Step::Send(piece.to_vec()), Step::Pause(pause)])
                .collect(),
            step => vec![step],
        };
        Self { steps: self.steps.into_iter().flat_map(pieces).collect(), ..self }
    }

    fn without_end(mut self, bytes: usize, end: Step) -> Self {
        let Some(Step::Send(sent)) = self.steps.last_mut() else { panic!("nothing to cut") };
        sent.truncate(sent.len() - bytes);
        self.steps.push(end);
        self
    }
}

// === impl Server ===

impl Server {
    /// Starts to answer on a loopback port; 0 is any that is free.
    pub(crate) async fn start(
        port: u16,
        tls: Option<TlsAcceptor>,
        script: impl Fn(Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let stop = CancellationToken::new();
        let open = Arc::<Open>::default();
        let listening = listen(listener, tls, Arc::new(script), stop.clone(), Arc::clone(&open));
        Self { address, stop, task: Some(tokio::spawn(listening)), open }
    }

    /// Waits until whatever clients that are gone have sent is read and answered.
    pub(crate) async fn quiet(&self) {
        let before = self.open.accepted.load(SeqCst);
        // Connections are accepted in their order: this one comes after theirs.
        drop(TcpStream::connect(self.address).await.expect("the server listens"));
        let is_quiet =
            || self.open.accepted.load(SeqCst) > before && self.open.open.load(SeqCst) == 0;
        while !is_quiet() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Closes the port and all connections, and waits until that is done.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            task.await.expect("the server has not panicked");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn listen(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    script: Script,
    stop: CancellationToken,
    open: Arc<Open>,
) {
    let mut connections = JoinSet::new();
    for number in 0.. {
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted.expect("accepts").0,
        };
        open.accepted.fetch_add(1, SeqCst);
        open.open.fetch_add(1, SeqCst);
        let (script, tls, open) = (Arc::clone(&script), tls.clone(), Arc::clone(&open));
        connections.spawn(async move {
            // A client that goes away, or does not like the certificate, is not the server's fault.
            let _gone = match tls {
                None => converse(stream, &script, number).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => converse(stream, &script, number).await,
                    Err(error) => Err(error),
                },
            };
            open.open.fetch_sub(1, SeqCst);
        });
    }
    drop(listener);
    connections.shutdown().await;
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    script: &Script,
    connection: usize,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    for on_connection in 0.. {
        let Some(mut request) = read_request(&mut stream, &mut buffer).await? else { break };
        (request.connection, request.on_connection) = (connection, on_connection);
        for step in script(request).steps {
            match step {
                Step::Send(bytes) => stream.write_all(&bytes).await?,
                Step::Pause(pause) => tokio::time::sleep(pause).await,
                Step::Hang => std::future::pending().await,
                Step::Close => return stream.shutdown().await,
            }
            stream.flush().await?;
        }
    }
    Ok(())
}

/// The next request; `None` when the client has closed the connection.
async fn read_request(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> io::Result<Option<Request>> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8(buffer[..head_end].to_vec()).expect("a head is ASCII");
    buffer.drain(..head_end + 4);
    let mut lines = head.split("\r\n");
    let first: Vec<_> = lines.next().unwrap_or_default().split(' ').collect();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let mut request = Request {
        method: first[0].to_owned(),
        target: first[1].to_owned(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        body: Vec::new(),
        connection: 0,
        on_connection: 0,
    };
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    request.body = buffer.drain(..length).collect();
    Ok(Some(request))
}
