package config

import (
	"fmt"
	"strings"
)

// checkPreset holds a label to what its preset says of its clients.
func (c *Config) checkPreset(l Label, bad report) {
	switch l.Preset {
	case "":
		return
	case presetIoTEdge:
	default:
		bad(".preset", "%q is not a preset that this version knows; it knows %s", l.Preset, presetIoTEdge)
		return
	}
	// IoT Edge wants a 200 at once and never sends a proof of possession.
	if l.Approval {
		bad(".approval", "IoT Edge takes the 202 of a request that waits for an error: leave it out")
	}
	if l.Renewal.Approval {
		bad(".renewal.approval", "IoT Edge takes the 202 of a request that waits for an error: leave it out")
	}
	if l.SecondKey == "hold" {
		bad(".second_key", "IoT Edge takes the 202 of a request that waits for an error: use allow or refuse")
	}
	if l.ProofOfPossession == "required" {
		bad(".proof_of_possession", "IoT Edge never sends one: leave it out")
	}
	if l.CACerts != "path" {
		bad(".cacerts", "IoT Edge appends what it gets to its certificate as the chain: leave it out, or set path")
	}
	if l.Keygen != nil {
		bad(".keygen", "IoT Edge makes its own keys: leave it out")
	}
	if p, ok := c.Profiles[l.Profile]; ok && forDevices(p.Preset) && p.Preset != presetIoTEdge {
		bad(".profile", "%q has the preset %s: a label of IoT Edge needs a profile with preset %s", l.Profile, p.Preset, presetIoTEdge)
	}
}

// checkGateway keeps the CA whose certificates are CAs themselves apart: a
// gateway can sign any name, and whoever trusts the CA above it for devices
// would accept what it signs.
func (c *Config) checkGateway(i int, l Label, bad report) {
	if l.Gateway == "" {
		return
	}
	if p, ok := c.Profiles[l.Gateway]; !ok || p.Preset != presetGateway {
		bad(".gateway", "%q is not a profile with preset %s", l.Gateway, presetGateway)
	}
	const why = "a gateway signs what it likes, and what it signs would be accepted there: give the gateways an issuing CA of their own"
	for j, t := range c.AWS.Targets {
		for k, a := range t.CAs {
			if a.Issuer == l.Issuer {
				bad(".issuer", "%q issues CA certificates of gateways and is aws.targets[%d].cas[%d].issuer, too: %s", l.Issuer, j, k, why)
			}
		}
	}
	var others []string
	for j, other := range c.Labels {
		if j != i && other.Gateway == "" && other.Issuer == l.Issuer {
			others = append(others, fmt.Sprintf("labels[%d].issuer (%q)", j, other.Name))
		}
	}
	if n := len(others); n > 0 {
		if n > 3 {
			others = append(others[:3], fmt.Sprintf("%d more", n-3))
		}
		bad(".issuer", "%q issues CA certificates of gateways and is %s, too: %s", l.Issuer, strings.Join(others, ", "), why)
	}
}
