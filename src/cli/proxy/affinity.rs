//! The flags of a group about affinity: what brings a client back to the server that it had before.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::http::is_token;
use crate::cli::Error;
use crate::protocol::http1::cookie::SameSite;
use crate::proxy::routes::Routes;
use crate::upstream::{Affinity, GroupSettings};

/// A shorter key can be guessed as well as what it hides.
const KEY_BYTES_MIN: usize = 16;
/// No key is so long: a device or a wrong file is not read to its end.
const KEY_BYTES_MAX: u64 = 4096;

/// What brings clients back; the bracket at the end of each text is the nginx directive that it stands for.
#[allow(clippy::doc_markdown, reason = "what clap shows as it stands")]
#[allow(clippy::struct_field_names, reason = "the flags are called so")]
#[derive(Debug, Args)]
pub(super) struct AffinityArgs {
    /// What brings a client back to the server that its connections had before, as long as it can be used; without it,
    /// and for new clients, --balance decides: cookie sets a cookie of the proxy's own, with --mode http [default: none]
    /// [nginx: sticky]
    #[arg(long, value_name = "BY", help_heading = "Servers")]
    affinity: Option<By>,
    /// Name of the cookie; groups of one host need different ones [default: iisplice- and a hash of the group's name]
    /// [nginx: sticky cookie]
    #[arg(
        long, value_name = "NAME", requires = "affinity", help_heading = "Servers", value_parser = cookie
    )]
    affinity_cookie: Option<String>,
    /// Which requests that other sites cause carry the cookie: lax (followed links), strict (none), or none (no
    /// restriction, which browsers allow over TLS only) [nginx: sticky cookie samesite=]
    #[arg(
        long,
        value_name = "WHICH",
        default_value = "lax",
        requires = "affinity",
        help_heading = "Servers"
    )]
    affinity_same_site: Which,
    /// File with a secret of at least 16 bytes, without which nothing can be learned about servers from the cookie's
    /// value; the same for all proxies in front of the same servers [default: none] [nginx: -]
    #[arg(long, value_name = "FILE", requires = "affinity", help_heading = "Servers")]
    affinity_key: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    Cookie,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    Lax,
    Strict,
    None,
}

impl AffinityArgs {
    /// Whether there is affinity.
    pub(super) fn is_on(&self) -> bool {
        self.affinity.is_some()
    }

    /// What a group has of it.
    ///
    /// # Errors
    /// A key that cannot be read or is too short.
    pub(super) fn affinity(&self) -> Result<Option<Affinity>, Error> {
        let Some(By::Cookie) = self.affinity else { return Ok(None) };
        let same_site = match self.affinity_same_site {
            Which::Lax => SameSite::Lax,
            Which::Strict => SameSite::Strict,
            Which::None => SameSite::None,
        };
        Ok(Some(Affinity::new(self.affinity_cookie.as_deref(), same_site, &self.key()?)))
    }

    /// The bytes of the key's file, without line ends behind them; none without a file.
    fn key(&self) -> Result<Vec<u8>, Error> {
        let Some(path) = &self.affinity_key else { return Ok(Vec::new()) };
        let flag = "--affinity-key";
        let mut key = read(path).map_err(|source| Error::Unreadable { flag, path: path.clone(), source })?;
        while key.last().is_some_and(|byte| b"\r\n".contains(byte)) {
            key.pop();
        }
        if key.len() < KEY_BYTES_MIN {
            return Err(Error::Usage(format!(
                "{flag} {}: has {} bytes; give at least {KEY_BYTES_MIN}, such as those of: openssl rand -hex 32",
                path.display(),
                key.len()
            )));
        }
        Ok(key)
    }
}

/// The keys of a group in force, with the name of its cookie behind its affinity.
pub(super) fn with_cookie(mut keys: Vec<String>, group: &GroupSettings) -> Vec<String> {
    let is_of = |line: &String, key: &str| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(" ="));
    if let Some(affinity) = &group.affinity
        && let Some(at) = keys.iter().position(|line| is_of(line, "affinity"))
        && !keys.iter().any(|line| is_of(line, "affinity-cookie"))
    {
        keys.insert(at + 1, format!("affinity-cookie = \"{}\"", affinity.cookie()));
    }
    keys
}

/// Refuses two groups of one host whose cookies have the same name: each would overwrite the other's.
pub(super) fn check_names(routes: &Routes<Arc<GroupSettings>>) -> Result<(), Error> {
    let cookie = |group: &Arc<GroupSettings>| group.affinity.as_ref().map(|own| Arc::clone(own.cookie()));
    let clash = routes.clash_of_a_host(|one, other| {
        !Arc::ptr_eq(one, other) && cookie(one).is_some() && cookie(one) == cookie(other)
    });
    match clash {
        None => Ok(()),
        Some((one, other)) => Err(Error::Usage(format!(
            "--affinity-cookie {}: the groups {} and {} have requests of one host, and each would overwrite the cookie of \
             the other; give them different names, or leave it out",
            cookie(one).unwrap_or_default(),
            one.name,
            other.name
        ))),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(KEY_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > KEY_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Parses the name of a cookie (RFC 6265 section 4.1.1).
fn cookie(name: &str) -> Result<String, String> {
    if !is_token(name) {
        return Err(
            "give the name of a cookie, such as APP-SERVER: letters, digits, hyphens and underscores"
                .to_owned(),
        );
    }
    Ok(name.to_owned())
}
