ARG BASE=debian:trixie-slim
FROM ${BASE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends haproxy \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/*
COPY wsc-proxy-agent /usr/bin/wsc-proxy-agent
USER 99:99
EXPOSE 8080 9101
# HAProxy lets its clients finish on SIGUSR1; SIGTERM would cut them off.
STOPSIGNAL SIGUSR1
ENTRYPOINT ["/usr/sbin/haproxy"]
CMD ["-W", "-S", "/run/haproxy/master.sock", "-f", "/run/haproxy/haproxy.cfg"]
