ARG BASE
FROM ${BASE}
# HAProxy and its libraries.
COPY root/ /
COPY wsc-proxy-agent /usr/bin/wsc-proxy-agent
# Pods name their programs without a folder.
ENV PATH=/usr/sbin:/usr/bin
USER 99:99
EXPOSE 8080 9101
# HAProxy lets its clients finish on SIGUSR1; SIGTERM would cut them off.
STOPSIGNAL SIGUSR1
ENTRYPOINT ["/usr/sbin/haproxy"]
CMD ["-W", "-S", "/run/haproxy/master.sock", "-f", "/run/haproxy/haproxy.cfg"]
