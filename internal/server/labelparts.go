package server

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"

	"mintmark/internal/config"
	"mintmark/internal/keystore"
	"mintmark/issuer/est"
	"mintmark/issuer/webhook"
)

// maxPEM bounds a file of certificates.
const maxPEM = 1 << 20

// readPEM reads a file of certificates whole.
func readPEM(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxPEM {
		return nil, fmt.Errorf("%s is not a file of at most %d bytes", path, maxPEM)
	}
	return os.ReadFile(path)
}

// pool reads the trust anchors of a file.
func pool(path string) (*x509.CertPool, error) {
	data, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s holds no certificate", path)
	}
	return pool, nil
}

// secret reads a file that only its owner may read.
func secret(path string) ([]byte, error) { return keystore.PassphraseFile(path)() }

// makerOf reads what a label says of a maker. The CRLs are none of it: they
// come and go while the server runs.
func makerOf(c *config.Config, m *config.Maker) (*est.Maker, string, error) {
	if m == nil {
		return nil, "", nil
	}
	anchors, err := pool(c.Path(m.Anchors))
	if err != nil {
		return nil, "maker.anchors", err
	}
	made := &est.Maker{Roots: anchors, Device: m.Device, Subject: make(map[string]*regexp.Regexp)}
	for attribute, pattern := range m.Subject {
		if made.Subject[attribute], err = regexp.Compile(pattern); err != nil {
			return nil, "maker.subject." + attribute, err
		}
	}
	return made, "", nil
}

// makerNotOurs refuses trust anchors of a maker that hold the key of one of our own
// CAs: each certificate under it would count as the maker's, and so those of our
// own devices, which could then enroll under any name of a maker's device.
func makerNotOurs(c *config.Config, m *config.Maker, ours map[string]*x509.Certificate) error {
	if m == nil {
		return nil
	}
	rest, err := readPEM(c.Path(m.Anchors))
	if err != nil {
		return err
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil
		}
		anchor, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			continue // no anchor either: the pool has passed over it
		}
		for _, name := range slices.Sorted(maps.Keys(ours)) {
			if bytes.Equal(anchor.RawSubjectPublicKeyInfo, ours[name].RawSubjectPublicKeyInfo) {
				return fmt.Errorf("%s holds the key of our own CA %q: whoever has a certificate under it would count as a device of the maker; own is for certificates of ours", c.Path(m.Anchors), name)
			}
		}
	}
}

// certificates are those of our authorities, by name.
func (s *Server) certificates() map[string]*x509.Certificate {
	list := make(map[string]*x509.Certificate)
	for _, a := range s.ra.Authorities() {
		list[a.Name()] = a.Certificate()
	}
	return list
}

// keygenOf reads the keys that server and devices share.
func keygenOf(c *config.Config, k *config.Keygen) (*est.Keygen, string, error) {
	if k == nil {
		return nil, "", nil
	}
	made := &est.Keygen{Plain: k.Plain, SymmetricKeys: make(map[string][]byte)}
	for id, file := range k.SymmetricKeys {
		field := "keygen.symmetric_keys." + id
		text, err := secret(c.Path(file))
		if err != nil {
			return nil, field, err
		}
		key, err := hex.DecodeString(string(text))
		clear(text)
		// Not the cause: it quotes the key.
		if err != nil || len(key) != 16 && len(key) != 24 && len(key) != 32 {
			return nil, field, fmt.Errorf("%s does not hold 32, 48 or 64 hexadecimal digits: openssl rand -hex 32 makes some", c.Path(file))
		}
		made.SymmetricKeys[id] = key
	}
	return made, "", nil
}

// webhookOf makes the client of a service. It does not ask it.
func webhookOf(c *config.Config, w *config.Webhook) (*webhook.Client, string, error) {
	if w == nil {
		return nil, "", nil
	}
	made := webhook.Config{URL: w.URL}
	var err error
	if w.CA != "" {
		if made.Roots, err = pool(c.Path(w.CA)); err != nil {
			return nil, "webhook.ca", err
		}
	}
	if w.KeyFile != "" {
		if made.Secret, err = secret(c.Path(w.KeyFile)); err != nil {
			return nil, "webhook.key_file", err
		}
	} else {
		// For each handshake anew, so that a renewed certificate needs no restart;
		// once now, so that a wrong one is known.
		made.Certificate = func() (*tls.Certificate, error) { return keyPair(c.Path(w.Cert), c.Path(w.Key)) }
		if _, err := made.Certificate(); err != nil {
			return nil, "webhook.cert", err
		}
	}
	client, err := webhook.New(made)
	if err != nil {
		return nil, "webhook", err
	}
	return client, "", nil
}

// keyPair reads a certificate and its key, which only its owner may read.
func keyPair(certificate, key string) (*tls.Certificate, error) {
	chain, err := readPEM(certificate)
	if err != nil {
		return nil, err
	}
	private, err := secret(key)
	if err != nil {
		return nil, err
	}
	defer clear(private)
	pair, err := tls.X509KeyPair(chain, private)
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w", certificate, key, err)
	}
	return &pair, nil
}

// signer is est.Config.Signer: the TLS server signs the keys that it makes.
func (o *ownTLS) signer() (*tls.Certificate, error) { return o.get(nil) }

// gatewayIssuer says why an authority must not issue CA certificates to
// gateways, or nil.
func (s *Server) gatewayIssuer(name string) error {
	authority, err := s.ra.Authority(name)
	if err != nil {
		return err
	}
	own := authority.Certificate()
	// RFC 5280, Section 4.2.1.9: zero lets it sign end-entity certificates only.
	if own.MaxPathLen == 0 && own.MaxPathLenZero {
		return fmt.Errorf("the certificate of authority %q has a path length of 0 and cannot be above a gateway's: create one with a path length of 1", name)
	}
	// What a gateway signs is under every authority of this path.
	for _, t := range s.config.AWS.Targets {
		for _, a := range t.CAs {
			cloud, err := s.ra.Authority(a.Issuer)
			if err != nil {
				continue // what a target lacks is said elsewhere
			}
			for _, above := range append(authority.Chain(), own) {
				if above.Equal(cloud.Certificate()) {
					return fmt.Errorf("authority %q is below %q, which AWS target %q trusts: whatever a gateway signs would be a device there", name, a.Issuer, t.Name)
				}
			}
		}
	}
	return nil
}
