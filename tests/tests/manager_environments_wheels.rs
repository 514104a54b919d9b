//! An environment of the usual libraries, of two machines of one user: what each of them sends to a
//! manager, and that code runs with it. Figures are printed (`--no-capture`).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lakekeep_tests::manager::{ALICE, Machine, Manager, Setup, has_python};
use lakekeep_tests::uv;
use serde_json::Value;

const WHEELS: [&str; 5] = ["pyarrow", "pandas", "numpy", "scipy", "scikit-learn"];

const EDITABLE: &str = r#"
[project]
name = "lk-editable"
version = "3.1"
[build-system]
requires = ["setuptools>=70"]
build-backend = "setuptools.build_meta"
[tool.setuptools]
py-modules = ["lk_editable"]
"#;

/// Uses all of it.
const CODE: &str = "
import numpy, pandas, pyarrow, scipy.stats, lk_editable, lk_local
from sklearn.linear_model import LinearRegression
frame = pyarrow.table({'x': [1.0, 2.0, 3.0]}).to_pandas()
frame['y'] = lk_local.doubled(frame.x) + lk_editable.ONE
line = LinearRegression().fit(frame[['x']], frame.y)
slope = scipy.stats.linregress(frame.x, frame.y).slope
assert numpy.isclose(line.coef_[0], slope)
print([round(y, 6) for y in line.predict(frame[['x']]).tolist()])
";

/// Room for what these libraries load.
const PERSONAL: &str = r#"
version = 1
name = "home-{user}"
owner = "{user}"
images = ["host"]
presets = ["general"]
[limits.default]
memory = "1GiB"
[admin]
expose_host_image = true
"#;

fn number(told: &Value, name: &str) -> u64 {
    told[name].as_u64().unwrap()
}

/// A machine of Alice's with the libraries, an editable package and a local module.
fn equipped<'m>(manager: &'m Manager, name: &str, uv: &Path) -> (Machine<'m>, PathBuf) {
    let machine = Machine::new(manager, ALICE, name);
    let (package, module) = (
        machine.home().join("src"),
        machine.home().join("lk_local.py"),
    );
    // Her own: what builds it writes beside it.
    machine.succeed(Command::new("mkdir").arg(&package));
    fs::write(package.join("pyproject.toml"), EDITABLE).unwrap();
    fs::write(package.join("lk_editable.py"), "ONE = 1\n").unwrap();
    fs::write(&module, "def doubled(x):\n    return 2 * x\n").unwrap();
    let mut install = machine.command(uv);
    install
        // The certificates that its user's other programs trust.
        .args(["--system-certs", "pip", "install", "--quiet"])
        .args(["--link-mode", "copy", "--python"])
        .arg(machine.python())
        .args(WHEELS)
        .arg("--editable")
        .arg(&package);
    machine.succeed(&mut install);
    (machine, module)
}

#[test]
fn a_second_machine_with_the_same_libraries_sends_next_to_nothing() {
    let test = "environments_of_wheels";
    let Some(program) = uv(test).filter(|_| has_python(test)) else {
        return;
    };
    let Some(manager) = Setup::new().personal_whole(PERSONAL).start(test) else {
        return;
    };
    // Where its user may read it.
    let own = manager.place().path().join("uv");
    fs::copy(program, &own).unwrap();
    let push = |name: &str| {
        let (machine, module) = equipped(&manager, name, &own);
        let told = machine.push(&["--module", module.to_str().unwrap()]);
        println!("{name}: {told}");
        let printed = machine.run(told["digest"].as_str().unwrap(), CODE);
        assert_eq!(printed, "[3.0, 5.0, 7.0]\n");
        told
    };
    let first = push("first");
    assert!(number(&first, "bytes") > 100 << 20, "{first}");
    assert!(
        number(&first, "sent_bytes") * 2 > number(&first, "bytes"),
        "{first}"
    );
    let second = push("second");
    assert_ne!(first["digest"], second["digest"], "its paths are others");
    // With the manifest, which names every file.
    let (sent, bytes) = (number(&second, "wire_bytes"), number(&second, "bytes"));
    assert!(sent > 0 && sent * 100 <= bytes, "{second}");
    manager.end();
}
