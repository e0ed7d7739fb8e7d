//! What is looked at on this machine, one id each.

use crate::words::words;

words! {
    /// What a finding about this machine is about.
    pub enum Id {
        /// The kernel grants a ring with all that the proxy needs; it is tried.
        IoUring = "host-io-uring",
        /// `kernel.io_uring_disabled` allows rings to users other than root.
        IoUringSysctl = "host-io-uring-sysctl",
        /// A ring and its buffers of the size in the settings fit the limit of locked memory.
        Memlock = "host-memlock",
        /// The descriptor limit is enough for the connections.
        Descriptors = "host-descriptors",
        /// The whole host may open enough files.
        OpenFiles = "host-open-files",
        /// The pipes for bulk are granted in number and size; it is tried.
        Pipes = "host-pipes",
        /// The pipes for bulk are within what a user without privileges gets.
        PipePages = "host-pipe-pages",
        /// The local ports are enough for the connections to the servers.
        Ports = "host-ports",
        /// Listeners get the backlog that they ask for.
        Backlog = "host-backlog",
        /// Connections that are not complete yet have room.
        SynBacklog = "host-syn-backlog",
        /// Connection tracking has room for both sides of the connections.
        Conntrack = "host-conntrack",
        /// The clock is synchronised.
        Clock = "host-clock",
        /// Packets are spread over the cores.
        ReceiveQueues = "host-receive-queues",
        /// Packets go to the core whose worker reads them.
        FlowSteering = "host-flow-steering",
        /// The workers have a core each.
        Cores = "host-cores",
        /// The process does not stay root.
        User = "host-user",
    }
}
