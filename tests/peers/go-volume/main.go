// A volume plugin written with Docker's own Go helpers: the foreign language of the story "a plugin in another
// language runs unmodified". It keeps directories below its propagated mount.
package main

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/docker/go-plugins-helpers/volume"
)

const root = "/mnt/volumes"

var plain = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*$`)

type driver struct {
	mutex   sync.Mutex
	holders map[string][]string
}

func (d *driver) at(name string) (string, error) {
	if !plain.MatchString(name) {
		return "", fmt.Errorf("%q is not a name for a volume", name)
	}
	return filepath.Join(root, name), nil
}

func (d *driver) existing(name string) (string, os.FileInfo, error) {
	path, err := d.at(name)
	if err != nil {
		return "", nil, err
	}
	info, err := os.Stat(path)
	return path, info, err
}

func (d *driver) Create(r *volume.CreateRequest) error {
	path, err := d.at(r.Name)
	if err != nil {
		return err
	}
	return os.MkdirAll(path, 0o755)
}

func (d *driver) List() (*volume.ListResponse, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	found := &volume.ListResponse{}
	for _, entry := range entries {
		path := filepath.Join(root, entry.Name())
		found.Volumes = append(found.Volumes, &volume.Volume{Name: entry.Name(), Mountpoint: path})
	}
	return found, nil
}

func (d *driver) Get(r *volume.GetRequest) (*volume.GetResponse, error) {
	path, info, err := d.existing(r.Name)
	if err != nil {
		return nil, err
	}
	return &volume.GetResponse{Volume: &volume.Volume{
		Name:       r.Name,
		Mountpoint: path,
		CreatedAt:  info.ModTime().Format(time.RFC3339),
		Status:     map[string]interface{}{"language": "go"},
	}}, nil
}

func (d *driver) Remove(r *volume.RemoveRequest) error {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	path, _, err := d.existing(r.Name)
	if err != nil {
		return err
	}
	if len(d.holders[r.Name]) > 0 {
		return fmt.Errorf("%s is mounted", r.Name)
	}
	return os.RemoveAll(path)
}

func (d *driver) Path(r *volume.PathRequest) (*volume.PathResponse, error) {
	path, _, err := d.existing(r.Name)
	if err != nil {
		return nil, err
	}
	return &volume.PathResponse{Mountpoint: path}, nil
}

func (d *driver) Mount(r *volume.MountRequest) (*volume.MountResponse, error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	path, _, err := d.existing(r.Name)
	if err != nil {
		return nil, err
	}
	d.holders[r.Name] = append(d.holders[r.Name], r.ID)
	return &volume.MountResponse{Mountpoint: path}, nil
}

func (d *driver) Unmount(r *volume.UnmountRequest) error {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	all := d.holders[r.Name]
	for at, id := range all {
		if id == r.ID {
			d.holders[r.Name] = append(all[:at:at], all[at+1:]...)
			break
		}
	}
	return nil
}

func (d *driver) Capabilities() *volume.CapabilitiesResponse {
	return &volume.CapabilitiesResponse{Capabilities: volume.Capability{Scope: "local"}}
}

func main() {
	log.Print("serving directories")
	log.Fatal(volume.NewHandler(&driver{holders: map[string][]string{}}).ServeUnix("govol", 0))
}
