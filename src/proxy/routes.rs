//! Which servers a connection goes to, by its TLS hello.

use super::names::Names;

/// Servers that can replace each other: a range of `Settings::upstreams`, never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Index of the first server.
    pub first: usize,
    /// Number of servers.
    pub count: usize,
}

/// The routing table.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    /// For connections that no route takes; without a default they are closed.
    pub default: Option<Group>,
    /// By server name.
    pub by_name: Names<Group>,
    /// By a protocol that the client offers (ALPN); checked before the name.
    pub by_protocol: Vec<(Vec<u8>, Group)>,
}

impl Routes {
    /// Sends all connections to the first `count` servers.
    pub fn all(count: usize) -> Self {
        Self { default: Some(Group { first: 0, count }), ..Self::default() }
    }

    /// Whether routing needs the client's TLS hello.
    pub fn depend_on_hello(&self) -> bool {
        !self.by_name.is_empty() || !self.by_protocol.is_empty()
    }

    /// Chooses the client's most preferred protocol that has a route, otherwise the route of its server name, otherwise
    /// the default.
    pub fn choose<'a>(
        &self,
        server_name: Option<&str>,
        mut protocols: impl Iterator<Item = &'a [u8]>,
    ) -> Option<Group> {
        let mut by_protocol = || {
            protocols.find_map(|wanted| {
                self.by_protocol.iter().find(|(protocol, _)| protocol == wanted).map(|(_, group)| *group)
            })
        };
        let by_name = || server_name.and_then(|name| self.by_name.get(name)).copied();
        by_protocol().or_else(by_name).or(self.default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_come_before_names_and_names_before_the_default() {
        let group = |first| Group { first, count: 1 };
        let mut routes = Routes::all(1);
        routes.by_name.entry("*.example.com").or_insert(group(1));
        routes.by_protocol = vec![(b"http/1.1".to_vec(), group(2)), (b"acme-tls/1".to_vec(), group(3))];
        let choose = |name, protocols: &[&'static str]| {
            let chosen = routes.choose(name, protocols.iter().map(|protocol| protocol.as_bytes()));
            chosen.map(|group| group.first)
        };
        assert_eq!(choose(Some("a.example.com"), &["h2", "acme-tls/1", "http/1.1"]), Some(3));
        assert_eq!(choose(Some("a.example.com"), &["h2"]), Some(1));
        assert_eq!(choose(Some("example.org"), &["h2"]), Some(0));
        assert_eq!(choose(None, &[]), Some(0));
        assert_eq!(Routes::default().choose(None, std::iter::empty()), None);
    }
}
