//! `uring`: provided buffers and task wake-ups, the cost of a message besides the kernel's own work.

use std::cell::Cell;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use iisplice::uring::{
    Expect, FeatureSet, Listener, Notify, PipeSet, ProvidedTurns, Ring, RingOptions, Socket, Spin,
};
use socket2::SockRef;

/// A worker's ring, with buffers large enough for the message.
const OPTIONS: RingOptions = RingOptions {
    entries: 256,
    buffers: 512,
    buffer_bytes: 4096,
    spin: Spin::NEVER,
    without: FeatureSet::NONE,
};

/// A small request.
const MESSAGE: [u8; 200] = [b'x'; 200];

pub(crate) fn benches(criterion: &mut Criterion) {
    for picked in [1, 64] {
        turns(criterion, picked);
    }
    for connections in [1, 64] {
        receives(criterion, connections);
    }
    for tasks in [2, 1000] {
        wakes(criterion, tasks);
    }
}

/// The bookkeeping of the buffer ring alone: sessions return the buffers that the kernel picked in a turn, and the ring
/// provides them again. The kernel takes no part.
fn turns(criterion: &mut Criterion, picked: u16) {
    let mut turns = ProvidedTurns::open(OPTIONS.buffers, OPTIONS.buffer_bytes).expect("a ring of the kernel");
    assert_eq!(turns.turn(picked), picked);
    let mut group = criterion.benchmark_group("ring");
    group.throughput(Throughput::Elements(picked.into()));
    group.bench_function(BenchmarkId::new("provide picked buffers", picked), |b| {
        b.iter(|| turns.turn(picked));
    });
    group.finish();
}

/// Whole turns of a worker: on each connection a message has arrived; the ring receives it into a provided buffer and wakes
/// the task, which returns the buffer. The figure includes the kernel's work to receive, and excludes sending.
fn receives(criterion: &mut Criterion, connections: usize) {
    let mut group = criterion.benchmark_group("ring");
    group.throughput(Throughput::Elements(connections as u64));
    group.bench_function(BenchmarkId::new("receive messages", connections), |b| {
        b.iter_custom(|turns| receive_turns(connections, turns));
    });
    group.finish();
}

fn receive_turns(connections: usize, turns: u64) -> Duration {
    let ring = Ring::open(&OPTIONS, PipeSet::default()).expect("a ring of the kernel");
    let took = Rc::new(Cell::new(Duration::ZERO));
    ring.spawn({
        let (ring, took) = (ring.clone(), Rc::clone(&took));
        async move {
            let mut peers = Vec::new();
            let received = Rc::new(Received::default());
            for _ in 0..connections {
                let (socket, peer) = connection(&ring).await;
                ring.spawn(receive_all(socket, Rc::clone(&received), connections));
                peers.push(peer);
            }
            for _ in 0..turns {
                for peer in &mut peers {
                    peer.write_all(&MESSAGE).expect("a message has room");
                }
                let begin = Instant::now();
                received.all.until(|| received.count.get() == connections).await;
                took.set(took.get() + begin.elapsed());
                received.count.set(0);
            }
            ring.end_tasks();
        }
    });
    ring.run().expect("a ring can be entered");
    took.get()
}

/// What has arrived in this turn.
#[derive(Default)]
struct Received {
    count: Cell<usize>,
    all: Notify,
}

async fn connection(ring: &Ring) -> (Socket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let peer = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("the backlog has room");
    peer.set_nodelay(true).expect("a TCP socket");
    // A reset leaves no port in TIME_WAIT.
    SockRef::from(&peer).set_linger(Some(Duration::ZERO)).expect("a TCP socket");
    let listener = Listener::new(ring, std::sync::Arc::new(listener.into()));
    listener.readable().await.expect("a listener can be polled");
    (listener.accept().expect("one waits").stay().0, peer)
}

async fn receive_all(socket: Socket, received: Rc<Received>, connections: usize) {
    while let Ok(Some(message)) = socket.receive(Expect::Later).await {
        assert_eq!(*message.buffer, MESSAGE);
        drop(message);
        received.count.set(received.count.get() + 1);
        if received.count.get() == connections {
            received.all.notify();
        }
    }
}

/// Tasks that wake each other in a circle. A wake-up puts a task into the queue, takes it out and polls it.
fn wakes(criterion: &mut Criterion, tasks: usize) {
    assert_eq!(wake(tasks, 10).0, 10);
    let mut group = criterion.benchmark_group("ring");
    group.bench_function(BenchmarkId::new("wake a task", tasks), |b| {
        b.iter_custom(|count| wake(tasks, count).1);
    });
    group.finish();
}

/// Makes `count` wake-ups; returns how many there were and how long they took.
fn wake(tasks: usize, count: u64) -> (u64, Duration) {
    let ring = Ring::open(&OPTIONS, PipeSet::default()).expect("a ring of the kernel");
    let circle: Rc<Circle> = Rc::new(Circle {
        notify: (0..tasks).map(|_| Notify::default()).collect(),
        turn: Cell::new(0),
        begin: Cell::new(None),
        took: Cell::default(),
    });
    for own in 0..tasks {
        let (ring, circle) = (ring.clone(), Rc::clone(&circle));
        ring.clone().spawn(async move {
            loop {
                circle.notify[own].until(|| circle.is_turn_of(own)).await;
                let turn = circle.turn.get();
                // In the second round every task has been polled and waits.
                if turn == tasks as u64 {
                    circle.begin.set(Some(Instant::now()));
                } else if turn == tasks as u64 + count {
                    circle.took.set(circle.begin.get().map(|begin| begin.elapsed()).unwrap_or_default());
                    return ring.end_tasks();
                }
                circle.turn.set(turn + 1);
                circle.notify[(own + 1) % tasks].notify();
            }
        });
    }
    ring.run().expect("a ring can be entered");
    (circle.turn.get() - tasks as u64, circle.took.get())
}

/// The tasks' wake-ups, and a count that says which task is next.
struct Circle {
    notify: Vec<Notify>,
    turn: Cell<u64>,
    begin: Cell<Option<Instant>>,
    took: Cell<Duration>,
}

impl Circle {
    fn is_turn_of(&self, task: usize) -> bool {
        self.turn.get() % self.notify.len() as u64 == task as u64
    }
}
