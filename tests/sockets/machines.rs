//! Several machines: a router spreads connections over two proxies, which share nothing.
//!
//! ```text
//!   clients 10.78.0.2 -- 10.78.0.1 router 10.78.1.1 --+-- 10.78.1.11 machine, 192.0.2.80 on lo
//!                                  with the servers   '-- 10.78.1.12 machine, 192.0.2.80 on lo
//! ```
//!
//! What runs on the machines besides the proxy is what stands in `deploy/scale`.

use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Launch, Network, Peer, Proxy, Server, exchange, in_own_network, run, wait_until};

const BINARY: &str = env!("CARGO_BIN_EXE_iisplice");

/// The service's address, which every machine has.
const SERVICE: &str = "192.0.2.80";

/// The machines' addresses in the network that they share.
const MACHINES: [&str; 2] = ["10.78.1.11", "10.78.1.12"];

/// Next hops with the first machine: the second one has two, because Linux does not note what is active in a group of one.
const BOTH: &str = "ip nexthop replace id 11 via 10.78.1.11 dev edge; ip nexthop replace id 80 group 11/12/22 \
                    type resilient buckets 4096 idle_timer 3 unbalanced_timer 0";

/// Programs that the machines need besides `ip`.
fn missing() -> Vec<&'static str> {
    let is_missing = |name: &&str| {
        let places = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
        !places.iter().any(|place| Path::new(place).join(name).exists())
    };
    ["nft", "curl", "nsenter"].into_iter().filter(is_missing).collect()
}

fn of_scale(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/scale").join(name)
}

/// A process that is told to end with the test, and waited for.
struct Ended(Child);

impl Ended {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("it is there"))
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id() as i32), signal).expect("our child");
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.signal(Signal::SIGTERM);
            let _ = self.0.wait();
        }
    }
}

/// The networks, and what runs in them but for proxies and clients.
struct Site {
    directory: TempDir,
    router: Network,
    clients: Network,
    machines: [Network; 2],
    /// Behind port 81 of the proxies.
    server: Server,
    _mock: Ended,
}

