//! `dns_sd_configs`: the records of names.
//!
//! At each `refresh_interval` every name is looked up, by the servers and search domains of
//! `/etc/resolv.conf`, which is read each time. That a name or its records are not there is an answer and
//! ends its targets; a name that nobody has an answer for keeps those it had. Source: Prometheus'
//! `discovery/dns/dns.go`.

mod ask;
mod resolv;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::join_all;

use self::{
    ask::{Record, look_up},
    resolv::Resolv,
};
use super::{
    Group,
    source::{Report, refresh_partly},
};
use crate::{
    config::DnsSd,
    target::{Address, Seed},
};

/// The names of one entry.
#[derive(Debug)]
pub struct Lookups {
    config: DnsSd,
    servers: Servers,
    /// What each name last was.
    known: Mutex<BTreeMap<String, Arc<Group>>>,
}

/// Where it stands whom to ask.
#[derive(Debug)]
enum Servers {
    File(PathBuf),
    #[cfg(test)]
    Fixed(Resolv),
}

impl Lookups {
    /// The names that a configuration gives; none is looked up yet.
    pub fn new(config: &DnsSd) -> Self {
        Self {
            config: config.clone(),
            servers: Servers::File(RESOLV_CONF.into()),
            known: Mutex::default(),
        }
    }

    pub(super) async fn run(&self, report: &Report) {
        refresh_partly(report, || self.ask(), self.config.refresh_interval).await;
    }

    /// The groups of all names, and which of them are not up to date, and why.
    async fn ask(&self) -> (Vec<Arc<Group>>, Vec<String>) {
        let (answers, mut failures) = match self.resolv() {
            Ok(resolv) => {
                let asked = self
                    .config
                    .names
                    .iter()
                    .map(async |name| (name, look_up(&resolv, name, self.config.record).await));
                (join_all(asked).await, Vec::new())
            }
            Err(failure) => (Vec::new(), vec![failure]),
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, answer) in answers {
            match answer {
                Ok(records) => {
                    let group = group(name, &records, self.config.port);
                    known.insert(name.clone(), Arc::new(group));
                }
                Err(failure) => failures.push(failure.to_string()),
            }
        }
        (known.values().cloned().collect(), failures)
    }

    fn resolv(&self) -> Result<Resolv, String> {
        match &self.servers {
            Servers::File(path) => {
                let text = fs::read_to_string(path);
                let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
                Ok(Resolv::read(&text))
            }
            #[cfg(test)]
            Servers::Fixed(resolv) => Ok(resolv.clone()),
        }
    }
}

/// The targets that the records of a name are.
fn group(name: &str, records: &[Record], port: u16) -> Group {
    let seed = |host: &str, port: u16, labels: &[(&'static str, String)]| Seed {
        labels: labels.iter().cloned().collect(),
        // Rooted names look unusual without need.
        ..Seed::new(Address::read(&format!("{}:{port}", host.trim_end_matches('.'))))
    };
    let seeds = records.iter().filter_map(|record| {
        Some(match record {
            // RFC 2782: the service is decidedly not available.
            Record::Srv { target, .. } if target == "." => return None,
            Record::Srv { target, port } => {
                let labels = [
                    ("__meta_dns_srv_record_target", target.clone()),
                    ("__meta_dns_srv_record_port", port.to_string()),
                ];
                seed(target, *port, &labels)
            }
            Record::A(address) => seed(&address.to_string(), port, &[]),
            Record::Aaaa(address) => seed(&format!("[{address}]"), port, &[]),
            Record::Mx(host) => seed(host, port, &[("__meta_dns_mx_record_target", host.clone())]),
            Record::Ns(host) => seed(host, port, &[("__meta_dns_ns_record_target", host.clone())]),
        })
    });
    Group {
        seeds: seeds.collect(),
        labels: [("__meta_dns_name", name.to_owned())].into_iter().collect(),
    }
}

const RESOLV_CONF: &str = "/etc/resolv.conf";
