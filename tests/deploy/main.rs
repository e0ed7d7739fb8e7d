//! What stands in `deploy/` and what a package ships works with the programs that it is for: man pages with mandoc and groff,
//! completions with their shells, the unit with systemd-analyze, the rotation with logrotate.
//!
//! What a claim needs and this machine lacks is said, and the claim is skipped.

mod calls;
mod container;
#[path = "../../examples/generate/files.rs"]
mod files;
mod host;
mod kubernetes;
mod manual;
mod scale;
mod shells;
mod unit;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};

const BINARY: &str = env!("CARGO_BIN_EXE_iisplice");

/// The programs that a claim needs.
type Needs = &'static [&'static str];

/// Each test: what it claims, what it needs, and how it is shown.
const CLAIMS: &[(&str, Needs, fn())] = &[
    ("every_command_has_a_page_with_every_flag", &[], manual::is_complete),
    ("mandoc_accepts_the_pages", &["mandoc"], manual::mandoc),
    ("groff_accepts_the_pages", &["groff"], manual::groff),
    ("completions_have_every_flag", &[], shells::are_complete),
    ("bash_completes", &["bash"], shells::bash),
    ("zsh_accepts_its_completion", &["zsh"], shells::zsh),
    ("fish_completes", &["fish"], shells::fish),
    ("systemd_accepts_the_units", &["systemd-analyze"], unit::verify),
    ("the_socket_unit_has_the_addresses_of_the_sample", &[], unit::sockets),
    ("the_unit_is_as_tight_as_the_page_says", &["systemd-analyze"], unit::exposure),
    ("the_unit_lets_the_data_path_call_the_kernel", &[], unit::calls),
    ("the_unit_lets_through_what_the_sandbox_does", &["systemd-analyze"], calls::unit),
    ("the_containers_profile_lets_through_what_the_sandbox_does", &[], calls::profile),
    ("the_unit_stops_later_than_the_drain", &[], unit::drain),
    ("keys_of_sysctl_exist_and_have_a_reason", &[], host::sysctl),
    ("logrotate_rotates_a_log_in_use", &["logrotate"], host::logrotate),
    ("the_sample_of_the_package_is_checked", &[], host::sample),
    ("the_containers_profile_lets_the_binary_serve_and_little_more", &[], container::profile),
    ("a_container_needs_nothing_but_its_layout", &["chroot", "ldd"], container::layout),
    ("bird_accepts_the_announcement", &["bird"], scale::bird),
    ("frr_accepts_the_announcement", &["vtysh"], scale::frr),
    ("keepalived_accepts_the_pair", &["keepalived", "ip", "unshare"], scale::keepalived),
    ("nft_accepts_the_rules_for_strays", &["nft", "unshare"], scale::strays),
    ("systemd_accepts_the_units_of_machines", &["systemd-analyze"], scale::units),
    ("the_gate_acts_as_checks_say", &["timeout"], scale::gate),
    ("the_settings_of_machines_are_checked", &[], scale::settings),
    ("the_manifests_have_the_form_of_their_kinds", &[], kubernetes::manifests),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = CLAIMS
        .iter()
        .map(|&(name, needs, claim)| {
            let missing: Vec<_> = needs.iter().filter(|program| find(program).is_none()).copied().collect();
            if !missing.is_empty() {
                eprintln!(
                    "deploy: SKIPPED {name}. Missing: {}. scripts/test installs it.",
                    missing.join(", ")
                );
            }
            let trial = Trial::test(name, move || {
                claim();
                Ok(())
            });
            trial.with_ignored_flag(!missing.is_empty())
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Where a program stands; those of administrators are in no user's path.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let places = path.split(':').chain(["/usr/sbin", "/sbin"]);
    places.map(|place| Path::new(place).join(program)).find(|file| file.is_file())
}

fn program(name: &str) -> Command {
    Command::new(find(name).expect("the claim needs it"))
}

/// A file of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Runs a program with a text on its standard input.
fn run(command: &mut Command, input: &[u8]) -> Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().expect("it is installed");
    let mut stdin = process.stdin.take().expect("it is piped");
    let output = std::thread::scope(|scope| {
        // A program that does not read to the end closes it.
        scope.spawn(move || stdin.write_all(input));
        process.wait_with_output()
    });
    output.expect("it ends")
}

/// What a program printed, on both ways.
fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn await_that(happens: impl Fn() -> bool) {
    let started = Instant::now();
    while !happens() {
        assert!(started.elapsed() < Duration::from_secs(60), "it does not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}
