//! What is as it should be, so that a person sees what was looked at.

use super::{
    Well, discovery,
    evidence::{
        ClusterLook, DirectoryLook, Evidence, PortAnswer, ReceiverLook, SourceLook, TargetLook,
    },
    here::size,
    receivers,
    settings::{Kind, Reporter},
    targets,
};

pub(super) fn all(evidence: &Evidence) -> Vec<Well> {
    let targets = evidence.targets.iter().filter_map(target);
    let sources = evidence.discovery.iter().filter_map(source);
    let clusters = evidence.clusters.iter().filter_map(cluster);
    let receivers = evidence.receivers.iter().filter_map(receiver);
    sources
        .chain(targets)
        .chain(clusters)
        .chain(receivers)
        .chain(evidence.data_dir.iter().filter_map(directory))
        .collect()
}

fn source(look: &SourceLook) -> Option<Well> {
    let targets = look.found.as_ref().ok().filter(|targets| **targets > 0)?;
    Some(Well { subject: discovery::subject(look), seen: format!("{targets} target(s) found") })
}

fn target(target: &TargetLook) -> Option<Well> {
    let pages = target.ports.iter().filter_map(|port| match &port.answer {
        PortAnswer::Flink(page) => Some((port, page, page.scraped.as_ref().ok()?)),
        _ => None,
    });
    let told = pages.map(|(port, page, samples)| {
        format!(
            "{} on {}: {} samples, {} kept",
            page.role, port.port, samples.scraped, samples.kept
        )
    });
    let told: Vec<_> = told.collect();
    (!told.is_empty()).then(|| Well { subject: targets::subject(target), seen: told.join("; ") })
}

fn cluster(cluster: &ClusterLook) -> Option<Well> {
    if cluster.failure.is_some() {
        return None;
    }
    let version = cluster.version.as_deref().unwrap_or("of unknown version");
    let reporters = cluster.settings.as_deref().map(Reporter::all).unwrap_or_default();
    let reporters = reporters.iter().filter(|r| r.kind() == Kind::Prometheus && r.factory_may_be());
    let reporters: Vec<_> = reporters
        .map(|reporter| {
            format!(
                "; reporter `{}` on port {}",
                reporter.name,
                reporter.get("port").unwrap_or("9249")
            )
        })
        .collect();
    let seen = format!(
        "Flink {version}, {} TaskManager(s){}",
        cluster.task_managers.len(),
        reporters.concat()
    );
    Some(Well { subject: cluster.url.clone(), seen })
}

fn receiver(receiver: &ReceiverLook) -> Option<Well> {
    let answer = receiver.answer.as_ref()?.as_ref().ok()?;
    let what = if receiver.with_sample { "a sample" } else { "an empty request" };
    let via = receiver.proxy.as_ref().map(|proxy| format!(", through the proxy {proxy}"));
    (200..300).contains(&answer.status).then(|| Well {
        subject: receivers::subject(receiver),
        seen: format!("accepts {what} (HTTP {}){}", answer.status, via.unwrap_or_default()),
    })
}

fn directory(look: &DirectoryLook) -> Option<Well> {
    let free = look.free_bytes.map(|free| format!(", {} free", size(free)));
    look.fault.is_none().then(|| Well {
        subject: look.path.display().to_string(),
        seen: format!("can be written{}", free.unwrap_or_default()),
    })
}
