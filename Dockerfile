# syntax=docker/dockerfile:1
# Both base images are named by tag, where Dependabot keeps them up to date (in an ARG it
# does not). The release workflow builds with the digests that they have at that moment.
FROM --platform=$BUILDPLATFORM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS TARGETARCH VERSION=
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags="-s -w -X main.version=${VERSION}" -o /out/clipferry ./cmd/clipferry

# No shell, no package manager, not root; certificates and time zones are in it.
FROM gcr.io/distroless/static-debian12:nonroot
ARG VERSION= REVISION= BASE_DIGEST=
LABEL org.opencontainers.image.title="clipferry" \
      org.opencontainers.image.description="Orders clip exports from a video service and mirrors every finished clip into S3" \
      org.opencontainers.image.url="https://github.com/clipferry/clipferry" \
      org.opencontainers.image.source="https://github.com/clipferry/clipferry" \
      org.opencontainers.image.documentation="https://github.com/clipferry/clipferry#readme" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="The clipferry authors" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="gcr.io/distroless/static-debian12:nonroot" \
      org.opencontainers.image.base.digest="${BASE_DIGEST}"
COPY LICENSE NOTICE /usr/share/doc/clipferry/
COPY --from=build /out/clipferry /usr/local/bin/clipferry
USER nonroot:nonroot
EXPOSE 8080
ENV CLIPFERRY_HTTP_ADDR=0.0.0.0:8080
# buildah and podman keep the next line with --format docker only.
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s CMD ["/usr/local/bin/clipferry", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/clipferry"]
CMD ["worker"]
