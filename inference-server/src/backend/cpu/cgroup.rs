//! Room that our control group leaves, of version 2 or 1: in a pod, the limit that counts.

use std::fs::read_to_string;
use std::path::Path;

/// Where the kernel's hierarchies are mounted.
pub(super) const ROOT: &str = "/sys/fs/cgroup";

/// How a version calls what it says of a group.
struct Version {
    limit: &'static str,
    used: &'static str,
    /// Lines of `memory.stat` that are page cache, of the group and of those below it.
    cache: [&'static str; 2],
}

const TWO: Version =
    Version { limit: "memory.max", used: "memory.current", cache: ["inactive_file ", "active_file "] };
const ONE: Version = Version {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cache: ["total_inactive_file ", "total_active_file "],
};

/// Room under the limit of our group and of every group above it. `groups` is what `/proc/self/cgroup` says, `root` is
/// where the groups are. `None` where none has a limit.
pub(super) fn available(root: &Path, groups: &str) -> Option<u64> {
    let room = |line: &str| {
        let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
        match controllers {
            "" => least_room(root, group, &TWO),
            _ if controllers.split(',').any(|controller| controller == "memory") => {
                least_room(&root.join("memory"), group, &ONE)
            }
            _ => None,
        }
    };
    groups.lines().filter_map(room).min()
}

/// A group that is not there is one of the host's: a container sees its own in its place, at the root.
fn least_room(root: &Path, group: &str, version: &Version) -> Option<u64> {
    let group = root.join(group.trim_start_matches('/'));
    let groups = group.ancestors().take_while(|folder| folder.starts_with(root));
    groups.filter_map(|folder| room(folder, version)).min()
}

/// Page cache in use counts as room: the kernel drops it first.
fn room(folder: &Path, version: &Version) -> Option<u64> {
    let read = |name: &str| read_to_string(folder.join(name)).ok();
    let number = |text: String| text.trim().parse::<u64>().ok();
    // Version 2 says `max` where there is none, version 1 some number that no machine has.
    let limit = read(version.limit).and_then(number)?;
    let used = read(version.used).and_then(number)?;
    let cache = read("memory.stat").map_or(0, |stat| {
        let pages =
            |name: &&str| stat.lines().find_map(|line| line.strip_prefix(*name)?.trim().parse::<u64>().ok());
        version.cache.iter().filter_map(pages).sum()
    });
    Some(limit.saturating_sub(used.saturating_sub(cache)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Folders of a hierarchy, and what the files in them say.
    fn hierarchy(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, says) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, says).unwrap();
        }
        root
    }

    fn room(groups: &str, files: &[(&str, &str)]) -> Option<u64> {
        available(hierarchy(files).path(), groups)
    }

    #[test]
    fn a_groups_limit_less_its_use_is_its_room() {
        let files = [("pods/a/memory.max", "104857600\n"), ("pods/a/memory.current", "41943040\n")];
        assert_eq!(room("0::/pods/a\n", &files), Some(60 * MIB));
        let over = [files[0], ("pods/a/memory.current", "204857600\n")];
        assert_eq!(room("0::/pods/a\n", &over), Some(0));
    }

    #[test]
    fn the_tightest_group_above_counts() {
        let files = [
            ("memory.max", "max\n"),
            ("memory.current", "9\n"),
            ("pods/memory.max", "73400320\n"),
            ("pods/memory.current", "52428800\n"),
            ("pods/a/memory.max", "104857600\n"),
            ("pods/a/memory.current", "41943040\n"),
            ("pods/b/memory.max", "1\n"),
            ("pods/b/memory.current", "1\n"),
        ];
        assert_eq!(room("0::/pods/a\n", &files), Some(20 * MIB));
        assert_eq!(room("0::/other\n", &files), None);
    }

    #[test]
    fn max_is_no_limit() {
        let files = [("pods/a/memory.max", "max\n"), ("pods/a/memory.current", "41943040\n")];
        assert_eq!(room("0::/pods/a\n", &files), None);
        assert_eq!(room("", &files), None);
    }

    /// A server that has read its model file once would not fit beside the file's own pages.
    #[test]
    fn page_cache_is_room() {
        let stat = "anon 5\nfile 31457280\ninactive_file 20971520\nactive_file 10485760\n";
        let files = [
            ("pods/a/memory.max", "104857600\n"),
            ("pods/a/memory.current", "94371840\n"),
            ("pods/a/memory.stat", stat),
        ];
        assert_eq!(room("0::/pods/a\n", &files), Some(40 * MIB));
    }

    #[test]
    fn a_container_that_is_told_the_hosts_path_sees_its_group_at_the_root() {
        let files = [("memory.max", "104857600\n"), ("memory.current", "41943040\n")];
        for groups in ["0::/kubepods/pod1/c1\n", "0::/../../kubepods/c1\n", "0::/\n"] {
            assert_eq!(room(groups, &files), Some(60 * MIB), "{groups}");
        }
    }

    #[test]
    fn version_1_counts_beside_version_2() {
        let files = [
            ("memory/pods/a/memory.limit_in_bytes", "104857600\n"),
            ("memory/pods/a/memory.usage_in_bytes", "94371840\n"),
            (
                "memory/pods/a/memory.stat",
                "inactive_file 1\ntotal_inactive_file 10485760\ntotal_active_file 10485760\n",
            ),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/memory.usage_in_bytes", "94371840\n"),
        ];
        assert_eq!(room("5:cpu,cpuacct:/pods/a\n4:memory:/pods/a\n0::/pods/a\n", &files), Some(30 * MIB));
        assert_eq!(room("4:hugetlb,memory:/pods/a\n", &files), Some(30 * MIB));
        assert_eq!(room("5:cpu,cpuacct:/pods/a\n", &files), None);
        let both =
            [&files[..], &[("pods/a/memory.max", "1048576\n"), ("pods/a/memory.current", "0\n")]].concat();
        assert_eq!(room("4:memory:/pods/a\n0::/pods/a\n", &both), Some(MIB));
    }
}
