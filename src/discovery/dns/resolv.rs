//! `resolv.conf`: which servers to ask, and under which names.
//!
//! Read as Prometheus' DNS library reads it (`miekg/dns`, `clientconfig.go`): the last `domain` or `search` counts, `options` knows
//! `ndots`, `timeout` and `attempts`, and what is unknown is skipped.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

/// What `resolv.conf` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolv {
    /// In the order in which they are asked.
    pub(super) servers: Vec<SocketAddr>,
    /// Domains that are tried behind a name that is not whole.
    search: Vec<String>,
    /// With so many dots a name is first tried as it is.
    ndots: usize,
    /// Longest time for one answer.
    pub(super) timeout: Duration,
    /// How often all servers are asked.
    pub(super) attempts: u32,
}

impl Resolv {
    /// Reads the file's text. Without a server the one on this machine is asked, as the system does.
    pub(super) fn read(text: &str) -> Self {
        let mut resolv = Self {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: ANSWER_TIME,
            attempts: 2,
        };
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    resolv.servers.extend(address.map(|address| SocketAddr::new(address, PORT)));
                }
                Some("domain") => resolv.search = words.take(1).map(str::to_owned).collect(),
                Some("search") => resolv.search = words.map(str::to_owned).collect(),
                Some("options") => words.for_each(|word| resolv.option(word)),
                _ => {}
            }
        }
        if resolv.servers.is_empty() {
            resolv.servers.push(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
        }
        resolv
    }

    fn option(&mut self, word: &str) {
        let Some((name, value)) = word.split_once(':') else { return };
        let Ok(number) = value.parse::<u32>() else { return };
        match name {
            "ndots" => self.ndots = number.min(15) as usize,
            "timeout" => self.timeout = Duration::from_secs(number.clamp(1, 30).into()),
            "attempts" => self.attempts = number.clamp(1, 5),
            _ => {}
        }
    }

    /// The whole names that a name may stand for, in the order in which they are tried.
    pub(super) fn names(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let whole = format!("{name}.");
        let searched = self.search.iter().map(|domain| match domain.trim_end_matches('.') {
            "" => whole.clone(),
            domain => format!("{name}.{domain}."),
        });
        let mut names: Vec<_> = searched.collect();
        let at = if name.matches('.').count() >= self.ndots { 0 } else { names.len() };
        names.insert(at, whole);
        names
    }

    /// A configuration of one server, for tests.
    #[cfg(test)]
    pub(super) fn of(server: SocketAddr, search: &[&str]) -> Self {
        let search = search.iter().map(|&domain| domain.to_owned()).collect();
        let (timeout, attempts) = (Duration::from_millis(500), 1);
        Self { servers: vec![server], search, ndots: 1, timeout, attempts }
    }
}

const PORT: u16 = 53;

/// Longest time for one answer, unless the file says otherwise.
const ANSWER_TIME: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_s_file_is_read() {
        let resolv = Resolv::read(
            "# from the kubelet\nsearch flink.svc.cluster.local svc.cluster.local cluster.local\n\
             nameserver 10.96.0.10\nnameserver fd00::10 \n options ndots:5 timeout:1 rotate edns0\n",
        );
        assert_eq!(resolv.servers, ["10.96.0.10:53", "[fd00::10]:53"].map(|a| a.parse().unwrap()));
        assert_eq!((resolv.timeout, resolv.attempts), (Duration::from_secs(1), 2));
        let searched = |name: &str| {
            ["flink.svc.cluster.local", "svc.cluster.local", "cluster.local"]
                .map(|domain| format!("{name}.{domain}."))
        };
        let [a, b, c] = searched("_prom._tcp.flink");
        assert_eq!(resolv.names("_prom._tcp.flink"), [a, b, c, "_prom._tcp.flink.".to_owned()]);
        assert_eq!(resolv.names("flink.example.com."), ["flink.example.com."]);
    }

    #[test]
    fn names_with_dots_enough_are_tried_as_they_are_first() {
        let resolv = Resolv::read("domain a.b\nsearch example.com\nnameserver 1.1.1.1\n");
        assert_eq!(resolv.names("tm.flink"), ["tm.flink.", "tm.flink.example.com."]);
        assert_eq!(resolv.names("tm"), ["tm.example.com.", "tm."]);
    }

    #[test]
    fn what_makes_no_sense_is_skipped() {
        let resolv =
            Resolv::read("nameserver x\nnameserver\noptions ndots:many timeout:0\nsearch .\n");
        assert_eq!(resolv.servers, ["127.0.0.1:53".parse().unwrap()]);
        assert_eq!(resolv.timeout, Duration::from_secs(1));
        assert_eq!(resolv.names("a"), ["a.", "a."]);
        assert_eq!(Resolv::read("").names("a"), ["a."]);
    }
}
