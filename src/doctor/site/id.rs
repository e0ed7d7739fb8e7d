//! What is looked at, one id each.

use crate::words::words;

words! {
    /// What a finding of a site is about.
    pub enum Id {
        /// The name of the site has addresses.
        Name = "name",
        /// An address of the site accepts connections.
        Address = "address",
    }
}
