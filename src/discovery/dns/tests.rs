//! Look-ups against a small server on loopback that answers as it is told.

use std::{
    collections::HashMap,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr},
    str::FromStr as _,
    sync::Arc,
    time::Duration,
};

use domain::{
    base::{Message, MessageBuilder, Name, Rtype, Ttl, iana::Rcode},
    rdata::{A, Aaaa, Cname, Mx, Ns, Srv},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UdpSocket},
    task::JoinSet,
};

use super::*;
use crate::config::DnsRecord;

type Zone = Arc<Mutex<HashMap<(String, Rtype), Said>>>;

/// What the server says to a question.
#[derive(Clone, Copy, Debug)]
enum Said {
    /// So many records.
    Records(u16),
    /// By UDP that it does not fit, by TCP so many.
    TooLong(u16),
    Code(Rcode),
    Nothing,
}

struct Server {
    address: SocketAddr,
    zone: Zone,
    _tasks: JoinSet<()>,
}

fn name(text: &str) -> Name<Vec<u8>> {
    Name::from_str(text).unwrap()
}

fn answer(zone: &Zone, query: &[u8], by_udp: bool) -> Option<Vec<u8>> {
    let query = Message::from_octets(query).unwrap();
    let question = query.first_question().unwrap();
    let (asked, kind) = (question.qname().to_string(), question.qtype());
    let said = zone.lock().unwrap().get(&(asked, kind)).copied();
    let (code, records) = match said.unwrap_or(Said::Code(Rcode::NXDOMAIN)) {
        Said::Records(n) => (Rcode::NOERROR, n),
        Said::TooLong(n) => (Rcode::NOERROR, if by_udp { 0 } else { n }),
        Said::Code(code) => (code, 0),
        Said::Nothing => return None,
    };
    let builder = MessageBuilder::new_vec();
    let mut answer = builder.start_answer(&query, code).unwrap();
    answer.header_mut().set_tc(matches!(said, Some(Said::TooLong(_))) && by_udp);
    let (owner, ttl) = (question.qname(), Ttl::from_secs(5));
    let host = |n| name(&format!("tm-{n}.flink.test"));
    // Not in their order, as servers turn them round.
    for n in (0..records).rev() {
        let octet = u8::try_from(n % 250).unwrap();
        match kind {
            Rtype::A => {
                answer.push((owner, ttl, Cname::new(host(n)))).unwrap();
                answer.push((owner, ttl, A::from_octets(10, 0, 0, octet))).unwrap();
            }
            Rtype::AAAA => {
                let address = format!("fd00::{n}").parse().unwrap();
                answer.push((owner, ttl, Aaaa::new(address))).unwrap();
            }
            Rtype::MX => answer.push((owner, ttl, Mx::new(10, host(n)))).unwrap(),
            Rtype::NS => answer.push((owner, ttl, Ns::new(host(n)))).unwrap(),
            _ => answer.push((owner, ttl, Srv::new(1, 1, 9249 + n, host(n)))).unwrap(),
        }
    }
    Some(answer.finish())
}

impl Server {
    async fn start() -> Self {
        let zone = Zone::default();
        let (udp, tcp) = Self::listen().await;
        let address = udp.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        let of_udp = Arc::clone(&zone);
        tasks.spawn(async move {
            let mut bytes = [0; 1500];
            loop {
                let (length, from) = udp.recv_from(&mut bytes).await.unwrap();
                if let Some(answer) = answer(&of_udp, &bytes[..length], true) {
                    // One to another question first, which must not be taken.
                    let mut forged = answer.clone();
                    forged[0] ^= 1;
                    udp.send_to(&forged, from).await.unwrap();
                    udp.send_to(&answer, from).await.unwrap();
                }
            }
        });
        let of_tcp = Arc::clone(&zone);
        tasks.spawn(async move {
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                let mut query = vec![0; stream.read_u16().await.unwrap().into()];
                stream.read_exact(&mut query).await.unwrap();
                let answer = answer(&of_tcp, &query, false).unwrap();
                stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        });
        Self { address, zone, _tasks: tasks }
    }

