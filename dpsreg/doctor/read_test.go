package doctor

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"mintmark/dpsreg/attest"
	"mintmark/dpsreg/attest/attesttest"
	"mintmark/internal/pkitest"
)

func TestReadChain(t *testing.T) {
	w := newWorks(t)
	chain := w.chain()
	der := slices.Concat(chain[0].Raw, chain[1].Raw, chain[2].Raw, chain[3].Raw)
	for name, data := range map[string][]byte{
		"PEM":           attesttest.PEM(chain),
		"PEM with text": []byte("subject: press-0042\r\n" + strings.ReplaceAll(string(attesttest.PEM(chain)), "\n", "\r\n") + "\nthe end\n"),
		"DER":           der,
		"beside it":     append(attesttest.PEM(chain), pkitest.PEM("EC PARAMETERS", []byte{6, 1, 1})...),
	} {
		got, err := ReadChain(data)
		if err != nil || !slices.EqualFunc(got, chain, (*x509.Certificate).Equal) {
			t.Errorf("%s: %d certificates, %v", name, len(got), err)
		}
	}
}

func TestReadChainRefuses(t *testing.T) {
	w := newWorks(t)
	good := attesttest.PEM(w.chain()[:1])
	pkcs8, err := x509.MarshalPKCS8PrivateKey(w.device.Key)
	if err != nil {
		t.Fatal(err)
	}
	// A key of 8200 bits that nobody has the private part of.
	key := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 8199, 1), E: 65537}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, w.root.Certificate, key, w.root.Key)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"a long RSA key":            {pkitest.PEM("CERTIFICATE", der), "8200 bits"},
		"a long RSA key in DER":     {der, "8200 bits"},
		"a key after the chain":     {append(slices.Clone(good), pkitest.PEM("PRIVATE KEY", pkcs8)...), ErrPrivateKey.Error()},
		"an encrypted key":          {pkitest.PEM("ENCRYPTED PRIVATE KEY", []byte("x")), ErrPrivateKey.Error()},
		"a key of another kind":     {pkitest.PEM("EC PRIVATE KEY", []byte("x")), ErrPrivateKey.Error()},
		"a key in DER":              {pkcs8, ErrPrivateKey.Error()},
		"a key that is cut off":     {append(slices.Clone(good), "-----BEGIN PRIVATE KEY-----\nMIG"...), ErrPrivateKey.Error()},
		"a request":                 {pkitest.PEM("CERTIFICATE REQUEST", []byte("x")), "certification request"},
		"PKCS #7":                   {pkitest.PEM("PKCS7", []byte("x")), "openssl pkcs7"},
		"nothing":                   {nil, "it is empty"},
		"blanks":                    {[]byte(" \n"), "it is empty"},
		"prose":                     {[]byte("Dear press,"), "no certificate, in PEM or DER"},
		"no certificate":            {pkitest.PEM("PUBLIC KEY", []byte("x")), "holds no certificate"},
		"a certificate cut off":     {good[:len(good)-40], "1 begin as PEM, and 0 are"},
		"the second one cut off":    {append(slices.Clone(good), good[:200]...), "2 begin as PEM, and 1 are"},
		"no certificate inside":     {append(slices.Clone(good), pkitest.PEM("CERTIFICATE", []byte("x"))...), "reading certificate 2"},
		"too long":                  {make([]byte, MaxFile+1), "larger than"},
		"too many":                  {[]byte(strings.Repeat(string(good), 101)), "more than 100"},
		"something after it in DER": {append(slices.Clone(w.device.Certificate.Raw), 1), "no certificate, in PEM or DER"},
	} {
		chain, err := ReadChain(c.data)
		if err == nil || !strings.Contains(err.Error(), c.want) || chain != nil {
			t.Errorf("%s: %v, %d certificates; want %q", name, err, len(chain), c.want)
		}
		if want := c.want == ErrPrivateKey.Error(); errors.Is(err, ErrPrivateKey) != want {
			t.Errorf("%s: private key %v", name, !want)
		}
	}
}

func TestParseGroup(t *testing.T) {
	for text, want := range map[string]string{
		"line-a=line.pem":      "line-a [line.pem]",
		"a=old.pem,new=2.pem":  "a [old.pem new=2.pem]",
		"a:b_c.d-=/x/y z.pem":  "a:b_c.d- [/x/y z.pem]",
		"Line=./a.pem,./b.pem": "Line [./a.pem ./b.pem]",
	} {
		id, files, err := ParseGroup(text)
		if got := fmt.Sprint(id, " ", files); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"":              "is not an enrollment group",
		"line-a":        "is not an enrollment group",
		"=a.pem":        "is no id",
		"line a=a.pem":  "is no id",
		"line.=a.pem":   "is no id",
		"(supposed)=a":  "is no id",
		"a=":            "without a name",
		"a=x.pem,":      "without a name",
		"a=x,y,z":       "two slots",
		"\x1b[2J=a.pem": "is no id",
	} {
		if id, files, err := ParseGroup(text); err == nil || !strings.Contains(err.Error(), want) || id != "" || files != nil {
			t.Errorf("%q: %q %q %v, want %q", text, id, files, err, want)
		}
	}
}

func TestDisable(t *testing.T) {
	groups := []attest.Group{{ID: "a"}, {ID: "Line-B"}}
	if err := Disable(groups, "line-b"); err != nil || groups[0].Disabled || !groups[1].Disabled {
		t.Errorf("%v, %v", groups, err)
	}
	if err := Disable(groups, "c"); err == nil {
		t.Error("a group that is not there was disabled")
	}
}
