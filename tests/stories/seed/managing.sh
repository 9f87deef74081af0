# Install a plugin
docker plugin install grafana/loki-docker-driver:latest --alias loki
# Downloads and installs the Loki logging driver plugin
# --alias flag creates a shorter name for easier reference
# Plugin is installed in a disabled state by default
# Will prompt for required plugin permissions
# Can accept plugin-specific configuration with --grant-all-permissions

# List installed plugins
docker plugin ls
# Shows all installed plugins with their version and status
# Displays whether plugins are enabled or disabled
# Shows plugin type and ID information
# Lists any applied alias names
# Example output shows version, enabled status, and settings

# Inspect plugin details
docker plugin inspect grafana/loki-docker-driver:latest
# Shows detailed configuration and metadata
# Displays plugin API version and interface types
# Lists all plugin settings and their current values
# Shows capabilities and permissions required
# Includes detailed socket and runtime information

# Disable a plugin
docker plugin disable grafana/loki-docker-driver:latest
# Gracefully stops the plugin without removing it
# Releases resources used by the plugin
# Any containers using the plugin must be stopped first
# Plugin remains installed but inactive
# Use --force to disable even with dependent containers (dangerous)

# Enable a plugin
docker plugin enable grafana/loki-docker-driver:latest
# Activates a previously installed or disabled plugin
# Initializes plugin resources and connections
# Makes the plugin available for immediate use
# Plugin starts listening on its defined socket
# Services depending on the plugin can now use it

# Remove a plugin
docker plugin rm grafana/loki-docker-driver:latest
# Completely removes the plugin from the system
# Plugin must be disabled before removal
# Deletes all plugin-related files and configurations
# Cannot be undone - reinstallation is required to restore
# Use --force to remove even if enabled (not recommended)
