docker plugin disable --force=false my-plugin
docker plugin rm --force my-plugin
docker plugin install my-plugin:1.2.3 --grant-all-permissions
