//! Whether anything listens at a URL's host and port: a connection that is opened and closed.
//!
//! A request that fails says what it says of everything between here and there at once. This tells a name
//! that has no address, a port that refuses and a network that swallows packets from one another, which
//! is what a person who looks for a fault wants to know first.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use hyper::Uri;
use tokio::net::TcpStream;

use super::{
    addresses::{order, race},
    resolve::Resolver,
};

/// What became of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reached {
    /// It was accepted, after this time.
    Open(Duration),
    /// Nobody listens at the first of these addresses that answered.
    Refused(SocketAddr),
    /// The name has no address; why, in the resolver's words.
    NoAddress(String),
    /// Neither yes nor no within the time.
    Silent,
    /// No way there: no route, not allowed, no such network. The system's words.
    Unreachable(String),
}

/// Opens a connection and closes it at once. Goes straight there, whatever proxies are configured.
pub async fn reach(url: &Uri, timeout: Duration) -> Reached {
    let host = url.host().unwrap_or_default();
    let https = url.scheme_str() == Some("https");
    let port = url.port_u16().unwrap_or(if https { 443 } else { 80 });
    let began = Instant::now();
    let connected = async {
        let addresses = Resolver::default().resolve(host, port).await;
        let addresses = addresses.map_err(|error| Reached::NoAddress(error.to_string()))?;
        race(order(&addresses, 0), dial).await.map_err(|failed| match failed {
            Some((address, error)) => told(address, &error),
            None => Reached::NoAddress(format!("{host} has no address")),
        })
    };
    match tokio::time::timeout(timeout, connected).await {
        Ok(Ok(())) => Reached::Open(began.elapsed()),
        Ok(Err(failed)) => failed,
        Err(_) => Reached::Silent,
    }
}

async fn dial(address: SocketAddr) -> Result<(), (SocketAddr, io::Error)> {
    TcpStream::connect(address).await.map(drop).map_err(|error| (address, error))
}

fn told(address: SocketAddr, error: &io::Error) -> Reached {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Reached::Refused(address),
        io::ErrorKind::TimedOut => Reached::Silent,
        _ => Reached::Unreachable(format!("{address}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn open_closed_and_nameless_are_told_apart() {
        let patience = Duration::from_secs(20);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let url: Uri = format!("http://{address}/metrics").parse().unwrap();
        assert!(matches!(reach(&url, patience).await, Reached::Open(_)));
        drop(listener);
        assert_eq!(reach(&url, patience).await, Reached::Refused(address));
        // Reserved for names that do not exist (RFC 6761).
        let url = "http://flink.invalid:9249/".parse().unwrap();
        let reached = reach(&url, patience).await;
        assert!(matches!(&reached, Reached::NoAddress(words) if words.contains("flink.invalid")));
    }
}
