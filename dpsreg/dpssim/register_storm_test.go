package dpssim

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// TestRegistrationStorm registers devices at the same time, while their group is
// rewritten and listed: each one gets in, once.
func TestRegistrationStorm(t *testing.T) {
	const devices, rounds = 12, 4
	p := newPlant(t, func(c *Config) { c.Assigning = -1; c.Hubs = []string{"one.azure-devices.net", "two.azure-devices.net"} })
	p.group("line-a", nil)
	send := func(c *http.Client, method, url, body string, header ...string) (int, error) {
		req, err := http.NewRequest(method, url, strings.NewReader(body))
		if err != nil {
			return 0, err
		}
		req.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := c.Do(req)
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, resp.Body.Close()
	}
	service := "https://" + p.sim.Config().serviceHost()
	group, signature := x509Group("line-a", p.line.pem()).String(), p.signature()
	var wg sync.WaitGroup
	work := func(n int, one func(i int) error) {
		wg.Go(func() {
			for i := range n {
				if err := one(i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range devices {
		id := fmt.Sprintf("press-%d", i)
		c := p.client(newParty(t, id, false, p.line).tls(p.line.cert, p.root.cert))
		work(rounds, func(int) error {
			status, err := send(c, "PUT", "https://"+globalHost+"/"+p.sim.Config().IDScope+"/registrations/"+id+"/register?api-version=2021-06-01", `{}`)
			if err == nil && status != http.StatusAccepted {
				err = fmt.Errorf("%s: HTTP %d", id, status)
			}
			return err
		})
	}
	c := p.client(nil)
	work(devices, func(i int) error {
		status, err := send(c, "PUT", service+"/enrollmentGroups/line-a?api-version=2021-10-01", group, "Authorization", signature, "If-Match", "*")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("rewriting the group: HTTP %d", status)
		}
		return err
	})
	work(devices, func(i int) error {
		status, err := send(c, "POST", service+"/registrations/line-a/query?api-version=2021-10-01", `{"query":"SELECT *"}`, "Authorization", signature)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("listing the devices: HTTP %d", status)
		}
		return err
	})
	wg.Wait()
	p.sim.store.mu.Lock()
	defer p.sim.store.mu.Unlock()
	identities := 0
	for _, h := range p.sim.store.hubs {
		identities += len(h.devices)
	}
	if len(p.sim.store.registered) != devices || identities != devices {
		t.Errorf("%d registrations and %d identities of %d devices", len(p.sim.store.registered), identities, devices)
	}
	for id, r := range p.sim.store.registered {
		if r.state.Status != "assigned" {
			t.Errorf("%s is %s", id, r.state.Status)
		}
	}
}