impl Site {
    fn new() -> Self {
        let (router, clients) = (Network::here(), Network::new());
        let machines = [Network::new(), Network::new()];
        for (name, value) in [("ip_forward", "1"), ("fib_multipath_hash_policy", "1")] {
            crate::support::set_parameter(&format!("ipv4/{name}"), value);
        }
        clients.connect("clients");
        run("ip address add 10.78.0.1/24 dev clients");
        clients.enter(|| {
            run("ip address add 10.78.0.2/24 dev eth0");
            run("ip route add default via 10.78.0.1");
        });
        run("ip link add edge type bridge");
        run("ip link set edge up");
        run("ip address add 10.78.1.1/24 dev edge");
        let directory = TempDir::new().expect("a directory");
        let ports = "define ports = { 80, 443 }";
        let strays = fs::read_to_string(of_scale("strays.nft")).expect("it is there");
        assert!(strays.contains(ports));
        let rules = directory.path().join("strays.nft");
        fs::write(&rules, strays.replace(ports, "define ports = { 80, 81 }")).expect("it is written");
        for (machine, address) in machines.iter().zip(MACHINES) {
            let name = format!("m{}", &address[8..]);
            machine.connect(&name);
            run(&format!("ip link set {name} master edge"));
            machine.enter(|| {
                run(&format!("ip address add {address}/24 dev eth0"));
                run("ip route add default via 10.78.1.1");
                run(&format!("ip address add {SERVICE}/32 dev lo"));
                run(&format!("nft -f {}", rules.display()));
            });
        }
        for (id, address) in [(12, MACHINES[1]), (22, MACHINES[1]), (11, MACHINES[0])] {
            run(&format!("ip nexthop add id {id} via {address} dev edge"));
        }
        run("ip nexthop add id 80 group 12/22 type resilient buckets 4096 idle_timer 3 unbalanced_timer 0");
        run(&format!("ip route add {SERVICE}/32 nhid 80"));

        let log = directory.path().join("mock.log");
        let mock = Ended::start(
            Command::new(BINARY)
                .args(["mock", "--listen", "10.78.1.1:8080", "--user", "CORP\\alice:secret"])
                .stderr(fs::File::create(&log).expect("a file")),
        );
        wait_until("the mock to serve", || fs::read_to_string(&log).is_ok_and(|said| said.contains(":8080")));
        Self { directory, router, clients, machines, server: Server::at("10.78.1.1:0"), _mock: mock }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn start(&self, machine: usize) -> Proxy {
        let address = MACHINES[machine];
        let token = self.path("token");
        run(&format!("install -m 600 /dev/null {}", token.display()));
        fs::write(&token, "a-token-of-the-test").expect("it is written");
        let text = format!(
            "admin = \"{address}:9180\"\nadmin-token-file = \"{}\"\ndrain-delay = \"10s\"\ndrain-timeout = \"1h\"\n\
             [service.web]\nlisten = \"0.0.0.0:80\"\nupstream = \"mock\"\ntcp-keepalive = \"1s\"\n\
             [service.other]\nlisten = \"0.0.0.0:81\"\nupstream = \"other\"\ntcp-keepalive = \"1s\"\n\
             [group.mock]\nservers = [\"10.78.1.1:8080\"]\n[group.other]\nservers = [\"{}\"]\n",
            token.display(),
            self.server.address()
        );
        let file = self.path(&format!("{machine}.toml"));
        fs::write(&file, text).expect("it is written");
        self.machines[machine].enter(|| Launch::by_file(&file).start())
    }

    /// `health-gate` on a machine.
    fn gate(&self, machine: usize, [check, up, down]: [&str; 3]) -> Ended {
        let mut gate = Command::new(of_scale("health-gate"));
        gate.args(["--interval", "0.1", "--rise", "1", "--fall", "2", "--check", check, "--up", up]);
        gate.args(["--down", down]);
        self.machines[machine].enter(|| Ended::start(&mut gate))
    }

    /// The first machine's own: the router leads clients to it while its proxy is ready. Without luck with times: while it drains,
    /// it waits for the other machine to know.
    fn own_gate(&self) -> Ended {
        let [at_router, at_other] =
            [&self.router, &self.machines[1]].map(|network| format!("nsenter --net={}", network.path()));
        let up = format!("{at_router} sh -c '{BOTH}'");
        let knows = format!("{at_other} nft list map ip iisplice strays | grep -q {}", MACHINES[0]);
        let down = format!(
            "while test \"$({READYZ})\" = 503 && ! {knows}; do sleep 0.1; done; {at_router} ip nexthop del id 11; ! {at_router} ip nexthop get id 11"
        );
        self.gate(0, [&format!("test \"$({READYZ})\" = 200"), &up, &down])
    }

    /// The second machine's for the first one: what belongs to the other is passed on while that one drains. The commands of the unit.
    fn gate_of_strays(&self) -> Ended {
        let unit = fs::read_to_string(of_scale("iisplice-strays@.service")).expect("it is there");
        let command = |name: &str| {
            let (_, rest) = unit.split_once(&format!("--{name} \"")).expect("it is one of the unit");
            let (command, _) = rest.split_once('"').expect("it ends");
            command.replace("%i", MACHINES[0]).replace("%%", "%").replace("$$", "$")
        };
        self.gate(1, [&command("check"), &command("up"), &command("down")])
    }

    /// How many packets the second machine passed on.
    fn strays(&self) -> u64 {
        let list = ["list", "chain", "ip", "iisplice", "pass"];
        let listed = self.machines[1].enter(|| Command::new("nft").args(list).output().expect("it runs"));
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        let (_, count) = text.split_once("counter packets ").unwrap_or_else(|| panic!("no counter: {text}"));
        count.split(' ').next().and_then(|count| count.parse().ok()).expect("a number")
    }

    /// A client that has exchanged messages with a server, and the number of its machine.
    fn client(&self) -> Held {
        let client = self.clients.enter(|| Peer::connect(&format!("{SERVICE}:81")));
        client.send(b"first");
        let upstream = self.server.accept();
        upstream.expect(b"first");
        exchange(&client, &upstream);
        let source =
            upstream.socket().peer_addr().expect("it is connected").as_socket().expect("an IP socket").ip();
        let machine = MACHINES.iter().position(|address| address.parse::<IpAddr>() == Ok(source));
        Held { client, upstream, machine: machine.expect("one of the machines") }
    }

    /// Clients of both machines.
    fn hold(&self, held: &mut Vec<Held>) {
        let has = |held: &[Held], machine| held.iter().filter(|one| one.machine == machine).count() >= 3;
        while !(has(held, 0) && has(held, 1)) {
            assert!(held.len() < 200, "the router spreads nothing");
            held.push(self.client());
        }
    }

    /// Logins, one a connection.
    fn load(&self, name: &str) -> Load {
        let json = self.path(name);
        let mut load = Command::new(BINARY);
        load.args([
            "load",
            "--auth",
            "ntlm",
            "--user",
            "CORP\\alice:secret",
            "--scenario",
            "login",
            "--rate",
            "50",
        ]);
        load.args(["-c", "8", "--duration", "10m", "--warmup", "0s", "--quiet", "--json"]).arg(&json);
        load.arg(format!("http://{SERVICE}/whoami"));
        Load { process: self.clients.enter(|| Ended::start(&mut load)), json }
    }
}

/// The first machine's readiness, as a status. On a busy host the answer takes seconds; a dead proxy refuses at once.
const READYZ: &str = "curl -s -o /dev/null -m 20 -w '%{http_code}' http://10.78.1.11:9180/readyz";

/// A client whose connection stays, and its server.
struct Held {
    client: Peer,
    upstream: Peer,
    machine: usize,
}

impl Held {
    fn is_served(&self) {
        exchange(&self.client, &self.upstream);
    }
}

struct Load {
    process: Ended,
    json: PathBuf,
}

impl Load {
    /// What it counted, when it has ended.
    fn counts(mut self) -> Value {
        self.process.signal(Signal::SIGINT);
        wait_until("the load to end", || self.process.0.try_wait().expect("our child").is_some());
        let text = fs::read_to_string(&self.json).expect("it has written its result");
        let mut result: Value = serde_json::from_str(&text).expect("JSON");
        result["counts"].take()
    }
}

/// Whether the router leads anybody to the first machine.
fn leads_to_first() -> bool {
    let shown = Command::new("ip").args(["nexthop", "show", "id", "80"]).output().expect("it runs");
    String::from_utf8_lossy(&shown.stdout).contains("group 11/")
}

fn lines(proxy: &Proxy) -> usize {
    fs::read_to_string(proxy.access_log()).unwrap_or_default().lines().count()
}

/// More clients reach it.
fn expect_clients(proxy: &Proxy) {
    let before = lines(proxy);
    wait_until("clients to reach the machine", || lines(proxy) > before + 5);
}

#[test]
fn a_drained_machine_loses_nothing_and_a_lost_one_its_own_connections() {
    let name = "machines::a_drained_machine_loses_nothing_and_a_lost_one_its_own_connections";
    let missing = missing();
    if !missing.is_empty() {
        println!("SKIPPED: {name}: missing: {}", missing.join(", "));
        return;
    }
    in_own_network(name, || {
        let site = Site::new();
        let (mut first, second) = (site.start(0), site.start(1));
        let _gates = (site.own_gate(), site.gate_of_strays());
        wait_until("the router to know both", leads_to_first);
        let load = site.load("drained.json");
        expect_clients(&first);
        expect_clients(&second);
        let mut held = Vec::new();
        site.hold(&mut held);

        first.signal(Signal::SIGTERM);
        wait_until("the router to lead nobody to it", || !leads_to_first());
        held.iter().for_each(Held::is_served);
        assert!(site.strays() > 0, "what the router leads elsewhere is passed on");
        assert!((0..6).all(|_| site.client().machine == 1));
        first.wait_to_say("draining; accepting no more clients");
        held.iter().for_each(Held::is_served);
        held.retain(|one| one.machine == 1);
        assert_eq!(first.exit_code(), Some(0));

        // It comes back, and takes no connection from the other one.
        let mut first = site.start(0);
        wait_until("the router to know both", leads_to_first);
        expect_clients(&first);
        held.iter().for_each(Held::is_served);
        let counts = load.counts();
        assert_eq!(counts["errors"], serde_json::json!({}), "{counts}");
        assert!(counts["logins"].as_u64() > Some(50), "{counts}");

        site.hold(&mut held);
        let load = site.load("lost.json");
        expect_clients(&first);
        first.signal(Signal::SIGKILL);
        assert_eq!(first.exit_code(), None);
        for one in &held {
            if one.machine == 0 {
                let end = one.client.receive(&mut [0]).map_err(|error| error.kind());
                assert!(matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)), "{end:?}");
            } else {
                one.is_served();
            }
        }
        wait_until("the router to lead nobody to it", || !leads_to_first());
        expect_clients(&second);
        let counts = load.counts();
        let errors = counts["errors"].as_object().expect("by class");
        let known = ["refused", "reset", "closed"];
        assert!(errors.keys().all(|class| known.contains(&class.as_str())), "{counts}");

        let load = site.load("alone.json");
        expect_clients(&second);
        let first = site.start(0);
        wait_until("the router to know both", leads_to_first);
        expect_clients(&first);
        let counts = load.counts();
        assert_eq!(counts["errors"], serde_json::json!({}), "{counts}");
        held.iter().filter(|one| one.machine == 1).for_each(Held::is_served);
    });
}
