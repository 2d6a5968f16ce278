package ocsp

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"strings"
	"testing"

	xocsp "golang.org/x/crypto/ocsp"
)

// ask is a request for one certificate by SHA-1, with what follows the list and
// what follows its CertID, in hex.
func ask(serial, afterID, afterList string) string {
	id := sequence("3009" + "06052b0e03021a" + "0500" + "0414" + strings.Repeat("11", 20) + "0414" + strings.Repeat("22", 20) + serial)
	return sequence(sequence(sequence(sequence(id+afterID)) + afterList))
}

func sequence(content string) string { return wrap("30", content) }

// wrap encodes a tag, the length and the content, in hex.
func wrap(tag, content string) string {
	n := len(content) / 2
	switch {
	case n < 0x80:
		return tag + hex.EncodeToString([]byte{byte(n)}) + content
	case n < 0x100:
		return tag + "81" + hex.EncodeToString([]byte{byte(n)}) + content
	}
	return tag + "82" + hex.EncodeToString([]byte{byte(n >> 8), byte(n)}) + content
}

const serial = "02020abc"

func nonceOf(octets int) string {
	return wrap("a2", sequence(sequence("06092b0601050507300102"+wrap("04", wrap("04", strings.Repeat("ab", octets))))))
}

// TestParseRequest takes what must be taken and refuses what must be refused.
func TestParseRequest(t *testing.T) {
	unknownExtension := func(critical string) string { return sequence(sequence("06032a0304" + critical + "0400")) }
	tests := []struct {
		name, der, want string // want is empty for a good one
		check           func(*request) bool
	}{
		{"plain", ask(serial, "", ""), "", func(r *request) bool {
			return len(r.asked) == 1 && r.asked[0].serial == "0abc" && r.asked[0].hash.Equal(oidSHA1) && r.nonce == nil
		}},
		{"with version v1", sequence(sequence("a003020100" + ask(serial, "", "")[8:])), "", nil},
		{"version v2", sequence(sequence("a003020101" + ask(serial, "", "")[8:])), "version", nil},
		{"with the name of who asks", sequence(sequence("a10482026162" + ask(serial, "", "")[8:])), "", nil},
		{"nonce of one octet", ask(serial, "", nonceOf(1)), "", func(r *request) bool { return len(r.nonce) == 1 }},
		{"nonce of 128 octets", ask(serial, "", nonceOf(128)), "", func(r *request) bool { return len(r.nonce) == 128 }},
		{"empty nonce", ask(serial, "", nonceOf(0)), "nonce has 0 octets", nil},
		{"nonce of 129 octets", ask(serial, "", nonceOf(129)), "nonce has 129 octets", nil},
		{"nonce that is no octet string", ask(serial, "", wrap("a2", sequence(sequence("06092b0601050507300102"+"0402abab")))), "malformed nonce", nil},
		{"two nonces", ask(serial, "", wrap("a2", sequence(strings.Repeat(sequence("06092b0601050507300102"+"04030401ab"), 2)))), "malformed nonce", nil},
		{"unknown extension", ask(serial, "", wrap("a2", unknownExtension(""))), "", nil},
		{"unknown critical extension", ask(serial, "", wrap("a2", unknownExtension("0101ff"))), "critical extension 1.2.3.4", nil},
		{"unknown extension of one", ask(serial, wrap("a0", unknownExtension("")), ""), "", nil},
		{"unknown critical extension of one", ask(serial, wrap("a0", unknownExtension("0101ff")), ""), "critical extension", nil},
		{"empty extensions", ask(serial, "", "a2023000"), "malformed extensions", nil},
		{"too many extensions", ask(serial, "", wrap("a2", sequence(strings.Repeat(sequence("06032a03040400"), 17)))), "malformed extensions", nil},
		{"negative serial number", ask("0201ff", "", ""), "", func(r *request) bool { return r.asked[0].serial == "" }},
		{"serial number zero", ask("020100", "", ""), "", func(r *request) bool { return r.asked[0].serial == "" }},
		{"serial number with a sign octet", ask("020200ff", "", ""), "", func(r *request) bool { return r.asked[0].serial == "ff" }},
		{"serial number that is too long", ask(wrap("02", strings.Repeat("11", 21)), "", ""), "", func(r *request) bool { return r.asked[0].serial == "" }},
		{"serial number that is much too long", ask(wrap("02", strings.Repeat("11", 65)), "", ""), "serial number", nil},
		{"serial number not in DER", ask("0202007f", "", ""), "DER", nil},
		{"serial number without content", ask("0200", "", ""), "serial number", nil},
		{"eight certificates", several(8), "", func(r *request) bool { return len(r.asked) == 8 }},
		{"nine certificates", several(9), "more than 8", nil},
		{"no certificate", sequence(sequence("3000")), "no certificate", nil},
		{"something behind", ask(serial, "", "") + "00", "not an OCSPRequest", nil},
		{"nothing", "", "not an OCSPRequest", nil},
		{"no DER", "deadbeef", "not an OCSPRequest", nil},
		{"too long", strings.Repeat("00", maxRequest+1), "more than", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			der, err := hex.DecodeString(tt.der)
			if err != nil {
				t.Fatal(err)
			}
			r, err := parseRequest(der)
			switch {
			case tt.want == "" && err != nil, tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("%v, not %q", err, tt.want)
			case tt.check != nil && !tt.check(r):
				t.Errorf("read as %+v", r)
			}
		})
	}
}

