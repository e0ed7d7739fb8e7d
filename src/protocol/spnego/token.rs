//! `NegTokenInit` and `NegTokenResp` (RFC 4178 section 4.2, MS-SPNG 2.2.1).

use super::TokenError;
use crate::protocol::der::{self, DerError, OID, SEQUENCE, context};

pub(super) const APPLICATION: u8 = 0x60;
pub(super) const OCTET_STRING: u8 = 0x04;
const ENUMERATED: u8 = 0x0a;

/// 1.3.6.1.5.5.2
pub(super) const SPNEGO: &[u8] = &[0x2b, 6, 1, 5, 5, 2];
/// 1.3.6.1.4.1.311.2.2.10
const NTLM: &[u8] = &[0x2b, 6, 1, 4, 1, 0x82, 0x37, 2, 2, 10];
/// 1.2.840.113554.1.2.2
pub(super) const KERBEROS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 1, 2, 2];
/// 1.2.840.48018.1.2.2: Kerberos, with the number that Windows 2000 got wrong.
pub(super) const MS_KERBEROS: &[u8] = &[0x2a, 0x86, 0x48, 0x82, 0xf7, 0x12, 1, 2, 2];

/// A login mechanism that SPNEGO can choose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mechanism<'a> {
    /// NTLM.
    Ntlm,
    /// Kerberos 5.
    Kerberos,
    /// Kerberos 5 under Microsoft's own identifier.
    MsKerberos,
    /// Any other, by the content of its object identifier.
    Other(&'a [u8]),
}

impl<'a> Mechanism<'a> {
    fn from_oid(oid: &'a [u8]) -> Self {
        match oid {
            NTLM => Self::Ntlm,
            KERBEROS => Self::Kerberos,
            MS_KERBEROS => Self::MsKerberos,
            other => Self::Other(other),
        }
    }

    fn oid(self) -> &'a [u8] {
        match self {
            Self::Ntlm => NTLM,
            Self::Kerberos => KERBEROS,
            Self::MsKerberos => MS_KERBEROS,
            Self::Other(oid) => oid,
        }
    }
}

/// The list of mechanisms, which is signed as sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MechTypes<'a> {
    der: &'a [u8],
}

impl<'a> MechTypes<'a> {
    /// The DER encoding of the list, which the mechListMIC covers.
    pub fn der(&self) -> &'a [u8] {
        self.der
    }

    /// The mechanisms, the client's favourite first.
    pub fn iter(&self) -> impl Iterator<Item = Mechanism<'a>> + use<'a> {
        // `parse` has validated it.
        let mut rest = der::only(SEQUENCE, self.der).unwrap_or_default();
        std::iter::from_fn(move || {
            let (oid, after) = der::expect(OID, rest).ok()?;
            rest = after;
            Some(Mechanism::from_oid(oid))
        })
    }

    fn parse(der: &'a [u8]) -> Result<Self, TokenError> {
        let mut rest = der::only(SEQUENCE, der)?;
        while !rest.is_empty() {
            (_, rest) = der::expect(OID, rest)?;
        }
        Ok(Self { der })
    }
}

/// The DER encoding of a list of mechanisms.
pub fn mech_types_der(mechanisms: &[Mechanism<'_>]) -> Vec<u8> {
    let oids: Vec<u8> = mechanisms.iter().flat_map(|m| der::element(OID, m.oid())).collect();
    der::element(SEQUENCE, &oids)
}

/// The client's first token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NegTokenInit<'a> {
    /// The mechanisms that the client supports.
    pub mech_types: MechTypes<'a>,
    /// The first message of its favourite mechanism, sent ahead.
    pub mech_token: Option<&'a [u8]>,
    /// Signature of the list.
    pub mech_list_mic: Option<&'a [u8]>,
}

