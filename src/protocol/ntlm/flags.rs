//! What client and server agree on (MS-NLMP 2.2.2.5) and the version field (2.2.2.10).

use super::wire::Charset;

/// The negotiate flags of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags(pub u32);

impl Flags {
    /// Names are UTF-16LE.
    pub const UNICODE: Self = Self(0x0000_0001);
    /// Names may be in the OEM code page.
    pub const OEM: Self = Self(0x0000_0002);
    /// Type 2 should name the server or its domain.
    pub const REQUEST_TARGET: Self = Self(0x0000_0004);
    /// Signing is requested.
    pub const SIGN: Self = Self(0x0000_0010);
    /// NTLM session keys; every real client sets it.
    pub const NTLM: Self = Self(0x0000_0200);
    /// The client is anonymous.
    pub const ANONYMOUS: Self = Self(0x0000_0800);
    /// Type 1 names the client's domain.
    pub const DOMAIN_SUPPLIED: Self = Self(0x0000_1000);
    /// Type 1 names the client's workstation.
    pub const WORKSTATION_SUPPLIED: Self = Self(0x0000_2000);
    /// A signature on every message.
    pub const ALWAYS_SIGN: Self = Self(0x0000_8000);
    /// The target name of Type 2 is a domain.
    pub const TARGET_TYPE_DOMAIN: Self = Self(0x0001_0000);
    /// Extended session security: the signing keys of `NTLMv2`.
    pub const EXTENDED_SESSION_SECURITY: Self = Self(0x0008_0000);
    /// Type 2 carries AV pairs.
    pub const TARGET_INFO: Self = Self(0x0080_0000);
    /// The version field is filled in.
    pub const VERSION: Self = Self(0x0200_0000);
    /// 128-bit session keys.
    pub const KEY_128: Self = Self(0x2000_0000);
    /// Type 3 carries an encrypted random session key.
    pub const KEY_EXCHANGE: Self = Self(0x4000_0000);
    /// 56-bit session keys.
    pub const KEY_56: Self = Self(0x8000_0000);

    /// Whether all bits of `other` are set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The bits of `self` without those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The bits that both have.
    #[must_use]
    pub const fn common_with(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) fn charset(self) -> Charset {
        if self.has(Self::UNICODE) { Charset::Utf16 } else { Charset::Oem }
    }
}

/// The 8 bytes of a version field: product major and minor, build, three reserved bytes, NTLM revision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Version(pub [u8; 8]);

impl Version {
    /// Windows 10 / Server 2016 (10.0, build 14393), NTLM revision 15. The field is for debugging only, but gss-ntlmssp
    /// rejects a Type 1 without one.
    pub const WINDOWS_10: Self = Self([10, 0, 0x39, 0x38, 0, 0, 0, 15]);
}
