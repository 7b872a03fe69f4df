ARG BASE
FROM ${BASE}
COPY wsc-server /usr/bin/wsc-server
USER 65532:65532
EXPOSE 8080 9090
ENTRYPOINT ["/usr/bin/wsc-server"]
