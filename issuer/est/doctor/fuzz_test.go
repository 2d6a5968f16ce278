package doctor

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"testing"

	"mintmark/internal/pkitest"
)

func parseRequest(der []byte) (*x509.CertificateRequest, error) {
	return x509.ParseCertificateRequest(der)
}

// FuzzAnswer reads answers: what is read is within bounds.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Type: application/pkcs7-mime\r\nContent-Length: 4\r\n\r\nMAA=",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nMAA=\r\n0\r\nX: y\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 204 No Content\r\n\r\n", "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\n\r\nx", "HTTP/1.1 2",
		"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := readAnswer(&reader{from: bytes.NewReader(b)}, http.MethodGet)
		if err == nil && (a.status < 200 || a.status > 999 || len(a.body) > maxBody+64<<10) {
			t.Errorf("status %d, %d bytes", a.status, len(a.body))
		}
		if err == nil {
			_ = a.String()
			_, _ = splitParts(a)
		}
	})
}

// FuzzServerHello reads what a server answers to a ClientHello.
func FuzzServerHello(f *testing.F) {
	body := append([]byte{3, 3}, make([]byte, 32)...)
	body = append(body, 0, 0xc0, 0x2b, 0, 0, 5, 0xff, 1, 0, 1, 0)
	message := append([]byte{2, 0, 0, byte(len(body))}, body...)
	f.Add(append([]byte{recordHandshake, 3, 3, 0, byte(len(message))}, message...))
	f.Add([]byte{recordAlert, 3, 3, 0, 2, 2, 70})
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHello(bytes.NewReader(b))
		if err == nil {
			_ = h.String()
		}
	})
}

// FuzzDER reads every structure that a server may send. What the walk accepts
// encodes to the same bytes.
func FuzzDER(f *testing.F) {
	key := pkitest.NewKey(f)
	f.Add(pkitest.CSR(f, key, pkix.Name{CommonName: "a"}, "a.example"))
	f.Add(message(1, nil, nil))
	f.Add(message(1, nil, [][]byte{tlv(tagSequence)}, []byte{0xa1, 0}))
	f.Add(tlv(tagSequence, encodeOID(oidChallengePassword), attribute(oidECPublicKey, encodeOID("1.2.840.10045.3.1.7"))))
	f.Add(tlv(tagSequence, attribute(oidTemplate, tlv(tagSequence, []byte{tagInteger, 1, 0}, commonName("x"), tlv(0xa1)))))
	f.Add(nested(100))
	f.Fuzz(func(t *testing.T, b []byte) {
		if checkDER(b, nil) == nil {
			e, err := whole(b, b[0])
			if err != nil || !bytes.Equal(tlv(e.tag, e.content), b) && len(b) < 1<<24 {
				t.Errorf("%x: %v", b, err)
			}
		}
		_ = checkCertsOnlyDER(b)
		_ = checkCertsOnly(encode(b))
		_, _ = certificates(encode(b))
		_, _ = parseEnvelope(b)
		_, _ = parsePKCS8(b)
		_, _ = respelled(b)
		if list, err := parseAttributes(encode(b)); err == nil {
			_ = list.keys()
			for _, a := range list.all(oidTemplate) {
				for _, v := range a.values {
					_ = checkTemplate(v)
				}
			}
			for _, a := range list.all(oidExtensionRequest) {
				for _, v := range a.values {
					_ = checkExtensions(v)
				}
			}
		}
	})
}
