# syntax=docker/dockerfile:1
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG VERSION=dev
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 go build -trimpath -ldflags="-s -w -X main.version=${VERSION}" -o /out/clipferry ./cmd/clipferry

# No shell, no package manager, not root; certificates and time zones are in it.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/clipferry /usr/local/bin/clipferry
USER nonroot:nonroot
EXPOSE 8080
ENV CLIPFERRY_HTTP_ADDR=0.0.0.0:8080
# buildah and podman keep the next line with --format docker only.
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s CMD ["/usr/local/bin/clipferry", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/clipferry"]
CMD ["worker"]
