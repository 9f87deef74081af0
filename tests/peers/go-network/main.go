// A network and an IPAM plugin written with Docker's own Go helpers: the foreign language of the stories about remote
// networks. `go-network network SOCKET` makes a bridge for each network and a pair of links for each endpoint, by the
// program ip; `go-network ipam SOCKET` hands out addresses from memory. Where JOURNAL names a file, every request is
// written there, a line each.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"

	"github.com/docker/go-plugins-helpers/ipam"
	"github.com/docker/go-plugins-helpers/network"
)

var journal struct {
	sync.Mutex
	*os.File
}

func note(method string, request any) {
	if journal.File == nil {
		return
	}
	text, err := json.Marshal(request)
	if err != nil {
		log.Fatal(err)
	}
	journal.Lock()
	defer journal.Unlock()
	fmt.Fprintf(journal.File, "%s %s\n", method, text)
}

func ip(words ...string) error {
	said, err := exec.Command("ip", words...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %s", strings.Join(words, " "), strings.TrimSpace(string(said)))
	}
	return nil
}

func exists(link string) bool {
	return ip("link", "show", "dev", link) == nil
}

func remove(link string) error {
	// With its sandbox the kernel removes it too, at any moment.
	if err := ip("link", "del", link); err != nil && exists(link) {
		return err
	}
	return nil
}

func bridge(id string) string { return "gb" + id[:10] }
func port(id string) string   { return "gp" + id[:10] }
func inner(id string) string  { return "gc" + id[:10] }

type networks struct {
	mutex    sync.Mutex
	gateways map[string][2]string
	known    map[string]bool
}

func (n *networks) GetCapabilities() (*network.CapabilitiesResponse, error) {
	return &network.CapabilitiesResponse{Scope: network.LocalScope, ConnectivityScope: network.LocalScope}, nil
}

func (n *networks) CreateNetwork(r *network.CreateNetworkRequest) error {
	note("CreateNetwork", r)
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if !exists(bridge(r.NetworkID)) {
		if err := ip("link", "add", bridge(r.NetworkID), "type", "bridge"); err != nil {
			return err
		}
	}
	if err := ip("link", "set", bridge(r.NetworkID), "up"); err != nil {
		return err
	}
	var gateways [2]string
	for family, pools := range [][]*network.IPAMData{r.IPv4Data, r.IPv6Data} {
		for _, pool := range pools {
			if pool.Gateway == "" {
				continue
			}
			if err := ip("address", "replace", pool.Gateway, "dev", bridge(r.NetworkID)); err != nil {
				return err
			}
			gateways[family] = strings.Split(pool.Gateway, "/")[0]
		}
	}
	n.gateways[r.NetworkID] = gateways
	return nil
}

func (n *networks) DeleteNetwork(r *network.DeleteNetworkRequest) error {
	note("DeleteNetwork", r)
	n.mutex.Lock()
	defer n.mutex.Unlock()
	delete(n.gateways, r.NetworkID)
	return remove(bridge(r.NetworkID))
}

func (n *networks) plug(r, endpoint string) error {
	err := ip("link", "add", port(endpoint), "type", "veth", "peer", "name", inner(endpoint))
	if err != nil {
		return err
	}
	return ip("link", "set", port(endpoint), "master", bridge(r), "up")
}

// A nil answer is what the helpers' own examples give, and travels as null.
func (n *networks) CreateEndpoint(r *network.CreateEndpointRequest) (*network.CreateEndpointResponse, error) {
	note("CreateEndpoint", r)
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if _, known := n.gateways[r.NetworkID]; !known {
		return nil, fmt.Errorf("no such network: %s", r.NetworkID)
	}
	n.known[r.EndpointID] = true
	if exists(port(r.EndpointID)) {
		return nil, nil
	}
	return nil, n.plug(r.NetworkID, r.EndpointID)
}

func (n *networks) DeleteEndpoint(r *network.DeleteEndpointRequest) error {
	note("DeleteEndpoint", r)
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if !n.known[r.EndpointID] {
		return nil
	}
	delete(n.known, r.EndpointID)
	return remove(port(r.EndpointID))
}

func (n *networks) EndpointInfo(r *network.InfoRequest) (*network.InfoResponse, error) {
	note("EndpointInfo", r)
	return &network.InfoResponse{Value: map[string]string{"language": "go"}}, nil
}

func (n *networks) Join(r *network.JoinRequest) (*network.JoinResponse, error) {
	note("Join", r)
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if !n.known[r.EndpointID] {
		return nil, fmt.Errorf("no such endpoint: %s", r.EndpointID)
	}
	if !exists(inner(r.EndpointID)) {
		if err := remove(port(r.EndpointID)); err != nil {
			return nil, err
		}
		if err := n.plug(r.NetworkID, r.EndpointID); err != nil {
			return nil, err
		}
	}
	gateways := n.gateways[r.NetworkID]
	return &network.JoinResponse{
		InterfaceName: network.InterfaceName{SrcName: inner(r.EndpointID), DstPrefix: "go"},
		Gateway:       gateways[0],
		GatewayIPv6:   gateways[1],
		StaticRoutes:  []*network.StaticRoute{{Destination: "203.0.113.0/24", RouteType: 1}},
	}, nil
}

func (n *networks) Leave(r *network.LeaveRequest) error {
	note("Leave", r)
	return nil
}