func several(n int) string {
	one := sequence(sequence("3009" + "06052b0e03021a" + "0500" + "0401ff" + "0401ff" + serial))
	return sequence(sequence(sequence(strings.Repeat(one, n))))
}

// FuzzRequest holds the parser against another one, and against what it promises.
func FuzzRequest(f *testing.F) {
	for _, text := range []string{ask(serial, "", ""), ask(serial, "", nonceOf(16)), several(3), ask("0201ff", "a0023000", "a2023000"), ""} {
		der, err := hex.DecodeString(text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(4711)}
	authority := &x509.Certificate{RawSubject: []byte{0x30, 0}, RawSubjectPublicKeyInfo: spki(f)}
	for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256} {
		der, err := xocsp.CreateRequest(template, authority, &xocsp.RequestOptions{Hash: hash})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		r, err := parseRequest(der)
		if err != nil {
			return
		}
		if len(r.asked) == 0 || len(r.asked) > maxAsked || r.nonce != nil && (len(r.nonce) == 0 || len(r.nonce) > maxNonce) {
			t.Fatalf("read as %+v", r)
		}
		for _, id := range r.asked {
			if !bytes.Contains(der, id.raw) || len(id.serial) > 40 || strings.HasPrefix(string(id.serial), "00") {
				t.Fatalf("read as %+v", id)
			}
		}
		// Where another parser reads it too, both read the same certificate.
		other, err := xocsp.ParseRequest(der)
		if err != nil || other.SerialNumber.Sign() <= 0 || other.SerialNumber.BitLen() > 160 {
			return
		}
		if got := r.asked[0]; string(got.serial) != hex.EncodeToString(other.SerialNumber.Bytes()) || !bytes.Equal(got.nameHash, other.IssuerNameHash) || !bytes.Equal(got.keyHash, other.IssuerKeyHash) {
			t.Fatalf("%+v here, %+v there", got, other)
		}
	})
}

// spki is the SubjectPublicKeyInfo of no key at all.
func spki(t testing.TB) []byte {
	t.Helper()
	der, err := asn1.Marshal(struct {
		Algorithm struct{ OID asn1.ObjectIdentifier }
		Key       asn1.BitString
	}{struct{ OID asn1.ObjectIdentifier }{oidSHA1}, asn1.BitString{Bytes: []byte{1, 2}, BitLength: 16}})
	if err != nil {
		t.Fatal(err)
	}
	return der
}
