use clap::Parser;

use super::*;
use crate::cli::{Cli, Command, one_line};
use crate::protocol::ntlm::Credentials;

fn plan(arguments: &[&str]) -> Result<Plan, String> {
    let arguments = ["iisplice", "load"].iter().chain(arguments);
    let cli = Cli::try_parse_from(arguments).map_err(|error| one_line(&error))?;
    let Command::Load(arguments) = cli.command else { panic!("another command") };
    arguments.task("command".to_owned()).map(|task| task.plan).map_err(|error| error.to_string())
}

#[test]
fn a_url_alone_is_a_steady_closed_loop_of_ten_seconds() {
    let plan = plan(&["http://127.0.0.1:8080/a?b#c", "-t1"]).unwrap();
    let target = &plan.targets[0];
    assert_eq!((target.path.as_str(), target.authority.as_str()), ("/a?b", "127.0.0.1:8080"));
    assert_eq!(target.addresses, ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!((plan.scenario, plan.pace), (Scenario::Steady, Pace::Closed));
    assert_eq!((plan.connections, plan.threads), (64, 1));
    assert_eq!((plan.length, plan.warmup), (Length::Time(Duration::from_secs(10)), WARMUP));
    assert_eq!(plan.request.method, "GET");
}

#[test]
fn a_number_of_requests_has_no_warm_up_unless_asked_for() {
    assert_eq!(plan(&["http://127.0.0.1/", "-n5"]).unwrap().warmup, Duration::ZERO);
    assert_eq!(plan(&["http://127.0.0.1/", "-n5", "--warmup=2s"]).unwrap().warmup, Duration::from_secs(2));
}

#[test]
fn what_cannot_be_done_is_told_with_what_would_be_right() {
    const URL: &str = "http://127.0.0.1:1/";
    for (arguments, expected) in [
        (
            &["ftp://a/"][..],
            "invalid value 'ftp://a/' for '<URL>...': give a URL such as http://host:8080/path",
        ),
        (&["http://u:p@a/"], "the URL must not contain a user; use --user"),
        (&[URL, "--threads=3", "--connections=2"], "--threads 3 is more than --connections 2"),
        (&[URL, "--auth=ntlm"], "--auth needs a user"),
        (&[URL, "--user=a:b"], "users need --auth ntlm or --auth negotiate"),
        (&[URL, "--auth=ntlm", "--user=CORP\\a"], "no password for CORP\\a; give --password-file FILE"),
        (&[URL, "--auth=ntlm", "--user=CORP\\:x"], "the user has no name"),
        (&[URL, "--auth=ntlm", "--users=/nonexistent"], "--users /nonexistent: cannot be read"),
        (&[URL, "--record=/nonexistent"], "--record needs logins; add --auth ntlm and --users FILE"),
        (&[URL, "--replay=/nonexistent"], "--replay /nonexistent: cannot be read: No such file"),
        (&[URL, "--replay=/nonexistent", "--password=p"], "--password cannot be used with --replay"),
        (&[URL, "--replay=a", "--auth=ntlm"], "'--replay <FILE>' cannot be used with '--auth <SCHEME>'"),
        (&[URL, "--replay=a", "--user=a:b"], "'--replay <FILE>' cannot be used with '--user <USER>'"),
        (&[URL, "--replay=a", "--users=b"], "'--replay <FILE>' cannot be used with '--users <FILE>'"),
        (&[URL, "--replay=a", "--password-file=b"], "cannot be used with '--password-file <FILE>'"),
        (&[URL, "--replay=a", "--record=b"], "cannot be used with '--record <FILE>'"),
        (&[URL, "--verify-identity"], "--verify-identity needs users"),
        (&[URL, "--identity-header=X"], "--verify-identity"),
        (&[URL, "--requests-per-login=3"], "--requests-per-login applies to --scenario session"),
        (&[URL, "--arrivals=poisson"], "--arrivals poisson needs an open loop; add --rate"),
        (&[URL, "--rate=0"], "give a number of requests per second"),
        (&[URL, "--rate-ramp=5"], "give the first and the last rate, such as 100:5000"),
        (&[URL, "--header=Host"], "give a header line as 'Name: value'"),
        (&[URL, "--header=Content-Length: 5"], "the load generator sets Content-Length itself"),
        (&[URL, "--method=G T"], "--method G T: not an HTTP method"),
        (&[URL, "--body=@/nonexistent"], "--body @/nonexistent: cannot be read"),
        (&[URL, "--insecure"], "--insecure and --ca apply to https URLs only"),
        (&["https://127.0.0.1/", "--ca=/nonexistent"], "--ca /nonexistent:"),
        (&[URL, "--objective=fast"], "give a percentile and a time, like 'p99<50ms'"),
        (&[URL, "--find-rate"], "--objective"),
        (&[URL, "-n0"], "0 is not in 1.."),
        (&[URL, "--duration=1h", "-n5"], "cannot be used with"),
    ] {
        let complaint = plan(arguments).expect_err("a wrong command line");
        assert!(complaint.contains(expected), "{arguments:?}: {complaint}");
    }
}

#[test]
fn users_come_from_flags_and_files_with_their_own_or_the_common_password() {
    let directory = std::env::temp_dir().join(format!("iisplice-users-{}", std::process::id()));
    std::fs::write(&directory, "# who\nCORP\\bob:hunter2:x\n\ncarol\n").unwrap();
    let users = format!("--users={}", directory.display());
    let arguments = ["http://127.0.0.1/", "--auth=negotiate", "--user=CORP\\alice", "--password=p", &users];
    let plan = plan(&arguments);
    std::fs::remove_file(&directory).unwrap();
    let Auth::Users { scheme, users } = plan.unwrap().auth else { panic!("no users") };
    assert_eq!(scheme, Scheme::Negotiate);
    let expected = [
        crate::protocol::ntlm::Credentials::new("CORP", "alice", "p"),
        crate::protocol::ntlm::Credentials::new("CORP", "bob", "hunter2:x"),
        crate::protocol::ntlm::Credentials::new("", "carol", "p"),
    ];
    assert_eq!(users, expected);
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_name_or_a_password() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, format!("\u{feff}{text}")).unwrap();
        path.display().to_string()
    };
    let (users, password) = (write("users", "CORP\\alice\n"), write("password", "secret\n"));
    let files = [format!("--users={users}"), format!("--password-file={password}")];
    let plan = plan(&["http://127.0.0.1:1/", "--auth=ntlm", &files[0], &files[1]]).unwrap();
    let Auth::Users { users, .. } = &plan.auth else { panic!("no users") };
    let same = Credentials::new("CORP", "alice", "secret");
    assert_eq!(format!("{:?}", users[0]), format!("{same:?}"));
}
