package server

import (
	"fmt"
	"time"

	"mintmark/ca/rotation"
	"mintmark/internal/config"
	"mintmark/internal/ledger"
)

// CheckReplaced is Replaced of the configuration of a state directory.
func CheckReplaced(dir string, rotations []ledger.Rotation) ([]string, error) {
	c, err := config.Load(dir)
	if err != nil {
		return nil, err
	}
	return Replaced(c, rotations), nil
}

// Replaced says in words where a configuration names a CA that a rotation has replaced. It
// goes on working, because what the file says is sent to the new one; but who reads the
// file is misled, and a database that is lost takes the redirection with it.
func Replaced(c *config.Config, rotations []ledger.Rotation) []string {
	var list []string
	for _, r := range rotations {
		if !rotation.State(r.State).From(rotation.Draining) {
			continue
		}
		say := func(where, name string) {
			if name == r.Old {
				list = append(list, fmt.Sprintf("%s names %s, which was replaced by %s on %s: change the file", where, r.Old, r.New, r.Since.UTC().Format(time.DateOnly)))
			}
		}
		for _, l := range c.Labels {
			say(fmt.Sprintf("label %q", l.Name), l.Issuer)
		}
		say("tls.issuer", c.TLS.Issuer)
		say("access.issuer", c.Access.Issuer)
		say("orders.issuer", c.Orders.Issuer)
		// As long as the old CA is at the clouds, the rotation finds it by what the file names.
		if !rotation.State(r.State).From(rotation.Retired) {
			continue
		}
		for _, t := range c.AWS.Targets {
			for _, a := range t.CAs {
				say(fmt.Sprintf("AWS target %q", t.Name), a.Issuer)
			}
		}
		for _, t := range c.Azure.Targets {
			for _, a := range t.CAs {
				say(fmt.Sprintf("DPS target %q", t.Name), a.Authority)
			}
			for _, g := range t.Groups {
				for _, anchor := range g.Anchors {
					say(fmt.Sprintf("DPS target %q: group %q", t.Name, g.ID), anchor)
				}
			}
		}
	}
	return list
}
