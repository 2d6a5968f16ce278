package main

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"mintmark/issuer/est"
)

// keygenFlags say how the private key is to come.
type keygenFlags struct {
	plain                    bool
	decryptCert, decryptKey  string
	symmetricFile, symmetric string
	keyType, outKey, out     string
	chain                    chainFlags
	request                  requestFlags
	proof                    proofFlag
}

func newESTKeygen(a *app) *cobra.Command {
	var f estFlags
	var k keygenFlags
	c := a.command("serverkeygen --url URL --name NAME --out-key FILE --out FILE [flags]", "Have the server make a key",
		`Serverkeygen gets a private key that the server has made, and its certificate
(RFC 7030, Section 4.4): for devices without good randomness.

The key comes encrypted for the certificate of --decrypt-cert and
--decrypt-key, or if neither is given for that of --cert and --key; or with a
key that the server has, too (--symmetric-key-file, 16, 24 or 32 bytes in
hexadecimal, and its name). It must then be signed by the server, or by
somebody whom --ca vouches for. With --plain only TLS protects it, where the
server grants that. The key is written with mode 0600, never over another.`,
		`  mintmark est serverkeygen --url https://ca.example.org:8443 --ca root.pem --cert press.pem --key press.key --name press-0042 --out-key tls.key --out tls.pem
  mintmark est serverkeygen --url https://ca.example.org:8443 --ca root.pem --password-file enroll --symmetric-key-file shared.hex --symmetric-key-id hall-2 --name press-0042 --out-key tls.key --out tls.pem`,
		cobra.NoArgs, func(c *cobra.Command, _ []string) error { return a.keygen(c, &f, &k) })
	f.bind(c)
	f.bindCredentials(c)
	k.request.bind(c)
	bindResult(c, &k.out, &k.chain)
	k.proof.bind(c)
	flags := c.Flags()
	flags.StringVar(&k.outKey, "out-key", "", "`file` for the private key; it must not exist")
	flags.StringVar(&k.keyType, "key-type", defaultKeyType, "`type` of the key: P-256, P-384, RSA-2048, RSA-3072; the server may choose another")
	flags.StringVar(&k.decryptCert, "decrypt-cert", "", "`file` with the certificate to encrypt for (default that of --cert)")
	flags.StringVar(&k.decryptKey, "decrypt-key", "", "`file` with the key of that certificate")
	flags.StringVar(&k.symmetricFile, "symmetric-key-file", "", "`file` with a key that the server has, too, in hexadecimal")
	flags.StringVar(&k.symmetric, "symmetric-key-id", "", "`name` of that key")
	flags.BoolVar(&k.plain, "plain", false, "let TLS alone protect the private key")
	require(c, "out-key")
	c.MarkFlagsRequiredTogether("decrypt-cert", "decrypt-key")
	c.MarkFlagsRequiredTogether("symmetric-key-file", "symmetric-key-id")
	c.MarkFlagsMutuallyExclusive("plain", "decrypt-cert", "symmetric-key-file")
	return c
}

func (a *app) keygen(c *cobra.Command, f *estFlags, k *keygenFlags) error {
	if exists(k.outKey) {
		return fmt.Errorf("%s exists, and a key is never overwritten: name another file", k.outKey)
	}
	if err := checkOut(k.outKey, k.out); err != nil {
		return err
	}
	done, err := a.openEST(c.Context(), f)
	if err != nil {
		return err
	}
	defer done()
	to, err := k.recipient(f)
	if err != nil {
		return err
	}
	template, err := k.request.template()
	if err != nil {
		return err
	}
	kind := k.keyType
	if k.request.file != "" && !c.Flags().Changed("key-type") {
		if kind, err = keyKind(template.PublicKey); err != nil {
			return err
		}
	}
	asked, err := readable(template, nil)
	if err != nil {
		return err
	}
	passing, err := newKey(kind) // shows the type that is wanted, and is thrown away
	if err != nil {
		return err
	}
	var g *est.Generated
	err = a.repeat(c.Context(), f.wait, func() (err error) {
		g, err = f.client.ServerKeygen(c.Context(), est.Request{Template: template, Key: passing, Link: k.proof.link}, to)
		return err
	})
	if err != nil {
		return err
	}
	if err := writeKey(k.outKey, g.Key); err != nil {
		return err
	}
	if g.Signer != nil {
		a.say("private key in %s, signed by %s", k.outKey, printable(g.Signer.Subject.String()))
	} else {
		a.say("private key in %s, protected by TLS alone on its way", k.outKey)
	}
	return a.writeEnrolled(c, f, asked, g.Certificate, k.out, k.chain)
}

// recipient is the key to encrypt for, or nil.
func (k *keygenFlags) recipient(f *estFlags) (*est.Recipient, error) {
	certificate := f.client.Certificate
	switch {
	case k.plain:
		return nil, nil
	case k.symmetricFile != "":
		key, err := readSymmetric(k.symmetricFile)
		if err != nil {
			return nil, err
		}
		return &est.Recipient{Key: key, Identifier: []byte(k.symmetric)}, nil
	case k.decryptCert != "":
		key, err := readKey(k.decryptKey)
		if err != nil {
			return nil, err
		}
		if certificate, err = certificateWith(k.decryptCert, k.decryptKey, key); err != nil {
			return nil, err
		}
	case certificate == nil:
		return nil, usagef("the private key must come encrypted: name a certificate to encrypt for (--decrypt-cert and --decrypt-key, or --cert and --key), a key that the server has, too (--symmetric-key-file), or --plain if TLS alone is to protect it")
	}
	if len(certificate.Leaf.SubjectKeyId) == 0 {
		return nil, errors.New("the certificate to encrypt for has no subject key identifier, by which the server could find it")
	}
	return &est.Recipient{Key: certificate.PrivateKey, Identifier: certificate.Leaf.SubjectKeyId}, nil
}

// readSymmetric reads a key that both sides have, in hexadecimal.
func readSymmetric(name string) ([]byte, error) {
	content, err := readFile(name, 4096)
	if err != nil {
		return nil, err
	}
	defer clear(content)
	key, err := hex.DecodeString(string(bytes.TrimSpace(content)))
	// Not the cause, which would quote the key.
	if err != nil || len(key) != 16 && len(key) != 24 && len(key) != 32 {
		return nil, fmt.Errorf("%s does not hold a key of 32, 48 or 64 hexadecimal digits: openssl rand -hex 32 makes one", name)
	}
	return key, nil
}

// writeKey writes a private key that only its owner may read.
func writeKey(name string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encoding the key: %w", err)
	}
	defer clear(der)
	return createSecret(name, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}
