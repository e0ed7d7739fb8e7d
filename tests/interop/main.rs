//! Real clients log in to a real server that authenticates connections, with iisplice between them.
//!
//! Nothing that authenticates here is our own: Apache with `mod_auth_gssapi` and gss-ntlmssp, an MIT
//! Kerberos realm, curl, and Python's requests-ntlm; `load` adds our own client. Each test has a bed of its own (`bed`), goes to
//! the server directly first, which is the control, and then through the proxy (`proxy`), each time
//! over http and https. `logins`, `identity`, `files` and `upstreams` are the claims.

mod bed;
mod curl;
mod files;
mod identity;
mod load;
mod logins;
mod pooling;
mod proxy;
mod python;
mod tls;
mod upstreams;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use crate::bed::{Bed, Scheme, Site};
use crate::curl::Login;
use crate::load::Scenario;
use crate::proxy::Proxy;

/// Each test: what it claims, and how it is shown.
const CLAIMS: &[(&str, fn())] = &[
    ("visitors_are_asked_to_log_in", logins::visitors_are_asked),
    ("curl_ntlm_gets_its_own_name", || logins::own_name(Login::Ntlm)),
    ("curl_ntlm_logs_in_once", || logins::once_a_connection(Login::Ntlm)),
    ("curl_ntlm_posts", || logins::posts(Login::Ntlm)),
    ("curl_ntlm_is_refused_with_a_wrong_password", || logins::refused(Login::Ntlm)),
    ("curl_negotiate_ntlm_gets_its_own_name", || logins::own_name(Login::NegotiateNtlm)),
    ("curl_negotiate_ntlm_logs_in_once", || logins::once_a_connection(Login::NegotiateNtlm)),
    ("curl_negotiate_ntlm_posts", || logins::posts(Login::NegotiateNtlm)),
    ("curl_negotiate_ntlm_is_refused_with_a_wrong_password", || logins::refused(Login::NegotiateNtlm)),
    ("curl_kerberos_gets_its_own_name", || logins::own_name(Login::Kerberos)),
    ("curl_kerberos_logs_in_once", || logins::once_a_connection(Login::Kerberos)),
    ("curl_kerberos_posts", || logins::posts(Login::Kerberos)),
    ("curl_kerberos_is_refused_without_a_ticket", || logins::refused(Login::Kerberos)),
    ("curl_kerberos_when_asked_gets_its_own_name", || logins::own_name(Login::KerberosWhenAsked)),
    ("curl_kerberos_when_asked_logs_in_once", || logins::once_a_connection(Login::KerberosWhenAsked)),
    ("requests_ntlm_gets_its_own_name_and_keeps_it", logins::requests_ntlm),
    ("requests_ntlm_is_refused_with_a_wrong_password", logins::requests_ntlm_refused),
    ("held_connections_stay_with_their_users", identity::held_connections),
    ("concurrent_clients_get_their_own_names", identity::concurrent_clients),
    ("no_leak_from_a_held_connection", || identity::no_leak(identity::held)),
    ("no_leak_from_a_closed_connection", || identity::no_leak(identity::closed)),
    ("no_leak_from_curl", || identity::no_leak(identity::curl)),
    ("no_leak_while_busy", || identity::no_leak(identity::busy)),
    ("no_leak_from_kerberos", || identity::no_leak(identity::kerberos)),
    ("no_leak_from_kerberos_when_asked", || identity::no_leak(identity::kerberos_when_asked)),
    ("a_proxy_that_pools_is_caught", pooling::is_caught),
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
    let trials = CLAIMS
        .iter()
        .map(|&(name, claim)| {
            let trial = Trial::test(name, move || {
                claim();
                Ok(())
            });
            trial.with_ignored_flag(!missing.is_empty())
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
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
