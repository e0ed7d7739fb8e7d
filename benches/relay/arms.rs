//! The relays: those that this host can run, their versions, commands and configurations.
//!
//! All relays have one worker, no access log and the same time-outs.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;

use crate::options::{ArmName, Options};
use crate::scenarios::Scenario;

/// The arm that the others are compared with.
pub(crate) const REFERENCE: &str = "nginx";

/// A relay that this host can run.
#[derive(Debug)]
pub(crate) struct Arm {
    name: String,
    version: String,
    relay: Relay,
}

#[derive(Debug)]
enum Relay {
    Direct,
    Iisplice { program: PathBuf, flags: Vec<String> },
    Nginx { program: &'static str, stream_module: Option<PathBuf>, buffer: Option<&'static str> },
    Haproxy { program: &'static str, splice: bool },
    TokioUring,
    OpSplice,
}

/// The addresses and the directory for a relay.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) listen: SocketAddr,
    pub(crate) upstream: SocketAddr,
    pub(crate) directory: &'a Path,
    pub(crate) connections_max: u32,
}

/// The selected arms that can run, and a line for each that cannot.
pub(crate) fn prepare(options: &Options) -> Result<(Vec<Arm>, Vec<String>)> {
    let mut arms = Vec::new();
    let mut left_out = Vec::new();
    for name in options.arm_names() {
        match Arm::find(name, options) {
            Ok(found) => arms.extend(found),
            Err(reason) => left_out.push(format!("{reason:#}")),
        }
    }
    if arms.is_empty() {
        bail!("this host can run no arm: {}", left_out.join("; "));
    }
    Ok((arms, left_out))
}

