//! What is looked for in a log, one id each.

use crate::words::words;

words! {
    /// What a finding about a log is about.
    pub enum Id {
        /// What was read, and how many lines could not be.
        Read = "log-read",
        /// The log has lines of connections only, which have no status.
        NoStatus = "log-no-status",
        /// A client is not let in; the likely cause, by client.
        Loop = "log-401-loop",
        /// How many more clients are not let in, beyond the twenty with the most 401s.
        MoreLoops = "log-401-loop-more",
        /// A client gets only 401s because it sends no credentials.
        NoCredentials = "log-no-credentials",
        /// A client logs in again for every request.
        EachRequest = "log-login-each-request",
    }
}
