package batch

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"

	"software.sslmate.com/src/go-pkcs12"
)

// made is a device with its certificate.
type made struct {
	name   string
	device string // in the inventory; empty if that is not known
	chain  int    // of the part's chains
	key    []byte // PKCS #8; nil if it is in the device
	cert   *x509.Certificate
}

// member is one file of a part, before they are packed.
type member struct {
	name    string
	content []byte
}

// shipment is a part with all that goes into its files.
type shipment struct {
	plan    *Plan
	part    int
	root    *x509.Certificate
	chains  [][]*x509.Certificate
	pems    []string // of chains
	devices []made
}

// chainOf adds a chain to those of the part, if it is not there.
func (s *shipment) chainOf(chain []*x509.Certificate) int {
	for i, known := range s.chains {
		if len(known) == len(chain) && (len(chain) == 0 || known[0] == chain[0] || bytes.Equal(known[0].Raw, chain[0].Raw)) {
			return i
		}
	}
	text := ""
	for _, c := range chain {
		text += string(pemOf("CERTIFICATE", c.Raw))
	}
	s.chains, s.pems = append(s.chains, chain), append(s.pems, text)
	return len(s.chains) - 1
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func serialOf(c *x509.Certificate) string { return hex.EncodeToString(c.SerialNumber.Bytes()) }

func hashOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// members are the files of all devices in the format of the plan, and the list of their
// passwords where that has some.
func (s *shipment) members() (list []member, passwords []byte, err error) {
	switch s.plan.Format {
	case PEM:
		return s.texts(), nil, nil
	case DER:
		return s.binaries(), nil, nil
	case PKCS12:
		return s.stores()
	}
	content, err := s.lines()
	return []member{{content: content}}, nil, err
}

// texts are certificate and chain in one file, and the key in another.
func (s *shipment) texts() []member {
	var names fileNames
	list := make([]member, 0, 2*len(s.devices))
	for _, d := range s.devices {
		name := names.of(d.name)
		content := pemOf("CERTIFICATE", d.cert.Raw)
		if !s.plan.NoChain {
			content = append(content, s.pems[d.chain]...)
		}
		list = append(list, member{name + ".pem", content})
		if d.key != nil {
			list = append(list, member{name + ".key", pemOf("PRIVATE KEY", d.key)})
		}
	}
	return list
}

// binaries are a file each; what is above, once.
func (s *shipment) binaries() []member {
	var names fileNames
	var list []member
	for _, d := range s.devices {
		name := names.of(d.name)
		list = append(list, member{name + ".crt", d.cert.Raw})
		if d.key != nil {
			list = append(list, member{name + ".key", d.key})
		}
	}
	if s.plan.NoChain {
		return list
	}
	for i, chain := range s.chains {
		for j, c := range chain {

			list = append(list, member{fmt.Sprintf("chain/%d-%d-%s.crt", i+1, j+1, serialOf(c)), c.Raw})
		}
	}
	return list
}

// stores are PKCS #12 files with AES-256 and HMAC with SHA-256 (RFC 7292, RFC 8018), each under a password of
// 130 random bits, which goes apart.
func (s *shipment) stores() (list []member, passwords []byte, err error) {
	var names fileNames
	var table bytes.Buffer
	rows := csv.NewWriter(&table)
	rows.Write([]string{"device", "file", "password"})
	for _, d := range s.devices {
		key, err := x509.ParsePKCS8PrivateKey(d.key)
		if err != nil {
			return nil, nil, fmt.Errorf("decoding the key of %q: %w", d.name, err)
		}
		var above []*x509.Certificate
		if !s.plan.NoChain {
			above = s.chains[d.chain]
		}
		password := rand.Text()
		content, err := pkcs12.Modern2023.Encode(key, d.cert, above, password)
		if err != nil {
			return nil, nil, fmt.Errorf("making the PKCS #12 file of %q: %w", d.name, err)
		}
		name := names.of(d.name) + ".p12"
		list = append(list, member{name, content})
		rows.Write([]string{d.name, name, password})
	}
	rows.Flush()
	return list, table.Bytes(), rows.Error()
}

// delivered is a line of the format ndjson.
type delivered struct {
	Device      string `json:"device"`
	Serial      string `json:"serial"`
	Certificate string `json:"certificate"`           // PEM
	Chain       string `json:"chain,omitempty"`       // PEM
	Key         string `json:"private_key,omitempty"` // PEM, PKCS #8
}

func (s *shipment) lines() ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	for _, d := range s.devices {
		line := delivered{Device: d.name, Serial: serialOf(d.cert), Certificate: string(pemOf("CERTIFICATE", d.cert.Raw))}
		if !s.plan.NoChain {
			line.Chain = s.pems[d.chain]
		}
		if d.key != nil {
			line.Key = string(pemOf("PRIVATE KEY", d.key))
		}
		if err := encoder.Encode(line); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}
