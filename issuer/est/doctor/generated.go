package doctor

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strings"

	"mintmark/internal/cms"
)

// part is one part of an answer of serverkeygen.
type part struct {
	contentType string
	body        []byte
}

func (p part) media() string {
	kind, _, _ := strings.Cut(p.contentType, ";")
	return strings.ToLower(strings.TrimSpace(kind))
}

func (p part) isKey() bool {
	return p.media() == "application/pkcs8" || strings.Contains(strings.ToLower(p.contentType), "server-generated-key")
}

// splitParts splits a multipart/mixed.
func splitParts(a *answer) ([]part, error) {
	kind, parameters, err := mime.ParseMediaType(a.get("Content-Type"))
	if err != nil || kind != "multipart/mixed" || parameters["boundary"] == "" {
		return nil, fmt.Errorf("Content-Type %q is not multipart/mixed with a boundary", a.get("Content-Type"))
	}
	var list []part
	for reader := multipart.NewReader(bytes.NewReader(a.body), parameters["boundary"]); ; {
		p, err := reader.NextRawPart()
		if err == io.EOF {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading the parts: %w", err)
		}
		if len(list) == 8 {
			return nil, errors.New("more than 8 parts")
		}
		content, err := io.ReadAll(io.LimitReader(p, maxBody))
		if err != nil {
			return nil, fmt.Errorf("reading a part: %w", err)
		}
		list = append(list, part{p.Header.Get("Content-Type"), content})
	}
}

func (g *generated) keyPart() (part, error) {
	for _, p := range g.parts {
		if p.isKey() {
			return p, nil
		}
	}
	return part{}, errors.New("no part holds a private key")
}

func (g *generated) certificatePart() (part, error) {
	for _, p := range g.parts {
		if !p.isKey() {
			return p, nil
		}
	}
	return part{}, errors.New("no part holds a certificate")
}

// plainKey reads a key that is not encrypted.
func (g *generated) plainKey() (crypto.Signer, error) {
	p, err := g.keyPart()
	if err != nil {
		return nil, err
	}
	if p.media() != "application/pkcs8" {
		return nil, fmt.Errorf("the key is of type %q", p.contentType)
	}
	der, err := decodeBase64(p.body)
	if err != nil {
		return nil, err
	}
	return parsePKCS8(der)
}

// privateKey reads the key, and decrypts it if it is encrypted. What the doctor
// knows of ciphers it has from the package that the server uses, too: what comes out is
// the key of the certificate, which no mistake brings about.
func (g *generated) privateKey() (crypto.Signer, error) {
	if g.to == nil {
		return g.plainKey()
	}
	der, err := g.sealedKey()
	if err != nil {
		return nil, err
	}
	contentType, content, err := cms.Decrypt(der, g.to.key)
	if err != nil {
		return nil, err
	}
	if !contentType.Equal(cms.SignedData) {
		return nil, fmt.Errorf("the EnvelopedData holds %v, not SignedData", contentType)
	}
	signed, err := cms.Verify(content)
	if err != nil {
		return nil, err
	}
	if !signed.ContentType.Equal(cms.AsymmetricKeyPackage) {
		return parsePKCS8(signed.Content)
	}
	pack, err := whole(signed.Content, tagSequence)
	if err != nil {
		return nil, fmt.Errorf("AsymmetricKeyPackage: %w", err)
	}
	keys, err := pack.children()
	if err != nil || len(keys) != 1 {
		return nil, fmt.Errorf("the AsymmetricKeyPackage holds %d keys", len(keys))
	}
	return parsePKCS8(keys[0].raw)
}

// sealedKey is the EnvelopedData.
func (g *generated) sealedKey() ([]byte, error) {
	p, err := g.keyPart()
	if err != nil {
		return nil, err
	}
	if p.media() != "application/pkcs7-mime" || !strings.Contains(strings.ToLower(p.contentType), "smime-type=server-generated-key") {
		return nil, fmt.Errorf("the key is of type %q, not application/pkcs7-mime; smime-type=server-generated-key", p.contentType)
	}
	return decodeBase64(p.body)
}

