//! A DNS server that answers as the test says.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

/// Most bytes of an answer by UDP.
const UDP_BYTES_MAX: usize = 1232;

/// A DNS server on loopback, by UDP and by TCP. It answers until the test's process ends.
pub(crate) struct Dns {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

#[derive(Default)]
struct Zone {
    records: BTreeMap<String, Vec<RData>>,
    ttl: u32,
    failures: BTreeMap<(String, RecordType), ResponseCode>,
    is_silent: bool,
    /// How often each name was asked for.
    queries: BTreeMap<String, usize>,
    /// Number of answers so far: each has another order.
    turn: usize,
}

impl Dns {
    pub(crate) fn new() -> Self {
        loop {
            let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
            // The same port may be taken there.
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().expect("it is bound")) {
                return Self::on(tcp, udp);
            }
        }
    }

    /// Where hosts have theirs, in a network of the test's own.
    pub(crate) fn at_its_port() -> Self {
        let address = "127.0.0.1:53";
        Self::on(
            TcpListener::bind(address).expect("a free port"),
            UdpSocket::bind(address).expect("a free port"),
        )
    }

    fn on(tcp: TcpListener, udp: UdpSocket) -> Self {
        let dns = Self { address: tcp.local_addr().expect("it is bound"), zone: Arc::default() };
        let zone = Arc::clone(&dns.zone);
        thread::spawn(move || {
            let mut query = [0; 4096];
            while let Ok((length, from)) = udp.recv_from(&mut query) {
                if let Some(answer) = answer(&zone, &query[..length], UDP_BYTES_MAX) {
                    // Who asked may have gone.
                    let _ = udp.send_to(&answer, from);
                }
            }
        });
        let zone = Arc::clone(&dns.zone);
        thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                let zone = Arc::clone(&zone);
                thread::spawn(move || serve(&zone, stream));
            }
        });
        dns
    }

    /// The flag that has the proxy ask this server.
    pub(crate) fn flag(&self) -> String {
        format!("--resolver {}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The name has these addresses from now on; none: it is there, and has none.
    pub(crate) fn set(&self, name: &str, addresses: &[&str]) {
        let record = |text: &&str| match text.parse().expect("an IP address") {
            IpAddr::V4(address) => RData::A(A(address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(address)),
        };
        self.put(name, addresses.iter().map(record).collect());
    }

    /// The name is another one for `target`.
    pub(crate) fn set_alias(&self, name: &str, target: &str) {
        self.put(name, vec![RData::CNAME(CNAME(fqdn(target)))]);
    }

    /// The service has these servers, each with priority, weight, port and host.
    pub(crate) fn set_service(&self, name: &str, servers: &[(u16, u16, u16, &str)]) {
        let record = |(priority, weight, port, target): &(u16, u16, u16, &str)| {
            RData::SRV(SRV::new(*priority, *weight, *port, fqdn(target)))
        };
        self.put(name, servers.iter().map(record).collect());
    }

    fn put(&self, name: &str, records: Vec<RData>) {
        self.zone().records.insert(name.to_owned(), records);
    }

    /// There is no such name any more.
    pub(crate) fn remove(&self, name: &str) {
        self.zone().records.remove(name);
    }

    /// Answers for a type of the name fail with this code.
    pub(crate) fn fail(&self, name: &str, record_type: RecordType, code: ResponseCode) {
        self.zone().failures.insert((name.to_owned(), record_type), code);
    }

    /// No answer fails any more.
    pub(crate) fn heal(&self) {
        self.zone().failures.clear();
    }

    pub(crate) fn be_silent(&self, is_silent: bool) {
        self.zone().is_silent = is_silent;
    }

    pub(crate) fn set_ttl(&self, seconds: u32) {
        self.zone().ttl = seconds;
    }

    /// How often a name was asked for.
    pub(crate) fn queries(&self, name: &str) -> usize {
        self.zone().queries.get(name).copied().unwrap_or(0)
    }

    fn zone(&self) -> MutexGuard<'_, Zone> {
        self.zone.lock().expect("no panic while locked")
    }
}

fn fqdn(text: &str) -> Name {
    let mut name = Name::from_ascii(text).expect("a name");
    name.set_fqdn(true);
    name
}

fn serve(zone: &Mutex<Zone>, mut stream: TcpStream) {
    loop {
        let mut length = [0; 2];
        if stream.read_exact(&mut length).is_err() {
            return;
        }
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        if stream.read_exact(&mut query).is_err() {
            return;
        }
        let Some(answer) = answer(zone, &query, usize::from(u16::MAX)) else { continue };
        let length = u16::try_from(answer.len()).expect("it is not longer than that");
        if stream.write_all(&[&length.to_be_bytes()[..], &answer].concat()).is_err() {
            return;
        }
    }
}

/// None if the server is silent.
fn answer(zone: &Mutex<Zone>, query: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let mut zone = zone.lock().expect("no panic while locked");
    let query = Message::from_vec(query).expect("the proxy sends whole messages");
    let question = query.queries.first().expect("a message asks for something").clone();
    let asked = question.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
    *zone.queries.entry(asked.clone()).or_default() += 1;
    if zone.is_silent {
        return None;
    }
    let mut message = Message::response(query.metadata.id, OpCode::Query);
    message.add_query(question.clone());
    message.metadata.recursion_available = true;
    match zone.failures.get(&(asked.clone(), question.query_type())) {
        Some(code) => message.metadata.response_code = *code,
        None if zone.records.contains_key(&asked) => {
            let ttl = zone.ttl;
            for (name, data) in zone.look_up(&asked, question.query_type()) {
                message.add_answer(Record::from_rdata(fqdn(&name), ttl, data));
            }
        }
        None => message.metadata.response_code = ResponseCode::NXDomain,
    }
    let mut bytes = message.to_vec().expect("a message");
    if bytes.len() > bytes_max {
        message.answers.clear();
        message.metadata.truncation = true;
        bytes = message.to_vec().expect("a message");
    }
    Some(bytes)
}

impl Zone {
    /// The records of a name, and of those that it is another name for.
    fn look_up(&mut self, name: &str, record_type: RecordType) -> Vec<(String, RData)> {
        self.turn += 1;
        let mut found = Vec::new();
        let mut name = name.to_owned();
        for _ in 0..16 {
            let mut records = self.records.get(&name).cloned().unwrap_or_default();
            if !records.is_empty() {
                let turns = self.turn % records.len();
                records.rotate_left(turns);
            }
            let of_type = |data: &RData| data.record_type() == record_type;
            found
                .extend(records.iter().filter(|data| of_type(data)).map(|data| (name.clone(), data.clone())));
            let alias = records.iter().find_map(|data| match data {
                RData::CNAME(CNAME(target)) if record_type != RecordType::CNAME => Some(target.clone()),
                _ => None,
            });
            let Some(target) = alias else { break };
            let next = target.to_ascii().trim_end_matches('.').to_owned();
            found.push((std::mem::replace(&mut name, next), RData::CNAME(CNAME(target))));
        }
        found
    }
}
