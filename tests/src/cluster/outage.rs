//! A control plane without power for a while. What etcd holds survives, as on a disk.

use anyhow::{Context, Result, ensure};

use super::control_plane::ControlPlane;

impl ControlPlane {
    /// Ends API server, controllers and scheduler at once (SIGKILL).
    ///
    /// # Errors
    /// Those of `kill`.
    pub fn power_cut(&mut self) -> Result<()> {
        // The controllers first: one that outlived the API server would take every node for lost.
        for daemon in [self.scheduler.take(), self.controllers.take()].iter_mut().flatten() {
            daemon.kill()?;
        }
        self.kill_api_server()
    }

    /// Starts what `power_cut` ended, at the same address, and waits until the API server is ready.
    ///
    /// # Errors
    /// If it runs, or as `start`.
    pub fn switch_on(&mut self) -> Result<()> {
        ensure!(self.controllers.is_none() && self.scheduler.is_none(), "the control plane is on");
        self.start_api_server().context("after a power cut")?;
        self.start_clients()
    }
}
