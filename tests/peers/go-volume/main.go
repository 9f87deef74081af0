// A volume plugin written with Docker's own Go helpers: the foreign language of the story "a plugin in another
// language runs unmodified". It keeps directories below its propagated mount.
package main

import (
	"log"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/docker/go-plugins-helpers/volume"
)

const root = "/mnt/volumes"

type driver struct {
	mutex sync.Mutex
}

func (d *driver) at(name string) string { return filepath.Join(root, filepath.Base(name)) }

func (d *driver) Create(r *volume.CreateRequest) error {
	return os.MkdirAll(d.at(r.Name), 0o755)
}

func (d *driver) List() (*volume.ListResponse, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	found := &volume.ListResponse{}
	for _, entry := range entries {
		found.Volumes = append(found.Volumes, &volume.Volume{Name: entry.Name(), Mountpoint: d.at(entry.Name())})
	}
	return found, nil
}

func (d *driver) Get(r *volume.GetRequest) (*volume.GetResponse, error) {
	info, err := os.Stat(d.at(r.Name))
	if err != nil {
		return nil, err
	}
	return &volume.GetResponse{Volume: &volume.Volume{
		Name:       r.Name,
		Mountpoint: d.at(r.Name),
		CreatedAt:  info.ModTime().Format(time.RFC3339),
		Status:     map[string]interface{}{"language": "go"},
	}}, nil
}

func (d *driver) Remove(r *volume.RemoveRequest) error { return os.RemoveAll(d.at(r.Name)) }

func (d *driver) Path(r *volume.PathRequest) (*volume.PathResponse, error) {
	return &volume.PathResponse{Mountpoint: d.at(r.Name)}, nil
}

func (d *driver) Mount(r *volume.MountRequest) (*volume.MountResponse, error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if _, err := os.Stat(d.at(r.Name)); err != nil {
		return nil, err
	}
	return &volume.MountResponse{Mountpoint: d.at(r.Name)}, nil
}

func (d *driver) Unmount(r *volume.UnmountRequest) error { return nil }

func (d *driver) Capabilities() *volume.CapabilitiesResponse {
	return &volume.CapabilitiesResponse{Capabilities: volume.Capability{Scope: "local"}}
}

func main() {
	log.Fatal(volume.NewHandler(&driver{}).ServeUnix("govol", 0))
}