func (n *networks) ProgramExternalConnectivity(r *network.ProgramExternalConnectivityRequest) error {
	note("ProgramExternalConnectivity", r)
	return nil
}

func (n *networks) RevokeExternalConnectivity(r *network.RevokeExternalConnectivityRequest) error {
	note("RevokeExternalConnectivity", r)
	return nil
}

func (n *networks) AllocateNetwork(*network.AllocateNetworkRequest) (*network.AllocateNetworkResponse, error) {
	return nil, fmt.Errorf("not implemented")
}

func (n *networks) FreeNetwork(*network.FreeNetworkRequest) error {
	return fmt.Errorf("not implemented")
}

func (n *networks) DiscoverNew(*network.DiscoveryNotification) error    { return nil }
func (n *networks) DiscoverDelete(*network.DiscoveryNotification) error { return nil }

type addresses struct {
	mutex sync.Mutex
	pools map[netip.Prefix]map[netip.Addr]bool
}

func (a *addresses) GetCapabilities() (*ipam.CapabilitiesResponse, error) {
	return &ipam.CapabilitiesResponse{}, nil
}

func (a *addresses) GetDefaultAddressSpaces() (*ipam.AddressSpacesResponse, error) {
	return &ipam.AddressSpacesResponse{LocalDefaultAddressSpace: "go", GlobalDefaultAddressSpace: "goes"}, nil
}

func (a *addresses) free(prefix netip.Prefix) bool {
	for held := range a.pools {
		if held.Overlaps(prefix) {
			return false
		}
	}
	return true
}

func (a *addresses) RequestPool(r *ipam.RequestPoolRequest) (*ipam.RequestPoolResponse, error) {
	note("RequestPool", r)
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if r.SubPool != "" {
		return nil, fmt.Errorf("there are no ranges")
	}
	var pool netip.Prefix
	if r.Pool != "" {
		wanted, err := netip.ParsePrefix(r.Pool)
		if err != nil {
			return nil, err
		}
		pool = wanted.Masked()
		if !a.free(pool) {
			return nil, fmt.Errorf("%s is in use", pool)
		}
	} else {
		form := "10.%d.0.0/24"
		if r.V6 {
			form = "fd00:676f:%x::/64"
		}
		for number := 230; ; number++ {
			if number == 256 {
				return nil, fmt.Errorf("every subnet is in use")
			}
			pool = netip.MustParsePrefix(fmt.Sprintf(form, number))
			if a.free(pool) {
				break
			}
		}
	}
	a.pools[pool] = map[netip.Addr]bool{}
	return &ipam.RequestPoolResponse{PoolID: pool.String(), Pool: pool.String()}, nil
}

func (a *addresses) ReleasePool(r *ipam.ReleasePoolRequest) error {
	note("ReleasePool", r)
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if pool, err := netip.ParsePrefix(r.PoolID); err == nil {
		delete(a.pools, pool)
	}
	return nil
}

func (a *addresses) RequestAddress(r *ipam.RequestAddressRequest) (*ipam.RequestAddressResponse, error) {
	note("RequestAddress", r)
	a.mutex.Lock()
	defer a.mutex.Unlock()
	pool, err := netip.ParsePrefix(r.PoolID)
	held, known := a.pools[pool]
	if err != nil || !known {
		return nil, fmt.Errorf("no such pool: %s", r.PoolID)
	}
	var address netip.Addr
	if r.Address != "" {
		if address, err = netip.ParseAddr(r.Address); err != nil {
			return nil, err
		}
		if !pool.Contains(address) || held[address] {
			return nil, fmt.Errorf("%s is in use, or not in %s", address, pool)
		}
	} else {
		address = pool.Addr().Next()
		for held[address] {
			address = address.Next()
		}
		// The last one of a subnet is its broadcast address.
		if !pool.Contains(address) || (address.Is4() && !pool.Contains(address.Next())) {
			return nil, fmt.Errorf("every address of %s is in use", pool)
		}
	}
	held[address] = true
	return &ipam.RequestAddressResponse{Address: fmt.Sprintf("%s/%d", address, pool.Bits())}, nil
}

func (a *addresses) ReleaseAddress(r *ipam.ReleaseAddressRequest) error {
	note("ReleaseAddress", r)
	a.mutex.Lock()
	defer a.mutex.Unlock()
	pool, err := netip.ParsePrefix(r.PoolID)
	if address, odd := netip.ParseAddr(r.Address); err == nil && odd == nil {
		delete(a.pools[pool], address)
	}
	return nil
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: go-network network|ipam SOCKET")
	}
	if path := os.Getenv("JOURNAL"); path != "" {
		file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			log.Fatal(err)
		}
		journal.File = file
	}
	os.Remove(os.Args[2])
	switch os.Args[1] {
	case "network":
		driver := &networks{gateways: map[string][2]string{}, known: map[string]bool{}}
		log.Fatal(network.NewHandler(driver).ServeUnix(os.Args[2], 0))
	case "ipam":
		driver := &addresses{pools: map[netip.Prefix]map[netip.Addr]bool{}}
		log.Fatal(ipam.NewHandler(driver).ServeUnix(os.Args[2], 0))
	}
	log.Fatalf("%s is neither network nor ipam", os.Args[1])
}
