//! What stands in `deploy/`, checked by the tools that will read it.

mod promql;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::fixture::{
    DATABASE, Metrics, Pgditto, Postgres, PsqlOutput, USER, eventually, python, repository, run,
    tool,
};
use promql::{Selector, grouping_labels, selectors};

/// The oldest Kubernetes that knows native sidecars, and the newest that the validator knows.
const KUBERNETES_VERSIONS: [&str; 2] = ["1.29", "1.37"];

fn deploy(path: &str) -> PathBuf {
    repository().join("deploy").join(path)
}

fn read(path: &str) -> String {
    let path = deploy(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn succeed(mut command: Command, args: &[&str], stdin: &str) -> PsqlOutput {
    command.args(args);
    let line = format!("{command:?}");
    let output = run(command, stdin);
    let (stdout, stderr) = (&output.stdout, &output.stderr);
    assert!(output.success, "{line}\n{stdout}{stderr}");
    output
}

fn temporary(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(name);
    std::fs::write(&path, text).expect("space on the disk");
    (folder, path)
}

fn as_str(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

// --- Kubernetes

/// The example overlay as `kubectl kustomize` renders it.
fn rendered() -> String {
    let overlay = deploy("kubernetes/overlays/example");
    succeed(tool("kubectl"), &["kustomize", as_str(&overlay)], "").stdout
}

fn validator() -> PathBuf {
    python("python-deploy", "tests/deploy/python-requirements.txt")
}

/// YAML as a list of JSON documents.
fn documents(yaml: &str) -> Vec<Value> {
    let program =
        "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)";
    let output = succeed(Command::new(validator()), &["-c", program], yaml);
    serde_json::from_str(&output.stdout).expect("JSON")
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    let found = documents.iter().find(|document| document["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind}"))
}

/// The sidecar's container in the example's Deployment.
fn sidecar(documents: &[Value]) -> Value {
    let pod = &of_kind(documents, "Deployment")["spec"]["template"]["spec"];
    pod["initContainers"][0].clone()
}

#[test]
fn kubernetes_example_is_valid_for_its_versions() {
    let (_folder, path) = temporary("example.yaml", &rendered());
    let validate = validator().with_file_name("kubernetes-validate");
    for version in KUBERNETES_VERSIONS {
        let args = ["--strict", "-k", version, as_str(&path)];
        succeed(Command::new(&validate), &args, "");
    }
}

#[test]
fn kubernetes_sidecar_is_native_probed_and_confined() {
    let documents = documents(&rendered());
    let sidecar = sidecar(&documents);
    assert_eq!(sidecar["restartPolicy"], "Always");
    for (probe, path) in [
        ("startupProbe", "/healthz"),
        ("readinessProbe", "/readyz"),
        ("livenessProbe", "/healthz"),
    ] {
        assert_eq!(sidecar[probe]["httpGet"]["path"], path, "{probe}");
    }
    let security = &sidecar["securityContext"];
    assert_eq!(security["runAsNonRoot"], true);
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["capabilities"]["drop"][0], "ALL");
    assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
    assert!(sidecar["resources"]["limits"]["memory"].is_string());
    // The pod outlives a drain.
    let pod = &of_kind(&documents, "Deployment")["spec"]["template"]["spec"];
    let grace = pod["terminationGracePeriodSeconds"]
        .as_u64()
        .expect("seconds");
    assert!(grace > 30, "listen.drain_timeout is 30s");
}

#[test]
fn kubernetes_manifests_hold_no_secret() {
    let documents = documents(&rendered());
    assert!(
        documents
            .iter()
            .all(|document| document["kind"] != "Secret")
    );
    let text = rendered();
    assert!(!text.contains("postgres://"), "a URL may hold a password");
}

/// The configuration that the pod's environment, files and ConfigMap make is one that we accept.
#[test]
fn kubernetes_configuration_is_understood() {
    let documents = documents(&rendered());
    let configuration = of_kind(&documents, "ConfigMap")["data"]["config.toml"].clone();
    let (folder, path) = temporary("config.toml", configuration.as_str().expect("text"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgditto"));
    command.args(["check-config", "--config"]).arg(&path);
    let environment = sidecar(&documents)["env"].clone();
    for variable in environment.as_array().expect("a list") {
        let name = variable["name"].as_str().expect("a name");
        let mut value = variable["value"].as_str().expect("a value").to_owned();
        // The mounted secrets and the volume, as files of this test.
        if value.starts_with('/') {
            let stand_in = folder.path().join(name);
            if name.ends_with("_FILE") {
                let secret = if name.contains("URL") {
                    "postgres://app:secret@database/app"
                } else {
                    "token"
                };
                std::fs::write(&stand_in, secret).expect("space on the disk");
            } else {
                std::fs::create_dir(&stand_in).expect("space on the disk");
            }
            value = stand_in.to_str().expect("UTF-8").to_owned();
        }
        command.env(name, value);
    }
    succeed(command, &[], "");
}

/// The hook must leave the application its database until it has ended.
#[test]
fn kubernetes_hook_waits_for_the_application() {
    let documents = documents(&rendered());
    let hook = sidecar(&documents)["lifecycle"]["preStop"]["exec"]["command"].clone();
    let words: Vec<&str> = hook
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(
        words[..3],
        ["/usr/bin/pgditto", "drain", "--wait-for-clients"]
    );
    // An unknown flag is an error even where help is asked for after it.
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgditto"));
    command.args(&words[1..]);
    let help = succeed(command, &["--help"], "");
    assert!(
        help.stdout.contains("--wait-for-clients"),
        "{}",
        help.stdout
    );
}

// --- systemd

#[test]
fn systemd_unit_is_valid_and_confined() {
    // The checker wants the program to exist, so the unit names the one that was built.
    let binary = env!("CARGO_BIN_EXE_pgditto");
    let unit = read("systemd/pgditto.service").replace("/usr/bin/pgditto", binary);
    let (_folder, path) = temporary("pgditto.service", &unit);
    let verify = || Command::new("systemd-analyze");
    let output = succeed(verify(), &["verify", "--man=no", as_str(&path)], "");
    // It reads the units of the machine along with ours, and they are not our concern.
    let complaints = output
        .stderr
        .lines()
        .filter(|line| line.contains("pgditto"));
    assert_eq!(complaints.collect::<Vec<_>>(), [""; 0]);
    // 0 is fully confined, 10 not at all; 2.0 and less is what systemd calls OK.
    let args = [
        "security",
        "--offline=true",
        "--threshold=20",
        as_str(&path),
    ];
    succeed(verify(), &args, "");
}

// --- The image

#[test]
fn image_runs_as_a_numbered_user_and_checks_its_health() {
    let text = read("Dockerfile");
    let lines: Vec<&str> = text.lines().collect();
    let last = |word: &str| {
        let found = lines.iter().rev().find(|line| line.starts_with(word));
        found.unwrap_or_else(|| panic!("no {word}")).to_owned()
    };
    let user = last("USER ").trim_start_matches("USER ");
    let id: u32 = user
        .split(':')
        .next()
        .and_then(|id| id.parse().ok())
        .expect("a number, which Kubernetes can compare with 0");
    assert_ne!(id, 0);
    assert!(last("HEALTHCHECK").contains("\"healthcheck\""));
    assert!(last("ENTRYPOINT").contains("/usr/bin/pgditto"));
    // The toolchain is the one that the crate demands.
    let manifest = std::fs::read_to_string(repository().join("Cargo.toml")).expect("Cargo.toml");
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = \"")?.strip_suffix('"'))
        .expect("rust-version");
    assert!(
        lines[3..]
            .iter()
            .any(|line| line.starts_with(&format!("FROM rust:{version}")))
    );
    for secret in ["ARG ", "PASSWORD", "TOKEN"] {
        assert!(!text.contains(secret), "no {secret} in an image");
    }
}

// --- Prometheus and Grafana

#[test]
fn alert_rules_are_valid_and_fire_when_they_should() {
    let rules = deploy("prometheus/pgditto.rules.yml");
    succeed(tool("promtool"), &["check", "rules", as_str(&rules)], "");
    let test = repository().join("tests/deploy/rules_test.yml");
    succeed(tool("promtool"), &["test", "rules", as_str(&test)], "");
    let cases = std::fs::read_to_string(&test).expect("the test of the rules");
    for alert in read("prometheus/pgditto.rules.yml")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
    {
        assert!(cases.contains(alert), "no case for {alert}");
    }
}

/// Where an expression stands, and itself with Grafana's variables filled in.
type Expression = (String, String);

fn dashboard_expressions() -> Vec<Expression> {
    let dashboard: Value = serde_json::from_str(&read("grafana/pgditto.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut expressions = Vec::new();
    for panel in panels {
        let title = panel["title"].as_str().expect("a title");
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().expect("an expression");
            let expression = expression
                .replace("$__rate_interval", "5m")
                .replace("\"$instance\"", "\".*\"")
                .replace("\"$database\"", "\".*\"");
            assert!(!expression.contains('$'), "{title}: {expression}");
            expressions.push((title.to_owned(), expression));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().expect("a list") {
        let name = variable["name"].as_str().expect("a name");
        if let Some(query) = variable["definition"].as_str() {
            let inner = query.trim_start_matches("label_values(");
            let (metric, label) = inner.trim_end_matches(')').rsplit_once(", ").expect("two");
            let metric = metric.replace("\"$instance\"", "\".*\"");
            expressions.push((format!("${name}"), format!("sum by ({label}) ({metric})")));
        }
    }
    expressions
}

fn alert_expressions() -> Vec<Expression> {
    let rules = &documents(&read("prometheus/pgditto.rules.yml"))[0];
    let rules = rules["groups"][0]["rules"].as_array().expect("rules");
    let expression = |rule: &Value| {
        let part = |key: &str| rule[key].as_str().expect("text").to_owned();
        (part("alert"), part("expr"))
    };
    rules.iter().map(expression).collect()
}

#[test]
fn dashboard_asks_valid_questions() {
    let mut rules = String::from("groups:\n- name: dashboard\n  rules:\n");
    for (at, (_, expression)) in dashboard_expressions().iter().enumerate() {
        // JSON's strings are YAML's too.
        let quoted = serde_json::to_string(expression).expect("JSON");
        rules += &format!("  - record: panel:{at}\n    expr: {quoted}\n");
    }
    let (_folder, path) = temporary("dashboard.yml", &rules);
    succeed(tool("promtool"), &["check", "rules", as_str(&path)], "");
}

/// Every metric, label and value that a panel or an alert asks for is there in a real scrape.
#[test]
fn dashboard_and_alerts_ask_for_what_is_exported() {
    let postgres = Postgres::start(&[]);
    let pgditto = Pgditto::start(&postgres, |_| {});
    // A database's series are there from its first client on.
    let url = pgditto.url(USER, DATABASE);
    let output = crate::fixture::psql(&url, &["-Atq"], "SELECT 1");
    assert!(output.success, "{}", output.stderr);
    eventually("the guard has a proof", || {
        let age = "pgditto_guard_proof_age_seconds";
        pgditto.metrics().series(age).next().is_some()
    });
    let complaints = unanswered(&pgditto.metrics());
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// What panels and alerts ask for in vain.
fn unanswered(scrape: &Metrics) -> Vec<String> {
    let mut complaints = Vec::new();
    for (place, expression) in dashboard_expressions()
        .into_iter()
        .chain(alert_expressions())
    {
        let selectors = selectors(&expression);
        if selectors.is_empty() {
            complaints.push(format!("{place}: no metric in {expression}"));
        }
        for selector in &selectors {
            if !is_answered(selector, scrape) {
                complaints.push(format!("{place}: nothing answers {selector:?}"));
            }
        }
        for label in grouping_labels(&expression) {
            // Prometheus adds these itself.
            let added = ["instance", "job"].contains(&label.as_str());
            let known = selectors.iter().any(|selector| {
                scrape
                    .series(&selector.name)
                    .any(|series| series.contains(&format!("{label}=\"")))
            });
            if !added && !known {
                complaints.push(format!("{place}: no label {label} in {expression}"));
            }
        }
    }
    complaints
}

fn is_answered(selector: &Selector, scrape: &Metrics) -> bool {
    scrape.series(&selector.name).any(|series| {
        selector
            .equal
            .iter()
            .all(|(label, value)| series.contains(&format!("{label}=\"{value}\"")))
    })
}
