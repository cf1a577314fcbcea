# The image is the binary: no shell, no libraries, no package manager.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/leveret ./cmd/leveret
# A volume takes its owner from the directory it is first mounted on.
RUN mkdir -p /out/var/lib/leveret

FROM scratch
COPY --from=build /out/leveret /leveret
COPY --from=build --chown=65532:65532 /out/var/lib/leveret /var/lib/leveret
USER 65532:65532
# guest has to be reachable from outside: nobody connects from inside this image.
ENV LEVERET_DATA_DIR=/var/lib/leveret \
    LEVERET_LOOPBACK_USERS=none
VOLUME /var/lib/leveret
EXPOSE 5671 5672 15671 15672 15692
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/leveret", "healthcheck"]
ENTRYPOINT ["/leveret"]
