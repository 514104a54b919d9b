use std::collections::BTreeMap;
use std::path::PathBuf;

use lakekeep_plan::host::{CgroupMode, HostFacts};
use rustix::io::Errno;

use super::*;

fn hardened() -> Surroundings {
    Surroundings {
        sysctls: hardening::SWITCHES
            .iter()
            .map(|switch| (switch.name.to_owned(), Some(2)))
            .collect(),
        ksm_run: Some(0),
        swap_accounted: Some(true),
        free_ids: 231_072,
        peers: BTreeMap::from([
            ("crun".to_owned(), Some(PathBuf::from("/usr/bin/crun"))),
            ("runc".to_owned(), None),
        ]),
        project_quotas: Some(vec!["/data".to_owned()]),
        capture: Capture::Made,
        relay: Some(PathBuf::from("/usr/local/bin/lakekeep-relay")),
        executable: Some(PathBuf::from("/usr/local/bin/lakekeep")),
    }
}

fn find(facts: &HostFacts, name: &str) -> Check {
    find_around(facts, &hardened(), name)
}

fn find_around(facts: &HostFacts, around: &Surroundings, name: &str) -> Check {
    let report = check_with(facts, around);
    let named = report.checks.into_iter().find(|c| c.name == name);
    named.unwrap_or_else(|| panic!("no check {name}"))
}

fn names_with(report: &Report, status: Status) -> Vec<&str> {
    report
        .checks
        .iter()
        .filter(|check| check.status == status)
        .map(|check| check.name.as_str())
        .collect()
}

#[test]
fn a_good_host_lacks_only_what_its_cgroup_version_lacks() {
    let report = check_with(&HostFacts::example_root(), &hardened());
    assert_eq!(names_with(&report, Status::Missing), Vec::<&str>::new());
    assert_eq!(names_with(&report, Status::Degraded), ["cgroup_mode"]);
}

#[test]
fn a_good_rootless_host_lacks_only_cpuset() {
    let report = check_with(&HostFacts::example_rootless(), &hardened());
    assert_eq!(names_with(&report, Status::Missing), Vec::<&str>::new());
    assert_eq!(names_with(&report, Status::Degraded), ["cgroup_cpuset"]);
}

#[test]
fn every_bad_result_has_an_effect_and_a_remedy_and_no_good_one_has() {
    for facts in [HostFacts::example_root(), worst_root(), worst_rootless()] {
        for check in check_with(&facts, &worst_around()).checks {
            let bad = check.status != Status::Ok;
            assert_eq!(check.remedy.is_some(), bad, "{check:?}");
            assert_eq!(!check.effect.is_empty(), bad, "{check:?}");
        }
    }
}

#[test]
fn names_are_distinct() {
    let report = check_with(&worst_root(), &worst_around());
    let names: std::collections::BTreeSet<&String> =
        report.checks.iter().map(|check| &check.name).collect();
    assert_eq!(names.len(), report.checks.len());
}

#[test]
fn an_old_kernel_is_named_for_each_feature_that_it_lacks() {
    let mut facts = HostFacts::example_root();
    facts.kernel.minor = 4;
    facts.kernel.major = 5;
    assert_eq!(find(&facts, "pidfd").status, Status::Ok);
    assert_eq!(find(&facts, "close_range").status, Status::Missing);
    assert_eq!(find(&facts, "mount_setattr").status, Status::Missing);
    assert_eq!(find(&facts, "cgroup_kill").status, Status::Degraded);
}

#[test]
fn the_switch_that_forbids_user_namespaces_is_the_one_to_set() {
    let mut facts = HostFacts::example_rootless();
    facts.user_namespaces.unprivileged_clone_sysctl = Some(false);
    let check = find(&facts, "user_namespaces");
    assert_eq!(check.status, Status::Missing);
    let remedy = "sudo sysctl -w kernel.unprivileged_userns_clone=1";
    assert_eq!(check.remedy.as_deref(), Some(remedy));

    let mut root = HostFacts::example_root();
    root.user_namespaces.unprivileged_clone_sysctl = Some(false);
    assert_eq!(find(&root, "user_namespaces").status, Status::Ok);
    root.user_namespaces.max = 0;
    let remedy = "sysctl -w user.max_user_namespaces=63000";
    let check = find(&root, "user_namespaces");
    assert_eq!(check.remedy.as_deref(), Some(remedy));
}

