ARG BASE
FROM ${BASE}
COPY wsc-operator /usr/bin/wsc-operator
USER 65532:65532
ENTRYPOINT ["/usr/bin/wsc-operator"]
CMD ["run"]