impl Arm {
    fn find(name: ArmName, options: &Options) -> Result<Vec<Self>> {
        let arm =
            |name: &str, version: &str, relay| Self { name: name.into(), version: version.into(), relay };
        Ok(match name {
            ArmName::Direct => vec![arm("direct", "no proxy", Relay::Direct)],
            ArmName::Iisplice => find_iisplice(options).context("iisplice")?,
            ArmName::Nginx => vec![find_nginx(REFERENCE, None).context("nginx")?],
            ArmName::Nginx256k => vec![find_nginx("nginx-256k", Some("256k")).context("nginx-256k")?],
            ArmName::Haproxy => vec![find_haproxy("haproxy", false).context("haproxy")?],
            ArmName::HaproxySplice => vec![find_haproxy("haproxy-splice", true).context("haproxy-splice")?],
            ArmName::TokioUring => vec![arm("tokio-uring", "tokio-uring 0.5, copying", Relay::TokioUring)],
            ArmName::OpSplice => vec![arm("op-splice", "IORING_OP_SPLICE", Relay::OpSplice)],
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Why this arm does not run the scenario.
    pub(crate) fn unfit_for(&self, scenario: Scenario) -> Option<&'static str> {
        match (&self.relay, scenario) {
            (Relay::Direct, Scenario::Idle) => Some("there is no proxy"),
            (Relay::OpSplice, Scenario::Idle) => {
                Some("needs six descriptors and two kernel threads per connection")
            }
            _ => None,
        }
    }

    /// Writes the relay's configuration and returns its command; `None` for the arm without a relay.
    pub(crate) fn command(&self, place: &Place<'_>) -> Result<Option<Vec<OsString>>> {
        let (listen, upstream) = (place.listen.to_string(), place.upstream.to_string());
        Ok(match &self.relay {
            Relay::Direct => None,
            Relay::Iisplice { program, flags } => {
                let mut command = words(&[program.as_os_str()]);
                command.extend(words(&["proxy", "--listen", &listen, "--upstream", &upstream]));
                command.extend(words(&["--workers", "1", "--no-pin"]));
                command.extend(words(flags));
                Some(command)
            }
            Relay::Nginx { program, stream_module, buffer } => {
                let file = place.directory.join("nginx.conf");
                write(&file, &nginx_conf(place, stream_module.as_deref(), *buffer))?;
                let mut command = words(&[program, "-c"]);
                command.push(file.into());
                command.push("-e".into());
                command.push(place.directory.join("nginx.log").into());
                Some(command)
            }
            Relay::Haproxy { program, splice } => {
                let file = place.directory.join("haproxy.cfg");
                write(&file, &haproxy_cfg(place, *splice))?;
                let mut command = words(&[program, "-db", "-q", "-f"]);
                command.push(file.into());
                Some(command)
            }
            Relay::TokioUring => Some(baseline("tokio-uring", &listen, &upstream)?),
            Relay::OpSplice => Some(baseline("op-splice", &listen, &upstream)?),
        })
    }
}

fn find_iisplice(options: &Options) -> Result<Vec<Arm>> {
    let program = options.iisplice.clone();
    let version = first_line(&output_of(&program, &["--version"])?);
    if !Command::new(&program).args(["proxy", "--help"]).output().is_ok_and(|output| output.status.success())
    {
        bail!("{} has no `proxy` command", program.display());
    }
    let arm = |name: String, flags| Arm {
        name,
        version: version.clone(),
        relay: Relay::Iisplice { program: program.clone(), flags },
    };
    let mut arms = vec![arm("iisplice".to_owned(), Vec::new())];
    for flags in &options.iisplice_flags {
        let flags: Vec<String> = flags.split_whitespace().map(str::to_owned).collect();
        arms.push(arm(format!("iisplice {}", flags.join(" ")), flags));
    }
    Ok(arms)
}

fn find_nginx(name: &str, buffer: Option<&'static str>) -> Result<Arm> {
    let (program, build) = find_program(&["nginx", "/usr/sbin/nginx"], "-V")?;
    let stream_module = if build.contains("--with-stream=dynamic") {
        let directory = build
            .split_whitespace()
            .find_map(|argument| argument.strip_prefix("--modules-path="))
            .context("nginx -V names no --modules-path")?;
        let module = Path::new(directory).join("ngx_stream_module.so");
        if !module.exists() {
            bail!("{} is missing; on Debian it is in libnginx-mod-stream", module.display());
        }
        Some(module)
    } else if build.contains("--with-stream") {
        None
    } else {
        bail!("this nginx is built without its stream module");
    };
    let relay = Relay::Nginx { program, stream_module, buffer };
    Ok(Arm { name: name.to_owned(), version: first_line(&build), relay })
}

fn find_haproxy(name: &str, splice: bool) -> Result<Arm> {
    let (program, version) = find_program(&["haproxy", "/usr/sbin/haproxy"], "-v")?;
    Ok(Arm {
        name: name.to_owned(),
        version: first_line(&version),
        relay: Relay::Haproxy { program, splice },
    })
}

/// The configuration of nginx stream. The access log is off by default; the configuration says so explicitly.
fn nginx_conf(place: &Place<'_>, stream_module: Option<&Path>, buffer: Option<&str>) -> String {
    let module = stream_module.map(|path| format!("load_module {};\n", path.display())).unwrap_or_default();
    // Root's worker would change to the user `nobody`, which cannot read the private directory.
    let user = if geteuid().is_root() { "user root;\n" } else { "" };
    let buffer = buffer.map(|size| format!("proxy_buffer_size {size};")).unwrap_or_default();
    let Place { listen, upstream, directory, connections_max } = place;
    format!(
        "{module}{user}worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log error;
events {{ worker_connections {}; }}
stream {{
    access_log off;
    server {{
        listen {listen};
        proxy_pass {upstream};
        proxy_connect_timeout 5s;
        proxy_timeout 1h;
        {buffer}
    }}
}}
",
        connections_max * 2 + 100,
        directory = directory.display(),
    )
}

fn haproxy_cfg(place: &Place<'_>, splice: bool) -> String {
    // `maxpipes` keeps the descriptors that HAProxy reserves for pipes within the process's limit.
    let (pipes, option) =
        if splice { ("tune.pipesize 1048576\n    maxpipes 128", "option splice-response") } else { ("", "") };
    let Place { listen, upstream, connections_max, .. } = place;
    format!(
        "global
    nbthread 1
    maxconn {connections_max}
    {pipes}
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    {option}
frontend in
    bind {listen}
    default_backend out
backend out
    server upstream {upstream}
"
    )
}

fn baseline(role: &str, listen: &str, upstream: &str) -> Result<Vec<OsString>> {
    let own = std::env::current_exe().context("cannot find the benchmark's own program")?;
    let mut command = vec![own.into_os_string()];
    command.extend(words(&[role, "--listen", listen, "--upstream", upstream]));
    Ok(command)
}

fn words<T: Into<OsString> + Clone>(words: &[T]) -> Vec<OsString> {
    words.iter().cloned().map(Into::into).collect()
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// The first of the programs that runs, and its output for `flag`.
fn find_program(names: &[&'static str], flag: &str) -> Result<(&'static str, String)> {
    names
        .iter()
        .find_map(|name| Some((*name, output_of(Path::new(name), &[flag]).ok()?)))
        .with_context(|| format!("{} is not installed", names[0]))
}

/// The program's standard output and standard error, where nginx prints its version.
fn output_of(program: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or("unknown").trim_start_matches("nginx version: ").to_owned()
}
