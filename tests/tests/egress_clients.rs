//! Real clients and real servers: with exactly the rules that it needs a client works as it
//! does anywhere, and to a name that no rule is about it fails with words that say so.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod clients;

use std::process::Command;

use clients::Servers;
use lakekeep_tests::for_each_privilege;

/// A client, what it does, and what comes of it.
struct Client {
    test: &'static str,
    /// What it needs.
    rules: &'static [&'static str],
    /// What it does.
    script: &'static str,
    /// What it then prints.
    prints: &'static str,
    /// The same with a name that no rule is about.
    refused: &'static str,
    /// What the client itself says of that.
    says: &'static str,
}

impl Client {
    fn check(&self, serve: impl Fn(&mut Servers)) {
        let Some(mut servers) = Servers::start(self.test) else {
            return;
        };
        serve(&mut servers);
        for_each_privilege(self.test, |privilege| {
            let run = servers.run(privilege, self.rules, self.script);
            run.assert_code(0);
            assert_eq!(run.text(), self.prints, "{}", run.stderr);
            let receipt = run.receipt.as_ref().unwrap();
            assert_eq!(receipt["traffic"]["denied"], 0, "{receipt:#}");

            let run = servers.run(privilege, self.rules, self.refused);
            assert_ne!(run.code, 0, "{}", run.text());
            let said = format!("{}{}", run.text(), run.stderr);
            assert!(said.contains(self.says), "{said}");
            let denial = "denied egress to other.example: no rule of the user allows it; \
                          the user can add: allow tcp other.example";
            assert!(run.stderr.contains(denial), "{}", run.stderr);
        });
    }
}

/// A page, a package and a repository.
fn web(servers: &mut Servers) {
    servers.file("www/hello", "hello\n");
    let folder = servers.folder().display().to_string();
    let made = Command::new("/bin/sh")
        .args(["-euc", include_str!("clients/content.sh"), "sh", &folder])
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    servers.web();
}

#[test]
fn curl_over_http() {
    let client = Client {
        test: "egress_clients::curl_http",
        rules: &["allow http web.example:80"],
        script: "curl -sS http://web.example/hello http://web.example/hello",
        prints: "hello\nhello\n",
        refused: "curl -sS http://other.example/hello",
        says: "Could not resolve host: other.example",
    };
    client.check(web);
}

#[test]
fn curl_over_https_and_http_2() {
    let client = Client {
        test: "egress_clients::curl_https",
        rules: &["allow tls web.example:443"],
        script: "curl -sS --http1.1 https://web.example/hello
            curl -sS --http2 -w '%{http_version}\n' https://web.example/hello",
        prints: "hello\nhello\n2\n",
        refused: "curl -sS https://other.example/hello",
        says: "Could not resolve host: other.example",
    };
    client.check(web);
}

#[test]
fn pip_from_an_index() {
    let client = Client {
        test: "egress_clients::pip",
        rules: &["allow tls pypi.example:443"],
        script: "/usr/bin/python3 -m pip install -q --no-cache-dir --target lib \
                 --index-url https://pypi.example/simple lkt-greeting
            PYTHONPATH=lib /usr/bin/python3 -c 'import lkt_greeting'",
        prints: "greetings from a package\n",
        refused: "/usr/bin/python3 -m pip install --retries 0 --target lib \
                  --index-url https://other.example/simple lkt-greeting",
        says: "No matching distribution found for lkt-greeting",
    };
    client.check(web);
}

#[test]
fn git_over_https() {
    let client = Client {
        test: "egress_clients::git",
        rules: &["allow tls git.example:443"],
        script: "git clone -q https://git.example/git/project.git; cat project/file
            cd project; git fetch -q; git log --format=%s",
        prints: "in a repository\nfirst\n",
        refused: "git clone -q https://other.example/git/project.git",
        says: "Could not resolve host: other.example",
    };
    client.check(web);
}

#[test]
fn psql_with_tls() {
    let client = Client {
        test: "egress_clients::psql",
        rules: &["allow tcp db.example:5432"],
        script: "psql 'host=db.example user=reader dbname=postgres sslmode=verify-full' \
                 -Atc 'select 6 * 7, ssl from pg_stat_ssl where pid = pg_backend_pid()'",
        prints: "42|t\n",
        refused: "psql 'host=other.example user=reader dbname=postgres' -c 'select 1'",
        says: "could not translate host name \"other.example\"",
    };
    client.check(Servers::postgresql);
}

#[test]
fn redis() {
    let client = Client {
        test: "egress_clients::redis",
        rules: &["allow tcp cache.example:6379"],
        script: "redis-cli -h cache.example set key value; redis-cli -h cache.example get key",
        prints: "OK\nvalue\n",
        refused: "redis-cli -h other.example get key",
        says: "Could not connect to Redis at other.example:6379",
    };
    client.check(Servers::redis);
}

#[test]
fn java() {
    let client = Client {
        test: "egress_clients::java",
        rules: &["allow tls web.example:443"],
        script: "keytool -importcert -noprompt -storepass changeit -keystore trust \
                 -file /shown/authority.pem 2>/dev/null
            java -Djavax.net.ssl.trustStore=trust -Djavax.net.ssl.trustStorePassword=changeit /shown/Client.java https://web.example/hello",
        prints: "HTTP_2 hello\n",
        refused: "java /shown/Client.java https://other.example/hello",
        says: "UnresolvedAddressException",
    };
    client.check(|servers| {
        servers.file("shown/Client.java", include_str!("clients/Client.java"));
        web(servers);
    });
}

#[test]
fn node() {
    let client = Client {
        test: "egress_clients::node",
        rules: &["allow tls web.example:443"],
        script: "node /shown/client.js https://web.example/hello",
        prints: "hello\n",
        refused: "node /shown/client.js https://other.example/hello",
        says: "getaddrinfo ENOTFOUND other.example",
    };
    client.check(|servers| {
        servers.file("shown/client.js", include_str!("clients/client.js"));
        web(servers);
    });
}

#[test]
fn requests_of_python() {
    let client = Client {
        test: "egress_clients::requests",
        rules: &["allow tls web.example:443", "allow http web.example:80"],
        script: "/usr/bin/python3 -c '
import requests
with requests.Session() as session:
    for url in (\"https://web.example/hello\", \"http://web.example/hello\") * 2:
        print(session.get(url, timeout=10).text, end=\"\")'",
        prints: "hello\nhello\nhello\nhello\n",
        refused: "/usr/bin/python3 -c '
import requests
requests.get(\"https://other.example/hello\", timeout=10)'",
        says: "Name or service not known",
    };
    client.check(web);
}

#[test]
fn aiohttp_of_python() {
    let client = Client {
        test: "egress_clients::aiohttp",
        rules: &["allow tls web.example:443"],
        script: "/usr/bin/python3 /shown/client.py https://web.example/hello",
        prints: "hello\nhello\nhello\n",
        refused: "/usr/bin/python3 /shown/client.py https://other.example/hello",
        says: "Cannot connect to host other.example:443",
    };
    client.check(|servers| {
        servers.file("shown/client.py", include_str!("clients/client.py"));
        web(servers);
    });
}
