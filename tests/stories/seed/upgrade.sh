#!/bin/bash
# Plugin upgrade script with enhanced features
PLUGIN_NAME="my-plugin"
NEW_VERSION="1.2.0"
TIMEOUT=60  # Seconds to wait for operations
BACKUP_DIR="/var/lib/docker-plugin-backups/$(date +%Y%m%d_%H%M%S)"

echo "Upgrading $PLUGIN_NAME to version $NEW_VERSION"
mkdir -p $BACKUP_DIR

# Backup plugin configuration
echo "Backing up plugin configuration..."
docker plugin inspect $PLUGIN_NAME > $BACKUP_DIR/plugin_config.json || {
  echo "Failed to backup configuration, aborting upgrade"
  exit 1
}

# List containers using the plugin
echo "Finding dependent containers..."
CONTAINERS=$(docker ps -q --filter "volume=$PLUGIN_NAME:*")

if [ ! -z "$CONTAINERS" ]; then
  echo "Stopping containers using the plugin..."
  # Save container configuration for proper restart
  for CONTAINER in $CONTAINERS; do
    CONTAINER_NAME=$(docker inspect --format '{{.Name}}' $CONTAINER | sed 's/\///')
    echo "Backing up container $CONTAINER_NAME configuration..."
    docker inspect $CONTAINER > $BACKUP_DIR/container_${CONTAINER_NAME}.json
    
    # Gracefully stop with timeout
    echo "Stopping container $CONTAINER_NAME..."
    docker stop --time=$TIMEOUT $CONTAINER || {
      echo "Warning: Failed to gracefully stop $CONTAINER_NAME, forcing..."
      docker kill $CONTAINER
    }
  done
fi

# Disable and remove the old plugin
echo "Disabling plugin $PLUGIN_NAME..."
docker plugin disable --force=false $PLUGIN_NAME || {
  echo "Warning: Failed to gracefully disable plugin, forcing..."
  docker plugin disable --force=true $PLUGIN_NAME
}

echo "Removing old plugin version..."
docker plugin rm $PLUGIN_NAME || {
  echo "Warning: Failed to remove plugin, forcing..."
  docker plugin rm --force $PLUGIN_NAME
}

# Install the new version
echo "Installing $PLUGIN_NAME:$NEW_VERSION..."
docker plugin install $PLUGIN_NAME:$NEW_VERSION --grant-all-permissions || {
  echo "Error: Failed to install new plugin version"
  exit 1
}

# Configure the new plugin with the same settings (if applicable)
# This would need to be customized for the specific plugin
echo "Configuring new plugin version..."
# Example: docker plugin set $PLUGIN_NAME:$NEW_VERSION KEY=VALUE

if [ ! -z "$CONTAINERS" ]; then
  echo "Restarting containers..."
  for CONTAINER in $CONTAINERS; do
    CONTAINER_NAME=$(docker inspect --format '{{.Name}}' $CONTAINER | sed 's/\///')
    echo "Starting container $CONTAINER_NAME..."
    docker start $CONTAINER || {
      echo "Error: Failed to restart container $CONTAINER_NAME"
      # Could implement more sophisticated recovery here
    }
  done
fi

# Verify plugin is working correctly
echo "Verifying plugin functionality..."
docker plugin inspect --format '{{.Enabled}}' $PLUGIN_NAME:$NEW_VERSION | grep -q "true" || {
  echo "Error: Plugin is not enabled after installation"
  exit 1
}

# Simple test of plugin functionality - customize for specific plugin
# Example for volume plugin:
TEST_VOLUME="test-upgrade-$(date +%s)"
docker volume create -d $PLUGIN_NAME:$NEW_VERSION $TEST_VOLUME && 
  docker volume rm $TEST_VOLUME &&
  echo "Plugin functionality verified." ||
  echo "Warning: Plugin functionality test failed."

echo "Upgrade complete! Backup saved to $BACKUP_DIR"
