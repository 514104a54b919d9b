//! Requests held against a profile.

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lakekeep_policy::{Layer, MountMode, Policy, PolicyDoc, Preset};
    use lakekeep_profiles::{
        Asker, Ceilings, CeilingsDoc, Lifetimes, Profile, ProfileDoc, Refusal, Resolved,
        VolumeOwner, resolve, resolve_lifetimes,
    };

    const PROFILE: &str = r#"
version = 1
name = "team"
owner = "ann"
project = "churn"
images = ["/srv/images/py", "/srv/images/team/*"]
presets = ["notebook", "udf"]
[limits.default]
memory = "1GiB"
idle_timeout = "30m"
[limits.maximum]
memory = "2GiB"
cpus = 2
wall_time = "2h"
max_lifetime = "1d"
idle_timeout = "1h"
[[volume]]
name = "home"
home = true
target = "/home/user"
mode = "rw"
[[volume]]
name = "shared"
source = "/srv/shared"
target = "/shared"
owner = "project"
[[volume]]
name = "extra"
source = "/srv/extra"
target = "/extra"
mode = "rw"
optional = true
[env]
A = "profile"
B = "profile"
[[secret]]
name = "token"
as = "variable"
target = "TOKEN"
[floor]
require = ["landlock", "seccomp"]
"#;

    fn profile() -> Profile {
        let doc = ProfileDoc::from_toml("team.toml", PROFILE).unwrap();
        Profile::check(&doc, &Ceilings::default()).unwrap()
    }

    const ANN: Asker<'_> = Asker {
        account: Some("ann"),
    };

    fn ask(request: &str) -> Result<Resolved, Vec<Refusal>> {
        let doc = PolicyDoc::from_toml("t", &format!("version = 1\n{request}")).unwrap();
        resolve(&profile(), doc, ANN)
    }

    fn refused(request: &str) -> Vec<String> {
        let refusals = ask(request).unwrap_err();
        for refusal in &refusals {
            assert!(
                !refusal.remedy.is_empty() && !refusal.allowed.is_empty(),
                "{refusal}"
            );
        }
        refusals.into_iter().map(|refusal| refusal.field).collect()
    }

    #[test]
    fn an_empty_request_gets_the_profiles_defaults() {
        let resolved = resolve(&profile(), PolicyDoc::default(), ANN).unwrap();
        let policy = Policy::check(resolved.policy).unwrap();
        assert_eq!(policy.preset(), Preset::Notebook);
        assert_eq!(policy.limits().memory().get(), 1 << 30);
        // The preset has no time limit, the profile has.
        assert_eq!(policy.limits().wall_time(), Some(Duration::from_secs(7200)));
        assert_eq!(policy.floor(), [Layer::Seccomp, Layer::Landlock]);
        let targets: Vec<&str> = policy
            .mounts()
            .iter()
            .map(|rule| rule.target().as_str())
            .collect();
        assert_eq!(targets, ["/home/user", "/shared"]);
        assert_eq!(resolved.volumes[0].source.to_str(), Some("/home/ann"));
        assert_eq!(resolved.volumes[1].owner, VolumeOwner::Project);
    }

    #[test]
    fn a_request_within_the_profile_is_laid_over_it() {
        let resolved = ask(
            "preset = \"udf\"\nimage = \"/srv/images/team/x\"\nworkdir = \"/work\"\n\
             [limits]\nmemory = \"64MiB\"\ncpus = 2\nwall_time = \"1m\"\n\
             [env]\nB = \"user\"\nC = \"user\"\n\
             [floor]\nrequire = [\"memory_limit\", \"seccomp\"]\n\
             [[mounts]]\nsource = \"volume:extra\"\ntarget = \"/extra\"\nmode = \"rw\"\n\
             [[mounts]]\nsource = \"/home/ann\"\ntarget = \"/home/user\"\n",
        )
        .unwrap();
        let extra = resolved
            .volumes
            .iter()
            .find(|grant| grant.name == "extra")
            .unwrap();
        let home = resolved
            .volumes
            .iter()
            .find(|grant| grant.name == "home")
            .unwrap();
        assert_eq!(
            (extra.mode, home.mode),
            (MountMode::ReadWrite, MountMode::ReadOnly)
        );
        let policy = Policy::check(resolved.policy).unwrap();
        assert_eq!(policy.preset(), Preset::Udf);
        assert_eq!(policy.workdir().as_str(), "/work");
        assert_eq!(policy.limits().memory().get(), 64 << 20);
        let env: Vec<(&str, &str)> = policy
            .env()
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(env, [("A", "profile"), ("B", "user"), ("C", "user")]);
        assert_eq!(policy.floor().len(), 3);
        assert_eq!(policy.mounts().len(), 3);
    }

    #[test]
    fn everything_beyond_the_profile_is_refused_at_once() {
        let fields = refused(
            "preset = \"general\"\nimage = \"host\"\n\
             [limits]\nmemory = \"4GiB\"\ncpus = 3\npids = 100000\nwall_time = \"3h\"\n\
             swap = \"1MiB\"\noutput = \"1TiB\"\n\
             [landlock]\nenabled = false\n\
             [env]\nTOKEN = \"mine\"\n\
             [[mounts]]\nsource = \"/etc\"\ntarget = \"/data\"\n",
        );
        assert_eq!(
            fields,
            [
                "preset",
                "image",
                "limits.memory",
                "limits.swap",
                "limits.cpus",
                "limits.pids",
                "limits.wall_time",
                "limits.output",
                "landlock.enabled",
                "landlock.enabled",
                "env.TOKEN",
                "mounts[0].source",
            ]
        );
    }

    #[test]
    fn refusals_read_well() {
        let refusals = ask("[limits]\nmemory = \"4GiB\"").unwrap_err();
        assert_eq!(
            refusals[0].to_string(),
            "limits.memory: 4GiB: the profile allows at most 2GiB; \
             ask for at most 2GiB, or have limits.maximum raised"
        );
    }

    #[test]
    fn no_host_path_but_a_volume_is_ever_mounted() {
        for source in [
            "/",
            "/etc",
            "/home",
            "/home/bob",
            "/home/ann/",
            "/home/ann/.ssh",
            "/srv/shared/x",
            "/srv/shared/../../etc",
            "/srv/extra/.",
            "volume:",
            "volume:none",
            "volume:home/x",
            "volume:../etc",
            "/home/{account}",
        ] {
            let request = format!("[[mounts]]\nsource = \"{source}\"\ntarget = \"/shared\"");
            assert_eq!(refused(&request), ["mounts[0].source"], "{source}");
        }
    }

    #[test]
    fn a_volume_keeps_its_target_and_mode_and_comes_once() {
        let mount = |name: &str, target: &str, mode: &str| {
            format!(
                "[[mounts]]\nsource = \"volume:{name}\"\ntarget = \"{target}\"\nmode = \"{mode}\"\n"
            )
        };
        assert_eq!(
            refused(&mount("extra", "/home/user", "rw")),
            ["mounts[0].target"]
        );
        assert_eq!(
            refused(&mount("shared", "/shared", "rw")),
            ["mounts[0].mode"]
        );
        let twice = mount("extra", "/extra", "ro") + &mount("extra", "/extra", "rw");
        assert_eq!(refused(&twice), ["mounts[1]"]);
    }

    #[test]
    fn a_home_needs_an_account_that_stays_in_its_folder() {
        for account in [None, Some(".."), Some(""), Some("a/b"), Some(".ssh")] {
            let refusals =
                resolve(&profile(), PolicyDoc::default(), Asker { account }).unwrap_err();
            assert_eq!(refusals[0].field, "volume.home", "{account:?}");
        }
    }

    #[test]
    fn weaker_settings_need_an_administrator() {
        let request = "preset = \"udf\"\nproc.view = \"full\"\nseccomp.profile = \"notebook\"";
        assert_eq!(refused(request), ["proc.view", "seccomp.profile"]);
        let text = format!("{PROFILE}[admin]\nallow_weakening = [\"proc\", \"seccomp\"]\n");
        let doc = ProfileDoc::from_toml("t", &text).unwrap();
        let profile = Profile::check(&doc, &Ceilings::default()).unwrap();
        let asked = PolicyDoc::from_toml("t", &format!("version = 1\n{request}")).unwrap();
        resolve(&profile, asked, ANN).unwrap();
        // What the floor requires stays, whatever an administrator allows.
        let text = format!("{PROFILE}[admin]\nallow_weakening = [\"landlock\"]\n");
        let doc = ProfileDoc::from_toml("t", &text).unwrap();
        let profile = Profile::check(&doc, &Ceilings::default()).unwrap();
        let asked = PolicyDoc::from_toml("t", "version = 1\nlandlock.enabled = false").unwrap();
        let refusals = resolve(&profile, asked, ANN).unwrap_err();
        assert!(refusals[0].allowed.contains("floor"), "{refusals:?}");
    }

    #[test]
    fn ceilings_bound_profiles_that_say_nothing() {
        let ceilings = CeilingsDoc::from_toml("c", "[limits]\npids = 10\n").unwrap();
        let ceilings = Ceilings::check(ceilings).unwrap();
        let doc = ProfileDoc::from_toml("team.toml", PROFILE).unwrap();
        let profile = Profile::check(&doc, &ceilings).unwrap();
        let resolved = resolve(&profile, PolicyDoc::default(), ANN).unwrap();
        assert_eq!(resolved.policy.limits.pids, Some(10));
        let asked = PolicyDoc::from_toml("t", "version = 1\nlimits.pids = 11").unwrap();
        assert_eq!(
            resolve(&profile, asked, ANN).unwrap_err()[0].field,
            "limits.pids"
        );
    }

    #[test]
    fn lifetimes_have_defaults_and_maxima() {
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
        let settled = resolve_lifetimes(&profile(), Lifetimes::default()).unwrap();
        assert_eq!(settled.idle_timeout, Some(Duration::from_secs(1800)));
        assert_eq!(settled.max_lifetime, hours(24));
        let asked = Lifetimes {
            idle_timeout: hours(1),
            max_lifetime: hours(2),
        };
        assert_eq!(resolve_lifetimes(&profile(), asked), Ok(asked));
        let asked = Lifetimes {
            idle_timeout: hours(2),
            max_lifetime: hours(48),
        };
        assert_eq!(resolve_lifetimes(&profile(), asked).unwrap_err().len(), 2);
    }
}
