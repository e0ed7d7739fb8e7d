//! Healthy is a server that asks for a Windows login, or answers a request without one: both show that HTTP.sys has an
//! application pool that runs. One that is stopped answers 503.

use super::http::{Reply, ask};
use super::{Probe, Unhealthy};

pub(super) async fn run(probe: &Probe<'_>) -> Result<(), Unhealthy> {
    match ask(probe).await? {
        Reply { status: 401, offers_windows_login: false } => Err(Unhealthy::NoWindowsLogin),
        Reply { status, .. } if !probe.expects(status) => Err(Unhealthy::Status(status)),
        Reply { .. } => Ok(()),
    }
}
