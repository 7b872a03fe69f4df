# Debian 13 out of the root file system that mmdebstrap makes; `debian:trixie-slim` does as well where a registry can be reached.
FROM scratch
ADD debian.tar /
CMD ["/bin/sh"]
