//! The floor under every agent's cost: reads the pages and throws them away.
//!
//! A process of its own, the bench started again with a hidden argument, so that its CPU time is counted as that of an
//! agent is. One thread, one connection per target that stays open, requests spread evenly over the interval: whoever gets pages by HTTP
//! from these targets has at least this cost, which is the kernel's.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

/// Of one read: more than a socket has at once, so that calls are few.
const READ_BYTES: usize = 256 << 10;

/// Reads the page of each port at every interval until it is killed.
pub(crate) fn run(interval: Duration, ports: &[u16]) -> io::Result<()> {
    let mut connections = Vec::new();
    for port in ports {
        let stream = TcpStream::connect(("127.0.0.1", *port))?;
        connections
            .push((stream, format!("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n")));
    }
    let pause = interval / u32::try_from(ports.len().max(1)).unwrap_or(u32::MAX);
    let mut buffer = vec![0; READ_BYTES];
    let mut due = Instant::now();
    loop {
        for (stream, request) in &mut connections {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            due += pause;
            stream.write_all(request.as_bytes())?;
            discard(stream, &mut buffer)?;
        }
    }
}

/// Reads one answer to its end, which its length tells.
fn discard(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<()> {
    let mut read = stream.read(buffer)?;
    let head = loop {
        let part = &buffer[..read];
        if let Some(end) = part.windows(4).position(|four| four == b"\r\n\r\n") {
            break &part[..end + 4];
        }
        let more = stream.read(&mut buffer[read..])?;
        if more == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        read += more;
    };
    let mut left = (head.len() + length(head)?).saturating_sub(read);
    while left > 0 {
        let most = left.min(buffer.len());
        let more = stream.read(&mut buffer[..most])?;
        if more == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        left -= more;
    }
    Ok(())
}

/// `Content-Length`, which the bench's own targets send.
fn length(head: &[u8]) -> io::Result<usize> {
    let text = str::from_utf8(head).map_err(io::Error::other)?;
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    let mut lengths = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = lengths.next().and_then(|(_, value)| value.parse().ok());
    length.ok_or_else(|| io::Error::other(format!("no Content-Length in {text:?}")))
}
