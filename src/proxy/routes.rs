//! Which group a connection goes to, by its TLS hello or by the hosts of its requests.

use super::names::Names;

/// Where connections go. `G` stands for a group: its settings, or a worker's view of it.
#[derive(Debug, Clone)]
pub struct Routes<G> {
    /// For connections that no route matches; without it they are closed.
    pub default: Option<G>,
    /// By server name.
    pub by_name: Names<G>,
    /// By a protocol that the client offers (ALPN); looked at before the name.
    pub by_protocol: Vec<(Vec<u8>, G)>,
    /// By the host of a request, in HTTP mode.
    pub by_host: Names<G>,
}

impl<G> Routes<G> {
    /// All connections go to one group.
    pub fn all(group: G) -> Self {
        Self {
            default: Some(group),
            by_name: Names::default(),
            by_protocol: Vec::new(),
            by_host: Names::default(),
        }
    }

    /// Whether routing needs the client's TLS hello.
    pub fn depend_on_hello(&self) -> bool {
        !self.by_name.is_empty() || !self.by_protocol.is_empty()
    }

    /// Whether routing needs the client's requests.
    pub fn depend_on_host(&self) -> bool {
        !self.by_host.is_empty()
    }

    /// Every group that a route names, the default first; a group comes once for each of its routes.
    pub fn groups(&self) -> impl Iterator<Item = &G> {
        let by_protocol = self.by_protocol.iter().map(|(_, group)| group);
        self.default.iter().chain(self.by_name.values()).chain(by_protocol).chain(self.by_host.values())
    }

    /// The same routes, with what `change` makes of each group.
    pub fn map<H>(&self, mut change: impl FnMut(&G) -> H) -> Routes<H> {
        Routes {
            default: self.default.as_ref().map(&mut change),
            by_name: self.by_name.map(&mut change),
            by_protocol: self
                .by_protocol
                .iter()
                .map(|(protocol, group)| (protocol.clone(), change(group)))
                .collect(),
            by_host: self.by_host.map(&mut change),
        }
    }

    /// The route of a host name, in lower case: that for requests, otherwise that for server names, otherwise the
    /// default.
    pub fn of_host(&self, name: Option<&str>) -> Option<&G> {
        let by_name = name.and_then(|name| self.by_host.get(name).or_else(|| self.by_name.get(name)));
        by_name.or(self.default.as_ref())
    }

    /// The route of the first of the client's protocols that has one, otherwise the route of its server name, otherwise
    /// the default.
    pub fn choose<'a>(
        &self,
        server_name: Option<&str>,
        mut protocols: impl Iterator<Item = &'a [u8]>,
    ) -> Option<&G> {
        let mut by_protocol = || {
            protocols.find_map(|wanted| {
                self.by_protocol.iter().find(|(protocol, _)| protocol == wanted).map(|(_, group)| group)
            })
        };
        let by_name = || server_name.and_then(|name| self.by_name.get(name));
        by_protocol().or_else(by_name).or(self.default.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_come_before_names_and_names_before_the_default() {
        let mut routes = Routes::all("default");
        routes.by_name.entry("*.example.com").or_insert("name");
        routes.by_protocol = vec![(b"http/1.1".to_vec(), "http"), (b"acme-tls/1".to_vec(), "acme")];
        let choose = |name, protocols: &[&'static str]| {
            routes.choose(name, protocols.iter().map(|protocol| protocol.as_bytes())).copied()
        };
        assert_eq!(choose(Some("a.example.com"), &["h2", "acme-tls/1", "http/1.1"]), Some("acme"));
        assert_eq!(choose(Some("a.example.com"), &["h2"]), Some("name"));
        assert_eq!(choose(Some("example.org"), &["h2"]), Some("default"));
        assert_eq!(choose(None, &[]), Some("default"));
        let closed = Routes::<()> { default: None, ..Routes::all(()) };
        assert_eq!(closed.choose(None, std::iter::empty()), None);
    }

    #[test]
    fn hosts_of_requests_come_before_server_names_and_those_before_the_default() {
        let mut routes = Routes::all("default");
        routes.by_name.entry("*.example.com").or_insert("name");
        routes.by_host.entry("a.example.com").or_insert("host");
        for (name, expected) in [
            (Some("a.example.com"), "host"),
            (Some("b.example.com"), "name"),
            (Some("example.com"), "default"),
            (None, "default"),
        ] {
            assert_eq!(routes.of_host(name), Some(&expected), "{name:?}");
        }
        routes.default = None;
        assert_eq!((routes.of_host(None), routes.of_host(Some("example.com"))), (None, None));
        assert_eq!(routes.groups().count(), 2);
    }
}
