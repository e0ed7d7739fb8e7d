//! Real clients log in to a real server that authenticates connections, with iisplice between them.
//!
//! Nothing that authenticates here is our own: Apache with `mod_auth_gssapi` and gss-ntlmssp, an MIT
//! Kerberos realm, curl, and Python's requests-ntlm; `load` adds our own client. The same clients then log in
//! to our mock (`server`), to show that it stands for such a server. Each test has a bed of its own (`bed`), goes to
//! the server directly first, which is the control, and then through the proxy (`proxy`), each time
//! over http and https. `logins`, `identity`, `files` and `upstreams` are the claims.

mod bed;
mod curl;
mod doctor;
mod files;
mod identity;
mod load;
mod logins;
mod pooling;
mod proxy;
mod python;
#[path = "../common/reserved.rs"]
mod reserved;
mod server;
mod tls;
mod upstreams;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use crate::bed::{Bed, Scheme, Site};
use crate::curl::Login;
use crate::load::Scenario;
use crate::proxy::Proxy;
use crate::server::Server;

/// Shows something of a server.
type Claim = fn(Server);

/// What is claimed of either server, and how it is shown: a test with Apache that is called so, and one with the
/// mock that is called `mock::` and so.
const CLAIMS: &[(&str, Claim)] = &[
    ("visitors_are_asked_to_log_in", logins::visitors_are_asked),
    ("curl_ntlm_gets_its_own_name", |server| logins::own_name(server, Login::Ntlm)),
    ("curl_ntlm_logs_in_once", |server| logins::once_a_connection(server, Login::Ntlm)),
    ("curl_ntlm_posts", |server| logins::posts(server, Login::Ntlm)),
    ("curl_ntlm_is_refused_with_a_wrong_password", |server| logins::refused(server, Login::Ntlm)),
    ("curl_negotiate_ntlm_gets_its_own_name", |server| logins::own_name(server, Login::NegotiateNtlm)),
    ("curl_negotiate_ntlm_logs_in_once", |server| logins::once_a_connection(server, Login::NegotiateNtlm)),
    ("curl_negotiate_ntlm_posts", |server| logins::posts(server, Login::NegotiateNtlm)),
    ("curl_negotiate_ntlm_is_refused_with_a_wrong_password", |server| {
        logins::refused(server, Login::NegotiateNtlm);
    }),
    ("curl_negotiate_ntlm_when_asked_gets_its_own_name", |server| {
        logins::own_name(server, Login::NegotiateNtlmWhenAsked);
    }),
    ("curl_negotiate_ntlm_when_asked_logs_in_once", |server| {
        logins::once_a_connection(server, Login::NegotiateNtlmWhenAsked);
    }),
    ("curl_negotiate_ntlm_when_asked_is_refused_with_a_wrong_password", |server| {
        logins::refused(server, Login::NegotiateNtlmWhenAsked);
    }),
    ("requests_ntlm_gets_its_own_name_and_keeps_it", logins::requests_ntlm),
    ("requests_ntlm_posts", logins::requests_ntlm_posts),
    ("requests_ntlm_is_refused_with_a_wrong_password", logins::requests_ntlm_refused),
    ("held_connections_stay_with_their_users", identity::held_connections),
    ("concurrent_clients_get_their_own_names", identity::concurrent_clients),
    ("no_leak_from_a_held_connection", |server| identity::no_leak(server, identity::held)),
    ("no_leak_from_a_closed_connection", |server| identity::no_leak(server, identity::closed)),
    ("no_leak_from_curl", |server| identity::no_leak(server, identity::curl)),
    ("no_leak_while_busy", |server| identity::no_leak(server, identity::busy)),
    ("a_proxy_that_pools_is_caught_by_a_held_connection", |server| {
        pooling::is_caught(server, identity::held);
    }),
    ("a_proxy_that_pools_is_caught_by_a_closed_connection", |server| {
        pooling::is_caught(server, identity::closed);
    }),
];

/// The same of what the doctor finds.
const DOCTOR_CLAIMS: &[(&str, Claim)] = &[
    ("the_doctor_finds_nothing_broken_at_sound_sites", doctor::sound_sites),
    ("the_doctor_tells_extended_protection", doctor::protection),
    ("the_doctor_catches_a_proxy_that_pools", doctor::pool_of_nginx),
    ("the_doctor_catches_a_proxy_that_separates_messages", doctor::nginx_without_keep_alive),
    ("the_doctor_finds_haproxy_sound", doctor::haproxy),
];

