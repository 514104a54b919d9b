//! scratch
use lakekeep_policy::*;
fn show(name: &str, text: &str) {
    let r = if name.ends_with("json") { PolicyDoc::from_json(name, text) } else { PolicyDoc::from_toml(name, text) };
    match r {
        Err(e) => println!("{e}"),
        Ok(d) => match Policy::check(d) { Err(e) => println!("{e}"), Ok(p) => { println!("ok {:?}", p.warnings()); } },
    }
}
fn main() {
    let t = |s: &str| show("policy.toml", s);
    let j = |s: &str| show("policy.json", s);
    t("version = 1\n\n[limits]\nmemry = 5\n");
    t("version = 1\nlimits.memry = 5\n");
    t("version = 1\n[limits]\nmemory = \"5XB\"\n");
    t("version = 1\n[limits]\nmemory = -5\n");
    t("version = 1\nlimits = [\"1GiB\"]\n");
    t("version = 1\nlimits = []\n");
    t("version = 1\n[[mounts]]\nsource = \"/a\"\n\n[[mounts]]\nsource=\"/b\"\ntarget=\"/b\"\nmod=\"ro\"");
    t("version = 1\n[[mounts]]\nsource=\"/b\"\ntarget=\"/b\"\nmode=\"rx\"");
    t("version = 1\n[mounts]\nsource=\"/b\"\n");
    t("version = 1\n[env]\nA = 12345\n");
    t("version = 1\n[env]\nA = \"hunter2\n");
    t("version = 1\n[env]\nA = hunter2\n");
    t("version = 1\n[env]\nA = \"hunter2\"\nA=\"hunter3\"");
    t("version = 1\nenv = \"hunter2\"\n");
    t("version = 1\n[[env]]\nA=\"hunter2\"\n");
    t("preset = \"udf\"\n");
    t("version = 2\n");
    t("version = 1\npreset = \"notebok\"\n");
    t("version = 1\n[network]\nmode = \"host\"\n");
    t("version = 1\n[limits\n");
    t("version = 1\n[limits]\ncpus = nan\npids = -1\n");
    t("version = 1\n[limits]\npids = 99999999999\n");
    t("version = 1\n[limits]\nmemory = 512\ncpus=0\nscratch_size='4GiB'\nwall_time='1s'\ncpu_time=5\n[floor]\nrequire=['landlok','seccomp','seccomp','landlock']\n[landlock]\nenabled=false\n[env]\n'a=b'='x'\nLAKEKEEP_X='y'\n");
    t("version = 1\nworkdir='/proc/self/fd/7'\nimage='x'\n[[mounts]]\nsource='a'\ntarget='/usr/x'\n[[mounts]]\nsource='/'\ntarget='/run'\nmode='rw'\n[[mounts]]\nsource='/proc/x'\ntarget='/d/../x'\n[[mounts]]\nsource='/x'\ntarget='/'\n[[mounts]]\nsource='/x'\ntarget='/run'");
    t("version = 1\nbogus.a.b.c.d.e.f = 1\n");
    t("version = 1\n[[floor.require]]\na=1\n");
    t("version = 1\npreset = 5\n[landlock]\nenabled=1");
    j("{\"version\":1,\n \"limits\": {\n  \"memry\" \n\n: 5}}");
    j("{\"version\":1,\n \"limits\": {\"memory\": \"5XB\"\n\n}}");
    j("{\"version\":1,\n \"limits\": [\"5XB\"]}");
    j("[1]");
    j("{\"version\":1,\"env\":{\"A\":\"x\",\n\"A\":\"hunter2\"}}");
    j("{\"version\":1,\"env\":{\"A\":1234}}");
    j("{\"version\":1,\"env\":\"hunter2\"}");
    j("{\"version\":1,\"mounts\":[{\"source\":\"/a\",\"target\":\"/b\",\"mode\":\"x\"}]}");
    j("{\"version\":1,\"mounts\":[{\"source\":\"/a\",\n\"mode\":\"ro\"}]}");
    j("{\"version\":1,\"mounts\":[[\"/a\",\"/b\"]]}");
    j("{\"version\":1,\"version\":1}");
    j("{\"version\":1,\n\"limits\": {\"memory\": 5");
    j("{\"version\":1,\n\"limits\": {\"memory\": 99999999999999999999, \"pids\": 4e3}}");
    j("{\"version\":1,\"limits\":{\"wall_time\":null,\"memory\":null}}");
    j("");
}