#[test]
fn apparmor_gets_a_profile_for_this_program_only() {
    let mut facts = HostFacts::example_rootless();
    facts.user_namespaces.apparmor_restricted = true;
    let remedy = find(&facts, "apparmor_user_namespaces").remedy.unwrap();
    assert!(remedy.contains("profile lakekeep /usr/local/bin/lakekeep"));
    assert!(!remedy.contains("apparmor_restrict_unprivileged_userns=0"));
    facts.caller.euid = 0;
    let check = find(&facts, "apparmor_user_namespaces");
    assert_eq!(check.status, Status::Ok);
}

#[test]
fn missing_helpers_and_missing_grants_have_different_remedies() {
    let mut facts = HostFacts::example_rootless();
    facts.subordinate.as_mut().unwrap().newgidmap = None;
    let remedy = find(&facts, "id_ranges").remedy.unwrap();
    assert_eq!(remedy, "sudo apt-get install uidmap");
    facts.subordinate = None;
    let remedy = find(&facts, "id_ranges").remedy.unwrap();
    assert!(remedy.starts_with("sudo usermod --add-subuids 231072-296607 "));
}

#[test]
fn delegation_is_asked_from_systemd_where_there_is_version_2() {
    let mut facts = HostFacts::example_rootless();
    facts.cgroup.delegated = false;
    facts.cgroup.unified.as_mut().unwrap().writable = false;
    for controller in facts.cgroup.controllers.values_mut() {
        controller.writable = false;
    }
    let remedy = find(&facts, "cgroup_delegation").remedy.unwrap();
    assert!(remedy.starts_with("systemd-run --user --scope"));
    facts.cgroup.mode = CgroupMode::V1;
    let remedy = find(&facts, "cgroup_memory").remedy.unwrap();
    assert!(remedy.contains("systemd.unified_cgroup_hierarchy=1"));
}

#[test]
fn swap_matters_only_where_it_is_not_accounted() {
    let facts = HostFacts::example_rootless();
    assert_eq!(find(&facts, "swap").status, Status::Ok);
    let check = find_around(&facts, &worst_around(), "swap");
    assert_eq!(check.status, Status::Degraded);
    let none = HostFacts::example_root();
    let check = find_around(&none, &worst_around(), "swap");
    assert_eq!(check.status, Status::Ok);
}

#[test]
fn the_text_is_plain_and_names_the_remedy() {
    let mut facts = HostFacts::example_root();
    facts.landlock_abi = 0;
    let text = check_with(&facts, &hardened()).to_string();
    let start =
        "degraded  landlock                    absent\n          effect: landlock: no second layer";
    assert!(text.contains(start), "{text}");
    let remedy = "&lsm=landlock,lockdown,yama /\" /etc/default/grub && update-grub  # then reboot";
    assert!(text.contains(remedy), "{text}");
    assert!(text.ends_with("2 degraded, 0 missing\n"), "{text}");
    assert!(!text.contains('\x1b'));
}

#[test]
fn a_list_of_modules_that_is_not_known_is_not_replaced() {
    let mut facts = HostFacts::example_root();
    facts.landlock_abi = 0;
    facts.lsm = None;
    let remedy = find(&facts, "landlock").remedy.unwrap();
    assert!(!remedy.contains("lsm="), "{remedy}");
}

#[test]
fn json_has_the_same_fields() {
    let report = check_with(&HostFacts::example_root(), &hardened());
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["checks"][0]["name"], "pidfd");
    assert_eq!(json["checks"][0]["status"], "ok");
    assert_eq!(json["checks"][0]["remedy"], serde_json::Value::Null);
}

