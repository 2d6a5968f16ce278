package doctor

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"

	"mintmark/internal/cms"
	"mintmark/issuer/est"
)

// generating is a label that makes keys, in plain and encrypted.
var generating = setting{
	label: func(_ *world, l *est.Label) {
		l.Keygen = &est.Keygen{Plain: true, SymmetricKeys: map[string][]byte{sharedID: sharedKey}}
	},
	config: func(w *world, c *Config) {
		c.Keygen, c.SharedID, c.SharedKey, c.Device = true, sharedID, sharedKey, w.rsa
	},
}

// sealing is a label that hands out no plain key; the maker's is RSA.
var sealing = setting{
	label: func(_ *world, l *est.Label) { l.Keygen = &est.Keygen{} },
	config: func(w *world, c *Config) {
		c.Keygen, c.Maker = true, w.makerRSA
	},
}

// reparted changes the parts of every answer of serverkeygen.
func reparted(change func([]part) []part) func(*world, http.Handler) http.Handler {
	return when("serverkeygen", func(a *httptest.ResponseRecorder) {
		if a.Code != http.StatusOK {
			return
		}
		seen := &answer{header: []field{{"Content-Type", a.Header().Get("Content-Type")}}, body: a.Body.Bytes()}
		parts, err := splitParts(seen)
		if err != nil {
			return
		}
		_, boundary, _ := strings.Cut(a.Header().Get("Content-Type"), "boundary=")
		var b bytes.Buffer
		for _, p := range change(parts) {
			fmt.Fprintf(&b, "--%s\r\nContent-Type: %s\r\nContent-Transfer-Encoding: base64\r\n\r\n%s\r\n", boundary, p.contentType, p.body)
		}
		fmt.Fprintf(&b, "--%s--\r\n", boundary)
		a.Body = &b
	})
}

// onKey changes the part with the private key.
func onKey(change func(part) part) func(*world, http.Handler) http.Handler {
	return reparted(func(parts []part) []part {
		for i := range parts {
			if parts[i].isKey() {
				parts[i] = change(parts[i])
			}
		}
		return parts
	})
}

// onCertificate changes the other part.
func onCertificate(change func(part) part) func(*world, http.Handler) http.Handler {
	return reparted(func(parts []part) []part {
		for i := range parts {
			if !parts[i].isKey() {
				parts[i] = change(parts[i])
			}
		}
		return parts
	})
}

// resealed decrypts what goes to the shared key and encrypts it in another way.
func resealed(seal func(contentType []int, content []byte) ([]byte, error)) func(*world, http.Handler) http.Handler {
	return onKey(func(p part) part {
		der, err := decodeBase64(p.body)
		if err != nil {
			return p
		}
		kind, content, err := cms.Decrypt(der, sharedKey)
		if err != nil {
			return p
		}
		if der, err = seal(kind, content); err == nil {
			p.body = encode(der)
		}
		return p
	})
}

// toShared is the shared key as recipient.
func toShared(cipher []int) cms.Recipient {
	return cms.Recipient{Key: sharedKey, Identifier: []byte(sharedID), Content: cipher, KeyEncryption: cms.AES256Wrap}
}

// otherKey is the PKCS #8 of a key that is nobody's.
func otherKey() []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return der
}

// replaying answers a request for a key as the one before.
func replaying(_ *world, next http.Handler) http.Handler {
	var mu sync.Mutex
	kept := make(map[string]*httptest.ResponseRecorder)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isOp(r, "serverkeygen") || r.Header.Get("Authorization") == "" {
			next.ServeHTTP(w, r)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		csr, err := decodeBase64(body(r))
		if err != nil {
			next.ServeHTTP(w, r)
			return
		}
		request, err := x509.ParseCertificateRequest(csr)
		if err != nil {
			next.ServeHTTP(w, r)
			return
		}
		name := request.Subject.CommonName
		if kept[name] == nil {
			kept[name] = httptest.NewRecorder()
			next.ServeHTTP(kept[name], r)
		}
		again := *kept[name]
		again.Body = bytes.NewBuffer(bytes.Clone(kept[name].Body.Bytes()))
		send(w, &again)
	})
}

