ARG BASE=debian:trixie-slim
FROM ${BASE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends redis-server \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/*
USER 999:999
EXPOSE 6379
ENTRYPOINT ["/usr/bin/redis-server"]
