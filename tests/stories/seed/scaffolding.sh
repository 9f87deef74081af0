# Create plugin scaffolding
mkdir -p my-volume-plugin/rootfs
cd my-volume-plugin

# Build plugin binary (example for a Go-based plugin)
cat > Dockerfile.build << EOF
FROM golang:1.19-alpine AS builder
WORKDIR /go/src/github.com/me/my-volume-plugin
COPY . .
RUN go get -d -v ./...
RUN CGO_ENABLED=0 go build -o /my-volume-plugin .
FROM scratch
COPY --from=builder /my-volume-plugin /usr/bin/my-volume-plugin
ENTRYPOINT ["/usr/bin/my-volume-plugin"]
EOF

# Build rootfs
docker build -f Dockerfile.build -t rootfsimage .
docker create --name tmp rootfsimage
docker export tmp | tar -x -C rootfs
docker rm tmp
