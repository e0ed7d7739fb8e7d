//! The published vectors, then a client against a server, then damage.

mod damage;
mod logins;
mod names;
mod vectors;

use super::*;

/// Bytes from hex digits; spaces are skipped.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn server() -> Server {
    Server {
        nb_domain: "CORP".into(),
        nb_computer: "WEB".into(),
        dns_domain: "corp.test".into(),
        dns_computer: "web.corp.test".into(),
    }
}

const NOW: FileTime = FileTime(133_000_000_000_000_000);
const RANDOM: ClientRandom = ClientRandom { client_challenge: [0xaa; 8], session_key: [0x55; 16] };
const SERVER_CHALLENGE: [u8; 8] = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];

/// Looks up the only account: `CORP\alice`, password `secret`.
fn hash_of(user: &str, domain: &str) -> Option<NtHash> {
    (user.eq_ignore_ascii_case("alice") && domain.eq_ignore_ascii_case("corp"))
        .then(|| NtHash::of_password("secret"))
}
