//! A proxy that pools its connections to the server, to show that the search for leaks finds them.

use std::fs;
use std::process::Command;

use crate::bed::{Bed, Scheme};
use crate::identity::Way;
use crate::proxy::Proxy;
use crate::server::Server;

/// nginx with the common recipe for keep-alive to upstreams, in one process, which can be ended as one.
const SETTINGS: &str = r#"
daemon off;
master_process off;
pid pid;
error_log stderr warn;
events {}
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    upstream server {
        server @UPSTREAM@;
        keepalive 32;
    }
    server {
        listen @LISTEN@;
        location / {
            proxy_pass http://server;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
        }
    }
}
"#;

/// Looks for leaks in one way, and finds one.
pub(crate) fn is_caught(server: Server, way: Way) {
    let bed = Bed::start(server);
    let proxy = start(&bed);
    let found = way(&bed, &proxy.site(Scheme::Http)).expect_err("a pool leaks");
    assert!(found.starts_with("LEAK: a visitor was answered as "), "found something else: {found}");
}

/// Starts it before the bed's server (http).
pub(crate) fn start(bed: &Bed) -> Proxy {
    start_with(bed, SETTINGS)
}

/// Starts one that closes its connection to the server after each request, which nginx does by default.
pub(crate) fn start_without_keep_alive(bed: &Bed) -> Proxy {
    let settings = SETTINGS.replace("keepalive 32;", "").replace("proxy_http_version 1.1;", "");
    start_with(bed, &settings.replace("Connection \"\"", "Connection close"))
}

fn start_with(bed: &Bed, settings: &str) -> Proxy {
    let directory = bed.client_directory();
    let address = bed.free_address();
    let settings = settings
        .replace("@UPSTREAM@", &bed.site(Scheme::Http).address.to_string())
        .replace("@LISTEN@", &address.to_string());
    let path = directory.join("nginx.conf");
    fs::write(&path, settings).expect("the bed's directory is writable");
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-p").arg(&directory).args(["-e", "stderr", "-c"]).arg(path);
    Proxy::run(command, address, bed)
}
