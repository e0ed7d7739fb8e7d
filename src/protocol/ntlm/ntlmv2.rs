//! The arithmetic of `NTLMv2` (MS-NLMP 3.3.2, 3.4) over `RustCrypto`'s MD4, MD5, HMAC and RC4.

use hmac::{Hmac, KeyInit, Mac};
use md4::Md4;
use md5::{Digest, Md5};
use rc4::{Rc4, StreamCipher};

use super::Flags;
use super::wire::utf16le;

/// The hash of a password, `NTOWFv1`: all that a server needs of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NtHash(pub [u8; 16]);

impl NtHash {
    /// MD4 over the password in UTF-16LE.
    pub fn of_password(password: &str) -> Self {
        Self(Md4::digest(utf16le(password)).into())
    }

    /// The key that proves this password for this user, `NTOWFv2`. The user's name is used in upper case, the domain as
    /// the client sent it.
    pub(super) fn response_key(&self, user: &str, domain: &str) -> ResponseKey {
        ResponseKey(hmac_md5(&self.0, &[&utf16le(&upper_case(user)), &utf16le(domain)]))
    }
}

/// Omits the hash: it is as good as the password.
impl std::fmt::Debug for NtHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NtHash(..)")
    }
}

/// `NTOWFv2`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct ResponseKey(pub(super) [u8; 16]);

impl ResponseKey {
    /// `NTProofStr`: precedes `temp` in the NT response.
    pub(super) fn proof(&self, server_challenge: [u8; 8], temp: &[u8]) -> [u8; 16] {
        hmac_md5(&self.0, &[&server_challenge, temp])
    }

    /// The `LMv2` response.
    pub(super) fn lm_response(&self, server_challenge: [u8; 8], client_challenge: [u8; 8]) -> [u8; 24] {
        let mut response = [0; 24];
        response[..16].copy_from_slice(&hmac_md5(&self.0, &[&server_challenge, &client_challenge]));
        response[16..].copy_from_slice(&client_challenge);
        response
    }

    /// `SessionBaseKey`; in `NTLMv2` the key exchange key is the same.
    pub(super) fn session_base_key(&self, proof: &[u8; 16]) -> [u8; 16] {
        hmac_md5(&self.0, &[proof])
    }
}

/// The secret that both ends share after a login: it signs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SessionKey {
    exported: [u8; 16],
    flags: Flags,
}

/// Which end signs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Client to server.
    ClientToServer,
    /// Server to client.
    ServerToClient,
}

impl SessionKey {
    pub(super) fn new(exported: [u8; 16], flags: Flags) -> Self {
        Self { exported, flags }
    }

    /// `ExportedSessionKey`.
    pub fn exported(&self) -> &[u8; 16] {
        &self.exported
    }

    /// The MIC of an AUTHENTICATE message (3.1.5.1.2), whose own MIC bytes must be zero.
    pub(super) fn message_mic(&self, negotiate: &[u8], challenge: &[u8], authenticate: &[u8]) -> [u8; 16] {
        hmac_md5(&self.exported, &[negotiate, challenge, authenticate])
    }

    /// The signature of the first message in `direction` (sequence number 0), as SPNEGO's mechListMIC needs it (MS-NLMP
    /// 3.4.4.2, MS-SPNG 3.3.5.1). `None` without extended session security, whose older signatures are no longer in
    /// use.
    pub fn first_signature(&self, direction: Direction, message: &[u8]) -> Option<[u8; 16]> {
        if !self.flags.has(Flags::EXTENDED_SESSION_SECURITY) {
            return None;
        }
        let (sign_magic, seal_magic) = match direction {
            Direction::ClientToServer => (CLIENT_SIGN, CLIENT_SEAL),
            Direction::ServerToClient => (SERVER_SIGN, SERVER_SEAL),
        };
        let sign_key = md5(&[&self.exported, sign_magic]);
        let mac = hmac_md5(&sign_key, &[&SEQUENCE_NUMBER, message]);
        let mut signature = [0; 16];
        signature[0] = 1;
        signature[4..12].copy_from_slice(&mac[..8]);
        if self.flags.has(Flags::KEY_EXCHANGE) {
            let seal_key = md5(&[&self.exported[..self.sealing_key_len()], seal_magic]);
            rc4_apply(&seal_key, &mut signature[4..12]);
        }
        signature[12..].copy_from_slice(&SEQUENCE_NUMBER);
        Some(signature)
    }

    /// How much of the key sealing uses (SEALKEY, 3.4.5.3).
    fn sealing_key_len(&self) -> usize {
        if self.flags.has(Flags::KEY_128) {
            16
        } else if self.flags.has(Flags::KEY_56) {
            7
        } else {
            5
        }
    }
}

/// Omits the key.
impl std::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionKey").field("flags", &self.flags).finish_non_exhaustive()
    }
}

const SEQUENCE_NUMBER: [u8; 4] = [0; 4];
const CLIENT_SIGN: &[u8] = b"session key to client-to-server signing key magic constant\0";
const CLIENT_SEAL: &[u8] = b"session key to client-to-server sealing key magic constant\0";
const SERVER_SIGN: &[u8] = b"session key to server-to-client signing key magic constant\0";
const SERVER_SEAL: &[u8] = b"session key to server-to-client sealing key magic constant\0";

/// Upper case as in Windows' tables: character by character, one UTF-16 unit to one unit. So `ß` and characters outside
/// the basic plane are unchanged, and no foreign letter turns into an ASCII one.
pub(super) fn upper_case(text: &str) -> String {
    text.chars()
        .map(|c| {
            let mut upper = c.to_uppercase();
            match (upper.next(), upper.next()) {
                (Some(u), None)
                    if c.len_utf16() == 1 && u.len_utf16() == 1 && u.is_ascii() == c.is_ascii() =>
                {
                    u
                }
                _ => c,
            }
        })
        .collect()
}

pub(super) fn hmac_md5(key: &[u8; 16], parts: &[&[u8]]) -> [u8; 16] {
    // A key of one block or less is padded; no length is refused.
    let mut mac = Hmac::<Md5>::new(&block_key(key).into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// HMAC pads a short key with zeros to the hash's block (RFC 2104 section 2).
fn block_key(key: &[u8; 16]) -> [u8; 64] {
    let mut block = [0; 64];
    block[..16].copy_from_slice(key);
    block
}

pub(super) fn md5(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Md5::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// RC4, its own inverse.
pub(super) fn rc4_apply(key: &[u8; 16], data: &mut [u8]) {
    let mut cipher = Rc4::new_from_slice(key).expect("RC4 takes keys of 1 to 256 bytes and this one has 16");
    cipher.apply_keystream(data);
}
