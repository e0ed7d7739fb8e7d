//! Which group a connection goes to, by its TLS hello, or each of its requests, by host and path.

use super::names::Names;
use crate::protocol::http1::path::Path;

/// Where connections go. `G` stands for a group: its settings, or a worker's view of it.
#[derive(Debug, Clone)]
pub struct Routes<G> {
    /// For connections that no route matches; without it they are closed.
    pub default: Option<G>,
    /// By server name.
    pub by_name: Names<G>,
    /// By a protocol that the client offers (ALPN); looked at before the name.
    pub by_protocol: Vec<(Vec<u8>, G)>,
    /// By the host of a request and its path, in HTTP mode.
    pub by_host: Names<ByPath<G>>,
    /// By the path of a request, whatever its host is.
    pub by_path: ByPath<G>,
}

/// Groups by prefixes of paths.
#[derive(Debug, Clone)]
pub struct ByPath<G>(Vec<(Path, G)>);

/// Why a request has no group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoute {
    /// No route has its host.
    Host,
    /// Routes have its host, and others than its path.
    Path,
}

impl<G> Default for ByPath<G> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<G> ByPath<G> {
    /// Adds the group of paths within `prefix`. Of several for the same prefix the first counts.
    pub fn add(&mut self, prefix: Path, group: G) {
        let at = self.0.partition_point(|(other, _)| other.length_bytes() >= prefix.length_bytes());
        self.0.insert(at, (prefix, group));
    }

    /// The group of the longest prefix that the path is within.
    fn get(&self, path: &Path) -> Option<&G> {
        self.0.iter().find(|(prefix, _)| path.is_within(prefix)).map(|(_, group)| group)
    }

    /// Whether it looks at paths.
    fn depends_on_path(&self) -> bool {
        self.0.iter().any(|(prefix, _)| *prefix != Path::root())
    }

    /// Whether every path has a group.
    fn is_complete(&self) -> bool {
        self.0.iter().any(|(prefix, _)| *prefix == Path::root())
    }

    fn groups(&self) -> impl Iterator<Item = &G> {
        self.0.iter().map(|(_, group)| group)
    }

    fn map<H>(&self, change: &mut impl FnMut(&G) -> H) -> ByPath<H> {
        ByPath(self.0.iter().map(|(prefix, group)| (prefix.clone(), change(group))).collect())
    }
}

impl<G> Routes<G> {
    /// All connections go to one group.
    pub fn all(group: G) -> Self {
        Self {
            default: Some(group),
            by_name: Names::default(),
            by_protocol: Vec::new(),
            by_host: Names::default(),
            by_path: ByPath::default(),
        }
    }

    /// Whether routing needs the client's TLS hello.
    pub fn depend_on_hello(&self) -> bool {
        !self.by_name.is_empty() || !self.by_protocol.is_empty()
    }

    /// Whether routing needs the client's requests.
    pub fn depend_on_requests(&self) -> bool {
        !self.by_host.is_empty() || !self.by_path.0.is_empty()
    }

    /// Whether the requests of one host can go to several groups.
    pub fn depend_on_path(&self) -> bool {
        self.by_path.depends_on_path() || self.by_host.values().any(ByPath::depends_on_path)
    }