    /// By both protocols on one port. One that is free by UDP may be taken by TCP, on a machine where much else runs.
    async fn listen() -> (UdpSocket, TcpListener) {
        let mut tries = 0;
        loop {
            let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            match TcpListener::bind(udp.local_addr().unwrap()).await {
                Ok(tcp) => return (udp, tcp),
                Err(error) if error.kind() == ErrorKind::AddrInUse && tries < 100 => tries += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn says(&self, name: &str, kind: Rtype, said: Said) {
        self.zone.lock().unwrap().insert((name.to_owned(), kind), said);
    }

    fn lookups(&self, names: &[&str], record: DnsRecord) -> Lookups {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let refresh_interval = Duration::from_secs(30);
        Lookups {
            config: DnsSd { names, record, port: 9249, refresh_interval },
            servers: Servers::Fixed(Resolv::of(self.address, &["flink.test"])),
            known: Mutex::default(),
        }
    }
}

fn shown(groups: &[Arc<Group>]) -> String {
    let mut lines = String::new();
    for group in groups {
        for seed in &group.seeds {
            let labels = group.labels.iter().chain(seed.labels.iter());
            let labels: Vec<_> = labels.map(|(name, value)| format!("{name}={value}")).collect();
            lines += &format!("{} {}\n", seed.address, labels.join(" "));
        }
    }
    lines
}

#[tokio::test]
async fn each_kind_of_record_becomes_targets() {
    let server = Server::start().await;
    let check = async |kind: Rtype, record, expected: &str| {
        server.says("x.test", kind, Said::Records(2));
        let (groups, failures) = server.lookups(&["x.test."], record).ask().await;
        assert_eq!((shown(&groups).as_str(), failures.len()), (expected, 0), "{kind}");
    };
    check(
        Rtype::SRV,
        DnsRecord::Srv,
        "tm-0.flink.test:9249 __meta_dns_name=x.test. __meta_dns_srv_record_target=tm-0.flink.test. \
         __meta_dns_srv_record_port=9249\n\
         tm-1.flink.test:9250 __meta_dns_name=x.test. __meta_dns_srv_record_target=tm-1.flink.test. \
         __meta_dns_srv_record_port=9250\n",
    )
    .await;
    let a = "10.0.0.0:9249 __meta_dns_name=x.test.\n10.0.0.1:9249 __meta_dns_name=x.test.\n";
    check(Rtype::A, DnsRecord::A, a).await;
    let aaaa = "[fd00::]:9249 __meta_dns_name=x.test.\n[fd00::1]:9249 __meta_dns_name=x.test.\n";
    check(Rtype::AAAA, DnsRecord::Aaaa, aaaa).await;
    let hosts = |kind| {
        [0, 1]
            .map(|n| {
                format!(
                    "tm-{n}.flink.test:9249 __meta_dns_name=x.test. \
                     __meta_dns_{kind}_record_target=tm-{n}.flink.test.\n"
                )
            })
            .concat()
    };
    check(Rtype::MX, DnsRecord::Mx, &hosts("mx")).await;
    check(Rtype::NS, DnsRecord::Ns, &hosts("ns")).await;
}

#[tokio::test]
async fn what_is_too_long_for_udp_comes_by_tcp() {
    let server = Server::start().await;
    server.says("x.test", Rtype::SRV, Said::TooLong(400));
    let (groups, failures) = server.lookups(&["x.test"], DnsRecord::Srv).ask().await;
    assert_eq!((groups[0].seeds.len(), failures), (400, Vec::new()));
}

#[tokio::test]
async fn only_an_answer_ends_targets() {
    let server = Server::start().await;
    let lookups = server.lookups(&["a.test", "b"], DnsRecord::A);
    let count = async || {
        let (groups, failures) = lookups.ask().await;
        let seeds: Vec<_> = groups.iter().map(|group| group.seeds.len()).collect();
        (seeds, failures.len())
    };
    // By the search domain.
    server.says("b.flink.test", Rtype::A, Said::Records(3));
    server.says("a.test", Rtype::A, Said::Records(2));
    assert_eq!(count().await, (vec![2, 3], 0));
    // Whoever does not know or is silent says nothing about the name.
    server.says("a.test", Rtype::A, Said::Code(Rcode::SERVFAIL));
    server.says("b.flink.test", Rtype::A, Said::Nothing);
    assert_eq!(count().await, (vec![2, 3], 2));
    let (_, failures) = lookups.ask().await;
    assert!(failures[0].contains("a.test. A: 127.0.0.1:"), "{failures:?}");
    assert!(failures[0].ends_with("it says SERVFAIL"), "{failures:?}");
    // No such name, and a name without such records, are answers.
    server.says("a.test", Rtype::A, Said::Code(Rcode::NXDOMAIN));
    server.says("b.flink.test", Rtype::A, Said::Records(0));
    assert_eq!(count().await, (vec![0, 0], 0));
}

#[tokio::test]
async fn a_name_that_is_none_is_told() {
    let server = Server::start().await;
    let (groups, failures) = server.lookups(&["a..b"], DnsRecord::Srv).ask().await;
    assert!(groups.is_empty());
    assert_eq!(failures, ["`a..b.` is not a name of DNS"]);
}
