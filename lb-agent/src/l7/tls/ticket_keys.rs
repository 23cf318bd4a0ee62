//! The keys of session tickets: of each secret, those of the period before, of this one and of the next.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use zeroize::Zeroizing;

use super::set::SetId;

/// Separates this use of the cluster's secret from others.
const LABEL: &[u8] = b"edgelb session tickets v1";

/// A key's name: it stands in front of a ticket.
const NAME: usize = 16;
/// AES-256.
const KEY: usize = 32;

type Name = [u8; NAME];

/// What keys are derived from (HKDF, RFC 5869). The library clears it when it goes, and the keys, too.
pub(super) struct Secret {
    prk: Prk,
    /// Tells secrets apart.
    print: Name,
}

impl Secret {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let prk = Salt::new(HKDF_SHA256, LABEL).extract(bytes);
        let mut print = Name::default();
        expand(&prk, &[b"print"], &mut print);
        Self { prk, print }
    }

    fn key(&self, period: u64) -> Option<Key> {
        let mut material = Zeroizing::new([0; NAME + KEY]);
        if !expand(&self.prk, &[b"period", &period.to_be_bytes()], &mut *material) {
            return None;
        }
        let (name, key) = material.split_first_chunk()?;
        Some(Key { name: *name, aead: RandomizedNonceKey::new(&AES_256_GCM, key).ok()? })
    }
}

/// How much is wanted of an expansion.
#[derive(Clone, Copy)]
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// Whether there is as much.
fn expand(prk: &Prk, info: &[&[u8]], out: &mut [u8]) -> bool {
    prk.expand(info, Length(out.len())).and_then(|okm| okm.fill(out)).is_ok()
}

/// The secret in force, and the one before for as long as its tickets are taken.
pub(super) struct Secrets {
    given: Secret,
    /// With the period in which it was replaced.
    former: Option<(Secret, u64)>,
}

impl Secrets {
    pub(super) const fn new(given: Secret) -> Self {
        Self { given, former: None }
    }

    /// Replaces it; says whether this is another one.
    pub(super) fn give(&mut self, secret: Secret, period: u64) -> bool {
        if secret.print == self.given.print {
            return false;
        }
        self.former = Some((std::mem::replace(&mut self.given, secret), period));
        true
    }

    /// Nobody takes the tickets any more of a secret that was replaced before the last period.
    pub(super) fn forget_before(&mut self, period: u64) {
        self.former.take_if(|(_, replaced)| replaced.saturating_add(1) < period);
    }

    /// The keys of a period.
    pub(super) fn keys(&self, period: u64) -> Keys {
        let secrets = std::iter::once(&self.given).chain(self.former.as_ref().map(|(former, _)| former));
        let periods = [period, period.wrapping_sub(1), period.wrapping_add(1)];
        let all = secrets.flat_map(|secret| periods.into_iter().filter_map(|period| secret.key(period)));
        Keys { period, all: all.collect() }
    }
}

/// What seals and opens in a period.
pub(super) struct Keys {
    /// This one.
    pub(super) period: u64,
    /// The first one seals. The next period's is there for nodes whose clocks are ahead.
    all: Box<[Key]>,
}

struct Key {
    name: Name,
    aead: RandomizedNonceKey,
}

impl Keys {
    /// A ticket: the key's name, a random nonce, and the session with its tag, bound to a certificate set.
    pub(super) fn seal(&self, set: &SetId, session: &[u8]) -> Option<Vec<u8>> {
        let Key { name, aead } = self.all.first()?;
        let mut sealed = Vec::with_capacity(session.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(session);
        let nonce = aead.seal_in_place_append_tag(Aad::from(set), &mut sealed).ok()?;
        Some([name, nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// The session of a ticket, if it is one of ours for this set.
    pub(super) fn open(&self, set: &SetId, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        // Names are no secret.
        let key = self.all.iter().find(|key| key.name == *name)?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key.aead.open_in_place(nonce, Aad::from(set), &mut sealed).ok()?.len();
        sealed.truncate(length);
        Some(sealed)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("period", &self.period).finish_non_exhaustive()
    }
}
