ARG BASE
FROM ${BASE}
# redis-server, redis-cli for the probes, and their libraries.
COPY root/ /
# Pods name their programs without a folder.
ENV PATH=/usr/bin
USER 999:999
EXPOSE 6379
ENTRYPOINT ["/usr/bin/redis-server"]
