//! The manifests for Kubernetes: they have the form of their kinds, and say the same as each other, the image and the proxy.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::{BINARY, read, repository, run, said};

const FOLDER: &str = "deploy/scale/kubernetes";

/// That of the interop tests.
fn python() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("interop-venv").join("bin/python")
}

/// All objects of these files, if this machine can read them.
fn objects(files: &[PathBuf]) -> Result<Vec<Value>, String> {
    let output =
        run(Command::new(python()).arg("-B").arg(repository("tests/deploy/kubernetes.py")).args(files), b"");
    if !output.status.success() {
        return Err(said(&output));
    }
    Ok(serde_json::from_slice(&output.stdout).expect("the script prints JSON"))
}

fn is_there() -> bool {
    let output = Command::new(python()).args(["-c", "import kubernetes_validate, yaml"]).output();
    output.is_ok_and(|output| output.status.success())
}

fn one<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    objects.iter().find(is_it).unwrap_or_else(|| panic!("no {kind} {name}"))
}

pub(super) fn manifests() {
    if !is_there() {
        eprintln!(
            "deploy: SKIPPED: Missing: Python package kubernetes-validate. tests/interop/setup.sh installs it."
        );
        return;
    }
    let files: Vec<_> = ["deployment", "daemonset", "tlsroute"]
        .iter()
        .map(|name| repository(&format!("{FOLDER}/{name}.yaml")))
        .collect();
    let all = objects(&files).unwrap_or_else(|error| panic!("{error}"));

    let place = tempfile::tempdir().expect("a directory");
    let settings = one(&all, "ConfigMap", "iisplice")["data"]["iisplice.toml"].as_str().expect("text");
    let drain = settings.lines().find_map(|line| line.strip_prefix("drain-timeout = ")).expect("it is set");
    let drain = humantime::parse_duration(drain.trim_matches('"')).expect("a duration");
    let file = place.path().join("iisplice.toml");
    let text = settings
        .replace("iis1.corp.example", "127.0.0.1")
        .replace("iis2.corp.example", "127.0.0.2")
        .replace("/run/iisplice", &place.path().display().to_string());
    fs::write(&file, text).expect("it is written");
    let output = run(Command::new(BINARY).args(["proxy", "--check", "--config"]).arg(&file), b"");
    assert!(output.status.success(), "{}", said(&output));

    for (kind, name) in [("Deployment", "iisplice"), ("DaemonSet", "iisplice-edge")] {
        let spec = &one(&all, kind, name)["spec"];
        let pod = &spec["template"]["spec"];
        assert_eq!(spec["selector"]["matchLabels"], spec["template"]["metadata"]["labels"], "{name}");
        let container = &pod["containers"][0];
        let waits = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().expect("a number");
        let grace = pod["terminationGracePeriodSeconds"].as_u64().expect("a number");
        assert!(Duration::from_secs(grace) > drain + Duration::from_secs(waits), "{name}");
        // What the image has, and the profile that stands beside it.
        let image = read("deploy/container/Containerfile");
        let probe = serde_json::to_string(&container["readinessProbe"]["exec"]["command"]).expect("JSON");
        assert!(image.contains(&probe.replace(',', ", ")), "{probe}");
        assert!(image.contains(&format!("USER {0}:{0}", pod["securityContext"]["runAsUser"])), "{name}");
        assert_eq!(container["securityContext"]["seccompProfile"]["localhostProfile"], "iisplice.json");
        assert!(read("deploy/container/README.md").contains("/var/lib/kubelet/seccomp/iisplice.json"));
        assert!(
            settings.contains(&format!("\"0.0.0.0:{}\"", container["ports"][0]["containerPort"])),
            "{name}"
        );
        assert!(container["livenessProbe"].is_null(), "a restart ends every login");
    }
    let labels = &one(&all, "Deployment", "iisplice")["spec"]["selector"]["matchLabels"];
    for service in ["iisplice", "iisplice-cluster"] {
        assert_eq!(one(&all, "Service", service)["spec"]["selector"], *labels);
    }
    assert_eq!(one(&all, "Service", "iisplice")["spec"]["externalTrafficPolicy"], "Local");

    let route = &one(&all, "TLSRoute", "iisplice")["spec"];
    let parent = &route["parentRefs"][0];
    let gateway = one(&all, "Gateway", parent["name"].as_str().expect("a name"));
    let listeners = gateway["spec"]["listeners"].as_array().expect("a list");
    let listener =
        listeners.iter().find(|one| one["name"] == parent["sectionName"]).expect("it is the gateway's");
    assert_eq!((&listener["protocol"], &listener["tls"]["mode"]), (&"TLS".into(), &"Passthrough".into()));
    let to = &route["rules"][0]["backendRefs"][0];
    let ports = &one(&all, "Service", to["name"].as_str().expect("a name"))["spec"]["ports"];
    assert_eq!(ports[0]["port"], to["port"]);

    // A mistake is found.
    let wrong = place.path().join("wrong.yaml");
    let text = read(&format!("{FOLDER}/deployment.yaml")).replace("failureThreshold", "failureTreshold");
    fs::write(&wrong, text).expect("it is written");
    assert!(objects(&[wrong]).is_err_and(|error| error.contains("failureTreshold")));
}
