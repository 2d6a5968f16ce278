// Package attesttest holds the refusals of Azure DPS that are on record, and makes the
// chain of each: for tests of attest, of the doctor and of the simulator. Only tests
// import it.
package attesttest

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"embed"
	"encoding/json"
	"path"
	"strings"
	"testing"
	"time"

	"mintmark/dpsreg/attest"
	"mintmark/internal/pkitest"
)

//go:embed testdata/*.json
var files embed.FS

// Fixture is a refusal of DPS that somebody reported or Microsoft documents.
type Fixture struct {
	Name     string   `json:"-"`    // of the file
	What     string   `json:"what"` // what DPS has, and what the device sends
	Rule     string   `json:"rule"`
	Code     int      `json:"code"`
	Message  string   `json:"message"`
	Source   string   `json:"source"`   // URL
	Reported string   `json:"reported"` // when, if somebody did
	Confirms []string `json:"confirms"` // URLs
	Then     string   `json:"then"`     // the text in the source, if it has since changed
	Inferred string   `json:"inferred"` // why the text is not that of the source
}

// Fixtures are all of them, in the order of their names.
func Fixtures(t testing.TB) []Fixture {
	t.Helper()
	entries, err := files.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	var list []Fixture
	for _, e := range entries {
		data, err := files.ReadFile(path.Join("testdata", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		f := Fixture{Name: strings.TrimSuffix(e.Name(), ".json")}
		d := json.NewDecoder(bytes.NewReader(data))
		d.DisallowUnknownFields()
		if err := d.Decode(&f); err != nil {
			t.Fatalf("%s: %v", e.Name(), err)
		}
		list = append(list, f)
	}
	return list
}

// Case is what DPS has and what a device sends.
type Case struct {
	CAs         []attest.CA
	Groups      []attest.Group
	Individuals []Individual
	Presented   attest.Presented
	Key         crypto.Signer // the device's
}

// Individual is an individual enrollment with the certificate of its primary slot.
type Individual struct {
	RegistrationID string
	Certificate    *x509.Certificate
	Disabled       bool
}

// Service is what Judge wants of a case.
func (c Case) Service() attest.Service {
	return attest.Service{Verified: c.CAs, Groups: c.Groups, Individual: func(id string) *attest.Individual {
		for _, i := range c.Individuals {
			if strings.ToLower(i.RegistrationID) == id {
				return &attest.Individual{RegistrationID: i.RegistrationID, Certificates: [][32]byte{sha256.Sum256(i.Certificate.Raw)}, Disabled: i.Disabled}
			}
		}
		return nil
	}}
}

// Case makes what a fixture tells of, at the time now.
func (f Fixture) Case(t testing.TB, now time.Time) Case {
	t.Helper()
	root := NewRoot(t, "Example Root", now)
	line := root.Sub(t, "Example Line")
	device := line.Device(t, "press-0042")
	c := Case{
		CAs:       []attest.CA{{Name: "root", Certificate: root.Certificate, Verified: true}},
		Groups:    []attest.Group{{ID: "all", Anchors: []*x509.Certificate{root.Certificate}}},
		Presented: attest.Presented{RegistrationID: "press-0042", Chain: []*x509.Certificate{device.Certificate, line.Certificate, root.Certificate}, Now: now},
		Key:       device.Key,
	}
	switch f.Name {
	case "accepted":
	case "capitals":
		device = line.Device(t, "Press-0042")
		c.Presented.RegistrationID, c.Presented.Chain[0], c.Key = "Press-0042", device.Certificate, device.Key
		c.Presented.APIVersion = "2017-11-15"
	case "leaf-alone":
		c.Presented.Chain = c.Presented.Chain[:1]
	case "root-not-sent":
		c.Groups[0].Anchors[0] = line.Certificate
		c.Presented.Chain = c.Presented.Chain[:2]
	case "root-not-verified":
		c.CAs[0].Verified = false
	case "group-not-in-chain":
		c.Groups[0].Anchors[0] = root.Sub(t, "Example Line 2").Certificate
	case "root-as-device":
		root = NewRoot(t, "press-0042", now)
		c.CAs[0].Certificate, c.Groups[0].Anchors[0] = root.Certificate, root.Certificate
		c.Presented.Chain, c.Key = []*x509.Certificate{root.Certificate}, root.Key
	case "individual-other-certificate":
		c.Individuals = []Individual{{RegistrationID: "press-0042", Certificate: line.Device(t, "press-0042").Certificate}}
	case "individual-disabled":
		c.Individuals = []Individual{{RegistrationID: "press-0042", Certificate: device.Certificate, Disabled: true}}
	case "group-disabled":
		c.Groups = append(c.Groups, attest.Group{ID: "line", Anchors: []*x509.Certificate{line.Certificate}, Disabled: true})
	default:
		t.Fatalf("there is no chain for fixture %q", f.Name)
	}
	return c
}

// Accepted is a case that DPS takes.
func Accepted(t testing.TB, now time.Time) Case { return Fixture{Name: "accepted"}.Case(t, now) }

// PEM is a chain as in a file.
func PEM(chain []*x509.Certificate) []byte {
	var out []byte
	for _, c := range chain {
		out = append(out, pkitest.PEM("CERTIFICATE", c.Raw)...)
	}
	return out
}
