//! The two sides that certificates of the proxy's own are for, in the words of messages about them.

/// Where a certificate of the proxy's own is shown, and the flags for its files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side {
    pub(super) cert: &'static str,
    pub(super) key: &'static str,
    pub(super) passphrases: &'static str,
    /// The peers that it is shown to.
    pub(super) readers: &'static str,
}

pub(super) const TO_CLIENTS: Side =
    Side { cert: "--tls-cert", key: "--tls-key", passphrases: "--tls-key-password-file", readers: "clients" };
pub(super) const TO_SERVERS: Side = Side {
    cert: "--upstream-cert",
    key: "--upstream-key",
    passphrases: "--upstream-key-password-file",
    readers: "servers",
};
