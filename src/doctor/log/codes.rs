//! What Windows' codes mean where IIS logs them for a 401 (`sc-win32-status`): Win32 errors, `SEC_E_…` and `STATUS_…`.

use super::cause::Cause;

/// The cause that a code names; `None` for the codes of every login's first legs, and for those that name none.
pub(super) fn cause(win32: u32) -> Option<Cause> {
    Some(match win32 {
        // SEC_E_INVALID_TOKEN, SEC_E_OUT_OF_SEQUENCE, SEC_E_INVALID_HANDLE: a message that does not follow the one before.
        0x8009_0308 | 0x8009_0310 | 0x8009_0301 => Cause::Split,
        // ERROR_LOGON_FAILURE, SEC_E_LOGON_DENIED, STATUS_LOGON_FAILURE, STATUS_WRONG_PASSWORD, ERROR_INVALID_PASSWORD
        1326 | 86 | 0x8009_030c | 0xc000_006d | 0xc000_006a => Cause::Password,
        // STATUS_NO_SUCH_USER, ERROR_NO_SUCH_USER
        0xc000_0064 | 1317 => Cause::NoSuchUser,
        // STATUS_ACCOUNT_LOCKED_OUT, ERROR_ACCOUNT_LOCKED_OUT
        0xc000_0234 | 1909 => Cause::Locked,
        // STATUS_ACCOUNT_DISABLED, STATUS_ACCOUNT_EXPIRED and theirs
        0xc000_0072 | 1331 | 0xc000_0193 | 1793 => Cause::Disabled,
        // STATUS_PASSWORD_EXPIRED, STATUS_PASSWORD_MUST_CHANGE and theirs
        0xc000_0071 | 1330 | 0xc000_0224 | 1907 => Cause::PasswordExpired,
        // STATUS_ACCOUNT_RESTRICTION, _INVALID_LOGON_HOURS, _INVALID_WORKSTATION, _LOGON_TYPE_NOT_GRANTED,
        // _AUTHENTICATION_FIREWALL_FAILED and theirs
        0xc000_006e | 1327 | 0xc000_006f | 1328 | 0xc000_0070 | 1329 | 0xc000_015b | 1385 | 0xc000_0413
        | 1935 => Cause::Restricted,
        // SEC_E_WRONG_PRINCIPAL, ERROR_WRONG_TARGET_NAME, SEC_E_TARGET_UNKNOWN, KRB_AP_ERR_MODIFIED as SEC_E_MESSAGE_ALTERED
        0x8009_0322 | 1396 | 0x8009_0303 | 0x8009_030f => Cause::Spn,
        // SEC_E_TIME_SKEW, ERROR_TIME_SKEW, STATUS_TIME_DIFFERENCE_AT_DC
        0x8009_0324 | 1398 | 0xc000_0133 => Cause::Clock,
        // SEC_E_BAD_BINDINGS, STATUS_BAD_BINDINGS
        0x8009_0346 | 0xc000_035b => Cause::Binding,
        // SEC_E_NO_AUTHENTICATING_AUTHORITY, ERROR_NO_LOGON_SERVERS, STATUS_NO_LOGON_SERVERS, trust failures
        0x8009_0311 | 1311 | 0xc000_005e | 1786..=1790 | 0xc000_018a..=0xc000_018d => Cause::NoController,
        // STATUS_NTLM_BLOCKED, ERROR_NTLM_BLOCKED, SEC_E_UNSUPPORTED_FUNCTION
        0xc000_0418 | 1937 | 0x8009_0302 => Cause::NtlmBlocked,
        // SEC_E_KDC_UNKNOWN_ETYPE, SEC_E_ETYPE_NOT_SUPP
        0x8009_0341 | 0x8009_0342 => Cause::Encryption,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_known_as_iis_writes_them() {
        for (decimal, expected) in [
            (2_148_074_248, Some(Cause::Split)),
            (2_148_074_252, Some(Cause::Password)),
            (1326, Some(Cause::Password)),
            (3_221_225_581, Some(Cause::Password)),
            (3_221_225_578, Some(Cause::Password)),
            (3_221_225_572, Some(Cause::NoSuchUser)),
            (3_221_226_036, Some(Cause::Locked)),
            (1909, Some(Cause::Locked)),
            (3_221_225_586, Some(Cause::Disabled)),
            (3_221_225_585, Some(Cause::PasswordExpired)),
            (3_221_225_819, Some(Cause::Restricted)),
            (2_148_074_274, Some(Cause::Spn)),
            (2_148_074_276, Some(Cause::Clock)),
            (2_148_074_310, Some(Cause::Binding)),
            (3_221_226_331, Some(Cause::Binding)),
            (2_148_074_257, Some(Cause::NoController)),
            (3_221_226_520, Some(Cause::NtlmBlocked)),
            (2_148_074_306, Some(Cause::Encryption)),
            (2_148_074_254, None),
            (5, None),
            (0, None),
        ] {
            assert_eq!(cause(decimal), expected, "{decimal}");
        }
    }
}
