//! What goes through arrives as it was sent.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::at_every_door;
use crate::bed::{Bed, Scheme, Site};
use crate::curl::{Curl, sha256_of_file};
use crate::proxy::Proxy;
use crate::server::Server;

const NAMES: [&str; 3] = ["1k.bin", "64k.bin", "10m.bin"];

pub(crate) fn on_one_connection() {
    let bed = Bed::start(Server::Apache);
    at_every_door(&bed, |site| arrive_intact(&bed, site));
}

/// Bytes go by another way through the proxy for each of its settings.
pub(crate) fn spliced_or_not() {
    let bed = Bed::start(Server::Apache);
    let upstream = bed.site(Scheme::Http).address.to_string();
    for splice in ["never", "always"] {
        let proxy = Proxy::start(&bed, &["--splice", splice, "--upstream", &upstream]);
        let site = Site {
            way: if splice == "never" { "never spliced" } else { "always spliced" },
            ..proxy.site(Scheme::Http)
        };
        arrive_intact(&bed, &site);
        let body = bed.file("10m.bin");
        let run = Curl::new(&bed, &site).post(&body).get(&["/echo"]);
        assert_eq!(run.statuses, [100, 200], "{site}: status codes of a POST; curl: {}", run.complaint);
        assert_eq!(
            run.answers[0].echoed("sha256"),
            Some(sha256_of_file(&body)),
            "{site}: SHA-256 at the server"
        );
    }
}

fn arrive_intact(bed: &Bed, site: &Site) {
    let paths = NAMES.map(|name| format!("/{name}"));
    let run = Curl::new(bed, site).get(&paths.each_ref().map(String::as_str));
    assert_eq!(run.statuses, [200; 3], "{site}: status codes of {NAMES:?}; curl: {}", run.complaint);
    assert_eq!(run.each(|answer| answer.connects), [1, 0, 0], "{site}: connections that curl opened");
    for (name, answer) in NAMES.iter().zip(&run.answers) {
        assert_eq!(answer.sha256(), sha256_of_file(&bed.file(name)), "{site}: SHA-256 of {name}");
    }
}

pub(crate) fn one_gigabyte() {
    const MIB: u64 = 1024 * 1024;
    let bed = Bed::start(Server::Apache);
    let path = bed.file("1g.bin");
    let file = File::create(&path).expect("the bed's directory is writable");
    file.set_len(1024 * MIB).expect("a sparse file takes no room");
    // Zeros with a mark in each MiB that says which one it is: nothing can change places unnoticed.
    for index in 0..1024_u64 {
        file.write_all_at(&index.to_be_bytes(), index * MIB + index)
            .expect("there is room for 4 MiB of marks");
    }
    let sum = sha256_of_file(&path);
    at_every_door(&bed, |site| {
        assert_eq!(Curl::new(&bed, site).download("/1g.bin"), sum, "{site}: SHA-256 of 1g.bin");
    });
}