#[test]
fn this_host_can_be_checked() {
    let facts = crate::host::probe().unwrap();
    let report = check(&facts);
    assert_eq!(
        report.worst(),
        report.checks.iter().map(|c| c.status).max().unwrap()
    );
    eprintln!("{report}");
}

#[test]
fn commands_with_redirections_run_as_root_as_a_whole() {
    let facts = HostFacts::example_rootless();
    assert_eq!(as_root(&facts, "modprobe erofs"), "sudo modprobe erofs");
    assert_eq!(
        as_root(&facts, "echo 'a' > /b"),
        r"sudo sh -c 'echo '\''a'\'' > /b'"
    );
    let root = HostFacts::example_root();
    assert_eq!(as_root(&root, "echo 2 > /b"), "echo 2 > /b");
}

fn refused(errno: Errno) -> Capture {
    Capture::Refused {
        words: format!("NFT_MSG_NEWRULE tproxy of all TCP: {errno}"),
        errno: errno.raw_os_error(),
    }
}

#[test]
fn egress_needs_a_network_that_catches_everything_and_a_relay() {
    let facts = HostFacts::example_rootless();
    let around = |capture| Surroundings {
        capture,
        ..hardened()
    };
    let find = |capture| find_around(&facts, &around(capture), "egress_network");
    assert_eq!(find(Capture::Made).status, Status::Ok);
    let untried = find(Capture::Untried);
    assert!(untried.status == Status::Ok && untried.found.contains("as root"));
    let no_module = find(refused(Errno::NOENT));
    assert_eq!(no_module.status, Status::Degraded);
    let remedy = no_module.remedy.unwrap();
    assert!(remedy.starts_with("sudo sh -c 'printf "), "{remedy}");
    assert!(
        remedy.ends_with("&& modprobe -a nf_tables nft_tproxy'"),
        "{remedy}"
    );
    let full = find(refused(Errno::NOSPC)).remedy.unwrap();
    assert!(full.contains("user.max_net_namespaces"), "{full}");
    let denied = find(refused(Errno::ACCESS)).remedy.unwrap();
    assert!(denied.contains("dmesg"), "{denied}");
    let alone = Surroundings {
        relay: None,
        ..hardened()
    };
    let relay = find_around(&facts, &alone, "egress_relay").remedy.unwrap();
    assert_eq!(relay, "sudo install -m 0755 lakekeep-relay /usr/local/bin/");
}

/// Where root runs the tests the network is made; elsewhere it is not tried.
#[test]
fn the_network_is_tried_without_a_trace_in_this_process() {
    let own = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let before = own();
    let tried = egress::Capture::try_out();
    match rustix::process::geteuid().is_root() {
        true => assert_eq!(tried, Capture::Made),
        false => assert_eq!(tried, Capture::Untried),
    }
    assert_eq!(own(), before);
}

fn worst_around() -> Surroundings {
    Surroundings {
        sysctls: hardening::SWITCHES
            .iter()
            .map(|switch| (switch.name.to_owned(), Some(-1)))
            .collect(),
        ksm_run: Some(1),
        swap_accounted: Some(false),
        free_ids: 100_000,
        peers: BTreeMap::new(),
        project_quotas: None,
        capture: refused(Errno::NOENT),
        relay: None,
        executable: None,
    }
}

fn worst_root() -> HostFacts {
    let mut facts = HostFacts::example_root();
    facts.kernel.major = 4;
    facts.landlock_abi = 0;
    facts.lsm = None;
    facts.seccomp_actions.clear();
    facts.user_namespaces.available = false;
    facts.caller.in_user_namespace = true;
    facts.caller.uid_map[0].count = 1;
    facts.cgroup.mode = CgroupMode::None;
    facts.cgroup.controllers.clear();
    facts.cgroup.unified = None;
    facts.filesystems.overlay = false;
    facts.filesystems.erofs = false;
    facts.proc_fully_visible = false;
    facts
}

fn worst_rootless() -> HostFacts {
    HostFacts {
        caller: HostFacts::example_rootless().caller,
        subordinate: None,
        ..worst_root()
    }
}
