package ceremony

import (
	"fmt"
	"net"
	"slices"
)

// interfaces names the network interfaces that are up, are not loopback and have an
// address.
func interfaces() ([]string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("listing the network interfaces: %w", err)
	}
	var names []string
	for _, i := range all {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		addresses, err := i.Addrs()
		if err != nil {
			return nil, fmt.Errorf("listing the addresses of %s: %w", i.Name, err)
		}
		if len(addresses) > 0 {
			names = append(names, i.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}
