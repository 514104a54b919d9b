use super::*;

const HYBRID_MOUNTS: &str = "\
23 27 0:22 / /sys rw,relatime - sysfs sysfs rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
";
const HYBRID_SELF: &str = "\
9:name=systemd:/
4:memory:/elsewhere/of-another
1:cpu,cpuacct:/
0::/
";

fn point(hierarchy: &Hierarchy, controller: Controller) -> &Path {
    &hierarchy.mount_of(controller).unwrap().point
}

#[test]
fn hybrid_controllers_are_found_on_version_1() {
    let hierarchy = Hierarchy::parse(HYBRID_MOUNTS, HYBRID_SELF);
    assert_eq!(hierarchy.mode(), Mode::Hybrid);
    let cpu = Path::new("/sys/fs/cgroup/cpu,cpuacct");
    assert_eq!(point(&hierarchy, Controller::Cpu), cpu);
    assert_eq!(point(&hierarchy, Controller::Cpuacct), cpu);
    let memory = hierarchy.mount_of(Controller::Memory).unwrap();
    assert_eq!(memory.version, Version::V1);
    assert_eq!(
        memory.own.as_deref(),
        Some(Path::new("/elsewhere/of-another"))
    );
    assert!(hierarchy.mount_of(Controller::Pids).is_none());
}

#[test]
fn a_named_hierarchy_has_no_controllers() {
    let hierarchy = Hierarchy::parse(HYBRID_MOUNTS, HYBRID_SELF);
    let systemd = hierarchy
        .mounts()
        .iter()
        .find(|m| m.point.ends_with("systemd"))
        .unwrap();
    assert!(systemd.controllers.is_empty());
}

#[test]
fn freezer_and_accounting_are_part_of_every_version_2_tree() {
    let mounts = "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    let hierarchy = Hierarchy::parse(mounts, "0::/user.slice/a.scope\n");
    assert_eq!(hierarchy.mode(), Mode::V2);
    let tree = Path::new("/sys/fs/cgroup");
    assert_eq!(point(&hierarchy, Controller::Freezer), tree);
    assert_eq!(point(&hierarchy, Controller::Cpuacct), tree);
    assert!(hierarchy.mount_of(Controller::Memory).is_none());
    let own = hierarchy.unified().unwrap().own.as_deref();
    assert_eq!(own, Some(Path::new("/user.slice/a.scope")));
}

#[test]
fn of_two_mounts_of_one_hierarchy_the_conventional_one_is_used() {
    let mounts = "\
50 1 0:26 / /run/agent/cgroup2 rw - cgroup2 cgroup2 rw
51 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
52 1 0:26 / /other rw - cgroup2 cgroup2 rw
";
    let hierarchy = Hierarchy::parse(mounts, "0::/\n");
    assert_eq!(hierarchy.mounts().len(), 1);
    let unified = hierarchy.unified().unwrap();
    assert_eq!(unified.point, Path::new("/sys/fs/cgroup"));
}

#[test]
fn own_group_is_relative_to_what_the_mount_shows() {
    assert_eq!(
        below_root("/docker/a/b", "/docker/a"),
        Some(PathBuf::from("/b"))
    );
    assert_eq!(below_root("/", "/"), Some(PathBuf::from("/")));
    assert_eq!(below_root("/docker/ab", "/docker/a"), None);
    assert_eq!(below_root("/../other", "/"), None);
}

#[test]
fn nothing_mounted_is_a_mode_of_its_own() {
    let hierarchy = Hierarchy::parse("22 27 0:21 / /proc rw - proc proc rw\n", "");
    assert_eq!(hierarchy.mode(), Mode::None);
    assert!(hierarchy.unified().is_none());
}
