package est

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// maxBody bounds the body of a request: ample for the base64 of a certification
// request with an RSA key and many names.
const maxBody = 64 << 10

const mediaTypePKCS10 = "application/pkcs10"

// request reads the certification request of an exchange: once, however often
// it is asked for.
func (x *exchange) request() ([]byte, error) {
	if !x.read {
		x.read = true
		x.csr, x.unread = readRequest(x.w, x.r)
	}
	return x.csr, x.unread
}

// readRequest returns the DER of the certification request in a body.
func readRequest(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	// RFC 7030, Section 4.2.1. Parameters and case do not matter, and a
	// malformed parameter is not worth refusing a device for.
	mediaType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(mediaType), mediaTypePKCS10) {
		return nil, fail(http.StatusUnsupportedMediaType, ruleMediaType, "the Content-Type is %q and must be %s", mediaType, mediaTypePKCS10)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, fail(http.StatusRequestEntityTooLarge, ruleSize, "the body is larger than %d bytes", maxBody)
		}
		f := fail(http.StatusBadRequest, ruleEncoding, "the body could not be read")
		f.err = err
		return nil, f
	}
	// RFC 8951, Section 3: base64, whatever Content-Transfer-Encoding says.
	der, err := decodeBody(body)
	if err != nil {
		return nil, fail(http.StatusBadRequest, ruleEncoding, "the body must be the base64 of a DER certification request: %v", err)
	}
	return der, nil
}

// decodeBody decodes base64 with white space anywhere, or PEM, which several
// clients send instead.
func decodeBody(body []byte) ([]byte, error) {
	body = bytes.TrimLeft(body, " \t\r\n")
	if bytes.HasPrefix(body, []byte("-----BEGIN ")) {
		return decodePEM(body)
	}
	der, err := decodeBase64(body)
	if err != nil {
		return nil, err
	}
	if len(der) == 0 {
		return nil, errors.New("it is empty")
	}
	return der, nil
}

// decodeBase64 passes over white space: RFC 8951, Section 3.1 lets CR, LF, SP
// and TAB stand anywhere.
func decodeBase64(text []byte) ([]byte, error) {
	packed := bytes.Map(func(r rune) rune {
		switch r {
		case ' ', '\t', '\r', '\n':
			return -1
		}
		return r
	}, text)
	der, err := base64.StdEncoding.Strict().AppendDecode(nil, packed)
	var corrupt base64.CorruptInputError
	if errors.As(err, &corrupt) {
		return nil, fmt.Errorf("it is not base64 from character %d on, white space not counted", int64(corrupt)+1)
	}
	if err != nil {
		return nil, err
	}
	return der, nil
}

func decodePEM(body []byte) ([]byte, error) {
	block, rest := pem.Decode(body)
	if block == nil {
		return nil, errors.New("it begins like PEM, but is not")
	}
	if block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" {
		return nil, fmt.Errorf("it is a PEM block of type %q", block.Type)
	}
	// pem.Decode passes over what it does not understand before the block.
	if len(bytes.TrimSpace(rest)) > 0 || bytes.Count(body, []byte("-----BEGIN ")) != 1 {
		return nil, errors.New("there is more than one PEM block")
	}
	if len(block.Bytes) == 0 {
		return nil, errors.New("it is empty")
	}
	return block.Bytes, nil
}
