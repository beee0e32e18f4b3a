# The program on a distroless base, run by a user without rights:
#
#     docker build --tag flowbench .
#     docker run --rm --network host --user "$(id -u)" --volume "$PWD:/bench" flowbench run suite.yaml --out results
#
# The version is that of the wheel on PyPI. `WHEELS` names a folder with another wheel, as `.ci/release` makes it.
FROM python:3.13-slim-bookworm AS wheel
ARG VERSION=0.2.0
ARG WHEELS=.ci
COPY ${WHEELS} /wheels
RUN pip install --no-cache-dir --no-deps --find-links /wheels --target /flowbench "jina-flowbench==${VERSION}"

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=wheel /flowbench/bin/flowbench /usr/local/bin/flowbench
WORKDIR /bench
ENTRYPOINT ["/usr/local/bin/flowbench"]
CMD ["--help"]
