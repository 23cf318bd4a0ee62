//! Who a cluster trusts: its authority, the key of service accounts' tokens, and static tokens for the rest.

use std::fs::{self, File};
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::KeyPair;

use crate::lab::certificates::Authority;

/// Most nodes that a cluster can have.
const NODES: usize = 7;

/// A cluster's secrets, as files in a folder.
#[derive(Debug)]
pub(crate) struct Credentials {
    folder: PathBuf,
    pub(crate) authority: Authority,
    users: Vec<User>,
}

#[derive(Debug)]
struct User {
    name: String,
    group: &'static str,
    token: String,
}

impl Credentials {
    /// Of an API server that is reached by these addresses.
    pub(crate) fn new(folder: &Path, addresses: &[IpAddr]) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let authority = Authority::new(&folder.join("ca.pem"))?;
        let service_accounts = KeyPair::generate()?;
        fs::write(folder.join("sa.key"), service_accounts.serialize_pem())?;
        fs::write(folder.join("sa.pub"), service_accounts.public_key_pem())?;
        let names: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).chain(["kubernetes.default.svc"]).collect();
        let server = authority.sign(&names)?;
        fs::write(folder.join("api.pem"), &server.chain)?;
        fs::write(folder.join("api.key"), &server.key)?;
        let credentials = Self { folder: folder.to_owned(), authority, users: users()? };
        fs::write(credentials.file("tokens.csv"), credentials.tokens())?;
        Ok(credentials)
    }

    /// `ca.pem`, `api.pem`, `api.key`, `sa.key`, `sa.pub`, `tokens.csv`
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The token of `admin`, `kube-controller-manager`, `kube-scheduler` or a node.
    pub(crate) fn token(&self, user: &str) -> Result<&str> {
        let found = self.users.iter().find(|known| known.name == user);
        Ok(&found.with_context(|| format!("no user {user} in this cluster"))?.token)
    }

    fn tokens(&self) -> String {
        let line = |user: &User| format!("{},{},{},\"{}\"\n", user.token, user.name, user.name, user.group);
        self.users.iter().map(line).collect()
    }
}

fn users() -> Result<Vec<User>> {
    let masters = ["admin", "kube-controller-manager", "kube-scheduler", "kube-proxy"].map(str::to_owned);
    let masters = masters.into_iter().map(|name| (name, "system:masters"));
    let nodes = (1..=NODES).map(|n| (format!("system:node:node-{n}"), "system:nodes"));
    masters.chain(nodes).map(|(name, group)| Ok(User { name, group, token: token()? })).collect()
}

/// 128 bits that nobody guesses.
fn token() -> Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
