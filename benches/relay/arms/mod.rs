//! The proxies: those that this host can run, their versions, commands and configurations.
//!
//! All have the same time-outs, and no access log but where a case is about it.

mod haproxy;
mod iisplice;
mod nginx;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cases::{Case, Work};
use crate::front::{Front, Setup};
use crate::options::{ArmName, Options};

/// A proxy that this host can run.
#[derive(Debug, Clone)]
pub(crate) struct Arm {
    /// Whose arm it is; a variant has the name of its base.
    pub(crate) base: ArmName,
    name: String,
    version: String,
    relay: Relay,
}

#[derive(Debug, Clone)]
enum Relay {
    Direct,
    /// With these flags.
    Floor(Vec<String>),
    Iisplice(iisplice::Iisplice),
    Nginx(nginx::Nginx),
    Haproxy(haproxy::Haproxy),
    TokioUring,
    OpSplice,
}

/// An arm with other settings, which only some cases have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Variant {
    pub(crate) of: ArmName,
    /// The arm's name in the report.
    pub(crate) name: &'static str,
    /// iisplice, floor: flags; `HAProxy`: a line of its section `global`; nginx: none.
    pub(crate) settings: &'static [&'static str],
}

/// The arms that can run, and the reason of each that cannot.
#[derive(Debug, Default)]
pub(crate) struct Arms {
    pub(crate) runnable: Vec<Arm>,
    pub(crate) missing: Vec<(ArmName, String)>,
}

impl Arms {
    /// Looks for the selected ones on this host.
    pub(crate) fn find(options: &Options) -> Result<Self> {
        let mut arms = Self::default();
        for name in options.arm_names() {
            match Arm::find(name, options) {
                Ok(found) => arms.runnable.extend(found),
                Err(reason) => arms.missing.push((name, format!("{reason:#}"))),
            }
        }
        if arms.runnable.is_empty() {
            let reasons: Vec<&str> = arms.missing.iter().map(|(_, reason)| reason.as_str()).collect();
            bail!("this host can run no arm: {}", reasons.join("; "));
        }
        Ok(arms)
    }

    /// The arms of a case, its variants included, in the order of the report.
    pub(crate) fn of(&self, case: &Case) -> Vec<Arm> {
        let plain = self.runnable.iter().filter(|arm| case.arms.contains(&arm.base)).cloned();
        let variants = case.variants.iter().filter_map(|variant| {
            self.runnable.iter().find(|arm| arm.base == variant.of).map(|arm| arm.varied(variant))
        });
        plain.chain(variants).collect()
    }
}

impl Arm {
    fn find(name: ArmName, options: &Options) -> Result<Vec<Self>> {
        let arm = |version: &str, relay| Self {
            base: name,
            name: name.to_string(),
            version: version.into(),
            relay,
        };
        let nginx = |buffer| {
            nginx::Nginx::find(options.nginx.as_deref(), buffer)
                .map(|(nginx, version)| vec![arm(&version, Relay::Nginx(nginx))])
        };
        let haproxy = |splice, never_reuses| {
            haproxy::Haproxy::find(options.haproxy.as_deref(), splice, never_reuses)
                .map(|(haproxy, version)| vec![arm(&version, Relay::Haproxy(haproxy))])
        };
        match name {
            ArmName::Direct => Ok(vec![arm("no proxy", Relay::Direct)]),
            ArmName::Floor => Ok(vec![arm("bare system calls", Relay::Floor(Vec::new()))]),
            ArmName::Iisplice => find_iisplice(options),
            ArmName::Nginx => nginx(None),
            ArmName::Nginx256k => nginx(Some("256k")),
            ArmName::Haproxy => haproxy(false, false),
            ArmName::HaproxySplice => haproxy(true, false),
            ArmName::HaproxyNever => haproxy(false, true),
            ArmName::TokioUring => Ok(vec![arm("tokio-uring 0.5, copying", Relay::TokioUring)]),
            ArmName::OpSplice => Ok(vec![arm("IORING_OP_SPLICE", Relay::OpSplice)]),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Whether it is a proxy that others use, and no part of this project.
    pub(crate) fn is_peer(&self) -> bool {
        matches!(self.relay, Relay::Nginx(_) | Relay::Haproxy(_))
    }

    /// Whether it shows what the bytes cost without a proxy's work.
    pub(crate) fn is_floor(&self) -> bool {
        matches!(self.relay, Relay::Floor(_))
    }

    /// Whether it is what this benchmark is about.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self.relay, Relay::Iisplice(_))
    }

    /// The arm with the settings of a variant.
    fn varied(&self, variant: &Variant) -> Self {
        let mut arm = Self { name: variant.name.to_owned(), ..self.clone() };
        match &mut arm.relay {
            Relay::Iisplice(iisplice::Iisplice { flags, .. }) | Relay::Floor(flags) => {
                flags.extend(variant.settings.iter().map(|flag| (*flag).to_owned()));
            }
            Relay::Haproxy(haproxy) => haproxy.global = variant.settings.join(" "),
            _ => {}
        }
        arm
    }

    /// Why this arm cannot run the case.
    pub(crate) fn unfit_for(&self, case: &Case) -> Option<&'static str> {
        match (&self.relay, case.front, case.work) {
            (Relay::Direct, _, Work::Idle(_) | Work::Spread(_)) => Some("there is no proxy"),
            (Relay::Direct, front, _) if front.terminates() => Some("the load's server speaks no TLS"),
            (Relay::Floor(_), _, Work::Idle(_)) => Some("shows what bytes cost, and none move"),
            (Relay::Floor(_), _, Work::Spread(_)) => Some("has one worker"),
            (Relay::Floor(_), front, _) => outside_the_floor(front),
            (Relay::OpSplice, _, Work::Idle(_)) => {
                Some("needs six descriptors and two kernel threads per connection")
            }
            (Relay::TokioUring | Relay::OpSplice, front, _) if front != Front::Stream => {
                Some("does nothing but relay TCP")
            }
            (Relay::Nginx(nginx), Front::Sni, _) => nginx.without_preread(),
            (Relay::Nginx(nginx), front, _) if front.terminates() => nginx.without_tls(front),
            (Relay::Haproxy(haproxy), front, _) if front.terminates() => haproxy.without_tls(),
            (Relay::Nginx(_), front, Work::Generated(plan)) if front.reads_http() && plan.logs_in() => Some(
                "its http proxy shares connections to the server between clients, so that logins fail or mix",
            ),
            (Relay::Nginx(nginx), front, _) if !front.reads_http() => nginx.without_stream(),
            _ => None,
        }
    }

