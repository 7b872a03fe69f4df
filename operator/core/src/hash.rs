//! Digests as text.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// Lower-case hexadecimal digits of the first bytes of the SHA-256.
pub(crate) fn short_hex(content: &[u8], bytes: usize) -> String {
    let digest = Sha256::digest(content);
    HEXLOWER.encode(&digest[..bytes.min(digest.len())])
}
