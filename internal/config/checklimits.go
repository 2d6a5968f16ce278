package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"time"
)

// checkWebhook checks how a service is asked.
func checkWebhook(w Webhook, bad report) {
	u, err := url.Parse(w.URL)
	// Without the value in the text: it may hold a secret.
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		bad(".webhook.url", "must be https://host[:port]/path, without user and fragment")
	}
	switch {
	case (w.Cert == "") != (w.Key == ""):
		bad(".webhook.cert", "cert and key belong together")
	case (w.KeyFile == "") == (w.Cert == ""):
		bad(".webhook", "exactly one of key_file, and cert with key, must be set: the service must know that it is us who ask")
	}
}

// Prefixes are the stations as networks.
func (l Limits) Prefixes() []netip.Prefix {
	var list []netip.Prefix
	for _, text := range l.Stations {
		if p, err := netip.ParsePrefix(text); err == nil {
			list = append(list, p)
		}
	}
	return list
}

const (
	minConnections = 16
	maxConnections = 65536
)

func (c *Config) checkLimits(bad func(field, format string, args ...any)) {
	l := c.Limits
	if l.Connections < minConnections || l.Connections > maxConnections {
		bad("limits.connections", "%d is not between %d and %d", l.Connections, minConnections, maxConnections)
	}
	if l.ConnectionsPerAddress < 1 || l.ConnectionsPerAddress > maxConnections {
		bad("limits.connections_per_address", "%d is not between 1 and %d", l.ConnectionsPerAddress, maxConnections)
	}
	if l.Handshakes < 1 || l.Handshakes > 4096 {
		bad("limits.handshakes", "%d is not between 1 and 4096", l.Handshakes)
	}
	for i, text := range l.Stations {
		field := fmt.Sprintf("limits.stations[%d]", i)
		p, err := netip.ParsePrefix(text)
		switch {
		case err != nil:
			bad(field, "%q is not a network: write it as 10.1.2.0/24, and a single address as 10.1.2.3/32", text)
		case p.Addr().Is4In6():
			bad(field, "%q: write an IPv4 network as such", text)
		case p != p.Masked():
			bad(field, "%q is an address in a network: if the network is meant, write %s", text, p.Masked())
		}
	}
	if c.Approval.TTL < time.Minute || c.Approval.TTL > 90*24*time.Hour {
		bad("approval.ttl", "%s is not between one minute and 90 days", DurationText(c.Approval.TTL))
	}
	if c.Approval.Most < 1 || c.Approval.Most > 1_000_000 {
		bad("approval.most", "%d is not between 1 and 1000000", c.Approval.Most)
	}
}