    /// Writes the proxy's configuration and returns its command; `None` for the arm without a proxy.
    pub(crate) fn command(&self, setup: &Setup<'_>) -> Result<Option<Vec<OsString>>> {
        Ok(match &self.relay {
            Relay::Direct => None,
            Relay::Floor(flags) => {
                let mut command = baseline("floor", flags, setup)?;
                command.extend(floor_identity(setup));
                Some(command)
            }
            Relay::Iisplice(iisplice) => Some(iisplice.command(setup)),
            Relay::Nginx(nginx) => Some(nginx.command(setup)?),
            Relay::Haproxy(haproxy) => Some(haproxy.command(setup)?),
            Relay::TokioUring => Some(baseline("tokio-uring", &[], setup)?),
            Relay::OpSplice => Some(baseline("op-splice", &[], setup)?),
        })
    }

    /// How many connections each worker has.
    pub(crate) fn spread(&self, pids: &[i32], directory: &Path) -> Result<Vec<u64>> {
        match &self.relay {
            Relay::Iisplice(_) => iisplice::spread(directory),
            Relay::Nginx(_) => nginx::spread(pids),
            Relay::Haproxy(_) => haproxy::spread(directory),
            _ => bail!("it has one worker"),
        }
    }
}

/// The nginx that serves as a server with TLS, behind a proxy that passes TLS through.
pub(crate) fn tls_server(options: &Options, setup: &Setup<'_>) -> Result<Vec<OsString>> {
    let (nginx, _) = nginx::Nginx::find(options.nginx.as_deref(), None).context("the server with TLS")?;
    nginx.serve(setup)
}

fn find_iisplice(options: &Options) -> Result<Vec<Arm>> {
    let version = iisplice::version(&options.iisplice)?;
    let arm = |name: String, flags: Vec<String>| Arm {
        base: ArmName::Iisplice,
        name,
        version: version.clone(),
        relay: Relay::Iisplice(iisplice::Iisplice { program: options.iisplice.clone(), flags }),
    };
    let mut arms = vec![arm(ArmName::Iisplice.to_string(), Vec::new())];
    for flags in &options.iisplice_flags {
        let flags: Vec<String> = flags.split_whitespace().map(str::to_owned).collect();
        arms.push(arm(format!("iisplice {}", flags.join(" ")), flags));
    }
    Ok(arms)
}

/// Why the floor has no part in a front: it passes on the bytes of a case and no others.
fn outside_the_floor(front: Front) -> Option<&'static str> {
    match front {
        Front::Stream | Front::Sni | Front::Tls | Front::TlsInFull | Front::Http | Front::Https => None,
        Front::ProxyHeader => Some("writes no PROXY header"),
        Front::Logged(_) => Some("writes no log"),
    }
}

/// What makes the floor speak TLS where a front terminates it.
fn floor_identity(setup: &Setup<'_>) -> Vec<OsString> {
    if !setup.front.terminates() {
        return Vec::new();
    }
    let mut flags = vec!["--certificate".into(), setup.certificate.chain.clone().into()];
    flags.extend(["--key".into(), setup.certificate.key.clone().into()]);
    flags.extend((setup.front == Front::TlsInFull).then(|| "--without-resumption".into()));
    flags
}

fn baseline(role: &str, flags: &[String], setup: &Setup<'_>) -> Result<Vec<OsString>> {
    let own = std::env::current_exe().context("cannot find the benchmark's own program")?;
    let (listen, upstream) = (setup.listen.to_string(), setup.upstream.to_string());
    let mut command = vec![own.into_os_string()];
    command.extend(words(&[role, "--listen", &listen, "--upstream", &upstream]));
    command.extend(words(flags));
    Ok(command)
}

fn words<T: Into<OsString> + Clone>(words: &[T]) -> Vec<OsString> {
    words.iter().cloned().map(Into::into).collect()
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// The program that was asked for, or the first of the usual ones that runs, and its output for `flag`.
fn find_program(asked: Option<&Path>, usual: &[&str], flag: &str) -> Result<(PathBuf, String)> {
    if let Some(asked) = asked {
        return Ok((asked.to_owned(), output_of(asked, &[flag])?));
    }
    usual
        .iter()
        .find_map(|name| Some((PathBuf::from(name), output_of(Path::new(name), &[flag]).ok()?)))
        .with_context(|| format!("{} is not installed", usual[0]))
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