    /// Every group that a route names, the default first; a group comes once for each of its routes.
    pub fn groups(&self) -> impl Iterator<Item = &G> {
        let by_protocol = self.by_protocol.iter().map(|(_, group)| group);
        let by_host = self.by_host.values().flat_map(ByPath::groups);
        self.default
            .iter()
            .chain(self.by_name.values())
            .chain(by_protocol)
            .chain(by_host)
            .chain(self.by_path.groups())
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
            by_host: self.by_host.map(|by_path| by_path.map(&mut change)),
            by_path: self.by_path.map(&mut change),
        }
    }

    /// The route of a request for this host, in lower case, and this path: that of the most specific host, and of the
    /// longest prefix among those of one host. Where the routes of a host do not have the path, those of a less specific
    /// one are looked at, then the server name's, then those for all hosts, then the default.
    ///
    /// # Errors
    /// What no route has.
    pub fn of_request(&self, host: Option<&str>, path: &Path) -> Result<&G, NoRoute> {
        let by_host = || host.into_iter().flat_map(|host| self.by_host.matches(host));
        let by_name = || host.and_then(|host| self.by_name.get(host));
        let group = by_host().find_map(|by_path| by_path.get(path)).or_else(by_name);
        let group = group.or_else(|| self.by_path.get(path)).or(self.default.as_ref());
        let is_known = || !self.by_path.0.is_empty() || by_host().next().is_some();
        group.ok_or_else(|| if is_known() { NoRoute::Path } else { NoRoute::Host })
    }

    /// The most groups that requests for one host can go to; at least one.
    pub fn groups_of_a_host_max(&self, is_same: impl Fn(&G, &G) -> bool) -> usize {
        if !self.depend_on_path() {
            return 1;
        }
        let patterns = self.by_host.patterns().chain(self.by_name.patterns()).map(Some);
        let counts = patterns.chain([None]).map(|host| self.groups_of(host.as_deref(), &is_same).len());
        counts.max().unwrap_or(1)
    }

    /// Two groups that clash and that requests for one host can go to.
    pub fn clash_of_a_host(&self, clash: impl Fn(&G, &G) -> bool) -> Option<(&G, &G)> {
        if !self.depend_on_path() {
            return None;
        }
        let patterns = self.by_host.patterns().chain(self.by_name.patterns()).map(Some);
        patterns.chain([None]).find_map(|host| {
            let groups = self.groups_of(host.as_deref(), &|_, _| false);
            let pairs = groups
                .iter()
                .enumerate()
                .flat_map(|(nth, one)| groups[nth + 1..].iter().map(move |other| (*one, *other)));
            pairs.into_iter().find(|(one, other)| clash(one, other))
        })
    }

    /// The groups that requests for this host can go to, each once. A pattern stands for the hosts that only it matches.
    fn groups_of(&self, host: Option<&str>, is_same: &impl Fn(&G, &G) -> bool) -> Vec<&G> {
        let mut found: Vec<&G> = Vec::new();
        let mut add = |group| {
            if !found.iter().any(|known| is_same(known, group)) {
                found.push(group);
            }
        };
        let by_host = host.into_iter().flat_map(|host| self.by_host.matches(host));
        for by_path in by_host {
            by_path.groups().for_each(&mut add);
            if by_path.is_complete() {
                return found;
            }
        }
        if let Some(group) = host.and_then(|host| self.by_name.get(host)) {
            add(group);
            return found;
        }
        self.by_path
            .groups()
            .chain(self.default.iter().filter(|_| !self.by_path.is_complete()))
            .for_each(add);
        found
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

    fn of_host<'a>(routes: &Routes<&'a str>, host: Option<&str>) -> Result<&'a str, NoRoute> {
        routes.of_request(host, &Path::root()).copied()
    }

    fn path(text: &str) -> Path {
        Path::of_target(text.as_bytes())
    }

    #[test]
    fn hosts_of_requests_come_before_server_names_and_those_before_the_default() {
        let mut routes = Routes::all("default");
        routes.by_name.entry("*.example.com").or_insert("name");
        routes.by_host.entry("a.example.com").or_default().add(Path::root(), "host");
        for (name, expected) in [
            (Some("a.example.com"), "host"),
            (Some("b.example.com"), "name"),
            (Some("example.com"), "default"),
            (None, "default"),
        ] {
            assert_eq!(of_host(&routes, name), Ok(expected), "{name:?}");
        }
        routes.default = None;
        assert_eq!(of_host(&routes, None), Err(NoRoute::Host));
        assert_eq!(of_host(&routes, Some("example.com")), Err(NoRoute::Host));
        assert_eq!(routes.groups().count(), 2);
        assert!(!routes.depend_on_path());
    }

    #[test]
    fn the_most_specific_host_counts_before_the_longest_prefix() {
        let mut routes = Routes::all("default");
        for (host, prefix, group) in [
            ("a.corp", "/api", "a/api"),
            ("a.corp", "/api/v2/", "a/api/v2"),
            ("b.corp", "/", "b"),
            ("*.corp", "/api/v2/old", "corp/old"),
            ("*.corp", "/docs", "corp/docs"),
        ] {
            routes.by_host.entry(host).or_default().add(path(prefix), group);
        }
        routes.by_path.add(path("/img"), "img");
        assert!(routes.depend_on_path());
        for (host, target, expected) in [
            ("a.corp", "/api", "a/api"),
            ("a.corp", "/api/v2", "a/api/v2"),
            ("a.corp", "/api/v2/old", "a/api/v2"),
            ("a.corp", "/api/v20", "a/api"),
            ("a.corp", "/docs/x", "corp/docs"),
            ("a.corp", "/img/x", "img"),
            ("a.corp", "/", "default"),
            ("b.corp", "/img", "b"),
            ("c.corp", "/api/v2/old/x", "corp/old"),
            ("c.corp", "/api/v2", "default"),
            ("else", "/docs", "default"),
            ("else", "/IMG", "img"),
        ] {
            assert_eq!(routes.of_request(Some(host), &path(target)), Ok(&expected), "{host} {target}");
        }
        routes.default = None;
        for (host, target) in [(Some("a.corp"), "/"), (Some("else"), "/docs"), (None, "/docs")] {
            assert_eq!(routes.of_request(host, &path(target)), Err(NoRoute::Path), "{host:?} {target}");
        }
        routes.by_path = ByPath::default();
        for (host, target, expected) in [
            (Some("a.corp"), "/", NoRoute::Path),
            (Some("else"), "/docs", NoRoute::Host),
            (None, "/docs", NoRoute::Host),
        ] {
            assert_eq!(routes.of_request(host, &path(target)), Err(expected), "{host:?} {target}");
        }
    }

    #[test]
    fn a_session_needs_a_connection_for_each_group_of_its_host() {
        let max = |routes: &Routes<&str>| routes.groups_of_a_host_max(|one, other| one == other);
        let mut routes = Routes::all("default");
        assert_eq!(max(&routes), 1);
        routes.by_host.entry("a").or_default().add(Path::root(), "a");
        routes.by_host.entry("b").or_default().add(Path::root(), "b");
        assert_eq!(max(&routes), 1);
        routes.by_host.entry("b").or_default().add(path("/x"), "x");
        routes.by_host.entry("b").or_default().add(path("/y"), "x");
        assert_eq!(max(&routes), 2);
        routes.by_host.entry("c").or_default().add(path("/x"), "x");
        routes.by_path.add(path("/y"), "y");
        assert_eq!(max(&routes), 3, "c: x, y and the default");
        routes.by_host.entry("*.d").or_default().add(path("/z"), "z");
        routes.by_host.entry("a.d").or_default().add(path("/x"), "x");
        assert_eq!(max(&routes), 4, "a.d: x, z, y and the default");
    }
}