impl<'a> NegTokenInit<'a> {
    /// Reads a token. Microsoft's `negHints` and the request flags are skipped.
    ///
    /// # Errors
    /// What does not parse.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TokenError> {
        let (oid, rest) = der::expect(OID, der::only(APPLICATION, bytes)?)?;
        if oid != SPNEGO {
            return Err(TokenError::NotSpnego);
        }
        let mut rest = der::only(SEQUENCE, der::only(context(0), rest)?)?;
        let (mut mech_types, mut mech_token, mut mech_list_mic) = (None, None, None);
        while !rest.is_empty() {
            let (tag, value, after) = der::split(rest)?;
            rest = after;
            match tag {
                t if t == context(0) => mech_types = Some(MechTypes::parse(value)?),
                t if t == context(2) => mech_token = Some(der::only(OCTET_STRING, value)?),
                // In NegTokenInit2 (MS-SPNG 2.2.1) [3] is a SEQUENCE of hints and [4] the MIC.
                t if t == context(3) && value.first() == Some(&SEQUENCE) => {}
                t if t == context(3) || t == context(4) => {
                    mech_list_mic = Some(der::only(OCTET_STRING, value)?);
                }
                t if t == context(1) => {}
                found => return Err(DerError::UnexpectedTag { expected: context(0), found }.into()),
            }
        }
        let mech_types = mech_types.ok_or(TokenError::NoMechTypes)?;
        Ok(Self { mech_types, mech_token, mech_list_mic })
    }
}

/// Builds the client's first token.
pub fn neg_token_init(mechanisms: &[Mechanism<'_>], mech_token: Option<&[u8]>) -> Vec<u8> {
    let mut fields = der::element(context(0), &mech_types_der(mechanisms));
    if let Some(token) = mech_token {
        fields.extend(der::element(context(2), &der::element(OCTET_STRING, token)));
    }
    let mut body = der::element(OID, SPNEGO);
    body.extend(der::element(context(0), &der::element(SEQUENCE, &fields)));
    der::element(APPLICATION, &body)
}

/// The state of the negotiation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NegState {
    /// Logged in.
    AcceptCompleted,
    /// In progress.
    AcceptIncomplete,
    /// Refused.
    Reject,
    /// In progress; the list of mechanisms must be signed.
    RequestMic,
}

/// Any token after the first, in either direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NegTokenResp<'a> {
    /// The state as the server sees it.
    pub state: Option<NegState>,
    /// The mechanism that the server chose.
    pub supported_mech: Option<Mechanism<'a>>,
    /// A message of the mechanism.
    pub response_token: Option<&'a [u8]>,
    /// Signature of the list.
    pub mech_list_mic: Option<&'a [u8]>,
}

impl<'a> NegTokenResp<'a> {
    /// Reads a token.
    ///
    /// # Errors
    /// What does not parse.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TokenError> {
        let mut rest = der::only(SEQUENCE, der::only(context(1), bytes)?)?;
        let mut token = Self::default();
        while !rest.is_empty() {
            let (tag, value, after) = der::split(rest)?;
            rest = after;
            match tag {
                t if t == context(0) => token.state = Some(neg_state(der::only(ENUMERATED, value)?)?),
                t if t == context(1) => {
                    token.supported_mech = Some(Mechanism::from_oid(der::only(OID, value)?));
                }
                t if t == context(2) => token.response_token = Some(der::only(OCTET_STRING, value)?),
                t if t == context(3) => token.mech_list_mic = Some(der::only(OCTET_STRING, value)?),
                found => return Err(DerError::UnexpectedTag { expected: context(0), found }.into()),
            }
        }
        Ok(token)
    }

    /// Writes the token.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut fields = Vec::new();
        if let Some(state) = self.state {
            let digit = match state {
                NegState::AcceptCompleted => 0,
                NegState::AcceptIncomplete => 1,
                NegState::Reject => 2,
                NegState::RequestMic => 3,
            };
            fields.extend(der::element(context(0), &der::element(ENUMERATED, &[digit])));
        }
        if let Some(mechanism) = self.supported_mech {
            fields.extend(der::element(context(1), &der::element(OID, mechanism.oid())));
        }
        if let Some(token) = self.response_token {
            fields.extend(der::element(context(2), &der::element(OCTET_STRING, token)));
        }
        if let Some(mic) = self.mech_list_mic {
            fields.extend(der::element(context(3), &der::element(OCTET_STRING, mic)));
        }
        der::element(context(1), &der::element(SEQUENCE, &fields))
    }
}

fn neg_state(value: &[u8]) -> Result<NegState, TokenError> {
    match value {
        [0] => Ok(NegState::AcceptCompleted),
        [1] => Ok(NegState::AcceptIncomplete),
        [2] => Ok(NegState::Reject),
        [3] => Ok(NegState::RequestMic),
        _ => Err(TokenError::BadState),
    }
}
