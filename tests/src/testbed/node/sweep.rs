//! Removing every trace of a node, whether its programs were stopped or died.
//!
//! Each step looks at what is there rather than at what was noted, and none depends on another's
//! success: this also runs after a crash, and before each start.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};
use tracing::warn;

use super::{containerd, enforcer, network, sysctls};

/// How long the kernel may take to end what was killed.
const KILL_DEADLINE: Duration = Duration::from_secs(20);

/// Removes what a node with its state in `folder` left on this machine, and the folder.
pub fn sweep(folder: &Path) {
    // The bridge alone tells of a node whose folder somebody removed.
    if !folder.exists() && !network::exists() {
        return;
    }
    kill_everything(folder);
    remove_sockets(folder);
    unmount_everything(folder);
    remove_cgroups();
    enforcer::remove();
    network::remove();
    if let Err(error) = sysctls::restore(&folder.join("sysctls.json")) {
        warn!(%error, "a kernel setting was not put back");
    }
    remove_fixed_paths(folder);
    if let Err(error) = fs::remove_dir_all(folder)
        && error.kind() != io::ErrorKind::NotFound
    {
        warn!(%error, folder = %folder.display(), "the testbed's folder was left behind");
    }
}

/// Pods' processes are known by their control groups, their supervisors by our socket.
fn kill_everything(folder: &Path) {
    let deadline = Instant::now() + KILL_DEADLINE;
    loop {
        let mut ids: BTreeSet<i32> = supervisors(folder).into_iter().collect();
        for group in pod_groups() {
            let processes = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            ids.extend(processes.lines().filter_map(|id| id.parse::<i32>().ok()));
        }
        if ids.is_empty() {
            return;
        }
        if Instant::now() > deadline {
            warn!(?ids, "these processes of the testbed do not die");
            return;
        }
        for id in ids.into_iter().filter_map(Pid::from_raw) {
            // One that has gone meanwhile is what we want.
            let _ = kill_process(id, Signal::KILL);
        }
        sleep(Duration::from_millis(20));
    }
}

/// The shims: containerd starts one for each pod, and they outlive it by design.
fn supervisors(folder: &Path) -> Vec<i32> {
    let socket = containerd::socket(folder).display().to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    ids.filter(|id| {
        let line = fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let mut words = line.split('\0');
        words.next().is_some_and(|program| program.contains("containerd-shim"))
            && words.any(|word| word == socket)
    })
    .collect()
}

/// Every control group of a pod, the deepest first.
fn pod_groups() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    // One tree on cgroup v2, one for each controller before.
    let mut trees = vec![root.join("kubepods")];
    trees.extend(
        fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path().join("kubepods")),
    );
    let mut groups = Vec::new();
    while let Some(group) = trees.pop() {
        if !group.join("cgroup.procs").exists() {
            continue;
        }
        let children = fs::read_dir(&group).into_iter().flatten().flatten();
        trees.extend(children.map(|entry| entry.path()).filter(|path| path.is_dir() && !path.is_symlink()));
        groups.push(group);
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.components().count()));
    groups
}

fn remove_cgroups() {
    for group in pod_groups() {
        if let Err(error) = fs::remove_dir(&group) {
            warn!(%error, group = %group.display(), "a control group was left behind");
        }
    }
}

/// Shims listen in a folder that all containerds of a machine share; each notes where.
fn remove_sockets(folder: &Path) {
    let tasks = folder.join("run/io.containerd.runtime.v2.task/k8s.io");
    for task in fs::read_dir(tasks).into_iter().flatten().flatten() {
        if let Ok(address) = fs::read_to_string(task.path().join("address")) {
            let _ = fs::remove_file(address.trim_start_matches("unix://"));
        }
    }
    remove_if_empty("/run/containerd/s");
    remove_if_empty("/run/containerd");
}

fn unmount_everything(folder: &Path) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
    let mut points: Vec<&Path> = points.filter(|point| point.starts_with(folder)).collect();
    points.reverse();
    for point in points {
        let undone = unmount(point, UnmountFlags::empty()).or_else(|_| unmount(point, UnmountFlags::DETACH));
        if let Err(error) = undone {
            warn!(%error, mount = %point.display(), "a mount was left behind");
        }
    }
}

const DEVICE_PLUGINS: &str = "/var/lib/kubelet/device-plugins";

/// Removes the sockets by which a kubelet and the device plugin know each other.
pub fn device_sockets() {
    remove_matching(DEVICE_PLUGINS, |entry| {
        ["kubelet.sock", "gpu-stand-in.sock"].iter().any(|name| entry.ends_with(name))
    });
}

/// Places that programs write to wherever their state is; only what is ours goes.
fn remove_fixed_paths(folder: &Path) {
    remove_matching("/var/log/containers", |entry| {
        fs::read_link(entry).is_ok_and(|target| target.starts_with(folder))
    });
    remove_if_empty("/var/log/containers");
    remove_network_results("/var/lib/cni/results");
    remove_if_empty("/var/lib/cni/results");
    remove_if_empty("/var/lib/cni");
    device_sockets();
    remove_matching(DEVICE_PLUGINS, |entry| entry.ends_with("kubelet_internal_checkpoint"));
    remove_if_empty(DEVICE_PLUGINS);
    remove_if_empty("/var/lib/kubelet");
}

/// Records of the network plugins, named NETWORK-SANDBOX-INTERFACE. Every sandbox has one for its
/// loopback too, whose network's name is the same for all; it is ours if the sandbox is.
fn remove_network_results(folder: &str) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let prefix = format!("{}-", containerd::NETWORK);
    let ours: BTreeSet<&str> =
        names.iter().filter_map(|name| name.strip_prefix(&prefix)?.split('-').next()).collect();
    for name in names.iter().filter(|name| name.split('-').any(|part| ours.contains(part))) {
        let _ = fs::remove_file(Path::new(folder).join(name));
    }
}

fn remove_matching(folder: &str, ours: impl Fn(&Path) -> bool) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if ours(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn remove_if_empty(folder: &str) {
    use io::ErrorKind::{DirectoryNotEmpty, NotFound, ResourceBusy};
    match fs::remove_dir(folder) {
        // Busy is a folder that something is mounted on, which is not ours to remove.
        Err(error) if !matches!(error.kind(), NotFound | DirectoryNotEmpty | ResourceBusy) => {
            warn!(%error, folder, "an empty folder was left behind");
        }
        _ => {}
    }
}
