package batch

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
)

// Each part has a list of its certificates beside it, which is public and never encrypted:
// what a cloud is told, and what the manifest is checked against, without the customer's key.

// public is a line of such a list: a chain, before the first device that has it, or a device.
type public struct {
	Chain *int     `json:"chain,omitempty"`
	Above []string `json:"certificates,omitempty"` // PEM, from the issuing CA up, without the root

	Device string `json:"device,omitempty"`
	// Inventory is how the inventory of the CA calls the device, if that is otherwise.
	Inventory   string `json:"inventory,omitempty"`
	Serial      string `json:"serial,omitempty"`
	Certificate string `json:"certificate,omitempty"` // PEM
}

// maxPublicLine bounds a line, in bytes.
const maxPublicLine = 256 << 10

// public is the list of the part.
func (s *shipment) public() ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	for i, chain := range s.chains {
		line := public{Chain: &i, Above: []string{}}
		for _, c := range chain {
			line.Above = append(line.Above, string(pemOf("CERTIFICATE", c.Raw)))
		}
		if err := encoder.Encode(line); err != nil {
			return nil, err
		}
	}
	for _, d := range s.devices {
		line := public{Chain: &d.chain, Device: d.name, Inventory: d.device, Serial: serialOf(d.cert), Certificate: string(pemOf("CERTIFICATE", d.cert.Raw))}
		if d.device == d.name {
			line.Inventory = ""
		}
		if err := encoder.Encode(line); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// entries are the lines of the manifest about the certificates of the part.
func (s *shipment) entries() ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	for _, d := range s.devices {
		if err := encoder.Encode(Entry{Device: d.name, Serial: serialOf(d.cert), Part: s.part, SHA256: hashOf(d.cert.Raw)}); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// Listed is a certificate as a list has it.
type Listed struct {
	Device string
	// Inventory is how the inventory of the CA calls the device, and so do clouds.
	Inventory   string
	Certificate *x509.Certificate
	Chain       []*x509.Certificate // from the issuing CA up, without the root
}

// eachListed calls fn for the certificates of a list.
func eachListed(name string, fn func(Listed) error) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := readListed(f, fn); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func readListed(r io.Reader, fn func(Listed) error) error {
	var chains [][]*x509.Certificate
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxPublicLine)
	for n := 1; lines.Scan(); n++ {
		var line public
		decoder := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&line); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		one, err := line.read(&chains)
		if err == nil && one != nil {
			err = fn(*one)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return lines.Err()
}

// maxChains bounds the chains of a part, and maxAbove the certificates of one.
const (
	maxChains = 100
	maxAbove  = 10
)

// read returns the device of a line, or nil and one chain more.
func (p public) read(chains *[][]*x509.Certificate) (*Listed, error) {
	switch {
	case p.Chain == nil:
		return nil, errors.New("it names no chain")
	case p.Device == "" && (p.Serial != "" || p.Inventory != "" || p.Certificate != "" || *p.Chain != len(*chains) || *p.Chain >= maxChains || len(p.Above) > maxAbove):
		return nil, errors.New("it is neither a device nor the next chain")
	case p.Device == "":
		chain := make([]*x509.Certificate, len(p.Above))
		for i, text := range p.Above {
			var err error
			if chain[i], err = certificateIn(text); err != nil {
				return nil, err
			}
		}
		*chains = append(*chains, chain)
		return nil, nil
	case *p.Chain < 0 || *p.Chain >= len(*chains) || len(p.Above) > 0:
		return nil, fmt.Errorf("device %q is under chain %d, which has not come", p.Device, *p.Chain)
	}
	c, err := certificateIn(p.Certificate)
	if err != nil {
		return nil, err
	}
	if serialOf(c) != p.Serial {
		return nil, fmt.Errorf("the certificate of device %q has serial number %s, and its line says %q", p.Device, serialOf(c), p.Serial)
	}
	return &Listed{p.Device, cmp.Or(p.Inventory, p.Device), c, (*chains)[*p.Chain]}, nil
}

// certificateIn reads one certificate in PEM.
func certificateIn(text string) (*x509.Certificate, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("there is something else than one certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}
