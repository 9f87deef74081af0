# Create config.json
cat > config.json << EOF
{
  "description": "My custom volume plugin",
  "documentation": "https://github.com/me/my-volume-plugin",
  "entrypoint": ["/usr/bin/my-volume-plugin"],
  "workdir": "/",
  "network": {
    "type": "host"  # Use host networking for simplicity
  },
  "interface": {
    "types": ["docker.volumedriver/1.0"],  # Plugin API version
    "socket": "my-volume-plugin.sock"      # Socket for daemon communication
  },
  "linux": {
    "capabilities": ["CAP_SYS_ADMIN"]  # Required capabilities for mounting
  },
  "mounts": [  # Host directories needed by the plugin
    {
      "source": "/var/lib/docker/volumes",
      "destination": "/var/lib/docker/volumes",
      "type": "bind",
      "options": ["rbind"]
    }
  ],
  "env": [  # Default environment variables
    {
      "name": "DEBUG",
      "description": "Enable debugging output",
      "value": "0",
      "settable": ["value"]
    }
  ],
  "propagatedMount": "/mnt/volumes"  # Mount point for volumes
}
EOF

# Build the plugin
docker plugin create my-username/my-volume-plugin .
# Creates a new plugin from the current directory
# Validates the config.json structure
# Packages the rootfs and configuration together
# Registers the plugin in the local Docker daemon

# Enable and test locally
docker plugin enable my-username/my-volume-plugin
docker volume create -d my-username/my-volume-plugin test-volume
docker run --rm -v test-volume:/data alpine sh -c "echo hello > /data/test.txt"

# Push to Docker Hub (requires docker login first)
docker plugin push my-username/my-volume-plugin
# Uploads the plugin to Docker Hub registry
# Makes it available for others to install
# Supports versioning with tags (e.g., v1.0.0)
# Enables distribution to multiple environments
