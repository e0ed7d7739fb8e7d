//! The path of a target as a server reads it: what routes by path compare.
//!
//! One path has many spellings. A proxy that reads one in another way than the server behind it would lead a request to
//! a server that it is not for. So they are read as HTTP.sys reads them: percent-encoding is undone, once, also in the
//! form `%uXXXX` (`PercentUAllowed`, which is on by default); a backslash is a slash; several slashes are one; `.` and
//! `..` are resolved, however they were encoded; and case does not count.

/// A path in the form in which paths are compared: `/` before each of its segments, nothing for the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(Box<str>);

impl Path {
    /// The path of `/`.
    pub fn root() -> Self {
        Self("".into())
    }

    /// The path of a target, up to its query. `*` counts as the root.
    pub fn of_target(target: &[u8]) -> Self {
        let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
        if path == b"*" {
            return Self::root();
        }
        let decoded = decoded(path);
        let mut segments: Vec<&str> = Vec::new();
        for segment in decoded.split(['/', '\\']) {
            match segment {
                "" | "." => {}
                // Above the root there is nothing; HTTP.sys refuses such a path.
                ".." => drop(segments.pop()),
                _ => segments.push(segment),
            }
        }
        let mut text = String::with_capacity(decoded.len() + 1);
        for segment in segments {
            text.push('/');
            text.extend(segment.chars().map(folded));
        }
        Self(text.into())
    }

    /// Whether this is `prefix` or a path below it: `/api/x` is within `/api`, `/apix` is not.
    pub fn is_within(&self, prefix: &Self) -> bool {
        self.0.strip_prefix(&*prefix.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Its length, by which the longest of several prefixes is found.
    pub fn length_bytes(&self) -> usize {
        self.0.len()
    }
}

/// The text of a percent-encoded path. Bytes that are not UTF-8 are characters of the server's code page for HTTP.sys;
/// the proxy does not know which, and takes Latin-1.
fn decoded(path: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [first, after @ ..] = rest {
        let (length, mut unit) = match after {
            [b'u' | b'U', digits @ ..] => (6, number(digits, 4)),
            digits => (3, number(digits, 2)),
        };
        if *first != b'%' {
            unit = None;
        }
        match unit {
            None => bytes.push(*first),
            Some(byte) if length == 3 => bytes.push(byte as u8),
            // Half of a pair stands for no character that a prefix could have.
            Some(unit) => {
                let c = char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER);
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        rest = &rest[if unit.is_some() { length } else { 1 }..];
    }
    String::from_utf8(bytes).unwrap_or_else(|error| error.into_bytes().into_iter().map(char::from).collect())
}

/// The number that begins with this many hexadecimal digits.
fn number(digits: &[u8], count: usize) -> Option<u32> {
    digits
        .get(..count)?
        .iter()
        .try_fold(0, |number, &digit| Some(number * 16 + char::from(digit).to_digit(16)?))
}

/// The character that stands for both cases. As in Windows' own comparison, one character stays one, and none becomes
/// an ASCII letter that was not one.
fn folded(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_uppercase();
    }
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(upper), None) if !upper.is_ascii() => upper,
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(target: &str) -> Path {
        Path::of_target(target.as_bytes())
    }

    #[test]
    fn every_spelling_of_a_path_is_the_same_path() {
        for target in [
            "/api/x",
            "/api/x/",
            "/API/X?a=/b/../c",
            "//api///x",
            "/./api/./x/.",
            "/app/../api/x",
            "/app/%2e%2e/api/x",
            "/app/.%2E/api/x",
            "/app/a/../../api/x",
            "/app//../api/x",
            "/../api/x",
            "/%61pi/x",
            "/%41PI%2fx",
            "/api%2Fx",
            "/api%5cx",
            "/api\\x",
            "/app%2f..%2fapi%5Cx",
            "/%u0061pi/x",
            "/%U0061pi%u002fx",
            "/app/%u002e./api/x",
            "api/x",
        ] {
            assert_eq!(path(target), path("/api/x"), "{target}");
        }
        for target in ["/", "", "*", "?a", "//", "/..", "/a/..", "/.", "/%2e", "%2f"] {
            assert_eq!(path(target), Path::root(), "{target}");
        }
    }

    #[test]
    fn what_is_not_encoded_is_another_path() {
        for target in [
            "/ap%69x/x",
            "/%2561pi/x",
            "/api/%252e%252e/x",
            "/api/.../x",
            "/api/x%3f",
            "/api/x;a",
            "/%u061pi/x",
            "/%6/x",
            "/%/x",
            "/%zzpi/x",
            "/api /x",
        ] {
            assert_ne!(path(target), path("/api/x"), "{target}");
        }
        assert_eq!(path("/%"), path("/%25"));
        assert_eq!(path("/a%u12"), path("/a%25u12"));
    }

    #[test]
    fn letters_of_every_alphabet_have_two_cases() {
        for target in [
            "/M\u{fc}nchen",
            "/m\u{dc}NCHEN",
            "/m%C3%BCnchen",
            "/m%c3%9cnchen",
            "/m%fcnchen",
            "/m%u00FCnchen",
        ] {
            assert_eq!(path(target), path("/m\u{fc}nchen"), "{target}");
        }
        assert_eq!(Path::of_target(b"/m\xfcnchen"), path("/m\u{fc}nchen"));
        // These become ASCII letters, or two letters, in other comparisons.
        for (target, other) in
            [("/wor\u{212a}", "/work"), ("/\u{17f}", "/s"), ("/\u{131}", "/i"), ("/stra\u{df}e", "/strasse")]
        {
            assert_ne!(path(target), path(other), "{target}");
        }
    }

    #[test]
    fn a_prefix_ends_where_a_segment_ends() {
        let prefix = path("/api/");
        for (target, is_within) in [
            ("/api", true),
            ("/api/", true),
            ("/api?x", true),
            ("/Api/x", true),
            ("/api/../apix", false),
            ("/apix", false),
            ("/ap", false),
            ("/", false),
            ("/x/api", false),
        ] {
            assert_eq!(path(target).is_within(&prefix), is_within, "{target}");
            assert!(path(target).is_within(&Path::root()), "{target}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_path_of_whole_segments(target in prop::collection::vec(any::<u8>(), 0..40)) {
            let Path(text) = Path::of_target(&target);
            prop_assert!(text.is_empty() || text.starts_with('/'));
            prop_assert!(text.split('/').skip(1).all(|segment| !["", ".", ".."].contains(&segment)), "{text}");
        }

        #[test]
        fn encoding_every_byte_changes_nothing(target in "/[a-zA-Z0-9./]{0,20}") {
            let encode = |all: String, byte| all + &format!("%{byte:02x}");
            let encoded = target.bytes().fold(String::new(), encode);
            prop_assert_eq!(path(&encoded), path(&target));
        }
    }
}
