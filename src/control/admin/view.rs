//! What the proxy serves now, for those who look on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::asker::Asker;
use crate::control::certificates::Owner;
use crate::control::handover;
use crate::control::metrics::Sources;
use crate::control::service_manager::Stuck;
use crate::proxy::settings::Service;
use crate::upstream::OwnCertificate;

/// What is served: settings with the state that goes with them. A reload makes another one.
#[derive(Debug, Default)]
pub(in crate::control) struct View {
    pub(in crate::control) services: Vec<Arc<Service>>,
    /// What `/metrics` is made of.
    pub(in crate::control) metrics: Option<Sources>,
    pub(in crate::control) certificates: Vec<(Owner, OwnCertificate)>,
    /// The settings in force as text.
    pub(in crate::control) config: String,
}

/// Where the supervisor leaves the current view. The lock is held for a copy of a pointer, and no worker takes it.
#[derive(Debug, Default)]
pub(in crate::control) struct Board {
    view: Mutex<Arc<View>>,
    is_stopping: AtomicBool,
    /// Workers that take no turn.
    pub(in crate::control) stuck: Arc<Stuck>,
    /// Those who asked for a reload that has not begun.
    askers: Mutex<Vec<Asker>>,
    /// Those who asked for an upgrade that has not begun.
    upgrade_askers: Mutex<Vec<handover::Asker>>,
}

impl Board {
    /// Shows this from now on.
    pub(in crate::control) fn show(&self, view: View) {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }

    /// What is shown.
    pub(in crate::control) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes who waits for the next reload.
    pub(super) fn ask(&self, asker: Asker) {
        self.askers.lock().unwrap_or_else(PoisonError::into_inner).push(asker);
    }

    /// Those who wait for the reload that begins now.
    pub(in crate::control) fn take_askers(&self) -> Vec<Asker> {
        std::mem::take(&mut self.askers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes who waits for the next upgrade.
    pub(super) fn ask_for_upgrade(&self, asker: handover::Asker) {
        self.upgrade_askers.lock().unwrap_or_else(PoisonError::into_inner).push(asker);
    }

    /// Those who wait for the upgrade that begins now.
    pub(in crate::control) fn take_upgrade_askers(&self) -> Vec<handover::Asker> {
        std::mem::take(&mut self.upgrade_askers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes that the proxy was told to stop. False if it had been told before.
    pub(in crate::control) fn stop(&self) -> bool {
        !self.is_stopping.swap(true, Ordering::SeqCst)
    }

    /// Whether the proxy was told to stop.
    pub(in crate::control) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }
}
