package doctor

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/dpsreg/attest"
	"mintmark/dpsreg/attest/attesttest"
	"mintmark/internal/pkitest"
)

// FuzzReadChain: whatever is read is read again from PEM, no private key is ever
// overlooked, and the doctor has something to say of each chain.
func FuzzReadChain(f *testing.F) {
	c := attesttest.Accepted(f, now)
	text := attesttest.PEM(c.Presented.Chain)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(c.Key)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{nil, text, text[:100], c.Presented.Chain[0].Raw, pkcs8, pkitest.PEM("PRIVATE KEY", pkcs8), append(slices.Clone(text), pkitest.PEM("PRIVATE KEY", pkcs8)...)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		chain, err := ReadChain(data)
		if err != nil {
			if chain != nil {
				t.Error("a chain and an error")
			}
			return
		}
		if bytes.Contains(data, []byte("PRIVATE KEY-----")) && bytes.Contains(data, []byte("-----BEGIN ")) {
			t.Error("a private key was overlooked")
		}
		again, err := ReadChain(attesttest.PEM(chain))
		if err != nil || !slices.EqualFunc(again, chain, (*x509.Certificate).Equal) {
			t.Errorf("reading it again: %v", err)
		}
		r, err := Check(chain, Options{Now: now})
		if err != nil || len(r.Findings) == 0 || len(r.Chain) != len(chain) {
			t.Fatalf("%+v, %v", r, err)
		}
		var out strings.Builder
		if err := r.Render(&out, "chain.pem"); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsFunc(out.String(), func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f || r == 0x202e }) {
			t.Errorf("the output has control characters: %q", out.String())
		}
	})
}

// FuzzParseGroup: what is taken has a legal id and one or two files, and stands in the
// flag as it came.
func FuzzParseGroup(f *testing.F) {
	for _, seed := range []string{"", "a=b", "line-a=old.pem,new.pem", "a=b,c,d", "=", "a=,", "ken\u212a=x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, files, err := ParseGroup(text)
		switch {
		case err != nil:
		case attest.CheckRegistrationID(id) != nil || len(files) < 1 || len(files) > 2 || slices.Contains(files, ""):
			t.Errorf("%q: %q %q", text, id, files)
		case id+"="+strings.Join(files, ",") != text:
			t.Errorf("%q is read as %q %q", text, id, files)
		}
	})
}

// FuzzReadBundle: what is taken has a certificate for each CA and slot.
func FuzzReadBundle(f *testing.F) {
	w := newWorksAt(f, time.Now())
	data, err := json.Marshal(w.bundle())
	if err != nil {
		f.Fatal(err)
	}
	if _, _, err := ReadBundle(data); err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"", "{}", `{"version":1}`, string(data), strings.Replace(string(data), `"root"`, `""`, 2)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		cas, groups, err := ReadBundle(data)
		if err != nil {
			if cas != nil || groups != nil {
				t.Error("a result and an error")
			}
			return
		}
		for _, ca := range cas {
			if ca.Certificate == nil || !ca.Verified {
				t.Errorf("%+v", ca)
			}
		}
		for _, g := range groups {
			if slices.Contains(g.Anchors, nil) {
				t.Errorf("%+v", g)
			}
		}
	})
}
