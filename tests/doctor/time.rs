//! Clocks and names.

use std::time::Duration;

use iisplice::mock::settings::Skew;

use crate::site::Site;

#[test]
fn clocks_that_agree() {
    let report = Site::with(|_| ()).doctor(&[]);
    report.has("clock-date", "fine", "the clock behind the Date header agrees");
    report.has("clock-ntlm", "fine", "the clock behind NTLM challenges agrees");
}

#[test]
fn clocks_that_are_off_by_one_minute_and_by_five() {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes + 20);
    let site = Site::with(|settings| {
        settings.date_skew = Skew::Behind(minutes(2));
        settings.ntlm_time_skew = Skew::Ahead(minutes(10));
    });
    let report = site.doctor(&[]);
    report.has("clock-date", "warning", "behind this host's");
    report.has("clock-ntlm", "broken", "ahead of this host's");
    let site = Site::with(|settings| {
        settings.date_skew = Skew::Ahead(minutes(6));
        settings.ntlm_time_skew = Skew::Behind(minutes(1));
    });
    let report = site.doctor(&[]);
    report.has("clock-date", "broken", "ahead of this host's");
    report.has("clock-ntlm", "warning", "behind this host's");
}

#[test]
fn names_of_the_server_and_a_ticket_for_an_address() {
    let site = Site::with(|_| ());
    let report = site.doctor(&[]);
    report.has("server-names", "fine", "forest: corp.test");
    report.has("kerberos-name", "warning", "the URL has an address, 127.0.0.1, and no name");
    let url = site.url().replace("127.0.0.1", "localhost");
    crate::run::doctor(&[&url]).has(
        "kerberos-name",
        "warning",
        "localhost is in none of the server's domains",
    );
}
