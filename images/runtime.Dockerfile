# glibc, libgcc and the CA certificates of Debian 13: all that our programs need. There is no shell in it.
FROM scratch
COPY root/ /
