# Debug plugin issues
docker plugin inspect --format '{{json .Config}}' plugin-name | jq
# Shows detailed plugin configuration in JSON format
# Helps identify misconfiguration or permission issues
# jq formats output for better readability
# Reveals socket paths, environment variables, and mounts
# Useful for verifying plugin setup matches expectations

# Check plugin logs
docker plugin disable plugin-name
journalctl -u docker
docker plugin enable plugin-name
# Capturing Docker daemon logs during plugin cycle
# Shows errors that occur during plugin initialization
# Provides context for plugin failures
# Can reveal permission or dependency issues
# systemd logging captures additional context

# Verify plugin socket
ls -la /run/docker/plugins/
# Shows all plugin sockets in the plugins directory
# Verifies proper socket creation and permissions
# Helps diagnose communication issues
# Confirms plugin is properly registered
# Socket should be owned by correct user

# Test plugin operation
docker volume create -d plugin-name test-volume
docker volume inspect test-volume
# Creates a test volume using the plugin
# Verifies basic functionality works
# Inspect shows detailed volume information
# Confirms plugin is operational
# Reveals any errors in volume creation

# Check plugin environment
docker plugin inspect --format '{{json .Settings.Env}}' plugin-name | jq
# Shows environment variables passed to plugin
# Helps verify configuration parameters
# Useful for confirming environment is set correctly
# Can identify missing or incorrect environment values

# Monitor plugin resource usage
docker plugin ls --format "{{.Name}}: {{.Size}}"
# Shows plugin storage usage
# Helps identify plugins using excessive resources
# Useful for troubleshooting performance issues
# Format can be adjusted to show other attributes
