//! The flags of a group that say where connections to its servers come from.

use std::net::IpAddr;
use std::sync::Arc;

use clap::Args;

use crate::cli::Error;
use crate::upstream::{SOURCE_ADDRESSES_MAX, Server, Sources};
use crate::uring::Address;

/// Where connections come from; the bracket at the end of each text is the nginx directive that it stands for.
#[allow(clippy::doc_markdown, reason = "what clap shows as it stands")]
#[derive(Debug, Args)]
pub(super) struct SourceArgs {
    /// Address of this host for connections to servers to come from, for those of its family; several take turns: each allows about
    /// 28,000 connections to a server; repeatable [default: the kernel chooses] [nginx: proxy_bind]
    #[arg(long, value_name = "IP", help_heading = "Servers", value_parser = address)]
    source_address: Vec<IpAddr>,
    /// Connect to servers from the client's own address, or that in its PROXY header, so that servers see it; takes CAP_NET_RAW,
    /// and routing that leads servers' replies to the proxy [default: off] [nginx: proxy_bind $remote_addr transparent]
    #[arg(long, help_heading = "Servers")]
    transparent: bool,
}

impl SourceArgs {
    /// Where connections come from; `are_opened_ahead`: whether some are opened before there is a client.
    ///
    /// # Errors
    /// Addresses that do not go together.
    pub(super) fn sources(&self, are_opened_ahead: bool) -> Result<Sources, Error> {
        let Self { source_address: addresses, transparent } = self;
        if *transparent {
            return match addresses.first() {
                None if are_opened_ahead => Err(Error::Usage(
                    "--transparent has connections come from the clients' addresses, and --warm opens them before a \
                     client is there; remove one of them"
                        .to_owned(),
                )),
                None => Ok(Sources::Client),
                Some(address) => Err(Error::Usage(format!(
                    "--transparent has connections come from the clients' addresses, and --source-address {address} from \
                     this host's; remove one of them"
                ))),
            };
        }
        let is_repeated = |(nth, address): &(usize, &IpAddr)| addresses[..*nth].contains(address);
        if let Some((_, twice)) = addresses.iter().enumerate().find(is_repeated) {
            return Err(Error::Usage(format!("--source-address {twice} is given twice; remove one of them")));
        }
        if addresses.len() > SOURCE_ADDRESSES_MAX {
            return Err(Error::Usage(format!(
                "--source-address is given {} times; give {SOURCE_ADDRESSES_MAX} at most",
                addresses.len()
            )));
        }
        Ok(if addresses.is_empty() { Sources::Kernel } else { Sources::Own(addresses.clone()) })
    }

    /// Checks that the servers of a group can be connected to from there.
    ///
    /// # Errors
    /// None of them can.
    pub(super) fn check(&self, servers: &[Arc<Server>]) -> Result<(), Error> {
        let families = || {
            servers.iter().filter_map(|server| match server.address() {
                Address::Ip(address) => Some(address.is_ipv4()),
                Address::Unix(_) => None,
            })
        };
        let is_of_use = |address: &IpAddr| families().any(|is_ipv4| is_ipv4 == address.is_ipv4());
        if self.transparent && families().next().is_none() && !servers.is_empty() {
            return Err(Error::Usage(
                "--transparent shows servers the clients' addresses, and a server on a Unix socket sees none; remove it"
                    .to_owned(),
            ));
        }
        match self.source_address.first() {
            Some(first) if !self.source_address.iter().any(is_of_use) => {
                let needed = match families().next() {
                    Some(true) => "give an IPv4 address as well, or remove it",
                    Some(false) => "give an IPv6 address as well, or remove it",
                    None => "Unix sockets have none; remove it",
                };
                Err(Error::Usage(format!("--source-address {first} is of the family of no server; {needed}")))
            }
            _ => Ok(()),
        }
    }
}

/// Parses an address that a host can have, and that says by itself where it is.
fn address(text: &str) -> Result<IpAddr, String> {
    let wanted = "give an IP address of this host without a port, such as 10.0.0.5 or 2001:db8::5";
    let address: IpAddr = text.parse().map_err(|_| wanted)?;
    let is_unfit = match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if address.is_unspecified() || address.is_multicast() || is_unfit {
        return Err(wanted.to_owned());
    }
    Ok(address.to_canonical())
}