var keygenTests = []pointTest{
	{57, setting{}, []mutant{{name: "on", label: func(l *est.Label) { l.Keygen = &est.Keygen{} }}}},
	{58, generating, []mutant{{name: "anybody", handler: welcoming("serverkeygen")}}},
	{59, generating, []mutant{{name: "verified", handler: refusing(func(r *http.Request) bool {
		der, err := decodeBase64(body(r))
		if err != nil || !isOp(r, "serverkeygen") {
			return false
		}
		csr, err := x509.ParseCertificateRequest(der)
		return err == nil && csr.CheckSignature() != nil
	})}}},
	{60, generating, []mutant{
		{name: "three parts", handler: reparted(func(p []part) []part { return append(p, p[1]) })},
		{name: "one part", handler: reparted(func(p []part) []part { return p[:1] })},
		{name: "multipart/related", handler: when("serverkeygen", func(a *httptest.ResponseRecorder) {
			a.Header().Set("Content-Type", strings.Replace(a.Header().Get("Content-Type"), "mixed", "related", 1))
		})},
	}},
	{61, generating, []mutant{
		{name: "SEC 1", handler: onKey(func(p part) part {
			if der, err := decodeBase64(p.body); err == nil {
				if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
					if ec, ok := key.(*ecdsa.PrivateKey); ok {
						der, _ = x509.MarshalECPrivateKey(ec)
						p.body = encode(der)
					}
				}
			}
			return p
		})},
		{name: "DER", handler: onKey(func(p part) part {
			p.body, _ = decodeBase64(p.body)
			return p
		})},
	}},
	{62, generating, []mutant{
		{name: "pkix-cert", handler: onCertificate(func(p part) part { p.contentType = "application/pkix-cert"; return p })},
		{name: "no smime-type", handler: onCertificate(func(p part) part { p.contentType = "application/pkcs7-mime"; return p })},
	}},
	{63, generating, []mutant{
		{name: "not signed", handler: resealed(func(_ []int, _ []byte) ([]byte, error) {
			return cms.Encrypt(cms.Data, otherKey(), toShared(cms.AES256CBC))
		})},
		{name: "for another", handler: resealed(func(kind []int, content []byte) ([]byte, error) {
			to := toShared(cms.AES256CBC)
			to.Key = bytes.Repeat([]byte{7}, 32)
			return cms.Encrypt(kind, content, to)
		})},
		{name: "in plain", handler: onKey(func(p part) part { return part{"application/pkcs8", encode(otherKey())} })},
	}},
	{64, generating, []mutant{
		{name: "another recipient", handler: resealed(func(kind []int, content []byte) ([]byte, error) {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				return nil, err
			}
			return cms.Encrypt(kind, content, cms.Recipient{Key: &key.PublicKey, Identifier: []byte("x"), Content: cms.AES256CBC, KeyEncryption: cms.ECDHSHA256, KeyWrap: cms.AES256Wrap})
		})},
		{name: "another algorithm", handler: onKey(func(p part) part {
			if der, err := decodeBase64(p.body); err == nil {
				// AES-256-CBC becomes AES-256-CFB, which nobody asked for.
				p.body = encode(bytes.ReplaceAll(der, encodeOID(oidAES256CBC), encodeOID("2.16.840.1.101.3.4.1.44")))
			}
			return p
		})},
	}},
	{65, generating, []mutant{{name: "in plain", handler: before(func(_ *world, _ http.ResponseWriter, r *http.Request) bool {
		der, err := decodeBase64(body(r))
		if err != nil || !isOp(r, "serverkeygen") || !bytes.Contains(der, encodeOID(oidDecryptKeyID)) {
			return false
		}
		// The attribute becomes one that nobody knows; the signature does not count.
		setBody(r, encode(bytes.ReplaceAll(der, encodeOID(oidDecryptKeyID), encodeOID("1.2.840.113549.1.9.16.2.38"))))
		return false
	})}}},
	{66, generating, []mutant{{name: "AES-128", handler: resealed(func(kind []int, content []byte) ([]byte, error) {
		return cms.Encrypt(kind, content, toShared(cms.AES128CBC))
	})}}},
	{67, generating, []mutant{{name: "another key", handler: onKey(func(p part) part {
		if p.media() == "application/pkcs8" {
			p.body = encode(otherKey())
		}
		return p
	})}}},
	{68, generating, []mutant{{name: "kept", handler: replaying}}},
}
