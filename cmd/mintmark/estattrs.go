package main

import (
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"mintmark/issuer/est"
)

func newESTCSRAttrs(a *app) *cobra.Command {
	var f estFlags
	c := a.command("csrattrs --url URL [flags]", "Show what the server wants of requests",
		`Csrattrs shows in words what the server wants of certification requests (RFC
7030, Section 4.5; RFC 9908): names, keys, extensions, and whether they must be
linked to the connection.`,
		"  mintmark est csrattrs --url https://ca.example.org:8443 --ca root.pem --label press",
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			done, err := a.openEST(c.Context(), &f)
			if err != nil {
				return err
			}
			defer done()
			var wants est.CSRAttrs
			err = a.repeat(c.Context(), f.wait, func() (err error) {
				wants, err = f.client.CSRAttrs(c.Context())
				return err
			})
			var status *est.StatusError
			switch {
			case errors.As(err, &status) && status.Code == http.StatusNotFound:
				return errors.New("404: no csrattrs here, or no such label")
			case err != nil && !errors.Is(err, est.ErrNone):
				return err
			}
			return a.printCSRAttrs(wants)
		})
	f.bind(c)
	f.bindCredentials(c)
	return c
}

// printCSRAttrs shows what a server wants.
func (a *app) printCSRAttrs(wants est.CSRAttrs) error {
	answer := describeCSRAttrs(wants)
	if a.json {
		return a.printJSON(answer)
	}
	if len(answer.Elements) == 0 {
		a.say("the server wants nothing in particular")
		return nil
	}
	t := newTable(a.out)
	if answer.Link {
		t.field("proof", "the request must be linked to the TLS connection (challengePassword)")
	}
	for _, key := range answer.Keys {
		t.field("key", key)
	}
	show := func(name string, list []wantedValue) {
		for _, w := range list {
			text := w.Name
			if w.Critical {
				text += ", critical"
			}
			if w.Value != "" {
				text += ": " + w.Value
			} else {
				text += ": for the device to fill in"
			}
			t.field(name, text)
		}
	}
	show("subject", answer.Subject)
	show("extension", answer.Extensions)
	t.field("elements", strings.Join(answer.Elements, ", "))
	return t.flush()
}

// csrAttrs is the answer for a program.
type csrAttrs struct {
	Link       bool          `json:"link"`
	Template   bool          `json:"template"` // RFC 9908
	Keys       []string      `json:"keys"`
	Subject    []wantedValue `json:"subject"`
	Extensions []wantedValue `json:"extensions"`
	Elements   []string      `json:"elements"` // of the whole answer, by name
}

type wantedValue struct {
	Name     string `json:"name"`
	Critical bool   `json:"critical,omitempty"`
	Value    string `json:"value,omitempty"` // empty if the device fills it in
}

func describeCSRAttrs(wants est.CSRAttrs) csrAttrs {
	answer := csrAttrs{Link: wants.Link, Template: wants.FromTemplate, Keys: []string{}, Subject: []wantedValue{}, Extensions: []wantedValue{}, Elements: []string{}}
	for _, key := range wants.Keys {
		answer.Keys = append(answer.Keys, describeKey(key))
	}
	for _, w := range wants.Subject {
		answer.Subject = append(answer.Subject, wantedValue{Name: oidName(w.Type), Value: describeValue(w.Value)})
	}
	for _, w := range wants.Extensions {
		answer.Extensions = append(answer.Extensions, wantedValue{oidName(w.Type), w.Critical, describeExtension(w)})
	}
	for _, id := range wants.Elements {
		answer.Elements = append(answer.Elements, oidName(id))
	}
	return answer
}

func describeKey(key est.KeyWanted) string {
	text := oidName(key.Type)
	if key.Curve != nil {
		text += " on " + oidName(key.Curve)
	}
	if key.Bits != 0 {
		text += fmt.Sprintf(" of %d bits", key.Bits)
	}
	return text
}

// describeValue is a string, or else the DER in hexadecimal.
func describeValue(der []byte) string {
	var text string
	if rest, err := asn1.Unmarshal(der, &text); err == nil && len(rest) == 0 {
		return text
	}
	return hex.EncodeToString(der)
}

