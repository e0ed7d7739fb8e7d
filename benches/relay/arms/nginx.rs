//! nginx: its stream module, or its http proxy.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;
use procfs::process::{FDTarget, Process};

use super::{find_program, first_line, words, write};
use crate::front::{Front, LogFormat, SERVER_NAME, Setup};

#[derive(Debug, Clone)]
pub(super) struct Nginx {
    program: PathBuf,
    /// What it was built with (`nginx -V`).
    build: String,
    /// The stream module, where it is a file of its own.
    stream_module: Option<PathBuf>,
    /// `proxy_buffer_size`, where it is not the default.
    buffer: Option<&'static str>,
}

impl Nginx {
    pub(super) fn find(asked: Option<&Path>, buffer: Option<&'static str>) -> Result<(Self, String)> {
        let (program, build) = find_program(asked, &["nginx", "/usr/sbin/nginx"], "-V")?;
        if !build.contains("nginx version") {
            bail!("{} is no nginx", program.display());
        }
        let stream_module = if build.contains("--with-stream=dynamic") {
            let directory = build
                .split_whitespace()
                .find_map(|argument| argument.strip_prefix("--modules-path="))
                .context("nginx -V names no --modules-path")?;
            let module = Path::new(directory).join("ngx_stream_module.so");
            if !module.exists() {
                bail!("{} is missing; on Debian it is in libnginx-mod-stream", module.display());
            }
            Some(module)
        } else {
            None
        };
        let version = first_line(&build);
        Ok((Self { program, build, stream_module, buffer }, version))
    }

    pub(super) fn without_stream(&self) -> Option<&'static str> {
        (!self.build.contains("--with-stream")).then_some("this nginx is built without its stream module")
    }

    pub(super) fn without_preread(&self) -> Option<&'static str> {
        (!self.build.contains("--with-stream_ssl_preread_module"))
            .then_some("this nginx is built without ssl_preread, which reads the name in a TLS hello")
    }

    pub(super) fn without_tls(&self, front: Front) -> Option<&'static str> {
        let module = if front.reads_http() { "--with-http_ssl_module" } else { "--with-stream_ssl_module" };
        (!self.build.contains(module)).then_some("this nginx is built without TLS")
    }

    pub(super) fn command(&self, setup: &Setup<'_>) -> Result<Vec<OsString>> {
        let block = if setup.front.reads_http() { http(setup) } else { self.stream(setup) };
        self.started_with("nginx", &block, setup)
    }

    /// The command of an nginx that is the server at `upstream`, with TLS and replies of 1 KB.
    pub(super) fn serve(&self, setup: &Setup<'_>) -> Result<Vec<OsString>> {
        // A file, because an nginx without its module for rewriting knows no `return`.
        write(&setup.directory.join("small"), &"x".repeat(1024))?;
        let block = format!(
            "http {{
    access_log off;
    open_file_cache max=10;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    server {{
        listen {upstream} ssl backlog=4096;
        {tls}
        location / {{ root {directory}; }}
    }}
}}",
            upstream = setup.upstream,
            tls = tls(setup, "        "),
            directory = setup.directory.display(),
        );
        self.started_with("server", &block, setup)
    }

    fn started_with(&self, name: &str, block: &str, setup: &Setup<'_>) -> Result<Vec<OsString>> {
        let module = self
            .stream_module
            .as_ref()
            .map(|path| format!("load_module {};\n", path.display()))
            .unwrap_or_default();
        // Root's worker would change to the user `nobody`, which cannot read the private directory.
        let user = if geteuid().is_root() { "user root;\n" } else { "" };
        let directory = setup.directory.display();
        let text = format!(
            "{module}{user}worker_processes {workers};
daemon off;
pid {directory}/{name}.pid;
error_log {directory}/{name}.log error;
worker_rlimit_nofile {files};
events {{ worker_connections {connections}; }}
{block}
",
            workers = setup.workers,
            connections = setup.connections_max * 2 + 100,
            files = setup.connections_max * 2 + 200,
        );
        let file = setup.directory.join(format!("{name}.conf"));
        write(&file, &text)?;
        let mut command = words(&[self.program.as_os_str()]);
        command.extend(["-p".into(), setup.directory.into(), "-c".into(), file.into(), "-e".into()]);
        command.push(setup.directory.join(format!("{name}.log")).into());
        Ok(command)
    }

    /// The access log is off by default; the configuration says so explicitly.
    fn stream(&self, setup: &Setup<'_>) -> String {
        let mut lines = vec!["proxy_connect_timeout 5s;".to_owned(), "proxy_timeout 1h;".to_owned()];
        lines.extend(self.buffer.map(|size| format!("proxy_buffer_size {size};")));
        let Setup { listen, upstream, .. } = setup;
        let (mut map, mut to, mut ssl) = (String::new(), upstream.to_string(), "");
        match setup.front {
            Front::ProxyHeader => lines.push("proxy_protocol on;".to_owned()),
            Front::Sni => {
                map = format!("    map $ssl_preread_server_name $server {{ {SERVER_NAME} {upstream}; }}\n");
                "$server".clone_into(&mut to);
                lines.push("ssl_preread on;".to_owned());
            }
            Front::Tls | Front::TlsInFull => {
                ssl = " ssl";
                lines.push(tls(setup, "        "));
            }
            _ => {}
        }
        format!(
            "stream {{
    access_log off;
{map}    server {{
        listen {listen}{ssl} backlog=4096;
        proxy_pass {to};
        {}
    }}
}}",
            lines.join("\n        ")
        )
    }
}