/// What takes something that the mock has not: Kerberos, files, PROXY headers, a log of requests.
const APACHE_CLAIMS: &[(&str, fn())] = &[
    ("curl_kerberos_gets_its_own_name", || logins::own_name(Server::Apache, Login::Kerberos)),
    ("curl_kerberos_logs_in_once", || logins::once_a_connection(Server::Apache, Login::Kerberos)),
    ("curl_kerberos_posts", || logins::posts(Server::Apache, Login::Kerberos)),
    ("curl_kerberos_is_refused_without_a_ticket", || logins::refused(Server::Apache, Login::Kerberos)),
    ("curl_kerberos_when_asked_gets_its_own_name", || {
        logins::own_name(Server::Apache, Login::KerberosWhenAsked);
    }),
    ("curl_kerberos_when_asked_logs_in_once", || {
        logins::once_a_connection(Server::Apache, Login::KerberosWhenAsked);
    }),
    ("no_leak_from_kerberos", || identity::no_leak(Server::Apache, identity::kerberos)),
    ("no_leak_from_kerberos_when_asked", || {
        identity::no_leak(Server::Apache, identity::kerberos_when_asked);
    }),
    ("a_proxy_that_pools_is_caught_by_kerberos", || pooling::is_caught(Server::Apache, identity::kerberos)),
    ("load_ntlm_logs_in", || load::own_names("ntlm", Scenario::Login)),
    ("load_ntlm_keeps_its_names", || load::own_names("ntlm", Scenario::Session)),
    ("load_negotiate_logs_in", || load::own_names("negotiate", Scenario::Login)),
    ("load_negotiate_keeps_its_names", || load::own_names("negotiate", Scenario::Session)),
    ("load_ntlm_is_refused_with_a_wrong_password", || load::refused("ntlm")),
    ("load_negotiate_is_refused_with_a_wrong_password", || load::refused("negotiate")),
    ("load_catches_a_proxy_that_pools", load::leak_is_caught),
    ("files_arrive_intact_on_one_connection", files::on_one_connection),
    ("files_arrive_intact_spliced_or_not", files::spliced_or_not),
    ("one_gigabyte_arrives_intact", files::one_gigabyte),
    ("the_doctor_sees_old_tls_and_a_small_key", doctor::old_tls_and_a_small_key),
    ("a_dead_upstream_is_passed_over", upstreams::dead_one_is_passed_over),
    ("the_server_sees_the_client_by_proxy_v1", || upstreams::server_sees_the_client("v1")),
    ("the_server_sees_the_client_by_proxy_v2", || upstreams::server_sees_the_client("v2")),
    ("a_proxy_header_is_accepted_from_curl", upstreams::header_from_curl),
    ("the_server_sees_the_client_behind_two_proxies", upstreams::behind_two_proxies),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let missing = bed::missing();
    if !missing.is_empty() {
        eprintln!(
            "interop: SKIPPED, all of it. Missing: {}. tests/interop/setup.sh installs it.",
            missing.join(", ")
        );
    }
    let mut trials = Vec::new();
    for &(name, claim) in CLAIMS.iter().chain(DOCTOR_CLAIMS) {
        trials.push(trial(name, move || claim(Server::Apache)));
        trials.push(trial(&format!("mock::{name}"), move || claim(Server::Mock)));
    }
    trials.extend(APACHE_CLAIMS.iter().map(|&(name, claim)| trial(name, claim)));
    let trials = trials.into_iter().map(|trial| trial.with_ignored_flag(!missing.is_empty())).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(name: &str, claim: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        claim();
        Ok(())
    })
}

/// Shows a claim directly at the server first, so that a broken bed is told apart from a broken proxy,
/// and then through the proxy, whatever that does with TLS.
fn at_every_door(bed: &Bed, claim: impl Fn(&Site)) {
    for scheme in [Scheme::Http, Scheme::Https] {
        claim(&bed.site(scheme));
    }
    for scheme in [Scheme::Http, Scheme::Https] {
        let address = bed.site(scheme).address.to_string();
        let proxy = Proxy::start(bed, &["--upstream", &address]);
        claim(&proxy.site(scheme));
    }
    tls::every_way(bed, claim);
}