func describeExtension(w est.ValueWanted) string {
	if w.Value == nil {
		return ""
	}
	var ids []asn1.ObjectIdentifier
	if rest, err := asn1.Unmarshal(w.Value, &ids); err == nil && len(rest) == 0 && len(ids) > 0 {
		var names []string
		for _, id := range ids {
			names = append(names, oidName(id))
		}
		return strings.Join(names, ", ")
	}
	return hex.EncodeToString(w.Value)
}

// oidNames are what is found in csrattrs, by the names of the standards.
var oidNames = map[string]string{
	"1.2.840.113549.1.9.7":       "challengePassword",
	"1.2.840.113549.1.9.14":      "extensionRequest",
	"1.2.840.113549.1.9.15":      "smimeCapabilities",
	"1.2.840.113549.1.9.16.2.37": "decryptKeyIdentifier",
	"1.2.840.113549.1.9.16.2.54": "asymmetricDecryptKeyIdentifier",
	"1.2.840.113549.1.9.16.2.61": "certificationRequestInfoTemplate",
	"1.2.840.113549.1.9.16.2.62": "extensionReqTemplate",
	"1.3.6.1.5.5.7.7.36":         "changeSubjectName",

	"1.2.840.10045.2.1":     "EC key",
	"1.2.840.113549.1.1.1":  "RSA key",
	"1.3.101.112":           "Ed25519 key",
	"1.3.101.113":           "Ed448 key",
	"1.2.840.10045.3.1.7":   "P-256",
	"1.3.132.0.34":          "P-384",
	"1.3.132.0.35":          "P-521",
	"1.2.840.10045.4.3.2":   "ecdsa-with-SHA256",
	"1.2.840.10045.4.3.3":   "ecdsa-with-SHA384",
	"1.2.840.10045.4.3.4":   "ecdsa-with-SHA512",
	"1.2.840.113549.1.1.11": "sha256WithRSAEncryption",
	"1.2.840.113549.1.1.12": "sha384WithRSAEncryption",
	"1.2.840.113549.1.1.13": "sha512WithRSAEncryption",
	"1.2.840.113549.1.1.10": "RSASSA-PSS",

	"2.5.4.3": "commonName", "2.5.4.5": "serialNumber", "2.5.4.6": "country", "2.5.4.7": "locality",
	"2.5.4.8": "state", "2.5.4.10": "organization", "2.5.4.11": "organizationalUnit",
	"1.2.840.113549.1.9.1":       "emailAddress",
	"0.9.2342.19200300.100.1.25": "domainComponent",
	"1.3.6.1.1.1.1.22":           "macAddress",

	"2.5.29.14": "subjectKeyIdentifier", "2.5.29.15": "keyUsage", "2.5.29.17": "subjectAltName",
	"2.5.29.19": "basicConstraints", "2.5.29.37": "extKeyUsage",
	"1.3.6.1.5.5.7.3.1": "serverAuth", "1.3.6.1.5.5.7.3.2": "clientAuth", "1.3.6.1.5.5.7.3.28": "cmcRA",
}

// oidName is the name of an object identifier, or its digits.
func oidName(id asn1.ObjectIdentifier) string {
	if name := oidNames[id.String()]; name != "" {
		return name
	}
	return id.String()
}

// chooseKey is the first type of key that a server wants and that can be made
// here; what it leaves open is decided as without it.
func chooseKey(wants est.CSRAttrs) (string, error) {
	var names []string
	for _, key := range wants.Keys {
		kind := ""
		switch oidName(key.Type) {
		case "EC key":
			kind = defaultKeyType
			if key.Curve != nil {
				kind = oidName(key.Curve)
			}
		case "RSA key":
			kind = fmt.Sprintf("RSA-%d", max(key.Bits, 2048))
		}
		if known(kind) {
			return kind, nil
		}
		names = append(names, describeKey(key))
	}
	if len(names) > 0 {
		return "", fmt.Errorf("the server wants %s, which is not made here: make the key by other means, and name its file with --new-key", strings.Join(names, " or "))
	}
	return defaultKeyType, nil
}

// known reports whether newKey makes keys of a type.
func known(kind string) bool {
	switch kind {
	case "P-256", "P-384", "RSA-2048", "RSA-3072":
		return true
	}
	return false
}
