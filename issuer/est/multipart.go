package est

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strings"

	"mintmark/internal/cms"
)

// The media types of serverkeygen: RFC 7030, Section 4.4.2.
const (
	mediaTypeMultipart = "multipart/mixed"
	mediaTypePKCS8     = "application/pkcs8"
	mediaTypeKey       = "application/pkcs7-mime; smime-type=server-generated-key"
)

// boundary parts the answers of serverkeygen. No base64 holds a hyphen.
const boundary = "----mintmark-serverkeygen"

// encodeKeygen writes the two parts of an answer of serverkeygen: the private
// key, as keyType says, and the certificate as simpleenroll writes it. The body
// is wiped once it is sent.
func encodeKeygen(keyType string, key, certsOnly []byte, userAgent string) response {
	var b bytes.Buffer
	// Grown once: a buffer that moves leaves copies of the key behind.
	b.Grow(2*(len(key)+len(certsOnly)) + 1024)
	for _, part := range []struct {
		contentType string
		der         []byte
	}{{keyType, key}, {mediaTypeCertsOnly, certsOnly}} {
		text := encodeBase64(part.der, userAgent)
		// RFC 7030, Section 4.4.2 has the header on each part. RFC 8951 tells
		// clients to pass over it, and older ones look for it.
		fmt.Fprintf(&b, "--%s\r\nContent-Type: %s\r\nContent-Transfer-Encoding: base64\r\n\r\n", boundary, part.contentType)
		b.Write(text)
		b.WriteString("\r\n")
		clear(text)
	}
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	return response{status: 200, contentType: mediaTypeMultipart + "; boundary=" + boundary, body: b.Bytes(), secret: true}
}

// keygenAnswer is what serverkeygen answered.
type keygenAnswer struct {
	certificates []*x509.Certificate // at least one
	// key is the private key in PKCS #8, or the DER of an EnvelopedData if
	// encrypted is true. It may be in another form that crypto/x509 parses: libest
	// sends PKCS #1 under the name of PKCS #8.
	key       []byte
	encrypted bool
}

// maxPart bounds one part of the answer of serverkeygen.
const maxPart = 256 << 10

// parseKeygen reads an answer of serverkeygen, by its Content-Type and body: RFC
// 7030, Section 4.4.2. The two parts may stand in either order; there must be
// no third. It neither decrypts the key nor compares it to a certificate.
func parseKeygen(contentType string, body []byte) (keygenAnswer, error) {
	answer, err := readKeygen(contentType, body)
	if err != nil {
		clear(answer.key)
		return keygenAnswer{}, fmt.Errorf("parsing answer of serverkeygen: %w", err)
	}
	return answer, nil
}

func readKeygen(contentType string, body []byte) (a keygenAnswer, err error) {
	mediaType, parameters, err := mime.ParseMediaType(contentType)
	if err != nil || mediaType != mediaTypeMultipart {
		return a, fmt.Errorf("the Content-Type is %q, not %s", shorten(contentType), mediaTypeMultipart)
	}
	if parameters["boundary"] == "" {
		return a, errors.New("the Content-Type has no boundary")
	}
	reader := multipart.NewReader(bytes.NewReader(body), parameters["boundary"])
	for n := 0; ; n++ {
		// Raw: RFC 8951, Section 3 makes it base64, whatever
		// Content-Transfer-Encoding says.
		part, err := reader.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return a, err
		}
		if n == 2 {
			return a, errors.New("there are more than two parts")
		}
		if err := a.add(part); err != nil {
			return a, fmt.Errorf("part %d: %w", n+1, err)
		}
	}
	if a.key == nil || a.certificates == nil {
		return a, errors.New("there must be two parts, a private key and a certificate")
	}
	return a, nil
}

// add reads one part by its media type.
func (a *keygenAnswer) add(part *multipart.Part) error {
	text, err := io.ReadAll(io.LimitReader(part, maxPart+1))
	if err != nil {
		return err
	}
	defer clear(text)
	if len(text) > maxPart {
		return fmt.Errorf("it is larger than %d bytes", maxPart)
	}
	der, err := decodeBase64(text)
	if err != nil {
		return err
	}
	if len(der) == 0 {
		return errors.New("it is empty")
	}
	mediaType, parameters, err := mime.ParseMediaType(part.Header.Get("Content-Type"))
	if err != nil {
		return fmt.Errorf("its Content-Type is %q", shorten(part.Header.Get("Content-Type")))
	}
	smime := strings.ToLower(parameters["smime-type"])
	switch {
	case mediaType == mediaTypePKCS8, mediaType == mediaTypeCACerts && smime == "server-generated-key":
		if a.key != nil {
			clear(der)
			return errors.New("it is a second private key")
		}
		a.key, a.encrypted = der, mediaType != mediaTypePKCS8
	case mediaType == mediaTypeCACerts && (smime == "certs-only" || smime == ""):
		if a.certificates != nil {
			return errors.New("it is a second certs-only message")
		}
		if a.certificates, err = cms.ParseCertsOnly(der); err != nil {
			return err
		}
	default:
		return fmt.Errorf("its Content-Type %q is neither that of a private key nor that of a certificate", shorten(part.Header.Get("Content-Type")))
	}
	return nil
}
