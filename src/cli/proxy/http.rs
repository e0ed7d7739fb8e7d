//! The flags of `iisplice proxy --mode http`.

use clap::{Args, ValueEnum};

use super::super::Error;
use super::super::address::network;
use super::super::quantity::{number, size};
use crate::protocol::http1::forward::Edits;
use crate::protocol::http1::request::is_host;
use crate::proxy::settings::{ForwardedFor, HEAD_BYTES_MAX, Http, Mode, Network};

/// The HTTP flags; the bracket at the end of each text is the nginx directive that it stands for.
#[allow(clippy::doc_markdown, reason = "what clap shows as it stands")]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[derive(Debug, Clone, Args)]
pub(super) struct HttpArgs {
    /// How to treat connections: stream relays bytes, http reads and changes the heads of HTTP/1.1 [nginx: stream,
    /// http]
    #[arg(long, value_name = "MODE", default_value = "stream", help_heading = "HTTP")]
    mode: ModeName,
    /// Keep serving a client that ends its stream while it waits for a reply; without this flag, the proxy closes the
    /// upstream connection [default: off] [nginx: proxy_ignore_client_abort]
    #[arg(long, help_heading = "HTTP")]
    ignore_client_close: bool,
    /// Maximum size of a request's or reply's head; larger requests are answered with 431 [default: 64KiB] [nginx:
    /// large_client_header_buffers]
    #[arg(long, value_name = "SIZE", help_heading = "HTTP", value_parser = size(1024..=1024 * 1024))]
    head_limit: Option<u32>,
    /// How to tell servers about the client in X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host and X-Real-IP:
    /// replace everything that the client sends in Forwarded, X-Forwarded-* and X-Real-IP, append to the client's
    /// X-Forwarded-For, or off [default: replace] [nginx: proxy_set_header X-Forwarded-For]
    #[arg(long, value_name = "HOW", help_heading = "HTTP")]
    forwarded: Option<ForwardedName>,
    /// With --forwarded append: networks whose clients may send these fields themselves; those of all other clients
    /// are replaced; if there is a PROXY header, its address decides; repeatable; unix: for Unix sockets [default:
    /// none] [nginx: set_real_ip_from]
    #[arg(long, value_name = "CIDR", help_heading = "HTTP", value_parser = network)]
    trust: Vec<Network>,
    /// What to do with request fields that have an underscore in their name, which servers read as a hyphen: drop or
    /// pass [default: drop] [nginx: underscores_in_headers]
    #[arg(long, value_name = "WHAT", help_heading = "HTTP")]
    underscore_headers: Option<Underscores>,
    /// Protocol other than websocket that requests may upgrade to: NAME or NAME/VERSION; repeatable [default: none]
    /// [nginx: proxy_set_header Upgrade]
    #[arg(long, value_name = "NAME", help_heading = "HTTP", value_parser = protocol)]
    upgrade: Vec<String>,
    /// Forward TRACE requests; without this flag, they are answered with 405 [default: off] [nginx: -]
    #[arg(long, help_heading = "HTTP")]
    trace: bool,
    /// Host header to send to servers [default: the client's] [nginx: proxy_set_header Host]
    #[arg(long, value_name = "HOST", help_heading = "HTTP", value_parser = host)]
    set_host: Option<String>,
    /// Redirect every request to https at this port (443 without a value), by 301, or 308 for methods other than GET and
    /// HEAD; there are no servers then [default: off] [nginx: return 301 https://$host$request_uri]
    #[arg(
        long, value_name = "PORT", num_args = 0..=1, default_missing_value = "443", help_heading = "HTTP",
        value_parser = number(1..=65535),
        conflicts_with_all = ["upstream", "routes", "tls_cert"]
    )]
    redirect_to_https: Option<u32>,
    /// Where a reply's Location, Content-Location or Refresh names the server, replace it by the scheme, host and
    /// port that the client asked for [default: off] [nginx: proxy_redirect]
    #[arg(long, help_heading = "HTTP")]
    rewrite_redirects: bool,
    /// Add Secure to every cookie of a server that lacks it; needs --tls-cert [default: off] [nginx:
    /// proxy_cookie_flags ~ secure]
    #[arg(long, help_heading = "HTTP")]
    secure_cookies: bool,
    /// Set a field in every request, replacing the client's; repeatable [default: none] [nginx: proxy_set_header]
    #[arg(long, value_name = "NAME: VALUE", help_heading = "HTTP", value_parser = field)]
    set_header: Vec<(String, String)>,
    /// Remove a field from every request; repeatable [default: none] [nginx: proxy_set_header NAME ""]
    #[arg(long, value_name = "NAME", help_heading = "HTTP", value_parser = name)]
    remove_header: Vec<String>,
    /// Request field that carries the certificate of a client (--tls-client-ca) to servers, as base64 of DER; the
    /// same field from a client is always removed [default: none] [nginx: proxy_set_header, $ssl_client_escaped_cert]
    #[arg(long, value_name = "NAME", requires = "tls_client_ca", help_heading = "HTTP", value_parser = name)]
    client_cert_header: Option<String>,
    /// Set a field in every reply, replacing the server's; repeatable [default: none] [nginx: add_header]
    #[arg(long, value_name = "NAME: VALUE", help_heading = "HTTP", value_parser = field)]
    set_reply_header: Vec<(String, String)>,
    /// Remove a field from every reply; repeatable [default: none] [nginx: proxy_hide_header]
    #[arg(long, value_name = "NAME", help_heading = "HTTP", value_parser = name)]
    remove_reply_header: Vec<String>,
    /// When a second user appears on a client connection: log it, or answer the request with 403 before the server sees
    /// it, and close [default: log] [nginx: -]
    #[arg(long, value_name = "WHAT", help_heading = "HTTP")]
    on_identity_change: Option<OnIdentityChange>,
    /// Write the logged-in user to the access log [default: off] [nginx: $remote_user]
    #[arg(long, help_heading = "HTTP")]
    log_user: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnIdentityChange {
    Log,
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Underscores {
    Drop,
    Pass,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ModeName {
    Stream,
    Http,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ForwardedName {
    Replace,
    Append,
    Off,
}

impl HttpArgs {
    /// Whether requests are parsed.
    pub(super) fn is_http(&self) -> bool {
        self.mode == ModeName::Http
    }

    /// Whether every request is redirected, so that there are no servers.
    pub(super) fn redirects(&self) -> bool {
        self.redirect_to_https.is_some()
    }

    /// The defaults in force of flags that were not given.
    pub(super) fn in_force(&self) -> Vec<(&'static str, String)> {
        let head_limit = format!("{}KiB", HEAD_BYTES_MAX / 1024);
        let forwards = !self.redirects();
        let all = [
            ("head-limit", self.head_limit.is_none(), head_limit.as_str()),
            ("forwarded", forwards && self.forwarded.is_none(), "replace"),
            ("underscore-headers", forwards && self.underscore_headers.is_none(), "drop"),
            ("on-identity-change", forwards && self.on_identity_change.is_none(), "log"),
        ];
        let absent = all.into_iter().filter(|(_, is_absent, _)| *is_absent && self.is_http());
        absent.map(|(key, _, value)| (key, value.to_owned())).collect()
    }

    /// The changes to the heads of requests; a client's own field about its certificate is removed.
    fn request_edits(&self) -> Result<Edits, Error> {
        let mut edits = Edits { remove: self.remove_header.clone(), set: self.set_header.clone() };
        if let Some(name) = &self.client_cert_header {
            let is_same = |other: &str| other.replace('_', "-").eq_ignore_ascii_case(&name.replace('_', "-"));
            if edits.set.iter().map(|(name, _)| name).chain(&edits.remove).any(|other| is_same(other)) {
                return Err(Error::Usage(format!(
                    "--client-cert-header {name} and --set-header or --remove-header name the same field; give it \
                     another name, or remove one of them"
                )));
            }
            edits.remove.push(name.clone());
        }
        Ok(edits)
    }

    /// The mode with its settings. `ends_tls`: whether clients use TLS that ends here; `timeouts`: flags of HTTP mode
    /// that belong to no other, and whether they were given.
    pub(super) fn mode(self, ends_tls: bool, timeouts: &[(&'static str, bool)]) -> Result<Mode, Error> {
        let given = [
            ("--forwarded", self.forwarded.is_some()),
            ("--trust", !self.trust.is_empty()),
            ("--underscore-headers", self.underscore_headers.is_some()),
            ("--upgrade", !self.upgrade.is_empty()),
            ("--trace", self.trace),
            ("--set-host", self.set_host.is_some()),
            ("--rewrite-redirects", self.rewrite_redirects),
            ("--secure-cookies", self.secure_cookies),
            ("--set-header", !self.set_header.is_empty()),
            ("--remove-header", !self.remove_header.is_empty()),
            ("--client-cert-header", self.client_cert_header.is_some()),
            ("--set-reply-header", !self.set_reply_header.is_empty()),
            ("--remove-reply-header", !self.remove_reply_header.is_empty()),
            ("--on-identity-change", self.on_identity_change.is_some()),
            ("--log-user", self.log_user),
            ("--ignore-client-close", self.ignore_client_close),
        ];
        let without_servers = [
            ("--head-limit", self.head_limit.is_some()),
            ("--redirect-to-https", self.redirect_to_https.is_some()),
        ];
        if self.mode == ModeName::Stream {
            let mut given = given.iter().chain(&without_servers).chain(timeouts);
            return match given.find(|(_, given)| *given) {
                Some((flag, _)) => Err(Error::NeedsHttp(flag)),
                None => Ok(Mode::Stream),
            };
        }
        let of_servers =
            timeouts.iter().filter(|(flag, _)| ["--body-timeout", "--reply-timeout"].contains(flag));
        let given = given.iter().chain(of_servers).find(|(_, given)| *given);
        if let (Some(_), Some((flag, _))) = (self.redirect_to_https, given) {
            return Err(Error::Usage(format!(
                "{flag} changes what is forwarded, and --redirect-to-https forwards nothing; remove one of them"
            )));
        }
        if self.secure_cookies && !ends_tls {
            return Err(Error::Usage(
                "--secure-cookies needs clients that use TLS, because others would not send the cookies back; add \
                 --tls-cert, or remove it"
                    .to_owned(),
            ));
        }
        let forwarded = match self.forwarded {
            None | Some(ForwardedName::Replace) => ForwardedFor::Replace,
            Some(ForwardedName::Append) => ForwardedFor::Append,
            Some(ForwardedName::Off) => ForwardedFor::Off,
        };
        if !self.trust.is_empty() && forwarded != ForwardedFor::Append {
            return Err(Error::TrustWithoutAppend);
        }
        let request_edits = self.request_edits()?;
        Ok(Mode::Http(Box::new(Http {
            ignore_client_close: self.ignore_client_close,
            head_bytes_max: self.head_limit.map_or(HEAD_BYTES_MAX, |bytes| bytes as usize),
            forwarded,
            trust: self.trust,
            underscores: self.underscore_headers == Some(Underscores::Pass),
            trace: self.trace,
            upgrades: self.upgrade,
            redirect_to_https: self.redirect_to_https.map(|port| port as u16),
            host: self.set_host,
            rewrite_redirects: self.rewrite_redirects,
            secure_cookies: self.secure_cookies,
            request_edits,
            client_cert_header: self.client_cert_header,
            reply_edits: Edits { remove: self.remove_reply_header, set: self.set_reply_header },
            log_user: self.log_user,
            close_on_identity_change: self.on_identity_change == Some(OnIdentityChange::Close),
        })))
    }
}

/// Fields that say how a message is framed, or that client and server need unchanged.
const UNTOUCHABLE: [&str; 9] = [
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "http2-settings",
];
/// Fields that prove who a client is.
const PROOFS: [&str; 2] = ["authorization", "proxy-authorization"];
/// Fields that a server asks for a proof with, or says how it takes it.
const CHALLENGES: [&str; 5] =
    ["www-authenticate", "proxy-authenticate", "proxy-support", "persistent-auth", "authentication-info"];

pub(super) fn is_token(text: &str) -> bool {
    let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_of_token)
}

/// RFC 9110 section 7.8.
fn protocol(text: &str) -> Result<String, String> {
    let (name, version) = text.split_once('/').unwrap_or((text, "1"));
    if !is_token(name) || !is_token(version) {
        return Err("give the name of a protocol, such as h2c or TLS/1.2".to_owned());
    }
    Ok(text.to_owned())
}

fn name(text: &str) -> Result<String, String> {
    if !is_token(text) {
        return Err("give the name of a header field, such as X-Site".to_owned());
    }
    // Servers may treat an underscore as a hyphen.
    let hyphened = text.replace('_', "-");
    if UNTOUCHABLE.iter().any(|untouchable| untouchable.eq_ignore_ascii_case(&hyphened)) {
        return Err("this field cannot be changed, because the proxy needs it".to_owned());
    }
    let is_one_of = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(&hyphened));
    if is_one_of(&PROOFS) {
        return Err("this field carries each client's own login; a fixed value would log in every client as the same \
        user, and without the field no login works; leave it out"
            .to_owned());
    }
    if is_one_of(&CHALLENGES) {
        return Err("this field carries the server's part of a login, which clients need unchanged; leave it out, and \
        choose the schemes in IIS"
            .to_owned());
    }
    if hyphened.eq_ignore_ascii_case("host") {
        return Err("every request has one Host; use --set-host to change it".to_owned());
    }
    Ok(text.to_owned())
}

fn field(text: &str) -> Result<(String, String), String> {
    let (before, value) = text.split_once(':').ok_or("give NAME: VALUE, such as 'X-Site: edge'")?;
    Ok((name(before)?, printable(value.trim())?))
}

fn printable(value: &str) -> Result<String, String> {
    if value.chars().any(char::is_control) {
        return Err("a header field's value must not contain control characters".to_owned());
    }
    Ok(value.to_owned())
}

fn host(text: &str) -> Result<String, String> {
    if !is_host(text.as_bytes()) {
        return Err("give HOST or HOST:PORT".to_owned());
    }
    Ok(text.to_owned())
}
