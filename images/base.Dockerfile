# Below every image: glibc, libgcc, the CA certificates and os-release of Debian 13. No shell.
FROM scratch
COPY / /
