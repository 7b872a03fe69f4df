//! The TLS provider of the process: one for every library in it.

/// Installs aws-lc-rs.
pub(crate) fn install_provider() {
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        // Only a library that ran before `main` could have done it, or an earlier run in the same
        // test process.
        tracing::warn!("another TLS provider is installed already");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn provider_is_the_default() {
        install_provider();
        assert!(rustls::crypto::CryptoProvider::get_default().is_some());
    }
}
