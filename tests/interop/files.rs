//! What goes through arrives as it was sent.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::at_every_door;
use crate::bed::Bed;
use crate::curl::{Curl, sha256_of_file};

pub(crate) fn on_one_connection() {
    let names = ["1k.bin", "64k.bin", "10m.bin"];
    let paths = names.map(|name| format!("/{name}"));
    let bed = Bed::start();
    let sums = names.map(|name| sha256_of_file(&bed.file(name)));
    at_every_door(&bed, |site| {
        let run = Curl::new(&bed, site).get(&paths.each_ref().map(String::as_str));
        assert_eq!(run.statuses, [200; 3], "{site}: status codes of {names:?}; curl: {}", run.complaint);
        assert_eq!(run.each(|answer| answer.connects), [1, 0, 0], "{site}: connections that curl opened");
        for ((name, sum), answer) in names.iter().zip(&sums).zip(&run.answers) {
            assert_eq!(&answer.sha256(), sum, "{site}: SHA-256 of {name}");
        }
    });
}

pub(crate) fn one_gigabyte() {
    const MIB: u64 = 1024 * 1024;
    let bed = Bed::start();
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