/// The usual recipe: connections to the server are kept and shared. No limit of requests ends a connection of the load, and
/// no body goes through a file.
fn http(setup: &Setup<'_>) -> String {
    let Setup { listen, upstream, directory, .. } = setup;
    let directory = directory.display();
    let (ssl, tls) =
        if setup.front == Front::Https { (" ssl", tls(setup, "        ")) } else { ("", String::new()) };
    let log = match setup.front {
        Front::Logged(LogFormat::Text) => format!("access_log {directory}/access.log combined;"),
        Front::Logged(LogFormat::Json) => format!(
            "log_format json escape=json '{{\"time\":\"$time_iso8601\",\"client\":\"$remote_addr:$remote_port\",\
             \"method\":\"$request_method\",\"path\":\"$request_uri\",\"status\":$status,\
             \"sent\":$body_bytes_sent,\"seconds\":$request_time,\"server\":\"$upstream_addr\",\
             \"agent\":\"$http_user_agent\"}}';\n    access_log {directory}/access.log json;"
        ),
        _ => "access_log off;".to_owned(),
    };
    format!(
        "http {{
    {log}
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    client_max_body_size 0;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    upstream server {{
        server {upstream};
        keepalive 1024;
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
    }}
    server {{
        listen {listen}{ssl} backlog=4096;
        {tls}
        location / {{
            proxy_pass http://server;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_connect_timeout 5s;
            proxy_read_timeout 1h;
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
        }}
    }}
}}"
    )
}

fn tls(setup: &Setup<'_>, indent: &str) -> String {
    let mut lines = vec![
        format!("ssl_certificate {};", setup.certificate.chain.display()),
        format!("ssl_certificate_key {};", setup.certificate.key.display()),
        "ssl_protocols TLSv1.2 TLSv1.3;".to_owned(),
    ];
    if setup.front == Front::TlsInFull {
        lines.extend(["ssl_session_tickets off;".to_owned(), "ssl_session_cache off;".to_owned()]);
    }
    lines.join(&format!("\n{indent}"))
}

/// The client connections of each worker: half of its sockets, but for its listener's, which is in the master too.
pub(super) fn spread(pids: &[i32]) -> Result<Vec<u64>> {
    let (_, workers) = pids.split_first().context("nginx has no workers")?;
    workers
        .iter()
        .map(|pid| {
            let files =
                Process::new(*pid).and_then(|worker| worker.fd()).context("a worker's descriptors")?;
            let sockets = files
                .filter(|file| file.as_ref().is_ok_and(|file| matches!(file.target, FDTarget::Socket(_))));
            Ok(sockets.count() as u64 / 2)
        })
        .collect()
}