// envelope is what an EnvelopedData says of itself: RFC 5652, Section 6.1.
type envelope struct {
	kind         string // ktri, kari or kekri
	keyAlgorithm string
	wrap         string // of kari
	cipher       string
}

const oidEnvelopedData = "1.2.840.113549.1.7.3"

var errEnvelope = errors.New("the EnvelopedData cannot be read")

func (g *generated) envelope() (*envelope, error) {
	der, err := g.sealedKey()
	if err != nil {
		return nil, err
	}
	return parseEnvelope(der)
}

func parseEnvelope(der []byte) (*envelope, error) {
	outer, err := whole(der, tagSequence)
	if err != nil {
		return nil, fmt.Errorf("ContentInfo: %w", err)
	}
	parts, err := outer.children()
	if err != nil || len(parts) != 2 || parts[0].oid() != oidEnvelopedData {
		return nil, errEnvelope
	}
	inner, err := whole(parts[1].content, tagSequence)
	if err != nil {
		return nil, fmt.Errorf("EnvelopedData: %w", err)
	}
	fields, err := inner.children()
	if err != nil {
		return nil, fmt.Errorf("EnvelopedData: %w", err)
	}
	e := new(envelope)
	for _, f := range fields {
		switch f.tag {
		case tagSet:
			if err := e.readRecipient(f); err != nil {
				return nil, err
			}
		case tagSequence:
			content, err := f.children()
			if err != nil || len(content) < 2 {
				return nil, errEnvelope
			}
			if e.cipher, err = content[1].algorithm(); err != nil {
				return nil, err
			}
		}
	}
	if e.kind == "" || e.cipher == "" {
		return nil, errEnvelope
	}
	return e, nil
}

// algorithm is the OID of an AlgorithmIdentifier.
func (e element) algorithm() (string, error) {
	parts, err := e.children()
	if err != nil || e.tag != tagSequence || len(parts) == 0 || parts[0].oid() == "" {
		return "", errEnvelope
	}
	return parts[0].oid(), nil
}

// readRecipient reads the only RecipientInfo: RFC 5652, Section 6.2.
func (e *envelope) readRecipient(set element) error {
	infos, err := set.children()
	if err != nil || len(infos) != 1 {
		return fmt.Errorf("%d recipients, where one asked", len(infos))
	}
	fields, err := infos[0].children()
	if err != nil || len(fields) < 4 || fields[0].tag != tagInteger || len(fields[0].content) != 1 {
		return errEnvelope
	}
	version, at := fields[0].content[0], 2
	switch infos[0].tag {
	case tagSequence:
		e.kind = "ktri"
		// Version 0 names the recipient by issuer and serial, version 2 by its key
		// identifier.
		if version == 0 && fields[1].tag != tagSequence || version == 2 && fields[1].tag != 0x80 || version != 0 && version != 2 {
			return fmt.Errorf("ktri of version %d names its recipient by tag %#02x", version, fields[1].tag)
		}
	case 0xa1:
		e.kind, at = "kari", len(fields)-2
		if version != 3 {
			return fmt.Errorf("kari of version %d, not 3", version)
		}
		parts, err := fields[at].children()
		if err != nil || len(parts) != 2 {
			return errEnvelope
		}
		if e.wrap, err = parts[1].algorithm(); err != nil {
			return err
		}
	case 0xa2:
		e.kind = "kekri"
		if version != 4 {
			return fmt.Errorf("kekri of version %d, not 4", version)
		}
	default:
		return fmt.Errorf("a recipient of tag %#02x", infos[0].tag)
	}
	e.keyAlgorithm, err = fields[at].algorithm()
	return err
}

// kindFor is the kind of recipient that fits a key.
func (e *envelope) kindFor(key any) string {
	switch key.(type) {
	case *rsa.PrivateKey:
		return "ktri"
	case *ecdsa.PrivateKey:
		return "kari"
	}
	return "kekri"
}
