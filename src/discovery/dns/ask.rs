//! One question to a DNS server: by UDP, and by TCP when the answer does not fit.
//!
//! The messages are the `domain` crate's; sockets and retries are here, because what counts as an
//! answer is Prometheus' rule and no resolver's: a server's "no such name" and "no such record" are answers, and
//! everything else leaves open what is there.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr as _,
    time::Duration,
};

use domain::{
    base::{
        Message, MessageBuilder, Name, ParsedName, Rtype, ToName as _, iana::Rcode,
        message::RecordIter,
    },
    rdata::{A, Aaaa, Mx, Ns, Srv},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::resolv::Resolv;
use crate::config::DnsRecord;

/// A record of the kind that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Record {
    Srv {
        target: String,
        port: u16,
    },
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    /// With its final dot, as in [`Record::Srv`].
    Mx(String),
    /// Likewise.
    Ns(String),
}

/// Why it is not known what is there.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The name is none.
    #[error("`{0}` is not a name of DNS")]
    Name(String),
    /// No server had an answer.
    #[error("no answer for {name} {kind}: {why}")]
    Servers { name: String, kind: &'static str, why: String },
}

type Query = Message<Vec<u8>>;

/// The records of a name, in their order; none when the servers say that there are none.
pub(super) async fn look_up(
    resolv: &Resolv,
    name: &str,
    record: DnsRecord,
) -> Result<Vec<Record>, Failure> {
    let mut open = None;
    for whole in resolv.names(name) {
        match ask_servers(resolv, &whole, record).await {
            Ok(Some(mut records)) => {
                records.sort();
                records.dedup();
                return Ok(records);
            }
            // A later name may be there.
            Ok(None) => {}
            Err(failure) => open = open.or(Some(failure)),
        }
    }
    open.map_or_else(|| Ok(Vec::new()), Err)
}

/// The first answer of a server; `None` when there is no such name.
async fn ask_servers(
    resolv: &Resolv,
    name: &str,
    record: DnsRecord,
) -> Result<Option<Vec<Record>>, Failure> {
    let mut why = "no server".to_owned();
    for _ in 0..resolv.attempts {
        for &server in &resolv.servers {
            let query = query(name, record).ok_or_else(|| Failure::Name(name.to_owned()))?;
            let asked = ask(server, &query, resolv.timeout).await;
            let answer = asked.and_then(|answer| match answer.header().rcode() {
                Rcode::NOERROR => Ok(Some(records(&answer, record)?)),
                Rcode::NXDOMAIN => Ok(None),
                code => Err(format!("it says {code}")),
            });
            match answer {
                Ok(answer) => return Ok(answer),
                Err(error) => why = format!("{server}: {error}"),
            }
        }
    }
    Err(Failure::Servers { name: name.to_owned(), kind: record.as_str(), why })
}

fn query(name: &str, record: DnsRecord) -> Option<Query> {
    let name = Name::<Vec<u8>>::from_str(name).ok()?;
    let mut message = MessageBuilder::new_vec();
    message.header_mut().set_id(fastrand::u16(..));
    message.header_mut().set_rd(true);
    let mut question = message.question();
    question.push((name, rtype(record))).ok()?;
    let mut additional = question.additional();
    additional
        .opt(|options| {
            options.set_udp_payload_size(UDP_BYTES);
            Ok(())
        })
        .ok()?;
    Some(additional.into_message())
}

const fn rtype(record: DnsRecord) -> Rtype {
    match record {
        DnsRecord::Srv => Rtype::SRV,
        DnsRecord::A => Rtype::A,
        DnsRecord::Aaaa => Rtype::AAAA,
        DnsRecord::Mx => Rtype::MX,
        DnsRecord::Ns => Rtype::NS,
    }
}

/// The records of an answer; those of other types, such as the CNAMEs on the way, are left out.
fn records(answer: &Query, record: DnsRecord) -> Result<Vec<Record>, String> {
    let fault =
        |error: domain::base::wire::ParseError| format!("its answer cannot be read: {error}");
    let section = answer.answer().map_err(fault)?;
    let dotted = |name: &ParsedName<&[u8]>| name.fmt_with_dot().to_string();
    macro_rules! each {
        ($data:ty, $make:expr) => {{
            let records: RecordIter<'_, Vec<u8>, $data> = section.limit_to_in();
            records.map(|record| Ok($make(record.map_err(fault)?.data()))).collect()
        }};
    }
    match record {
        DnsRecord::Srv => each!(Srv<ParsedName<&[u8]>>, |srv: &Srv<ParsedName<&[u8]>>| {
            Record::Srv { target: dotted(srv.target()), port: srv.port() }
        }),
        DnsRecord::A => each!(A, |a: &A| Record::A(a.addr())),
        DnsRecord::Aaaa => each!(Aaaa, |aaaa: &Aaaa| Record::Aaaa(aaaa.addr())),
        DnsRecord::Mx => each!(Mx<ParsedName<&[u8]>>, |mx: &Mx<ParsedName<&[u8]>>| {
            Record::Mx(dotted(mx.exchange()))
        }),
        DnsRecord::Ns => each!(Ns<ParsedName<&[u8]>>, |ns: &Ns<ParsedName<&[u8]>>| {
            Record::Ns(dotted(ns.nsdname()))
        }),
    }
}

async fn ask(server: SocketAddr, query: &Query, limit: Duration) -> Result<Query, String> {
    let late = |_| format!("no answer within {} s", limit.as_secs_f64());
    let answer = timeout(limit, ask_by_udp(server, query)).await.map_err(late)?;
    let answer = answer.map_err(|error| error.to_string())?;
    if !answer.header().tc() {
        return Ok(answer);
    }
    let whole = timeout(limit, ask_by_tcp(server, query)).await.map_err(late)?;
    whole.map_err(|error| format!("by TCP: {error}"))
}

async fn ask_by_udp(server: SocketAddr, query: &Query) -> std::io::Result<Query> {
    let here: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(here).await?;
    // Connected, so that nobody else can answer.
    socket.connect(server).await?;
    socket.send(query.as_slice()).await?;
    let mut bytes = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut bytes).await?;
        let answer = Message::from_octets(bytes.get(..length).unwrap_or_default().to_vec());
        // What answers another question is late or forged.
        if let Ok(answer) = answer
            && answer.is_answer(query)
        {
            return Ok(answer);
        }
    }
}

async fn ask_by_tcp(server: SocketAddr, query: &Query) -> std::io::Result<Query> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.as_slice().len()).unwrap_or(u16::MAX);
    let message = [&length.to_be_bytes(), query.as_slice()].concat();
    stream.write_all(&message).await?;
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; length.into()];
    stream.read_exact(&mut bytes).await?;
    let other = || std::io::Error::other("it answers something else");
    let answer = Message::from_octets(bytes).map_err(|_| other())?;
    if answer.is_answer(query) { Ok(answer) } else { Err(other()) }
}

/// Largest answer by UDP that is asked for: what passes any network unbroken (DNS flag day 2020).
const UDP_BYTES: u16 = 1232;
