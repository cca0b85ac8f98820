//! How much memory the process may use, and how many series of pages follow from it.
//!
//! The kernel ends a process that takes more than its control group, or one of those around it, may have; where none
//! has a limit, the machine's memory is what there is. A group says so in a file below `/sys/fs/cgroup`, and
//! `/proc/self/cgroup` names the process' groups: of version 2 in one hierarchy, of version 1 in one for memory. In a
//! container that path may be the host's while only the container's own group is mounted, as the root: so all groups
//! from the named one up to the root are looked at, and those that are not there say nothing.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use crate::{config::PageSeriesLimit, limits::PAGE_SERIES_BYTES};

const MOUNT: &str = "/sys/fs/cgroup";

/// The most series of pages that may be remembered; 0 is unlimited.
pub(super) fn page_series(limit: PageSeriesLimit) -> u64 {
    match limit {
        PageSeriesLimit::Most(most) => most,
        PageSeriesLimit::Auto => {
            series_in(allowed_bytes(&|path| fs::read_to_string(path).ok())).unwrap_or(0)
        }
    }
}

/// How many fit, at least one: 0 would be unlimited.
fn series_in(bytes: Option<u64>) -> Option<u64> {
    Some((bytes? / PAGE_SERIES_BYTES).max(1))
}

/// Bytes that the process may use, as far as the files that `read` finds tell: the smallest limit.
fn allowed_bytes(read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let of_groups = limit_files(&groups).into_iter().filter_map(|path| group_limit(&read(&path)?));
    let of_machine = read(Path::new("/proc/meminfo")).and_then(|text| memory_total(&text));
    of_groups.chain(of_machine).min()
}

/// The files with the limits of the groups that `/proc/self/cgroup` names, and of those around them.
///
/// A line is `hierarchy:controllers:path`, see cgroups(7); version 2 is hierarchy 0 and names no controllers.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(hierarchy), Some(controllers), Some(group)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let (root, file) = if hierarchy == "0" && controllers.is_empty() {
            (PathBuf::from(MOUNT), "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (Path::new(MOUNT).join("memory"), "memory.limit_in_bytes")
        } else {
            continue;
        };
        let group = Path::new(group);
        // What lies outside of the group that is the root here is written with `..` and cannot be seen.
        let is_inside = !group.components().any(|part| part == Component::ParentDir);
        let inside =
            group.strip_prefix("/").ok().filter(|_| is_inside).unwrap_or_else(|| Path::new(""));
        files.extend(inside.ancestors().map(|group| root.join(group).join(file)));
    }
    files
}

/// What `memory.max` or `memory.limit_in_bytes` says; `None` for `max`. Version 1 has no word for that, but a number
/// above any machine's memory.
fn group_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn memory_total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:        8000000 kB\nMemFree:          100000 kB\n";

    /// What these files allow.
    #[track_caller]
    fn check(files: &[(&str, &str)], expect: Option<u64>) {
        let read = |path: &Path| {
            let file = files.iter().find(|(at, _)| Path::new(at) == path);
            file.map(|(_, text)| (*text).to_owned())
        };
        assert_eq!(allowed_bytes(&read), expect, "{files:?}");
    }

    #[test]
    fn the_smallest_limit_that_is_known_counts() {
        let (groups, meminfo) = ("/proc/self/cgroup", ("/proc/meminfo", MEMINFO));
        check(&[], None);
        check(&[meminfo], Some(8_192_000_000));
        let pod = (groups, "0::/\n");
        check(&[pod, ("/sys/fs/cgroup/memory.max", "536870912\n"), meminfo], Some(536_870_912));
        check(&[pod, ("/sys/fs/cgroup/memory.max", "max\n"), meminfo], Some(8_192_000_000));
        check(&[pod, ("/sys/fs/cgroup/memory.max", "max\n")], None);
        // The service has none of its own, its slice has; that of the neighbour is nothing to it.
        let service = (groups, "0::/system.slice/flinkrelay.service\n");
        let of_service = ("/sys/fs/cgroup/system.slice/flinkrelay.service/memory.max", "max\n");
        let of_slice = ("/sys/fs/cgroup/system.slice/memory.max", "1073741824\n");
        let of_other = ("/sys/fs/cgroup/system.slice/other.service/memory.max", "4096\n");
        check(&[service, of_service, of_slice, of_other, meminfo], Some(1 << 30));
        let of_service = ("/sys/fs/cgroup/system.slice/flinkrelay.service/memory.max", "2097152");
        check(&[service, of_service, of_slice, of_other, meminfo], Some(2 << 20));
    }

    #[test]
    fn version_1_has_a_hierarchy_for_memory() {
        let groups = "12:cpu,cpuacct:/docker/abc\n5:memory:/docker/abc\n1:name=systemd:/\n0::/x\n";
        let groups = ("/proc/self/cgroup", groups);
        let meminfo = ("/proc/meminfo", MEMINFO);
        let root = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
        // The container's own group is mounted as the root.
        check(&[groups, (root, "268435456\n"), meminfo], Some(256 << 20));
        check(&[groups, (root, "9223372036854771712\n"), meminfo], Some(8_192_000_000));
        let own = "/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes";
        let unlimited = (root, "9223372036854771712\n");
        check(&[groups, (own, "268435456\n"), unlimited, meminfo], Some(256 << 20));
    }

    #[test]
    fn what_is_written_in_another_way_says_nothing() {
        let root = ("/sys/fs/cgroup/memory.max", "4096\n");
        for groups in ["", "0", "0:", "0:name", "nonsense\n\n", "3:cpu:/\n"] {
            check(&[("/proc/self/cgroup", groups), root], None);
        }
        check(&[("/proc/self/cgroup", "0::/../../other\n"), root], Some(4096));
        check(
            &[("/proc/self/cgroup", "0::/a:b\n"), ("/sys/fs/cgroup/a:b/memory.max", "7")],
            Some(7),
        );
        for meminfo in ["", "MemTotal:\n", "MemTotal: x kB", "MemTotal: 12 MB"] {
            check(&[("/proc/meminfo", meminfo)], None);
        }
        check(&[("/proc/self/cgroup", "0::/\n"), ("/sys/fs/cgroup/memory.max", "-1")], None);
    }

    #[test]
    fn a_number_is_taken_as_it_is_and_auto_is_never_unlimited_by_mistake() {
        assert_eq!(page_series(PageSeriesLimit::Most(7)), 7);
        assert_eq!(page_series(PageSeriesLimit::Most(0)), 0);
        assert_eq!(series_in(Some(512 << 20)), Some(1 << 19));
        assert_eq!(series_in(Some(0)), Some(1));
        assert_eq!(series_in(None), None);
    }
}
