//! Cookies (RFC 6265), as far as a proxy has some of its own: reading them from `Cookie`, taking them out of it, and
//! `Set-Cookie`.
//!
//! A field is parted at its semicolons, also within quotation marks, as browsers and IIS part it. What belongs to others
//! goes on byte for byte.

use std::borrow::Cow;

use super::syntax::trim;

/// Which requests that other sites cause carry a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// Only when the user follows a link.
    Lax,
    /// None.
    Strict,
    /// All; browsers want TLS then.
    None,
}

/// A cookie to set for all paths of the host, as long as the client runs, and out of reach of scripts.
#[derive(Debug, Clone, Copy)]
pub struct SetCookie<'a> {
    /// A token.
    pub name: &'a str,
    /// Without blanks, quotation marks, commas, semicolons and backslashes.
    pub value: &'a str,
    /// Which requests that other sites cause carry it.
    pub same_site: SameSite,
    /// Whether it is for TLS only.
    pub is_secure: bool,
}

impl SetCookie<'_> {
    /// The value of `Set-Cookie`. Browsers refuse a cookie with `SameSite=None` that is not for TLS only.
    pub fn field(&self) -> String {
        let Self { name, value, same_site, is_secure } = self;
        let same_site = match same_site {
            SameSite::Lax => "; SameSite=Lax",
            SameSite::Strict => "; SameSite=Strict",
            SameSite::None if *is_secure => "; SameSite=None",
            SameSite::None => "",
        };
        let secure = if *is_secure { "; Secure" } else { "" };
        format!("{name}={value}; Path=/; HttpOnly{same_site}{secure}")
    }
}

/// The name and the value of each cookie in the value of a `Cookie` field, without quotation marks around the value.
pub fn cookies(field: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    field.split(|&byte| byte == b';').filter_map(|cookie| {
        let value = trim(&cookie[name_bytes(cookie)?..][1..]);
        Some((name_of(cookie)?, unquoted(value)))
    })
}

/// The value of a `Cookie` field without the cookies whose names are `own`; nothing where no others are left.
pub fn without(field: &[u8], own: impl Fn(&[u8]) -> bool) -> Option<Cow<'_, [u8]>> {
    let is_own = |cookie: &[u8]| name_of(cookie).is_some_and(&own);
    if !field.split(|&byte| byte == b';').any(is_own) {
        return Some(Cow::Borrowed(field));
    }
    let mut left = Vec::with_capacity(field.len());
    for cookie in field.split(|&byte| byte == b';').filter(|cookie| !is_own(cookie)) {
        if !left.is_empty() {
            left.push(b';');
        }
        left.extend_from_slice(if left.is_empty() { trim(cookie) } else { cookie });
    }
    left.iter().any(|byte| !b" \t;".contains(byte)).then_some(Cow::Owned(left))
}

/// The name of a cookie with its value, as in `Cookie` or at the beginning of `Set-Cookie`.
pub fn name_of(cookie: &[u8]) -> Option<&[u8]> {
    name_bytes(cookie).map(|end| trim(&cookie[..end]))
}

fn name_bytes(cookie: &[u8]) -> Option<usize> {
    let end = cookie.iter().position(|&byte| byte == b'=' || byte == b';')?;
    (cookie[end] == b'=').then_some(end)
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_mine(name: &[u8]) -> bool {
        name == b"mine"
    }

    #[test]
    fn cookies_are_read_however_they_are_written() {
        for (field, expected) in [
            ("mine=1", "mine=1"),
            ("a=1; mine=2; b=3", "a=1|mine=2|b=3"),
            ("a=1;mine=2 ;\tb = 3", "a=1|mine=2|b=3"),
            ("mine=\"2\"; a=\"; mine=3\"", "mine=2|a=\"|mine=3\""),
            ("mine=1; mine=2", "mine=1|mine=2"),
            ("mine==1=", "mine==1="),
            ("mine; =1; ;; a", "=1"),
            ("mine=", "mine="),
            ("mine=\"", "mine=\""),
            ("", ""),
        ] {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let read =
                cookies(field.as_bytes()).map(|(name, value)| format!("{}={}", text(name), text(value)));
            assert_eq!(read.collect::<Vec<_>>().join("|"), expected, "{field:?}");
        }
    }

    #[test]
    fn only_ones_own_are_taken_out() {
        for (field, expected) in [
            ("a=1", Some("a=1")),
            ("a=1; mine=2; b=3", Some("a=1; b=3")),
            ("mine=2; a=1;b=2", Some("a=1;b=2")),
            ("a=1; mine=2", Some("a=1")),
            ("a=1; mine=2;", Some("a=1;")),
            ("mine=1; a=\"x, y\"; mine=2; mine = 3", Some("a=\"x, y\"")),
            ("Mine=1; minex=2; mine; xmine=3", Some("Mine=1; minex=2; mine; xmine=3")),
            ("  a=1 ;; b", Some("  a=1 ;; b")),
            ("mine=1", None),
            ("mine=1; ; ", None),
            ("mine=", None),
            ("", Some("")),
        ] {
            let left = without(field.as_bytes(), is_mine);
            assert_eq!(left.as_deref(), expected.map(str::as_bytes), "{field:?}");
        }
    }

    #[test]
    fn a_field_has_what_the_client_needs_to_know() {
        let set =
            |same_site, is_secure| SetCookie { name: "mine", value: "1f", same_site, is_secure }.field();
        assert_eq!(set(SameSite::Lax, false), "mine=1f; Path=/; HttpOnly; SameSite=Lax");
        assert_eq!(set(SameSite::Strict, true), "mine=1f; Path=/; HttpOnly; SameSite=Strict; Secure");
        assert_eq!(set(SameSite::None, true), "mine=1f; Path=/; HttpOnly; SameSite=None; Secure");
        assert_eq!(set(SameSite::None, false), "mine=1f; Path=/; HttpOnly");
    }

    #[test]
    fn the_name_of_a_cookie_that_a_server_sets() {
        assert_eq!(name_of(b" mine = 1; Path=/"), Some(&b"mine"[..]));
        assert_eq!(name_of(b"mine; a=1"), None);
        assert_eq!(name_of(b""), None);
    }

    proptest! {
        /// Whatever a client sends: what is left has no cookie of one's own, and all others in their order.
        #[test]
        fn nothing_of_others_is_lost(field in "[amine=;\" \t]{0,40}") {
            let others = |field: &[u8]| {
                let all = cookies(field).filter(|(name, _)| !is_mine(name));
                all.map(|(name, value)| (name.to_vec(), value.to_vec())).collect::<Vec<_>>()
            };
            let left = without(field.as_bytes(), is_mine).unwrap_or_default();
            prop_assert!(!cookies(&left).any(|(name, _)| is_mine(name)));
            prop_assert_eq!(others(&left), others(field.as_bytes()));
        }
    }
}
