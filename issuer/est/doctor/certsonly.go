package doctor

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	oidSignedData = "1.2.840.113549.1.7.2"
	oidData       = "1.2.840.113549.1.7.1"
)

// maxCertificates bounds what is read of a message.
const maxCertificates = 64

// signedData is a SignedData, taken apart (RFC 5652, Section 5.1).
type signedData struct {
	version      []byte // content of the INTEGER
	digests      element
	encapType    string // eContentType
	content      []byte // eContent; nil if absent
	hasContent   bool
	certificates []element
	raw          element // the field that holds them
	crls         *element
	signers      []element
}

// parseSignedData takes a ContentInfo with SignedData apart.
func parseSignedData(der []byte) (*signedData, error) {
	outer, err := whole(der, tagSequence)
	if err != nil {
		return nil, fmt.Errorf("ContentInfo: %w", err)
	}
	parts, err := outer.children()
	if err != nil {
		return nil, fmt.Errorf("ContentInfo: %w", err)
	}
	if len(parts) != 2 || parts[0].oid() != oidSignedData || parts[1].tag != 0xa0 {
		return nil, errors.New("the content type is not signed-data")
	}
	inner, err := whole(parts[1].content, tagSequence)
	if err != nil {
		return nil, fmt.Errorf("SignedData: %w", err)
	}
	fields, err := inner.children()
	if err != nil {
		return nil, fmt.Errorf("SignedData: %w", err)
	}
	if len(fields) < 4 || fields[0].tag != tagInteger || fields[1].tag != tagSet || fields[2].tag != tagSequence {
		return nil, errors.New("SignedData lacks a field")
	}
	s := &signedData{version: fields[0].content, digests: fields[1]}
	if err := s.readContent(fields[2]); err != nil {
		return nil, err
	}
	for _, f := range fields[3 : len(fields)-1] {
		switch f.tag {
		case 0xa0:
			s.raw = f
			if s.certificates, err = f.children(); err != nil {
				return nil, fmt.Errorf("certificates: %w", err)
			}
		case 0xa1:
			s.crls = &f
		default:
			return nil, fmt.Errorf("SignedData holds a field with tag %#02x", f.tag)
		}
	}
	last := fields[len(fields)-1]
	if last.tag != tagSet {
		return nil, errors.New("SignedData lacks the field signerInfos")
	}
	if s.signers, err = last.children(); err != nil {
		return nil, fmt.Errorf("signerInfos: %w", err)
	}
	return s, nil
}

func (s *signedData) readContent(encap element) error {
	parts, err := encap.children()
	if err != nil {
		return fmt.Errorf("encapContentInfo: %w", err)
	}
	if len(parts) < 1 || len(parts) > 2 || parts[0].oid() == "" {
		return errors.New("encapContentInfo cannot be read")
	}
	s.encapType = parts[0].oid()
	if len(parts) == 2 {
		s.hasContent = true
		octets, err := whole(parts[1].content, tagOctets)
		if err != nil {
			return fmt.Errorf("eContent: %w", err)
		}
		s.content = octets.content
	}
	return nil
}

// list parses the certificates.
func (s *signedData) list() ([]*x509.Certificate, error) {
	if len(s.certificates) > maxCertificates {
		return nil, fmt.Errorf("%d certificates", len(s.certificates))
	}
	var list []*x509.Certificate
	for i, e := range s.certificates {
		c, err := x509.ParseCertificate(e.raw)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i+1, err)
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, errors.New("the message holds no certificate")
	}
	return list, nil
}

// certificates reads the body of a successful answer, with the leniency that
// clients have: points of their own look at what this passes over.
func certificates(body []byte) ([]*x509.Certificate, error) {
	der, err := decodeBase64(body)
	if err != nil {
		return nil, err
	}
	s, err := parseSignedData(der)
	if err != nil {
		return nil, err
	}
	return s.list()
}

// decodeBase64 decodes base64 with white space anywhere.
func decodeBase64(body []byte) ([]byte, error) {
	packed := bytes.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\r\n", r) {
			return -1
		}
		return r
	}, body)
	der, err := base64.StdEncoding.Strict().DecodeString(string(packed))
	if err != nil {
		return nil, fmt.Errorf("the body is not base64: %w", err)
	}
	return der, nil
}

// checkCertsOnlyDER holds a message against DER.
func checkCertsOnlyDER(der []byte) error {
	// ContentInfo, content, SignedData and there the certificates, which are the
	// first field with the tag [0]: its tag hides a SET OF.
	s, err := parseSignedData(der)
	if err != nil {
		return err
	}
	if s.crls != nil && len(s.crls.content) == 0 {
		return errors.New("the optional field crls is there and empty: it must be left out")
	}
	err = checkDER(der, func(path []int) bool { return slices.Equal(path, []int{1, 0, 3}) })
	if err != nil {
		return err
	}
	return nil
}
