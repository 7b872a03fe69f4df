//! Debian 13, and this machine's architecture in its terms.

/// Debian 13: the first with HAProxy 3 and Redis 8.
pub(super) const SUITE: &str = "trixie";

/// Debian's name of the architecture, its folder of libraries and its dynamic linker.
pub(crate) struct Architecture {
    pub(super) name: &'static str,
    pub(crate) libraries: &'static str,
    pub(crate) linker: &'static str,
}

pub(crate) const fn architecture() -> Architecture {
    if cfg!(target_arch = "aarch64") {
        Architecture {
            name: "arm64",
            libraries: "usr/lib/aarch64-linux-gnu",
            linker: "usr/lib/ld-linux-aarch64.so.1",
        }
    } else {
        Architecture {
            name: "amd64",
            libraries: "usr/lib/x86_64-linux-gnu",
            linker: "usr/lib64/ld-linux-x86-64.so.2",
        }
    }
}
