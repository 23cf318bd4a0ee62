//! What is on the other side of the proxy in its tests and comes from PyPI or npm. The tests look for it in the cache
//! (`lb_tests::installed`).

use anyhow::Result;

use crate::{
    npm, pypi,
    versions::{GRPCIO, SSLYZE, TLSLITE, WEBSOCKETS, WS},
};

/// Installs what is missing.
pub(super) fn ensure() -> Result<()> {
    pypi::Package { name: "grpcio", version: GRPCIO, megabytes: None }.library("grpc")?;
    pypi::Package { name: "sslyze", version: SSLYZE, megabytes: None }.program("sslyze")?;
    pypi::Package { name: "tlslite-ng", version: TLSLITE, megabytes: None }.library("tlslite")?;
    pypi::Package { name: "websockets", version: WEBSOCKETS, megabytes: None }.library("websockets")?;
    npm::Package { name: "ws", version: WS }.ensure()
}
